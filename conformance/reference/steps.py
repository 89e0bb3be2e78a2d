"""The reference's gradients that are ops themselves, and the steps of optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arithmetic import erfc, softmax
from .rules import define

Array = npt.NDArray[Any]

_PI = np.longdouble("3.141592653589793238462643383279502884197")


@define("gelu_dx", result="float")
def gelu_dx(g: Array, x: Array) -> Array:
    """Return g times the derivative of x Phi(x): Phi(x) + x phi(x)."""
    density = np.exp(-x * x / 2) / np.sqrt(2 * _PI)
    return np.asarray(g * (erfc(-x / np.sqrt(np.longdouble(2))) / 2 + x * density))


@define("softmax_dx", result="float")
def softmax_dx(g: Array, y: Array, axis: int) -> Array:
    """Return softmax's Jacobian, diag(y) - y y^T, times g."""
    return np.asarray(y * (g - np.sum(g * y, axis, keepdims=True)))


@define("log_softmax_dx", result="float")
def log_softmax_dx(g: Array, y: Array, axis: int) -> Array:
    """Return log_softmax's transposed Jacobian, I - exp(y) 1^T, times g."""
    return np.asarray(g - np.exp(y) * np.sum(g, axis, keepdims=True))


@define("cross_entropy_dx", result="float", data=(0, 1))
def cross_entropy_dx(g: Array, logits: Array, labels: Array) -> Array:
    """Return g / N times (the probabilities, less one at the label)."""
    result = softmax(logits, 1)
    result[np.arange(len(labels)), labels] -= 1
    return np.asarray(result * (g / len(labels)))


@define("sgd_step")
def sgd_step(p: Array, g: Array, rate: Array, decay: float) -> Array:
    """Return a step of gradient descent with an L2 penalty."""
    return np.asarray(p - rate * (g + decay * p))


@define("sgd_momentum_step", result="first and its state", data=(0, 1))
def sgd_momentum_step(
    p: Array, g: Array, b: Array, rate: Array, momentum: float, decay: float, nesterov: bool
) -> tuple[Array, Array]:
    """Return a step of momentum descent (Polyak 1964; Sutskever et al. 2013 with `nesterov`)."""
    slope = g + decay * p
    speed = momentum * b + slope
    return np.asarray(p - rate * (slope + momentum * speed if nesterov else speed)), speed


@define("adamw_step", result="first and two of its state", data=(0, 1))
def adamw_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    keep: Array,
    rate: Array,
    root: Array,
    weight1: float,
    beta2: float,
    weight2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Return a step of AdamW (Loshchilov and Hutter 2019); the caller passes the corrections."""
    first = (1 - np.longdouble(weight1)) * m + weight1 * g
    second = beta2 * v + weight2 * g * g
    return keep * p - rate * first / (np.sqrt(second) / root + eps), first, second
