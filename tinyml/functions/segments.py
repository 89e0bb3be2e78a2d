"""Reductions by index: of segments (the elements with the same id), and into a tensor."""

from __future__ import annotations

import builtins
from typing import Any

from tinyml.core.apply import full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.dtypes import bool_, int64, integer_range
from tinyml.errors import ArgumentError, DTypeError, ShapeError, expect
from tinyml.functions.split_stack import ravel
from tinyml.ops.arguments import as_axis, as_float, as_size, shape_along
from tinyml.ops.creation import asarray, index_along
from tinyml.ops.elementwise import astype, where
from tinyml.ops.gather_scatter import gather, scatter
from tinyml.ops.reduction import max
from tinyml.ops.rounding import rounded_once
from tinyml.ops.views import reshape

__all__ = ["scatter_reduce", "segment_max", "segment_mean", "segment_min", "segment_prod",
           "segment_sum"]


# ---- segments


def _segments(data: Any, ids: Any, count: Any) -> tuple[Any, Any, int]:
    """Return data with one leading axis, its ids as a vector, and how many segments there are."""
    data = asarray(data)
    ids = asarray(ids, device=data.device)
    expect(ids.dtype.is_integer, "integer segment ids", ids.dtype.name, DTypeError)
    expect(data.shape[: ids.ndim] == ids.shape, f"ids of a shape that {data.shape} begins with",
           ids.shape, ShapeError)
    data = reshape(data, (ids.size, *data.shape[ids.ndim :]))
    ids = reshape(ids, (ids.size,))
    if count is None:  # the values decide how many there are, as in `nonzero`
        count = int(max(ids).item()) + 1 if ids.size else 0
    return data, ids, as_size(count, "num_segments")


def _scattered(mode: str, data: Any, ids: Any, count: int, start: Any) -> Tensor:
    """Return segments that start from a value and combine their elements by a `scatter` mode."""
    begin = full((count, *data.shape[1:]), start, data.dtype, data.device)
    return scatter(begin, ids, data, 0, mode)


@named_in_errors
@rounded_once
def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """Return sums of the elements of data with the same id: shape (num_segments, ...).

    Ids may be in any order; they cover the first axes of data. `num_segments` defaults to one more
    than the greatest id, which waits for the values. Raises OutOfRangeError for an id beyond it,
    ShapeError, DTypeError.

    >>> import tinyml
    >>> tinyml.segment_sum(tinyml.tensor([1.0, 2.0, 3.0]), tinyml.tensor([0, 0, 2])).tolist()
    [3.0, 0.0, 3.0]
    """
    data, ids, count = _segments(data, segment_ids, num_segments)
    return _scattered("add", data, ids, count, 0)


@named_in_errors
@rounded_once
def segment_mean(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """Return means of the elements of data with the same id; NaN if there are none.

    Arguments are as in `segment_sum`; integers become float32.
    """
    data, ids, count = _segments(data, segment_ids, num_segments)
    data = as_float(data)
    ones = full(ids.shape, 1, data.dtype, data.device)
    counts = _scattered("add", ones, ids, count, 0)
    return _scattered("add", data, ids, count, 0) / reshape(
        counts, (count, *(1 for _ in data.shape[1:])))


@named_in_errors
@rounded_once
def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """Return products of the elements of data with the same id; 1 if there are none."""
    data, ids, count = _segments(data, segment_ids, num_segments)
    return _scattered("mul", data, ids, count, 1)


@named_in_errors
def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """Return the greatest element of data with each id; -inf, or the least integer, if none."""
    data, ids, count = _segments(data, segment_ids, num_segments)
    least = -float("inf") if data.dtype.is_float else integer_range(data.dtype)[0]
    return _scattered("max", data, ids, count, least)


@named_in_errors
def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """Return the least element of data with each id; inf, or the greatest integer, if none."""
    data, ids, count = _segments(data, segment_ids, num_segments)
    greatest = float("inf") if data.dtype.is_float else integer_range(data.dtype)[1]
    return _scattered("min", data, ids, count, greatest)


# ---- reductions into a tensor


@named_in_errors
@rounded_once
def scatter_reduce(x: Any, indices: Any, updates: Any, axis: int = 0, reduce: str = "sum",
                   include_self: bool = True) -> Tensor:
    """Return x with `updates` reduced into it, each at its own index along `axis`.

    `reduce` is 'sum', 'prod', 'mean', 'min' or 'max'. indices and updates have the same shape;
    along other axes their elements fall on the first ones of x. Without `include_self`, the old
    value of an updated element is left out. Raises ShapeError, OutOfRangeError, ArgumentError.

    >>> import tinyml
    >>> x, i = tinyml.ones(2), tinyml.tensor([0, 0])
    >>> tinyml.scatter_reduce(x, i, tinyml.tensor([3.0, 5.0]), reduce="mean").tolist()
    [3.0, 1.0]
    """
    x = asarray(x)
    indices = asarray(indices, device=x.device)
    expect(reduce in _REDUCTIONS, f"one of {', '.join(_REDUCTIONS)}", reduce, ArgumentError)
    expect(indices.ndim == x.ndim, f"indices with {x.ndim} axes", indices.shape, ShapeError)
    axis = as_axis(axis, x.ndim)
    updates = astype(asarray(updates, device=x.device), x.dtype)
    expect(updates.shape == indices.shape, f"updates of shape {indices.shape}", updates.shape,
           ShapeError)
    places = ravel(_flat_places(x.shape, indices, axis))
    values, flat = ravel(updates), ravel(x)
    mode, start = _REDUCTIONS[reduce]
    if not include_self:
        hit = scatter(full(flat.shape, False, bool_, x.device), places,
                      full(places.shape, True, bool_, x.device))
        flat = where(hit, _start(x.dtype, start), flat)
    result = scatter(flat, places, values, 0, mode)
    if reduce == "mean":
        counts = full(flat.shape, 1 if include_self else 0, x.dtype, x.device)
        counts = scatter(counts, places, full(places.shape, 1, x.dtype, x.device), 0, "add")
        result = result / where(counts > 0, counts, 1)
    return reshape(result, x.shape)


_REDUCTIONS = {"sum": ("add", 0.0), "mean": ("add", 0.0), "prod": ("mul", 1.0),
               "min": ("min", float("inf")), "max": ("max", -float("inf"))}


def _start(dtype: Any, value: float) -> Any:
    """Return a reduction's identity in a type."""
    if dtype.is_float:
        return value
    low, high = integer_range(dtype)
    return int(builtins.max(low, builtins.min(high, value)))


def _flat_places(shape: tuple[int, ...], indices: Any, axis: int) -> Any:
    """Return the position in the flattened tensor of each index along an axis."""
    place: Any = full(indices.shape, 0, int64, indices.device)
    for d, size in enumerate(shape):
        if d == axis:
            own = gather(index_along((size,), 0, indices.device), indices)  # which checks them
        else:
            own = index_along(shape_along(indices.shape[d], d, len(shape)), d, indices.device)
        place = place * size + own
    return place
