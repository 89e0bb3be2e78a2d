"""Creation: tensors from data, from NumPy and DLPack, and from nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

import tinyml.core as core
from tinyml.core import apply, named, op_array, upload
from tinyml.dtypes import as_dtype, float32, int64
from tinyml.errors import ArgumentError, ArgumentTypeError, GradientError, expect
from tinyml.op import Op, define, find
from tinyml.registry import device as find_device
from tinyml.spec import as_shape, as_size, element_count, make_spec
from tinyml.values import Data, Leaf, make

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

TRANSFER: Op = define(
    "transfer",
    lambda x, device: make_spec(x.shape, x.dtype, find_device(device), None, x.symbolic),
    canon=lambda x, device: {"device": find_device(device).name},
    dynamic=lambda x, device: upload(x.numpy(), device),
    grad=(lambda g, _y, _x, device: g.to(_x.device),),
    dtypes=(),
    doc="The same elements on another device.",
)


@named
def tensor(data: Any, dtype: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data`: a number, nested lists, a NumPy array, a tensor.

    Python floats become float32, ints int64. Raises ArgumentTypeError where there is no tensor in
    `data`, DTypeError where its type has no counterpart.

    >>> import tinyml
    >>> tinyml.tensor([[1, 2], [3, 4]], dtype="float32").shape
    (2, 2)
    """
    if isinstance(data, Data):
        source: Any = data
        wanted = source.spec.dtype if dtype is None else as_dtype(dtype)
        moved = source.detach().to(device if device is not None else source.device)
        result: Tensor = moved.astype(wanted)
        if result.buf is source.buf:
            result = apply(find("copy"), result)
    else:
        result = upload(op_array(data, dtype), device, dtype)
    return _watched(result) if requires_grad else result


def _watched(result: Tensor) -> Tensor:
    expect(result.spec.dtype.is_float, "a float type for a gradient", result.spec.dtype.name,
           GradientError)
    result.node = Leaf(result.spec, 0)
    return result


@named
def asarray(data: Any, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of `data` that may share memory with it: a NumPy array or a DLPack object on 'cpu'.

    `copy` True always copies, False raises ArgumentError where sharing is not possible.
    """
    if isinstance(data, Data):
        kept: Any = data
        if copy or (dtype is not None and as_dtype(dtype) is not kept.spec.dtype):
            return tensor(kept, dtype, device)
        same: Tensor = kept if device is None else kept.to(device)
        return same
    if not isinstance(data, np.ndarray) and hasattr(data, "__dlpack__"):
        data = _from_dlpack(data)
    target = find_device(device)
    if isinstance(data, np.ndarray) and not copy and target.name == "cpu" and _shareable(data):
        wanted = as_dtype(data.dtype)
        if dtype is None or as_dtype(dtype) is wanted:
            strides = tuple([s // data.itemsize for s in data.strides])
            shared: Any = target
            return make(shared.share(data), make_spec(data.shape, wanted, target, strides))
    expect(copy is not False, "data that can be shared", type(data).__name__, ArgumentError,
           remedy="copy=None")
    return tensor(data, dtype, device)


def _shareable(array: np.ndarray[Any, Any]) -> bool:
    """Native byte order, aligned, and strides of whole elements."""
    return bool(array.dtype.isnative and array.flags.aligned and array.dtype.kind in "biuf"
                and all(s % array.itemsize == 0 for s in array.strides))


@named
def from_numpy(array: np.ndarray[Any, Any], device: Any = None) -> Tensor:
    """A tensor with a copy of a NumPy array."""
    if not isinstance(array, np.ndarray):
        raise ArgumentTypeError(f"a {type(array).__name__} is no NumPy array", remedy="tensor(...)")
    return upload(array, device)


def _from_dlpack(data: Any) -> np.ndarray[Any, Any]:
    try:
        return np.from_dlpack(data)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise ArgumentTypeError(f"DLPack import refused: {error}",
                                remedy="move the data to the CPU first") from None


@named
def from_dlpack(data: Any, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares memory with a DLPack object on the CPU, or a copy on other devices."""
    if not hasattr(data, "__dlpack__"):
        raise ArgumentTypeError(f"a {type(data).__name__} has no __dlpack__")
    return asarray(_from_dlpack(data), None, device, copy)


@named
def full(shape: Any, value: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of one value.

    >>> full((2,), 1.5).tolist()
    [1.5, 1.5]
    """
    wanted = as_dtype(type(value) if dtype is None else dtype)
    return core.full(as_shape(shape), value, wanted, find_device(device))


@named
def zeros(shape: Any, dtype: Any = None, device: Any = None,
          requires_grad: bool = False) -> Tensor:
    """A tensor of zeros, float32 unless `dtype` says otherwise."""
    result = full(shape, 0, float32 if dtype is None else dtype, device)
    return _watched(result) if requires_grad else result


@named
def ones(shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones, float32 unless `dtype` says otherwise."""
    result = full(shape, 1, float32 if dtype is None else dtype, device)
    return _watched(result) if requires_grad else result


def _afford(shape: Any, dtype: Any, device: Any) -> None:
    """AllocationError before NumPy makes what the device could not hold."""
    find_device(device).afford(element_count(as_shape(shape), dtype.itemsize) * dtype.itemsize)


def full_like(x: Any, value: Any, dtype: Any = None) -> Tensor:
    """A tensor of one value in the shape, type and place of another."""
    return full(x.shape, value, x.dtype if dtype is None else dtype, x.device)


def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    """Zeros in the shape, type and place of another tensor."""
    return full_like(x, 0, dtype)


def ones_like(x: Any, dtype: Any = None) -> Tensor:
    """Ones in the shape, type and place of another tensor."""
    return full_like(x, 1, dtype)


@named
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None,
           device: Any = None) -> Tensor:
    """start, start + step, ... before stop; with one argument, 0, 1, ... before it.

    >>> arange(3).tolist(), arange(1.0, 2.0, 0.5).tolist()
    ([0, 1, 2], [1.0, 1.5])
    """
    first, last = (0, start) if stop is None else (start, stop)
    whole = all(isinstance(v, (int, np.integer)) for v in (first, last, step))
    wanted = as_dtype((int64 if whole else float32) if dtype is None else dtype)
    if step == 0:
        raise ArgumentError("a step of 0", remedy="another step")
    count = max(0, math.ceil((last - first) / step))
    _afford((count,), wanted, device)
    return upload(np.arange(first, last, step).astype(wanted.numpy), device)


@named
def linspace(start: float, stop: float, num: int, dtype: Any = None, device: Any = None) -> Tensor:
    """`num` evenly spaced values from start to stop, both included."""
    wanted = as_dtype(float32 if dtype is None else dtype)
    _afford((as_size(num, "num"),), wanted, device)
    return upload(np.linspace(start, stop, num).astype(wanted.numpy), device)


@named
def eye(rows: int, columns: int | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on the diagonal, zeros elsewhere."""
    wanted = as_dtype(float32 if dtype is None else dtype)
    _afford((rows, rows if columns is None else columns), wanted, device)
    return upload(np.eye(rows, columns, dtype=wanted.numpy), device)

