"""Optimizer, SGD and AdamW: a step replaces each parameter's content, with one kernel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinyml.concurrency import no_grad
from tinyml.core.apply import apply, apply_many
from tinyml.core.error_context import named_in_errors
from tinyml.core.node import Leaf
from tinyml.errors import ArgumentError, ArgumentTypeError, TinyMLError, shown
from tinyml.nn.module import Module, as_state, conform
from tinyml.ops.arguments import as_flag, as_items, as_number
from tinyml.ops.creation import zeros_like
from tinyml.ops.nn.optimizer_steps import ADAMW_STEP, SGD_MOMENTUM_STEP, SGD_STEP
from tinyml.state.number import defer
from tinyml.state.stateful import Stateful
from tinyml.tensor import Tensor


class Optimizer(Stateful):
    """Base class of optimizers, which update parameters by their gradients; see SGD and AdamW.

    `lr` may be set between steps. `names` are the settings and `slots` the tensors per parameter
    that `state_dict` holds, float32 for a parameter of 16 bits. A parameter whose gradient is None
    does not change, nor does its step count.

    An optimizer is a pytree, so a jitted step takes it as an argument, together with the module
    whose parameters it updates; a new `lr` is then no new trace.
    """

    run_time = ("_lr", "params", "state", "steps")
    names: tuple[str, ...] = ("lr",)
    slots: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Tensor], lr: float, **settings: float) -> None:
        self.params = [_checked(param) for param in _list(params)]
        if not self.params:
            raise ArgumentError("no parameters", remedy="model.parameters()")
        if len({id(param) for param in self.params}) < len(self.params):
            raise ArgumentError("a parameter is given twice")
        self.lr = lr
        for name, value in settings.items():
            setattr(self, name, _setting(name, value))
        self.steps = [0] * len(self.params)
        self.state: list[tuple[Tensor, ...] | None] = [None] * len(self.params)

    @property
    def lr(self) -> float:
        """The learning rate, at least 0 and finite."""
        rate: float = self._lr
        return rate

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = defer(_setting, "lr", value)

    def zero_grad(self) -> None:
        """Set `grad` of each parameter to None."""
        self._check_may_change(".zero_grad: gradients")
        for param in self.params:
            param.grad = None

    def step(self) -> None:
        """Replace the content of each parameter that has a gradient."""
        self._check_may_change(".step: parameters")
        with no_grad():
            for i, param in enumerate(self.params):
                gradient = param.grad
                if gradient is None:
                    continue
                state = self.state[i]
                if state is None:
                    state = tuple([_state_like(param).copy() for _ in self.slots])  # dense
                new, state = self.update(param, gradient, state, self.steps[i] + 1)
                param._replace(new)
                self.state[i] = state or None
                self.steps[i] += 1

    def update(self, param: Tensor, gradient: Tensor, state: tuple[Tensor, ...],
               step: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return a parameter's new content and state at step `step`, counted from 1."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """Return settings, step counts and tensors under flat names, ready for `tinyml.save`.

        'step.0', 'exp_avg.0' and so on belong to the first parameter.
        """
        result: dict[str, Any] = {name: np.array(getattr(self, name)) for name in self.names}
        for i, state in enumerate(self.state):
            result[f"step.{i}"] = np.array(self.steps[i])
            if state is not None:
                for slot, value in zip(self.slots, state, strict=True):
                    result[f"{slot}.{i}"] = value.detach()
        return result

    @named_in_errors
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore settings, step counts and tensors from a `state_dict`, direct or from a file.

        Raises ArgumentError that lists all missing and unexpected names and all wrong shapes and
        kinds; in that case nothing is changed.
        """
        as_state(state)
        wrong: list[str] = []
        settings = {name: _number(state, name, wrong) for name in self.names}
        steps, tensors = [], []
        known = set(self.names)
        for i, param in enumerate(self.params):
            names = [f"{slot}.{i}" for slot in self.slots]
            known.update(names, (f"step.{i}",))
            steps.append(int(_number(state, f"step.{i}", wrong)))
            begun = any(name in state for name in names) or (bool(names) and steps[-1] > 0)
            tensors.append(_tensors(state, names, param, wrong) if begun else None)
        wrong += [f"unexpected: {name}" for name in state if name not in known]
        if wrong:
            raise ArgumentError(
                f"the state does not fit {type(self).__name__}:\n    " + "\n    ".join(wrong),
                remedy="the same optimizer over the same parameters in the same order",
            )
        for name, value in settings.items():
            setattr(self, name, type(getattr(self, name))(value))
        self.steps = steps
        self.state = tensors

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in self.names)
        return f"{type(self).__name__}({len(self.params)} parameters, {settings})"


