"""Observers: an event for each op that runs, profiles, memory tracking, NaN checks."""

from typing import TYPE_CHECKING

from tinyml.errors.hints import front
from tinyml.observe.events import Event, observe

__all__ = ["Event", "observe"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
