"""Which tests run: a sample, the rest of them or all, in how many processes, and from where on.

Compiling a kernel is what costs. So a test that compiles many declares how many it compiles from
cold, `@pytest.mark.kernels(12)`, and the sample that plain `pytest` runs has a budget of kernels:
all tests that declare none, and of the others as many as the budget pays for. Whoever names files
or tests gets all of those.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple
from zlib import crc32

import pytest

KERNELS = 800  # the budget of the sample: some 0.2 s of one core each, from cold
CASES = ("TINYML_CONFORMANCE", "0")  # of the suite over all ops: as few as there can be of each
LEFT_OUT = ("slow", "peers", "data")  # whole kinds of tests that no sample has
HOUSE = ("tinyml", "kernels", "conformance", "tests", "docs", "setup.cfg")

OTHERS: pytest.StashKey[list[tuple[subprocess.Popen[bytes], IO[bytes]]]] = pytest.StashKey()
LINES: pytest.StashKey[list[str]] = pytest.StashKey()
BEFORE: pytest.StashKey[int] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which tests, in which processes."""
    group = parser.getgroup("selection")
    group.addoption("--all", action="store_true", help="run all tests, not a sample")
    group.addoption("--rest", action="store_true", help="run what the sample leaves out")
    group.addoption("--kernels", type=int, default=KERNELS, metavar="N",
                    help="the sample compiles about N kernels (default: %(default)s)")
    group.addoption("--processes", type=int, metavar="N",
                    help="run the tests in N processes that share the cache of kernels (default: "
                         "one for each core; one where files or tests are named)")
    group.addoption("--part", metavar="K/N", help="run the K-th of N parts of the tests")
    group.addoption("--state", metavar="FILE",
                    help="keep there which tests have passed, and go on from there")


def _named(config: pytest.Config) -> bool:
    """Whether the command line names files or tests."""
    option = config.option
    return (config.args_source is pytest.Config.ArgsSource.ARGS or bool(option.keyword)
            or bool(getattr(option, "lf", False)))


def _sampling(config: pytest.Config) -> bool:
    return not (config.getoption("--all") or config.getoption("--rest") or _named(config))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' compiled kernels apart from the user's, and start the other processes."""
    cache: pytest.Cache | None = getattr(config, "cache", None)  # None under -p no:cacheprovider
    if "TINYML_CACHE_DIR" not in os.environ and cache is not None:
        folder = cache.mkdir("tinyml")
        folder.chmod(0o700)
        os.environ["TINYML_CACHE_DIR"] = str(folder)
    config.stash[BEFORE] = _compiled()
    if _sampling(config):
        os.environ.setdefault(*CASES)
    if config.getoption("--state") is not None and config.getoption("--part") is None:
        _open_state(Path(config.getoption("--state")))
    count = config.getoption("--processes") or (1 if _named(config) else _cores())
    alone = config.option.collectonly or config.option.usepdb
    if count > 1 and config.getoption("--part") is None and not alone:
        config.option.part = f"1/{count}"
        config.stash[OTHERS] = [_start(config, f"{k}/{count}") for k in range(2, count + 1)]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(config: pytest.Config, part: str) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Another process with another part of the tests, and the file that it writes to."""
    output = tempfile.TemporaryFile()
    words = [sys.executable, "-m", "pytest", *map(str, config.invocation_params.args),
             "--processes=1", f"--part={part}", "-p", "no:cacheprovider"]
    return subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT), output


# ---- the choice


def _declared(item: pytest.Item) -> int:
    """How many kernels a test says that it compiles from cold."""
    marker = item.get_closest_marker("kernels")
    return 0 if marker is None else int(marker.args[0])


def _function(item: pytest.Item) -> str:
    return f"{item.path}::{getattr(item, 'originalname', item.name)}"


class Sample(NamedTuple):
    """The tests chosen, the kernels that they declare, and those that all tests declare."""

    items: set[pytest.Item]
    kernels: int
    of: int


