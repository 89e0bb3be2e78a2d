"""Small floats under jit: each operation rounds as eager does, whichever way the graph runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinyml

pytestmark = pytest.mark.kernels(12)


@tinyml.custom_gradient(linear=True)
def doubled_sine(x: Any) -> Any:
    """Return 2 sin(x) by three operations, which a composite would round once."""
    return x.sin() * 0.7 + x.sin() * 1.3, lambda g: g * x.cos() * 2.0


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "chain": lambda v: (v.exp() * 1.7).sqrt() / (v + 0.3),
    "cond": lambda v: tinyml.cond((v > 2.0).any(), lambda v: v.sqrt().sin() * 1.9, lambda v: v, v),
    "scan": lambda v: tinyml.scan(lambda c, r: (c * r.sin() + r, c.exp().sin()), v[0], v)[1],
    "nested": lambda v: tinyml.jit(lambda v: (v.sqrt() * 0.9).cos() + v)(v) * v,
    "gradient": lambda v: tinyml.grad(lambda v: (v.sqrt().cos() * v.exp()).sum())(v),
    "custom": doubled_sine,
}


def _beside_a_size(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return f beside an indexing whose size depends on values, so that no graph is compiled."""
    return lambda v: (v[v > 1.5].sum() * 0.0, f(v))[1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_graph_is_no_composite(name: str, dtype: str, device: str) -> None:
    f = FUNCTIONS[name]
    values = np.random.default_rng(11).uniform(0.2, 4.0, (6, 25))
    v = tinyml.tensor(values, dtype=dtype, device=device)
    expected = f(v).numpy().view(np.uint16)
    runs = {"compiled": tinyml.jit(f)(v), "beside a size": tinyml.jit(_beside_a_size(f))(v)}
    with tinyml.profile():
        runs["observed"] = tinyml.jit(f)(v)
    for how, got in runs.items():
        wrong = int((got.numpy().view(np.uint16) != expected).sum())
        assert wrong == 0, f"{how}: {wrong} of {expected.size}"
