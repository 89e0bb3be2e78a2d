"""Data types of the Array API: promotion by the standard's tables, kinds, limits."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml.errors import ArgumentError, DTypeError

pytestmark = pytest.mark.kernels(1)

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")
INTEGERS = (*SIGNED, *UNSIGNED)
MIXED = [(a, b) for a, b in itertools.product(INTEGERS, repeat=2)
         if not ("uint64" in (a, b) and (a in SIGNED or b in SIGNED))]
REFUSED = [(a, "uint64") for a in SIGNED] + [("uint64", a) for a in SIGNED]


@pytest.mark.kernels(1)
@pytest.mark.parametrize(("first", "second"), [*MIXED, *itertools.product(FLOATS, repeat=2),
                                               ("bool", "bool")])
def test_two_types_of_a_kind_meet_as_the_standard_has_it(first: str, second: str) -> None:
    # NumPy's promotion within a kind is the standard's.
    expected = np.result_type(np.dtype(first), np.dtype(second)).name
    assert tinyml.result_type(first, second).name == expected
    x, y = tinyml.ones(2, dtype=first), tinyml.ones((1, 2), dtype=second)
    assert (x.dtype if first == second == "bool" else (x + y).dtype).name == expected
    assert tinyml.concat([x, tinyml.ones(1, dtype=second)]).dtype.name == expected
    assert tinyml.can_cast(first, second) == (expected == second)


@pytest.mark.parametrize(("first", "second"), REFUSED)
def test_types_without_a_common_one_are_refused(first: str, second: str) -> None:
    for meet in (tinyml.result_type, lambda a, b: tinyml.ones(1, dtype=a) + tinyml.ones(1, b)):
        with pytest.raises(DTypeError, match="no common type"):
            meet(first, second)
    assert not tinyml.can_cast(first, second)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_a_number_takes_the_tensor_s_type(dtype: str) -> None:
    x = tinyml.ones(2, dtype=dtype)
    numbers: tuple[Any, ...] = (1, 1.0) if dtype in FLOATS else (1,)
    for number, operate in itertools.product(numbers, (operator.add, operator.mul, operator.pow)):
        assert operate(x, number).dtype is operate(number, x).dtype is x.dtype
        assert tinyml.result_type(x, number) is tinyml.result_type(number, dtype) is x.dtype


def test_beyond_the_standard_a_float_wins() -> None:
    assert tinyml.result_type("int64", "float32") is tinyml.float32
    assert tinyml.result_type("int8", 1.5) is tinyml.float32
    assert tinyml.result_type("bool", "int8") is tinyml.int8
    with pytest.raises(ArgumentError, match="at least one"):
        tinyml.result_type(1, 2.0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_limits_of_floats(dtype: str) -> None:
    ours, theirs = tinyml.finfo(tinyml.ones(1, dtype=dtype)), np.finfo(dtype)
    for name in ("bits", "eps", "max", "min", "smallest_normal"):
        assert getattr(ours, name) == getattr(theirs, name)
        assert isinstance(getattr(ours, name), int if name == "bits" else float)
    assert ours.dtype.name == dtype
    with pytest.raises(DTypeError, match="an integer type"):
        tinyml.iinfo(dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_limits_of_integers(dtype: str) -> None:
    ours, theirs = tinyml.iinfo(dtype), np.iinfo(dtype)
    assert (ours.bits, ours.min, ours.max) == (theirs.bits, theirs.min, theirs.max)
    assert ours.dtype.name == dtype
    with pytest.raises(DTypeError, match="a float type"):
        tinyml.finfo(dtype)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_kinds(dtype: str) -> None:
    kinds = ("bool", "signed integer", "unsigned integer", "integral", "real floating",
             "complex floating", "numeric")
    assert [tinyml.isdtype(dtype, kind) for kind in kinds] == [
        np.isdtype(np.dtype(dtype), kind) for kind in kinds]
    assert tinyml.isdtype(dtype, (dtype, "complex floating"))
    assert not tinyml.isdtype(dtype, ())


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(ArgumentError, match="no kind"):
        tinyml.isdtype("int8", "integers")


def test_astype_copies_unless_told_otherwise(device: str) -> None:
    x = tinyml.asarray([1.5, -2.5], device=device)
    assert tinyml.astype(x, "float32", copy=False) is x
    copied = tinyml.astype(x, "float32")
    copied[0] = 9.0
    assert x.tolist() == [1.5, -2.5] and copied.tolist() == [9.0, -2.5]
    moved = tinyml.astype(x, "int8", device="cpu")
    assert (moved.dtype, str(moved.device), moved.tolist()) == (tinyml.int8, "cpu", [1, -2])
