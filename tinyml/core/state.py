"""Per-thread state: whether a thread is recording, differentiating, or building a graph."""

from __future__ import annotations

import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class State(threading.local):
    """What a thread is doing.

    recording   whether operations on values with a node are recorded
    depth       how many differentiations it is inside
    building    the innermost graph under construction, a tinyml.core.builder.Builder, or None

    For observers, besides what runs; the first three are kept only while there are any:

    equation    the equation that a replay is running, if its location is known, or None
    caller      the user's frame that called for this replay, or None
    pullback_of the op whose gradient rule is running, or None
    uploading   the spec of the tensor whose content is on its way to a device, or None
    planning    whether a plan is being made
    """

    recording = True
    depth = 0
    building: Any = None
    equation: Any = None
    caller: types.FrameType | None = None
    pullback_of: Any = None
    uploading: Any = None
    planning = False


STATE = State()
GLOBAL_STATE: list[Any] = []  # hidden state that a checkpoint restores for its second run


@contextmanager
def no_grad() -> Iterator[None]:
    """Record no operations inside the block, in this thread.

    >>> import tinyml
    >>> x = tinyml.ones(1, requires_grad=True)
    >>> with tinyml.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """
    before = STATE.recording
    STATE.recording = False
    try:
        yield
    finally:
        STATE.recording = before
