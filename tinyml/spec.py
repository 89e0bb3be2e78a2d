"""What a tensor is without its values: shape, dtype, device, strides; and axis arithmetic."""

from __future__ import annotations

import operator
import threading
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinyml.dims import Dim
from tinyml.dtypes import DType, uint8
from tinyml.errors import (
    AllocationError,
    ArgumentError,
    ArgumentTypeError,
    AxisError,
    ShapeError,
    expect,
)

MAX_BYTES = (1 << 63) - 1
MAX_PLACE = 1 << 60  # a place in a tensor, or a step between two: sums of a few fit into 64 bits


class Spec:
    """Shape, dtype, device and strides (in elements) of a tensor. Equal specs are one object.

    `symbolic` marks the value of a graph under construction: it has no memory. The stride of an
    axis of size 1, and every stride of an empty tensor, is written as 0, so that layouts that
    address the same elements are one. `unknown` marks a shape with a size that depends on values
    (a `tinyml.dims.Dim`); only symbolic specs and results of shape rules have one.
    """

    __slots__ = ("shape", "dtype", "device", "strides", "size", "ndim", "contiguous", "symbolic",
                 "unknown", "__weakref__")

    shape: tuple[int, ...]
    dtype: DType
    device: Any
    strides: tuple[int, ...]
    size: int
    ndim: int
    contiguous: bool
    symbolic: bool
    unknown: bool

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}] {self.device}"

    @property
    def nbytes(self) -> int:
        """Bytes that the elements take when stored densely."""
        if self.dtype.packed:
            return -(-self.size * self.dtype.bits // 8)
        return self.size * self.dtype.itemsize


_interned: weakref.WeakValueDictionary[Any, Spec] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def element_count(shape: Sequence[int], itemsize: int) -> int:
    """The product of the sizes; AllocationError where the bytes would overflow 63 bits."""
    count = 1
    for size in shape:
        count *= size
    if count * itemsize > MAX_BYTES or max(shape, default=0) > MAX_BYTES:
        raise AllocationError(
            f"a shape of {tuple(shape)} has more bytes than can be addressed",
            remedy="a smaller shape",
        )
    return count


def dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense row-major tensor, in elements.

    >>> dense_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def make_spec(shape: tuple[int, ...], dtype: DType, device: Any,
              strides: tuple[int, ...] | None = None, symbolic: bool = False) -> Spec:
    """The one Spec with these fields; `strides` None means dense.

    >>> from tinyml.dtypes import float32
    >>> make_spec((2, 1), float32, None) is make_spec((2, 1), float32, None, (1, 77))
    True
    """
    unknown = not all(isinstance(n, int) for n in shape)
    size = 0 if unknown else element_count(shape, dtype.itemsize)
    dense = strides is None or unknown
    if strides is None:
        strides = () if unknown else dense_strides(shape)
    if size == 0:
        strides = (0,) * len(shape)
        dense = True
    elif 1 in shape:
        strides = tuple([0 if n == 1 else s for n, s in zip(shape, strides)])
    key = (shape, dtype, device, strides, symbolic)
    with _lock:
        spec = _interned.get(key)
        if spec is None:
            spec = object.__new__(Spec)
            spec.shape = shape
            spec.dtype = dtype
            spec.device = device
            spec.strides = strides
            spec.size = Dim.fresh(MAX_BYTES) if unknown else size  # type: ignore[assignment]
            spec.ndim = len(shape)
            spec.contiguous = dense or all(
                n == 1 or s == d for n, s, d in zip(shape, strides, dense_strides(shape))
            )
            spec.symbolic = symbolic
            spec.unknown = unknown
            _interned[key] = spec
    return spec


def with_shape(spec: Spec, shape: tuple[int, ...], dtype: DType | None = None) -> Spec:
    """A dense spec on the same device."""
    return make_spec(shape, dtype or spec.dtype, spec.device, None, spec.symbolic)


def stored(spec: Spec) -> Spec:
    """How a kernel writes a tensor: as it is, or the bytes of a packed one.

    >>> from tinyml.dtypes import float32, uint4
    >>> [stored(make_spec((3, 3), dtype, None)).shape for dtype in (float32, uint4)]
    [(3, 3), (5,)]
    """
    return make_spec((spec.nbytes,), uint8, spec.device) if spec.dtype.packed else spec


def flat(spec: Spec) -> Spec:
    """The dense spec with one axis of as many elements."""
    return make_spec((spec.size,), spec.dtype, spec.device)


def as_size(value: Any, what: str = "size") -> int:
    """A Python int from an integer of any kind; ArgumentTypeError where it is none."""
    if isinstance(value, bool):
        raise ArgumentTypeError(f"{what} is a bool: {value!r}", remedy="an integer")
    try:
        size: int = operator.index(value)
        return size
    except TypeError:
        raise ArgumentTypeError(
            f"{what} is {value!r} of type {type(value).__name__}", remedy="an integer"
        ) from None


def as_sizes(values: Any, what: str = "shape") -> tuple[int, ...]:
    """A tuple of ints from one int or a sequence of them."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        return (as_size(values, what),)
    return tuple([as_size(value, what) for value in values])


def as_places(values: Any, what: str) -> tuple[int, ...]:
    """Widths, steps or places: ints that can be added up in 64 bits; ArgumentError for greater."""
    places = as_sizes(values, what)
    expect(all(abs(n) <= MAX_PLACE for n in places), f"{what} of at most {MAX_PLACE}", places,
           ArgumentError)
    return places


def as_number(value: Any, what: str) -> float:
    """A Python number, int or float, from one of any kind; ArgumentTypeError where it is none.

    >>> as_number(1, "eps"), as_number(-0.0, "eps")
    (1, -0.0)
    """
    number = value.item() if isinstance(value, np.generic) else value
    if not isinstance(number, (bool, int, float)):
        raise ArgumentTypeError(f"{what} is {value!r:.80} of type {type(value).__name__}",
                                remedy="a number")
    try:
        float(number)
    except OverflowError:
        raise ArgumentError(f"{what} is an int beyond float64",
                            remedy="a number of at most 1.8e308") from None
    return number


def as_shape(values: Any) -> tuple[int, ...]:
    """A shape: a tuple of non-negative ints."""
    shape = as_sizes(values)
    expect(min(shape, default=0) >= 0, "sizes are not negative", shape, ShapeError)
    return shape


def as_axis(axis: Any, ndim: int) -> int:
    """An axis counted from the front; AxisError where `ndim` axes have none such.

    >>> as_axis(-1, 3)
    2
    """
    place = as_size(axis, "axis")
    expect(-ndim <= place < ndim, f"{-ndim} <= axis < {ndim}", place, AxisError,
           remedy=f"the tensor has {ndim} axes")
    return place % ndim


def as_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, in rising order; None means all."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple([as_axis(a, ndim) for a in as_sizes(axis, "axis")])
    expect(len(set(axes)) == len(axes), "each axis once", axes, AxisError)
    return tuple(sorted(axes))


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which all broadcast (Array API standard 2024.12, broadcasting).

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    ndim = max(map(len, shapes), default=0)
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*padded):
        wide = set(sizes) - {1}
        if len(wide) > 1:
            raise ShapeError(
                f"shapes {' and '.join(map(str, shapes))} do not broadcast: "
                f"sizes {' and '.join(map(str, sorted(wide)))} meet",
                remedy="make the sizes equal, or 1, with reshape or expand_dims",
            )
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def expanded_strides(spec: Spec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides under which the elements of `spec` appear in the wider `shape`."""
    lead = len(shape) - spec.ndim
    return (0,) * lead + tuple(
        [0 if have == 1 else stride for have, stride in zip(spec.shape, spec.strides)]
    )
