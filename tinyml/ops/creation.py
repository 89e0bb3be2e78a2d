"""Creation: tensors from data, from NumPy and DLPack, and from shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinyml.core.apply as core
import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor, make
from tinyml.core.node import Data, Leaf
from tinyml.core.plan import Implicit
from tinyml.core.upload import SCALARS, as_tensor, upload, upload_computed
from tinyml.dtypes import EVERY, DType, as_dtype, bool_, float32, int64, integer_range, uint64
from tinyml.errors import ArgumentError, ArgumentTypeError, DTypeError, GradientError, expect, shown
from tinyml.ir.devices import HOST, find_device
from tinyml.ir.op import Op, define
from tinyml.ir.spec import make_spec
from tinyml.ops.arguments import as_axis, as_number, as_shape, as_size, with_shape
from tinyml.ops.samples import Sample

__all__ = ["arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "from_numpy", "full",
           "full_like", "linspace", "ones", "ones_like", "tensor", "zeros", "zeros_like"]

COMPLEX = (complex, np.complexfloating)

TRANSFER: Op = define(
    "transfer",
    lambda x, device: make_spec(x.shape, x.dtype, find_device(device), None, x.symbolic),
    normalize=lambda x, device: {"device": find_device(device).name},
    host_impl=lambda x, device: upload(x.numpy(), device),
    grad=(lambda g, _y, _x, device: g.to(_x.device),),
    dtypes=(),
    doc="The same elements on another device.",
)
IOTA: Op = define(
    "iota", lambda x, axis: with_shape(x, x.shape, int64),
    normalize=lambda x, axis: {"axis": as_axis(axis, x.ndim)},
    nest=lambda n, index, x, axis: index[axis], differentiable=False, dtypes=EVERY,
    samples=lambda dtype: [Sample((samples.spread(dtype, (4, 3), 0, 1),), {"axis": axis}, name)
                           for axis, name in ((0, "rows"), (1, "columns"))],
    doc="The int64 index along an axis, in the shape of x.",
)

# ---- from data


@named_in_errors
def tensor(data: Any, dtype: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:
    """Return a new tensor holding a copy of `data`: a number, nested lists, an array or a tensor.

    Python floats become float32, ints int64. Raises ArgumentTypeError if `data` cannot be made into
    a tensor, DTypeError if its type has no counterpart.

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
            result = result.copy()
    else:
        result = upload(data, device, dtype)
    return _as_leaf(result) if requires_grad else result


def _as_leaf(result: Tensor) -> Tensor:
    """Turn a new tensor into a leaf that requires a gradient."""
    expect(result.spec.dtype.is_inexact, "a float type for a gradient", result.spec.dtype.name,
           GradientError)
    result.node = Leaf(result.spec, 0)
    return result


