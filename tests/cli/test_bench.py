"""The bench: contenders do the same work, figures are judged as they say, and reports are whole."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml.cli.bench import core, jit
from tinyml.cli.bench.timing import Case, Row, race, timed
from tinyml.cli.main import main


def _array(value: Any) -> Any:
    return value.numpy() if isinstance(value, tinyml.Tensor) else np.asarray(value)


def _agree(case: Case) -> None:
    results = [_array(call()) for call in case.contenders.values()]
    assert len(results) > 1
    for other in results[1:]:
        np.testing.assert_allclose(results[0], other, rtol=1e-5, atol=1e-7)


# ---- what is judged


@pytest.mark.parametrize(
    ("figure", "target", "met"),
    [(1.0, 1.0, True), (1.1, 1.0, False), (None, 1.0, None), (1.0, None, None)],
)
def test_a_figure_is_judged_by_its_target(figure: float | None, target: float | None,
                                          met: bool | None) -> None:
    assert Row("a row", "us", {}, figure, target, "").met is met


def test_a_race_finds_who_is_slower() -> None:
    medians = race({"much": lambda: sum(range(5000)), "little": int}, 3, 0.002)
    assert medians["little"] < medians["much"]


def test_without_torch_there_is_no_ratio() -> None:
    (row,) = timed([Case("a sum", {"tinyml": lambda: sum(range(100))}, 1.0)], "cpu", 1)
    assert row.figure is None and row.met is None and row.figures["tinyml"] > 0


# ---- the contenders


@pytest.mark.peers("torch", "jax")
@pytest.mark.parametrize("peer", ["torch", "jax"])
def test_contenders_compute_the_same(peer: str, device: str) -> None:
    cases = [case for case in core.eager_cases(device, {peer: importlib.import_module(peer)})
             if "recording" not in case.name and "backward" not in case.name]
    assert cases
    for case in cases:
        _agree(case)


@pytest.mark.peers("torch", "jax")
@pytest.mark.parametrize("peer", ["torch", "jax"])
def test_jitted_contenders_compute_the_same(peer: str) -> None:
    cases = list(jit.jit_cases("cpu", {peer: importlib.import_module(peer)}))
    assert cases
    for case in cases:
        _agree(case)


def test_the_chain_has_twelve_ops() -> None:
    graph = tinyml.trace(jit.chain)(tinyml.tensor_spec((3,)))
    assert len(graph.equations) == 12


@pytest.mark.parametrize("count", [jit.FEW, jit.MANY])
def test_products_are_as_many_kernels(count: int, device: str) -> None:
    x = tinyml.ones((2, 2), device=device)
    assert len(jit.program_of(jit.products(count), x, x).launches) == count


def test_the_bare_call_is_the_kernel() -> None:
    x = tinyml.tensor([[1.0, 2.0], [3.0, 4.0]])
    turn = tinyml.tensor([[0.0, 1.0], [1.0, 0.0]])
    call: Any = jit.bare_call(jit.products(jit.FEW), x, turn)
    call()
    assert call.keep[-1].tolist() == [[2.0, 1.0], [4.0, 3.0]]


@pytest.mark.kernels(35)
def test_a_step_eager_and_jitted_leaves_the_network_as_it_is(
        device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nets: list[Any] = []
    network = jit.digits.network
    monkeypatch.setattr(jit.digits, "network",
                        lambda *args: nets.append(network(*args)) or nets[-1])
    for compile_it in (False, True):
        step = jit.training_step(device, compile_it)
        before = [w.tolist() for w in nets[-1].parameters()]
        step()
        step()
        assert [w.tolist() for w in nets[-1].parameters()] == before
    assert len(nets) == 2


# ---- the rows


def test_a_chain_and_a_softmax_are_one_kernel_each() -> None:
    for title, (f, shape) in jit.functions().items():
        row = jit.count_row(title, f, shape, "cpu")
        assert row.met and row.figures["cpu"] == 1.0


def test_a_device_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "ROOMS", ("cpu", "abacus"))
    row = jit.count_row("doubling", lambda x: x + x, (4,), "cpu")
    assert row.figures == {"cpu": 1.0}
    assert row.judged.endswith("there is no abacus here")


@pytest.mark.kernels(40)
def test_the_set_jit_is_reported_whole(device: str, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(jit, "single_thread", dict)  # no peers, and the process stays as it is
    file = tmp_path / "jit.json"
    words = ["bench", "jit", "--device", device, "--rounds", "1", "--json", str(file)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}
    assert all(name in printed for name in rows)
    assert set(rows) == {
        "a kernel in a jitted call", "x + x, jitted, 4 floats", jit.CHAIN, jit.SOFTMAX,
        f"{jit.CHAIN}: kernels", f"{jit.SOFTMAX}: kernels", f"a step of the digits job, {device}",
        "x + x, an observer on",
    }
    kernel = rows["a kernel in a jitted call"]
    assert ("bare call" in kernel["figures"]) is (device == "cpu")
    assert "targets met" in printed


def test_a_missing_device_ends_in_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "jit", "--device", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err


@pytest.mark.slow
def test_growth_is_measured_in_processes_of_their_own(device: str,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "STEPS", (1, 2))
    monkeypatch.setattr(core, "SHAPES", (1, 2))
    rows = core.memory_rows(device)
    assert [row.name for row in rows] == ["training steps 1 to 2", "distinct shapes 1 to 2"]
    assert all(set(row.figures) == {"resident", "tracked"} for row in rows)
