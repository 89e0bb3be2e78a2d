"""Arithmetic: sums, products, quotients, signs, roundings and choices of the greater or lesser."""

from __future__ import annotations

import math
from typing import Any

import tinyml.ops.elementwise.complex as parts
import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.node import Tensor
from tinyml.dtypes import float32
from tinyml.ops.elementwise.conversion import COPY, complex, imag, real, where
from tinyml.ops.elementwise.define import Function, Operand, conj, listed, row
from tinyml.ops.samples.values import finfo

# ---- sums, products, quotients

add = row("add(x1, x2)", "number", "x1 + x2; integers wrap around.",
          lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g)
subtract = row("subtract(x1, x2)", "number", "x1 - x2; integers wrap around.",
               lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: -g, op="sub")
multiply = row("multiply(x1, x2)", "number", "x1 * x2; integers wrap around.",
               lambda g, _y, _a, b: g * conj(b), lambda g, _y, a, _b: g * conj(a), op="mul")
divide = row("divide(x1, x2)", "inexact", "x1 / x2; x / 0 is inf or NaN.",
             lambda g, _y, _a, b: g / conj(b), lambda g, y, _a, b: -(g * conj(y)) / conj(b),
             op="div", ulp=2.5)
reciprocal = row("reciprocal(x)", "inexact", "1 / x; 1 / 0 is inf.",
                 lambda g, y, _x: -(g * conj(y * y)), ulp=2.5)
square = row("square(x)", "number", "x * x; integers wrap around.",
             lambda g, _y, x: g * conj(x) * 2)
negative = row("negative(x)", "number", "-x; integers wrap around.", lambda g, _y, _x: -g, op="neg")


@listed
def positive(x: Operand, /) -> Tensor:
    """x in new memory."""
    return apply(COPY, x)


floor_divide = row(
    "floor_divide(x1, x2)", "real",
    "The greatest whole number not above x1 / x2, x1 / x2 where one is infinite; of integers 0 "
    "where x2 is 0.",
    ulp=1, samples=samples.division())
remainder = row(
    "remainder(x1, x2)", "real",
    "x1 - x2 * floor_divide(x1, x2), with the sign of x2; of integers 0 where x2 is 0.",
    lambda g, _y, _a, _b: g, lambda g, _y, a, b: -(g * floor_divide(a, b)),
    samples=samples.division())
fmod = row("fmod(x1, x2)", "real", "x1 - x2 * trunc(x1 / x2), with the sign of x1.",
           lambda g, _y, _a, _b: g, lambda g, _y, a, b: -(g * trunc(a / b)),
           samples=samples.division())

# ---- signs


def _sign_slope(g: Any, y: Any, x: Any) -> Any:
    if x.dtype.kind != "complex":
        return g * 0.0
    return where(x == 0, 0.0, (g - y * real(conj(y) * g)) / abs(x))



sign = row("sign(x)", "number", "-1, 0 or 1 by the sign of x, x / |x| if complex; NaN stays NaN.",
           _sign_slope, parts=parts.sign, samples=samples.finite(samples.unary()))
abs = row("abs(x)", "size", "|x|; the least integer stays itself.",
          lambda g, _y, x: g * sign(x), parts=parts.size)
copysign = row("copysign(x1, x2)", "float", "|x1| with the sign of x2, that of -0.0 and NaN too.",
               lambda g, y, a, _b: g * sign(a) * sign(y), None)
signbit = row("signbit(x)", "check", "Whether the sign is minus, that of -0.0 and of NaN too.",
              samples=samples.predicate())
heaviside = row("heaviside(x1, x2)", "float", "0 below 0, 1 above it, x2 at 0; NaN stays NaN.",
                body=lambda x1, x2: where(x1 == 0, x2, where(x1 < 0, 0.0, where(x1 > 0, 1.0, x1))),
                differentiable=False)

# ---- roundings

floor = row("floor(x)", "real", "The greatest whole number not above x, in x's type.")
ceil = row("ceil(x)", "real", "The least whole number not below x, in x's type.")
trunc: Function = row("trunc(x)", "real", "x without its fraction, in x's type.")
rint: Function = row("rint(x)", "number", "The nearest whole number, the even one of two.",
                     op="round", parts=lambda z: complex(rint(real(z)), rint(imag(z))))
frac = row("frac(x)", "float", "x - trunc(x), the fraction with x's sign.",
           lambda g, _y, _x: g, body=lambda x: x - trunc(x))
nextafter = row("nextafter(x1, x2)", "wide", "The number next to x1 in the direction of x2.",
                lambda g, _y, a, b: where(a == b, 0.0, g), None,
                samples=samples.binary(mixed=False))


