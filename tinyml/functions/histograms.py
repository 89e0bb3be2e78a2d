"""Counting and binning: bincount, histograms, digitize, one_hot."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyml.core.apply import full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.upload import upload_computed
from tinyml.dtypes import as_dtype, float32, int64
from tinyml.errors import ArgumentError, DTypeError, ShapeError, expect
from tinyml.functions.rearrange import expand_dims, stack
from tinyml.functions.split_stack import ravel
from tinyml.ops.arguments import as_axis, as_float, as_number, as_size, shape_along
from tinyml.ops.creation import as_tensors, asarray, index_along
from tinyml.ops.elementwise import (
    astype,
    equal,
    lerp,
    less_equal,
    logical_and,
    logical_or,
    not_equal,
    where,
)
from tinyml.ops.gather_scatter import scatter
from tinyml.ops.reduction import max, min, sum
from tinyml.ops.rounding import rounded_once
from tinyml.ops.sorting import searchsorted
from tinyml.ops.views import reshape, slice_axis

__all__ = ["bincount", "digitize", "histogram", "histogram2d", "histogramdd", "one_hot"]


@named_in_errors
def one_hot(x: Any, num_classes: int, dtype: Any = None, axis: int = -1) -> Tensor:
    """Return x with a new axis of size `num_classes`: 1 at each element's class, 0 elsewhere.

    A number outside the classes gives zeros. float32, unless `dtype` names another type. Raises
    DTypeError if x does not hold integers, AxisError.

    >>> import tinyml
    >>> tinyml.one_hot(tinyml.tensor([1, 0]), 3).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    x = asarray(x)
    expect(x.dtype.is_integer, "integers", x.dtype.name, DTypeError)
    count, place = as_size(num_classes, "num_classes"), as_axis(axis, x.ndim + 1)
    classes = index_along(shape_along(count, place, x.ndim + 1), place, x.device)
    hits = equal(expand_dims(astype(x, int64), place), classes)
    return astype(hits, float32 if dtype is None else as_dtype(dtype))


# ---- counts


@named_in_errors
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """Return how often each number from 0 up occurs in an integer vector, or sums of `weights`.

    The length is one more than the greatest number, or `minlength` if that is longer; this waits
    for the values. Raises ArgumentError for a negative number, ShapeError, DTypeError.

    >>> import tinyml
    >>> tinyml.bincount(tinyml.tensor([0, 2, 2])).tolist()
    [1, 0, 2]
    """
    x = asarray(x)
    expect(x.ndim == 1, "a vector", x.shape, ShapeError)
    expect(x.dtype.is_integer, "integers", x.dtype.name, DTypeError)
    if x.size:
        expect(int(min(x).item()) >= 0, "numbers that are not negative", "a negative one",
               ArgumentError)
    least = as_size(minlength, "minlength")
    expect(least >= 0, "a minlength that is not negative", least, ArgumentError)
    top = int(max(x).item()) + 1 if x.size else 0
    return _binned(x, weights, builtins.max(top, least))


def _binned(places: Any, weights: Any, length: int) -> Tensor:
    """Return counts, or sums of weights, at positions known to be in range."""
    if weights is None:
        values = full(places.shape, 1, int64, places.device)
    else:
        values = asarray(weights, device=places.device)
        expect(values.shape == places.shape, f"weights of shape {places.shape}", values.shape,
               ShapeError)
    none = full((length,), 0, values.dtype, places.device)
    return scatter(none, places, values, 0, "add")


@named_in_errors
def digitize(x: Any, bins: Any, right: bool = False) -> Tensor:
    """Return the int64 index of each element's bin: i with bins[i-1] <= x < bins[i].

    With `right`, bins[i-1] < x <= bins[i]. Falling bins are bins[i-1] > x >= bins[i], with `right`
    bins[i-1] >= x > bins[i], as in NumPy. Elements before the first edge get 0, those after the
    last len(bins); NaN is greatest. Raises ShapeError unless bins is a vector, and ArgumentError if
    it neither rises nor falls; bins computed inside a graph are not checked.

    >>> import tinyml
    >>> tinyml.digitize(tinyml.tensor([0.5, 2.0]), [0.0, 1.0, 2.0]).tolist()
    [1, 3]
    """
    x = asarray(x)
    edges = asarray(bins, device=x.device)
    expect(edges.ndim == 1, "a vector of bins", edges.shape, ShapeError)
    side, flat = "left" if right else "right", ravel(x)
    steps = _steps(edges)
    expect(steps is None or builtins.any(steps), "bins that rise or fall", edges, ArgumentError)
    rising = falling = searchsorted(edges, flat, side=side)
    if edges.size < 2 or steps is not None and steps[0]:
        return reshape(rising, x.shape)
    falling = edges.size - searchsorted(edges[::-1], flat, side=side)
    if steps is not None:
        return reshape(falling, x.shape)
    down = logical_or(edges[0] > edges[-1], not_equal(edges[0], edges[0]))  # NaN is greatest
    return reshape(where(down, falling, rising), x.shape)


