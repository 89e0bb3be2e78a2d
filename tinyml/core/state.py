"""What is going on: whether a task is recording or differentiating, a thread building a graph."""

from __future__ import annotations

import threading
import types
from contextvars import ContextVar
from typing import Any

from tinyml.concurrency import RECORDING

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
