"""What may not be one kernel: groups whose loops would need a state that another loop rebuilds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinyml

pytestmark = pytest.mark.kernels(6)

# Each reduces over one axis what was reduced over another, and then over the first again.
CROSSED: dict[str, Callable[[Any], Any]] = {
    "softmax, mean, sum": lambda x: tinyml.sin(
        tinyml.softmax(x, -1).mean(axis=0, keepdims=True)).sum(),
    "norm, max, mean": lambda x: tinyml.exp(
        (x / (x * x).sum(axis=0, keepdims=True)).max(axis=1, keepdims=True)).mean(axis=0),
    "three in turn": lambda x: (
        ((x - x.max(axis=1, keepdims=True)).sum(axis=0, keepdims=True) * x)
        .sum(axis=1, keepdims=True) * x).sum(axis=0),
    "an argument between": lambda x: tinyml.where(
        x == x.min(axis=0, keepdims=True), x, 0.0).sum(axis=1, keepdims=True).max(),
}


@pytest.mark.parametrize("name", CROSSED)
def test_reductions_over_crossed_axes(name: str, device: str) -> None:
    values = np.random.default_rng(3).normal(size=(5, 7)).astype("float32")
    x = tinyml.tensor(values, device=device)
    f = CROSSED[name]
    found = tinyml.jit(f)(x)
    assert found.shape == f(x).shape
    np.testing.assert_allclose(found.numpy(), f(x).numpy(), rtol=1e-5, atol=1e-6)
