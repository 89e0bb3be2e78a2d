"""Numerical methods on sampled functions, under NumPy's names: convolve, interp, gradient, ..."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.upload import upload_computed
from tinyml.dtypes import promote
from tinyml.errors import ArgumentError, ShapeError, expect
from tinyml.functions.padding import pad
from tinyml.functions.rearrange import flip
from tinyml.functions.split_stack import ravel, sliding_window_view
from tinyml.ops.arguments import as_axis, as_float, as_number, shape_along
from tinyml.ops.concat import concat
from tinyml.ops.creation import as_tensors, asarray, index_along
from tinyml.ops.cumulative import cumsum
from tinyml.ops.elementwise import abs, astype, floor, isinf, lerp, where
from tinyml.ops.gather_scatter import gather
from tinyml.ops.matmul import matmul
from tinyml.ops.reduction import sum
from tinyml.ops.rounding import rounded_once
from tinyml.ops.sorting import argsort, searchsorted
from tinyml.ops.views import reshape, slice_axis

__all__ = ["convolve", "correlate", "cumulative_trapezoid", "ediff1d", "gradient", "interp",
           "trapezoid"]

# ---- sliding products


def _slid(x: Any, y: Any, mode: str) -> Tensor:
    """Return the sums of products of y with the elements of x under it, at each position."""
    x, y = as_tensors(x, y)
    expect(x.ndim == y.ndim == 1 and x.size > 0 and y.size > 0, "two vectors with elements",
           (x.shape, y.shape), ShapeError)
    expect(mode in ("full", "same", "valid"), "full, same or valid", mode, ArgumentError)
    dtype = promote(x.dtype, y.dtype)
    x, y = astype(x, dtype), astype(y, dtype)
    over = y.size - 1
    before, after = {"full": (over, over), "same": (over - over // 2, over // 2),
                     "valid": (0, 0)}[mode]
    return matmul(sliding_window_view(pad(x, (before, after)), y.size), y)


@named_in_errors
def convolve(x: Any, y: Any, mode: str = "full") -> Tensor:
    """Return the convolution of two vectors: sums over k of x[k] y[i - k] (numpy.convolve).

    'full' has n + m - 1 elements, 'same' as many as the longer vector, 'valid' only those where the
    vectors overlap completely. Raises ShapeError, ArgumentError.

    >>> import tinyml
    >>> tinyml.convolve(tinyml.tensor([1, 2, 3]), tinyml.tensor([1, 1])).tolist()
    [1, 3, 5, 3]
    """
    x, y = as_tensors(x, y)
    if x.ndim == y.ndim == 1 and y.size > x.size:
        x, y = y, x
    return _slid(x, flip(y), mode)


@named_in_errors
def correlate(x: Any, y: Any, mode: str = "valid") -> Tensor:
    """Return the cross-correlation of two vectors: sums over k of x[k + i] y[k] (numpy.correlate).

    `mode` is as in `convolve`. Raises ShapeError, ArgumentError.

    >>> import tinyml
    >>> tinyml.correlate(tinyml.tensor([1, 2, 3]), tinyml.tensor([0, 1]), "full").tolist()
    [1, 2, 3, 0]
    """
    x, y = as_tensors(x, y)
    if x.ndim == y.ndim == 1 and y.size > x.size:
        return flip(_slid(y, x, mode))
    return _slid(x, y, mode)


# ---- between samples


@named_in_errors
@rounded_once
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None,
           period: float | None = None) -> Tensor:
    """Return the linear interpolation at x of the points (xp, fp), xp increasing (numpy.interp).

    Before the first point the value is `left` (default fp[0]), after the last `right` (default
    fp[-1]); with a `period`, xp and x are taken modulo it. Differentiable in x, xp and fp. Raises
    ShapeError, ArgumentError for a period of 0.

    >>> import tinyml
    >>> tinyml.interp(tinyml.tensor([0.5, 9.0]), [0.0, 1.0], [10.0, 20.0]).tolist()
    [15.0, 20.0]
    """
    x = as_float(asarray(x))
    xp, fp = (asarray(v, device=x.device) for v in (xp, fp))
    expect(xp.ndim == 1 and xp.shape == fp.shape and xp.size > 0, "two vectors of one size",
           (xp.shape, fp.shape), ShapeError)
    if period is not None:
        expect(period != 0, "a period that is not 0", period, ArgumentError)
        x, xp, fp = _periodic(x, xp, fp, math.fabs(float(period)))
        left = right = None
    size = xp.size
    flat = ravel(x)
    if size == 1:
        inside = flat * 0.0 + fp
    else:
        place = searchsorted(xp, flat, side="right")
        place = where(place < 1, 1, where(place > size - 1, size - 1, place))
        x0, x1, y0, y1 = (gather(v, p) for v in (xp, fp) for p in (place - 1, place))
        inside = lerp(y0, y1, _share(flat, x0, x1))
    first, last = xp[0], xp[-1]
    inside = where(flat < first, fp[0] if left is None else left, inside)
    inside = where(flat > last, fp[-1] if right is None else right, inside)
    return reshape(where(flat == last, fp[-1], inside), x.shape)


def _share(x: Any, x0: Any, x1: Any) -> Any:
    """Return how far x is on the way from x0 to x1, from 0 to 1; an infinite end is never near.

    Halves do not overflow, and are exact where overflow is near.
    """
    half = where(abs(x0) + abs(x1) > 1.0, 0.5, 1.0)
    share = (x * half - x0 * half) / (x1 * half - x0 * half)
    return where(isinf(x0) & (x > x0), 1.0, share)


def _periodic(x: Any, xp: Any, fp: Any, period: float) -> tuple[Any, Any, Any]:
    """Return x and the points reduced to one period: sorted, with one more point at each end."""

    def within(v: Any) -> Any:
        return v - floor(v / period) * period

    x, xp = within(x), within(xp)
    order = argsort(xp)
    xp, fp = gather(xp, order), gather(fp, order)
    return (x, concat([xp[-1:] - period, xp, xp[:1] + period]), concat([fp[-1:], fp, fp[:1]]))


# ---- sums and differences


def _steps(y: Any, x: Any, dx: Any, axis: int) -> Any:
    """Return the distance from each sample to the next, shaped to multiply along the axis."""
    if x is None:
        return dx
    x = asarray(x, device=y.device)
    if x.ndim == 1:
        x = reshape(x, shape_along(x.size, axis, y.ndim))
    place = axis - y.ndim + x.ndim
    size = x.shape[place]
    return slice_axis(x, place, 1, size) - slice_axis(x, place, 0, size - 1)


def _areas(y: Any, x: Any, dx: Any, axis: int) -> tuple[Any, int]:
    """Return the areas of the trapezoids between samples, and the axis counted from the front."""
    y = as_float(asarray(y))
    axis = as_axis(axis, y.ndim)
    size = y.shape[axis]
    if size == 0:
        return y, axis
    means = lerp(slice_axis(y, axis, 0, size - 1), slice_axis(y, axis, 1, size), 0.5)
    return means * _steps(y, x, dx, axis), axis


@named_in_errors
@rounded_once
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """Return the trapezoidal integral of samples y along `axis`, at points x or `dx` apart.

    x is a vector, or broadcasts with y. Integers become float32.

    >>> import tinyml
    >>> tinyml.trapezoid(tinyml.tensor([1.0, 2.0, 3.0]), dx=0.5).item()
    2.0
    """
    areas, axis = _areas(y, x, dx, axis)
    return sum(areas, axis)


@named_in_errors
@rounded_once
def cumulative_trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """Return the trapezoidal integral up to each sample but the first; see `trapezoid`.

    Known as scipy.integrate.cumulative_trapezoid.
    """
    areas, axis = _areas(y, x, dx, axis)
    return cumsum(areas, axis)


@named_in_errors
def ediff1d(x: Any, to_end: Any = None, to_begin: Any = None) -> Tensor:
    """Return `to_begin`, the differences of neighbours in the flattened x, then `to_end`.

    >>> import tinyml
    >>> tinyml.ediff1d(tinyml.tensor([1, 4, 9]), to_begin=[0]).tolist()
    [0, 3, 5]
    """
    x = ravel(x)
    parts = [slice_axis(x, 0, 1, max(x.size, 1)) - slice_axis(x, 0, 0, max(x.size - 1, 0))]
    if to_begin is not None:
        parts.insert(0, astype(ravel(asarray(to_begin, device=x.device)), x.dtype))
    if to_end is not None:
        parts.append(astype(ravel(asarray(to_end, device=x.device)), x.dtype))
    return concat(parts)


@named_in_errors
@rounded_once
def gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return the slopes of samples f along each axis: second-order differences, one-sided at edges.

    `spacing` is one distance for all axes, one for each, or the coordinates as vectors, which may
    be uneven. `edge_order` is 1 or 2. One axis gives a tensor, several a tuple. Raises ShapeError
    if an axis has fewer than edge_order + 1 samples, ArgumentError.

    >>> import tinyml
    >>> tinyml.gradient(tinyml.tensor([1.0, 4.0, 9.0])).tolist()
    [3.0, 4.0, 5.0]
    """
    f = as_float(asarray(f))
    axes = (list(range(f.ndim)) if axis is None
            else [as_axis(a, f.ndim) for a in (axis if isinstance(axis, Sequence) else [axis])])
    expect(edge_order in (1, 2), "edge_order 1 or 2", edge_order, ArgumentError)
    expect(len(spacing) in (0, 1, len(axes)), f"one spacing, or {len(axes)}", len(spacing),
           ArgumentError)
    distances = list(spacing) or [1.0]
    distances = distances * len(axes) if len(distances) == 1 else distances
    found = [_slope(f, distance, a, edge_order) for distance, a in zip(distances, axes)]
    return found[0] if len(found) == 1 else tuple(found)


