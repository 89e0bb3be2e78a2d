"""Fourier transforms: the fft extension of the Array API standard 2024.12."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.upload import upload_computed
from tinyml.dtypes import as_dtype, complex64, complex128, float32, float64
from tinyml.errors import ArgumentError, AxisError, DTypeError, ShapeError, expect
from tinyml.errors.hints import front
from tinyml.functions.rearrange import flip, roll
from tinyml.ops.arguments import as_axis, as_number, as_size, as_sizes
from tinyml.ops.concat import concat
from tinyml.ops.creation import asarray
from tinyml.ops.elementwise import astype, conj, real
from tinyml.ops.fft import FFT
from tinyml.ops.pad import pad
from tinyml.ops.views import slice_axis

__all__ = ["fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft",
           "irfft", "irfftn", "rfft", "rfftfreq", "rfftn"]

NORMS = ("backward", "ortho", "forward")


def _scale(norm: str, n: int, inverse: bool) -> float:
    """Return the divisor of a transform of length n."""
    expect(norm in NORMS, f"norm one of {', '.join(NORMS)}", norm, ArgumentError)
    if norm == "ortho":
        return math.sqrt(n)
    return n if (norm == "backward") == inverse else 1


def _swapped(norm: str) -> str:
    """Return the norm of the opposite direction."""
    return {"backward": "forward", "forward": "backward"}.get(norm, norm)


def _complex(x: Any) -> Tensor:
    """Return a complex tensor: float64 becomes complex128, other real types complex64."""
    y: Tensor = asarray(x)
    if y.dtype.kind == "complex":
        return y
    return astype(y, complex128 if y.dtype is float64 else complex64)


def _real(x: Any) -> Tensor:
    """Return a real tensor; raises DTypeError for a complex one."""
    y: Tensor = asarray(x)
    expect(y.dtype.kind != "complex", "real numbers", y.dtype.name, DTypeError,
           remedy="fft takes complex ones; tinyml.real takes the real parts")
    return y


def _count(n: Any, usual: int) -> int:
    """Return how many elements to transform: n, or the usual number if n is None."""
    count = usual if n is None else as_size(n, "n")
    expect(count > 0, "at least one element", count, ShapeError)
    return count


def _fitted(x: Any, axis: int, n: int) -> Any:
    """Return x cut, or padded with zeros at the end, to n elements along an axis."""
    size = x.shape[axis]
    if n > size:
        none = (0,) * x.ndim
        return pad(x, none, (*none[:axis], n - size, *none[axis + 1 :]), 0)
    return slice_axis(x, axis, 0, n) if n < size else x


def _along(x: Any, n: Any, axis: Any, norm: str, inverse: bool) -> Tensor:
    """Return the scaled transform along one axis."""
    axis = as_axis(axis, x.ndim)
    n = _count(n, x.shape[axis])
    scale = _scale(norm, n, inverse)
    y = apply(FFT, _fitted(_complex(x), axis, n), axis=axis, inverse=inverse)
    return y if scale == 1 else y * (1 / scale)


def _axes(x: Any, s: Any, axes: Any) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """Return the axes in the order given, and the number of elements wanted along each."""
    sizes = None if s is None else as_sizes(s, "s")
    if axes is None:
        count = x.ndim if sizes is None else len(sizes)
        expect(count <= x.ndim, f"s of at most {x.ndim} sizes", sizes)
        places = tuple(range(x.ndim - count, x.ndim))
    else:
        places = tuple([as_axis(axis, x.ndim) for axis in as_sizes(axes, "axes")])
        expect(len(set(places)) == len(places), "each axis once", places, AxisError)
    expect(sizes is None or len(sizes) == len(places), f"s of {len(places)} sizes", sizes)
    return places, (None,) * len(places) if sizes is None else sizes


def _last(places: tuple[int, ...]) -> int:
    expect(len(places) > 0, "at least one axis", places, AxisError)
    return places[-1]


@named_in_errors
def fft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the discrete Fourier transform along `axis` (Array API standard 2024.12, fft.fft).

    y[k] is the sum over j of x[j] exp(-2 pi i j k / n). x is cut, or padded with zeros, to n
    elements. `norm` "backward" divides the inverse by n, "forward" this transform, "ortho" both by
    sqrt(n). float64 gives complex128, other real types complex64; the complex types live on the
    CPU. Any length works; the error is of the order of eps log n. Raises ShapeError if there are no
    elements, AxisError, ArgumentError.

    >>> import tinyml
    >>> tinyml.fft.fft(tinyml.tensor([1.0, 2.0, 3.0, 4.0])).tolist()
    [(10+0j), (-2+2j), (-2+0j), (-2-2j)]
    """
    return _along(asarray(x), n, axis, norm, False)


