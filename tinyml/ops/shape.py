"""Views and movement: reshape, permute, slice, expand share memory; concat and pad copy.

In a nest each of them is an index: what a view is to memory, an index is to a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import tinyml.ops.joining  # noqa: F401  the kernel of a concatenation of many
import tinyml.ops.samples as samples
from tinyml.core import apply, full
from tinyml.dtypes import COMPLEX, EVERY, FLOATS, bool_, integer_range
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    AxisError,
    DTypeError,
    ShapeError,
    expect,
)
from tinyml.nest import ZERO, Ids, Nest
from tinyml.op import Op, define
from tinyml.ops.arguments import (
    as_axis,
    as_number,
    as_places,
    as_shape,
    as_sizes,
    broadcast_shapes,
    expanded_strides,
    with_shape,
)
from tinyml.ops.calls import named
from tinyml.ops.elementwise import meet
from tinyml.ops.samples import ErrorCase, Sample
from tinyml.spec import Spec, dense_strides, element_count

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

__all__ = ["broadcast_to", "concat", "permute_dims", "reshape"]

Ints = tuple[int, ...]


def ravel(n: Nest, index: Ids, shape: Ints) -> int:
    """The place of an index in a dense tensor."""
    place = ZERO
    for i, size in zip(index, shape):
        place = n.add(n.mul(place, n.param(size)), i)
    return place


def unravel(n: Nest, place: int, shape: Ints) -> Ids:
    """The index at a place of a dense tensor."""
    index = []
    for size in reversed(shape[1:]):
        extent = n.param(size)
        index.append(ZERO if size == 1 else n.prim("mod", place, extent))
        place = place if size == 1 else n.prim("floordiv", place, extent)
    return (place, *reversed(index)) if shape else ()


# ---- reshape


def _reshape_canon(x: Spec, shape: Any) -> dict[str, Any]:
    wanted = list(as_sizes(shape))
    if -1 in wanted:
        known = element_count([n for n in wanted if n != -1], 1)
        expect(wanted.count(-1) == 1, "one size of -1", tuple(wanted))
        expect(known > 0 and x.size % known == 0, f"sizes that divide {x.size}", tuple(wanted))
        wanted[wanted.index(-1)] = x.size // known
    return {"shape": as_shape(wanted)}


def _reshape_infer(x: Spec, *, shape: Ints) -> Spec:
    expect(element_count(shape, 1) == x.size, f"a shape of {x.size} elements", shape,
           remedy="-1 stands for the size that fits")
    return with_shape(x, shape)


def _reshape_view(x: Spec, *, shape: Ints) -> tuple[Ints, int] | None:
    """Strides of the new shape, where runs of old axes that are one run in memory allow it."""
    if x.contiguous:
        return dense_strides(shape), 0
    old = [(n, s) for n, s in zip(x.shape, x.strides) if n != 1]
    strides = [0] * len(shape)
    new = [d for d, n in enumerate(shape) if n != 1]
    start = 0
    while new:
        take, sizes, have = [new.pop(0)], 0, 1
        want = shape[take[0]]
        while have != want:
            if have < want:
                have *= old[start + sizes][0]
                sizes += 1
            else:
                take.append(new.pop(0))
                want *= shape[take[-1]]
        run = old[start : start + sizes]
        if any(run[j][1] != run[j + 1][0] * run[j + 1][1] for j in range(len(run) - 1)):
            return None
        step = run[-1][1]
        for d in reversed(take):
            strides[d] = step
            step *= shape[d]
        start += sizes
    return tuple(strides), 0


def _reshape_nest(n: Nest, index: Ids, x: Any, *, shape: Ints) -> int:
    kept = [i for i, size in zip(index, shape) if size != 1]
    if [s for s in shape if s != 1] == [s for s in x.shape if s != 1]:
        rest = iter(kept)
        return int(x(tuple([ZERO if size == 1 else next(rest) for size in x.shape])))
    return int(x(unravel(n, ravel(n, index, shape), x.shape)))


_ROW = np.arange(12, dtype=np.float32).reshape(3, 4)

RESHAPE: Op = define(
    "reshape", _reshape_infer, canon=_reshape_canon, view=_reshape_view, nest=_reshape_nest,
    grad=(lambda g, _y, _x, shape: apply(RESHAPE, g, shape=_x.shape),),
    samples=samples.reshape(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW,), {"shape": (5,)}, ShapeError, "12 elements"),
                    ErrorCase((_ROW,), {"shape": (-1, -1)}, ShapeError, "one size of -1")],
    doc="The same elements in row-major order under another shape.",
)

# ---- permute_dims


def _permute_canon(x: Spec, axes: Any) -> dict[str, Any]:
    order = tuple([as_axis(a, x.ndim) for a in as_sizes(axes, "axes")])
    expect(sorted(order) == list(range(x.ndim)), f"each of {x.ndim} axes once", order, AxisError)
    return {"axes": order}


def _inverse(axes: Ints) -> Ints:
    return tuple(sorted(range(len(axes)), key=lambda d: axes[d]))


PERMUTE: Op = define(
    "permute_dims", lambda x, axes: with_shape(x, tuple([x.shape[a] for a in axes])),
    canon=_permute_canon,
    view=lambda x, axes: (tuple([x.strides[a] for a in axes]), 0),
    nest=lambda n, index, x, axes: x(tuple([index[d] for d in _inverse(axes)])),
    grad=(lambda g, _y, _x, axes: apply(PERMUTE, g, axes=_inverse(axes)),),
    samples=samples.permute_dims(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW,), {"axes": (0, 0)}, AxisError, "each of 2 axes once")],
    doc="Axes in another order: result.shape[d] is x.shape[axes[d]].",
)

# ---- expand


def _expand_infer(x: Spec, *, shape: Ints) -> Spec:
    fits = len(shape) >= x.ndim and broadcast_shapes(x.shape, shape) == shape
    expect(fits, f"{x.shape} broadcasts to {shape}", "it does not")
    return with_shape(x, shape)


def _expand_nest(n: Nest, index: Ids, x: Any, *, shape: Ints) -> int:
    own = index[len(shape) - x.ndim :]
    return int(x(tuple([ZERO if size == 1 else i for i, size in zip(own, x.shape)])))


def _expand_grad(g: Any, _y: Any, _x: Any, shape: Ints) -> Any:
    """The sum over every axis that was stretched."""
    lead = len(shape) - _x.ndim
    axes = [d for d, n in enumerate(shape) if d < lead or _x.shape[d - lead] != n]
    total = g.op("sum", axis=tuple(axes), keepdims=False) if axes else g
    return apply(RESHAPE, total, shape=_x.shape)


EXPAND: Op = define(
    "expand", _expand_infer, canon=lambda x, shape: {"shape": as_shape(shape)},
    view=lambda x, shape: (expanded_strides(x, shape), 0), nest=_expand_nest,
    grad=(_expand_grad,), samples=samples.expand(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW,), {"shape": (3, 5)}, ShapeError, "do not broadcast")],
    doc="x repeated along new axes and axes of size 1, without copying.",
)

# ---- slice


def slice_shape(start: Ints, stop: Ints, step: Ints) -> Ints:
    """The shape of a slice given as `slice.indices` gives it."""
    return tuple([len(range(a, b, s)) for a, b, s in zip(start, stop, step)])


def _slice_canon(*_: Spec, start: Any, stop: Any, step: Any, **attrs: Any) -> dict[str, Any]:
    return {**attrs, "start": as_places(start, "start"), "stop": as_places(stop, "stop"),
            "step": as_places(step, "step")}


def _slice_infer(x: Spec, *, start: Ints, stop: Ints, step: Ints) -> Spec:
    expect(len(start) == len(stop) == len(step) == x.ndim, f"{x.ndim} starts, stops and steps",
           (start, stop, step), ArgumentError)
    expect(0 not in step, "steps are not 0", step, ArgumentError)
    shape = slice_shape(start, stop, step)
    for n, a, s, count in zip(x.shape, start, step, shape):
        inside = count == 0 or (0 <= a < n and 0 <= a + (count - 1) * s < n)
        expect(inside, f"a slice inside of {x.shape}", (start, stop, step), ArgumentError)
    return with_shape(x, shape)


def _slice_view(x: Spec, *, start: Ints, stop: Ints, step: Ints) -> tuple[Ints, int]:
    shape = slice_shape(start, stop, step)
    offset = sum(a * s for a, s in zip(start, x.strides)) if 0 not in shape else 0
    return tuple([s * k for s, k in zip(x.strides, step)]), offset


def _slice_nest(n: Nest, index: Ids, x: Any, *, start: Ints, stop: Ints, step: Ints) -> int:
    return int(x(tuple([
        n.add(n.param(a), n.mul(n.param(s), i)) for i, a, s in zip(index, start, step)
    ])))


SLICE: Op = define(
    "slice", _slice_infer, canon=_slice_canon, view=_slice_view, nest=_slice_nest,
    grad=(lambda g, _y, _x, start, stop, step: apply(
        UNSLICE, g, shape=_x.shape, start=start, stop=stop, step=step),),
    samples=samples.slices(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW,), {"start": (0, 0), "stop": (4, 4), "step": (1, 1)},
                              ArgumentError, "a slice inside")],
    doc="Elements start, start + step, ... before stop, along each axis, without copying.",
)


def place_in_slice(n: Nest, index: Ids, start: Ints, stop: Ints, step: Ints,
                   shape: Ints) -> tuple[Ids, int | None]:
    """The index into the slice for an index into the whole, and whether there is one."""
    inner = []
    guard: int | None = None
    counts = slice_shape(start, stop, step)
    for i, a, s, count, size in zip(index, start, step, counts, shape):
        if a == 0 and s == 1 and count == size:
            inner.append(i)
            continue
        off = n.sub(i, n.param(a))
        if s != 1:
            stride = n.param(s)
            exact = n.prim("equal", n.prim("mod", off, stride), ZERO, dtype=bool_)
            guard = n.both(guard, exact)
            off = n.prim("floordiv", off, stride)
        guard = n.both(guard, n.inside(off, count))
        inner.append(off)
    return tuple(inner), guard


def _unslice_infer(g: Spec, *, shape: Ints, start: Ints, stop: Ints, step: Ints) -> Spec:
    whole = with_shape(g, shape)
    part = _slice_infer(whole, start=start, stop=stop, step=step).shape
    expect(g.shape == part, f"g of shape {part}", g.shape)
    return whole


def _unslice_nest(n: Nest, index: Ids, g: Any, *, shape: Ints, start: Ints, stop: Ints,
                  step: Ints) -> int:
    inner, guard = place_in_slice(n, index, start, stop, step, shape)
    return int(g(inner, guard, n.const(0, g.dtype)))


def _unslice_samples(dtype: str) -> list[Sample]:
    return [
        s._replace(
            args=(samples.spread(dtype, slice_shape(*s.attrs.values()), -3, 3, seed="g"),),
            attrs={"shape": s.args[0].shape, **s.attrs},
        )
        for s in samples.slices()(dtype) if s.args[0].flags.c_contiguous
    ]


UNSLICE: Op = define(
    "unslice", _unslice_infer, nest=_unslice_nest,
    canon=lambda g, shape, **places: _slice_canon(g, shape=as_shape(shape), **places),
    grad=(lambda h, _y, _g, shape, start, stop, step: apply(
        SLICE, h, start=start, stop=stop, step=step),),
    samples=_unslice_samples, dtypes=(*FLOATS, *COMPLEX),
    doc="Zeros of a shape with g in a slice of them: slice's gradient.",
    errors=lambda: [ErrorCase((_ROW,), {"shape": (9, 9), "start": (0, 0), "stop": (3, 3),
                                        "step": (1, 1)}, ShapeError, r"g of shape \(3, 3\)")],
)


def _slice_set_infer(x: Spec, v: Spec, *, start: Ints, stop: Ints, step: Ints) -> Spec:
    inner = _slice_infer(x, start=start, stop=stop, step=step)
    expect(inner.shape == v.shape, f"values of shape {inner.shape}", v.shape)
    expect(x.dtype is v.dtype, f"values of {x.dtype.name}", v.dtype.name, DTypeError)
    return with_shape(x, x.shape)


def _slice_set_nest(n: Nest, index: Ids, x: Any, v: Any, *, start: Ints, stop: Ints,
                    step: Ints) -> int:
    inner, guard = place_in_slice(n, index, start, stop, step, x.shape)
    return int(v(inner) if guard is None else v(inner, guard, x(index)))


SLICE_SET: Op = define(
    "slice_set", _slice_set_infer, canon=_slice_canon, nest=_slice_set_nest,
    grad=(lambda g, _y, _x, _v, start, stop, step: apply(
              SLICE_SET, g, zeros_of(_v), start=start, stop=stop, step=step),
          lambda g, _y, _x, _v, start, stop, step: apply(
              SLICE, g, start=start, stop=stop, step=step)),
    samples=samples.slice_set(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW, _ROW), {"start": (0, 0), "stop": (1, 4), "step": (1, 1)},
                              ShapeError, r"values of shape \(1, 4\)")],
    doc="x with the elements of a slice replaced by v.",
)


def zeros_of(x: Any) -> Any:
    """Zeros of a tensor's shape, dtype and device."""
    return full(x.shape, 0, x.dtype, x.device)


