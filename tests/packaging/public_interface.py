# pyright: strict
"""What a user writes: pyright knows the types as they stand here, and it runs."""

from __future__ import annotations

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
step = tinyml.jit(tinyml.value_and_grad(loss))
step(w)
text: str = str(tinyml.trace(loss)(w))

with tinyml.GradientTape() as tape:
    tape.watch(w)
    y = loss(w)

layer = nn.Linear(2, 1)
output: Tensor = layer(x)
optimizer = optim.SGD(layer.parameters(), lr=0.1)
