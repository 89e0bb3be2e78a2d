"""Specs, what tensors are without their values: shape, dtype, device, strides."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from tinyml.dtypes import DType, uint8
from tinyml.errors import AllocationError
from tinyml.ir.dims import Dim

MAX_BYTES = (1 << 63) - 1


class Spec:
    """Shape, dtype, device and strides (in elements) of a tensor. Equal specs are one object.

    `symbolic` marks a value of a graph under construction, which has no memory. The stride of an
    axis of size 1, and every stride of an empty tensor, is 0, so that layouts that address the same
    elements are equal. `unknown` marks a shape with a size that depends on values (a
    `tinyml.ir.dims.Dim`); only symbolic specs and results of shape rules have one.
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

    def __reduce__(self) -> tuple[Any, ...]:
        return make_spec, (self.shape, self.dtype, self.device, self.strides, self.symbolic)

    @property
    def nbytes(self) -> int:
        """The number of bytes of the elements when stored densely."""
        if self.dtype.is_subbyte:
            return -(-self.size * self.dtype.bits // 8)
        return self.size * self.dtype.itemsize


_interned: weakref.WeakValueDictionary[Any, Spec] = weakref.WeakValueDictionary()
_entering: dict[Any, Spec] = {}  # on their way into `_interned`


def element_count(shape: Sequence[int], itemsize: int) -> int:
    """Return the product of the sizes; raise AllocationError if the bytes overflow 63 bits."""
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
    """Return the strides of a dense row-major tensor, in elements.

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
    """Return the unique Spec with these fields; `strides` None means dense.

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
        spec = _intern(key, spec)
    return spec


def _intern(key: Any, spec: Spec) -> Spec:
    """Return the one spec of a key, this one if there is none; without a lock, so never waiting.

    Another thread, a finalizer or a signal handler may do the same between any two lines. All who
    meet get one spec from `setdefault`, which is atomic; and who comes after the others are done
    finds theirs in `_interned`.
    """
    spec = _entering.setdefault(key, spec)
    known = _interned.get(key)
    if known is None:
        _interned[key] = known = spec
    _entering.pop(key, None)
    return known


def stored(spec: Spec) -> Spec:
    """Return the spec that a kernel writes for a tensor: unchanged, or the bytes of a packed one.

    >>> from tinyml.dtypes import float32, uint4
    >>> [stored(make_spec((3, 3), dtype, None)).shape for dtype in (float32, uint4)]
    [(3, 3), (5,)]
    """
    return make_spec((spec.nbytes,), uint8, spec.device) if spec.dtype.is_subbyte else spec


def flat(spec: Spec) -> Spec:
    """Return the dense one-axis spec with the same number of elements."""
    return make_spec((spec.size,), spec.dtype, spec.device)
