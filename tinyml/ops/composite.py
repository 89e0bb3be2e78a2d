"""Composites: ops written by other ops. A body of elementwise words and reductions is one kernel.

Their gradients are composites too, so that a backward pass costs one launch where it can.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core import apply
from tinyml.dtypes import float32
from tinyml.errors import DTypeError, OutOfRangeError, ShapeError, expect
from tinyml.op import Op, define
from tinyml.ops.arguments import as_axis, as_number, with_shape
from tinyml.ops.elementwise import NUMBERS, operand_dtype
from tinyml.ops.samples import ErrorCase, Sample
from tinyml.spec import Spec

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

__all__ = ["cross_entropy", "gelu", "layer_norm", "log_softmax", "relu", "sigmoid", "softmax"]


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

# ---- softmax


def _axis(x: Spec, *_: Spec, axis: Any = -1) -> dict[str, Any]:
    return {"axis": as_axis(axis, x.ndim)}


def _softmax_infer(x: Spec, *, axis: int) -> Spec:
    return _float(x)


def _softmax_dx_infer(g: Spec, y: Spec, *, axis: int) -> Spec:
    return _float_pair(g, y)


def _softmax(x: Any, *, axis: int) -> Any:
    x = _as_float(x)
    if not x.shape[axis]:
        return x.op("copy")
    e = (x - x.op("max", axis=axis, keepdims=True)).op("exp")
    return e / e.op("sum", axis=axis, keepdims=True)


def _log_softmax(x: Any, *, axis: int) -> Any:
    x = _as_float(x)
    if not x.shape[axis]:
        return x.op("copy")
    z = x - x.op("max", axis=axis, keepdims=True)
    return z - z.op("exp").op("sum", axis=axis, keepdims=True).op("log")


_over_axis: dict[str, Any] = {
    "canon": _axis, "samples": samples.axis_map(),
    "errors": lambda: [ErrorCase((np.ones((2, 3), np.float32),), {"axis": 2}, IndexError,
                                 "-2 <= axis < 2")],
}
SOFTMAX_DX: Op = define(
    "softmax_dx", _softmax_dx_infer, canon=_axis, samples=_two(samples.axis_map()), ulp=16,
    body=lambda g, y, axis: y * (g - (g * y).op("sum", axis=axis, keepdims=True)),
    doc="softmax's gradient from its result: y (g - sum(g y)).",
)
SOFTMAX: Op = define(
    "softmax", _softmax_infer, body=_softmax, ulp=16, **_over_axis,
    grad=(lambda g, y, _x, axis: apply(SOFTMAX_DX, g, y, axis=axis),),
    doc="exp(x - max) over its sum along an axis.",
)
LOG_SOFTMAX_DX: Op = define(
    "log_softmax_dx", _softmax_dx_infer, canon=_axis, samples=_two(samples.axis_map()), ulp=16,
    body=lambda g, y, axis: g - y.op("exp") * g.op("sum", axis=axis, keepdims=True),
    doc="log_softmax's gradient from its result: g - exp(y) sum(g).",
)
LOG_SOFTMAX: Op = define(
    "log_softmax", _softmax_infer, body=_log_softmax, ulp=16, **_over_axis,
    grad=(lambda g, y, _x, axis: apply(LOG_SOFTMAX_DX, g, y, axis=axis),),
    doc="x - max - log(sum(exp(x - max))) along an axis.",
)

# ---- cross-entropy


def _check_labels(logits: Spec, labels: Spec) -> None:
    expect(logits.ndim == 2, "logits (N, C)", logits.shape)
    expect(logits.shape[0] > 0 and logits.shape[1] > 0, "at least one row and class", logits.shape)
    expect(labels.shape == logits.shape[:1], f"labels of shape {logits.shape[:1]}", labels.shape)
    expect(labels.dtype.is_integer, "integer labels", labels.dtype.name, DTypeError)


def _entropy_infer(logits: Spec, labels: Spec) -> Spec:
    _check_labels(logits, labels)
    return with_shape(_float(logits), ())


def _cross_entropy(logits: Any, labels: Any) -> Any:
    x = _as_float(logits)
    top = x.op("max", axis=1, keepdims=True)
    total = (x - top).op("exp").op("sum", axis=1, keepdims=True).op("log")
    picked = x.op("take_along", labels.op("reshape", shape=(x.shape[0], 1)), axis=1)
    return (total - (picked - top)).op("mean", axis=(0, 1), keepdims=False)


def _entropy_dx_infer(g: Spec, logits: Spec, labels: Spec) -> Spec:
    _check_labels(logits, labels)
    result = _float(logits)
    expect(g.shape == (), "g of shape ()", g.shape)
    expect(g.dtype is result.dtype, f"g of {result.dtype.name}", g.dtype.name, DTypeError)
    return result


def _entropy_dx(g: Any, logits: Any, labels: Any) -> Any:
    x = _as_float(logits)
    hot = labels.op("reshape", shape=(x.shape[0], 1)) == x.op("iota", axis=1)
    share = g.op("reshape", shape=(1, 1)) / float(x.shape[0])
    return (_softmax(x, axis=1) - hot.astype(x.dtype)) * share


def _entropy_dx_samples(dtype: str) -> list[Sample]:
    return [s._replace(args=(np.asarray(0.7, dtype), *s.args))
            for s in samples.cross_entropy()(dtype) if s.smooth]


ENTROPY_DX: Op = define(
    "cross_entropy_dx", _entropy_dx_infer, body=_entropy_dx, samples=_entropy_dx_samples, ulp=64,
    doc="cross_entropy's gradient: g (softmax(x) - onehot(labels)) / N.",
)
ENTROPY: Op = define(
    "cross_entropy", _entropy_infer, body=_cross_entropy,
    grad=(lambda g, _y, x, labels: apply(ENTROPY_DX, g, x, labels), None),
    samples=samples.cross_entropy(), ulp=64,
    errors=lambda: [
        ErrorCase((np.ones((2, 3), np.float32), np.array([0, 3])), {}, OutOfRangeError,
                  "index 3 is out of range"),
        ErrorCase((np.ones((2, 3), np.float32), np.array([0])), {}, ShapeError, "labels of shape"),
    ],
    doc="The mean over rows of -log_softmax(logits)[label].",
)

# ---- normalisation


def _norm_infer(x: Spec, weight: Spec, bias: Spec, *, eps: float) -> Spec:
    expect(x.ndim > 0 and x.shape[-1] > 0, "a last axis with elements", x.shape)
    for part, name in ((weight, "weight"), (bias, "bias")):
        expect(part.shape == x.shape[-1:], f"{name} of shape {x.shape[-1:]}", part.shape)
        expect(part.dtype is x.dtype, f"{name} of {x.dtype.name}", part.dtype.name, DTypeError)
    expect(x.dtype.is_float, "a float type", x.dtype.name, DTypeError)
    return with_shape(x, x.shape)


def _layer_norm(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    last = x.ndim - 1
    mean = x.op("mean", axis=last, keepdims=True)
    spread = x.op("var", axis=last, correction=0.0, keepdims=True)
    return (x - mean) / (spread + eps).op("sqrt") * weight + bias


LAYER_NORM: Op = define(
    "layer_norm", _norm_infer, body=_layer_norm, samples=samples.layer_norm(), ulp=64,
    canon=lambda x, w, b, eps=1e-5: {"eps": float(as_number(eps, "eps"))},
    errors=lambda: [ErrorCase((np.ones((2, 3), np.float32), *[np.ones(2, np.float32)] * 2),
                              {"eps": 1e-5}, ShapeError, "weight of shape")],
    doc="(x - mean) / sqrt(var + eps) over the last axis, times weight plus bias "
        "(Ba, Kiros and Hinton 2016).",
)


# ---- public functions


def relu(x: Any) -> Tensor:
    """max(x, 0), elementwise; NaN stays NaN; the gradient at 0 is 0."""
    result: Tensor = apply(RELU, x)
    return result


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), elementwise."""
    result: Tensor = apply(SIGMOID, x)
    return result


def gelu(x: Any) -> Tensor:
    """x Phi(x), elementwise, in its exact form (Hendrycks and Gimpel 2016)."""
    result: Tensor = apply(GELU, x)
    return result


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) over its sum along `axis`, without overflow.

    >>> import tinyml
    >>> tinyml.softmax(tinyml.tensor([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    result: Tensor = apply(SOFTMAX, x, axis=axis)
    return result


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """The logarithm of softmax along `axis`, without overflow or cancellation."""
    result: Tensor = apply(LOG_SOFTMAX, x, axis=axis)
    return result


def cross_entropy(logits: Any, labels: Any) -> Tensor:
    """The mean of -log_softmax(logits)[label] over rows: logits (N, C), integer labels (N,).

    Raises OutOfRangeError for a label outside -C..C-1 (on OpenCL when the result is read).
    """
    result: Tensor = apply(ENTROPY, logits, labels)
    return result


def layer_norm(x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) over the last axis, times weight plus bias."""
    result: Tensor = apply(LAYER_NORM, x, weight, bias, eps=eps)
    return result
