"""Transcendental functions: powers, logarithms, trigonometric and hyperbolic functions, erf.

Error bounds of inexact functions are those of the OpenCL C specification 3.0, section 7.4
(relative error as ULPs).
"""

from __future__ import annotations

import builtins
import cmath
import math
from typing import Any

import tinyml.ops.elementwise.complex_bodies as of_complex
import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.upload import SCALARS
from tinyml.ops.elementwise.arithmetic import abs, maximum, remainder, rint, trunc
from tinyml.ops.elementwise.conversion import COPY, complex, conj, imag, real, where
from tinyml.ops.elementwise.define import Operand, elementwise

__all__ = [
    "acos", "acosh", "angle", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "deg2rad",
    "erf", "erfc", "exp", "exp2", "expm1", "float_power", "frexp", "hypot", "ldexp", "log",
    "log10", "log1p", "log2", "logaddexp", "logaddexp2", "logb", "polar", "pow", "rad2deg",
    "rsqrt", "scaled", "sin", "sinc", "sinh", "sqrt", "tan", "tanh", "xlogy",
]

_LN2, _LN10 = math.log(2.0), math.log(10.0)
_POSITIVE: Any = samples.unary(0.1, 3.0, (1e-30, 1e30))
_INSIDE: Any = samples.finite(samples.unary(-0.95, 0.95, (-1.0, 1.0)))
_CIRCLE: Any = samples.unary(-3.0, 3.0, (-100.0, 100.0))

# ---- powers


def _power_base(g: Any, _y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, SCALARS):
        return g * 0.0 if b == 0 else g * conj(a ** (b - 1) * b)
    # At 0^0 the slope is 0, where 0 times an infinity would give NaN.
    return g * conj(b * a ** where((a == 0) & (b == 0), 1.0, b - 1))


def _power_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(a, SCALARS):
        if a == 0:
            return where(real(b) >= 0, 0.0, g * conj(y * -math.inf))
        whole = cmath.log(a)
        return g * conj(y * (whole if isinstance(a, builtins.complex) else
                             math.nan if a < 0 else whole.real))
    right: Any = b.real if isinstance(b, SCALARS) else real(b)
    return where((a == 0) & (right >= 0), 0.0, g * conj(y * log(a)))


@elementwise("number", ulp=16, samples=samples.finite(samples.power()),
             grad=(_power_base, _power_exponent), complex_body=of_complex.power)
