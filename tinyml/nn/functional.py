"""The functions of networks, in PyTorch's names and order of arguments, by the operations."""

from __future__ import annotations

from typing import Any

import tinyml.ops.elementwise.activation as activation
import tinyml.ops.nn.convolution as convolution
import tinyml.ops.nn.loss as loss
import tinyml.ops.nn.normalization as normalization
import tinyml.ops.nn.pooling as pooling
import tinyml.ops.nn.softmax as normalized
from tinyml.errors import ArgumentError
from tinyml.ops.arguments import as_sizes
from tinyml.tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b: input (..., in), weight (out, in), bias (out,) -> (..., out).

    >>> import tinyml
    >>> x, weight, bias = (tinyml.tensor(v) for v in ([1.0, 2.0], [[3.0, 4.0]], [5.0]))
    >>> linear(x, weight, bias).tolist()
    [16.0]
    """
    product: Tensor = input @ weight.T
    return product if bias is None else product + bias


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
           padding: Any = 0, dilation: Any = 1) -> Tensor:
    """Cross-correlation: input (N, C, H, W), weight (O, C, kh, kw), bias (O,) -> (N, O, H', W').

    H' = floor((H + 2 padding - dilation (kh - 1) - 1) / stride) + 1, and W' alike. `stride`,
    `padding` and `dilation` are one int or one per axis.

    >>> import tinyml
    >>> conv2d(tinyml.ones((1, 1, 3, 3)), tinyml.ones((2, 1, 2, 2)), padding=1).shape
    (1, 2, 4, 4)
    """
    result = convolution.conv2d(input, weight, pair(stride, "stride"), pair(padding, "padding"),
                                pair(dilation, "dilation"))
    return result if bias is None else result + bias.reshape((-1, 1, 1))


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The greatest value of each window: (N, C, H, W) -> (N, C, H', W'); `stride` None: the kernel.

    Padding counts as minus infinity; NaN in a window is its greatest value.

    >>> import tinyml
    >>> max_pool2d(tinyml.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2).tolist()
    [[[[4.0]]]]
    """
    kernel = pair(kernel_size, "kernel_size")
    step = kernel if stride is None else pair(stride, "stride")
    return pooling.max_pool2d(input, kernel, step, pair(padding, "padding"))[0]


def relu(input: Tensor) -> Tensor:
    """max(x, 0); NaN stays NaN."""
    return activation.relu(input)


def gelu(input: Tensor) -> Tensor:
    """x Phi(x) with the exact normal distribution function (Hendrycks and Gimpel, 2016)."""
    return activation.gelu(input)


def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along one axis."""
    return normalized.softmax(input, dim)


def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """x - log(sum(exp(x))) along one axis."""
    return normalized.log_softmax(input, dim)


def layer_norm(input: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axis (Ba et al., 2016)."""
    return normalization.layer_norm(input, weight, bias, eps)


def cross_entropy(input: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of -log softmax(input)[target]: (N, C) and int (N,) -> ().

    >>> import tinyml
    >>> round(cross_entropy(tinyml.zeros((2, 4)), tinyml.tensor([0, 3])).item(), 4)
    1.3863
    """
    return loss.cross_entropy(input, target)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(x - y)^2, its mean, its sum or each ("none"). Raises ArgumentError for another word.

    >>> import tinyml
    >>> mse_loss(tinyml.tensor([1.0, 2.0]), tinyml.tensor([3.0, 2.0])).item()
    2.0
    """
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f"no reduction {reduction!r}", remedy="mean, sum or none")
    difference = input - target
    squares = difference * difference
    if reduction == "none":
        return squares
    return squares.mean() if reduction == "mean" else squares.sum()


def pair(value: Any, name: str) -> tuple[int, int]:
    """One int for both axes, or one each; ArgumentError for another number of them.

    >>> pair(2, "stride"), pair((1, 3), "stride")
    ((2, 2), (1, 3))
    """
    sizes = as_sizes(value, name)
    if len(sizes) == 1:
        sizes *= 2
    if len(sizes) != 2:
        raise ArgumentError(f"{name} is {value!r}", remedy="one int or two")
    return sizes[0], sizes[1]
