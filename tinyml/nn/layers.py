"""Layers with PyTorch's names and PyTorch's distributions of initial values.

A layer with parameters draws them from `key`, by default the next key of the global generator.
`dtype` and `device` are those of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import tinyml.random as random
from tinyml.core.error_context import named_in_errors
from tinyml.core.upload import as_tensor
from tinyml.errors import ArgumentError, AxisError, shown
from tinyml.nn import functional
from tinyml.nn.module import Module
from tinyml.ops.arguments import as_axis, as_flag, as_number, as_places, as_size, as_sizes
from tinyml.ops.creation import ones, tensor, zeros
from tinyml.ops.nn.windows import as_pair
from tinyml.tensor import Tensor


def _drawn(key: Any, shapes: list[tuple[int, ...]], fan_in: int, dtype: Any,
           device: Any) -> list[Tensor]:
    """Draw parameters uniformly within 1 / sqrt(fan_in) of 0.

    This is He et al. (2015) with the slope sqrt(5) of PyTorch's layers: the gain is
    sqrt(2 / (1 + 5)), and a uniform value within b has the deviation b / sqrt(3).
    """
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    start = random.next_key() if key is None else as_tensor(key)
    keys = random.split(start if device is None else start.to(device), len(shapes))
    drawn = []
    for i, shape in enumerate(shapes):
        value = random.uniform(keys[i], shape, dtype, -bound, bound)
        drawn.append(_parameter(value))
    return drawn


def _parameter(value: Tensor) -> Tensor:
    return tensor(value, requires_grad=True)


def _positive(**sizes: Any) -> None:
    for name, size in sizes.items():
        if as_places((size,), name)[0] < 1:
            raise ArgumentError(f"{name} is {size}", remedy="a positive size")


class Linear(Module):
    """x W^T + b: (..., in_features) -> (..., out_features); weight (out, in), bias (out,).

    >>> import tinyml
    >>> Linear(2, 3, key=tinyml.random.key(0))
    Linear(in_features=2, out_features=3, bias=True)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, key: Any = None,
                 dtype: Any = None, device: Any = None) -> None:
        _positive(in_features=in_features, out_features=out_features)
        bias = as_flag(bias, "bias")
        self.in_features = in_features
        self.out_features = out_features
        shapes: list[tuple[int, ...]] = [(out_features, in_features), (out_features,)]
        drawn = _drawn(key, shapes[: 1 + bias], in_features, dtype, device)
        self.weight = drawn[0]
        self.bias = drawn[1] if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b: (..., in_features) -> (..., out_features)."""
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (f"in_features={self.in_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}")


class Conv2d(Module):
    """2-D cross-correlation: (N, in_channels, H, W) -> (N, out_channels, H', W').

    weight (out_channels, in_channels, kh, kw), bias (out_channels,); sizes as in
    `functional.conv2d`.

    >>> import tinyml
    >>> Conv2d(1, 8, 3, padding=1, key=tinyml.random.key(0))(tinyml.ones((2, 1, 8, 8))).shape
    (2, 8, 8, 8)
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, bias: bool = True, *, key: Any = None,
                 dtype: Any = None, device: Any = None) -> None:
        self.kernel_size = as_pair(kernel_size, "kernel_size")
        _positive(in_channels=in_channels, out_channels=out_channels,
                  **{f"kernel_size[{i}]": size for i, size in enumerate(self.kernel_size)})
        bias = as_flag(bias, "bias")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = as_pair(stride, "stride")
        self.padding = as_pair(padding, "padding")
        self.dilation = as_pair(dilation, "dilation")
        fan_in = in_channels * math.prod(self.kernel_size)
        shapes = [(out_channels, in_channels, *self.kernel_size), (out_channels,)]
        drawn = _drawn(key, shapes[: 1 + bias], fan_in, dtype, device)
        self.weight = drawn[0]
        self.bias = drawn[1] if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the cross-correlation: (N, in_channels, H, W) -> (N, out_channels, H', W')."""
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding,
                                 self.dilation)

    def extra_repr(self) -> str:
        """Return the sizes, and the settings that differ from the defaults."""
        text = (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
                f"stride={self.stride}")
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        return text if self.bias is not None else text + ", bias=False"


class MaxPool2d(Module):
    """The maximum of each window: (N, C, H, W) -> (N, C, H', W'); `stride` defaults to the kernel.

    >>> import tinyml
    >>> MaxPool2d(2)(tinyml.ones((1, 3, 4, 6))).shape
    (1, 3, 2, 3)
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.kernel_size = as_pair(kernel_size, "kernel_size")
        self.stride = self.kernel_size if stride is None else as_pair(stride, "stride")
        self.padding = as_pair(padding, "padding")

    def forward(self, x: Tensor) -> Tensor:
        """Return the maximum of each window: (N, C, H, W) -> (N, C, H', W')."""
        return functional.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        """Return the window's settings."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class ReLU(Module):
    """max(x, 0), any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, 0), in the shape of x."""
        return functional.relu(x)


class GELU(Module):
    """x Phi(x), any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x Phi(x), in the shape of x."""
        return functional.gelu(x)


class Flatten(Module):
    """The axes from `start_dim` to `end_dim` merged into one.

    >>> import tinyml
    >>> Flatten()(tinyml.ones((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = as_size(start_dim, "start_dim")
        self.end_dim = as_size(end_dim, "end_dim")

    def forward(self, x: Tensor) -> Tensor:
        """Return x with these axes merged: (..., a, b, ...) -> (..., a b, ...)."""
        x = as_tensor(x)
        start, end = as_axis(self.start_dim, x.ndim), as_axis(self.end_dim, x.ndim)
        if start > end:
            raise AxisError(f"start_dim {self.start_dim} lies behind end_dim {self.end_dim}")
        merged = math.prod(x.shape[start : end + 1])
        return x.reshape((*x.shape[:start], merged, *x.shape[end + 1 :]))

    def extra_repr(self) -> str:
        """Return the axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axis, of size `normalized_shape`.

    >>> import tinyml
    >>> LayerNorm(3)(tinyml.ones((2, 3))).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, *, dtype: Any = None,
                 device: Any = None) -> None:
        shape = as_sizes(normalized_shape, "normalized_shape")
        if len(shape) != 1 or shape[0] < 1:
            raise ArgumentError(f"normalized_shape is {shown(normalized_shape)}",
                                remedy="the size of the last axis")
        self.normalized_shape = shape
        self.eps = float(as_number(eps, "eps"))
        self.weight = _parameter(ones(shape, dtype=dtype, device=device))
        self.bias = _parameter(zeros(shape, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised over its last axis: (..., n) -> (..., n)."""
        return functional.layer_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the size and eps."""
        return f"{self.normalized_shape}, eps={self.eps}"


class Sequential(Module):
    """Modules applied one after the other, named '0', '1', ...

    >>> len(Sequential(Flatten(), ReLU())), Sequential(Flatten(), ReLU())[-1]
    (2, ReLU())
    """

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def forward(self, x: Any) -> Any:
        """Return the last module's result, each module taking the result of the one before."""
        for module in self:
            x = module(x)
        return x

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.children())

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    @named_in_errors
    def __getitem__(self, index: int) -> Module:
        return [module for _, module in self.children()][index]
