"""The ops suite: the shape, dtype and value of every result, against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinyml.conformance import reference
from tinyml.conformance.suite import bounds, ulp
from tinyml.conformance.suite.backends import Backend
from tinyml.conformance.suite.cases import Case
from tinyml.dtypes import as_dtype, part

Array = npt.NDArray[Any]


class Judgement(NamedTuple):
    """The outcome of one case: a complaint or None, the greatest error, and its share of the bound.

    `worst` is in ULPs (ops) or relative (gradients). `share` is the greatest error divided by the
    error allowed at that element, so that 1 just passes.
    """

    complaint: str | None
    worst: float = 0.0
    share: float = 0.0


def judge(backend: Backend, case: Case) -> Judgement:
    """Run one case and compare; NotImplementedError propagates."""
    args, attrs = case.sample.args, case.sample.attrs
    before = [x.tobytes() for x in args if isinstance(x, np.ndarray)]
    outputs = backend.run(case.of, *args, **attrs)
    after = [x.tobytes() for x in args if isinstance(x, np.ndarray)]
    if before != after:
        return Judgement("an argument was changed")
    expected = reference.evaluate(case.of, *args, **attrs)
    if len(outputs) != len(expected):
        return Judgement(f"{len(outputs)} outputs instead of {len(expected)}")
    if case.of in reference.UNIQUE:
        complaint = _form(outputs, expected)
        if complaint:
            return Judgement(complaint)
        outputs, expected = _unique(case.of, outputs, expected)
    absolute = bounds.magnitude(case.of, reference.widened(case.of, *args), attrs,
                                getattr(backend, "sums_in_blocks", False))
    worst = share = 0.0
    for number, (got, want) in enumerate(zip(outputs, expected, strict=True)):
        label = f"output {number}: " if len(expected) > 1 else ""
        found = _compare(case, got, want, absolute)
        worst, share = max(worst, found.worst), max(share, found.share)
        if found.complaint:
            return Judgement(label + found.complaint, worst, share)
    return Judgement(None, worst, share)


def _form(outputs: Sequence[Array], expected: Sequence[reference.Result]) -> str | None:
    """Return a complaint where the dtypes or shapes of the outputs are not the expected ones."""
    got = [(y.dtype.name, y.shape) for y in outputs]
    want = [(y.dtype.name, y.value.shape) for y in expected]
    return None if got == want else f"outputs {got} instead of {want}"


def _unique(name: str, outputs: Sequence[Array], expected: Sequence[reference.Result],
            ) -> tuple[tuple[Array, ...], tuple[reference.Result, ...]]:
    """Return the part of the outputs that the op determines uniquely."""
    of = reference.UNIQUE[name]
    with np.errstate(all="ignore"):
        found = of(*[y.astype(want.value.dtype) for y, want in zip(outputs, expected)])
        wanted = of(*[want.value for want in expected])
    first, last = outputs[0].dtype, outputs[-1].dtype
    dtypes = [first, *[last] * (len(found) - 1)]
    return (tuple([y.astype(dtype) for y, dtype in zip(found, dtypes)]),
            tuple([reference.Result(y, dtype) for y, dtype in zip(wanted, dtypes)]))


def _compare(case: Case, got: Array, want: reference.Result, absolute: Array) -> Judgement:
    if got.dtype != want.dtype:
        return Judgement(f"dtype {got.dtype.name} instead of {want.dtype.name}")
    if got.shape != want.value.shape:
        return Judgement(f"shape {got.shape} instead of {want.value.shape}")
    if got.size == 0:
        return Judgement(None)
    signed_zero = case.of not in bounds.ZERO_HAS_NO_SIGN
    distances = ulp.distance(got, want.value, signed_zero)
    allowed = _allowed(case, want, absolute)
    with np.errstate(all="ignore"):
        shares = np.where(distances == 0, 0, distances / allowed)
    # An infinite bound allows anything: the terms of the sum exceed the range.
    shares = np.where(np.isposinf(allowed), 0, shares)
    place = np.unravel_index(int(np.argmax(shares)), got.shape)
    worst, share = float(distances[place]), float(shares[place])
    if share <= 1:
        return Judgement(None, worst, share)
    at = tuple(int(k) for k in place)
    return Judgement(
        f"at {at}: got {got[place]!r}, exact {_show(want, place)}, "
        f"{worst:.6g} ULP away where {float(allowed[place]):.6g} are allowed",
        worst,
        share,
    )


def _allowed(case: Case, want: reference.Result, absolute: Array) -> Array:
    """Return the bound of each element in ULPs.

    It is infinite where the terms of a sum exceed the range.
    """
    if reference.kind(want.dtype) not in "fc":
        return np.zeros(want.value.shape, np.longdouble)
    info = np.finfo(as_dtype(want.dtype).compute)
    units = np.longdouble(bounds.units(case.op, want.dtype.name)) + ulp.REFERENCE_SLACK
    with np.errstate(all="ignore"):
        unit = ulp.spacing(np.abs(want.value), part(as_dtype(want.dtype)).numpy)
        extra = absolute * np.longdouble(bounds.epsilon(case.of, want.dtype.name)) / unit
        extra = np.where(absolute > info.max, np.inf, np.where(np.isnan(extra), 0, extra))
    return np.broadcast_to(units + extra, want.value.shape)


def _show(want: reference.Result, place: Any) -> str:
    value = want.value[place]
    return f"{value:.21g}" if reference.kind(want.dtype) == "f" else repr(value)
