"""The whole house in a few seconds: run it before every commit.

One or two ops of each kind on each device, a gradient, one body as one launch, a saved file, an
error, and a small network that learns. What fails here fails somewhere else in more detail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml import io, random
from tinyml.ir.op import OPS

A = np.arange(12, dtype=np.float32).reshape(3, 4) / 6 - 1


def close(have: Any, want: Any) -> None:
    """Equal up to float32's rounding."""
    assert have.shape == want.shape
    np.testing.assert_allclose(have.numpy(), want, rtol=1e-5, atol=1e-6)


def test_words(device: str) -> None:
    x = tinyml.tensor(A, device=device)
    close(x + 1.0, A + 1)
    close(x * x[0], A * A[0])
    close(x.tanh(), np.tanh(A))
    close(tinyml.where(x > 0, x, 0.0), np.maximum(A, 0))
    assert x.astype("int32").tolist() == A.astype(np.int32).tolist()


def test_reductions_and_composites(device: str) -> None:
    x = tinyml.tensor(A, device=device)
    close(x.sum(axis=1), A.sum(1))
    close(x.T.max(axis=0), A.max(1))
    close(x.var(axis=0), A.var(0))
    assert x.argmax(axis=1).tolist() == [3, 3, 3]
    e = np.exp(A - A.max(1, keepdims=True))
    close(tinyml.softmax(x), e / e.sum(1, keepdims=True))
    plan = next(iter(OPS["softmax"].memo.values()))
    assert plan.how == "nest"  # one launch


def test_views_movement_and_indexing(device: str) -> None:
    x = tinyml.tensor(A, device=device)
    close(x.T.reshape(2, 6), A.T.reshape(2, 6))
    close(x[::-1, 1:3], A[::-1, 1:3])
    close(tinyml.concat([x, x], 1), np.concatenate([A, A], 1))
    widths = (1, 0), (0, 2)
    close(tinyml.pad(x, widths, constant_values=9.0), np.pad(A, widths, constant_values=9))
    close(x[tinyml.tensor([2, 0], device=device)], A[[2, 0]])
    assert x.at[0].add(1.0)[0, 0].item() == 0.0
    x[0, 0] = 5.0
    assert x[0, 0].item() == 5.0


def test_contraction_convolution_and_pooling(device: str) -> None:
    x = tinyml.tensor(A, device=device)
    close(x @ x.T, A @ A.T)
    image = tinyml.ones((1, 1, 4, 4), device=device)
    assert tinyml.conv2d(image, image[:, :, :3, :3]).tolist() == [[[[9.0] * 2] * 2]]
    values, places = tinyml.max_pool2d(x.reshape(1, 1, 3, 4), 2)
    close(values, A[None, None, 1:2, 1::2])
    assert places.tolist() == [[[[5, 7]]]]


def test_gradients(device: str) -> None:
    x = tinyml.tensor([0.5, -0.25], device=device)
    cube = tinyml.grad(lambda x: (x * x * x).sum())
    close(cube(x), np.array([0.75, 0.1875], np.float32))
    close(tinyml.grad(lambda x: cube(x).sum())(x), np.array([3.0, -1.5], np.float32))
    leaf = tinyml.tensor([3.0], device=device, requires_grad=True)
    (leaf * leaf).backward()
    assert leaf.grad is not None and leaf.grad.tolist() == [6.0]


def test_a_network_learns(device: str) -> None:
    """Exclusive or, by gradient descent on two layers."""
    rng = np.random.default_rng(1)
    inputs = tinyml.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], device=device)
    labels = tinyml.tensor([0, 1, 1, 0], device=device)
    weights = [tinyml.tensor(rng.normal(size=s).astype(np.float32), device=device)
               for s in ((2, 8), (8,), (8, 2), (2,))]

    def logits(w: list[Any]) -> Any:
        return (inputs @ w[0] + w[1]).tanh() @ w[2] + w[3]

    step = tinyml.value_and_grad(lambda w: tinyml.cross_entropy(logits(w), labels))
    for _ in range(60):
        loss, gradient = step(weights)
        weights = [w - g * 0.5 for w, g in zip(weights, gradient)]
    assert loss.item() < 0.1
    assert logits(weights).argmax(axis=1).tolist() == [0, 1, 1, 0]


def test_random_numbers_repeat() -> None:
    key = random.key(7)
    first, second = (random.uniform(key, (4,)) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert all(0.0 <= value < 1.0 for value in first.tolist())


def test_save_and_load(tmp_path: Path) -> None:
    io.save(tmp_path / "x.safetensors", {"x": tinyml.tensor(A)})
    close(io.load(tmp_path / "x.safetensors")["x"], A)


def test_an_error_says_where_and_what() -> None:
    with pytest.raises(ValueError, match=r"(?s)add: .*test_tiny\.py:.*remedy"):
        tinyml.tensor([1.0, 2.0]) + tinyml.tensor([1.0, 2.0, 3.0])
