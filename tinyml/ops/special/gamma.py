"""The gamma family: its logarithm and derivatives, the Hurwitz zeta, incomplete gammas."""

from __future__ import annotations

import math
from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.dtypes import FLOATS, float32
from tinyml.errors import ArgumentError, expect
from tinyml.ir.nest import Ids, Monoid, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_float, as_size, element
from tinyml.ops.creation import asarray
from tinyml.ops.elementwise import (
    abs,
    astype,
    cos,
    erfc,
    exp,
    floor,
    log,
    maximum,
    minimum,
    reciprocal,
    sin,
    sqrt,
    where,
)
from tinyml.ops.elementwise.define import Operand, elementwise, operand_dtype
from tinyml.ops.rounding import rounded_once
from tinyml.ops.samples import ErrorCase, Sample, Samples, error_cases
from tinyml.ops.special.error import (
    ROOT_HALF,
    as_operand,
    as_tensors,
    horner,
    in_wide,
    infer,
    ratio,
    turn_of,
)
from tinyml.ops.special.tables import GAMMA_STAR, LGAMMA, PSI, PSI_FAR, STIRLING, TEMME

__all__ = ["gamma", "gammainc", "gammaincc", "gammaln", "multigammaln", "polygamma", "psi",
           "zeta"]

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
ROOT_TAU = math.sqrt(2 * math.pi)

# ---- gamma and its logarithm


def stirling_rest(a: Any) -> Any:
    """Return log Gamma(a) - (a - 1/2) log(a) + a - log(2 pi) / 2 for a of at least 5."""
    return horner(1.0 / (a * a), STIRLING) / a


def _gammaln(x: Any) -> Tensor:
    """Return log |Gamma(x)|: a fit up to 5, Stirling's series beyond.

    Below 1 by recurrence, below 0 by reflection (DLMF 5.5.1, 5.5.3, 5.11.1).
    """
    a = abs(x)
    small = a < 1.0
    t = where(small, a, a - 1.0)
    near = t * (t - 1.0) * ratio(t, LGAMMA)
    rest = stirling_rest(a) + (HALF_LOG_TAU - 0.5)
    far = (a - 0.5) * (log(a) - 1.0) + rest
    y = where(a < 5.0, near, far)
    sine = abs(sin(turn_of(a) * math.pi)) * (1 / math.pi)
    factor = where(x < 0, where(small, sine, sine * a), where(small, a, 1.0))
    y = where(x < 0, -y, y) - log(factor)
    return where(a == math.inf, math.inf, y)


def _scaled_gamma(a: Any) -> Any:
    """Return Gamma(a) / (sqrt(2 pi / a) (a / e)^a) for a >= 1."""
    return ratio(1.0 / maximum(a, 1.0), GAMMA_STAR)


def _gamma(x: Any) -> Tensor:
    """Return Gamma(x): Stirling's form with a fitted factor.

    The power is computed in two halves, which do not overflow.
    """
    a = abs(x)
    low = a < 1.0
    b = where(low, a + 1.0, a)
    half = b ** (b * 0.5 - 0.25)
    y = half * exp(-b) * half * (_scaled_gamma(b) * ROOT_TAU)
    y = where(b > 172.0, math.inf, y)
    turn, near = turn_of(a), floor(a + 0.5)
    odd = floor(near * 0.5) * 2.0 != near
    sine = where(odd, -1.0, 1.0) * sin(turn * math.pi)
    below = -math.pi / (sine * where(low, y, y * a))
    below = where((turn == 0) | (a == math.inf), math.nan, below)
    return where(x < 0, below, where(x == 0, 1.0 / x, where(low, y / a, y)))


# ---- psi and its derivatives

# The root of psi in three parts; the first two are float32 numbers, so that x minus the root keeps
# its digits in every type.
PSI_ROOT = (1.4616321325302124, 1.243815006546356e-08, -1.2654465062537432e-16)


def _psi(x: Any) -> Tensor:
    """Return psi(x): a fit on [1, 6], the asymptotic series beyond.

    Below 1 by recurrence, below 0 by reflection (DLMF 5.5.2, 5.5.4, 5.11.2).
    """
    u = where(x < 0, 1.0 - x, where(x < 1.0, x + 1.0, x))
    near = (u - PSI_ROOT[0] - PSI_ROOT[1] - PSI_ROOT[2]) * ratio(u, PSI)
    w = 1.0 / (u * u)
    y = where(u < 6.0, near, log(u) - 0.5 / u + w * horner(w, PSI_FAR))
    turn = turn_of(x)
    angle = turn * math.pi
    cotangent = where(turn == 0, math.nan, cos(angle) * math.pi / sin(angle))
    return where(x < 1.0, y - where(x < 0, cotangent, 1.0 / x), y)


