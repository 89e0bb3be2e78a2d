"""Distinct elements and rows in NumPy's names: unique, lexsort, isin, and sets of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinyml.core import full, upload
from tinyml.dtypes import bool_, promote
from tinyml.errors import ArgumentError, expect
from tinyml.ops.arguments import as_axis
from tinyml.ops.arranging import beside, ravel
from tinyml.ops.calls import named
from tinyml.ops.creation import asarray
from tinyml.ops.elementwise import astype, equal, logical_not, not_equal
from tinyml.ops.indexing import gather, scatter
from tinyml.ops.manipulation import diff, moveaxis
from tinyml.ops.reduce import any as any_of
from tinyml.ops.scan import cumsum, part
from tinyml.ops.sets import unique_values
from tinyml.ops.shape import concat, reshape
from tinyml.ops.sorting import argsort, nonzero, searchsorted, sort

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

__all__ = ["intersect1d", "isin", "lexsort", "setdiff1d", "setxor1d", "union1d", "unique"]


@named
def lexsort(keys: Any) -> Tensor:
    """The int64 order of vectors of one size taken together: the last counts first.

    >>> import tinyml
    >>> tinyml.lexsort([tinyml.tensor([2, 1, 0]), tinyml.tensor([0, 1, 0])]).tolist()
    [2, 0, 1]
    """
    vectors = [asarray(key) for key in keys]
    expect(len(vectors) > 0, "at least one key", "none", ArgumentError)
    order = argsort(vectors[0])
    for key in vectors[1:]:
        order = gather(order, argsort(gather(key, order)))
    return order


@named
def unique(x: Any, axis: int | None = None, *, return_index: bool = False,
           return_inverse: bool = False, return_counts: bool = False,
           consecutive: bool = False) -> Any:
    """The distinct elements of x in order, or its distinct slices along `axis` (numpy.unique).

    After them, as asked: where each stands first, which of them each element is, how often each
    occurs, all int64. With `consecutive`, only neighbours that are equal become one, in x's order.
    The values are waited for, since they decide how many there are. Every NaN is its own.

    >>> import tinyml
    >>> values, counts = tinyml.unique(tinyml.tensor([3, 1, 3]), return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([1, 3], [1, 2])
    """
    x = asarray(x)
    moved = reshape(x, (x.size,)) if axis is None else moveaxis(x, as_axis(axis, x.ndim), 0)
    count = moved.shape[0]
    rows = reshape(moved, (count, moved.size // count if count else 0))
    width = rows.shape[1]
    order = upload(np.arange(count), x.device)
    if not consecutive and count and width:
        order = lexsort([reshape(part(rows, 1, k, k + 1), (count,))
                         for k in range(width - 1, -1, -1)])
        rows = gather(rows, order, 0)
    differs = any_of(not_equal(part(rows, 0, 1, max(count, 1)),
                               part(rows, 0, 0, max(count - 1, 0))), axis=1)
    begins = concat([full((min(count, 1),), True, bool_, x.device), differs], 0)
    starts = nonzero(begins)[0]
    first = gather(order, starts) if count else order
    values = gather(moved, first, 0) if count else moved
    found = [values if axis is None else moveaxis(values, 0, as_axis(axis, x.ndim))]
    if return_index:
        found.append(first)
    if return_inverse:
        run = cumsum(begins, 0) - 1
        inverse = scatter(run, order, run) if count else run
        found.append(reshape(inverse, x.shape) if axis is None else inverse)
    if return_counts:
        end = upload(np.array([count]), x.device)
        found.append(diff(concat([starts, end], 0), axis=0))
    return found[0] if len(found) == 1 else tuple(found)


@named
def isin(x: Any, values: Any, *, invert: bool = False) -> Tensor:
    """Whether each element of x is among `values`; with `invert`, whether it is not.

    >>> import tinyml
    >>> tinyml.isin(tinyml.tensor([1, 2, 3]), [3, 1]).tolist()
    [True, False, True]
    """
    x, values = beside(x, values)
    values = ravel(values)
    dtype = promote(x.dtype, values.dtype)
    flat, table = astype(ravel(x), dtype), sort(astype(values, dtype))
    if not table.size or not flat.size:
        found = full(x.shape, False, bool_, x.device)
    else:
        place = searchsorted(table, flat)
        last = equal(place, table.size)
        near = gather(table, place - astype(last, place.dtype))
        found = reshape(equal(near, flat), x.shape)
    return logical_not(found) if invert else found


def _pair(x: Any, y: Any) -> tuple[Any, Any]:
    """Two vectors of distinct elements, of one type."""
    x, y = beside(x, y)
    dtype = promote(x.dtype, y.dtype)
    return unique_values(astype(x, dtype)), unique_values(astype(y, dtype))


@named
def intersect1d(x: Any, y: Any) -> Tensor:
    """What is in both x and y: distinct, in order.

    >>> import tinyml
    >>> tinyml.intersect1d([1, 3, 3], [3, 4]).tolist()
    [3]
    """
    x, y = _pair(x, y)
    return gather(x, nonzero(isin(x, y))[0])


@named
def setdiff1d(x: Any, y: Any) -> Tensor:
    """What is in x and not in y: distinct, in order."""
    x, y = _pair(x, y)
    return gather(x, nonzero(isin(x, y, invert=True))[0])


@named
def union1d(x: Any, y: Any) -> Tensor:
    """What is in x or in y: distinct, in order."""
    return unique_values(concat(_pair(x, y), 0))


@named
def setxor1d(x: Any, y: Any) -> Tensor:
    """What is in x or in y but not in both: distinct, in order."""
    x, y = _pair(x, y)
    both = unique_values(concat([x, y], 0))
    one = not_equal(astype(isin(both, x), "int64"), astype(isin(both, y), "int64"))
    return gather(both, nonzero(one)[0])


