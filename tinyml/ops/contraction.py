"""Contractions: the matrix product, convolution with its two gradients, and max-pooling.

Each is a sum of products over fresh axes of the nest; how it becomes fast is the schedule's matter.
conv2d, conv2d_dx and conv2d_dw are a closed set: each one's gradients are the other two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core import apply
from tinyml.dtypes import COMPLEX, bool_, int64
from tinyml.errors import AxisError, DTypeError, OutOfRangeError, ShapeError, expect
from tinyml.nest import ZERO, Ids, Nest
from tinyml.op import Op, define
from tinyml.ops.arguments import (
    as_axis,
    as_places,
    as_shape,
    as_size,
    as_sizes,
    broadcast_shapes,
    element,
    with_shape,
)
from tinyml.ops.calls import named
from tinyml.ops.elementwise import FLOATS, NUMBERS, conj, meet, operand_dtype
from tinyml.ops.monoids import ARGMAX, ARGMAX_OF_SOME, DOT, least
from tinyml.ops.samples import ErrorCase
from tinyml.ops.shape import Ints, ravel
from tinyml.spec import Spec

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

__all__ = ["conv2d", "matmul", "matrix_transpose", "max_pool2d", "tensordot", "vecdot"]

# ---- matmul


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
    return n.reduce(DOT, over, left, right)[0]


def _transposed(x: Any) -> Any:
    order = list(range(x.ndim))
    order[-2:] = order[-1], order[-2]
    return x.op("permute_dims", axes=tuple(order))


def unbatched(g: Any, x: Any) -> Any:
    """The sum over batch axes along which x was repeated, in x's type."""
    lead = g.ndim - x.ndim
    axes = [d for d in range(g.ndim) if d < lead or x.shape[d - lead] != g.shape[d]]
    if axes:
        g = g.op("sum", axis=tuple(axes), keepdims=False).op("reshape", shape=x.shape)
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


@named
def matmul(x: Any, y: Any) -> Tensor:
    """The matrix product; a vector counts as a row on the left, as a column on the right.

    Raises ShapeError where the inner sizes differ.

    >>> import tinyml
    >>> tinyml.matmul(tinyml.tensor([[1.0, 2.0]]), tinyml.tensor([3.0, 4.0])).tolist()
    [11.0]
    """
    expect(x.ndim > 0 and y.ndim > 0, "at least 1 axis", f"{x.ndim} and {y.ndim}")
    left = x.op("reshape", shape=(1, x.size)) if x.ndim == 1 else x
    right = y.op("reshape", shape=(y.size, 1)) if y.ndim == 1 else y
    result: Tensor = apply(MATMUL, left, right)
    if x.ndim > 1 and y.ndim > 1:
        return result
    rows = left.shape[-2:-1] if x.ndim > 1 else ()
    columns = right.shape[-1:] if y.ndim > 1 else ()
    result = result.op("reshape", shape=(*result.shape[:-2], *rows, *columns))
    return result


def _vecdot_infer(x: Spec, y: Spec) -> Spec:
    expect(x.ndim > 0 and y.ndim > 0, "at least 1 axis", f"{x.ndim} and {y.ndim}")
    expect(x.shape[-1] == y.shape[-1], "vectors of one size", f"{x.shape[-1]} != {y.shape[-1]}")
    batch = broadcast_shapes(x.shape[:-1], y.shape[:-1])
    return with_shape(x, batch, operand_dtype("number", (x, y)))


def _vecdot_body(x: Any, y: Any) -> Any:
    products = conj(x) * y
    return products.op("sum", axis=(products.ndim - 1,), keepdims=False).astype(products.dtype)


VECDOT: Op = define(
    "vecdot", _vecdot_infer, body=_vecdot_body, samples=samples.vecdot(),
    dtypes=(*NUMBERS, *COMPLEX),
    errors=lambda: [ErrorCase((np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)), {},
                              ShapeError, "3 != 4")],
    doc="The sums of products along the last axis, x conjugated; the axes before broadcast.",
)


