"""Activations: composites of a line or two, which become one loop nest and differentiate it.

If a formula holds on one side only, the operand is replaced on the other side, so that an infinity
there does not meet a zero in the gradient.
"""

from __future__ import annotations

import math
from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.ir.op import Op, Rule, define
from tinyml.ops.arguments import as_axis, same_float
from tinyml.ops.elementwise.arithmetic import abs, clip, maximum, minimum
from tinyml.ops.elementwise.conversion import COPY, where
from tinyml.ops.elementwise.define import Operand, elementwise
from tinyml.ops.elementwise.transcendental import erfc, exp, expm1, log, log1p, tanh
from tinyml.ops.rounding import rounded_once

__all__ = [
    "celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "leaky_relu", "logit", "logsigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "softplus", "softshrink", "softsign", "tanhshrink", "threshold",
]

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017
_ROOT_HALF = math.sqrt(0.5)
_WIDE: Any = samples.unary(-3.0, 3.0, (-30.0, 30.0))


def _below(x: Any) -> Tensor:
    return where(x > 0, 0.0, x)


# ---- with an exponential


@elementwise("float", ulp=8, samples=samples.unary(-3.0, 3.0, (-80.0, 80.0)),
             grad=lambda g, y, _x: g * y * (1.0 - y))
def sigmoid(x: Operand) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(-x))


@elementwise("float", ulp=40, samples=_WIDE)
def logsigmoid(x: Operand, /) -> Tensor:
    """Return log(sigmoid(x)) without overflow."""
    return minimum(x, 0.0) - log1p(exp(-abs(x)))


@elementwise("float", ulp=4, samples=samples.unary(0.02, 0.98),
             grad=lambda g, _y, x: g / (x * (1.0 - x)))
def logit(x: Operand, /) -> Tensor:
    """Return log(x / (1 - x)), the inverse of sigmoid; NaN outside 0 to 1."""
    # Near 1/2 the quotient is near 1, and its logarithm near 0.
    return where((x > 0.25) & (x < 0.75), log1p((x - 0.5) * 2.0 / (1.0 - x)), log(x / (1.0 - x)))


@elementwise("float", ulp=6, samples=_WIDE)
def elu(x: Operand, /, alpha: Operand = 1.0) -> Tensor:
    """Return x above 0, else alpha (exp(x) - 1) (Clevert 2015)."""
    return where(x > 0, x, alpha * expm1(_below(x)))


@elementwise("float", ulp=8)
def celu(x: Operand, /, alpha: Operand = 1.0) -> Tensor:
    """Return x above 0, else alpha (exp(x / alpha) - 1)."""
    return where(x > 0, x, alpha * expm1(_below(x) / alpha))


@elementwise("float", ulp=8)
def selu(x: Operand, /) -> Tensor:
    """Return a scaled elu that preserves mean and variance (Klambauer 2017)."""
    return where(x > 0, x, expm1(_below(x)) * _SELU_ALPHA) * _SELU_SCALE


@elementwise("float", ulp=12, samples=_WIDE)
def silu(x: Operand, /) -> Tensor:
    """Return x sigmoid(x) (Elfwing 2017)."""
    return x * sigmoid(x)


@elementwise("float", ulp=40, samples=_WIDE)
def softplus(x: Operand, /, beta: Operand = 1.0, threshold: Operand = 20.0) -> Tensor:
    """Return log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    return where(x * beta > threshold, x,
                 log1p(exp(where(x * beta > threshold, 0.0, x * beta))) / beta)


@elementwise("float", ulp=60, samples=_WIDE)
def mish(x: Operand, /) -> Tensor:
    """Return x tanh(softplus(x)) (Misra 2019)."""
    return x * tanh(log1p(exp(-abs(x))) + where(x > 0, x, 0.0))


@elementwise("float", ulp=8)
def tanhshrink(x: Operand, /) -> Tensor:
    """Return x - tanh(x) without cancellation."""
    return _tanhshrink(x)


def _tanhshrink(x: Any) -> Tensor:
    """Return x - tanh(x), below 2 by tanh's continued fraction (DLMF 4.39.1)."""
    small = abs(x) < 2.0
    square = where(small, x * x, 0.0)
    rest = square / 29.0  # the terms after it are less than 1e-21 of the sum
    for odd in range(27, 1, -2):
        rest = square / (rest + odd)
    return where(small, x * (rest / (rest + 1.0)), x - tanh(x))


# ---- with the normal distribution


def _gelu_dx(g: Any, x: Any) -> Any:
    density = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return g * (erfc(x * -_ROOT_HALF) * 0.5 + x * density)


