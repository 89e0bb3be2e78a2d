"""The reference's special functions: integrals by quadrature, and sums of many terms.

The integrands have one sign or are bounded, and decay so fast at their ends that equal steps in tau
reach full precision (Takahasi and Mori 1974). Nothing here is a fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from .arithmetic import erf
from .rules import define

Array = npt.NDArray[Any]

L = np.longdouble
PI = L("3.141592653589793238462643383279502884197")
EULER = L("0.5772156649015328606065120900824024310422")
_TAU = np.arange(-256, 256).astype(np.longdouble) / 64
_SINH = PI / 2 * np.sinh(_TAU)


def integral(f: Callable[[Array], Array], end: Array) -> Array:
    """Return the integral of f from 0 to `end`, in the shape of `end`.

    `f` takes an array with one more axis.
    """
    # The share of [0, end], measured from the nearer end so that no digits are lost at either.
    share = 1 / (1 + np.exp(2 * _SINH))
    weight = np.cosh(_TAU) * share * (1 - share) * PI / 64
    return np.asarray(np.sum(f(end[..., None] * share) * weight, -1) * end)


def _to_infinity(f: Callable[[Array], Array]) -> Array:
    """Return the integral of f from 0 to infinity; f decays like exp(-s)."""
    s = np.exp(_SINH)
    weight = np.cosh(_TAU) * s * (PI / 2) / 64
    inside = (s > 1e-4000) & (s < 1e4)
    return np.asarray(np.sum(f(s[inside]) * weight[inside], -1))


def floating(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return define(*names, result="float")


def in_long_double(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return f on broadcast arrays of long double, whatever their type was."""

    def call(*xs: Array, **attrs: Any) -> Array:
        shaped = np.broadcast_arrays(*[np.asarray(x).astype(np.longdouble) for x in xs])
        return np.asarray(f(*[np.array(x) for x in shaped], **attrs))

    return call


# ---- errors and quantiles


@in_long_double
def _erfcx_right(x: Array) -> Array:
    """Return erfcx, x >= 0: a series below 1, then a continued fraction (DLMF 7.6.1, 7.9.1)."""
    near, far = np.minimum(x, 1), np.clip(x, 1, 1e300)
    tail = np.zeros_like(far)
    for n in range(600, 0, -1):
        tail = (L(n) / 2) / (far + tail)
    series = np.exp(near * near) * (1 - erf(near))
    beyond = np.where(x > 1e300, 1 / x, 1 / (far + tail)) / np.sqrt(PI)
    return np.asarray(np.where(x < 1, series, beyond))


def _exp_square(x: Array, sign: int) -> Array:
    high = np.floor(np.minimum(np.abs(x), 1e9) * 4096) / 4096
    low = np.abs(x) - high
    return np.asarray(np.exp(sign * high * high) * np.exp(sign * low * (np.abs(x) + high)))


@floating("erfcx")
@in_long_double
def erfcx(x: Array) -> Array:
    """Return exp(x^2) erfc(x)."""
    right = _erfcx_right(np.abs(x))
    return np.where(x < 0, 2 * _exp_square(x, 1) - right, np.where(x != x, x, right))


@in_long_double
def _upper(x: Array) -> Array:
    """Return erfc(x), accurate also where it is small."""
    tail = _erfcx_right(np.abs(x)) * _exp_square(x, -1)
    return np.where(x < 0, 2 - tail, np.where(x == np.inf, 0, tail))


@in_long_double
def _quantile(x: Array, rest: Array) -> Array:
    """Return y >= 0 with erf(y) = x, erfc(y) = rest, by Newton's method on erf or log(erfc)."""
    low = np.minimum(x, L(0.6))
    near = low * np.sqrt(PI) / 2
    for _ in range(8):
        near = near - (erf(near) - low) * np.sqrt(PI) / 2 * np.exp(near * near)
    goal = np.log(np.clip(rest, 1e-330, 0.5))
    far = np.sqrt(-goal)
    for _ in range(15):
        scaled = _erfcx_right(far)
        far = far + (np.log(scaled) - far * far - goal) * scaled * np.sqrt(PI) / 2
    return np.asarray(np.where(x < 0.5, near, far))


@floating("erfinv")
@in_long_double
def erfinv(x: Array) -> Array:
    """Return the inverse of erf."""
    y = np.copysign(_quantile(np.abs(x), 1 - np.abs(x)), x)
    y = np.where(np.abs(x) == 1, np.copysign(np.inf, x), y)
    return np.where(np.abs(x) <= 1, y, np.nan)


@floating("ndtri")
@in_long_double
def ndtri(p: Array) -> Array:
    """Return the inverse of the normal distribution function."""
    rest = np.minimum(p, 1 - p)
    y = np.sqrt(L(2)) * np.copysign(_quantile(np.abs(2 * p - 1), 2 * rest), p - 0.5)
    y = np.where((p == 0) | (p == 1), np.copysign(np.inf, p - 0.5), y)
    return np.where((p >= 0) & (p <= 1), y, np.nan)


