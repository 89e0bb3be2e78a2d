"""State under jit: a jitted step trains as eager does, and what it cannot write back is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
from tinyml import nn, optim, random
from tinyml.errors import ArgumentTypeError, LeakedTracerError, ReadOnlyError

pytestmark = pytest.mark.kernels(8)


class Net(nn.Module):
    """Layers in containers, a tied weight, dropout, running statistics, counters in Python."""

    def __init__(self, seed: int) -> None:
        keys = random.split(random.key(seed), 2)
        self.parts = [nn.Linear(3, 3, key=keys[0]), {"last": nn.Linear(3, 3, key=keys[1])}]
        self.tied = self.parts[0].weight
        self.scale = tinyml.tensor([0.5, 1.0, 2.0])  # frozen
        self.mean = tinyml.zeros((3,))
        self.generator = random.Generator(seed)
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        x = self.parts[0](x).tanh()
        noise = random.uniform(self.generator.next_key().to(x.device), x.shape)
        x = self.parts[1]["last"](x * (noise > 0.25).astype(x.dtype)) @ self.tied
        self.mean = self.mean * 0.9 + x.detach()[0] * 0.1
        return x * self.scale


Optimizers = dict[str, Callable[[list[Any]], Any]]
OPTIMIZERS: Optimizers = {
    "sgd": lambda params: optim.SGD(params, lr=0.05),
    "momentum": lambda params: optim.SGD(params, lr=0.02, momentum=0.8, weight_decay=0.01,
                                         nesterov=True),
    "adamw": lambda params: optim.AdamW(params, lr=0.03, weight_decay=0.1),
}


def _by_backward(net: Any, opts: dict[str, Any], x: Any) -> Any:
    for opt in opts.values():
        opt.zero_grad()
    loss = (net(x) ** 2).mean()
    loss.backward()
    for opt in opts.values():
        opt.step()
    first = opts["first"]
    first.lr = optim.cosine(first.steps[0], 30, 0.04, warmup=2)
    return {"loss": loss, "rate": first.lr}


def _by_value_and_grad(net: Any, opts: dict[str, Any], x: Any) -> Any:
    loss, gradient = tinyml.value_and_grad(lambda n: (n(x) ** 2).mean())(net)
    net.accumulate_grad(gradient)
    for opt in opts.values():
        opt.step()
        opt.zero_grad()
    return {"loss": loss, "rate": opts["second"].lr * 2}


def _made(name: str, device: str, dtype: str) -> tuple[Any, dict[str, Any]]:
    net = Net(5).to(device, dtype)
    matrices = [p for p in net.parameters() if p.ndim == 2]
    vectors = [p for p in net.parameters() if p.ndim == 1]
    unused = tinyml.ones((2,), dtype=dtype, device=device, requires_grad=True)
    return net, {"first": OPTIMIZERS[name]([*matrices, unused]),
                 "second": optim.SGD(vectors, lr=0.1)}


def _state(net: Any, opts: dict[str, Any]) -> dict[str, Any]:
    """All that training changes, as plain values."""
    found: dict[str, Any] = {"calls": net.calls, "key": net.generator.state.tolist()}
    for name, value in net.state_dict().items():
        found[name] = value.numpy().tobytes()
    for which, opt in opts.items():
        for name, value in opt.state_dict().items():
            found[f"{which}.{name}"] = np.asarray(value).tobytes()
        for k, param in enumerate(opt.params):
            gradient = param.grad
            found[f"{which}.grad.{k}"] = None if gradient is None else gradient.tolist()
            found[f"{which}.leaf.{k}"] = type(param.node).__name__
    return found


@pytest.mark.kernels(30)
@pytest.mark.parametrize(("name", "step", "dtype"), [
    ("sgd", _by_backward, "float32"), ("momentum", _by_value_and_grad, "float32"),
    ("adamw", _by_backward, "float32"), ("adamw", _by_value_and_grad, "float32"),
    ("adamw", _by_backward, "bfloat16"), ("momentum", _by_backward, "float16"),
])
def test_a_jitted_step_trains_as_eager_does(name: str, step: Any, dtype: str, device: str) -> None:
    """Bit for bit: parameters, gradients, moments, step counts, rates, statistics, generator."""
    values = np.random.default_rng(3).normal(size=(4, 3))
    x = tinyml.tensor(values, dtype=dtype, device=device)
    eager, jitted = _made(name, device, dtype), _made(name, device, dtype)
    tied = jitted[0].tied
    f = tinyml.jit(step)
    for k in range(5):
        if k == 3:
            eager[1]["second"].lr = jitted[1]["second"].lr = 0.03
        one, two = step(*eager, x), f(*jitted, x)
        assert one["rate"] == two["rate"] and type(two["rate"]) is float
        assert one["loss"].numpy().tobytes() == two["loss"].numpy().tobytes()
        assert _state(*eager) == _state(*jitted)
    assert jitted[0].tied is jitted[0].parts[0].weight is tied
    assert jitted[1]["first"].params[0] is tied and not jitted[0].mean.requires_grad
    assert jitted[1]["second"].steps == [5, 5] and jitted[1]["first"].steps[-1] == 0


def _line() -> tuple[Any, Any]:
    w = tinyml.tensor([1.5, -2.0], requires_grad=True)
    return w, optim.AdamW([w], lr=0.1)


def test_rates_and_steps_are_no_new_trace() -> None:
    traces = []

    def step(w: Any, opt: Any) -> None:
        traces.append(1)
        (w * w).sum().backward()
        opt.step()
        opt.zero_grad()

    w, opt = _line()
    other, theirs = _line()
    f = tinyml.jit(step)
    for rate in (0.1, 0.2, 0.05, 1.0, 1e-3):
        opt.lr = theirs.lr = rate
        f(w, opt)
        step(other, theirs)
    assert w.tolist() == other.tolist() and opt.steps == [5]
    assert len(traces) == 5 + 2  # jit: without moments, then with them


@given(st.lists(st.floats(0.0, 0.5), min_size=2, max_size=5), st.integers(1, 3))
@settings(max_examples=15)
def test_python_around_the_rate_happens_at_each_run(rates: list[float], at: int) -> None:
    """Arithmetic is repeated, and a branch on a number makes a trace for each outcome."""

    def step(w: Any, opt: Any) -> float:
        (w * w).sum().backward()
        if opt.steps[0] >= at:
            opt.lr = min(opt.lr * 0.5, 0.2)
        opt.step()
        opt.zero_grad()
        rate: float = 3 - opt.lr / 2 ** opt.steps[0]
        return rate

    ends = []
    for wrap in (lambda f: f, tinyml.jit):
        w, opt = _line()
        f = wrap(step)
        seen = []
        for rate in rates:
            opt.lr = rate
            seen.append((f(w, opt), opt.lr, w.tolist()))
        ends.append(seen)
    assert ends[0] == ends[1]


class Decaying(optim.Optimizer):
    """An optimizer of a user, in tensors and Python numbers."""

    names = ("lr", "rho")
    slots = ("scale",)

    def __init__(self, params: Any, lr: float, rho: float) -> None:
        super().__init__(params, lr, rho=rho)

    def update(self, param: Any, gradient: Any, state: Any, step: Any) -> Any:
        """Return a step that shrinks with the root of the step count."""
        scale = state[0] * self.rho + abs(gradient)
        rate = self.lr / (step + 1) ** 0.5
        return param - rate * gradient / (scale + abs(-rate) % 1), (scale,)


def test_an_optimizer_of_a_user_trains(device: str) -> None:
    ends = []
    for wrap in (lambda f: f, tinyml.jit):
        w = tinyml.tensor([2.0, -0.75], device=device, requires_grad=True)
        opt = Decaying([w], 0.2, 0.5)
        step = wrap(lambda w, opt: ((w * w).sum().backward(), opt.step(), opt.zero_grad())[1])
        for k in range(4):
            opt.rho = 0.5 if k < 2 else 0.25
            step(w, opt)
        ends.append((w.tolist(), opt.state[0][0].tolist(), opt.steps))
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-6)
    np.testing.assert_allclose(ends[1][1], ends[0][1], rtol=1e-6)
    assert ends[1][2] == [4] and ends[0][0][0] < 2.0


def test_a_number_of_a_trace_does_not_outlive_it() -> None:
    kept: list[Any] = []
    w, opt = _line()
    tinyml.jit(lambda w, opt: (kept.append(opt.lr * 2), w * 2.0)[1])(w, opt)
    with pytest.raises(LeakedTracerError, match="outlived"):
        float(kept[0])


def test_gradients_accumulate_over_calls(device: str) -> None:
    w = tinyml.tensor([1.0, 4.0], device=device, requires_grad=True)
    f = tinyml.jit(lambda w, x: (w * w * x).sum().backward())
    for _ in range(3):
        f(w, tinyml.tensor([1.0, 0.5], device=device))
    assert w.grad is not None and w.grad.tolist() == [6.0, 12.0]


def test_a_gradient_of_a_gradient_trains() -> None:
    def step(w: Any, opt: Any, x: Any) -> None:
        slope = tinyml.grad(lambda x: (x * w).sin().sum())(x)
        (slope * slope).sum().backward()
        opt.step()

    ends = []
    for wrap in (lambda f: f, tinyml.jit):
        w, opt = _line()
        f = wrap(step)
        for _ in range(2):
            f(w, opt, tinyml.tensor([0.3, 0.7]))
        ends.append(w.tolist())
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-6)
    assert ends[0] != [1.5, -2.0]


def test_a_jit_inside_a_jit_trains() -> None:
    def step(w: Any, opt: Any) -> None:
        (w * w).sum().backward()
        opt.step()
        opt.zero_grad()

    inner = tinyml.jit(step)
    twice = tinyml.jit(lambda w, opt: (inner(w, opt), inner(w, opt))[0])
    w, opt = _line()
    other, theirs = _line()
    for _ in range(2):
        twice(w, opt)
        step(other, theirs)
        step(other, theirs)
    assert w.tolist() == other.tolist() and opt.steps == theirs.steps == [4]


def test_a_generator_is_an_argument() -> None:
    mine, theirs = random.Generator(8), random.Generator(8)
    f = tinyml.jit(lambda g: (random.uniform(g.next_key(), (2,)), g.next_key()))
    for _ in range(3):
        got = [x.tolist() for x in f(mine)]
        assert got == [random.uniform(theirs.next_key(), (2,)).tolist(),
                       theirs.next_key().tolist()]
    drawn: list[Any] = []
    threads = [threading.Thread(target=lambda: drawn.extend(
        tuple(f(mine)[1].tolist()) for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == len(drawn) == 80


def test_objects_come_back_as_themselves() -> None:
    def step(net: Any, opt: Any, x: Any) -> Any:
        net(x).sum().backward()
        opt.step()
        net.eval()
        net.note = ("seen", 2)
        return [net, opt], x

    net = nn.Linear(2, 2)
    opt = optim.SGD(net.parameters(), lr=0.1)
    (same, also), _ = tinyml.jit(step)(net, opt, tinyml.ones((1, 2)))
    assert same is net and also is opt and not net.training and net.note == ("seen", 2)
    assert len(list(net.parameters())) == 2


def test_one_module_in_two_places_is_one(device: str) -> None:
    class Count(nn.Module):
        def __init__(self) -> None:
            self.n = tinyml.zeros((), device=device)

        def forward(self, x: Any) -> Any:
            self.n = self.n + 1.0
            return x * self.n

    count = Count()
    f = tinyml.jit(lambda net, x: net(x))
    x = tinyml.ones((1,), device=device)
    assert [f(nn.Sequential(count, count), x).item() for _ in range(2)] == [2.0, 12.0]
    assert f(nn.Sequential(Count(), Count()), x).item() == 1.0
    assert count.n.item() == 4.0


# ---- what is refused


def test_an_optimizer_of_the_outside_is_refused_and_the_advice_works() -> None:
    w, opt = _line()

    def step(w: Any) -> None:
        (w * w).sum().backward()
        opt.step()

    with pytest.raises(ReadOnlyError, match=r"AdamW\.step: parameters from outside") as e:
        tinyml.jit(step)(w)
    assert "pass the optimizer as an argument" in str(e.value)
    assert "test_state.py" in str(e.value) and w.grad is None and w.tolist() == [1.5, -2.0]

    def advised(w: Any, opt: Any) -> None:
        (w * w).sum().backward()
        opt.step()

    tinyml.jit(advised)(w, opt)
    assert opt.steps == [1] and w.tolist() != [1.5, -2.0]


@pytest.mark.parametrize("change", [
    lambda net, opt: net.weight.sum().backward(),
    lambda net, opt: setattr(net.weight, "grad", net.weight * 2.0),
    lambda net, opt: opt.zero_grad(),
    lambda net, opt: setattr(opt, "lr", 0.5),
    lambda net, opt: setattr(opt, "lr", opt.lr),
    lambda net, opt: net.train(),
], ids=["backward", "grad", "zero_grad", "lr", "same lr", "train"])
def test_what_is_closed_over_is_not_changed(change: Any) -> None:
    net = nn.Linear(2, 2)
    opt = optim.SGD(net.parameters(), lr=0.25)
    net.weight.grad = before = tinyml.ones((2, 2))
    with pytest.raises(ReadOnlyError, match="as an argument"):
        tinyml.jit(lambda x: (change(net, opt), x)[1])(tinyml.ones((1,)))
    assert net.weight.grad is before and opt.lr == 0.25


def test_an_exception_leaves_no_tracer_behind() -> None:
    net = Net(2)
    opt = optim.AdamW(net.parameters(), lr=0.1)
    net.log = []
    opts = {"only": opt}
    before = _state(net, opts)

    def step(net: Any, opts: Any, x: Any) -> None:
        (net(x) ** 2).sum().backward()
        opts["only"].step()
        opts["only"].lr = 3.0
        net.log.append(x)
        net.extra = x * 2.0
        net.parts.append(x)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        tinyml.jit(step)(net, opts, tinyml.ones((2, 3)))
    assert _state(net, opts) == before
    assert net.log == [] and len(net.parts) == 2 and not hasattr(net, "extra")


class Plain:
    """An object that is no pytree, and equal to itself alone."""

    def __init__(self) -> None:
        self.n = 1.0

    def times(self, x: Any) -> Any:
        """Return x n."""
        return x * self.n


class Slotted:
    """The same without a dictionary."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 1.0


