"""Types smaller than a byte, on the host: packing several elements into a byte, and unpacking."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.dtypes import DType, uint8
from tinyml.ir.spec import Spec, make_spec

Array = np.ndarray[Any, Any]


def pack(array: Array, dtype: DType | None) -> Array:
    """Return elements packed in row-major order, the first one in the low bits of each byte.

    If `dtype` is None or takes whole bytes, the array is returned unchanged.

    >>> from tinyml.dtypes import uint4
    >>> pack(np.array([1, 2, 3]), uint4).tolist()
    [33, 3]
    """
    if dtype is None or not dtype.is_subbyte:
        return array
    per = 8 // dtype.bits
    values = array.astype(np.int8).ravel() & ((1 << dtype.bits) - 1)
    whole = np.zeros(-(-values.size // per) * per, np.uint8)
    whole[: values.size] = values
    shifts = np.arange(per, dtype=np.uint8) * np.uint8(dtype.bits)
    result: Array = np.bitwise_or.reduce(whole.reshape(-1, per) << shifts, 1)
    return result


def byte_spec(spec: Spec) -> Spec:
    """Return the spec of the bytes that a packed tensor reads, whether or not it is a view."""
    last = sum((n - 1) * s for n, s in zip(spec.shape, spec.strides)) if spec.size else -1
    return make_spec((-(-(last + 1) * spec.dtype.bits // 8),), uint8, spec.device)


def unpack(data: Array, spec: Spec) -> Array:
    """Return the elements of a packed tensor, as a read-only array of ml_dtypes' type.

    >>> from tinyml.dtypes import int4
    >>> from tinyml.ir.spec import make_spec
    >>> unpack(np.array([0xF1, 2], np.uint8), make_spec((3,), int4, None)).tolist()
    [1, -1, 2]
    """
    dtype = spec.dtype
    shifts = np.arange(8 // dtype.bits, dtype=np.uint8) * np.uint8(dtype.bits)
    values = (data[:, None] >> shifts & np.uint8((1 << dtype.bits) - 1)).ravel().astype(np.int8)
    if dtype.kind == "int":
        half = np.int8(1 << (dtype.bits - 1))
        values = (values ^ half) - half
    places = np.zeros(spec.shape, np.int64)
    for axis, (size, step) in enumerate(zip(spec.shape, spec.strides)):
        places += (np.arange(size) * step).reshape(-1, *[1] * (spec.ndim - axis - 1))
    values = values if spec.size else np.empty(1, np.int8)
    array = np.asarray(values[places]).astype(dtype.numpy)
    array.flags.writeable = False
    return array
