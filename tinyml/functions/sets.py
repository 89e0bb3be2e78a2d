"""Sets: the distinct elements of tensors, from one stable sort."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tinyml.concurrency import kept_property
from tinyml.core.apply import apply_many, full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.dtypes import bool_, promote
from tinyml.errors import ArgumentError, expect
from tinyml.functions.rearrange import moveaxis
from tinyml.functions.split_stack import ravel
from tinyml.ops.arguments import as_axis
from tinyml.ops.concat import concat
from tinyml.ops.creation import as_tensors, asarray, index_along
from tinyml.ops.cumulative import cumsum
from tinyml.ops.elementwise import astype, equal, imag, logical_not, not_equal, real
from tinyml.ops.gather_scatter import gather, scatter
from tinyml.ops.pad import pad
from tinyml.ops.reduction import any as any_of
from tinyml.ops.sorting import SORT, argsort, nonzero, searchsorted, sort
from tinyml.ops.views import reshape, slice_axis

__all__ = ["intersect1d", "isin", "lexsort", "setdiff1d", "setxor1d", "union1d", "unique",
           "unique_all", "unique_counts", "unique_inverse", "unique_values"]


class UniqueAll(NamedTuple):
    """Distinct values, their first indices, the inverse indices, and the counts."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Distinct values, and how often each occurs."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Distinct values, and the index of each element's value among them."""

    values: Tensor
    inverse_indices: Tensor


class _Runs:
    """The elements of a tensor, or its slices along an axis, sorted: equal ones form a run.

    With `consecutive` the order is the tensor's own. NaN differs from itself, so each NaN is a run
    of its own; -0.0 equals 0.0. No size depends on values, so all of it can be traced.
    """

    def __init__(self, x: Any, axis: int | None = None, consecutive: bool = False) -> None:
        self.shape, self.axis = x.shape, axis
        self.items: Any = ravel(x) if axis is None else moveaxis(x, axis, 0)
        self.count = self.items.shape[0]
        rows: Any = reshape(self.items, (self.count, math.prod(self.items.shape[1:])))
        if consecutive or not rows.size:
            self.order = index_along((self.count,), 0, x.device)
        else:
            rows, self.order = _in_order(rows)
        before, after = (slice_axis(rows, 0, start, stop) for start, stop in (
            (0, max(self.count - 1, 0)), (1, max(self.count, 1))))
        differs = any_of(not_equal(after, before), axis=1)
        self.begins = slice_axis(pad(differs, 1, 0, True), 0, 0, self.count)
        self.starts = nonzero(self.begins)[0]

    @kept_property
    def ranks(self) -> Tensor:
        """The run number of each item, in sorted order."""
        return cumsum(self.begins, 0) - 1

    @kept_property
    def indices(self) -> Tensor:
        """The original index of the first item of each run."""
        return gather(self.order, self.starts)

    @property
    def values(self) -> Tensor:
        """The distinct items, in order."""
        found = gather(self.items, self.indices)
        return found if self.axis is None else moveaxis(found, 0, self.axis)

    @property
    def inverse(self) -> Tensor:
        """The run number of each item, in its original position."""
        found = scatter(self.ranks, self.order, self.ranks)
        return reshape(found, self.shape) if self.axis is None else found

    @property
    def counts(self) -> Tensor:
        """The length of each run: where its number ends among the ranks, minus where it begins."""
        numbers = gather(self.ranks, self.starts)
        return searchsorted(self.ranks, numbers, side="right") - self.starts


def _in_order(rows: Any) -> tuple[Any, Any]:
    """Return the rows sorted by their first column, then the second, and so on, and the order.

    Complex numbers are compared by their real parts, then by their imaginary ones.
    """
    columns = [ravel(slice_axis(rows, 1, k, k + 1)) for k in reversed(range(rows.shape[1]))]
    if rows.dtype.kind == "complex":
        columns = [part(column) for column in columns for part in (imag, real)]
    if len(columns) == 1:
        values, order = apply_many(SORT, columns[0], axis=0, descending=False)
        return reshape(values, rows.shape), order
    order = lexsort(columns)
    return gather(rows, order), order


