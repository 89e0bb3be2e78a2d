"""Statistics beyond the Array API's, under NumPy's names: quantiles, averages, covariances.

Order statistics sort once and gather; their gradients go to the chosen elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyml.core.apply import apply, apply_many, full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.upload import upload
from tinyml.dtypes import float32, float64, int64
from tinyml.errors import ArgumentError, DTypeError, ShapeError, expect, shown
from tinyml.ops.arguments import as_axes, as_axis, as_float, as_number, as_size
from tinyml.ops.concat import concat
from tinyml.ops.creation import IOTA, asarray
from tinyml.ops.cumulative_extrema import cummax
from tinyml.ops.diagonal import diagonal
from tinyml.ops.elementwise import astype, equal, floor, isnan, lerp, sqrt, where
from tinyml.ops.gather_scatter import TAKE_ALONG
from tinyml.ops.matmul import matmul
from tinyml.ops.reduction import argmax, max, mean, min, reduced_shape, sum
from tinyml.ops.rounding import rounded_once
from tinyml.ops.sorting import SORT, sort
from tinyml.ops.views import broadcast_to, permute_dims, reshape, slice_axis

__all__ = ["average", "corrcoef", "cov", "kthvalue", "median", "mode", "nanmedian", "nanpercentile",
           "nanquantile", "percentile", "ptp", "quantile"]

# ---- order statistics


def _rows(x: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """Return x with the reduced axes merged into one last axis, and those axes."""
    axes = as_axes(axis, x.ndim)
    kept = [d for d in range(x.ndim) if d not in axes]
    moved = permute_dims(x, (*kept, *axes))
    shape = tuple([x.shape[d] for d in kept])
    count = int(np.prod([x.shape[d] for d in axes], dtype=np.int64))
    return reshape(moved, (*shape, count)), axes


def _placed(result: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Return the row results in the result's shape, with reduced axes of size 1 if `keepdims`."""
    return reshape(result, reduced_shape(x.shape, axes, keepdims))


# Hyndman and Fan, "Sample quantiles in statistical packages" (1996): method -> alpha, beta.
_INTERPOLATED = {
    "interpolated_inverted_cdf": (0.0, 1.0), "hazen": (0.5, 0.5), "weibull": (0.0, 0.0),
    "linear": (1.0, 1.0), "median_unbiased": (1 / 3, 1 / 3), "normal_unbiased": (3 / 8, 3 / 8),
}
# Methods that choose an element: the fraction between two neighbours -> one of the two.
_CHOSEN: dict[str, Callable[[Any, Any], Any]] = {
    "lower": lambda low, share: share * 0.0,
    "higher": lambda low, share: astype(share > 0.0, share.dtype),
    "midpoint": lambda low, share: where(share > 0.0, 0.5, share),
    "nearest": lambda low, share: where(
        share == 0.5, low - floor(low * 0.5) * 2.0, astype(share > 0.5, share.dtype)),
}
# Discontinuous methods: n q - m -> the fraction (the first three of Hyndman and Fan).
_STEPPED: dict[str, tuple[float, Callable[[Any, Any], Any]]] = {
    "inverted_cdf": (0.0, lambda low, share: astype(share > 0.0, share.dtype)),
    "averaged_inverted_cdf": (0.0, lambda low, share: where(share > 0.0, 1.0, share + 0.5)),
    "closest_observation": (-0.5, lambda low, share: where(
        share == 0.0, 1.0 - (low - floor(low * 0.5) * 2.0), share * 0.0 + 1.0)),
}
METHODS = (*_INTERPOLATED, *_CHOSEN, *_STEPPED)


def _virtual(q: Any, n: Any, method: str) -> tuple[Any, Any]:
    """Return the index below, as a float, and the fraction of the way to the next one."""
    if method in _INTERPOLATED:
        alpha, beta = _INTERPOLATED[method]
        place = q * n + (q * (1.0 - alpha - beta) + alpha) - 1.0
    elif method in _CHOSEN:
        place = q * (n - 1.0)
    else:
        place = q * n + (_STEPPED[method][0] - 1.0)
    low = floor(place)
    share = place - low
    if method in _CHOSEN:
        share = _CHOSEN[method](low, share)
    elif method in _STEPPED:
        share = _STEPPED[method][1](low, share)
    return low, share


