"""Beyond the standard: NumPy's functions against NumPy itself, on every device; gradients twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tinyml
from tinyml.errors import ArgumentError, ShapeError, TinyMLError

pytestmark = pytest.mark.kernels(1)

Array = Any
RNG = np.random.default_rng(4)
V = RNG.permutation(np.linspace(-3.1, 3.3, 7))
M = RNG.permutation(np.linspace(-3.0, 3.2, 12)).reshape(3, 4)
T = RNG.permutation(np.linspace(-3.0, 3.2, 24)).reshape(2, 3, 4)
I = np.array([3, 1, 3, 0, 1, 3])  # noqa: E741  integers
HOLES = np.where(np.arange(12).reshape(3, 4) % 5 == 2, np.nan, M)
X3, Y3 = RNG.random((2, 5, 3))


def on(device: str, value: Any) -> Any:
    """Arrays among arguments as tensors of a device."""
    if isinstance(value, np.ndarray):
        return tinyml.tensor(value, device=device)
    if isinstance(value, (list, tuple)) and any(isinstance(v, np.ndarray) for v in value):
        return type(value)([on(device, v) for v in value])
    return value


def plain(value: Any) -> list[Array]:
    """Results, one or several, as arrays."""
    parts = value if isinstance(value, (tuple, list)) else [value]
    return [np.asarray(p.numpy() if isinstance(p, tinyml.Tensor) else p) for p in parts]


def check(device: str, ours: Callable[..., Any], theirs: Callable[..., Any], *args: Any) -> None:
    """The same shapes, kinds and values as NumPy's."""
    with np.errstate(all="ignore"):
        got, want = plain(ours(*on(device, args))), plain(theirs(*args))
    assert len(got) == len(want)
    for a, b in zip(got, want):
        assert a.shape == b.shape and a.dtype.kind == b.dtype.kind
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


