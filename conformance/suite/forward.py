"""The forward suite: the jvp of every op against central differences of the reference.

For a cotangent g and tangents v, the differences of <g, f> give J'g, and <g, J v> must equal
<J'g, v>.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from tinyml.conformance import reference
from tinyml.conformance.suite.backends import Backend
from tinyml.conformance.suite.cases import Case, cotangent
from tinyml.conformance.suite.gradients import (
    DIFFERENCES,
    ROUNDINGS,
    differences,
    gradient_cases,
    widest,
    wrt,
)
from tinyml.conformance.suite.ops import Judgement


def forward_cases(op: Any, dtypes: Sequence[str]) -> Iterator[Case]:
    """Return the first and last smooth samples in the widest float: jvp reuses the pullback."""
    cases = list(gradient_cases(op, dtypes))
    first = [case for case in cases if case.dtype == cases[0].dtype and _one_type(case)]
    yield from first[:1]
    yield from first[1:][-1:]


def _one_type(case: Case) -> bool:
    """Return whether no value is rounded to a narrower type, which differences would not see."""
    args = case.sample.args
    return {args[k].dtype.name for k in wrt(case.op, args)} == {case.dtype}


def judge(backend: Backend, case: Case) -> Judgement:
    """Check the shape and dtype of one sample's tangent, and its product with a cotangent."""
    args, attrs = case.sample.args, case.sample.attrs
    places = wrt(case.op, args)
    result = reference.evaluate(case.of, *args, **attrs)[0]
    vs = [np.asarray(cotangent(case.name, args[k].shape, 10 + k), args[k].dtype) for k in places]
    got = backend.tangent(case.of, args, attrs, places, vs)
    if got.shape != result.value.shape or got.dtype != result.dtype:
        found = f"{got.dtype.name}{list(got.shape)}"
        return Judgement(f"tangent {found} of {result.dtype.name}{list(result.value.shape)}")
    g = np.asarray(cotangent(case.name, result.value.shape), result.dtype)
    wide = reference.widened(case.of, *args)
    parts = [(np.conj(differences(case, wide, k, g)) * v).real
             for k, v in zip(places, vs, strict=True)]
    want = sum(float(np.sum(part)) for part in parts)
    size = 1.0 + sum(float(np.sum(np.abs(part))) for part in parts)
    size += float(np.sum(np.abs(g * got))) if got.size else 0.0
    off = abs(float(np.sum((np.conj(widest(g)) * got).real)) - want) / size
    types = [result.dtype, *[args[k].dtype for k in places]]
    allowed = DIFFERENCES + ROUNDINGS * max(float(ml_dtypes.finfo(dtype).eps) for dtype in types)
    if off <= allowed:
        return Judgement(None, off, off / allowed)
    # NaN counts as the greatest error, and every comparison with it is false.
    worst = off if off == off else np.inf
    return Judgement(f"<g, J v> is off by {worst:.3g} from <J'g, v>", worst, worst / allowed)
