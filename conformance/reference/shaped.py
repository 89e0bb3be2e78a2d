"""The reference's operations that move, index, contract and draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .rules import define

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Shape = tuple[int, ...]


# -- views and movement ------------------------------------------------------------------------


@define("copy", result="as is")
def copy(x: Array) -> Array:
    """Return a copy of the elements."""
    result: Array = x.copy()
    return result


@define("reshape", result="as is")
def reshape(x: Array, shape: Shape) -> Array:
    """Return the elements in order, in another shape."""
    return x.reshape(shape)


@define("permute_dims", result="as is")
def permute_dims(x: Array, axes: Shape) -> Array:
    """Return the axes in another order."""
    result: Array = x.transpose(axes)
    return result


def _places(start: Shape, stop: Shape, step: Shape) -> tuple[Array, ...]:
    # Ranges name every element, so nothing depends on how a slice object reads -1.
    steps = zip(start, stop, step, strict=True)
    return np.ix_(*(np.array(range(*each), np.intp) for each in steps))


@define("slice", result="as is")
def slice_(x: Array, start: Shape, stop: Shape, step: Shape) -> Array:
    """Return the elements at range(start, stop, step) of each axis."""
    return np.asarray(x[_places(start, stop, step)])


@define("unslice", result="as is")
def unslice(g: Array, shape: Shape, start: Shape, stop: Shape, step: Shape) -> Array:
    """Return zeros of a shape, with g at that slice."""
    return np.asarray(slice_set(np.zeros(shape, g.dtype), g, start, stop, step))


@define("slice_set", data=(0, 1))
def slice_set(x: Array, v: Array, start: Shape, stop: Shape, step: Shape) -> Array:
    """Return x, with v at that slice."""
    result: Array = x.copy()
    result[_places(start, stop, step)] = v
    return result


@define("expand", result="as is")
def expand(x: Array, shape: Shape) -> Array:
    """Return x broadcast to a shape."""
    return np.broadcast_to(x, shape)


@define("concat")
def concat(*xs: Array, axis: int) -> Array:
    """Return the tensors joined along an axis."""
    return np.concatenate(xs, axis)


@define("pad", result="as is")
def pad(x: Array, before: Shape, after: Shape, value: Any) -> Array:
    """Return x surrounded by `value`."""
    # Python's False is a NumPy 0, so a bool tensor's value goes through its own type.
    shape = [b + n + a for b, n, a in zip(before, x.shape, after, strict=True)]
    result = np.full(shape, x.dtype.type(value), x.dtype)
    result[tuple(slice(b, b + n) for b, n in zip(before, x.shape, strict=True))] = x
    return result


# -- indexing ----------------------------------------------------------------------------------


@define("gather", result="as is")
def gather(x: Array, *tables: Array, axis: int) -> Array:
    """Return the elements of x at the indices into one or more axes.

    Negative indices count from the end.
    """
    return np.asarray(x[(slice(None),) * axis + tables])


def _scattered(x: Array, updates: Array, tables: tuple[Array, ...], axis: int,
               join: Callable[[Any, Any], Any]) -> Array:
    result: Array = x.copy()
    tables = tuple(np.broadcast_arrays(*tables)) if len(tables) > 1 else tables
    before: tuple[Any, ...] = (slice(None),) * axis
    for at in np.ndindex(*tables[0].shape):
        place = before + tuple([int(table[at]) for table in tables])
        result[place] = join(result[place], updates[before + at])
    return result


_JOINS: dict[str, Callable[[Any, Any], Any]] = {
    "scatter": lambda old, new: new, "scatter_add": np.add, "scatter_mul": np.multiply,
    "scatter_min": np.minimum, "scatter_max": np.maximum,
}
for _name, _join in _JOINS.items():
    define(_name, data=(0, 1))(
        lambda x, updates, *tables, axis, join=_join: _scattered(x, updates, tables, axis, join))


@define("take_along", result="as is")
def take_along(x: Array, indices: Array, axis: int) -> Array:
    """Return one element per entry of `indices`, along an axis.

    Negative indices count from the end.
    """
    return np.take_along_axis(x, indices, axis)


@define("put_along", data=(0, 2))
def put_along(x: Array, indices: Array, updates: Array, axis: int) -> Array:
    """Return x with each update added at its index along an axis."""
    result: Array = x.copy()
    for at in np.ndindex(*indices.shape):
        place = (*at[:axis], int(indices[at]), *at[axis + 1 :])
        result[place] = result[place] + updates[at]
    return result


@define("iota", result="int64", data=(0,))
def iota(x: Array, axis: int) -> Array:
    """Return the index along an axis, in the shape of x."""
    return np.asarray(np.indices(x.shape)[axis])


# -- contraction -------------------------------------------------------------------------------


@define("tril", result="as is")
def tril(x: Array, k: int) -> Array:
    """Return the elements on and below the k-th diagonal."""
    return np.tril(x, k)


@define("triu", result="as is")
def triu(x: Array, k: int) -> Array:
    """Return the elements on and above the k-th diagonal."""
    return np.triu(x, k)


@define("vecdot")
def vecdot(x: Array, y: Array) -> Array:
    """Return the dot products along the last axis, with x conjugated."""
    return np.asarray(np.sum(np.conj(x) * y, -1, dtype=x.dtype))


@define("matmul")
def matmul(x: Array, y: Array) -> Array:
    """Return the matrix product, with batches broadcast."""
    return np.asarray(np.matmul(x, y))


def _window(stride: Pair, dilation: Pair, size: Shape, i: int, j: int) -> tuple[slice, slice]:
    """Return the slices that tap (i, j) of a kernel reads, over all outputs of a `size` plane."""
    top, left = i * dilation[0], j * dilation[1]
    return (
        slice(top, top + (size[0] - 1) * stride[0] + 1, stride[0]),
        slice(left, left + (size[1] - 1) * stride[1] + 1, stride[1]),
    )


def _padded(x: Array, padding: Pair, value: Any = 0) -> Array:
    widths = (0, 0, *padding)
    return np.asarray(pad(x, widths, widths, value))


def _size(x: Shape, kernel: Shape, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    down, across = (
        (x[k] + 2 * padding[k] - dilation[k] * (kernel[k] - 1) - 1) // stride[k] + 1 for k in (0, 1)
    )
    return down, across


@define("conv2d")
def conv2d(x: Array, w: Array, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """Return cross-correlation of x (N, C, H, W) with w (O, C, h, w), tap by tap."""
    size = _size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    source = _padded(x, padding)
    result = np.zeros((x.shape[0], w.shape[0], *size), x.dtype)
    for i, j in np.ndindex(*w.shape[2:]):
        down, across = _window(stride, dilation, size, i, j)
        tap = source[:, :, down, across]
        result += np.einsum("nchw,oc->nohw", tap, w[:, :, i, j])
    return result


@define("conv2d_dx")
def conv2d_dx(
    g: Array, w: Array, shape: Shape, stride: Pair, padding: Pair, dilation: Pair
) -> Array:
    """Return the cotangent of conv2d's input: each tap's share of g, added where it was read."""
    n, c, height, width = shape
    tall, long = height + 2 * padding[0], width + 2 * padding[1]
    result = np.zeros((n, c, tall, long), g.dtype)
    for i, j in np.ndindex(*w.shape[2:]):
        down, across = _window(stride, dilation, g.shape[2:], i, j)
        result[:, :, down, across] += np.einsum("nohw,oc->nchw", g, w[:, :, i, j])
    return result[:, :, padding[0] : tall - padding[0], padding[1] : long - padding[1]]


@define("conv2d_dw")
def conv2d_dw(
    g: Array, x: Array, shape: Shape, stride: Pair, padding: Pair, dilation: Pair
) -> Array:
    """Return the cotangent of conv2d's weight: for each tap, g times the elements it read."""
    source = _padded(x, padding)
    result = np.zeros(shape, g.dtype)
    for i, j in np.ndindex(*shape[2:]):
        down, across = _window(stride, dilation, g.shape[2:], i, j)
        result[:, :, i, j] = np.einsum("nohw,nchw->oc", g, source[:, :, down, across])
    return result


