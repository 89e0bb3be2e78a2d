"""Constants of a trace: what may be one because it cannot change unseen."""

from __future__ import annotations

import copyreg
import functools
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyml.dtypes import DType
from tinyml.ir.op import Op
from tinyml.ir.spec import Spec

_CONSTANTS = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType,
              types.WrapperDescriptorType, types.ModuleType, type, np.ufunc, DType, Op, Spec)


_PLAIN = {int, str, float, bool, type(None), complex, bytes}


def find_mutable(value: Any, path: str = "") -> tuple[str, Any] | None:
    """Return the first thing in a value that may change unseen, after its attribute; or None.

    Unseen is a change that leaves hash and equality as they are: that of any object with attributes
    whose class does not define them. What cannot be hashed is as bad.
    """
    kind = type(value)
    if kind in _PLAIN or isinstance(value, _CONSTANTS):
        return None
    parts = _parts(value)
    if parts is not None:
        return next((found for name, part in parts
                     if (found := find_mutable(part, name or path)) is not None), None)
    try:
        hash(value)
    except TypeError:
        return path, value
    own_hash: Any = kind.__hash__
    known = (own_hash is not object.__hash__ or hasattr(value, "__wrapped__")  # a function's twin
             or hasattr(kind, "block_size") or hasattr(kind, "equations"))  # devices and graphs
    return None if known or _is_bare(value) else (path, value)


def _parts(value: Any) -> Iterator[tuple[str, Any]] | None:
    """Return what a container of constants holds, with the names of attributes."""
    if isinstance(value, (tuple, list, frozenset)):
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            return iter([(value[0], value[1])])
        return (("", part) for part in value)
    if isinstance(value, slice):
        return (("", part) for part in (value.start, value.stop, value.step))
    if type(value) is dict:
        return ((str(key), part) for key, part in value.items())
    if isinstance(value, types.MethodType):
        return iter([("", value.__self__)])
    if isinstance(value, functools.partial):
        return (("", part) for part in (value.func, value.args, value.keywords))
    return None


def _is_bare(value: Any) -> bool:
    """Return whether an object has no state at all, as pickle would see it."""
    try:
        made: Any = value.__reduce_ex__(2)
    except Exception:  # whatever its class raises, it is no object of Python's without state
        return False
    if isinstance(made, str):
        return True  # a name: the object is the only one of its kind, such as Ellipsis
    return (made[0] is copyreg.__newobj__  # type: ignore[attr-defined]
            and len(made[1]) == 1 and not any(made[2:]))
