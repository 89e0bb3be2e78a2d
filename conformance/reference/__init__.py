"""The reference: every operation in NumPy alone, in the widest float there is.

It shares nothing with the code it judges: no dtype rules, no shape rules, no formulas. `evaluate`
returns each output's exact value (long double for floats; integers as integers, which wrap around)
and the dtype that the result must have. `define` enters a function for an op into `TABLE`; a
plugin's op can be judged once it has one.

>>> from tinyml.conformance.reference import evaluate
>>> import numpy as np
>>> [(r.value.tolist(), r.dtype.name) for r in evaluate("add", np.int8([100, 1]), 100)]
[([-56, 101], 'int8')]
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import arithmetic, bessel, beyond, matrices, order, shaped, special, steps
from .rules import TABLE, Rule, common, define, kind, result_dtypes

__all__ = ["TABLE", "UNIQUE", "Result", "define", "dtypes", "evaluate", "kind", "native", "wide",
           "widened"]

# These modules fill the table when they are imported.
_FILLED_BY = (arithmetic, bessel, beyond, matrices, order, shaped, special, steps)

UNIQUE = matrices.UNIQUE


class Result(NamedTuple):
    """One output: its value in the widest type, and the dtype that the result must have."""

    value: npt.NDArray[Any]
    dtype: np.dtype[Any]


def wide(name: str, *args: Any, **attrs: Any) -> tuple[npt.NDArray[Any], ...]:
    """Return the outputs of an op on arrays as they are, without promotion or rounding.

    Central differences are taken of these; floats given in long double stay in long double.

    >>> float(wide("square", np.longdouble(1.5))[0])
    2.25
    """
    with np.errstate(all="ignore"):
        outputs = TABLE[name].compute(*args, **attrs)
    return tuple(map(np.asarray, outputs if isinstance(outputs, tuple) else (outputs,)))


def evaluate(name: str, *args: Any, **attrs: Any) -> tuple[Result, ...]:
    """Return the exact outputs of an op, each with the dtype of its result.

    Arguments are NumPy arrays and Python scalars. The scalars are weakly typed: they take the dtype
    of the arrays. Raises KeyError for an op the reference does not know, and TypeError where dtypes
    have no common type.
    """
    rule = TABLE[name]
    prepared = _prepare(rule, args)
    dtypes = result_dtypes(rule, args, prepared, attrs)
    values = wide(name, *[_widen(x) if rule.wide else x for x in prepared], **attrs)
    return tuple(
        Result(_fit(value, dtype), dtype) for value, dtype in zip(values, dtypes, strict=True)
    )


def dtypes(name: str, *args: Any, **attrs: Any) -> tuple[np.dtype[Any], ...]:
    """Return the dtypes that the outputs must have, without computing them. Raises as `evaluate`.

    >>> dtypes("less", np.int8([1]), 2)
    (dtype('bool'),)
    """
    rule = TABLE[name]
    return result_dtypes(rule, args, _prepare(rule, args), attrs)


def native(name: str, *args: Any, **attrs: Any) -> tuple[npt.NDArray[Any], ...]:
    """Return the outputs computed in the dtype of the arguments, as NumPy itself would.

    Narrow floats are computed in float32 and rounded once, as their arithmetic is defined here.

    >>> native("sum", np.float32([1, 2]), axis=(0,))[0]
    array(3., dtype=float32)
    """
    rule = TABLE[name]
    prepared = _prepare(rule, args)
    dtypes = result_dtypes(rule, args, prepared, attrs)
    values = wide(name, *[_computed(x) for x in prepared], **attrs)
    with np.errstate(all="ignore"):
        return tuple(value.astype(dtype) for value, dtype in zip(values, dtypes, strict=True))


def _computed(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return x.astype(np.float32) if kind(x.dtype) == "f" and x.dtype.itemsize < 4 else x


def widened(name: str, *args: Any) -> tuple[npt.NDArray[Any], ...]:
    """Return the arguments in their common dtype, floats in long double: the op's exact inputs."""
    return tuple(_widen(x) for x in _prepare(TABLE[name], args))


def _prepare(rule: Rule, args: tuple[Any, ...]) -> list[Any]:
    """Return the arguments, with the data converted to their common dtype."""
    data = range(len(args)) if rule.data is None else rule.data
    if rule.result == "as is":
        return [np.asarray(arg) for arg in args]
    dtype = common([args[k] for k in data], floating="float" in rule.result.split())
    with np.errstate(all="ignore"):
        return [
            np.asarray(arg).astype(dtype) if k in data else np.asarray(arg)
            for k, arg in enumerate(args)
        ]


def _widen(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return floats in long double, complex numbers with such parts, packed integers in bytes."""
    letter = kind(x.dtype)
    if letter in "fc":
        with np.errstate(invalid="ignore"):  # converting a NaN of ml_dtypes
            return x.astype(np.longdouble if letter == "f" else np.clongdouble)
    return x.astype(f"{letter}1") if x.dtype.name in ("int4", "uint4") else x


def _fit(value: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return wide floats unchanged, integers and bools in the dtype of the result."""
    if kind(dtype) in "fc":
        return value.astype(np.longdouble if kind(dtype) == "f" else np.clongdouble)
    return value.astype(dtype)
