"""The lock of OpenCL builds: the process's own, and never waited on for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tinyml.kernels.opencl.programs as programs

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# Says that it holds the lock, and forks meanwhile; then frees it and lives on, as the child does.
HOLDER = """
import os, sys
from tinyml.kernels.opencl.programs import _one_process
with _one_process():
    child = os.fork()
    if child == 0:
        sys.stdin.buffer.raw.read()
        os._exit(0)
    print("held", flush=True)
    if sys.argv[1] == "free":
        pass
    else:
        sys.stdin.buffer.raw.read()
print("free", flush=True)
os.waitpid(child, 0)
"""


@contextmanager
def _holder(what: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", HOLDER, what], cwd=ROOT,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder with a lock of its own."""
    monkeypatch.setenv("TINYML_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(programs, "_patience", 0.0)


def _obtained() -> bool:
    handle = programs._open_lock()
    assert handle is not None
    try:
        return programs._wait_for_lock(handle)
    finally:
        os.close(handle)


def test_a_child_forked_amid_a_build_does_not_hold_the_lock() -> None:
    with _holder("free") as process:
        assert process.stdout is not None and process.stdout.readline() == "free\n"
        assert _obtained()  # the child is still there


def test_a_holder_that_never_ends_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_patience", 2 * programs.PAUSE)
    pauses = []
    monkeypatch.setattr(programs.time, "sleep", pauses.append)
    clock = iter([0.0, 0.0, programs.PAUSE, 2 * programs.PAUSE, 7.0, 7.0, 8.0])
    monkeypatch.setattr(programs.time, "monotonic", lambda: next(clock))
    with _holder("keep") as process:
        assert not _obtained() and len(pauses) == 2
        assert not _obtained() and len(pauses) == 2
        process.kill()
        process.wait()
        assert _obtained()


def test_the_lock_is_waited_for_again_once_it_was_free() -> None:
    assert programs._patience == 0.0
    with _holder("keep"):
        with programs._one_process():  # builds without the lock
            assert programs._patience == 0.0
    with programs._one_process():
        assert programs._patience == programs.PATIENCE
        _refuse_others()


def _refuse_others() -> None:
    """Assert that another process does not obtain the lock that this one holds."""
    code = ("import tinyml.kernels.opencl.programs as p; p._patience = 0.0\n"
            "print(p._wait_for_lock(p._open_lock()))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_what_is_no_file_is_no_lock(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "build.lock")
    with programs._one_process():
        pass
