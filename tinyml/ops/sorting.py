"""Sorting and searching: sort, topk, searchsorted, and nonzero, whose size depends on values.

A sort is a bitonic network (Batcher 1968) over pairs of value and index. The index breaks ties, so
the order is total and the sort stable. Each step is one launch of the same kernel, with the step
passed at run time. A device may have a kernel of its own instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples.cumulative as samples
from tinyml.core.apply import apply, apply_many, full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.dtypes import COMPUTABLE, DTYPES, bool_, int64, uint8
from tinyml.errors import ArgumentError, AxisError, ShapeError, expect
from tinyml.ir.dims import Dim
from tinyml.ir.nest import ZERO, Ids, Monoid, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axis, as_size, element, with_shape
from tinyml.ops.creation import IOTA, asarray
from tinyml.ops.cumulative import CUMSUM
from tinyml.ops.elementwise.define import ALL, NUMBERS, meet, operand_dtype
from tinyml.ops.gather_scatter import GATHER, PUT_ALONG
from tinyml.ops.pad import pad
from tinyml.ops.samples.values import ErrorCase, Sample, special, spread
from tinyml.ops.views import Ints, permute_dims, reshape, slice_axis, unravel, zeros_of

__all__ = ["argsort", "nonzero", "searchsorted", "sort", "topk"]

# ---- one step of the network


def _before(n: Nest, own: tuple[int, int], other: tuple[int, int], size: int,
            descending: bool) -> int:
    """Return whether (value, index) comes before another; an index of `size` or more is padding."""

    def test(word: str, *values: int) -> int:
        return n.prim(word, *values, dtype=bool_)

    def either(*values: int) -> int:
        return test("logical_or", *values)

    def only(x: int, y: int) -> int:
        return test("logical_and", x, test("logical_not", y))

    x, y = own[0], other[0]
    if n.code[x].dtype is bool_:
        x, y = n.cast(x, uint8), n.cast(y, uint8)
    less, more = test("less", x, y), test("greater", x, y)
    if n.code[x].dtype.is_float:
        nan, other_nan = test("isnan", x), test("isnan", y)
        less, more = either(less, only(other_nan, nan)), either(more, only(nan, other_nan))
    if descending:
        less, more = more, less
    earlier = test("less", own[1], other[1])
    end = n.param(size)
    padding = either(*[test("greater_equal", index, end) for index in (own[1], other[1])])
    return n.select(padding, earlier, either(less, only(earlier, more)))


def _step_scatter(n: Nest, outs: list[int], values: Any, indices: Any, block: Any, distance: Any, *,
                  size: int, descending: bool) -> None:
    """Exchange each element and the one at a distance, where they are out of order.

    Every other block is sorted in the opposite order.
    """
    row, place = n.axes_for(values.shape)
    block, distance = (element(n, number, (), int64) for number in (block, distance))
    mate = n.prim("bitwise_xor", place, distance)
    own = values((row, place)), indices((row, place))
    other = values((row, mate)), indices((row, mate))

    def clear(bits: int) -> int:
        return n.prim("equal", n.prim("bitwise_and", place, bits), ZERO, dtype=bool_)

    upward = n.prim("equal", clear(distance), clear(block), dtype=bool_)
    keep = n.prim("equal", _before(n, own, other, size, descending), upward, dtype=bool_)
    for out, mine, its in zip(outs, own, other):
        n.store(out, n.select(keep, mine, its), (row, place))


def _step_infer(values: Spec, indices: Spec, *_: Any, **__: Any) -> tuple[Spec, Spec]:
    return with_shape(values, values.shape), with_shape(indices, indices.shape)


STEP: Op = define(
    "sort_step", _step_infer, scatter_nest=_step_scatter, differentiable=False, internal=True,
    dtypes=(),
    doc="One step of a bitonic network over the last axis, whose size is a power of two.",
)


# ---- sort


def _sort_normalize(x: Spec, axis: Any = -1, descending: Any = False) -> dict[str, Any]:
    return {"axis": as_axis(axis, x.ndim), "descending": bool(descending)}


def _sort_infer(x: Spec, *, axis: int, descending: bool) -> tuple[Spec, Spec]:
    return with_shape(x, x.shape), with_shape(x, x.shape, int64)


def _sort_body(x: Any, *, axis: int, descending: bool) -> tuple[Any, Any]:
    size = x.shape[axis]
    if size < 2 or not x.size:
        return x, apply(IOTA, x, axis=axis)
    order = (*[d for d in range(x.ndim) if d != axis], axis)
    moved = permute_dims(x, order)
    width = 1 << (size - 1).bit_length()
    values = pad(reshape(moved, (-1, size)), (0, 0), (0, width - size), 0)
    indices = apply(IOTA, values, axis=1)
    block = 2
    while block <= width:
        distance = block // 2
        while distance:
            values, indices = apply_many(STEP, values, indices, block, distance, size=size,
                                    descending=descending)
            distance //= 2
        block *= 2
    back = tuple([order.index(d) for d in range(x.ndim)])
    found = [permute_dims(reshape(slice_axis(part_of, 1, 0, size), moved.shape), back)
             for part_of in (values, indices)]
    return found[0], found[1]


SORT: Op = define(
    "sort", _sort_infer, body=_sort_body, normalize=_sort_normalize, dtypes=ALL,
    grad=(lambda g, y, _x, axis, descending: apply(
        PUT_ALONG, zeros_of(_x), y[1], g[0], axis=axis),),
    samples=samples.sort(),
    errors=lambda: [ErrorCase((np.ones((2, 3), np.float32),), {"axis": 2, "descending": False},
                              AxisError, "-2 <= axis < 2")],
    doc="The sorted elements along an axis, and their original indices (int64); equal elements "
        "keep their order, NaN is greatest, -0.0 equals 0.0.",
)


# ---- nonzero


def _partition_scatter(n: Nest, outs: list[int], mask: Any, ranks: Any, count: Any) -> None:
    """Store each index at its rank among those of its kind, a position that no other one takes."""
    i = n.axis("i0", mask.shape[0])
    rank = ranks((i,))
    after = n.prim("sub", n.prim("add", i, element(n, count, (), int64)), rank)
    n.store(outs[0], i, (n.select(mask((i,)), n.prim("sub", rank, n.const(1, int64)), after),),
            "once")


PARTITION: Op = define(
    "partition", lambda mask, ranks, count: with_shape(ranks, ranks.shape),
    scatter_nest=_partition_scatter, differentiable=False, internal=True,
    dtypes=(),
    doc="The indices where a mask holds, then the others; `ranks` are the mask's running sums, "
        "`count` is the last of them.",
)


def _coordinates_scatter(n: Nest, outs: list[int], places: Any, *, shape: Ints) -> None:
    row = n.axis("i0", places.shape[0])
    for d, value in enumerate(unravel(n, places((row,)), shape)):
        n.store(outs[0], value, (row, n.const(d, int64)))


COORDINATES: Op = define(
    "coordinates", lambda places, shape: with_shape(places, (*places.shape, len(shape))),
    scatter_nest=_coordinates_scatter, differentiable=False, internal=True,
    dtypes=(), doc="The indices, one row each, of flat positions in a dense tensor of a shape.",
)


def _nonzero_infer(x: Spec) -> Spec:
    expect(x.ndim > 0, "at least 1 axis", x.shape, ShapeError, remedy="x.reshape(1)")
    return with_shape(x, (Dim.fresh(x.size), x.ndim), int64)  # type: ignore[arg-type]


def _nonzero(x: Any) -> Any:
    """Read the number of nonzero elements, then store each index at its position."""
    flat = reshape(x, (x.size,)) != 0
    if not x.size:
        return full((0, x.ndim), 0, int64, x.device)
    ranks = apply(CUMSUM, flat, axis=0, reverse=False, exclusive=False)
    count = int(ranks[-1].item())
    found = apply(PARTITION, flat, ranks, count)
    return apply(COORDINATES, found[:count], shape=x.shape)


NONZERO: Op = define(
    "nonzero", _nonzero_infer, host_impl=_nonzero, differentiable=False, dtypes=COMPUTABLE,
    samples=samples.nonzero(),
    errors=lambda: [ErrorCase((np.ones((), np.float32),), {}, ShapeError, "at least 1 axis")],
    doc="The indices (int64) of the nonzero elements, one row each, in row-major order; NaN is "
        "nonzero.",
)


# ---- searchsorted


def _search_infer(table: Spec, values: Spec, *, side: str) -> Spec:
    expect(table.ndim == 1, "a sorted vector", table.shape, ShapeError)
    operand_dtype("real", (table, values))
    return with_shape(values, values.shape, int64)


def _search_nest(n: Nest, index: Ids, table: Any, values: Any, *, side: str) -> int:
    """Search by steps of decreasing powers of two, each taken if what it skips comes before."""
    dtype, size = meet((table, values)), table.shape[0]
    value, one = element(n, values, index, dtype), n.const(1, int64)
    tables = [table]

    def before(n: Nest, x: int, y: int) -> int:
        less = n.prim("less", x, y, dtype=bool_)
        if not dtype.is_float:
            return less
        number = n.prim("equal", x, x, dtype=bool_)  # NaN is greatest
        last = n.prim("logical_and", n.prim("isnan", y, dtype=bool_), number, dtype=bool_)
        return n.prim("logical_or", less, last, dtype=bool_)

    def combine(n: Nest, state: Ids, items: Ids) -> Ids:
        (place, width), value, table = state, items[0], tables[0]
        width = n.prim("bitwise_right_shift", width, one)
        there = n.prim("add", place, width)
        inside = n.prim("less_equal", there, n.param(size), dtype=bool_)
        other = n.cast(table((n.prim("sub", there, one),), inside, n.const(0, table.dtype)), dtype)
        passed = before(n, other, value)
        if side == "right":
            passed = n.prim("logical_not", before(n, value, other), dtype=bool_)
        go = n.prim("logical_and", inside, passed, dtype=bool_)
        return n.select(go, there, place), width

    steps = size.bit_length()
    search = Monoid("search", lambda n, _: (ZERO, n.param(1 << steps)), combine, combine)
    over = n.over(index, (steps,))
    try:
        return n.reduce(search, over, value)[0] if steps else ZERO
    finally:
        tables.clear()  # the nest holds its monoids; they must not hold the nest


def _search_samples(dtype: str) -> list[Sample]:
    table, values = special(dtype), spread(dtype, (3, 4), -3.0, 3.0)
    # ml_dtypes' comparison gives NaN no place in the order.
    table = table[np.argsort(table.astype(np.float64) if DTYPES[dtype].is_small_float else table)]
    return [Sample((x, y), {"side": side}, f"{name} {side}")
            for side in ("left", "right")
            for x, y, name in ((table, values, "among special"), (table, table, "special"),
                               (np.sort(values.ravel()), table, "special among"),
                               (np.sort(values.ravel())[::-1][::-1], values.T, "strided"),
                               (table[:1], table, "in one"), (table[:0], values, "in none"),
                               (table, values[:0], "none"))]


SEARCH: Op = define(
    "searchsorted", _search_infer, nest=_search_nest, differentiable=False, dtypes=NUMBERS,
    samples=_search_samples,
    errors=lambda: [ErrorCase((np.ones((2, 2), np.float32), np.ones(2, np.float32)),
                              {"side": "left"}, ShapeError, "a sorted vector")],
    doc="The indices (int64) at which to insert values into a sorted vector: before equal elements "
        "with side left, after them with right; NaN is greatest.",
)


# ---- public functions


@named_in_errors
def searchsorted(x1: Any, x2: Any, *, side: str = "left", sorter: Any = None) -> Tensor:
    """Return the int64 indices at which to insert x2 into the sorted x1 (standard 2024.12).

    x1 stays sorted when x2's elements are inserted before those indices, on the given `side` of
    equal elements. `sorter` holds the indices that sort x1, if it is not sorted. NaN is greatest.
    Each element is a binary search. Raises ShapeError, ArgumentError.

    >>> import tinyml
    >>> tinyml.searchsorted(tinyml.tensor([1, 3, 5]), tinyml.tensor([0, 3, 6])).tolist()
    [0, 1, 3]
    """
    expect(side in ("left", "right"), "side 'left' or 'right'", side, ArgumentError)
    table = x1 if sorter is None else apply(GATHER, x1, sorter, axis=0)
    return apply(SEARCH, table, x2, side=side)


def _sorted(x: Any, axis: Any, descending: bool) -> tuple[Tensor, Tensor]:
    values, indices = apply_many(SORT, x, axis=axis, descending=descending)
    return values, indices


@named_in_errors
def sort(x: Any, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Return the elements along `axis`, sorted (Array API standard 2024.12, sort).

    NaN is greatest: last, or first if `descending`. Equal elements keep their order, and -0.0
    equals 0.0; `stable` False changes nothing. Raises AxisError. Gradients go back to the elements'
    original positions.

    >>> import tinyml
    >>> tinyml.sort(tinyml.tensor([3.0, 1.0, 2.0]), descending=True).tolist()
    [3.0, 2.0, 1.0]
    """
    return _sorted(x, axis, descending)[0]


