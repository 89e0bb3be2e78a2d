"""Threads that help to run a kernel: they take ranges of its work until none is left.

The thread that launches a kernel works, too, and waits only for ranges that a helper has begun. So
a launch needs no helper: where none can be started, at exit for one, it runs alone.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from tinyml.concurrency import after_fork

EXIT_SECONDS = 10.0  # how long the process waits at exit for a range that was interrupted


class Job:
    """One launch: a kernel, the ranges that nobody has begun, its arguments, and what they address.

    An exception (Ctrl-C) may take the launching thread out of it at any moment, while helpers still
    write. They hold the job and so its memory, which goes back to the pool when the last one is
    done.
    """

    __slots__ = ("call", "todo", "args", "keep", "done")

    def __init__(self, call: Callable[..., None], ranges: list[int], args: tuple[Any, ...],
                 keep: Any) -> None:
        self.call = call
        self.todo = iter(ranges)
        self.args = args
        self.keep = keep
        self.done: SimpleQueue[BaseException | None] = SimpleQueue()

    def help(self) -> None:
        """Run ranges, and report the end of each."""
        for meta in self.todo:
            error = None
            try:
                self.call(meta, *self.args)
            except BaseException as raised:  # it belongs to the thread that launched
                error = raised
            self.done.put(error)


class Workers:
    """The helpers of a process, started when they are first needed."""

    def __init__(self) -> None:
        self._forget()
        after_fork(self._forget)

    def _forget(self) -> None:
        """Begin anew: a forked child has no threads but one."""
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._closed = False

    def run(self, call: Callable[..., None], ranges: list[int], args: tuple[Any, ...], keep: Any,
            count: int) -> None:
        """Run a kernel over ranges, on this thread and up to `count` others."""
        job = Job(call, ranges, args, keep)
        mine = 0
        try:
            for _ in range(self._ready(count)):
                self._jobs.put(job)
            for meta in job.todo:
                call(meta, *args)
                mine += 1
            for _ in range(len(ranges) - mine):
                error = job.done.get()
                if error is not None:
                    raise error
        except BaseException:
            for _ in job.todo:  # what nobody has begun stays undone
                pass
            raise
        job.keep = None  # a helper that comes late finds no work, and must hold no memory

    def _ready(self, count: int) -> int:
        """Start helpers until there are `count`; return how many there are, up to that number."""
        while len(self._threads) < count and not (self._closed or sys.is_finalizing()):
            if not self._threads:
                atexit.register(self._close)
            thread = threading.Thread(target=_help, args=(self._jobs,), name="tinyml", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends
                break
            self._threads.append(thread)
        return 0 if self._closed else min(count, len(self._threads))

    def _close(self) -> None:
        """End the helpers before the code that they may still run is unloaded."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(EXIT_SECONDS)


def _help(jobs: SimpleQueue[Job | None]) -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        job.help()
        del job  # a helper that waits must hold nothing
