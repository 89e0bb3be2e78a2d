"""Max-pooling: the greatest element of each window and its index, with the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply, apply_many
from tinyml.core.make import Tensor
from tinyml.dtypes import FLOATS, bool_, int64
from tinyml.errors import DTypeError, OutOfRangeError, ShapeError, expect
from tinyml.ir.monoids import ARGMAX, ARGMAX_OF_SOME, least
from tinyml.ir.nest import Ids, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_shape, with_shape
from tinyml.ops.nn.windows import Pair, as_pair, cell_place, window_count
from tinyml.ops.samples import ErrorCase
from tinyml.ops.views import Ints, ravel

__all__ = ["max_pool2d"]


def _pool_normalize(_x: Any, *, kernel: Any, stride: Any = None,
                    padding: Any = 0) -> dict[str, Any]:
    window = {"kernel": as_pair(kernel, "kernel"),
              "stride": as_pair(kernel if stride is None else stride, "stride"),
              "padding": as_pair(padding, "padding")}
    expect(min(*window["kernel"], *window["stride"]) > 0, "positive kernel and stride", window)
    halves = all(0 <= 2 * p <= k for p, k in zip(window["padding"], window["kernel"]))
    expect(halves, "0 <= padding <= kernel / 2", window)
    return window


def _pool_infer(x: Spec, *, kernel: Ints, stride: Ints, padding: Ints) -> tuple[Spec, Spec]:
    expect(x.ndim == 4 and 0 not in x.shape[2:], "x (N, C, H, W) with pixels", x.shape)
    sizes = [window_count(x.shape[2 + d], kernel[d], stride[d], padding[d], 1) for d in (0, 1)]
    expect(min(sizes) > 0, "a window that fits into the padded image", (x.shape, kernel))
    if x.dtype is bool_:
        raise DTypeError("bool is not accepted", remedy="cast with .astype('uint8')")
    shape = (*x.shape[:2], *sizes)
    return with_shape(x, shape), with_shape(x, shape, int64)


def _pool_nest(n: Nest, index: Ids, x: Any, *, kernel: Ints, stride: Ints,
               padding: Ints) -> Ids:
    batch, channel, *place = index
    over = n.over(index, kernel)
    at, guard = cell_place(n, (place[0], place[1]), (over[0], over[1]), stride, padding, (1, 1),
                           x.shape)
    value = x((batch, channel, *at), guard, least(n, x.dtype))
    cell = ravel(n, at, x.shape[2:])
    if guard is not None:
        cell = n.select(guard, cell, n.const(-1, int64))
    return n.reduce(ARGMAX if guard is None else ARGMAX_OF_SOME, over, value, cell)


def _row_and_column(n: Nest, place: int, width: int) -> Pair:
    """Return the row and column of a checked position in a flattened plane."""
    extent = n.param(width)
    return n.prim("floordiv", place, extent), n.prim("mod", place, extent)


def _check_plane_indices(indices: Spec, shape: Ints) -> None:
    expect(indices.dtype is int64, "int64 indices", indices.dtype.name, DTypeError,
           remedy="those that max_pool2d gives")
    fits = len(shape) == indices.ndim == 4 and indices.shape[:2] == shape[:2]
    rule = ", ".join(map(str, (*shape[:2], "H'", "W'")))
    expect(fits, f"indices of shape ({rule}) for images (N, C, H, W)", (indices.shape, shape))
    expect(0 not in shape[2:] or 0 in indices.shape, "planes with pixels", shape, OutOfRangeError)


def _pool_dx_infer(g: Spec, indices: Spec, *, shape: Ints) -> Spec:
    _check_plane_indices(indices, shape)
    expect(g.shape == indices.shape, f"g of shape {indices.shape}", g.shape)
    return with_shape(g, shape)


def _pool_take_infer(x: Spec, indices: Spec) -> Spec:
    _check_plane_indices(indices, x.shape)
    return with_shape(x, indices.shape)


def _pool_dx_scatter(n: Nest, outs: list[int], g: Any, indices: Any, *, shape: Ints) -> None:
    batch, channel = n.axis("i0", shape[0]), n.axis("i1", shape[1])
    j = (n.axis("j0", shape[2]), n.axis("j1", shape[3]))
    n.store(outs[0], n.const(0, g.dtype), (batch, channel, *j))
    k = (n.axis("k0", g.shape[2]), n.axis("k1", g.shape[3]))
    place = n.check(indices((batch, channel, *k)), shape[2] * shape[3])
    at = _row_and_column(n, place, shape[3])
    n.store(outs[0], g((batch, channel, *k)), (batch, channel, *at), "add")


def _pool_take_nest(n: Nest, index: Ids, x: Any, indices: Any) -> int:
    place = n.check(indices(index), x.shape[2] * x.shape[3])
    return int(x((*index[:2], *_row_and_column(n, place, x.shape[3]))))


_PIXELS = np.ones((1, 2, 2, 2), np.float32)

MAX_POOL: Op = define(
    "max_pool2d", _pool_infer, normalize=_pool_normalize, nest=_pool_nest,
    grad=(lambda g, y, _x, **window: apply(MAX_POOL_DX, g[0], y[1], shape=_x.shape),),
    samples=samples.max_pool2d(), dtypes=(*FLOATS, "int32"),
    doc="The greatest element of each window, and its index in the flattened plane; the first of "
        "equals, and NaN is greatest.",
)
MAX_POOL_DX: Op = define(
    "max_pool2d_dx", _pool_dx_infer, scatter_nest=_pool_dx_scatter,
    normalize=lambda g, indices, shape: {"shape": as_shape(shape)},
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


def max_pool2d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0) -> tuple[Tensor, Tensor]:
    """Return the greatest element of each window of images (N, C, H, W), and its int64 index.

    Both are (N, C, H', W'). The index is into the flattened H*W plane; ties give the first, and NaN
    is greatest. `stride` defaults to the kernel's size. Raises ShapeError if no window fits.

    >>> import tinyml
    >>> values, indices = tinyml.max_pool2d(tinyml.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2)
    >>> values.item(), indices.item()
    (4.0, 3)
    """
    values, indices = apply_many(MAX_POOL, x, kernel=kernel, stride=stride, padding=padding)
    return values, indices
