"""The CPU's sort kernel, built on NumPy's sorts; a stable order is unique.

A value of up to 32 bits and its index form one 64-bit key. Any sort of such keys is a stable sort
of the values, so NumPy's vectorised sort works. Wider values use its stable argsort.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.ir.devices import Call, Plan, kernel
from tinyml.kernels.common.interchange import array_at

Array = np.ndarray[Any, Any]
HALF = 32  # bits of a value, and of an index, in a key
SIGN = np.uint32(1 << (HALF - 1))
MASK = np.uint64((1 << HALF) - 1)


def _keys(x: Array) -> Array:
    """Return unsigned integers in the order of the values: both zeros equal, NaN greatest.

    The bits of floats sort like integers; those of negative floats, in reverse.
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
    """Return the indices that sort the last axis."""
    size = x.shape[-1]
    if x.itemsize * 8 <= HALF and size <= 1 << HALF:
        keys = _keys(x)
        pairs: Array = (~keys if descending else keys).astype(np.uint64) << np.uint64(HALF)
        pairs |= np.arange(size, dtype=np.uint64)
        pairs.sort(axis=-1)
        found: Array = (pairs & MASK).view(np.int64)
        return found
    # NumPy puts NaN last, and treats -0.0 as equal to 0.0. Reversing the order also reverses equal
    # elements, so for a descending sort x is reversed first, too.
    found = np.argsort(np.flip(x, -1) if descending else x, -1, kind="stable")
    return np.subtract(size - 1, np.flip(found, -1)) if descending else found


@kernel("sort", "cpu")
def sort(call: Call) -> Plan:
    """Return the plan that sorts values and indices along an axis."""
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
                array = array_at(result.ptr, result, out, writeable=True)
                np.moveaxis(array, axis, -1)[...] = new
        return results

    return Plan(run, call.outs, "kernel")
