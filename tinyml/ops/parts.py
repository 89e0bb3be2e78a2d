"""Functions of complex numbers by their real and imaginary parts: the bodies of rows.

Each takes complex tensors and gives one (`size` gives a real one). Branch cuts lie where the Array
API puts them; the inverse functions are Kahan's ("Branch cuts for complex elementary functions",
1987), made of sqrt, so that nothing cancels beside a cut.
"""

from __future__ import annotations

import math
from typing import Any

from tinyml.ops.conversion import complex, imag, real, where


def _split(z: Any) -> tuple[Any, Any]:
    return real(z), imag(z)


def _do(name: str, *xs: Any) -> Any:
    return xs[0].op(name, *xs[1:])


def _turned(f: Any, z: Any) -> Any:
    """-i f(i z): what makes a hyperbolic function of a circular one, and back."""
    a, b = _split(z)
    u, v = _split(f(complex(-b, a)))
    return complex(v, -u)


def size(z: Any) -> Any:
    """|z|."""
    return _do("hypot", *_split(z))


def sign(z: Any) -> Any:
    """z / |z|, 0 at 0."""
    r = size(z)
    whole = where(r == 0, 1.0, r)
    a, b = _split(z)
    return complex(a / whole, b / whole)


def exp(z: Any) -> Any:
    """e^a (cos b + i sin b)."""
    a, b = _split(z)
    power = _do("exp", a)
    return complex(power * _do("cos", b), where(b == 0, b, power * _do("sin", b)))


def expm1(z: Any) -> Any:
    """Without cancellation: expm1(a) cos b - 2 sin(b / 2)^2 is the real part."""
    a, b = _split(z)
    half = _do("sin", b * 0.5)
    left = _do("expm1", a) * _do("cos", b) - half * half * 2.0
    return complex(left, where(b == 0, b, _do("exp", a) * _do("sin", b)))


def log(z: Any) -> Any:
    """log |z| + i arg z; where |z| is near 1, by log1p of what it is more."""
    a, b = _split(z)
    p, q = _do("abs", a), _do("abs", b)
    great, small = _do("maximum", p, q), _do("minimum", p, q)
    near = (great > 0.5) & (great < 2.0)
    more = where(near, (great - 1.0) * (great + 1.0) + small * small, 0.0)
    left = where(near, _do("log1p", more) * 0.5, _do("log", _do("hypot", a, b)))
    return complex(left, _do("atan2", b, a))


def log1p(z: Any) -> Any:
    """log |1 + z| by log1p of |1 + z|^2 - 1, where that is small."""
    a, b = _split(z)
    square = a * (a + 2.0) + b * b
    near = (square > -0.5) & (square < 1.0)
    left = where(near, _do("log1p", where(near, square, 0.0)) * 0.5,
                 _do("log", _do("hypot", a + 1.0, b)))
    return complex(left, _do("atan2", b, a + 1.0))


def log_to(base: float) -> Any:
    """The logarithm to a base."""

    def scaled(z: Any) -> Any:
        a, b = _split(log(z))
        return complex(a * (1 / math.log(base)), b * (1 / math.log(base)))

    return scaled


def sqrt(z: Any) -> Any:
    """The root with a real part that is not negative."""
    a, b = _split(z)
    p = _do("abs", a)
    t = _do("sqrt", (p * 0.5 + _do("hypot", a * 0.5, b * 0.5)))
    other = b / where(t == 0, 1.0, t) * 0.5
    right = a >= 0
    return complex(where(right, t, _do("abs", other)),
                   where(right, other, _do("copysign", t, b)))


def sinh(z: Any) -> Any:
    """sinh a cos b + i cosh a sin b."""
    a, b = _split(z)
    return complex(_do("sinh", a) * _do("cos", b),
                   where(b == 0, b, _do("cosh", a) * _do("sin", b)))


def cosh(z: Any) -> Any:
    """cosh a cos b + i sinh a sin b."""
    a, b = _split(z)
    return complex(_do("cosh", a) * _do("cos", b), where(
        b == 0, b * _do("sign", a), _do("sinh", a) * _do("sin", b)))


def tanh(z: Any) -> Any:
    """(H (1 + T^2) + i T / cosh(a)^2) / (1 + T^2 H^2) with H = tanh a, T = tan b."""
    a, b = _split(z)
    h, t, c = _do("tanh", a), _do("tan", b), _do("cosh", a)
    below = t * t * h * h + 1.0
    return complex(h * (t * t + 1.0) / below, t / c / c / below)


def sin(z: Any) -> Any:
    """-i sinh(i z)."""
    return _turned(sinh, z)


def cos(z: Any) -> Any:
    """cosh(i z)."""
    a, b = _split(z)
    return cosh(complex(-b, a))


def tan(z: Any) -> Any:
    """-i tanh(i z)."""
    return _turned(tanh, z)


def _roots(z: Any) -> tuple[Any, Any, Any, Any]:
    """The parts of sqrt(1 - z) and sqrt(1 + z)."""
    a, b = _split(z)
    return *_split(sqrt(complex(1.0 - a, -b))), *_split(sqrt(complex(a + 1.0, b)))


def asin(z: Any) -> Any:
    """atan2(a, Re(s t)) + i asinh(Im(conj(s) t)), s = sqrt(1 - z), t = sqrt(1 + z)."""
    s, s_i, t, t_i = _roots(z)
    return complex(_do("atan2", real(z), s * t - s_i * t_i), _do("asinh", s * t_i - s_i * t))


def acos(z: Any) -> Any:
    """2 atan2(Re s, Re t) + i asinh(Im(conj(t) s))."""
    s, s_i, t, t_i = _roots(z)
    return complex(_do("atan2", s, t) * 2.0, _do("asinh", t * s_i - t_i * s))


def acosh(z: Any) -> Any:
    """asinh(Re(conj(u) t)) + 2i atan2(Im u, Re t), u = sqrt(z - 1), t = sqrt(z + 1)."""
    a, b = _split(z)
    u, u_i = _split(sqrt(complex(a - 1.0, b)))
    t, t_i = _split(sqrt(complex(a + 1.0, b)))
    return complex(_do("asinh", u * t + u_i * t_i), _do("atan2", u_i, t) * 2.0)


def asinh(z: Any) -> Any:
    """-i asin(i z)."""
    return _turned(asin, z)


def atanh(z: Any) -> Any:
    """log1p(4 |a| / ((1 - |a|)^2 + b^2)) / 4, with a's sign, and half the angle of
    ((1 - a)(1 + a) - b^2, 2 b)."""
    a, b = _split(z)
    p = _do("abs", a)
    away = 1.0 - p
    left = _do("copysign", _do("log1p", p * 4.0 / (away * away + b * b)) * 0.25, a)
    return complex(left, _do("atan2", b * 2.0, away * (p + 1.0) - b * b) * 0.5)


def atan(z: Any) -> Any:
    """-i atanh(i z)."""
    return _turned(atanh, z)


def power(z: Any, w: Any) -> Any:
    """exp(w log z); 0^0 is 1, 0 to a power with a positive real part 0, to others NaN."""
    zero = z == 0
    none = where(real(w) > 0, 0.0, math.nan) if hasattr(w, "spec") else 0.0 * w
    return where(w == 0, 1.0, where(zero, none, exp(log(where(zero, 1.0, z)) * w)))
