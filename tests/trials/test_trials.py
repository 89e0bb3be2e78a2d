"""A few attempts of each trial find nothing; `python -m tests.trials` makes as many as wished."""

from __future__ import annotations

import os

import pytest

from tests.trials import __main__ as front
from tests.trials import files, processes, programs


@pytest.mark.kernels(40)
@pytest.mark.parametrize("seed", [13, 22, 25, 38])
def test_programs_give_the_same_in_every_way(seed: int, device: str) -> None:
    assert programs.attempt(seed, (device,)) is None


@pytest.mark.kernels(60)
def test_programs_give_the_same_on_both_devices() -> None:
    assert programs.attempt(35) is None


@pytest.mark.kernels(40)
def test_changed_files_are_refused_or_harmless() -> None:
    for seed in range(40):
        files.attempt(seed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and alarms are POSIX's")
@pytest.mark.kernels(12)
@pytest.mark.parametrize("name", ["FORKS", "SIGNALS", "THREADS"])
def test_processes_end_as_they_should(name: str, device: str) -> None:
    assert processes.attempt(getattr(processes, name), 4, device) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and alarms are POSIX's")
def test_what_goes_wrong_in_a_child_is_found() -> None:
    assert processes.attempt("print('WRONG values'); raise SystemExit(3)", 0, "cpu") == (
        "cpu: status 3: WRONG values\n")
    killed = processes.attempt("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 0, "cpu")
    assert killed is not None and "status -9" in killed


def test_an_attempt_that_raises_is_a_finding() -> None:
    def attempt(number: int) -> str | None:
        if number % 2:
            raise ValueError("odd")
        return "even" if number % 4 else None

    one = front.repeated(attempt)(1, 0.0)
    assert one == []
    found = front.repeated(lambda number: attempt(number + 1))(1, 0.0)
    assert len(found) == 1 and "ValueError: odd" in found[0] and "attempt(100000)" in found[0]
