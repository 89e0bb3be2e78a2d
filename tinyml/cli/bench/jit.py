"""`tinyml bench jit`: the cost of a compiled call, and how its kernels compare with torch's.

A kernel's cost is measured by adding 20 to one call: products of (2, 2) matrices. No two of them
fuse, since each element of an operand is read twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import tinyml
from tinyml import optim
from tinyml.cli.bench.timing import Case, Contenders, Row, race, single_thread, timed
from tinyml.compiler.program import Executable, compile_graph
from tinyml.data import digits as images_of_digits
from tinyml.errors import DeviceError
from tinyml.ir.devices import HOST, ROOMS, find_device
from tinyml.observe.events import observe
from tinyml.tensor import Tensor
from tinyml.train import digits

FEW, MANY = 20, 40  # kernels in a call
KERNEL_MICROSECONDS = 0.5  # for one, on top of the bare call of its C function
LONG = 1_000_000
SQUARE = (1000, 1000)
CHAIN, SOFTMAX = "chain of 12 ops, 1e6 floats", "softmax, (1000, 1000)"

Unary = Callable[[Any], Any]


def jit_rows(device: str, rounds: int) -> list[Row]:
    """Return all rows of the suite, on a device."""
    peers = single_thread()
    return [
        kernel_row(device, rounds),
        *timed(jit_cases(device, peers), device, rounds),
        *[count_row(title, f, shape, device) for title, (f, shape) in functions().items()],
        step_row(device, rounds),
        observed_row(device, rounds),
    ]


# ---- a kernel


def products(count: int) -> Any:
    """Return a jitted function of `count` kernels, from (2, 2) and (2, 2) to (2, 2)."""

    def f(x: Tensor, w: Tensor) -> Tensor:
        for _ in range(count):
            x = x @ w
        return x

    return tinyml.jit(f)


def program_of(f: Any, *xs: Tensor) -> Executable:
    """Return the executable that a jitted function without captures runs for these tensors."""
    return compile_graph(f.graph(*xs), [x.spec for x in xs])


def bare_call(f: Any, *xs: Tensor) -> Callable[[], Any]:
    """Return a call of a jitted function's first C function, on raw addresses; CPU only."""
    step = program_of(f, *xs).launches[0]
    binding = step.run.__globals__  # the globals of the generated function
    out = xs[0].copy()
    pointers = [x.buf.ptr for x in (*xs, out)]
    call = functools.partial(binding["call"], binding["meta"], *pointers)
    call.keep = step.run, xs, out  # type: ignore[attr-defined]  # addresses keep nothing alive
    return call


def kernel_row(device: str, rounds: int) -> Row:
    """Return the microseconds that one more kernel adds; on the CPU, less the bare call."""
    x = tinyml.tensor([[1.0, 0.0], [0.0, 1.0]], device=device)
    turn = tinyml.tensor([[0.6, 0.8], [-0.8, 0.6]], device=device)  # values stay in [-1, 1]
    few, many = products(FEW), products(MANY)
    contenders: Contenders = {"few": lambda: few(x, turn), "many": lambda: many(x, turn)}
    on_host = find_device(device) is find_device(HOST)
    if on_host:
        contenders["bare"] = bare_call(few, x, turn)
    medians = race(contenders, rounds)
    find_device(device).synchronize()
    kernel = 1e6 * (medians["many"] - medians["few"]) / (MANY - FEW)
    figures = {"kernel": kernel, f"call of {FEW}": 1e6 * medians["few"]}
    if not on_host:
        return Row("a kernel in a jitted call", "us", figures, None, None, "")
    bare = 1e6 * medians["bare"]
    return Row("a kernel in a jitted call", "us", {**figures, "bare call": bare}, kernel - bare,
               KERNEL_MICROSECONDS, "us over the bare call")


# ---- functions


def chain(x: Any, tanh: Unary = tinyml.tanh) -> Any:
    """Apply twelve elementwise ops, written so that any contender can run them."""
    for _ in range(4):
        x = tanh(x * 0.5 + 1.0)
    return x


def softmax(x: Tensor) -> Tensor:
    """Return the softmax of each row."""
    return tinyml.softmax(x, axis=1)


def functions() -> dict[str, tuple[Unary, tuple[int, ...]]]:
    """Return the functions that are timed and counted in kernels, with their argument's shape."""
    return {CHAIN: (chain, (LONG,)), SOFTMAX: (softmax, SQUARE)}


