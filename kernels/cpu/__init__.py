"""The CPU device: memory at addresses, nests compiled by Numba, ranges split over threads."""

from __future__ import annotations

import tinyml.kernels.cpu.lapack  # noqa: F401  # registers its kernels
import tinyml.kernels.cpu.sorting  # noqa: F401  # as does this
from tinyml.kernels.common.device import Candidate
from tinyml.kernels.cpu.device import CPU, default_threads

_TRIAL = "python -c 'import tinyml; print(tinyml.ones(1) + 1)'"


def open_device(number: int) -> CPU:
    """Return the CPU device; there is only one."""
    return CPU()


def candidates() -> list[Candidate]:
    """Return the CPU as `tinyml doctor` shows it."""
    return [Candidate(CPU.name, f"{default_threads()} threads", "", f"see where: {_TRIAL}")]
