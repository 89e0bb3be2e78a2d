"""Out-of-range indices: reported by the launch that met one, raised where its results are read.

A launch with checks has a slot of device memory, into which its kernel writes the first bad index.
Slots come in rounds: a round is one block of device memory, read once, after which it is resolved.
A buffer's `pending` says which slots its content depends on: a round, and a bit for each slot. A
launch passes on what its inputs depend on, so that nobody reads a wrong value without an error, and
only those who depend on a launch wait for its slot or raise what it met.

An error of results that nobody reads is raised by `synchronize` in the thread that launched them.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np

from tinyml.errors import OutOfRangeError, SourceLocation, line_text, out_of_range
from tinyml.kernels.opencl.failures import guarded

SLOTS = 1024  # of a round: a program that never reads waits once in as many launches
LONGS = 4  # of a slot: whether it is taken; the index before it was wrapped, extent, axis
KEPT = 2  # rounds that a thread may leave unresolved
SLOT_NUMBERS = [np.int32(slot) for slot in range(SLOTS)]  # as kernels take them


class Round:
    """Some checked launches, in order.

    calls   for each slot: op, inputs and the user's line
    failed  a bit for each slot that reported an index; None until the memory is read
    raised  a bit for each of those that some error has told of
    """

    __slots__ = ("memory", "count", "calls", "failed", "raised", "reports")

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self.count = itertools.count()
        self.calls: dict[int, tuple[str, str, SourceLocation | None]] = {}
        self.failed: int | None = None
        self.raised = 0
        self.reports: dict[int, tuple[int, int, int]] = {}

    def error(self, bad: int) -> OutOfRangeError:
        """Return the error of the first of these slots; all of them count as told."""
        self.raised |= bad
        slot = (bad & -bad).bit_length() - 1
        op, inputs, location = self.calls[slot]
        error = out_of_range(*self.reports[slot])
        error.during(op, inputs)
        if location is not None:
            error.line = line_text(*location)
        return error


Pending = tuple[Round, int]


class _Own(threading.local):
    """The rounds in which a thread has launched, with the bits of its slots."""

    def __init__(self) -> None:
        self.rounds: dict[Round, int] = {}


class Reports:
    """The slots of one device; its lock orders launches, so a closed round is wholly enqueued."""

    def __init__(self, name: str, context: Any, queue: Any, lock: Any) -> None:
        import pyopencl as cl

        self.name = name
        self.cl = cl
        self.driver_error = cl.Error
        self._context = context
        self._queue = queue
        self._lock = lock
        self.slots = SLOTS  # used of each round
        self._current: Round | None = None
        self._spare: list[Any] = []  # memory of resolved rounds, all zeros
        self._own = _Own()

    def take(self, op: str, inputs: str, location: SourceLocation | None) -> tuple[Round, int]:
        """Return a round and a slot of it for a launch that follows under the device's lock."""
        current = self._current
        slot = self.slots if current is None else next(current.count)
        if current is None or slot >= self.slots:
            current = self._current = Round(self._memory())
            slot = next(current.count)
        current.calls[slot] = op, inputs, location
        return current, slot

    def _memory(self) -> Any:
        try:
            return self._spare.pop()
        except IndexError:
            nbytes = SLOTS * LONGS * 8
            memory = self.cl.Buffer(self._context, self.cl.mem_flags.READ_WRITE, nbytes)
            self.cl.enqueue_fill_buffer(self._queue, memory, np.int32(0), 0, nbytes)
            return memory

    def launched(self, round: Round, slot: int, before: Pending | None) -> Pending | None:
        """Note a launch of this thread; return what its results depend on."""
        rounds = self._own.rounds
        if round not in rounds:
            self._forget(rounds)
        rounds[round] = rounds.get(round, 0) | 1 << slot
        return self.join(before, (round, 1 << slot))

    def _forget(self, rounds: dict[Round, int]) -> None:
        """Drop what no error will be raised for; of several errors, the first is kept."""
        failed = False
        known = list(rounds.items())
        for k, (round, mask) in enumerate(known):
            if round.failed is None and k <= len(known) - KEPT:
                self.resolve(round)
            if round.failed is not None:
                told = failed or not round.failed & mask & ~round.raised
                failed = failed or not told
                if told:
                    del rounds[round]

    def join(self, a: Pending | None, b: Pending) -> Pending | None:
        """Return what depends on both; None where all is known to be fine.

        Rounds are joined by reading the older; where that has failed, no other matters.
        """
        if a is not None and a[0] is b[0]:
            return a if a[1] == b[1] else (a[0], a[1] | b[1])
        left = None
        for pending in (b,) if a is None else (a, b):
            round, mask = pending
            if a is not None and round is not self._current:
                self.resolve(round)
            if round.failed is None:
                left = pending
            elif round.failed & mask:
                return pending
        return left

    @guarded
    def resolve(self, round: Round) -> int:
        """Return the bits of the slots that have reported, waiting for their launches."""
        memory = round.memory
        if memory is not None:
            with self._lock:
                if self._current is round:
                    self._current = None
            table = np.zeros((max(round.calls, default=0) + 1, LONGS), np.int64)
            self.cl.enqueue_copy(self._queue, table, memory, is_blocking=True)
            with self._lock:
                if round.failed is None:  # else another thread was faster
                    for slot in np.flatnonzero(table[:, 0]).tolist():
                        index, extent, axis = table[slot, 1:].tolist()
                        round.reports[slot] = index, extent, axis
                    round.failed = sum(map((1).__lshift__, round.reports))
                    round.memory = None
                    if not round.failed:
                        self._spare.append(memory)
                        round.calls.clear()
        return round.failed or 0

    def check(self, pending: Pending) -> None:
        """Raise OutOfRangeError if a launch that this depends on met an index out of range."""
        bad = self.resolve(pending[0]) & pending[1]
        if bad:
            raise pending[0].error(bad)

    def check_own(self) -> None:
        """Raise the first error of this thread's launches that nobody has met; forget the rest."""
        rounds, self._own.rounds = self._own.rounds, {}
        for round, mask in rounds.items():
            bad = self.resolve(round) & mask & ~round.raised
            if bad:
                raise round.error(bad)
