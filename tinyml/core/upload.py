"""Turn numbers, lists and arrays into tensors on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyml.core.make import Tensor, make
from tinyml.core.node import Data
from tinyml.core.plan import Implicit, make_plan
from tinyml.core.state import STATE
from tinyml.dtypes import DType, as_dtype
from tinyml.errors import DTypeError
from tinyml.ir.devices import HOST, find_device
from tinyml.ir.spec import make_spec

SCALARS = (bool, int, float, complex)


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
    array = target.as_array(data, dtype)
    own = as_dtype(array.dtype)
    wanted = own if dtype is None else as_dtype(dtype)
    if not target.supports(wanted):
        raise DTypeError(f"device {target.name} has no {wanted.name}", remedy="float32")
    spec = make_spec(array.shape, wanted, target)
    if own is not wanted:
        array = _converted(array, own, wanted)
    dense = np.ascontiguousarray(array, wanted.numpy).reshape(array.shape)
    STATE.uploading = spec
    try:
        return make(target.upload(dense, wanted), spec)
    finally:
        STATE.uploading = None


def _converted(array: np.ndarray[Any, Any], own: DType, wanted: DType) -> np.ndarray[Any, Any]:
    """Return an array in another type: by NumPy if that is exact or rounds once, else by `cast`."""
    if own.kind == "complex" and wanted.kind != "complex":
        raise DTypeError(f"{own.name} values as {wanted.name} would lose their imaginary parts",
                         remedy="take the real parts first")
    if own.is_inexact and (wanted.is_integer or wanted.is_small_float) and array.size:
        source = upload(array, HOST)
        plan = make_plan(Implicit.cast, (source.spec,), {"dtype": wanted})
        return make(plan.run(source.buf), plan.out).numpy()
    with np.errstate(over="ignore"):
        return array.astype(wanted.numpy)
