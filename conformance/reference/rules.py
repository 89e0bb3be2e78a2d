"""The reference's table, and its own rules for the dtypes of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Compute = Callable[..., Any]

# The default integer and float: the types of Python scalars where no array decides.
INTEGER, FLOAT = np.dtype("int64"), np.dtype("float32")


def kind(dtype: np.dtype[Any]) -> str:
    """Return NumPy's letter for a kind of number, also for the types of ml_dtypes.

    >>> import ml_dtypes
    >>> kind(np.dtype("int8")), kind(np.dtype(ml_dtypes.bfloat16)), kind(np.dtype(ml_dtypes.uint4))
    ('i', 'f', 'u')
    """
    letters = {"bfloat": "f", "float": "f", "int": "i", "uint": "u"}
    head = dtype.name.partition("_")[0].rstrip("0123456789")
    return letters.get(head, dtype.kind)


class Rule(NamedTuple):
    """How the reference computes an op, and the dtype of its result.

    `result` is 'common' (the common dtype of the data), 'float' (the same, or float32 for
    integers), 'part' (the type of its parts), 'real of float' (that of the parts of a float),
    'pair' (the complex type of two such), 'as is' (no promotion: the first argument's), a dtype's
    name, or 'sum'. `data` says which arguments share a common dtype; None means all. `wide` says
    whether floats arrive in long double; where the dtype itself decides the result, they arrive
    unchanged.
    """

    compute: Compute
    result: str
    data: tuple[int, ...] | None
    wide: bool = True


TABLE: dict[str, Rule] = {}

# Kinds of result with several outputs of the data's dtype.
_SEVERAL = {"two of the first": 2, "three of the first": 3}
# Kinds of result with a parameter, then its state, which is at least float32.
_WITH_STATE = {"first and its state": 1, "first and two of its state": 2}
# Kinds of result in which some outputs have the type of the data's parts.
_WITH_PART = {"part and first": ("part", "first"),
              "part and two of the first": ("part", "first", "first")}


def define(
    *names: str, result: str = "common", data: tuple[int, ...] | None = None, wide: bool = True
) -> Callable[[Compute], Compute]:
    """Enter a function into the table under the names of its op."""

    def enter(compute: Compute) -> Compute:
        for name in names:
            TABLE[name] = Rule(compute, result, data, wide)
        return compute

    return enter


def common(args: Sequence[Any], floating: bool = False) -> np.dtype[Any]:
    """Return the dtype in which arrays and Python scalars meet.

    Within a kind as the Array API has it; an integer or bool array beside a float array takes the
    float's dtype; a Python scalar changes the dtype only where its kind is above all arrays'.

    >>> common([np.int8([1]), np.float32([1])]), common([np.int8([1]), 2.5])
    (dtype('float32'), dtype('float32'))
    """
    dtypes = [x.dtype for x in args if isinstance(x, (np.ndarray, np.generic))]
    ranks = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    scalar_ranks = {bool: 0, int: 1, float: 2, complex: 3}
    top = max((ranks[kind(dtype)] for dtype in dtypes), default=-1)
    scalars = [x for x in args if not isinstance(x, (np.ndarray, np.generic))]
    scalar_top = max((scalar_ranks[type(x)] for x in scalars), default=-1)
    if scalar_top > top:
        meeting: np.dtype[Any] = (np.dtype(bool), INTEGER, FLOAT, np.dtype("complex64"))[scalar_top]
        if scalar_top == 3 and np.dtype("float64") in dtypes:
            meeting = np.dtype("complex128")
    else:
        highest = [dtype for dtype in dtypes if ranks[kind(dtype)] == top]
        meeting = np.result_type(*highest)
        if kind(meeting) == "f" and top < 2:
            raise TypeError(f"no common integer type of {highest}")
    return FLOAT if floating and kind(meeting) not in "fc" else meeting


def result_dtypes(
    rule: Rule, args: Sequence[Any], prepared: Sequence[Any], attrs: dict[str, Any]
) -> tuple[np.dtype[Any], ...]:
    """Return the dtype of each output."""
    data = rule.data or range(len(prepared))
    first = prepared[next(iter(data))].dtype
    if rule.result in ("common", "float", "as is"):
        return (first,)
    if rule.result == "sum":
        wide = {"b": INTEGER, "i": INTEGER, "u": np.dtype("uint64")}
        return (wide.get(kind(first), first),)
    if rule.result == "attribute":
        return (np.dtype(attrs["dtype"]),)
    if rule.result in ("part", "real of float"):
        return (first.type(0).real.dtype if first.kind == "c" else first,)
    if rule.result == "pair":
        return (np.dtype("complex128" if first == np.float64 else "complex64"),)
    if rule.result in _SEVERAL:
        return (first,) * _SEVERAL[rule.result]
    if rule.result in _WITH_STATE:
        state = first if first.itemsize > 4 else FLOAT
        return (first, *[state] * _WITH_STATE[rule.result])
    if rule.result in _WITH_PART:
        real = first.type(0).real.dtype
        return tuple([real if each == "part" else first for each in _WITH_PART[rule.result]])
    if rule.result == "first and index":
        return (first, INTEGER)
    return (np.dtype(rule.result),)
