"""Rearranging tensors: axes added, removed and moved; flips, rolls, repetitions, differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.upload import as_tensor, upload_all
from tinyml.dtypes import int64
from tinyml.errors import ArgumentError, AxisError, DTypeError, ShapeError, expect
from tinyml.ops.arguments import (
    as_axes,
    as_axis,
    as_items,
    as_parts,
    as_size,
    as_sizes,
    broadcast_shapes,
)
from tinyml.ops.concat import concat
from tinyml.ops.creation import asarray, index_along
from tinyml.ops.cumulative import cumulative_sum
from tinyml.ops.gather_scatter import gather
from tinyml.ops.reduction import min
from tinyml.ops.sorting import searchsorted
from tinyml.ops.views import broadcast_to, permute_dims, reshape, slice_axis

__all__ = ["broadcast_arrays", "diff", "expand_dims", "flip", "meshgrid", "moveaxis", "repeat",
           "roll", "squeeze", "stack", "tile", "unstack"]

MOST_DIFFERENCES = 1 << 12  # one step each; far fewer exceed the range of every type


# ---- views


@named_in_errors
def expand_dims(x: Any, axis: Any = 0) -> Tensor:
    """Return x with axes of size 1 at the positions `axis` of the result: an int or a tuple.

    Raises AxisError.

    >>> import tinyml
    >>> tinyml.expand_dims(tinyml.zeros((2, 3)), (0, -1)).shape
    (1, 2, 3, 1)
    """
    x, added = as_tensor(x), as_sizes(axis, "axis")
    ndim = x.ndim + len(added)
    places = [as_axis(a, ndim) for a in added]
    expect(len(set(places)) == len(places), "each axis once", places, AxisError)
    rest = iter(x.shape)
    return reshape(x, tuple([1 if d in places else next(rest) for d in range(ndim)]))


@named_in_errors
def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Return x without the axes `axis`, an int or a tuple, each of size 1. Raises ShapeError.

    None, which the standard does not have, means all axes of size 1.
    """
    x = as_tensor(x)
    if axis is None:
        axis = tuple([d for d, n in enumerate(x.shape) if n == 1])
    axes = [as_axis(a, x.ndim) for a in as_sizes(axis, "axis")]
    expect(all(x.shape[a] == 1 for a in axes), f"size 1 on axes {axes}", x.shape)
    return reshape(x, tuple([n for d, n in enumerate(x.shape) if d not in axes]))


@named_in_errors
def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Return x with the axes from `start_dim` to `end_dim` merged into one. Raises AxisError.

    >>> import tinyml
    >>> flatten(tinyml.zeros((2, 3, 4)), 1).shape
    (2, 12)
    """
    if x.ndim == 0:
        return reshape(x, (1,))
    start, end = as_axis(start_dim, x.ndim), as_axis(end_dim, x.ndim)
    expect(start <= end, f"start_dim {start_dim} before end_dim {end_dim}", x.shape, AxisError)
    merged = math.prod(x.shape[start : end + 1])
    return reshape(x, (*x.shape[:start], merged, *x.shape[end + 1 :]))


@named_in_errors
def flip(x: Any, axis: Any = None) -> Tensor:
    """Return x with the order along axes reversed, without copying; None means all."""
    x = as_tensor(x)
    axes = as_axes(axis, x.ndim)
    flipped: Tensor = x[tuple([slice(None, None, -1 if d in axes else 1) for d in range(x.ndim)])]
    return flipped


@named_in_errors
def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """Return x with the axes `source` moved to `destination`; the others keep their order.

    Both are an int or a tuple. Raises AxisError.

    >>> import tinyml
    >>> tinyml.moveaxis(tinyml.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = as_tensor(x)
    froms, tos = [[as_axis(a, x.ndim) for a in as_sizes(axes, "axis")]
                  for axes in (source, destination)]
    expect(len(froms) == len(tos) == len(set(froms)) == len(set(tos)),
           "as many destinations as sources, each once", (froms, tos), AxisError)
    order = [d for d in range(x.ndim) if d not in froms]
    for to, axis in sorted(zip(tos, froms)):
        order.insert(to, axis)
    return permute_dims(x, order)


@named_in_errors
def broadcast_arrays(*arrays: Any) -> list[Tensor]:
    """Return the tensors broadcast to their common shape, without copying."""
    xs = upload_all(arrays)
    shape = broadcast_shapes(*[x.shape for x in xs])
    return [broadcast_to(x, shape) for x in xs]


@named_in_errors
def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Tensor]:
    """Return the coordinates of a grid spanned by vectors; 'xy' swaps the first two axes.

    Raises ShapeError for tensors with more than 1 axis, ArgumentError.

    >>> import tinyml
    >>> [x.tolist() for x in tinyml.meshgrid(tinyml.arange(2), tinyml.arange(2), indexing="ij")]
    [[[0, 0], [1, 1]], [[0, 1], [0, 1]]]
    """
    expect(indexing in ("xy", "ij"), "indexing 'xy' or 'ij'", indexing, ArgumentError)
    xs = upload_all(arrays)
    order = list(range(len(xs)))
    if indexing == "xy":
        order[:2] = order[:2][::-1]
    shape = [0] * len(xs)
    for axis, x in zip(order, xs):
        expect(x.ndim <= 1, "vectors", x.shape)
        shape[axis] = x.size
    axes = range(len(xs))
    return [broadcast_to(reshape(x, [x.size if d == axis else 1 for d in axes]), shape)
            for axis, x in zip(order, xs)]


