"""How many threads a CPU kernel may use; results do not depend on it."""

from __future__ import annotations

from typing import Any

from tinyml.errors import ArgumentError
from tinyml.registry import device


def set_num_threads(count: int) -> None:
    """How many threads a CPU kernel may use; results do not depend on it.

    Raises ArgumentError unless `count` is at least 1.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ArgumentError(f"{count!r} threads", remedy="an integer of at least 1")
    cpu: Any = device("cpu")
    cpu.threads = count


def get_num_threads() -> int:
    """How many threads a CPU kernel may use."""
    cpu: Any = device("cpu")
    threads: int = cpu.threads
    return threads
