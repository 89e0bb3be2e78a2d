"""What a thread is doing: recording, differentiating, building a graph."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

if TYPE_CHECKING:
    pass


class State(threading.local):
    """What a thread is doing.

    recording   whether operations on values with a node are recorded
    depth       how many differentiations it is inside of
    building    the innermost graph under construction, a tinyml.builder.Builder, or None
    """

    recording = True
    depth = 0
    building: Any = None


STATE = State()


@contextmanager
def no_grad() -> Iterator[None]:
    """Operations inside are not recorded, in this thread.

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
