# pyright: strict
"""What a user writes: mypy and pyright know the types as they stand here, and it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import tinyml
from tinyml import Tensor, nn, optim

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:
    def assert_type(value: Any, _: Any) -> Any:
        return value

w = tinyml.tensor([[0.5], [-1.0]])
x = tinyml.tensor([[1.0, 2.0], [3.0, 4.0]])

assert_type(x, Tensor)
assert_type(x.shape, tuple[int, ...])
assert_type(tinyml.sum(x, axis=0) + 2.0 * x.T[0], Tensor)
assert_type(tinyml.concat([x, tinyml.zeros((2, 2))], axis=1), Tensor)
assert_type(tinyml.where(x > 0, tinyml.exp(x), 0.0), Tensor)
assert_type(tinyml.softmax(x, axis=-1).tanh(), Tensor)
assert_type(x.at[0].add(1.0), Tensor)
product: Tensor = x @ w
array: np.ndarray[Any, Any] = x.numpy()


def loss(w: Tensor) -> Tensor:
    """The mean of squares."""
    return (tinyml.tanh(x @ w) ** 2).mean()


value, slope = tinyml.value_and_grad(loss)(w)
assert_type(value, Tensor)
assert_type(slope, Tensor)
step = tinyml.jit(tinyml.value_and_grad(loss))
assert_type(step(w), tuple[Tensor, Tensor])
curve: Tensor = tinyml.grad(tinyml.grad(lambda w: (w * w * w).sum()))(w[0, 0])
text: str = str(tinyml.trace(loss)(w))

with tinyml.GradientTape() as tape:
    tape.watch(w)
    y = loss(w)

layer = nn.Linear(2, 1)
output: Tensor = layer(x)
optimizer = optim.SGD(layer.parameters(), lr=0.1)
assert_type(layer, nn.Linear)
assert_type(layer(x), Tensor)
assert_type(tinyml.nn.LayerNorm(2)(x), Tensor)
assert_type(tinyml.optim.AdamW(layer.parameters()).lr, float)
assert_type(tinyml.linalg.det(x), Tensor)
assert_type(tinyml.special.gammaln(x), Tensor)
assert_type(tinyml.random.key(0), Tensor)
assert_type(x.flatten().squeeze().clip(0.0, 1.0), Tensor)


class Scaled(nn.Module):
    """A module whose forward has a signature of its own."""

    def __init__(self, factor: float) -> None:
        self.inner = nn.Linear(2, 1)
        self.factor = factor

    def forward(self, x: Tensor, *, twice: bool = False) -> tuple[Tensor, int]:
        """Return the scaled values, and a number."""
        return self.inner(x) * self.factor, 1 + twice


def penalty(net: Scaled, x: Tensor, power: int = 2) -> Tensor:
    """The mean of powers."""
    return (net(x)[0] ** power).mean()


net = Scaled(0.5)
assert_type(net, Scaled)
assert_type(net(x, twice=True), tuple[Tensor, int])
assert_type(tinyml.value_and_grad(penalty)(net, x, power=2), tuple[Tensor, Scaled])
assert_type(tinyml.grad(penalty)(net, x), Scaled)
assert_type(tinyml.jit(penalty)(net, x, power=3), Tensor)
assert_type(tinyml.checkpoint(penalty)(net, x), Tensor)
assert_type(tinyml.vjp(loss, w)[0], Tensor)


@tinyml.jit(static_argnums=1)
def powered(x: Tensor, power: int) -> Tensor:
    """Compiled for each power."""
    return x**power


@tinyml.custom_gradient
def clipped(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The identity, with a gradient of at most 1."""
    return x, lambda g: tinyml.minimum(g, 1.0)


assert_type(powered(x, 2), Tensor)
assert_type(clipped(x), Tensor)


def refused() -> None:
    """What checkers refuse; mypy --strict tells of an ignored error that there is not."""
    net(3)  # type: ignore[arg-type]
    layer(x, x)  # type: ignore[call-arg]
    powered("a", 2)  # type: ignore[arg-type]
    nn.Linear("2", 1)  # type: ignore[arg-type]
    print(tinyml.nowhere)  # type: ignore[attr-defined]
    x.view(3)  # type: ignore[attr-defined]
