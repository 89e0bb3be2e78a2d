"""Nine planted faults: each makes its suite fail, and the suite names the op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tinyml.conformance.suite.backends import Backend, Pullback, open_backend
from tinyml.conformance.suite.run import Report, all_ops, run_op

OPS = all_ops()

Outputs = tuple[np.ndarray, ...]


class Faulty:
    """tinyml on the CPU with one thing wrong: in what goes in, in what comes out, or in g."""

    name = "faulty"
    version = "0"

    def __init__(
        self,
        out: Callable[[np.ndarray], np.ndarray] = lambda y: y,
        attributes: Callable[[dict[str, Any]], dict[str, Any]] = lambda attrs: attrs,
        cotangent: Callable[[np.ndarray], np.ndarray] = lambda g: g,
        back: Callable[[np.ndarray], np.ndarray] = lambda x: x,
    ) -> None:
        self.true: Backend = open_backend("tinyml:cpu")
        self.out, self.attributes, self.cotangent, self.back = out, attributes, cotangent, back

    def lacks(self, dtype: str) -> str | None:
        """Nothing."""
        return None

    def run(self, op: str, /, *arrays: Any, **attrs: Any) -> Outputs:
        """The outputs, spoilt."""
        return tuple(self.out(y) for y in self.true.run(op, *arrays, **self.attributes(attrs)))

    def pullback(
        self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int]
    ) -> Pullback:
        """The cotangents, spoilt."""
        pull = self.true.pullback(op, args, attrs, wrt)
        return lambda g: tuple(self.back(x) for x in pull(self.cotangent(g)))

    def second(self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int],
               g: np.ndarray, directions: Sequence[np.ndarray]) -> Outputs:
        """The second gradient, spoilt."""
        return tuple(map(self.out, self.true.second(op, args, attrs, wrt, g, directions)))


def _last_left_out(y: np.ndarray) -> np.ndarray:
    """As a loop whose bound is one too low leaves it."""
    return np.concatenate([y.reshape(-1)[:-1], np.zeros(min(y.size, 1), y.dtype)]).reshape(y.shape)


def _eight_units_up(y: np.ndarray) -> np.ndarray:
    for _ in range(8):
        y = np.nextafter(y, np.array(np.inf, y.dtype))
    return y


def _without_nan(y: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(y), np.zeros((), y.dtype), y) if y.dtype.kind == "f" else y


def _other_axis(attrs: dict[str, Any]) -> dict[str, Any]:
    return {**attrs, "axis": 0}


def _wider(y: np.ndarray) -> np.ndarray:
    return y.astype(np.float64) if y.dtype == np.float32 else y


def _first_row_only(g: np.ndarray) -> np.ndarray:
    """What remains of a broadcast gradient when the sum over the new axis is dropped."""
    kept = np.zeros_like(g)
    kept[:1] = g[:1]
    return kept


FAULTS = {
    "sign": ("ops", "sub", Faulty, {"out": np.negative}),
    "bound": ("ops", "mul", Faulty, {"out": _last_left_out}),
    "swapped axis": ("ops", "softmax", Faulty, {"attributes": _other_axis}),
    "lost NaN": ("ops", "maximum", Faulty, {"out": _without_nan}),
    "wrong dtype": ("ops", "exp", Faulty, {"out": _wider}),
    "8-ULP error": ("ops", "exp", Faulty, {"out": _eight_units_up}),
    "dropped broadcast sum": ("gradients", "expand", Faulty, {"cotangent": _first_row_only}),
    "second order": ("second", "tanh", Faulty, {"out": np.negative}),
    "narrow cotangent": ("gradients", "mul", Faulty, {"back": lambda x: x.astype(np.float32)}),
}


@pytest.mark.kernels(30)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_around_an_op_fails(fault: str) -> None:
    suite, name, make, wrong = FAULTS[fault]
    report = Report(suite, fault, run_op(suite, OPS[name], make(**wrong)))
    assert report.totals["failed"] > 0
    assert name in report.text()


@pytest.mark.kernels(85)
def test_the_same_wrapper_without_a_fault_passes() -> None:
    for suite, name in {(suite, name) for suite, name, *_ in FAULTS.values()}:
        report = Report(suite, "none", run_op(suite, OPS[name], Faulty()))
        assert report.ok, report.text()


# The true rules: g (1 - y^2); -g; g times the other operand; 2 g x.
RULES = {
    "missing term": ("tanh", 0, lambda g, _y, _x: g),
    "sign": ("sub", 1, lambda g, _y, _a, _b: g),
    "swapped operand": ("mul", 0, lambda g, _y, x, _b: g * x),
    "missing factor": ("square", 0, lambda g, _y, x: g * x),
}


@pytest.mark.kernels(6)
@pytest.mark.parametrize("fault", RULES)
def test_a_fault_in_a_rule_fails(fault: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, place, rule = RULES[fault]
    op = OPS[name]
    assert isinstance(op.grad, tuple)
    rules = list(op.grad)
    rules[place] = rule
    monkeypatch.setattr(op, "grad", tuple(rules))
    report = Report("gradients", device, run_op("gradients", op, open_backend(f"tinyml:{device}")))
    assert report.totals["failed"] > 0


@pytest.mark.kernels(8)
@pytest.mark.parametrize(("name", "other"), [("sub", "add"), ("maximum", "minimum")])
def test_a_fault_in_a_nest_fails(
    name: str, other: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    op = OPS[name]
    monkeypatch.setattr(op, "nest", OPS[other].nest)
    # The fast paths hold on to the memo itself, so it is emptied, before and after.
    kept = dict(op.memo)
    op.memo.clear()
    try:
        verdicts = run_op("ops", op, open_backend(f"tinyml:{device}"), f"{name}/float32")
    finally:
        op.memo.clear()
        op.memo.update(kept)
    assert Report("ops", device, verdicts).totals["failed"] > 0


def test_an_op_without_samples_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    op = OPS["add"]
    monkeypatch.setattr(op, "samples", None)
    report = Report("ops", "cpu", run_op("ops", op, open_backend("tinyml:cpu")))
    assert report.totals["failed"] == 1
    assert "no samples" in report.text()
