"""One command writes every generated page; what it writes is compared in the tests of each."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "docs" / "tools"


@pytest.fixture
def regenerate(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("regenerate")


def test_its_help_names_all_that_is_generated(regenerate: Any) -> None:
    assert re.findall(r"^    (\w+)  ", regenerate.__doc__, flags=re.M) == list(regenerate.GENERATED)
    modules = {path.stem for path in TOOLS.glob("*.py")} - {"regenerate"}
    assert modules <= set(vars(regenerate))


def test_what_is_named_is_written(regenerate: Any, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    pages = {}
    for module in (regenerate.gallery, regenerate.gradients, regenerate.edges):
        pages[module] = tmp_path / module.__name__
        monkeypatch.setattr(module, "PAGE", pages[module])
        monkeypatch.setattr(module, "page", lambda name=module.__name__: f"page of {name}\n")
    assert regenerate.main(["edges", "errors"]) == 0
    assert pages[regenerate.edges].read_text() == "page of edges\n"
    assert pages[regenerate.gallery].exists() and not pages[regenerate.gradients].exists()
    assert regenerate.main(["edgy"]) == 2
    assert "no edgy: one of errors, gradients, edges, bad_input" in capsys.readouterr().err
