"""Layouts and sizes: reductions, products, convolutions around every boundary of the schedule."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinyml

pytestmark = pytest.mark.kernels(2)

Tensor = Any


def uniform(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Any:
    """Seeded float32 values."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


# ---- layouts and the boundaries of lanes

WIDTHS = (1, 7, 8, 9, 15, 16, 17, 31, 32, 33)
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "dense": lambda x: x,
    "permuted": lambda x: x.permute_dims(1, 0).copy().permute_dims(1, 0),
    "strided": lambda x: tinyml.concat([x, x], 1).reshape(x.shape[0], 2, x.shape[1])
    .permute_dims(0, 2, 1).reshape(x.shape[0], 2 * x.shape[1])[:, ::2],
    "reversed": lambda x: tinyml.flip(tinyml.flip(x).copy()),
}
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": np.sum, "max": np.max, "argmax": np.argmax, "var": np.var,
}


@pytest.mark.kernels(8)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [0, 1])
def test_reductions_around_the_boundaries_of_lanes(axis: int, layout: str, device: str) -> None:
    names = REDUCTIONS if layout == "dense" else ("sum", "argmax")
    for rows, columns in itertools.product((5, 33), WIDTHS):
        array = uniform(rows, columns)
        x = LAYOUTS[layout](tinyml.tensor(array, device=device))
        np.testing.assert_array_equal(x.numpy(), array)
        for name in names:
            want = REDUCTIONS[name](array.astype(np.float64), axis=axis)
            have = getattr(tinyml, name)(x, axis=axis).numpy()
            np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5, err_msg=f"{name} {x.spec}")


