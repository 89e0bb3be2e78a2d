"""No module of a package shares its name with something else that the package holds."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KNOWN = {"tinyml.tensor"}  # the function; the module is reached by `from tinyml.tensor import`
PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "tinyml").rglob("__init__.py")
)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_is_a_module_or_something_else(package: str) -> None:
    folder = ROOT.joinpath(*package.split("."))
    names = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")}
    names -= {"__init__", "__main__"}
    for name in names:
        importlib.import_module(f"{package}.{name}")
    space = importlib.import_module(package)
    clashes = {f"{package}.{name}" for name in names if not inspect.ismodule(getattr(space, name))}
    assert clashes <= KNOWN
