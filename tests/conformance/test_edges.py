"""The edge table is complete, every device obeys it, and its page is what it says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml.conformance.edges import check, peers
from tinyml.conformance.edges.table import Table, applies, parse, read, value
from tinyml.conformance.suite.backends import NumPy
from tinyml.conformance.suite.cases import asked
from tinyml.conformance.suite.run import all_ops
from tinyml.core.apply import apply

OPS = all_ops()
SAMPLE = asked(OPS)
TOOLS = Path(__file__).resolve().parents[2] / "docs" / "tools"
REPEAT = "write the page anew: python docs/tools/regenerate.py edges [--measure]"
# Which of two zeros NumPy takes depends on the vector unit; a cast out of range is undefined in C.
FICKLE = ("maximum", "minimum", "max", "min", "cast")


def _page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edges_page", TOOLS / "edges.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


page = _page()


@pytest.mark.samples
@pytest.mark.kernels(7)
@pytest.mark.parametrize("name", sorted(OPS))
def test_every_device_obeys_the_table(name: str, device: str) -> None:
    devices = ("cpu",) if device == "cpu" else ("cpu", device)
    found = check.check(name, devices, sample=SAMPLE)
    assert not found, "\n".join(found[:10])


def test_every_op_has_an_entry() -> None:
    missing = [name for name, op in OPS.items() if read().entry(op) is None]
    assert not missing, "decide in conformance/edges/table.txt what they give at the edges"


def test_no_entry_is_left_without_an_op() -> None:
    assert set(read().entries) <= set(OPS)


def test_every_row_speaks_of_a_dtype_of_its_op() -> None:
    for entry in read().entries.values():
        for row in entry.rows:
            assert any(applies(row, dtype) for dtype in OPS[entry.op].dtypes), (entry.op, row.text)


@pytest.mark.parametrize("name", [e.op for e in read().entries.values() if e.rule.name == "rounded"
                                  and e.rows])
def test_a_rounded_function_decides_at_every_hard_value(name: str) -> None:
    # NaN, both infinities and both zeros, for each operand: nothing follows from a rule there.
    entry, dtype = read().entries[name], "float32"
    decided: list[set[str]] = []
    for run in check.runs(entry, dtype):
        decided = decided or [set() for _ in run.args]
        for seen, x in zip(decided, run.args, strict=True):
            seen |= {str(v) for v in x.tolist()}
    assert decided
    for seen in decided:
        assert {"nan", "inf", "-inf", "0.0", "-0.0"} <= seen


def test_hard_values_are_values_of_every_float() -> None:
    names = [each for row in parse(
        "rule r bits x\nop  r\n  float  [nan, inf, max, min, tiny, normal, eps] -> 0"
    ).entries["op"].rows for each in row.args]
    for dtype in ("float32", "float64"):
        found = np.array(value(names[0], dtype)).astype(dtype)
        assert found[4] == np.finfo(dtype).smallest_subnormal and found[2] == np.finfo(dtype).max


@pytest.mark.parametrize(("text", "why"), [
    ("add  guess", "line 1"),
    ("rule a guess x", "compared by 'guess'"),
    ("rule a bits x\n  float  1 -> 1", "a row before any op"),
    ("rule a bits x\nop  a\nop  a", "has an entry already"),
    ("rule a bits x\nop  a\n  float  1, 1", "no '->'"),
])
def test_a_line_that_is_not_understood_is_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)


class _Flushing(NumPy):
    """NumPy on a machine that takes subnormals for zeros, and has no negative zero."""

    name = "flushing"

    def run(self, op: str, /, *arrays: Any, **attrs: Any) -> tuple[np.ndarray, ...]:
        """The outputs, flushed."""
        outputs = super().run(op, *arrays, **attrs)
        return tuple(np.where(np.abs(y) < np.finfo(y.dtype).tiny, y.dtype.type(0), y)
                     if y.dtype.kind == "f" else y for y in outputs)


def test_a_device_that_flushes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "open_backend",
                        lambda name: _Flushing() if "flush" in name else NumPy())
    found = check.check("add", ("plain", "flush"), ("float32",))
    assert any("tiny, tiny -> 2 * tiny" in line for line in found)
    assert any("-0, -0 -> -0" in line for line in found)
    assert any("with hard values on flushing" in line for line in found)
    assert not any("on numpy" in line for line in found)


def test_a_wrong_row_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: Table = parse("rule exact bits x\nneg  exact\n  float  0 -> 0 | 1 -> -1")
    monkeypatch.setattr(check, "read", lambda: wrong)
    (found,) = check.check("neg", ("cpu",), ("float32",))
    assert "0 -> 0: got [-0.0]" in found


# -- the page ----------------------------------------------------------------------------------


def test_the_page_is_what_the_table_says() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), REPEAT


@pytest.mark.peers("torch", "jax")
@pytest.mark.filterwarnings("ignore")
def test_others_give_what_the_page_says() -> None:
    committed = json.loads(page.MEASURED.read_text(encoding="utf-8"))["results"]
    for name, results in page.measured()["results"].items():
        before = committed[name]
        apart = {key for key in results.keys() | before.keys()
                 if results.get(key) != before.get(key) and key.split()[0] not in FICKLE}
        assert not apart, (name, sorted(apart), REPEAT)


def test_a_peer_is_asked_by_its_own_name() -> None:
    entry = read().entries["sub"]
    assert peers.key(entry, entry.rows[0]) == "sub float : nan, 1 -> nan"
    assert set(peers.measure("numpy", {"sub": OPS["sub"]}).values()) == {"="}


def test_a_slope_is_the_same_under_jit(device: str) -> None:
    backend = check.open_backend(f"tinyml:{device}")
    count = 0
    for entry in read().entries.values():
        for run in check.runs(entry, "float32"):
            if not run.slope or entry.op == "pow":
                continue
            xs = [tinyml.tensor(x, device=device) for x in run.args]

            def pulled(*xs: Any, run: Any = run, op: str = entry.op) -> Any:
                y, pull = tinyml.vjp(lambda *each: apply(OPS[op], *each, **run.attrs), *xs)
                return pull(tinyml.ones(y.shape, device=device))

            eager = check.outputs_of(backend, entry.op, run)
            for a, b in zip(eager, tinyml.jit(pulled)(*xs), strict=True):
                assert check.same(a, b.numpy()).all(), (entry.op, run.text)
            count += 1
    assert count > 20
