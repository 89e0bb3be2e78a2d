"""Adapters of reductions, statistics, norms and scans, plain and masked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tinyml as tm


def axes(x: Any, dim: Any) -> Any:
    """Return torch's `dim` as an axis: None or empty means all, and a 0-d tensor accepts any."""
    return None if x.ndim == 0 or dim is None or dim == () or dim == [] else dim


def as_vector(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function along an axis that also takes 0-d tensors, as vectors of one element."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        if x.ndim:
            return f(x, *args, **kwargs)
        found = f(x.reshape((1,)), *args, **kwargs)
        return tuple([y.reshape(()) for y in found]) if isinstance(found, tuple) \
            else found.reshape(())

    return call


def reduction(name: str, **fixed: Any) -> Callable[..., Any]:
    """Return a reduction over torch's (dim, keepdim); a given dtype is applied first."""

    def call(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        x = x if dtype is None else x.astype(dtype)
        return getattr(tm, name)(x, axis=axes(x, dim), keepdims=keepdim, **fixed)

    return call


def both(name: str, place: str) -> Callable[..., Any]:
    """Return an extreme: with its index along one axis, alone over all axes."""

    def call(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return getattr(tm, name)(x)
        axis = axes(x, dim)
        index = getattr(tm, place)(x, axis=axis, keepdims=True)
        if x.ndim == 0:
            return x, index
        # As torch does, the gradient goes to the element that the index names.
        value = tm.take_along_axis(x, index, axis=dim)
        return (value, index) if keepdim else (tm.squeeze(value, dim), tm.squeeze(index, dim))

    return call


def spread(name: str) -> Callable[..., Any]:
    """Return var or std, by (unbiased), (dim, unbiased) or a correction; None means 1."""

    def call(x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False,
             correction: Any = None) -> Any:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        correction = (1 if unbiased else 0) if correction is None else correction
        return getattr(tm, name)(x, axis=axes(x, dim), correction=correction, keepdims=keepdim)

    return call


def with_mean(name: str) -> Callable[..., Any]:
    """Return var_mean and std_mean."""

    def call(x: Any, dim: Any = None, *args: Any, keepdim: bool = False, **kwargs: Any) -> Any:
        over = None if isinstance(dim, bool) else axes(x, dim)
        return (spread(name)(x, dim, *args, keepdim=keepdim, **kwargs),
                tm.mean(x, axis=over, keepdims=keepdim))

    return call


def lower_median(name: str) -> Callable[..., Any]:
    """Return torch's median: the lower of the two middle elements, with its index along an axis."""

    def call(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        axis = axes(x, dim)
        value = getattr(tm, name)(x, 0.5, axis=axis, method="lower", keepdims=keepdim)
        if dim is None:
            return value
        held = getattr(tm, name)(x, 0.5, axis=axis, method="lower", keepdims=True)
        there = tm.logical_or(x == held, tm.isnan(x) & tm.isnan(held))
        return value, tm.argmax(tm.astype(there, "int8"), axis=axis, keepdims=keepdim)

    return call


@as_vector
def mode(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """Return the mode and the last index that holds it, as torch does."""
    value = tm.mode(x, dim, keepdims=True)[0]
    there = tm.astype(tm.flip(x, dim) == value, "int8")
    index = x.shape[dim] - 1 - tm.argmax(there, axis=dim, keepdims=True)
    value = tm.take_along_axis(x, index, axis=dim)
    return (value, index) if keepdim else (tm.squeeze(value, dim), tm.squeeze(index, dim))


def quantile(name: str) -> Callable[..., Any]:
    """Return quantiles of q, a number or a vector."""

    def call(x: Any, q: Any, dim: Any = None, keepdim: bool = False,
             interpolation: str = "linear") -> Any:
        return getattr(tm, name)(x, q, axis=axes(x, dim), method=interpolation, keepdims=keepdim)

    return call


def norm(x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the vector norm; the Frobenius norm is that of order 2."""
    return tm.vector_norm(x, axis=axes(x, dim), keepdims=keepdim,
                          ord=2 if p in (None, "fro") else p)


def vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the vector norm, under torch.linalg's argument names."""
    return norm(x, ord, dim, keepdim)


def cov(x: Any, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """Return the covariance matrix."""
    return tm.cov(x, ddof=correction, fweights=fweights, aweights=aweights)


def scanned(name: str) -> Callable[..., Any]:
    """Return a scan along an axis, in a dtype where one is given."""

    def call(x: Any, dim: int, dtype: Any = None) -> Any:
        return getattr(tm, name)(x if dtype is None else x.astype(dtype), dim)

    return as_vector(call)


def gradient(x: Any, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> Any:
    """Return the gradient along axes, as a sequence even for one."""
    more = [] if spacing is None else spacing if isinstance(spacing, (tuple, list)) else [spacing]
    found = tm.gradient(x, *more, axis=dim, edge_order=edge_order)
    return found if isinstance(found, tuple) else (found,)


def diff(x: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Return differences of order n; empty where n exceeds the number of elements."""
    longer = sum(y.shape[dim] if y.ndim else 1 for y in (prepend, append) if y is not None)
    return tm.diff(x, axis=dim, n=min(n, x.shape[dim] + longer), prepend=prepend, append=append)


# ---- masked: excluded elements are replaced by the reduction's identity


def filled(x: Any, mask: Any, value: float) -> Any:
    """Return x with a value where the mask does not hold."""
    return x if mask is None else tm.where(mask, x, value)


def masked(name: str, value: float) -> Callable[..., Any]:
    """Return a reduction of the elements that a mask keeps."""

    def call(x: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
             mask: Any = None) -> Any:
        return reduction(name)(filled(x, mask, value), dim, keepdim, dtype=dtype)

    return call


def masked_place(name: str, value: float) -> Callable[..., Any]:
    """Return an index among the elements that a mask keeps; torch gives it in x's type."""
    return lambda x, *args, **kwargs: masked(name, value)(x, *args, **kwargs).astype(x.dtype)


def _count(x: Any, dim: Any, mask: Any) -> Any:
    """Return how many elements a mask keeps."""
    ones = tm.full_like(x, 1.0)
    return tm.sum(filled(ones, mask, 0.0), axis=axes(x, dim), keepdims=True)


def _shaped(found: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    return found if keepdim else tm.sum(found, axis=axes(x, dim))


def masked_mean(x: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
                mask: Any = None) -> Any:
    """Return the sum divided by the count."""
    total = tm.sum(filled(x, mask, 0.0), axis=axes(x, dim), keepdims=True)
    return _shaped(total / _count(x, dim, mask), x, dim, keepdim)


def masked_spread(root: bool) -> Callable[..., Any]:
    """Return the variance of the elements that a mask keeps, or its root."""

    def call(x: Any, dim: Any = None, unbiased: Any = None, *, correction: Any = None,
             keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        if correction is None:
            correction = 0 if unbiased is False else 1
        x = filled(x, mask, math.nan)
        name = "nanstd" if root else "nanvar"
        return getattr(tm, name)(x, axis=axes(x, dim), correction=correction, keepdims=keepdim)

    return call


def masked_norm(x: Any, ord: Any = 2, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
                mask: Any = None) -> Any:
    """Return the norm of the elements that a mask keeps."""
    return norm(filled(x, mask, math.inf if ord < 0 else 0.0), ord, dim, keepdim)


def masked_median(x: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
                  mask: Any = None) -> Any:
    """Return the lower median of the elements that a mask keeps."""
    x = filled(x, mask, math.nan)
    return tm.nanquantile(x, 0.5, axis=axes(x, dim), method="lower", keepdims=keepdim)


def masked_scan(name: str, value: float) -> Callable[..., Any]:
    """Return a scan of the elements that a mask keeps."""
    return as_vector(lambda x, dim, *, dtype=None, mask=None: getattr(tm, name)(
        filled(x, None if mask is None else tm.reshape(mask, (1,)) if mask.ndim == 0 else mask,
               value), dim))


def softmax(name: str, sign: float = 1.0) -> Callable[..., Any]:
    """Return softmax or log_softmax, of -x where `sign` is negative.

    A dtype, and a mask of the elements to keep, may be given.
    """

    def call(x: Any, dim: int, *_: Any, dtype: Any = None, mask: Any = None) -> Any:
        x = x if dtype is None else x.astype(dtype)
        x = x if sign > 0 else -x
        if mask is not None and mask.ndim == 0:
            mask = mask.reshape((1,))
        return getattr(tm, name)(filled(x, mask, -math.inf), dim)

    return as_vector(call)


def safe_softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    """Return softmax, with zeros for rows that are all -inf."""
    none = tm.max(x, axis=dim, keepdims=True) == -math.inf
    return tm.where(none, 0.0, tm.softmax(tm.where(none, 0.0, x), dim))


def masked_normalize(x: Any, ord: Any, dim: int, *, eps: float = 1e-12, dtype: Any = None,
                     mask: Any = None) -> Any:
    """Return x divided by its norm."""
    return filled(x, mask, 0.0) / tm.maximum(masked_norm(x, ord, dim, keepdim=True, mask=mask), eps)


def masked_logaddexp(x: Any, y: Any, *, dtype: Any = None, input_mask: Any = None,
                     other_mask: Any = None) -> Any:
    """Return log(exp(x) + exp(y)) of the elements that the masks keep."""
    return tm.logaddexp(filled(x, input_mask, -math.inf), filled(y, other_mask, -math.inf))


# ---- distances


def normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """Return x divided by its norm, which is taken as at least eps."""
    return x / tm.maximum(norm(x, p, dim, True), eps)


def cosine_similarity(x: Any, y: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """Return the dot product of two vectors divided by the product of their norms."""
    x, y = tm.broadcast_arrays(x, y)
    lengths = tm.maximum(norm(x, 2, dim), eps) * tm.maximum(norm(y, 2, dim), eps)
    return tm.sum(x * y, axis=axes(x, dim)) / lengths


def pairwise_distance(x: Any, y: Any, p: float = 2.0, eps: float = 1e-6,
                      keepdim: bool = False) -> Any:
    """Return the norm of x - y + eps."""
    return norm(x - y + eps, p, -1, keepdim)


def pdist(x: Any, p: float = 2.0) -> Any:
    """Return the distances between rows, each pair once."""
    rows, columns = tm.triu_indices(x.shape[0], 1, device=x.device)
    return tm.vector_norm(tm.gather(x, rows, 0) - tm.gather(x, columns, 0), axis=1, ord=p)


def renorm(x: Any, p: float, dim: int, maxnorm: float) -> Any:
    """Return x with slices along an axis scaled to a norm of at most `maxnorm`.

    Like torch, this adds 1e-7 to the norms.
    """
    others = tuple([d for d in range(x.ndim) if d != dim % x.ndim])
    length = tm.vector_norm(x, axis=others, keepdims=True, ord=p)
    return x * tm.where(length > maxnorm, maxnorm / (length + 1e-7), 1.0)


TABLE: dict[str, Callable[..., Any]] = {
    **{name: reduction(name) for name in (
        "all", "any", "argmax", "argmin", "count_nonzero", "mean", "nanmean", "prod", "sum",
        "nansum", "logsumexp")},
    "amax": reduction("max"),
    "amin": reduction("min"),
    "aminmax": lambda x, *, dim=None, keepdim=False: (
        reduction("min")(x, dim, keepdim), reduction("max")(x, dim, keepdim)),
    "max_reduction_with_dim": both("max", "argmax"),
    "max_reduction_no_dim": both("max", "argmax"),
    "min_reduction_with_dim": both("min", "argmin"),
    "min_reduction_no_dim": both("min", "argmin"),
    "median": lower_median("quantile"),
    "nanmedian": lower_median("nanquantile"),
    "mode": mode,
    "kthvalue": as_vector(lambda x, k, dim=-1, keepdim=False: tm.kthvalue(x, k, dim, keepdim)),
    "quantile": quantile("quantile"),
    "nanquantile": quantile("nanquantile"),
    **{f"{name}{end}": spread(name) for name in ("var", "std") for end in ("", "_unbiased")},
    **{f"{name}_mean{end}": with_mean(name)
       for name in ("var", "std") for end in ("", "_unbiased")},
    "norm": norm, "norm_fro": norm, "norm_inf": norm,
    "linalg_vector_norm": vector_norm,
    "dist": lambda x, y, p=2: tm.vector_norm(x - y, ord=p),
    "cdist": lambda x, y, p=2.0, compute_mode=None: tm.cdist(x, y, p),
    "nn_functional_pdist": pdist,
    "nn_functional_pairwise_distance": pairwise_distance,
    "nn_functional_normalize": normalize,
    "nn_functional_cosine_similarity": cosine_similarity,
    "renorm": renorm,
    "cov": cov,
    "corrcoef": tm.corrcoef,
    "cumsum": scanned("cumsum"), "cumprod": scanned("cumprod"),
    "cummax": scanned("cummax"), "cummin": scanned("cummin"),
    "logcumsumexp": scanned("logcumsumexp"),
    "diff": diff,
    "gradient": gradient,
    "trapezoid": lambda y, x=None, *, dx=1, dim=-1: tm.trapezoid(y, x, dx, dim),
    "trapz": lambda y, x=None, *, dx=1, dim=-1: tm.trapezoid(y, x, dx, dim),
    "cumulative_trapezoid": lambda y, x=None, *, dx=1, dim=-1: tm.cumulative_trapezoid(
        y, x, dx, dim),
    "softmax": softmax("softmax"), "softmax_with_dtype": softmax("softmax"),
    "log_softmax": softmax("log_softmax"), "log_softmax_with_dtype": softmax("log_softmax"),
    "nn_functional_softmin": softmax("softmax", -1.0),
    "nn_functional_softmin_with_dtype": softmax("softmax", -1.0),
    "torch_ops_aten__safe_softmax_default": safe_softmax,
    "_softmax_backward_data": lambda g, y, dim, dtype: y * (
        g - tm.sum(g * y, axis=dim, keepdims=True)),
    "masked_sum": masked("sum", 0.0), "masked_prod": masked("prod", 1.0),
    "masked_amax": masked("max", -math.inf), "masked_amin": masked("min", math.inf),
    "masked_argmax": masked_place("argmax", -math.inf),
    "masked_argmin": masked_place("argmin", math.inf),
    "masked_logsumexp": masked("logsumexp", -math.inf),
    "masked_mean": masked_mean,
    "masked_var": masked_spread(False), "masked_std": masked_spread(True),
    "masked_norm": masked_norm,
    "masked_median": masked_median,
    "masked_cumsum": masked_scan("cumsum", 0.0), "masked_cumprod": masked_scan("cumprod", 1.0),
    "masked_softmax": softmax("softmax"), "masked_log_softmax": softmax("log_softmax"),
    "masked_softmin": softmax("softmax", -1.0),
    "masked_normalize": masked_normalize,
    "masked_logaddexp": masked_logaddexp,
}
