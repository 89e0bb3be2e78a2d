"""How far a result may lie from the exact one: ULPs per op, and the rounding of sums.

A bound has two parts: the record's `ulp`, in units in the last place of the result, and, for ops
that add up many terms, an absolute part in units of the dtype's epsilon, derived here. A sum in
which each term takes part in d additions lies within d / 2 epsilons of the sum of the terms'
magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2). In any order, n
terms have d < n. In tinyml, `depth` says what it is; other backends may add up in any order. Where
rounded terms cancel, the magnitudes before cancellation count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tinyml.conformance import reference
from tinyml.dtypes import as_dtype
from tinyml.ops.fft import radices
from tinyml.ops.linalg import BY_LAPACK

Array = npt.NDArray[Any]

# Ops whose results are exact or correctly rounded keep the sign of zero. In the results of these
# others a zero may have either sign, depending on the order of a sum or of equal operands.
ZERO_HAS_NO_SIGN = frozenset(
    "maximum minimum fmax fmin elu celu selu logsigmoid max min relu sign sum mean var softmax "
    "log_softmax cross_entropy layer_norm gelu matmul conv2d conv2d_dx conv2d_dw scatter_add "
    "max_pool2d max_pool2d_dx scatter_min scatter_max gelu_dx softmax_dx log_softmax_dx "
    "cross_entropy_dx put_along unslice cumsum cumprod linear_scan gammaln log_ndtr erfinv ndtri "
    "xlogy xlog1py entr logit polynomial j0 j1 i1 i1e fft".split()
) | BY_LAPACK


# Ops that add to a value in memory: a narrow float is rounded after each addition.
ADDS_IN_PLACE = frozenset("scatter_add scatter_mul put_along unslice max_pool2d_dx".split())


def epsilon(name: str, dtype: str) -> float:
    """Return the unit of an op's absolute bound: the epsilon of the type it sums in.

    >>> epsilon("sum", "bfloat16"), epsilon("scatter_add", "bfloat16")
    (1.1920928955078125e-07, 0.0078125)
    """
    kind = as_dtype(dtype)
    added = kind.numpy if name in ADDS_IN_PLACE else np.dtype(kind.compute)
    return float(ml_dtypes.finfo(added).eps)


def units(op: Any, dtype: str) -> float:
    """Return the record's bound in units in the last place; at least the half unit of rounding.

    A narrow float is computed in a wider type, whose error counts little, and rounded once. A part
    of a complex product is the rounded sum of two rounded products, each at most as large as the
    product of the magnitudes, which is below 3 units of its larger part.
    """
    kind = as_dtype(dtype)
    given = op.ulp.get(kind.compute, 0.0) if isinstance(op.ulp, dict) else op.ulp
    if kind.is_small_float:
        return 0.5 + max(float(given), 0.5) * 2.0 ** (kind.mantissa - 23)
    return max(float(given), 4.5 if kind.kind == "complex" else 0.5)


Depth = Callable[..., float]
PRODUCTS = 512  # the block of a contraction; see `tinyml.ir.monoids`


def depth(n: int, block: int = 64) -> float:
    """Return a bound on the additions that one of n terms takes part in: a block's, then a tree's.

    Cutting several axes into whole parts makes at most four times as many blocks as n / block, and
    a loop's first addition is to zero.

    >>> depth(10), depth(1 << 20)
    (10, 82)
    """
    return min(n, block + math.ceil(math.log2(max(n / block, 1))) + 4)


def _serial(n: int, block: int = 0) -> float:
    """Return the number of terms: the bound in any order."""
    return n


def magnitude(name: str, args: tuple[Any, ...], attrs: dict[str, Any],
              in_blocks: bool = True) -> Array:
    """Return the absolute part of an op's bound in epsilons, of the shape of its results.

    Without `in_blocks`, sums may be added up in any order.

    `args` hold their floats in long double. The result is zero for ops that do not sum. Several
    float results of one op have the same shape and share the bound.

    >>> x = np.array([1.0, -1.0, 2.0], np.longdouble)
    >>> float(magnitude("sum", (x,), {"axis": (0,), "keepdims": False}))
    4.0
    """
    extra = (depth if in_blocks else _serial,) if name in _SUMS else ()
    derive = _SUMS.get(name) or _DERIVED.get(name)
    if derive is None:
        return np.zeros((), np.longdouble)
    with np.errstate(all="ignore"):
        return np.asarray(derive(args, attrs, *extra), np.longdouble)


def _of_magnitudes(name: str, terms: Callable[..., int], block: int = 64) -> Callable[..., Any]:
    """Return half the depth times the op itself on magnitudes, for ops linear in each argument."""

    def derive(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth = _serial) -> Any:
        sizes = [np.abs(x) if np.asarray(x).dtype.kind in "fc" else x for x in args]
        total = reference.wide(name, *sizes, **attrs)[0]
        return np.longdouble(depth(terms(*args, **attrs), block)) / 2 * total

    return derive


def _reduced(x: Array, axis: tuple[int, ...], **_: Any) -> int:
    return math.prod(x.shape[k] for k in axis)


def _statistics(x: Array, axis: tuple[int, ...], keepdims: bool) -> tuple[int, Array, Array]:
    """Return the count, variance and mean square over the axes."""
    variance = reference.wide("var", x, axis=axis, correction=0.0, keepdims=keepdims)[0]
    square = reference.wide("mean", x * x, axis=axis, keepdims=keepdims)[0]
    return _reduced(x, axis), variance, square


def _var(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    # The mean is off by some epsilons of the magnitudes, and shifts every deviation by that. Two
    # passes take the shift off: what is left of its share is far below 2^-16 in every type.
    (x,) = args
    count, variance, square = _statistics(x, attrs["axis"], attrs["keepdims"])
    free = count / np.longdouble(count - attrs["correction"])
    share = 2.0 if depth is _serial else 2.0**-16
    mixed = share * np.sqrt(variance * square) + (share / 2) ** 2 * square * (share < 1)
    return (depth(count) / 2 + 4) * free * (variance + mixed)


def _std(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    root = reference.wide("std", *args, **attrs)[0]
    return np.where(root > 0, _var(args, attrs, depth) / (2 * root), 0)


def _softmax_parts(x: Array, axis: int) -> tuple[Array, Array, int]:
    """Return the distance below the maximum, the logarithm of the sum, and the number of terms."""
    if x.size == 0:
        return x, x, 0
    off = np.abs(x - np.max(x, axis, keepdims=True))
    return off, np.log(np.sum(np.exp(-off), axis, keepdims=True)), x.shape[axis]


def _log_softmax(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    off, log_sum, count = _softmax_parts(args[0], attrs["axis"])
    return off + np.abs(log_sum) + depth(count) / 2 + 4


def _softmax(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    # An absolute error in an exponent is a relative error in the power.
    off, log_sum, count = _softmax_parts(args[0], attrs["axis"])
    return (off + depth(count) / 2 + 4) * np.exp(-off - log_sum)


def _cross_entropy(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    logits, labels = args
    rows = np.arange(logits.shape[0])
    per_row = np.asarray(_log_softmax((logits,), {"axis": 1}, depth))[rows, labels]
    loss = reference.wide("cross_entropy", logits, labels)[0]
    return np.mean(per_row) + depth(logits.shape[0]) / 2 * np.abs(loss)


def _layer_norm(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    x, weight, bias = args
    count, variance, square = _statistics(x, (x.ndim - 1,), True)
    scale = 1 / np.sqrt(variance + attrs["eps"])
    off = np.abs(x - np.mean(x, -1, keepdims=True))
    shift = (depth(count) + 1) / 2 * np.sqrt(square)
    # The scale carries half the variance's relative error; the deviation, the mean's shift.
    stretch = (depth(count) / 2 + 6) * (1 + np.sqrt(square) * scale)
    return np.abs(weight) * scale * (shift + off * stretch) + np.abs(bias)


def _softmax_dx(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    g, y = args
    axis = attrs["axis"]
    dot = np.sum(np.abs(g * y), axis, keepdims=True)
    return np.abs(y) * (np.abs(g) + (depth(y.shape[axis]) / 2 + 2) * dot)


def _log_softmax_dx(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    g, y = args
    axis = attrs["axis"]
    total = np.sum(np.abs(g), axis, keepdims=True)
    return np.abs(g) + (depth(y.shape[axis]) / 2 + 4 + np.abs(y)) * np.exp(y) * total


def _cross_entropy_dx(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    g, logits, _ = args
    return np.abs(g) / len(logits) * (1 + np.asarray(_softmax((logits,), {"axis": 1}, depth)))


def _along(x: Array, *_: Array, axis: int, **__: Any) -> int:
    # One term more than a running sum has: the initial value.
    return int(x.shape[axis]) + 1


def _cumsum(args: tuple[Any, ...], attrs: dict[str, Any], depth: Depth) -> Any:
    # A long axis is summed in parts, and their totals in parts again: twice, below 2^22 elements.
    def parts(n: int, block: int) -> float:
        return min(n, 2 * depth(n, block) + 4)

    return _of_magnitudes("cumsum", _along)(args, attrs, parts)


def _updates(*args: Array, **_: Any) -> int:
    return sum(np.size(arg) for arg in args[1:])  # at least as many as meet at one element


def _reflected(name: str) -> Callable[..., Any]:
    """Return the bound of a reflected function: below 0 it subtracts terms large near poles."""

    def derive(args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        (x,) = args
        mirrored = np.abs(reference.wide(name, 1 - x, **attrs)[0])
        n = attrs.get("n", 0)
        pole = np.longdouble(np.pi) ** (n + 2) * math.factorial(n + 1)
        below = 8 * (np.where(np.isfinite(mirrored), mirrored, 0) + pole)
        return np.where(x < 0, below, 4 * (n < 1))

    return derive


def _amplitude(args: tuple[Any, ...], _attrs: dict[str, Any]) -> Any:
    # An oscillating function has the same absolute error near its zeros as at its peaks.
    return 8 / np.sqrt(1 + np.abs(args[0]))


def _airy(args: tuple[Any, ...], _attrs: dict[str, Any]) -> Any:
    # The exponent and the phase, 2/3 |x|^(3/2), carry a few roundings.
    (x,) = args
    phase = np.abs(x) ** 1.5
    return 4 * (1 + phase) * (1 + np.sqrt(np.abs(x))) * np.exp(-np.maximum(x, 0) ** 1.5 * 2 / 3)


def _polynomial(args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
    # The sum of all terms' magnitudes: at i |x|, or -|x| for Laguerre's; each step rounds thrice.
    x, n = args
    grown = (2 * np.abs(x) + 3) ** np.abs(n)
    if attrs["family"] in ("hermite", "hermitenorm"):
        grown = grown * (1 + np.abs(n)) ** (np.abs(n) / 2)
    return (1 + np.abs(n)) * grown


def _fft(args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
    # Each radix sums that many terms; a convolution has a chirp's transform between two others.
    (x,) = args
    n = x.shape[attrs["axis"]]
    split = radices(n)
    total = np.sum(np.abs(x), attrs["axis"], keepdims=True)
    if split or n == 1:
        return total * sum(radix / 2 + 4 for radix in split)
    return total * 2 * math.sqrt(4 * n) * 4 * math.log2(4 * n)


def _lapack(name: str) -> Callable[..., Any]:
    """Return 8 n epsilons of the matrix, the result and 1, times the condition where it counts.

    The methods are backward stable: the result is exact for a matrix that is off by a small
    multiple of n epsilons (Higham, theorems 9.4, 10.4, 19.4). The worst bound of a batch applies to
    all.
    """

    def derive(args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        x = np.asarray(args[0])
        rows = np.isfinite(x).all((-2, -1))
        double = x[rows].astype(complex if x.dtype.kind == "c" else float)
        values = np.linalg.svd(double, compute_uv=False) if double.size else np.ones((1, 1))
        condition = 1.0 if name in ("eigh", "eigvalsh", "svd", "svdvals") else float(
            np.max(values[..., 0] / values[..., -1]))
        sizes = [1.0, float(np.max(values))]
        for y in reference.wide(name, *args, **attrs):
            sizes.append(float(np.max(np.abs(y[np.isfinite(y)]), initial=0.0)))
        return 8 * max(x.shape[-2:]) * condition * max(sizes)

    return derive


_SUMS: dict[str, Callable[..., Any]] = {
    "sum": _of_magnitudes("sum", lambda x, axis, **_: max(_reduced(x, axis) - 1, 0)),
    "mean": _of_magnitudes("mean", _reduced),
    "var": _var,
    "std": _std,
    "vecdot": _of_magnitudes("vecdot", lambda x, y: x.shape[-1]),
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "cross_entropy": _cross_entropy,
    "layer_norm": _layer_norm,
    "softmax_dx": _softmax_dx,
    "log_softmax_dx": _log_softmax_dx,
    "cross_entropy_dx": _cross_entropy_dx,
    "cumsum": _cumsum,
    "matmul": _of_magnitudes("matmul", lambda x, y: x.shape[-1], PRODUCTS),
    "conv2d": _of_magnitudes("conv2d", lambda x, w, **_: math.prod(w.shape[1:]), PRODUCTS),
    "conv2d_dx": _of_magnitudes(
        "conv2d_dx", lambda g, w, **_: w.size // max(w.shape[1], 1), PRODUCTS),
    "conv2d_dw": _of_magnitudes(
        "conv2d_dw", lambda g, x, **_: g.size // max(g.shape[1], 1), PRODUCTS),
}
_DERIVED: dict[str, Callable[..., Any]] = {
    **{name: _lapack(name) for name in BY_LAPACK},
    "fft": _fft,
    "gammaln": _reflected("gammaln"),
    # Where B is near 1, its logarithm is the sum of greater ones.
    "betaln": lambda args, attrs: 4 * (1 + sum(
        np.abs(reference.wide("gammaln", x)[0]) for x in (*args, args[0] + args[1]))),
    "psi": _reflected("psi"),
    "polygamma": _reflected("polygamma"),
    **dict.fromkeys(("j0", "j1", "y0", "y1"), _amplitude),
    **dict.fromkeys(("airy_ai", "airy_aip"), _airy),
    "polynomial": _polynomial,
    # erfc of a rounded argument is off by x^2 units.
    "ndtr": lambda args, attrs: 4 * (1 + args[0] ** 2) * reference.wide("ndtr", args[0])[0],
    "log_ndtr": lambda args, attrs: 4 * (1 + args[0] ** 2) * reference.wide("ndtr", -args[0])[0],
    "prod": _of_magnitudes("prod", _reduced),
    "abs": lambda args, attrs: 2 * abs(args[0]) if args[0].dtype.kind == "c" else 0,  # hypot
    # Complex powers are exp(y log x): the rounding error grows with the exponent.
    "pow": lambda args, attrs: 0 if args[0].dtype.kind != "c" else np.nan_to_num(
        4 * abs(np.power(*args)) * abs(args[1] * np.log(args[0])), posinf=0.0),
    "addcmul": lambda args, attrs: abs(args[0]) + 2 * abs(args[1] * args[2] * args[3]),
    "addcdiv": lambda args, attrs: abs(args[0]) + 4 * abs(args[1] / args[2] * args[3]),
    "lerp": lambda args, attrs: 2 * (abs(args[0]) + abs(args[1])) * (1 + abs(args[2])),
    # Where the sum is near 1, its logarithm suffers cancellation.
    "logaddexp": lambda args, attrs: 1 + np.maximum(*map(np.abs, args)),
    "logaddexp2": lambda args, attrs: 1 + np.maximum(*map(np.abs, args)),
    # In the lower tail 1 + erf cancels, and x times an epsilon remains.
    "gelu": lambda args, attrs: np.abs(args[0]),
    # Phi(x) + x phi(x) cancels where gelu is flat.
    "gelu_dx": lambda args, attrs: 2 * np.abs(args[0]) * (1 + np.abs(args[1])),
    # Subtracting the step from a parameter may cancel.
    "sgd_step": lambda args, attrs: 2 * (np.abs(args[0]) + np.abs(args[1])),
    "sgd_momentum_step": lambda args, attrs: 4 * sum(np.abs(x) for x in args[:3]),
    "adamw_step": lambda args, attrs: 4 * (1 + sum(np.abs(x) for x in args[:4])),
    "cumprod": _of_magnitudes("cumprod", _along),
    # Two roundings a step.
    "linear_scan": _of_magnitudes("linear_scan", lambda *args, **a: 2 * _along(*args, **a)),
    "put_along": _of_magnitudes("put_along", _updates),
    "scatter_add": _of_magnitudes("scatter_add", _updates),
    "scatter_mul": _of_magnitudes("scatter_mul", _updates),
    "max_pool2d_dx": _of_magnitudes("max_pool2d_dx", lambda g, indices, **_: g.size),
}
