"""All adapters in one table: PyTorch's name of an op -> a callable made of tinyml's functions.

An adapter takes torch's arguments, with tinyml tensors, and only renames and rearranges them. Every
computation is a public function of tinyml.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyml.conformance.opinfo import elementwise, indexing, reductions, shapes, special

Adapter = Callable[..., Any]
ADAPTERS: dict[str, Adapter] = {}
for room in (elementwise, special, reductions, shapes, indexing):
    doubled = ADAPTERS.keys() & room.TABLE.keys()
    assert not doubled, f"{room.__name__} names again: {sorted(doubled)}"
    ADAPTERS.update(room.TABLE)
