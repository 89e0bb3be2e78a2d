"""What threads, tasks and forked children share, and what each has for itself.

All locks are made here: reentrant, and free in a forked child, whoever held them in the parent. A
finalizer or a signal handler may compute at any moment, in the thread that holds a lock; so each
can be taken again by its holder. In a forked child the other threads do not exist, so what they
held is renewed.

`no_grad` holds for a task (a context variable), and in a generator only while the generator runs:
between its steps its caller's operations are none of its business. A block that may end in another
order than it began, such as a generator's, is a link of a chain, from which it removes itself.
"""

from __future__ import annotations

import os
import sys
import threading
import types
import weakref
from collections.abc import Callable
from contextlib import ContextDecorator
from contextvars import ContextVar
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from typing import Any, Generic, TypeVar

FORK_SECONDS = 60.0  # how long a fork waits for work that must not be left half done

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_whole: list[Any] = []
_held: dict[int, list[Any]] = {}  # by a thread that is forking: what it has taken for that
_renewals: list[Callable[[], None]] = []


def new_lock(whole: bool = False) -> Any:
    """Return a new reentrant lock.

    A fork first waits for the holder of a `whole` one (up to a minute): a compiler or an import,
    interrupted for ever in the child, would leave locks of other libraries held there.
    """
    lock = threading.RLock()
    _locks.add(lock)
    if whole:
        _whole.append(lock)
    return lock


IMPORTING = new_lock(whole=True)  # held while a room is imported on first use

T = TypeVar("T")


class kept_property(Generic[T]):
    """A property that is computed on first use, and kept.

    That of functools holds a lock meanwhile before Python 3.12, one for all instances.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        value = instance.__dict__[self.function.__name__] = self.function(instance)
        return value


def after_fork(renew: Callable[[], None]) -> None:
    """Call a function in each forked child, once the locks are renewed."""
    _renewals.append(renew)


def _wait() -> None:
    held = _held[threading.get_ident()] = []
    for lock in _whole:
        if lock.acquire(timeout=FORK_SECONDS):
            held.append(lock)


def _resume() -> None:
    for lock in _held.pop(threading.get_ident(), []):
        lock.release()


def _renew() -> None:
    _resume()
    _held.clear()
    for lock in list(_locks):
        if not lock._is_owned():  # what this thread holds itself, it will release
            lock._at_fork_reinit()
    for renew in _renewals:
        renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait, after_in_parent=_resume, after_in_child=_renew)


# ---- recording

# True, False, or the innermost block of no_grad, which is true or false.
RECORDING: ContextVar[Any] = ContextVar("recording", default=True)


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