class Cell(nn.Module):
    """A module that holds such an object."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def forward(self, x: Any) -> Any:
        return x * 1.0


@pytest.mark.parametrize(("args", "name"), [
    ((Plain(),), "argument 0 is a Plain"), ((Slotted(),), "argument 0 is a Slotted"),
    (([1, {"k": Plain()}],), r"argument 0 at \[1\]\['k'\] is a Plain"),
    ((np.random.default_rng(0),), "argument 0 is a Generator"), ((Plain().times,), "is a method"),
    ((Cell(Plain()),), r"argument 0 at \.held is a Plain"),
    (([Cell((1, Plain()))],), r"argument 0 at \[0\]\.held is a Plain"),
    ((Cell(Plain().times),), r"at \.held is a"), ((threading.Lock(),), "argument 0 is a lock"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_what_may_change_unseen_is_refused_by_name(args: Any, name: str) -> None:
    def f(x: Any, *args: Any) -> Any:
        return x * 2.0

    with pytest.raises(ArgumentTypeError, match=name.replace("argument 0", "argument 1")) as e:
        tinyml.jit(f)(tinyml.ones((1,)), *args)
    assert "neither a pytree nor immutable" in str(e.value) and "tree.register" in str(e.value)
    if not isinstance(args[0], nn.Module):
        with pytest.raises(ArgumentTypeError, match="argument 1"):
            tinyml.jit(f, static_argnums=1)(tinyml.ones((1,)), *args)


def test_an_object_that_gets_attributes_later_is_refused_then() -> None:
    class Model:
        @tinyml.jit
        def scaled(self, x: Any) -> Any:
            return x * getattr(self, "factor", 2.0)

    model = Model()
    assert model.scaled(tinyml.ones((1,))).item() == 2.0
    model.factor = 5.0  # type: ignore[attr-defined]
    with pytest.raises(ArgumentTypeError, match="argument 0 is a Model"):
        model.scaled(tinyml.ones((1,)))


def test_constants_that_cannot_change_are_taken() -> None:
    for c in (tinyml.float32, tinyml.relu, len, int, object(), range(3), b"x", np.dtype("int8"),
              tinyml.ones((1,)).device, tinyml.jit(len), frozenset((1, 2)), slice(1, 2),
              (1, "a", None), ...):
        f = tinyml.jit(lambda x, c: x * 3.0)
        assert f(tinyml.ones((1,)), c).item() == 3.0
        assert f(tinyml.ones((1,)), Cell(c)).item() == 3.0


@pytest.mark.parametrize(("one", "two"), [
    (0.0, -0.0), (1, 1.0), (1, True), (complex(2, 0.0), complex(2, -0.0)), ((0.0,), (-0.0,)),
])
def test_constants_that_differ_in_bits_do_not_share_a_trace(one: Any, two: Any) -> None:
    seen = []
    f = tinyml.jit(lambda x, c: (seen.append(repr(c)), x * 2.0)[1])
    for c in (one, two, one, two):
        f(tinyml.ones((1,)), c)
    assert seen == [repr(one), repr(two)]