@named_in_errors
def asarray(obj: Any, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """Return `obj` as a tensor; on 'cpu' it may share memory with an array or a DLPack object.

    `copy` True always copies, False raises ArgumentError if sharing is not possible.

    >>> asarray([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    data = obj
    if isinstance(data, Data):
        kept: Any = data
        alters = (dtype is not None and as_dtype(dtype) is not kept.spec.dtype) or (
            device is not None and find_device(device) is not kept.device)
        if copy:
            moved: Tensor = kept if device is None else kept.to(device)
            return moved.copy() if dtype is None else moved.copy().astype(dtype)
        expect(copy is None or not alters, "a type and a device that need no copy",
               f"{kept.spec}", ArgumentError, remedy="copy=None")
        same: Tensor = kept if device is None else kept.to(device)
        return same if dtype is None else same.astype(dtype)
    if not isinstance(data, (list, tuple, *SCALARS)):
        data = find_device(HOST).as_array(data)
    target = find_device(device)
    if isinstance(data, np.ndarray) and not copy:
        borrowed = target.borrow(data)
        if borrowed is not None and (dtype is None or as_dtype(dtype) is borrowed[1].dtype):
            return make(*borrowed)
    expect(copy is not False, "data that can be shared", type(data).__name__, ArgumentError,
           remedy="copy=None")
    return tensor(data, dtype, device)


def as_tensors(*values: Any) -> list[Any]:
    """Return tensors as they are, numbers and arrays as tensors on the first tensor's device."""
    device = next((x.spec.device for x in values if isinstance(x, Data)), None)
    return [x if isinstance(x, Data) else asarray(x, device=device) for x in values]


@named_in_errors
def from_numpy(array: np.ndarray[Any, Any], device: Any = None) -> Tensor:
    """Return a tensor with a copy of a NumPy array; raises ArgumentTypeError for anything else."""
    if not isinstance(array, np.ndarray):
        raise ArgumentTypeError(f"a {type(array).__name__} is no NumPy array", remedy="tensor(...)")
    return upload(array, device)


@named_in_errors
def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """Return an object with `__dlpack__` as a tensor, on the CPU in the object's own memory.

    Array API standard 2024.12, from_dlpack. Data on other devices is copied, unless `copy` is
    False; True always copies. Shared memory stays alive as long as anyone holds it, and changes by
    its other owners are visible. Raises ArgumentTypeError if the object refuses, ArgumentError if
    sharing is requested but not possible.
    """
    if isinstance(x, Data):
        return asarray(x, None, device, copy)
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise ArgumentTypeError(f"a {type(x).__name__} has no __dlpack__", remedy="asarray(...)")
    return asarray(find_device(HOST).as_array(x, copy=copy), None, device, copy)


# ---- from one value


@named_in_errors
def full(shape: Any, fill_value: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return a tensor filled with one value, which becomes a tensor as `tensor` makes one.

    So its type is that of `tensor(fill_value)` unless `dtype` names another, and values that the
    type does not hold are cast or refused alike. Raises ShapeError unless there is one value.

    >>> full((2,), 1.5).tolist(), full((1,), 300.7, dtype="int8").tolist()
    ([1.5, 1.5], [127])
    """
    size = as_shape(shape)
    make_one = tensor if isinstance(fill_value, Data) else upload
    one = make_one(fill_value, device=device, dtype=dtype)
    expect(one.ndim == 0, "one value", one.shape, remedy="broadcast_to(tensor(...), shape)")
    return apply(Implicit.expand, one, shape=size) if size else one


def _filled(name: str, shape: Any, value: int, dtype: Any, device: Any) -> Tensor:
    """Return `full`, of float32 by default; a second size in the type's place is refused."""
    if type(dtype) is int:
        sizes = (shape, dtype, *([device] if type(device) is int else []))
        raise DTypeError(f"no data type {dtype}",
                         remedy=f"{name}({shown(sizes)}): all sizes in one tuple")
    return full(shape, value, float32 if dtype is None else dtype, device)


@named_in_errors
def zeros(shape: Any, dtype: Any = None, device: Any = None,
          requires_grad: bool = False) -> Tensor:
    """Return a tensor of zeros, float32 unless `dtype` names another type."""
    result = _filled("zeros", shape, 0, dtype, device)
    return _as_leaf(result) if requires_grad else result


@named_in_errors
def ones(shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of ones, float32 unless `dtype` names another type."""
    result = _filled("ones", shape, 1, dtype, device)
    return _as_leaf(result) if requires_grad else result


@named_in_errors
def empty(shape: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return a tensor with unspecified values; they are zeros, so that no old data leaks."""
    return _filled("empty", shape, 0, dtype, device)


@named_in_errors
def full_like(x: Any, fill_value: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return a tensor of one value, with the shape of x, and its type and device unless given."""
    x = as_tensor(x)
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype,
                x.device if device is None else device)


@named_in_errors
def zeros_like(x: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return zeros with the shape of x, and its type and device unless given."""
    return full_like(x, 0, dtype, device)


@named_in_errors
def ones_like(x: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return ones with the shape of x, and its type and device unless given."""
    return full_like(x, 1, dtype, device)


empty_like = zeros_like

# ---- from a rule


def index_along(shape: tuple[int, ...], axis: int, device: Any) -> Tensor:
    """Return the int64 index along an axis, as a tensor of a shape, computed on the device.

    >>> index_along((2, 2), 1, None).tolist()
    [[0, 1], [0, 1]]
    """
    return apply(IOTA, core.full(shape, False, bool_, device), axis=axis)


def _progression(first: int, step: int, count: int, dtype: Any) -> tuple[DType, Any]:
    """Return the type and the values of integers `step` apart; exact, so they never wrap around.

    Raises ArgumentError if the type does not hold them.
    """
    ends = [first, first + max(count - 1, 0) * step]
    wanted = as_dtype(find_device(HOST).as_array(ends).dtype if dtype is None else dtype)
    if wanted.is_integer:
        find_device(HOST).as_array(ends, wanted)  # refuses ends that the type does not hold
        wide = (uint64 if wanted.kind == "uint" else int64).numpy
        start, apart = (np.array(v % (1 << 64), np.uint64) for v in (first, step))
        return wanted, lambda: (start + np.arange(count, dtype=np.uint64) * apart).view(wide)
    if max(map(abs, (*ends, step))) < 1 << 63:
        return wanted, lambda: first + np.arange(count) * step
    return wanted, lambda: first + np.arange(count) * float(step)


@named_in_errors
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None,
           device: Any = None) -> Tensor:
    """Return start, start + step, ... up to but not including stop; with one argument, from 0.

    Integers are exact; they give int64 (or uint64 where only that holds them), other numbers
    float32, unless `dtype` names another type, whose values they become as in `tensor`. Raises
    ArgumentError for a step of 0, for ends that are not finite, and for integers that `dtype` does
    not hold.

    >>> arange(3).tolist(), arange(1.0, 2.0, 0.5).tolist()
    ([0, 1, 2], [1.0, 1.5])
    """
    ends = (0, start, step) if stop is None else (start, stop, step)
    first, last, apart = (as_number(v, n) for v, n in zip(ends, ("start", "stop", "step")))
    expect(all(map(math.isfinite, (first, last, apart))), "finite numbers", ends, ArgumentError)
    expect(apart != 0, "a step other than 0", step, ArgumentError)
    if all(isinstance(v, int) for v in (first, last, apart)):
        count = max(0, -((first - last) // apart))
        wanted, values = _progression(int(first), int(apart), int(count), dtype)
        return upload_computed(values, (int(count),), wanted, device)
    length = (last - first) / apart
    expect(math.isfinite(length), "a number of steps that is finite", length, ArgumentError)
    count = max(0, math.ceil(length))
    return upload_computed(lambda: np.arange(float(first), float(last), float(apart)), (count,),
                      as_dtype(float32 if dtype is None else dtype), device)


def _spaced(start: Any, stop: Any, count: int, endpoint: bool, dtype: DType) -> Any:
    """Return evenly spaced values in double precision; for an integer type, rounded down.

    Integers between integers are exact. A span beyond the range of floats is halved first.
    """
    if dtype.is_integer and isinstance(start, int) and isinstance(stop, int):
        steps = np.arange(count)
        parts = max(count - endpoint, 1)
        if max(abs(start), abs(stop), abs(stop - start) * max(count, 1)) >= 1 << 63:
            steps = steps.astype(object)
        exact = np.clip(start + steps * (stop - start) // parts, *integer_range(dtype))
        return exact.astype((uint64 if dtype is uint64 else int64).numpy)
    half = 1.0 if np.isfinite(np.subtract(stop, start, dtype=complex)) else 0.5
    values = np.linspace(start * half, stop * half, count, endpoint=endpoint) / half
    return np.floor(values) if dtype.is_integer else values


@named_in_errors
def linspace(start: Any, stop: Any, num: int, dtype: Any = None, device: Any = None,
             endpoint: bool = True) -> Tensor:
    """Return `num` evenly spaced values from start to stop, excluding stop if not `endpoint`.

    float32, or complex64 for complex ends, unless `dtype` names another type. For integer types,
    values are rounded down, as in NumPy, and saturate. Raises ShapeError, ArgumentTypeError, and
    DTypeError for complex ends in a real type.

    >>> linspace(0.0, 1.0, 4, endpoint=False).tolist(), linspace(-3, 3, 5, dtype="int8").tolist()
    ([0.0, 0.25, 0.5, 0.75], [-3, -2, 0, 1, 3])
    """
    first, last = (v if isinstance(v, COMPLEX) else as_number(v, n)
                   for v, n in ((start, "start"), (stop, "stop")))
    shape = as_shape(as_size(num, "num"))
    default = complex if isinstance(first, COMPLEX) or isinstance(last, COMPLEX) else float
    wanted = as_dtype(default if dtype is None else dtype)
    return upload_computed(lambda: _spaced(first, last, shape[0], endpoint, wanted), shape, wanted,
                      device)


@named_in_errors
def eye(n_rows: int, n_cols: int | None = None, k: int = 0, dtype: Any = None,
        device: Any = None) -> Tensor:
    """Return ones on the k-th diagonal, above the main one if k is positive; zeros elsewhere.

    >>> eye(2, 3, k=1).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    shape = as_shape((n_rows, n_rows if n_cols is None else n_cols))
    return upload_computed(lambda: np.eye(shape[0], shape[1], as_size(k, "k"), bool), shape,
                      as_dtype(float32 if dtype is None else dtype), device)