@named_in_errors
def ifft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the inverse of `fft`, with the same parameters (standard 2024.12, fft.ifft).

    >>> import tinyml
    >>> tinyml.fft.ifft(tinyml.tensor([10, -2 + 2j, -2, -2 - 2j])).tolist()
    [(1+0j), (2+0j), (3+0j), (4+0j)]
    """
    return _along(asarray(x), n, axis, norm, True)


def _several(x: Any, s: Any, axes: Any, norm: str, inverse: bool) -> Tensor:
    y = _complex(x)
    places, sizes = _axes(y, s, axes)
    _scale(norm, 1, inverse)
    for axis, n in zip(places, sizes):
        y = _along(y, n, axis, norm, inverse)
    return y


@named_in_errors
def fftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the transform along several axes, by default all (standard 2024.12, fft.fftn).

    `s` gives the number of elements along each; without `axes` it applies to the last axes. Raises
    ShapeError, AxisError, ArgumentError.

    >>> import tinyml
    >>> tinyml.fft.fftn(tinyml.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[(10+0j), (-2+0j)], [(-4+0j), 0j]]
    """
    return _several(x, s, axes, norm, False)


@named_in_errors
def ifftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the inverse of `fftn`, with the same parameters (standard 2024.12, fft.ifftn).

    >>> import tinyml
    >>> tinyml.fft.ifftn(tinyml.tensor([[10, -2], [-4, 0j]])).tolist()
    [[(1+0j), (2+0j)], [(3+0j), (4+0j)]]
    """
    return _several(x, s, axes, norm, True)


@named_in_errors
def rfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the first n // 2 + 1 elements of `fft` of real numbers; the rest are conjugates.

    Array API standard 2024.12, fft.rfft. Raises DTypeError for complex numbers, and as `fft` does.

    >>> import tinyml
    >>> tinyml.fft.rfft(tinyml.tensor([1.0, 2.0, 3.0, 4.0])).tolist()
    [(10+0j), (-2+2j), (-2+0j)]
    """
    return _half(_real(x), n, axis, norm)


