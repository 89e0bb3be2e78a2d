"""The CPU's kernel of sort: NumPy's sorts, since the order that is asked for is the only one.

Up to 32 bits, a value and its index are one 64-bit key, so that any sort of keys is a stable sort
of values, and NumPy's vectorised one will do. Wider values go to its stable sort of indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.ir.devices import Call, Plan, kernel
from tinyml.kernels.common.interchange import over

Array = np.ndarray[Any, Any]
NARROW = 32  # bits of a value, and of an index, of which a key is made
SIGN = np.uint32(1 << (NARROW - 1))
MASK = np.uint64((1 << NARROW) - 1)


def _keys(x: Array) -> Array:
    """Unsigned numbers that order as the values do: both zeros alike, NaN greatest.

    The bits of floats order as integers do, those of negative ones the other way round.
    """
    if x.dtype.kind != "f":
        signed = x.dtype.kind == "i"
        whole: Array = x.astype(np.int32).view(np.uint32) ^ SIGN if signed else x.astype(np.uint32)
        return whole
    bits = (x + x.dtype.type(0)).view(np.uint32)
    keys: Array = np.where(bits & SIGN, ~bits, bits | SIGN)
    keys[x != x] = np.uint32(MASK)
    return keys


def _order(x: Array, descending: bool) -> Array:
    """Where the elements in order are, along the last axis."""
    size = x.shape[-1]
    if x.itemsize * 8 <= NARROW and size <= 1 << NARROW:
        keys = _keys(x)
        pairs: Array = (~keys if descending else keys).astype(np.uint64) << np.uint64(NARROW)
        pairs |= np.arange(size, dtype=np.uint64)
        pairs.sort(axis=-1)
        found: Array = (pairs & MASK).view(np.int64)
        return found
    # NumPy puts NaN last, and -0.0 beside 0.0. The last of equals comes first in a flipped order,
    # so for a descending one x is flipped before, too.
    found = np.argsort(np.flip(x, -1) if descending else x, -1, kind="stable")
    return np.subtract(size - 1, np.flip(found, -1)) if descending else found


@kernel("sort", "cpu")
def sort(call: Call) -> Plan:
    """Values and indices along an axis."""
    (spec,) = call.ins
    values, indices = call.outs
    axis, descending = call.attrs["axis"], call.attrs["descending"]
    device: Any = call.device

    def run(buffer: Any) -> tuple[Any, Any]:
        results = device.empty(values.nbytes), device.empty(indices.nbytes)
        if spec.size:
            x = np.ascontiguousarray(np.moveaxis(device.download(buffer, spec), axis, -1))
            order = _order(x.astype(np.float32) if spec.dtype.is_small_float else x, descending)
            found = np.take_along_axis(x, order, -1), order
            for new, out, result in zip(found, call.outs, results):
                array = over(result.ptr, result, out, writeable=True)
                np.moveaxis(array, axis, -1)[...] = new
        return results

    return Plan(run, call.outs, "kernel")
