"""Concatenation: tensors joined along an axis.

A few operands are joined by one nest, which chooses among them at each element. Many are joined by
several launches of such nests, each writing its part of the result: a single nest would be slow to
choose, and would be compiled anew for each number of operands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply, full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.plan import Implicit, nest_of
from tinyml.dtypes import EVERY
from tinyml.errors import ArgumentError, ShapeError, expect
from tinyml.ir.devices import Call, Plan, kernel
from tinyml.ir.lower import NotOneNest
from tinyml.ir.nest import Ids, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.arguments import as_axis, with_shape
from tinyml.ops.elementwise.define import meet
from tinyml.ops.samples import ErrorCase
from tinyml.ops.views import SLICE, Ints, reshape

__all__ = ["concat"]

MANY = 8  # the most operands of one nest
SMALL = 1024  # elements of an operand; up to here, choosing among MANY is faster than a launch


def _normalize(*xs: Spec, axis: Any) -> dict[str, Any]:
    expect(len(xs) > 0, "at least one tensor", "none", ArgumentError)
    return {"axis": as_axis(axis, xs[0].ndim)}


def _infer(*xs: Spec, axis: int) -> Spec:
    first = xs[0]
    for x in xs[1:]:
        expect(x.ndim == first.ndim, f"{first.ndim} axes", f"{x.ndim} in shape {x.shape}")
        same = all(d == axis or n == m for d, (n, m) in enumerate(zip(x.shape, first.shape)))
        expect(same, f"sizes of {first.shape} outside axis {axis}", x.shape)
    shape = list(first.shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    return with_shape(first, tuple(shape), meet(xs))


def _nest(n: Nest, index: Ids, *xs: Any, axis: int) -> int:
    dtype = meet(xs)
    if _by_launches(len(xs), dtype):
        raise NotOneNest
    value = n.const(0, dtype)
    start = 0
    for x in xs:
        place = n.sub(index[axis], n.param(start))
        inner = (*index[:axis], place, *index[axis + 1 :])
        guard = n.inside(place, x.shape[axis])
        part = n.cast(x(inner, guard, n.const(0, x.dtype)), dtype)
        value = n.select(guard, part, value)
        start += x.shape[axis]
    return value


def _grad(g: Any, _y: Any, *_xs: Any, wanted: tuple[bool, ...], axis: int) -> list[Any]:
    begin = 0
    parts: list[Any] = []
    start, stop = [0] * g.ndim, list(g.shape)
    for x, want in zip(_xs, wanted):
        start[axis], stop[axis] = begin, begin + x.shape[axis]
        begin += x.shape[axis]
        if want:
            part = apply(SLICE, g, start=tuple(start), stop=tuple(stop), step=(1,) * g.ndim)
            parts.append(part.astype(x.dtype))
        else:
            parts.append(None)
    return parts


_X = np.ones((3, 4), np.float32)

CONCAT: Op = define(
    "concat", _infer, normalize=_normalize, nest=_nest, grad=_grad,
    samples=samples.concat(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_X, _X[:, :2]), {"axis": 0}, ShapeError, "outside axis 0")],
    doc="Tensors joined along an axis; dtypes promote.",
)


# ---- many operands


def _by_launches(count: int, dtype: Any) -> bool:
    """Return whether to join `count` operands launch by launch; packed elements share bytes."""
    return count > MANY and not dtype.is_subbyte


def _groups(xs: tuple[Spec, ...], dtype: Any) -> Iterator[tuple[Spec, ...]]:
    """Yield the operands of each launch: MANY small ones that are alike, or one."""
    k = 0
    while k < len(xs):
        x, run = xs[k], xs[k : k + MANY]
        alike = len(run) == MANY and all(y is x for y in run)
        group = run if alike and x.size <= SMALL and x.dtype is dtype else run[:1]
        k += len(group)
        yield group


@kernel("concat")
def join_many(call: Call) -> Plan | None:
    """Join many operands, one launch for each group of them; equal groups share one kernel."""
    (out,), device, axis = call.outs, call.device, call.attrs["axis"]
    if not _by_launches(len(call.ins), out.dtype):
        return None
    launches = []
    known: dict[Any, Any] = {}
    first = place = 0
    for group in _groups(call.ins, out.dtype):
        x, count = group[0], len(group)
        shape = (*x.shape[:axis], x.shape[axis] * count, *x.shape[axis + 1 :])
        part = make_spec(shape, out.dtype, device, out.strides)
        if (x, count) not in known:
            op, attrs = ((CONCAT, {"axis": axis}) if count > 1
                         else (Implicit.cast, {"dtype": out.dtype}))
            nest, ins = nest_of(Call(op, group, attrs, (part,), device))
            known[x, count] = device.prepare(nest, ins, (part,), "concat", into=True)
        launches.append((known[x, count], slice(first, first + count), place * out.strides[axis],
                         part))
        first, place = first + count, place + shape[axis]

    def run(*operands: Any) -> Any:
        buffer = device.empty(out.nbytes)
        for launch, which, offset, part in launches:
            launch(*operands[which], device.view(buffer, offset, part) if offset else buffer)
        return buffer

    return Plan(run, call.outs, "kernel")


# ---- public functions


@named_in_errors
def concat(arrays: Any, axis: int | None = 0) -> Tensor:
    """Join tensors along an axis; None flattens them first; dtypes promote.

    The other sizes must agree. Raises ShapeError, AxisError, and ArgumentError if there are no
    tensors.

    >>> import tinyml
    >>> tinyml.concat([tinyml.zeros(2), tinyml.ones(1)]).tolist()
    [0.0, 0.0, 1.0]
    """
    expect(len(arrays) > 0, "at least one tensor", "none", ArgumentError)
    if axis is None:
        return concat([reshape(x, (x.size,)) for x in arrays])
    return apply(CONCAT, *arrays, axis=axis)


def concat_rows(rows: Sequence[Any], shape: Ints, dtype: Any, device: Any) -> Tensor:
    """Join tensors of one shape in row-major order into one tensor of shape `shape`."""
    if not rows:
        return full(shape, 0, dtype, device)
    return reshape(concat(rows if rows[0].ndim else [reshape(row, (1,)) for row in rows]), shape)
