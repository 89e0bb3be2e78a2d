"""Optimizer steps: each composite updates one parameter and its state in one kernel.

What changes from step to step (rates, corrections) is a Python number, passed at run time, so
nothing is recompiled; what is fixed for a training run is an attribute. The optimizer computes all
of them in double precision: 1 - 0.999 in float32 has a relative error of 5e-5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyml.dtypes import as_dtype
from tinyml.errors import ArgumentTypeError, DTypeError, ShapeError, expect
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_number, with_shape
from tinyml.ops.samples.values import ErrorCase, Sample, spread, transposed


def _infer(tensors: int, numbers: int, outputs: int) -> Callable[..., Any]:
    """Return the shape rule of a step: a parameter and its gradient, its state, then numbers.

    The state of a 16-bit parameter is float32: in 16 bits, a mean of small squares would be 0.
    """

    def infer(p: Spec, *others: Any, **_: Any) -> Any:
        expect(len(others) == tensors + numbers - 1,
               f"operands: {tensors} tensors and {numbers} numbers", 1 + len(others),
               ArgumentTypeError)
        expect(p.dtype.is_float, "a float type", p.dtype.name, DTypeError)
        for k, spec in enumerate(others[: tensors - 1], 1):
            expect(spec.shape == p.shape, f"operand {k} of shape {p.shape}", spec.shape, ShapeError)
            wanted = p.dtype if k == 1 else as_dtype(p.dtype.compute)
            expect(spec.dtype is wanted, f"operand {k} of {wanted.name}", spec.dtype.name,
                   DTypeError)
        for k, rate in enumerate(others[tensors - 1 :], tensors):
            if isinstance(rate, Spec):  # a number computed as a tensor
                expect(rate.shape == (), f"operand {k} of shape ()", rate.shape, ShapeError)
                expect(rate.dtype.name in (p.dtype.name, p.dtype.compute),
                       f"operand {k} of {p.dtype.compute}", rate.dtype.name, DTypeError)
        out = with_shape(p, p.shape)
        if outputs == 1:
            return out
        return out, *[with_shape(p, p.shape, as_dtype(p.dtype.compute))] * (outputs - 1)

    return infer


def _normalize(*names: str) -> Callable[..., dict[str, Any]]:
    """Return a rule that checks attributes by name: numbers, and the bool `nesterov`."""

    def normalize(*_: Any, **attrs: Any) -> dict[str, Any]:
        expect(sorted(attrs) == sorted(names), f"attributes {', '.join(names)}",
               ", ".join(attrs) or "none", ArgumentTypeError)
        numbers = {name: as_number(value, name) for name, value in attrs.items()}
        return {name: bool(value) if name == "nesterov" else float(value)
                for name, value in numbers.items()}

    return normalize


def _samples(tensors: int, numbers: tuple[float, ...], attrs: dict[str, Any],
             **other: Any) -> Callable[[str], list[Sample]]:
    """Return the samples of a step; the fourth tensor, a mean of squares, is positive."""

    def make(dtype: str) -> list[Sample]:
        def args(*shape: int) -> tuple[Any, ...]:
            low = [-2.0] * 3 + [0.1]
            wide = as_dtype(dtype).compute
            drawn = [spread(dtype if k < 2 else wide, shape, low[k], 2.0, seed=f"state {k}")
                     for k in range(tensors)]
            return (*drawn, *numbers)

        cases = [
            Sample(args(7), attrs, "vector", True),
            Sample(args(3, 4), {**attrs, **other}, "other", True),
            Sample(args(), attrs, "0-d", True),
            Sample(args(0, 3), attrs, "empty"),
        ]
        turned = tuple([transposed(x) for x in args(3, 4)[:tensors]])
        return [*cases, Sample((*turned, *args(1)[tensors:]), attrs, "transposed")]

    return make


def _errors(tensors: int, numbers: int, attrs: dict[str, Any]) -> Callable[[], list[ErrorCase]]:
    def make() -> list[ErrorCase]:
        state = [np.ones(3, np.float32)] * (tensors - 1)
        rates = [1.0] * numbers
        return [
            ErrorCase((np.ones(2, np.float32), *state, *rates), attrs, ShapeError, "of shape"),
            ErrorCase((np.ones(3, np.float64), *state, *rates), attrs, DTypeError, "of float64"),
            ErrorCase((np.ones(3, np.int32), *state, *rates), attrs, DTypeError, "float type"),
        ]

    return make


def sgd_step(p: Any, g: Any, rate: Any, *, decay: float) -> Any:
    """Return p - rate (g + decay p): stochastic gradient descent with an L2 penalty."""
    if decay:
        g = g + p * decay
    return p - g * rate


def sgd_momentum_step(p: Any, g: Any, b: Any, rate: Any, *, momentum: float, decay: float,
                      nesterov: bool) -> tuple[Any, Any]:
    """Return p' = p - rate b' and b' = momentum b + g (Polyak 1964), as PyTorch defines them.

    With `nesterov`, p' = p - rate (g + momentum b') (Sutskever et al. 2013).
    """
    if decay:
        g = g + p * decay
    b = b * momentum + g
    direction = g + b * momentum if nesterov else b
    return p - direction * rate, b


def adamw_step(p: Any, g: Any, m: Any, v: Any, keep: Any, rate: Any, root: Any, *,
               weight1: float, beta2: float, weight2: float, eps: float) -> tuple[Any, Any, Any]:
    """Return p', m' and v' of a step with decoupled weight decay (Loshchilov and Hutter 2019).

    eps is added to the corrected root:

    m' = m + weight1 (g - m);  v' = beta2 v + weight2 g^2
    p' = keep p - rate m' / (sqrt(v') / root + eps)

    with weight1 = 1 - beta1, weight2 = 1 - beta2, keep = 1 - lr decay, rate = lr / (1 - beta1^t),
    root = sqrt(1 - beta2^t).
    """
    m = m + (g - m) * weight1
    v = v * beta2 + g * g * weight2
    return p * keep - m * rate / (v.sqrt() / root + eps), m, v


_SGD = {"decay": 0.0}
_MOMENTUM = {"momentum": 0.9, "decay": 0.0, "nesterov": False}
_ADAMW = {"weight1": 0.1, "beta2": 0.95, "weight2": 0.05, "eps": 1e-3}

SGD_STEP: Op = define(
    "sgd_step", _infer(2, 1, 1), normalize=_normalize(*_SGD), body=sgd_step, ulp=16,
    samples=_samples(2, (0.1,), _SGD, decay=0.2),
    errors=_errors(2, 1, _SGD), doc="p - rate (g + decay p).",
)
SGD_MOMENTUM_STEP: Op = define(
    "sgd_momentum_step", _infer(3, 1, 2), normalize=_normalize(*_MOMENTUM), body=sgd_momentum_step,
    ulp=16,
    samples=_samples(3, (0.1,), _MOMENTUM, decay=0.2, nesterov=True),
    errors=_errors(3, 1, _MOMENTUM),
    doc="b' = momentum b + g + decay p; p' = p - rate b', or with nesterov p - rate (g + decay p + "
        "momentum b') (Polyak 1964; Sutskever et al. 2013). Results p', b'.",
)
ADAMW_STEP: Op = define(
    "adamw_step", _infer(4, 3, 3), normalize=_normalize(*_ADAMW), body=adamw_step, ulp=32,
    samples=_samples(4, (0.9, 0.1, 0.3), _ADAMW, eps=0.1), errors=_errors(4, 3, _ADAMW),
    doc="m' = m + weight1 (g - m); v' = beta2 v + weight2 g^2; p' = keep p - rate m' / (sqrt(v') / "
        "root + eps) (Loshchilov and Hutter 2019). Results p', m', v'.",
)
