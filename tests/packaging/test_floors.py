"""Each room imports only rooms below it: no upward arrow, no circle, nobody imports conformance.

And the house stays small: the core has a budget of lines, and a file ends where a reader tires.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# A room is a module or a package with all that it holds; `tinyml` itself is the front door.
FLOORS: dict[int, str] = {
    1: "errors dtypes dims spec tree op complexes nest lower registry",
    2: "kernels.common kernels.cpu kernels.opencl",
    3: "values builder planning core reverse",
    4: "ops",
    5: "tensor",
    6: "autodiff graph",
    7: "control compiler",
    8: "forward tape custom derivatives flow observe memory nans threads nn optim data random io "
       "special fft linalg tracing graphtext jitted graphfile graphreader",
    9: "__main__ cli doctor explain bench train",
    10: "conformance.reference conformance.suite conformance.opinfo conformance.edges",
}
FRONT_DOOR = 8
FRONT_ENDS = 9
FLOOR_OF = {f"tinyml.{room}": floor for floor, rooms in FLOORS.items() for room in rooms.split()}
CONFORMANCE = 10
COMMAND_LINE = "tinyml.cli"
KERNELS = "tinyml.kernels."

# The core: all below the front door but kernels and operations. The goal is 5,000 lines (`wc -l`);
# the budget is what has been reached, so that it does not grow again unseen.
CORE = (1, 3, 5, 6, 7)
BUDGET = 4_900
LONGEST = 500
LONGER = {  # tests alone: each is one list of promises, read from one end to the other
    "tests/autodiff/test_grad.py": "what gradients promise, order by order",
    "tests/test_errors.py": "one table of bad input for all that is public",
    "tests/compiler/test_jit.py": "what docs/graphs-and-jit.md promises",
    "tests/observe/test_observe.py": "three kinds of observers, alone and together",
    "tests/test_tensor.py": "every method of the one class",
    "tests/kernels/test_nest.py": "one table of nests, run by one test",
}


class Arrow(NamedTuple):
    """One import: who, whom, in which line, and whether it runs only when a function is called."""

    source: str
    target: str
    line: int
    inside: bool


def _name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "tinyml" else ("tinyml", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    _name_of(path): path
    for folder in ("tinyml", "kernels", "conformance")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def floor(name: str) -> int:
    """The floor of a module: that of the room that it is, or is part of."""
    if name == "tinyml":
        return FRONT_DOOR
    rooms = [room for room in FLOOR_OF if f"{name}.".startswith(f"{room}.")]
    assert rooms, f"{name} has no floor: add it to the table in {Path(__file__).name}"
    return FLOOR_OF[rooms[0]]


def imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Every import statement but those for type checkers, and whether it is in a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, inside
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from imports(ast.Module(node.orelse, []), inside)
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, inside or function)


def targets(name: str, node: ast.stmt, is_package: bool, files: set[str]) -> Iterator[str]:
    """The modules of the house that one import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "tinyml")
        return
    assert isinstance(node, ast.ImportFrom)
    module = node.module or ""
    if node.level:
        parts = name.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        module = ".".join([*parts, *filter(None, [module])])
    if module.split(".")[0] != "tinyml":
        return
    for alias in node.names:
        below = f"{module}.{alias.name}"
        at_the_door = module == "tinyml" and floor(name) < FRONT_DOOR
        # `from tinyml import core` asks the front door first, which stands on a floor above.
        yield module if at_the_door or below not in files else below


def arrows(name: str, text: str, is_package: bool, files: set[str]) -> list[Arrow]:
    """What a module imports from the house; a package's own name for its parts is no arrow."""
    return [
        Arrow(name, target, node.lineno, inside)
        for node, inside in imports(ast.parse(text))
        for target in targets(name, node, is_package, files)
        if target != name
    ]


