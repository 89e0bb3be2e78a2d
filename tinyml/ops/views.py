"""Views: reshape, permute, expand and slice, which share memory; and the inverses of a slice.

In memory, each view is other strides; in a nest, another index.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply, full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.plan import Implicit
from tinyml.dtypes import COMPLEX, EVERY, FLOATS, bool_
from tinyml.errors import ArgumentError, AxisError, DTypeError, ShapeError, expect
from tinyml.ir.nest import ZERO, Ids, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec, dense_strides, element_count
from tinyml.ops.arguments import (
    as_axis,
    as_places,
    as_shape,
    as_sizes,
    broadcast_shapes,
    expanded_strides,
    with_shape,
)
from tinyml.ops.samples import ErrorCase, Sample

__all__ = ["broadcast_to", "permute_dims", "reshape"]

Ints = tuple[int, ...]


def ravel(n: Nest, index: Ids, shape: Ints) -> int:
    """Return the flat position of an index in a dense tensor."""
    place = ZERO
    for i, size in zip(index, shape):
        place = n.add(n.mul(place, n.param(size)), i)
    return place


def unravel(n: Nest, place: int, shape: Ints) -> Ids:
    """Return the index at a flat position of a dense tensor."""
    index = []
    for size in reversed(shape[1:]):
        extent = n.param(size)
        index.append(ZERO if size == 1 else n.prim("mod", place, extent))
        place = place if size == 1 else n.prim("floordiv", place, extent)
    return (place, *reversed(index)) if shape else ()


# ---- reshape


def _reshape_normalize(x: Spec, shape: Any) -> dict[str, Any]:
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
    """Return strides for the new shape if its axes only split or join contiguous axes."""
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
    "reshape", _reshape_infer, normalize=_reshape_normalize, view=_reshape_view, nest=_reshape_nest,
    grad=(lambda g, _y, _x, shape: apply(RESHAPE, g, shape=_x.shape),),
    samples=samples.reshape(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW,), {"shape": (5,)}, ShapeError, "12 elements"),
                    ErrorCase((_ROW,), {"shape": (-1, -1)}, ShapeError, "one size of -1")],
    doc="The same elements in row-major order in another shape.",
)

# ---- permute_dims


def _permute_normalize(x: Spec, axes: Any) -> dict[str, Any]:
    order = tuple([as_axis(a, x.ndim) for a in as_sizes(axes, "axes")])
    expect(sorted(order) == list(range(x.ndim)), f"each of {x.ndim} axes once", order, AxisError)
    return {"axes": order}


def _inverse(axes: Ints) -> Ints:
    return tuple(sorted(range(len(axes)), key=lambda d: axes[d]))


PERMUTE: Op = define(
    "permute_dims", lambda x, axes: with_shape(x, tuple([x.shape[a] for a in axes])),
    normalize=_permute_normalize,
    view=lambda x, axes: (tuple([x.strides[a] for a in axes]), 0),
    nest=lambda n, index, x, axes: x(tuple([index[d] for d in _inverse(axes)])),
    grad=(lambda g, _y, _x, axes: apply(PERMUTE, g, axes=_inverse(axes)),),
    samples=samples.permute_dims(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW,), {"axes": (0, 0)}, AxisError, "each of 2 axes once")],
    doc="x with its axes in another order: result.shape[d] is x.shape[axes[d]].",
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
    """Return g summed over every axis that was expanded."""
    lead = len(shape) - _x.ndim
    axes = [d for d, n in enumerate(shape) if d < lead or _x.shape[d - lead] != n]
    total = g.sum(tuple(axes)) if axes else g
    return apply(RESHAPE, total, shape=_x.shape)


EXPAND: Op = define(
    "expand", _expand_infer, normalize=lambda x, shape: {"shape": as_shape(shape)},
    view=lambda x, shape: (expanded_strides(x, shape), 0), nest=_expand_nest,
    grad=(_expand_grad,), samples=samples.expand(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW,), {"shape": (3, 5)}, ShapeError, "do not broadcast")],
    doc="x repeated along new axes and axes of size 1, without copying.",
)

Implicit.expand = EXPAND

# ---- slice


def slice_shape(start: Ints, stop: Ints, step: Ints) -> Ints:
    """Return the shape of a slice given in the form of `slice.indices`."""
    return tuple([len(range(a, b, s)) for a, b, s in zip(start, stop, step)])


def _slice_normalize(*_: Spec, start: Any, stop: Any, step: Any, **attrs: Any) -> dict[str, Any]:
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
    "slice", _slice_infer, normalize=_slice_normalize, view=_slice_view, nest=_slice_nest,
    grad=(lambda g, _y, _x, start, stop, step: apply(
        UNSLICE, g, shape=_x.shape, start=start, stop=stop, step=step),),
    samples=samples.slices(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_ROW,), {"start": (0, 0), "stop": (4, 4), "step": (1, 1)},
                              ArgumentError, "a slice inside")],
    doc="Elements start, start + step, ... before stop, along each axis, without copying.",
)


def place_in_slice(n: Nest, index: Ids, start: Ints, stop: Ints, step: Ints,
                   shape: Ints) -> tuple[Ids, int | None]:
    """Return the index into a slice for an index into the whole, and whether it is inside."""
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
    normalize=lambda g, shape, **places: _slice_normalize(g, shape=as_shape(shape), **places),
    grad=(lambda h, _y, _g, shape, start, stop, step: apply(
        SLICE, h, start=start, stop=stop, step=step),),
    samples=_unslice_samples, dtypes=(*FLOATS, *COMPLEX),
    doc="Zeros of a shape, with g in a slice of them: slice's gradient.",
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
    "slice_set", _slice_set_infer, normalize=_slice_normalize, nest=_slice_set_nest,
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
    """Return zeros with a tensor's shape, dtype and device."""
    return full(x.shape, 0, x.dtype, x.device)


# ---- public functions


def reshape(x: Any, shape: Any, copy: bool | None = None) -> Tensor:
    """Return the same elements in row-major order in another shape; -1 is the size that fits.

    `copy` True always copies, False raises ArgumentError if the strides require a copy.

    >>> import tinyml
    >>> tinyml.reshape(tinyml.arange(6), (2, -1)).shape
    (2, 3)
    """
    result: Tensor = apply(RESHAPE, x, shape=shape)
    return result if copy is None else _copied(x, result, copy)


@named_in_errors
def _copied(x: Any, result: Tensor, copy: Any) -> Tensor:
    if not copy:
        expect(_reshape_view(x.spec, shape=result.shape) is not None, "strides that need no copy",
               x.spec.strides, ArgumentError, remedy="copy=None")
    return result.copy() if copy else result


def permute_dims(x: Any, axes: Any) -> Tensor:
    """Return x with its axes in another order, without copying: shape[d] is x.shape[axes[d]].

    Raises AxisError unless each axis is named once.
    """
    return apply(PERMUTE, x, axes=axes)


def slice_axis(x: Any, axis: int, start: int, stop: int) -> Tensor:
    """Return x[start:stop] along an axis counted from the front, without copying."""
    start, stop, _ = slice(start, stop).indices(x.shape[axis])
    return apply(SLICE, x, start=tuple([start if d == axis else 0 for d in range(x.ndim)]),
                 stop=tuple([max(start, stop) if d == axis else n for d, n in enumerate(x.shape)]),
                 step=(1,) * x.ndim)


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Return x repeated along new axes and axes of size 1, without copying. Raises ShapeError."""
    return apply(EXPAND, x, shape=shape)
