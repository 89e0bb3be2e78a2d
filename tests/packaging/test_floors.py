"""Each room imports only rooms below it: no upward arrow, no circle, nobody imports conformance.

Imports for type checkers count as any other. And the house stays small: rooms, floors, the core's
lines and the length of a file have budgets.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# A room is a module or a package with all that it holds; `tinyml` itself is the front door.
FLOORS: dict[int, str] = {
    1: "concurrency errors dtypes neighbours",
    2: "ir",
    3: "tree kernels.common kernels.cpu kernels.opencl",
    4: "core",
    5: "ops state",
    6: "tensor",
    7: "functions extend",
    8: "graph",
    9: "autodiff compiler io observe",
    10: "fft linalg random special",
    11: "data nn optim",
    12: "__main__ cli train conformance.reference conformance.suite conformance.opinfo "
        "conformance.edges",
}
FRONT_DOOR = 11
FRONT_ENDS = 12
FLOOR_OF = {f"tinyml.{room}": floor for floor, rooms in FLOORS.items() for room in rooms.split()}
CONFORMANCE = "tinyml.conformance."
COMMAND_LINE = "tinyml.cli.main"
KERNELS = "tinyml.kernels."

# Stubs are no modules: the front door's table of its own names, and core/make.pyi, the one place
# where a lower floor names the class of tensors, for type checkers alone.
STUBS = {"tinyml/_lazy.pyi", "tinyml/core/make.pyi"}
TABLE = ("tinyml", "tinyml._lazy")

MOST_ROOMS, MOST_FLOORS = 34 + 1, 12  # one for a wing: neighbours
CORE = ("ir", "core", "graph", "compiler", "autodiff")
BUDGET = 6_000  # lines of these, as `wc -l` counts
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
    """One import: who, whom, in which line, whether only when a function is called, or never."""

    source: str
    target: str
    line: int
    inside: bool
    typing: bool


def _name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "tinyml" else ("tinyml", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    _name_of(path): path
    for folder in ("tinyml", "kernels", "conformance")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def room(name: str) -> str:
    """The room that a module is, or is part of."""
    rooms = [room for room in FLOOR_OF if f"{name}.".startswith(f"{room}.")]
    assert rooms or name == "tinyml", f"{name} has no floor: add it in {Path(__file__).name}"
    return rooms[0] if rooms else name


def floor(name: str) -> int:
    """The floor of a module: that of its room."""
    return FLOOR_OF.get(room(name), FRONT_DOOR)


def imports(tree: ast.AST, inside: bool = False,
            typing: bool = False) -> Iterator[tuple[ast.stmt, bool, bool]]:
    """Every import statement, whether it is in a function, and whether for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, inside, typing
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from imports(ast.Module(node.body, []), inside, True)
            yield from imports(ast.Module(node.orelse, []), inside, typing)
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, inside or function, typing)


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
    """What a module imports from the house, but for itself and the table of names."""
    return [
        Arrow(name, target, node.lineno, inside, typing)
        for node, inside, typing in imports(ast.parse(text))
        for target in targets(name, node, is_package, files)
        if target != name and (name, target) != TABLE
    ]


def faults(found: list[Arrow]) -> list[str]:
    """Upward arrows, imports of conformance from elsewhere, and circles, in words."""
    wrong = []
    for arrow in found:
        where = f"{arrow.source}, line {arrow.line}: imports {arrow.target}"
        if arrow.target.startswith(CONFORMANCE):
            asked = arrow.source.startswith(COMMAND_LINE) and arrow.inside
            if not arrow.source.startswith(CONFORMANCE) and not asked:
                wrong.append(f"{where}; only the command line does, inside a function")
        elif arrow.target.startswith(KERNELS) and not arrow.source.startswith(KERNELS):
            if floor(arrow.source) < FRONT_ENDS and not arrow.typing:
                wrong.append(f"{where}; kernels are reached through the registry")
        elif floor(arrow.target) > floor(arrow.source):
            wrong.append(f"{where}, {floor(arrow.source)} -> {floor(arrow.target)} is upward")
    wrong += circle((arrow.source, arrow.target) for arrow in found)
    between = ((room(arrow.source), room(arrow.target)) for arrow in found)
    return wrong + circle((one, other) for one, other in between if one != other)


