"""Convolution with its two gradients.

conv2d, conv2d_dx and conv2d_dw are a closed set: the gradients of each are the other two. Each is a
sum of products over fresh axes of the nest; making it fast is the schedule's job.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.make import Tensor
from tinyml.dtypes import FLOATS, bool_
from tinyml.errors import ShapeError, expect
from tinyml.ir.monoids import DOT
from tinyml.ir.nest import ZERO, Ids, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_shape, with_shape
from tinyml.ops.elementwise import astype
from tinyml.ops.elementwise.define import meet, operand_dtype
from tinyml.ops.nn.windows import as_pair, cell_place, window_count
from tinyml.ops.samples import ErrorCase
from tinyml.ops.views import Ints

__all__ = ["conv2d"]


def _window_normalize(*_: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                      **attrs: Any) -> dict[str, Any]:
    window = {"stride": as_pair(stride, "stride"), "padding": as_pair(padding, "padding"),
              "dilation": as_pair(dilation, "dilation")}
    expect(min(*window["stride"], *window["dilation"]) > 0 and min(window["padding"]) >= 0,
           "positive strides and dilations, paddings not negative", window)
    if "shape" in attrs:
        attrs["shape"] = as_shape(attrs["shape"])
    return {**attrs, **window}


def _shape(x: Ints, w: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Ints:
    """Return the shape of conv2d's result; raises ShapeError if no window fits."""
    expect(len(x) == 4 and len(w) == 4, "x (N, C, H, W) and w (O, C, kH, kW)", (x, w))
    expect(x[1] == w[1], "x.shape[1] == w.shape[1]", f"{x[1]} != {w[1]}")
    sizes = [window_count(x[2 + d], w[2 + d], stride[d], padding[d], dilation[d]) for d in (0, 1)]
    expect(min(sizes) > 0 and min(w[2:]) > 0, "a window that fits into the padded image", (x, w))
    return (x[0], w[0], *sizes)


def _conv_infer(x: Spec, w: Spec, *, stride: Ints, padding: Ints, dilation: Ints) -> Spec:
    dtype = operand_dtype("real", (x, w))
    return with_shape(x, _shape(x.shape, w.shape, stride, padding, dilation), dtype)


def _conv_nest(n: Nest, index: Ids, x: Any, w: Any, *, stride: Ints, padding: Ints,
               dilation: Ints) -> int:
    dtype = meet((x, w))
    batch, out, *place = index
    over = n.over(index, w.shape[1:])
    channel, *cell = over
    at, guard = cell_place(n, (place[0], place[1]), (cell[0], cell[1]), stride, padding, dilation,
                           x.shape)
    image = n.cast(x((batch, channel, *at), guard, n.const(0, x.dtype)), dtype)
    weight = n.cast(w((out, channel, *cell)), dtype)
    return n.reduce(DOT, over, image, weight, in_lanes=False)[0]


def _conv_dx_infer(g: Spec, w: Spec, *, shape: Ints, stride: Ints, padding: Ints,
                   dilation: Ints) -> Spec:
    wanted = _shape(shape, w.shape, stride, padding, dilation)
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
    return n.reduce(DOT, over, value, n.cast(w((out, channel, *cell)), dtype), in_lanes=False)[0]


def _conv_dw_infer(g: Spec, x: Spec, *, shape: Ints, stride: Ints, padding: Ints,
                   dilation: Ints) -> Spec:
    wanted = _shape(x.shape, shape, stride, padding, dilation)
    expect(g.shape == wanted, f"g of shape {wanted}", g.shape)
    return with_shape(g, shape, operand_dtype("real", (g, x)))


def _conv_dw_nest(n: Nest, index: Ids, g: Any, x: Any, *, shape: Ints, stride: Ints,
                  padding: Ints, dilation: Ints) -> int:
    out, channel, *cell = index
    over = n.over(index, (g.shape[0], *g.shape[2:]))
    batch, *place = over
    at, guard = cell_place(n, (place[0], place[1]), (cell[0], cell[1]), stride, padding, dilation,
                           x.shape)
    dtype = meet((g, x))
    image = n.cast(x((batch, channel, *at), guard, n.const(0, x.dtype)), dtype)
    return n.reduce(DOT, over, n.cast(g((batch, out, *place)), dtype), image, in_lanes=False)[0]


_conv: dict[str, Any] = {"normalize": _window_normalize, "dtypes": FLOATS}

CONV: Op = define(
    "conv2d", _conv_infer, nest=_conv_nest, **_conv, samples=samples.conv2d(),
    grad=(lambda g, _y, _x, w, **window: astype(
              apply(CONV_DX, g, w, shape=_x.shape, **window), _x.dtype),
          lambda g, _y, x, _w, **window: astype(
              apply(CONV_DW, g, x, shape=_w.shape, **window), _w.dtype)),
    errors=lambda: [ErrorCase(
        (np.ones((1, 2, 4, 4), np.float32), np.ones((1, 3, 3, 3), np.float32)),
        {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}, ShapeError, "2 != 3")],
    doc="Cross-correlation of images (N, C, H, W) with weights (O, C, kH, kW).",
)
CONV_DX: Op = define(
    "conv2d_dx", _conv_dx_infer, nest=_conv_dx_nest, **_conv, samples=samples.conv2d_dx(),
    grad=(lambda h, _y, _g, w, shape, **window: apply(CONV, h, w, **window),
          lambda h, _y, g, _w, shape, **window: apply(CONV_DW, g, h, shape=_w.shape, **window)),
    doc="conv2d's gradient with respect to its images: transposed convolution.",
)
CONV_DW: Op = define(
    "conv2d_dw", _conv_dw_infer, nest=_conv_dw_nest, **_conv, samples=samples.conv2d_dw(),
    grad=(lambda h, _y, _g, x, shape, **window: apply(CONV, x, h, **window),
          lambda h, _y, g, _x, shape, **window: apply(CONV_DX, g, h, shape=_x.shape, **window)),
    doc="conv2d's gradient with respect to its weights.",
)


def conv2d(x: Any, w: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Tensor:
    """Return the cross-correlation (N, O, H', W') of images (N, C, H, W) with w (O, C, kH, kW).

    H' = (H + 2 padding - dilation (kH - 1) - 1) // stride + 1, and likewise W'. Stride, padding and
    dilation are one int or one per axis. Raises ShapeError if no window fits.

    >>> import tinyml
    >>> tinyml.conv2d(tinyml.ones((1, 1, 3, 3)), tinyml.ones((1, 1, 3, 3))).tolist()
    [[[[9.0]]]]
    """
    return apply(CONV, x, w, stride=stride, padding=padding, dilation=dilation)
