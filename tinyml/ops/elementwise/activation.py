"""Activations: composites of a line or two, which become one loop nest and differentiate by it.

Where a formula holds on one side only, the other side's operand is put out of its way, so that an
infinity there does not meet a zero in the gradient.
"""

from __future__ import annotations

import math
from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.node import Tensor
from tinyml.dtypes import float32
from tinyml.errors import DTypeError, expect
from tinyml.ir.op import Op, define, find
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import with_shape
from tinyml.ops.elementwise.arithmetic import abs, clip, minimum
from tinyml.ops.elementwise.conversion import where
from tinyml.ops.elementwise.define import NUMBERS, Operand, listed, operand_dtype, row
from tinyml.ops.elementwise.transcendental import exp, expm1, log, log1p, tanh
from tinyml.ops.samples import Sample

__all__ = ["gelu", "relu", "sigmoid"]

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017
_WIDE: Any = samples.unary(-3.0, 3.0, (-30.0, 30.0))


def _below(x: Any) -> Any:
    return where(x > 0, 0.0, x)


# ---- with an exponential

elu = row("elu(x, alpha=1.0)", "float", "x above 0, else alpha (exp(x) - 1) (Clevert 2015).",
          body=lambda x, alpha: where(x > 0, x, alpha * expm1(_below(x))), ulp=6, samples=_WIDE)
celu = row("celu(x, alpha=1.0)", "float", "x above 0, else alpha (exp(x / alpha) - 1).",
           body=lambda x, alpha: where(x > 0, x, alpha * expm1(_below(x) / alpha)), ulp=8)
selu = row("selu(x)", "float", "A scaled elu that keeps mean and variance (Klambauer 2017).",
           body=lambda x: where(x > 0, x, expm1(_below(x)) * _SELU_ALPHA) * _SELU_SCALE, ulp=8)
silu = row("silu(x)", "float", "x sigmoid(x) (Elfwing 2017).",
           body=lambda x: x * x.op("sigmoid"), ulp=12, samples=_WIDE)
softplus = row(
    "softplus(x, beta=1.0, threshold=20.0)", "float",
    "log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold.",
    body=lambda x, beta, threshold: where(x * beta > threshold, x, log1p(exp(
        where(x * beta > threshold, 0.0, x * beta))) / beta), ulp=40, samples=_WIDE)
logsigmoid = row("logsigmoid(x)", "float", "log(sigmoid(x)) without overflow.",
                 body=lambda x: minimum(x, 0.0) - log1p(exp(-abs(x))), ulp=40, samples=_WIDE)
mish = row("mish(x)", "float", "x tanh(softplus(x)) (Misra 2019).",
           body=lambda x: x * tanh(log1p(exp(-abs(x))) + where(x > 0, x, 0.0)), ulp=60,
           samples=_WIDE)
tanhshrink = row("tanhshrink(x)", "float", "x - tanh(x).", body=lambda x: x - tanh(x), ulp=8)
logit = row("logit(x)", "float", "log(x / (1 - x)), the inverse of sigmoid; NaN outside 0 to 1.",
            lambda g, _y, x: g / (x * (1.0 - x)), body=lambda x: log(x / (1.0 - x)), ulp=4,
            samples=samples.unary(0.02, 0.98))

# ---- by pieces

leaky_relu = row("leaky_relu(x, negative_slope=0.01)", "float",
                 "x above 0, else negative_slope x; a tensor of slopes is PReLU (He 2015).",
                 body=lambda x, negative_slope: where(x > 0, x, x * negative_slope))
relu6 = row("relu6(x)", "real", "x, but not below 0 and not above 6.",
            body=lambda x: clip(x, 0, 6))
hardtanh = row("hardtanh(x, min_val=-1.0, max_val=1.0)", "float",
               "x, but not below min_val and not above max_val.",
               body=lambda x, min_val, max_val: clip(x, min_val, max_val))
hardsigmoid = row("hardsigmoid(x)", "float", "(x + 3) / 6, but not below 0 and not above 1.",
                  body=lambda x: clip(x + 3.0, 0.0, 6.0) / 6.0, ulp=2)
hardswish = row("hardswish(x)", "float", "x hardsigmoid(x) (Howard 2019).",
                body=lambda x: x * (clip(x + 3.0, 0.0, 6.0) / 6.0), ulp=3)