@named
def vecdot(x1: Any, x2: Any, *, axis: int = -1) -> Tensor:
    """The dot products of vectors along `axis`, x1's conjugated (Array API standard 2024.12).

    The other axes broadcast. Raises ShapeError where the vectors differ in size.

    >>> import tinyml
    >>> tinyml.vecdot(tinyml.tensor([[1, 2], [3, 4]]), tinyml.tensor([1, 1])).tolist()
    [3, 7]
    """
    expect(-min(x1.ndim, x2.ndim) <= axis < 0 or x1.ndim == x2.ndim,
           "an axis counted from the end, that both have", axis, AxisError)
    moved = [x.op("permute_dims", axes=_to_the_end(x.ndim, as_axis(axis, x.ndim)))
             for x in (x1, x2)]
    result: Tensor = apply(VECDOT, *moved)
    return result


def _to_the_end(ndim: int, axis: int) -> Ints:
    return (*[d for d in range(ndim) if d != axis], axis)


@named
def matrix_transpose(x: Any) -> Tensor:
    """The last two axes exchanged, without copying. Raises ShapeError for fewer than 2 axes."""
    result: Tensor = x.mT
    return result


@named
def tensordot(x1: Any, x2: Any, *, axes: Any = 2) -> Tensor:
    """The sums of products over some axes of x1 and as many of x2 (Array API standard 2024.12).

    `axes`: how many, the last of x1 and the first of x2; or two sequences that name them. Raises
    ShapeError where their sizes differ.

    >>> import tinyml
    >>> x = tinyml.reshape(tinyml.arange(6), (2, 3))
    >>> tinyml.tensordot(x, x, axes=((0, 1), (0, 1))).item()
    55
    """
    if isinstance(axes, (tuple, list)):
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
    left = x1.op("permute_dims", axes=(*rows, *ours)).reshape((math.prod(height), inner))
    right = x2.op("permute_dims", axes=(*theirs, *columns)).reshape((inner, math.prod(width)))
    result: Tensor = apply(MATMUL, left, right).op("reshape", shape=(*height, *width))
    return result


# ---- conv2d


def _pair(value: Any) -> tuple[int, int]:
    sizes = as_places(value, "sizes of a window")
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    expect(len(sizes) == 2, "one number or two", sizes)
    return sizes[0], sizes[1]


def _window_canon(*_: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                  **attrs: Any) -> dict[str, Any]:
    window = {"stride": _pair(stride), "padding": _pair(padding), "dilation": _pair(dilation)}
    expect(min(*window["stride"], *window["dilation"]) > 0 and min(window["padding"]) >= 0,
           "positive strides and dilations, paddings not negative", window)
    if "shape" in attrs:
        attrs["shape"] = as_shape(attrs["shape"])
    return {**attrs, **window}


def conv_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """The number of places of a window along an axis.

    >>> conv_size(8, 3, 1, 1, 1)
    8
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv_shape(x: Ints, w: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Ints:
    """The shape of conv2d's result; ShapeError where there is none."""
    expect(len(x) == 4 and len(w) == 4, "x (N, C, H, W) and w (O, C, kH, kW)", (x, w))
    expect(x[1] == w[1], "x.shape[1] == w.shape[1]", f"{x[1]} != {w[1]}")
    sizes = [conv_size(x[2 + d], w[2 + d], stride[d], padding[d], dilation[d]) for d in (0, 1)]
    expect(min(sizes) > 0 and min(w[2:]) > 0, "a window that fits into the padded image", (x, w))
    return (x[0], w[0], *sizes)


def _places(n: Nest, out: tuple[int, int], window: tuple[int, int], stride: Ints, padding: Ints,
            dilation: Ints, shape: Ints) -> tuple[tuple[int, int], int | None]:
    """Where a window's cell lies in the image, and whether it lies inside."""
    places = []
    guard: int | None = None
    for d in (0, 1):
        start = n.mul(out[d], n.param(stride[d]))
        cell = n.mul(window[d], n.param(dilation[d]))
        place = n.sub(n.add(start, cell), n.param(padding[d]))
        if padding[d]:
            guard = n.both(guard, n.inside(place, shape[2 + d]))
        places.append(place)
    return (places[0], places[1]), guard