def circle(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A circle of modules or rooms, in words, if there is one."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for source, target in pairs:
        sorter.add(source, target)
    try:
        sorter.prepare()
    except CycleError as error:
        return ["a circle: " + " <- ".join(error.args[1])]
    return []


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


def test_stubs_are_those_two() -> None:
    assert {path.relative_to(ROOT).as_posix() for folder in ("tinyml", "kernels", "conformance")
            for path in (ROOT / folder).rglob("*.pyi")} == STUBS


def test_no_upward_arrow_and_no_circle(house: list[Arrow]) -> None:
    assert house
    assert faults(house) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("tinyml.ir.spec", "from tinyml.core.apply import apply", "upward"),
        ("tinyml.ir.spec", "def f():\n    from tinyml.core.apply import apply", "upward"),
        ("tinyml.ir.spec", "if TYPE_CHECKING:\n    from tinyml.core.node import Data", "upward"),
        ("tinyml.core.apply", "from tinyml import Tensor", "upward"),
        ("tinyml.core.apply", "from tinyml.kernels.cpu import device", "through the registry"),
        ("tinyml.core.apply", "import tinyml", "upward"),
        ("tinyml.core.apply", "from ..tensor import Tensor", "upward"),
        ("tinyml.core.plan", "if TYPE_CHECKING:\n    from tinyml.tensor import Tensor", "upward"),
        ("tinyml.kernels.cpu.device", "from tinyml.core.node import Data", "upward"),
        ("tinyml.nn", "from tinyml.conformance.suite import cases", "only the command line"),
        ("tinyml.cli.main", "from tinyml.conformance.suite import cases", "only the command line"),
    ],
)
def test_a_planted_arrow_is_seen(name: str, text: str, words: str) -> None:
    (fault,) = faults(arrows(name, text, False, set(FILES)))
    assert words in fault


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tinyml", "if TYPE_CHECKING:\n    from tinyml._lazy import *"),
        ("tinyml.cli.main", "def f():\n    from tinyml.conformance.suite import cases"),
        ("tinyml.tensor", "from tinyml.core.apply import apply\nimport numpy"),
    ],
)
def test_a_downward_arrow_is_none_of_its_business(name: str, text: str) -> None:
    assert faults(arrows(name, text, False, set(FILES))) == []


def test_a_planted_circle_is_seen() -> None:
    found = arrows("tinyml.ir.spec", "import tinyml.ir.dims", False, set(FILES))
    found += arrows("tinyml.ir.dims", "def f():\n    import tinyml.ir.spec", False, set(FILES))
    (fault,) = faults(found)
    assert fault.startswith("a circle")


def test_a_planted_circle_of_rooms_is_seen() -> None:
    found = arrows("tinyml.nn.module", "import tinyml.optim.schedules", False, set(FILES))
    found += arrows("tinyml.optim.optimizers", "import tinyml.nn.layers", False, set(FILES))
    (fault,) = faults(found)
    assert fault.startswith("a circle: tinyml.")


# ---- how large the house is


def lines(path: Path) -> int:
    """As `wc -l` counts."""
    return path.read_bytes().count(b"\n")


def test_rooms_and_floors_keep_their_budget() -> None:
    rooms = {room(name) for name in FILES}
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)
    assert len(FLOORS) <= MOST_FLOORS
    assert rooms - {"tinyml", "tinyml.kernels", "tinyml.conformance"} == set(FLOOR_OF)


def test_the_core_keeps_its_budget() -> None:
    found = {part: sum(lines(path) for name, path in FILES.items()
                       if room(name) == f"tinyml.{part}") for part in CORE}
    assert all(found.values())
    assert sum(found.values()) <= BUDGET, f"{sum(found.values())} lines: {found}"


def test_no_file_is_longer_than_a_reader_is_patient() -> None:
    paths = [path for folder in ("tinyml", "kernels", "conformance", "tests", "docs")
             for path in (ROOT / folder).rglob("*.py")]
    long = {path.relative_to(ROOT).as_posix() for path in paths if lines(path) > LONGEST}
    assert len(paths) > 100 and long == set(LONGER)