# One name in both, with arguments and keywords that both understand.
SAME: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("split", (M, 2, 1), {}), ("split", (V, [2, 5]), {}), ("split", (V, [5, 2, -1]), {}),
    ("array_split", (V, 3), {}), ("hsplit", (M, 2), {}), ("vsplit", (M, 3), {}),
    ("hsplit", (V, [2]), {}), ("dsplit", (T, 2), {}),
    ("hstack", ([M, M[:, :1]],), {}), ("hstack", ([V, V],), {}), ("vstack", ([V, V],), {}),
    ("vstack", ([M, M[0]],), {}), ("dstack", ([M, M],), {}), ("dstack", ([V, V],), {}),
    ("column_stack", ([V, V],), {}), ("column_stack", ([M, M[:, 0]],), {}),
    ("atleast_1d", (np.array(2.0),), {}), ("atleast_2d", (V,), {}), ("atleast_3d", (M,), {}),
    ("atleast_3d", (V,), {}), ("atleast_3d", (np.array(1.0),), {}),
    ("ravel", (T[:, ::-1],), {}), ("swapaxes", (T, 0, -1), {}),
    ("fliplr", (M,), {}), ("flipud", (M,), {}),
    *[("rot90", (T, k, axes), {}) for k in (-5, 0, 1, 2, 3) for axes in ((0, 1), (2, 1))],
    *[("diagonal", (M, k), {}) for k in (-3, -2, 0, 1, 3, 4)],
    ("diagonal", (T, 1, 2, 0), {}), ("diagonal", (T[:, ::-1], -1, 1, 2), {}),
    *[("diag", (V, k), {}) for k in (-2, 0, 1)], ("diag", (M, 1), {}), ("diagflat", (M, -1), {}),
    ("tril_indices", (3, 1, 4), {}), ("triu_indices", (4, -1), {}),
    ("choose", (np.array([[0, 1], [1, 0]]), [M[:2, :2], M[1:, 2:]]), {}),
    ("select", ([M < -1, M > 1], [M * 10, M * 100], 7.0), {}),
    ("outer", (V, M), {}), ("inner", (M, M[:2]), {}), ("inner", (V, V), {}),
    ("inner", (M, 2.0), {}),
    ("kron", (M, V), {}), ("kron", (T, M), {}), ("cross", (X3, Y3), {}), ("cross", (X3[0], Y3), {}),
    ("vander", (V, 3), {}), ("vander", (V,), {"increasing": True}), ("vander", (V, 1), {}),
    ("vander", (V, 0), {}),
    ("convolve", (V, V[:3]), {}), ("convolve", (V[:2], V), {"mode": "same"}),
    ("convolve", (V, V[:4]), {"mode": "same"}), ("convolve", (I, I[:2]), {"mode": "valid"}),
    ("correlate", (V, V[:3]), {"mode": "full"}), ("correlate", (V[:3], V), {"mode": "full"}),
    ("correlate", (V, V[:4]), {"mode": "same"}), ("correlate", (V[:2], V), {"mode": "same"}),
    ("correlate", (V, V[:4]), {}), ("correlate", (V[:4], V), {}),
    ("trapezoid", (M,), {}), ("trapezoid", (M, M, 1.0, 0), {}), ("trapezoid", (M,), {"dx": 0.5}),
    ("trapezoid", (T, V[:3]), {"axis": 1}),
    ("ediff1d", (M,), {}), ("ediff1d", (I, [7], [1, 2]), {}), ("ediff1d", (V[:0],), {}),
    ("gradient", (V,), {}), ("gradient", (M, 2.0), {}), ("gradient", (M, 2.0, np.arange(4.0) ** 2),
                                                        {"edge_order": 2}),
    ("gradient", (V[:2],), {}), ("gradient", (T,), {"axis": (0, 2)}),
    ("interp", (np.linspace(-1, 6, 9), np.arange(5.0), V[:5]), {}),
    ("interp", (np.linspace(-1, 6, 9), np.arange(5.0), V[:5]), {"left": -9.0, "right": 9.0}),
    ("interp", (np.linspace(-9, 9, 11), np.array([3.0, 1.0, 2.5]), V[:3]), {"period": 4.0}),
    ("interp", (V, np.array([1.0]), np.array([2.0])), {}),
    ("ptp", (M, 1), {}), ("average", (M,), {}), ("average", (M, 0), {"weights": abs(M)}),
    ("average", (M, 1), {"weights": np.arange(1.0, 5.0), "returned": True}),
    ("cov", (M,), {}), ("cov", (M, M[::-1]), {"rowvar": True}), ("cov", (M,), {"rowvar": False}),
    ("cov", (V,), {}), ("cov", (M,), {"bias": True}), ("cov", (M,), {"fweights": np.arange(1, 5)}),
    ("cov", (M,), {"aweights": np.arange(1.0, 5.0), "ddof": 2}), ("corrcoef", (M,), {}),
    ("corrcoef", (V,), {}), ("corrcoef", (M,), {"rowvar": False}),
    ("median", (M, 1), {}), ("median", (T, (0, 2)), {}), ("median", (M,), {"keepdims": True}),
    ("median", (HOLES, 0), {}), ("nanmedian", (HOLES, 0), {}), ("nanmedian", (HOLES,), {}),
    ("quantile", (M, [0.0, 0.3, 1.0], 1), {}), ("percentile", (T, 35.0, (0, 1)), {}),
    ("nanquantile", (HOLES, [0.1, 0.6], 1), {}), ("nanpercentile", (HOLES, 40.0, 0), {}),
    ("quantile", (np.array([1.0, np.inf, 2.0]), [0.0, 0.25]), {}),
    *[(name, (HOLES, axis), {}) for axis in (None, 0, 1)
      for name in ("nansum", "nanprod", "nanmax", "nanmin", "nanmean", "nanvar", "nanstd")],
    ("nanargmax", (HOLES, 1), {}), ("nanargmin", (HOLES,), {}), ("nansum", (I,), {}),
    ("nancumsum", (HOLES, 1), {}), ("nancumprod", (HOLES, 0), {}),
    ("nanvar", (HOLES, (0, 1)), {"correction": 1, "keepdims": True}),
    ("bincount", (I,), {}), ("bincount", (I, V[:6], 6), {}), ("bincount", (I[:0],), {}),
    ("digitize", (M, np.array([-2.0, 0.0, 1.0])), {}),
    ("digitize", (M, np.array([1.0, 0.0, -2.0]), True), {}),
    ("histogram", (M,), {}), ("histogram", (M, 3, (-2.0, 2.0)), {"density": True}),
    ("histogram", (M, np.array([-2.0, 0.0, 0.5, 3.0])), {"weights": abs(M)}),
    ("histogram", (np.array([2.0, 2.0]), 3), {}), ("histogram", (V[:0], 3), {}),
    ("histogram2d", (V, V[::-1], (3, 2)), {}),
    ("unique", (I,), {"return_index": True, "return_inverse": True, "return_counts": True}),
    ("unique", (np.array([[1, 0], [0, 2], [1, 0]]), ), {"axis": 0, "return_counts": True}),
    ("unique", (np.array([[1, 0, 1], [0, 2, 0]]),), {"axis": 1}), ("unique", (V[:0],), {}),
    ("lexsort", ([I, np.array([0, 1, 0, 1, 1, 0])],), {}),
    ("isin", (I, [1, 7]), {}), ("isin", (I.reshape(2, 3), [3]), {"invert": True}),
    ("isin", (V, V[:0]), {}), ("intersect1d", (I, [1, 2, 3]), {}),
    ("setdiff1d", (I, [1, 2]), {}), ("union1d", (I, [9, 1]), {}), ("setxor1d", (I, [9, 1]), {}),
]


