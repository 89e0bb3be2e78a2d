"""`tinyml doctor`: what this machine, its packages and devices can do, with remedies for problems.

No package is imported to learn its version. Each device is tried with a small computation, so
whatever the report calls working has worked.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from tinyml import __version__
from tinyml.errors import ArgumentError, TinyMLError
from tinyml.ir.devices import HOST, ROOMS, candidates, find_device
from tinyml.kernels.common import cache
from tinyml.kernels.common.device import Candidate
from tinyml.kernels.common.pool import memory_budget
from tinyml.ops.creation import arange

REQUIRED = ("numpy", "numba", "llvmlite", "pyopencl", "ml_dtypes", "safetensors")
EXTRAS = {
    "train": ("rich", "matplotlib"),
    "peers": ("torch", "jax", "onnxruntime"),
    "test": ("pytest", "hypothesis", "ruff", "mypy"),
}
VARIABLES = (
    "TINYML_DEVICE", "TINYML_NUM_THREADS", "TINYML_MEMORY_LIMIT", "TINYML_CACHE_DIR",
    "POCL_CACHE_DIR", "OCL_ICD_VENDORS",
)  # fmt: skip


class Problem(NamedTuple):
    """A problem, and the simplest remedy."""

    what: str
    remedy: str


class Report:
    """Lines under headings, the same as data, and the problems found along the way."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.problems: list[Problem] = []
        self.working: set[str | None] = set()
        self.data: dict[str, Any] = {"settings": {}, "packages": {}, "devices": []}

    @property
    def cpu_works(self) -> bool:
        """Whether the CPU computes."""
        return HOST in self.working

    def add(self, label: str, text: str) -> None:
        """Add a line: a label and its text."""
        self.lines.append(f"{label:<12} {text}")

    def trouble(self, what: str, remedy: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(what, remedy))

    def text(self) -> str:
        """Return the whole report."""
        lines = [*self.lines, ""]
        if not self.problems:
            return "\n".join([*lines, "No problems."])
        for number, problem in enumerate(self.problems, 1):
            lines += [f"Problem {number}: {problem.what}", f"  remedy: {problem.remedy}"]
        return "\n".join(lines)

    def json(self) -> str:
        """Return the same as JSON: an object with a key for each part of the report."""
        problems = [problem._asdict() for problem in self.problems]
        return json.dumps({"ok": self.cpu_works, **self.data, "problems": problems}, indent=1)


def examine() -> Report:
    """Examine everything; problems go into the report and are never raised."""
    report = Report()
    _settings(report)
    _machine(report)
    _packages(report)
    _devices(report)
    _caches(report)
    return report


def main(as_json: bool = False) -> int:
    """Print the report; return 0 where the CPU works."""
    report = examine()
    print(report.json() if as_json else report.text())
    return 0 if report.cpu_works else 1


# ---- settings, machine and packages


def _settings(report: Report) -> None:
    for name in VARIABLES:
        if name in os.environ:
            report.add("set", f"{name}={os.environ[name]}")
            report.data["settings"][name] = os.environ[name]
    threads = os.environ.get("TINYML_NUM_THREADS")
    if threads and not (threads.isdecimal() and int(threads) > 0):
        report.trouble(f"TINYML_NUM_THREADS is {threads!r}",
                       "unset it, or set it to a whole number")
    try:
        memory_budget(0)
    except ArgumentError as error:
        report.trouble(error.message, f"unset it, or set it to {error.remedy}")


def _machine(report: Report) -> None:
    memory = _memory()
    parts = [f"{platform.system()} {platform.release()}", platform.machine(), _processor(),
             f"{os.cpu_count()} CPUs", f"{memory} memory" if memory else ""]
    facts = {
        "machine": ", ".join(part for part in parts if part),
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "tinyml": __version__,
    }
    for label, text in facts.items():
        report.add(label, text)
    report.data.update(facts)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        return platform.processor()
    return names[0] if names else platform.processor()


