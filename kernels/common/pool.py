"""Device memory: blocks of a few sizes that return to a free list, under a budget."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from tinyml.errors import AllocationError, ArgumentError
from tinyml.ir.spec import Spec

KNOWN_LIMIT = 1024  # sizes of requests whose free list is found at once
Block = tuple[Any, Any]  # (address or handle, what keeps the memory alive)


class Buffer:
    """Memory of a pool; it goes back to the free list when nobody holds it."""

    __slots__ = ("ptr", "block", "free")
    offset = 0

    def __init__(self, block: Block, free: FreeList) -> None:
        self.ptr = block[0]
        self.block = block
        self.free = free

    def __del__(self) -> None:
        self.free.append(self.block)


class FreeList(Protocol):
    """Blocks of one size that nobody holds. Bindings call its methods on their way to a result."""

    def pop(self) -> Block:
        """A block; IndexError where there is none."""

    def append(self, block: Block) -> None:
        """Take a block back."""


class Watcher(Protocol):
    """Who wants to know of each allocation; see `Pool.watched`."""

    def grew(self, pool: Pool, in_use: int) -> None:
        """A block was handed out; now this much is in use."""

    def made(self, pool: Pool, buffer: Buffer, size: int) -> None:
        """A buffer, of a block of `size` bytes, was made otherwise than by a kernel's binding."""

    def gone(self, block: Block) -> None:
        """Nobody holds this block any more; called from finalizers, so it must not wait."""


_watchers: tuple[Watcher, ...] = ()
_watchers_lock = threading.Lock()


class Counted:
    """A free list that tells the watchers of its time when blocks leave it and come back."""

    __slots__ = ("pool", "size", "free", "watchers")

    def __init__(self, pool: Pool, size: int, free: list[Block],
                 watchers: tuple[Watcher, ...]) -> None:
        self.pool = pool
        self.size = size
        self.free = free
        self.watchers = watchers

    def pop(self) -> Block:
        """A block of the list; IndexError where there is none, as lists have it."""
        block = self.free.pop()
        self.pool.tell()
        return block

    def append(self, block: Block) -> None:
        """Take a block back."""
        for watcher in self.watchers:
            watcher.gone(block)
        self.free.append(block)


class Usage(NamedTuple):
    """What a pool holds and has held, in bytes; `allocations` counts blocks taken from the device.

    `peak` is exact and costs nothing: the most that was reserved at once.
    """

    in_use: int
    peak: int
    reserved: int
    budget: int
    allocations: int


def size_class(nbytes: int) -> int:
    """The block size that serves a request: four steps to each power of two, at least 64 bytes.

    >>> [size_class(n) for n in (1, 65, 100, 1000)]
    [64, 80, 112, 1024]
    """
    if nbytes <= 64:
        return 64
    step = 1 << max((nbytes - 1).bit_length() - 3, 4)
    return -(-nbytes // step) * step


def memory_budget(default: int) -> int:
    """Bytes that a device may hold: TINYML_MEMORY_LIMIT, or four fifths of what there is."""
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
        """The free list that serves requests of this size."""
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
        """A buffer of at least `nbytes` bytes, its content undefined."""
        if _watchers:
            return self._told(nbytes)
        free = self._known.get(nbytes) or self._list(nbytes)
        try:
            block = free.pop()
        except IndexError:
            block = self.take(nbytes)
        return Buffer(block, free)

    def _told(self, nbytes: int) -> Buffer:
        """A buffer, of which the watchers are told."""
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
    def watched(watcher: Watcher) -> Callable[[], None]:
        """Tell `watcher` of what plans made from now on allocate, in the pools of all devices.

        Returns the function that ends it. A plan holds its free lists, so those made before say
        nothing: nothing is paid when nobody asks.
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
        """AllocationError where a request is beyond the whole budget."""
        if nbytes > self.budget:
            raise AllocationError(
                f"{nbytes} bytes on {self.name}, which may hold {self.budget}",
                remedy="a smaller tensor, or raise TINYML_MEMORY_LIMIT",
            )

    def take(self, nbytes: int) -> Block:
        """A new block; AllocationError before anything is allocated beyond the budget."""
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
        """Bytes in blocks that somebody holds."""
        with self._lock:
            return self.reserved - sum(size * len(free) for size, free in self._free.items())

    def usage(self) -> Usage:
        """What is held now, and the most that was since `reset_peak`."""
        with self._lock:
            return Usage(self.in_use(), self.peak, self.reserved, self.budget, self.allocations)

    def reset_peak(self) -> None:
        """Give back what is free, so that the peak is that of what is used from now on."""
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


class Pooled:
    """What devices have in common: a name, by which they compare, and a pool."""

    name: str
    pool: Pool

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return self is other or other == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def afford(self, nbytes: int) -> None:
        """AllocationError where this much could never be allocated."""
        self.pool.afford(nbytes)

    def in_use(self) -> int:
        """Bytes held by tensors."""
        return self.pool.in_use()

    def block_size(self, nbytes: int) -> int:
        """Bytes of the block that serves a request: requests of one block size may share it."""
        return size_class(nbytes)

    def nothing(self, outs: Sequence[Spec], into: bool) -> Callable[..., Any]:
        """What runs where all outputs are empty."""

        def run(*_: Any) -> Any:
            if into:
                return None
            buffers = tuple([self.pool.empty(spec.nbytes) for spec in outs])
            return buffers if len(buffers) > 1 else buffers[0]

        return run
