"""Both suites over every op on every device: each op is one test."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tinyml.conformance import reference
from tinyml.conformance.suite import gradients
from tinyml.conformance.suite.backends import NumPy, open_backend
from tinyml.conformance.suite.cases import BUDGET, asked, op_cases, within
from tinyml.conformance.suite.run import Report, all_ops, run_op
from tinyml.dtypes import COMPLEX, FLOATS

OPS = all_ops()
SAMPLE = asked(OPS)

EXACT = ("maximum", "minimum", "relu", "sign", "max", "min")
DIFFERENTIABLE = sorted(name for name, op in OPS.items() if gradients.differentiable(op))


def _check(suite: str, name: str, device: str) -> None:
    backend = open_backend(f"tinyml:{device}")
    report = Report(suite, backend.name, run_op(suite, OPS[name], backend, None, SAMPLE))
    if device != "cpu" and report.totals["skipped"] == len(report.verdicts) > 0:
        for verdict in report.verdicts:  # all of a type that the device lacks, or of the CPU alone
            assert re.search(r" has no \w+|for the CPU alone", verdict.detail), verdict
        return
    assert report.ok, "\n" + report.text()


def test_the_sample_leaves_out_no_op_and_no_type(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nconformance: {SAMPLE or 'all cases'}")
    chosen = {tuple(name.split("/")[:2]) for name in within(OPS, BUDGET).names}
    assert chosen == {(name, dtype) for name, op in OPS.items() for dtype in op.dtypes}


def test_a_sample_is_the_same_every_time_and_within_its_budget() -> None:
    first, second = within(OPS, 300), within(OPS, 300)
    assert first == second and first.kernels == 300 < first.of
    assert first.names < within(OPS, 600).names
    some = {"neg": OPS["neg"], "add": OPS["add"]}
    everything = within(some, 10**6)
    assert everything.kernels == everything.of
    assert everything.names == {case.name for op in some.values() for case in op_cases(op)}


def test_the_cpu_skips_nothing() -> None:
    backend = open_backend("tinyml:cpu")
    assert {backend.lacks(dtype) for op in OPS.values() for dtype in op.dtypes} == {None}


@pytest.mark.samples
@pytest.mark.parametrize("name", sorted(OPS))
def test_ops(name: str, device: str) -> None:
    _check("ops", name, device)


@pytest.mark.samples
@pytest.mark.kernels(3)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name: str, device: str) -> None:
    _check("gradients", name, device)


@pytest.mark.samples
@pytest.mark.kernels(5)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_gradients(name: str, device: str) -> None:
    backend = open_backend(f"tinyml:{device}")
    verdicts = run_op("second", OPS[name], backend, None, SAMPLE)
    report = Report("second", backend.name, verdicts)
    assert report.totals["failed"] == report.totals["unsupported"] == 0, "\n" + report.text()


@pytest.mark.kernels(9)
@pytest.mark.parametrize("name", EXACT)
def test_exact_results_are_the_same_bits_on_every_device(name: str, device: str) -> None:
    # The suite lets a zero have either sign where operands tie; the devices must choose alike.
    first, second = open_backend("tinyml:cpu"), open_backend(f"tinyml:{device}")
    for case in op_cases(OPS[name], ("float32",)):
        results = [b.run(name, *case.sample.args, **case.sample.attrs) for b in (first, second)]
        for x, y in zip(*results, strict=True):
            same = (x == y) & (np.signbit(x) == np.signbit(y)) | (x != x) & (y != y)
            assert same.all(), case.name


def test_no_reference_is_left_without_an_op() -> None:
    assert set(OPS) == set(reference.TABLE)


@pytest.mark.kernels(1)
@pytest.mark.parametrize("name", sorted(OPS))
def test_numpy_itself_passes(name: str) -> None:
    # Its own functions in narrow floats: a bound that NumPy cannot keep is too tight, or a bug.
    verdicts = run_op("ops", OPS[name], NumPy())
    # NumPy's float32 power with the scalar 0.5 is its square root, so (-inf) ** 0.5 is NaN.
    known = {f"pow/{dtype}/square root" for dtype in FLOATS}
    # Its complex log1p cancels where |1 + x| is near 1.
    known |= {f"log1p/{dtype}/range" for dtype in COMPLEX}
    # The formula log(x / (1 - x)) cancels near 1/2; running sums add term by term.
    known |= {f"logit/{dtype}/{case}" for dtype in ("float32", "float64")
              for case in ("vector", "range", "reversed")}
    known |= {"logcumsumexp/float32/long", "logcumsumexp/float64/long columns"}
    report = Report("ops", "numpy", [v for v in verdicts if v.name not in known])
    assert report.ok, "\n" + report.text()
