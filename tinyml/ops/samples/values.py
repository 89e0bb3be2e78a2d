"""The parts of samples: the record of a case, spread and hard values, odd layouts."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinyml.dtypes import DType, as_dtype, integer_range

__all__ = ["Array", "ErrorCase", "RICH", "Sample", "Samples", "finfo", "layouts", "pairs",
           "readonly", "reversed_steps", "scalar", "special", "spread", "transposed",
           "with_cotangent"]

Array = npt.NDArray[Any]

# Dtypes that see every layout. Index arithmetic is the same for all, so these few suffice.
RICH = ("float32", "float64", "bool")


class Sample(NamedTuple):
    """One case of an op: its arguments, attributes and name.

    `args` are NumPy arrays and Python scalars (weakly typed), `attrs` the record's attributes.
    `smooth` says that the op is differentiable at this point, so gradients are checked there.

    >>> Sample((np.ones(3), 2.0), {}, "scalar")._replace(smooth=True).smooth
    True
    """

    args: tuple[Any, ...]
    attrs: dict[str, Any]
    name: str
    smooth: bool = False


class ErrorCase(NamedTuple):
    """One call that must raise `error`, with `match` (a regular expression) in its message."""

    args: tuple[Any, ...]
    attrs: dict[str, Any]
    error: type[Exception]
    match: str


Samples = Callable[[str], list[Sample]]


def spread(dtype: str, shape: tuple[int, ...], low: float, high: float, seed: str = "x") -> Array:
    """Return distinct shuffled values over [low, high], off round numbers: no ties, no kinks.

    >>> sorted(spread("int32", (3,), 0, 9).tolist())
    [1, 4, 7]
    """
    rng = np.random.default_rng(zlib.crc32(f"{seed}{shape}".encode()))
    count = int(np.prod(shape))
    kind = as_dtype(dtype)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if kind.kind == "complex":
        parts = [spread("float64", shape, low, high, f"{seed}{part}") for part in ("re", "im")]
        return np.asarray(parts[0] + 1j * parts[1]).astype(kind.numpy)
    least, most = integer_range(kind) if kind.is_integer else (finfo(kind).min, finfo(kind).max)
    low, high = max(low, float(least)), min(high, float(most))
    # 0.37 and the jitter keep the points off zero, integers and each other.
    places = (rng.permutation(count) + 0.37 + 0.1 * rng.random(count)) / max(count, 1)
    return np.asarray(low + places * (high - low)).astype(kind.numpy).reshape(shape)


def with_cotangent(base: Samples) -> Samples:
    """Return a generator's smooth samples, each with a cotangent of its shape in front."""

    def samples(dtype: str) -> list[Sample]:
        return [s._replace(args=(spread(dtype, s.args[0].shape, -2, 2, seed="g"), *s.args))
                for s in base(dtype) if s.smooth]

    return samples


def special(dtype: str) -> Array:
    """Return the dtype's hard values: NaN, infinities, zeros, subnormals and extremes.

    >>> special("int8").tolist()
    [-128, -127, -1, 0, 1, 2, 126, 127]
    """
    if dtype == "bool":
        return np.array([False, True])
    kind = as_dtype(dtype)
    if kind.is_float:
        info = finfo(kind)
        tiny, normal = float(info.smallest_subnormal), float(info.tiny)
        top = float(info.max)
        listed = [np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, normal, -normal, top, -top]
        return np.array([*listed, 1.0, -1.0, 0.5, 2.5, -3.0]).astype(kind.numpy)
    if kind.kind == "complex":
        return np.array([0, 1, -1, 1j, -1j, 3 - 4j, -0.5 + 2j, np.nan, np.inf, 1e-30j], kind.numpy)
    low, high = integer_range(kind)
    small = [-1, 0, 1, 2] if low < 0 else [0, 1, 2]
    edges = [low, low + 1] if low < 0 else []
    return np.array([*edges, *small, high - 1, high], kind.numpy)


def finfo(dtype: DType) -> Any:
    """Return NumPy's `finfo` of any float type."""
    import ml_dtypes

    return ml_dtypes.finfo(dtype.numpy)


def pairs(x: Array, y: Array) -> tuple[Array, Array]:
    """Return every element of x paired with every element of y, as two vectors.

    >>> pairs(np.array([1, 2]), np.array([3, 4]))
    (array([1, 1, 2, 2]), array([3, 4, 3, 4]))
    """
    return np.repeat(x, y.size), np.tile(y, x.size)


def readonly(x: Array) -> Array:
    """Return a read-only copy of x with x's strides."""
    copy: Array = x.copy(order="K")
    copy.flags.writeable = False
    return copy


def reversed_steps(x: Array) -> Array:
    """Return the values of x with the layout of `[..., ::-2]`: a negative stride, and gaps."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::-2] = x
    return wide[..., ::-2]


def transposed(x: Array) -> Array:
    """Return the values of x in Fortran order: the first axis has the least stride."""
    return np.asfortranarray(x)


def scalar(dtype: str) -> Any:
    """Return a Python scalar that leaves a tensor's dtype unchanged in promotion."""
    if dtype == "bool":
        return True
    return 2.5 if as_dtype(dtype).is_inexact else 3


def layouts(dtype: str, shape: Sequence[int], low: float = -3.0, high: float = 3.0) -> list[Array]:
    """Return the same values contiguous, transposed, reversed with gaps; contiguous if not rich.

    >>> [x.flags.c_contiguous for x in layouts("float32", (2, 3))]
    [True, False, False]
    """
    x = spread(dtype, tuple(shape), low, high)
    return [x, transposed(x), reversed_steps(x)] if dtype in RICH else [x]
