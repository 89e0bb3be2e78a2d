"""The reference's operations beyond the standard."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .rules import define

Array = npt.NDArray[Any]


@define("cummax")
def cummax(x: Array, axis: int) -> Array:
    """Return the cumulative maximum along an axis."""
    return np.maximum.accumulate(x, axis)


@define("cummin")
def cummin(x: Array, axis: int) -> Array:
    """Return the cumulative minimum along an axis."""
    return np.minimum.accumulate(x, axis)


@define("logcumsumexp", result="float")
def logcumsumexp(x: Array, axis: int) -> Array:
    """Return running sums of exponentials, added as logarithms."""
    return np.asarray(np.logaddexp.accumulate(x, axis))


@define("logsumexp", result="float")
def logsumexp(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    """Return the logarithm of the sum of exponentials."""
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    reduce: Any = np.logaddexp.reduce  # over several axes, which its annotations do not allow
    return np.asarray(reduce(wide, axis, keepdims=keepdims))


@define("fft")
def fft(x: Array, axis: int, inverse: bool) -> Array:
    """Return the Fourier transform along an axis, unscaled in both directions."""
    return np.fft.ifft(x, axis=axis, norm="forward") if inverse else np.fft.fft(x, axis=axis)
