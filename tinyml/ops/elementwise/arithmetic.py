"""Arithmetic: sums, products, quotients, signs, rounding, maxima and minima."""

from __future__ import annotations

import builtins
import math
from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.upload import as_tensor
from tinyml.dtypes import float32, integer_range
from tinyml.errors import ArgumentError, expect
from tinyml.ir.op import Rule
from tinyml.ops.arguments import as_size
from tinyml.ops.elementwise.conversion import COPY, complex, conj, imag, real, where
from tinyml.ops.elementwise.define import Operand, elementwise
from tinyml.ops.rounding import rounded_once
from tinyml.ops.samples.values import finfo

__all__ = [
    "abs", "add", "addcdiv", "addcmul", "ceil", "clip", "copysign", "divide", "floor",
    "floor_divide", "fmax", "fmin", "fmod", "frac", "gcd", "heaviside", "lcm", "lerp", "maximum",
    "minimum", "multiply", "nan_to_num", "negative", "nextafter", "positive", "reciprocal",
    "remainder", "rint", "round", "sign", "signbit", "square", "subtract", "trunc",
]

# ---- sums, products, quotients


def _conj(x: Any) -> Any:
    """Return the conjugate of a gradient rule's operand, which may be a Python number."""
    return conj(x) if isinstance(x, Data) else x.conjugate()


