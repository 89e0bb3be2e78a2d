"""Adapters of elementwise ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinyml as tm


def same(name: str) -> Callable[..., Any]:
    """The function of tinyml of that name, looked up when called: an absent one fails its op."""
    return lambda *args: getattr(tm, name)(*args)


# torch's name -> tinyml's, where the arguments are the same.
NAMES = {
    "abs": "abs", "cos": "cos", "erf": "erf", "erfc": "erfc", "exp": "exp", "floor": "floor",
    "isnan": "isnan", "log": "log", "logical_and": "logical_and", "logical_not": "logical_not",
    "logical_or": "logical_or", "neg": "negative", "pow": "pow", "reciprocal": "reciprocal",
    "sigmoid": "sigmoid", "sin": "sin", "sqrt": "sqrt", "square": "square", "tanh": "tanh",
    "true_divide": "divide", "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal",
    "gt": "greater", "ge": "greater_equal", "maximum": "maximum", "minimum": "minimum",
    "max_binary": "maximum", "min_binary": "minimum", "mul": "multiply", "sign": "sign",
    "sgn": "sign",
}

TABLE: dict[str, Callable[..., Any]] = {
    **{theirs: same(ours) for theirs, ours in NAMES.items()},
    "add": lambda x, y, alpha=1: x + y * alpha,
    "sub": lambda x, y, alpha=1: x - y * alpha,
    "rsub": lambda x, y, alpha=1: y - x * alpha,
    "__radd__": lambda x, y: y + x,
    "__rmul__": lambda x, y: y * x,
    "__rsub__": lambda x, y: y - x,
    "__rdiv__": lambda x, y: y / x,
    "__rpow__": lambda x, y: y ** x,
    "addcmul": lambda x, a, b, value=1: x + a * b * value,
    "addcdiv": lambda x, a, b, value=1: x + a / b * value,
    "lerp": lambda x, end, weight: x + (end - x) * weight,
    "nn_functional_relu": lambda x, inplace=False: tm.relu(x),
}
