"""What every test shares: the devices, what may be skipped and when, and hypothesis's profiles."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
# Linux's CI is the strict one: there everything is installed. Elsewhere a test may need POSIX, say.
STRICT = IN_CI and sys.platform == "linux"
PEERS_REQUIRED = os.environ.get("TINYML_REQUIRE_PEERS") == "1"
PEERS = ("torch", "jax", "onnxruntime")
DEVICES = tuple(os.environ.get("TINYML_TEST_DEVICES", "cpu,opencl").split(","))

OTHERS: pytest.StashKey[list[tuple[subprocess.Popen[bytes], IO[bytes]]]] = pytest.StashKey()

# A kernel's first call compiles it, so no example has a deadline; CI repeats the same examples.
settings.register_profile(
    "user", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("ci", parent=settings.get_profile("user"), derandomize=True)
settings.load_profile("ci" if IN_CI else "user")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Several processes, or a part of the tests."""
    group = parser.getgroup("parts")
    group.addoption("--processes", type=int, default=1, metavar="N",
                    help="run the tests in N processes that share the cache of kernels")
    group.addoption("--part", metavar="K/N", help="run the K-th of N parts of the tests")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' compiled kernels apart from the user's, and warm between two runs."""
    cache: pytest.Cache | None = getattr(config, "cache", None)  # None under -p no:cacheprovider
    if "TINYML_CACHE_DIR" not in os.environ and cache is not None:
        folder = cache.mkdir("tinyml")
        folder.chmod(0o700)
        os.environ["TINYML_CACHE_DIR"] = str(folder)
    count = config.getoption("--processes")
    if count > 1 and config.getoption("--part") is None and not config.option.collectonly:
        config.option.part = f"1/{count}"
        config.stash[OTHERS] = [_start(config, f"{k}/{count}") for k in range(2, count + 1)]


def _start(config: pytest.Config, part: str) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Another process with another part of the tests, and the file that it writes to."""
    output = tempfile.TemporaryFile()
    words = [sys.executable, "-m", "pytest", *map(str, config.invocation_params.args),
             "--processes=1", f"--part={part}", "-p", "no:cacheprovider"]
    return subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT), output


def _key(item: pytest.Item) -> str:
    """What is not torn apart: the tests of one op, whose kernels are the same; else a function."""
    callspec = getattr(item, "callspec", None)
    op = callspec.params.get("name") if callspec is not None else None
    return f"op {op}" if isinstance(op, str) else f"{item.path} {getattr(item, 'originalname', '')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the part that is asked for: the heaviest files and ops first, each to the lightest."""
    part = config.getoption("--part")
    if part is None:
        return
    number, count = map(int, part.split("/"))
    weights = Counter(map(_key, items))
    loads, home = [0] * count, {}
    for key, weight in sorted(weights.items(), key=lambda pair: (-pair[1], pair[0])):
        home[key] = loads.index(min(loads))
        loads[home[key]] += weight
    mine = [item for item in items if home[_key(item)] == number - 1]
    config.hook.pytest_deselected(items=[i for i in items if home[_key(i)] != number - 1])
    items[:] = mine


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """What another process finds is found: wait for it, show what it wrote, fail if it failed."""
    for process, output in session.config.stash.get(OTHERS, []):
        code = process.wait()
        output.seek(0)
        print(f"\n{output.read().decode(errors='replace')}")
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing is left behind where the tests were interrupted."""
    for process, output in config.stash.get(OTHERS, []):
        process.kill()
        process.wait()
        output.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `peers(...)` where one of the packages that it names is missing."""
    for marker in item.iter_markers("peers"):
        for name in marker.args or PEERS:
            if importlib.util.find_spec(name) is None:
                pytest.skip(f"compares with {name}, which is not installed: pip install {name}")


def _skip_is_allowed(item: pytest.Item) -> bool:
    return item.get_closest_marker("peers") is not None and not PEERS_REQUIRED


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that tells the skip's reason."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: nothing is skipped silently in CI. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In strict CI a skipped test is a failed test; an expected failure (`xfail`) is not a skip."""
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail") and not _skip_is_allowed(item):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In strict CI a module that skips itself fails: that would hide its tests."""
    report = yield
    if STRICT and report.skipped:
        _fail(report)
    return report


@functools.cache
def _why_not(device: str) -> str | None:
    """The reason why a device cannot be used here, or None."""
    import tinyml

    try:
        tinyml.ones((1,), device=device).numpy()
    except tinyml.TinyMLError as error:
        return str(error)
    return None


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; skipped where the machine has none, which in strict CI is a failure."""
    name: str = request.param
    reason = _why_not(name)
    if reason is not None:
        pytest.skip(f"no device {name!r} here: {reason}")
    return name


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of data sets that TINYML_TEST_DATA names; its tests are marked `data`."""
    folder = os.environ.get("TINYML_TEST_DATA")
    if folder is None or not Path(folder).is_dir():
        pytest.skip("TINYML_TEST_DATA names no folder of data sets")
    return Path(folder)
