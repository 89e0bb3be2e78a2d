"""Diagonals and triangles of matrices.

A diagonal is a slice of the flattened matrix: each step moves one row and one column on. So taking
one is a view, and its gradient is the slice's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.upload import upload_computed
from tinyml.dtypes import EVERY, int64
from tinyml.errors import ArgumentError, ShapeError, expect
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axis, as_places, as_shape, with_shape
from tinyml.ops.creation import IOTA, asarray
from tinyml.ops.elementwise import greater_equal, less_equal, where
from tinyml.ops.samples.values import ErrorCase, Sample, layouts
from tinyml.ops.views import SLICE, UNSLICE, permute_dims, reshape

__all__ = ["diag", "diag_embed", "diagonal", "tril", "tril_indices", "triu", "triu_indices"]


# ---- diagonals


def _diagonal_slice(batch: tuple[int, ...], rows: int, columns: int,
                    offset: int) -> dict[str, Any]:
    """Return a diagonal as a slice of flattened matrices, in the form that the op takes."""
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    start = (offset if offset >= 0 else -offset * columns) if count else 0
    stop = start + (count - 1) * (columns + 1) + 1 if count else 0
    return {"start": (*(0 for _ in batch), start), "stop": (*batch, stop),
            "step": (*(1 for _ in batch), columns + 1)}


@named_in_errors
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Return a diagonal of the matrices in two axes as a new last axis, without copying.

    A positive `offset` counts columns to the right, a negative one rows down. Raises AxisError, and
    ArgumentError if both axes are the same.

    >>> import tinyml
    >>> tinyml.diagonal(tinyml.tensor([[1, 2], [3, 4]]), 1).tolist()
    [2]
    """
    x = asarray(x)
    first, second = as_axis(axis1, x.ndim), as_axis(axis2, x.ndim)
    expect(first != second, "two different axes", (axis1, axis2), ArgumentError)
    order = [*[d for d in range(x.ndim) if d not in (first, second)], first, second]
    moved = permute_dims(x, order)
    *batch, rows, columns = moved.shape
    flat = reshape(moved, (*batch, rows * columns))
    place = _diagonal_slice(tuple(batch), rows, columns, as_places((offset,), "offset")[0])
    return apply(SLICE, flat, **place)