def _quantiles(x: Any, q: Any, method: str, skip_nan: bool) -> Any:
    """Return the quantiles (rows, len(q)) of each row of (rows, n).

    Places are computed in q's type: float32 does not hold those beyond 2^24.
    """
    size = x.shape[-1]
    ordered = sort(x)
    missing = isnan(x)
    if skip_nan:
        there = astype(size - sum(missing, axis=-1, keepdims=True), q.dtype)
        count = where(there > 0.0, there, 1.0)
    else:
        count = full((*x.shape[:-1], 1), size, q.dtype, x.device)
    low, share = _virtual(q, count, method)
    last = count - 1.0
    below = where(low < 0.0, 0.0, where(low > last, last, low))
    above = where(low + 1.0 < 0.0, 0.0, where(low + 1.0 > last, last, low + 1.0))
    first, second = (apply(TAKE_ALONG, ordered, astype(place, int64), axis=x.ndim - 1)
                     for place in (below, above))
    result = lerp(first, second, astype(share, x.dtype))
    if skip_nan:
        return where(there > 0.0, result, float("nan"))
    return where(_any(missing), float("nan"), result)


def _any(condition: Any) -> Any:
    return sum(condition, axis=-1, keepdims=True) > 0


def _over_axis(x: Any, q: Any, axis: Any, method: str, keepdims: bool, skip_nan: bool,
               scale: float) -> Tensor:
    """Return quantiles over axes, for q from 0 to `scale`."""
    x = as_float(asarray(x))
    expect(method in METHODS, f"a method: {', '.join(METHODS)}", method, ArgumentError)
    wide = float64 if x.device.supports(float64) else float32
    if not isinstance(q, Data):
        given = x.device.as_array(q, float64)
        expect(given.dtype.kind in "biuf", "real numbers as q", shown(q), DTypeError)
        numbers = np.asarray(given, np.float64) / scale
        expect(bool(((numbers >= 0) & (numbers <= 1)).all()), f"q in 0 to {scale:g}", q,
               ArgumentError)
        wanted: Any = upload(numbers.astype(wide.numpy), x.device)
    else:
        wanted = astype(q, wide) / scale if scale != 1 else astype(q, wide)
    rows, axes = _rows(x, axis)
    expect(rows.shape[-1] > 0, "at least one element", x.shape, ShapeError)
    flat = reshape(wanted, (wanted.size,))
    found = rounded_once(lambda rows: _quantiles(rows, flat, method, skip_nan))(rows)
    first = permute_dims(found, (found.ndim - 1, *range(found.ndim - 1)))
    return reshape(first, (*wanted.shape, *reduced_shape(x.shape, axes, keepdims)))


@named_in_errors
def quantile(x: Any, q: Any, axis: Any = None, method: str = "linear",
             keepdims: bool = False) -> Tensor:
    """Return the q-th quantiles of x over `axis`, 0 <= q <= 1; NaN where an element is NaN.

    The axes of q come first in the result. `method` is one of numpy.quantile's thirteen (Hyndman
    and Fan 1996). Integers become float32. Raises ArgumentError, AxisError, and ShapeError if there
    are no elements.

    >>> import tinyml
    >>> tinyml.quantile(tinyml.tensor([1.0, 2.0, 4.0]), [0.5, 0.75]).tolist()
    [2.0, 3.0]
    """
    return _over_axis(x, q, axis, method, keepdims, False, 1)


@named_in_errors
def nanquantile(x: Any, q: Any, axis: Any = None, method: str = "linear",
                keepdims: bool = False) -> Tensor:
    """Return quantiles as `quantile` does, ignoring NaN; NaN where all elements are NaN."""
    return _over_axis(x, q, axis, method, keepdims, True, 1)