def _id(case: Any) -> str:
    return f"{case[0]} {list(case[2].values()) or ''}"


@pytest.mark.kernels(3)
@pytest.mark.parametrize("case", SAME, ids=_id)
def test_as_numpy(case: Any, device: str) -> None:
    name, args, kwargs = case
    theirs = getattr(np, name, None)
    if theirs is None:
        pytest.fail(f"numpy has no {name}")
    extra = {"ddof" if k == "correction" else k: v for k, v in kwargs.items()}
    check(device, lambda *a: getattr(tinyml, name)(*a, **on_all(device, kwargs)),
          lambda *a: theirs(*a, **extra), *args)


def on_all(device: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: on(device, v) for k, v in kwargs.items()}


# ---- pad


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap", "linear_ramp",
                                  "maximum", "minimum", "mean", "median"])
@pytest.mark.parametrize("widths", [2, (1, 0), ((0, 3), (2, 1)), ((0, 0), (5, 9)), 0])
def test_pad(mode: str, widths: Any, device: str) -> None:
    check(device, lambda x: tinyml.pad(x, widths, mode), lambda x: np.pad(x, widths, mode), M)


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
@pytest.mark.parametrize(("size", "widths"), [(1, (2, 3)), (2, (5, 4)), (3, (7, 8))])
def test_pad_wider_than_the_axis(size: int, widths: Any, mode: Any, device: str) -> None:
    check(device, lambda x: tinyml.pad(x, widths, mode), lambda x: np.pad(x, widths, mode),
          np.arange(size))


def test_pad_with_values_for_each_side(device: str) -> None:
    values = ((1.0, 2.0), (3.0, 4.0))
    check(device, lambda x: tinyml.pad(x, 1, constant_values=values),
          lambda x: np.pad(x, 1, constant_values=values), M)
    check(device, lambda x: tinyml.pad(x, 2, "linear_ramp", end_values=values),
          lambda x: np.pad(x, 2, "linear_ramp", end_values=values), M)
    check(device, lambda x: tinyml.pad(x, 2, "maximum", stat_length=2),
          lambda x: np.pad(x, 2, "maximum", stat_length=2), M)
    check(device, lambda x: tinyml.pad(x, (1, 2), "reflect"),
          lambda x: np.pad(x, (1, 2), "reflect"), I)


# ---- einsum


