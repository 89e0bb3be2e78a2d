"""Where tinyml differs from torch because a standard says so: op, which samples, why, and where.

A failing case named here is counted apart, neither passed nor failed; a passing one is a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """For ops of these names: `when(sample)` says for which samples; `why` names the source."""

    names: tuple[str, ...]
    when: Callable[[Any], bool]
    why: str


DIFFERENCES: tuple[Difference, ...] = ()


def reason(name: str, sample: Any) -> str | None:
    """Why a sample of an op may differ; None where no standard explains it."""
    for difference in DIFFERENCES:
        if name in difference.names and difference.when(sample):
            return difference.why
    return None