def _slope(f: Any, distance: Any, axis: int, edge_order: int) -> Any:
    """Return the slopes of f along one axis."""
    size = f.shape[axis]
    expect(size > edge_order, f"at least {edge_order + 1} samples along axis {axis}", size,
           ShapeError)

    def at(start: int, stop: int) -> Any:
        return slice_axis(f, axis, start, stop)

    places = _places(distance, f, axis)
    steps = slice_axis(places, axis, 1, size) - slice_axis(places, axis, 0, size - 1)

    def step(start: int, stop: int) -> Any:
        return slice_axis(steps, axis, start, stop)

    if edge_order == 1:
        first = (at(1, 2) - at(0, 1)) / step(0, 1)
        last = (at(size - 1, size) - at(size - 2, size - 1)) / step(size - 2, size - 1)
    else:
        first = _edge([at(k, k + 1) for k in range(3)], step(0, 1), step(1, 2))
        last = -_edge([at(size - 1 - k, size - k) for k in range(3)],
                      step(size - 2, size - 1), step(size - 3, size - 2))
    if size == 2:
        return concat([first, last], axis)
    before, after = step(0, size - 2), step(1, size - 1)
    total = before + after
    middle = (at(0, size - 2) * (-after / (before * total))
              + at(1, size - 1) * ((after - before) / (before * after))
              + at(2, size) * (before / (after * total)))
    return concat([first, middle, last], axis)


def _edge(values: Sequence[Any], near: Any, far: Any) -> Any:
    """Return the slope at the first of three samples: that of the parabola through them."""
    first, second, third = values
    total = near + far
    return (first * (-(near + total) / (near * total)) + second * (total / (near * far))
            - third * (near / (far * total)))


def _places(distance: Any, f: Any, axis: int) -> Any:
    """Return the coordinates of the samples along the axis.

    Multiples of a number are computed on the host, to be rounded from double precision.
    """
    size = f.shape[axis]
    if isinstance(distance, (list, tuple)) or getattr(distance, "ndim", 0) > 0:
        places = asarray(distance, device=f.device)
        places = astype(places, f.dtype) if not places.dtype.is_float else places
        expect(places.shape == (size,), f"places of shape ({size},)", places.shape, ShapeError)
    elif isinstance(distance, Data):
        places = astype(index_along((size,), 0, f.device), f.dtype) * distance
    else:
        number = float(as_number(distance, "spacing"))
        places = upload_computed(lambda: (np.arange(size) * number).astype(f.dtype.numpy), (size,),
                                 f.dtype, f.device)
    return reshape(places, shape_along(size, axis, f.ndim))