EINSUMS: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
    ("ij,jk->ik", ((2, 3), (3, 4))), ("ij,jk", ((2, 3), (3, 4))), ("ij->ji", ((2, 3),)),
    ("ii", ((3, 3),)), ("ii->i", ((3, 3),)), ("iji->j", ((3, 2, 3),)), ("iii->i", ((2, 2, 2),)),
    ("i,i", ((3,), (3,))), ("i,j->ij", ((3,), (2,))), ("i,j->ji", ((3,), (2,))),
    ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))), ("...ij,...jk->...ik", ((2, 3, 4), (4, 5))),
    ("...i->...", ((2, 3, 4),)), ("i...,i...->...", ((3, 1, 4), (3, 2, 1))),
    ("ab,bc,cd,de->ae", ((2, 3), (3, 4), (4, 5), (5, 2))), ("ij,ij,ij->", ((2, 3),) * 3),
    ("ijk->", ((2, 3, 4),)), ("ba", ((2, 3),)), ("ijk,ilm,njm,nlk,abc->", (
        (2, 3, 2), (2, 2, 3), (2, 3, 3), (2, 2, 2), (1, 2, 3))), (",ij->ij", ((), (2, 3))),
    ("ij,kj->ik", ((2, 1), (3, 4))), ("i,->i", ((3,), ())), ("ij,jk->ik", ((0, 3), (3, 2))),
    ("ij,jk->ik", ((2, 0), (0, 3))),
]


@pytest.mark.parametrize(("text", "shapes"), EINSUMS, ids=[text for text, _ in EINSUMS])
def test_einsum(text: str, shapes: tuple[tuple[int, ...], ...], device: str) -> None:
    xs = [RNG.standard_normal(shape) for shape in shapes]
    check(device, lambda *a: tinyml.einsum(text, *a), lambda *a: np.einsum(text, *a), *xs)


def test_einsum_of_integers_lists_and_ellipsis(device: str) -> None:
    a, b = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    check(device, lambda x, y: tinyml.einsum(x, [0, 1], y, [1, 2], [0, 2]),
          lambda x, y: x @ y, a, b)
    check(device, lambda x: tinyml.einsum(x, [..., 0], x, [..., 0], [...]),
          lambda x: np.einsum(x, [..., 0], x, [..., 0], [...]), a)


@pytest.mark.parametrize("text", ["ij,j", "ij->ii", "ij->k", "i j k", "i->i->i", "i...j...", "1"])
def test_einsum_refuses(text: str) -> None:
    with pytest.raises(TinyMLError):
        tinyml.einsum(text, tinyml.ones((2, 3)))


# ---- order statistics


METHODS = ["inverted_cdf", "averaged_inverted_cdf", "closest_observation",
           "interpolated_inverted_cdf", "hazen", "weibull", "linear", "median_unbiased",
           "normal_unbiased", "lower", "higher", "midpoint", "nearest"]


@pytest.mark.kernels(20)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_quantile_methods(method: str, count: int, device: str) -> None:
    x = RNG.permutation(np.arange(count) ** 2 / 4.0)
    q = np.linspace(0.0, 1.0, 9)
    check(device, lambda v: tinyml.quantile(v, q, method=method),
          lambda v: np.quantile(v, q, method=method), x)