def jit_cases(device: str, peers: Mapping[str, Any]) -> list[Case]:
    """Return the timed jitted functions; torch runs eagerly, jax jitted."""
    generator = np.random.default_rng(0)
    place = find_device(device)
    double, few = "x + x, jitted, 4 floats", np.full(4, 1.5, np.float32)
    arrays = {double: few}
    ours: dict[str, Unary] = {double: lambda x: x + x}
    for title, (f, shape) in functions().items():
        arrays[title] = generator.normal(size=shape).astype(np.float32)
        ours[title] = f
    cases = []
    for title, array in arrays.items():
        x = tinyml.tensor(array, device=device)
        call = functools.partial(tinyml.jit(ours[title]), x)
        contenders: Contenders = {"tinyml": _waited(call, place)}
        for name, peer in peers.items():
            theirs = _torch_function(peer, title) if name == "torch" else _jax_function(peer, title)
            given = peer.from_numpy(array) if name == "torch" else peer.numpy.asarray(array)
            contenders[name] = functools.partial(theirs, given)
        target = 1.0 if place is find_device(HOST) and title != double else None
        cases.append(Case(title, contenders, target))
    return cases


def _waited(call: Callable[[], Any], place: Any) -> Callable[[], Any]:
    """Return a call that waits for its own end, so that the next one does not pay for it."""
    if not place.asynchronous:
        return call

    def whole() -> None:
        call()
        place.synchronize()

    return whole


def _torch_function(torch: Any, title: str) -> Unary:
    if title == CHAIN:
        return functools.partial(chain, tanh=torch.tanh)
    if title == SOFTMAX:
        return functools.partial(torch.softmax, dim=1)
    return lambda x: x + x


def _jax_function(jax: Any, title: str) -> Unary:
    if title == CHAIN:
        f: Any = jax.jit(functools.partial(chain, tanh=jax.numpy.tanh))
    elif title == SOFTMAX:
        f = jax.jit(functools.partial(jax.nn.softmax, axis=1))
    else:
        f = jax.jit(lambda x: x + x)
    return lambda x: f(x).block_until_ready()


def count_row(title: str, f: Unary, shape: tuple[int, ...], device: str) -> Row:
    """Return the number of kernels of a jitted function, on each available device."""
    counts: dict[str, float] = {}
    judged = "kernel at most"
    for name in dict.fromkeys((*ROOMS, device)):
        try:
            x = tinyml.ones(shape, device=name)
        except DeviceError:
            judged = f"kernel at most; there is no {name} here"
            continue
        counts[name] = len(program_of(tinyml.jit(f), x).launches)
    return Row(f"{title}: kernels", "kernels", counts, max(counts.values()), 1.0, judged)


# ---- the main job, and who looks


def training_step(device: str, compile_it: bool) -> Callable[[], Any]:
    """Return a training step of the digits job; its rate is 0, so that every step does the same."""
    pictures, labels = images_of_digits.split("fifth")[:2]
    x = tinyml.tensor(pictures[: digits.BATCH], device=device)
    hot = np.eye(images_of_digits.CLASSES, dtype=np.float32)[labels[: digits.BATCH]]
    targets = tinyml.tensor(hot / -digits.BATCH, device=device)
    net = digits.network(0, device)
    optimizer = optim.AdamW(net.parameters(), lr=0.0)

    def loss(net: digits.Net, x: Tensor, targets: Tensor) -> Tensor:
        return (tinyml.log_softmax(net(x), axis=1) * targets).sum()

    both = tinyml.value_and_grad(loss)
    both = tinyml.jit(both) if compile_it else both

    def step() -> None:
        with tinyml.no_grad():
            _, gradient = both(net, x, targets)
        net.accumulate_grad(gradient)
        optimizer.step()
        optimizer.zero_grad()

    place = find_device(device)
    return _waited(step, place)


def step_row(device: str, rounds: int) -> Row:
    """Return the milliseconds of a training step: eager, and with loss and gradient jitted."""
    contenders = {"eager": training_step(device, False), "jitted": training_step(device, True)}
    medians = race(contenders, rounds)
    figures = {name: 1e3 * value for name, value in medians.items()}
    return Row(f"a step of the digits job, {device}", "ms", figures,
               medians["jitted"] / medians["eager"], 1.0, "of the eager step's time")


def observed_row(device: str, rounds: int) -> Row:
    """Return what an op costs while it is observed, for information."""
    x = tinyml.tensor([1.0, 2.0, 3.0, 4.0], device=device)
    with observe(lambda event: None):
        medians = race({"observed": lambda: x + x}, rounds)
    find_device(device).synchronize()
    return Row("x + x, an observer on", "us", {"observed": 1e6 * medians["observed"]}, None, None,
               "")
