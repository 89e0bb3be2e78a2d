"""Locks, all made here: reentrant, and free in a forked child, whoever held them in the parent.

A finalizer or a signal handler may compute at any moment, in the thread that holds a lock; so each
can be taken again by its holder. In a forked child the other threads do not exist, so what they
held is renewed.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
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
