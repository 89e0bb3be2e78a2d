"""16-bit floats in functions that apply several ops: computed in float32, rounded once at the end.

An op made of other ops does so by itself (`run_composition`). A function is no op, so each of its
ops would round: two numbers of 60,000 would have an infinite sum, and so an infinite mean.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from tinyml.core.apply import apply
from tinyml.core.node import Data
from tinyml.core.plan import Implicit
from tinyml.dtypes import DType, as_dtype, float32, promote

P = ParamSpec("P")
R = TypeVar("R")


def rounded_once(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function compute 16-bit floats in float32, and round its results once.

    Its float32 results get the type to which its arguments promote: tensors, arrays, and lists,
    which hold float32 if they hold a Python float. Python numbers are weak.

    >>> import tinyml
    >>> half = rounded_once(lambda x: (x + x) * 0.5)
    >>> half(tinyml.tensor(60000.0, dtype="float16")).item()
    60000.0
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        leaves = [*args, *kwargs.values()]
        if not any(_is_narrow(dtype) for dtype in _dtypes(leaves, data=True)):
            return function(*args, **kwargs)
        result = function(*[_widened(x) for x in args],
                          **{k: _widened(x) for k, x in kwargs.items()})
        dtype = functools.reduce(promote, [d for d in _dtypes(leaves) if d.is_inexact])
        return cast(R, _narrowed(result, dtype) if _is_narrow(dtype) else result)

    return call


def _is_narrow(dtype: DType) -> bool:
    return dtype.is_float and dtype.bits == 16


def _dtypes(values: Any, data: bool = False) -> Iterator[DType]:
    """Return the types of all tensors in nested lists; unless `data`, those of arrays, too."""
    for x in values:
        if isinstance(x, Data):
            yield x.spec.dtype
        elif isinstance(x, (list, tuple)):
            yield from _dtypes(x, data)
            if not data and any(type(each) is float for each in x):
                yield float32
        elif not data and isinstance(x, np.ndarray):
            yield as_dtype(x.dtype)


def _widened(x: Any) -> Any:
    """Return an argument with the 16-bit tensors in it as float32."""
    if isinstance(x, Data):
        dtype = x.spec.dtype
        return apply(Implicit.cast, x, dtype=float32) if _is_narrow(dtype) else x
    return type(x)([_widened(each) for each in x]) if type(x) in (list, tuple) else x


def _narrowed(y: Any, dtype: DType) -> Any:
    """Return a result with the float32 tensors in it rounded to a type."""
    if isinstance(y, Data):
        return apply(Implicit.cast, y, dtype=dtype) if y.spec.dtype is float32 else y
    return type(y)([_narrowed(each, dtype) for each in y]) if type(y) in (list, tuple) else y
