"""Device memory: blocks of a few sizes, recycled through free lists, under a budget."""

from __future__ import annotations

import gc
import os
import re
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from tinyml.concurrency import new_lock
from tinyml.errors import AllocationError, ArgumentError, shown

KNOWN_LIMIT = 1024  # request sizes whose free list is looked up directly
RAISE = "raise the limit (tinyml.set_memory_limit, TINYML_MEMORY_LIMIT)"
UNITS = {"": 1, "b": 1} | {
    f"{letter}{unit}": base**power for unit, base in (("b", 1000), ("ib", 1024))
    for power, letter in enumerate("kmgt", 1)}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) *([A-Za-z]*)")
Block = tuple[Any, ...]  # (address or handle, what keeps the memory alive, its Share)


class Share:
    """A block's share of the budget, counted for as long as the block exists.

    So the count is right whatever is raised, and wherever, between the request and the release:
    its end is noted by a set's own method, which no signal handler interrupts.
    """

    __slots__ = ("__weakref__",)


class Buffer:
    """Pool memory that returns to its free list when the buffer is no longer referenced."""

    __slots__ = ("ptr", "block", "free")
    offset = 0

    def __init__(self, block: Block, free: FreeList) -> None:
        self.ptr = block[0]
        self.block = block
        self.free = free

    def __del__(self) -> None:
        try:
            self.free.append(self.block)
        except AttributeError:  # interrupted before it had the block, which frees itself
            pass


class FreeList(Protocol):
    """Unused blocks of one size; a kernel's binding takes its outputs from them."""

    def pop(self) -> Block:
        """Return a block; raise IndexError where there is none."""

    def append(self, block: Block) -> None:
        """Take a block back."""


class Watcher(Protocol):
    """An object that is notified of each allocation; see `Pool.watch`."""

    def grew(self, pool: Pool, in_use: int) -> None:
        """Handle the handing out of a block, after which `in_use` bytes are in use."""

    def made(self, pool: Pool, buffer: Buffer, size: int) -> None:
        """Handle a new buffer, of a block of `size` bytes, not made by a kernel's binding."""

    def gone(self, block: Block) -> None:
        """Handle the release of a block; called from finalizers, so it must not block."""


_watchers: dict[int, Watcher] = {}  # by identity, in the order in which they came


class Counted:
    """A free list that notifies its watchers when blocks leave and return."""

    __slots__ = ("pool", "size", "free", "watchers")

    def __init__(self, pool: Pool, size: int, free: list[Block],
                 watchers: tuple[Watcher, ...]) -> None:
        self.pool = pool
        self.size = size
        self.free = free
        self.watchers = watchers

    def pop(self) -> Block:
        """Return a block; raise IndexError if there is none, as a list does."""
        block = self.free.pop()
        self.pool.tell()
        return block

    def append(self, block: Block) -> None:
        """Take a block back."""
        for watcher in self.watchers:
            watcher.gone(block)
        self.free.append(block)


class Usage(NamedTuple):
    """Bytes that a pool holds or has held; `allocations` counts blocks taken from the device.

    `peak` is the most that was reserved at one time; it is exact and costs nothing.
    """

    in_use: int
    peak: int
    reserved: int
    budget: int
    allocations: int


