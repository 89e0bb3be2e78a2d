"""Classification losses: cross-entropy, with its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.make import Tensor
from tinyml.dtypes import int64
from tinyml.errors import DTypeError, OutOfRangeError, ShapeError, expect
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_float, float_spec, with_shape
from tinyml.ops.creation import IOTA
from tinyml.ops.gather_scatter import TAKE_ALONG
from tinyml.ops.nn.softmax import softmax_body
from tinyml.ops.samples import ErrorCase, Sample

__all__ = ["cross_entropy"]


def _check_labels(logits: Spec, labels: Spec) -> None:
    expect(logits.ndim == 2, "logits (N, C)", logits.shape)
    expect(logits.shape[0] > 0 and logits.shape[1] > 0, "at least one row and class", logits.shape)
    expect(labels.shape == logits.shape[:1], f"labels of shape {logits.shape[:1]}", labels.shape)
    expect(labels.dtype.is_integer, "integer labels", labels.dtype.name, DTypeError)


def _infer(logits: Spec, labels: Spec) -> Spec:
    _check_labels(logits, labels)
    return with_shape(float_spec(logits), ())


def _body(logits: Any, labels: Any) -> Any:
    x = as_float(logits)
    top = x.max(1, True)
    total = (x - top).exp().sum(1, True).log()
    picked = apply(TAKE_ALONG, x, labels.reshape((x.shape[0], 1)), axis=1)
    return (total - (picked - top)).mean((0, 1))


def _dx_infer(g: Spec, logits: Spec, labels: Spec) -> Spec:
    _check_labels(logits, labels)
    result = float_spec(logits)
    expect(g.shape == (), "g of shape ()", g.shape)
    expect(g.dtype is result.dtype, f"g of {result.dtype.name}", g.dtype.name, DTypeError)
    return result


def _dx_body(g: Any, logits: Any, labels: Any) -> Any:
    x = as_float(logits)
    places = labels.reshape((x.shape[0], 1)).astype(int64)
    classes = apply(IOTA, x, axis=1)
    hot = (places == classes) | (places + x.shape[1] == classes)  # -1 is the last class
    share = g.reshape((1, 1)) / float(x.shape[0])
    return (softmax_body(x, axis=1) - hot.astype(x.dtype)) * share


def _dx_samples(dtype: str) -> list[Sample]:
    return [s._replace(args=(np.asarray(0.7, dtype), *s.args))
            for s in samples.cross_entropy()(dtype) if s.smooth]


ENTROPY_DX: Op = define(
    "cross_entropy_dx", _dx_infer, body=_dx_body, samples=_dx_samples, ulp=64,
    doc="cross_entropy's gradient: g (softmax(x) - onehot(labels)) / N.",
)
ENTROPY: Op = define(
    "cross_entropy", _infer, body=_body,
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
    """Return the mean of -log_softmax(logits)[label] over rows: logits (N, C), integer labels (N,).

    The result is a scalar; integer logits become float32. Raises ShapeError, DTypeError, and
    OutOfRangeError for a label outside -C..C-1 (on OpenCL when the result is read).

    >>> import tinyml
    >>> round(tinyml.cross_entropy(tinyml.zeros((2, 4)), tinyml.tensor([0, 3])).item(), 4)
    1.3863
    """
    return apply(ENTROPY, logits, labels)
