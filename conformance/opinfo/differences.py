"""Where tinyml differs from torch because a standard says so: the op, the samples, and why.

A failing case listed here is counted apart, neither passed nor failed; a passing one still passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """A difference for the named ops: `when(sample)` selects samples, `why` names the source.

    `only` is the beginning of the complaints that it explains; where empty, values and gradients.
    """

    names: tuple[str, ...]
    when: Callable[[Any], bool]
    why: str
    only: str = ""


def _stretched(sample: Any) -> bool:
    """Return whether summed axes of different sizes meet, one of which is 1."""
    dims = sample.kwargs["dims"]
    return not isinstance(dims, int) and any(
        sample.input.shape[a] != sample.args[0].shape[b] for a, b in zip(*dims))


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        ("tensordot",), _stretched,
        "Array API standard 2024.12, tensordot: each axis x1_axes[i] must have the same size as "
        "x2_axes[i]; torch broadcasts an axis of size 1"),
    Difference(
        ("as_strided_scatter",), lambda sample: True,
        "what was replaced has no part in the result, so its gradient is 0; torch 2.13.0 gives the "
        "cotangent, and its OpInfo entry expects its own gradcheck (test_fn_grad) to fail",
        "gradient of operand 0"),
    Difference(
        ("nn_functional_hardsigmoid",), lambda sample: True,
        "the slope of (x + 3) / 6 is 1/6 (IEEE 754: the nearest float64); torch 2.13.0 multiplies "
        "by the float32 nearest to it, which is 3e-8 off", "gradient of operand 0"),
    Difference(
        ("special_airy_ai", *[f"special_bessel_{name}" for name in ("j0", "j1", "y0", "y1")]),
        lambda sample: True,
        "DLMF 9.2 and 10.2 define these functions: torch 2.13.0 is off by up to 2e-7 between 2 and "
        "9 (and 1e-6 for Ai near -2), where SciPy and this agree to 1e-14 (tests/"
        "test_special.py holds both to it)"),
    Difference(
        ("histogramdd",), lambda sample: True,
        "NumPy's histogramdd: edges must increase monotonically; torch's samples draw them at "
        "random, and it searches in them as if they were sorted",
        "histogramdd: Expect: edges that rise"),
)


def reason(name: str, sample: Any, complaint: str) -> str | None:
    """Return why a sample of an op may differ in this way; None where no standard explains it."""
    for difference in DIFFERENCES:
        if name in difference.names and complaint.startswith(difference.only):
            if difference.when(sample):
                return difference.why
    return None
