"""Memory: how much a device holds or has held, which op made it, and what was not freed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tinyml.concurrency import new_lock
from tinyml.core.state import STATE
from tinyml.errors import SourceLocation, line_text
from tinyml.ir.devices import HOST, find_device
from tinyml.ir.spec import Spec
from tinyml.observe.events import Event, find_user_location, observe
from tinyml.observe.profile import table

if TYPE_CHECKING:
    from tinyml.kernels.common.pool import Block, Buffer, Pool, Usage


class Made(NamedTuple):
    """Memory in use: the op that made it, its spec if known, bytes, device and line."""

    op: str
    spec: Spec | None
    nbytes: int
    device: str
    location: SourceLocation | None

    @property
    def line(self) -> str:
        """The line that made it, as 'file:line: source'."""
        return line_text(*self.location) if self.location else "(unknown)"


class Tracking:
    """What `track_memory` saw: `alive()`, `by_op()`, `peak` by device; prints as a report.

    Memory allocated inside the block is followed until it is freed, even after the block ends.
    Bytes are those of the pool's blocks, as in `memory_stats`.
    """

    def __init__(self) -> None:
        self.peak: dict[str, int] = {}
        self._made: dict[int, Made] = {}  # by the identity of a block in use

    def grew(self, pool: Pool, in_use: int) -> None:
        """Note that the pool handed out a block."""
        if in_use > self.peak.get(pool.name, 0):
            self.peak[pool.name] = in_use

    def made(self, pool: Pool, buffer: Buffer, size: int) -> None:
        """Note that the pool made a buffer for something other than an op, such as an upload."""
        if STATE.planning:
            return  # the run-time integers of a kernel, which live as long as its plan
        op = "upload" if STATE.uploading else "device"
        self._made[id(buffer.block)] = Made(op, STATE.uploading, size, pool.name, _find_location())

    def gone(self, block: Block) -> None:
        """Note that a block was released."""
        self._made.pop(id(block), None)

    def see(self, event: Event) -> None:
        """Note the new results of an op that ran."""
        location = None
        for buf, spec in zip(event.buffers, event.outs):
            free: Any = getattr(buf, "free", None)  # of a block; a view has none
            if self not in getattr(free, "watchers", ()) or any(buf is v for v in event.values):
                continue  # made before tracking began, or not by this op
            key = id(buf.block)
            known = self._made.get(key)
            if known is None or known.op == "device":
                location = location or _find_location()
                self._made[key] = Made(event.op, spec, free.size, free.pool.name, location)

    def alive(self) -> list[Made]:
        """Return what was made inside the block and is still held, largest first."""
        return sorted(self._made.values(), key=lambda made: -made.nbytes)

    def by_op(self, device: str | None = None) -> dict[str, int]:
        """Return the bytes still held, by the op that made them, largest first."""
        found: dict[str, int] = {}
        for made in list(self._made.values()):
            if device is None or made.device == device:
                found[made.op] = found.get(made.op, 0) + made.nbytes
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    def report(self, limit: int = 20) -> str:
        """Return what is still held as text, by the line that made it, largest first."""
        groups: dict[tuple[str, str, str], list[Made]] = {}
        for made in self.alive():
            form = repr(made.spec) if made.spec else made.device
            groups.setdefault((made.line, made.op, form), []).append(made)
        alive = self.alive()
        head = f"{len(alive)} made inside and still held: {sum(m.nbytes for m in alive):,} bytes"
        ordered = sorted(groups.items(), key=lambda entry: -sum(m.nbytes for m in entry[1]))
        cells = [("bytes", "count", "op", "form", "line")]
        cells += [(f"{sum(m.nbytes for m in members):,}", str(len(members)), op, form, line)
                  for (line, op, form), members in ordered[:limit]]
        lines = [head, table(cells, "rrlll")] if groups else [head]
        if len(ordered) > limit:
            lines.append(f"and {len(ordered) - limit} more lines")
        return "\n".join(lines)

    __str__ = report


_trackings: tuple[Tracking, ...] = ()
_lock = new_lock()


def _find_location() -> SourceLocation | None:
    return find_user_location(sys._getframe(1))


@contextmanager
def track_memory() -> Iterator[Tracking]:
    """Follow all memory allocated inside the block, by ops and uploads of every thread.

    Print the value to list what is still held: bytes, op, shape, and the line that made it. A leak
    is an entry that should not be there. Inside the block, `memory_stats` also reports
    `peak_in_use` and `by_op`.

    >>> import tinyml
    >>> kept = []
    >>> with tinyml.track_memory() as tracking:
    ...     for _ in range(3):
    ...         kept.append(tinyml.zeros((100,)) + 1)
    >>> print(tracking)
    3 made inside and still held: 1,344 bytes
    bytes  count  op   form              line
    1,344      3  add  float32[100] cpu  <doctest tinyml.observe.memory.track_memory[2]>:3: \
kept.append(tinyml.zeros((100,)) + 1)
    >>> kept.clear()
    >>> tracking.alive()
    []
    """
    global _trackings
    tracking = Tracking()
    with ExitStack() as stack:
        host: Any = find_device(HOST)
        stack.callback(host.pool.watch(tracking))  # first: plans made from here on know of it
        with _lock:
            _trackings = (*_trackings, tracking)
        try:
            with observe(tracking.see, all_threads=True):
                yield tracking
        finally:
            with _lock:
                _trackings = tuple([other for other in _trackings if other is not tracking])


class MemoryStats(NamedTuple):
    """Memory of one device, in bytes.

    in_use       in blocks held by tensors, plans and arrays
    peak         the most that was reserved at one time, since the start or `reset_peak`: exact,
                 and never less than the most that was in use
    reserved     taken from the device: in use, or free for reuse
    budget       the most that may be reserved; see set_memory_limit
    allocations  how many blocks were taken from the device so far; a steady loop takes none
    peak_in_use  the most that was in use at one time since `track_memory` began; None outside it
    by_op        what was made since then and is in use, by the op that made it
    """

    device: str
    in_use: int
    peak: int
    reserved: int
    budget: int
    allocations: int
    peak_in_use: int | None
    by_op: dict[str, int]


def memory_stats(device: Any = None) -> MemoryStats:
    """Return the memory statistics of a device, by default the default one; see MemoryStats.

    Memory comes in blocks of fixed sizes (at least 64 bytes, rounded up by at most an eighth), and
    blocks are what is counted. Raises DeviceError if there is no such device.

    >>> import tinyml
    >>> before = tinyml.memory_stats("cpu").in_use
    >>> x = tinyml.zeros((1024,)).copy()
    >>> tinyml.memory_stats("cpu").in_use - before >= 4096
    True
    """
    target: Any = find_device(device)
    usage: Usage = target.pool.usage()
    trackings = _trackings
    if not trackings:
        return MemoryStats(target.name, *usage, None, {})
    oldest = trackings[0]
    peak = max(usage.in_use, oldest.peak.get(target.name, 0))
    return MemoryStats(target.name, *usage, peak, oldest.by_op(target.name))


def reset_peak(device: Any = None) -> None:
    """Return free blocks to the device, and restart the peak of `memory_stats`."""
    target: Any = find_device(device)
    target.pool.reset_peak()
    for tracking in _trackings:
        tracking.peak[target.name] = target.pool.in_use()
