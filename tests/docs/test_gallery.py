"""The gallery of errors is what its snippets raise, and what to write instead works."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import tinyml
from tinyml import errors

ROOT = Path(__file__).resolve().parents[2]
REPEAT = "write the page anew: python docs/tools/regenerate.py errors"


def _gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "tools" / "gallery.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gallery = _gallery()
PAGE = gallery.PAGE.read_text(encoding="utf-8")
ENTRIES = {entry.title: entry for entry in gallery.entries(PAGE)}


def _need(devices: set[str]) -> None:
    for name in devices:
        try:
            tinyml.ones((1,), device=name)
        except tinyml.TinyMLError as error:
            pytest.skip(f"no device {name!r} here: {error}")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snippets read and write files where nothing is."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.kernels(1)
@pytest.mark.parametrize("title", ENTRIES)
def test_an_error_is_what_the_snippet_raises(title: str) -> None:
    entry = ENTRIES[title]
    _need(entry.devices)
    assert gallery.outcome(entry.wrong) == entry.text, REPEAT


@pytest.mark.parametrize("title", ENTRIES)
def test_what_to_write_instead_works(title: str) -> None:
    entry = ENTRIES[title]
    _need(entry.devices)
    assert gallery.outcome(entry.right) == ""


def test_an_error_says_class_line_and_remedy() -> None:
    for entry in ENTRIES.values():
        name = entry.text.partition(":")[0].rpartition(".")[2]
        if not name.endswith("Warning"):
            assert issubclass(getattr(errors, name), tinyml.TinyMLError), entry.title
            assert "\n  line: example.py:" in entry.text, entry.title
            assert "\n  remedy: " in entry.text, entry.title


def test_every_kind_of_bad_input_under_jit_has_an_entry() -> None:
    raised = {(entry.text.partition(":")[0].rpartition(".")[2], word)
              for entry in ENTRIES.values() for word in ("jit", "cond", "while_loop")
              if f"tinyml.{word}" in entry.wrong}
    assert raised >= {
        ("ConcretizationError", "jit"),  # Python control flow by value
        ("ReadOnlyError", "jit"),  # mutation of closed-over state
        ("LeakedTracerError", "jit"),  # side effects, leaked tracers
        ("GraphError", "cond"),  # branches of different structure
        ("GradientError", "while_loop"),  # reverse mode with an unknown count
        ("ArgumentTypeError", "jit"),  # non-hashable static arguments
    }


def test_an_entry_without_its_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="'Half' has not the blocks"):
        gallery.entries("### Half\n\n```python\nx = 1\n```\n")


def test_snippets_know_their_place() -> None:
    text = gallery.outcome("x = tinyml.ones((2,))\nx.sum(axis=3)\n")
    assert text.startswith("tinyml.errors.AxisError: sum: ")
    assert "  line: example.py:2: x.sum(axis=3)\n" in text
    assert gallery.outcome("import warnings\nwarnings.warn('so', UserWarning)\n") == (
        "builtins.UserWarning: so\n")
    assert gallery.written("### A\n```python\nx = 1\n```\n```text\nold\n```\n```python\n```\n") == (
        "### A\n```python\nx = 1\n```\n```text\n```\n```python\n```\n")
