"""What every test shares: the devices, what may be skipped and when, and hypothesis's profiles.

Which tests run, and in how many processes, is told in selection.py.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
# Linux's CI is the strict one: there everything is installed. Elsewhere a test may need POSIX, say.
STRICT = IN_CI and sys.platform == "linux"
PEERS_REQUIRED = os.environ.get("TINYML_REQUIRE_PEERS") == "1"
PEERS = ("torch", "jax", "onnxruntime")
DEVICES = tuple(os.environ.get("TINYML_TEST_DEVICES", "cpu,opencl").split(","))

pytest_plugins = ("tests.selection",)

# A kernel's first call compiles it, so no example has a deadline; CI repeats the same examples.
settings.register_profile(
    "user", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("ci", parent=settings.get_profile("user"), derandomize=True)
settings.load_profile("ci" if IN_CI else "user")


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


@pytest.fixture
def tables() -> Generator[None, None, None]:
    """Take what a test defines out of the tables of ops, kernels and references again."""
    import tinyml.compiler  # noqa: F401
    import tinyml.graph.control_ops  # noqa: F401
    from tinyml.conformance.reference import TABLE
    from tinyml.ir import devices
    from tinyml.ir.op import OPS

    for room in devices.ROOMS:
        devices.find_kernels("", room)  # whatever is registered late is registered now
    everything: tuple[dict[Any, Any], ...] = (OPS, TABLE, devices._kernels)
    before = [dict(table) for table in everything]
    yield
    for table, held in zip(everything, before):
        table.clear()
        table.update(held)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of data sets that TINYML_TEST_DATA names; its tests are marked `data`."""
    folder = os.environ.get("TINYML_TEST_DATA")
    if folder is None or not Path(folder).is_dir():
        pytest.skip("TINYML_TEST_DATA names no folder of data sets")
    return Path(folder)
