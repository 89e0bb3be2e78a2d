"""Every page of docs/ runs: its `>>>` blocks give what they say. So does every docstring."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md")) + [ROOT / "README.md"]
KERNELS = {"extend.md": 35}  # from cold
MODULES = sorted(
    ".".join(("tinyml", *path.relative_to(ROOT / folder).with_suffix("").parts))
    if folder == "tinyml"
    else ".".join(("tinyml", *path.relative_to(ROOT).with_suffix("").parts))
    for folder in ("tinyml", "conformance")
    for path in (ROOT / folder).rglob("*.py")
    if path.name != "__main__.py"
)


@pytest.mark.parametrize("page", [
    pytest.param(page, id=page.name, marks=pytest.mark.kernels(KERNELS.get(page.name, 10)))
    for page in PAGES])
def test_a_page_runs(page: Path, tables: None) -> None:
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.failed == 0


def test_the_pages_have_something_to_run() -> None:
    text = (ROOT / "docs" / "how-an-op-works.md").read_text(encoding="utf-8")
    assert len(doctest.DocTestParser().get_examples(text)) > 20


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name: str) -> None:
    module = importlib.import_module(name.removesuffix(".__init__"))
    assert doctest.testmod(module).failed == 0