@pytest.mark.kernels(2)
@pytest.mark.parametrize("axis", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_reductions_of_three_axes(axis: tuple[int, ...], order: tuple[int, ...],
                                  device: str) -> None:
    for width in (7, 16, 33):
        array = uniform(3, width, 9)
        x = tinyml.tensor(array, device=device).permute_dims(order)
        permuted = array.transpose(order).astype(np.float64)
        for name in ("sum", "max"):
            have = getattr(tinyml, name)(x, axis=axis).numpy()
            want = REDUCTIONS[name](permuted, axis=axis)
            np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("columns", WIDTHS)
def test_elementwise_operands_of_every_layout_meet(columns: int, device: str) -> None:
    array = uniform(5, columns)
    x = tinyml.tensor(array, device=device)
    row = tinyml.broadcast_to(x[2], (5, columns))
    column = tinyml.broadcast_to(x[:, :1], (5, columns))
    for name, view in LAYOUTS.items():
        other = view(x)
        np.testing.assert_array_equal((other + row).numpy(), array + array[2], name)
        np.testing.assert_array_equal((column - other).numpy(), array[:, :1] - array, name)
        np.testing.assert_array_equal((other * x).numpy(), array * array, name)


@pytest.mark.parametrize("columns", WIDTHS)
def test_softmax_around_the_boundaries_of_lanes(columns: int, device: str) -> None:
    array = uniform(17, columns)
    for axis in (0, 1):
        wide = array.astype(np.float64)
        e = np.exp(wide - wide.max(axis=axis, keepdims=True))
        have = tinyml.softmax(tinyml.tensor(array, device=device), axis=axis).numpy()
        np.testing.assert_allclose(have, e / e.sum(axis=axis, keepdims=True), rtol=1e-5)


SIZES = ((1, 1, 1), (3, 5, 7), (8, 8, 8), (9, 17, 16), (17, 33, 31), (1, 100, 3), (32, 2, 33),
         (16, 64, 15))


@pytest.mark.parametrize("sides", ["NN", "NT", "TN", "TT"])
def test_products_of_odd_sizes_and_transposed_operands(sides: str, device: str) -> None:
    for m, k, n in SIZES:
        a, b = uniform(m, k), uniform(k, n, seed=1)
        x = tinyml.tensor(a if sides[0] == "N" else a.T, device=device)
        y = tinyml.tensor(b if sides[1] == "N" else b.T, device=device)
        have = (x if sides[0] == "N" else x.T) @ (y if sides[1] == "N" else y.T)
        want = a.astype(np.float64) @ b.astype(np.float64)
        np.testing.assert_allclose(have.numpy(), want, rtol=1e-5, atol=1e-5 * k)


def test_products_of_batches_vectors_and_views(device: str) -> None:
    a, b = uniform(2, 1, 5, 9), uniform(3, 9, 4, seed=1)
    x, y = tinyml.tensor(a, device=device), tinyml.tensor(b, device=device)
    np.testing.assert_allclose((x @ y).numpy(), a @ b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((x[0, 0, ::-2, 1:] @ y[1, 1:]).numpy(), a[0, 0, ::-2, 1:] @ b[1, 1:],
                               rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((x[0, 0, 0] @ y[0]).numpy(), a[0, 0, 0] @ b[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((x[0, 0] @ y[0, :, 0]).numpy(), a[0, 0] @ b[0, :, 0], rtol=1e-4,
                               atol=1e-5)
    spread = tinyml.broadcast_to(x[0, 0, :1], (6, 9))
    np.testing.assert_allclose((spread @ y[2]).numpy(), np.broadcast_to(a[0, 0, :1], (6, 9)) @ b[2],
                               rtol=1e-4, atol=1e-5)


def _conv(x: Any, w: Any, stride: int, padding: int, dilation: int) -> Any:
    """Cross-correlation in float64, through all windows of the padded image."""
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    reach = [dilation * (size - 1) + 1 for size in w.shape[2:]]
    windows = np.lib.stride_tricks.sliding_window_view(wide, reach, axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
    return np.einsum("nchwij,ocij->nohw", windows, w.astype(np.float64))


@pytest.mark.kernels(6)
@pytest.mark.parametrize(
    ("image", "weight", "stride", "padding", "dilation"),
    [
        ((2, 3, 7, 9), (4, 3, 3, 3), 1, 0, 1),
        ((1, 1, 8, 8), (9, 1, 3, 3), 1, 1, 1),
        ((2, 5, 9, 8), (17, 5, 3, 2), 2, 1, 1),
        ((1, 2, 11, 10), (3, 2, 3, 3), 1, 2, 2),
        ((3, 2, 5, 33), (1, 2, 5, 1), 3, 0, 1),
    ],
)
def test_convolutions_of_odd_sizes(image: Any, weight: Any, stride: int, padding: int,
                                   dilation: int, device: str) -> None:
    a, b = uniform(*image), uniform(*weight, seed=1)
    window = {"stride": stride, "padding": padding, "dilation": dilation}
    want = _conv(a, b, stride, padding, dilation)
    x, w = tinyml.tensor(a, device=device), tinyml.tensor(b, device=device)
    np.testing.assert_allclose(tinyml.conv2d(x, w, **window).numpy(), want, rtol=1e-4, atol=1e-4)
    nhwc = tinyml.tensor(a.transpose(0, 2, 3, 1), device=device).permute_dims(0, 3, 1, 2)
    np.testing.assert_allclose(tinyml.conv2d(nhwc, w, **window).numpy(), want, rtol=1e-4, atol=1e-4)
    y, pullback = tinyml.vjp(lambda x, w: tinyml.conv2d(x, w, **window), x, w)
    g = tinyml.tensor(uniform(*want.shape, seed=2), device=device)
    dx, dw = pullback(g)
    inner = float((want * g.numpy().astype(np.float64)).sum())
    for cotangent, value in ((dx, a), (dw, b)):  # linear in each: <g, conv> = <dx, x> = <dw, w>
        paired = float((cotangent.numpy().astype(np.float64) * value).sum())
        assert paired == pytest.approx(inner, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("rows", [4, 5])
def test_batches_times_a_transposed_matrix(rows: int, device: str) -> None:
    # Batches and rows are one axis of 20 or 25 in memory; no copy may take them apart.
    x, y = np.random.default_rng(0).random((5, rows, 5)), np.random.default_rng(1).random((10, 5))
    right = tinyml.tensor(y, device=device).T
    np.testing.assert_allclose((tinyml.tensor(x, device=device) @ right).numpy(), x @ y.T, 1e-12)