def size_class(nbytes: int) -> int:
    """Return the block size for a request: four sizes per power of two, at least 64 bytes.

    >>> [size_class(n) for n in (1, 65, 100, 1000)]
    [64, 80, 112, 1024]
    """
    if nbytes <= 64:
        return 64
    step = 1 << max((nbytes - 1).bit_length() - 3, 4)
    return -(-nbytes // step) * step


def memory_budget(default: int) -> int:
    """Return how many bytes a device may hold: TINYML_MEMORY_LIMIT, or 4/5 of `default`."""
    chosen = os.environ.get("TINYML_MEMORY_LIMIT")
    return byte_count(chosen, "TINYML_MEMORY_LIMIT") if chosen else default * 4 // 5


def byte_count(size: Any, what: str = "a memory limit") -> int:
    """Return a number of bytes given as an integer, or as text with a decimal or binary unit.

    Raises ArgumentError, which calls it `what`, for anything else.

    >>> byte_count(1000), byte_count("2GB"), byte_count("1.5 KiB")
    (1000, 2000000000, 1536)
    """
    if isinstance(size, str):
        found = _SIZE.fullmatch(size.strip())
        if found is not None and found[2].lower() in UNITS:
            from fractions import Fraction

            return int(Fraction(found[1]) * UNITS[found[2].lower()])
    elif isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    raise ArgumentError(f"{what} is {shown(size)}",
                        remedy="a number of bytes, 2000000000, or text, '2GB' or '1.5 GiB'")


class Pool:
    """Free lists by block size. `raw(nbytes)` allocates on the device; `buffer` wraps a block."""

    def __init__(self, name: str, raw: Callable[[int], Block], budget: int,
                 buffer: Callable[[Block, FreeList], Buffer] = Buffer) -> None:
        self.name = name
        self.raw = raw
        self.buffer = buffer
        self.budget = self._default = budget
        self.peak = 0
        self.allocations = 0
        self._held: dict[int, set[weakref.ref[Share]]] = {}  # of all blocks, by block size
        self._free: dict[int, list[Block]] = {}
        self._known: dict[int, list[Block]] = {}  # the same lists, by request size
        self._lock = new_lock()

    def free_list(self, nbytes: int) -> FreeList:
        """Return the free list that serves requests of this size."""
        watchers = tuple(_watchers.values())
        found = self._list(nbytes)
        return Counted(self, size_class(nbytes), found, watchers) if watchers else found

    def _list(self, nbytes: int) -> list[Block]:
        found = self._known.get(nbytes)
        if found is None:
            with self._lock:
                found = self._free.setdefault(size_class(nbytes), [])
                if len(self._known) >= KNOWN_LIMIT:
                    self._known.clear()
                self._known[nbytes] = found
        return found

    def empty(self, nbytes: int) -> Buffer:
        """Return an uninitialised buffer of at least `nbytes` bytes."""
        if _watchers:
            return self._watched_empty(nbytes)
        free = self._known.get(nbytes) or self._list(nbytes)
        try:
            block = free.pop()
        except IndexError:
            block = self.take(nbytes)
        return self.buffer(block, free)

    def _watched_empty(self, nbytes: int) -> Buffer:
        """Return a buffer, and notify the watchers."""
        free = self.free_list(nbytes)
        try:
            block = free.pop()
        except IndexError:
            block = self.take(nbytes)
        buffer = self.buffer(block, free)
        for watcher in tuple(_watchers.values()):
            watcher.made(self, buffer, size_class(nbytes))
        return buffer

    @staticmethod
    def watch(watcher: Watcher) -> Callable[[], None]:
        """Notify `watcher` of what plans made from now on allocate, in the pools of all devices.

        Returns a function that stops it. A plan holds its free lists, so earlier plans report
        nothing; unwatched pools pay nothing.
        """
        _watchers[id(watcher)] = watcher

        def end() -> None:
            _watchers.pop(id(watcher), None)

        return end

    def tell(self) -> None:
        """Tell the watchers how many bytes are in use."""
        for watcher in tuple(_watchers.values()):
            watcher.grew(self, self.in_use())

    def limit(self, size: int | str | None) -> None:
        """Set the budget; None restores the default. Raises ArgumentError; see byte_count.

        Blocks in use stay, even beyond the budget; free ones are released then.
        """
        self.budget = self._default if size is None else byte_count(size)
        if self.reserved > self.budget:
            self.release()

    def afford(self, nbytes: int) -> None:
        """Raise AllocationError if a request exceeds the whole budget."""
        if nbytes > self.budget:
            raise AllocationError(
                f"{nbytes} bytes on {self.name}, which may hold {self.budget}, its budget",
                remedy=f"a smaller tensor, or {RAISE}",
            )

    def take(self, nbytes: int) -> Block:
        """Return a new block; raise AllocationError rather than exceed the budget."""
        size = size_class(nbytes)
        share = self._reserve(size)
        if share is None:
            gc.collect()  # finalizers may do anything, so no lock is held
            self.release()
            share = self._reserve(size)
        if share is None:
            raise AllocationError(
                f"{nbytes} more bytes on {self.name}: {self.in_use()} are in use of a budget "
                f"of {self.budget}",
                remedy=f"free tensors, use smaller ones, or {RAISE}",
            )
        try:
            block = (*self.raw(size), share)
        except BaseException as error:
            del share  # the traceback would keep it
            if not isinstance(error, MemoryError):
                raise
            raise AllocationError(
                f"{nbytes} more bytes on {self.name}: the device refused ({error})",
                remedy="free tensors or use smaller ones",
            ) from None
        with self._lock:
            self.allocations += 1
            self.peak = max(self.peak, self.reserved)
        self.tell()
        return block

    def _reserve(self, size: int) -> Share | None:
        """Return a new block's share of the budget, or None if it would exceed it."""
        with self._lock:
            held, share = self._held.setdefault(size, set()), Share()
            held.add(weakref.ref(share, held.discard))
            if self.reserved <= self.budget:
                return share
            del share  # before another thread counts it
        return None

    @property
    def reserved(self) -> int:
        """The total bytes of all blocks, in use or free."""
        return sum(size * len(held) for size, held in list(self._held.items()))

    def in_use(self) -> int:
        """Return the total bytes of the blocks in use."""
        with self._lock:
            return self.reserved - sum(size * len(free) for size, free in
                                       list(self._free.items()))

    def usage(self) -> Usage:
        """Return current usage, and the peak since `reset_peak`."""
        with self._lock:
            return Usage(self.in_use(), self.peak, self.reserved, self.budget, self.allocations)

    def reset_peak(self) -> None:
        """Release free blocks, and restart the peak from current usage."""
        self.release()
        with self._lock:
            self.peak = self.reserved

    def release(self) -> None:
        """Return every free block to the device."""
        for free in list(self._free.values()):
            free.clear()
