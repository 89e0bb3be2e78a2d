"""The reference's Bessel and Airy functions and orthogonal polynomials: integrals and steps.

The trapezoidal rule reaches full precision for integrals over a circle, and for integrands that
decay doubly exponentially.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .special import EULER, PI, L, floating, gamma, in_long_double, integral

Array = npt.NDArray[Any]

# ---- Bessel and Airy

_FAR = 70.0


def _power_series(x: Array, n: int, sign: int) -> Array:
    """Return J_n or I_n for |x| <= 1 (DLMF 10.2.2, 10.25.2)."""
    term = (x / 2) ** n
    total = term.copy()
    for k in range(1, 20):
        term = term * sign * (x / 2) ** 2 / (k * (k + n))
        total = total + term
    return np.asarray(total)


def _turns(x: Array, n: int) -> tuple[Array, Array]:
    """Return cos and sin of x - pi/4 - n pi/2."""
    c, s = np.cos(x), np.sin(x)
    half = np.sqrt(L(0.5))
    return ((c + s) * half, (s - c) * half) if n == 0 else ((s - c) * half, -(s + c) * half)


def _hankel(x: Array, n: int) -> tuple[Array, Array]:
    """Return J_n and Y_n for x > 70 (DLMF 10.17.3, 10.17.4)."""
    even, odd, term = np.ones_like(x), np.zeros_like(x), np.ones_like(x)
    for k in range(1, 20):
        term = term * ((4 * n * n - (2 * k - 1) ** 2) / L(8 * k)) / x
        if k % 2:
            odd = odd + (-1) ** (k // 2) * term
        else:
            even = even + (-1) ** (k // 2) * term
    c, s = _turns(x, n)
    size = np.sqrt(2 / PI) / np.sqrt(x)
    return size * (even * c - odd * s), size * (even * s + odd * c)


def _circle(x: Array, n: int, hyperbolic: bool) -> Array:
    """Return the mean of cos(n t - x sin t), or of exp(x (cos t - 1)) cos(n t), over the circle."""
    t = np.arange(256) * (PI / 128)
    wide = x[..., None]
    if hyperbolic:
        return np.asarray(np.mean(np.exp(wide * (np.cos(t) - 1)) * np.cos(n * t), -1))
    return np.asarray(np.mean(np.cos(n * t - wide * np.sin(t)), -1))


def _j(n: int) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        a = np.abs(x)
        y = np.where(a <= 1, _power_series(np.minimum(a, 1), n, -1),
                     _circle(np.minimum(a, _FAR), n, False))
        y = np.where(a > _FAR, _hankel(np.maximum(np.where(np.isinf(a), 99, a), _FAR), n)[0], y)
        y = np.where(a == np.inf, 0, y)
        return np.where(x < 0, (-1) ** n * y, np.where(x != x, x, y))

    return in_long_double(compute)


def _y(n: int) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        """Return the integral of DLMF 10.9.7; below 1e-9, the leading terms (10.8.1)."""
        a = np.clip(np.where(x != x, 1, x), L(1e-9), _FAR)
        wide = a[..., None]
        first = integral(lambda t: np.sin(wide * np.sin(t) - n * t), np.full_like(a, PI))
        end = np.arcsinh(100 / a)
        second = integral(lambda t: (np.exp(n * t) + (-1) ** n * np.exp(-n * t))
                           * np.exp(-wide * np.sinh(t)), end)
        y = (first - second) / PI
        b = np.abs(x)
        tiny = 2 / PI * (np.log(b / 2) + EULER) if n == 0 else -2 / (PI * b)
        y = np.where(x < 1e-9, tiny, y)
        y = np.where(x > _FAR, _hankel(np.maximum(np.where(np.isinf(x), 99, x), _FAR), n)[1], y)
        y = np.where(x == np.inf, 0, np.where(x == 0, -np.inf, y))
        return np.where(x >= 0, y, np.nan)

    return in_long_double(compute)


def _i(n: int, scaled: bool) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        a = np.where(x != x, 0, np.abs(x))
        far = np.maximum(np.where(np.isinf(a), 999, a), 600)
        term, total = np.ones_like(far), np.ones_like(far)
        for k in range(1, 16):  # DLMF 10.40.1
            term = -term * ((4 * n * n - (2 * k - 1) ** 2) / L(8 * k)) / far
            total = total + term
        y = np.where(a <= 1, _power_series(np.minimum(a, 1), n, 1) * np.exp(-np.minimum(a, 1)),
                     _circle(np.minimum(a, 600), n, True))
        y = np.where(a > 600, total / np.sqrt(2 * PI) / np.sqrt(far), y)
        y = np.where(a == np.inf, 0, y)
        if not scaled:
            y = np.where(a == np.inf, np.inf, y * np.exp(np.minimum(a, 11000)))
            y = np.where(a > 11000, np.inf, y)
        return np.where(x < 0, (-1) ** n * y, np.where(x != x, x, y))

    return in_long_double(compute)


def _k_integral(x: Array, order: Any) -> Array:
    """Return exp(x) K(x), the integral of DLMF 10.32.9 in 400 equal steps."""
    end = 2 * np.arcsinh(np.sqrt(30 / x)) + 5 / (1 + x)
    t = end[..., None] * (np.arange(401) / L(400))
    values = np.exp(-2 * x[..., None] * np.sinh(t / 2) ** 2) * np.cosh(order * t)
    values[..., 0] /= 2
    return np.asarray(np.sum(values, -1) * end / 400)


def _k(n: int, scaled: bool) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        a = np.where((x != x) | np.isinf(x), 1, np.maximum(x, L(1e-9)))
        y = _k_integral(a, n)
        b = np.abs(x)
        y = np.where(x < 1e-9, (1 + b) * (1 / b if n else -np.log(b / 2) - EULER), y)
        if not scaled:
            y = y * np.exp(-np.where(x != x, 1, np.maximum(x, 0)))
        y = np.where(x == np.inf, 0, np.where(x == 0, np.inf, y))
        return np.where(x >= 0, y, np.nan)

    return in_long_double(compute)


for _n in (0, 1):
    floating(f"j{_n}")(_j(_n))
    floating(f"y{_n}")(_y(_n))
    for _scaled in (False, True):
        floating(f"i{_n}{'e' * _scaled}")(_i(_n, _scaled))
        floating(f"k{_n}{'e' * _scaled}")(_k(_n, _scaled))


@floating("spherical_j0")
@in_long_double
def spherical_j0(x: Array) -> Array:
    """Return sin(x) / x."""
    return np.where(x == 0, 1, np.where(np.isinf(x), 0, np.sin(x) / x))


# Ai(0) and Ai'(0), DLMF 9.2.3 and 9.2.4.
_AI = (3 ** -(L(2) / 3) / gamma(L(2) / 3), -(3 ** -(L(1) / 3)) / gamma(L(1) / 3))
_STEP = L(0.25)


def _airy_step(x: Any, y: Any, slope: Any, h: Any) -> tuple[Any, Any]:
    """Return Ai and Ai' at x + h from those at x, by the power series in h that y'' = x y gives."""
    c = [y, slope, x * y / 2]
    for k in range(3, 34):
        c.append((x * c[k - 2] + c[k - 3]) / (k * (k - 1)))
    value = sum(term * h**k for k, term in enumerate(c))
    return value, sum(k * term * h ** (k - 1) for k, term in enumerate(c) if k)


