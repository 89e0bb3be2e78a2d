"""Places: indices in tensors, checked against the axes that they index."""

from __future__ import annotations

from typing import Any

from tinyml.dtypes import int64, integer_range, uint64
from tinyml.errors import AxisError, DTypeError, OutOfRangeError, expect, out_of_range
from tinyml.ir.lower import NotOneNest
from tinyml.ir.nest import Ids, Nest
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import broadcast_shapes, element


def need_integers(*tables: Spec) -> None:
    """Raise DTypeError unless all tables hold integers."""
    for table in tables:
        expect(table.dtype.is_integer, "integer indices", table.dtype.name, DTypeError,
               remedy="cast with .astype('int64')")


def indexed_shape(x: Spec, tables: tuple[Spec, ...], axis: int) -> tuple[int, ...]:
    """Return x's shape with the indexed axes replaced by the tables' shape."""
    need_integers(*tables)
    expect(0 < len(tables) <= x.ndim - axis, f"tables for 1 to {x.ndim - axis} axes from {axis} on",
           len(tables), AxisError)
    inner = broadcast_shapes(*[table.shape for table in tables])
    sizes = x.shape[axis : axis + len(tables)]
    expect(0 not in sizes or 0 in inner, "an axis with elements", x.shape, OutOfRangeError)
    return (*x.shape[:axis], *inner, *x.shape[axis + len(tables) :])


# ---- indices of nothing


def visit(shape: tuple[int, ...], tables: tuple[Any, ...]) -> None:
    """Raise NotOneNest if a nest over an empty shape would not check the indices that there are."""
    if 0 in shape and 0 not in broadcast_shapes(*[table.shape for table in tables]):
        raise NotOneNest


def check_on_host(x: Any, tables: tuple[Any, ...], axis: int) -> None:
    """Raise OutOfRangeError for an index out of range; waits for the tables."""
    for at, table in enumerate(tables, axis):
        size = x.shape[at]
        values = table.numpy().astype((uint64 if table.dtype is uint64 else int64).numpy)
        outside = (values >= size) | (values < 0) & (values < -size)
        if outside.any():
            raise out_of_range(int(values[outside][0]), size, at)


# ---- places


def read_place(n: Nest, table: Any, inner: Ids, shape: tuple[int, ...], axis: int) -> int:
    """Return a checked index from a table that broadcasts to `inner`."""
    value = element(n, table, inner, table.dtype)
    if table.dtype is uint64:  # values beyond int64 are out of range, and must not wrap around
        value = n.prim("minimum", value, n.const(integer_range(int64)[1], uint64))
    return n.check(n.cast(value, int64), shape[axis], axis)


def read_places(n: Nest, tables: tuple[Any, ...], inner: Ids, shape: tuple[int, ...],
                axis: int) -> Ids:
    """Return checked indices along neighbouring axes, one from each table."""
    return tuple([read_place(n, table, inner, shape, axis + k) for k, table in enumerate(tables)])
