"""Creation: one rule makes a value the type's, whichever function is asked; integers are exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
from tinyml.dtypes import INTEGERS, as_dtype, integer_range
from tinyml.errors import ArgumentError, ArgumentTypeError, DTypeError, TinyMLError

pytestmark = pytest.mark.kernels(2)

# Every function that makes a tensor of one value in a type.
MAKERS: dict[str, Callable[[Any, str, str], Any]] = {
    "tensor": lambda v, dtype, device: tinyml.tensor([v], dtype, device),
    "asarray": lambda v, dtype, device: tinyml.asarray([v], dtype, device),
    "full": lambda v, dtype, device: tinyml.full((1,), v, dtype, device),
    "full_like": lambda v, dtype, device: tinyml.full_like(tinyml.zeros((1,), dtype, device), v),
    "full_like, typed": lambda v, dtype, device: tinyml.full_like(
        tinyml.zeros((1,), "float32", device), v, dtype),
    "at.set": lambda v, dtype, device: tinyml.zeros((1,), dtype, device).at[0].set(v),
    "pad": lambda v, dtype, device: tinyml.pad(
        tinyml.zeros((0,), dtype, device), (1, 0), constant_values=v),
    "put_along_axis": lambda v, dtype, device: tinyml.put_along_axis(
        tinyml.zeros((1,), dtype, device), tinyml.tensor([0], device=device), v),
}


def held(value: float, dtype: str) -> int:
    """The cast rule for a float, in exact arithmetic: truncate, saturate, NaN is 0."""
    low, high = integer_range(as_dtype(dtype))
    if math.isnan(value):
        return 0
    if math.isinf(value):
        return high if value > 0 else low
    return max(low, min(high, math.trunc(value)))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "uint64"])
@pytest.mark.parametrize("name", MAKERS)
def test_floats_truncate_and_saturate_everywhere(name: str, dtype: str, device: str) -> None:
    for value in (-1e30, -129.9, -0.9, 0.9, 254.99, 70000.5, 2.0**63, 1e30, math.nan, math.inf):
        assert MAKERS[name](value, dtype, device).tolist() == [held(value, dtype)]


@pytest.mark.parametrize("name", MAKERS)
def test_what_a_type_does_not_hold_is_refused_everywhere(name: str) -> None:
    for value, dtype, error in ((200, "int8", ArgumentError), (-1, "uint64", ArgumentError),
                                (2**63, "int64", ArgumentError), (10**30, "uint8", ArgumentError),
                                (2 - 3j, "float32", DTypeError), (1j, "int16", DTypeError)):
        with pytest.raises(ArgumentTypeError if name == "pad" and error is DTypeError else error):
            MAKERS[name](value, dtype, "cpu")
    if name != "pad":  # which takes an array's numbers as Python's
        assert MAKERS[name](np.int64(300), "uint8", "cpu").tolist() == [300 - 256]


def test_without_a_type_full_is_what_tensor_is() -> None:
    for value in (True, 7, -7, 2**63, 2**64 - 1, 0.1, 1j, np.float64(0.1), np.uint8(3)):
        one, filled = tinyml.tensor(value), tinyml.full((2,), value)
        assert filled.dtype is one.dtype and filled.tolist() == [one.item()] * 2
    assert tinyml.full((2,), tinyml.tensor(2.5)).tolist() == [2.5, 2.5]
    assert tinyml.full((2,), tinyml.tensor(2.5), "int8").tolist() == [2, 2]
    for value in ([1, 2], np.ones(1), tinyml.ones(3), "a", None):
        with pytest.raises(TinyMLError):
            tinyml.full((2,), value)


def test_integers_that_no_type_holds_are_refused_and_as_floats_rounded() -> None:
    for data in (2**64, [2**63, -1], [[2**64 - 1], [-(2**63)]], [0, -(2**63) - 1]):
        with pytest.raises(DTypeError):
            tinyml.tensor(data)
        for dtype in ("int64", "uint64", "int8"):
            with pytest.raises(ArgumentError):
                tinyml.tensor(data, dtype)
        assert tinyml.tensor(data, "float64").tolist() == np.array(data, object).astype(
            float).tolist()
    assert tinyml.tensor([2**63 - 1, 2**63]).tolist() == [2**63 - 1, 2**63]
    assert tinyml.tensor([2**80, 0.5]).tolist() == [2.0**80, 0.5]
    with pytest.raises(ArgumentError):
        tinyml.tensor([10**400, 1], "float32")


# ---- from a rule

WORDS = st.integers(-(2**64), 2**65) | st.integers(-9, 9)


@given(WORDS, st.integers(0, 40), WORDS.filter(bool), st.sampled_from(INTEGERS))
def test_integer_ranges_are_exact_or_refused(start: int, count: int, step: int,
                                             dtype: str) -> None:
    stop = start + count * step
    expected = list(range(start, stop, step))
    low, high = integer_range(as_dtype(dtype))
    ends = expected or [start]
    if low <= min(ends) and max(ends) <= high:
        assert tinyml.arange(start, stop, step, dtype).tolist() == expected
    else:
        with pytest.raises(ArgumentError):
            tinyml.arange(start, stop, step, dtype)


def test_ranges_of_other_kinds() -> None:
    assert tinyml.arange(2**64 - 3, 2**64 - 1).dtype is tinyml.uint64
    with pytest.raises(DTypeError):
        tinyml.arange(-1, 2**64, 2**62)
    assert tinyml.arange(-1.5, 400.0, 100.0, "int8").tolist() == [-1, 98, 127, 127, 127]
    assert tinyml.arange(2**60, 2**60 + 200, 64, "float32").tolist() == [
        float(np.float32(2**60 + k)) for k in (0, 64, 128, 192)]
    assert tinyml.arange(2**70, 2**70 + 2**69, 2**68, "float64").tolist() == [
        2.0**70, 2.0**70 + 2.0**68]
    for call in (lambda: tinyml.arange(0, math.inf), lambda: tinyml.arange(math.nan),
                 lambda: tinyml.arange(0, 5, 0), lambda: tinyml.arange(0, 5, 0.0),
                 lambda: tinyml.arange("3"), lambda: tinyml.arange(0, 1j)):
        with pytest.raises(TinyMLError):
            call()


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(0, 12), st.booleans(),
       st.sampled_from([1, 2**58]))
def test_spaced_integers_are_rounded_down(start: int, stop: int, count: int, endpoint: bool,
                                          scale: int) -> None:
    start, stop = start * scale + 3 * (scale > 1), stop * scale
    parts = max(count - endpoint, 1)
    exact = [math.floor(start + Fraction(k * (stop - start), parts)) for k in range(count)]
    low, high = integer_range(tinyml.int64)
    expected = [max(low, min(high, value)) for value in exact]
    assert tinyml.linspace(start, stop, count, "int64", endpoint=endpoint).tolist() == expected


def test_spaced_floats_become_integers_as_in_numpy_and_saturate() -> None:
    for start, stop, count in ((-2.5, 2.5, 7), (3.9, -3.9, 6), (-0.1, -0.9, 3)):
        assert tinyml.linspace(start, stop, count, "int32").tolist() == np.linspace(
            start, stop, count, dtype="int32").tolist()
    assert tinyml.linspace(-1000.0, 1000.0, 3, "uint8").tolist() == [0, 0, 255]
    assert tinyml.linspace(-1000, 1000, 3, "int8").tolist() == [-128, 0, 127]
    assert tinyml.linspace(0, math.nan, 2, "int8").tolist() == [0, 0]
    assert tinyml.linspace(-1.6e308, 1.6e308, 3, "float64").tolist() == [-1.6e308, 0.0, 1.6e308]
    with pytest.raises(DTypeError):
        tinyml.linspace(0, 1j, 3, "float32")
