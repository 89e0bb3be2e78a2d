"""Normalisation of activations: layer normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.make import Tensor
from tinyml.errors import DTypeError, ShapeError, expect
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_number, with_shape
from tinyml.ops.samples import ErrorCase

__all__ = ["layer_norm"]


def _infer(x: Spec, weight: Spec, bias: Spec, *, eps: float) -> Spec:
    expect(x.ndim > 0 and x.shape[-1] > 0, "a last axis with elements", x.shape)
    for part, name in ((weight, "weight"), (bias, "bias")):
        expect(part.shape == x.shape[-1:], f"{name} of shape {x.shape[-1:]}", part.shape)
        expect(part.dtype is x.dtype, f"{name} of {x.dtype.name}", part.dtype.name, DTypeError)
    expect(x.dtype.is_float, "a float type", x.dtype.name, DTypeError)
    return with_shape(x, x.shape)


def _body(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    last = x.ndim - 1
    mean = x.mean(last, True)
    spread = x.var(last, 0.0, True)
    return (x - mean) / (spread + eps).sqrt() * weight + bias


LAYER_NORM: Op = define(
    "layer_norm", _infer, body=_body, samples=samples.layer_norm(), ulp=64,
    normalize=lambda x, w, b, eps=1e-5: {"eps": float(as_number(eps, "eps"))},
    errors=lambda: [ErrorCase((np.ones((2, 3), np.float32), *[np.ones(2, np.float32)] * 2),
                              {"eps": 1e-5}, ShapeError, "weight of shape")],
    doc="(x - mean) / sqrt(var + eps) over the last axis, times weight plus bias "
        "(Ba, Kiros and Hinton 2016).",
)


def layer_norm(x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) over the last axis, times weight plus bias.

    weight and bias have the shape of that axis and x's float type (Ba, Kiros and Hinton 2016).
    Raises ShapeError, DTypeError.

    >>> import tinyml
    >>> x = tinyml.tensor([[1.0, 3.0]])
    >>> tinyml.layer_norm(x, tinyml.ones(2), tinyml.zeros(2), 0.0).tolist()
    [[-1.0, 1.0]]
    """
    return apply(LAYER_NORM, x, weight, bias, eps=eps)
