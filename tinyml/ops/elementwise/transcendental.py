"""Functions of analysis: powers, logarithms, circle and hyperbola.

Error bounds of inexact functions are those of the OpenCL C specification 3.0, section 7.4
(relative error as ULPs).
"""

from __future__ import annotations

import builtins
import cmath
import math
from typing import Any

import tinyml.ops.elementwise.complex as parts
import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.node import Data, Tensor
from tinyml.core.upload import SCALARS
from tinyml.ir.op import find
from tinyml.ops.elementwise.arithmetic import abs, maximum, remainder, rint, trunc
from tinyml.ops.elementwise.conversion import complex, imag, real, where
from tinyml.ops.elementwise.define import Function, Operand, conj, listed, row

_LN2, _LN10 = math.log(2.0), math.log(10.0)
_POSITIVE: Any = samples.unary(0.1, 3.0, (1e-30, 1e30))
_INSIDE: Any = samples.finite(samples.unary(-0.95, 0.95, (-1.0, 1.0)))
_CIRCLE: Any = samples.unary(-3.0, 3.0, (-100.0, 100.0))

# ---- powers and logarithms


@listed
def float_power(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 to the power x2 in float64, or complex128 where one is complex.

    >>> import tinyml
    >>> tinyml.float_power(tinyml.tensor([2, 4]), -1).tolist()
    [0.5, 0.25]
    """
    def wide(x: Any) -> Any:
        if isinstance(x, SCALARS):
            return x
        whole: Any = x if isinstance(x, Data) else apply(find("copy"), x)
        return whole.astype("complex128" if whole.dtype.kind == "complex" else "float64")

    return pow(wide(x1), wide(x2))


def _power_base(g: Any, _y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, SCALARS):
        return g * 0.0 if b == 0 else g * conj(a ** (b - 1) * b)
    # At 0^0 the slope is 0, where 0 times an infinity would say NaN.
    return g * conj(b * a ** where((a == 0) & (b == 0), 1.0, b - 1))


def _power_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(a, SCALARS):
        whole = cmath.log(a) if a != 0 else 0.0
        return g * conj(y * (whole if isinstance(a, builtins.complex) else
                             math.nan if a < 0 else whole.real))
    right: Any = b.real if isinstance(b, SCALARS) else real(b)
    return where((a == 0) & (right >= 0), 0.0, g * conj(y * log(a)))


pow = row("pow(x1, x2)", "number", "x1 to the power x2 (IEEE 754 pow); integers wrap around, and "
          "with a negative x2 are cut off toward 0, which of 0 is 0.",
          _power_base, _power_exponent, parts=parts.power, ulp=16,
          samples=samples.finite(samples.power()))
exp = row("exp(x)", "inexact", "e to the power x.", lambda g, y, _x: g * conj(y), parts=parts.exp,
          ulp=3,
          samples=samples.unary(-3.0, 3.0, (-80.0, 80.0)))
exp2 = row("exp2(x)", "float", "2 to the power x.", lambda g, y, _x: g * y * _LN2, ulp=3,
           samples=samples.unary(-3.0, 3.0, (-120.0, 120.0)))
expm1 = row("expm1(x)", "inexact", "exp(x) - 1 without cancellation.",
            lambda g, y, _x: g * conj(y + 1.0), parts=parts.expm1, ulp=3,
            samples=samples.unary(-3.0, 3.0, (-1e-3, 1e-3)))
log = row("log(x)", "inexact", "The natural logarithm; -inf at 0, NaN below.",
          lambda g, _y, x: g / conj(x), parts=parts.log, ulp=3, samples=_POSITIVE)
log1p = row("log1p(x)", "inexact", "log(1 + x) without cancellation.",
            lambda g, _y, x: g / conj(x + 1.0), parts=parts.log1p, ulp=2,
            samples=samples.unary(-0.9, 3.0, (-1e-3, 1e-3)))
log2 = row("log2(x)", "inexact", "The logarithm to base 2; -inf at 0, NaN below.",
           lambda g, _y, x: g / conj(x * _LN2), parts=parts.log_to(2.0), ulp=3, samples=_POSITIVE)
log10 = row("log10(x)", "inexact", "The logarithm to base 10; -inf at 0, NaN below.",
            lambda g, _y, x: g / conj(x * _LN10), parts=parts.log_to(10.0), ulp=3,
            samples=_POSITIVE)
sqrt = row("sqrt(x)", "inexact", "The square root; NaN below 0.",
           lambda g, y, _x: g / conj(y * 2), parts=parts.sqrt, ulp=3, samples=_POSITIVE)
rsqrt = row("rsqrt(x)", "inexact", "1 / sqrt(x); inf at 0, NaN below.",
            lambda g, y, _x: g * conj(y * y * y) * -0.5, body=lambda x: 1.0 / sqrt(x), ulp=5,
            samples=_POSITIVE)
hypot = row("hypot(x1, x2)", "float", "sqrt(x1^2 + x2^2) without overflow; inf beside NaN too.",
            lambda g, y, a, _b: g * (a / y), lambda g, y, _a, b: g * (b / y), ulp=4)
logaddexp = row(
    "logaddexp(x1, x2)", "float", "log(exp(x1) + exp(x2)) without overflow.",
    lambda g, _y, a, b: g / (exp(b - a) + 1.0), lambda g, _y, a, b: g / (exp(a - b) + 1.0),
    body=lambda x1, x2: where(x1 == x2, x1 + _LN2, maximum(x1, x2) + log1p(exp(-abs(x1 - x2)))),
    ulp=8)
logaddexp2 = row(
    "logaddexp2(x1, x2)", "float", "log2(2^x1 + 2^x2) without overflow.",
    lambda g, _y, a, b: g / (exp2(b - a) + 1.0), lambda g, _y, a, b: g / (exp2(a - b) + 1.0),
    body=lambda x1, x2: where(x1 == x2, x1 + 1.0, maximum(x1, x2)
                              + log1p(exp2(-abs(x1 - x2))) * (1 / _LN2)), ulp=8)
def _there(x: Any, other: Any) -> Any:
    """A number as a tensor where the other operand is, so that functions of it are, too.

    Where the other is NaN so is this, and so is what is made of both.
    """
    return x if isinstance(x, Data) else where(other == other, x, other)


def _scaled(x: Any, power: Any) -> Any:
    whole = trunc(power)
    return _SCALED(x, whole) * exp2(where(power == whole, 0.0, power - whole))


xlogy: Function = row("xlogy(x1, x2)", "float", "x1 log(x2), 0 where x1 is 0; NaN where x2 is.",
                      lambda g, _y, _a, b: xlogy(g, b), lambda g, _y, a, b: g * (a / b),
                      body=lambda x1, x2: where((x1 == 0) & (x2 == x2), 0.0,
                                                x1 * log(_there(x2, x1))), ulp=4,
                      samples=samples.binary(-3.0, 3.0, second=(0.1, 3.0)))

_LOGB = row("logb(x)", "float", "The exponent of x as a number: floor(log2(|x|)), exactly.")
_SCALED: Function = row("scaled(x1, x2)", "float", "x1 times 2 to the power x2, a whole number.",
                        lambda g, _y, _a, b: _SCALED(g, b), None, word="ldexp", ulp=1,
                        samples=samples.scaling())
ldexp: Function = row("ldexp(x1, x2)", "float", "x1 times 2^x2; of a whole x2 exactly.",
                      lambda g, _y, _a, b: ldexp(g, b), lambda g, y, _a, _b: g * y * _LN2, ulp=4,
                      body=lambda x1, x2: _scaled(x1, _there(x2, x1)),
                      samples=samples.binary(-3.0, 3.0, second=(-9.0, 9.0), hard=False))


@listed
def frexp(x: Operand, /) -> tuple[Tensor, Tensor]:
    """(m, e) with x = m 2^e and 0.5 <= |m| < 1, e int32; 0, infinities and NaN have e = 0.

    >>> import tinyml
    >>> [part.tolist() for part in tinyml.frexp(tinyml.tensor([12.0]))]
    [[0.75], [4]]
    """
    size = abs(x)
    power = where((size > 0) & (size < math.inf), _LOGB(x) + 1.0, 0.0)
    return ldexp(x, -power), power.astype("int32")


# ---- the circle

sin = row("sin(x)", "inexact", "The sine of x radians.",
          lambda g, _y, x: g * conj(cos(x)), parts=parts.sin, ulp=4, samples=_CIRCLE)
cos: Function = row("cos(x)", "inexact", "The cosine of x radians.",
                    lambda g, _y, x: -(g * conj(sin(x))), parts=parts.cos, ulp=4, samples=_CIRCLE)
tan = row("tan(x)", "inexact", "The tangent of x radians.",
          lambda g, y, _x: g * conj(y * y + 1.0), parts=parts.tan, ulp=5,
          samples=samples.unary(-1.3, 1.3, (-9, 9)))
asin = row("asin(x)", "inexact", "The angle whose sine is x; NaN beyond 1.",
           lambda g, _y, x: g / conj(sqrt((1.0 - x) * (x + 1.0))), parts=parts.asin, ulp=4,
           samples=_INSIDE)
acos = row("acos(x)", "inexact", "The angle whose cosine is x; NaN beyond 1.",
           lambda g, _y, x: -g / conj(sqrt((1.0 - x) * (x + 1.0))), parts=parts.acos, ulp=4,
           samples=_INSIDE)
atan = row("atan(x)", "inexact", "The angle whose tangent is x.",
           lambda g, _y, x: g / conj(x * x + 1.0), parts=parts.atan, ulp=5,
           samples=samples.finite(_CIRCLE))
atan2 = row("atan2(x1, x2)", "float", "The angle of the point (x2, x1), from -pi to pi.",
            lambda g, _y, a, b: g * (b / (a * a + b * b)),
            lambda g, _y, a, b: g * (-a / (a * a + b * b)), ulp=6)
angle = row("angle(x)", "angle", "The angle of x in the plane; of real numbers pi below 0, else 0.",
            body=lambda x: where(x < 0, math.pi, where(x == x, 0.0, x)),
            parts=lambda z: atan2(imag(z), real(z)), ulp=6)
polar = row("polar(x1, x2)", "pair", "The complex number of size x1 and angle x2.",
            body=lambda x1, x2: _polar(x1, x2 if isinstance(x2, Data) else x1 * 0.0 + x2), ulp=6,
            samples=samples.binary(mixed=False, hard=False))


def _polar(size: Any, turn: Any) -> Any:
    return complex(size * cos(turn), size * sin(turn))


deg2rad = row("deg2rad(x)", "float", "x degrees in radians.",
              lambda g, _y, _x: g * (math.pi / 180), body=lambda x: x * (math.pi / 180), ulp=2)
rad2deg = row("rad2deg(x)", "float", "x radians in degrees.",
              lambda g, _y, _x: g * (180 / math.pi), body=lambda x: x * (180 / math.pi), ulp=2)

# ---- the hyperbola

sinh = row("sinh(x)", "inexact", "The hyperbolic sine.",
           lambda g, _y, x: g * conj(cosh(x)), parts=parts.sinh, ulp=4)
cosh: Function = row("cosh(x)", "inexact", "The hyperbolic cosine.",
                     lambda g, _y, x: g * conj(sinh(x)), parts=parts.cosh, ulp=4)
tanh = row("tanh(x)", "inexact", "The hyperbolic tangent.",
           lambda g, y, _x: g - g * conj(y * y), parts=parts.tanh, ulp=5,
           samples=samples.unary(-3.0, 3.0, (-12.0, 12.0)))
asinh = row("asinh(x)", "inexact", "The inverse of sinh.",
            lambda g, _y, x: g / conj(sqrt(x * x + 1.0)), parts=parts.asinh, ulp=4,
            samples=samples.finite(samples.unary()))
acosh = row("acosh(x)", "inexact", "The inverse of cosh; NaN below 1.",
            lambda g, _y, x: g / conj(sqrt(x - 1.0) * sqrt(x + 1.0)), parts=parts.acosh, ulp=4,
            samples=samples.finite(samples.unary(1.1, 9.0, (1.0, 1e30))))
atanh = row("atanh(x)", "inexact", "The inverse of tanh; NaN beyond 1.",
            lambda g, _y, x: g / conj((1.0 - x) * (x + 1.0)), parts=parts.atanh, ulp=5,
            samples=_INSIDE)

sinc = row("sinc(x)", "float", "sin(pi x) / (pi x), 1 at 0.", body=lambda x: _sinc(x), ulp=8)


def _sinc(x: Any) -> Any:
    """The sine of a whole number of half turns is 0, so it is taken of what is left of x."""
    whole = rint(x)
    sine = sin((x - whole) * math.pi)
    around = where(x == 0, 1.0, x) * math.pi
    near = 1.0 - x * x * (math.pi**2 / 6)  # of the derivatives at 0, the first two
    return where(x == 0, near, where(remainder(whole, 2.0) == 0, sine, -sine) / around)


# ---- the error function

erf = row("erf(x)", "float",
          "The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.",
          lambda g, _y, x: g * exp(-(x * x)) * (2 / math.sqrt(math.pi)), ulp=16)
erfc = row("erfc(x)", "float", "The complementary error function, 1 - erf(x) without cancellation.",
           lambda g, _y, x: g * exp(-(x * x)) * (-2 / math.sqrt(math.pi)), ulp=16)
