"""Device memory: blocks of a few sizes that return to a free list, under a budget."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from tinyml.errors import AllocationError, ArgumentError

KNOWN_LIMIT = 1024  # sizes of requests whose free list is found at once
Block = tuple[Any, Any]  # (address or handle, what keeps the memory alive)


class Buffer:
    """Memory of a pool, which goes back to its free list when nobody holds the buffer."""

    __slots__ = ("ptr", "block", "free")
    offset = 0

    def __init__(self, block: Block, free: FreeList) -> None:
        self.ptr = block[0]
        self.block = block
        self.free = free

    def __del__(self) -> None:
        self.free.append(self.block)


class FreeList(Protocol):
    """Blocks of one size that nobody holds; a kernel's binding takes its outputs from there."""

    def pop(self) -> Block:
        """Return a block; raise IndexError where there is none."""

    def append(self, block: Block) -> None:
        """Take a block back."""


class Watcher(Protocol):
    """What is told of each allocation; see `Pool.watch`."""

    def grew(self, pool: Pool, in_use: int) -> None:
        """Return a block was handed out; now this much is in use."""

    def made(self, pool: Pool, buffer: Buffer, size: int) -> None:
        """Return a buffer, of a block of `size` bytes, was made, and not by a kernel's binding."""

    def gone(self, block: Block) -> None:
        """Nobody holds this block any more; called from finalizers, so it must not wait."""


_watchers: tuple[Watcher, ...] = ()
_watchers_lock = threading.Lock()


class Counted:
    """A free list that tells its watchers when blocks leave it and come back."""

    __slots__ = ("pool", "size", "free", "watchers")

    def __init__(self, pool: Pool, size: int, free: list[Block],
                 watchers: tuple[Watcher, ...]) -> None:
        self.pool = pool
        self.size = size
        self.free = free
        self.watchers = watchers

    def pop(self) -> Block:
        """Return a block; raise IndexError where there is none, as a list does."""
        block = self.free.pop()
        self.pool.tell()
        return block

    def append(self, block: Block) -> None:
        """Take a block back."""
        for watcher in self.watchers:
            watcher.gone(block)
        self.free.append(block)


class Usage(NamedTuple):
    """Bytes that a pool holds and has held; `allocations` counts blocks taken from the device.

    `peak` is the most that was reserved at once; it is exact and costs nothing.
    """

    in_use: int
    peak: int
    reserved: int
    budget: int
    allocations: int


def size_class(nbytes: int) -> int:
    """Return the block size that serves a request: four to a power of two, at least 64 bytes.

    >>> [size_class(n) for n in (1, 65, 100, 1000)]
    [64, 80, 112, 1024]
    """
    if nbytes <= 64:
        return 64
    step = 1 << max((nbytes - 1).bit_length() - 3, 4)
    return -(-nbytes // step) * step


def memory_budget(default: int) -> int:
    """Return how many bytes a device may hold: TINYML_MEMORY_LIMIT, or four fifths of all."""
    chosen = os.environ.get("TINYML_MEMORY_LIMIT")
    if not chosen:
        return default * 4 // 5
    if not chosen.isdigit():
        raise ArgumentError(f"TINYML_MEMORY_LIMIT is {chosen!r}", remedy="a number of bytes")
    return int(chosen)


class Pool:
    """Free lists by block size. `raw(nbytes)` takes memory from the device."""

    def __init__(self, name: str, raw: Callable[[int], Block], budget: int) -> None:
        self.name = name
        self.raw = raw
        self.budget = budget
        self.reserved = 0
        self.peak = 0
        self.allocations = 0
        self._free: dict[int, list[Block]] = {}
        self._known: dict[int, list[Block]] = {}  # the same lists, by the sizes of requests
        self._lock = threading.RLock()

    def free_list(self, nbytes: int) -> FreeList:
        """Return the free list that serves requests of this size."""
        watchers = _watchers
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
        """Return a buffer of at least `nbytes` bytes, its content undefined."""
        if _watchers:
            return self._watched_empty(nbytes)
        free = self._known.get(nbytes) or self._list(nbytes)
        try:
            block = free.pop()
        except IndexError:
            block = self.take(nbytes)
        return Buffer(block, free)

    def _watched_empty(self, nbytes: int) -> Buffer:
        """Return a buffer, and the watchers are told of it."""
        free = self.free_list(nbytes)
        try:
            block = free.pop()
        except IndexError:
            block = self.take(nbytes)
        buffer = Buffer(block, free)
        for watcher in _watchers:
            watcher.made(self, buffer, size_class(nbytes))
        return buffer

    @staticmethod
    def watch(watcher: Watcher) -> Callable[[], None]:
        """Tell `watcher` what plans made from now on allocate, in the pools of all devices.

        Returns the function that ends it. A plan holds its free lists, so plans made before tell
        nothing; that way nobody pays while nobody watches.
        """
        global _watchers
        with _watchers_lock:
            _watchers = (*_watchers, watcher)

        def end() -> None:
            global _watchers
            with _watchers_lock:
                _watchers = tuple([other for other in _watchers if other is not watcher])

        return end

    def tell(self) -> None:
        """Tell the watchers how much is in use."""
        for watcher in _watchers:
            watcher.grew(self, self.in_use())

    def afford(self, nbytes: int) -> None:
        """Raise AllocationError where a request is beyond the whole budget."""
        if nbytes > self.budget:
            raise AllocationError(
                f"{nbytes} bytes on {self.name}, which may hold {self.budget}",
                remedy="a smaller tensor, or raise TINYML_MEMORY_LIMIT",
            )

    def take(self, nbytes: int) -> Block:
        """Return a new block; raise AllocationError instead of allocating beyond the budget."""
        size = size_class(nbytes)
        with self._lock:
            if self.reserved + size > self.budget:
                gc.collect()
                self.release()
            if self.reserved + size > self.budget:
                raise AllocationError(
                    f"{nbytes} more bytes on {self.name}: {self.in_use()} are in use of a budget "
                    f"of {self.budget}",
                    remedy="free tensors, use smaller ones, or raise TINYML_MEMORY_LIMIT",
                )
            self.reserved += size
        try:
            block = self.raw(size)
        except MemoryError as error:
            with self._lock:
                self.reserved -= size
            raise AllocationError(
                f"{nbytes} more bytes on {self.name}: the device refused ({error})",
                remedy="free tensors or use smaller ones",
            ) from None
        with self._lock:
            self.allocations += 1
            self.peak = max(self.peak, self.reserved)
        self.tell()
        return block

    def in_use(self) -> int:
        """Return the bytes of the blocks that somebody holds."""
        with self._lock:
            return self.reserved - sum(size * len(free) for size, free in self._free.items())

    def usage(self) -> Usage:
        """Return what is held now, and the most that was held since `reset_peak`."""
        with self._lock:
            return Usage(self.in_use(), self.peak, self.reserved, self.budget, self.allocations)

    def reset_peak(self) -> None:
        """Release what is free, so that the peak is that of use from now on."""
        self.release()
        with self._lock:
            self.peak = self.reserved

    def release(self) -> None:
        """Give every free block back to the device."""
        with self._lock:
            for size, free in self._free.items():
                while free:
                    try:
                        free.pop()
                    except IndexError:
                        break
                    self.reserved -= size