def _steps(edges: Any) -> tuple[bool, bool] | None:
    """Return whether edges rise, and whether they fall; NaN is greatest, and None means unknown.

    They are known unless they are computed in a graph that is being built; this waits for them.
    """
    if edges.spec.symbolic:
        return None
    values = edges.numpy()
    left, right = values[:-1], values[1:]
    return (bool(((left <= right) | (right != right)).all()),
            bool(((right <= left) | (left != left)).all()))


def _refuse_values(values: Any, fine: Callable[[Any], Any], wanted: str) -> None:
    """Raise ArgumentError unless values are fine, as far as they are known."""
    if not values.spec.symbolic and not bool(np.all(fine(values.numpy()))):
        raise ArgumentError(f"Expect: {wanted}. Actual: {values}")


def _uploaded_edges(x: Any, low: float, high: float, count: int) -> Any:
    return upload_computed(lambda: np.linspace(low, high, count + 1).astype(x.dtype.numpy),
                           (count + 1,), x.dtype, x.device)


def _edges(x: Any, bins: Any, limits: Any) -> Any:
    """Return the bin edges: those given, or equally spaced from the least to the greatest value."""
    if np.ndim(bins):
        edges = asarray(bins, device=x.device)
        expect(edges.ndim == 1 and edges.size > 1, "a vector of at least 2 edges", edges.shape,
               ShapeError)
        _refuse_values(edges, lambda e: e[:-1] <= e[1:], "edges that rise, without NaN")
        return edges if edges.dtype is x.dtype else astype(edges, x.dtype)
    count = as_size(bins, "bins")
    expect(count > 0, "at least one bin", count, ArgumentError)
    if limits is not None:
        expect(len(limits) == 2, "a range of two numbers", limits, ArgumentError)
        low, high = (float(as_number(v, "range")) for v in limits)
        expect(low <= high, "a range that rises", limits, ArgumentError)
        expect(bool(np.isfinite([low, high]).all()), "a range of finite numbers", limits,
               ArgumentError)
        if low == high:
            low, high = low - 0.5, high + 0.5
        return _uploaded_edges(x, low, high, count)
    if not x.size:
        return _uploaded_edges(x, 0.0, 1.0, count)
    least, most = min(x), max(x)
    for end in (least, most):
        _refuse_values(end, lambda e: np.isfinite(e.astype(float)), "finite elements, or a range")
    return _spaced(least, most, count)


@rounded_once
def _spaced(least: Any, most: Any, count: int) -> Any:
    """Return count + 1 numbers from the least to the greatest; around them if they are equal."""
    same = equal(least, most)
    first, last = where(same, least - 0.5, least), where(same, most + 0.5, most)
    steps = astype(index_along((count + 1,), 0, least.device), least.dtype)
    return lerp(first, last, steps / float(count))


def _bin_of(x: Any, edges: Any) -> tuple[Any, Any]:
    """Return each element's bin, and whether it is in one; the last bin includes both edges."""
    last = edges.size - 1
    place = searchsorted(edges, x, side="right") - 1
    place = where(equal(x, slice_axis(edges, 0, last, last + 1)), last - 1, place)
    inside = logical_and(less_equal(slice_axis(edges, 0, 0, 1), x),
                         less_equal(x, slice_axis(edges, 0, last, last + 1)))
    return where(inside, place, 0), inside


