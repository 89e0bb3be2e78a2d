"""The gradients suite: every rule against central differences of the reference, and linear in g.

The differences are those of the reference in long double, so they have fourteen correct digits. The
result of a rule must also have the shape and dtype of its argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tinyml.conformance import reference
from tinyml.conformance.suite.backends import Backend
from tinyml.conformance.suite.cases import Case, cotangent, op_cases
from tinyml.conformance.suite.ops import Judgement

Array = npt.NDArray[Any]

_EPS = float(np.finfo(np.longdouble).eps)
# The step at which rounding (eps / step) leaves a fourth-order difference an error of eps^(3/4).
STEP = 2.0 ** round(np.log2(_EPS) / 4)
# A hundred times the error that this step leaves in a difference of order one.
DIFFERENCES = 100 * _EPS**0.75
# A rule adds up at most a few hundred rounded terms.
ROUNDINGS = 256


def differentiable(op: Any) -> bool:
    """Return whether a record has a rule for some input, or a body to differentiate."""
    if isinstance(op.grad, tuple):
        return op.differentiable and any(rule is not None for rule in op.grad)
    return op.differentiable and (op.grad is not None or op.body is not None)


def wrt(op: Any, args: Sequence[Any]) -> tuple[int, ...]:
    """Return the arguments that get a cotangent: float tensors with a rule (all, given a body)."""
    floats = (k for k, x in enumerate(args) if isinstance(x, np.ndarray)
              and reference.kind(x.dtype) in "fc")
    return tuple(k for k in floats if op.grad is None or op.rule(k) is not None)


def gradient_cases(op: Any, dtypes: Sequence[str]) -> Iterator[Case]:
    """Return the smooth samples in the widest of `dtypes`, the first also in other inexact ones."""
    floats = [dtype for dtype in ("float64", "complex128", "float32", "bfloat16", "float16")
              if dtype in dtypes]
    for number, dtype in enumerate(floats):
        smooth = [
            case
            for case in op_cases(op, (dtype,))
            if case.sample.smooth and wrt(op, case.sample.args)
        ]
        yield from smooth if number == 0 else smooth[:1]


def judge(backend: Backend, case: Case) -> Judgement:
    """Check one sample's cotangents: against differences, and for shape, dtype and linearity."""
    args, attrs = case.sample.args, case.sample.attrs
    places = wrt(case.op, args)
    pull = backend.pullback(case.of, args, attrs, places)
    wide = reference.widened(case.of, *args)
    result = reference.evaluate(case.of, *args, **attrs)[0]
    # The cotangent is rounded to the result's dtype first, so both sides use the same one.
    g, other = (
        np.asarray(cotangent(case.name, result.value.shape, number), result.dtype)
        for number in (0, 1)
    )
    got = pull(g)
    if len(got) != len(places):
        return Judgement(f"{len(got)} cotangents for {len(places)} arguments")
    worst = share = 0.0
    for k, cotangent_of_k in zip(places, got, strict=True):
        x = args[k]
        if cotangent_of_k.shape != x.shape or cotangent_of_k.dtype != x.dtype:
            found = f"{cotangent_of_k.dtype.name}{list(cotangent_of_k.shape)}"
            return Judgement(f"argument {k}: cotangent {found} of {x.dtype.name}{list(x.shape)}")
        want = differences(case, wide, k, g)
        complaint, off, part = _differs(cotangent_of_k, want, x.dtype, result.dtype)
        worst, share = max(worst, off), max(share, part)
        if complaint:
            return Judgement(f"argument {k} {complaint}", worst, share)
    return Judgement(_linear(pull, g, other, got, places), worst, share)


def differences(case: Case, wide: Sequence[Array], k: int, g: Array) -> Array:
    """Return the cotangent of argument `k` for `g`, by central differences of the reference.

    `wide` holds the arguments with floats in long double. The result has the shape of argument k.
    """
    weights = np.conj(widest(g))

    def weighted(x: Array) -> Any:
        args = [*wide[:k], x, *wide[k + 1 :]]
        return np.sum((reference.wide(case.of, *args, **case.sample.attrs)[0] * weights).real)

    x = np.array(wide[k])
    result = np.zeros(x.shape, x.dtype)
    ways = (1, 1j) if x.dtype.kind == "c" else (1,)  # along each part
    for place in np.ndindex(*x.shape):
        middle = x[place]
        step = np.longdouble(STEP * max(1.0, float(abs(middle))))
        for way in ways:
            slope = np.longdouble(0)
            # f' = (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h + O(h^4).
            for steps, weight in ((1, 8), (-1, -8), (2, -1), (-2, 1)):
                x[place] = middle + steps * step * way
                slope += weight * weighted(x)
            result[place] += way * (slope / (12 * step))
        x[place] = middle
    return result


def widest(x: Array) -> Array:
    """Return x in long double, or in complex numbers of long doubles."""
    return x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble)


def _differs(got: Array, want: Array, *dtypes: np.dtype[Any]) -> tuple[str | None, float, float]:
    """Return a complaint or None, the greatest relative error, and its share of the bound."""
    if want.size == 0:
        return None, 0.0, 0.0
    allowed = DIFFERENCES + ROUNDINGS * max(float(ml_dtypes.finfo(dtype).eps) for dtype in dtypes)
    scale = 1.0 + float(np.max(np.abs(want)))
    off = np.abs(widest(got) - want) / scale
    # NaN counts as the greatest error.
    off = np.where(np.isnan(off), np.inf, off)
    place = np.unravel_index(int(np.argmax(off)), off.shape)
    greatest = float(off[place])
    if greatest <= allowed:
        return None, greatest, greatest / allowed
    at = tuple(int(i) for i in place)
    complaint = f"at {at}: cotangent {got[place]!r}, central difference {want[place]:.15g}"
    return complaint, greatest, greatest / allowed


def _linear(
    pull: Any, g: Array, other: Array, first: Sequence[Array], places: Sequence[int]
) -> str | None:
    """Check that rule(2 g - h / 2) = 2 rule(g) - rule(h) / 2, whose factors do not round."""
    two, half = g.dtype.type(2), g.dtype.type(0.5)
    together, second = pull(np.asarray(two * g - half * other)), pull(other)
    for k, joint, a, b in zip(places, together, first, second, strict=True):
        want = 2 * widest(a) - widest(b) / 2
        complaint, *_ = _differs(joint, want, joint.dtype, g.dtype)
        if complaint:
            return f"argument {k} is not linear in g {complaint}"
    return None
