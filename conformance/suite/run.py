"""Running a suite: verdicts, totals, the report, and the command line `tinyml conformance`."""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinyml.conformance import reference
from tinyml.conformance.suite import errors, forward, gradients, ops, second
from tinyml.conformance.suite.backends import Backend, elsewhere, open_backend
from tinyml.conformance.suite.cases import Case, Within, chosen, describe, op_cases, within
from tinyml.conformance.suite.ops import Judgement
from tinyml.ir.devices import HOST
from tinyml.ir.op import OPS

SUITES = ("ops", "gradients", "second", "forward")
DETAIL_LINES = 4
STATUSES = ("passed", "failed", "unsupported", "skipped")


class Verdict(NamedTuple):
    """The outcome of one case.

    `worst` is its greatest error, in ULPs (ops) or relative (gradients); `share` is that error as a
    share of the bound.
    """

    name: str
    status: str
    detail: str = ""
    worst: float = 0.0
    share: float = 0.0
    call: str = ""
    command: str = ""


class Report:
    """The verdicts of a run, with totals.

    >>> report = Report("ops", "numpy", [Verdict("add/float32/same", "passed")])
    >>> report.totals, report.ok
    ({'passed': 1, 'failed': 0, 'unsupported': 0, 'skipped': 0}, True)
    """

    def __init__(self, suite: str, backend: str, verdicts: Iterable[Verdict]) -> None:
        self.suite = suite
        self.backend = backend
        self.verdicts = list(verdicts)

    @property
    def totals(self) -> dict[str, int]:
        """The numbers of cases passed, failed, unsupported and skipped."""
        counts = Counter(verdict.status for verdict in self.verdicts)
        return {status: counts[status] for status in STATUSES}

    @property
    def ok(self) -> bool:
        """Whether something passed, nothing failed and nothing was missing."""
        totals = self.totals
        return totals["passed"] > 0 and totals["failed"] == totals["unsupported"] == 0

    def select(self, status: str) -> list[Verdict]:
        """Return the verdicts with a status, worst first."""
        found = [verdict for verdict in self.verdicts if verdict.status == status]
        return sorted(found, key=lambda verdict: -verdict.share)

    def text(self, failures: int = 20) -> str:
        """Return the totals, the worst case of each failing op, and the command that repeats it."""
        lines = []
        shown: set[str] = set()
        for verdict in [*self.select("failed"), *self.select("unsupported")]:
            op = verdict.name.split("/")[0]
            if op in shown or len(shown) >= failures:
                continue
            shown.add(op)
            # A compiler's message can run to pages; the JSON holds all of it.
            detail = verdict.detail.split("\n", DETAIL_LINES)[:DETAIL_LINES]
            lines.append(f"{verdict.status}: {verdict.name}({verdict.call})")
            lines += [f"  {line}" for line in detail]
            lines.append(f"  repeat: {verdict.command}")
        passed = [verdict for verdict in self.select("passed") if verdict.share]
        if passed:
            nearest = passed[0]
            lines.append(f"nearest to its bound: {nearest.name}, at {nearest.share:.0%} of it")
        totals = ", ".join(f"{count} {status}" for status, count in self.totals.items())
        lines.append(f"{self.suite} on {self.backend}: {totals}")
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """Return totals, cases and versions as plain data."""
        cases = [verdict._asdict() for verdict in self.verdicts]
        for case in cases:
            # JSON has no infinity.
            for key in ("worst", "share"):
                case[key] = case[key] if math.isfinite(case[key]) else "inf"
        return {
            "suite": self.suite,
            "backend": self.backend,
            **self.totals,
            "totals": self.totals,
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "machine": platform.machine(),
            },
            "cases": cases,
        }


def run(
    suite: str,
    device: str = HOST,
    only: str | None = None,
    json_path: str | Path | None = None,
    *,
    backend: Backend | None = None,
    records: Mapping[str, Any] | None = None,
    sample: Within | None = None,
) -> Report:
    """Run a suite (see SUITES) on tinyml's device, or on another backend.

    `only` selects cases by the beginning of their name or by a shell pattern. `json_path` is where
    the report is written. `records` are the ops, by default all of tinyml's. Raises ValueError for
    an unknown suite.

    >>> from tinyml.conformance.suite.run import run
    >>> run("ops", "cpu", only="add/float32/same").totals["passed"]
    1
    """
    if suite not in SUITES:
        raise ValueError(f"no suite {suite!r}: one of {', '.join(SUITES)}")
    chosen_backend = backend or open_backend(f"tinyml:{device}")
    verdicts: list[Verdict] = []
    for op in (all_ops() if records is None else records).values():
        verdicts += run_op(suite, op, chosen_backend, only, sample)
    report = Report(suite, chosen_backend.name, verdicts)
    if json_path is not None:
        Path(json_path).write_text(json.dumps(report.json(), indent=1), encoding="utf-8")
    return report


def all_ops() -> dict[str, Any]:
    """Return every record by name, those of plugins included.

    Two kinds are left out: ops that apply graphs (call, cond, ...) have no dtypes of their own, and
    internal ops are judged as parts of the ops that use them.
    """
    return {name: op for name, op in OPS.items() if op.dtypes and not op.internal}


