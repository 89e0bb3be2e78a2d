"""Running extremes, and the logarithm of a sum of exponentials, over axes or running along one.

A long axis with few rows is cut into blocks, as in cumulative.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.dtypes import FLOATS
from tinyml.errors import AxisError
from tinyml.ir.monoids import MAX, MIN
from tinyml.ir.nest import Ids, Monoid
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axes, as_axis, as_float, float_spec, with_shape
from tinyml.ops.concat import concat
from tinyml.ops.creation import IOTA, asarray
from tinyml.ops.cumulative import (
    LINEAR_SCAN,
    block_length,
    in_blocks,
    join_blocks,
    scan_nest,
    shifted,
    split_blocks,
)
from tinyml.ops.elementwise import (
    equal,
    exp,
    isinf,
    isnan,
    log,
    logical_or,
    maximum,
    minimum,
    where,
)
from tinyml.ops.elementwise.define import NUMBERS
from tinyml.ops.gather_scatter import PUT_ALONG
from tinyml.ops.reduction import reduced_shape, restore
from tinyml.ops.rounding import rounded_once
from tinyml.ops.samples.values import ErrorCase
from tinyml.ops.views import reshape, slice_axis, zeros_of

__all__ = ["cummax", "cummin", "logcumsumexp", "logsumexp"]


def _define(name: str, monoid: Monoid, extreme: Callable[[Any, Any], Any], doc: str) -> Op:
    """Define a running extreme, whose blocks are combined by the elementwise `extreme`."""

    def nest(n: Any, index: Ids, x: Any, *, axis: int) -> int:
        return scan_nest(n, index, monoid, (x,), (), x.dtype, axis, False, False)

    def body(x: Any, *, axis: int) -> Any:
        if not in_blocks(x.shape, axis):
            return apply(op, x, axis=axis)
        blocks = split_blocks(x, axis, block_length(x.shape[axis]), 0)
        inner = apply(op, blocks, axis=axis + 1)
        count, length = blocks.shape[axis], blocks.shape[axis + 1]
        ends = apply(op, slice_axis(inner, axis + 1, length - 1, length), axis=axis)
        before = concat([slice_axis(ends, axis, 0, 1), slice_axis(ends, axis, 0, count - 1)], axis)
        rest = extreme(slice_axis(inner, axis, 1, count), slice_axis(before, axis, 1, count))
        return join_blocks(concat([slice_axis(inner, axis, 0, 1), rest], axis), axis, x.shape[axis])

    def grad(g: Any, y: Any, x: Any, axis: int) -> Any:
        return apply(PUT_ALONG, zeros_of(x), _places(x, y, axis), g, axis=axis)

    def infer(x: Spec, *, axis: int) -> Spec:
        return with_shape(x, x.shape)

    op: Op = define(
        name, infer, nest=nest, body=body, grad=(grad,), doc=doc, dtypes=NUMBERS,
        normalize=lambda x, axis: {"axis": as_axis(axis, x.ndim)},
        samples=samples.running_extreme(),
        errors=lambda: [ErrorCase(([[1.0]],), {"axis": 2}, AxisError, "-2 <= axis < 2")])
    return op


def _places(x: Any, y: Any, axis: int) -> Any:
    """Return the index of each running extreme: the last position so far that holds it."""
    hit = equal(x, y)
    if x.dtype.is_float:
        hit = logical_or(hit, isnan(x))
    return apply(CUMMAX, where(hit, apply(IOTA, x, axis=axis), 0), axis=axis)


CUMMAX: Op = _define(
    "cummax", MAX, maximum,
    "The running maximum along an axis; NaN from the first NaN on.")
CUMMIN: Op = _define(
    "cummin", MIN, minimum,
    "The running minimum along an axis; NaN from the first NaN on.")


def _running(op: Op, x: Any, axis: int) -> tuple[Tensor, Tensor]:
    x = asarray(x)
    if x.ndim == 0:
        values, places = _running(op, reshape(x, (1,)), axis)
        return reshape(values, ()), reshape(places, ())
    axis = as_axis(axis, x.ndim)
    values = apply(op, x, axis=axis)
    return values, _places(x, values, axis)


@named_in_errors
def cummax(x: Any, axis: int = -1) -> tuple[Tensor, Tensor]:
    """Return the running maximum along `axis`, and its int64 index.

    Ties give the last index; from the first NaN on, the result is NaN. The gradient goes to that
    index. Raises AxisError.

    >>> import tinyml
    >>> [y.tolist() for y in tinyml.cummax(tinyml.tensor([1, 3, 2]))]
    [[1, 3, 3], [0, 1, 1]]
    """
    return _running(CUMMAX, x, axis)


@named_in_errors
def cummin(x: Any, axis: int = -1) -> tuple[Tensor, Tensor]:
    """Return the running minimum along `axis`, and its int64 index; see `cummax`."""
    return _running(CUMMIN, x, axis)


# ---- the logarithm of a sum of exponentials


def _lse_infer(x: Spec, *, axis: tuple[int, ...], keepdims: bool) -> Spec:
    return with_shape(float_spec(x), reduced_shape(x.shape, axis, keepdims))


def _relative(x: Any, top: Any) -> Any:
    """Return exp(x - top); where top is infinite, 1 for x = top and 0 for others."""
    far = isinf(top)
    return where(far, equal(x, top).astype(x.dtype), exp(where(far, 0.0, x - top)))


def _lse_body(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    x = as_float(x)
    if not x.size:
        return x.sum(axis, keepdims).log()
    top = x.max(axis, True)
    total = _relative(x, top).sum(axis, True).log() + top
    return reshape(total, reduced_shape(x.shape, axis, keepdims))


@rounded_once
def _lse_slope(g: Any, x: Any, axis: tuple[int, ...]) -> Any:
    """Return g times each term's share of the sum; equal infinities share equally."""
    if not x.size:
        return restore(g, x, axis)
    terms = _relative(x, x.max(axis, True))
    return restore(g, x, axis) * (terms / terms.sum(axis, True))


