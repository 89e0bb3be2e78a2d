"""The coverage matrix of gradients has no hole, and its page is what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tinyml.conformance.suite import coverage
from tinyml.conformance.suite.run import all_ops

OPS = all_ops()
TOOLS = Path(__file__).resolve().parents[2] / "docs" / "tools"


def _page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gradients_page", TOOLS / "gradients.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(OPS))
def test_no_input_is_left_without_a_word(name: str) -> None:
    assert "hole" not in coverage.row(OPS[name]).inputs


def test_what_is_declared_is_an_input_of_an_op() -> None:
    for (name, k), why in coverage.DECLARED.items():
        assert why and coverage.row(OPS[name]).inputs[k] == "none"


def test_a_rule_left_out_is_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    op = OPS["mul"]
    monkeypatch.setattr(op, "grad", op.grad[:1])
    assert coverage.row(op).inputs == ("rule", "hole")


def test_the_page_is_what_the_records_say() -> None:
    page = _page()
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), (
        "write the page anew: python docs/tools/regenerate.py gradients")
