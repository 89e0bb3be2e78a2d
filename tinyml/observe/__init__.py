"""Observers: events of each op that runs, profiles, memory, NaNs."""