@given(arrays.arrays(np.float64, st.integers(1, 9), elements=st.integers(-3, 3).map(float)),
       st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_order_statistics(x: Array, k: int) -> None:
    tensor = tinyml.tensor(x)
    k = min(k, x.size)
    value, index = tinyml.kthvalue(tensor, k)
    assert value.item() == np.sort(x)[k - 1] == x[index.item()]
    most, count = tinyml.mode(tensor)
    values, counts = np.unique(x, return_counts=True)
    assert most.item() == values[np.argmax(counts)] and count.item() == counts.max()
    best, where = tinyml.cummax(tensor)
    np.testing.assert_array_equal(best.numpy(), np.maximum.accumulate(x))
    np.testing.assert_array_equal(x[where.numpy()], best.numpy())
    assert (np.diff(where.numpy()) >= 0).all()


def test_quantile_refuses() -> None:
    with pytest.raises(ArgumentError, match="q in 0 to 1"):
        tinyml.quantile(tinyml.ones(3), 1.5)
    with pytest.raises(ShapeError, match="at least one element"):
        tinyml.median(tinyml.ones(0))
    with pytest.raises(ArgumentError, match="a method"):
        tinyml.quantile(tinyml.ones(3), 0.5, method="best")
    with pytest.raises(ShapeError, match="1 <= k <= 3"):
        tinyml.kthvalue(tinyml.ones(3), 4)


# ---- running


def test_running_extremes_beside_nan_and_infinity(device: str) -> None:
    x = np.array([1.0, 3.0, -np.inf, 3.0, np.nan, 5.0])
    values, places = tinyml.cummax(tinyml.tensor(x, device=device))
    np.testing.assert_array_equal(values.numpy(), np.maximum.accumulate(x))
    assert places.tolist() == [0, 1, 1, 3, 4, 4]
    assert tinyml.cummin(tinyml.tensor(x[:4], device=device))[1].tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("shape", [(7,), (3, 5), (0,), (2, 5000)])
def test_logcumsumexp(shape: tuple[int, ...], device: str) -> None:
    x = RNG.standard_normal(shape) * 300
    want = np.logaddexp.accumulate(x, axis=-1) if x.size else x
    got = tinyml.logcumsumexp(tinyml.tensor(x, device=device)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_logarithms_of_sums_at_infinities(device: str) -> None:
    inf = math.inf
    x = np.array([-inf, -inf, 1000.0, 1.0, inf, 2.0])
    got = tinyml.logcumsumexp(tinyml.tensor(x, device=device)).tolist()
    assert got == [-inf, -inf, 1000.0, 1000.0, inf, inf]
    assert tinyml.logsumexp(tinyml.tensor([-inf, -inf], device=device)).item() == -inf
    assert tinyml.logsumexp(tinyml.tensor([inf, 1.0], device=device)).item() == inf
    assert tinyml.logsumexp(tinyml.zeros(0, device=device)).item() == -inf


# ---- segments, one_hot, windows, norms


@pytest.mark.kernels(4)
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean"])
def test_segments(name: str, device: str) -> None:
    x, ids = RNG.standard_normal((6, 2)), np.array([3, 1, 3, 0, 1, 3])
    got = getattr(tinyml, f"segment_{name}")(*on(device, (x, ids)), 5).numpy()
    empty = {"sum": 0.0, "prod": 1.0, "max": -np.inf, "min": np.inf, "mean": np.nan}[name]
    want = np.stack([getattr(np, name)(x[ids == k], 0) if (ids == k).any() else
                     np.full(2, empty) for k in range(5)])
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert getattr(tinyml, f"segment_{name}")(*on(device, (x, ids))).shape == (4, 2)


def test_a_segment_out_of_range(device: str) -> None:
    with pytest.raises(TinyMLError, match="out of range"):
        tinyml.segment_sum(tinyml.ones(2, device=device),
                           tinyml.tensor([0, 5], device=device), 3).numpy()


def test_one_hot(device: str) -> None:
    x = np.array([[0, 2], [1, 5]])
    got = tinyml.one_hot(on(device, x), 3, dtype="int64", axis=0).numpy()
    np.testing.assert_array_equal(got, (np.arange(3)[:, None, None] == x).astype(int))
    assert tinyml.one_hot(on(device, x), 3).shape == (2, 2, 3)


def test_windows(device: str) -> None:
    view = np.lib.stride_tricks.sliding_window_view
    check(device, lambda x: tinyml.sliding_window_view(x, (2, 3)), lambda x: view(x, (2, 3)), M)
    check(device, lambda x: tinyml.sliding_window_view(x, 2, 1), lambda x: view(x, 2, 1), T)
    check(device, lambda x: tinyml.sliding_window_view(x, 3, 0, step=2),
          lambda x: view(x, 3, 0)[::2], V)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 0.5, -1, -2.5, math.inf, -math.inf])
