"""The sample generators: small, seeded, dtype by dtype, with the corner cases and layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinyml.ops.samples as samples
from tinyml.conformance.suite.backends import NumPy
from tinyml.conformance.suite.run import all_ops
from tinyml.dtypes import FLOATS, as_dtype
from tinyml.ops.samples.values import Sample, finfo, reversed_steps, special, spread

OPS = all_ops()

# More than this and a kernel per structure makes the suite slow.
MOST_SAMPLES = 40
PAIRS = [(name, dtype) for name, op in OPS.items() for dtype in op.dtypes]


def _bytes(sample: Sample) -> list[Any]:
    return [x.tobytes() if isinstance(x, np.ndarray) else x for x in sample.args]


@pytest.mark.parametrize("name", sorted(OPS))
def test_samples_are_few_named_apart_and_the_same_every_time(name: str) -> None:
    make = OPS[name].samples
    assert make is not None, "an op without samples is not checked"
    for dtype in OPS[name].dtypes:
        first, second = list(make(dtype)), list(make(dtype))
        assert 0 < len(first) <= MOST_SAMPLES
        assert len({sample.name for sample in first}) == len(first)
        assert [_bytes(sample) for sample in first] == [_bytes(sample) for sample in second]
        assert all("/" not in sample.name for sample in first)


@pytest.mark.kernels(1)
@pytest.mark.parametrize("name", sorted(OPS))
def test_the_reference_takes_every_sample(name: str) -> None:
    make = OPS[name].samples
    assert make is not None
    for dtype in OPS[name].dtypes:
        for sample in make(dtype):
            assert NumPy().run(name, *sample.args, **sample.attrs)


@pytest.mark.parametrize("generator", [samples.unary(), samples.binary(), samples.reduction()])
def test_corner_cases_are_there(generator: Callable[[str], list[Sample]]) -> None:
    arrays = [
        x for sample in generator("float32") for x in sample.args if isinstance(x, np.ndarray)
    ]
    assert any(x.ndim == 0 for x in arrays)
    assert any(x.size == 0 for x in arrays)
    assert any(x.size == 1 for x in arrays)
    assert any(not x.flags.c_contiguous for x in arrays)
    assert any(step < 0 for x in arrays for step in x.strides)
    assert any(np.isnan(x).any() for x in arrays)


@pytest.mark.parametrize("generator", [samples.unary(), samples.binary()])
def test_read_only_arrays_are_among_them(generator: Callable[[str], list[Sample]]) -> None:
    arrays = [x for sample in generator("float32") for x in sample.args]
    assert any(isinstance(x, np.ndarray) and not x.flags.writeable for x in arrays)


def test_special_values_hold_both_zeros_and_the_extremes() -> None:
    for dtype in FLOATS:
        x, info = special(dtype), finfo(as_dtype(dtype))
        assert {float(info.max), float(info.smallest_subnormal), float(info.tiny)} <= set(
            x.tolist()
        )
        assert np.signbit(x[x == 0].astype(np.float32)).tolist() == [False, True]
    assert {-(2**63), 2**63 - 1} <= set(special("int64").tolist())


def test_spread_has_no_ties_and_no_round_numbers() -> None:
    x = spread("float32", (3, 5), -3.0, 3.0)
    assert np.unique(x).size == x.size
    assert (np.abs(x - np.round(x)) > 1e-4).all()


def test_reversed_steps_keeps_the_values() -> None:
    x = spread("float32", (2, 3), 0.0, 1.0)
    assert (reversed_steps(x) == x).all()
    assert reversed_steps(x).strides[-1] < 0


def test_integers_stay_within_their_type() -> None:
    wide = spread("int8", (200,), -1000.0, 1000.0)
    assert wide.min() < -100 and wide.max() > 100
    assert np.unique(spread("uint8", (50,), -300.0, 300.0)).size == 50
