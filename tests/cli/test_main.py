"""The command line: help that can be read, errors without walls, and a doctor that finds things."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinyml
import tinyml.cli.doctor as doctor
from tinyml.cli.main import main
from tinyml.errors import BuildError


def _output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_shows_every_command_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    text = _output(capsys, "--help")
    for word in ("train", "test", "doctor", "kernels", "explain", "conformance", "bench",
                 "examples:", "Exit status"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "digits"), "--hold-out"),
        (("test", "digits"), "--weights"),
        (("doctor",), "remedy"),
        (("conformance",), "--suite"),
        (("kernels",), "--json"),
        (("explain",), "--shape"),
        (("bench",), "core,jit"),
    ],
)
def test_each_command_has_help(words: tuple[str, ...], expected: str,
                               capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in _output(capsys, *words, "--help")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert _output(capsys, "--version") == f"tinyml {tinyml.__version__}\n"


def test_without_a_command_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [("dance",), ("train", "cats"), ("train",), ("train", "digits", "--epochs", "many"),
     ("test", "digits"), ("train", "digits", "--hold-out", "third")],
)
def test_wrong_options_end_in_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "usage: tinyml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "digits", "--device", "abacus"), "no device 'abacus'"),
        (("train", "digits", "--epochs", "0"), "epochs >= 1"),
        (("test", "digits", "--weights", "none.safetensors"), "no file none.safetensors"),
    ],
)
def test_errors_are_told_without_a_wall(words: tuple[str, ...], expected: str, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    text = capsys.readouterr().err
    assert text.startswith("tinyml: ")
    assert expected in text
    assert "Traceback" not in text
    assert main([*words, "--traceback"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["train", "digits", "--out", str(tmp_path / "file" / "run")]) == 1
    assert "tinyml: " in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(as_json: bool) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "main", interrupted)
    assert main(["doctor"]) == 130


def test_one_case_of_conformance(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--only", "add/float32/same"]) == 0
    assert "1 passed" in capsys.readouterr().out


def test_python_m_tinyml_runs_and_help_loads_no_compiler() -> None:
    code = ("import sys; from tinyml.cli.main import main\n"
            "try: main(['--help'])\n"
            "except SystemExit: pass\n"
            "assert not {'numba', 'pyopencl', 'matplotlib', 'rich'} & set(sys.modules)")
    for arguments in (["-c", code], ["-m", "tinyml", "--version"]):
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


# ---- the doctor


def test_doctor_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("machine", "python", "numba", "pyopencl", "cpu          works", "opencl", "cache",
                 "roblem"):
        assert word in text


def test_doctor_names_a_remedy_for_each_problem(tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("TINYML_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tinyml.kernels.opencl.list_devices", list)
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy", "no-such-package"))
    report = doctor.examine()
    assert report.cpu_works
    words = ["no-such-package is not installed", "no OpenCL device", "kernels are not kept"]
    assert len(report.problems) == len(words)
    for problem, word in zip(report.problems, words):
        assert word in problem.what
        assert f"remedy: {problem.remedy}" in report.text()


def test_doctor_as_json(capsys: pytest.CaptureFixture[str],
                        monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"name": "Toaster", "driver": "Bread 1.0", "basic": False, "basic_error": "no bread"}
    monkeypatch.setattr("tinyml.kernels.opencl.list_devices", lambda: [entry])
    monkeypatch.setattr(doctor, "EXTRAS", {"none": ("no-such-package",)})
    monkeypatch.setenv("TINYML_NUM_THREADS", "2")
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["tinyml"] == tinyml.__version__
    assert found["settings"]["TINYML_NUM_THREADS"] == "2"
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["no-such-package"] is None
    assert [(d["name"], d["room"], d["problem"]) for d in found["devices"]] == [
        ("cpu", "cpu", None), (None, "opencl", "no bread")]
    assert found["cache"]["problem"] is None and found["cache"]["entries"] >= 0
    assert [p["what"] for p in found["problems"]] == [
        "the OpenCL device Toaster is not usable: no bread"]
    assert found["problems"][0]["remedy"]


def test_doctor_names_a_setting_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYML_MEMORY_LIMIT", "8 gigs")
    report = doctor.examine()
    assert report.problems[0].what == "TINYML_MEMORY_LIMIT is '8 gigs'"
    assert "'2GB'" in report.problems[0].remedy
    assert "set          TINYML_MEMORY_LIMIT=8 gigs" in report.text()


def test_doctor_lists_a_device_that_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"name": "Toaster", "driver": "Bread 1.0", "basic": False,
             "basic_error": "clBuildProgram failed\nmore"}
    monkeypatch.setattr("tinyml.kernels.opencl.list_devices", lambda: [entry])
    report = doctor.examine()
    assert "Toaster (Bread 1.0) fails: clBuildProgram failed\n" in report.text()
    assert [problem.what for problem in report.problems] == [
        "the OpenCL device Toaster is not usable: clBuildProgram failed"
    ]


def test_doctor_survives_drivers_and_devices_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[dict[str, object]]:
        raise ImportError("no libOpenCL")

    monkeypatch.setattr("tinyml.kernels.opencl.list_devices", broken)
    monkeypatch.setattr(doctor, "_trial", lambda name: BuildError("bad", remedy="mend it"))
    report = doctor.examine()
    assert not report.cpu_works
    assert [problem.remedy for problem in report.problems] == [
        "mend it", "pip install --force-reinstall pyopencl"
    ]
