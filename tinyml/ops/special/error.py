"""Special functions of one and two operands by words: errors, quantiles, entropies.

Each is a row: a formula of words, which becomes one loop nest on every device and in every float
type, and a gradient by public functions. Where a function is made of pieces, all are computed and
`where` takes one; the pieces are polynomials and their quotients from special_tables.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.apply import full
from tinyml.core.error_context import named_in_errors
from tinyml.core.node import Data
from tinyml.dtypes import DType, float32
from tinyml.errors import ArgumentError, expect
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.arguments import as_number
from tinyml.ops.elementwise import (
    abs,
    astype,
    device_of,
    erfc,
    exp,
    floor,
    isnan,
    log,
    log1p,
    maximum,
    minimum,
    operand_dtype,
    shape_of,
    sqrt,
    where,
)
from tinyml.ops.elementwise import logit as log_odds
from tinyml.ops.elementwise.define import FUNCTIONS, row
from tinyml.ops.special.tables import ERFCX, NDTRI, NDTRI_FAR, NDTRI_TAIL, Fit

ROOT_HALF = math.sqrt(0.5)
ROOT_PI = math.sqrt(math.pi)

# ---- how a row becomes a record


def infer(*specs: Any) -> Spec:
    """The float type in which operands meet, and the shape to which they broadcast."""
    first = device_of(specs)
    dtype = operand_dtype("float", specs)
    return make_spec(shape_of(specs), dtype, first.device, None, first.symbolic)


def _alike(x: Any, number: float) -> Any:
    """A tensor like x of one number: bounded from both sides, whatever x holds.

    A formula may ask anything of its operands, and a number has no methods.
    """
    return maximum(minimum(where(isnan(x), 0.0, x), number), number)


def function(call: str, formula: Callable[..., Any], doc: str, *grads: Any,
             **fields: Any) -> Callable[..., Any]:
    """A row whose formula gets tensors only; its function stands in tinyml.special alone."""

    def body(*xs: Any) -> Any:
        known = next(x for x in xs if isinstance(x, Data))
        return formula(*[x if isinstance(x, Data) else _alike(known, x) for x in xs])

    made = row(call, "float", doc, *grads, body=body, **fields)
    return FUNCTIONS.pop(made.__name__)


def as_operand(x: Any, g: Any) -> Any:
    """What a rule read as a number, or in a narrower type, as a tensor in the type of g."""
    return astype(x, g.dtype) if isinstance(x, Data) else full((), x, g.dtype, g.device)


def in_wide(dtype: DType) -> DType:
    """What a nest of many steps computes in: float32 for narrow floats, rounded at its end."""
    return float32 if dtype.is_small_float else dtype


# ---- what formulas are written with


def horner(x: Any, coefficients: Sequence[float]) -> Any:
    """A polynomial, the constant term first."""
    y = x * coefficients[-1] + coefficients[-2]
    for c in coefficients[-3::-1]:
        y = y * x + c
    return y


def ratio(x: Any, fit: Fit) -> Any:
    """The quotient of two polynomials."""
    return horner(x, fit[0]) / horner(x, fit[1])


def turn_of(x: Any) -> Any:
    """x less the nearest integer, exactly: sin(pi x) is up to its sign sin(pi turn)."""
    return x - floor(x + 0.5)


def exp_of_square(x: Any, sign: float) -> Any:
    """exp(sign x^2), the square in two parts of which the first is exact: its error would be x^2.

    Beyond 30 in size it is 0 or infinity.
    """
    x = minimum(abs(x), 30.0)
    high = floor(x * 16.0) * 0.0625
    return exp(high * high * sign) * exp((x - high) * (x + high) * sign)


# ---- errors and their quantiles


def _scaled(x: Any) -> Any:
    """exp(x^2) erfc(x) for x >= 0; 0 at infinity."""
    w = 2.0 / (x + 2.0)
    return w * ratio(w, ERFCX)


def _erfcx(x: Any) -> Any:
    y = _scaled(abs(x))
    return where(x < 0, exp_of_square(x, 1.0) * 2.0 - y, y)


def _quantile(q: Any, rest: Any) -> Any:
    """x with q = Phi(x) - 1/2, where `rest` = min(Phi(x), 1 - Phi(x)) is known better than by q."""
    r = sqrt(-log(rest))
    tail = where(r < 5.0, ratio(minimum(r, 5.0) - 1.5, NDTRI_TAIL),
                 ratio(minimum(r, 28.0) - 5.0, NDTRI_FAR))
    tail = where(rest > 0, tail, where(rest == 0, math.inf, math.nan))
    return where(abs(q) <= 0.42, q * ratio(0.1764 - q * q, NDTRI), where(q < 0, -tail, tail))


def _erfinv(x: Any) -> Any:
    return _quantile(x * 0.5, (1.0 - abs(x)) * 0.5) * ROOT_HALF


def _log_ndtr(x: Any) -> Any:
    z = x * ROOT_HALF
    low = minimum(x, -1.0) * ROOT_HALF
    return where(x < -1.0, log(_scaled(-low) * 0.5) - x * x * 0.5,
                 log1p(erfc(maximum(z, -1.0)) * -0.5))


erfcx = function(
    "erfcx(x)", _erfcx,
    "exp(x^2) erfc(x), the scaled complementary error function: no overflow for x > 0, all digits.",
    lambda g, y, x: g * (x * y * 2.0 - 2 / ROOT_PI),
    samples=samples.unary(-3.0, 3.0, (-26.0, 100.0)), ulp=8)
erfinv = function(
    "erfinv(x)", _erfinv, "The inverse of erf on [-1, 1], infinite at its ends, NaN outside.",
    lambda g, y, _x: g * exp(y * y) * (ROOT_PI / 2),
    samples=samples.unary(-0.9, 0.9, (-1.0, 1.0)), ulp=8)
ndtr = function(
    "ndtr(x)", lambda x: erfc(x * -ROOT_HALF) * 0.5,
    "The distribution function of the standard normal distribution.",
    lambda g, _y, x: g * exp(x * x * -0.5) * (ROOT_HALF / ROOT_PI),
    samples=samples.unary(-3.0, 3.0, (-10.0, 10.0)), ulp=16)
ndtri = function(
    "ndtri(p)", lambda p: _quantile(p - 0.5, minimum(p, 1.0 - p)),
    "The quantile of the standard normal distribution, ndtr's inverse; infinite at 0 and 1, NaN "
    "outside.", lambda g, y, _x: g * exp(y * y * 0.5) * (ROOT_PI / ROOT_HALF),
    samples=samples.unary(0.05, 0.95, (0.0, 1.0)), ulp=8)
log_ndtr = function(
    "log_ndtr(x)", _log_ndtr, "The logarithm of ndtr, exact in the lower tail too.",
    lambda g, _y, x: g / erfcx(x * -ROOT_HALF) * (2 * ROOT_HALF / ROOT_PI),
    samples=samples.unary(-3.0, 3.0, (-40.0, 10.0)), ulp=16)

# ---- entropies and logits


def _xlog1py(x: Any, y: Any) -> Any:
    return where(isnan(y), y, where(x == 0, 0.0, x * log1p(y)))


def _xlog1py_grad(g: Any, _y: Any, x: Any, y: Any) -> Any:
    """The logarithm, but 0 where x is 0 and the logarithm is none."""
    slope = xlog1py(g, y)
    return where(x == 0, where(y <= -1, 0.0, slope), slope)


entr = function(
    "entr(x)",
    lambda x: where(x > 0, -(x * log(x)), where(x == 0, 0.0, where(x < 0, -math.inf, x))),
    "-x log(x), a term of an entropy: 0 at 0, -inf below.",
    lambda g, _y, x: -g * (log(x) + 1.0), samples=samples.unary(0.1, 3.0, (1e-30, 1e30)), ulp=8)
xlog1py = function(
    "xlog1py(x, y)", _xlog1py, "x log(1 + y), and 0 where x is 0, unless y is NaN.",
    _xlog1py_grad, lambda g, _y, x, y: g * x / (y + 1.0), samples=samples.binary(-0.7, 3.0), ulp=8)


@named_in_errors
def logit(x: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)), the inverse of the sigmoid, elementwise; NaN outside [0, 1].

    With `eps`, x is first brought into [eps, 1 - eps], and where it was outside no gradient flows.
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
