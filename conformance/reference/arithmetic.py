"""The reference's arithmetic: elementwise operations, composites of them, and reductions."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from .rules import define, kind

Array = npt.NDArray[Any]
Axes = tuple[int, ...]

# 40 digits each, so that they are exact in any long double.
_PI = np.longdouble("3.141592653589793238462643383279502884197")
_SQRT_HALF = np.longdouble("0.7071067811865475244008443621048490392848")


# -- elementwise -------------------------------------------------------------------------------


# NumPy's functions of the same name, by the kind of their result.
_FLOAT = ("exp exp2 log log1p log2 log10 sqrt sin cos tan sinh cosh tanh deg2rad rad2deg "
          "hypot atan2=arctan2 copysign logaddexp logaddexp2 heaviside div=true_divide "
          "asin=arcsin acos=arccos atan=arctan asinh=arcsinh acosh=arccosh atanh=arctanh")
_SAME = ("add sub=subtract mul=multiply neg=negative square bitwise_and bitwise_or bitwise_xor "
         "bitwise_left_shift=left_shift bitwise_right_shift=right_shift bitwise_invert=invert "
         "remainder fmod fmax fmin gcd lcm clip sign")
_BOOL = ("equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor "
         "logical_not signbit isnan isfinite isinf isposinf isneginf")
for _names, _result in ((_FLOAT, "float"), (_SAME, "common"), (_BOOL, "bool")):
    for _name in _names.split():
        _op, _, _numpy = _name.partition("=")
        define(_op, result=_result)(getattr(np, _numpy or _op))
for _op, _to in {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.rint}.items():
    define(_op)(lambda x, f=_to: f(x) if x.dtype.kind in "fc" else x)
define("abs", result="part")(np.abs)
define("isreal", result="bool")(np.isreal)
define("isclose", result="bool")(
    lambda x, y, r, a: (x == y) | (np.abs(x - y) <= a + r * np.abs(y)) & np.isfinite(x - y))
define("angle", result="real of float")(
    lambda x: np.angle(x) if x.dtype.kind == "c" else np.where(
        x == x, np.where(x < 0, _PI, 0), x))
define("polar", result="pair")(lambda x, y: joined(x * np.cos(y), x * np.sin(y)))
define("nextafter", result="float", wide=False)(np.nextafter)


@define("expm1", result="float")
def expm1(x: Array) -> Array:
    """Return exp(x) - 1; for a complex number on the real axis, the real result."""
    result = np.expm1(x)
    return np.where(x.imag == 0, np.expm1(x.real), result) if x.dtype.kind == "c" else result


define("conj")(np.conj)
define("real", result="part")(np.real)
define("imag", result="part")(np.imag)


@define("complex", result="pair")
def joined(x: Array, y: Array) -> Array:
    """Return x + iy, without arithmetic."""
    result = np.empty(np.broadcast(x, y).shape, np.result_type(x, y, np.complex64))
    result.real, result.imag = x, y
    return result


@define("pow")
def power(x: Array, y: Array) -> Array:
    """Return x to the power y; integers modulo 2^64, with negative powers truncated toward 0."""
    if x.dtype.kind in "fc":
        return np.asarray(np.power(x, y))

    def exact(a: int, b: int) -> int:
        if b >= 0:
            return pow(int(a), int(b), 1 << 64)
        return {1: 1, -1: -1 if b % 2 else 1}.get(int(a), 0) % (1 << 64)

    values = np.asarray(np.frompyfunc(exact, 2, 1)(x, y), object)
    return values.astype(np.uint64).astype(x.dtype)


@define("floor_divide")
def floor_divide(x: Array, y: Array) -> Array:
    """Return x / y rounded down; x / y itself where one is infinite, as the Array API requires."""
    result = np.floor_divide(x, y)
    return np.where(np.isinf(x) | np.isinf(y), x / y, result) if x.dtype.kind == "f" else result


@define("frac", result="float")
def frac(x: Array) -> Array:
    """Return the fractional part of x."""
    return np.asarray(x - np.trunc(x))


@define("rsqrt", result="float")
def rsqrt(x: Array) -> Array:
    """Return 1 / sqrt(x)."""
    return np.asarray(1 / np.sqrt(x))


@define("scaled", result="float")
def scaled(x: Array, y: Array) -> Array:
    """Return x 2^y, with y truncated."""
    whole = np.clip(np.where(y == y, y, 0), -20000, 20000).astype(np.int32)
    return np.where(y == y, np.ldexp(x, whole), y)


@define("ldexp", result="float")
def ldexp(x: Array, y: Array) -> Array:
    """Return x 2^y."""
    return np.asarray(scaled(x, y) * np.exp2(np.where(np.isinf(y), 0, y - np.trunc(y))))


@define("logb", result="float")
def logb(x: Array) -> Array:
    """Return the exponent of x."""
    exponent = (np.frexp(x)[1] - 1).astype(x.dtype)
    return np.where(x == 0, -np.inf, np.where(np.isfinite(x), exponent, np.abs(x)))


@define("sinc", result="float")
def sinc(x: Array) -> Array:
    """Return sin(pi x) / (pi x), with x reduced by its integer part."""
    whole = np.rint(x)
    sine = np.sin(_PI * (x - whole)) * np.where(whole % 2 == 0, 1, -1)
    return np.where(x == 0, 1, sine / np.where(x == 0, 1, _PI * x))


@define("xlogy", result="float")
def xlogy(x: Array, y: Array) -> Array:
    """Return x log(y), 0 where x is 0."""
    return np.where((x == 0) & (y == y), 0, x * np.log(y))


@define("reciprocal", result="float")
def reciprocal(x: Array) -> Array:
    """Return 1 / x."""
    return np.asarray(np.divide(x.dtype.type(1), x))


@define("maximum")
def maximum(x: Array, y: Array) -> Array:
    """Return the greater; NaN propagates; of two zeros, the positive (IEEE 754-2019, maximum)."""
    result = np.maximum(x, y)
    zeros = (x == 0) & (y == 0)
    return np.where(zeros, x + y, result) if result.dtype.kind == "f" else result


@define("minimum")
def minimum(x: Array, y: Array) -> Array:
    """Return the lesser; NaN propagates; of two zeros, the negative (IEEE 754-2019, minimum)."""
    return -maximum(-x, -y) if x.dtype.kind == "f" else np.minimum(x, y)


@define("where", data=(1, 2))
def where(condition: Array, x: Array, y: Array) -> Array:
    """Return x where the condition holds, else y."""
    return np.where(condition, x, y)


@define("cast", result="attribute", data=(0,))
def cast(x: Array, dtype: str) -> Array:
    """Return x in another dtype.

    Floats to integers truncate and saturate, and NaN gives 0. Integers wrap.
    """
    to = np.dtype(dtype)
    if dtype == "float8_e4m3fn":  # it has no infinity: a value that rounds beyond 448 gives NaN
        x = np.where(np.abs(x) > 464, np.nan, x)
    if kind(to) in "fc":
        return x.astype(np.longdouble if kind(to) == "f" else np.clongdouble)
    if to.kind == "b":
        return np.asarray(x != 0)
    if x.dtype.kind != "f":
        return x.astype(to)
    info = ml_dtypes.iinfo(to)
    # Every 64-bit integer is exact in long double, so clipping comes before the cast.
    inside = np.clip(np.trunc(np.where(x != x, 0, x)), np.longdouble(info.min), info.max)
    return inside.astype(to)


# -- erf and functions of it --------------------------------------------------------------------


def _erf_series(x: Array) -> Array:
    """Return erf for |x| <= 2.5: all terms have one sign (Abramowitz and Stegun 7.1.6)."""
    term = x.copy()
    total = x.copy()
    for n in range(1, 80):
        term = term * (2 * x * x) / (2 * n + 1)
        total = total + term
    return np.asarray(2 / np.sqrt(_PI) * np.exp(-x * x) * total)


def _erfc_fraction(x: Array) -> Array:
    """Return erfc for x >= 2.5 by its continued fraction (Abramowitz and Stegun 7.1.14)."""
    tail = np.zeros_like(x)
    for n in range(120, 0, -1):
        tail = (np.longdouble(n) / 2) / (x + tail)
    return np.asarray(np.exp(-x * x) / np.sqrt(_PI) / (x + tail))


def _erfc(x: Array) -> Array:
    size = np.abs(x)
    near = np.minimum(size, np.longdouble(2.5))
    far = np.clip(size, np.longdouble(2.5), np.longdouble(200))
    positive = np.where(size < 2.5, 1 - _erf_series(near), _erfc_fraction(far))
    return np.where(x != x, x, np.where(x < 0, 2 - positive, positive))


@define("erf", result="float")
def erf(x: Array) -> Array:
    """Return the error function: a series near zero, one minus the continued fraction beyond."""
    x = x.astype(np.longdouble)
    near = np.clip(x, np.longdouble(-2.5), np.longdouble(2.5))
    far = np.copysign(1 - _erfc(np.abs(x)), x)
    return np.where(np.abs(x) < 2.5, _erf_series(near), np.where(x != x, x, far))


@define("erfc", result="float")
def erfc(x: Array) -> Array:
    """Return one minus the error function, without cancellation."""
    return _erfc(x.astype(np.longdouble))


@define("relu")
def relu(x: Array) -> Array:
    """Return max(x, 0); NaN propagates."""
    return np.asarray(maximum(x, np.zeros_like(x)))


@define("sigmoid", result="float")
def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, small, 1) / (1 + small))


@define("gelu", result="float")
def gelu(x: Array) -> Array:
    """Return x times the normal CDF (Hendrycks and Gimpel 2016), exact in the tail."""
    return np.asarray(x * _erfc(-x * _SQRT_HALF) / 2)


# -- activations -------------------------------------------------------------------------------


def _pieces(name: str, compute: Any, result: str = "float") -> None:
    define(name, result=result)(lambda *xs: np.asarray(compute(*xs)))


def _soft(x: Array) -> Array:
    return np.logaddexp(x, np.zeros_like(x))


def _sinh_series(x: Array) -> Array:
    """Return x cosh(x) - sinh(x), the sum of 2k x^(2k+1) / (2k+1)!, for |x| < 1."""
    terms = [2 * k / np.longdouble(math.factorial(2 * k + 1)) for k in range(1, 14)]
    near = np.clip(x, -1, 1)
    return np.asarray(near**3 * sum(c * near ** (2 * k) for k, c in enumerate(terms)))


_SELU = np.longdouble("1.05070098735548049342"), np.longdouble("1.67326324235437728482")
_pieces("elu", lambda x, a: np.where(x > 0, x, a * np.expm1(x)))
_pieces("celu", lambda x, a: np.where(x > 0, x, a * np.expm1(x / a)))
_pieces("selu", lambda x: _SELU[0] * np.where(x > 0, x, _SELU[1] * np.expm1(x)))
_pieces("silu", lambda x: x / (1 + np.exp(-x)))
_pieces("softplus", lambda x, b, t: np.where(x * b > t, x, _soft(x * b) / b))
_pieces("logsigmoid", lambda x: -_soft(-x))
_pieces("mish", lambda x: x * np.tanh(_soft(x)))
_pieces("tanhshrink", lambda x: np.where(
    np.abs(x) < 1, _sinh_series(x) / np.cosh(x), x - np.tanh(x)))
_pieces("logit", lambda x: np.log(x / (1 - x)))
_pieces("leaky_relu", lambda x, a: np.where(x > 0, x, a * x))
_pieces("relu6", lambda x: np.clip(x, 0, 6).astype(x.dtype), "common")
_pieces("hardtanh", np.clip)
_pieces("hardsigmoid", lambda x: np.clip(x + 3, 0, 6) / 6)
_pieces("hardswish", lambda x: x * (np.clip(x + 3, 0, 6) / 6))
_pieces("hardshrink", lambda x, a: np.where(np.abs(x) <= a, 0, x))
_pieces("softshrink", lambda x, a: np.where(np.abs(x) <= a, x * 0, x - np.sign(x) * a))
_pieces("softsign", lambda x: x / (1 + np.abs(x)))
_pieces("threshold", lambda x, t, v: np.where(x <= t, v, x), "common")
_pieces("addcmul", lambda x, a, b, v: x + v * a * b, "common")
_pieces("addcdiv", lambda x, a, b, v: x + v * a / b)
_pieces("lerp", lambda x, y, w: np.select(
    [(w == 0) & (y == y), (w == 1) & (x == x)], [x, y], (1 - w) * x + w * y))
_pieces("nan_to_num", lambda x, n, p, m: np.where(
    np.isnan(x), n, np.where(np.isposinf(x), p, np.where(np.isneginf(x), m, x))))


# -- reductions --------------------------------------------------------------------------------


@define("sum", result="sum")
def total(x: Array, axis: Axes, keepdims: bool = False) -> Array:
    """Return the sum over the axes; integers wrap around in 64 bits, bools count."""
    wide = {"b": np.int64, "i": np.int64, "u": np.uint64}
    dtype = wide.get(x.dtype.kind, x.dtype.type)
    return np.asarray(np.sum(x, axis=axis, keepdims=keepdims, dtype=dtype))


@define("prod", result="sum")
def product(x: Array, axis: Axes, keepdims: bool = False) -> Array:
    """Return the product over the axes; integers wrap around in 64 bits."""
    wide = {"b": np.int64, "i": np.int64, "u": np.uint64}
    dtype = wide.get(x.dtype.kind, x.dtype.type)
    return np.asarray(np.prod(x, axis=axis, keepdims=keepdims, dtype=dtype))


@define("all", result="bool")
def every(x: Array, axis: Axes, keepdims: bool = False) -> Array:
    """Return whether no element over the axes is 0."""
    return np.asarray(np.all(x != 0, axis=axis, keepdims=keepdims))


@define("any", result="bool")
def some(x: Array, axis: Axes, keepdims: bool = False) -> Array:
    """Return whether an element over the axes is not 0."""
    return np.asarray(np.any(x != 0, axis=axis, keepdims=keepdims))


@define("count_nonzero", result="int64")
def count_nonzero(x: Array, axis: Axes, keepdims: bool = False) -> Array:
    """Return how many elements over the axes are not 0."""
    return np.asarray(np.count_nonzero(x, axis=axis, keepdims=keepdims))


@define("max")
def greatest(x: Array, axis: Axes, keepdims: bool = False) -> Array:
    """Return the greatest over the axes; NaN propagates."""
    return np.asarray(np.max(x, axis=axis, keepdims=keepdims))


@define("min")
def least(x: Array, axis: Axes, keepdims: bool = False) -> Array:
    """Return the least over the axes; NaN propagates."""
    return np.asarray(np.min(x, axis=axis, keepdims=keepdims))


@define("argmax", result="int64")
def argmax(x: Array, axis: int, keepdims: bool = False) -> Array:
    """Return the index of the first greatest element; the first NaN wins."""
    return np.asarray(np.argmax(x, axis=axis, keepdims=keepdims))


@define("argmin", result="int64")
def argmin(x: Array, axis: int, keepdims: bool = False) -> Array:
    """Return the index of the first least element; the first NaN wins."""
    return np.asarray(np.argmin(x, axis=axis, keepdims=keepdims))


def _count(x: Array, axis: Axes) -> int:
    return math.prod(x.shape[k] for k in axis)


@define("mean", result="float")
def mean(x: Array, axis: Axes, keepdims: bool = False) -> Array:
    """Return the mean over the axes; NaN where there are no elements."""
    return np.asarray(np.true_divide(total(x, axis, keepdims), _count(x, axis)))


@define("var", result="float")
def var(x: Array, axis: Axes, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Return the squared deviations summed over the axes, over the count less `correction`."""
    off = x - mean(x, axis, True)
    squares = total(off * off, axis, keepdims)
    return np.asarray(np.true_divide(squares, _count(x, axis) - correction))


