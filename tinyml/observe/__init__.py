"""Observers: an event for each op that runs, profiles, memory tracking, NaN checks."""

from tinyml.observe.events import Event, observe

__all__ = ["Event", "observe"]