# ---- concat and pad


def _concat_canon(*xs: Spec, axis: Any) -> dict[str, Any]:
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
    begin, parts = 0, []
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
    "concat", _concat_infer, canon=_concat_canon, nest=_concat_nest, grad=_concat_grad,
    samples=samples.concat(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW, _ROW[:, :2]), {"axis": 0}, ShapeError, "outside axis 0")],
    doc="Tensors one behind the other along an axis; dtypes promote.",
)


def _pad_canon(x: Spec, *, before: Any, after: Any, value: Any) -> dict[str, Any]:
    number = as_number(value, "value")
    if x.dtype.is_integer:
        low, high = integer_range(x.dtype)
        expect(low <= number <= high, f"a value that {x.dtype.name} holds, {low} to {high}",
               number, ArgumentError)
    return {"before": as_places(before, "before"), "after": as_places(after, "after"),
            "value": number}


def _pad_infer(x: Spec, *, before: Ints, after: Ints, value: float) -> Spec:
    expect(len(before) == len(after) == x.ndim, f"{x.ndim} widths", (before, after))
    expect(min((*before, *after), default=0) >= 0, "widths are not negative", (before, after))
    return with_shape(x, tuple([b + n + a for b, n, a in zip(before, x.shape, after)]))


def _pad_nest(n: Nest, index: Ids, x: Any, *, before: Ints, after: Ints, value: float) -> int:
    stop = tuple([b + size for b, size in zip(before, x.shape)])
    whole = tuple([b + size + a for b, size, a in zip(before, x.shape, after)])
    inner, guard = place_in_slice(n, index, before, stop, (1,) * x.ndim, whole)
    return int(x(inner, guard, n.const(value, x.dtype)))


