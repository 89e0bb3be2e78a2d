"""Splitting, joining and rotating tensors, under NumPy's names.

Everything is made of slices, reshapes, permutations and gathers; nothing here computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import tinyml.ops.pad as constant
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.dtypes import bool_, int64
from tinyml.errors import ArgumentError, ShapeError, expect
from tinyml.functions.rearrange import flip, stack
from tinyml.ops.arguments import as_axis, as_items, as_parts, as_size, as_sizes, broadcast_shapes
from tinyml.ops.concat import concat
from tinyml.ops.creation import asarray, index_along
from tinyml.ops.diagonal import diag_embed
from tinyml.ops.elementwise import astype, where
from tinyml.ops.gather_scatter import TAKE_ALONG, gather
from tinyml.ops.views import broadcast_to, permute_dims, reshape, slice_axis

__all__ = ["array_split", "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "choose",
           "column_stack", "diagflat", "dsplit", "dstack", "fliplr", "flipud", "hsplit", "hstack",
           "ravel", "rot90", "select", "sliding_window_view", "split", "swapaxes", "vsplit",
           "vstack"]


# ---- splits


def _cuts(size: int, at: Any, equal: bool) -> list[int]:
    """Return where to cut an axis: into a number of parts, or at the given indices."""
    if not isinstance(at, (Sequence, np.ndarray)) and not hasattr(at, "tolist"):
        count = as_parts(as_size(at, "the number of parts"))
        expect(count > 0, "at least one part", count, ArgumentError)
        expect(not equal or size % count == 0, f"a number of parts that divides {size}", count,
               remedy="array_split")
        small, larger = divmod(size, count)
        return [k * small + min(k, larger) for k in range(1, count)]
    return list(as_sizes(np.asarray(at).tolist(), "indices_or_sections"))


def _split(x: Any, at: Any, axis: int, equal: bool) -> tuple[Tensor, ...]:
    """Return the parts of x along an axis; if `equal`, their number must divide its size."""
    x = asarray(x)
    axis = as_axis(axis, x.ndim)
    size = x.shape[axis]
    bounds = [0, *_cuts(size, at, equal), size]
    parts: list[Tensor] = []
    for start, stop in zip(bounds, bounds[1:]):
        start, stop, _ = slice(start, stop).indices(size)
        parts.append(slice_axis(x, axis, start, max(start, stop)))
    return tuple(parts)


@named_in_errors
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """Split x along `axis` into equal parts, or at the given indices, without copying.

    Raises ShapeError if the number does not divide the axis (`array_split` allows that), AxisError,
    ArgumentError, also for more than 2^20 parts.

    >>> import tinyml
    >>> [y.tolist() for y in tinyml.split(tinyml.arange(4), 2)]
    [[0, 1], [2, 3]]
    """
    return _split(x, indices_or_sections, axis, True)


@named_in_errors
def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """Split like `split`; where the number does not divide the axis, the first parts are longer.

    >>> import tinyml
    >>> [y.tolist() for y in tinyml.array_split(tinyml.arange(3), 2)]
    [[0, 1], [2]]
    """
    return _split(x, indices_or_sections, axis, False)


@named_in_errors
def hsplit(x: Any, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Split x along axis 1, or a vector along axis 0; see `split`."""
    return _split(x, indices_or_sections, 0 if asarray(x).ndim == 1 else 1, True)