@named_in_errors
def unstack(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """Return the slices of x along an axis, without that axis: at most 2^20.

    Raises AxisError, and ArgumentError for more of them.

    >>> import tinyml
    >>> [part.tolist() for part in tinyml.unstack(tinyml.tensor([[1, 2], [3, 4]]), axis=1)]
    [[1, 3], [2, 4]]
    """
    x = as_tensor(x)
    place = as_axis(axis, x.ndim)
    before = (slice(None),) * place
    return tuple([x[before + (k,)] for k in range(as_parts(x.shape[place]))])


# ---- copies


@named_in_errors
def stack(arrays: Any, axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis. Raises ShapeError where shapes differ."""
    xs = upload_all(as_items(arrays))
    shapes = {x.shape for x in xs}
    expect(len(shapes) == 1, "tensors of one shape", sorted(shapes), ShapeError)
    return concat([expand_dims(x, axis) for x in xs], axis)


@named_in_errors
def roll(x: Any, shift: Any, axis: Any = None) -> Tensor:
    """Return x with its elements moved by `shift`; those past the end re-enter at the front.

    `axis` and `shift` may be tuples; without an axis x is rolled as a vector. Raises AxisError,
    ArgumentError if the numbers of shifts and axes differ.

    >>> import tinyml
    >>> tinyml.roll(tinyml.arange(5), 2).tolist()
    [3, 4, 0, 1, 2]
    """
    x, shifts = as_tensor(x), as_sizes(shift, "shift")
    if axis is None:
        return reshape(roll(reshape(x, (x.size,)), sum(shifts), 0), x.shape)
    axes = [as_axis(a, x.ndim) for a in as_sizes(axis, "axis")]
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    expect(len(shifts) == len(axes), f"{len(axes)} shifts", shifts, ArgumentError)
    rolled = reshape(x, x.shape)
    for d, by in zip(axes, shifts):
        size = x.shape[d]
        start = -by % size if size else 0
        if start:
            pieces = [slice_axis(rolled, d, *ends) for ends in ((start, size), (0, start))]
            rolled = concat(pieces, d)
    return rolled


@named_in_errors
def tile(x: Any, repetitions: Any) -> Tensor:
    """Return x repeated as a whole, the given number of times along each axis.

    The shorter of shape and repetitions is padded with ones in front. Raises ArgumentError for a
    negative number.

    >>> import tinyml
    >>> tinyml.tile(tinyml.tensor([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    x, times = as_tensor(x), as_sizes(repetitions, "repetitions")
    expect(all(n >= 0 for n in times), "repetitions are not negative", times, ArgumentError)
    ndim = max(len(times), x.ndim)
    times = (1,) * (ndim - len(times)) + times
    shape = (1,) * (ndim - x.ndim) + x.shape
    apart = reshape(x, [size for n in shape for size in (1, n)])
    wide = broadcast_to(apart, [size for pair in zip(times, shape) for size in pair])
    return reshape(wide, [k * n for k, n in zip(times, shape)])


@named_in_errors
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Return x with each element along an axis repeated in place; without an axis, flattened.

    `repeats` is an int, or a vector with an int for each element. A vector's values are waited for,
    since they decide the result's size. Raises ArgumentError for negative repeats, DTypeError.

    >>> import tinyml
    >>> x = tinyml.tensor([1, 2, 3])
    >>> tinyml.repeat(x, 2).tolist(), tinyml.repeat(x, tinyml.tensor([2, 0, 1])).tolist()
    ([1, 1, 2, 2, 3, 3], [1, 1, 3])
    """
    x = as_tensor(x)
    if axis is None:
        return repeat(reshape(x, (x.size,)), repeats, axis=0)
    place = as_axis(axis, x.ndim)
    before, size, after = x.shape[:place], x.shape[place], x.shape[place + 1 :]
    if not isinstance(repeats, (Data, np.ndarray, list, tuple)):
        times = as_size(repeats, "repeats")
        expect(times >= 0, "repeats are not negative", times, ArgumentError)
        apart = reshape(x, (*before, size, 1, *after))
        wide = broadcast_to(apart, (*before, size, times, *after))
        return reshape(wide, (*before, size * times, *after))
    counts = asarray(repeats, device=None if isinstance(repeats, Data) else x.device)
    expect(counts.dtype.is_integer, "integer repeats", counts.dtype.name, DTypeError)
    counts = broadcast_to(reshape(counts, (counts.size,)), (size,)).astype(int64)
    if not size:
        return reshape(x, x.shape)
    expect(min(counts).item() >= 0, "repeats are not negative", "a negative one", ArgumentError)
    ends = cumulative_sum(counts)
    places = index_along((ends[-1].item(),), 0, x.device)
    return gather(x, searchsorted(ends, places, side="right"), place)


@named_in_errors
def diff(x: Any, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
    """Return the n-th differences of neighbours along an axis, of x with `prepend` and `append`.

    With n=0 the result is x alone, as in NumPy. Raises AxisError, and ArgumentError for an n that
    is negative, or over 4,096 and less than the size.

    >>> import tinyml
    >>> tinyml.diff(tinyml.tensor([1, 4, 9, 16])).tolist()
    [3, 5, 7]
    """
    x = as_tensor(x)
    place, times = as_axis(axis, x.ndim), as_size(n, "n")
    expect(times >= 0, "n is not negative", times, ArgumentError)
    if times == 0:
        return reshape(x, x.shape)
    pieces = [piece for piece in (prepend, x, append) if piece is not None]
    found: Tensor = concat(pieces, place) if len(pieces) > 1 else x
    if times > found.shape[place]:  # nothing is left
        found, times = slice_axis(found, place, 0, 0), 1
    expect(times <= MOST_DIFFERENCES, f"n of at most {MOST_DIFFERENCES}", times, ArgumentError)
    for _ in range(times):
        size = found.shape[place]
        found = slice_axis(found, place, 1, size) - slice_axis(found, place, 0, max(size - 1, 0))
    return found