# B_2j / (2j)! for j from 1 (DLMF 24.2.1), exactly: numerators and denominators.
BERNOULLI = ((1, 12), (-1, 720), (1, 30240), (-1, 1209600), (1, 47900160), (-691, 1307674368000),
             (1, 74724249600), (-3617, 10670622842880000))
STEPS = 10  # terms of a zeta sum before the Euler-Maclaurin formula


def _integer_power(x: Any, n: int) -> Any:
    half = _integer_power(x, n // 2) if n > 1 else None
    return x if half is None else half * half * x if n % 2 else half * half


def _zeta_integer(s: int, q: Any) -> Any:
    """Return the Hurwitz zeta at an integer s > 1 for q > 0 (DLMF 25.11.5, Bernoulli numbers)."""
    rising = [math.prod(range(s, s + 2 * j + 1)) for j in range(len(BERNOULLI))]
    weights = [n * r / d for (n, d), r in zip(BERNOULLI, rising)]
    total: Any = 0.0
    for k in range(STEPS):
        total = _integer_power(reciprocal(q + float(k)), s) + total
    r = reciprocal(q + float(STEPS))
    inner = (r * horner(r * r, weights) + 0.5) * r + 1.0 / (s - 1)
    return _integer_power(r, s - 1) * inner + total


def _cotangent_derivative(n: int) -> list[int]:
    """Return d^n cot(x) / dx^n as a polynomial in c = cot(x): each step is p -> -(1 + c^2) p'."""
    p = [0, 1]
    for _ in range(n):
        slope = [k * p[k] for k in range(1, len(p))]
        p = [0] * (len(slope) + 2)
        for k, c in enumerate(slope):
            p[k] -= c
            p[k + 2] -= c
    return p


def _polygamma(x: Any, n: int) -> Any:
    """Return the n-th derivative of psi, by zeta for x > 0 (DLMF 5.15.2).

    Below by reflection (5.15.6); at a pole it is (-1)^(n+1) inf.
    """
    if n == 0:
        return _psi(x)
    sign = (-1.0) ** (n + 1)
    u = where(x < 0, 1.0 - x, x + 0.0)
    y = _zeta_integer(n + 1, u) * (sign * math.factorial(n))
    turn = turn_of(x)
    c = cos(turn * math.pi) / sin(turn * math.pi)
    poles = horner(c, [float(k) for k in _cotangent_derivative(n)]) * math.pi ** (n + 1)
    below = where(turn == 0, sign * math.inf, y * (-1.0) ** n - poles)
    return where(x < 0, below, y)


def _order(x: Spec, n: Any) -> dict[str, Any]:
    order = as_size(n, "n")
    expect(0 <= order <= 100, "0 <= n <= 100", order, ArgumentError)
    return {"n": order}


def _of_order(make: Samples, orders: tuple[int, ...]) -> Samples:
    """Return a generator of all samples for the first order, and two for each other order."""

    def all_orders(dtype: str) -> list[Sample]:
        cases = make(dtype)
        first = [s._replace(attrs={"n": orders[0]}) for s in cases]
        return first + [s._replace(attrs={"n": n}, name=f"{s.name} of order {n}")
                        for n in orders[1:] for s in cases if s.name in ("vector", "range")]

    return all_orders


_positive = samples.unary(0.2, 4.0, (-9.0, 40.0))


@elementwise("float", ulp=16, samples=_positive, grad=lambda g, _y, x: g * polygamma(1, x))
def psi(x: Operand, /) -> Tensor:
    """Return the digamma function, gammaln's derivative; NaN at -1, -2, ...; -1 / x at 0."""
    return _psi(x)


@elementwise("float", ulp=8, samples=_positive, grad=lambda g, _y, x: g * psi(x))
def gammaln(x: Operand, /) -> Tensor:
    """Return log |Gamma(x)|; inf at 0, -1, -2, ..."""
    return _gammaln(x)


@elementwise("float", ulp=40, samples=_positive, grad=lambda g, y, x: g * y * psi(x))
def gamma(x: Operand, /) -> Tensor:
    """Return the gamma function; NaN at -1, -2, ...; 1 / x at 0."""
    return _gamma(x)


def _derivative(x: Any, n: int) -> Any:
    return _polygamma(x if x.dtype.is_float else astype(x, float32), n)


POLYGAMMA: Op = define(
    "polygamma", lambda x, n: infer(x), normalize=_order, body=_derivative, dtypes=FLOATS,
    grad=(lambda g, _y, x, n: g * apply(POLYGAMMA, x, n=n + 1),), ulp=64,
    samples=_of_order(_positive, (1, 0, 2, 3)),
    errors=error_cases(ErrorCase(([1.0],), {"n": -1}, ArgumentError, "0 <= n <= 100")),
    doc="The n-th derivative of psi.",
)


def polygamma(n: int, x: Operand) -> Tensor:
    """Return the n-th derivative of psi at x, elementwise; n is a Python integer from 0 to 100.

    Uses the Hurwitz zeta function (DLMF 25.11.12), and reflection below 0. Raises ArgumentError for
    other n.

    >>> import tinyml
    >>> round(tinyml.special.polygamma(1, tinyml.tensor(1.0)).item(), 5)
    1.64493
    """
    return apply(POLYGAMMA, x, n=n)


# ---- the multivariate gamma function


@named_in_errors
@rounded_once
def multigammaln(a: Operand, d: int) -> Tensor:
    """Return the logarithm of the multivariate gamma function of dimension d, elementwise.

    It is d (d - 1) / 4 log(pi) plus the sum over j < d of gammaln(a - j / 2) (DLMF 35.3.4). Raises
    ArgumentError unless 1 <= d <= 2^20.

    >>> import tinyml
    >>> round(tinyml.special.multigammaln(tinyml.tensor(2.0), 2).item(), 5)
    0.45158
    """
    dimension = as_size(d, "d")
    expect(0 < dimension <= 1 << 20, "1 <= d <= 2^20", dimension, ArgumentError)
    wide = _summed(as_float(asarray(a)), dimension)
    steps = wide.op("iota", axis=-1).astype(wide.dtype) * 0.5
    return gammaln(wide - steps).sum(-1) + dimension * (dimension - 1) / 4 * math.log(math.pi)


# ---- the Hurwitz zeta function


def _summed(x: Any, count: int) -> Any:
    """Return x repeated along a new last axis of size `count`."""
    return x.reshape((*x.shape, 1)).broadcast_to((*x.shape, count))


def _zeta_tail(s: Any, a: Any) -> Any:
    """Return the Euler-Maclaurin tail of the sum of k^-s from a on; for s > 400 it is 0."""
    r, s = 1.0 / a, minimum(s, 400.0)
    inner: Any = 0.0
    for j in reversed(range(1, len(BERNOULLI))):
        (n, d), (m, e) = BERNOULLI[j], BERNOULLI[j - 1]
        step = n * e / (d * m)
        inner = (s + (2.0 * j - 1)) * (s + 2.0 * j) * (r * r) * step * (inner + 1.0)
    inner = s * r * (1 / 12) * (inner + 1.0)
    return r ** (s - 1.0) * (1.0 / (s - 1.0) + r * (inner + 0.5))


def _zeta(s: Any, q: Any) -> Tensor:
    """Return the sum of (q + k)^-s over k >= 0 (DLMF 25.11.1): ten terms plus a tail formula.

    For an integer s and q < 0 the terms with q + k < 0 are a difference of two zetas at positive
    points: the three zetas, ten terms each, are one loop.
    """
    shape = (s + q).shape
    s, q = (z.broadcast_to(shape) if z.shape != shape else z for z in (s, q))
    fraction = q - floor(q)
    whole = floor(s) == s
    odd = floor(s * 0.5) * 2.0 != s
    sign = where(odd, -1.0, 1.0)
    wide_s, wide_q, f = _summed(s, 3), _summed(q, 3), _summed(fraction, 3)
    part = wide_q.op("iota", axis=len(shape))
    start = where(part == 0, where(wide_q > 0, wide_q, f), 1.0 - where(part == 1, f, wide_q))
    start = where(start > 0, start, 1.0)
    terms = _summed(start, STEPS)
    terms = terms + terms.op("iota", axis=len(shape) + 1).astype(s.dtype)
    total = (terms ** -_summed(wide_s, STEPS)).sum(axis=len(shape) + 1)
    total = total + _zeta_tail(wide_s, start + float(STEPS))
    weight = where(part == 0, 1.0, where(part == 1, _summed(sign, 3), -_summed(sign, 3)))
    used = (part == 0) | (wide_q < 0)
    y = where(used, total * weight, 0.0).sum(axis=len(shape))
    y = where(q > 0, y, where(q == floor(q), math.inf, where(whole, y, math.nan)))
    y = where(s == 1.0, math.inf, where(s < 1.0, math.nan, y))
    return where((s == s) & (q == q), y, s + q)


def _zeta_grad(g: Any, _y: Any, s: Any, q: Any) -> Any:
    s = as_operand(s, g)
    return -(g * s * zeta(s + 1.0, q))


@elementwise("float", ulp=64, grad=(None, _zeta_grad),
             samples=samples.binary(1.3, 6.0, second=(0.2, 5.0), hard=False, rich=("float64",)))
def zeta(s: Operand, q: Operand, /) -> Tensor:
    """Return the Hurwitz zeta function, the sum of (q + k)^-s over k >= 0, for s > 1; inf at s = 1
    and at q = 0, -1, ...; NaN for s < 1."""
    return _zeta(*as_tensors(s, q))


# ---- the incomplete gamma functions

LONG_SUM = 160  # enough terms for both forms where they are used: see _parts

Values = tuple[int, ...]


def _series_step(n: Nest, state: Values, items: Values) -> Values:
    term = n.prim("mul", state[0], items[0])
    return term, n.prim("add", state[1], n.prim("mul", term, items[1]))


def _fraction_step(n: Nest, state: Values, items: Values) -> Values:
    return (n.prim("add", items[0], n.prim("div", items[1], state[0])),)


SERIES = Monoid("series", lambda n, d: (n.const(1, d[0]), n.const(0, d[0])), _series_step,
                _series_step)
FRACTION = Monoid("fraction", lambda n, d: (n.const(math.inf, d[0]),), _fraction_step,
                  _fraction_step)


def _sum_nest(n: Nest, index: Ids, a: Any, x: Any, *, form: str) -> int:
    """Return one of three sums over k = 1, 2, ..., LONG_SUM (counted down in the fraction)."""
    dtype = in_wide(operand_dtype("float", (a, x)))
    a, x = element(n, a, index, dtype), element(n, x, index, dtype)
    axis = n.over(index, (LONG_SUM,))
    one = n.const(1, dtype)
    k = n.prim("add", n.cast(axis[0], dtype), one)
    if form == "fraction":
        k = n.prim("sub", n.const(LONG_SUM + 1, dtype), k)
        twice = n.prim("sub", n.prim("add", k, k), one)
        base = n.prim("add", n.prim("sub", x, a), twice)
        return n.reduce(FRACTION, axis, base, n.prim("mul", k, n.prim("sub", a, k)))[0]
    below = n.prim("add", a, k)
    if form == "rising":
        return n.reduce(SERIES, axis, n.prim("div", x, below), one)[1]
    return n.reduce(SERIES, axis, n.prim("div", n.prim("neg", x), k), n.prim("div", one, below))[1]


def _sum_samples(dtype: str) -> list[Sample]:
    x, a = samples.spread(dtype, (7,), 2.0, 5.0), samples.spread(dtype, (7,), 0.5, 4.0, seed="y")
    return [Sample((a, x), {"form": form}, form) for form in ("rising", "fraction", "alternating")]


SUM: Op = define(
    "gamma_sum", lambda a, x, form: infer(a, x), nest=_sum_nest, differentiable=False,
    samples=_sum_samples, dtypes=FLOATS, ulp=64,
    doc="What an incomplete gamma function sums up, by `form`: x^k / ((a+1)...(a+k)) "
        "'rising', (-x)^k / (k! (a+k)) 'alternating', or the continued 'fraction' "
        "x + 1 - a + 1 (a-1) / (x + 3 - a + ...) (DLMF 8.7.1, 8.7.3, 8.9.2).",
)


def _log1p_less(x: Any) -> Any:
    """Return log(1 + x) - x without cancellation for |x| < 1/3, using s = x / (2 + x)."""
    s = x / (x + 2.0)
    z = s * s
    return s * z * 2.0 * horner(z, [1 / (2 * k + 3) for k in range(12)]) - x * s


def _front(a: Any, x: Any) -> tuple[Any, ...]:
    """Return x^a exp(-x) / Gamma(1 + a) for a, x > 0, and what it is made of."""
    off = (x - a) / a
    close = abs(off) < 0.3
    exponent = where(close, _log1p_less(where(close, off, 0.0)), log(x / a) - off)
    low = minimum(a, 1.0)
    log_power = a * log(x) - low * (low - 1.0) * ratio(low, LGAMMA)
    front = where(a < 1.0, exp(log_power - x), exp(a * exponent) / (
        sqrt(a) * (ROOT_TAU * _scaled_gamma(a))))
    return front, log_power, exponent, off, close


def _parts(a: Any, x: Any) -> tuple[Any, Any]:
    """Return P and Q for a, x > 0; the greater one is 1 minus the lesser.

    Near x = a > 200 Temme's uniform expansion is used (DLMF 8.12.3, 8.12.7), else the power series
    for x <= max(a, 1) and the continued fraction beyond. For small a and x, the lesser one is
    1 - x^a / Gamma(1 + a) plus the rest of the alternating series.
    """
    front, log_power, exponent, off, close = _front(a, x)
    by_series = x <= maximum(a, 1.0)
    p = front * (apply(SUM, a, x, form="rising") + 1.0)
    q = front * a / apply(SUM, a, x, form="fraction")
    power = exp(log_power)
    rest = where(abs(log_power) < 0.5, _expm1_near(log_power), power - 1.0)
    q_small = -rest - power * a * apply(SUM, a, x, form="alternating")
    q = where(by_series, where(a < 1.0, q_small, 1.0 - p), q)
    p = where(by_series, p, 1.0 - q)
    eta = sqrt(_log1p_less(where(close, off, 0.0)) * -2.0) * where(off < 0, -1.0, 1.0)
    total: Any = 0.0
    for row in reversed(TEMME):
        total = (horner(eta, row) if len(row) > 1 else row[0]) + total / a
    correction = exp(a * exponent) / sqrt(a) * total * (1 / ROOT_TAU)
    side = eta * sqrt(a) * ROOT_HALF
    uniform = close & (a > 200.0)
    return (where(uniform, erfc(-side) * 0.5 - correction, p),
            where(uniform, erfc(side) * 0.5 + correction, q))


def _expm1_near(x: Any) -> Any:
    """Return exp(x) - 1 for |x| < 1/2, from its series."""
    return x * horner(x, [1 / math.factorial(k + 1) for k in range(15)])


def _incomplete(which: int, a: Any, x: Any) -> Tensor:
    """Return P (0) or Q (1), including the borders x = 0, x = inf, a = 0 and a = inf."""
    at_zero, at_inf = float(which), 1.0 - which
    inside = (a > 0) & (x > 0) & (a < math.inf) & (x < math.inf)
    y = _parts(where(inside, a, 1.0), where(inside, x, 1.0))[which]
    border = where((x == 0) | (a == math.inf), at_zero, at_inf)
    wrong = (a < 0) | (x < 0) | ((a == 0) & (x == 0)) | ((a == math.inf) & (x == math.inf))
    y = where(inside, y, where(wrong, math.nan, border))
    return where((a == a) & (x == x), y, a + x)


@rounded_once
def _density(g: Any, a: Any, x: Any) -> Any:
    """Return g times x^(a-1) exp(-x) / Gamma(a)."""
    a, zero = as_operand(a, g), x == 0
    inside = where(zero, 1.0, x)
    at_zero = where(a < 1.0, math.inf, where(a == 1.0, 1.0, 0.0))
    return g * where(zero, at_zero, _front(a, inside)[0] * a / inside)


_both = samples.binary(0.3, 6.0, second=(0.2, 9.0), hard=False, rich=("float64",))


@elementwise("float", ulp=64, samples=_both, grad=(None, lambda g, _y, a, x: _density(g, a, x)))
def gammainc(a: Operand, x: Operand, /) -> Tensor:
    """Return the regularized lower incomplete gamma function P(a, x) of a, x >= 0; NaN below 0."""
    return _incomplete(0, *as_tensors(a, x))


@elementwise("float", ulp=64, samples=_both, grad=(None, lambda g, _y, a, x: -_density(g, a, x)))
def gammaincc(a: Operand, x: Operand, /) -> Tensor:
    """Return the regularized upper incomplete gamma function Q(a, x) = 1 - P(a, x), without
    cancellation."""
    return _incomplete(1, *as_tensors(a, x))
