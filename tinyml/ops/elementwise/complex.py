"""Functions of complex numbers by their real and imaginary parts: the bodies of rows.

Each takes complex tensors and gives one (`size` gives a real one). Branch cuts lie where the Array
API puts them; the inverse functions are Kahan's ("Branch cuts for complex elementary functions",
1987), made of sqrt, so that nothing cancels beside a cut. What infinities and NaN give is ISO C's,
annex G, which the Array API took over.
"""

from __future__ import annotations

import math
from typing import Any

from tinyml.core.apply import apply
from tinyml.ir.op import find
from tinyml.ops.elementwise.conversion import complex, imag, real, where


def _split(z: Any) -> tuple[Any, Any]:
    return real(z), imag(z)


def _do(name: str, *xs: Any) -> Any:
    return xs[0].op(name, *xs[1:])


def _turned(f: Any, z: Any) -> Any:
    """-i f(i z): what makes a hyperbolic function of a circular one, and back."""
    a, b = _split(z)
    u, v = _split(f(complex(-b, a)))
    return complex(v, -u)


def _nowhere(b: Any) -> Any:
    """Whether an angle is infinite or NaN, so that it points nowhere."""
    return _do("logical_not", _do("isfinite", b))


def _infinite(z: Any) -> Any:
    a, b = _split(z)
    return _do("isinf", a) | _do("isinf", b)


def _nan_above_zero(z: Any) -> Any:
    a, b = _split(z)
    return (a == 0) & _do("isnan", b)


def _signed(number: float, x: Any) -> Any:
    """A number with the sign of x."""
    return apply(find("copysign"), number, x)


def size(z: Any) -> Any:
    """|z|."""
    return _do("hypot", *_split(z))


def sign(z: Any) -> Any:
    """z / |z|, 0 at 0."""
    r = size(z)
    a, b = _split(z)
    return complex(*[where(r == 0, 0.0, x / where(r == 0, 1.0, r)) for x in (a, b)])


def exp(z: Any) -> Any:
    """e^a (cos b + i sin b)."""
    a, b = _split(z)
    power, (c, s) = _do("exp", a), _direction(a, b)
    return complex(power * c, where(b == 0, b, power * s))


def _direction(a: Any, b: Any) -> tuple[Any, Any]:
    """cos b and sin b; at an infinite a, an angle that points nowhere keeps e^a infinite or 0."""
    lost = _do("isinf", a) & _nowhere(b)
    return where(lost, 1.0, _do("cos", b)), where(lost & (a < 0), 0.0, _do("sin", b))


def expm1(z: Any) -> Any:
    """Without cancellation: expm1(a) cos b - 2 sin(b / 2)^2 is the real part."""
    a, b = _split(z)
    c, s = _direction(a, b)
    half = where(_do("isinf", a), 0.0, _do("sin", b * 0.5))
    left = _do("expm1", a) * c - half * half * 2.0 + 0.0  # -0 becomes 0
    return complex(left, where(b == 0, b, _do("exp", a) * s))


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
    c = where(((a == 0) | _do("isinf", a)) & _nowhere(b), 1.0, _do("cos", b))
    return complex(_do("sinh", a) * c, where(b == 0, b, _do("cosh", a) * _do("sin", b)))


def cosh(z: Any) -> Any:
    """cosh a cos b + i sinh a sin b."""
    a, b = _split(z)
    c = where(_do("isinf", a) & _nowhere(b), 1.0, _do("cos", b))
    s = where((a == 0) & _nowhere(b), 1.0, _do("sin", b))
    flat = where(_do("isnan", a), 0.0, b * _do("sign", a))
    return complex(_do("cosh", a) * c, where(b == 0, flat, _do("sinh", a) * s))


def tanh(z: Any) -> Any:
    """(H (1 + T^2) + i T / cosh(a)^2) / (1 + T^2 H^2) with H = tanh a, T = tan b."""
    a, b = _split(z)
    h, c = _do("tanh", a), _do("cosh", a)
    t = where(_do("isinf", a) & _nowhere(b), 0.0, _do("tan", b))
    below = t * t * h * h + 1.0
    return complex(where(a == 0, a, h * (t * t + 1.0) / below),
                   where((b == 0) | _do("isinf", a), _signed(0.0, b), t / c / c / below))


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


def _asin(z: Any) -> Any:
    """atan2(a, Re(s t)) + i asinh(Im(conj(s) t)), s = sqrt(1 - z), t = sqrt(1 + z), z finite."""
    s, s_i, t, t_i = _roots(z)
    return complex(_do("atan2", real(z), s * t - s_i * t_i), _do("asinh", s * t_i - s_i * t))


def asin(z: Any) -> Any:
    """-i asinh(i z)."""
    return _turned(asinh, z)


def acos(z: Any) -> Any:
    """2 atan2(Re s, Re t) + i asinh(Im(conj(t) s)); at infinity the angle of z, without bounds."""
    (a, b), far = _split(z), _infinite(z)
    s, s_i, t, t_i = _roots(z)
    left = where(_nan_above_zero(z), math.pi / 2, _do("atan2", s, t) * 2.0)
    return complex(where(far, _do("atan2", _do("abs", b), a), left),
                   where(far, _signed(math.inf, -b), _do("asinh", t * s_i - t_i * s)))


def acosh(z: Any) -> Any:
    """asinh(Re(conj(u) t)) + 2i atan2(Im u, Re t), u = sqrt(z - 1), t = sqrt(z + 1)."""
    a, b = _split(z)
    u, u_i = _split(sqrt(complex(a - 1.0, b)))
    t, t_i = _split(sqrt(complex(a + 1.0, b)))
    far, up = _infinite(z), where(_nan_above_zero(z), math.pi / 2, _do("atan2", u_i, t) * 2.0)
    return complex(where(far, math.inf, _do("asinh", u * t + u_i * t_i)),
                   where(far, _do("atan2", b, a), up))


def asinh(z: Any) -> Any:
    """-i asin(i z); at infinity z's angle beside the imaginary axis, without bounds."""
    (a, b), far = _split(z), _infinite(z)
    left, up = _split(_turned(_asin, z))
    up = where(_do("isnan", a) & (b == 0), b, up)
    return complex(where(far, _signed(math.inf, a), left),
                   where(far, _do("atan2", b, _do("abs", a)), up))


def atanh(z: Any) -> Any:
    """log1p(4 |a| / ((1 - |a|)^2 + b^2)) / 4, with a's sign, and half the angle of
    ((1 - a)(1 + a) - b^2, 2 b)."""
    a, b = _split(z)
    p = _do("abs", a)
    away = 1.0 - p
    left = _do("copysign", _do("log1p", p * 4.0 / (away * away + b * b)) * 0.25, a)
    left = where(_nan_above_zero(z), a, left)
    up = _do("atan2", b * 2.0, away * (p + 1.0) - b * b) * 0.5
    far, quarter = _infinite(z), where(_do("isnan", b), b, _signed(math.pi / 2, b))
    return complex(where(far, _signed(0.0, a), left), where(far, quarter, up))


def atan(z: Any) -> Any:
    """-i atanh(i z)."""
    return _turned(atanh, z)


def power(z: Any, w: Any) -> Any:
    """exp(w log z); 0^0 is 1, 0 to a power with a positive real part 0, to others NaN."""
    zero = z == 0
    none = where(real(w) > 0, 0.0, math.nan) if hasattr(w, "spec") else 0.0 * w
    return where(w == 0, 1.0, where(zero, none, exp(log(where(zero, 1.0, z)) * w)))