def sample(items: Sequence[pytest.Item], budget: int) -> Sample:
    """The tests that declare no kernels, and others that declare at most `budget` together.

    The same every time: the next test is of the function that has the fewest kernels with it.
    """
    able = [i for i in items if not any(map(i.get_closest_marker, LEFT_OUT))]
    chosen = {item for item in able if not _declared(item)}
    heavy: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in sorted(able, key=lambda item: crc32(item.name.encode())):
        if item not in chosen:
            heavy[_function(item)].append(item)
    spent = 0
    queue = [(_declared(tests[0]), name) for name, tests in sorted(heavy.items())]
    heapq.heapify(queue)
    while queue:
        had, name = heapq.heappop(queue)
        cost = _declared(heavy[name][0])
        if spent + cost > budget:
            break
        spent += cost
        chosen.add(heavy[name].pop(0))
        if heavy[name]:
            heapq.heappush(queue, (had + cost, name))
    return Sample(chosen, spent, sum(map(_declared, able)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the sample or the rest, of that one part, of that what has not passed."""
    count, lines = len(items), []
    if _sampling(config) or config.getoption("--rest"):
        found = sample(items, config.getoption("--kernels"))
        if config.getoption("--rest"):
            _keep(config, items, {item for item in items if item not in found.items
                                  or item.get_closest_marker("samples")})
            lines = [f"rest: {len(items)} of {count} tests, which the sample leaves out"]
        else:
            _keep(config, items, found.items)
            lines = [f"sample: {len(items)} of {count} tests, {found.kernels} of {found.of} "
                     "declared kernels (--kernels N: another budget)",
                     "all tests: pytest --all; in CI: .ci/run"]
    if config.getoption("--part") is not None:
        _keep(config, items, _part(items, *map(int, config.getoption("--part").split("/"))))
    if config.getoption("--state") is not None:  # last: the other processes add to it already
        passed = set(Path(config.getoption("--state")).read_text(encoding="utf-8").splitlines())
        _keep(config, items, {item for item in items if item.nodeid not in passed})
        lines.append(f"state: {len(passed) - 1} tests have passed before")
    config.stash[LINES] = lines


def _keep(config: pytest.Config, items: list[pytest.Item], kept: set[pytest.Item]) -> None:
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def _key(item: pytest.Item) -> str:
    """What is not torn apart: the tests of one op, whose kernels are the same; else a function."""
    callspec = getattr(item, "callspec", None)
    op = callspec.params.get("name") if callspec is not None else None
    return f"op {op}" if isinstance(op, str) else _function(item)


def _part(items: Sequence[pytest.Item], number: int, count: int) -> set[pytest.Item]:
    """One of several parts of like weight: the heaviest first, each to the lightest part."""
    weights: Counter[str] = Counter()
    for item in items:
        weights[_key(item)] += 1 + 2 * _declared(item)
    loads, home = [0] * count, {}
    for key, weight in sorted(weights.items(), key=lambda pair: (-pair[1], pair[0])):
        home[key] = loads.index(min(loads))
        loads[home[key]] += weight
    return {item for item in items if home[_key(item)] == number - 1}


# ---- from where on


def _open_state(path: Path) -> None:
    """Begin anew where there is no state, or one of other code or another choice of cases."""
    digest = hashlib.sha256(os.environ.get(CASES[0], "").encode())
    for name in HOUSE:
        top = Path(__file__).resolve().parents[1] / name
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(top.parent)}\0".encode() + file.read_bytes())
    title = f"passed with {digest.hexdigest()}\n"
    if not path.exists() or not path.read_text(encoding="utf-8").startswith(title):
        path.write_text(title, encoding="utf-8")


class Recorder:
    """Adds each test that passes to the state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.good = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A skipped test has not passed; one that is expected to fail, and does, has."""
        self.good = (self.good or report.when == "setup") and (
            report.passed or (report.skipped and hasattr(report, "wasxfail")))
        if self.good and report.when == "teardown":
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{report.nodeid}\n")


# ---- what is told, and the other processes


def pytest_sessionstart(session: pytest.Session) -> None:
    """Record from here on, where a state is kept."""
    state = session.config.getoption("--state")
    if state is not None:
        session.config.pluginmanager.register(Recorder(Path(state)))


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """How many tests of how many, by which budget, and how to run all."""
    return config.stash.get(LINES, [])


def _compiled() -> int:
    """How many kernels the cache holds."""
    try:
        return len([name for name in os.listdir(os.environ.get("TINYML_CACHE_DIR", ""))
                    if name.endswith((".o", ".bin"))])
    except OSError:
        return 0


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """What another process finds is found: wait for it, show what it wrote, fail if it failed."""
    for process, output in session.config.stash.get(OTHERS, []):
        code = process.wait()
        output.seek(0)
        print(f"\n{output.read().decode(errors='replace')}")
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter,
                            config: pytest.Config) -> None:
    """How many kernels were compiled in the end."""
    if config.stash.get(LINES, []) and (config.getoption("--part") or "1/").startswith("1/"):
        count = _compiled() - config.stash[BEFORE]
        terminalreporter.write_line(f"kernels compiled and kept: {count}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing is left behind where the tests were interrupted."""
    for process, output in config.stash.get(OTHERS, []):
        process.kill()
        process.wait()
        output.close()