class SGD(Optimizer):
    """Gradient descent with momentum (Polyak 1964; Nesterov's as in Sutskever et al. 2013).

    `weight_decay` adds an L2 penalty to the gradient. Raises ArgumentError for negative or NaN
    settings and for `nesterov` without momentum.
    """

    names = ("lr", "momentum", "weight_decay", "nesterov")

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False) -> None:
        self.momentum: float
        self.weight_decay: float
        super().__init__(params, lr, momentum=momentum, weight_decay=weight_decay)
        nesterov = as_flag(nesterov, "nesterov")
        if nesterov and not self.momentum:
            raise ArgumentError("nesterov without momentum", remedy="momentum=0.9")
        self.nesterov = nesterov
        self.slots = ("momentum_buffer",) if self.momentum else ()

    def update(self, param: Tensor, gradient: Tensor, state: tuple[Tensor, ...],
               step: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the results of one `sgd_step` or `sgd_momentum_step`."""
        if not self.slots:
            new: Tensor = apply(SGD_STEP, param, gradient, self.lr, decay=self.weight_decay)
            return new, ()
        new, *rest = apply_many(SGD_MOMENTUM_STEP, param, gradient, *state, self.lr,
                           momentum=self.momentum, decay=self.weight_decay,
                           nesterov=self.nesterov)
        return new, tuple(rest)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Raises ArgumentError for negative or NaN settings and for betas outside [0, 1).
    """

    names = ("lr", "beta1", "beta2", "eps", "weight_decay")
    slots = ("exp_avg", "exp_avg_sq")

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2) -> None:
        self.beta1: float
        self.beta2: float
        self.eps: float
        self.weight_decay: float
        pair = as_items(betas, "betas")
        if len(pair) != 2:
            raise ArgumentError(f"betas are {shown(betas)}", remedy="two numbers below 1")
        super().__init__(params, lr, beta1=pair[0], beta2=pair[1], eps=eps,
                         weight_decay=weight_decay)
        if max(self.beta1, self.beta2) >= 1:
            raise ArgumentError(f"betas {betas}", remedy="both below 1")

    def update(self, param: Tensor, gradient: Tensor, state: tuple[Tensor, ...],
               step: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the results of one `adamw_step`."""
        keep = 1 - self.lr * self.weight_decay
        rate = self.lr / (1 - self.beta1**step)
        root = defer(math.sqrt, 1 - self.beta2**step)
        new, *rest = apply_many(ADAMW_STEP, param, gradient, *state,
                           keep, rate, root, weight1=1 - self.beta1,
                           beta2=self.beta2, weight2=1 - self.beta2, eps=self.eps)
        return new, tuple(rest)


def _state_like(param: Tensor) -> Tensor:
    """Return zeros like a parameter's state: float32 for one of 16 bits."""
    return zeros_like(param, dtype=param.dtype.compute)


def _list(params: Any) -> list[Any]:
    if isinstance(params, Tensor):
        raise ArgumentTypeError("params is one tensor", remedy="a list of tensors")
    if isinstance(params, Module):
        raise ArgumentTypeError(f"params is a {type(params).__name__}, a module",
                                remedy="its parameters: model.parameters()")
    return as_items(params, "params")


def _checked(param: Any) -> Tensor:
    if not isinstance(param, Tensor):
        raise ArgumentTypeError(f"a parameter is a {type(param).__name__}", remedy="a tensor")
    if not isinstance(param.node, Leaf):
        raise ArgumentError("a parameter is no tensor made with requires_grad=True",
                            remedy="tensor(..., requires_grad=True), or model.parameters()")
    return param


def _setting(name: str, value: float) -> float:
    number = float(as_number(value, name))
    if not 0 <= number < math.inf:
        raise ArgumentError(f"{name} is {shown(value)}", remedy="a finite number, at least 0")
    return number


def _number(state: Mapping[str, Any], name: str, wrong: list[str]) -> float:
    if name not in state:
        wrong.append(f"missing: {name}")
        return 0.0
    value = state[name]
    if isinstance(value, Tensor):
        value = value.numpy()
    if np.shape(value) != () or np.asarray(value).dtype.kind not in "biuf":
        wrong.append(f"{name}: not one number")
        return 0.0
    return float(value)


def _tensors(state: Mapping[str, Any], names: list[str], param: Tensor,
             wrong: list[str]) -> tuple[Tensor, ...]:
    found = []
    for name in names:
        if name not in state:
            wrong.append(f"missing: {name}")
            continue
        try:
            found.append(conform(state[name], _state_like(param)))
        except TinyMLError as error:
            wrong.append(f"{name}: {error.message}")
    return tuple(found)