@named_in_errors
def histogram(x: Any, bins: Any = 10, range: Any = None, density: bool = False,
              weights: Any = None) -> tuple[Tensor, Tensor]:
    """Return how many elements fall into each bin, and the bin edges (numpy.histogram).

    `bins` is the number of equal bins over `range` (by default from the least to the greatest
    element), or their edges, which rise. `weights`, if given, are summed instead; with `density`
    the integral is 1. Integers become float32. Elements outside, and NaN, are not counted. Raises
    ShapeError, and ArgumentError for edges that fall or hold NaN, and for elements that are not
    finite where they determine the range; both unless computed inside a graph.

    >>> import tinyml
    >>> counts, edges = tinyml.histogram(tinyml.tensor([0.0, 0.5, 2.0]), 2)
    >>> counts.tolist(), edges.tolist()
    ([2, 1], [0.0, 1.0, 2.0])
    """
    flat = ravel(x)
    counts, edges = _counted(reshape(flat, (flat.size, 1)), [bins], [range], density,
                             None if weights is None else ravel(weights))
    return counts, edges[0]


@named_in_errors
def histogram2d(x: Any, y: Any, bins: Any = 10, range: Any = None, density: bool = False,
                weights: Any = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return how many points (x, y) fall into each bin, and the edges along both axes.

    `bins` is one number, or a number or edges for each axis; everything else, errors included, is
    as in `histogramdd`.
    """
    x, y = as_tensors(x, y)
    expect(x.ndim == y.ndim == 1 and x.size == y.size, "two vectors of one size",
           (x.shape, y.shape), ShapeError)
    if not isinstance(bins, (tuple, list)) or len(bins) != 2:
        bins = [bins, bins]
    counts, edges = histogramdd(stack([x, y], 1), bins, range, density, weights)
    return counts, edges[0], edges[1]


@named_in_errors
def histogramdd(sample: Any, bins: Any = 10, range: Any = None, density: bool = False,
                weights: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return how many points, the rows of sample (N, D), fall into each bin, and the bin edges.

    `bins` is one number, or a number or edges for each axis; `range` is a pair for each axis.
    Counts are floats, as in numpy.histogramdd. Raises ShapeError, ArgumentError.

    >>> import tinyml
    >>> tinyml.histogramdd(tinyml.tensor([[0.0, 0.0], [1.0, 2.0]]), 2)[0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    counts, edges = _counted(sample, bins, range, density, weights)
    return (counts if counts.dtype.is_float else astype(counts, edges[0].dtype)), edges


def _counted(sample: Any, bins: Any, range: Any, density: bool,
             weights: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return counts as int64, or sums of weights, and the edges of each axis."""
    points = as_float(asarray(sample))
    expect(points.ndim == 2, "points (N, D)", points.shape, ShapeError)
    count, axes = points.shape
    each = list(bins) if isinstance(bins, Sequence) else [bins] * axes
    limits = [None] * axes if range is None else list(range)
    expect(len(each) == len(limits) == axes, f"bins and ranges for {axes} axes",
           (len(each), len(limits)), ArgumentError)
    columns = [reshape(slice_axis(points, 1, d, d + 1), (count,)) for d in builtins.range(axes)]
    edges = [_edges(*those) for those in zip(columns, each, limits)]
    shape = tuple([e.size - 1 for e in edges])
    place: Any = full((count,), 0, int64, points.device)
    inside: Any = None
    for x, edge in zip(columns, edges):
        own, there = _bin_of(x, edge)
        place = place * (edge.size - 1) + own
        inside = there if inside is None else logical_and(inside, there)
    if weights is None:
        values = astype(inside, int64)
    else:
        w = asarray(weights, device=points.device)
        values = where(inside, w, 0.0 if w.dtype.is_float else 0)
    counts = reshape(_binned(place, values, int(np.prod(shape))), shape)
    if density:
        counts = _dense(counts, edges)
    return counts, tuple(edges)


@rounded_once
def _dense(counts: Any, edges: list[Any]) -> Any:
    """Return counts divided by their sum and by the sizes of the bins."""
    values = astype(counts, edges[0].dtype)
    values = values / sum(values)
    for d, edge in enumerate(edges):
        width = slice_axis(edge, 0, 1, edge.size) - slice_axis(edge, 0, 0, edge.size - 1)
        values = values / reshape(width, shape_along(edge.size - 1, d, len(edges)))
    return values
