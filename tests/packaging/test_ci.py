"""What CI runs: every stage has a budget, and all of them together keep to forty minutes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUN = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
MINUTES = 40


def _budgets() -> dict[str, int]:
    (table,) = re.findall(r'^budgets="\n(.*?)^"$', RUN, flags=re.M | re.S)
    return {name: int(seconds) for name, seconds in re.findall(r"^(.+?)  +(\d+)$", table, re.M)}


def test_every_stage_has_a_budget_in_the_order_of_the_table() -> None:
    assert list(_budgets()) == re.findall(r'^start "(.+)"$', RUN, flags=re.M)


def test_the_budgets_keep_to_what_all_may_take() -> None:
    assert sum(_budgets().values()) <= MINUTES * 60
    assert f"\nmost_seconds={MINUTES * 60} " in RUN
    assert _budgets()["README: Test it"] <= 300


@pytest.fixture(scope="module")
def floors() -> Any:
    spec = importlib.util.spec_from_file_location("floors", ROOT / ".ci" / "floors.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("ran", "good"), [(8, True), (7, False)])
def test_a_folder_below_the_floor_is_found(ran: int, good: bool, floors: Any,
                                           monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(floors, "COVERAGE", 80)
    summary = {"covered_lines": ran, "covered_branches": 0, "num_statements": 10,
               "num_branches": 0}
    whole = {"covered_lines": 90, "covered_branches": 9, "num_statements": 90, "num_branches": 9}
    files = {"house/room.py": {"summary": summary}, "house/wing/a.py": {"summary": whole}}
    assert floors.coverage({"files": files}) is good
    assert ("below its floor" in capsys.readouterr().out) is not good


@pytest.mark.parametrize(("score", "good"), [(1.0, True), (0.1, False)])
def test_unknown_types_are_found(score: float, good: bool, floors: Any) -> None:
    found = {"generalDiagnostics": [], "typeCompleteness": {"completenessScore": score}}
    assert floors.types(found) is good
