"""Sets: the distinct values of a tensor, from one stable sort."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyml.core.apply import apply, full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.upload import upload
from tinyml.dtypes import bool_, int64, promote
from tinyml.errors import ArgumentError, expect
from tinyml.functions.rearrange import diff, moveaxis
from tinyml.functions.split_stack import ravel
from tinyml.ops.arguments import as_axis
from tinyml.ops.concat import concat
from tinyml.ops.creation import as_tensors, asarray, zeros
from tinyml.ops.cumulative import cumsum
from tinyml.ops.elementwise import astype, equal, logical_not, not_equal
from tinyml.ops.gather_scatter import GATHER, SCATTER, gather, scatter
from tinyml.ops.pad import pad
from tinyml.ops.reduction import any as any_of
from tinyml.ops.sorting import SORT, argsort, nonzero, searchsorted, sort
from tinyml.ops.views import reshape, slice_axis

__all__ = ["intersect1d", "isin", "lexsort", "setdiff1d", "setxor1d", "union1d", "unique",
           "unique_all", "unique_counts", "unique_inverse", "unique_values"]


class UniqueAll(NamedTuple):
    """Distinct values, where each stands first, which one each element is, how many each has."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Distinct values, and how many each has."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Distinct values, and which one each element is."""

    values: Tensor
    inverse_indices: Tensor


class _Runs:
    """A flattened tensor in order, in which a run of equals begins wherever one differs.

    NaN differs from itself, so each is one of its own; -0.0 equals 0.0.
    """

    def __init__(self, x: Any) -> None:
        self.x = asarray(x)
        self.size = self.x.size
        flat = reshape(self.x, (self.size,))
        self.sorted, self.order = _in_order(flat)
        earlier = slice_axis(self.sorted, 0, 0, max(self.size - 1, 0))
        differs = slice_axis(self.sorted, 0, 1, self.size) != earlier
        begins = slice_axis(pad(differs, 1, 0, True), 0, 0, self.size)
        self.starts = nonzero(begins)[0]
        self.ranks = cumsum(begins) - 1

    def first(self, of: Any) -> Tensor:
        """The element of each run's beginning."""
        return apply(GATHER, of, self.starts, axis=0)

    @property
    def values(self) -> Tensor:
        """The distinct values, in order."""
        return self.first(self.sorted)

    @property
    def counts(self) -> Tensor:
        """The length of each run: where its number ends among all, less where it begins."""
        return searchsorted(self.ranks, self.first(self.ranks), side="right") - self.starts

    @property
    def inverse(self) -> Tensor:
        """The number of its run, for each element in its place."""
        nothing = zeros((self.size,), int64, self.x.device)
        return reshape(apply(SCATTER, nothing, self.ranks, self.order, axis=0), self.x.shape)


def _in_order(x: Any) -> tuple[Any, Any]:
    """A vector sorted, and where its elements were; complex numbers by real part, then imaginary.

    A sort that is stable does both, the lesser key first.
    """
    if x.dtype.kind != "complex":
        values, order = apply(SORT, x, axis=0, descending=False)
        return values, order
    lesser = argsort(x.op("imag"))
    order = apply(GATHER, lesser, argsort(apply(GATHER, x.op("real"), lesser, axis=0)), axis=0)
    return apply(GATHER, x, order, axis=0), order


@named_in_errors
def unique_values(x: Any) -> Tensor:
    """The distinct values of x in order (Array API standard 2024.12, unique_values).

    NaN differs from itself. How many there are is read. Gradients go to where each stands first.

    >>> import tinyml
    >>> tinyml.unique_values(tinyml.tensor([3, 1, 3])).tolist()
    [1, 3]
    """
    return _Runs(x).values


@named_in_errors
def unique_counts(x: Any) -> UniqueCounts:
    """The distinct values of x in order, and how many each has (Array API standard 2024.12)."""
    runs = _Runs(x)
    return UniqueCounts(runs.values, runs.counts)


@named_in_errors
def unique_inverse(x: Any) -> UniqueInverse:
    """The distinct values of x in order, and which one each element is, in the shape of x."""
    runs = _Runs(x)
    return UniqueInverse(runs.values, runs.inverse)


@named_in_errors
def unique_all(x: Any) -> UniqueAll:
    """The distinct values of x in order, where each stands first, their inverse and counts.

    >>> import tinyml
    >>> values, indices, inverse, counts = tinyml.unique_all(tinyml.tensor([3, 1, 3]))
    >>> values.tolist(), indices.tolist(), inverse.tolist(), counts.tolist()
    ([1, 3], [1, 0], [1, 0, 1], [1, 2])
    """
    runs = _Runs(x)
    return UniqueAll(runs.values, runs.first(runs.order), runs.inverse, runs.counts)


@named_in_errors
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


@named_in_errors
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
        order = lexsort([reshape(slice_axis(rows, 1, k, k + 1), (count,))
                         for k in range(width - 1, -1, -1)])
        rows = gather(rows, order, 0)
    differs = any_of(not_equal(slice_axis(rows, 0, 1, max(count, 1)),
                               slice_axis(rows, 0, 0, max(count - 1, 0))), axis=1)
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


@named_in_errors
def isin(x: Any, values: Any, *, invert: bool = False) -> Tensor:
    """Whether each element of x is among `values`; with `invert`, whether it is not.

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


def _pair(x: Any, y: Any) -> tuple[Any, Any]:
    """Two vectors of distinct elements, of one type."""
    x, y = as_tensors(x, y)
    dtype = promote(x.dtype, y.dtype)
    return unique_values(astype(x, dtype)), unique_values(astype(y, dtype))


@named_in_errors
def intersect1d(x: Any, y: Any) -> Tensor:
    """What is in both x and y: distinct, in order.

    >>> import tinyml
    >>> tinyml.intersect1d([1, 3, 3], [3, 4]).tolist()
    [3]
    """
    x, y = _pair(x, y)
    return gather(x, nonzero(isin(x, y))[0])


@named_in_errors
def setdiff1d(x: Any, y: Any) -> Tensor:
    """What is in x and not in y: distinct, in order."""
    x, y = _pair(x, y)
    return gather(x, nonzero(isin(x, y, invert=True))[0])


@named_in_errors
def union1d(x: Any, y: Any) -> Tensor:
    """What is in x or in y: distinct, in order."""
    return unique_values(concat(_pair(x, y), 0))


@named_in_errors
def setxor1d(x: Any, y: Any) -> Tensor:
    """What is in x or in y but not in both: distinct, in order."""
    x, y = _pair(x, y)
    both = unique_values(concat([x, y], 0))
    one = not_equal(astype(isin(both, x), "int64"), astype(isin(both, y), "int64"))
    return gather(both, nonzero(one)[0])
