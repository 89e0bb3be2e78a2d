"""Finding OpenCL devices: children die instead of this process, and only answers are kept."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tinyml.kernels.opencl as room
import tinyml.kernels.opencl.discovery as discovery
from tinyml.errors import DeviceError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.kernels(2)

ABORTS = """
import os, sys
class Error(Exception): pass
def get_platforms():
    print("toaster: cannot read the bread", file=sys.stderr, flush=True)
    os.abort()
"""
USES = """
import tinyml
try:
    tinyml.ones(3, device="opencl")
except tinyml.errors.DeviceError as error:
    print(error.message)
    print(error.remedy)
print((tinyml.ones(2) + 1.0).tolist())
"""


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No answers of earlier tests."""
    monkeypatch.setenv("TINYML_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(discovery, "_answers", {})


def _fake(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Put a package named pyopencl before the real one, for children."""
    (folder / "pyopencl.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))


def _kept(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.glob("cache/*.json")]


def test_a_driver_that_aborts_is_a_missing_device(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake(monkeypatch, tmp_path, ABORTS)
    done = subprocess.run([sys.executable, "-c", USES], cwd=ROOT, capture_output=True, text=True)
    message, remedy, cpu = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == "" and cpu == "[2.0, 2.0]"
    assert "SIGABRT" in message and "listed: toaster: cannot read the bread" in message
    assert "driver" in remedy or "/sys" in remedy
    assert not _kept(tmp_path)
    done = subprocess.run([sys.executable, "-m", "tinyml", "doctor"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0 and f"Problem 1: {message}\n  remedy: {remedy}\n" in done.stdout


def test_of_several_drivers_the_one_that_aborts_is_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake(monkeypatch, tmp_path, """
import os
class Error(Exception): pass
def get_platforms():
    if not os.environ["OCL_ICD_VENDORS"].endswith("good.icd"):
        os.abort()
    return []
""")
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    for name in ("bread.icd", "good.icd"):
        (tmp_path / name).write_text("library.so", encoding="utf-8")
    bad = str(tmp_path / "bread.icd")
    with pytest.raises(DeviceError, match="SIGABRT") as caught:
        room.open_device(0)
    assert caught.value.message.endswith(f"; so does {bad} alone")
    assert f"remove {bad}, or set OCL_ICD_VENDORS" in str(caught.value.remedy)
    (tmp_path / "good.icd").unlink()
    with pytest.raises(DeviceError, match="SIGABRT") as caught:
        room.open_device(0)
    assert "alone" not in caught.value.message  # there is no other


@pytest.mark.parametrize(("text", "says"), [
    ("import sys\nsys.exit(7)", "ended with status 7 "),
    ("raise RuntimeError('no bread')", "listed: .*RuntimeError: no bread"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "died of SIGSEGV "),
    ("class Error(Exception): pass\n"
     "def get_platforms(): print('{', flush=True); import os; os._exit(0)", "status 0 "),
])
def test_whatever_the_child_does_is_the_reason(
        text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake(monkeypatch, tmp_path, text)
    with pytest.raises(DeviceError, match=says) as caught:
        room.candidates()
    assert caught.value.remedy and not _kept(tmp_path)


def test_a_child_that_hangs_is_a_missing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: Any, **kwargs: Any) -> Any:
        raise subprocess.TimeoutExpired("probe", kwargs["timeout"], None, b"waiting for bread\n")

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(DeviceError, match="no answer in 120 s .*: waiting for bread"):
        room.open_device(0)


def test_drivers_may_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake(monkeypatch, tmp_path, "print('{hello')\nclass Error(Exception): pass\n"
                                 "def get_platforms(): print('[1]', end=''); return []\n")
    assert discovery.list_devices() == []
    with pytest.raises(DeviceError, match="no OpenCL device 0: 0 usable"):
        room.open_device(0)
    assert not _kept(tmp_path)  # a device may be installed meanwhile


ENTRY = {"platform": 0, "device": 0, "name": "Toaster", "driver": "Bread 1.0", "order": 0}


def test_only_what_a_device_answered_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    short = "clBuildProgram failed: OUT_OF_HOST_MEMORY"
    answers: list[Any] = [
        DeviceError("a child process died of SIGBUS"),
        {"basic": False, "basic_error": "clCreateContext failed: DEVICE_NOT_AVAILABLE"},
        {"basic": True, "fp64": False, "fp64_error": short},
        {"basic": True, "fp64": True, "fp16": False, "fp16_error": "no such type"},
    ]
    asked = []

    def ask(*arguments: str) -> Any:
        asked.append(arguments)
        answer = answers.pop(0) if arguments else [ENTRY]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(discovery, "_ask", ask)
    monkeypatch.setattr(discovery, "_list_here", lambda: [dict(ENTRY)])
    with pytest.raises(DeviceError, match="0 usable; Toaster fails: .* died of SIGBUS"):
        room.open_device(0)
    with pytest.raises(DeviceError, match="0 usable; Toaster fails: .*DEVICE_NOT_AVAILABLE"):
        room.open_device(0)
    assert not discovery.list_devices()[0]["fp64"]
    for _ in range(3):  # the device has answered: it is not asked again, nor after a restart
        assert discovery.list_devices()[0]["fp64"]
        discovery._answers.clear()
    assert asked == [(), *[("0", "0")] * 4]


@pytest.mark.parametrize("device", ["opencl"], indirect=True)
def test_a_device_that_comes_later_is_found(
        device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("OCL_ICD_VENDORS", f"{tmp_path}/")
        patch.setenv("OCL_ICD_FILENAMES", "")
        patch.setattr(discovery, "_list_here", None)  # where a child found none, nobody looks here
        assert not [entry for entry in discovery.list_devices() if entry["basic"]]
    assert discovery.list_devices()[0]["basic"] and len(_kept(tmp_path)) >= 2


@pytest.mark.parametrize("executable", [
    None, "", 5, "/nowhere/python3", "/nowhere", os.path.dirname(sys.executable), "APP"])
def test_odd_names_of_the_interpreter(executable: Any, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    app = tmp_path / "editor"  # a program that embeds Python
    app.write_text(f"#!/bin/sh\ntouch {tmp_path}/launched\n", encoding="utf-8")
    app.chmod(stat.S_IRWXU)
    _fake(monkeypatch, tmp_path, "class Error(Exception): pass\ndef get_platforms(): return []\n")
    monkeypatch.setattr(sys, "executable", str(app) if executable == "APP" else executable)
    assert discovery.list_devices() == []
    for name in ("exec_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, str(tmp_path))
    monkeypatch.setattr(sys, "_base_executable", None, raising=False)
    with pytest.raises(DeviceError, match="no Python interpreter .* sys.executable is") as caught:
        room.candidates()
    assert "sys.executable" in str(caught.value.remedy)
    assert not (tmp_path / "launched").exists()


def test_other_drivers_are_listed_by_a_child_again(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    library, icd = tmp_path / "libbread.so", tmp_path / "bread.icd"
    seen = [list(discovery._identity())]
    for path, text in ((icd, str(library)), (library, "1"), (library, "12"), (icd, f"{library} ")):
        path.write_text(text, encoding="utf-8")
        seen.append(list(discovery._identity()))
        assert seen[-1] == list(discovery._identity())
    assert len(set(map(tuple, seen))) == len(seen)
