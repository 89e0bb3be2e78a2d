"""Small random distortions of images, computed on the host before each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tinyml.errors import expect
from tinyml.errors.hints import front

__all__ = ["distort"]


def distort(
    images: npt.NDArray[np.float32],
    generator: np.random.Generator,
    *,
    shift: float = 0.8,
    bend: float = 0.2,
) -> npt.NDArray[np.float32]:
    """Return each image under its own random affine map: a small shift, turn, stretch and slant.

    `images` is float32 (N, C, H, W), and so is the result, a new array. The pixel at p from the
    image's centre is read at (I + B) p + t, with t uniform in [-shift, shift] pixels and each of
    the four entries of B uniform in [-bend, bend]. Reads interpolate linearly between pixels and
    give 0 outside. The same generator state gives the same bits.

    Raises ShapeError unless `images` has 4 axes.

    >>> import numpy as np
    >>> images = np.ones((2, 1, 8, 8), np.float32)
    >>> still = distort(images, np.random.default_rng(0), shift=0.0, bend=0.0)
    >>> bool((still == images).all())
    True
    """
    expect(images.ndim == 4, "images.ndim == 4, as (N, C, H, W)", f"images.shape = {images.shape}")
    count, channels, height, width = images.shape
    matrix = np.eye(2) + generator.uniform(-bend, bend, (count, 2, 2))
    offset = generator.uniform(-shift, shift, (count, 2, 1))
    centre = np.array([[height - 1], [width - 1]]) / 2
    grid = np.indices((height, width)).reshape(2, -1) - centre
    # Written out, since the bits of a matrix product may depend on the thread count.
    source = matrix[:, :, :1] * grid[0] + matrix[:, :, 1:] * grid[1] + offset + centre
    # One row and column of zeros all around: any source farther out is clipped to it, and reads 0.
    limit = np.array([[height], [width]])
    row = width + 3
    padded = np.pad(images, ((0, 0), (0, 0), (1, 2), (1, 2)))
    padded = padded.reshape(count, channels, (height + 3) * row)
    source = np.clip(source, -1, limit) + 1
    corner = source.astype(np.int64)
    y, x = np.moveaxis(source - corner, 1, 0)[:, :, None]
    index = corner[:, :1] * row + corner[:, 1:]

    def pixel(step: int) -> npt.NDArray[np.float32]:
        """Return the pixels `step` positions after each source's upper left one: (N, C, H * W)."""
        return np.take_along_axis(padded, index + step, axis=2)

    above = (1 - x) * pixel(0) + x * pixel(1)
    below = (1 - x) * pixel(row) + x * pixel(row + 1)
    result: npt.NDArray[np.float64] = (1 - y) * above + y * below
    return result.astype(np.float32).reshape(images.shape)


if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