def _conv_infer(x: Spec, w: Spec, *, stride: Ints, padding: Ints, dilation: Ints) -> Spec:
    dtype = operand_dtype("real", (x, w))
    return with_shape(x, conv_shape(x.shape, w.shape, stride, padding, dilation), dtype)


def _conv_nest(n: Nest, index: Ids, x: Any, w: Any, *, stride: Ints, padding: Ints,
               dilation: Ints) -> int:
    dtype = meet((x, w))
    batch, out, *place = index
    over = n.over(index, w.shape[1:])
    channel, *cell = over
    at, guard = _places(n, (place[0], place[1]), (cell[0], cell[1]), stride, padding, dilation,
                        x.shape)
    image = n.cast(x((batch, channel, *at), guard, n.const(0, x.dtype)), dtype)
    weight = n.cast(w((out, channel, *cell)), dtype)
    return n.reduce(DOT, over, image, weight)[0]


def _conv_dx_infer(g: Spec, w: Spec, *, shape: Ints, stride: Ints, padding: Ints,
                   dilation: Ints) -> Spec:
    wanted = conv_shape(shape, w.shape, stride, padding, dilation)
    expect(g.shape == wanted, f"g of shape {wanted}", g.shape)
    return with_shape(g, shape, operand_dtype("real", (g, w)))


def _conv_dx_nest(n: Nest, index: Ids, g: Any, w: Any, *, shape: Ints, stride: Ints,
                  padding: Ints, dilation: Ints) -> int:
    batch, channel, *place = index
    over = n.over(index, (w.shape[0], *w.shape[2:]))
    out, *cell = over
    at = []
    guard: int | None = None
    for d in (0, 1):
        reach = n.add(place[d], n.param(padding[d]))
        start = n.sub(reach, n.mul(cell[d], n.param(dilation[d])))
        if stride[d] != 1:
            step = n.param(stride[d])
            exact = n.prim("equal", n.prim("mod", start, step), ZERO, dtype=bool_)
            guard = n.both(guard, exact)
            start = n.prim("floordiv", start, step)
        guard = n.both(guard, n.inside(start, g.shape[2 + d]))
        at.append(start)
    dtype = meet((g, w))
    value = n.cast(g((batch, out, *at), guard, n.const(0, g.dtype)), dtype)
    return n.reduce(DOT, over, value, n.cast(w((out, channel, *cell)), dtype))[0]


def _conv_dw_infer(g: Spec, x: Spec, *, shape: Ints, stride: Ints, padding: Ints,
                   dilation: Ints) -> Spec:
    wanted = conv_shape(x.shape, shape, stride, padding, dilation)
    expect(g.shape == wanted, f"g of shape {wanted}", g.shape)
    return with_shape(g, shape, operand_dtype("real", (g, x)))


def _conv_dw_nest(n: Nest, index: Ids, g: Any, x: Any, *, shape: Ints, stride: Ints,
                  padding: Ints, dilation: Ints) -> int:
    out, channel, *cell = index
    over = n.over(index, (g.shape[0], *g.shape[2:]))
    batch, *place = over
    at, guard = _places(n, (place[0], place[1]), (cell[0], cell[1]), stride, padding, dilation,
                        x.shape)
    dtype = meet((g, x))
    image = n.cast(x((batch, channel, *at), guard, n.const(0, x.dtype)), dtype)
    return n.reduce(DOT, over, n.cast(g((batch, out, *place)), dtype), image)[0]


_conv: dict[str, Any] = {"canon": _window_canon, "dtypes": FLOATS}