def _airy(x: Array, derivative: int) -> Array:
    """Return Ai or Ai': below 1 in steps from 0, beyond by K_1/3 or K_2/3 (DLMF 9.6.2, 9.6.3)."""
    known = np.where((np.abs(x) < 1e3), x, 0)
    count = int(max(0, np.ceil(-np.min(known, initial=0) / _STEP)))
    places = [(L(0), *_AI)]
    for _ in range(count):
        at, y, slope = places[-1]
        places.append((at - _STEP, *_airy_step(at, y, slope, -_STEP)))
    nearest = np.clip(np.round(-np.minimum(known, 1) / _STEP), 0, count).astype(int)
    start, y, slope = (np.array([p[k] for p in places])[nearest] for k in range(3))
    left = _airy_step(start, y, slope, np.minimum(known, 1) - start)[derivative]
    z = np.maximum(known, 1) ** L(1.5) * 2 / 3
    scale = (np.sqrt(np.maximum(known, 1) / 3) if derivative == 0 else
             -np.maximum(known, 1) / np.sqrt(L(3)))
    right = scale / PI * _k_integral(z, L(1 + derivative) / 3) * np.exp(-z)
    result = np.where(x < 1, left, right)
    ends = np.where(x > 0, 0, np.nan if derivative else 0)
    return np.where(np.isinf(x), ends, np.where(x != x, x, result))


floating("airy_ai")(in_long_double(lambda x: _airy(x, 0)))
floating("airy_aip")(in_long_double(lambda x: _airy(x, 1)))

# ---- polynomials

_POLYNOMIAL: dict[str, Callable[..., Any]] = {
    "chebyt": np.polynomial.chebyshev.chebval,
    "hermite": np.polynomial.hermite.hermval,
    "hermitenorm": np.polynomial.hermite_e.hermeval,
    "laguerre": np.polynomial.laguerre.lagval,
    "gegenbauer": np.polynomial.legendre.legval,
}


def _of_degree(family: str, n: int, x: Array) -> Array:
    """Return the polynomial of one degree at all of x, by NumPy's Clenshaw sums.

    V and W are sums of T (DLMF 18.7).
    """
    if n <= 0:
        return np.full_like(x, n == 0)
    unit = np.zeros(n + 1, np.longdouble)
    unit[n] = 1
    if family in ("chebyv", "chebyw"):
        sign = -1 if family == "chebyv" else 1
        unit[:] = [2 * sign ** (n - k) for k in range(n + 1)]
        unit[0] /= 2
        family = "chebyt"
    return np.asarray(_POLYNOMIAL[family](x, unit))


@floating("polynomial")
@in_long_double
def polynomial(x: Array, n: Array, family: str, parameter: float, most: int) -> Array:
    """Return Chebyshev's T, V or W, Legendre's, one of Hermite's, or Laguerre's polynomial."""
    result = np.full(x.shape, np.nan, np.longdouble)
    for degree in np.unique(n[n == n]):
        sign = -1 if family == "laguerre" and degree % 2 else 1
        at = n == degree
        inside = _of_degree(family, int(degree), np.where(np.isinf(x[at]), 0, x[at]))
        outside = sign * np.sign(x[at]) ** degree * np.inf if degree > 0 else inside
        result[at] = np.where(np.isinf(x[at]), outside, inside)
    return np.where(np.abs(n) <= most, result, np.nan)
