"""What is going on: whether a task is recording or differentiating, a thread building a graph.

`no_grad` holds for a task (a context variable), and in a generator only while the generator runs:
between its steps its caller's operations are none of its business. A block that may end in another
order than it began, such as a generator's, is a link of a chain, from which it removes itself.
"""

from __future__ import annotations

import sys
import threading
import types
from contextlib import ContextDecorator
from contextvars import ContextVar
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from typing import Any

# True, False, or the innermost block of no_grad, which is true or false.
RECORDING: ContextVar[Any] = ContextVar("recording", default=True)
_DEPTH: ContextVar[int] = ContextVar("depth", default=0)


class State(threading.local):
    """What a thread is doing.

    recording   whether operations on values with a node are recorded, in this task
    depth       how many differentiations this task is inside
    building    the innermost graph under construction, a tinyml.core.builder.Builder, or None

    For observers, besides what runs; the first three are kept only while there are any:

    equation    the equation that a replay is running, if its location is known, or None
    caller      the user's frame that called for this replay, or None
    pullback_of the op whose gradient rule is running, or None
    uploading   the spec of the tensor whose content is on its way to a device, or None
    planning    whether a plan is being made
    """

    building: Any = None
    equation: Any = None
    caller: types.FrameType | None = None
    pullback_of: Any = None
    uploading: Any = None
    planning = False

    @property
    def recording(self) -> Any:
        """Whether operations are recorded; hot paths read RECORDING itself."""
        return RECORDING.get()

    @recording.setter
    def recording(self, value: Any) -> None:
        RECORDING.set(value)

    @property
    def depth(self) -> int:
        """How many differentiations this task is inside."""
        return _DEPTH.get()

    @depth.setter
    def depth(self, value: int) -> None:
        _DEPTH.set(value)


STATE = State()
GLOBAL_STATE: list[Any] = []  # hidden state that a checkpoint restores for its second run


class _Off(list[Any]):
    """A block of no_grad: an empty list, which is false without a call of Python code."""

    __slots__ = ("before", "frame")
    before: Any
    frame: Any


class _OffWhileRunning:
    """A block in a generator: false while the generator runs, else what was before it."""

    __slots__ = ("before", "frame")
    before: Any
    frame: Any

    def __bool__(self) -> bool:
        frame = self.frame
        return (frame is None or frame.f_back is None) and bool(self.before)


class NoGrad(ContextDecorator):
    """The blocks of one `no_grad()`."""

    def __init__(self) -> None:
        self._blocks: list[Any] = []

    def _recreate_cm(self) -> NoGrad:
        return NoGrad()

    def __enter__(self) -> None:
        frame = _find_generator(sys._getframe(1))
        block = _Off() if frame is None else _OffWhileRunning()
        block.frame = frame
        block.before = RECORDING.get()
        RECORDING.set(block)
        self._blocks.append(block)

    def __exit__(self, *error: object) -> None:
        block = self._blocks.pop()
        inner = RECORDING.get()
        if inner is block:
            RECORDING.set(block.before)
        else:
            while isinstance(inner, (_Off, _OffWhileRunning)) and inner.before is not block:
                inner = inner.before
            if isinstance(inner, (_Off, _OffWhileRunning)):
                inner.before = block.before
        block.frame = None


def _find_generator(frame: types.FrameType | None) -> types.FrameType | None:
    """Return the frame of the generator that a block is in; None if it is in none.

    A block in a context manager made of a generator is in the function that uses the manager.
    """
    while frame is not None:
        back = frame.f_back
        generator = frame.f_code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR)
        if not (_of_contextlib(frame) or generator and _of_contextlib(back)):
            return frame if generator else None
        frame = back
    return None


def _of_contextlib(frame: types.FrameType | None) -> bool:
    return frame is not None and frame.f_globals.get("__name__") == "contextlib"


def no_grad() -> NoGrad:
    """Record no operations inside the block, in this thread or task; also a decorator.

    In a generator, it holds while the generator runs.

    >>> import tinyml
    >>> x = tinyml.ones(1, requires_grad=True)
    >>> with tinyml.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """
    return NoGrad()
