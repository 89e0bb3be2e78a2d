"""What a tensor is made of: a buffer, a spec, and how it was made.

`Data` is a tensor's content: a buffer (or a graph's variable), a spec, and a node if a gradient may
be requested. `Node` records how it was made; it holds values, never tensors, so there are no
reference cycles and memory is freed without the garbage collector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tinyml.concurrency import new_lock
from tinyml.core.state import STATE
from tinyml.errors import ArgumentTypeError
from tinyml.ir.op import Op
from tinyml.ir.spec import Spec

# ---- nodes

_epoch = 0
_epoch_lock = new_lock()


def new_epoch() -> int:
    """Return a number greater than every node's epoch; nodes made from now on carry it."""
    global _epoch
    with _epoch_lock:
        _epoch += 1
        return _epoch


class Node:
    """How a value was made: the plan that ran, the inputs' values and nodes, and the result.

    `min_level` is the least depth of any leaf that it depends on: a backward pass is recorded only
    if an outer differentiation can see it. Values are kept only if a rule reads them. `epoch`
    orders nodes by creation; see new_epoch. `hooks` exists only once a hook is registered.
    """

    __slots__ = ("op", "plan", "bufs", "parents", "y", "min_level", "epoch", "hooks")

    hooks: list[Callable[[Any], Any]]

    def __init__(self, op: Op | None, plan: Any, bufs: tuple[Any, ...],
                 parents: tuple[Node | None, ...], y: Any, min_level: int) -> None:
        self.op: Op | None = op
        self.plan: Any = plan
        self.bufs: tuple[Any, ...] = bufs
        self.parents: tuple[Node | None, ...] = parents
        self.y: Any = y
        self.min_level: int = min_level
        self.epoch: int = _epoch


class Leaf(Node):
    """An end of differentiation: a value with respect to which a gradient is computed."""

    __slots__ = ("grad", "spec")

    def __init__(self, spec: Spec, min_level: int, parent: Node | None = None) -> None:
        super().__init__(None, None, (), (parent,) if parent else (), None, min_level)
        self.spec: Spec = spec
        self.grad: Any = None


class Item(Node):
    """Output `place` of an op with several outputs; its only parent is that op's node."""

    __slots__ = ("place",)

    def __init__(self, main: Node, place: int) -> None:
        super().__init__(None, None, (), (main,), None, main.min_level)
        self.place: int = place


@contextmanager
def one_deeper() -> Iterator[int]:
    """Enter a differentiation, which owns what is recorded inside; yield its depth."""
    new_epoch()  # first: an interrupt in a call must find nothing changed
    before = STATE.recording
    STATE.depth += 1
    STATE.recording = True
    try:
        yield STATE.depth
    finally:
        STATE.depth -= 1
        STATE.recording = before


# ---- tensors


class Data:
    """What a tensor is: buffer, spec, node.

    `is_state` marks hidden state, such as a generator's, which also has a `lock`. Unlike other
    tensors from outside, a graph may both read and replace it, and holds the lock meanwhile.
    """

    __slots__ = ("buf", "spec", "node", "__weakref__")

    is_state = False
    lock: AbstractContextManager[Any]  # only for state

    def __init__(self, buf: Any, spec: Spec | None = None, node: Node | None = None) -> None:
        if spec is None:
            raise ArgumentTypeError("a tensor is made of data by a function, not by its class",
                                    remedy="tinyml.tensor(data)")
        self.buf: Any = buf
        self.spec: Spec = spec
        self.node: Node | None = node