@listed
def round(x: Operand, /, *, decimals: int = 0) -> Tensor:
    """The nearest multiple of 10^-decimals, the even one of two; integers stay as they are.

    >>> import tinyml
    >>> tinyml.round(tinyml.tensor([0.5, 1.5, -2.5])).tolist()
    [0.0, 2.0, -2.0]
    """
    if not decimals:
        return rint(x)
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    if decimals > 0:
        return rint(multiply(x, scale)) / scale
    return rint(divide(x, scale)) * scale


# ---- the greater and the lesser


def _share(g: Any, won: Any, tied: Any) -> Any:
    return where(won, g, where(tied, g * 0.5, 0.0))


maximum = row("maximum(x1, x2)", "real",
              "The greater; NaN where one is. At a tie each side gets half the gradient.",
              lambda g, _y, a, b: _share(g, a > b, a == b),
              lambda g, _y, a, b: _share(g, b > a, a == b))
minimum = row("minimum(x1, x2)", "real",
              "The lesser; NaN where one is. At a tie each side gets half the gradient.",
              lambda g, _y, a, b: _share(g, a < b, a == b),
              lambda g, _y, a, b: _share(g, b < a, a == b))
fmax = row("fmax(x1, x2)", "real", "The greater; the other where one is NaN.",
           body=lambda x1, x2: where(x1 != x1, x2, where(x2 != x2, x1, maximum(x1, x2))))
fmin = row("fmin(x1, x2)", "real", "The lesser; the other where one is NaN.",
           body=lambda x1, x2: where(x1 != x1, x2, where(x2 != x2, x1, minimum(x1, x2))))


_CLIP = row("clip(x, low, high)", "real", "x, but not below `low` and not above `high`.",
            lambda g, _y, x, low, high: where((x >= low) & (x <= high), g, 0.0),
            lambda g, _y, x, low, high: where((x < low) & (low < high), g, 0.0),
            lambda g, _y, x, low, high: where((x > high) | (low > high), g, 0.0),
            body=lambda x, low, high: minimum(maximum(x, low), high))


@listed
def clip(x: Operand, /, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """x, but not below `min` and not above `max`; `max` where min is above it.

    >>> import tinyml
    >>> tinyml.clip(tinyml.tensor([-1.0, 0.5, 9.0]), 0.0, 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    if min is None:
        return positive(x) if max is None else minimum(x, max)
    return maximum(x, min) if max is None else _CLIP(x, min, max)


# ---- whole numbers

gcd = row("gcd(x1, x2)", "integer", "The greatest common divisor, not negative; gcd(0, 0) is 0.")
lcm = row("lcm(x1, x2)", "integer", "The least common multiple, not negative; 0 where one is 0.",
          body=lambda x1, x2: abs(floor_divide(x1, gcd(x1, x2))) * abs(x2))

# ---- several at once

addcmul = row("addcmul(x, x1, x2, value=1)", "number", "x + value x1 x2.",
              body=lambda x, x1, x2, value: x + x1 * x2 * value, ulp=1)
addcdiv = row("addcdiv(x, x1, x2, value=1)", "float", "x + value x1 / x2.",
              body=lambda x, x1, x2, value: x + x1 / x2 * value, ulp=1)
lerp = row("lerp(x1, x2, weight)", "float", "x1 + weight (x2 - x1): at 0 it is x1, at 1 x2.",
           body=lambda x1, x2, weight: where(weight < 0.5, x1 + weight * (x2 - x1),
                                             x2 - (x2 - x1) * (1.0 - weight)), ulp=2)
_NAN_TO_NUM = row(
    "nan_to_num(x, nan, posinf, neginf)", "float", "x with other numbers for NaN and infinities.",
    body=lambda x, nan, posinf, neginf: where(
        x != x, nan, where(x == math.inf, posinf, where(x == -math.inf, neginf, x))))


@listed
def nan_to_num(x: Operand, /, nan: float = 0.0, posinf: float | None = None,
               neginf: float | None = None) -> Tensor:
    """x with NaN replaced by `nan`, infinities by `posinf` and `neginf`: the extremes by default.

    >>> import tinyml
    >>> tinyml.nan_to_num(tinyml.tensor([float("nan"), 1.0]), nan=7.0).tolist()
    [7.0, 1.0]
    """
    dtype = getattr(x, "dtype", float32)
    if not getattr(dtype, "is_float", True):
        return positive(x)
    top = float(finfo(dtype).max)
    return _NAN_TO_NUM(x, nan, top if posinf is None else posinf,
                       -top if neginf is None else neginf)
