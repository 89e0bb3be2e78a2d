"""Indexing: gather, scatter and their likes, and how x[i] becomes views and gathers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core import apply, full, named, op_array, upload
from tinyml.dtypes import bool_, int64
from tinyml.errors import (
    ArgumentTypeError,
    AxisError,
    DTypeError,
    OutOfRangeError,
    ShapeError,
    expect,
)
from tinyml.nest import Ids, Nest
from tinyml.op import Op, define
from tinyml.ops.elementwise import ALL, FLOATS, NUMBERS, astype
from tinyml.ops.samples import ErrorCase, Sample
from tinyml.ops.shape import SLICE, SLICE_SET, zeros_of
from tinyml.spec import Spec, as_axis, broadcast_shapes, with_shape
from tinyml.values import Data

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

__all__ = ["gather", "scatter", "scatter_add", "take", "take_along_axis"]

_X = np.arange(12, dtype=np.float32).reshape(4, 3)
_TABLE = np.array([0, 3, 3, 1])
_FAR = np.array([0, 4])


def _canon(x: Spec, *_: Any, axis: Any) -> dict[str, Any]:
    return {"axis": as_axis(axis, x.ndim)}


def _need_integers(indices: Spec) -> None:
    expect(indices.dtype.is_integer, "integer indices", indices.dtype.name, DTypeError,
           remedy="cast with .astype('int64')")


def _indexed_shape(x: Spec, indices: Spec, axis: int) -> tuple[int, ...]:
    return (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_infer(x: Spec, indices: Spec, *, axis: int) -> Spec:
    _need_integers(indices)
    shape = _indexed_shape(x, indices, axis)
    expect(x.shape[axis] > 0 or 0 in shape, "an axis with elements", x.shape, OutOfRangeError)
    return with_shape(x, shape)


def _gather_nest(n: Nest, index: Ids, x: Any, indices: Any, *, axis: int) -> int:
    inner = index[axis : axis + indices.ndim]
    place = n.check(n.cast(indices(inner), int64), x.shape[axis])
    return int(x((*index[:axis], place, *index[axis + indices.ndim :])))


GATHER: Op = define(
    "gather", _gather_infer, canon=_canon, nest=_gather_nest,
    grad=(lambda g, _y, _x, indices, axis: apply(
        SCATTER_ADD, zeros_of(_x), indices, g, axis=axis), None),
    samples=samples.gather(), dtypes=ALL,
    errors=lambda: [
        ErrorCase((_X, _FAR), {"axis": 0}, OutOfRangeError, "index 4 is out of range"),
        ErrorCase((_X, np.ones(2, np.float32)), {"axis": 0}, DTypeError, "integer indices"),
        ErrorCase((_X, _TABLE), {"axis": 2}, AxisError, "-2 <= axis < 2"),
    ],
    doc="Elements of x at indices along an axis (numpy.take): negative ones count from the end; "
        "others out of range raise.",
)


def _scatter_infer(x: Spec, indices: Spec, updates: Spec, *, axis: int) -> Spec:
    _need_integers(indices)
    wanted = _indexed_shape(x, indices, axis)
    expect(updates.shape == wanted, f"updates of shape {wanted}", updates.shape)
    expect(updates.dtype is x.dtype, f"updates of {x.dtype.name}", updates.dtype.name, DTypeError)
    return with_shape(x, x.shape)


def _scatter_push(mode: str) -> Callable[..., None]:
    """First x itself, then the updates in the order of the indices, one after the other."""

    def push(n: Nest, outs: list[int], x: Any, indices: Any, updates: Any, *, axis: int) -> None:
        before = [n.axis(f"i{d}", x.shape[d]) for d in range(axis)]
        after = [n.axis(f"i{d}", x.shape[d]) for d in range(axis + 1, x.ndim)]
        j = n.axis("j", x.shape[axis])
        whole = (*before, j, *after)
        n.store(outs[0], x(whole), whole)
        inner = tuple([n.axis(f"k{d}", size) for d, size in enumerate(indices.shape)])
        place = n.check(n.cast(indices(inner), int64), x.shape[axis])
        value = updates((*before, *inner, *after))
        n.store(outs[0], value, (*before, place, *after), mode)

    return push


def _winners(updates: Any, indices: Any, axis: int, size: int) -> Any:
    """Which updates were the last at their place, in a shape that broadcasts to updates."""
    flat = indices.astype(int64).reshape((-1,))
    order = upload(np.arange(flat.size), updates.device)
    nobody = full((size,), -1, int64, updates.device)
    last = apply(SCATTER, nobody, flat, order, axis=0)
    won = apply(GATHER, last, flat, axis=0) == order
    return won.reshape((*indices.shape, *[1] * (updates.ndim - axis - indices.ndim)))


def _scatter_errors() -> list[ErrorCase]:
    return [
        ErrorCase((_X, _FAR, _X[:2]), {"axis": 0}, OutOfRangeError, "index 4 is out of range"),
        ErrorCase((_X, _TABLE, _X[:2]), {"axis": 0}, ValueError, r"updates of shape \(4, 3\)"),
    ]


SCATTER_ADD: Op = define(
    "scatter_add", _scatter_infer, canon=_canon, push=_scatter_push("add"),
    grad=(lambda g, _y, _x, _i, _u, axis: g, None,
          lambda g, _y, _x, indices, _u, axis: apply(GATHER, g, indices, axis=axis)),
    samples=samples.scatter(add=True), dtypes=NUMBERS, errors=_scatter_errors,
    doc="x with updates added at indices along an axis, in the order of the indices.",
)
SCATTER: Op = define(
    "scatter", _scatter_infer, canon=_canon, push=_scatter_push("set"),
    grad=(lambda g, _y, _x, indices, _u, axis: apply(
              SCATTER, g, indices, zeros_of(_u), axis=axis), None,
          lambda g, _y, _x, indices, _u, axis: apply(GATHER, g, indices, axis=axis)
          * _winners(_u, indices, axis, _x.shape[axis]).astype(g.dtype)),
    samples=samples.scatter(), dtypes=ALL, errors=_scatter_errors,
    doc="x with the elements at indices along an axis replaced by updates; the last one wins.",
)


# ---- one index per row


def _take_infer(x: Spec, indices: Spec, *, axis: int) -> Spec:
    _need_integers(indices)
    expect(indices.ndim == x.ndim, f"indices with {x.ndim} axes", indices.shape)
    same = all(d == axis or n == m for d, (n, m) in enumerate(zip(x.shape, indices.shape)))
    expect(same, f"indices of shape {x.shape} outside axis {axis}", indices.shape)
    return with_shape(x, indices.shape)


def _take_nest(n: Nest, index: Ids, x: Any, indices: Any, *, axis: int) -> int:
    place = n.check(n.cast(indices(index), int64), x.shape[axis])
    return int(x((*index[:axis], place, *index[axis + 1 :])))


def _put_infer(x: Spec, indices: Spec, updates: Spec, *, axis: int) -> Spec:
    wanted = _take_infer(x, indices, axis=axis).shape
    expect(updates.shape == wanted, f"updates of shape {wanted}", updates.shape)
    expect(updates.dtype is x.dtype, f"updates of {x.dtype.name}", updates.dtype.name, DTypeError)
    return with_shape(x, x.shape)


def _put_push(n: Nest, outs: list[int], x: Any, indices: Any, updates: Any, *, axis: int) -> None:
    row = [n.axis(f"i{d}", size) if d != axis else -1 for d, size in enumerate(x.shape)]

    def at(place: int) -> Ids:
        return tuple([place if d == axis else i for d, i in enumerate(row)])

    j = n.axis("j", x.shape[axis])
    n.store(outs[0], x(at(j)), at(j))
    k = n.axis("k", indices.shape[axis])
    place = n.check(n.cast(indices(at(k)), int64), x.shape[axis])
    n.store(outs[0], updates(at(k)), at(place), "add")


def _along(dtype: str) -> list[Sample]:
    x = samples.spread(dtype, (4, 3), -3.0, 3.0)
    rows = np.array([[0, -1], [2, 2], [1, 0], [2, 1]])
    return [Sample((x, rows), {"axis": 1}, "rows", True),
            Sample((x, rows.T[:, :3].copy()), {"axis": 0}, "columns", True),
            Sample((x, rows[:, :0]), {"axis": 1}, "empty")]


def _put_along(dtype: str) -> list[Sample]:
    return [sample._replace(args=(*sample.args, samples.spread(
        dtype, sample.args[1].shape, -3.0, 3.0, seed="u"))) for sample in _along(dtype)]


TAKE_ALONG: Op = define(
    "take_along", _take_infer, canon=_canon, nest=_take_nest,
    grad=(lambda g, _y, _x, indices, axis: apply(
        PUT_ALONG, zeros_of(_x), indices, g, axis=axis), None),
    samples=_along, dtypes=ALL,
    errors=lambda: [ErrorCase((_X, np.array([[3], [0], [0], [0]])), {"axis": 1}, OutOfRangeError,
                              "index 3 is out of range")],
    doc="x at one index per place along an axis (numpy.take_along_axis).",
)
PUT_ALONG: Op = define(
    "put_along", _put_infer, canon=_canon, push=_put_push,
    grad=(lambda g, _y, _x, _i, _u, axis: g, None,
          lambda g, _y, _x, indices, _u, axis: apply(TAKE_ALONG, g, indices, axis=axis)),
    samples=_put_along, dtypes=FLOATS,
    errors=lambda: [
        ErrorCase((_X, _TABLE[:, None], _X), {"axis": 1}, ShapeError, r"updates of shape \(4, 1\)"),
        ErrorCase((_X, _TABLE, _TABLE), {"axis": 1}, ShapeError, "indices with 2 axes"),
        ErrorCase((_X, np.full((4, 1), 3), _X[:, :1]), {"axis": 1}, OutOfRangeError,
                  "index 3 is out of range"),
    ],
    doc="x with updates added at one index per place along an axis: take_along's gradient.",
)

IOTA: Op = define(
    "iota", lambda x, axis: with_shape(x, x.shape, int64), canon=_canon,
    nest=lambda n, index, x, axis: index[axis], differentiable=False,
    samples=lambda dtype: [Sample((samples.spread(dtype, (4, 3), 0, 1),), {"axis": axis}, name)
                           for axis, name in ((0, "rows"), (1, "columns"))],
    doc="The int64 index along an axis, in the shape of x.",
)


def gather(x: Any, indices: Any, axis: int = 0) -> Tensor:
    """Elements of x at `indices` along `axis`; negative indices count from the end.

    Raises OutOfRangeError for others out of range (on OpenCL when the result is read).

    >>> import tinyml
    >>> tinyml.gather(tinyml.tensor([1.0, 2.0, 3.0]), tinyml.tensor([2, 0])).tolist()
    [3.0, 1.0]
    """
    result: Tensor = apply(GATHER, x, indices, axis=axis)
    return result


@named
def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Elements of x at `indices` along `axis`, which a vector need not name (Array API, take).

    Negative indices count from the end. Raises OutOfRangeError, AxisError.

    >>> import tinyml
    >>> tinyml.take(tinyml.tensor([1.0, 2.0, 3.0]), tinyml.tensor([2, -3])).tolist()
    [3.0, 1.0]
    """
    expect(axis is not None or x.ndim == 1, "an axis, or a vector", x.shape, AxisError)
    return gather(x, indices, 0 if axis is None else axis)