def _half(x: Any, n: Any, axis: Any, norm: str) -> Tensor:
    axis = as_axis(axis, x.ndim)
    n = _count(n, x.shape[axis])
    return slice_axis(_along(x, n, axis, norm, False), axis, 0, n // 2 + 1)


def _whole(x: Any, n: Any, axis: Any, norm: str) -> Tensor:
    """Return the real inverse transform of n // 2 + 1 elements; conjugates supply the rest."""
    axis = as_axis(axis, x.ndim)
    n = _count(n, 2 * (x.shape[axis] - 1))
    half = n // 2 + 1
    x = _fitted(x, axis, half)
    rest = conj(flip(slice_axis(x, axis, 1, n - half + 1), axis=axis))
    return real(_along(concat([x, rest], axis=axis), n, axis, norm, True))


@named_in_errors
def irfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the inverse of `rfft`: n real numbers (Array API standard 2024.12, fft.irfft).

    n defaults to 2 (size - 1). The imaginary part of the first element is ignored, and that of the
    last one if n is even. Raises as `fft` does.

    >>> import tinyml
    >>> tinyml.fft.irfft(tinyml.tensor([10, -2 + 2j, -2])).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    return _whole(_complex(x), n, axis, norm)


@named_in_errors
def rfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return `rfft` along the last of several axes, then `fft` along the others.

    Array API standard 2024.12, fft.rfftn. Raises DTypeError for complex numbers, and as `fftn`
    does.

    >>> import tinyml
    >>> tinyml.fft.rfftn(tinyml.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[(10+0j), (-2+0j)], [(-4+0j), 0j]]
    """
    x = _real(x)
    places, sizes = _axes(x, s, axes)
    y = _half(x, sizes[-1] if sizes else None, _last(places), norm)
    return _several(y, *_all_but_last(places, sizes, y), norm, False)


@named_in_errors
def irfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """Return the inverse of `rfftn`: real numbers (Array API standard 2024.12, fft.irfftn).

    The last of `s` defaults to 2 (size - 1). Raises as `fftn` does.

    >>> import tinyml
    >>> tinyml.fft.irfftn(tinyml.tensor([[10, -2], [-4, 0j]])).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    x = _complex(x)
    places, sizes = _axes(x, s, axes)
    last = _last(places)
    y = _several(x, *_all_but_last(places, sizes, x), norm, True)
    return _whole(y, sizes[-1], last, norm)


def _all_but_last(places: tuple[int, ...], sizes: tuple[int | None, ...],
                  x: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sizes and axes of the transforms that are complex on both sides."""
    rest = places[:-1]
    return tuple([x.shape[d] if n is None else n for d, n in zip(rest, sizes)]), rest


@named_in_errors
def hfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the transform of n numbers: n // 2 + 1 are given, the rest are their conjugates.

    The result is real (Array API standard 2024.12, fft.hfft). Raises as `fft` does.

    >>> import tinyml
    >>> tinyml.fft.hfft(tinyml.tensor([2.5, -0.5 - 0.5j, -0.5])).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    return _whole(conj(_complex(x)), n, axis, _swapped(norm))


@named_in_errors
def ihfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Return the inverse of `hfft`: n // 2 + 1 complex numbers from n real ones.

    Array API standard 2024.12, fft.ihfft. Raises DTypeError for complex numbers, and as `fft` does.

    >>> import tinyml
    >>> tinyml.fft.ihfft(tinyml.tensor([1.0, 2.0, 3.0, 4.0])).tolist()
    [(2.5-0j), (-0.5-0.5j), (-0.5-0j)]
    """
    return conj(_half(_real(x), n, axis, _swapped(norm)))


def _frequencies(turns: Callable[[Any], Any], count: int, n: int, d: float, dtype: Any,
                 device: Any) -> Tensor:
    kind = float32 if dtype is None else as_dtype(dtype)
    expect(kind.is_float, "a real float type", kind.name, DTypeError)
    step = n * float(as_number(d, "d"))
    expect(step != 0, "a sample spacing d that is not 0", d, ArgumentError)
    return upload_computed(lambda: turns(np.arange(count)) * (1 / step), (count,), kind, device)


@named_in_errors
def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """Return the frequencies of `fft`'s elements, for n samples spaced d apart.

    Array API standard 2024.12, fft.fftfreq: [0, 1, ..., -2, -1] / (n d); float32 unless `dtype`
    names another float type. Raises ShapeError, DTypeError, ArgumentError for a d of 0.

    >>> import tinyml
    >>> tinyml.fft.fftfreq(4).tolist()
    [0.0, 0.25, -0.5, -0.25]
    """
    n = _count(n, 0)
    return _frequencies(lambda k: np.where(k < (n + 1) // 2, k, k - n), n, n, d, dtype, device)


@named_in_errors
def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """Return the frequencies of `rfft`'s elements, for n samples spaced d apart.

    Array API standard 2024.12, fft.rfftfreq: [0, 1, ..., n // 2] / (n d); the rest is as in
    `fftfreq`.

    >>> import tinyml
    >>> tinyml.fft.rfftfreq(4).tolist()
    [0.0, 0.25, 0.5]
    """
    n = _count(n, 0)
    return _frequencies(lambda k: k, n // 2 + 1, n, d, dtype, device)


def _shifted(x: Any, axes: Any, sign: int) -> Tensor:
    places, _ = _axes(x, None, axes)
    return roll(x, [sign * (x.shape[d] // 2) for d in places], places) if places else x


@named_in_errors
def fftshift(x: Any, /, *, axes: Any = None) -> Tensor:
    """Return x rolled so that frequency 0 is in the middle of `axes`, by default all.

    Array API standard 2024.12, fft.fftshift. Raises AxisError.

    >>> import tinyml
    >>> tinyml.fft.fftshift(tinyml.fft.fftfreq(4)).tolist()
    [-0.5, -0.25, 0.0, 0.25]
    """
    return _shifted(asarray(x), axes, 1)


@named_in_errors
def ifftshift(x: Any, /, *, axes: Any = None) -> Tensor:
    """Return the inverse of `fftshift` (Array API 2024.12, fft.ifftshift). Raises AxisError.

    >>> import tinyml
    >>> tinyml.fft.ifftshift(tinyml.tensor([-0.5, -0.25, 0.0, 0.25])).tolist()
    [0.0, 0.25, -0.5, -0.25]
    """
    return _shifted(asarray(x), axes, -1)


if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
