"""Interrupts, forks, finalizers and the end of a process: none corrupts, hangs or raises."""

from __future__ import annotations

import ast
import gc
import os
import subprocess
import sys
import threading
import types
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
from tinyml import concurrency
from tinyml.dtypes import float32
from tinyml.ir.devices import find_device
from tinyml.ir.spec import make_spec
from tinyml.kernels.common.pool import Pool
from tinyml.kernels.cpu.workers import Workers

pytestmark = pytest.mark.kernels(3)

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("tinyml", "kernels", "conformance")
                 for path in (ROOT / folder).rglob("*.py"))
POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and interval timers")


def run(code: str, *arguments: str, **environment: str) -> str:
    """What a program prints that ends well, within a minute."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c",
         f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- interrupts

# Signals every 2 ms, so that the code between two bytecodes of a launch is met now and then, also
# by a second interrupt. The memory of a call that was interrupted is asked for at once.
INTERRUPTED = """
import signal, time
import numpy as np
import tinyml

class Stop(BaseException):
    pass

armed, hits, foreign = False, 0, 0
rounds, shape = int(sys.argv[1]), (1100, 900)

def interrupt(*_):
    if armed:
        raise Stop

def attempt():
    global armed
    armed = True
    while True:
        y = tinyml.exp(tinyml.tanh(x * 2.0)) - 2.0
        jitted(x)

sys.unraisablehook = lambda *_: None  # those that a finalizer met
signal.signal(signal.SIGALRM, interrupt)
tinyml.set_num_threads(4)
x = tinyml.ones(shape).copy()
jitted = tinyml.jit(lambda x: tinyml.tanh(x * 3.0).sum() + (tinyml.exp(x) * 2.0).max())
expected = jitted(x).item()
tinyml.exp(tinyml.tanh(x * 2.0)) - 2.0
held = tinyml.memory_stats("cpu").in_use
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0021)
while hits < rounds:
    try:
        try:
            attempt()
        except Stop:
            hits += 1
            again = np.ones(2000).sum()
            armed = False
    except Stop:
        hits += 1
    armed = False
    fresh = [tinyml.tensor(np.full(shape, 7.0, np.float32)) for _ in range(2)]
    time.sleep(0.002)
    foreign += sum(not (values.numpy() == 7.0).all() for values in fresh)
    del fresh
signal.setitimer(signal.ITIMER_REAL, 0)
for _ in range(200):  # until the last helper has left
    if tinyml.memory_stats("cpu").in_use <= held:
        break
    time.sleep(0.01)
