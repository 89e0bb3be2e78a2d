"""Turn numbers, lists and arrays into tensors on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyml.core.make import Tensor, make
from tinyml.core.node import Data
from tinyml.core.plan import Implicit, make_plan
from tinyml.core.state import STATE
from tinyml.dtypes import DType, as_dtype
from tinyml.errors import DTypeError, shown
from tinyml.ir.devices import HOST, Device, find_device
from tinyml.ir.spec import element_count, make_spec

SCALARS = (bool, int, float, complex)
SMALL = 1 << 20  # bytes that need no permission
MOST_AXES = 64  # of NumPy; a list that holds itself would have no end
_BYTES = {bool: 1, int: 8, float: 4, complex: 8}  # in a tensor


class Deferred:
    """Base class of what becomes an operand of a graph only beside others (tinyml.state.number)."""

    __slots__ = ()

    def operand(self, near: Sequence[Any]) -> Tensor:
        """Return it as a tensor beside others."""
        raise NotImplementedError


def as_operands(xs: Sequence[Any]) -> list[Any]:
    """Return tensors unchanged, and arrays and lists as tensors on their device.

    Numbers stay numbers next to a tensor, and become tensors if there is none.
    """
    if any(isinstance(x, Deferred) for x in xs):
        xs = [x.operand(xs) if isinstance(x, Deferred) else x for x in xs]
    device = next((x.spec.device for x in xs if isinstance(x, Data)), None)
    return [x if device is not None and type(x) in SCALARS else as_tensor(x, device) for x in xs]


def upload_all(values: Sequence[Any], near: Sequence[Any] = ()) -> list[Any]:
    """Return tensors unchanged, and numbers, arrays and lists on the first tensor's device.

    Tensors in `near` count too, after the values.
    """
    device = next((x.spec.device for x in (*values, *near) if isinstance(x, Data)), None)
    return [as_tensor(x, device) for x in values]


def as_tensor(value: Any, device: Any = None) -> Any:
    """Return a tensor unchanged, and a number, a list or an array as a tensor."""
    return value if isinstance(value, Data) else upload(value, device)


def upload(data: Any, device: Any = None, dtype: Any = None) -> Tensor:
    """Return a number, a nested list or an array as a tensor on a device.

    Raises ArgumentTypeError for anything else, DTypeError if its type has no counterpart.
    """
    target = find_device(device)
    if isinstance(data, (list, tuple, range)):
        _ask(target, *_guess_size(data, dtype))
    array = target.as_array(data, dtype)
    if array.dtype.kind == "O":
        raise DTypeError(f"not numbers of a type that tensors have: {shown(data)}",
                         remedy="numbers of at most 64 bits, in lists of one length")
    own = as_dtype(array.dtype)
    wanted = own if dtype is None else as_dtype(dtype)
    if not target.supports(wanted):
        raise DTypeError(f"device {target.name} has no {wanted.name}", remedy="float32")
    spec = make_spec(array.shape, wanted, target)
    _ask(target, array.shape, wanted.itemsize)
    if own is not wanted:
        array = _converted(array, own, wanted)
    dense = np.ascontiguousarray(array, wanted.numpy).reshape(array.shape)
    STATE.uploading = spec
    try:
        return make(target.upload(dense, wanted), spec)
    finally:
        STATE.uploading = None


def upload_computed(values: Callable[[], Any], shape: tuple[int, ...], dtype: DType,
                    device: Any) -> Tensor:
    """Return a tensor of values that NumPy computes, once the device has agreed to take them.

    They are known even while a graph is built, and become the type's as in `upload`: floats are
    rounded once, from double precision, even for devices without it.
    """
    _ask(find_device(device), shape, dtype.itemsize)
    with np.errstate(all="ignore"):
        return upload(values(), device, dtype)


def _ask(target: Device, shape: Sequence[int], itemsize: int) -> None:
    """Raise AllocationError if a device would refuse so much now, before the host takes memory."""
    nbytes = element_count(shape, itemsize) * itemsize
    if nbytes > SMALL:
        target.afford(nbytes)
        target.empty(nbytes)  # which the upload will find free


def _guess_size(data: Any, dtype: Any) -> tuple[list[int], int]:
    """Return the shape of nested sequences, judged by their first elements, and an item's bytes."""
    shape: list[int] = []
    while isinstance(data, (list, tuple, range)) and len(shape) < MOST_AXES:
        shape.append(_length(data) if isinstance(data, range) else len(data))
        data = data[0] if shape[-1] else 0
    itemsize = _BYTES.get(type(data), 1) if dtype is None else as_dtype(dtype).itemsize
    return [*shape, *getattr(data, "shape", ())], itemsize


def _length(numbers: range) -> int:
    """Return the length of a range, also where `len` overflows."""
    return max(0, -((numbers.start - numbers.stop) // numbers.step))


def _converted(array: np.ndarray[Any, Any], own: DType, wanted: DType) -> np.ndarray[Any, Any]:
    """Return an array in another type: by NumPy if that is exact or rounds once, else by `cast`."""
    if own.kind == "complex" and wanted.kind != "complex":
        raise DTypeError(f"{own.name} values as {wanted.name} would lose their imaginary parts",
                         remedy="take the real parts first")
    if own.is_inexact and (wanted.is_integer or wanted.is_small_float) and array.size:
        source = upload(array, HOST)
        plan = make_plan(Implicit.cast, (source.spec,), {"dtype": wanted})
        return make(plan.run(source.buf), plan.out).numpy()
    if not own.is_inexact and wanted.bits > 16:
        return array.astype(wanted.numpy)  # which cannot overflow
    with np.errstate(over="ignore"):
        return array.astype(wanted.numpy)
