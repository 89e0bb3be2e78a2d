"""Judging: run PyTorch's samples of each listed op, and give the verdict; the command line.

    python -m tinyml.conformance.opinfo --seed 1 --only cummax

An op passes where at least 90 % of its cases do; a run passes where at least 98 % of all do. A case
is one sample: its values and, where torch differentiates the op, its gradients. An op without an
adapter fails all its cases. Cases that `differences` explains are counted apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinyml.conformance.opinfo import differences
from tinyml.conformance.opinfo.adapters import ADAPTERS
from tinyml.conformance.opinfo.choice import VERSION, judged
from tinyml.ir.devices import HOST

EACH, TOGETHER = 0.90, 0.98


class Tally(NamedTuple):
    """The outcome of one op: how many cases passed, failed and were explained, and why."""

    name: str
    passed: int
    failed: int
    explained: int
    details: list[str]
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """The share of its cases that passed; 0 for an op without cases."""
        count = self.passed + self.failed
        return self.passed / count if count else float(self.explained > 0)


class Verdict:
    """The tallies of a run, and whether they are good enough.

    >>> verdict = Verdict([Tally("sin", 9, 1, 0, [])], seed=0)
    >>> verdict.share, verdict.ok
    (0.9, False)
    """

    def __init__(self, tallies: list[Tally], seed: int) -> None:
        self.tallies = tallies
        self.seed = seed

    @property
    def share(self) -> float:
        """The share of all cases that passed."""
        passed = sum(tally.passed for tally in self.tallies)
        count = passed + sum(tally.failed for tally in self.tallies)
        return passed / count if count else 0.0

    @property
    def short(self) -> list[Tally]:
        """The ops with too few passing cases."""
        return [tally for tally in self.tallies if tally.share < EACH]

    @property
    def ok(self) -> bool:
        """Whether enough cases passed, for each op and overall."""
        return not self.short and self.share >= TOGETHER

    def text(self, details: int = 1) -> str:
        """Return the ops with failures, worst first, and the totals."""
        lines = []
        for tally in sorted(self.tallies, key=lambda t: t.share):
            if tally.failed:
                count = tally.passed + tally.failed
                lines.append(f"{tally.name}: {tally.passed} of {count} passed")
                lines += [f"    {text:.400}" for text in tally.details[:details]]
        passed, failed, explained = (
            sum(getattr(tally, column) for tally in self.tallies)
            for column in ("passed", "failed", "explained"))
        absent = sum(tally.name not in ADAPTERS for tally in self.tallies)
        lines.append(f"opinfo, seed {self.seed}: {len(self.tallies)} ops, {len(self.short)} below "
                     f"{EACH:.0%} ({absent} absent); {passed} cases passed, {failed} failed, "
                     f"{explained} explained: {self.share:.2%} of {TOGETHER:.0%} needed")
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """Return the tallies as plain data."""
        return {"suite": "opinfo", "torch": VERSION, "seed": self.seed, "share": self.share,
                "ok": self.ok, "ops": [tally._asdict() for tally in self.tallies]}


def judge(only: str | None = None, device: str = HOST, seed: int = 0, limit: int | None = None,
          part: tuple[int, int] = (0, 1), each: Callable[[Tally], None] | None = None) -> Verdict:
    """Judge the listed ops that match `only`, on torch's samples of a seed.

    An op matches where `only` is its name or the beginning of it. `limit` takes that many samples
    of each op, spread evenly; `part` (k, n) takes every n-th op from the k-th; `each` is called
    with each tally as it is made.
    """
    with _quiet():
        from torch.testing._internal.common_methods_invocations import op_db

    infos = {op.formatted_name: op for op in op_db}
    names = [name for name in judged() if only is None or name == only]
    names = names or [name for name in judged() if name.startswith(only or "")]
    tallies = []
    for name in names[part[0] :: part[1]]:
        tallies.append(judge_op(infos.get(name), name, device, seed, limit))
        if each:
            each(tallies[-1])
    return Verdict(tallies, seed)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's warnings about itself; tinyml's warnings are not judged here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _samples(info: Any, seed: int, limit: int | None) -> list[tuple[int, Any]]:
    import torch

    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  some of torch's sample functions draw from it
    # Torch itself would reset the seed before each sample, whatever was set here.
    found = list(enumerate(info.sample_inputs(
        "cpu", torch.float64, requires_grad=info.supports_autograd, set_seed=False)))
    if limit is None or len(found) <= limit:
        return found
    return [found[k * len(found) // limit] for k in range(limit)]


def judge_op(info: Any, name: str, device: str, seed: int, limit: int | None) -> Tally:
    """Return the tally of one op."""
    if info is None:
        return Tally(name, 0, 1, 0, ["the installed torch has no such entry"])
    with _quiet(), np.errstate(all="ignore"):
        return _judged(info, name, device, seed, limit)


def _judged(info: Any, name: str, device: str, seed: int, limit: int | None) -> Tally:
    from tinyml.conformance.opinfo.compare import compare

    begin = time.perf_counter()
    adapter = ADAPTERS.get(name)
    passed = failed = explained = 0
    details = []
    for number, sample in _samples(info, seed, limit):
        label = f"{name}/{number}"
        try:
            if adapter is None:
                raise NotImplementedError("no adapter: tinyml lacks this op")
            compare(info, sample, adapter, device, label, seed)
            passed += 1
        except Exception as error:
            reason = differences.reason(name, sample, str(error))
            if reason and adapter:
                explained += 1
            else:
                failed += 1
                details.append(f"{label}: {type(error).__name__}: {error}\n    {_call(sample)}")
    return Tally(name, passed, failed, explained, details, time.perf_counter() - begin)


def _call(sample: Any) -> str:
    """Return a sample as text, with shapes instead of tensors."""
    import torch

    from tinyml.conformance.opinfo.compare import mapped

    def short(x: Any) -> Any:
        return f"{str(x.dtype)[6:]}{list(x.shape)}" if isinstance(x, torch.Tensor) else x

    first, args, kwargs = mapped((sample.input, tuple(sample.args), dict(sample.kwargs)), short)
    return f"{first}, {args}, {kwargs}".replace("'", "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--only", metavar="NAME", help="one op, or those whose name begins so")
    parser.add_argument("--device", default=HOST, help="tinyml's device (default: cpu)")
    parser.add_argument("--seed", type=int, default=0, help="of torch's samples (default: 0)")
    parser.add_argument("--limit", type=int, help="at most this many samples of an op")
    parser.add_argument("--part", default="0/1", metavar="K/N", help="every N-th op from the K-th")
    parser.add_argument("--details", type=int, default=1, help="failures shown per op")
    parser.add_argument("--json", metavar="FILE", help="write all tallies there")


def main(arguments: list[str] | None = None) -> int:
    """Judge the chosen ops and print the verdict; return 0 where it suffices."""
    parser = argparse.ArgumentParser(prog="python -m tinyml.conformance.opinfo",
                                     description="PyTorch's samples through tinyml, beside torch.")
    add_arguments(parser)
    args = parser.parse_args(arguments)
    k, n = (int(number) for number in args.part.split("/"))
    verdict = judge(args.only, args.device, args.seed, args.limit, (k, n))
    return report(verdict, args.json, args.details)


def report(verdict: Verdict, json_path: str | None = None, details: int = 1) -> int:
    """Print a verdict and write it to a file if asked; return 0 where it suffices, else 1."""
    print(verdict.text(details), file=sys.stdout)
    if json_path:
        Path(json_path).write_text(json.dumps(verdict.json(), indent=1), encoding="utf-8")
    return 0 if verdict.ok else 1
