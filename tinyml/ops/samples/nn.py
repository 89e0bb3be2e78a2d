"""Sample generators of networks: losses, norms, convolution and pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.dtypes import FLOATS
from tinyml.ops.samples.movement import index_table
from tinyml.ops.samples.values import (
    Array,
    Sample,
    Samples,
    reversed_steps,
    special,
    spread,
    transposed,
)


def cross_entropy() -> Samples:
    """cross_entropy(logits (N, C), labels (N,)): the mean, with labels in two integer types."""

    def samples(dtype: str) -> list[Sample]:
        logits = spread(dtype, (5, 4), -3.0, 3.0)
        labels = index_table(0, 3, 1, 1, 2)
        return [
            Sample((logits, labels), {}, "batch", True),
            Sample((logits[:1], labels[:1].astype("int32")), {}, "one row", True),
            Sample((transposed(logits), labels), {}, "transposed"),
            Sample((logits * np.asarray(100, dtype), labels), {}, "far apart"),
            Sample((special(dtype)[None, 9:], index_table(3)), {}, "overflow"),
        ]

    return samples


def layer_norm() -> Samples:
    """layer_norm(x, weight, bias, eps) over the last axis: 1 to 3 axes, far means, no variance."""

    def samples(dtype: str) -> list[Sample]:
        def case(x: Array, name: str, smooth: bool = True) -> Sample:
            weight = spread(dtype, x.shape[-1:], 0.5, 2.0, seed="w")
            bias = spread(dtype, x.shape[-1:], -1.0, 1.0, seed="b")
            return Sample((x, weight, bias), {"eps": 1e-5}, name, smooth)

        x = spread(dtype, (3, 5), -3.0, 3.0)
        return [
            case(x, "rows"),
            case(spread(dtype, (7,), -3.0, 3.0), "vector"),
            case(spread(dtype, (2, 3, 5), -3.0, 3.0), "three axes"),
            case(transposed(x), "transposed"),
            case(x + np.asarray(100, dtype), "far mean", False),
            case(np.ones((2, 5), dtype), "no variance", False),
            case(spread(dtype, (0, 5), 0, 1), "empty", False),
        ]

    return samples


# -- convolution -------------------------------------------------------------------------------

# (input shape, weight shape, stride, padding, dilation), each with its name.
_WINDOWS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("plain", ((2, 2, 5, 6), (3, 2, 3, 3), (1, 1), (0, 0), (1, 1))),
    ("padded", ((1, 2, 5, 6), (2, 2, 3, 3), (1, 1), (1, 1), (1, 1))),
    ("strided", ((2, 1, 7, 6), (2, 1, 3, 2), (2, 3), (1, 0), (1, 1))),
    ("dilated", ((1, 2, 7, 7), (1, 2, 3, 2), (1, 2), (2, 1), (2, 3))),
    ("one by one", ((2, 3, 3, 4), (2, 3, 1, 1), (1, 1), (0, 0), (1, 1))),
)


def _out_shape(x: tuple[int, ...], w: tuple[int, ...], *window: tuple[int, int]) -> tuple[int, ...]:
    stride, padding, dilation = window
    sizes = (
        (x[2 + k] + 2 * padding[k] - dilation[k] * (w[2 + k] - 1) - 1) // stride[k] + 1
        for k in (0, 1)
    )
    return (x[0], w[0], *sizes)


def _convolution(kind: str, dtype: str) -> list[Sample]:
    cases = []
    for name, (xs, ws, *window) in _WINDOWS:
        x, w = spread(dtype, xs, -2.0, 2.0), spread(dtype, ws, -2.0, 2.0, seed="w")
        g = spread(dtype, _out_shape(xs, ws, *window), -2.0, 2.0, seed="g")
        attrs = dict(zip(("stride", "padding", "dilation"), window, strict=True))
        if kind == "forward":
            cases.append(Sample((x, w), attrs, name, True))
        elif kind == "input":
            cases.append(Sample((g, w), {**attrs, "shape": xs}, name, True))
        else:
            cases.append(Sample((g, x), {**attrs, "shape": ws}, name, True))
    first = cases[0]
    flipped = (transposed(first.args[0]), reversed_steps(first.args[1]))
    cases.append(first._replace(args=flipped, name="layouts", smooth=False))
    return cases


def conv2d() -> Samples:
    """conv2d(x NCHW, w OIHW, stride, padding, dilation): strides, uneven sizes, an empty batch."""

    def samples(dtype: str) -> list[Sample]:
        cases = _convolution("forward", dtype)
        x, w = cases[0].args
        return [*cases, cases[0]._replace(args=(x[:0], w), name="empty", smooth=False)]

    return samples


def conv2d_dx() -> Samples:
    """conv2d_dx(g, w, shape, stride, padding, dilation): the gradient of conv2d to its input."""
    return lambda dtype: _convolution("input", dtype)


def conv2d_dw() -> Samples:
    """conv2d_dw(g, x, shape, stride, padding, dilation): the gradient of conv2d to its weight."""
    return lambda dtype: _convolution("weight", dtype)


# (input shape, kernel, stride, padding), each with its name.
_POOLS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("halves", ((2, 2, 4, 6), (2, 2), (2, 2), (0, 0))),
    ("overlap", ((1, 2, 5, 6), (3, 2), (1, 2), (1, 0))),
    ("uneven", ((1, 1, 5, 5), (2, 3), (2, 1), (0, 1))),
)


def _pooled(dtype: str) -> list[tuple[str, Array, dict[str, Any], Array]]:
    """Name, x, attributes, and where the maximum of each window lies, found by a plain loop."""
    rows = []
    for name, (shape, kernel, stride, padding) in _POOLS:
        x = spread(dtype, shape, -3.0, 3.0)
        attrs = {"kernel": kernel, "stride": stride, "padding": padding}
        n, c, height, width = shape
        one = (1, 1)
        out = _out_shape(shape, (c, c, *kernel), stride, padding, one)
        indices = np.zeros(out, np.int64)
        for b, ch, i, j in np.ndindex(*out):
            top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
            window = [
                (x[b, ch, p, q], -(p * width + q))
                for p in range(max(top, 0), min(top + kernel[0], height))
                for q in range(max(left, 0), min(left + kernel[1], width))
            ]
            indices[b, ch, i, j] = -max(window)[1]
        rows.append((name, x, attrs, indices))
    return rows


def max_pool2d() -> Samples:
    """max_pool2d(x, kernel, stride, padding) -> (values, indices): overlaps, padding, ties, NaN."""

    def samples(dtype: str) -> list[Sample]:
        cases = [Sample((x,), attrs, name, True) for name, x, attrs, _ in _pooled(dtype)]
        x, attrs = cases[0].args[0], cases[0].attrs
        ties = np.ones_like(x)
        cases += [
            Sample((ties,), attrs, "ties"),
            Sample((transposed(x),), attrs, "transposed"),
            Sample((x[:0],), attrs, "empty"),
        ]
        if dtype in FLOATS:
            hard = np.resize(special(dtype), x.shape)
            lowest = np.full_like(x, -np.inf)
            cases += [Sample((hard,), attrs, "special"), Sample((lowest,), attrs, "all infinite")]
        return cases

    return samples


def max_pool2d_dx() -> Samples:
    """max_pool2d_dx(g, indices, shape): cotangents go to where the maxima were, and add up."""

    def samples(dtype: str) -> list[Sample]:
        return [
            Sample(
                (spread(dtype, where.shape, -3.0, 3.0, seed="g"), where),
                {"shape": x.shape},
                name,
                True,
            )
            for name, x, _, where in _pooled(dtype)
        ]

    return samples


def max_pool2d_take() -> Samples:
    """Return max_pool2d_take(x, indices): the values of each plane at the indices."""

    def samples(dtype: str) -> list[Sample]:
        return [Sample((x, where), {}, name, True) for name, x, _, where in _pooled(dtype)]

    return samples
