"""The kernel of a concatenation of many tensors: one copy after another, each to its place.

As one nest it would choose among all operands at every element, and be compiled for each number of
them; the copies of equal layouts share one kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tinyml.ops.concat  # noqa: F401  the kernel of a concatenation of many
import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.node import Tensor
from tinyml.core.plan import nest_of
from tinyml.dtypes import EVERY
from tinyml.errors import ArgumentError, ShapeError, expect
from tinyml.ir.devices import Call, Plan, kernel
from tinyml.ir.nest import Ids, Nest
from tinyml.ir.op import Op, define, find
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.arguments import as_axis, with_shape
from tinyml.ops.calls import named
from tinyml.ops.elementwise.define import meet
from tinyml.ops.samples import ErrorCase
from tinyml.ops.views import _ROW, SLICE, Ints, reshape

__all__ = ["concat"]


# ---- concat and pad


def _concat_normalize(*xs: Spec, axis: Any) -> dict[str, Any]:
    expect(len(xs) > 0, "at least one tensor", "none", ArgumentError)
    return {"axis": as_axis(axis, xs[0].ndim)}


def _concat_infer(*xs: Spec, axis: int) -> Spec:
    first = xs[0]
    for x in xs[1:]:
        expect(x.ndim == first.ndim, f"{first.ndim} axes", f"{x.ndim} in shape {x.shape}")
        same = all(d == axis or n == m for d, (n, m) in enumerate(zip(x.shape, first.shape)))
        expect(same, f"sizes of {first.shape} outside axis {axis}", x.shape)
    shape = list(first.shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    return with_shape(first, tuple(shape), meet(xs))


def _concat_nest(n: Nest, index: Ids, *xs: Any, axis: int) -> int:
    dtype = meet(xs)
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


def _concat_grad(g: Any, _y: Any, *_xs: Any, wanted: tuple[bool, ...], axis: int) -> list[Any]:
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


CONCAT: Op = define(
    "concat", _concat_infer, normalize=_concat_normalize, nest=_concat_nest, grad=_concat_grad,
    samples=samples.concat(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW, _ROW[:, :2]), {"axis": 0}, ShapeError, "outside axis 0")],
    doc="Tensors one behind the other along an axis; dtypes promote.",
)


@named
def concat(arrays: Any, axis: int | None = 0) -> Tensor:
    """Tensors one behind the other along an axis; None flattens them first; dtypes promote.

    >>> import tinyml
    >>> tinyml.concat([tinyml.zeros(2), tinyml.ones(1)]).tolist()
    [0.0, 0.0, 1.0]
    """
    expect(len(arrays) > 0, "at least one tensor", "none", ArgumentError)
    if axis is None:
        return concat([reshape(x, (x.size,)) for x in arrays])
    return apply(CONCAT, *arrays, axis=axis)


CONCAT_WIDTH = 8  # operands of one concat: its kernel has a parameter for each


def one_after_another(rows: Sequence[Any], shape: Ints) -> Any:
    """Many tensors of one shape, one behind the other, in the shape asked for."""
    parts = [reshape(row, (1, *row.shape)) for row in rows]
    while len(parts) > 1:
        parts = [concat(parts[k : k + CONCAT_WIDTH]) if k + 1 < len(parts) else parts[k]
                 for k in range(0, len(parts), CONCAT_WIDTH)]
    return reshape(parts[0], shape)

MANY = 8  # operands of one nest at the most


@kernel("concat")
def copies(call: Call) -> Plan | None:
    """A copy for each operand where there are many; packed ones, which share bytes, are a nest."""
    (out,), device, axis = call.outs, call.device, call.attrs["axis"]
    if len(call.ins) <= MANY or out.dtype.is_subbyte:
        return None
    steps = []
    place = 0
    for x in call.ins:
        part = make_spec(x.shape, out.dtype, device, out.strides)
        nest, ins = nest_of(Call(find("cast"), (x,), {"dtype": out.dtype}, (part,), device))
        steps.append((device.prepare(nest, ins, (part,), "concat", into=True),
                      place * out.strides[axis], part))
        place += x.shape[axis]

    def run(*operands: Any) -> Any:
        buffer = device.empty(out.nbytes)
        for (copy, offset, part), x in zip(steps, operands, strict=True):
            copy(x, device.view(buffer, offset, part) if offset else buffer)
        return buffer

    return Plan(run, call.outs, "kernel")
