"""Memory: it stays flat without the collector, under a budget that is checked before allocating."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
import tinyml.cli.bench.core as bench
from tinyml.conformance.suite.backends import TinyML, elsewhere
from tinyml.conformance.suite.cases import Case, op_cases
from tinyml.conformance.suite.run import all_ops
from tinyml.dtypes import FLOATS
from tinyml.errors import AllocationError, DTypeError
from tinyml.ir.devices import find_device
from tinyml.ir.op import LIVING
from tinyml.kernels.common.pool import Pool, size_class

pytestmark = pytest.mark.kernels(2)

ROOT = Path(__file__).parents[2]
GROWTH = 1_000_000  # bytes that may be added, as in the figures to reach
SMALL = 10_000  # bytes of run-time integers that plans keep on a device; memos are bounded
FIRST = 100  # sizes from here on have one schedule, so that nothing is compiled on the way
MEMO_FULL = 1_100  # distinct shapes after which an op's memo has no room left

# In a child process: the greatest resident memory must not show what was refused.
REFUSED = """
import resource, sys
import tinyml
device = sys.argv[1]
small = tinyml.ones(1000, device=device) + 1
held = small.device.in_use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(2):
    try:
        tinyml.ones(100_000_000, device=device).copy()
    except MemoryError as error:
        assert isinstance(error, tinyml.TinyMLError)
        assert "300000" in error.message and "TINYML_MEMORY_LIMIT" in error.remedy
        assert error.op == "copy" and "float32[100000000]" in error.inputs
        assert error.line.startswith("<string>"), error.line
    else:
        raise SystemExit("nothing was refused")
assert small.device.in_use() <= held + 1000
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown * 1024 < 100_000_000, grown
for number in range(100):  # a budget for two of them at a time, reused
    big = tinyml.zeros(20_000 + number, device=device) + 1
assert big.numpy().sum() == 20_099
"""

# The limit on the address space turns a request that would be tried into a failure.
BEYOND = """
import resource, sys, time
import tinyml
device = sys.argv[1]
(tinyml.ones(3, device=device) + 1).numpy()
limit = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (1 << 34, limit[1]))
uses = [
    lambda: tinyml.zeros((1 << 45,), device=device).copy(),
    lambda: tinyml.zeros((1 << 22, 1 << 22), device=device) + 1,
    lambda: tinyml.zeros((1 << 22, 1), device=device) @ tinyml.zeros((1, 1 << 22), device=device),
    lambda: tinyml.arange(1 << 45, device=device),
]
for number, use in enumerate(uses):
    start = time.process_time()
    try:
        use()
    except tinyml.TinyMLError as error:
        assert isinstance(error, MemoryError), error
        assert time.process_time() - start < 5, number
    else:
        raise SystemExit(f"{number} was not refused")