PAD: Op = define(
    "pad", _pad_infer, canon=_pad_canon, nest=_pad_nest,
    grad=(lambda g, _y, _x, before, after, value: apply(
        SLICE, g, start=before, stop=tuple([b + n for b, n in zip(before, _x.shape)]),
        step=(1,) * g.ndim),),
    samples=samples.pad(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW,), {"before": (1, -1), "after": (0, 0), "value": 0.0},
                              ShapeError, "not negative"),
                    ErrorCase((_ROW,), {"before": (1, 1), "after": (0, 0), "value": "x"},
                              ArgumentTypeError, "value is 'x'")],
    doc="x with a border of one value, of given widths before and after each axis.",
)


# ---- public functions


def reshape(x: Any, shape: Any, copy: bool | None = None) -> Tensor:
    """The same elements in row-major order under another shape; -1 is the size that fits.

    `copy` True always copies, False raises ArgumentError where strides demand a copy.

    >>> import tinyml
    >>> tinyml.reshape(tinyml.arange(6), (2, -1)).shape
    (2, 3)
    """
    result: Tensor = apply(RESHAPE, x, shape=shape)
    if copy is False:
        expect(_reshape_view(x.spec, shape=result.shape) is not None, "strides that need no copy",
               x.spec.strides, ArgumentError, remedy="copy=None")
    return result.copy() if copy else result


