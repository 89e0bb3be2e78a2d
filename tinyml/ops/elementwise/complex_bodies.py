"""Transcendental functions of complex numbers, by their real and imaginary parts.

They are the complex bodies of the functions of the same names. They call the real functions by
name, since `transcendental.py` imports this module. Branch cuts are those of the Array API; the
inverse functions are Kahan's ("Branch cuts for complex elementary functions", 1987), made of sqrt,
so that nothing cancels near a cut. Infinities and NaN follow ISO C, annex G, which the Array API
adopted.
"""

from __future__ import annotations

import math
from typing import Any

from tinyml.dtypes import float64
from tinyml.ops.elementwise.arithmetic import abs, copysign, maximum, minimum, sign
from tinyml.ops.elementwise.comparison import isfinite, isinf, isnan, logical_not
from tinyml.ops.elementwise.conversion import complex, imag, real, where


def _split(z: Any) -> tuple[Any, Any]:
    return real(z), imag(z)


def _turned(f: Any, z: Any) -> Any:
    """Return -i f(i z), which turns a circular function into a hyperbolic one, and back."""
    a, b = _split(z)
    u, v = _split(f(complex(-b, a)))
    return complex(v, -u)


def _nowhere(b: Any) -> Any:
    """Return whether an angle is infinite or NaN, so that it has no direction."""
    return logical_not(isfinite(b))


def _infinite(z: Any) -> Any:
    a, b = _split(z)
    return isinf(a) | isinf(b)


def _nan_above_zero(z: Any) -> Any:
    a, b = _split(z)
    return (a == 0) & isnan(b)


def _signed(number: float, x: Any) -> Any:
    """Return a number with the sign of x."""
    return copysign(number, x)


def exp(z: Any) -> Any:
    """Return e^a (cos b + i sin b)."""
    a, b = _split(z)
    power, (c, s) = a.exp(), _direction(a, b)
    return complex(power * c, where(b == 0, b, power * s))


def _direction(a: Any, b: Any) -> tuple[Any, Any]:
    """Return cos b and sin b; if a is infinite and b has no direction, e^a stays infinite or 0."""
    lost = isinf(a) & _nowhere(b)
    return where(lost, 1.0, b.cos()), where(lost & (a < 0), 0.0, b.sin())


def expm1(z: Any) -> Any:
    """Return e^z - 1 without cancellation: its real part is expm1(a) cos b - 2 sin(b / 2)^2."""
    a, b = _split(z)
    c, s = _direction(a, b)
    half = where(isinf(a), 0.0, (b * 0.5).sin())
    left = a.op("expm1") * c - half * half * 2.0 + 0.0  # -0 becomes 0
    return complex(left, where(b == 0, b, a.exp() * s))


def _exact_square(x: Any) -> tuple[Any, Any]:
    """Return x^2 rounded, and its rounding error, exactly (Dekker 1971)."""
    turned = x * (2.0**27 + 1 if x.dtype is float64 else 2.0**12 + 1)
    high = turned - (turned - x)
    low, square = x - high, x * x
    return square, (high * high - square) + high * low * 2.0 + low * low


