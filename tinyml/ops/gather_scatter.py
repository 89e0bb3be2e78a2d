"""Indexing by integer tensors: gather and scatter, and their forms with one index per element.

`gather` and `scatter` take any number of index tables, for as many neighbouring axes; subscript.py
turns a key of `x[...]` into slices and tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply, full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.upload import upload
from tinyml.dtypes import COMPLEX, DTYPES, EVERY, FLOATS, INTEGERS, int64, integer_range, uint64
from tinyml.errors import ArgumentError, AxisError, DTypeError, OutOfRangeError, ShapeError, expect
from tinyml.ir.nest import Ids, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axis, broadcast_shapes, shape_along, with_shape
from tinyml.ops.creation import asarray, index_along
from tinyml.ops.elementwise import astype, conj, isnan, maximum, minimum, remainder, where
from tinyml.ops.places import (
    check_on_host,
    indexed_shape,
    need_integers,
    read_place,
    read_places,
    visit,
)
from tinyml.ops.samples import ErrorCase, Sample
from tinyml.ops.views import broadcast_to, reshape, zeros_of

__all__ = ["gather", "put_along_axis", "scatter", "scatter_add", "take", "take_along_axis"]

NUMBERS = (*FLOATS, *INTEGERS, *COMPLEX)
UNPACKED = tuple([name for name in EVERY if not DTYPES[name].is_subbyte])

_X = np.arange(12, dtype=np.float32).reshape(4, 3)
_TABLE = np.array([0, 3, 3, 1])
_FAR = np.array([0, 4])


def _normalize(x: Spec, *_: Any, axis: Any) -> dict[str, Any]:
    return {"axis": as_axis(axis, x.ndim)}


SCATTER: Op
SCATTER_ADD: Op

# ---- gather


def _gather_on_host(x: Any, *tables: Any, axis: int) -> Any:
    check_on_host(x, tables, axis)
    return full(indexed_shape(x.spec, tables, axis), 0, x.dtype, x.device)


def _gather_infer(x: Spec, *tables: Spec, axis: int) -> Spec:
    return with_shape(x, indexed_shape(x, tables, axis))


def _gather_nest(n: Nest, index: Ids, x: Any, *tables: Any, axis: int) -> int:
    count = len(tables)
    visit((*x.shape[:axis], *x.shape[axis + count :]), tables)
    stop = len(index) - (x.ndim - axis - count)
    places = read_places(n, tables, index[axis:stop], x.shape, axis)
    return int(x((*index[:axis], *places, *index[stop:])))


GATHER: Op = define(
    "gather", _gather_infer, normalize=_normalize, nest=_gather_nest, host_impl=_gather_on_host,
    grad=(lambda g, _y, _x, *tables, axis: apply(
        SCATTER_ADD, zeros_of(_x), g, *tables, axis=axis),),
    samples=samples.gather(), dtypes=EVERY,
    errors=lambda: [
        ErrorCase((_X, _FAR), {"axis": 0}, OutOfRangeError, "index 4 is out of range"),
        ErrorCase((_X, _TABLE, _FAR), {"axis": 0}, ShapeError, "do not broadcast"),
        ErrorCase((_X, np.ones(2, np.float32)), {"axis": 0}, DTypeError, "integer indices"),
        ErrorCase((_X, _TABLE), {"axis": 2}, AxisError, "-2 <= axis < 2"),
        ErrorCase((_X, _TABLE, _TABLE), {"axis": 1}, AxisError, "tables for 1 to 1 axes"),
    ],
    doc="Elements of x at indices along an axis (numpy.take), or along several neighbouring axes "
        "with one table each, which broadcast; negative indices count from the end, and indices "
        "out of range raise.",
)

# ---- scatter


def _scatter_infer(x: Spec, updates: Spec, *tables: Spec, axis: int) -> Spec:
    expect(not x.dtype.is_subbyte, "elements of whole bytes", x.dtype.name, DTypeError)
    wanted = indexed_shape(x, tables, axis)
    expect(updates.shape == wanted, f"updates of shape {wanted}", updates.shape)
    expect(updates.dtype is x.dtype, f"updates of {x.dtype.name}", updates.dtype.name, DTypeError)
    return with_shape(x, x.shape)


def _joining_infer(dtypes: tuple[str, ...]) -> Callable[..., Spec]:
    def infer(x: Spec, updates: Spec, *tables: Spec, axis: int) -> Spec:
        expect(x.dtype.name in dtypes, "numbers", x.dtype.name, DTypeError,
               remedy=f"cast with .astype(...) to one of {', '.join(dtypes)}")
        return _scatter_infer(x, updates, *tables, axis=axis)

    return infer


def _scatter_scatter(mode: str) -> Callable[..., None]:
    """Return the nest: first x itself, then the updates in row-major order of the indices."""

    def scatter(n: Nest, outs: list[int], x: Any, updates: Any, *tables: Any, axis: int) -> None:
        count = len(tables)
        visit((*x.shape[:axis], *x.shape[axis + count :]), tables)
        before = [n.axis(f"i{d}", x.shape[d]) for d in range(axis)]
        after = [n.axis(f"i{d}", x.shape[d]) for d in range(axis + count, x.ndim)]
        here = [n.axis(f"j{d}", x.shape[d]) for d in range(axis, axis + count)]
        whole = (*before, *here, *after)
        n.store(outs[0], x(whole), whole)
        stop = updates.ndim - len(after)
        inner = tuple([n.axis(f"k{d}", n_d) for d, n_d in enumerate(updates.shape[axis:stop])])
        places = read_places(n, tables, inner, x.shape, axis)
        value = updates((*before, *inner, *after))
        n.store(outs[0], value, (*before, *places, *after), mode)

    return scatter


def _scatter_on_host(x: Any, _updates: Any, *tables: Any, axis: int) -> Any:
    check_on_host(x, tables, axis)
    return x


def _winners(updates: Any, tables: tuple[Any, ...], axis: int, sizes: tuple[int, ...]) -> Any:
    """Return which updates were the last at their position; broadcasts to the updates."""
    inner = broadcast_shapes(*[table.shape for table in tables])
    order = reshape(index_along((math.prod(inner),), 0, updates.device), inner)
    nobody = full(sizes, -1, int64, updates.device)
    last = apply(SCATTER, nobody, order, *tables, axis=0)
    won = apply(GATHER, last, *tables, axis=0) == order
    return won.reshape((*inner, *[1] * (updates.ndim - axis - len(inner))))


def _set_update(g: Any, _y: Any, _x: Any, _u: Any, *tables: Any, axis: int) -> Any:
    won = _winners(_u, tables, axis, _x.shape[axis : axis + len(tables)])
    return where(won, apply(GATHER, g, *tables, axis=axis), 0.0)


def _factors(x: Any, u: Any, tables: tuple[Any, ...], axis: int) -> list[Any]:
    """Return, per position, the product of the nonzero factors, and the sum and count of zeros."""

    def joined(op: Op, of: Callable[[Any], Any]) -> Any:
        return apply(op, of(x), of(u), *tables, axis=axis)

    return [joined(SCATTER_MUL, lambda c: where(c == 0, 1.0, c)),
            joined(SCATTER_ADD, lambda c: where(c == 0, c, 0.0)),
            joined(SCATTER_ADD, lambda c: (c == 0).astype(int64))]


def _others(c: Any, product: Any, zero: Any, count: Any) -> Any:
    """Return the product of all factors but c; zeros stay variables, so derivatives are right."""
    one_left = where(count == 2, zero - c, where(count == 1, 1.0, 0.0))
    rest = where(c == 0, one_left, where(count == 1, zero, where(count == 0, 1.0, 0.0)))
    return (product / where(c == 0, 1.0, c) * rest).astype(c.dtype)


def _mul_x(g: Any, _y: Any, x: Any, u: Any, *tables: Any, axis: int) -> Any:
    return g * conj(_others(x, *_factors(x, u, tables, axis)))


def _mul_update(g: Any, _y: Any, x: Any, u: Any, *tables: Any, axis: int) -> Any:
    known = [apply(GATHER, part, *tables, axis=axis) for part in _factors(x, u, tables, axis)]
    return apply(GATHER, g, *tables, axis=axis) * conj(_others(u, *known))


def _shares(g: Any, y: Any, x: Any, u: Any, tables: tuple[Any, ...], axis: int) -> list[Any]:
    """Return the cotangents of x and u; equal extremes share the gradient, and NaN equals NaN."""

    def same(c: Any, best: Any) -> Any:
        return ((c == best) | (isnan(c) & isnan(best))).astype(g.dtype)

    mine, theirs = same(x, y), same(u, apply(GATHER, y, *tables, axis=axis))
    part = g / apply(SCATTER_ADD, mine, theirs, *tables, axis=axis)
    return [part * mine, apply(GATHER, part, *tables, axis=axis) * theirs]


_EXTREME = (
    lambda g, y, x, u, *tables, axis: _shares(g, y, x, u, tables, axis)[0],
    lambda g, y, x, u, *tables, axis: _shares(g, y, x, u, tables, axis)[1],
)
_SCATTER_ERRORS = samples.error_cases(
    ErrorCase((_X, _X[:2], _FAR), {"axis": 0}, OutOfRangeError, "index 4 is out of range"),
    ErrorCase((_X, _X[:2], _TABLE), {"axis": 0}, ShapeError, r"updates of shape \(4, 3\)"),
    ErrorCase((_X, _X[:2] > 0, _FAR), {"axis": 0}, DTypeError, "updates of float32"),
)
# name, word, dtypes, gradient rules for x and for the updates, description
SCATTER, SCATTER_ADD, SCATTER_MUL, SCATTER_MIN, SCATTER_MAX = (
    define(
        name, _scatter_infer if word == "set" else _joining_infer(dtypes), normalize=_normalize,
        grad=grad,
        scatter_nest=_scatter_scatter(word), host_impl=_scatter_on_host,
        samples=samples.scatter(word), dtypes=dtypes, errors=_SCATTER_ERRORS,
        doc=f"x with {what}; indices as in gather.",
    )
    for name, word, dtypes, grad, what in (
        ("scatter", "set", UNPACKED,
         (lambda g, _y, _x, _u, *tables, axis: apply(SCATTER, g, zeros_of(_u), *tables, axis=axis),
          _set_update),
         "the elements at indices along axes replaced by updates; the last one wins"),
        ("scatter_add", "add", NUMBERS,
         (lambda g, _y, _x, _u, *tables, axis: g,
          lambda g, _y, _x, _u, *tables, axis: apply(GATHER, g, *tables, axis=axis)),
         "updates added at indices along axes, in the order of the indices"),
        ("scatter_mul", "mul", NUMBERS, (_mul_x, _mul_update),
         "the elements at indices multiplied by updates, in the order of the indices"),
        ("scatter_min", "minimum", (*FLOATS, *INTEGERS), _EXTREME,
         "the least of each element and its updates; NaN where one is NaN"),
        ("scatter_max", "maximum", (*FLOATS, *INTEGERS), _EXTREME,
         "the greatest of each element and its updates; NaN where one is NaN"),
    )
)


# ---- one index per element


def _take_infer(x: Spec, indices: Spec, *, axis: int) -> Spec:
    need_integers(indices)
    expect(indices.ndim == x.ndim, f"indices with {x.ndim} axes", indices.shape)
    same = all(d == axis or n == m for d, (n, m) in enumerate(zip(x.shape, indices.shape)))
    expect(same, f"indices of shape {x.shape} outside axis {axis}", indices.shape)
    expect(x.shape[axis] != 0 or 0 in indices.shape, "an axis with elements", x.shape,
           OutOfRangeError)
    return with_shape(x, indices.shape)


def _take_nest(n: Nest, index: Ids, x: Any, indices: Any, *, axis: int) -> int:
    place = read_place(n, indices, index, x.shape, axis)
    return int(x((*index[:axis], place, *index[axis + 1 :])))


def _put_infer(x: Spec, indices: Spec, updates: Spec, *, axis: int) -> Spec:
    expect(x.dtype.name in NUMBERS, "numbers", x.dtype.name, DTypeError)
    wanted = _take_infer(x, indices, axis=axis).shape
    expect(updates.shape == wanted, f"updates of shape {wanted}", updates.shape)
    expect(updates.dtype is x.dtype, f"updates of {x.dtype.name}", updates.dtype.name, DTypeError)
    return with_shape(x, x.shape)


def _put_scatter(n: Nest, outs: list[int], x: Any, indices: Any, updates: Any, *,
                 axis: int) -> None:
    row = [n.axis(f"i{d}", size) if d != axis else -1 for d, size in enumerate(x.shape)]

    def at(place: int) -> Ids:
        return tuple([place if d == axis else i for d, i in enumerate(row)])

    j = n.axis("j", x.shape[axis])
    n.store(outs[0], x(at(j)), at(j))
    k = n.axis("k", indices.shape[axis])
    place = read_place(n, indices, at(k), x.shape, axis)
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
    "take_along", _take_infer, normalize=_normalize, nest=_take_nest,
    grad=(lambda g, _y, _x, indices, axis: apply(
        PUT_ALONG, zeros_of(_x), indices, g, axis=axis), None),
    samples=_along, dtypes=EVERY,
    errors=lambda: [ErrorCase((_X, np.array([[3], [0], [0], [0]])), {"axis": 1}, OutOfRangeError,
                              "index 3 is out of range")],
    doc="x at one index per element along an axis (numpy.take_along_axis).",
)
PUT_ALONG: Op = define(
    "put_along", _put_infer, normalize=_normalize, scatter_nest=_put_scatter,
    grad=(lambda g, _y, _x, _i, _u, axis: g, None,
          lambda g, _y, _x, indices, _u, axis: apply(TAKE_ALONG, g, indices, axis=axis)),
    samples=_put_along, dtypes=(*NUMBERS, *COMPLEX),
    errors=lambda: [
        ErrorCase((_X, _TABLE[:, None], _X), {"axis": 1}, ShapeError, r"updates of shape \(4, 1\)"),
        ErrorCase((_X, _TABLE, _TABLE), {"axis": 1}, ShapeError, "indices with 2 axes"),
        ErrorCase((_X, np.full((4, 1), 3), _X[:, :1]), {"axis": 1}, OutOfRangeError,
                  "index 3 is out of range"),
    ],
    doc="x with updates added at one index per element along an axis: take_along's gradient.",
)

# ---- public functions

MODES = {"set": SCATTER, "add": SCATTER_ADD, "mul": SCATTER_MUL, "min": SCATTER_MIN,
         "max": SCATTER_MAX}


def update_op(mode: str) -> Op:
    """Return the op for an update mode; raises ArgumentError for an unknown one."""
    expect(mode in MODES, f"a mode, one of {', '.join(MODES)}", mode, ArgumentError)
    return MODES[mode]


def _bounded(indices: Any, size: int, mode: str) -> Any:
    """Return indices as they are, or brought into range by clipping or wrapping around."""
    expect(mode in ("raise", "clip", "wrap"), "mode 'raise', 'clip' or 'wrap'", mode, ArgumentError)
    if mode == "raise":
        return indices
    need_integers(indices.spec)
    expect(size > 0 or not indices.size, "an axis with elements", size, OutOfRangeError)
    wide = indices if indices.dtype is uint64 else astype(indices, int64)
    if mode == "clip":
        return minimum(maximum(wide, 0), max(size - 1, 0))
    return remainder(wide, max(size, 1))


@named_in_errors
def gather(x: Any, indices: Any, axis: int = 0) -> Tensor:
    """Return elements of x at `indices` along `axis`; negative indices count from the end.

    The shape is x's with the axis replaced by the shape of `indices`. Raises OutOfRangeError for
    indices out of range (on OpenCL when the result is read), DTypeError, AxisError.

    >>> import tinyml
    >>> tinyml.gather(tinyml.tensor([1.0, 2.0, 3.0]), tinyml.tensor([2, 0])).tolist()
    [3.0, 1.0]
    """
    return apply(GATHER, x, indices, axis=axis)


@named_in_errors
def take(x: Any, indices: Any, /, axis: int | None = None, *, mode: str = "raise") -> Tensor:
    """Return elements of x at `indices` along `axis` (Array API standard 2024.12, take).

    The shape is x's with the axis replaced by the shape of `indices`; without an axis, x is
    flattened. Negative indices count from the end. `mode` decides about those out of range: 'raise'
    OutOfRangeError (on OpenCL when the result is read), 'clip' to the nearest end, where negative
    ones become 0, or 'wrap' around. Raises DTypeError for indices that are not integers.

    >>> import tinyml
    >>> tinyml.take(tinyml.tensor([1.0, 2.0, 3.0]), tinyml.tensor([4, -1]), mode="clip").tolist()
    [3.0, 1.0]
    """
    x = asarray(x)
    indices = asarray(indices, device=x.device)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    axis = as_axis(axis, x.ndim)
    return apply(GATHER, x, _bounded(indices, x.shape[axis], mode), axis=axis)


def _fitted(x: Any, indices: Any, axis: int) -> tuple[Any, Any]:
    """Return x and indices, broadcast against each other on every axis but one."""
    expect(indices.ndim == x.ndim, f"indices with {x.ndim} axes", indices.shape)
    rest = [tuple(1 if d == axis else n for d, n in enumerate(t.shape)) for t in (x, indices)]
    wide = broadcast_shapes(*rest)
    return tuple(  # type: ignore[return-value]
        t if rest[k] == wide else broadcast_to(t, (*wide[:axis], t.shape[axis], *wide[axis + 1 :]))
        for k, t in enumerate((x, indices)))


@named_in_errors
def take_along_axis(x: Any, indices: Any, /, *, axis: int | None = -1,
                    mode: str = "raise") -> Tensor:
    """Return one element of x per element of `indices`, along `axis` (standard 2024.12).

    `indices` has as many axes as x. On all but `axis` the sizes broadcast, and the result has the
    shape of the broadcast indices. With axis None, x is flattened. `mode` is as in `take`. Raises
    ShapeError, AxisError, DTypeError, OutOfRangeError.

    >>> import tinyml
    >>> x = tinyml.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tinyml.take_along_axis(x, tinyml.tensor([[1], [0]])).tolist()
    [[2.0], [3.0]]
    """
    x = asarray(x)
    indices = asarray(indices, device=x.device)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    axis = as_axis(axis, x.ndim)
    x, indices = _fitted(x, _bounded(indices, x.shape[axis], mode), axis)
    return apply(TAKE_ALONG, x, indices, axis=axis)


@named_in_errors
def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1,
                   mode: str = "set") -> Tensor:
    """Return x with `values` put at one index each along `axis`: take_along_axis reversed.

    `indices` broadcast as in take_along_axis, but not to more than x's shape; `values` broadcast to
    them. `mode` is 'set', 'add', 'mul', 'min' or 'max'. Where indices repeat, values apply in
    row-major order; with 'set' the last one wins. x itself does not change. Raises as
    take_along_axis does.

    >>> import tinyml
    >>> x = tinyml.zeros((2, 2))
    >>> tinyml.put_along_axis(x, tinyml.tensor([[1], [0]]), 5.0).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    x = asarray(x)
    op = update_op(mode)
    axis = as_axis(axis, x.ndim)
    wide, indices = _fitted(x, asarray(indices, device=x.device), axis)
    expect(wide.shape == x.shape, f"indices not wider than {x.shape}", indices.shape)
    values = broadcast_to(like(values, x), indices.shape)
    if mode == "add":
        return apply(PUT_ALONG, x, indices, values, axis=axis)
    tables = [indices if d == axis else index_along(shape_along(size, d, x.ndim), d, x.device)
              for d, size in enumerate(x.shape)]
    return apply(op, x, values, *tables, axis=0)


