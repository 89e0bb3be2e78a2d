"""Specs: one object for each layout, strides where they mean something, sizes that fit."""

from __future__ import annotations

import pytest

from tinyml.dtypes import float32, uint4
from tinyml.errors import AllocationError
from tinyml.ir.dims import Dim
from tinyml.ir.spec import MAX_BYTES, dense_strides, make_spec, stored


def test_equal_specs_are_one_object() -> None:
    first, second = (make_spec((2, 3), float32, None) for _ in range(2))
    assert first is second and first is not make_spec((3, 2), float32, None)
    assert first is make_spec((2, 3), float32, None, (3, 1))


def test_strides_of_axes_of_one_or_of_nothing_mean_nothing() -> None:
    assert make_spec((1, 3), float32, None, (99, 1)) is make_spec((1, 3), float32, None)
    assert make_spec((0, 3), float32, None, (7, 5)).strides == (0, 0)


@pytest.mark.parametrize(("strides", "contiguous"), [((3, 1), True), ((1, 2), False),
                                                     ((6, 2), False), ((0, 1), False)])
def test_only_row_major_and_dense_is_contiguous(strides: tuple[int, ...],
                                                contiguous: bool) -> None:
    assert make_spec((2, 3), float32, None, strides).contiguous is contiguous


def test_dense_strides_count_elements() -> None:
    assert dense_strides((2, 3, 4)) == (12, 4, 1) and dense_strides(()) == ()


def test_packed_types_are_stored_in_whole_bytes() -> None:
    assert stored(make_spec((3, 3), uint4, None)).shape == (5,)


@pytest.mark.parametrize("shape", [(MAX_BYTES,), (2**31, 2**31), (0, MAX_BYTES + 1)])
def test_what_cannot_be_addressed_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AllocationError, match="more bytes than can be addressed"):
        make_spec(shape, float32, None)


def test_a_size_that_is_not_known_is_of_a_dense_layout() -> None:
    spec = make_spec((Dim.fresh(8), 2), float32, None)  # type: ignore[arg-type]
    assert spec.unknown and spec.contiguous
