"""The coverage matrix: for every op and input, whether gradients flow, derived from the records.

`rule`   a rule, or the op's body, gives the gradient; the suites check first and second order
`flat`   the record says None, and the reference is constant around every sample: the slope is 0
`whole`  the input only takes integers, bools, indices or Python numbers
`no`     the record declares the op not differentiable
`none`   declared in DECLARED, with the reason
`hole`   none of these: a gradient that would be missing silently
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyml.conformance import reference
from tinyml.conformance.suite.cases import Case, cotangent, op_cases
from tinyml.conformance.suite.gradients import differences

# Inputs along which a differentiable op has no gradient, and why.
_NO_FORM = "no closed form; PyTorch has none either"
DECLARED = {
    ("gammainc", 0): _NO_FORM,
    ("gammaincc", 0): _NO_FORM,
    ("zeta", 0): _NO_FORM,
    ("scaled", 1): "a power of two by a whole number",
}
_WIDEST = ("float64", "complex128", "float32", "bfloat16", "float16")


class Row(NamedTuple):
    """One op: its name, and the status of each of its inputs."""

    op: str
    inputs: tuple[str, ...]


def row(op: Any) -> Row:
    """Return a record's row of the matrix.

    >>> from tinyml.conformance.suite.run import all_ops
    >>> row(all_ops()["where"]).inputs
    ('whole', 'rule', 'rule')
    """
    cases = list(op_cases(op))
    count = max(len(case.sample.args) for case in cases)
    return Row(op.name, tuple(_input(op, cases, k) for k in range(count)))


def _input(op: Any, cases: list[Case], k: int) -> str:
    floats = [case for case in cases if _is_inexact(case, k)]
    if not floats:
        return "whole"
    if not op.differentiable:
        return "no"
    if (op.name, k) in DECLARED:
        return "none"
    if op.grad is None or (not isinstance(op.grad, tuple)):
        return "rule"  # the body's, or one rule for all inputs
    if op.grad and k < len(op.grad) and op.grad[k] is not None:
        smooth = any(case.sample.smooth for case in floats)
        return "rule" if smooth else "hole"  # a rule that is never checked does not count
    wide = next(name for name in _WIDEST if any(case.dtype == name for case in floats))
    return "flat" if all(_flat(c, k) for c in floats if c.dtype == wide) else "hole"


def _is_inexact(case: Case, k: int) -> bool:
    args = case.sample.args
    return k < len(args) and isinstance(args[k], np.ndarray) and args[k].dtype.kind in "fc"


def _flat(case: Case, k: int) -> bool:
    """Return whether the reference has slope 0 along an input; True where it may jump."""
    if not case.sample.smooth:
        return True
    wide = reference.widened(case.of, *case.sample.args)
    result = reference.evaluate(case.of, *case.sample.args, **case.sample.attrs)[0]
    if result.dtype.kind != "f":
        return True
    g = np.asarray(cotangent(case.name, result.value.shape), np.longdouble)
    return bool(np.all(differences(case, wide, k, g) == 0))
