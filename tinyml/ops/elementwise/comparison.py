"""Comparisons, tests, logic and bits: nothing here has a gradient."""

from __future__ import annotations

from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.node import Tensor
from tinyml.ops.elementwise.arithmetic import abs, maximum
from tinyml.ops.elementwise.conversion import imag, real, where
from tinyml.ops.elementwise.define import Operand, listed, row

_COMPARE: dict[str, Any] = {"samples": samples.comparison()}
_TEST: dict[str, Any] = {"samples": samples.predicate()}
_LOGIC: dict[str, Any] = {"samples": samples.logical()}
_BITS: dict[str, Any] = {"samples": samples.bits()}

# ---- comparisons

equal = row("equal(x1, x2)", "equality", "x1 == x2; NaN equals nothing.", **_COMPARE)
not_equal = row("not_equal(x1, x2)", "equality", "x1 != x2; NaN differs from all.", **_COMPARE)
less = row("less(x1, x2)", "compare", "x1 < x2; false where one is NaN.", **_COMPARE)
less_equal = row("less_equal(x1, x2)", "compare", "x1 <= x2; false where one is NaN.", **_COMPARE)
greater = row("greater(x1, x2)", "compare", "x1 > x2; false where one is NaN.", **_COMPARE)
greater_equal = row("greater_equal(x1, x2)", "compare", "x1 >= x2; false where one is NaN.",
                    **_COMPARE)

# ---- tests

isnan = row("isnan(x)", "test", "Whether x is NaN.", **_TEST)
isfinite = row("isfinite(x)", "test", "Whether x is neither infinite nor NaN.",
               body=lambda x: _size(x) < float("inf"), **_TEST)
isinf = row("isinf(x)", "test", "Whether x, or a part of it, is an infinity.",
            body=lambda x: _size(x) == float("inf"), **_TEST)
isposinf = row("isposinf(x)", "check", "Whether x is the positive infinity.",
               body=lambda x: x == float("inf"), **_TEST)
isneginf = row("isneginf(x)", "check", "Whether x is the negative infinity.",
               body=lambda x: x == float("-inf"), **_TEST)

isreal = row("isreal(x)", "equality", "Whether x has no imaginary part, or 0 there.",
             body=lambda x: imag(x) == 0 if x.dtype.kind == "complex" else (x == x) | (x != x),
             **_TEST)


def _size(x: Any) -> Any:
    """|x|, or the greater part: infinite where one is, else NaN where one is."""
    if x.dtype.kind != "complex":
        return abs(x)
    a, b = abs(real(x)), abs(imag(x))
    return where(a == float("inf"), a, where(b == float("inf"), b, maximum(a, b)))


_NEAR = row("isclose(x1, x2, rtol=0.00001, atol=0.00000001)", "check",
            "Whether |x1 - x2| <= atol + rtol |x2|; equal infinities are close.",
            body=lambda x1, x2, rtol, atol: (x1 == x2) | (
                (abs(x1 - x2) <= abs(x2) * rtol + atol) & (abs(x1 - x2) < float("inf"))),
            samples=samples.comparison())


@listed
def isclose(x1: Operand, x2: Operand, /, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """Whether |x1 - x2| <= atol + rtol |x2|; with `equal_nan`, NaN is close to NaN.

    >>> import tinyml
    >>> tinyml.isclose(tinyml.tensor([1.0, 2.0]), 1.000001).tolist()
    [True, False]
    """
    near = _NEAR(x1, x2, rtol, atol)
    return logical_or(near, logical_and(isnan(x1), isnan(x2))) if equal_nan else near


# ---- logic

logical_not = row("logical_not(x)", "logical", "Whether x is false or 0.", **_TEST)
logical_and = row("logical_and(x1, x2)", "logical", "Whether both are true.", **_LOGIC)
logical_or = row("logical_or(x1, x2)", "logical", "Whether one or both are true.", **_LOGIC)
logical_xor = row("logical_xor(x1, x2)", "logical", "Whether exactly one is true.",
                  word="not_equal", **_LOGIC)

# ---- bits

bitwise_invert = row("bitwise_invert(x)", "bits", "Every bit of x the other way.", **_TEST)
bitwise_and = row("bitwise_and(x1, x2)", "bits", "The bits set in both.", **_BITS)
bitwise_or = row("bitwise_or(x1, x2)", "bits", "The bits set in one or both.", **_BITS)
bitwise_xor = row("bitwise_xor(x1, x2)", "bits", "The bits set in exactly one.", **_BITS)
bitwise_left_shift = row(
    "bitwise_left_shift(x1, x2)", "integer",
    "x1 shifted left by x2 bits; 0 where x2 is negative or not below the width.",
    samples=samples.shifts())
bitwise_right_shift = row(
    "bitwise_right_shift(x1, x2)", "integer",
    "x1 shifted right by x2 bits, filled with the sign; all fill where x2 is not in the width.",
    samples=samples.shifts())
