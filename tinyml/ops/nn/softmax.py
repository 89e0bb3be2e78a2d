"""Composites: ops written by other ops. A body of elementwise words and reductions is one kernel.

Their gradients are composites too, so that a backward pass costs one launch where it can.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.node import Tensor
from tinyml.dtypes import float32
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axis, cotangent_spec, with_shape
from tinyml.ops.samples import ErrorCase

__all__ = ["log_softmax", "softmax"]

# ---- softmax


def as_float_spec(x: Spec) -> Spec:
    """Return a dense spec of x's shape, in float32 where x is of no float type."""
    return with_shape(x, x.shape, x.dtype if x.dtype.is_float else float32)


def as_float(x: Any) -> Any:
    """Return x, in float32 where it is of no float type."""
    return x if x.dtype.is_float else x.astype(float32)


def _axis(x: Spec, *_: Spec, axis: Any = -1) -> dict[str, Any]:
    return {"axis": as_axis(axis, x.ndim)}


def _softmax_infer(x: Spec, *, axis: int) -> Spec:
    return as_float_spec(x)


def _softmax_dx_infer(g: Spec, y: Spec, *, axis: int) -> Spec:
    return cotangent_spec(g, y)


def _softmax(x: Any, *, axis: int) -> Any:
    x = as_float(x)
    if not x.shape[axis]:
        return x.op("copy")
    e = (x - x.op("max", axis=axis, keepdims=True)).op("exp")
    return e / e.op("sum", axis=axis, keepdims=True)


def _log_softmax(x: Any, *, axis: int) -> Any:
    x = as_float(x)
    if not x.shape[axis]:
        return x.op("copy")
    z = x - x.op("max", axis=axis, keepdims=True)
    return z - z.op("exp").op("sum", axis=axis, keepdims=True).op("log")


_over_axis: dict[str, Any] = {
    "normalize": _axis, "samples": samples.axis_map(),
    "errors": lambda: [ErrorCase((np.ones((2, 3), np.float32),), {"axis": 2}, IndexError,
                                 "-2 <= axis < 2")],
}
SOFTMAX_DX: Op = define(
    "softmax_dx", _softmax_dx_infer, normalize=_axis, ulp=16,
    samples=samples.with_cotangent(samples.axis_map()),
    body=lambda g, y, axis: y * (g - (g * y).op("sum", axis=axis, keepdims=True)),
    doc="softmax's gradient from its result: y (g - sum(g y)).",
)
SOFTMAX: Op = define(
    "softmax", _softmax_infer, body=_softmax, ulp=16, **_over_axis,
    grad=(lambda g, y, _x, axis: apply(SOFTMAX_DX, g, y, axis=axis),),
    doc="exp(x - max) over its sum along an axis.",
)
LOG_SOFTMAX_DX: Op = define(
    "log_softmax_dx", _softmax_dx_infer, normalize=_axis, ulp=16,
    samples=samples.with_cotangent(samples.axis_map()),
    body=lambda g, y, axis: g - y.op("exp") * g.op("sum", axis=axis, keepdims=True),
    doc="log_softmax's gradient from its result: g - exp(y) sum(g).",
)
LOG_SOFTMAX: Op = define(
    "log_softmax", _softmax_infer, body=_log_softmax, ulp=16, **_over_axis,
    grad=(lambda g, y, _x, axis: apply(LOG_SOFTMAX_DX, g, y, axis=axis),),
    doc="x - max - log(sum(exp(x - max))) along an axis.",
)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) over its sum along `axis`, without overflow.

    >>> import tinyml
    >>> tinyml.softmax(tinyml.tensor([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    return apply(SOFTMAX, x, axis=axis)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """The logarithm of softmax along `axis`, without overflow or cancellation."""
    return apply(LOG_SOFTMAX, x, axis=axis)
