"""The trial of wrong calls finds nothing, and would find what it looks for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trials import __main__ as front
from tests.trials import wrong_calls
from tinyml import errors
from tinyml.errors import ArgumentError

ROOT = Path(__file__).resolve().parents[2]


def test_wrong_calls_end_as_they_should() -> None:
    assert wrong_calls.trial(seed=12, seconds=60.0, count=1500) == []


def test_calls_are_chosen_by_the_seed() -> None:
    first, second = (
        [next(calls) for _ in range(30)] for calls in map(wrong_calls.calls, (5, 5)))
    assert first == second != [next(calls) for calls in [wrong_calls.calls(6)] for _ in range(30)]


@pytest.fixture
def alarms() -> Iterator[None]:
    """Give the alarm's handler back, which `judge` sets."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("text", "says"), [
    ("ours(lambda: np.zeros(2).reshape(3))", "ValueError"),
    ("ours(lambda: np.float16(300) * np.float16(6e4))", "RuntimeWarning"),
    ("ours(lambda: [][2**70])", "IndexError"),
    ("ours(lambda: 1 / 0)", "ZeroDivisionError"),
    ("ours(lambda: repr(_rude()))", "Unshown"),
    ("ours(lambda: time.sleep(9))", "Hangs"), ("time.sleep(9)", "Hangs"),
    ("1 / 0", None),  # not tinyml's
    ("max(iter, key=1)", None),  # Python's own TypeError about the call's own line
    ("no_tensor(1, x=2)", None),
    ("raiser()", None), ("square([1])", None), ("iter(_rude('__iter__'))", None),
    ("tinyml.zeros(-1)", None), ("tinyml.zeros(1)", None),
])
def test_verdicts(text: str, says: str | None, alarms: None,
                  monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(wrong_calls, "HANGS", 0.2)
    known = {**wrong_calls.names(), "time": time, "no_tensor": lambda x: x}
    exec(compile("def ours(f):\n    return f()\n", errors.__file__, "exec"), known)
    found = wrong_calls.judge(text, known)
    assert found is None if says is None else found is not None and found.startswith(says)


def test_an_error_that_cannot_be_shown_is_a_finding(alarms: None) -> None:
    def fail() -> None:
        error = ArgumentError("no")
        error.inputs = wrong_calls.Rude()  # type: ignore[assignment]
        raise error

    assert "cannot be shown" in str(wrong_calls.judge("fail()", {"fail": fail}))


def test_a_crash_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYML_MEMORY_LIMIT", "ignored")
    monkeypatch.setattr(wrong_calls, "MEMORY", "none")  # the child cannot even open the device
    found = wrong_calls.trial(seed=0, seconds=1.0, count=1)
    assert len(found) == 1 and "TINYML_MEMORY_LIMIT" in found[0]


# ---- the front end


def test_the_front_end_goes_on_where_it_stopped(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    turns: list[tuple[int, float]] = []

    def trial(seed: int, seconds: float) -> list[str]:
        turns.append((seed, seconds))
        now[0] += 60.0
        return ["bad"] if seed == 8 else []

    now = [0.0]
    state = tmp_path / "state.json"
    monkeypatch.setattr(front.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(front, "TRIALS", {"one": trial})
    arguments = ["trials", "one", "--minutes", "3", "--seed", "7", "--state", str(state)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert front.main() == 1 and [seed for seed, _ in turns] == [7, 8, 9]
    assert "one: seed 8: 1 findings\n  bad" in capsys.readouterr().out
    assert sorted(json.loads(state.read_text())) == ["one 7", "one 9"]
    turns.clear()
    assert front.main() == 1 and [seed for seed, _ in turns] == [8]  # found something: again
    monkeypatch.setattr(sys, "argv", ["trials", "two"])
    with pytest.raises(SystemExit):
        front.main()


def test_the_front_end_has_every_trial() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.trials", "--help"], cwd=ROOT, text=True,
                          capture_output=True, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0 and all(name in done.stdout for name in front.TRIALS)


def test_a_call_is_repeated_by_hand() -> None:
    found: Any = subprocess.run(
        [sys.executable, "-m", "tests.trials.wrong_calls", "tinyml.flip(None)",
         "tinyml.add(*[1], *len)"],
        cwd=ROOT, text=True, capture_output=True)
    assert found.stdout.splitlines()[0] == "tinyml.flip(None) -> as it should be"
    assert found.stdout.splitlines()[1].endswith("-> as it should be")
