"""The second-order suite: the gradient of every op's gradient, against differences of the first.

For a cotangent g and directions u, v of the arguments, let S(x) = <v, pullback of g at x>. The
slope of S along u must be <u, gradient of S>. It is found by central differences of pullbacks,
which the gradients suite has checked against the reference. S is linear in g; the forward suite
checks that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyml.conformance import reference
from tinyml.conformance.suite.backends import Backend
from tinyml.conformance.suite.cases import Case, cotangent
from tinyml.conformance.suite.gradients import widest, wrt
from tinyml.conformance.suite.ops import Judgement

Array = npt.NDArray[Any]

# A fourth-order difference with step eps^(1/4) leaves an error of eps^(3/4), times cancellation.
SLACK = 2000


def judge(backend: Backend, case: Case) -> Judgement:
    """Check one sample in its own dtype: the slope of the first gradient against the second."""
    args, attrs = case.sample.args, case.sample.attrs
    places = wrt(case.op, args)
    result = reference.evaluate(case.of, *args, **attrs)[0]
    g = np.asarray(cotangent(case.name, result.value.shape), result.dtype)
    us, vs = [
        [np.asarray(cotangent(case.name, args[k].shape, start + k), args[k].dtype) for k in places]
        for start in (10, 20)
    ]
    got = backend.second(case.of, args, attrs, places, g, vs)
    eps = max(float(np.finfo(args[k].dtype).eps) for k in places)
    step = 2.0 ** round(np.log2(eps) / 4)

    def sloped(steps: int) -> Array:
        moved = list(args)
        for k, u in zip(places, us, strict=True):
            moved[k] = np.asarray(args[k] + args[k].dtype.type(steps * step) * u, args[k].dtype)
        return products(backend.pullback(case.of, moved, attrs, places)(g), vs)

    terms = {steps: sloped(steps) for steps in (1, -1, 2, -2)}
    slope = 8 * (terms[1] - terms[-1]) - (terms[2] - terms[-2])
    want = float(np.sum(slope)) / (12 * step)
    there = products(got, us)
    size = 1.0 + float(np.sum(np.abs(there))) + float(np.sum(np.abs(terms[1])))
    off = abs(float(np.sum(there)) - want) / size
    allowed = SLACK * eps**0.75
    if off <= allowed:
        return Judgement(None, off, off / allowed)
    worst = off if off == off else np.inf  # NaN counts as the greatest error
    return Judgement(f"the slope of the gradient is {want:.12g}, the second gradient gives "
                     f"{float(np.sum(there)):.12g}", worst, worst / allowed)


def products(xs: Sequence[Array], ys: Sequence[Array]) -> Array:
    """Return the elementwise products of two lists of arrays as one real vector."""
    parts = [(np.conj(widest(x)) * y).real.reshape(-1) for x, y in zip(xs, ys, strict=True)]
    return np.concatenate([*parts, np.zeros(1, np.longdouble)])