@named_in_errors
def percentile(x: Any, q: Any, axis: Any = None, method: str = "linear",
               keepdims: bool = False) -> Tensor:
    """Return quantiles as `quantile` does, with 0 <= q <= 100."""
    return _over_axis(x, q, axis, method, keepdims, False, 100)


@named_in_errors
def nanpercentile(x: Any, q: Any, axis: Any = None, method: str = "linear",
                  keepdims: bool = False) -> Tensor:
    """Return quantiles as `nanquantile` does, with 0 <= q <= 100."""
    return _over_axis(x, q, axis, method, keepdims, True, 100)


@named_in_errors
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the middle element over `axis`, or the mean of the middle two if the count is even.

    NaN where an element is NaN. Integers become float32. Raises ShapeError if there are no
    elements, AxisError.

    >>> import tinyml
    >>> tinyml.median(tinyml.tensor([3.0, 1.0, 2.0, 10.0])).item()
    2.5
    """
    return _over_axis(x, 0.5, axis, "linear", keepdims, False, 1)


@named_in_errors
def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the median, ignoring NaN; NaN where all elements are NaN. See `median`."""
    return _over_axis(x, 0.5, axis, "linear", keepdims, True, 1)


@named_in_errors
def kthvalue(x: Any, k: int, axis: int = -1, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Return the k-th smallest element along `axis`, counted from 1, and its int64 index.

    NaN is greatest. Raises ShapeError unless 1 <= k <= size, AxisError.

    >>> import tinyml
    >>> [y.item() for y in tinyml.kthvalue(tinyml.tensor([3.0, 1.0, 2.0]), 2)]
    [2.0, 2]
    """
    x = asarray(x)
    if x.ndim == 0:
        value, index = kthvalue(reshape(x, (1,)), k)
        return reshape(value, ()), reshape(index, ())
    axis, k = as_axis(axis, x.ndim), as_size(k, "k")
    expect(1 <= k <= x.shape[axis], f"1 <= k <= {x.shape[axis]}", k, ShapeError)
    found = apply_many(SORT, x, axis=axis, descending=False)
    value, index = (_placed(slice_axis(y, axis, k - 1, k), x, (axis,), keepdims) for y in found)
    return value, index


@named_in_errors
def mode(x: Any, axis: int = -1, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Return the most frequent element along `axis` (ties: the least), and its int64 count.

    Raises ShapeError if there are no elements, AxisError.

    >>> import tinyml
    >>> [y.item() for y in tinyml.mode(tinyml.tensor([2.0, 1.0, 2.0]))]
    [2.0, 2]
    """
    x = asarray(x)
    if x.ndim == 0:
        return x, astype(x == x, int64)
    axis = as_axis(axis, x.ndim)
    expect(x.shape[axis] > 0, "at least one element", x.shape, ShapeError)
    ordered = sort(x, axis=axis)
    counts = _run_lengths(ordered, axis)
    place = argmax(counts, axis, True)
    value, count = (apply(TAKE_ALONG, y, place, axis=axis) for y in (ordered, counts))
    return _placed(value, x, (axis,), keepdims), _placed(count, x, (axis,), keepdims)


def _run_lengths(ordered: Any, axis: int) -> Any:
    """Return the number of equal elements up to each; the last of a run has the run's length."""
    size = ordered.shape[axis]
    places = apply(IOTA, ordered, axis=axis)
    before = slice_axis(ordered, axis, 0, size - 1)
    same = equal(slice_axis(ordered, axis, 1, size), before)
    first = slice_axis(places, axis, 0, 1)
    starts = concat([first, where(same, 0, slice_axis(places, axis, 1, size))], axis)
    return places - cummax(starts, axis)[0] + 1


# ---- averages and covariances


@named_in_errors
def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the greatest minus the least element over `axis`; raises ShapeError if none."""
    x = asarray(x)
    return max(x, axis, keepdims) - min(x, axis, keepdims)


@named_in_errors
@rounded_once
def average(x: Any, axis: Any = None, weights: Any = None, *, returned: bool = False,
            keepdims: bool = False) -> Any:
    """Return the mean over `axis`, with each element weighted by `weights`.

    `weights` has x's shape, or the sizes of the axes in `axis`. With `returned`, the sums of the
    weights are returned too. Integers become float32. Raises ShapeError, AxisError.

    >>> import tinyml
    >>> tinyml.average(tinyml.tensor([1.0, 4.0]), weights=[2.0, 1.0]).item()
    2.0
    """
    x = as_float(asarray(x))
    axes = as_axes(axis, x.ndim)
    if weights is None:
        found = mean(x, axes, keepdims)
        count = float(np.prod([x.shape[a] for a in axes]))
        return (found, found * 0.0 + count) if returned else found
    w = asarray(weights, device=x.device)
    if w.shape != x.shape:
        wanted = tuple([x.shape[a] for a in axes])
        expect(w.shape == wanted, f"weights of shape {x.shape} or {wanted}", w.shape, ShapeError)
        w = reshape(w, tuple([n if d in axes else 1 for d, n in enumerate(x.shape)]))
    w = broadcast_to(w, x.shape)
    total = sum(astype(w, x.dtype) if not w.dtype.is_float else w, axes, keepdims)
    found = sum(x * w, axes, keepdims) / total
    return (found, total) if returned else found


@named_in_errors
@rounded_once
def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: float | None = None,
        fweights: Any = None, aweights: Any = None) -> Tensor:
    """Return the covariance matrix of variables in rows, or in columns if not `rowvar` (numpy.cov).

    `y` holds further variables. `fweights` are how often each observation was made, `aweights` how
    much it counts. The sum is divided by N - ddof; ddof defaults to 0 with `bias`, else 1. Raises
    ShapeError for more than 2 axes.

    >>> import tinyml
    >>> tinyml.cov(tinyml.tensor([[0.0, 2.0], [2.0, 0.0]])).tolist()
    [[2.0, -2.0], [-2.0, 2.0]]
    """
    x = _variables(m, rowvar)
    if y is not None:
        x = concat([x, _variables(y, rowvar)], 0)
    ddof = (0 if bias else 1) if ddof is None else as_number(ddof, "ddof")
    w: Any = None
    if fweights is not None:
        w = asarray(fweights, device=x.device)
    if aweights is not None:
        a = asarray(aweights, device=x.device)
        w = a if w is None else w * a
    if w is None:
        centred = x - mean(x, 1, True)
        scale: Any = float(np.maximum(x.shape[1] - ddof, 0))
        product = matmul(centred, permute_dims(centred, (1, 0)))
    else:
        total = sum(w)
        centred = x - sum(x * w, 1, True) / total
        product = matmul(centred * w, permute_dims(centred, (1, 0)))
        if aweights is None:
            scale = total - ddof
        elif ddof == 0:
            scale = total
        else:
            scale = total - sum(w * a) / total * ddof
        scale = where(scale > 0, scale, 0)
    result = product / scale
    return reshape(result, ()) if result.shape == (1, 1) else result


def _variables(m: Any, rowvar: bool) -> Any:
    """Return a float matrix with one row for each variable."""
    x = as_float(asarray(m))
    expect(x.ndim <= 2, "at most 2 axes", x.ndim, ShapeError)
    if x.ndim < 2:
        return reshape(x, (1, x.size))
    return x if rowvar or x.shape[0] == 1 else permute_dims(x, (1, 0))


@named_in_errors
@rounded_once
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Tensor:
    """Return the correlation coefficients of variables in rows (numpy.corrcoef); see `cov`.

    >>> import tinyml
    >>> tinyml.corrcoef(tinyml.tensor([[0.0, 2.0], [4.0, 1.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    c = cov(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    deviation = sqrt(diagonal(c))
    c = c / reshape(deviation, (-1, 1)) / deviation
    return where(c > 1.0, 1.0, where(c < -1.0, -1.0, c))

