"""The runner: totals, the report, the JSON file, the choice of cases, and the exit status."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyml.conformance.suite.backends import NumPy, open_backend
from tinyml.conformance.suite.run import Report, Verdict, add_arguments, all_ops, main, run, run_op
from tinyml.ir.op import Op
from tinyml.ops.samples import error_cases
from tinyml.ops.samples.values import ErrorCase, Sample

pytestmark = pytest.mark.kernels(2)

OPS = all_ops()


class Lacking(NumPy):
    """NumPy without exp."""

    name = "lacking"

    def run(self, op: str, /, *arrays: Any, **attrs: Any) -> tuple[np.ndarray, ...]:
        """The outputs, unless exp is asked."""
        if op == "exp":
            raise NotImplementedError("no exp here")
        return super().run(op, *arrays, **attrs)


def _options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_the_json_holds_totals_and_cases(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report = run("ops", only="add/float32", json_path=path, backend=NumPy())
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["totals"] == report.totals
    assert read["passed"] == len(read["cases"]) > 5
    assert {case["name"].split("/")[0] for case in read["cases"]} == {"add"}


def test_what_a_backend_lacks_is_unsupported_and_never_passes() -> None:
    report = run("ops", only="exp/float32", backend=Lacking())
    assert report.totals["unsupported"] > 0 and report.totals["passed"] == 0
    assert not report.ok
    assert "no exp here" in report.text()


def test_a_failure_prints_the_command_that_repeats_it() -> None:
    report = Report("ops", "tinyml:cpu", run_op("ops", OPS["exp"], Lacking(), "exp/float32/vector"))
    assert "--only 'exp/float32/vector'" in report.text()
    assert [verdict.name for verdict in report.verdicts] == ["exp/float32/vector"]


def test_the_infinite_is_written_as_text() -> None:
    report = Report("ops", "x", [Verdict("a/b/c", "failed", "", float("inf"))])
    assert "Infinity" not in json.dumps(report.json())


def test_an_op_that_the_reference_lacks_fails() -> None:
    unknown = Op("frobnicate", lambda *_: None, samples=lambda _: [Sample((1,), {}, "one")])
    report = Report("ops", "numpy", run_op("ops", unknown, NumPy()))
    assert report.totals["failed"] == 1
    assert "reference lacks" in report.text()


def test_a_run_that_chooses_nothing_is_not_a_success() -> None:
    assert not run("ops", only="no such op", backend=NumPy()).ok


def test_an_unknown_suite_or_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="no suite"):
        run("sops")
    with pytest.raises(ValueError, match="no backend"):
        open_backend("abacus")


def test_a_backend_is_found_by_module_and_object() -> None:
    assert open_backend("tinyml.conformance.suite.backends:NumPy").name == "numpy"


def test_the_command_line_judges_and_exits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_options("--backend", "numpy", "--only", "add/float32")) == 0
    assert "0 failed, 0 unsupported, 0 skipped" in capsys.readouterr().out
    assert main(_options("--only", "add/float32/same")) == 0
    assert main(_options("--suite", "gradients", "--backend", "numpy", "--only", "add")) == 1


def test_an_error_case_that_does_not_raise_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    good = ErrorCase((np.ones(3), np.ones(3)), {}, ValueError, "anything")
    monkeypatch.setattr(OPS["add"], "errors", error_cases(good))
    verdicts = run_op("ops", OPS["add"], open_backend("tinyml:cpu"), "add/error")
    assert [verdict.status for verdict in verdicts] == ["failed"]
    assert "did not raise" in verdicts[0].detail
