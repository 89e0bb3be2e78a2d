"""Special functions of one and two operands: error functions, quantiles, entropies.

Each has a body, a formula of words that becomes one loop nest on every device and in every float
type, and a gradient written with public functions. If a function is piecewise, all pieces are
computed and `where` chooses one; the pieces are polynomials and their quotients from tables.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.apply import full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.dtypes import DType, float32
from tinyml.errors import ArgumentError, expect
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.arguments import as_number
from tinyml.ops.elementwise import (
    abs,
    astype,
    erfc,
    exp,
    floor,
    isnan,
    log,
    log1p,
    maximum,
    minimum,
    sqrt,
    where,
)
from tinyml.ops.elementwise import logit as log_odds
from tinyml.ops.elementwise.define import Operand, device_of, elementwise, operand_dtype, shape_of
from tinyml.ops.special.tables import ERFCX, NDTRI, NDTRI_FAR, NDTRI_TAIL, Fit

__all__ = ["entr", "erfcx", "erfinv", "log_ndtr", "logit", "ndtr", "ndtri", "xlog1py"]

ROOT_HALF = math.sqrt(0.5)
ROOT_PI = math.sqrt(math.pi)

# ---- operands


def infer(*specs: Any) -> Spec:
    """Return a spec of the operands' broadcast shape, in their common float type."""
    first = device_of(specs)
    dtype = operand_dtype("float", specs)
    return make_spec(shape_of(specs), dtype, first.device, None, first.symbolic)


def _alike(x: Any, number: float) -> Tensor:
    """Return a tensor like x filled with one number: clamped from both sides, whatever x holds."""
    return maximum(minimum(where(isnan(x), 0.0, x), number), number)


def as_tensors(*xs: Any) -> list[Any]:
    """Return a body's operands, at least one of which is a tensor, as tensors.

    A formula may call methods of its operands, which a number does not have.
    """
    known = next(x for x in xs if isinstance(x, Data))
    return [x if isinstance(x, Data) else _alike(known, x) for x in xs]


def as_operand(x: Any, g: Any) -> Any:
    """Return a rule's operand, a number or of a narrower type, as a tensor in the type of g."""
    return astype(x, g.dtype) if isinstance(x, Data) else full((), x, g.dtype, g.device)


def in_wide(dtype: DType) -> DType:
    """Return the type for a nest of many steps: float32 for small floats, rounded at the end."""
    return float32 if dtype.is_small_float else dtype


# ---- building blocks of formulas


def horner(x: Any, coefficients: Sequence[float]) -> Tensor:
    """Return the polynomial of x with these coefficients, the constant term first."""
    y: Tensor = x * coefficients[-1] + coefficients[-2]
    for c in coefficients[-3::-1]:
        y = y * x + c
    return y


def ratio(x: Any, fit: Fit) -> Tensor:
    """Return the quotient of two polynomials of x."""
    return horner(x, fit[0]) / horner(x, fit[1])


def turn_of(x: Any) -> Any:
    """Return x minus the nearest integer, exactly: up to sign, sin(pi x) is sin(pi turn)."""
    return x - floor(x + 0.5)


def exp_of_square(x: Any, sign: float) -> Tensor:
    """Return exp(sign x^2), which is 0 or infinity for |x| beyond 30.

    The square is split into two parts, the first of them exact: an error would grow by x^2.
    """
    x = minimum(abs(x), 30.0)
    high = floor(x * 16.0) * 0.0625
    return exp(high * high * sign) * exp((x - high) * (x + high) * sign)


# ---- pieces


def _scaled(x: Any) -> Tensor:
    """Return exp(x^2) erfc(x) for x >= 0; 0 at infinity."""
    w: Tensor = 2.0 / (x + 2.0)
    return w * ratio(w, ERFCX)


def _quantile(q: Any, rest: Any) -> Tensor:
    """Return x with Phi(x) = q + 1/2; `rest` = min(Phi(x), 1 - Phi(x)) may be more exact than q."""
    r = sqrt(-log(rest))
    tail = where(r < 5.0, ratio(minimum(r, 5.0) - 1.5, NDTRI_TAIL),
                 ratio(minimum(r, 28.0) - 5.0, NDTRI_FAR))
    tail = where(rest > 0, tail, where(rest == 0, math.inf, math.nan))
    return where(abs(q) <= 0.42, q * ratio(0.1764 - q * q, NDTRI), where(q < 0, -tail, tail))


# ---- relatives of the error function