def test_vector_norm(order: float, device: str) -> None:
    check(device, lambda x: tinyml.vector_norm(x, 1, ord=order),
          lambda x: np.linalg.vector_norm(x, axis=1, ord=order), T)


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "min", "max"])
@pytest.mark.parametrize("self_too", [True, False])
@pytest.mark.peers("torch")
def test_scatter_reduce(reduce: str, self_too: bool, device: str) -> None:
    import torch

    x, u = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 2))
    i = np.array([[0, 3], [1, 3], [0, 0]])
    name = {"min": "amin", "max": "amax"}.get(reduce, reduce)
    want = torch.from_numpy(x).scatter_reduce(0, torch.from_numpy(i), torch.from_numpy(u), name,
                                              include_self=self_too)
    got = tinyml.scatter_reduce(*on(device, (x, i, u)), 0, reduce, self_too)
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)


# ---- gradients, to second order, against differences


W = RNG.standard_normal(64)
SMOOTH: dict[str, Callable[[Any], Any]] = {
    "split": lambda x: tinyml.split(x, 2, 1)[1],
    "diagonal": lambda x: tinyml.diagonal(x, 1),
    "diag": lambda x: tinyml.diag(tinyml.ravel(x)[:3], -1),
    "rot90": tinyml.rot90,
    "block_diag": lambda x: tinyml.block_diag(x[:2], x[0]),
    "windows": lambda x: tinyml.sliding_window_view(x, 2, 1),
    "choose": lambda x: tinyml.choose(tinyml.tensor([0, 1, 0, 1]), [x, x * x]),
    "pad reflect": lambda x: tinyml.pad(x, ((1, 1), (2, 0)), "reflect"),
    "pad ramp": lambda x: tinyml.pad(x, 1, "linear_ramp"),
    "pad mean": lambda x: tinyml.pad(x, ((0, 0), (1, 1)), "mean"),
    "einsum": lambda x: tinyml.einsum("ij,kj,ik->i", x, x, x[:, :3]),
    "einsum diagonal": lambda x: tinyml.einsum("ii,ij->j", x[:, :3], x),
    "kron": lambda x: tinyml.kron(x[:2, :2], x[1:, 2:]),
    "cross": lambda x: tinyml.cross(x[:2, :3], x[1:, 1:]),
    "vander": lambda x: tinyml.vander(x[0], 4),
    "convolve": lambda x: tinyml.convolve(x[0], x[1, :3]),
    "interp": lambda x: tinyml.interp(x, [-4.0, 0.1, 4.0], x[0, :3] * x[0, :3]),
    "trapezoid": lambda x: tinyml.trapezoid(x, x * x),
    "gradient": lambda x: tinyml.gradient(x, 0.5, axis=1, edge_order=2),
    "average": lambda x: tinyml.average(x, 1, weights=x * x + 1.0),
    "cov": tinyml.cov,
    "corrcoef": tinyml.corrcoef,
    "median": lambda x: tinyml.median(x * x, 1),
    "quantile": lambda x: tinyml.quantile(x * x, [0.2, 0.7], 0),
    "kthvalue": lambda x: tinyml.kthvalue(x * x, 2)[0],
    "nanvar": lambda x: tinyml.nanvar(tinyml.where(x > 2.5, float("nan"), x), 1),
    "nanprod": lambda x: tinyml.nanprod(tinyml.where(x > 2.5, float("nan"), x), 1),
    "logsumexp": lambda x: tinyml.logsumexp(x, 1),
    "logcumsumexp": lambda x: tinyml.logcumsumexp(x, 1),
    "cummax": lambda x: tinyml.cummax(x * x, 1)[0],
    "segment_sum": lambda x: tinyml.segment_sum(x * x, tinyml.tensor([1, 0, 1])),
    "segment_prod": lambda x: tinyml.segment_prod(x, tinyml.tensor([1, 0, 1])),
    "segment_max": lambda x: tinyml.segment_max(x * x, tinyml.tensor([1, 0, 1])),
    "scatter_reduce": lambda x: tinyml.scatter_reduce(
        x[0], tinyml.tensor([1, 1, 3]), x[1, :3] * x[1, :3], reduce="mean"),
    "vector_norm": lambda x: tinyml.vector_norm(x, 1, ord=3),
    "cdist": lambda x: tinyml.cdist(x, x[:1] + 1.0),
    "unique": lambda x: tinyml.unique(x * x),
}


