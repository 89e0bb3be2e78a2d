"""Products of matrices and vectors, and of tensors over several axes.

Each is a sum of products over fresh axes of the nest; making it fast is the schedule's job.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.upload import as_tensor, upload_all
from tinyml.dtypes import COMPLEX
from tinyml.errors import AxisError, ShapeError, expect, refuse
from tinyml.ir.monoids import DOT
from tinyml.ir.nest import Ids, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axis, as_size, as_sizes, broadcast_shapes, element, with_shape
from tinyml.ops.elementwise import conj
from tinyml.ops.elementwise.define import NUMBERS, meet, operand_dtype
from tinyml.ops.samples import ErrorCase
from tinyml.ops.views import Ints, permute_dims, reshape

__all__ = ["matmul", "matrix_transpose", "tensordot", "vecdot"]

FEW = 8  # with fewer rows or columns the terms of one result run in lanes, not the results


def _matmul_infer(x: Spec, y: Spec) -> Spec:
    expect(x.ndim >= 2 and y.ndim >= 2, "at least 2 axes", f"{x.ndim} and {y.ndim}",
           remedy="matmul adds axes to vectors; the record does not")
    expect(x.shape[-1] == y.shape[-2], "x.shape[-1] == y.shape[-2]",
           f"{x.shape[-1]} != {y.shape[-2]}", remedy="transpose one with .T or permute_dims")
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return with_shape(x, (*batch, x.shape[-2], y.shape[-1]), operand_dtype("number", (x, y)))


def _matmul_nest(n: Nest, index: Ids, x: Any, y: Any) -> int:
    dtype = meet((x, y))
    (k,) = over = n.over(index, x.shape[-1:])
    *batch, row, column = index
    left = element(n, x, (*batch, row, k), dtype)
    right = element(n, y, (*batch, k, column), dtype)
    small = min(x.shape[-2], y.shape[-1]) < FEW
    return n.reduce(DOT, over, left, right, in_lanes=small)[0]


def _transposed(x: Any) -> Any:
    order = list(range(x.ndim))
    order[-2:] = order[-1], order[-2]
    return permute_dims(x, order)


def unbatched(g: Any, x: Any) -> Any:
    """Return g summed over the batch axes along which x was broadcast, in x's type."""
    lead = g.ndim - x.ndim
    axes = [d for d in range(g.ndim) if d < lead or x.shape[d - lead] != g.shape[d]]
    if axes:
        g = reshape(g.sum(tuple(axes)), x.shape)
    return g.astype(x.dtype)


MATMUL: Op = define(
    "matmul", _matmul_infer, nest=_matmul_nest,
    grad=(lambda g, _y, _a, b: unbatched(apply(MATMUL, g, _transposed(conj(b))), _a),
          lambda g, _y, a, _b: unbatched(apply(MATMUL, _transposed(conj(a)), g), _b)),
    samples=samples.matmul(), dtypes=(*NUMBERS, *COMPLEX),
    errors=lambda: [ErrorCase((np.ones((2, 3), np.float32), np.ones((4, 5), np.float32)), {},
                              ShapeError, "3 != 4")],
    doc="The matrix product over the last two axes; the axes before broadcast.",
)


@named_in_errors
def matmul(x: Any, y: Any) -> Tensor:
    """Return the matrix product; a vector acts as a row on the left, a column on the right.

    Raises ShapeError if the inner sizes differ.

    >>> import tinyml
    >>> tinyml.matmul(tinyml.tensor([[1.0, 2.0]]), tinyml.tensor([3.0, 4.0])).tolist()
    [11.0]
    """
    if not (isinstance(x, Data) and isinstance(y, Data)):
        x, y = upload_all((x, y))
    if not (x.ndim and y.ndim):
        refuse("at least 1 axis", f"{x.ndim} and {y.ndim}")
    left = reshape(x, (1, x.size)) if x.ndim == 1 else x
    right = reshape(y, (y.size, 1)) if y.ndim == 1 else y
    result = apply(MATMUL, left, right)
    if x.ndim > 1 and y.ndim > 1:
        return result
    rows = left.shape[-2:-1] if x.ndim > 1 else ()
    columns = right.shape[-1:] if y.ndim > 1 else ()
    return reshape(result, (*result.shape[:-2], *rows, *columns))


