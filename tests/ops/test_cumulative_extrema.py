"""Sums of exponentials, running and whole: values and slopes at any offset, beside infinities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinyml

pytestmark = pytest.mark.kernels(8)
INF = math.inf


def running(x: Any) -> Any:
    return np.logaddexp.accumulate(x.astype(np.longdouble), -1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [1, 2, 7, 5000])
def test_running_sums_and_their_slopes_at_any_offset(size: int, dtype: str, device: str) -> None:
    rng = np.random.default_rng(size)
    for offset in (-700.0, -100.0, 0.0, 90.0, 1e4):
        x = (rng.normal(size=(2, size)) * rng.choice([1, 30], (2, size)) + offset).astype(dtype)
        g = rng.uniform(0.5, 1, (2, size)).astype(dtype)
        t, cotangent = tinyml.tensor(x, device=device), tinyml.tensor(g, device=device)
        want, eps = running(x), float(np.finfo(dtype).eps)
        got = tinyml.logcumsumexp(t, 1).numpy()
        assert np.max(np.abs(got - want)) <= eps * (size / 2 + 4 + np.max(np.abs(x)))
        loss = tinyml.grad(lambda t, g: (tinyml.logcumsumexp(t, 1) * g).sum())
        slope = loss(t, cotangent).numpy()
        if size > 100:
            continue
        exact = np.zeros_like(want)
        for i in range(size):
            exact[:, : i + 1] += g[:, i, None] * np.exp(x[:, : i + 1] - want[:, i, None])
        np.testing.assert_allclose(slope, exact.astype(float), rtol=eps * 300, atol=1e-30)


@pytest.mark.parametrize(("values", "sums", "slopes"), [
    ([-INF, -3.0], [-INF, -3.0], [1, 1]), ([-300.0, -INF], [-300.0, -300.0], [2, 0]),
    ([-INF, -INF, -INF], [-INF] * 3, [1 + 1 / 2 + 1 / 3, 1 / 2 + 1 / 3, 1 / 3]),
    ([4.0, INF, INF], [4.0, INF, INF], [1, 1.5, 0.5]), ([-120.0], [-120.0], [1]),
])
def test_infinities_share_the_slope(values: list[float], sums: list[float], slopes: list[float],
                                    device: str) -> None:
    x = tinyml.tensor(values, device=device)
    assert tinyml.logcumsumexp(x).tolist() == sums
    slope = tinyml.grad(lambda x: tinyml.logcumsumexp(x).sum())
    for f in (slope, tinyml.jit(slope)):
        np.testing.assert_allclose(f(x).tolist(), slopes, rtol=1e-6)
    second = tinyml.hessian(lambda x: tinyml.logcumsumexp(x).sum())(x).numpy()
    assert np.isfinite(second).all()
    whole = tinyml.grad(tinyml.logsumexp)(x).numpy()
    assert np.isfinite(whole).all() and abs(whole.sum() - 1) < 1e-6


def test_a_slope_in_16_bits_is_not_that_of_a_rounded_sum(device: str) -> None:
    x = np.float16([1000.0, 1000.5, 999.0, 998.5])
    weights = np.exp(x.astype(float) - 1000)
    for dtype in ("float16", "float32"):
        got = tinyml.grad(lambda x: tinyml.logsumexp(x))(tinyml.tensor(x.astype(dtype),
                                                                       device=device))
        np.testing.assert_allclose(got.numpy().astype(float), weights / weights.sum(), rtol=1e-3)
