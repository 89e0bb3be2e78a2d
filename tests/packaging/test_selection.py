"""Which tests run: none is lost between the sample and the rest, and none runs twice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each test starts pytest several times

ROOT = Path(__file__).resolve().parents[2]
LIGHT = "def test_{0}() -> None:\n    assert {1}\n"
HEAVY = """
import pytest

@pytest.mark.kernels(10)
@pytest.mark.parametrize("k", range(8))
def test_{0}(k: int) -> None:
    assert {1}
"""
KINDS = """
import pytest

@pytest.mark.slow
def test_slow() -> None:
    pass

@pytest.mark.samples
def test_twice() -> None:
    pass
"""
SETTINGS = """[pytest]
pythonpath = .
addopts = --import-mode=importlib
testpaths = tests
markers =
    kernels(n): a number
    samples: a kind
    slow: a kind
    peers: a kind
    data: a kind
"""


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTEST_ADDOPTS": "", "CI": ""}
    return subprocess.run([sys.executable, "-m", "pytest", "-v", *words], cwd=folder, env=env,
                          capture_output=True, text=True, check=False)


def _passed(folder: Path, *words: str) -> list[str]:
    done = _run(folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"::(test_\S+) PASSED", done.stdout)


def _folder(path: Path, fails: str = "") -> Path:
    tests = path / "tests"
    tests.mkdir()
    (path / "pytest.ini").write_text(SETTINGS)
    for name in ("conftest.py", "selection.py"):
        shutil.copy(ROOT / "tests" / name, tests)
    for name, text in (("one", LIGHT), ("two", LIGHT), ("many", HEAVY), ("more", HEAVY)):
        (tests / f"test_{name}.py").write_text(text.format(name, name != fails))
    return path


def test_sample_and_rest_are_all_and_each_test_runs_once(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    parts = [_passed(folder, *words, "--kernels=30") for words in ((), ("--rest",))]
    assert len(parts[0]) == 2 + 3
    together = sorted(parts[0] + parts[1])
    assert together == sorted(_passed(folder, "--all")) and len(set(together)) == len(together)


def test_the_sample_is_told_and_has_of_every_function(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    told = _run(folder, "--kernels=40", "--processes=1").stdout
    assert "sample: 6 of 18 tests, 40 of 160 declared kernels" in told and "--all" in told
    names = re.findall(r"::test_(m\w+)\[\d\] PASSED", told)
    assert sorted(names) == ["many", "many", "more", "more"]


def test_whole_kinds_are_left_out_and_samples_run_again(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "tests" / "test_kinds.py").write_text(KINDS)
    assert "test_slow" not in _passed(folder) and "test_twice" in _passed(folder)
    assert set(_passed(folder, "--rest", "--kernels=1000")) == {"test_slow", "test_twice"}


def test_what_is_named_runs_whole(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert len(_passed(folder, "--kernels=10", "tests/test_many.py")) == 8
    assert len(_passed(folder, "--kernels=10", "-k", "more")) == 8


@pytest.mark.parametrize("fails", ["one", "two", "many"])
def test_a_failure_in_any_process_is_a_failure(fails: str, tmp_path: Path) -> None:
    done = _run(_folder(tmp_path, fails), "--processes=2")
    assert done.returncode == 1, done.stdout
    assert f"FAILED tests/test_{fails}.py" in done.stdout


def test_parts_are_disjoint_and_whole(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    parts = [set(_passed(folder, "--all", f"--part={k}/2")) for k in (1, 2)]
    assert len(parts[0] | parts[1]) == 18 and not parts[0] & parts[1]


def test_a_state_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "two")
    state = f"--state={tmp_path / 'state'}"
    assert _run(folder, "--all", "--processes=2", state).returncode == 1
    (folder / "tests" / "test_new.py").write_text("")  # other code: all of it again
    assert _run(folder, "--all", "--processes=2", state).stdout.count(" PASSED") == 17
    done = _run(folder, "--all", "--processes=2", state)
    assert "17 tests have passed before" in done.stdout
    assert done.returncode == 1 and " PASSED" not in done.stdout