@named_in_errors
def unique_values(x: Any) -> Tensor:
    """Return the sorted distinct values of x (Array API standard 2024.12, unique_values).

    NaN differs from itself. The values are waited for, since they decide the result's size.
    Gradients go to the first occurrence of each value.

    >>> import tinyml
    >>> tinyml.unique_values(tinyml.tensor([3, 1, 3])).tolist()
    [1, 3]
    """
    return _Runs(asarray(x)).values


@named_in_errors
def unique_counts(x: Any) -> UniqueCounts:
    """Return the sorted distinct values of x, and how often each occurs (standard 2024.12)."""
    runs = _Runs(asarray(x))
    return UniqueCounts(runs.values, runs.counts)


@named_in_errors
def unique_inverse(x: Any) -> UniqueInverse:
    """Return the sorted distinct values of x, and each element's index in them, in x's shape."""
    runs = _Runs(asarray(x))
    return UniqueInverse(runs.values, runs.inverse)


@named_in_errors
def unique_all(x: Any) -> UniqueAll:
    """Return the sorted distinct values of x, their first indices, the inverse and the counts.

    >>> import tinyml
    >>> values, indices, inverse, counts = tinyml.unique_all(tinyml.tensor([3, 1, 3]))
    >>> values.tolist(), indices.tolist(), inverse.tolist(), counts.tolist()
    ([1, 3], [1, 0], [1, 0, 1], [1, 2])
    """
    runs = _Runs(asarray(x))
    return UniqueAll(runs.values, runs.indices, runs.inverse, runs.counts)


@named_in_errors
def unique(x: Any, axis: int | None = None, *, return_index: bool = False,
           return_inverse: bool = False, return_counts: bool = False,
           consecutive: bool = False) -> Any:
    """Return the sorted distinct elements of x, or its distinct slices along `axis`.

    If requested, they are followed by first indices, inverse indices and counts, all int64
    (numpy.unique). With `consecutive`, only equal neighbours are merged, in x's order. The values
    are waited for, since they decide the result's size. Every NaN is distinct. Raises AxisError.

    >>> import tinyml
    >>> values, counts = tinyml.unique(tinyml.tensor([3, 1, 3]), return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([1, 3], [1, 2])
    """
    x = asarray(x)
    runs = _Runs(x, None if axis is None else as_axis(axis, x.ndim), consecutive)
    found = [runs.values]
    if return_index:
        found.append(runs.indices)
    if return_inverse:
        found.append(runs.inverse)
    if return_counts:
        found.append(runs.counts)
    return found[0] if len(found) == 1 else tuple(found)


@named_in_errors
def lexsort(keys: Any) -> Tensor:
    """Return the int64 indices that sort by several keys of one size; the last is the primary.

    Raises ArgumentError if there is no key.

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


@named_in_errors
def isin(x: Any, values: Any, *, invert: bool = False) -> Tensor:
    """Return whether each element of x is among `values`; with `invert`, whether it is not.

    >>> import tinyml
    >>> tinyml.isin(tinyml.tensor([1, 2, 3]), [3, 1]).tolist()
    [True, False, True]
    """
    x, values = as_tensors(x, values)
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


def _distinct(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Return the distinct elements of x and y as two vectors of a common type."""
    x, y = as_tensors(x, y)
    dtype = promote(x.dtype, y.dtype)
    return unique_values(astype(x, dtype)), unique_values(astype(y, dtype))


@named_in_errors
def intersect1d(x: Any, y: Any) -> Tensor:
    """Return the sorted distinct elements that are in both x and y.

    >>> import tinyml
    >>> tinyml.intersect1d([1, 3, 3], [3, 4]).tolist()
    [3]
    """
    x, y = _distinct(x, y)
    return gather(x, nonzero(isin(x, y))[0])


@named_in_errors
def setdiff1d(x: Any, y: Any) -> Tensor:
    """Return the sorted distinct elements that are in x but not in y."""
    x, y = _distinct(x, y)
    return gather(x, nonzero(isin(x, y, invert=True))[0])


@named_in_errors
def union1d(x: Any, y: Any) -> Tensor:
    """Return the sorted distinct elements that are in x or y."""
    return unique_values(concat(_distinct(x, y), 0))


@named_in_errors
def setxor1d(x: Any, y: Any) -> Tensor:
    """Return the sorted distinct elements that are in exactly one of x and y."""
    x, y = _distinct(x, y)
    both = unique_values(concat([x, y], 0))
    return gather(both, nonzero(not_equal(isin(both, x), isin(both, y)))[0])
