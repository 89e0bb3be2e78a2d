"""Softmax and its logarithm along an axis, written in terms of other ops, with their gradients.

A body of elementwise words and reductions becomes one kernel; the gradients are ops of their own,
written in the same way, so that a backward pass is one kernel too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axis, as_float, float_spec, same_float
from tinyml.ops.samples import ErrorCase

__all__ = ["log_softmax", "softmax"]


def _normalize(x: Spec, *_: Spec, axis: Any = -1) -> dict[str, Any]:
    return {"axis": as_axis(axis, x.ndim)}


def _infer(x: Spec, *, axis: int) -> Spec:
    return float_spec(x)


def _dx_infer(g: Spec, y: Spec, *, axis: int) -> Spec:
    return same_float(g, y)


def softmax_body(x: Any, *, axis: int) -> Any:
    """Return softmax in terms of other ops: exp(x - max) over its sum."""
    x = as_float(x)
    if not x.shape[axis]:
        return x.copy()
    e = (x - x.max(axis, True)).exp()
    return e / e.sum(axis, True)


def _log_softmax_body(x: Any, *, axis: int) -> Any:
    x = as_float(x)
    if not x.shape[axis]:
        return x.copy()
    z = x - x.max(axis, True)
    return z - z.exp().sum(axis, True).log()


_OF_ONE: dict[str, Any] = {
    "infer": _infer, "normalize": _normalize, "samples": samples.axis_map(), "ulp": 16,
    "errors": lambda: [ErrorCase((np.ones((2, 3), np.float32),), {"axis": 2}, IndexError,
                                 "-2 <= axis < 2")],
}
_OF_COTANGENT: dict[str, Any] = {
    "infer": _dx_infer, "normalize": _normalize, "ulp": 16,
    "samples": samples.with_cotangent(samples.axis_map()),
}

SOFTMAX_DX: Op = define(
    "softmax_dx", **_OF_COTANGENT, body=lambda g, y, axis: y * (g - (g * y).sum(axis, True)),
    doc="softmax's gradient from its result: y (g - sum(g y)).",
)
SOFTMAX: Op = define(
    "softmax", **_OF_ONE, body=softmax_body,
    grad=(lambda g, y, _x, axis: apply(SOFTMAX_DX, g, y, axis=axis),),
    doc="exp(x - max) over its sum along an axis.",
)
LOG_SOFTMAX_DX: Op = define(
    "log_softmax_dx", **_OF_COTANGENT, body=lambda g, y, axis: g - y.exp() * g.sum(axis, True),
    doc="log_softmax's gradient from its result: g - exp(y) sum(g).",
)
LOG_SOFTMAX: Op = define(
    "log_softmax", **_OF_ONE, body=_log_softmax_body,
    grad=(lambda g, y, _x, axis: apply(LOG_SOFTMAX_DX, g, y, axis=axis),),
    doc="x - max - log(sum(exp(x - max))) along an axis.",
)


@named_in_errors
def softmax(x: Any, axis: int = -1) -> Tensor:
    """Return exp(x) over its sum along `axis`, without overflow; integers become float32.

    >>> import tinyml
    >>> tinyml.softmax(tinyml.tensor([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    return apply(SOFTMAX, x, axis=axis)


@named_in_errors
def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """Return the logarithm of softmax along `axis`, without overflow or cancellation.

    >>> import tinyml
    >>> tinyml.log_softmax(tinyml.tensor([[0.0], [1000.0]]), axis=0).tolist()
    [[-1000.0], [0.0]]
    """
    return apply(LOG_SOFTMAX, x, axis=axis)
