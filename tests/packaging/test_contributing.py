"""CONTRIBUTING: its op works, its table of floors is that of the test, each word has one line."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MOST_LINES = 15  # fewer than that
FOLDERS = ("tinyml", "kernels", "conformance")
WORDS = ("record", "spec", "layout", "nest", "word", "monoid", "plan", "equation", "node", "`g`",
         "pullback", "epoch")


def _section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S)
    return str(found)


def _rows(title: str) -> list[list[str]]:
    lines = re.findall(r"^\| (.*) \|$", _section(title), flags=re.M)
    return [line.split(" | ") for line in lines[1:]]


# ---- add an op


def _diff() -> list[str]:
    (found,) = re.findall(r"^```diff\n(.*?)^```", _section("Add an op"), flags=re.M | re.S)
    return str(found).splitlines()


def apply(diff: list[str], folder: Path) -> None:
    """Add the lines of a diff whose places are told by the line before: `@@ that line`."""
    path, place, lines = folder, 0, [""]
    for line in [*diff, "+++ "]:
        if line.startswith("+++ "):
            if path != folder:
                path.write_text("\n".join(lines), encoding="utf-8")
            path = folder / line[4:]
            lines = path.read_text(encoding="utf-8").split("\n") if line[4:] else []
        elif line.startswith("@@ "):
            assert lines.count(line[3:]) == 1, f"{line[3:]!r} is no place in {path.name}"
            place = lines.index(line[3:]) + 1
        else:
            lines.insert(place, line.removeprefix("+"))
            place += 1


@pytest.fixture(scope="module")
def tinyml(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The command line of a copy that has the op, run in a process of its own."""
    folder = tmp_path_factory.mktemp("copy")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    apply(_diff(), folder)

    def run(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "tinyml", *words], cwd=folder,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_diff_is_short() -> None:
    assert 0 < len(_diff()) < MOST_LINES


@pytest.mark.kernels(30)
def test_the_op_passes_its_cases(tinyml: Callable[..., str]) -> None:
    for suite, cases in (("ops", "tanhexp"), ("gradients", "tanhexp/float32")):
        text = tinyml("conformance", "--suite", suite, "--only", cases)
        assert re.search(rf"^{suite} on tinyml:cpu: [1-9]\d* passed, 0 failed", text, re.M)


@pytest.mark.kernels(10)
def test_the_op_runs_on_every_device(tinyml: Callable[..., str], device: str) -> None:
    tinyml("conformance", "--only", "tanhexp/float32", "--device", device)


def test_the_op_is_explained(tinyml: Callable[..., str]) -> None:
    text = tinyml("explain", "tanhexp", "--device", "cpu")
    assert text.startswith("tanhexp: x tanh(exp(x)) (Liu 2020).") and "on cpu: nest" in text


# ---- floors and words


def test_the_table_of_floors_is_that_of_the_test() -> None:
    path = Path(__file__).with_name("test_floors.py")
    spec = importlib.util.spec_from_file_location("floors", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    table = {int(floor): rooms.replace("`", "").split() for floor, rooms, _ in _rows("The floors")}
    assert table == {floor: rooms.split() for floor, rooms in module.FLOORS.items()}


def test_every_word_has_one_line() -> None:
    words = [word for words, _ in _rows("Words") for word in words.split(", ")]
    assert len(words) == len(set(words)) and set(WORDS) <= set(words)


def test_the_concepts_of_how_an_op_works_are_words() -> None:
    text = (ROOT / "docs" / "how-an-op-works.md").read_text(encoding="utf-8")
    concepts = re.findall(r"^\d\. An? \*\*(\w+)\*\*", text, flags=re.M)
    assert len(concepts) == 9 and set(concepts) <= {word for word, _ in _rows("Words")}
