"""Tests in several processes: every test runs once, and whoever fails fails the whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTEST_ADDOPTS": "", "CI": ""}
    return subprocess.run([sys.executable, "-m", "pytest", "-v", *words], cwd=folder, env=env,
                          capture_output=True, text=True, check=False)


def _folder(path: Path, fails: str) -> Path:
    shutil.copy(ROOT / "tests" / "conftest.py", path / "conftest.py")
    for name in ("one", "two", "three"):
        body = "assert False" if name == fails else "assert True"
        (path / f"test_{name}.py").write_text(f"def test_{name}() -> None:\n    {body}\n")
    return path


def test_every_test_runs_once(tmp_path: Path) -> None:
    done = _pytest(_folder(tmp_path, "none"), "--processes=2")
    assert done.returncode == 0, done.stdout
    assert sorted(re.findall(r"::test_(\w+) PASSED", done.stdout)) == ["one", "three", "two"]


def test_a_failure_in_any_process_is_a_failure(tmp_path: Path) -> None:
    for fails in ("one", "two", "three"):
        done = _pytest(_folder(tmp_path, fails), "--processes=2")
        assert done.returncode == 1, done.stdout
        assert f"FAILED test_{fails}.py" in done.stdout


def test_parts_are_disjoint_and_whole(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "none")
    parts = [set(re.findall(r"::test_(\w+) PASSED", _pytest(folder, f"--part={k}/2").stdout))
             for k in (1, 2)]
    assert parts[0] | parts[1] == {"one", "two", "three"} and not parts[0] & parts[1]
