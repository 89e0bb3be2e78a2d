"""Device memory: blocks of a few sizes that return to a free list, under a budget."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tinyml.errors import AllocationError, ArgumentError
from tinyml.spec import Spec

Block = tuple[Any, Any]  # (address or handle, what keeps the memory alive)


class Buffer:
    """Memory of a pool; it goes back to the free list when nobody holds it."""

    __slots__ = ("ptr", "block", "free")
    offset = 0

    def __init__(self, block: Block, free: list[Block]) -> None:
        self.ptr = block[0]
        self.block = block
        self.free = free

    def __del__(self) -> None:
        self.free.append(self.block)


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
        self._free: dict[int, list[Block]] = {}
        self._lock = threading.RLock()

    def free_list(self, nbytes: int) -> list[Block]:
        """The free list that serves requests of this size."""
        size = size_class(nbytes)
        found = self._free.get(size)
        if found is None:
            with self._lock:
                found = self._free.setdefault(size, [])
        return found

    def empty(self, nbytes: int) -> Buffer:
        """A buffer of at least `nbytes` bytes, its content undefined."""
        free = self.free_list(nbytes)
        try:
            block = free.pop()
        except IndexError:
            block = self.take(nbytes)
        return Buffer(block, free)

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
            return self.raw(size)
        except MemoryError as error:
            with self._lock:
                self.reserved -= size
            raise AllocationError(
                f"{nbytes} more bytes on {self.name}: the device refused ({error})",
                remedy="free tensors or use smaller ones",
            ) from None

    def in_use(self) -> int:
        """Bytes in blocks that somebody holds."""
        with self._lock:
            return self.reserved - sum(size * len(free) for size, free in self._free.items())

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

    def nothing(self, outs: Sequence[Spec]) -> Callable[..., Any]:
        """What runs where all outputs are empty."""

        def run(*_: Any) -> Any:
            buffers = tuple([self.pool.empty(spec.nbytes) for spec in outs])
            return buffers if len(buffers) > 1 else buffers[0]

        return run