def faults(found: list[Arrow]) -> list[str]:
    """Upward arrows, imports of conformance from elsewhere, and circles, in words."""
    wrong = []
    for arrow in found:
        where = f"{arrow.source}, line {arrow.line}: imports {arrow.target}"
        if floor(arrow.target) == CONFORMANCE:
            asked = arrow.source == COMMAND_LINE and arrow.inside
            if floor(arrow.source) != CONFORMANCE and not asked:
                wrong.append(f"{where}; only the command line does, inside a function")
        elif arrow.target.startswith(KERNELS) and not arrow.source.startswith(KERNELS):
            if floor(arrow.source) < FRONT_ENDS:
                wrong.append(f"{where}; kernels are reached through the registry")
        elif floor(arrow.target) > floor(arrow.source):
            wrong.append(f"{where}, {floor(arrow.source)} -> {floor(arrow.target)} is upward")
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for arrow in found:
        sorter.add(arrow.source, arrow.target)
    try:
        sorter.prepare()
    except CycleError as error:
        wrong.append("a circle: " + " <- ".join(error.args[1]))
    return wrong


@pytest.fixture(scope="module")
def house() -> list[Arrow]:
    return [
        arrow
        for name, path in FILES.items()
        for arrow in arrows(
            name, path.read_text(encoding="utf-8"), path.name == "__init__.py", set(FILES)
        )
    ]


def test_every_module_has_a_floor() -> None:
    for name in FILES:
        assert floor(name)


def test_no_upward_arrow_and_no_circle(house: list[Arrow]) -> None:
    assert house
    assert faults(house) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("tinyml.spec", "from tinyml.core import apply", "upward"),
        ("tinyml.spec", "def f():\n    from tinyml.core import apply", "upward"),
        ("tinyml.core", "from tinyml import Tensor", "upward"),
        ("tinyml.core", "from tinyml.kernels.cpu import pool", "through the registry"),
        ("tinyml.core", "import tinyml", "upward"),
        ("tinyml.core", "from .tensor import Tensor", "upward"),
        ("tinyml.kernels.cpu.pool", "from tinyml.core import Tensor", "upward"),
        ("tinyml.nn", "from tinyml.conformance.suite import cases", "only the command line"),
        ("tinyml.cli", "from tinyml.conformance.suite import cases", "only the command line"),
    ],
)
def test_a_planted_arrow_is_seen(name: str, text: str, words: str) -> None:
    files = {"tinyml", "tinyml.core", "tinyml.tensor", "tinyml.spec", "tinyml.conformance.suite"}
    (fault,) = faults(arrows(name, text, False, files))
    assert words in fault


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tinyml.spec", "if TYPE_CHECKING:\n    from tinyml.core import Var"),
        ("tinyml.cli", "def f():\n    from tinyml.conformance.suite import cases"),
        ("tinyml.tensor", "from tinyml.core import apply\nimport numpy"),
    ],
)
def test_a_downward_arrow_is_none_of_its_business(name: str, text: str) -> None:
    assert faults(arrows(name, text, False, {"tinyml.core", "tinyml.conformance.suite"})) == []


def test_a_planted_circle_is_seen() -> None:
    files = {"tinyml.spec", "tinyml.dtypes"}
    found = arrows("tinyml.spec", "import tinyml.dtypes", False, files)
    found += arrows("tinyml.dtypes", "def f():\n    import tinyml.spec", False, files)
    (fault,) = faults(found)
    assert fault.startswith("a circle")


# ---- how large the house is


def lines(path: Path) -> int:
    """As `wc -l` counts."""
    return path.read_bytes().count(b"\n")


def test_the_core_keeps_its_budget() -> None:
    found = {number: sum(lines(path) for name, path in FILES.items()
                         if name != "tinyml" and floor(name) == number) for number in CORE}
    assert all(found.values())
    assert sum(found.values()) <= BUDGET, f"{sum(found.values())} lines: {found}"


def test_no_file_is_longer_than_a_reader_is_patient() -> None:
    paths = [path for folder in ("tinyml", "kernels", "conformance", "tests", "docs")
             for path in (ROOT / folder).rglob("*.py")]
    long = {path.relative_to(ROOT).as_posix() for path in paths if lines(path) > LONGEST}
    assert len(paths) > 100 and long == set(LONGER)