hardshrink = row("hardshrink(x, lambd=0.5)", "float", "0 from -lambd to lambd, else x.",
                 body=lambda x, lambd: where((x >= -lambd) & (x <= lambd), 0.0, x))
softshrink = row("softshrink(x, lambd=0.5)", "float", "x brought lambd nearer to 0, at most to 0.",
                 body=lambda x, lambd: where(x > lambd, x - lambd,
                                             where(x < -lambd, x + lambd, x * 0.0)))
softsign = row("softsign(x)", "float", "x / (1 + |x|).", body=lambda x: x / (abs(x) + 1.0), ulp=3)
threshold = row("threshold(x, limit, value)", "real", "x where it is above the limit, else value.",
                body=lambda x, limit, value: where(x <= limit, value, x))


@listed
def glu(x: Operand, /, axis: int = -1) -> Tensor:
    """One half of x times the sigmoid of the other, along an axis (Dauphin 2016).

    >>> import tinyml
    >>> tinyml.glu(tinyml.tensor([2.0, 0.0])).tolist()
    [1.0]
    """
    whole: Any = apply(find("copy"), x)
    half = whole.shape[axis] // 2
    place = (slice(None),) * (axis % whole.ndim)
    first, second = (*place, slice(0, half)), (*place, slice(half, None))
    return whole[first] * whole[second].sigmoid()


def _number(x: Spec) -> Spec:
    return with_shape(x, x.shape, operand_dtype("real", (x,)))


def _float(x: Spec) -> Spec:
    return with_shape(x, x.shape, x.dtype if x.dtype.is_float else float32)


def _float_pair(g: Spec, x: Spec) -> Spec:
    expect(g.dtype.is_float, "a float type", g.dtype.name, DTypeError)
    expect(x.dtype is g.dtype, f"operand 1 of {g.dtype.name}", x.dtype.name, DTypeError)
    expect(x.shape == g.shape, f"operand 1 of shape {g.shape}", x.shape)
    return with_shape(g, g.shape)


def _as_float(x: Any) -> Any:
    return x if x.dtype.is_float else x.astype(float32)


# ---- activations

RELU: Op = define(
    "relu", _number, body=lambda x: x.op("maximum", 0),
    grad=(lambda g, y, _x: (y > 0).op("where", g, 0.0),),
    samples=samples.unary(), dtypes=NUMBERS, doc="max(x, 0); NaN stays NaN.",
)
SIGMOID: Op = define(
    "sigmoid", _float, body=lambda x: 1.0 / (1.0 + (-_as_float(x)).op("exp")),
    grad=(lambda g, y, _x: g * y * (1.0 - y),),
    samples=samples.unary(-3.0, 3.0, (-80.0, 80.0)), ulp=8, doc="1 / (1 + exp(-x)).",
)


def _gelu(x: Any) -> Any:
    """erfc keeps the far negative side accurate, where 1 + erf would cancel."""
    x = _as_float(x)
    return x * 0.5 * (x * -math.sqrt(0.5)).op("erfc")


def _gelu_dx(g: Any, x: Any) -> Any:
    density = (x * x * -0.5).op("exp") * (1 / math.sqrt(2 * math.pi))
    return g * ((x * -math.sqrt(0.5)).op("erfc") * 0.5 + x * density)


def _two(first: Any) -> Any:
    """Samples of two tensors out of those of one."""

    def make(dtype: str) -> list[Sample]:
        return [s._replace(args=(samples.spread(dtype, s.args[0].shape, -2, 2, seed="g"), *s.args))
                for s in first(dtype) if s.smooth]

    return make


GELU_DX: Op = define("gelu_dx", _float_pair, body=_gelu_dx, samples=_two(samples.unary()), ulp=80,
                 doc="gelu's gradient: g (Phi(x) + x phi(x)).")
GELU: Op = define(
    "gelu", _float, body=_gelu, grad=(lambda g, _y, x: apply(GELU_DX, g, x),),
    samples=samples.unary(), ulp=80,
    doc="x Phi(x) with the normal distribution's Phi (Hendrycks and Gimpel 2016), exact form.",
)


# ---- public functions


def relu(x: Any) -> Tensor:
    """max(x, 0), elementwise; NaN stays NaN; the gradient at 0 is 0."""
    return apply(RELU, x)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), elementwise."""
    return apply(SIGMOID, x)


def gelu(x: Any) -> Tensor:
    """x Phi(x), elementwise, in its exact form (Hendrycks and Gimpel 2016)."""
    return apply(GELU, x)
