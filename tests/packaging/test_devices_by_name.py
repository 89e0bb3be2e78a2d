"""Devices are capabilities: only their table and a device's own folder know a device's name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinyml.cli.bench.timing as timing
import tinyml.ir.devices as devices

ROOT = Path(__file__).parents[2]
TABLE = Path(devices.__file__)
# Strings that are not tinyml's devices.
OTHERS = {
    Path(timing.__file__): "jax's word for a platform",
    ROOT / "conformance" / "opinfo" / "run.py": "torch's word for a device",
}
NAME = re.compile(rf"(tinyml:)?({'|'.join(devices.ROOMS)})(:\d+)?")
DEVICE = re.compile(r"(device|place|target|host)(\(.*\))?")  # how code calls a device
FILES = [path for folder in ("tinyml", "kernels", "conformance")
         for path in sorted((ROOT / folder).rglob("*.py"))]


def _docstrings(tree: ast.AST) -> set[int]:
    """The identities of all docstrings of a module."""
    return {id(node.body[0].value) for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body and isinstance(node.body[0], ast.Expr)}


def _is_device_name(node: ast.expr) -> bool:
    """Whether an expression is the name of a device: `x.device.name` or `str(x.device)`."""
    text = ast.unparse(node)
    found = re.fullmatch(r"(?:.*[._])?(\w+(?:\(.*\))?)\.name|str\((?:.*[._])?(\w+)\)", text)
    return found is not None and DEVICE.fullmatch(found[1] or found[2]) is not None


def faults(text: str) -> Iterator[str]:
    """Where a module names a device, or compares the name of one."""
    tree = ast.parse(text)
    prose = _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            if NAME.fullmatch(node.value):
                yield f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.Compare) and any(map(_is_device_name,
                                                       [node.left, *node.comparators])):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def _at_home(path: Path) -> bool:
    return any(path.is_relative_to(ROOT / "kernels" / room) for room in devices.ROOMS)


def test_no_module_names_a_device() -> None:
    judged = [path for path in FILES if not _at_home(path) and path != TABLE]
    assert TABLE in FILES and OTHERS.keys() <= set(judged) and len(judged) < len(FILES) - 1
    found = {path: list(faults(path.read_text(encoding="utf-8"))) for path in judged}
    excused = {path for path in OTHERS if len(found.pop(path)) == 1}
    assert excused == OTHERS.keys()
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("text", [
    "find_device('cpu')", "def f(device='opencl'): pass", "@kernel('sort', 'cpu')\ndef f(): pass",
    "names = ('opencl:1',)", "backend != 'tinyml:cpu'", "x.device.name == HOST",
    "find_device(name).name != other", "str(self.device) == default", "place.name in names",
])
def test_a_planted_name_is_seen(text: str) -> None:
    assert list(faults(text))


@pytest.mark.parametrize("text", [
    "def f():\n    'opencl'", "x.dtype.name == 'float64'", "case.name != other",
    "x.device is find_device(HOST)", "print('the cpu works')", "find_kernels(op, x.device.name)",
])
def test_what_names_no_device_is_fine(text: str) -> None:
    assert list(faults(text)) == []