@named_in_errors
def diag_embed(x: Any, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
    """Return square matrices with the last axis of x on a diagonal and zeros elsewhere.

    `offset` is as in `diagonal`. Raises ShapeError for a 0-d tensor, AxisError, ArgumentError.

    >>> import tinyml
    >>> tinyml.diag_embed(tinyml.tensor([1, 2])).tolist()
    [[1, 0], [0, 2]]
    """
    x = asarray(x)
    expect(x.ndim > 0, "at least 1 axis", x.shape, ShapeError)
    *batch, count = x.shape
    size = count + abs(as_places((offset,), "offset")[0])
    place = _diagonal_slice(tuple(batch), size, size, offset)
    flat = apply(UNSLICE, x, shape=(*batch, size * size), **place)
    square = reshape(flat, (*batch, size, size))
    first, second = as_axis(axis1, square.ndim), as_axis(axis2, square.ndim)
    expect(first != second, "two different axes", (axis1, axis2), ArgumentError)
    rest = iter(range(len(batch)))
    order = [square.ndim - 2 if d == first else square.ndim - 1 if d == second else next(rest)
             for d in range(square.ndim)]
    return permute_dims(square, order)


@named_in_errors
def diag(x: Any, k: int = 0) -> Tensor:
    """Return the k-th diagonal of a matrix, or a matrix with a vector as its k-th diagonal.

    Raises ShapeError for another number of axes.

    >>> import tinyml
    >>> tinyml.diag(tinyml.tensor([1, 2])).tolist()
    [[1, 0], [0, 2]]
    """
    x = asarray(x)
    expect(x.ndim in (1, 2), "a vector or a matrix", x.shape, ShapeError)
    return diag_embed(x, k) if x.ndim == 1 else diagonal(x, k)


def _triangle_of(n: Any, k: Any, m: Any) -> tuple[int, int, int]:
    """Return a matrix's rows, its diagonal, and its columns; raises ShapeError."""
    rows, columns = as_shape((n, n if m is None else m))
    return rows, as_places((k,), "k")[0], columns


def _places(n: Any, k: Any, m: Any, device: Any, below: bool) -> tuple[Tensor, Tensor]:
    """Return the int64 rows and columns of a triangle, by what each row that is not empty has."""
    height, k, width = _triangle_of(n, k, m)
    k = max(-height, min(k, width))
    first, last = (max(0, -k), height) if below else (0, max(0, min(height, width - k)))
    whole = min(max(width - k - 1, first), last) if below else min(max(-k, first), last)
    # Rows with all columns end a lower triangle, and begin an upper one; others differ by one.
    edge, rest = (first, whole) if below else (whole, last)
    total = width * (last - whole if below else whole - first)
    lengths = (edge + k + 1, rest + k) if below else (width - k - rest + 1, width - k - edge)
    total += (rest - edge) * (lengths[0] + lengths[1]) // 2

    def places() -> tuple[Any, Any]:
        rows = np.arange(first, last)
        begins = np.zeros_like(rows) if below else np.clip(rows + k, 0, width)
        counts = (np.clip(rows + (k + 1), 0, width) if below else width) - begins
        begins -= np.cumsum(counts) - counts
        return np.repeat(rows, counts), np.arange(total) + np.repeat(begins, counts)

    found: list[Any] = []

    def part(number: int) -> Any:
        found.extend(() if found else places())
        return found[number]

    rows, columns = (upload_computed(partial(part, number), (total,), int64, device)
                     for number in range(2))
    return rows, columns


@named_in_errors
def tril_indices(n: int, k: int = 0, m: int | None = None,
                 device: Any = None) -> tuple[Tensor, Tensor]:
    """Return the int64 rows and columns on and below the k-th diagonal of an (n, m) matrix.

    >>> import tinyml
    >>> [places.tolist() for places in tinyml.tril_indices(2)]
    [[0, 1, 1], [0, 0, 1]]
    """
    return _places(n, k, m, device, True)


@named_in_errors
def triu_indices(n: int, k: int = 0, m: int | None = None,
                 device: Any = None) -> tuple[Tensor, Tensor]:
    """Return the int64 rows and columns on and above the k-th diagonal of an (n, m) matrix."""
    return _places(n, k, m, device, False)


# ---- triangles


def _triangle(name: str, keeps: Callable[[Any, Any], Any], doc: str) -> Op:
    """Define an op that keeps elements by comparing their column with their row's diagonal."""

    def infer(x: Spec, *, k: int) -> Spec:
        expect(x.ndim >= 2, "at least 2 axes", x.shape, ShapeError)
        return with_shape(x, x.shape)

    def body(x: Any, *, k: int) -> Any:
        column, row = apply(IOTA, x, axis=-1), apply(IOTA, x, axis=-2)
        return where(keeps(column, row + k), x, False if x.dtype.kind == "bool" else 0)

    def cases(dtype: str) -> list[Sample]:
        return [Sample((x,), {"k": k}, f"{layout} {k}", True)
                for k, layout, x in zip((0, 1, -2), ("dense", "transposed", "reversed"),
                                        layouts(dtype, (2, 3, 4)))]

    op: Op = define(
        name, infer, body=body, samples=cases,
        normalize=lambda x, k=0: {"k": as_places((k,), "k")[0]},
        grad=(lambda g, _y, _x, k: apply(op, g, k=k),), dtypes=EVERY, doc=doc,
        errors=lambda: [ErrorCase((np.ones(3, np.float32),), {"k": 0}, ShapeError,
                                  "at least 2 axes")],
    )
    return op


TRIL: Op = _triangle("tril", less_equal,
                     "The elements of matrices on and below the k-th diagonal, 0 above.")
TRIU: Op = _triangle("triu", greater_equal,
                     "The elements of matrices on and above the k-th diagonal, 0 below.")


@named_in_errors
def tril(x: Any, k: int = 0) -> Tensor:
    """Return matrices with the elements above the k-th diagonal replaced by 0.

    Raises ShapeError for fewer than 2 axes.

    >>> import tinyml
    >>> tinyml.tril(tinyml.ones((2, 2))).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return apply(TRIL, x, k=k)


@named_in_errors
def triu(x: Any, k: int = 0) -> Tensor:
    """Return matrices with the elements below the k-th diagonal replaced by 0; see `tril`."""
    return apply(TRIU, x, k=k)
