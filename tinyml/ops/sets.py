"""Sets: the distinct values of a tensor, from one stable sort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tinyml.core import apply
from tinyml.dtypes import int64
from tinyml.ops.calls import named
from tinyml.ops.creation import asarray, zeros
from tinyml.ops.indexing import GATHER, SCATTER
from tinyml.ops.scan import cumsum, part
from tinyml.ops.shape import pad, reshape
from tinyml.ops.sorting import SORT, argsort, nonzero, searchsorted

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

__all__ = ["unique_all", "unique_counts", "unique_inverse", "unique_values"]


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
        earlier = part(self.sorted, 0, 0, max(self.size - 1, 0))
        differs = part(self.sorted, 0, 1, self.size) != earlier
        begins = part(pad(differs, 1, 0, True), 0, 0, self.size)
        self.starts = nonzero(begins)[0]
        self.ranks = cumsum(begins) - 1

    def first(self, of: Any) -> Tensor:
        """The element of each run's beginning."""
        result: Tensor = apply(GATHER, of, self.starts, axis=0)
        return result

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


@named
def unique_values(x: Any) -> Tensor:
    """The distinct values of x in order (Array API standard 2024.12, unique_values).

    NaN differs from itself. How many there are is read. Gradients go to where each stands first.

    >>> import tinyml
    >>> tinyml.unique_values(tinyml.tensor([3, 1, 3])).tolist()
    [1, 3]
    """
    return _Runs(x).values


@named
def unique_counts(x: Any) -> UniqueCounts:
    """The distinct values of x in order, and how many each has (Array API standard 2024.12)."""
    runs = _Runs(x)
    return UniqueCounts(runs.values, runs.counts)


@named
def unique_inverse(x: Any) -> UniqueInverse:
    """The distinct values of x in order, and which one each element is, in the shape of x."""
    runs = _Runs(x)
    return UniqueInverse(runs.values, runs.inverse)


@named
def unique_all(x: Any) -> UniqueAll:
    """The distinct values of x in order, where each stands first, their inverse and counts.

    >>> import tinyml
    >>> values, indices, inverse, counts = tinyml.unique_all(tinyml.tensor([3, 1, 3]))
    >>> values.tolist(), indices.tolist(), inverse.tolist(), counts.tolist()
    ([1, 3], [1, 0], [1, 0, 1], [1, 2])
    """
    runs = _Runs(x)
    return UniqueAll(runs.values, runs.first(runs.order), runs.inverse, runs.counts)