def _memory() -> str:
    try:
        return size_text(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return ""


def size_text(nbytes: float) -> str:
    """Return a number of bytes in a readable form.

    >>> size_text(512), size_text(3 << 29)
    ('512 B', '1.5 GiB')
    """
    if nbytes < 1024:
        return f"{nbytes:.0f} B"
    power = min(int(math.log2(nbytes)) // 10, 4)
    return f"{nbytes / 1024**power:.1f} {'KMGT'[power - 1]}iB"


def _versions(packages: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    for package in packages:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, None


def _packages(report: Report) -> None:
    found = dict(_versions(REQUIRED))
    report.add("packages", ", ".join(f"{name} {number or 'missing'}"
                                     for name, number in found.items()))
    report.data["packages"].update(found)
    for name, number in found.items():
        if number is None:
            report.trouble(f"the package {name} is not installed", f"pip install {name}")
    for extra, packages in EXTRAS.items():
        versions = dict(_versions(packages))
        report.data["packages"].update(versions)
        text = ", ".join(f"{name} {number or 'missing'}" for name, number in versions.items())
        missing = "" if "missing" not in text else f"  (optional: pip install 'tinyml[{extra}]')"
        report.add(f"[{extra}]", text + missing)


# ---- devices


def _trial(name: str) -> TinyMLError | Exception | None:
    """Compute something on a device; return what went wrong, or None."""
    try:
        result = (arange(4, device=name) + 1).tolist()
    except Exception as error:  # whatever it is, the report is about it
        return error
    return None if result == [1, 2, 3, 4] else RuntimeError(f"0..3 + 1 gave {result}")


def _say(error: Exception) -> str:
    text = error.message if isinstance(error, TinyMLError) else f"{type(error).__name__}: {error}"
    return (text.splitlines() or [""])[0]


def _budget(name: str) -> str:
    pool: Any = getattr(find_device(name), "pool", None)
    return f"budget {size_text(pool.budget)}" if pool is not None else "no budget"


def _devices(report: Report) -> None:
    for room in ROOMS:
        try:
            found = candidates(room)
        except Exception as error:  # whatever it is, the report is about it
            report.add(room, _say(error))
            report.data["devices"].append({"name": None, "room": room, "problem": _say(error)})
            remedy = f"see where: python -c 'import tinyml.kernels.{room}'"
            report.trouble(_say(error), getattr(error, "remedy", None) or remedy)
            continue
        for candidate in found:
            _device(report, room, candidate)


def _device(report: Report, room: str, candidate: Candidate) -> None:
    name, about, driver, remedy, problem = candidate
    entry = {"name": name, "room": room, "about": about, "driver": driver, "problem": None}
    report.data["devices"].append(entry)
    if name is None:
        entry["problem"] = problem
        report.add(f"{room} -", f"{about} ({driver}) fails: {problem}")
        report.trouble(f"the {about} is not usable: {problem}", remedy)
        return
    error = _trial(name)
    if error is None:
        report.working.add(name)
        report.add(name, f"works; {about}, {_budget(name)}")
    else:
        entry["problem"] = _say(error)
        report.add(name, f"fails: {_say(error)}; {about}")
        report.trouble(f"the device {name} does not compute: {_say(error)}",
                       getattr(error, "remedy", None) or remedy)
    if driver:
        report.add("", driver)


# ---- caches


def _caches(report: Report) -> None:
    problem = cache.problem()
    count, nbytes = cache.entries()
    state = problem or "in use"
    report.add("cache", f"{cache.folder()}: {count} entries, {size_text(nbytes)}, {state}")
    report.data["cache"] = {"folder": cache.folder(), "entries": count, "bytes": nbytes,
                            "problem": problem}
    if problem:
        report.trouble(
            f"compiled kernels are not kept, so each process compiles anew: {problem}",
            "make the folder yours and private (chmod 700), or set TINYML_CACHE_DIR to another",
        )