@floating("ndtr")
@in_long_double
def ndtr(x: Array) -> Array:
    """Return the normal distribution function."""
    return np.asarray(_upper(-x / np.sqrt(L(2))) / 2)


@floating("log_ndtr")
@in_long_double
def log_ndtr(x: Array) -> Array:
    """Return the logarithm of the normal distribution function."""
    low = np.log(_erfcx_right(np.abs(x) / np.sqrt(L(2))) / 2) - x * x / 2
    low = np.where(np.isinf(x * x), -np.inf, low)
    return np.where(x < 0, low, np.log1p(-_upper(x / np.sqrt(L(2))) / 2))


# ---- entropies and logits


@floating("entr")
@in_long_double
def entr(x: Array) -> Array:
    """Return -x log(x); -inf below 0."""
    return np.where(x < 0, -np.inf, np.where(x == 0, 0, -x * np.log(np.abs(x))))


@floating("xlog1py")
@in_long_double
def xlog1py(x: Array, y: Array) -> Array:
    """Return x log(1 + y); 0 where x is 0."""
    return np.where((x == 0) & (y == y), 0, x * np.log1p(y))


# ---- gamma


def _bernoulli(count: int) -> list[Fraction]:
    """Return B_0, B_2, B_4, ... (DLMF 24.5.3)."""
    b: list[Fraction] = []
    for n in range(2 * count):
        b.append(Fraction(int(n == 0)) - sum(
            (Fraction(math.comb(n, k)) * b[k] / (n - k + 1) for k in range(n)), Fraction(0)))
    return b[::2]


def _ratio(value: Fraction) -> Any:
    return L(value.numerator) / L(value.denominator)


_B = [_ratio(b) for b in _bernoulli(14)]
# zeta(k) - 1 for k from 2, by its sum and the Euler-Maclaurin remainder.
_ZETAS = [sum(L(n) ** -k for n in range(2, 40)) + L(40) ** (1 - k) / (k - 1) + L(40) ** -k / 2
          + sum(_B[j] / math.factorial(2 * j) * math.prod(range(k, k + 2 * j - 1))
                * L(40) ** (1 - k - 2 * j) for j in range(1, 6)) for k in range(2, 70)]


def _near_two(z: Array) -> Array:
    """Return log Gamma(2 + z) for |z| <= 1/2 (DLMF 5.7.3)."""
    total = np.zeros_like(z)
    for k in range(69, 1, -1):
        total = (total + (-1) ** k * _ZETAS[k - 2] / k) * z
    return np.asarray((total + 1 - EULER) * z)


def _right_gammaln(x: Array) -> Array:
    """Return log Gamma, x >= 1/2: DLMF 5.7.3 near 1 and 2, Stirling's series at x + 16 beyond."""
    far = np.maximum(x, 2.5)
    steps = np.where(far < 40, np.prod([far + k for k in range(16)], 0), 1)
    a = np.where(far < 40, far + 16, far)
    # Far out a^-k vanishes; it must not become 0 over 0 either.
    b = np.minimum(a, L(1e200))
    series = sum(_B[j] / (2 * j * (2 * j - 1)) * b ** (1 - 2 * j) for j in range(1, 14))
    stirling = (a - 0.5) * (np.log(a) - 1) - 0.5 + np.log(2 * PI) / 2 + series - np.log(steps)
    one = _near_two(np.clip(x - 1, -0.5, 0.5)) - np.log1p(np.clip(x - 1, -0.5, 0.5))
    two = _near_two(np.clip(x - 2, -0.5, 0.5))
    return np.where(x < 1.5, one, np.where(x < 2.5, two, stirling))


def _sine(x: Array) -> Array:
    """Return sin(pi x), computed from the distance to the nearest integer."""
    return np.asarray(np.sin(PI * (x - np.round(x))))


@floating("gammaln")
@in_long_double
def gammaln(x: Array) -> Array:
    """Return log |Gamma(x)|, below 1/2 by reflection (DLMF 5.5.3)."""
    y = _right_gammaln(np.where(x < 0.5, 1 - x, x))
    below = np.log(PI) - np.log(np.abs(_sine(x))) - y
    return np.where(np.isinf(x), np.inf, np.where(x < 0.5, below, y))


@floating("gamma")
@in_long_double
def gamma(x: Array) -> Array:
    """Return Gamma(x)."""
    sign = np.where((x < 0) & (np.floor(x) % 2 != 0), -1, 1)
    y = sign * np.exp(gammaln(x))
    pole = (x < 0) & ((x == np.floor(x)) | np.isinf(x))
    return np.where(x == 0, 1 / x, np.where(pole, np.nan, y))


def _steps_up(x: Array) -> int:
    """Return how many unit steps take every x that is not a pole above 25."""
    inside = x[(x > -300) & (x < 25)]
    return int(25 - np.floor(np.min(inside))) if inside.size else 0