@elementwise("number", grad=(lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g))
def add(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 + x2; integers wrap around."""
    ...


@elementwise("number", op="sub", grad=(lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: -g))
def subtract(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 - x2; integers wrap around."""
    ...


@elementwise("number", op="mul",
             grad=(lambda g, _y, _a, b: g * _conj(b), lambda g, _y, a, _b: g * _conj(a)))
def multiply(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 * x2; integers wrap around."""
    ...


@elementwise("inexact", op="div", ulp=2.5,
             grad=(lambda g, _y, _a, b: g / _conj(b),
                   lambda g, y, _a, b: -(g * conj(y)) / _conj(b)))
def divide(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 / x2; x / 0 is inf or NaN."""
    ...


@elementwise("inexact", ulp=2.5, grad=lambda g, y, _x: -(g * conj(y * y)))
def reciprocal(x: Operand, /) -> Tensor:
    """Return 1 / x; 1 / 0 is inf."""
    ...


@elementwise("number", grad=lambda g, _y, x: g * conj(x) * 2)
def square(x: Operand, /) -> Tensor:
    """Return x * x; integers wrap around."""
    ...


@elementwise("number", op="neg", grad=lambda g, _y, _x: -g)
def negative(x: Operand, /) -> Tensor:
    """Return -x; integers wrap around."""
    ...


def positive(x: Operand, /) -> Tensor:
    """Return a copy of x."""
    return apply(COPY, x)


# ---- signs


def _modulus(z: Any) -> Tensor:
    """Return |z|."""
    size: Tensor = real(z).op("hypot", imag(z))
    return size


def _direction(z: Any) -> Tensor:
    """Return z / |z|, 0 at 0, also where |z| overflows or is subnormal."""
    a, b = real(z), imag(z)
    great = maximum(abs(a), abs(b))
    share = where(great > 2.0, 0.5, where(great < 1e-30, 2.0**60, 1.0))
    a, b = a * share, b * share
    r = a.op("hypot", b)
    return complex(*[where(r == 0, 0.0, x / where(r == 0, 1.0, r)) for x in (a, b)])


def _sign_slope(g: Any, y: Any, x: Any) -> Any:
    if x.dtype.kind != "complex":
        return g * 0.0
    return where(x == 0, 0.0, (g - y * real(conj(y) * g)) / abs(x))


@elementwise("number", samples=samples.finite(samples.unary()), grad=_sign_slope,
             complex_body=_direction)
def sign(x: Operand, /) -> Tensor:
    """Return -1, 0 or 1 by the sign of x, or x / |x| if complex; NaN stays NaN."""
    ...


@elementwise("size", grad=lambda g, _y, x: g * sign(x), complex_body=_modulus)
def abs(x: Operand, /) -> Tensor:
    """Return |x|; the least integer stays as it is."""
    ...


@elementwise("float", grad=(lambda g, y, a, _b: g * sign(a) * sign(y), None))
def copysign(x1: Operand, x2: Operand, /) -> Tensor:
    """Return |x1| with the sign of x2, even if that is -0.0 or NaN."""
    ...


@elementwise("check", samples=samples.predicate())
def signbit(x: Operand, /) -> Tensor:
    """Return whether the sign bit is set, even that of -0.0 or NaN."""
    ...


@elementwise("float", differentiable=False)
def heaviside(x1: Operand, x2: Operand, /) -> Tensor:
    """Return 0 where x1 is below 0, 1 where it is above, x2 where it is 0; NaN stays NaN."""
    return where(x1 == 0, x2, where(x1 < 0, 0.0, where(x1 > 0, 1.0, x1)))


# ---- rounding


@elementwise("real")
def floor(x: Operand, /) -> Tensor:
    """Return the greatest whole number not above x, in x's type."""
    ...


@elementwise("real")
def ceil(x: Operand, /) -> Tensor:
    """Return the least whole number not below x, in x's type."""
    ...


@elementwise("real")
def trunc(x: Operand, /) -> Tensor:
    """Return x without its fractional part, in x's type."""
    ...


def _rint_parts(z: Any) -> Tensor:
    return complex(rint(real(z)), rint(imag(z)))


@elementwise("number", op="round", complex_body=_rint_parts)
def rint(x: Operand, /) -> Tensor:
    """Return the nearest whole number; ties go to the even one."""
    ...


@elementwise("float", grad=lambda g, _y, _x: g)
def frac(x: Operand, /) -> Tensor:
    """Return x - trunc(x), the fractional part with x's sign."""
    return x - trunc(x)


@elementwise("wide", samples=samples.binary(mixed=False),
             grad=(lambda g, _y, a, b: where(a == b, 0.0, g), None))
def nextafter(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the next number after x1 in the direction of x2."""
    ...


DECIMALS = 308  # beyond, powers of ten are no doubles


@named_in_errors
def round(x: Operand, /, *, decimals: int = 0) -> Tensor:
    """Return the nearest multiple of 10^-decimals; ties go to even; integers stay as they are.

    >>> import tinyml
    >>> tinyml.round(tinyml.tensor([0.5, 1.5, -2.5])).tolist()
    [0.0, 2.0, -2.0]
    """
    decimals = as_size(decimals, "decimals")
    expect(-DECIMALS <= decimals <= DECIMALS, f"decimals from {-DECIMALS} to {DECIMALS}", decimals,
           ArgumentError)
    if not decimals:
        return rint(x)
    return _rounded_to(x, 10.0 ** builtins.abs(decimals), decimals > 0)


@rounded_once
def _rounded_to(x: Any, scale: float, finer: bool) -> Tensor:
    return rint(multiply(x, scale)) / scale if finer else rint(divide(x, scale)) * scale


# ---- quotients rounded to whole numbers


@elementwise("real", ulp=1, samples=samples.division())
def floor_divide(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the greatest whole number not above x1 / x2, or x1 / x2 if one is infinite; for
    integers, 0 where x2 is 0."""
    ...


@elementwise("real", samples=samples.division(),
             grad=(lambda g, _y, _a, _b: g, lambda g, _y, a, b: -(g * floor_divide(a, b))))
def remainder(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 - x2 * floor_divide(x1, x2), with the sign of x2; for integers, 0 where x2 is 0."""
    ...


@elementwise("real", samples=samples.division(),
             grad=(lambda g, _y, _a, _b: g, lambda g, _y, a, b: -(g * trunc(a / b))))
def fmod(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 - x2 * trunc(x1 / x2), with the sign of x1."""
    ...


# ---- maxima and minima


def _share(g: Any, won: Any, tied: Any) -> Tensor:
    return where(won, g, where(tied, g * 0.5, 0.0))


@elementwise("real", grad=(lambda g, _y, a, b: _share(g, a > b, a == b),
                           lambda g, _y, a, b: _share(g, b > a, a == b)))
def maximum(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the greater of two; NaN where one is. In a tie each side gets half the gradient."""
    ...


@elementwise("real", grad=(lambda g, _y, a, b: _share(g, a < b, a == b),
                           lambda g, _y, a, b: _share(g, b < a, a == b)))
def minimum(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the lesser of two; NaN where one is. In a tie each side gets half the gradient."""
    ...


@elementwise("real")
def fmax(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the greater of two; where one is NaN, the other."""
    return where(x1 != x1, x2, where(x2 != x2, x1, maximum(x1, x2)))


@elementwise("real")
def fmin(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the lesser of two; where one is NaN, the other."""
    return where(x1 != x1, x2, where(x2 != x2, x1, minimum(x1, x2)))


_CLIP_RULES: tuple[Rule, ...] = (
    lambda g, _y, x, low, high: where((x >= low) & (x <= high), g, 0.0),
    lambda g, _y, x, low, high: where((x < low) & (low < high), g, 0.0),
    lambda g, _y, x, low, high: where((x > high) | (low > high), g, 0.0),
)


@elementwise("real", op="clip", grad=_CLIP_RULES)
def _clip(x: Operand, low: Operand, high: Operand, /) -> Tensor:
    """Return x clamped to [low, high]."""
    return minimum(maximum(x, low), high)


def clip(x: Operand, /, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Return x clamped to [min, max]; `max` where `min` is greater; the ends count as inside.

    >>> import tinyml
    >>> tinyml.clip(tinyml.tensor([-1.0, 0.5, 9.0]), 0.0, 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    if min is None and max is None:
        return positive(x)
    dtype = getattr(x, "dtype", float32)
    ends = integer_range(dtype) if dtype.is_integer else (-math.inf, math.inf)
    return _clip(x, ends[0] if min is None else min, ends[1] if max is None else max)


# ---- whole numbers


@elementwise("integer")
def gcd(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the greatest common divisor, never negative; gcd(0, 0) is 0."""
    ...


@elementwise("integer")
def lcm(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the least common multiple, never negative; 0 where one is 0."""
    return abs(floor_divide(x1, gcd(x1, x2))) * abs(x2)


# ---- combinations


@elementwise("number", ulp=1)
def addcmul(x: Operand, x1: Operand, x2: Operand, /, value: Operand = 1) -> Tensor:
    """Return x + value x1 x2."""
    return x + x1 * x2 * value


@elementwise("float", ulp=1)
def addcdiv(x: Operand, x1: Operand, x2: Operand, /, value: Operand = 1) -> Tensor:
    """Return x + value x1 / x2."""
    return x + x1 / x2 * value


_LERP_RULES: tuple[Rule, ...] = (
    lambda g, _y, _a, _b, t: g * (1.0 - t),
    lambda g, _y, _a, _b, t: g * t,
    lambda g, _y, a, b, _t: where(a == b, 0.0, g * (b - a)),
)


@elementwise("float", ulp=2, grad=_LERP_RULES)
def lerp(x1: Operand, x2: Operand, weight: Operand, /) -> Tensor:
    """Return x1 + weight (x2 - x1): exactly x1 at weight 0 and x2 at weight 1, monotone between
    them, and without overflow."""
    return where((weight == 0) & (x2 == x2), x1,
                 where((weight == 1) & (x1 == x1), x2, _between(x1, x2, weight)))


def _between(a: Any, b: Any, t: Any) -> Tensor:
    """Return a + t (b - a) from the nearer end; where b - a is infinite, (1 - t) a + t b."""
    gap = b - a
    middle, above = a + gap * 0.5, b - gap * (1.0 - t)
    above = where(gap < 0, minimum(above, middle), maximum(above, middle))
    return where(gap - gap == 0, where(t < 0.5, a + gap * t, above), a * (1.0 - t) + b * t)


@elementwise("float", op="nan_to_num")
def _nan_to_num(x: Operand, nan: Operand, posinf: Operand, neginf: Operand, /) -> Tensor:
    """Return x with NaN and infinities replaced by numbers."""
    return where(x != x, nan, where(x == math.inf, posinf, where(x == -math.inf, neginf, x)))


@named_in_errors
def nan_to_num(x: Operand, /, nan: float = 0.0, posinf: float | None = None,
               neginf: float | None = None) -> Tensor:
    """Return x with NaN replaced by `nan` and infinities by `posinf` and `neginf`.

    By default infinities become the greatest and the least number of the type.

    >>> import tinyml
    >>> tinyml.nan_to_num(tinyml.tensor([float("nan"), 1.0]), nan=7.0).tolist()
    [7.0, 1.0]
    """
    x = as_tensor(x)
    dtype = x.dtype
    if not getattr(dtype, "is_float", True):
        return positive(x)
    top = float(finfo(dtype).max)
    return _nan_to_num(x, nan, top if posinf is None else posinf,
                       -top if neginf is None else neginf)
