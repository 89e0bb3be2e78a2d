"""The discrete Fourier transform, as one op; its public functions are those of `tinyml.fft`.

The op is the plain sum y[k] = sum of x[j] exp(-2 pi i j k / n). The length is split into radices;
each radix is one small matrix product and one product with roots of unity (Cooley and Tukey 1965,
in Stockham's order, which needs no digit reversal). If a prime factor is too large for a matrix,
Bluestein's algorithm (1970) turns the transform into a convolution whose length is a power of two.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyml.core.apply import apply
from tinyml.core.make import Tensor
from tinyml.core.upload import upload_computed
from tinyml.dtypes import COMPLEX, as_dtype
from tinyml.errors import AxisError, DTypeError, ShapeError, expect
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axis, with_shape
from tinyml.ops.matmul import matmul
from tinyml.ops.pad import pad
from tinyml.ops.samples.values import ErrorCase, Sample, spread, transposed
from tinyml.ops.views import permute_dims, reshape, slice_axis

Roots = npt.NDArray[np.complex128]
RADIX = 16  # the greatest product of several primes
PRIME = 32  # greater primes go to Bluestein's algorithm
KEPT = 1 << 14  # constants of up to this many elements are cached, the last KEPT_COUNT of them
KEPT_COUNT = 128

# ---- roots of unity


def roots(turns: npt.NDArray[np.int64], n: int) -> Roots:
    """Return exp(-2 pi i turns / n), to about the last bit; quarter turns are split off exactly.

    >>> roots(np.array([0, 1, 2, 3]), 4).tolist()
    [(1+0j), -1j, (-1+0j), 1j]
    """
    whole = turns % n
    quarters = (8 * whole + n) // (2 * n)
    angle = (math.pi / 2) * ((4 * whole - quarters * n) / n)
    cos, sin = np.cos(angle), np.sin(angle)
    parts = [np.choose(quarters % 4, which) for which in ((cos, -sin, -cos, sin),
                                                          (-sin, -cos, sin, cos))]
    return np.asarray(parts[0] + 1j * parts[1] + 0)


def _matrix(radix: int, _: int) -> Roots:
    """Return the transform matrix of a radix."""
    return roots(np.multiply.outer(np.arange(radix), np.arange(radix)), radix)


def _twiddles(radix: int, rest: int) -> Roots:
    """Return the twiddle factors between two radices: (rest, radix, 1)."""
    return roots(np.multiply.outer(np.arange(rest), np.arange(radix))[..., None], radix * rest)


def _chirp(n: int, _: int) -> Roots:
    """Return the chirp exp(-pi i j^2 / n): (n, 1)."""
    j = np.arange(n)[:, None]
    return roots(j * j, 2 * n)


def _chirped(n: int, width: int) -> Roots:
    """Return the transform of the inverse chirp, cyclic in `width`, divided by it: (width, 1)."""
    chirp = _chirp(n, 1)[:, 0].conj()
    cyclic = np.zeros(width, np.complex128)
    cyclic[:n] = chirp
    cyclic[width - n + 1 :] = chirp[:0:-1]
    return np.asarray(np.fft.fft(cyclic) / width)[:, None]


SHAPES: dict[Any, Callable[[int, int], tuple[int, ...]]] = {
    _matrix: lambda n, _: (n, n), _twiddles: lambda n, rest: (rest, n, 1),
    _chirp: lambda n, _: (n, 1), _chirped: lambda _, width: (width, 1)}


def _constant(kind: Any, n: int, other: int, inverse: bool, dtype: Any, device: Any) -> Tensor:
    shape = SHAPES[kind](n, other)
    return upload_computed(lambda: kind(n, other).conj() if inverse else kind(n, other), shape,
                           as_dtype(dtype), device)


_kept = functools.lru_cache(KEPT_COUNT)(_constant)


def _of(kind: Any, n: int, other: int, inverse: bool, x: Any) -> Tensor:
    """Return a constant in the type of x, on its device."""
    make = _kept if max(n, 1) * max(other, 1) <= KEPT else _constant
    return make(kind, n, other, inverse, x.dtype, x.device)


# ---- the op


@functools.lru_cache(1024)
def radices(n: int) -> tuple[int, ...]:
    """Return the factors of a length, all small; none if a prime among them is too large.

    >>> radices(1000), radices(4096), radices(31), radices(74)
    ((10, 10, 10), (16, 16, 16), (31,), ())
    """
    primes = []
    rest, prime = n, 2
    while rest > 1 and prime <= PRIME:
        while rest % prime == 0:
            primes.append(prime)
            rest //= prime
        prime += 1
    if rest > 1:
        return ()
    found: list[int] = []
    for prime in reversed(primes):
        fits = [k for k, radix in enumerate(found) if radix * prime <= RADIX]
        if fits:
            found[fits[0]] *= prime
        else:
            found.append(prime)
    return tuple(found)


def _transform(x: Any, inverse: bool) -> Any:
    """Transform the columns of a matrix; each radix is one matrix product."""
    n, columns = x.shape
    if n == 1:
        return x
    split = radices(n)
    if not split:
        return _bluestein(x, inverse)
    rest, wide = n, columns
    for radix in split:
        rest //= radix
        x = matmul(_of(_matrix, radix, radix, inverse, x), reshape(x, (radix, rest * wide)))
        if rest > 1:
            apart = permute_dims(reshape(x, (radix, rest, wide)), (1, 0, 2))
            x = apart * _of(_twiddles, radix, rest, inverse, x)
        wide *= radix
    return reshape(x, (n, columns))


def _bluestein(x: Any, inverse: bool) -> Any:
    """Transform columns by convolution with a chirp, since j k = (j^2 + k^2 - (k - j)^2) / 2."""
    n = x.shape[0]
    width = 1 << (2 * n - 2).bit_length()
    chirp = _of(_chirp, n, 1, inverse, x)
    wide = _transform(pad(x * chirp, (0, 0), (width - n, 0), 0), False)
    # The chirp is even, so the transform of its conjugate is the conjugate of its transform.
    wide = _transform(wide * _of(_chirped, n, width, inverse, x), True)
    return slice_axis(wide, 0, 0, n) * chirp


def _normalize(x: Spec, axis: Any = -1, inverse: Any = False) -> dict[str, Any]:
    return {"axis": as_axis(axis, x.ndim), "inverse": bool(inverse)}


def _infer(x: Spec, *, axis: int, inverse: bool) -> Spec:
    expect(x.dtype.kind == "complex", "a complex type", x.dtype.name, DTypeError)
    expect(x.shape[axis] > 0, "at least one element along the axis", x.shape, ShapeError)
    return with_shape(x, x.shape)


def _body(x: Any, *, axis: int, inverse: bool) -> Any:
    order = (axis, *[d for d in range(x.ndim) if d != axis])
    moved = permute_dims(x, order)
    found = _transform(reshape(moved, (moved.shape[0], math.prod(moved.shape[1:]))), inverse)
    return permute_dims(reshape(found, moved.shape), tuple([order.index(d) for d in range(x.ndim)]))


def _samples(dtype: str) -> list[Sample]:
    def case(shape: tuple[int, ...], axis: int, inverse: bool, name: str,
             smooth: bool = False) -> Sample:
        return Sample((spread(dtype, shape, -3.0, 3.0),), {"axis": axis, "inverse": inverse}, name,
                      smooth)

    return [
        case((6,), 0, False, "vector", True),
        case((2, 5), 1, True, "inverse", True),
        case((4, 3), 0, False, "columns", True),
        case((1,), 0, False, "one", True),
        case((37,), 0, True, "a great prime", True),
        case((2, 36), 1, False, "two radices"),
        case((3, 1000), 1, True, "three radices"),
        case((0, 6), 1, False, "no rows"),
        Sample((transposed(spread(dtype, (3, 8), -3.0, 3.0)),), {"axis": 1, "inverse": False},
               "transposed", True),
    ]


FFT: Op = define(
    "fft", _infer, body=_body, normalize=_normalize, dtypes=COMPLEX, samples=_samples,
    grad=(lambda g, _y, _x, axis, inverse: apply(FFT, g, axis=axis, inverse=not inverse),),
    errors=lambda: [
        ErrorCase((np.ones((2, 0), np.complex64),), {"axis": 1}, ShapeError, "one element"),
        ErrorCase((np.ones(2, np.complex64),), {"axis": 1}, AxisError, "-1 <= axis < 1"),
        ErrorCase((np.ones(2, np.float32),), {"axis": 0}, DTypeError, "float32"),
    ],
    doc="The sums over j of x[j] exp(-2 pi i j k / n) along an axis; +2 in the inverse; unscaled.",
)