def pow(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 to the power x2 (IEEE 754 pow); integers wrap around; with a negative x2 they are
    truncated toward 0, and 0 for x1 = 0."""
    ...


def float_power(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 to the power x2 in float64, or complex128 if one is complex.

    >>> import tinyml
    >>> tinyml.float_power(tinyml.tensor([2, 4]), -1).tolist()
    [0.5, 0.25]
    """
    def wide(x: Any) -> Any:
        if isinstance(x, SCALARS):
            return x
        whole: Any = x if isinstance(x, Data) else apply(COPY, x)
        return whole.astype("complex128" if whole.dtype.kind == "complex" else "float64")

    return pow(wide(x1), wide(x2))


@elementwise("inexact", ulp=3, samples=samples.unary(-3.0, 3.0, (-80.0, 80.0)),
             grad=lambda g, y, _x: g * conj(y), complex_body=of_complex.exp)
def exp(x: Operand, /) -> Tensor:
    """Return e to the power x."""
    ...


@elementwise("float", ulp=3, samples=samples.unary(-3.0, 3.0, (-120.0, 120.0)),
             grad=lambda g, y, _x: g * y * _LN2)
def exp2(x: Operand, /) -> Tensor:
    """Return 2 to the power x."""
    ...


@elementwise("inexact", ulp=3, samples=samples.unary(-3.0, 3.0, (-1e-3, 1e-3)),
             grad=lambda g, y, _x: g * conj(y + 1.0), complex_body=of_complex.expm1)
def expm1(x: Operand, /) -> Tensor:
    """Return exp(x) - 1 without cancellation."""
    ...


@elementwise("inexact", ulp=3, samples=_POSITIVE, grad=lambda g, y, _x: g / conj(y * 2),
             complex_body=of_complex.sqrt)
def sqrt(x: Operand, /) -> Tensor:
    """Return the square root; NaN below 0."""
    ...


@elementwise("inexact", ulp=5, samples=_POSITIVE, grad=lambda g, y, _x: g * conj(y * y * y) * -0.5)
def rsqrt(x: Operand, /) -> Tensor:
    """Return 1 / sqrt(x); inf at 0, NaN below."""
    return 1.0 / sqrt(x)


def _share(x: Any, length: Any) -> Any:
    """Return x / length, but 0 for length 0: the slope of a length at its kink."""
    return where(length == 0, 0.0, x / where(length == 0, 1.0, length))


@elementwise("float", ulp=4,
             grad=(lambda g, y, a, _b: g * _share(a, y), lambda g, y, _a, b: g * _share(b, y)))
def hypot(x1: Operand, x2: Operand, /) -> Tensor:
    """Return sqrt(x1^2 + x2^2) without overflow; inf where one is infinite, even next to NaN."""
    ...


# ---- logarithms


@elementwise("inexact", ulp=3, samples=_POSITIVE, grad=lambda g, _y, x: g / conj(x),
             complex_body=of_complex.log)
def log(x: Operand, /) -> Tensor:
    """Return the natural logarithm; -inf at 0, NaN below."""
    ...


@elementwise("inexact", ulp=2, samples=samples.unary(-0.9, 3.0, (-1e-3, 1e-3)),
             grad=lambda g, _y, x: g / conj(x + 1.0), complex_body=of_complex.log1p)
def log1p(x: Operand, /) -> Tensor:
    """Return log(1 + x) without cancellation."""
    ...


@elementwise("inexact", ulp=3, samples=_POSITIVE, grad=lambda g, _y, x: g / conj(x * _LN2),
             complex_body=of_complex.log_to(2.0))
def log2(x: Operand, /) -> Tensor:
    """Return the logarithm to base 2; -inf at 0, NaN below."""
    ...


@elementwise("inexact", ulp=3, samples=_POSITIVE, grad=lambda g, _y, x: g / conj(x * _LN10),
             complex_body=of_complex.log_to(10.0))
def log10(x: Operand, /) -> Tensor:
    """Return the logarithm to base 10; -inf at 0, NaN below."""
    ...


def _apart(a: Any, b: Any) -> Any:
    """Return a - b, but 0 for equal infinities, which share the gradient as other equals do."""
    return where((a == b) & (a - a != 0), 0.0, a - b)


@elementwise("float", ulp=8, grad=(lambda g, _y, a, b: g * _apart(a, b).op("sigmoid"),
                                   lambda g, _y, a, b: g * _apart(b, a).op("sigmoid")))
def logaddexp(x1: Operand, x2: Operand, /) -> Tensor:
    """Return log(exp(x1) + exp(x2)) without overflow."""
    return where(x1 == x2, x1 + _LN2, maximum(x1, x2) + log1p(exp(-abs(x1 - x2))))


@elementwise("float", ulp=8, grad=(lambda g, _y, a, b: g * (_apart(a, b) * _LN2).op("sigmoid"),
                                   lambda g, _y, a, b: g * (_apart(b, a) * _LN2).op("sigmoid")))
def logaddexp2(x1: Operand, x2: Operand, /) -> Tensor:
    """Return log2(2^x1 + 2^x2) without overflow."""
    return where(x1 == x2, x1 + 1.0, maximum(x1, x2) + log1p(exp2(-abs(x1 - x2))) * (1 / _LN2))


def _as_tensor(x: Any, other: Any) -> Any:
    """Return a number as a tensor like the other operand, so that functions accept it.

    It is NaN where the other is NaN, and so is any result made from both.
    """
    return x if isinstance(x, Data) else where(other == other, x, other)


@elementwise("float", ulp=4, samples=samples.binary(-3.0, 3.0, second=(0.1, 3.0)),
             grad=(lambda g, _y, _a, b: g.op("xlogy", b),
                   lambda g, _y, a, b: where(a == 0, 0.0, g * (a / where(a == 0, 1.0, b)))))
def xlogy(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 log(x2), or 0 where x1 is 0; NaN where x2 is."""
    return where((x1 == 0) & (x2 == x2), 0.0, x1 * log(_as_tensor(x2, x1)))


# ---- exponents of floats


@elementwise("float")
def logb(x: Operand, /) -> Tensor:
    """Return the exponent of x as a number: floor(log2(|x|)), exactly."""
    ...


@elementwise("float", word="ldexp", ulp=1, samples=samples.scaling(),
             grad=(lambda g, _y, _a, b: g.op("scaled", b), None))
def scaled(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 times 2 to the power x2, which is a whole number."""
    ...


@elementwise("float", ulp=4, samples=samples.binary(-3.0, 3.0, second=(-9.0, 9.0), hard=False),
             grad=(lambda g, _y, _a, b: g.op("ldexp", b), lambda g, y, _a, _b: g * y * _LN2))
def ldexp(x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 times 2^x2; exact for a whole x2."""
    return _ldexp(x1, _as_tensor(x2, x1))


def _ldexp(x: Any, power: Any) -> Tensor:
    whole = trunc(power)
    return scaled(x, whole) * exp2(where(power == whole, 0.0, power - whole))


def frexp(x: Operand, /) -> tuple[Tensor, Tensor]:
    """Return (m, e) with x = m 2^e and 0.5 <= |m| < 1, e int32; e = 0 for 0, infinities and NaN.

    >>> import tinyml
    >>> [part.tolist() for part in tinyml.frexp(tinyml.tensor([12.0]))]
    [[0.75], [4]]
    """
    size = abs(x)
    power = where((size > 0) & (size < math.inf), logb(x) + 1.0, 0.0)
    return ldexp(x, -power), power.astype("int32")


# ---- trigonometric functions


@elementwise("inexact", ulp=4, samples=_CIRCLE, grad=lambda g, _y, x: g * conj(x.cos()),
             complex_body=of_complex.sin)
def sin(x: Operand, /) -> Tensor:
    """Return the sine of x radians."""
    ...


@elementwise("inexact", ulp=4, samples=_CIRCLE, grad=lambda g, _y, x: -(g * conj(sin(x))),
             complex_body=of_complex.cos)
def cos(x: Operand, /) -> Tensor:
    """Return the cosine of x radians."""
    ...


@elementwise("inexact", ulp=5, samples=samples.unary(-1.3, 1.3, (-9, 9)),
             grad=lambda g, y, _x: g * conj(y * y + 1.0), complex_body=of_complex.tan)
def tan(x: Operand, /) -> Tensor:
    """Return the tangent of x radians."""
    ...


@elementwise("inexact", ulp=4, samples=_INSIDE, complex_body=of_complex.asin,
             grad=lambda g, _y, x: g / conj(sqrt((1.0 - x) * (x + 1.0))))
def asin(x: Operand, /) -> Tensor:
    """Return the angle whose sine is x; NaN beyond 1."""
    ...


@elementwise("inexact", ulp=4, samples=_INSIDE, complex_body=of_complex.acos,
             grad=lambda g, _y, x: -g / conj(sqrt((1.0 - x) * (x + 1.0))))
def acos(x: Operand, /) -> Tensor:
    """Return the angle whose cosine is x; NaN beyond 1."""
    ...


def _one_and_square(x: Any) -> Any:
    """Return 1 + x^2, as (x - i) (x + i) for complex numbers, which does not cancel near +-i."""
    return (x - 1j) * (x + 1j) if x.dtype.kind == "complex" else x * x + 1.0


@elementwise("inexact", ulp=5, samples=samples.finite(_CIRCLE), complex_body=of_complex.atan,
             grad=lambda g, _y, x: g / conj(_one_and_square(x)))
def atan(x: Operand, /) -> Tensor:
    """Return the angle whose tangent is x."""
    ...


def _turn(x: Any, a: Any, b: Any) -> Any:
    """Return x / (a^2 + b^2) without overflow, but 0 at the origin."""
    length = hypot(a, b)
    return _share(_share(x, length), length)


@elementwise("float", ulp=6, grad=(lambda g, _y, a, b: g * _turn(b, a, b),
                                   lambda g, _y, a, b: g * _turn(-a, a, b)))
def atan2(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the angle of the point (x2, x1), from -pi to pi."""
    ...


@elementwise("angle", ulp=6, complex_body=lambda z: atan2(imag(z), real(z)))
def angle(x: Operand, /) -> Tensor:
    """Return the angle of x in the complex plane; for real numbers, pi below 0, else 0."""
    return where(x < 0, math.pi, where(x == x, 0.0, x))


@elementwise("pair", ulp=6, samples=samples.binary(mixed=False, hard=False))
def polar(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the complex number with modulus x1 and angle x2."""
    turn = x2 if isinstance(x2, Data) else x1 * 0.0 + x2
    return complex(x1 * cos(turn), x1 * sin(turn))


@elementwise("float", ulp=2, grad=lambda g, _y, _x: g * (math.pi / 180))
def deg2rad(x: Operand, /) -> Tensor:
    """Return x degrees in radians."""
    return x * (math.pi / 180)


@elementwise("float", ulp=2, grad=lambda g, _y, _x: g * (180 / math.pi))
def rad2deg(x: Operand, /) -> Tensor:
    """Return x radians in degrees."""
    return x * (180 / math.pi)


@elementwise("float", ulp=8)
def sinc(x: Operand, /) -> Tensor:
    """Return sin(pi x) / (pi x), 1 at 0."""
    return _sinc(x)


def _sinc(x: Any) -> Tensor:
    """Return sinc(x), from the sine of x minus the nearest whole number; 0 where x is whole."""
    whole = rint(x)
    sine = sin((x - whole) * math.pi)
    around = where(x == 0, 1.0, x) * math.pi
    near = 1.0 - x * x * (math.pi**2 / 6)  # has the first two derivatives of sinc at 0
    return where(x == 0, near, where(remainder(whole, 2.0) == 0, sine, -sine) / around)


# ---- hyperbolic functions


@elementwise("inexact", ulp=4, grad=lambda g, _y, x: g * conj(x.op("cosh")),
             complex_body=of_complex.sinh)
def sinh(x: Operand, /) -> Tensor:
    """Return the hyperbolic sine."""
    ...


@elementwise("inexact", ulp=4, grad=lambda g, _y, x: g * conj(sinh(x)),
             complex_body=of_complex.cosh)
def cosh(x: Operand, /) -> Tensor:
    """Return the hyperbolic cosine."""
    ...


@elementwise("inexact", ulp=5, samples=samples.unary(-3.0, 3.0, (-12.0, 12.0)),
             grad=lambda g, y, _x: g - g * conj(y * y), complex_body=of_complex.tanh)
def tanh(x: Operand, /) -> Tensor:
    """Return the hyperbolic tangent."""
    ...


def _root_of_one_and_square(x: Any) -> Any:
    return sqrt(_one_and_square(x)) if x.dtype.kind == "complex" else hypot(x, 1.0)


@elementwise("inexact", ulp=4, samples=samples.finite(samples.unary()),
             grad=lambda g, _y, x: g / conj(_root_of_one_and_square(x)),
             complex_body=of_complex.asinh)
def asinh(x: Operand, /) -> Tensor:
    """Return the inverse hyperbolic sine."""
    ...


@elementwise("inexact", ulp=4, samples=samples.finite(samples.unary(1.1, 9.0, (1.0, 1e30))),
             grad=lambda g, _y, x: g / conj(sqrt(x - 1.0) * sqrt(x + 1.0)),
             complex_body=of_complex.acosh)
def acosh(x: Operand, /) -> Tensor:
    """Return the inverse hyperbolic cosine; NaN below 1."""
    ...


@elementwise("inexact", ulp=5, samples=_INSIDE, complex_body=of_complex.atanh,
             grad=lambda g, _y, x: g / conj((1.0 - x) * (x + 1.0)))
def atanh(x: Operand, /) -> Tensor:
    """Return the inverse hyperbolic tangent; NaN beyond 1."""
    ...


# ---- the error function


@elementwise("float", ulp=16, grad=lambda g, _y, x: g * exp(-(x * x)) * (2 / math.sqrt(math.pi)))
def erf(x: Operand, /) -> Tensor:
    """Return the error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x."""
    ...


@elementwise("float", ulp=16, grad=lambda g, _y, x: g * exp(-(x * x)) * (-2 / math.sqrt(math.pi)))
def erfc(x: Operand, /) -> Tensor:
    """Return the complementary error function, 1 - erf(x) without cancellation."""
    ...