def _vecdot_infer(x: Spec, y: Spec) -> Spec:
    expect(x.ndim > 0 and y.ndim > 0, "at least 1 axis", f"{x.ndim} and {y.ndim}")
    expect(x.shape[-1] == y.shape[-1], "vectors of one size", f"{x.shape[-1]} != {y.shape[-1]}")
    batch = broadcast_shapes(x.shape[:-1], y.shape[:-1])
    return with_shape(x, batch, operand_dtype("number", (x, y)))


def _vecdot_body(x: Any, y: Any) -> Any:
    products = conj(x) * y
    return products.sum(products.ndim - 1).astype(products.dtype)


VECDOT: Op = define(
    "vecdot", _vecdot_infer, body=_vecdot_body, samples=samples.vecdot(),
    dtypes=(*NUMBERS, *COMPLEX),
    errors=lambda: [ErrorCase((np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)), {},
                              ShapeError, "3 != 4")],
    doc="The sums of products along the last axis, with x conjugated; the axes before broadcast.",
)


@named_in_errors
def vecdot(x1: Any, x2: Any, *, axis: int = -1) -> Tensor:
    """Return the dot products of vectors along `axis`, with x1 conjugated (standard 2024.12).

    The other axes broadcast. Raises ShapeError if the vectors differ in size.

    >>> import tinyml
    >>> tinyml.vecdot(tinyml.tensor([[1, 2], [3, 4]]), tinyml.tensor([1, 1])).tolist()
    [3, 7]
    """
    x1, x2 = upload_all((x1, x2))
    axis = as_size(axis, "axis")
    expect(-min(x1.ndim, x2.ndim) <= axis < 0 or x1.ndim == x2.ndim,
           "an axis counted from the end, that both have", axis, AxisError)
    moved = [permute_dims(x, _to_the_end(x.ndim, as_axis(axis, x.ndim)))
             for x in (x1, x2)]
    return apply(VECDOT, *moved)


def _to_the_end(ndim: int, axis: int) -> Ints:
    return (*[d for d in range(ndim) if d != axis], axis)


@named_in_errors
def matrix_transpose(x: Any) -> Tensor:
    """Return x with its last two axes swapped, without copying. Raises ShapeError."""
    transposed: Tensor = as_tensor(x).mT
    return transposed


@named_in_errors
def tensordot(x1: Any, x2: Any, *, axes: Any = 2) -> Tensor:
    """Return sums of products over axes of x1 and as many axes of x2 (standard 2024.12).

    `axes` is a number n, for the last n axes of x1 and the first n of x2, or two sequences that
    name them. Raises ShapeError if their sizes differ.

    >>> import tinyml
    >>> x = tinyml.reshape(tinyml.arange(6), (2, 3))
    >>> tinyml.tensordot(x, x, axes=((0, 1), (0, 1))).item()
    55
    """
    x1, x2 = upload_all((x1, x2))
    if isinstance(axes, (tuple, list)):
        expect(len(axes) == 2, "two sequences of axes", axes, AxisError)
        ours, theirs = [tuple([as_axis(a, x.ndim) for a in as_sizes(named_axes, "axes")])
                        for x, named_axes in zip((x1, x2), axes)]
    else:
        count = as_size(axes, "axes")
        expect(0 <= count <= min(x1.ndim, x2.ndim), "axes that both have", count, AxisError)
        ours, theirs = tuple(range(x1.ndim - count, x1.ndim)), tuple(range(count))
    sizes = [tuple([x.shape[a] for a in own]) for x, own in ((x1, ours), (x2, theirs))]
    expect(sizes[0] == sizes[1], f"axes of x2 of sizes {sizes[0]}", sizes[1])
    rows, columns = [tuple([d for d in range(x.ndim) if d not in own])
                     for x, own in ((x1, ours), (x2, theirs))]
    inner = math.prod(sizes[0])
    height, width = [tuple([x.shape[d] for d in free]) for x, free in ((x1, rows), (x2, columns))]
    left = reshape(permute_dims(x1, (*rows, *ours)), (math.prod(height), inner))
    right = reshape(permute_dims(x2, (*theirs, *columns)), (inner, math.prod(width)))
    return reshape(apply(MATMUL, left, right), (*height, *width))
