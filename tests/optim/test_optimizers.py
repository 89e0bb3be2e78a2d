"""Optimizers and schedules: torch's numbers step by step, state that comes back, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml import io
from tinyml.errors import ArgumentError, TinyMLError
from tinyml.optim import SGD, AdamW, Optimizer, cosine, one_cycle

STEPS = 50
SHAPES = [(3, 4), (4,), ()]
SGD_CASES: list[dict[str, Any]] = [
    {"lr": 0.05},
    {"lr": 0.05, "weight_decay": 0.1},
    {"lr": 0.05, "momentum": 0.9},
    {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
]
ADAM_CASES: list[dict[str, Any]] = [
    {},
    {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    {"lr": 0.05, "weight_decay": 0.0},
]


def start(dtype: str = "float64") -> list[np.ndarray]:
    """The contents of the parameters before the first step."""
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape).astype(dtype) for shape in SHAPES]


def loss(params: list[Any], step: int) -> Any:
    """Something that is not quadratic, in the words that both frameworks have."""
    w, b, s = params
    y = (w * w).sum() * 0.1 + ((w + b) ** 4).sum() * 0.01
    return y + (b * b * s).sum() * math.cos(step) + s * s


def steps(optimizer: Any, params: list[Any], first: int, last: int) -> None:
    """Train from one step to another, the rate falling."""
    for step in range(first, last):
        optimizer.lr = 0.05 / (1 + step)
        optimizer.zero_grad()
        loss(params, step).backward()
        optimizer.step()


@pytest.mark.peers("torch")
@pytest.mark.parametrize(("name", "options"), [("SGD", o) for o in SGD_CASES] + [
    ("AdamW", o) for o in ADAM_CASES])
def test_fifty_steps_equal_torch_s(name: str, options: dict[str, Any], device: str) -> None:
    import torch

    theirs = [torch.tensor(value, requires_grad=True) for value in start()]
    ours = [tinyml.tensor(value, device=device, requires_grad=True) for value in start()]
    their_optimizer = getattr(torch.optim, name)(theirs, **options)
    our_optimizer = getattr(tinyml.optim, name)(ours, **options)
    for step in range(STEPS):
        rate = options.get("lr", 1e-3) * (1 + math.cos(step)) / 2
        their_optimizer.param_groups[0]["lr"] = our_optimizer.lr = rate
        for optimizer, params in ((their_optimizer, theirs), (our_optimizer, ours)):
            optimizer.zero_grad()
            loss(params, step).backward()
        if step % 7 == 3:  # a parameter without a gradient waits, and does not count the step
            theirs[1].grad = ours[1].grad = None
        their_optimizer.step()
        our_optimizer.step()
        for their, our in zip(theirs, ours, strict=True):
            expected = their.detach().numpy()
            assert np.allclose(our.detach().numpy(),
                               expected, rtol=1e-8, atol=1e-10)


@pytest.mark.kernels(3)
@pytest.mark.parametrize(("make", "options"), [(SGD, o) for o in SGD_CASES] + [
    (AdamW, o) for o in ADAM_CASES])
def test_a_state_comes_back_bit_for_bit(make: type[Optimizer], options: dict[str, Any],
                                        tmp_path: Path, device: str) -> None:
    def fresh() -> tuple[list[Any], Any]:
        params = [tinyml.tensor(value, device=device, requires_grad=True)
                  for value in start("float32")]
        return params, make(params, **options)

    params, optimizer = fresh()
    steps(optimizer, params, 0, 5)
    contents = [param.detach().copy() for param in params]
    state = optimizer.state_dict()
    io.save(tmp_path / "state", state)
    steps(optimizer, params, 5, 10)
    for saved in (state, io.load(tmp_path / "state")):
        again, second = fresh()
        for param, content in zip(again, contents, strict=True):
            param._replace(content)
        second.load_state_dict(saved)
        steps(second, again, 5, 10)
        assert second.lr == optimizer.lr
        for one, two in zip(params, again, strict=True):
            assert np.array_equal(one.detach().numpy(), two.detach().numpy())


def test_a_parameter_keeps_its_identity_and_needs_gradients_still() -> None:
    param = tinyml.tensor([1.0, 2.0], requires_grad=True)
    optimizer = SGD([param], lr=0.5)
    (param * param).sum().backward()
    optimizer.step()
    assert optimizer.params[0] is param and param.requires_grad
    assert param.detach().tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert param.grad is None
    optimizer.step()
    assert optimizer.steps == [1]


def test_a_state_without_steps_loads() -> None:
    params = [tinyml.tensor([1.0], requires_grad=True)]
    state = AdamW(params, lr=0.25).state_dict()
    optimizer = AdamW(params)
    optimizer.load_state_dict(state)
    assert optimizer.lr == 0.25 and optimizer.steps == [0] and optimizer.state == [None]


def test_a_state_that_does_not_fit_is_listed_whole_and_changes_nothing() -> None:
    params = [tinyml.tensor([1.0, 2.0], requires_grad=True)]
    optimizer = AdamW(params)
    (params[0] * params[0]).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    del state["eps"], state["exp_avg.0"]
    state["exp_avg_sq.0"] = np.zeros(3, np.float32)
    state["more"] = np.zeros(1)
    state["lr"] = np.array(9.0)
    with pytest.raises(ArgumentError) as caught:
        optimizer.load_state_dict(state)
    for words in ("missing: eps", "missing: exp_avg.0", "exp_avg_sq.0: shape (3,)",
                  "unexpected: more"):
        assert words in str(caught.value)
    assert optimizer.lr == 1e-3


@pytest.mark.parametrize("call", [
    lambda p: SGD([]),
    lambda p: SGD(p),
    lambda p: SGD([p, p]),
    lambda p: SGD([1.0]),
    lambda p: SGD([p.detach()]),
    lambda p: SGD([p], lr=-1),
    lambda p: SGD([p], lr=math.nan),
    lambda p: SGD([p], nesterov=True),
    lambda p: SGD([p], momentum=-0.1),
    lambda p: AdamW([p], betas=(0.9, 1.0)),
    lambda p: AdamW([p], eps=math.inf),
    lambda p: setattr(AdamW([p]), "lr", math.nan),
])
def test_bad_settings_are_refused(call: Any) -> None:
    with pytest.raises(TinyMLError):
        call(tinyml.tensor([1.0], requires_grad=True))


@pytest.mark.peers("torch")
def test_schedules_equal_torch_s() -> None:
    import torch

    schedulers = torch.optim.lr_scheduler
    total = 40
    for make, ours in (
        (lambda o: schedulers.CosineAnnealingLR(o, total, eta_min=0.01),
         lambda step: cosine(step, total, 0.3, 0.01)),
        (lambda o: schedulers.OneCycleLR(o, max_lr=0.3, total_steps=total),
         lambda step: one_cycle(step, total, 0.3)),
        (lambda o: schedulers.OneCycleLR(o, 0.3, total, pct_start=0.5, div_factor=10,
                                         final_div_factor=100),
         lambda step: one_cycle(step, total, 0.3, 0.5, 10, 100)),
    ):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        scheduler = make(optimizer)
        for step in range(total):
            assert math.isclose(optimizer.param_groups[0]["lr"], ours(step), rel_tol=1e-12)
            optimizer.step()
            if step < total - 1:
                scheduler.step()


def test_cosine_warms_up_and_stays_at_the_end() -> None:
    rates = [cosine(step, 10, 1.0, 0.1, warmup=4) for step in range(13)]
    assert rates[:5] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert rates[10:] == [0.1, 0.1, 0.1]
    with pytest.raises(ArgumentError):
        cosine(0, 4, 1.0, warmup=4)
    with pytest.raises(ArgumentError):
        one_cycle(0, 3, 1.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_state_of_16_bit_parameters_is_float32(dtype: str, device: str) -> None:
    """Squares of 1e-4 are no numbers of float16, and updates of 1e-3 nothing beside 1."""
    start, gradient = np.float32([0.5, -0.25, 2e-3]), np.float32([1e-4, -3e-4, 2e-4])
    wide = tinyml.tensor(start, device=device, requires_grad=True)
    narrow = tinyml.tensor(start, dtype=dtype, device=device, requires_grad=True)
    pairs = [(AdamW([p], lr=1e-2), p) for p in (narrow, wide)]
    for _ in range(3):
        for optimizer, p in pairs:
            p.grad = tinyml.tensor(gradient, dtype=dtype, device=device).astype(p.dtype)
            optimizer.step()
    (m, v), (exact_m, exact_v) = (optimizer.state[0] for optimizer, _ in pairs)
    assert m.dtype.name == v.dtype.name == "float32" and narrow.dtype.name == dtype
    np.testing.assert_allclose(m.numpy(), exact_m.numpy(), rtol=1e-6)
    np.testing.assert_allclose(v.numpy(), exact_v.numpy(), rtol=1e-6)
    np.testing.assert_allclose(narrow.astype("float32").numpy(), wide.numpy(),
                               atol=4 * float(tinyml.finfo(narrow.dtype).eps))
    again = AdamW([narrow])
    again.load_state_dict(pairs[0][0].state_dict())
    assert again.state[0][1].dtype.name == "float32"
    assert (again.state[0][1].numpy() == v.numpy()).all()
    momentum = SGD([narrow], momentum=0.9)
    narrow.grad = tinyml.tensor(gradient, dtype=dtype, device=device)
    momentum.step()
    assert momentum.state[0][0].dtype.name == "float32"
