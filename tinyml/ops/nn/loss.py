"""Losses: cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.node import Tensor
from tinyml.errors import DTypeError, OutOfRangeError, ShapeError, expect
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import with_shape
from tinyml.ops.nn.softmax import _softmax, as_float, as_float_spec
from tinyml.ops.samples import ErrorCase, Sample

__all__ = ["cross_entropy"]

# ---- cross-entropy


def _check_labels(logits: Spec, labels: Spec) -> None:
    expect(logits.ndim == 2, "logits (N, C)", logits.shape)
    expect(logits.shape[0] > 0 and logits.shape[1] > 0, "at least one row and class", logits.shape)
    expect(labels.shape == logits.shape[:1], f"labels of shape {logits.shape[:1]}", labels.shape)
    expect(labels.dtype.is_integer, "integer labels", labels.dtype.name, DTypeError)


def _entropy_infer(logits: Spec, labels: Spec) -> Spec:
    _check_labels(logits, labels)
    return with_shape(as_float_spec(logits), ())


def _cross_entropy(logits: Any, labels: Any) -> Any:
    x = as_float(logits)
    top = x.op("max", axis=1, keepdims=True)
    total = (x - top).op("exp").op("sum", axis=1, keepdims=True).op("log")
    picked = x.op("take_along", labels.op("reshape", shape=(x.shape[0], 1)), axis=1)
    return (total - (picked - top)).op("mean", axis=(0, 1), keepdims=False)


def _entropy_dx_infer(g: Spec, logits: Spec, labels: Spec) -> Spec:
    _check_labels(logits, labels)
    result = as_float_spec(logits)
    expect(g.shape == (), "g of shape ()", g.shape)
    expect(g.dtype is result.dtype, f"g of {result.dtype.name}", g.dtype.name, DTypeError)
    return result


def _entropy_dx(g: Any, logits: Any, labels: Any) -> Any:
    x = as_float(logits)
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


def cross_entropy(logits: Any, labels: Any) -> Tensor:
    """The mean of -log_softmax(logits)[label] over rows: logits (N, C), integer labels (N,).

    Raises OutOfRangeError for a label outside -C..C-1 (on OpenCL when the result is read).
    """
    return apply(ENTROPY, logits, labels)