print(foreign, tinyml.memory_stats("cpu").in_use - held, jitted(x).item() - expected)
"""


@POSIX
def test_an_interrupt_puts_no_foreign_values_into_a_tensor() -> None:
    foreign, leaked, changed = run(INTERRUPTED, "150").split()
    assert foreign == "0" and int(leaked) <= 0 and float(changed) == 0.0


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 40))
def test_a_job_holds_its_memory_until_the_last_helper_has_left(threads: int, count: int,
                                                               raises: int) -> None:
    class Memory:
        pass

    workers = Workers()
    memory = Memory()
    alive = threading.Event()
    gone: list[int] = []
    ran: list[int] = []
    watched = weakref.ref(memory, lambda _: gone.append(len(ran)))
    main = threading.get_ident()

    def call(number: int) -> None:
        if threading.get_ident() == main and len(ran) >= raises:
            raise KeyboardInterrupt
        if threading.get_ident() != main:
            alive.wait(0.0005)
            assert watched() is not None  # it is in use
        ran.append(number)

    keep = [memory]
    del memory
    try:
        workers.run(call, list(range(count)), (), keep, threads - 1)
    except KeyboardInterrupt:
        assert raises < count
    else:
        assert sorted(ran) == list(range(count))
    del keep
    workers._close()
    assert watched() is None and len(set(ran)) == len(ran)
    assert gone and gone[0] == len(ran)  # after the last range


def test_an_error_of_a_helper_is_the_launch_s() -> None:
    workers = Workers()
    both = threading.Barrier(2, timeout=30)
    main = threading.get_ident()

    def call(number: int) -> None:
        both.wait()
        if threading.get_ident() != main:
            raise MemoryError("of a helper")

    with pytest.raises(MemoryError, match="of a helper"):
        workers.run(call, [0, 1], (), None, 1)
    workers._close()


def test_memory_is_counted_right_whatever_interrupts_its_request(
        monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(BaseException):
        pass

    pool = Pool("test", lambda nbytes: (object(), bytearray(nbytes)), 1 << 30)

    def attempt(after: int) -> bool:
        """Request and release, stopped after so many lines; return whether it came to the end."""
        lines = 0

        def trace(frame: types.FrameType, event: str, _: Any) -> Any:
            nonlocal lines
            lines += 1
            if lines == after:
                raise Stop
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            kept = [pool.empty(nbytes) for nbytes in (10, 10, 5000)]
            del kept[0]
            pool.release()
            return True
        except Stop:
            return False
        finally:
            sys.settrace(before)

    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # pytest's keeps the frames
    ends = 0
    for after in range(1, 400):
        ended = attempt(after)
        assert pool.in_use() == 0, after
        pool.release()
        assert pool.reserved == 0, after
        ends += ended
    assert 0 < ends < 399  # most were stopped, and the last ones were not


# ---- one thread alone


def test_a_finalizer_may_compute_wherever_the_collector_runs() -> None:
    class Computing:
        """A cycle, so that only the collector frees it."""

        def __init__(self, number: int) -> None:
            self.number = number
            self.me = self

        def __del__(self) -> None:
            shape = (self.number % 7 + 1, 3)
            made.append(make_spec(shape, float32, None) is make_spec(shape, float32, None))
            numbers.append((tinyml.ones(shape) + 1.0).sum().item())

    made: list[bool] = []
    numbers: list[float] = []
    before = gc.get_threshold()
    gc.set_threshold(1)  # at nearly every allocation, wherever it is
    try:
        for number in range(300):
            Computing(number)
            spec = make_spec((number % 7 + 1, 3, number), float32, None)
            assert make_spec((number % 7 + 1, 3, number), float32, None) is spec
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(numbers) == 300 and all(made)
    assert sorted(set(numbers)) == [6.0 * rows for rows in range(1, 8)]


SHAPES = st.tuples(st.integers(2, 90), st.integers(2, 90))


@given(SHAPES, st.integers(1, 60))
def test_equal_specs_are_one_even_if_made_between_two_lines(shape: tuple[int, int],
                                                           at: int) -> None:
    lines, inner, busy = 0, [], False

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        nonlocal lines, busy
        lines += 1
        if lines == at and not busy:
            busy = True
            inner.append(make_spec((*shape, 7919), float32, None))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        outer = make_spec((*shape, 7919), float32, None)
    finally:
        sys.settrace(before)
    assert all(spec is outer for spec in inner)
    assert make_spec((*shape, 7919), float32, None) is outer


HANDLER = """
import signal, time
import numpy as np
import tinyml

def compute(*_):
    global ran
    ran += 1
    number = ran % 40 + 2  # ever new shapes: specs, plans, memory
    assert (tinyml.ones((number, 3)) * 2.0).sum().item() == 6.0 * number
    tinyml.linalg.det(tinyml.eye(3))
    tinyml.random.uniform(None, (2,))

ran = 0
compute()
signal.signal(signal.SIGALRM, compute)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.003)
tinyml.set_num_threads(2)
big = tinyml.ones((700, 800)).copy()
number = 0
while ran < 60:
    number += 1
    assert (big + 1.0)[0, 0].item() == 2.0
    assert tinyml.ones((number % 90 + 1, 2)).sum().item() == 2.0 * (number % 90 + 1)
    tinyml.random.uniform(None, (3,))
    tinyml.linalg.det(tinyml.eye(4))
    tinyml.grad(lambda x: (x * x).sum())(tinyml.ones(3))
signal.setitimer(signal.ITIMER_REAL, 0)
"""


@POSIX
@pytest.mark.kernels(8)
def test_a_signal_handler_may_compute() -> None:
    run(HANDLER)


# ---- forks

# Threads that hold each lock most of the time, and children that need them all.
FORKS = """
import gc, os, threading, time
import numpy as np
import tinyml
from tinyml import concurrency
from tinyml.ir.devices import find_device

tinyml.set_num_threads(2)
big = tinyml.ones((700, 800)).copy()
jitted = tinyml.jit(lambda x: (x * 2.0).sum())
jitted(big)
tinyml.random.uniform(None, (2,))
stop = threading.Event()

def busy(number):
    while not stop.is_set():
        for lock in list(concurrency._locks)[number::3]:
            with lock:
                time.sleep(0.0002)

threads = [threading.Thread(target=busy, args=(k,), daemon=True) for k in range(3)]
for thread in threads:
    thread.start()