@floating("psi")
@in_long_double
def psi(x: Array) -> Array:
    """Return digamma: its series at x + n, less the contributions of the steps (DLMF 5.11.2)."""
    steps = _steps_up(x)
    low = np.where(x > -300, x, np.nan)
    total = sum((1 / (low + k) for k in range(steps)), np.zeros_like(x))
    a = np.where(x < 1e30, low + steps, x)
    series = sum(_B[j] / (2 * j) * a ** (-2 * j) for j in range(1, 12))
    y = np.log(a) - 1 / (2 * a) - series - np.where(x < 1e30, total, 0)
    y = np.where(x == 0, -1 / x, y)
    return np.where((x < 0) & (x == np.floor(x)), np.nan, y)


@in_long_double
def _hurwitz(s: Array, q: Array) -> Array:
    """Return zeta(s, q) for q no pole, by a sum and the Euler-Maclaurin rest (DLMF 2.10.1)."""
    steps = _steps_up(q)
    low = np.where(q > -300, q, np.nan)
    total = sum(((low + k) ** -s for k in range(steps)), np.zeros_like(q))
    a = np.where(q < 1e30, low + steps, q)
    rising = s.copy()
    rest = a ** (1 - s) / (s - 1) + a**-s / 2
    for j in range(1, 12):
        rest = rest + _B[j] / math.factorial(2 * j) * rising * a ** (1 - s - 2 * j)
        rising = rising * (s + 2 * j - 1) * (s + 2 * j)
    return np.asarray(rest + np.where(q < 1e30, total, 0))


@floating("polygamma")
@in_long_double
def polygamma(x: Array, n: int) -> Array:
    """Return the n-th derivative of psi, by the Hurwitz zeta function (DLMF 25.11.12)."""
    if n == 0:
        return np.asarray(psi(x))
    sign = (-1) ** (n + 1)
    y = sign * L(math.factorial(n)) * _hurwitz(np.full_like(x, n + 1), np.where(x <= 0, x, x))
    y = np.where((x <= 0) & (x == np.floor(x)), sign * np.inf, y)
    return np.where(x == -np.inf, np.nan, np.where(x == np.inf, 0 * sign, y))


@floating("betaln")
def betaln(a: Array, b: Array) -> Array:
    """Return the logarithm of gamma(a) gamma(b) / gamma(a + b)."""
    return np.asarray(gammaln(a) + gammaln(b) - gammaln(a + b))


@floating("psi_step")
def psi_step(a: Array, b: Array) -> Array:
    """Return psi(a + b) - psi(a)."""
    low = psi(a)
    # Without rounding where nothing is added.
    return np.asarray(np.where(b == 0, low - low, psi(a + b) - low))


@floating("zeta")
@in_long_double
def zeta(s: Array, q: Array) -> Array:
    """Return the Hurwitz zeta function; inf at s = 1 and at q = 0, -1, ...; NaN for s < 1."""
    y = _hurwitz(s, q)
    y = np.where((q < 0) & (s != np.floor(s)), np.nan, y)
    y = np.where((q <= 0) & (q == np.floor(q)), np.inf, y)
    y = np.where(s == 1, np.inf, np.where(s < 1, np.nan, y))
    return np.where((s != s) | (q != q), np.nan, y)


def _lower_integral(a: Array, x: Array) -> Array:
    """Return a x^-a times the lower incomplete gamma function: exp(-x v^(1/a)) over v in [0, 1]."""
    power = (1 / a)[..., None]
    scale = x[..., None]
    return integral(lambda v: np.exp(-scale * v**power), np.ones_like(a))


def _upper_integral(a: Array, x: Array) -> Array:
    """Return x exp(x) x^-a times the upper one: (1 + s / x)^(a-1) exp(-s) over s >= 0."""
    return _to_infinity(lambda s: np.exp((a[..., None] - 1) * np.log1p(s / x[..., None]) - s))


@floating("gammainc")
@in_long_double
def gammainc(a: Array, x: Array) -> Array:
    """Return P(a, x), for a, x >= 0 that are not both 0."""
    if (edge := (a == 0) | (x == 0)).any():
        inside = gammainc(np.where(edge, 1, a), np.where(edge, 1, x))
        return np.where(edge, np.where(x == 0, 0, 1), inside)
    return np.asarray(np.exp(a * np.log(x) - gammaln(a + 1)) * _lower_integral(a, x))


@floating("gammaincc")
@in_long_double
def gammaincc(a: Array, x: Array) -> Array:
    """Return Q(a, x), for a, x >= 0 that are not both 0."""
    if (edge := (a == 0) | (x == 0)).any():
        inside = gammaincc(np.where(edge, 1, a), np.where(edge, 1, x))
        return np.where(edge, np.where(x == 0, 1, 0), inside)
    return np.asarray(np.exp((a - 1) * np.log(x) - x - gammaln(a)) * _upper_integral(a, x))


@floating("gamma_sum")
@in_long_double
def gamma_sum(a: Array, x: Array, form: str) -> Array:
    """Return one of three sums, by the integrals that they equal (DLMF 8.7.1, 8.7.3, 8.9.2)."""
    if form == "rising":
        return np.exp(x) * _lower_integral(a, x) - 1
    if form == "fraction":
        return x / _upper_integral(a, x)
    power, scale = (1 / a)[..., None], x[..., None]
    return integral(lambda v: np.expm1(-scale * v**power), np.ones_like(a)) / a
