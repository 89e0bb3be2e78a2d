"""What importing tinyml makes importable, and what it must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("numba", "llvmlite", "pyopencl")
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))
EVERY_FILE = sorted(
    path
    for folder in ("tinyml", "kernels", "conformance", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


def _run(code: str, folder: Path = ROOT) -> str:
    """What a fresh interpreter prints, started beside the checkout's `tinyml/`."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_kernels_and_conformance_are_found_from_a_checkout(tmp_path: Path) -> None:
    code = "import tinyml.kernels.cpu, tinyml.conformance.reference as r; import tinyml as t"
    printed = _run(f"{code}\nprint(t.kernels.cpu.__file__); print(r.__file__)", tmp_path)
    assert [Path(line) for line in printed.split("\n")] == [
        ROOT / "kernels" / "cpu" / "__init__.py",
        ROOT / "conformance" / "reference" / "__init__.py",
    ]


@pytest.mark.parametrize("name", ["tinyml", "tests", "setup", "docs", "kernels.kernels"])
def test_nothing_else_is_found_under_the_name_tinyml(name: str, tmp_path: Path) -> None:
    code = f"try: import tinyml.{name}\nexcept ModuleNotFoundError: print('not found')"
    assert _run(code, tmp_path) == "not found"


def test_importing_tinyml_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = (*HEAVY, "ml_dtypes", "torch", "jax", "matplotlib", "rich", "safetensors")
    code = f"import tinyml\nprint(sorted(set({heavy!r}) & set(sys.modules)))"
    assert _run(code, tmp_path) == "[]"


def test_importing_tinyml_loads_no_kernel(tmp_path: Path) -> None:
    code = "import tinyml\nprint([n for n in sys.modules if n.startswith('tinyml.kernels.')])"
    assert _run(code, tmp_path) == "[]"


def test_importing_tinyml_enters_every_record(tmp_path: Path) -> None:
    folder = ROOT / "tinyml" / "ops"
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
             for path in folder.rglob("*.py")}
    assert _run(f"import tinyml\nprint(sorted({names!r} - set(sys.modules)))", tmp_path) == "[]"


def _at_top(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when a module is imported: also those under `if`, `try`, `class`."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _at_top(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _at_top(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _at_top(handler.body)


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_kernel_module_imports_nothing_heavy_at_its_top(path: Path) -> None:
    for node in _at_top(ast.parse(path.read_text(encoding="utf-8")).body):
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] not in HEAVY, f"line {node.lineno} imports {name}"


@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda path: str(path.relative_to(ROOT)))
@pytest.mark.filterwarnings("error")
def test_the_syntax_is_that_of_python_3_10(path: Path) -> None:
    """A newer grammar is refused, and so is what newer Pythons warn of (invalid escapes, say)."""
    text = path.read_text(encoding="utf-8")
    ast.parse(text, str(path), feature_version=(3, 10))
    compile(text, str(path), "exec", dont_inherit=True)
