"""Learning rates as functions of the step: `opt.lr = cosine(step, total, 1e-3)`."""

from __future__ import annotations

import math

from tinyml.core.error_context import named_in_errors
from tinyml.errors import ArgumentError, shown


@named_in_errors
def cosine(step: float, total: float, lr: float, final: float = 0.0, warmup: float = 0.0) -> float:
    """Return the rate at a step: a linear rise from 0 over `warmup` steps, then half a cosine.

    The cosine falls from `lr` to `final` at step `total`, where the rate stays (Loshchilov and
    Hutter 2017, without restarts). Raises ArgumentError unless 0 <= warmup < total and step >= 0.

    >>> [round(cosine(step, 4, 1.0), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    if not 0 <= warmup < total:
        raise ArgumentError(f"warmup {shown(warmup)} of {shown(total)} steps",
                            remedy="0 <= warmup < total")
    _check_step(step)
    if step < warmup:
        return lr * step / warmup
    return _blend(lr, final, (min(step, total) - warmup) / (total - warmup))


@named_in_errors
def one_cycle(step: float, total: int, lr: float, rise: float = 0.3, start_factor: float = 25.0,
              final_factor: float = 1e4) -> float:
    """Return the rate at a step: up to `lr`, then down to lr / (start_factor final_factor).

    The rate begins at lr / start_factor (Smith and Topin 2018) and follows the two half-cosine
    phases of PyTorch's OneCycleLR; `rise` is the fraction of steps in the first. `step` counts from
    0 to total - 1. Raises ArgumentError if `total` leaves a phase without a step, or step < 0.

    >>> [round(one_cycle(step, 11, 1.0), 3) for step in (0, 2, 5, 10)]
    [0.04, 0.96, 0.726, 0.0]
    """
    peak = rise * total - 1
    if not 0 < peak < total - 1:
        raise ArgumentError(
            f"{shown(total)} steps with a rise of {shown(rise)} leave a phase empty",
            remedy="more steps")
    _check_step(step)
    low = lr / start_factor
    if step <= peak:
        return _blend(low, lr, step / peak)
    return _blend(lr, low / final_factor, (min(step, total - 1) - peak) / (total - 1 - peak))


def _check_step(step: float) -> None:
    """Raise ArgumentError for a step that does not count from 0."""
    if not step >= 0:
        raise ArgumentError(f"step {step}", remedy="steps count from 0")


def _blend(start: float, end: float, share: float) -> float:
    """Return the value at a fraction of the way from start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
