"""Loops over a caller's integer: bounded, or refused before any work.

A bound that were missing would not fail here but hang: every call must come back at once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml import linalg, optim, special
from tinyml.errors import ArgumentError, TinyMLError

pytestmark = pytest.mark.kernels(4)

HUGE = (2**33, 2**50, 2**63 - 1, 2**64, 10**25)


@pytest.mark.parametrize("count", HUGE)
def test_no_call_returns_billions_of_tensors(count: int) -> None:
    x = tinyml.arange(6.0)
    wide = tinyml.broadcast_to(tinyml.ones(()), (min(count, 2**40), 2))
    calls: list[Any] = [
        lambda: tinyml.array_split(x, count), lambda: tinyml.split(x[:0], count),
        lambda: tinyml.hsplit(x[:0], count), lambda: tinyml.split(wide, wide.shape[0]),
        lambda: tinyml.vsplit(wide, wide.shape[0]), lambda: tinyml.unstack(wide)]
    for call in calls:
        with pytest.raises(ArgumentError):
            call()
    assert [part.size for part in tinyml.array_split(x, 9)] == [1] * 6 + [0] * 3
    assert len(tinyml.array_split(x, 5000)) == 5000


@pytest.mark.parametrize("n", [4, 5, 6, 7, *HUGE])
def test_differences_of_more_than_there_is_are_empty_at_once(n: int, device: str) -> None:
    x = tinyml.tensor([[1, 4, 9, 16, 27], [0, 1, 0, 1, 0]], device=device)
    expected = np.diff(x.numpy(), n=min(n, 6))
    got = tinyml.diff(x, n=n)
    assert got.dtype is x.dtype and got.tolist() == expected.tolist()
    assert tinyml.diff(x, n=n, axis=0).shape == (0, 5)
    assert tinyml.diff(x, n=n, append=x[:, :1]).tolist() == np.diff(
        x.numpy(), n=min(n, 7), append=x.numpy()[:, :1]).tolist()


def test_differences_of_very_high_order_are_refused() -> None:
    wide = tinyml.broadcast_to(tinyml.ones(()), (2**40,))
    for n in (5000, 2**35, 2**39):
        with pytest.raises(ArgumentError):
            tinyml.diff(wide, n=n)


def test_the_multivariate_gamma_function_sums_on_the_device(device: str) -> None:
    for d in (1, 2, 7, 300):
        for a in (d / 2 + 0.25, d + 3.5):
            expected = d * (d - 1) / 4 * math.log(math.pi) + math.fsum(
                math.lgamma(a - j / 2) for j in range(d))
            got = special.multigammaln(tinyml.tensor([a], device=device), d).item()
            # d terms rounded, and the sum's pairwise roundings, both relative to the magnitudes.
            magnitude = d * (d - 1) / 4 * math.log(math.pi) + math.fsum(
                abs(math.lgamma(a - j / 2)) for j in range(d))
            assert abs(got - expected) <= 64 * 2**-24 * (magnitude + d)
    slope = tinyml.grad(lambda a: special.multigammaln(a, 3))(tinyml.tensor(4.0)).item()
    expected = (special.multigammaln(tinyml.tensor(4.0001, dtype="float64"), 3)
                - special.multigammaln(tinyml.tensor(3.9999, dtype="float64"), 3)).item() / 2e-4
    assert abs(slope - expected) < 1e-5
    for d in (0, -1, 2**21, *HUGE, 10**400):
        with pytest.raises(TinyMLError):
            special.multigammaln(tinyml.tensor([2.0], device=device), d)


def test_other_integers_that_loops_run_over() -> None:
    m = tinyml.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert linalg.matrix_power(m, 2**40).tolist() == [[1.0, 2.0**40], [0.0, 1.0]]
    for n in (2**63, -(2**70), 10**4000):
        with pytest.raises(ArgumentError):
            linalg.matrix_power(m, n)
    assert tinyml.roll(tinyml.arange(3), 10**30 + 1).tolist() == [
        np.roll(np.arange(3), (10**30 + 1) % 3)[k] for k in range(3)]
    with pytest.raises(TinyMLError):
        special.polygamma(2**40, m)


def test_a_schedule_counts_its_steps_from_0() -> None:
    for step in (-1, -0.5, -(10**20), math.nan, -math.inf):
        for schedule in (lambda s: optim.cosine(s, 10, 1.0), lambda s: optim.one_cycle(s, 10, 1.0),
                         lambda s: optim.cosine(s, 10, 1.0, warmup=3)):
            with pytest.raises(ArgumentError):
                schedule(step)
    assert optim.cosine(0, 10, 1.0, warmup=3) == 0.0 and optim.cosine(0, 10, 0.5) == 0.5