@elementwise("float", ulp=8, samples=samples.unary(-3.0, 3.0, (-26.0, 100.0)),
             grad=lambda g, y, x: g * (x * y * 2.0 - 2 / ROOT_PI))
def erfcx(x: Operand, /) -> Tensor:
    """Return exp(x^2) erfc(x), the scaled complementary error function: no overflow for x > 0."""
    y = _scaled(abs(x))
    return where(x < 0, exp_of_square(x, 1.0) * 2.0 - y, y)


@elementwise("float", ulp=8, samples=samples.unary(-0.9, 0.9, (-1.0, 1.0)),
             grad=lambda g, y, _x: g * exp(y * y) * (ROOT_PI / 2))
def erfinv(x: Operand, /) -> Tensor:
    """Return the inverse of erf on [-1, 1], infinite at the ends, NaN outside."""
    return _quantile(x * 0.5, (1.0 - abs(x)) * 0.5) * ROOT_HALF


@elementwise("float", ulp=16, samples=samples.unary(-3.0, 3.0, (-10.0, 10.0)),
             grad=lambda g, _y, x: g * exp(x * x * -0.5) * (ROOT_HALF / ROOT_PI))
def ndtr(x: Operand, /) -> Tensor:
    """Return the distribution function of the standard normal distribution."""
    return erfc(x * -ROOT_HALF) * 0.5


@elementwise("float", ulp=8, samples=samples.unary(0.05, 0.95, (0.0, 1.0)),
             grad=lambda g, y, _x: g * exp(y * y * 0.5) * (ROOT_PI / ROOT_HALF))
def ndtri(p: Operand, /) -> Tensor:
    """Return the quantile of the standard normal distribution, ndtr's inverse; infinite at 0 and 1,
    NaN outside."""
    return _quantile(p - 0.5, minimum(p, 1.0 - p))


@elementwise("float", ulp=16, samples=samples.unary(-3.0, 3.0, (-40.0, 10.0)),
             grad=lambda g, _y, x: g / erfcx(x * -ROOT_HALF) * (2 * ROOT_HALF / ROOT_PI))
def log_ndtr(x: Operand, /) -> Tensor:
    """Return the logarithm of ndtr, accurate in the lower tail too."""
    return _log_ndtr(x)


def _log_ndtr(x: Any) -> Tensor:
    z = x * ROOT_HALF
    low = minimum(x, -1.0) * ROOT_HALF
    return where(x < -1.0, log(_scaled(-low) * 0.5) - x * x * 0.5,
                 log1p(erfc(maximum(z, -1.0)) * -0.5))


# ---- entropies and logits


@elementwise("float", ulp=8, samples=samples.unary(0.1, 3.0, (1e-30, 1e30)),
             grad=lambda g, _y, x: -g * (log(x) + 1.0))
def entr(x: Operand, /) -> Tensor:
    """Return -x log(x), a term of an entropy: 0 at 0, -inf below."""
    return where(x > 0, -(x * log(x)), where(x == 0, 0.0, where(x < 0, -math.inf, x)))


def _xlog1py_slope(g: Any, _y: Any, x: Any, y: Any) -> Tensor:
    """Return the logarithm, but 0 where x is 0 and the logarithm is undefined."""
    slope = xlog1py(g, y)
    return where(x == 0, where(y <= -1, 0.0, slope), slope)


@elementwise("float", ulp=8, samples=samples.binary(-0.7, 3.0),
             grad=(_xlog1py_slope, lambda g, _y, x, y: g * x / (y + 1.0)))
def xlog1py(x: Operand, y: Operand, /) -> Tensor:
    """Return x log(1 + y), or 0 where x is 0, unless y is NaN."""
    x, y = as_tensors(x, y)
    return where(isnan(y), y, where(x == 0, 0.0, x * log1p(y)))


@named_in_errors
def logit(x: Operand, eps: float | None = None) -> Tensor:
    """Return log(x / (1 - x)), the inverse of the sigmoid, elementwise; NaN outside [0, 1].

    With `eps`, x is first clipped to [eps, 1 - eps]; outside, the gradient is 0.
    Raises ArgumentError for an eps outside [0, 1/2].

    >>> import tinyml
    >>> tinyml.special.logit(tinyml.tensor([0.5, 1.0])).tolist()
    [0.0, inf]
    """
    if eps is None:
        return log_odds(x)
    margin = float(as_number(eps, "eps"))
    expect(0 <= margin <= 0.5, "eps between 0 and 1/2", margin, ArgumentError)
    return log_odds(where(x < margin, margin, where(x > 1.0 - margin, 1.0 - margin, x)))