def _exact_sum(x: Any, y: Any) -> tuple[Any, Any]:
    """Return x + y rounded, and its rounding error, exactly (Knuth 1969)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _square_less_one(d: Any, b: Any) -> Any:
    """Return (1 + d)^2 + b^2 - 1 = 2 d + d^2 + b^2 with twice the digits: it may cancel."""
    (d2, d_rest), (b2, b_rest) = _exact_square(d), _exact_square(b)
    total, first = _exact_sum(d * 2.0, b2)
    total, second = _exact_sum(total, d2)
    return total + (first + second + d_rest + b_rest)


def _log_modulus(a: Any, b: Any) -> Any:
    """Return log |z|, also where |z| overflows and its parts do not."""
    great = maximum(abs(a), abs(b)) > 2.0
    share = where(great, 0.5, 1.0)
    return (a * share).op("hypot", b * share).log() + great.astype(a.dtype) * math.log(2.0)


def log(z: Any) -> Any:
    """Return log |z| + i arg z; where |z| is near 1, using log1p of |z|^2 - 1."""
    a, b = _split(z)
    p, q = abs(a), abs(b)
    great, small = maximum(p, q), minimum(p, q)
    near = (great > 0.5) & (great < 2.0)
    more = _square_less_one(where(near, great - 1.0, 0.0), where(near, small, 0.0))
    left = where(near, more.op("log1p") * 0.5, _log_modulus(a, b))
    return complex(left, b.op("atan2", a))


def log1p(z: Any) -> Any:
    """Return log(1 + z); its real part uses log1p of |1 + z|^2 - 1 where that is small."""
    a, b = _split(z)
    close = (a > -4.0) & (a < 2.0) & (abs(b) < 2.0)
    square = _square_less_one(where(close, a, 4.0), where(close, b, 0.0))
    near = (square > -0.5) & (square < 1.0)
    left = where(near, where(near, square, 0.0).op("log1p") * 0.5, _log_modulus(a + 1.0, b))
    return complex(left, b.op("atan2", a + 1.0))


def log_to(base: float) -> Any:
    """Return a function that computes the logarithm to a base."""

    def scaled(z: Any) -> Any:
        a, b = _split(log(z))
        return complex(a * (1 / math.log(base)), b * (1 / math.log(base)))

    return scaled


def sqrt(z: Any) -> Any:
    """Return the square root whose real part is not negative."""
    a, b = _split(z)
    tiny = maximum(abs(a), abs(b)) < 1e-30  # half of a subnormal number would be rounded
    scale = where(tiny, 2.0**60, 1.0)
    a, b, back = a * scale, b * scale, where(tiny, 2.0**-30, 1.0)
    p = abs(a)
    t = (p * 0.5 + (a * 0.5).op("hypot", b * 0.5)).sqrt()
    other = b / where(t == 0, 1.0, t) * 0.5
    right = a >= 0
    return complex(where(right, t, abs(other)) * back,
                   where(right, other, copysign(t, b)) * back)


def sinh(z: Any) -> Any:
    """Return sinh a cos b + i cosh a sin b."""
    a, b = _split(z)
    c = where(((a == 0) | isinf(a)) & _nowhere(b), 1.0, b.cos())
    return complex(a.op("sinh") * c, where(b == 0, b, a.op("cosh") * b.sin()))


def cosh(z: Any) -> Any:
    """Return cosh a cos b + i sinh a sin b."""
    a, b = _split(z)
    c = where(isinf(a) & _nowhere(b), 1.0, b.cos())
    s = where((a == 0) & _nowhere(b), 1.0, b.sin())
    flat = where(isnan(a), 0.0, b * sign(a))
    return complex(a.op("cosh") * c, where(b == 0, flat, a.op("sinh") * s))


def tanh(z: Any) -> Any:
    """Return (H (1 + T^2) + i T / cosh(a)^2) / (1 + T^2 H^2), where H = tanh a, T = tan b."""
    a, b = _split(z)
    h, c = a.tanh(), a.op("cosh")
    t = where(isinf(a) & _nowhere(b), 0.0, b.op("tan"))
    below = t * t * h * h + 1.0
    return complex(where(a == 0, a, h * (t * t + 1.0) / below),
                   where((b == 0) | isinf(a), _signed(0.0, b), t / c / c / below))


def sin(z: Any) -> Any:
    """Return -i sinh(i z)."""
    return _turned(sinh, z)


def cos(z: Any) -> Any:
    """Return cosh(i z)."""
    a, b = _split(z)
    return cosh(complex(-b, a))


def tan(z: Any) -> Any:
    """Return -i tanh(i z)."""
    return _turned(tanh, z)


def _shrunk(z: Any) -> tuple[Any, Any, Any]:
    """Return the parts of z, or of z / 4 where 1 is nothing beside it, and log 4 there, else 0.

    An inverse function grows like log z, and the products of roots of z would overflow.
    """
    a, b = _split(z)
    great = maximum(abs(a), abs(b)) > 1e9
    share = where(great, 0.25, 1.0)
    return a * share, b * share, great.astype(a.dtype) * math.log(4.0)


def _roots(a: Any, b: Any) -> tuple[Any, Any, Any, Any]:
    """Return the parts of sqrt(1 - z) and sqrt(1 + z)."""
    return *_split(sqrt(complex(1.0 - a, -b))), *_split(sqrt(complex(a + 1.0, b)))


def _asin(z: Any) -> Any:
    """Return atan2(a, Re(s t)) + i asinh(Im(conj(s) t)) for finite z.

    s = sqrt(1 - z), t = sqrt(1 + z).
    """
    a, b, more = _shrunk(z)
    s, s_i, t, t_i = _roots(a, b)
    up = (s * t_i - s_i * t).op("asinh")
    return complex(a.op("atan2", s * t - s_i * t_i), up + copysign(more, up))


def asin(z: Any) -> Any:
    """Return -i asinh(i z)."""
    return _turned(asinh, z)


def acos(z: Any) -> Any:
    """Return 2 atan2(Re s, Re t) + i asinh(Im(conj(t) s)); at infinity the angle of (a, |b|)."""
    (a, b), far = _split(z), _infinite(z)
    near_a, near_b, more = _shrunk(z)
    s, s_i, t, t_i = _roots(near_a, near_b)
    left = where(_nan_above_zero(z), math.pi / 2, s.op("atan2", t) * 2.0)
    up = (t * s_i - t_i * s).op("asinh")
    return complex(where(far, abs(b).op("atan2", a), left),
                   where(far, _signed(math.inf, -b), up + copysign(more, up)))


def acosh(z: Any) -> Any:
    """Return asinh(Re(conj(u) t)) + 2i atan2(Im u, Re t), u = sqrt(z - 1), t = sqrt(z + 1)."""
    (a, b), (near_a, near_b, more) = _split(z), _shrunk(z)
    u, u_i = _split(sqrt(complex(near_a - 1.0, near_b)))
    t, t_i = _split(sqrt(complex(near_a + 1.0, near_b)))
    far, up = _infinite(z), where(_nan_above_zero(z), math.pi / 2, u_i.op("atan2", t) * 2.0)
    return complex(where(far, math.inf, (u * t + u_i * t_i).op("asinh") + more),
                   where(far, b.op("atan2", a), up))


def asinh(z: Any) -> Any:
    """Return -i asin(i z); at infinity its imaginary part is the angle of (|a|, b)."""
    (a, b), far = _split(z), _infinite(z)
    left, up = _split(_turned(_asin, z))
    up = where(isnan(a) & (b == 0), b, up)
    return complex(where(far, _signed(math.inf, a), left),
                   where(far, b.op("atan2", abs(a)), up))


def atanh(z: Any) -> Any:
    """Return log(|1 + z| / |1 - z|) / 2 plus i times half an angle.

    For a = |Re z|, the logarithm is log1p(4 a / |1 - z|^2) / 4, or near 1, where that overflows, a
    difference of two of opposite signs. The angle is that of the point ((1 - a)(1 + a) - b^2, 2 b).
    """
    a, b = _split(z)
    p = abs(a)
    away = 1.0 - p
    apart = away.op("hypot", b)
    beside = ((p + 1.0).op("hypot", b).log() - apart.log()) * 0.5
    left = where(apart < 0.5, beside, (p / apart * 4.0 / apart).op("log1p") * 0.25)
    left = where(_nan_above_zero(z), a, copysign(left, a))
    up = b.op("atan2", (away * (p + 1.0) - b * b) * 0.5) * 0.5
    far, quarter = _infinite(z), where(isnan(b), b, _signed(math.pi / 2, b))
    return complex(where(far, _signed(0.0, a), left), where(far, quarter, up))


def atan(z: Any) -> Any:
    """Return -i atanh(i z)."""
    return _turned(atanh, z)


def power(z: Any, w: Any) -> Any:
    """Return exp(w log z); 0^0 is 1, 0^w is 0 if w's real part is positive, else NaN."""
    zero = z == 0
    none = where(real(w) > 0, 0.0, math.nan) if hasattr(w, "spec") else 0.0 * w
    return where(w == 0, 1.0, where(zero, none, exp(log(where(zero, 1.0, z)) * w)))
