"""Neural-network functions, with PyTorch's names and order of arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tinyml.ops.elementwise.activation as activation
import tinyml.ops.nn.convolution as convolution
import tinyml.ops.nn.loss as loss
import tinyml.ops.nn.normalization as normalization
import tinyml.ops.nn.pooling as pooling
import tinyml.ops.nn.softmax as normalized
from tinyml.core.error_context import named_in_errors
from tinyml.core.upload import upload_all
from tinyml.errors import ArgumentError, shown
from tinyml.errors.hints import front
from tinyml.ops.matmul import matmul
from tinyml.ops.rounding import rounded_once
from tinyml.tensor import Tensor

__all__ = ["conv2d", "cross_entropy", "gelu", "layer_norm", "linear", "log_softmax", "max_pool2d",
           "mse_loss", "relu", "softmax"]


@named_in_errors
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b: input (..., in), weight (out, in), bias (out,) -> (..., out).

    >>> import tinyml
    >>> x, weight, bias = (tinyml.tensor(v) for v in ([1.0, 2.0], [[3.0, 4.0]], [5.0]))
    >>> linear(x, weight, bias).tolist()
    [16.0]
    """
    input, weight = upload_all((input, weight))
    return matmul(input, weight.T) if bias is None else _affine(input, weight, bias)


@rounded_once
def _affine(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    product: Tensor = matmul(input, weight.T)
    return product + bias


@named_in_errors
def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
           padding: Any = 0, dilation: Any = 1) -> Tensor:
    """Return the cross-correlation (N, O, H', W') of input (N, C, H, W), weight (O, C, kh, kw).

    H' = floor((H + 2 padding - dilation (kh - 1) - 1) / stride) + 1, and likewise W'. `stride`,
    `padding` and `dilation` are one int or one per axis. bias is (O,). Raises ShapeError if no
    window fits.

    >>> import tinyml
    >>> conv2d(tinyml.ones((1, 1, 3, 3)), tinyml.ones((2, 1, 2, 2)), padding=1).shape
    (1, 2, 4, 4)
    """
    if bias is None:
        return convolution.conv2d(input, weight, stride, padding, dilation)
    return _biased(input, weight, bias, stride, padding, dilation)


@rounded_once
def _biased(input: Tensor, weight: Tensor, bias: Tensor, stride: Any, padding: Any,
            dilation: Any) -> Tensor:
    result = convolution.conv2d(input, weight, stride, padding, dilation)
    return result + bias.reshape((-1, 1, 1))


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """Return the maximum of each window: (N, C, H, W) -> (N, C, H', W').

    `stride` defaults to the kernel's size. Padding counts as minus infinity; a NaN in a window is
    its maximum. Raises ShapeError if no window fits.

    >>> import tinyml
    >>> max_pool2d(tinyml.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2).tolist()
    [[[[4.0]]]]
    """
    return pooling.max_pool2d(input, kernel_size, stride, padding)[0]


def relu(input: Tensor) -> Tensor:
    """Return max(x, 0); NaN stays NaN."""
    return activation.relu(input)


def gelu(input: Tensor) -> Tensor:
    """Return x Phi(x) with the exact normal distribution function (Hendrycks and Gimpel 2016)."""
    return activation.gelu(input)


@named_in_errors
def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """Return exp(x) / sum(exp(x)) along one axis."""
    return normalized.softmax(input, dim)


@named_in_errors
def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """Return x - log(sum(exp(x))) along one axis."""
    return normalized.log_softmax(input, dim)


def layer_norm(input: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) * weight + bias over the last axis (Ba et al. 2016)."""
    return normalization.layer_norm(input, weight, bias, eps)


def cross_entropy(input: Tensor, target: Tensor) -> Tensor:
    """Return the mean over rows of -log softmax(input)[target]: (N, C) and int (N,) -> ().

    >>> import tinyml
    >>> round(cross_entropy(tinyml.zeros((2, 4)), tinyml.tensor([0, 3])).item(), 4)
    1.3863
    """
    return loss.cross_entropy(input, target)


@named_in_errors
@rounded_once
def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Return the "mean" or "sum" of (x - y)^2, or each with "none". Raises ArgumentError.

    >>> import tinyml
    >>> mse_loss(tinyml.tensor([1.0, 2.0]), tinyml.tensor([3.0, 2.0])).item()
    2.0
    """
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f"no reduction {shown(reduction)}", remedy="mean, sum or none")
    input, target = upload_all((input, target))
    difference = input - target
    squares = difference * difference
    if reduction == "none":
        return squares
    return squares.mean() if reduction == "mean" else squares.sum()


if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