LOGSUMEXP: Op = define(
    "logsumexp", _lse_infer, body=_lse_body, ulp=16, dtypes=FLOATS,
    normalize=lambda x, axis=None, keepdims=False: {"axis": as_axes(axis, x.ndim),
                                                "keepdims": bool(keepdims)},
    grad=(lambda g, _y, x, axis, keepdims: _lse_slope(g, x, axis),),
    samples=samples.reduction(),
    doc="log(sum(exp(x))) over axes, with the maximum factored out, so without overflow.",
)


@named_in_errors
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return log(sum(exp(x))) over `axis` without overflow; -inf if there are no elements.

    Known as scipy.special.logsumexp. Integers become float32. Raises AxisError.

    >>> import tinyml
    >>> round(tinyml.logsumexp(tinyml.tensor([1000.0, 1000.0])).item(), 3)
    1000.693
    """
    return apply(LOGSUMEXP, asarray(x), axis=axis, keepdims=keepdims)


def _running_terms(x: Any, axis: int) -> tuple[Any, Any, Any]:
    """Return the running maximum m, exp(m_(i-1) - m_i) and exp(x_i - m_i), with m_(-1) = -inf."""
    top = apply(CUMMAX, x.detach(), axis=axis)  # the result does not depend on it
    first = slice_axis(top, axis, 0, 1)
    before = shifted(top, axis, False, where(first == first, float("-inf"), first))
    same = equal(before, top)
    return top, exp(where(same, 0.0, before - top)), _relative(x, top)


def _running_body(x: Any, *, axis: int) -> Any:
    x = as_float(x)
    if not x.size:
        return x.copy()
    top, factor, term = _running_terms(x, axis)
    return log(apply(LINEAR_SCAN, factor, term, axis=axis, reverse=False)) + top


@rounded_once
def _running_slope(g: Any, x: Any, axis: int) -> Any:
    """Return dx_j = exp(x_j - m_j) S_j, S_j = g_j / s_j + exp(m_j - m_(j+1)) S_(j+1)."""
    if not x.size:
        return g
    _, factor, term = _running_terms(x, axis)
    total = apply(LINEAR_SCAN, factor, term, axis=axis, reverse=False)
    later = shifted(factor, axis, True)
    return term * apply(LINEAR_SCAN, later, g / total, axis=axis, reverse=True)


LOGCUMSUMEXP: Op = define(
    "logcumsumexp", lambda x, *, axis: float_spec(x), body=_running_body, ulp=16, dtypes=FLOATS,
    normalize=lambda x, axis: {"axis": as_axis(axis, x.ndim)},
    grad=(lambda g, _y, x, axis: _running_slope(g, x, axis),),
    samples=samples.running_extreme(),
    errors=lambda: [ErrorCase(([[1.0]],), {"axis": 2}, AxisError, "-2 <= axis < 2")],
    doc="log(cumsum(exp(x))) along an axis, relative to the running maximum m: s_i = s_(i-1) "
        "exp(m_(i-1) - m_i) + exp(x_i - m_i), a linear recurrence with factors of at most 1.",
)


@named_in_errors
def logcumsumexp(x: Any, axis: int = -1) -> Tensor:
    """Return log(cumsum(exp(x))) along `axis` without overflow; integers become float32.

    Equal infinities share the gradient. Raises AxisError.

    >>> import tinyml
    >>> [round(y, 3) for y in tinyml.logcumsumexp(tinyml.tensor([1000.0, 1000.0])).tolist()]
    [1000.0, 1000.693]
    """
    x = as_float(asarray(x))
    return apply(LOGCUMSUMEXP, x, axis=axis) if x.ndim else reshape(x, ())


