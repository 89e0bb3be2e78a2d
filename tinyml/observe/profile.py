"""profile: measure how long each op takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tinyml.ir.spec import Spec
from tinyml.observe.events import Event, observe


class Timing(NamedTuple):
    """The record that `profile` keeps of one op that ran."""

    op: str
    how: str
    ins: tuple[Any, ...]
    outs: tuple[Spec, ...]
    seconds: float
    nbytes: int


class Row(NamedTuple):
    """All runs of one op: calls, seconds, bytes, and share of the total time."""

    op: str
    calls: int
    seconds: float
    share: float
    nbytes: int


class Profile:
    """What `profile` saw: `records` in order, `rows()` by op; prints as a table."""

    def __init__(self) -> None:
        self.records: list[Timing] = []
        self.elapsed = 0.0

    def see(self, event: Event) -> None:
        """Record one event."""
        self.records.append(Timing(event.op, event.how, event.ins, event.outs, event.seconds,
                                   event.nbytes))

    def rows(self) -> list[Row]:
        """Return one row for each op, slowest first."""
        found: dict[str, list[Timing]] = {}
        for record in self.records:
            found.setdefault(record.op, []).append(record)
        total = sum(record.seconds for record in self.records) or 1.0
        rows = []
        for op, records in found.items():
            seconds = sum(record.seconds for record in records)
            nbytes = sum(record.nbytes for record in records)
            rows.append(Row(op, len(records), seconds, seconds / total, nbytes))
        return sorted(rows, key=lambda row: -row.seconds)

    def __str__(self) -> str:
        cells = [("op", "calls", "ms", "share", "us each", "bytes")]
        cells += [(row.op, str(row.calls), f"{row.seconds * 1e3:.3f}", f"{row.share:.0%}",
                   f"{row.seconds / row.calls * 1e6:.1f}", f"{row.nbytes:,}")
                  for row in self.rows()]
        inside = sum(record.seconds for record in self.records)
        return (f"{table(cells, 'lrrrrr')}\n{len(self.records)} ops: {inside * 1e3:.3f} ms of "
                f"{self.elapsed * 1e3:.3f} ms")


def table(cells: Sequence[Sequence[str]], sides: str) -> str:
    """Return rows of cells as aligned text; `sides` has an 'l' or an 'r' for each column.

    >>> print(table([("op", "calls"), ("add", "12")], "lr"))
    op   calls
    add     12
    """
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join(cell.ljust(width) if side == "l" else cell.rjust(width)
                  for cell, width, side in zip(row, widths, sides)).rstrip()
        for row in cells
    )


@contextmanager
def profile(*, all_threads: bool = False) -> Iterator[Profile]:
    """Time every op inside the block, waiting for its device; print the value for a table.

    Columns: calls, total milliseconds, share of all ops, microseconds per call, and the bytes of
    operands and results. An op that runs others (a body) counts only its own time. The last line
    compares with the time of the whole block, which includes compiling and observing.

    >>> import tinyml
    >>> with tinyml.profile() as p:
    ...     y = tinyml.ones((10, 10)) @ tinyml.ones((10, 10))
    >>> sorted((row.op, row.calls, row.nbytes) for row in p.rows())
    [('expand', 2, 0), ('matmul', 1, 1200)]
    """
    result = Profile()
    start = time.perf_counter()
    with observe(result.see, all_threads=all_threads, synchronize=True):
        try:
            yield result
        finally:
            result.elapsed = time.perf_counter() - start
