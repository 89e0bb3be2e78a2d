"""Between two values: exact at both ends, monotone, without overflow, right beside infinities."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml.functions.statistics import METHODS

pytestmark = pytest.mark.kernels(6)
INF = math.inf
TOP = 2.0**127  # a number of float32 that overflows when doubled
EXTREME = {"float64": 1.7e308, "float32": 3.3e38, "float16": 6e4}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_lerp_is_exact_at_its_ends_monotone_and_close(dtype: str, device: str) -> None:
    rng, top = np.random.default_rng(5), EXTREME[dtype]
    ends = np.array([0.0, 1.0, -1.0, 1e-6, top, -top, 3.0, 3.0 + 1e-2, -7e3, top / 3]).astype(dtype)
    a, b = (x.reshape(-1, 1) for x in np.meshgrid(ends, ends))
    t = np.concatenate([[0, 1, 0.5], 0.5 + rng.uniform(-1, 1, 30) * 1e-3, rng.random(60)])
    t = np.sort(t.astype(dtype))
    xs = [tinyml.tensor(x, device=device) for x in (a, b, t)]
    got = tinyml.lerp(*xs).numpy()
    assert (got[:, t == 0] == a).all() and (got[:, t == 1] == b).all()
    steps = np.diff(got.astype(np.longdouble), axis=1) * np.where(a < b, 1, -1)
    assert (steps >= 0).all()
    eps = Fraction(float(np.finfo(dtype).eps))
    for row in range(0, len(a), 7):
        p, q = Fraction(float(a[row, 0])), Fraction(float(b[row, 0]))
        for at, value in zip(t.tolist(), got[row].tolist()):
            want = p + (q - p) * Fraction(at)
            assert abs(Fraction(value) - want) <= 2 * eps * max(abs(p), abs(q))


def between(lo: float, hi: float, t: float) -> float:
    """Of two values, exactly; an infinite one is reached as soon as it counts."""
    if t in (0, 1) or lo == hi:
        return hi if t == 1 else lo
    if math.isinf(lo) or math.isinf(hi):
        return (1 - t) * lo + t * hi
    return float(Fraction(lo) + (Fraction(hi) - Fraction(lo)) * Fraction(t))


ROWS = ([-1.0, 0.0, INF], [2.0, INF], [-INF, 4.0, 5.0, INF], [-INF, -INF, 1.0], [5.0], [INF, INF],
        [-1.6e308, 1.6e308], [-1.6e308, -1.0, 3.0, 1.6e308])


@pytest.mark.parametrize("method", METHODS)
def test_quantiles_beside_infinities_and_extremes(method: str, device: str) -> None:
    """NumPy says between which elements a quantile lies, by the quantile of their places."""
    q = [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0]
    for row in ROWS:
        places = np.quantile(np.arange(len(row)), q, method=method)  # type: ignore[call-overload]
        want = [between(row[math.floor(p)], row[math.ceil(p)], p - math.floor(p)) for p in places]
        x = tinyml.tensor(np.random.default_rng(1).permutation(row), device=device)
        for function in (tinyml.quantile, tinyml.nanquantile):
            got = function(x, q, method=method).tolist()
            for value, right in zip(got, want):
                assert value == right or math.isnan(value) and math.isnan(right) or (
                    math.isfinite(right) and abs(value - right) <= 1e-15 * max(
                        abs(v) for v in row if math.isfinite(v))), (row, got, want)


def test_the_middle_of_extremes(device: str) -> None:
    assert tinyml.median(tinyml.tensor([TOP, -TOP, 1.0, INF], device=device)).item() == TOP / 2
    assert tinyml.nanmedian(tinyml.tensor([math.nan, 7.0, INF, 1.0], device=device)).item() == 7
    assert tinyml.percentile(tinyml.tensor([4.0, -INF], device=device), [0, 100]).tolist() == [
        -INF, 4]
    half = tinyml.tensor([-65504.0, 65504.0], dtype="float16", device=device)
    assert tinyml.median(half).item() == 0


def test_a_place_beyond_what_float32_counts() -> None:
    n = 2**24 + 3
    x = tinyml.tensor(np.concatenate([np.zeros(n - 2, np.float32), np.float32([1, 2])]))
    assert tinyml.quantile(x, (n - 2) / (n - 1)).item() == 1


def test_the_gradient_goes_to_the_chosen_element(device: str) -> None:
    x = tinyml.tensor([INF, -1.0, 0.5], device=device)
    assert tinyml.grad(tinyml.median)(x).tolist() == [0, 0, 1]
    slopes = tinyml.grad(lambda a, b: tinyml.lerp(a, b, 0.0), argnums=(0, 1))(
        tinyml.tensor(2.0, device=device), tinyml.tensor(INF, device=device))
    assert [s.item() for s in slopes] == [1, 0]


def test_interp_between_extremes_and_infinities(device: str) -> None:
    def interp(x: list[float], xp: list[float], fp: list[float]) -> Any:
        return tinyml.interp(*[tinyml.tensor(v, device=device) for v in (x, xp, fp)]).tolist()

    assert interp([-TOP, 0.0, TOP], [-TOP, TOP], [-TOP, TOP]) == [-TOP, 0, TOP]
    assert interp([0.0, 1.0], [0.0, 1.0], [2.0, INF]) == [2, INF]
    assert interp([-5.0, 5.0], [-INF, 0.0, INF], [1.0, 2.0, 3.0]) == [2, 2]
    assert tinyml.trapezoid(tinyml.tensor([TOP, TOP], device=device)).item() == TOP
