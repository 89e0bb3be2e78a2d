"""The distance in units in the last place: its known values, and what it calls infinitely far."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinyml.conformance.suite.ulp import REFERENCE_SLACK, distance, spacing

FLOATS = ("float16", "float32", "float64")


def _wide(*values: float) -> np.ndarray:
    return np.array(values, np.longdouble)


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_step_is_one_unit(dtype: str) -> None:
    x = np.array([1.0, 1.5, 3.0, -7.0, 1e-3], dtype)
    step = np.nextafter(x, np.array(np.inf, dtype))
    assert distance(step, x.astype(np.longdouble)).tolist() == [1.0] * 5
    assert distance(x, x.astype(np.longdouble)).tolist() == [0.0] * 5


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_step_among_subnormals_is_one_unit(dtype: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, tiny, 5 * tiny], dtype)
    assert distance(x + tiny, x.astype(np.longdouble)).tolist() == [1.0] * 3


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_correctly_rounded_value_is_within_half_a_unit(dtype: str) -> None:
    exact = np.random.default_rng(0).uniform(-100, 100, 1000).astype(np.longdouble) / 3
    assert distance(exact.astype(dtype), exact).max() <= 0.5 + REFERENCE_SLACK


@pytest.mark.parametrize("dtype", FLOATS)
def test_spacing_agrees_with_numpy(dtype: str) -> None:
    x = np.array([1.0, 1.9, 2.0, 0.3, 1000.0, 0.0], dtype)
    assert spacing(x.astype(np.longdouble), np.dtype(dtype)).tolist() == np.spacing(x).tolist()


def test_kinds_that_differ_are_infinitely_far() -> None:
    nan, inf = math.nan, math.inf
    computed = np.array([nan, 1.0, inf, -inf, 3.4e38, nan, 0.0], np.float32)
    exact = _wide(1.0, nan, -inf, inf, inf, inf, nan)
    assert np.isinf(distance(computed, exact)).all()


def test_nan_equals_any_nan_and_infinity_itself() -> None:
    computed = np.array([0x7FC00001, 0xFFC00000, 0x7F800000, 0xFF800000], np.uint32)
    exact = _wide(math.nan, math.nan, math.inf, -math.inf)
    assert distance(computed.view(np.float32), exact).tolist() == [0.0] * 4


def test_zeros_differ_in_sign_only_where_asked() -> None:
    computed, exact = np.array([0.0, -0.0], np.float32), _wide(-0.0, -0.0)
    assert distance(computed, exact).tolist() == [math.inf, 0.0]
    assert distance(computed, exact, signed_zero=False).tolist() == [0.0, 0.0]


def test_overflow_is_near_the_greatest_number_and_nowhere_else() -> None:
    top = np.finfo(np.float32).max
    unit = spacing(_wide(float(top)), np.dtype(np.float32))[0]
    exact = _wide(top + 0.4 * unit, top + 0.75 * unit, 2.0 * float(top), 1e30)
    infinite = distance(np.full(4, np.inf, np.float32), exact)
    assert infinite[:3].tolist() == pytest.approx([0.6, 0.25, 0.0])
    assert infinite[3] > 1e6
    assert distance(np.full(1, -np.inf, np.float32), exact[2:3])[0] > 1e6


def test_integers_and_bools_are_equal_or_infinitely_far() -> None:
    assert distance(np.array([1, 2]), np.array([1, 3])).tolist() == [0.0, math.inf]
    assert distance(np.array([True]), np.array([False])).tolist() == [math.inf]
    edge = np.array([2**63 - 1], np.int64)
    assert np.isinf(distance(edge, edge - 1)).all()