# -- pooling -----------------------------------------------------------------------------------


@define("max_pool2d", result="first and index")
def max_pool2d(x: Array, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Array, Array]:
    """Return the maximum of each window, and its index in the plane.

    The first maximum wins; NaN beats everything.
    """
    height, width = x.shape[2:]
    size = _size((height, width), kernel, stride, padding, (1, 1))
    values = np.zeros((*x.shape[:2], *size), x.dtype)
    indices = np.zeros(values.shape, np.int64)
    for i, j in np.ndindex(*size):
        top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
        rows = np.arange(max(top, 0), min(top + kernel[0], height))
        columns = np.arange(max(left, 0), min(left + kernel[1], width))
        places = (rows[:, None] * width + columns).reshape(-1)
        window = x.reshape(*x.shape[:2], height * width)[:, :, places]
        best = np.argmax(window, -1)
        indices[:, :, i, j] = places[best]
        values[:, :, i, j] = np.take_along_axis(window, best[..., None], -1)[..., 0]
    return values, indices


@define("max_pool2d_dx", result="as is")
def max_pool2d_dx(g: Array, indices: Array, shape: Shape) -> Array:
    """Return zeros of `shape`, with each element of g added at its index in the plane."""
    result = np.zeros((shape[0], shape[1], shape[2] * shape[3]), g.dtype)
    for at in np.ndindex(*g.shape):
        result[at[0], at[1], indices[at]] += g[at]
    return result.reshape(shape)


