"""Activations: composites of a line each, which become one loop nest."""

from __future__ import annotations