@define("std", result="float")
def deviation(x: Array, axis: Axes, correction: float, keepdims: bool = False) -> Array:
    """Return the square root of the variance."""
    return np.asarray(np.sqrt(var(x, axis, correction, keepdims)))


def _shifted(x: Array, axis: int) -> Array:
    return x - greatest(x, (axis,), True) if x.size else x


@define("softmax", result="float")
def softmax(x: Array, axis: int) -> Array:
    """Return exp(x) over its sum along the axis."""
    powers = np.exp(_shifted(x, axis))
    return np.asarray(powers / total(powers, (axis,), True))


@define("log_softmax", result="float")
def log_softmax(x: Array, axis: int) -> Array:
    """Return the logarithm of softmax, without forming it."""
    off = _shifted(x, axis)
    return np.asarray(off - np.log(total(np.exp(off), (axis,), True)))


@define("cross_entropy", result="float", data=(0,))
def cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the mean over rows of minus the log-softmax at the row's label."""
    rows = np.arange(logits.shape[0])
    return np.asarray(-mean(log_softmax(logits, 1)[rows, labels], (0,)))


@define("layer_norm", result="float")
def layer_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Return (x - mean) / sqrt(var + eps) * weight + bias over the last axis (Ba et al. 2016)."""
    last = (x.ndim - 1,)
    off = x - mean(x, last, True)
    return np.asarray(off / np.sqrt(var(x, last, 0.0, True) + eps) * weight + bias)
