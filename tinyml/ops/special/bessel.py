"""Bessel functions of orders 0 and 1, plain and modified, and Airy's function Ai.

Near 0 each is a polynomial in x^2; beyond, a fit of the factor on the leading behaviour: Hankel's
form for those that oscillate (DLMF 10.17.3), exp(-+x) / sqrt(x) for the others (10.40.1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.make import Tensor
from tinyml.ops.elementwise import abs, cos, exp, log, maximum, minimum, sign, sin, sqrt, where
from tinyml.ops.elementwise.define import Operand, elementwise
from tinyml.ops.samples import Sample
from tinyml.ops.special.error import ROOT_HALF, ROOT_PI, horner, ratio
from tinyml.ops.special.tables import (
    AI,
    AI_FAR,
    AI_P,
    AI_Q,
    AIP,
    AIP_FAR,
    AIP_P,
    AIP_Q,
    I0,
    I0_FAR,
    I0_NEAR,
    I1,
    I1_FAR,
    I1_NEAR,
    J0,
    J1,
    K0,
    K0_FAR,
    K1,
    K1_FAR,
    P0,
    P1,
    Q0,
    Q1,
    Y0,
    Y1,
    Fit,
)

__all__ = ["airy_ai", "airy_aip", "i0", "i0e", "i1", "i1e", "j0", "j1", "k0", "k0e", "k1", "k1e",
           "spherical_j0", "y0", "y1"]


def _over(y: Any, x: Any, at_zero: float) -> Tensor:
    """Return y / x, or its limit at 0."""
    zero = x == 0
    return where(zero, at_zero, y / where(zero, 1.0, x))


# ---- J and Y


def _hankel(x: Any, order: int, *, second: bool) -> Tensor:
    """Return J or Y for x >= 6; cos and sin of x - pi/4 - order pi/2 come from those of x."""
    p, q = ((P0, Q0), (P1, Q1))[order]
    w = 1.0 / (x * x)
    even, odd = ratio(w, p), ratio(w, q) / x
    c, s = cos(x), sin(x)
    c, s = (c + s, s - c) if order == 0 else (s - c, -(s + c))
    y = (even * s + odd * c) if second else (even * c - odd * s)
    return where(x == math.inf, 0.0, y / (sqrt(x) * ROOT_PI))


def _near(x: Any, order: int) -> tuple[Any, Any]:
    """Return J0, or J1 / x, for |x| <= 6, exact at 0, and the variable of the fits."""
    z = minimum(x * x, 36.0)
    t = z * (1 / 18) - 1.0
    return (z * horner(t, J1) + 0.5 if order else z * horner(t, J0) + 1.0), t


def _y0(x: Any) -> Tensor:
    first, t = _near(x, 0)
    near = horner(t, Y0) + log(x) * first * (2 / math.pi)
    return where(x < 6.0, near, _hankel(maximum(x, 6.0), 0, second=True))


def _y1(x: Any) -> Tensor:
    first, t = _near(x, 1)
    near = x * horner(t, Y1) + (x * log(x) * first - 1.0 / x) * (2 / math.pi)
    y = where(x < 6.0, near, _hankel(maximum(x, 6.0), 1, second=True))
    return where(x == 0, -math.inf, y)


_wide = samples.unary(-7.0, 9.0, (-60.0, 60.0))
_right = samples.unary(0.2, 9.0, (0.001, 60.0))


@elementwise("float", ulp=8, samples=_wide, grad=lambda g, _y, x: -g * x.op("j1"))
def j0(x: Operand, /) -> Tensor:
    """Return the Bessel function of the first kind of order 0."""
    a = abs(x)
    return where(a < 6.0, _near(x, 0)[0], _hankel(maximum(a, 6.0), 0, second=False))


@elementwise("float", ulp=8, samples=_wide, grad=lambda g, y, x: g * (j0(x) - _over(y, x, 0.5)))
def j1(x: Operand, /) -> Tensor:
    """Return the Bessel function of the first kind of order 1."""
    a = abs(x)
    return where(a < 6.0, x * _near(x, 1)[0], sign(x) * _hankel(maximum(a, 6.0), 1, second=False))


@elementwise("float", ulp=8, samples=_right, grad=lambda g, _y, x: -g * x.op("y1"))
def y0(x: Operand, /) -> Tensor:
    """Return the Bessel function of the second kind of order 0; -inf at 0, NaN below."""
    return _y0(x)


@elementwise("float", ulp=8, samples=_right, grad=lambda g, y, x: g * (y0(x) - y / x))
def y1(x: Operand, /) -> Tensor:
    """Return the Bessel function of the second kind of order 1; -inf at 0, NaN below."""
    return _y1(x)


# ---- I and K


def _i(x: Any, near: tuple[float, ...], far: tuple[float, ...], *, odd: bool,
       scaled: bool) -> Tensor:
    """Return I of order 0 or 1, times exp(-|x|) if scaled.

    The exponential is computed in two halves, which do not overflow.
    """
    a = abs(x)
    small = horner(minimum(x * x, 64.0), near) * (x if odd else 1.0)
    b = maximum(a, 8.0)
    large = horner(16.0 / b - 1.0, far) / sqrt(b) * (sign(x) if odd else 1.0)
    if scaled:
        return where(a < 8.0, small * exp(-a), large)
    half = exp(b * 0.5)
    top = sign(x) * math.inf if odd else math.inf
    return where(a == math.inf, top, where(a < 8.0, small, large * half * half))


def _k(x: Any, near: tuple[float, ...], other: tuple[float, ...], far: Fit, *, odd: bool,
       scaled: bool) -> Tensor:
    """Return K of order 0 or 1, times exp(x) if scaled."""
    z = x * x
    if odd:
        small = 1.0 / x + x * (log(x) * horner(z, other) + horner(z, near))
    else:
        small = horner(z, near) - log(x) * horner(z, other)
    b = maximum(x, 1.0)
    large = ratio(1.0 / b, far) / sqrt(b)
    y = where(x < 1.0, small * exp(x), large) if scaled else where(
        x < 1.0, small, large * exp(-b))
    return where(x == 0, math.inf, y)


@elementwise("float", ulp=8, samples=_wide, grad=lambda g, _y, x: g * x.op("i1"))
def i0(x: Operand, /) -> Tensor:
    """Return the modified Bessel function of the first kind of order 0."""
    return _i(x, I0, I0_FAR, odd=False, scaled=False)


@elementwise("float", ulp=8, samples=_wide, grad=lambda g, y, x: g * (i0(x) - _over(y, x, 0.5)))
def i1(x: Operand, /) -> Tensor:
    """Return the modified Bessel function of the first kind of order 1."""
    return _i(x, I1, I1_FAR, odd=True, scaled=False)


@elementwise("float", ulp=8, samples=_wide, grad=lambda g, y, x: g * (x.op("i1e") - sign(x) * y))
def i0e(x: Operand, /) -> Tensor:
    """Return exp(-|x|) times the modified Bessel function of the first kind of order 0."""
    return _i(x, I0, I0_FAR, odd=False, scaled=True)


@elementwise("float", ulp=8, samples=_wide,
             grad=lambda g, y, x: g * (i0e(x) - sign(x) * y - _over(y, x, 0.5)))
def i1e(x: Operand, /) -> Tensor:
    """Return exp(-|x|) times the modified Bessel function of the first kind of order 1."""
    return _i(x, I1, I1_FAR, odd=True, scaled=True)


@elementwise("float", ulp=8, samples=_right, grad=lambda g, _y, x: -g * x.op("k1"))
def k0(x: Operand, /) -> Tensor:
    """Return the modified Bessel function of the second kind of order 0; inf at 0, NaN below."""
    return _k(x, K0, I0_NEAR, K0_FAR, odd=False, scaled=False)


@elementwise("float", ulp=8, samples=_right, grad=lambda g, y, x: -g * (k0(x) + y / x))
def k1(x: Operand, /) -> Tensor:
    """Return the modified Bessel function of the second kind of order 1; inf at 0, NaN below."""
    return _k(x, K1, I1_NEAR, K1_FAR, odd=True, scaled=False)


@elementwise("float", ulp=8, samples=_right, grad=lambda g, y, x: g * (y - x.op("k1e")))
def k0e(x: Operand, /) -> Tensor:
    """Return exp(x) times the modified Bessel function of the second kind of order 0; inf at 0,
    NaN below."""
    return _k(x, K0, I0_NEAR, K0_FAR, odd=False, scaled=True)


@elementwise("float", ulp=8, samples=_right, grad=lambda g, y, x: g * (y - k0e(x) - y / x))
def k1e(x: Operand, /) -> Tensor:
    """Return exp(x) times the modified Bessel function of the second kind of order 1; inf at 0,
    NaN below."""
    return _k(x, K1, I1_NEAR, K1_FAR, odd=True, scaled=True)


# ---- the spherical function of order 0


def _spherical_grad(g: Any, y: Any, x: Any) -> Any:
    """Return -g j_1(x); near 0 its series, since (cos x - sin x / x) / x cancels (DLMF 10.53.1).
    """
    series = [-1.0 / (math.factorial(k) * (-2.0) ** k * math.prod(range(3, 2 * k + 4, 2)))
              for k in range(9)]
    small = abs(x) < 1.0
    near = x * horner(where(small, x * x, 0.0), series)
    return g * where(small, near, (cos(x) - y) / where(small, 1.0, x))


@elementwise("float", ulp=8, samples=_wide, grad=_spherical_grad)
def spherical_j0(x: Operand, /) -> Tensor:
    """Return the spherical Bessel function of the first kind of order 0, sin(x) / x."""
    return where(x == 0, 1.0, where(abs(x) == math.inf, 0.0, sin(x) / x))


# ---- Airy


def _airy(x: Any, near: tuple[float, ...], far: Fit, p: Fit, q: Fit, *, slope: bool) -> Tensor:
    """Return Ai or its derivative (DLMF 9.7.5, 9.7.6 for x >= 1; 9.7.9, 9.7.10 for x <= -3)."""
    a = abs(x)
    above, below = maximum(x, 1.0), maximum(-x, 3.0)
    z = above * sqrt(above) * (2 / 3)
    root = sqrt(sqrt(above))
    right = exp(-z) * ratio(1.0 / z, far) * (0.5 / ROOT_PI)
    right = -right * root if slope else right / root
    z = below * sqrt(below) * (2 / 3)
    c, s = (cos(z) + sin(z)) * ROOT_HALF, (sin(z) - cos(z)) * ROOT_HALF
    even, odd = ratio(1.0 / (z * z), p), ratio(1.0 / (z * z), q) / z
    root = sqrt(sqrt(below))
    left = ((even * s - odd * c) * root if slope else (even * c + odd * s) / root) / ROOT_PI
    y = where(x < -3.0, left, where(x < 1.0, horner(minimum(maximum(x, -3.0), 1.0) + 1.0, near),
                                    right))
    return where(a == math.inf, where(x > 0, 0.0, math.nan if slope else 0.0),
                 where(x > 1e8, 0.0, y))


def _tamed(x: Any) -> Any:
    finite = np.isfinite(x) & (np.abs(x) > 1e3)
    return np.where(finite, np.copysign(x.dtype.type(2), x), x)


def _around_zero(dtype: str) -> list[Sample]:
    """Return samples without values so large that their phase is unknown."""
    cases = samples.unary(-7.0, 4.0, (-30.0, 20.0))(dtype)
    return [s._replace(args=(_tamed(s.args[0]),)) if s.name == "special" else s for s in cases]


@elementwise("float", ulp=64, samples=_around_zero, grad=lambda g, _y, x: g * x.op("airy_aip"))
def airy_ai(x: Operand, /) -> Tensor:
    """Return the Airy function Ai."""
    return _airy(x, AI, AI_FAR, AI_P, AI_Q, slope=False)


@elementwise("float", ulp=64, samples=_around_zero, grad=lambda g, _y, x: g * x * airy_ai(x))
def airy_aip(x: Operand, /) -> Tensor:
    """Return the derivative of the Airy function Ai."""
    return _airy(x, AIP, AIP_FAR, AIP_P, AIP_Q, slope=True)
