"""What prose names is there: files, modules and their contents, variables of the environment.

Prose are the Markdown pages, docstrings and comments. A name in backticks must be a name
somewhere in the code; one that begins with tinyml and a dot must be found by importing.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("tinyml", "kernels", "conformance", "tests", "docs", ".ci", ".github")
OTHERS = {"example.py", "xfail"}  # the gallery's name for the user's file, a mark of pytest
GENERATED = re.compile(r"[a-z]\d+(_\d+)*")  # as emitted code names values
SHORT = 60  # a string of the code up to this length may be a name

DOTTED = re.compile(r"(?<![\w./-])tinyml(?:\.[A-Za-z_]\w*)+(?![\w/])")
FILE = re.compile(r"(?<![\w.])[\w./-]*\w\.(?:py|pyi|md|cl|txt|cfg|toml|yml)\b")
FOLDER = re.compile(r"`([\w-]+(?:/[\w.-]+)+/?)`")
QUOTED = re.compile(r"`([A-Za-z_][\w.]*)(?:\(.*?\))?`")
VARIABLE = re.compile(r"\bTINYML_[A-Z_]+\b")


class Line(NamedTuple):
    """A line of prose."""

    where: str
    text: str


@cache
def files() -> list[Path]:
    """The files of the house."""
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*")] + list(ROOT.glob("*.*"))
    return [p for p in found if p.is_file() and "__pycache__" not in p.parts]


@cache
def trees() -> dict[Path, ast.Module]:
    """The modules of the house, as they are parsed."""
    return {p: ast.parse(p.read_bytes()) for p in files() if p.suffix in (".py", ".pyi")}


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """The docstrings of a module and of all in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


@cache
def prose() -> list[Line]:
    """Every line of the pages (but others' licences), the docstrings and the comments."""
    found = []
    for path in files():
        name = path.relative_to(ROOT)
        if path.suffix == ".md" and "LICENSE" not in path.name:
            lines = path.read_text(encoding="utf-8").splitlines()
            found += [Line(f"{name}:{k}", text) for k, text in enumerate(lines, 1)]
    for path, tree in trees().items():
        name = path.relative_to(ROOT)
        for node in docstrings(tree):
            lines = str(node.value).splitlines()
            found += [Line(f"{name}:{k}", text) for k, text in enumerate(lines, node.lineno)]
        read = io.StringIO(path.read_text(encoding="utf-8")).readline
        found += [Line(f"{name}:{token.start[0]}", token.string)
                  for token in tokenize.generate_tokens(read) if token.type == tokenize.COMMENT]
    return found


@cache
def known() -> frozenset[str]:
    """Every name of the code, every word of its short strings, and the variables that CI reads."""
    names = set(dir(builtins))
    for tree in trees().values():
        prose_of = set(map(id, docstrings(tree)))
        for node in ast.walk(tree):
            for field in ("id", "attr", "name", "arg", "asname"):
                names.update(str(getattr(node, field, None) or "").split("."))
            if isinstance(node, ast.Constant) and id(node) not in prose_of:
                text = node.value if isinstance(node.value, str) else ""
                names.update(re.findall(r"\w+", text) if len(text) < SHORT else ())
    for path in files():
        if path.parent.name in (".ci", "workflows"):
            names.update(VARIABLE.findall(path.read_text(encoding="utf-8")))
    return frozenset(names)


@cache
def endings() -> frozenset[str]:
    """Every file and folder, by its path from wherever a page may stand."""
    places = {place for path in files() for place in (path, *path.parents)}
    inside = [p.relative_to(ROOT).parts for p in places if p.is_relative_to(ROOT)]
    return frozenset("/".join(parts[k:]) for parts in inside for k in range(len(parts)))


def importable(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    module, _, rest = dotted.partition(".")
    thing = importlib.import_module(module)
    for part in rest.split("."):
        module = f"{module}.{part}"
        if not hasattr(thing, part):
            try:
                thing = importlib.import_module(module)
            except ImportError:
                return part in getattr(thing, "__annotations__", {})
        else:
            thing = getattr(thing, part)
    return True


def missing(line: Line) -> list[str]:
    """What a line names that is not there."""
    wrong = [name for name in DOTTED.findall(line.text)
             if not FILE.fullmatch(name) and not importable(name)]
    paths = [re.sub(r"^(\.\.?/)+", "", name) for name in FILE.findall(line.text)]
    paths += [name.rstrip("/") for name in FOLDER.findall(line.text)]
    wrong += [name for name in paths if name not in endings() and name not in OTHERS]
    for name in QUOTED.findall(line.text):
        there = name.startswith("tinyml.") or FILE.fullmatch(name) or GENERATED.fullmatch(name)
        if not there and name not in OTHERS and not known().issuperset(name.split(".")):
            wrong.append(name)
    return wrong + [name for name in VARIABLE.findall(line.text) if name not in known()]


def test_what_prose_names_is_there() -> None:
    assert len(prose()) > 5000
    found = {line.where: wrong for line in prose() if (wrong := missing(line))}
    assert found == {}


@pytest.mark.parametrize("text", [
    f"see `{'nowhere'}_{'seen'}`", "tinyml.nowhere_to_be_seen", "tinyml.core.Tense_or",
    "emitters.py", "`kernels/gpu`", "tinyml/emitter.py says", "TINYML_" + "NEVER",
])
def test_a_planted_name_is_missed(text: str) -> None:
    assert missing(Line("here", text))