@named_in_errors
def vsplit(x: Any, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Split x, which has at least 2 axes, along axis 0; see `split`."""
    expect(asarray(x).ndim >= 2, "at least 2 axes", asarray(x).ndim, ShapeError)
    return _split(x, indices_or_sections, 0, True)


@named_in_errors
def dsplit(x: Any, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Split x along axis 2; see `split`."""
    return _split(x, indices_or_sections, 2, True)


# ---- stacks


def _at_least(x: Any, ndim: int) -> Tensor:
    """Return x with up to 3 axes: a vector becomes a row, a matrix gets a last axis."""
    x = asarray(x)
    shape = x.shape
    if ndim > 1 and len(shape) == 1:
        shape = (1, *shape)
    shape = shape + (1,) * (ndim - len(shape))
    return x if shape == x.shape else reshape(x, shape)


@named_in_errors
def atleast_1d(x: Any) -> Tensor:
    """Return x with at least 1 axis."""
    return _at_least(x, 1)


@named_in_errors
def atleast_2d(x: Any) -> Tensor:
    """Return x with at least 2 axes; a vector becomes a row."""
    return _at_least(x, 2)


@named_in_errors
def atleast_3d(x: Any) -> Tensor:
    """Return x with at least 3 axes: a vector of n becomes (1, n, 1), a matrix gets a last axis."""
    return _at_least(x, 3)


@named_in_errors
def hstack(tensors: Any) -> Tensor:
    """Join tensors side by side: along axis 1, or vectors along axis 0.

    >>> import tinyml
    >>> tinyml.hstack([tinyml.ones(1), tinyml.zeros(2)]).tolist()
    [1.0, 0.0, 0.0]
    """
    parts = [_at_least(x, 1) for x in as_items(tensors)]
    return concat(parts, 0 if parts and parts[0].ndim == 1 else 1)


@named_in_errors
def vstack(tensors: Any) -> Tensor:
    """Join tensors one below the other: along axis 0, with vectors as rows.

    >>> import tinyml
    >>> tinyml.vstack([tinyml.ones(2), tinyml.zeros(2)]).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    return concat([_at_least(x, 2) for x in as_items(tensors)], 0)


@named_in_errors
def dstack(tensors: Any) -> Tensor:
    """Join tensors one behind the other: along axis 2, with axes added as in `atleast_3d`."""
    return concat([_at_least(x, 3) for x in as_items(tensors)], 2)


@named_in_errors
def column_stack(tensors: Any) -> Tensor:
    """Join vectors as columns side by side, and matrices as they are."""
    parts = [asarray(x) for x in as_items(tensors)]
    return concat([reshape(x, (x.size, 1)) if x.ndim < 2 else x for x in parts], 1)


@named_in_errors
def block_diag(*tensors: Any) -> Tensor:
    """Return a matrix with the given matrices along its diagonal, zeros elsewhere.

    Known as scipy.linalg.block_diag. Raises ShapeError for more than 2 axes.

    >>> import tinyml
    >>> tinyml.block_diag(tinyml.ones(1), tinyml.ones((1, 2))).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
    """
    blocks = [_at_least(x, 2) for x in tensors]
    expect(all(x.ndim == 2 for x in blocks), "matrices", [x.shape for x in blocks], ShapeError)
    width, begin, rows = sum(x.shape[1] for x in blocks), 0, []
    for x in blocks:
        rows.append(constant.pad(x, (0, begin), (0, width - begin - x.shape[1])))
        begin += x.shape[1]
    return concat(rows, 0)


# ---- flattening, swaps and rotations


@named_in_errors
def ravel(x: Any) -> Tensor:
    """Return x as a vector, in row-major order."""
    x = asarray(x)
    return reshape(x, (x.size,))


@named_in_errors
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Return x with two axes swapped, without copying. Raises AxisError."""
    x = asarray(x)
    order = list(range(x.ndim))
    first, second = as_axis(axis1, x.ndim), as_axis(axis2, x.ndim)
    order[first], order[second] = second, first
    return permute_dims(x, order)


@named_in_errors
def fliplr(x: Any) -> Tensor:
    """Return x with axis 1 reversed."""
    return flip(asarray(x), 1)


@named_in_errors
def flipud(x: Any) -> Tensor:
    """Return x with axis 0 reversed."""
    return flip(asarray(x), 0)


@named_in_errors
def rot90(x: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """Return x rotated by k quarter turns in the plane of two axes, from the first to the second.

    Raises AxisError, and ArgumentError if both axes are the same.

    >>> import tinyml
    >>> tinyml.rot90(tinyml.tensor([[1, 2], [3, 4]])).tolist()
    [[2, 4], [1, 3]]
    """
    x = asarray(x)
    places = [as_axis(a, x.ndim) for a in as_sizes(axes, "axes")]
    expect(len(places) == 2, "two axes", axes, ArgumentError)
    first, second = places
    expect(first != second, "two different axes", axes, ArgumentError)
    turns = as_size(k, "k") % 4
    if turns in (0, 2):
        return flip(x, (first, second)) if turns else x
    if turns == 1:
        return swapaxes(flip(x, second), first, second)
    return flip(swapaxes(x, first, second), second)


@named_in_errors
def diagflat(x: Any, k: int = 0) -> Tensor:
    """Return the matrix with the elements of x on its k-th diagonal."""
    return diag_embed(ravel(x), k)


# ---- windows


@named_in_errors
def sliding_window_view(x: Any, window_shape: Any, axis: Any = None, step: int = 1) -> Tensor:
    """Return all windows of a given length along an axis, `step` apart, as a new last axis.

    Windows overlap, so this copies. Several axes are handled one after the other, each with its own
    length. Raises ShapeError for a length that does not fit, ArgumentError.

    >>> import tinyml
    >>> tinyml.sliding_window_view(tinyml.arange(4), 3).tolist()
    [[0, 1, 2], [1, 2, 3]]
    """
    x = asarray(x)
    lengths = list(window_shape) if isinstance(window_shape, (tuple, list)) else [window_shape]
    axes = (list(axis) if isinstance(axis, (tuple, list))
            else list(range(x.ndim)) if axis is None else [axis])
    expect(len(lengths) == len(axes), "one length for each axis", (lengths, axes), ArgumentError)
    expect(as_size(step, "step") > 0, "a step of at least 1", step, ArgumentError)
    for length, a in zip(lengths, axes):
        place = as_axis(a, x.ndim)
        size = x.shape[place]
        expect(0 < as_size(length, "length") <= size, f"0 < length <= {size}", length, ShapeError)
        windows = ((size - length) // step + 1, length)
        table = index_along(windows, 0, x.device) * step + index_along(windows, 1, x.device)
        order = [*range(place + 1), *range(place + 2, x.ndim + 1), place + 1]
        x = permute_dims(gather(x, table, place), order)
    view: Tensor = x
    return view


# ---- choice


@named_in_errors
def choose(indices: Any, choices: Any) -> Tensor:
    """Return, at each position, the element of the choice that its index names; all broadcast.

    Raises ArgumentError if there are no choices, OutOfRangeError for an index beyond them.

    >>> import tinyml
    >>> tinyml.choose(tinyml.tensor([1, 0]), [tinyml.zeros(2), tinyml.ones(2)]).tolist()
    [1.0, 0.0]
    """
    indices = asarray(indices)
    indices = astype(indices, int64) if indices.dtype is bool_ else indices
    parts = [asarray(x, device=indices.device) for x in as_items(choices)]
    expect(bool(parts), "at least one choice", "none", ArgumentError)
    shape = broadcast_shapes(indices.shape, *[x.shape for x in parts])
    rows = stack([broadcast_to(x, shape) for x in parts], 0)
    table = reshape(broadcast_to(indices, shape), (1, *shape))
    return reshape(apply(TAKE_ALONG, rows, table, axis=0), shape)


@named_in_errors
def select(conditions: Any, choices: Any, default: Any = 0) -> Tensor:
    """Return, elementwise, the first choice whose condition holds, else `default`; all broadcast.

    Raises ArgumentError unless there are as many conditions as choices.

    >>> import tinyml
    >>> x = tinyml.tensor([-1.0, 3.0])
    >>> tinyml.select([x < 0, x > 2], [x * 0, x * 10], 1.0).tolist()
    [-0.0, 30.0]
    """
    conditions, choices = as_items(conditions), as_items(choices)
    expect(len(conditions) == len(choices) > 0, "a condition for each choice",
           (len(conditions), len(choices)), ArgumentError)
    result: Any = default
    for condition, choice in zip(reversed(conditions), reversed(choices)):
        result = where(condition, choice, result)
    return asarray(result)