for number in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        for lock in list(concurrency._locks):
            if not lock.acquire(timeout=20):
                os._exit(2)
            lock.release()
        good = jitted(big).item() == 1_120_000.0 and (big + 1.0)[3, 5].item() == 2.0
        tinyml.random.uniform(None, (3,))
        tinyml.linalg.det(tinyml.eye(3))
        with tinyml.track_memory():
            tinyml.grad(lambda x: (x * x).sum())(tinyml.ones(number + 1))
        fresh = tinyml.jit(lambda x: x + 1.0)(tinyml.ones((number + 2, 3)))
        os._exit(0 if good and fresh.sum().item() == 6.0 * (number + 2) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
for thread in threads:
    thread.join()
"""
COMPILING = """
import os, threading
import tinyml
from tinyml.kernels.cpu import objectcode

x = tinyml.ones(3) + 1.0
build, begun = objectcode.build, threading.Event()

def slow(source, types):
    begun.set()
    return build(source, types)

objectcode.build = slow
thread = threading.Thread(target=lambda: tinyml.softmax(tinyml.ones((3, 4)), axis=0))
thread.start()
begun.wait()
child = os.fork()  # in the middle of a compilation
if child == 0:
    os._exit(0 if (x * x - 1.0).tolist() == [3.0] * 3 else 1)
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
HOLDER = """
import os
from tinyml.concurrency import new_lock

lock = new_lock()
with lock:  # the forking thread's own
    child = os.fork()
    assert lock._is_owned()
if child == 0:
    with lock:
        os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@POSIX
@pytest.mark.kernels(5)
def test_a_fork_while_other_threads_hold_locks() -> None:
    run(FORKS, "6")


@POSIX
def test_a_fork_waits_for_a_compiler(tmp_path: Path) -> None:
    run(COMPILING, TINYML_CACHE_DIR=str(tmp_path / "cache"))


@POSIX
def test_a_forking_thread_keeps_its_own_locks() -> None:
    run(HOLDER)


FORBIDDEN = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier",
             "allocate_lock", "register_at_fork", "ThreadPoolExecutor", "cached_property"}
LIBRARIES = {"threading", "_thread", "os", "functools", "multiprocessing", "concurrent.futures"}


def _made_elsewhere(text: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in LIBRARIES:
            names.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module in LIBRARIES:
            names |= {alias.name for alias in node.names}
    return names & FORBIDDEN


def test_locks_are_made_in_one_place() -> None:
    found = {path.relative_to(ROOT).as_posix(): made for path in SOURCES
             if (made := _made_elsewhere(path.read_text(encoding="utf-8")))}
    assert found == {"tinyml/concurrency.py": {"RLock", "register_at_fork"}}
    assert _made_elsewhere("import threading\n_lock = threading.Lock()\n") == {"Lock"}
    assert _made_elsewhere("from threading import Event\n") == {"Event"}


def test_every_lock_in_use_is_renewed(device: str) -> None:
    x = tinyml.ones((3, 4), device=device)
    jitted = tinyml.jit(lambda x: x + 1.0)
    jitted(x)
    known = set(map(id, concurrency._locks))
    kinds = (type(threading.RLock()), type(threading.Lock()))
    found = 0
    for name, module in list(sys.modules.items()):
        if not name.startswith("tinyml") or module is None:
            continue
        for value in list(vars(module).values()):
            if isinstance(value, types.ModuleType):
                continue
            holders = [value, *getattr(value, "__dict__", {}).values()]
            found += sum(isinstance(holder, kinds) for holder in holders)
            for holder in holders:
                assert not isinstance(holder, kinds) or id(holder) in known, (name, holder)
    place: Any = find_device(device)
    for owner in (place.pool, jitted):
        assert id(owner._lock) in known
    assert found >= 4


# ---- the end of a process

AT_EXIT = """
import atexit, threading, time
import numpy as np
import tinyml

def check(where):
    y = tinyml.tanh(big) * 2.0 + 1.0
    print(where, y.shape == big.shape and abs(y[0, 0].item() - 2.5231884) < 1e-5, flush=True)

class Last:
    def __del__(self, check=check):
        check("finalizer")

def outlive():
    threading.main_thread().join()
    check("thread")

tinyml.set_num_threads(3)
big = tinyml.ones((700, 900)).copy()
atexit.register(check, "first")
if sys.argv[1] == "warm":
    check("main")
atexit.register(check, "last")
threading.Thread(target=outlive).start()
kept = Last()
kept.me = kept
"""


@pytest.mark.parametrize("when", ["warm", "cold"])
def test_large_kernels_run_until_the_very_end(when: str) -> None:
    words = run(AT_EXIT, when).split()
    assert {"first", "last", "thread", "finalizer"} <= set(words)
    assert set(words[1::2]) == {"True"}


def test_a_process_that_may_start_no_thread_computes_alone(
        monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    place: Any = find_device("cpu")
    monkeypatch.setattr(place, "_workers", Workers())
    monkeypatch.setattr(place, "threads", 4)
    x = tinyml.tensor(np.arange(400_000, dtype=np.float32))
    assert np.array_equal((x + 1.0).numpy(), np.arange(1, 400_001, dtype=np.float32))