@named_in_errors
def argsort(x: Any, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Return the int64 indices that sort the elements along `axis` (standard 2024.12).

    The order is that of `sort`. Raises AxisError.

    >>> import tinyml
    >>> tinyml.argsort(tinyml.tensor([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    return _sorted(x, axis, descending)[1]


@named_in_errors
def topk(x: Any, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """Return the k greatest (or least) elements along `axis`, sorted, and their indices.

    Both have x's shape with size k along the axis; the indices are int64. Equal elements keep their
    order, and NaN is greatest. Raises AxisError, and ShapeError unless 0 <= k <= size.

    >>> import tinyml
    >>> values, indices = tinyml.topk(tinyml.tensor([3.0, 1.0, 2.0]), 2)
    >>> values.tolist(), indices.tolist()
    ([3.0, 2.0], [0, 2])
    """
    x = asarray(x)
    axis, k = as_axis(axis, x.ndim), as_size(k, "k")
    expect(0 <= k <= x.shape[axis], f"0 <= k <= {x.shape[axis]}", k, ShapeError)
    values, indices = _sorted(x, axis, largest)
    return slice_axis(values, axis, 0, k), slice_axis(indices, axis, 0, k)


@named_in_errors
def nonzero(x: Any) -> tuple[Tensor, ...]:
    """Return the int64 indices of the nonzero elements (Array API standard 2024.12, nonzero).

    One vector for each axis, in row-major order; NaN is nonzero. The values are waited for, since
    they decide the result's size. Raises ShapeError for a 0-d tensor.

    >>> import tinyml
    >>> [index.tolist() for index in tinyml.nonzero(tinyml.tensor([[0, 1], [2, 3]]))]
    [[0, 1, 1], [1, 0, 1]]
    """
    x = asarray(x)
    found = apply(NONZERO, x)
    # A slice would need the size, which is unknown while a graph is built.
    columns = [full((), d, int64, x.device) for d in range(x.ndim)]
    return tuple([apply(GATHER, found, column, axis=1) for column in columns])