CONV: Op = define(
    "conv2d", _conv_infer, nest=_conv_nest, **_conv, samples=samples.conv2d(),
    grad=(lambda g, _y, _x, w, **window: apply(
              CONV_DX, g, w, shape=_x.shape, **window).astype(_x.dtype),
          lambda g, _y, x, _w, **window: apply(
              CONV_DW, g, x, shape=_w.shape, **window).astype(_w.dtype)),
    errors=lambda: [ErrorCase(
        (np.ones((1, 2, 4, 4), np.float32), np.ones((1, 3, 3, 3), np.float32)),
        {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}, ShapeError, "2 != 3")],
    doc="Cross-correlation of images (N, C, H, W) with weights (O, C, kH, kW).",
)
CONV_DX: Op = define(
    "conv2d_dx", _conv_dx_infer, nest=_conv_dx_nest, **_conv, samples=samples.conv2d_dx(),
    grad=(lambda h, _y, _g, w, shape, **window: apply(CONV, h, w, **window),
          lambda h, _y, g, _w, shape, **window: apply(CONV_DW, g, h, shape=_w.shape, **window)),
    doc="conv2d's gradient to its images: transposed convolution.",
)
CONV_DW: Op = define(
    "conv2d_dw", _conv_dw_infer, nest=_conv_dw_nest, **_conv, samples=samples.conv2d_dw(),
    grad=(lambda h, _y, _g, x, shape, **window: apply(CONV, x, h, **window),
          lambda h, _y, g, _x, shape, **window: apply(CONV_DX, g, h, shape=_x.shape, **window)),
    doc="conv2d's gradient to its weights.",
)

# ---- max_pool2d


def _pool_canon(_x: Any, *, kernel: Any, stride: Any = None, padding: Any = 0) -> dict[str, Any]:
    window = {"kernel": _pair(kernel), "stride": _pair(kernel if stride is None else stride),
              "padding": _pair(padding)}
    expect(min(*window["kernel"], *window["stride"]) > 0, "positive kernel and stride", window)
    halves = all(0 <= 2 * p <= k for p, k in zip(window["padding"], window["kernel"]))
    expect(halves, "0 <= padding <= kernel / 2", window)
    return window


def _pool_infer(x: Spec, *, kernel: Ints, stride: Ints, padding: Ints) -> tuple[Spec, Spec]:
    expect(x.ndim == 4 and 0 not in x.shape[2:], "x (N, C, H, W) with pixels", x.shape)
    sizes = [conv_size(x.shape[2 + d], kernel[d], stride[d], padding[d], 1) for d in (0, 1)]
    expect(min(sizes) > 0, "a window that fits into the padded image", (x.shape, kernel))
    if x.dtype is bool_:
        raise DTypeError("bool is not accepted", remedy="cast with .astype('uint8')")
    shape = (*x.shape[:2], *sizes)
    return with_shape(x, shape), with_shape(x, shape, int64)


def _pool_nest(n: Nest, index: Ids, x: Any, *, kernel: Ints, stride: Ints,
               padding: Ints) -> Ids:
    batch, channel, *place = index
    over = n.over(index, kernel)
    at, guard = _places(n, (place[0], place[1]), (over[0], over[1]), stride, padding, (1, 1),
                        x.shape)
    value = x((batch, channel, *at), guard, least(n, x.dtype))
    cell = ravel(n, at, x.shape[2:])
    if guard is not None:
        cell = n.select(guard, cell, n.const(-1, int64))
    return n.reduce(ARGMAX if guard is None else ARGMAX_OF_SOME, over, value, cell)


def _plane(n: Nest, x: Any, place: int) -> Ids:
    """Row and column of a checked place in a plane."""
    width = n.param(x.shape[3])
    row = n.prim("floordiv", place, width)
    return row, n.prim("mod", place, width)


def _check_plane_indices(indices: Spec, shape: Ints) -> None:
    expect(indices.dtype is int64, "int64 indices", indices.dtype.name, DTypeError,
           remedy="those that max_pool2d gives")
    fits = len(shape) == indices.ndim == 4 and indices.shape[:2] == shape[:2]
    rule = ", ".join(map(str, (*shape[:2], "H'", "W'")))
    expect(fits, f"indices of shape ({rule}) for images (N, C, H, W)", (indices.shape, shape))


def _pool_dx_infer(g: Spec, indices: Spec, *, shape: Ints) -> Spec:
    _check_plane_indices(indices, shape)
    expect(g.shape == indices.shape, f"g of shape {indices.shape}", g.shape)
    return with_shape(g, shape)