@define("max_pool2d_take", result="as is")
def max_pool2d_take(x: Array, indices: Array) -> Array:
    """Return the elements of each plane at the indices."""
    planes = x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])
    flat = indices.reshape(*indices.shape[:2], indices.shape[2] * indices.shape[3])
    return np.take_along_axis(planes, flat, -1).reshape(indices.shape)


# -- random bits -------------------------------------------------------------------------------

_MASK = 0xFFFFFFFF
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _threefry(key: tuple[int, int], high: Array, low: Array) -> tuple[Array, Array]:
    """Return Threefry-2x32 with 20 rounds (Salmon et al. 2011); 64-bit words avoid overflow."""
    # 0x1BD11BDA is the parity constant of the Skein key schedule.
    schedule = (key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA)
    mask = np.uint64(_MASK)
    x = (high + np.uint64(schedule[0])) & mask
    y = (low + np.uint64(schedule[1])) & mask
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = (x + y) & mask
            y = ((y << np.uint64(rotation)) | (y >> np.uint64(32 - rotation))) & mask
            y = y ^ x
        x = (x + np.uint64(schedule[(group + 1) % 3])) & mask
        y = (y + np.uint64(schedule[(group + 2) % 3] + group + 1)) & mask
    return x, y


@define("random_bits", result="as is")
def random_bits(key: Array, shape: Shape) -> Array:
    """Return 32 random bits per element: both words of its counter's output, combined by xor."""
    counter = np.arange(int(np.prod(shape)), dtype=np.uint64)
    high, low = counter >> np.uint64(32), counter & np.uint64(_MASK)
    first, second = _threefry((int(key[0]), int(key[1])), high, low)
    return (first ^ second).astype(np.uint32).reshape(shape)


@define("threefry2x32", result="two of the first")
def threefry(key: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Return both output words of Threefry-2x32 under a key, for two-word counters."""
    words = _threefry((int(key[0]), int(key[1])), high.astype(np.uint64), low.astype(np.uint64))
    return words[0].astype(np.uint32), words[1].astype(np.uint32)