"""


def test_training_adds_no_memory(device: str) -> None:
    grown = bench.training_growth(device, 100, 800)
    assert grown["tracked"] <= 0 and grown["resident"] < GROWTH, grown


@pytest.mark.kernels(15)
def test_many_distinct_shapes_add_no_memory(device: str) -> None:
    # The first numbers are the largest shapes, so that the pool is as large as it gets.
    grown = bench.shapes_growth(device, 2 * MEMO_FULL, 5 * MEMO_FULL)
    assert grown["tracked"] < GROWTH / 10 and grown["resident"] < GROWTH, grown


def _train(device: str) -> Callable[[int], None]:
    x = tinyml.tensor(np.ones((4, 3), np.float32), device=device)
    w = tinyml.tensor(np.ones((3, 2), np.float32), device=device, requires_grad=True)
    labels = tinyml.tensor([0, 1, 1, 0], device=device)

    def step(_: int) -> None:
        tinyml.cross_entropy(tinyml.gelu(x @ w), labels).backward()
        w.grad = None

    return step


def _new_shapes(device: str) -> Callable[[int], None]:
    def work(number: int) -> None:
        x = tinyml.ones((number + 3, 7), device=device)
        (x + x * 2.0).sum(axis=0)

    return work


def _gradients(device: str) -> Callable[[int], None]:
    x = tinyml.tensor([0.5, 1.5], device=device)
    twice = tinyml.grad(lambda x: tinyml.grad(lambda x: (x * x).tanh().sum())(x).sum())

    def work(_: int) -> None:
        twice(x)

    return work


def _sizes_read(device: str) -> Callable[[int], None]:
    def work(number: int) -> None:
        x = tinyml.ones(number, device=device)
        tinyml.sort(x + 1.0)[::-1].numpy()
        np.asarray(x)

    return work


def _forget_plans() -> None:
    for op in list(LIVING):
        op.memo.clear()


def _left(work: Callable[[], None]) -> Counter[str]:
    """What only the collector can free after some work and without its plans, by type.

    What was there before, other tests' leavings among it, is out of the collector's sight.
    """
    _forget_plans()
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        work()
        _forget_plans()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(type(thing).__name__ for thing in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()


@pytest.mark.parametrize("make", [_train, _new_shapes, _gradients, _sizes_read])
def test_nothing_is_left_to_the_collector(make: Callable[[str], Callable[[int], None]],
                                          device: str) -> None:
    work = make(device)
    for number in range(20):
        work(FIRST + number)
    assert not _left(lambda: [work(FIRST + number) for number in range(20, 60)])


def test_a_cycle_is_seen_by_the_test_for_them() -> None:
    def work() -> None:
        circle: list[Any] = []
        circle.append(circle)

    assert _left(work) == {"list": 1}


CASES = 3  # of each op


@pytest.mark.kernels(300)
def test_plans_are_free_of_cycles(device: str) -> None:
    backend = TinyML(device)
    cases = [case for op in all_ops().values()
             for case in islice(op_cases(op, [next(d for d in (*FLOATS, *op.dtypes)
                                                   if d in op.dtypes)]), CASES)
             if backend.lacks(case.dtype) is None and not elsewhere(op.name, backend.name)]
    assert len({case.of for case in cases}) > 200

    def run(case: Case) -> None:
        with contextlib.suppress(DTypeError):  # a result that the device has no type for
            backend.run(case.of, *case.sample.args, **case.sample.attrs)

    def run_all() -> None:
        for case in cases:
            run(case)

    run_all()  # compiles; compilers leave cycles
    if _left(run_all):
        raise AssertionError({case.name: left for case in cases
                              if (left := _left(lambda case=case: run(case)))})


W = [0.5, 1.5, -0.25]


def _jitted(x: Any) -> None:
    f = tinyml.jit(lambda x: (x * 2.0 + 1.0).tanh().sum())
    for _ in range(3):
        f(x)
        tinyml.grad(lambda x: tinyml.grad(f)(x).sum())(x)


def _captured(x: Any) -> None:
    w = tinyml.tensor(W, device=x.device, requires_grad=True)
    f = tinyml.jit(lambda x: (x * w).sum())
    for _ in range(3):
        f(x).backward()


def _inside(x: Any) -> None:
    f = tinyml.jit(tinyml.grad(lambda x: (x * x * x).sum()))
    f(f(x))


def _chosen(x: Any) -> None:
    tinyml.grad(lambda x: tinyml.cond(x.sum() > 0.0, lambda x: x * x, lambda x: x, x).sum())(x)


def _scanned(x: Any) -> None:
    tinyml.grad(lambda x: tinyml.scan(lambda c, y: (c * y, c), x[0], x)[0])(x)


def _looped(x: Any) -> None:
    tinyml.grad(lambda x: tinyml.while_loop(lambda c: c.sum() < 10.0, lambda c: c * (x + 2.0), x,
                                            max_steps=5).sum())(x)


def _again(x: Any) -> None:
    tinyml.grad(lambda x: tinyml.checkpoint(lambda x: (x * x).tanh())(x).sum())(x)


def _forward(x: Any) -> None:
    tinyml.jvp(lambda x: x * x, (x,), (x,))
    tinyml.hessian(lambda x: (x * x * x).sum())(x)


def _refused(x: Any) -> None:
    for f in (lambda x: x + tinyml.ones(4), lambda x: 1 if x.sum() > 0.0 else 2):
        with pytest.raises(tinyml.TinyMLError):
            tinyml.jit(f)(x)


@pytest.mark.kernels(2)
@pytest.mark.parametrize("work", [_jitted, _captured, _inside, _chosen, _scanned, _looped, _again,
                                  _forward, _refused])
def test_graphs_and_their_plans_are_free_of_cycles(work: Callable[[Any], None],
                                                   device: str) -> None:
    x = tinyml.tensor(W, device=device)
    work(x)
    assert not _left(lambda: work(x))


def test_memory_returns_when_a_tensor_goes(device: str) -> None:
    place = find_device(device)
    x = tinyml.ones(50_000, device=device) + 1
    held = place.in_use()
    y = x[10:] + x[:-10]
    assert place.in_use() > held + SMALL
    z = y[5:]
    del y
    assert place.in_use() > held + SMALL  # a view keeps what it shows
    del z
    assert place.in_use() <= held + SMALL


def test_an_array_of_numpy_keeps_what_it_shows() -> None:
    array = (tinyml.ones(1000) + 1).numpy()
    others = [tinyml.zeros(1000) + number for number in range(20)]
    assert (array == 2).all() and len(others) == 20
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def _run(code: str, device: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", device],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs the module resource")
def test_the_budget_is_checked_before_allocating(device: str) -> None:
    _run(REFUSED, device, TINYML_MEMORY_LIMIT="300000")


LARGE = 1 << 26  # elements: four times the budget that the tests below set
BUDGET = LARGE
HUGE: dict[str, Callable[[str], object]] = {
    "a copy": lambda d: tinyml.zeros((LARGE,), device=d).copy(),
    "an operation": lambda d: tinyml.zeros((1 << 13, 1 << 13), device=d) + 1,
    "a matrix product": lambda d: tinyml.zeros((1 << 13, 1), device=d)
    @ tinyml.zeros((1, 1 << 13), device=d),
    "numbers in order": lambda d: tinyml.arange(LARGE, device=d),
    "padding": lambda d: tinyml.pad(tinyml.ones(3, device=d), (LARGE, 0)),
    "random bits": lambda d: tinyml.random.bits(
        tinyml.random.key(0, device=d), (LARGE,)),
}
OVERFLOWING: dict[str, Callable[[str], object]] = {
    "zeros": lambda d: tinyml.zeros((1 << 40, 1 << 40), device=d),
    "one axis": lambda d: tinyml.ones(1 << 62, device=d),
    "broadcast_to": lambda d: tinyml.broadcast_to(tinyml.ones(1, device=d), (1 << 31, 1 << 31)),
    "a matrix product": lambda d: tinyml.zeros((1 << 32, 1), device=d)
    @ tinyml.zeros((1, 1 << 32), device=d),
    "broadcasting": lambda d: tinyml.zeros((1 << 32, 1), device=d)
    + tinyml.zeros((1, 1 << 32), device=d),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_is_large_is_refused(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place: Any = find_device(device)
    monkeypatch.setattr(place.pool, "budget", BUDGET)
    held = place.in_use()
    with pytest.raises(AllocationError, match=f"may hold {BUDGET}"):
        HUGE[name](device)
    assert place.in_use() <= held + SMALL


@pytest.mark.skipif(sys.platform == "win32", reason="needs the module resource")
def test_what_is_beyond_any_machine_is_refused_at_once(device: str) -> None:
    _run(BEYOND, device)


@pytest.mark.parametrize("name", OVERFLOWING)
def test_a_shape_whose_product_overflows_is_refused(name: str, device: str) -> None:
    with pytest.raises(AllocationError, match="addressed"):
        OVERFLOWING[name](device)


def test_a_pool_counts_reuses_and_releases() -> None:
    made: list[int] = []

    def raw(nbytes: int) -> tuple[int, None]:
        made.append(nbytes)
        return len(made), None

    pool = Pool("test", raw, 1000)
    first = pool.empty(100)
    assert made == [size_class(100)] and pool.in_use() == size_class(100)
    del first
    assert pool.in_use() == 0
    second = pool.empty(101)
    assert len(made) == 1
    third = pool.empty(600)
    with pytest.raises(AllocationError, match="budget of 1000"):
        pool.empty(400)
    del second  # its block is free, and too small; it goes back to make room
    assert pool.empty(300).ptr == 3 and third.ptr == 2


def test_a_pool_says_when_the_device_refuses() -> None:
    def raw(nbytes: int) -> tuple[int, None]:
        raise MemoryError("no more")

    pool = Pool("test", raw, 1000)
    with pytest.raises(AllocationError, match="refused .no more"):
        pool.empty(10)
    assert pool.in_use() == 0