def _pool_take_infer(x: Spec, indices: Spec) -> Spec:
    _check_plane_indices(indices, x.shape)
    return with_shape(x, indices.shape)


def _pool_dx_push(n: Nest, outs: list[int], g: Any, indices: Any, *, shape: Ints) -> None:
    batch, channel = n.axis("i0", shape[0]), n.axis("i1", shape[1])
    j = (n.axis("j0", shape[2]), n.axis("j1", shape[3]))
    n.store(outs[0], n.const(0, g.dtype), (batch, channel, *j))
    k = (n.axis("k0", g.shape[2]), n.axis("k1", g.shape[3]))
    place = n.check(indices((batch, channel, *k)), shape[2] * shape[3])
    width = n.param(shape[3])
    row, column = n.prim("floordiv", place, width), n.prim("mod", place, width)
    n.store(outs[0], g((batch, channel, *k)), (batch, channel, row, column), "add")


def _pool_take_nest(n: Nest, index: Ids, x: Any, indices: Any) -> int:
    place = n.check(indices(index), x.shape[2] * x.shape[3])
    return int(x((*index[:2], *_plane(n, x, place))))


_PIXELS = np.ones((1, 2, 2, 2), np.float32)

MAX_POOL: Op = define(
    "max_pool2d", _pool_infer, canon=_pool_canon, nest=_pool_nest,
    grad=(lambda g, y, _x, **window: apply(MAX_POOL_DX, g[0], y[1], shape=_x.shape),),
    samples=samples.max_pool2d(), dtypes=(*FLOATS, "int32"),
    doc="The greatest element of each window, and its index in the flattened plane; the first of "
        "equals, NaN above all.",
)
MAX_POOL_DX: Op = define(
    "max_pool2d_dx", _pool_dx_infer, push=_pool_dx_push,
    canon=lambda g, indices, shape: {"shape": as_shape(shape)},
    grad=(lambda h, _y, _g, indices, shape: apply(MAX_POOL_TAKE, h, indices), None),
    samples=samples.max_pool2d_dx(),
    errors=lambda: [ErrorCase((_PIXELS, _PIXELS.astype(np.int64)), {"shape": (1, 3, 4, 4)},
                              ShapeError, r"indices of shape \(1, 3")],
    doc="Zeros with g added at the indices of each plane: max_pool2d's gradient.",
)
MAX_POOL_TAKE: Op = define(
    "max_pool2d_take", _pool_take_infer, nest=_pool_take_nest,
    grad=(lambda g, _y, _x, indices: apply(MAX_POOL_DX, g, indices, shape=_x.shape), None),
    samples=samples.max_pool2d_take(), doc="The elements of each plane at the indices.",
    errors=lambda: [ErrorCase((_PIXELS, _PIXELS), {}, DTypeError, "int64 indices"),
                    ErrorCase((_PIXELS, np.full((1, 2, 1, 1), 4)), {}, OutOfRangeError,
                              "index 4 is out of range")],
)


def conv2d(x: Any, w: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Tensor:
    """Cross-correlation of images (N, C, H, W) with weights (O, C, kH, kW); result (N, O, H', W').

    H' = (H + 2 padding - dilation (kH - 1) - 1) // stride + 1. Raises ShapeError where no window
    fits.

    >>> import tinyml
    >>> tinyml.conv2d(tinyml.ones((1, 1, 3, 3)), tinyml.ones((1, 1, 3, 3))).tolist()
    [[[[9.0]]]]
    """
    result: Tensor = apply(CONV, x, w, stride=stride, padding=padding, dilation=dilation)
    return result


def max_pool2d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0) -> tuple[Tensor, Tensor]:
    """The greatest element of each window of images (N, C, H, W), and its index in the plane.

    `stride` None is the kernel's size. The index is int64, into the flattened H*W plane.
    """
    values, indices = apply(MAX_POOL, x, kernel=kernel, stride=stride, padding=padding)
    return values, indices
