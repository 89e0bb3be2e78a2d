"""Observers: events of each op that runs, profiles, memory, NaNs."""

from tinyml.observe.events import Event, observe

__all__ = ["Event", "observe"]