def permute_dims(x: Any, axes: Any) -> Tensor:
    """Axes in another order, without copying: result.shape[d] is x.shape[axes[d]]."""
    result: Tensor = apply(PERMUTE, x, axes=axes)
    return result


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """x repeated along new axes and axes of size 1, without copying."""
    result: Tensor = apply(EXPAND, x, shape=shape)
    return result


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
    result: Tensor = apply(CONCAT, *arrays, axis=axis)
    return result


CONCAT_WIDTH = 8  # operands of one concat: its kernel has a parameter for each


def one_after_another(rows: Sequence[Any], shape: Ints) -> Any:
    """Many tensors of one shape, one behind the other, in the shape asked for."""
    parts = [reshape(row, (1, *row.shape)) for row in rows]
    while len(parts) > 1:
        parts = [concat(parts[k : k + CONCAT_WIDTH]) if k + 1 < len(parts) else parts[k]
                 for k in range(0, len(parts), CONCAT_WIDTH)]
    return reshape(parts[0], shape)


@named
def pad(x: Any, before: Any, after: Any, value: float = 0.0) -> Tensor:
    """x with a border of `value`: widths `before` and `after` each axis (an int for all)."""
    ndim = x.ndim
    widths = [as_sizes(w) * (ndim if not hasattr(w, "__len__") else 1) for w in (before, after)]
    result: Tensor = apply(PAD, x, before=widths[0], after=widths[1], value=value)
    return result
