"""Threads: the same bits for every number of them, and right results when many call at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml.errors import ArgumentError

pytestmark = pytest.mark.kernels(1)

ROOT = Path(__file__).parents[2]
COUNTS = (1, 2, 4)
BIG = (384, 601)  # above the number of points from which a kernel is split

EIGHT = """
import sys, threading
import numpy as np
import tinyml

device = sys.argv[1]
count = 8
start = threading.Barrier(count)
found, failed = [None] * count, []

def work(k):
    try:
        start.wait()
        results = []
        x = tinyml.tensor(np.arange(12, dtype=np.float32).reshape(3, 4) + k, device=device)
        for turn in range(10):
            for shape in ((12,), (3, 4), (2, 6), (4, 3), (1, 12)):
                y = x.reshape(shape)
                results.append((y * y + float(k)).sum().item())
                results.append(tinyml.softmax(y, axis=-1).sum().item())
            w = tinyml.tensor(np.ones((4, 2), np.float32), device=device, requires_grad=True)
            (x @ w).sum().backward()
            results += w.grad.tolist()[0]
        found[k] = results
    except BaseException as error:
        failed.append(repr(error))
        raise

threads = [threading.Thread(target=work, args=(k,)) for k in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
for k, results in enumerate(found):
    x = np.arange(12, dtype=np.float64).reshape(3, 4) + k
    for turn in range(10):
        own = results[12 * turn : 12 * turn + 12]
        assert own[0:10:2] == [(x * x + k).sum()] * 5, (k, own)
        assert np.allclose(own[1:10:2], [1, 3, 2, 4, 1]), (k, own)
        assert own[10:] == [x[:, 0].sum()] * 2, (k, own)
"""

GENERATOR = """
import sys, threading
import tinyml

device = sys.argv[1]
each, count = 20, 8

def draw():
    return tuple(tinyml.random.uniform(None, (3,)).tolist())

tinyml.random.seed(5)
alone = [draw() for _ in range(each * count)]
tinyml.random.seed(5)
start, drawn = threading.Barrier(count), []

def work():
    start.wait()
    own = [draw() for _ in range(each)]
    drawn.extend(own)

threads = [threading.Thread(target=work) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(set(alone)) == each * count
assert sorted(drawn) == sorted(alone)
"""

FORK = """
import os
import tinyml
x = tinyml.ones((700, 800)) + 1
tinyml.set_num_threads(2)
before = (x * x).sum().item()
child = os.fork()
if child == 0:
    os._exit(0 if (x * x).sum().item() == before else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(autouse=True)
def _same_count() -> Iterator[None]:
    before = tinyml.get_num_threads()
    yield
    tinyml.set_num_threads(before)


def _values(*shape: int) -> Any:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "elementwise": lambda x: tinyml.tanh(x) * 0.3 + tinyml.exp(x),
    "gelu": tinyml.gelu,
    "sum of all": lambda x: x.sum(),
    "sum over rows": lambda x: x.sum(axis=0),
    "sum over columns": lambda x: x.sum(axis=1),
    "transposed": lambda x: x.T + 1.0,
    "sum of a transpose": lambda x: (x.T * 2).sum(axis=0),
    "variance": lambda x: tinyml.var(x, axis=1),
    "variance of all": lambda x: tinyml.var(x),
    "argmax": lambda x: tinyml.argmax(x, axis=0),
    "softmax over columns": lambda x: tinyml.softmax(x, axis=1),
    "softmax over rows": lambda x: tinyml.softmax(x, axis=0),
    "log_softmax": lambda x: tinyml.log_softmax(x, axis=-1),
    "matrix product": lambda x: x @ x.T,
    "small matrix product": lambda x: x[:, :5] @ x[:5, :],
    "layer_norm": lambda x: tinyml.layer_norm(x, tinyml.ones(BIG[1]), tinyml.zeros(BIG[1])),
    "convolution": lambda x: tinyml.conv2d(
        x[:256, :576].reshape(16, 16, 24, 24), x[:9, :512].reshape(32, 16, 3, 3)
    ),
    "indexing": lambda x: tinyml.take(x, tinyml.tensor(np.arange(BIG[0]) // 2), axis=0),
    "random numbers": lambda x: tinyml.random.normal(
        tinyml.random.key(3), BIG),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_bits_do_not_depend_on_the_number_of_threads(name: str) -> None:
    x = tinyml.tensor(_values(*BIG))
    results = []
    for count in COUNTS:
        tinyml.set_num_threads(count)
        results.append(OPERATIONS[name](x).numpy().tobytes())
    assert results[1:] == results[:1] * (len(COUNTS) - 1)


def test_gradients_do_not_depend_on_the_number_of_threads() -> None:
    x = tinyml.tensor(_values(*BIG))
    labels = tinyml.tensor(np.arange(BIG[0]) % 50)
    w = tinyml.tensor(_values(BIG[1], 50))
    gradient = tinyml.grad(lambda w: tinyml.cross_entropy(x @ w, labels))
    results = []
    for count in COUNTS:
        tinyml.set_num_threads(count)
        results.append(gradient(w).numpy().tobytes())
    assert results[1:] == results[:1] * (len(COUNTS) - 1)


def test_large_work_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this the tests above would compare one thread with itself."""
    import threading

    from tinyml.kernels.cpu.device import CPU

    seen: list[int] = []
    split = CPU._split
    both = threading.Barrier(2, timeout=60)  # a range of each, so that none takes them all

    def watched(self: CPU, call: Any, ranges: list[int], *args: Any) -> None:
        def noted(*inner: Any) -> None:
            if threading.get_ident() not in seen:
                seen.append(threading.get_ident())
                both.wait()
            call(*inner)

        split(self, noted, ranges, *args)

    monkeypatch.setattr(CPU, "_split", watched)
    tinyml.set_num_threads(2)
    x = tinyml.tensor(_values(401, 603))  # a shape that no other test has a plan for
    x + 1.0
    assert len(seen) == 2 and threading.get_ident() in seen  # it works instead of waiting


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2", None])
def test_a_number_of_threads_is_a_positive_integer(count: Any) -> None:
    with pytest.raises(ArgumentError, match="threads"):
        tinyml.set_num_threads(count)


def _run(code: str, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c",
         f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_eight_threads_meet_in_the_first_use(cache: str, device: str, tmp_path: Path) -> None:
    if cache == "cold":
        _run(EIGHT, device, TINYML_CACHE_DIR=str(tmp_path / "cache"))
    else:
        _run(EIGHT, device)


def test_eight_threads_share_the_generator(device: str) -> None:
    _run(GENERATOR, device, TINYML_DEVICE=device)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_threads_of_its_own() -> None:
    _run(FORK)


def test_the_environment_sets_the_number() -> None:
    _run("import tinyml; assert tinyml.get_num_threads() == 3", TINYML_NUM_THREADS="3")
