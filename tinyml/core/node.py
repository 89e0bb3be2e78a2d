"""What a tensor is made of: a buffer, a spec, and how it was made.

`Data` is a tensor's content: a buffer (or a graph's variable), a spec, and a node, if a gradient
may be asked for. `Node` is how it was made; it holds values, never tensors, so there are no
reference cycles and memory is freed without the collector.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tinyml.core.state import STATE
from tinyml.ir.op import Op
from tinyml.ir.spec import Spec

# ---- how values were made

_epoch = 0
_epoch_lock = threading.Lock()


def new_epoch() -> int:
    """Return a number greater than every node's epoch; nodes made from now on carry it."""
    global _epoch
    with _epoch_lock:
        _epoch += 1
        return _epoch


class Node:
    """How a value was made: the plan that ran, the inputs with their values and nodes, the result.

    `min_level` is the least depth of any leaf that it depends on: a backward pass records itself
    only when an outer differentiation can see it. Values are kept only where a rule reads them.
    `epoch` orders nodes by the time they were made; see new_epoch. `hooks` is there only where
    somebody registered some.
    """

    __slots__ = ("op", "plan", "bufs", "parents", "y", "min_level", "epoch", "hooks")

    hooks: list[Callable[[Any], Any]]

    def __init__(self, op: Op | None, plan: Any, bufs: tuple[Any, ...],
                 parents: tuple[Node | None, ...], y: Any, min_level: int) -> None:
        self.op = op
        self.plan = plan
        self.bufs = bufs
        self.parents = parents
        self.y = y
        self.min_level = min_level
        self.epoch = _epoch


class Leaf(Node):
    """Where differentiation ends: a value with respect to which a gradient is asked for."""

    __slots__ = ("grad", "spec")

    def __init__(self, spec: Spec, min_level: int, parent: Node | None = None) -> None:
        super().__init__(None, None, (), (parent,) if parent else (), None, min_level)
        self.spec = spec
        self.grad: Any = None


class Item(Node):
    """Output `place` of an op of several outputs, whose own node is the one parent."""

    __slots__ = ("place",)

    def __init__(self, main: Node, place: int) -> None:
        super().__init__(None, None, (), (main,), None, main.min_level)
        self.place = place


@contextmanager
def one_deeper() -> Iterator[int]:
    """Enter a differentiation: what is recorded inside belongs to it, at the depth given."""
    before = STATE.recording
    STATE.depth += 1
    STATE.recording = True
    new_epoch()
    try:
        yield STATE.depth
    finally:
        STATE.depth -= 1
        STATE.recording = before


# ---- tensors


class Data:
    """What a tensor is: buffer, spec, node.

    `is_state` marks hidden state, as a generator's, which has a `lock` too: a graph may read and
    replace it, unlike other tensors that it did not make, and holds the lock meanwhile.
    """

    __slots__ = ("buf", "spec", "node", "__weakref__")

    is_state = False
    lock: AbstractContextManager[Any]  # of state alone

    def __init__(self, buf: Any, spec: Spec, node: Node | None = None) -> None:
        self.buf = buf
        self.spec = spec
        self.node = node