def _differences(f: Callable[[Any], Any], x: Array, step: float = 1e-5) -> Array:
    """Central differences of a function of an array to a number."""
    found = np.zeros_like(x)
    for at in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        found[at] = (f(tinyml.tensor(up)).item() - f(tinyml.tensor(down)).item()) / (2 * step)
    return found


def _weighted(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A number from what a function gives: each element has a weight of its own."""

    def number(x: Any) -> Any:
        y = f(x)
        return (y * tinyml.tensor(np.resize(W, y.shape))).sum()

    return number


@pytest.mark.kernels(1)
@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_to_second_order(name: str) -> None:
    first = _weighted(SMOOTH[name])
    slope = tinyml.grad(first)
    np.testing.assert_allclose(slope(tinyml.tensor(M)).numpy(), _differences(first, M),
                               rtol=2e-6, atol=2e-7)
    second = _weighted(lambda x: slope(x) * x)
    np.testing.assert_allclose(tinyml.grad(second)(tinyml.tensor(M)).numpy(),
                               _differences(second, M), rtol=2e-6, atol=2e-6)


@pytest.mark.kernels(7)
@pytest.mark.parametrize("name", ["einsum", "pad reflect", "logcumsumexp", "cov", "cummax"])
def test_the_same_under_jit(name: str, device: str) -> None:
    x = tinyml.tensor(M, device=device)
    f = _weighted(SMOOTH[name])
    if device == "cpu":
        want, got = tinyml.value_and_grad(f)(x), tinyml.jit(tinyml.value_and_grad(f))(x)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-13)
    else:
        np.testing.assert_allclose(tinyml.jit(SMOOTH[name])(x).numpy(), SMOOTH[name](x).numpy(),
                                   rtol=1e-12, atol=1e-13)


# ---- what is refused


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: tinyml.split(tinyml.ones(5), 2), "array_split"),
    (lambda: tinyml.split(tinyml.ones(5), 0), "at least one part"),
    (lambda: tinyml.vsplit(tinyml.ones(5), 1), "at least 2 axes"),
    (lambda: tinyml.rot90(tinyml.ones((2, 2)), 1, (0, 0)), "two different axes"),
    (lambda: tinyml.diag(tinyml.ones((1, 1, 1))), "a vector or a matrix"),
    (lambda: tinyml.sliding_window_view(tinyml.ones(3), 4), "0 < length <= 3"),
    (lambda: tinyml.pad(tinyml.ones(3), (1, 2, 3)), "widths for 1 axes"),
    (lambda: tinyml.pad(tinyml.ones(3), -1), "not negative"),
    (lambda: tinyml.pad(tinyml.ones(3), 1, "best"), "a mode"),
    (lambda: tinyml.pad(tinyml.ones(0), 1, "edge"), "an axis with elements"),
    (lambda: tinyml.cross(tinyml.ones(2), tinyml.ones(2)), "3 elements along the axis"),
    (lambda: tinyml.inner(tinyml.ones(2), tinyml.ones(3)), "2 != 3"),
    (lambda: tinyml.convolve(tinyml.ones(2), tinyml.ones(0)), "two vectors with elements"),
    (lambda: tinyml.convolve(tinyml.ones(2), tinyml.ones(2), "some"), "full, same or valid"),
    (lambda: tinyml.interp(0.5, [0.0, 1.0], [1.0]), "two vectors of one size"),
    (lambda: tinyml.gradient(tinyml.ones(2), edge_order=2), "at least 3 samples"),
    (lambda: tinyml.bincount(tinyml.tensor([-1])), "not negative"),
    (lambda: tinyml.bincount(tinyml.tensor([0.5])), "integers"),
    (lambda: tinyml.histogram(tinyml.ones(2), 0), "at least one bin"),
    (lambda: tinyml.one_hot(tinyml.tensor([0.5]), 3), "integers"),
    (lambda: tinyml.segment_sum(tinyml.ones(3), tinyml.tensor([0, 1])), "ids of a shape"),
    (lambda: tinyml.average(tinyml.ones(3), weights=tinyml.ones(2)), "weights of shape"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(TinyMLError, match=words):
        call()
