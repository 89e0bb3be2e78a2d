"""How tensors take part in Python's pickle and `copy`: by value, as safetensors bytes.

tinyml itself neither reads nor writes a pickle. Other programs do (multiprocessing, joblib,
deepcopy): they get what a file would hold. Only the values, the device and `requires_grad` go; a
gradient, hooks and how a tensor was made do not, and a view goes without the rest of its base.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from tinyml.core.node import Data, Leaf
from tinyml.dtypes import as_dtype
from tinyml.errors import DeviceError, DeviceWarning, DTypeError, FileFormatError, GradientError
from tinyml.ir.devices import HOST
from tinyml.ops.creation import tensor

# What holds, exactly, the elements of a type that safetensors lacks.
_HELD_AS = {"complex128": "float64", "int4": "int8", "uint4": "uint8"}
_ONLY = "tensor"


def is_leaf(x: Data) -> bool:
    """Return whether a tensor has no node, or is a leaf that the user made.

    Raises GradientError for any other: a copy by value would lose its gradient without a word.
    """
    if x.node is None:
        return False
    if isinstance(x.node, Leaf) and not x.node.parents and x.node.min_level == 0:
        return True
    raise GradientError(f"{x.spec} has a gradient, which a copy of its values would lose",
                        remedy="x.detach() for the values; x.copy() is differentiable")


def reduce_tensor(x: Any) -> tuple[Any, ...]:
    """Return what pickle rebuilds the tensor of: safetensors bytes, dtype, device, kind.

    Raises GradientError unless the tensor is a leaf, ConcretizationError in a graph.
    """
    from safetensors.numpy import save

    leaf, dtype = is_leaf(x), x.spec.dtype
    array = np.ascontiguousarray(x.numpy()).reshape(x.spec.shape)
    if dtype.kind == "complex" and dtype.name in _HELD_AS:
        array = array.reshape(*array.shape, 1).view(_HELD_AS[dtype.name])
    elif dtype.name in _HELD_AS:
        array = array.astype(_HELD_AS[dtype.name])
    return restore_tensor, (save({_ONLY: array}), dtype.name, x.spec.device.name, leaf, type(x))


def restore_tensor(content: bytes, dtype: str, device: str, leaf: bool, cls: Any) -> Any:
    """Return the tensor that `reduce_tensor` took apart.

    It is on its device; where that is missing, on the CPU, with a DeviceWarning. Raises
    FileFormatError if the bytes are not such a tensor.
    """
    import safetensors

    kind = as_dtype(dtype)
    held = as_dtype(_HELD_AS.get(kind.name, kind.name))
    try:
        deserialize: Any = safetensors.deserialize  # it has no type annotations
        ((_, item),) = deserialize(content)
        array = np.frombuffer(item["data"], held.numpy.newbyteorder("<")).reshape(item["shape"])
        if kind.kind == "complex" and held is not kind:
            array = array.view(kind.numpy.newbyteorder("<")).reshape(array.shape[:-1])
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise FileFormatError(f"these bytes are not a pickled tensor: {error}") from None
    make = functools.partial(tensor, array, kind, requires_grad=leaf)
    try:
        result = make(device)
    except (DeviceError, DTypeError) as error:
        warnings.warn(f"a tensor of {device} is on {HOST} now: {error.message}", DeviceWarning,
                      stacklevel=2)
        result = make(HOST)
    if cls is type(result):
        return result
    return cls(result) if cls.is_state else cls(result.buf, result.spec, result.node)