GELU_DX: Op = define(
    "gelu_dx", lambda g, x: same_float(g, x), body=_gelu_dx, ulp=80,
    samples=samples.with_cotangent(samples.unary()),
    doc="gelu's gradient: g (Phi(x) + x phi(x)).",
)


@elementwise("float", ulp=80, grad=lambda g, _y, x: apply(GELU_DX, g, x))
def gelu(x: Operand) -> Tensor:
    """Return x Phi(x) with the normal distribution's exact Phi (Hendrycks, Gimpel 2016).

    It uses erfc, which stays accurate far on the negative side, where 1 + erf would cancel.
    """
    return x * 0.5 * erfc(x * -_ROOT_HALF)


# ---- piecewise


@elementwise("real", grad=lambda g, y, _x: where(y > 0, g, 0.0))
def relu(x: Operand) -> Tensor:
    """Return max(x, 0); NaN stays NaN; the gradient at 0 is 0."""
    return maximum(x, 0)


@elementwise("float")
def leaky_relu(x: Operand, /, negative_slope: Operand = 0.01) -> Tensor:
    """Return x above 0, else negative_slope x; a tensor of slopes is PReLU (He 2015)."""
    return where(x > 0, x, x * negative_slope)


# As in relu, the gradient at a bend to a flat side is 0; `clip` counts its ends as inside.


def _between(g: Any, x: Any, low: Any, high: Any) -> Tensor:
    """Return g where low < x < high, else 0."""
    return where((x > low) & (x < high), g, 0.0)


@elementwise("real", grad=lambda g, _y, x: _between(g, x, 0, 6))
def relu6(x: Operand, /) -> Tensor:
    """Return x clamped to [0, 6]; the gradient at both ends is 0."""
    return clip(x, 0, 6)


_HARDTANH_RULES: tuple[Rule, ...] = (
    lambda g, _y, x, low, high: _between(g, x, low, high),
    lambda g, _y, x, low, _high: where(x <= low, g, 0.0),
    lambda g, _y, x, _low, high: where(x >= high, g, 0.0),
)


@elementwise("float", grad=_HARDTANH_RULES)
def hardtanh(x: Operand, /, min_val: Operand = -1.0, max_val: Operand = 1.0) -> Tensor:
    """Return x clamped to [min_val, max_val]; the gradient at both ends is 0."""
    return clip(x, min_val, max_val)


@elementwise("float", ulp=2, grad=lambda g, _y, x: _between(g, x, -3.0, 3.0) / 6.0)
def hardsigmoid(x: Operand, /) -> Tensor:
    """Return (x + 3) / 6 clamped to [0, 1]; the gradient at both ends is 0."""
    return clip(x + 3.0, 0.0, 6.0) / 6.0


@elementwise("float", ulp=3, grad=lambda g, _y, x: where(
    x >= 3.0, g, _between(g * (x / 3.0 + 0.5), x, -3.0, 3.0)))
def hardswish(x: Operand, /) -> Tensor:
    """Return x hardsigmoid(x) (Howard 2019)."""
    return x * (clip(x + 3.0, 0.0, 6.0) / 6.0)


@elementwise("float")
def hardshrink(x: Operand, /, lambd: Operand = 0.5) -> Tensor:
    """Return 0 from -lambd to lambd, else x."""
    return where((x >= -lambd) & (x <= lambd), 0.0, x)


@elementwise("float")
def softshrink(x: Operand, /, lambd: Operand = 0.5) -> Tensor:
    """Return x moved toward 0 by lambd, at most to 0."""
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, x * 0.0))


@elementwise("float", ulp=3)
def softsign(x: Operand, /) -> Tensor:
    """Return x / (1 + |x|)."""
    return x / (abs(x) + 1.0)


@elementwise("real")
def threshold(x: Operand, limit: Operand, value: Operand, /) -> Tensor:
    """Return x where it is above the limit, else value."""
    return where(x <= limit, value, x)


# ---- gated


@named_in_errors
def glu(x: Operand, /, axis: int = -1) -> Tensor:
    """Return one half of x times the sigmoid of the other, along an axis (Dauphin 2016).

    >>> import tinyml
    >>> tinyml.glu(tinyml.tensor([2.0, 0.0])).tolist()
    [1.0]
    """
    whole = apply(COPY, x)
    axis = as_axis(axis, whole.ndim)
    half = whole.shape[axis] // 2
    place = (slice(None),) * axis
    first, second = (*place, slice(0, half)), (*place, slice(half, None))
    return _gated(whole[first], whole[second])


@rounded_once
def _gated(x: Any, gate: Any) -> Tensor:
    result: Tensor = x * sigmoid(gate)
    return result
