"""How timing works: contenders side by side in one process, and what a figure is judged by.

Contenders run on one thread, and each runs in every round, so a disturbance of the machine affects
all of them. A figure is the median over the rounds of process CPU time, which other processes on
the machine do not change.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import tinyml
from tinyml.ir.devices import find_device

ROUNDS = 21
SAMPLE_SECONDS = 0.01  # for one contender in one round: at least a thousand ticks of the clock
PEERS = ("torch", "jax")

Contenders = dict[str, Callable[[], Any]]


class Case(NamedTuple):
    """One operation as each contender writes it; `target` is the intended ratio to torch."""

    name: str
    contenders: Contenders
    target: float | None = None


class Row(NamedTuple):
    """One line of the report: figures by name, and their target.

    `figure` is the number that `target` bounds; `met` is None where there is no target.
    """

    name: str
    unit: str
    figures: dict[str, float]
    figure: float | None
    target: float | None
    judged: str

    @property
    def met(self) -> bool | None:
        """Whether the figure meets its target."""
        if self.figure is None or self.target is None:
            return None
        return self.figure <= self.target


def race(contenders: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS,
         seconds: float = SAMPLE_SECONDS) -> dict[str, float]:
    """Return the median CPU seconds of one call of each contender, over interleaved rounds.

    The garbage collector is off meanwhile, and the order changes from round to round.

    >>> sorted(race({"little": int, "much": lambda: sum(range(3000))}, 3, 0.001))
    ['little', 'much']
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        repeats = {name: _repeats(call, seconds) for name, call in contenders.items()}
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                samples[name].append(_time(contenders[name], repeats[name]))
    finally:
        if was_on:
            gc.enable()
    return {name: statistics.median(values) for name, values in samples.items()}


def _time(call: Callable[[], Any], repeats: int) -> float:
    turns = range(repeats)
    start = time.process_time()
    for _ in turns:
        call()
    return (time.process_time() - start) / repeats


def _repeats(call: Callable[[], Any], seconds: float) -> int:
    """Return how many calls take about `seconds`, not counting the first ones, which are slow."""
    count = 1
    call()
    while True:
        start = time.process_time()
        for _ in range(count):
            call()
        spent = time.process_time() - start
        if spent >= seconds / 4:
            return max(1, round(count * seconds / spent))
        count *= 4


def single_thread() -> dict[str, Any]:
    """Return the peers that are installed, on one thread each."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    tinyml.set_num_threads(1)
    found: dict[str, Any] = {}
    for name in PEERS:
        if importlib.util.find_spec(name) is None:
            continue
        if name == "jax":
            flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
            os.environ.setdefault("JAX_PLATFORMS", "cpu")
        found[name] = importlib.import_module(name)
    if "torch" in found:
        found["torch"].set_num_threads(1)
    if "jax" in found:
        found["jax"].config.update("jax_cpu_enable_async_dispatch", False)
    return found


def timed(cases: Iterable[Case], device: str, rounds: int) -> list[Row]:
    """Return the cost of each case in microseconds, and tinyml's ratio to torch."""
    rows = []
    for case in cases:
        medians = race(case.contenders, rounds)
        find_device(device).synchronize()
        ratio = medians["tinyml"] / medians["torch"] if "torch" in medians else None
        figures = {name: 1e6 * value for name, value in medians.items()}
        rows.append(Row(case.name, "us", figures, ratio, case.target, "of torch's time"))
    return rows
