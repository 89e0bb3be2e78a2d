"""Bins: which side of an edge an element falls on, and edges that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
from tinyml.errors import ArgumentError

pytestmark = pytest.mark.kernels(4)

NAN, INF = math.nan, math.inf
VALUES = [-INF, -2.0, 0.0, 0.5, 1.0, 2.5, 4.0, INF, NAN]
EDGES = st.lists(st.sampled_from([-INF, -2.0, 0.5, 1.0, 1.0, 2.5, INF]), max_size=6).map(sorted)


@given(EDGES, st.booleans(), st.booleans())
def test_digitize_puts_ties_where_numpy_does(edges: list[float], falls: bool, right: bool) -> None:
    """The interval in the docstring, counted; NaN comes after all numbers."""
    bins = edges[::-1] if falls else edges
    falls = bool(bins) and bins[0] > bins[-1]

    def passed(edge: float, x: float) -> bool:
        if math.isnan(x):
            return not falls
        if falls:
            return edge >= x if right else edge > x
        return edge < x if right else edge <= x

    expected = [sum(passed(edge, x) for edge in bins) for x in VALUES]
    table = np.array(bins, np.float32)
    got = tinyml.digitize(tinyml.tensor(VALUES), table, right)
    assert got.tolist() == expected == np.digitize(np.float32(VALUES), table, right).tolist()


def test_digitize_on_every_device_and_in_a_graph(device: str) -> None:
    x = tinyml.tensor(VALUES, device=device)
    for bins in ([4.0, 2.5, 0.5, -2.0], [-2.0, 0.5, 0.5, 4.0], [4.0, 4.0, 0.0], [1.0], [NAN, 1.0]):
        edges = tinyml.tensor(bins, device=device)
        for right in (False, True):
            got = tinyml.digitize(x, edges, right).tolist()
            if bins[0] == bins[0]:
                assert got == np.digitize(np.float32(VALUES), np.float32(bins), right).tolist()
            traced = tinyml.jit(lambda x, e, right=right: tinyml.digitize(x, e * 1.0, right))
            assert traced(x, edges).tolist() == got
    whole = tinyml.tensor([2**63 + 1, 7, 0], dtype="uint64", device=device)
    assert tinyml.digitize(whole, whole).tolist() == [0, 1, 2]


def test_bins_that_neither_rise_nor_fall_are_refused() -> None:
    x = tinyml.tensor([1.0, 2.0])
    for bins in ([1.0, 3.0, 2.0], [2.0, 1.0, 3.0], [1.0, NAN, 0.0], [NAN, 0.0, 1.0]):
        for given_as in (bins, np.array(bins), tinyml.tensor(bins)):
            with pytest.raises(ArgumentError):
                tinyml.digitize(x, given_as)


def test_edges_of_a_histogram_rise(device: str) -> None:
    x = tinyml.tensor([0.5, 1.0, 3.0], device=device)
    for bins in ([3.0, 1.0], [0.0, 2.0, 1.0], [0.0, NAN, 4.0], [NAN, NAN], [0.0, 1.0, NAN]):
        for call in (lambda b: tinyml.histogram(x, b), lambda b: tinyml.histogram2d(x, x, [b, 2]),
                     lambda b: tinyml.histogramdd(tinyml.reshape(x, (3, 1)), [b])):
            for given_as in (bins, tinyml.tensor(bins, device=device)):
                with pytest.raises(ArgumentError):
                    call(given_as)
    for limits in ((0.0, INF), (NAN, 1.0), (1.0, NAN), (2.0, 1.0), (0.0, 1.0, 2.0)):
        with pytest.raises(ArgumentError):
            tinyml.histogram(x, 3, limits)
    for odd in (NAN, INF, -INF):
        with pytest.raises(ArgumentError):
            tinyml.histogram(tinyml.tensor([0.0, odd], device=device))
        counts, _ = tinyml.histogram(tinyml.tensor([0.0, odd], device=device), 2, (0.0, 1.0))
        assert counts.tolist() == [1, 0]


@given(st.lists(st.integers(-4, 8), min_size=1, max_size=12),
       st.lists(st.integers(-4, 8), min_size=2, max_size=6).map(sorted))
def test_counts_are_numpy_s_with_ties_on_edges(data: list[int], edges: list[int]) -> None:
    x = np.array(data, np.float32)
    bins: Any
    for bins in (edges, 4):
        counts, found = tinyml.histogram(tinyml.tensor(x), bins)
        expected, where = np.histogram(x, bins)
        assert counts.tolist() == expected.tolist() and found.tolist() == where.tolist()


def test_bincount_refuses_negative_numbers_and_lengths() -> None:
    x = tinyml.tensor([3, 1])
    assert tinyml.bincount(x, minlength=6).tolist() == [0, 1, 0, 1, 0, 0]
    assert tinyml.bincount(tinyml.tensor([], dtype="int64")).shape == (0,)
    for call in (lambda: tinyml.bincount(x, minlength=-1), lambda: tinyml.bincount(x - 2),
                 lambda: tinyml.bincount(x[:0], minlength=-3)):
        with pytest.raises(ArgumentError):
            call()
