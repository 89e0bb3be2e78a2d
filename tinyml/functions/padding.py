"""Borders: numpy.pad and its modes, by gathers and by blocks put beside."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.pad as shapes
from tinyml.core.apply import full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.upload import upload
from tinyml.errors import ArgumentError, ShapeError, expect
from tinyml.ops.concat import concat
from tinyml.ops.creation import asarray
from tinyml.ops.elementwise import astype
from tinyml.ops.gather_scatter import gather
from tinyml.ops.views import broadcast_to, slice_axis

__all__ = ["pad"]


def _widths(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    """NumPy's ways to say how wide: one number, one pair, a pair for each axis."""
    try:
        table = np.broadcast_to(np.asarray(pad_width), (ndim, 2))
    except ValueError:
        table = np.asarray(None)
    expect(table.ndim == 2 and table.dtype.kind in "iu", f"widths for {ndim} axes", pad_width,
           ArgumentError, remedy="a number, a pair (before, after), or a pair for each axis")
    found = [(int(a), int(b)) for a, b in table]
    expect(all(a >= 0 and b >= 0 for a, b in found), "widths are not negative", found, ShapeError)
    return found


_BY_INDEX = ("edge", "reflect", "symmetric", "wrap")


@named_in_errors
def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0,
        end_values: Any = 0, stat_length: Any = None) -> Tensor:
    """x with a border (numpy.pad); `pad_width` is a number, a pair, or a pair for each axis.

    Modes: constant (`constant_values`, in pairs as the widths), edge, reflect, symmetric, wrap,
    linear_ramp (down to `end_values`), maximum, minimum, mean, median of the axis or of its
    `stat_length` elements at that end, empty. Raises ArgumentError, ShapeError.

    >>> import tinyml
    >>> tinyml.pad(tinyml.tensor([1, 2, 3]), (1, 2), "reflect").tolist()
    [2, 1, 2, 3, 2, 1]
    """
    x = asarray(x)
    widths = _widths(pad_width, x.ndim)
    if mode in ("constant", "empty") and np.ndim(constant_values) == 0:
        return shapes.pad(x, [a for a, _ in widths], [b for _, b in widths], constant_values)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            expect(x.shape[axis] > 0 or mode == "constant", "an axis with elements", x.shape,
                   ShapeError)
            x = _bordered(x, axis, before, after, mode, constant_values, end_values, stat_length)
    bordered: Tensor = x
    return bordered


def _bordered(x: Any, axis: int, before: int, after: int, mode: str, constants: Any, ends: Any,
              length: Any) -> Tensor:
    """x with a border along one axis."""
    size = x.shape[axis]
    if mode in _BY_INDEX:
        table = np.pad(np.arange(size), (before, after), mode)  # type: ignore[call-overload]
        return gather(x, upload(table, x.device), axis)

    def pair(values: Any) -> Any:
        return np.broadcast_to(np.asarray(values), (x.ndim, 2))[axis].tolist()

    lengths = pair(size if length is None else length)
    borders = []
    for side, width in enumerate((before, after)):
        if mode == "constant":
            value = full((1,) * x.ndim, pair(constants)[side], x.dtype, x.device)
        elif mode == "linear_ramp":
            value = _ramp(x, axis, side, width, pair(ends)[side])
        else:
            count = min(int(lengths[side]), size)
            near = slice_axis(x, axis, 0, count) if side == 0 else slice_axis(x, axis, size - count, size)
            value = astype(_statistic(near, axis, mode), x.dtype)
        shape = tuple([width if d == axis else n for d, n in enumerate(x.shape)])
        borders.append(broadcast_to(value, shape))
    return concat([borders[0], x, borders[1]], axis)


def _ramp(x: Any, axis: int, side: int, width: int, end: Any) -> Any:
    """From `end` at the outer side to the edge of x, which is not among the steps."""
    steps = np.arange(width) / max(width, 1)
    shape = tuple([width if d == axis else 1 for d in range(x.ndim)])
    way = upload((steps if side == 0 else steps[::-1]).reshape(shape).astype("float64"
                 if x.dtype.name == "float64" else "float32"), x.device)
    edge = slice_axis(x, axis, 0, 1) if side == 0 else slice_axis(x, axis, x.shape[axis] - 1, x.shape[axis])
    return astype((edge - end) * way + end, x.dtype)


def _statistic(x: Any, axis: int, mode: str) -> Any:
    names = {"maximum": "max", "minimum": "min", "mean": "mean"}
    if mode == "median":
        from tinyml.functions.statistics import median

        return median(x, axis=axis, keepdims=True)
    expect(mode in names, "a mode: constant, edge, reflect, symmetric, wrap, linear_ramp, maximum, "
           "minimum, mean, median, empty", mode, ArgumentError)
    return x.op(names[mode], axis=axis, keepdims=True)