def like(value: Any, x: Any) -> Any:
    """Return a number, array or tensor converted to x's type and device, to be put into x.

    Raises ArgumentError for a Python integer that the type cannot hold, DTypeError if a complex
    number would lose its imaginary part.
    """
    if type(value) is int and x.dtype.is_integer:
        low, high = integer_range(x.dtype)
        expect(low <= value <= high, f"a value that {x.dtype.name} holds, {low} to {high}", value,
               ArgumentError)
    if not isinstance(value, Data):
        value = upload(value, x.device, None if isinstance(value, np.ndarray) else x.dtype)
    expect(value.dtype.kind != "complex" or x.dtype.kind == "complex",
           f"values that {x.dtype.name} holds", value.dtype.name, DTypeError,
           remedy="take .real of them")
    return astype(value, x.dtype)


@named_in_errors
def scatter(x: Any, indices: Any, updates: Any, axis: int = 0, mode: str = "set") -> Tensor:
    """Return x with the elements at `indices` along `axis` replaced; the last update wins.

    With `mode` 'add', 'mul', 'min' or 'max' the updates are combined with the elements, in
    row-major order of the indices. `updates` has the shape of gather(x, indices, axis). Raises
    OutOfRangeError (on OpenCL when the result is read), ShapeError, DTypeError.

    >>> import tinyml
    >>> tinyml.scatter(tinyml.zeros(3), tinyml.tensor([2]), tinyml.tensor([5.0])).tolist()
    [0.0, 0.0, 5.0]
    """
    return apply(update_op(mode), x, updates, indices, axis=axis)


def scatter_add(x: Any, indices: Any, updates: Any, axis: int = 0) -> Tensor:
    """Return x with `updates` added at `indices` along `axis`; see `scatter`."""
    return scatter(x, indices, updates, axis, "add")