def run_op(suite: str, op: Any, backend: Backend, only: str | None = None,
           sample: Within | None = None) -> list[Verdict]:
    """Return the verdicts of one op; with a `sample`, of its cases and of few gradients.

    An op without samples or a reference fails; so does a rule without any smooth sample.
    """
    if op.name not in reference.TABLE:
        return _missing(suite, op, only, "the reference lacks this op")
    dtypes = [dtype for dtype in op.dtypes if backend.lacks(dtype) is None]
    if op.dtypes and not dtypes:
        return [Verdict(op.name, "skipped", str(backend.lacks(op.dtypes[0])))]
    if elsewhere(op.name, backend.name):
        of = chosen(op.name, only and only.split("/")[0])
        return [Verdict(op.name, "skipped", "declared for the CPU alone")] if of else []
    if op.samples is None or not any(True for _ in op_cases(op, dtypes)):
        return _missing(suite, op, only, "the record has no samples")
    if suite == "ops":
        return [*_run_ops(op, backend, only, sample), *_run_errors(op, backend, only)]
    if not gradients.differentiable(op):
        return []
    few = suite != "gradients"  # the first and last samples in the widest float
    found = list((forward.forward_cases if few else gradients.gradient_cases)(op, dtypes))
    cases = [case for case in found if _lacking(backend, case) is None]
    if found and not cases:
        return [Verdict(op.name, "skipped", str(_lacking(backend, found[0])))]
    if sample is not None and not few:
        # The first and last samples in the widest float, and a third of those in other types.
        widest = [case for case in cases if case.dtype == cases[0].dtype]
        others = [case for case in cases[len(widest):] if zlib.crc32(case.name.encode()) % 3 == 0]
        cases = [*widest[:1], *widest[1:][-1:], *others]
    judge = _JUDGES[suite]
    if not cases and not few:
        return _missing(suite, op, only, "no sample is smooth, so no gradient is checked")
    return [
        _verdict(suite, backend, case, partial(judge, backend, case))
        for case in cases
        if chosen(case.name, only)
    ]


_JUDGES = {"gradients": gradients.judge, "second": second.judge, "forward": forward.judge}


def _run_ops(op: Any, backend: Backend, only: str | None,
             sample: Within | None) -> Iterator[Verdict]:
    for case in op_cases(op):
        if not chosen(case.name, only) or (sample is not None and case.name not in sample.names):
            continue
        lacking = _lacking(backend, case)
        if lacking:
            yield Verdict(case.name, "skipped", lacking)
        else:
            yield _verdict("ops", backend, case, partial(ops.judge, backend, case))


def _lacking(backend: Backend, case: Case) -> str | None:
    """Return why the backend's hardware cannot hold something in this case, or None."""
    held = {x.dtype.name for x in case.sample.args if isinstance(x, np.ndarray)}
    results = reference.dtypes(case.of, *case.sample.args, **case.sample.attrs)
    wanted = {case.dtype, *held, *[dtype.name for dtype in results]}
    reasons = (backend.lacks(dtype) for dtype in sorted(wanted))
    return next((reason for reason in reasons if reason), None)


def _run_errors(op: Any, backend: Backend, only: str | None) -> Iterator[Verdict]:
    if not backend.name.startswith("tinyml:"):
        # Which errors a call raises is a promise of tinyml's alone.
        return
    for case, wrong in errors.error_cases(op):
        if chosen(case.name, only):
            yield _verdict("ops", backend, case, partial(errors.judge, backend, case, wrong))


def _verdict(suite: str, backend: Backend, case: Case, judge: Callable[[], Judgement]) -> Verdict:
    call = describe(case.sample)
    command = _command(suite, backend.name, case.name)
    try:
        judgement = judge()
    except NotImplementedError as error:
        return Verdict(case.name, "unsupported", str(error), math.inf, math.inf, call, command)
    except Exception as error:
        detail = f"raised {type(error).__name__}: {error}"
        return Verdict(case.name, "failed", detail, math.inf, math.inf, call, command)
    status = "failed" if judgement.complaint else "passed"
    complaint, worst, share = judgement
    return Verdict(case.name, status, complaint or "", worst, share, call, command)


def _missing(suite: str, op: Any, only: str | None, why: str) -> list[Verdict]:
    if not chosen(op.name, only and only.split("/")[0]):
        return []
    command = f"tinyml conformance --suite {suite} --only '{op.name}'"
    return [Verdict(op.name, "failed", why, math.inf, math.inf, "", command)]


def _command(suite: str, backend: str, name: str) -> str:
    home, _, device = backend.partition(":")
    target = f"--device {device}" if home == "tinyml" else f"--backend {backend}"
    return f"tinyml conformance --suite {suite} {target} --only '{name}'"


# -- the command line --------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `tinyml conformance`."""
    parser.add_argument("--suite", choices=(*SUITES, "opinfo"), default="ops",
                        help="what to check; opinfo: PyTorch's own samples, which needs torch")
    parser.add_argument("--device", default=HOST, help="tinyml's device (default: cpu)")
    parser.add_argument("--backend", help="judge another backend instead: numpy, or MODULE:OBJECT")
    parser.add_argument(
        "--only", metavar="PATTERN", help="cases whose name begins so, or matches (add/*/special)"
    )
    parser.add_argument("--budget", type=int, metavar="KERNELS",
                        help="a sample of the ops suite that compiles about so many kernels")
    parser.add_argument("--json", metavar="FILE", help="write totals and cases there")
    parser.add_argument("--seed", type=int, default=0, help="of opinfo's samples (default: 0)")


def main(args: argparse.Namespace) -> int:
    """Run the chosen suite and print its report; return 0 where nothing failed or is missing."""
    if args.suite == "opinfo":
        from tinyml.conformance.opinfo import run as opinfo

        return opinfo.report(opinfo.judge(args.only, args.device, args.seed), args.json)
    backend = open_backend(args.backend) if args.backend else None
    sample = None if args.budget is None else within(all_ops(), args.budget)
    if sample is not None:
        print(sample)
    report = run(args.suite, args.device, args.only, args.json, backend=backend, sample=sample)
    print(report.text(), file=sys.stdout)
    return 0 if report.ok else 1
