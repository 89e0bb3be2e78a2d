"""Comparisons, tests, logic and bits: nothing here has a gradient."""

from __future__ import annotations

from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.make import Tensor
from tinyml.ops.elementwise.arithmetic import abs, maximum
from tinyml.ops.elementwise.conversion import imag, real, where
from tinyml.ops.elementwise.define import Operand, elementwise

__all__ = [
    "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "equal", "greater", "greater_equal", "isclose", "isfinite", "isinf", "isnan",
    "isneginf", "isposinf", "isreal", "less", "less_equal", "logical_and", "logical_not",
    "logical_or", "logical_xor", "not_equal",
]

# ---- comparisons


@elementwise("equality", samples=samples.comparison())
def equal(x1: Operand, x2: Operand, /) -> Tensor:
    """Return whether x1 == x2; NaN equals nothing."""
    ...


@elementwise("equality", samples=samples.comparison())
def not_equal(x1: Operand, x2: Operand, /) -> Tensor:
    """Return whether x1 != x2; NaN differs from everything."""
    ...


@elementwise("compare", samples=samples.comparison())
def less(x1: Operand, x2: Operand, /) -> Tensor:
    """Return whether x1 < x2; false where one is NaN."""
    ...


@elementwise("compare", samples=samples.comparison())
def less_equal(x1: Operand, x2: Operand, /) -> Tensor:
    """Return whether x1 <= x2; false where one is NaN."""
    ...


@elementwise("compare", samples=samples.comparison())
def greater(x1: Operand, x2: Operand, /) -> Tensor:
    """Return whether x1 > x2; false where one is NaN."""
    ...


@elementwise("compare", samples=samples.comparison())
def greater_equal(x1: Operand, x2: Operand, /) -> Tensor:
    """Return whether x1 >= x2; false where one is NaN."""
    ...


# ---- tests


def _size(x: Any) -> Tensor:
    """Return |x|, or the greater of a complex number's parts; infinite, else NaN, if one is."""
    if x.dtype.kind != "complex":
        return abs(x)
    a, b = abs(real(x)), abs(imag(x))
    return where(a == float("inf"), a, where(b == float("inf"), b, maximum(a, b)))


@elementwise("test", samples=samples.predicate())
def isnan(x: Operand, /) -> Tensor:
    """Return whether x is NaN."""
    ...


@elementwise("test", samples=samples.predicate())
def isfinite(x: Operand, /) -> Tensor:
    """Return whether x is neither infinite nor NaN."""
    return _size(x) < float("inf")


@elementwise("test", samples=samples.predicate())
def isinf(x: Operand, /) -> Tensor:
    """Return whether x, or a part of it, is an infinity."""
    return _size(x) == float("inf")


@elementwise("check", samples=samples.predicate())
def isposinf(x: Operand, /) -> Tensor:
    """Return whether x is positive infinity."""
    return x == float("inf")


@elementwise("check", samples=samples.predicate())
def isneginf(x: Operand, /) -> Tensor:
    """Return whether x is negative infinity."""
    return x == float("-inf")


@elementwise("equality", samples=samples.predicate())
def isreal(x: Operand, /) -> Tensor:
    """Return whether x is real, or complex with imaginary part 0."""
    return imag(x) == 0 if x.dtype.kind == "complex" else (x == x) | (x != x)


@elementwise("check", op="isclose", samples=samples.comparison())
def _isclose(x1: Operand, x2: Operand, /, rtol: Operand = 1e-5, atol: Operand = 1e-8) -> Tensor:
    """Return whether |x1 - x2| <= atol + rtol |x2|; equal infinities are close."""
    return (x1 == x2) | (
        (abs(x1 - x2) <= abs(x2) * rtol + atol) & (abs(x1 - x2) < float("inf")))


def isclose(x1: Operand, x2: Operand, /, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """Return whether |x1 - x2| <= atol + rtol |x2|; with `equal_nan`, NaN is close to NaN.

    >>> import tinyml
    >>> tinyml.isclose(tinyml.tensor([1.0, 2.0]), 1.000001).tolist()
    [True, False]
    """
    near = _isclose(x1, x2, rtol, atol)
    return logical_or(near, logical_and(isnan(x1), isnan(x2))) if equal_nan else near


# ---- logic


@elementwise("logical", samples=samples.predicate())
def logical_not(x: Operand, /) -> Tensor:
    """Return whether x is false or 0."""
    ...


@elementwise("logical", samples=samples.logical())
def logical_and(x1: Operand, x2: Operand, /) -> Tensor:
    """Return whether both are true."""
    ...


@elementwise("logical", samples=samples.logical())
def logical_or(x1: Operand, x2: Operand, /) -> Tensor:
    """Return whether one or both are true."""
    ...


@elementwise("logical", word="not_equal", samples=samples.logical())
def logical_xor(x1: Operand, x2: Operand, /) -> Tensor:
    """Return whether exactly one is true."""
    ...


# ---- bits


@elementwise("bits", samples=samples.predicate())
def bitwise_invert(x: Operand, /) -> Tensor:
    """Return x with every bit inverted."""
    ...


@elementwise("bits", samples=samples.bits())
def bitwise_and(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the bits set in both."""
    ...


@elementwise("bits", samples=samples.bits())
def bitwise_or(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the bits set in one or both."""
    ...


@elementwise("bits", samples=samples.bits())
def bitwise_xor(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the bits set in exactly one."""
    ...


@elementwise("integer", samples=samples.shifts())
def bitwise_left_shift(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 shifted left by x2 bits; 0 where x2 is negative or at least the width."""
    ...


@elementwise("integer", samples=samples.shifts())
def bitwise_right_shift(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 shifted right by x2 bits, filled with the sign; only the sign where x2 is negative
    or at least the width."""
    ...
