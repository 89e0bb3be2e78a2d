"""Borders around tensors: numpy.pad and its modes.

A border that repeats elements is a gather with indices computed on the device; others are blocks
concatenated with the tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.pad as constant
from tinyml.core.apply import full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.upload import upload_computed
from tinyml.dtypes import float32, float64
from tinyml.errors import ArgumentError, ShapeError, expect
from tinyml.functions.statistics import median
from tinyml.ops.arguments import shape_along
from tinyml.ops.concat import concat
from tinyml.ops.creation import asarray, index_along
from tinyml.ops.elementwise import astype, clip, minimum, remainder
from tinyml.ops.gather_scatter import gather
from tinyml.ops.reduction import max as max_of
from tinyml.ops.reduction import mean
from tinyml.ops.reduction import min as min_of
from tinyml.ops.views import broadcast_to, slice_axis

__all__ = ["pad"]

BY_INDEX = ("edge", "reflect", "symmetric", "wrap")
STATISTICS = {"maximum": max_of, "minimum": min_of, "mean": mean, "median": median}


@named_in_errors
def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0,
        end_values: Any = 0, stat_length: Any = None) -> Tensor:
    """Return x with a border (numpy.pad); `pad_width` is a number, a pair, or a pair for each axis.

    Modes: constant (`constant_values`, in pairs like the widths), edge, reflect, symmetric, wrap,
    linear_ramp (to `end_values`), maximum, minimum, mean or median of the axis or of its
    `stat_length` elements at that end, and empty. Raises ArgumentError, ShapeError.

    >>> import tinyml
    >>> tinyml.pad(tinyml.tensor([1, 2, 3]), (1, 2), "reflect").tolist()
    [2, 1, 2, 3, 2, 1]
    """
    x = asarray(x)
    widths = _widths(pad_width, x.ndim)
    if mode in ("constant", "empty") and np.ndim(constant_values) == 0:
        return constant.pad(x, [a for a, _ in widths], [b for _, b in widths], constant_values)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            expect(x.shape[axis] > 0 or mode == "constant", "an axis with elements", x.shape,
                   ShapeError)
            if mode in BY_INDEX:
                x = gather(x, _sources(x.shape[axis], before, after, mode, x.device), axis)
            else:
                x = _between_blocks(x, axis, (before, after), mode, constant_values, end_values,
                                    stat_length)
    bordered: Tensor = x
    return bordered


def _widths(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    """Return a pair of widths for each axis, from any form that NumPy accepts."""
    try:
        table = np.broadcast_to(np.asarray(pad_width), (ndim, 2))
    except ValueError:
        table = np.asarray(None)
    expect(table.ndim == 2 and table.dtype.kind in "iu", f"widths for {ndim} axes", pad_width,
           ArgumentError, remedy="a number, a pair (before, after), or a pair for each axis")
    found = [(int(a), int(b)) for a, b in table]
    expect(all(a >= 0 and b >= 0 for a, b in found), "widths are not negative", found, ShapeError)
    return found


def _sources(size: int, before: int, after: int, mode: str, device: Any) -> Any:
    """Return the index of the source element for each position of the padded axis."""
    place = index_along((before + size + after,), 0, device) - before
    if mode == "edge":
        return clip(place, 0, size - 1)
    if mode == "wrap":
        return remainder(place, size)
    # Forward and back again: `symmetric` repeats the ends, `reflect` does not.
    twice = int(mode == "symmetric")
    period = 2 * size if twice else max(2 * size - 2, 1)
    there = remainder(place, period)
    return minimum(there, period - twice - there)


def _between_blocks(x: Any, axis: int, widths: tuple[int, int], mode: str, constants: Any,
                    ends: Any, lengths: Any) -> Tensor:
    """Return x between two blocks along an axis."""

    def of_axis(values: Any) -> Any:
        return np.broadcast_to(np.asarray(values), (x.ndim, 2))[axis].tolist()

    size = x.shape[axis]
    blocks = []
    for side, width in enumerate(widths):
        if mode == "constant":
            value = full((1,) * x.ndim, of_axis(constants)[side], x.dtype, x.device)
        elif mode == "linear_ramp":
            value = _ramp(x, axis, side, width, of_axis(ends)[side])
        else:
            expect(mode in STATISTICS, "a mode: constant, edge, reflect, symmetric, wrap, "
                   "linear_ramp, maximum, minimum, mean, median, empty", mode, ArgumentError)
            count = min(int(of_axis(size if lengths is None else lengths)[side]), size)
            near = slice_axis(x, axis, *((0, count) if side == 0 else (size - count, size)))
            value = astype(STATISTICS[mode](near, axis, keepdims=True), x.dtype)
        shape = tuple([width if d == axis else n for d, n in enumerate(x.shape)])
        blocks.append(broadcast_to(value, shape))
    return concat([blocks[0], x, blocks[1]], axis)


def _ramp(x: Any, axis: int, side: int, width: int, end: Any) -> Any:
    """Return the ramp from `end`, on the outside, up to but not including the edge of x.

    The fractions are computed on the host, to be rounded from double precision.
    """
    shape = shape_along(width, axis, x.ndim)

    def shares() -> Any:
        found = np.arange(width) / max(width, 1)
        return (found if side == 0 else found[::-1]).reshape(shape)

    way = upload_computed(shares, shape, float64 if x.dtype is float64 else float32, x.device)
    size = x.shape[axis]
    edge = slice_axis(x, axis, *((0, 1) if side == 0 else (size - 1, size)))
    return astype((edge - end) * way + end, x.dtype)
