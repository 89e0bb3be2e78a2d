"""Adapters of elementwise ops: arithmetic, functions, activations, casts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tinyml as tm


def same(name: str) -> Callable[..., Any]:
    """Return tinyml's function of that name, looked up when called: a missing one fails its op."""
    return lambda *args: getattr(tm, name)(*args)


# The same name and arguments in both libraries.
ALIKE = """
abs acos acosh asin asinh atan atan2 atanh ceil complex conj copysign cos cosh
deg2rad erf erfc exp exp2 expm1 floor floor_divide fmax fmin fmod frac frexp heaviside hypot
isfinite isinf isnan isneginf isposinf isreal ldexp lerp log log10 log1p log2 logaddexp logaddexp2
logical_and logical_not logical_or logical_xor maximum minimum nan_to_num nextafter positive pow
rad2deg real reciprocal remainder rsqrt sigmoid sign signbit sin sinc sinh sqrt square tan tanh
trunc
""".split()
# torch's name -> tinyml's, where the arguments are the same.
NAMES = {
    "neg": "negative", "true_divide": "divide", "eq": "equal", "ne": "not_equal", "lt": "less",
    "le": "less_equal", "gt": "greater", "ge": "greater_equal", "max_binary": "maximum",
    "min_binary": "minimum", "mul": "multiply", "sgn": "sign", "conj_physical": "conj",
    "float_power": "pow", "nn_functional_silu": "silu", "nn_functional_mish": "mish",
    "nn_functional_logsigmoid": "logsigmoid", "nn_functional_softsign": "softsign",
    "nn_functional_tanhshrink": "tanhshrink",
}
# Functions of nn.functional with number arguments: tinyml's name, and torch's numbers in order.
WITH_NUMBERS: dict[str, tuple[tuple[str, float], ...]] = {
    "relu": (), "relu6": (), "selu": (), "hardswish": (), "hardsigmoid": (),
    "elu": (("alpha", 1.0),), "celu": (("alpha", 1.0),),
    "leaky_relu": (("negative_slope", 0.01),),
    "hardtanh": (("min_val", -1.0), ("max_val", 1.0)),
    "hardshrink": (("lambd", 0.5),), "softshrink": (("lambd", 0.5),),
    "softplus": (("beta", 1.0), ("threshold", 20.0)),
    "threshold": (("threshold", 0.0), ("value", 0.0)),
}
CASTS = {
    "bfloat16": "bfloat16", "half": "float16", "float": "float32", "double": "float64",
    "bool": "bool", "byte": "uint8", "char": "int8", "short": "int16", "int": "int32",
    "long": "int64", "cfloat": "complex64", "cdouble": "complex128",
}


def with_numbers(name: str) -> Callable[..., Any]:
    """Return an activation whose numbers torch takes by position or by name."""
    defaults = WITH_NUMBERS[name]

    def call(x: Any, *args: Any, inplace: bool = False, **kwargs: Any) -> Any:
        rest = [kwargs.get(key, value) for key, value in defaults[len(args) :]]
        return getattr(tm, name)(x, *args, *rest)

    return call


def cast(dtype: str) -> Callable[..., Any]:
    """Return a cast; torch's memory format has no meaning here."""
    return lambda x, memory_format=None: x.astype(dtype)


def divided(x: Any, y: Any, rounding_mode: Any = None) -> Any:
    """Return x / y, rounded toward 0, downward, or not."""
    found = x / y
    if rounding_mode == "trunc":
        return tm.trunc(found)
    return tm.floor_divide(x, y) if rounding_mode == "floor" else found


def clamp(x: Any, low: Any = None, high: Any = None) -> Any:
    """Return x between limits, each of which may be missing; limits promote with x."""
    return tm.clip(x, low, high)


def prelu(x: Any, weight: Any) -> Any:
    """Return x, times a slope where negative; the channels (axis 1) may have a slope each."""
    if weight.ndim and x.ndim != 1:
        weight = weight.reshape((weight.size, *[1] * (x.ndim - 2)) if x.ndim else ())
    return tm.leaky_relu(x, weight)


def gelu(x: Any, *, approximate: str = "none") -> Any:
    """Return x Phi(x), or its tanh approximation."""
    if approximate == "none":
        return tm.gelu(x)
    inner = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
    return x * 0.5 * (tm.tanh(inner) + 1.0)


TABLE: dict[str, Callable[..., Any]] = {
    **{name: same(name) for name in ALIKE},
    **{theirs: same(ours) for theirs, ours in NAMES.items()},
    **{f"nn_functional_{name}": with_numbers(name) for name in WITH_NUMBERS},
    **{theirs: cast(ours) for theirs, ours in CASTS.items()},
    "add": lambda x, y, alpha=1: x + y * alpha,
    "sub": lambda x, y, alpha=1: x - y * alpha,
    "rsub": lambda x, y, alpha=1: y - x * alpha,
    "__radd__": lambda x, y: y + x,
    "__rmul__": lambda x, y: y * x,
    "__rsub__": lambda x, y: y - x,
    "__rdiv__": lambda x, y: y / x,
    "__rpow__": lambda x, y: y ** x,
    "__rmod__": lambda x, y: tm.remainder(y, x),
    "addcmul": lambda x, a, b, *, value=1: tm.addcmul(x, a, b, value),
    "addcdiv": lambda x, a, b, *, value=1: tm.addcdiv(x, a, b, value),
    "div_no_rounding_mode": divided, "div_trunc_rounding": divided,
    "div_floor_rounding": divided,
    "clamp": clamp,
    "clamp_max": lambda x, high: clamp(x, None, high),
    "clamp_min": lambda x, low: clamp(x, low, None),
    "angle": lambda x: tm.atan2(tm.zeros_like(x), x),
    "polar": lambda size, angle: tm.complex(size * tm.cos(angle), size * tm.sin(angle)),
    "fill": lambda x, value: tm.full_like(x, float(value)),
    "isclose": lambda x, y, rtol=1e-5, atol=1e-8, equal_nan=False: tm.isclose(
        x, y, rtol, atol, equal_nan),
    "round": lambda x, *, decimals=0: tm.round(x, decimals=decimals),
    **{f"round_decimals_{name}": lambda x, *, decimals=0: tm.round(x, decimals=decimals)
       for name in ("0", "3", "neg_3")},
    "nn_functional_prelu": prelu,
    "nn_functional_gelu": gelu,
}
