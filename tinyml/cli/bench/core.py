"""`tinyml bench core`: the cost of operations, import and a first result, beside torch and jax.

What happens only once in a process is measured in child processes, also interleaved.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tinyml
from tinyml import nn, optim
from tinyml.cli.bench.timing import Case, Contenders, Row, single_thread, timed
from tinyml.errors import DeviceError
from tinyml.ir.devices import HOST, find_device
from tinyml.tensor import Tensor

STARTS = 11  # child processes of each kind
MEGABYTE = 1e6

STEPS = (1_000, 10_000)  # memory is compared between these two training steps
SHAPES = (10_000, 100_000)  # and between these numbers of distinct shapes; memos are full before
TRAIN_SECONDS = 10.0

# ---- one operation


def eager_cases(device: str, peers: Mapping[str, Any]) -> list[Case]:
    """Return the timed operations, as tinyml and the given peers write them."""
    arrays = [np.full(shape, 1.5, np.float32) for shape in ((4,), (4,), (64, 10), (10,))]
    x, y, matrix, bias = [tinyml.tensor(array, device=device) for array in arrays]
    leaf, bias_leaf = [tinyml.tensor(arrays[k], device=device, requires_grad=True) for k in (0, 3)]

    def tiny_backward() -> None:
        (leaf * y).sum().backward()
        leaf.grad = None

    rows: dict[str, tuple[float | None, Contenders]] = {
        "x + y, 4 floats": (1.0, {"tinyml": lambda: x + y}),
        "x + y, recording": (0.9, {"tinyml": lambda: leaf + y}),
        "x + 1.0": (1.0, {"tinyml": lambda: x + 1.0}),
        "x + 1.0, recording": (0.9, {"tinyml": lambda: leaf + 1.0}),
        "(64, 10) + (10,)": (1.0, {"tinyml": lambda: matrix + bias}),
        "(64, 10) + (10,), recording": (0.9, {"tinyml": lambda: matrix + bias_leaf}),
        "exp(x), 4 floats": (1.0, {"tinyml": lambda: tinyml.exp(x)}),
        "(x * y).sum().backward()": (None, {"tinyml": tiny_backward}),
    }
    for name, peer in peers.items():
        theirs = _torch_calls(peer, arrays) if name == "torch" else _jax_calls(peer, arrays)
        for title, call in theirs.items():
            rows[title][1][name] = call
    on_host = find_device(device) is find_device(HOST)
    return [Case(title, contenders, target if on_host else None)
            for title, (target, contenders) in rows.items()]


def _torch_calls(torch: Any, arrays: list[np.ndarray[Any, Any]]) -> Contenders:
    x, y, matrix, bias = [torch.from_numpy(array) for array in arrays]
    leaf, bias_leaf = x.clone().requires_grad_(), bias.clone().requires_grad_()

    def tiny_backward() -> None:
        (leaf * y).sum().backward()
        leaf.grad = None

    return {
        "x + y, 4 floats": lambda: x + y,
        "x + y, recording": lambda: leaf + y,
        "x + 1.0": lambda: x + 1.0,
        "x + 1.0, recording": lambda: leaf + 1.0,
        "(64, 10) + (10,)": lambda: matrix + bias,
        "(64, 10) + (10,), recording": lambda: matrix + bias_leaf,
        "exp(x), 4 floats": lambda: torch.exp(x),
        "(x * y).sum().backward()": tiny_backward,
    }


def _jax_calls(jax: Any, arrays: list[np.ndarray[Any, Any]]) -> Contenders:
    """Return jax's calls; jax records nothing as it runs, so it has no rows with recording."""
    x, y, matrix, bias = [jax.numpy.asarray(array) for array in arrays]
    gradient = jax.grad(lambda leaf: (leaf * y).sum())
    return {
        "x + y, 4 floats": lambda: x + y,
        "x + 1.0": lambda: x + 1.0,
        "(64, 10) + (10,)": lambda: matrix + bias,
        "exp(x), 4 floats": lambda: jax.numpy.exp(x),
        "(x * y).sum().backward()": lambda: gradient(x),
    }


def eager_rows(device: str, rounds: int) -> list[Row]:
    """Return the cost of each operation in microseconds, and tinyml's ratio to torch."""
    return timed(eager_cases(device, single_thread()), device, rounds)


# ---- what happens once in a process


def _children_seconds() -> float:
    """Return the CPU seconds of the child processes that have ended."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _child_cpu(command: list[str], environment: Mapping[str, str]) -> float:
    """Return the CPU seconds of one child process; raise DeviceError where it fails."""
    before = _children_seconds()
    done = subprocess.run(command, env=environment, cwd=Path(tinyml.__file__).parents[1],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeviceError(f"a child process ended with {done.returncode}: {done.stderr[-2000:]}",
                          remedy=f"run it by hand: {' '.join(command)}")
    return _children_seconds() - before


def _environment(scratch: str) -> dict[str, str]:
    """Return this environment on one thread, with compiled modules kept between children."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "TINYML_NUM_THREADS": "1"}
    if environment.pop("PYTHONDONTWRITEBYTECODE", None):
        environment["PYTHONPYCACHEPREFIX"] = os.path.join(scratch, "bytecode")
    return environment