@named
def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Tensor:
    """x at one index per place along `axis`; the other axes of x and `indices` broadcast.

    Raises OutOfRangeError, ShapeError where the numbers of axes differ.

    >>> import tinyml
    >>> x = tinyml.tensor([[3.0, 1.0], [2.0, 4.0]])
    >>> tinyml.take_along_axis(x, tinyml.argsort(x)).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    expect(indices.ndim == x.ndim, f"indices with {x.ndim} axes", indices.shape)
    place = as_axis(axis, x.ndim)
    around = [(*v.shape[:place], 1, *v.shape[place + 1 :]) for v in (x, indices)]
    shape = broadcast_shapes(*around)
    table, where = [
        v.op("expand", shape=(*shape[:place], v.shape[place], *shape[place + 1 :]))
        for v in (x, indices)
    ]
    result: Tensor = apply(TAKE_ALONG, table, where, axis=place)
    return result


def scatter_add(x: Any, indices: Any, updates: Any, axis: int = 0) -> Tensor:
    """x with `updates` added at `indices` along `axis`, in the order of the indices."""
    result: Tensor = apply(SCATTER_ADD, x, indices, updates, axis=axis)
    return result


def scatter(x: Any, indices: Any, updates: Any, axis: int = 0) -> Tensor:
    """x with the elements at `indices` along `axis` replaced by `updates`; the last one wins."""
    result: Tensor = apply(SCATTER, x, indices, updates, axis=axis)
    return result


# ---- x[...]


class Selection:
    """An index in three moves: a slice, new axes, and at most one gather along an axis.

    slices   start, stop, step of every axis of x
    shape    the sliced shape without the axes that an int took, with new axes
    axis, table   where and with what to gather, or None; `joined` axes become one before
    """

    def __init__(self, x: Any, index: Any) -> None:
        items = list(index) if isinstance(index, tuple) else [index]
        items = self._filled(items, x.ndim)
        self.start: list[int] = []
        self.stop: list[int] = []
        self.step: list[int] = []
        self.shape: list[int] = []
        self.arrays: list[tuple[int, Any]] = []
        for item in items:
            if item is None:
                self.shape.append(1)
            else:
                self._take(item, len(self.start), x)

    @staticmethod
    def _filled(items: list[Any], ndim: int) -> list[Any]:
        dots = [k for k, item in enumerate(items) if item is Ellipsis]
        expect(len(dots) <= 1, "at most one ...", len(dots), AxisError)
        count = sum(item is not None and item is not Ellipsis for item in items)
        expect(count <= ndim, f"at most {ndim} indices", count, AxisError)
        fill = [slice(None)] * (ndim - count)
        at = dots[0] if dots else len(items)
        return [*items[:at], *fill, *items[at + 1 :]]

    def _take(self, item: Any, axis: int, x: Any) -> None:
        size = x.shape[axis]
        if isinstance(item, slice):
            try:
                start, stop, step = item.indices(size)
            except (TypeError, ValueError) as error:
                raise ArgumentTypeError(f"slice {item}: {error}") from None
            count = len(range(start, stop, step))
            self.shape.append(count)
        elif isinstance(item, (Data, np.ndarray, list)):
            start, stop, step = 0, size, 1
            self.arrays.append((len(self.shape), _integers(item, x)))
            self.shape.append(size)
        else:
            start = _one_index(item, size, axis)
            stop, step = start + 1, 1
        self.start.append(start)
        self.stop.append(stop)
        self.step.append(step)

    @property
    def whole(self) -> bool:
        """Whether no array is among the indices."""
        return not self.arrays

    def slices(self) -> dict[str, tuple[int, ...]]:
        """The attributes of the slice op."""
        return {"start": tuple(self.start), "stop": tuple(self.stop), "step": tuple(self.step)}


def _one_index(item: Any, size: int, axis: int) -> int:
    if isinstance(item, (bool, np.bool_)):
        raise ArgumentTypeError("a bool is not an index here", remedy="use where(...)")
    try:
        place = operator.index(item)
    except TypeError:
        raise ArgumentTypeError(
            f"an index of type {type(item).__name__}",
            remedy="an int, a slice, None, ..., or a tensor of integers",
        ) from None
    expect(-size <= place < size, f"{-size} <= index < {size} on axis {axis}", place,
           OutOfRangeError)
    return place % size


def _integers(item: Any, x: Any) -> Any:
    table = item if isinstance(item, Data) else upload(op_array(item), x.device)
    if table.spec.dtype is bool_:
        raise DTypeError("a tensor of bool as an index", remedy="where(mask, x, other)")
    expect(table.spec.dtype.is_integer, "integer indices", table.spec.dtype.name, DTypeError)
    return table


def _joined(chosen: Selection, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int, Any]:
    """Neighbouring indexed axes as one: the shape, the axis and the indices into it."""
    first, table = chosen.arrays[0]
    axes = [axis for axis, _ in chosen.arrays]
    expect(axes == list(range(first, first + len(axes))), "index arrays on neighbouring axes",
           axes, AxisError, remedy="permute_dims first")
    size = shape[first]
    for axis, other in chosen.arrays[1:]:
        table = _wrapped(table, size) * shape[axis] + _wrapped(other, shape[axis])
        size *= shape[axis]
    return (*shape[:first], size, *shape[first + len(axes) :]), first, table


def _wrapped(table: Any, size: int) -> Any:
    """Indices counted from the front and checked, since joined axes would hide an overrun."""
    numbers = upload(np.arange(size), table.device)
    return apply(GATHER, numbers, astype(table, int64), axis=0)


def getitem(x: Any, index: Any) -> Tensor:
    """x[index]: ints, slices, None and ... are views; integer tensors on neighbouring axes gather.

    Raises OutOfRangeError, AxisError, ArgumentTypeError.
    """
    chosen = Selection(x, index)
    part = x
    if chosen.slices() != _everything(x.shape):
        part = apply(SLICE, x, **chosen.slices())
    shape = tuple(chosen.shape)
    if chosen.whole:
        result: Tensor = part if part.shape == shape else part.reshape(shape)
        return result
    joined, axis, table = _joined(chosen, shape)
    result = apply(GATHER, part.reshape(joined), table, axis=axis)
    return result


def _everything(shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    zeros, ones = (0,) * len(shape), (1,) * len(shape)
    return {"start": zeros, "stop": shape, "step": ones}


def setitem(x: Any, index: Any, value: Any, add: bool = False) -> Tensor:
    """x with x[index] replaced by `value`, which broadcasts; with `add`, increased by it."""
    chosen = Selection(x, index)
    shape = tuple(chosen.shape)
    values = value if isinstance(value, Data) else upload(
        op_array(value, x.dtype), x.device, None if isinstance(value, np.ndarray) else x.dtype)
    values = astype(values, x.dtype)
    if chosen.whole:
        inner = _slice_shape(chosen)
        values = values.broadcast_to(shape).reshape(inner)
        if add:
            values = apply(SLICE, x, **chosen.slices()) + values
        result: Tensor = apply(SLICE_SET, x, values, **chosen.slices())
        return result
    part = apply(SLICE, x, **chosen.slices())
    joined, axis, table = _joined(chosen, shape)
    values = values.broadcast_to((*joined[:axis], *table.shape, *joined[axis + 1 :]))
    op = SCATTER_ADD if add else SCATTER
    new = apply(op, part.reshape(joined), table, values, axis=axis)
    return setitem(x, _basic(chosen), new.reshape(_slice_shape(chosen)))


def _slice_shape(chosen: Selection) -> tuple[int, ...]:
    return tuple([len(range(a, b, s)) for a, b, s in zip(chosen.start, chosen.stop, chosen.step)])


def _basic(chosen: Selection) -> tuple[slice, ...]:
    """The slices of an index, without its arrays and without dropping axes."""
    return tuple([
        slice(a, b if b >= 0 else None, s)
        for a, b, s in zip(chosen.start, chosen.stop, chosen.step)
    ])