def starting_rows(device: str, starts: int) -> list[Row]:
    """Return the CPU milliseconds of `import tinyml` and a first result, over `import numpy`."""
    first = f"import tinyml; tinyml.tanh(tinyml.ones(4, device={device!r})).numpy()"
    programs = {"numpy": "import numpy", "import": "import numpy, tinyml", "first": first}
    samples: dict[str, list[float]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as scratch:
        environment = _environment(scratch)
        for number in range(starts + 1):
            for name, code in programs.items():
                spent = _child_cpu([sys.executable, "-c", code], environment)
                if number:  # the first run fills the caches
                    samples[name].append(spent)
    medians = {name: 1e3 * statistics.median(values) for name, values in samples.items()}
    base = medians["numpy"]
    titles = {"import": ("import tinyml", 40.0), "first": (f"first result, {device}", 100.0)}
    return [
        Row(title, "ms", {"tinyml": medians[name], "numpy": base}, medians[name] - base, target,
            "ms over import numpy")
        for name, (title, target) in titles.items()
    ]


# ---- memory


def resident() -> int:
    """Return this process's resident bytes; the peak where the system reports no more than that."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _growth(device: str, work: Callable[[int], Any], first: int, last: int) -> dict[str, float]:
    """Return the bytes that `work(k)` adds between two counts: resident, and held by tensors."""
    place = find_device(device)
    marks = []
    gc.collect()
    gc.disable()
    try:
        for count in range(last):
            if count == first:
                marks.append((resident(), place.in_use()))
            work(count)
        place.synchronize()
        marks.append((resident(), place.in_use()))
    finally:
        gc.enable()
    (resident0, tracked0), (resident1, tracked1) = marks
    return {"resident": resident1 - resident0, "tracked": tracked1 - tracked0}


def training_growth(device: str, first: int = STEPS[0], last: int = STEPS[1]) -> dict[str, float]:
    """Return the bytes that training adds between two steps, with the garbage collector off."""
    generator = np.random.default_rng(0)
    images = tinyml.tensor(generator.normal(size=(16, 8)).astype(np.float32), device=device)
    labels = tinyml.tensor(generator.integers(0, 4, 16), device=device)
    key = tinyml.random.key(0)
    keys = tinyml.random.split(key)
    model = nn.Sequential(nn.Linear(8, 16, key=keys[0]), nn.ReLU(), nn.Linear(16, 4, key=keys[1]))
    model.to(device)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)

    def step(_: int) -> None:
        tinyml.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return _growth(device, step, first, last)


def numbered_shape(number: int) -> tuple[int, ...]:
    """Return a shape of five axes of 1 to 10, distinct for each number, the largest first.

    >>> numbered_shape(0), numbered_shape(10), numbered_shape(99_999)
    ((10, 10, 10, 10, 10), (10, 9, 10, 10, 10), (1, 1, 1, 1, 1))
    """
    return tuple([10 - number // 10**place % 10 for place in range(5)])


def shapes_growth(device: str, first: int = SHAPES[0], last: int = SHAPES[1]) -> dict[str, float]:
    """Return the bytes that an op adds on ever new shapes, with the garbage collector off."""

    def work(number: int) -> None:
        x: Tensor = tinyml.zeros(numbered_shape(number), device=device)
        _ = x + 1.0

    return _growth(device, work, first, last)


def memory_rows(device: str) -> list[Row]:
    """Return growth in megabytes, each measured in its own process."""
    rows = []
    kinds = [("training_growth", "training steps", STEPS),
             ("shapes_growth", "distinct shapes", SHAPES)]
    for function, what, (first, last) in kinds:
        call = f"core.{function}({device!r}, {first}, {last})"
        code = f"import json; from tinyml.cli.bench import core; print(json.dumps({call}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=Path(tinyml.__file__).parents[1],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise DeviceError(f"the child process failed: {done.stderr[-2000:]}")
        grown = {name: value / MEGABYTE for name, value in json.loads(done.stdout).items()}
        rows.append(Row(f"{what} {first:,} to {last:,}", "MB", grown, max(grown.values()), 1.0,
                        "MB more"))
    return rows


# ---- the main job


def training_rows(devices: Iterable[str]) -> list[Row]:
    """Return the CPU seconds of `tinyml train digits`, with empty and with full caches."""
    program = "import sys; from tinyml.cli.main import main; sys.exit(main(sys.argv[1:]))"
    rows = []
    for device in devices:
        with tempfile.TemporaryDirectory() as scratch:
            os.mkdir(os.path.join(scratch, "kernels"), 0o700)
            environment = {
                **_environment(scratch),
                "TINYML_CACHE_DIR": os.path.join(scratch, "kernels"),
                "POCL_CACHE_DIR": os.path.join(scratch, "pocl"),
            }
            command = [sys.executable, "-c", program, "train", "digits", "--device", device,
                       "--out", os.path.join(scratch, "run")]
            _child_cpu([sys.executable, "-c", "import tinyml.cli.main"], environment)
            seconds = {state: _child_cpu(command, environment) for state in ("cold", "warm")}
        rows.append(Row(f"train digits, {device}", "s", seconds, seconds["warm"], TRAIN_SECONDS,
                        "s warm"))
    return rows
