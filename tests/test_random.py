"""Random numbers: jax's bits, right distributions, a generator that threads may share."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml import random
from tinyml.errors import ArgumentError, DTypeError, ShapeError

pytestmark = pytest.mark.kernels(2)

KEYS = [0, 7, 123456, 2**32 - 1]
SHAPES: list[tuple[int, ...]] = [(), (1,), (7,), (3, 5), (0, 2), (2, 3, 4)]
LARGE = 100_000


def reference_words(key: list[int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Threefry 2x32-20 of the counters 0 .. count - 1, written out (Salmon et al. 2011)."""
    k = [np.uint32(word) for word in key]
    k.append(k[0] ^ k[1] ^ np.uint32(0x1BD11BDA))
    x, y = np.full(count, k[0]), np.arange(count, dtype=np.uint32) + k[1]
    for group in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x = x + y
            y = (y << np.uint32(turn) | y >> np.uint32(32 - turn)) ^ x
        x = x + k[(group + 1) % 3]
        y = y + k[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


@pytest.mark.parametrize("seed", KEYS)
def test_bits_split_and_fold_in_are_threefry(seed: int, device: str) -> None:
    key = random.key(seed, device=device)
    x, y = reference_words([0, seed], 1000)
    assert np.array_equal(random.bits(key, (10, 100)).numpy().ravel(), x ^ y)
    assert np.array_equal(random.split(key, 1000).numpy(), np.stack([x, y], 1))
    assert random.fold_in(key, 999).tolist() == [x[999], y[999]]
    wide = random.bits(key, (1000,), tinyml.uint64).numpy()
    assert np.array_equal(wide, x.astype(np.uint64) << np.uint64(32) | y)


@pytest.mark.peers("jax")
@pytest.mark.parametrize("seed", KEYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_equal_jax_s(seed: int, shape: tuple[int, ...]) -> None:
    import jax

    with jax.enable_x64(False):
        theirs, ours = jax.random.key(seed), random.key(seed)
        pairs: list[tuple[Any, Any]] = [
            (jax.random.key_data(theirs), ours),
            (jax.random.bits(theirs, shape), random.bits(ours, shape)),
            (jax.random.bits(theirs, shape, "uint8"), random.bits(ours, shape, "uint8")),
            (jax.random.bits(theirs, shape, "uint16"), random.bits(ours, shape, "uint16")),
            (jax.random.key_data(jax.random.split(theirs, 5)), random.split(ours, 5)),
            (jax.random.key_data(jax.random.fold_in(theirs, 9)), random.fold_in(ours, 9)),
            (jax.random.uniform(theirs, shape), random.uniform(ours, shape)),
            (jax.random.bernoulli(theirs, 0.3, shape), random.bernoulli(ours, 0.3, shape)),
            (jax.random.randint(theirs, shape, -5, 1000),
             random.randint(ours, shape, -5, 1000)),
            (jax.random.randint(theirs, shape, -(2**31), 2**31 - 1),
             random.randint(ours, shape, -(2**31), 2**31 - 1)),
            (jax.random.randint(theirs, shape, 0, 256, "uint8"),
             random.randint(ours, shape, 0, 256, "uint8")),
            (jax.random.randint(theirs, shape, 3, 3), random.randint(ours, shape, 3, 3)),
        ]
        for theirs_value, ours_value in pairs:
            expected = np.asarray(theirs_value)
            assert expected.dtype == ours_value.numpy().dtype
            assert np.array_equal(expected, ours_value.numpy())


@pytest.mark.peers("jax")
@pytest.mark.parametrize("seed", KEYS)
def test_wide_numbers_equal_jax_s(seed: int) -> None:
    import jax

    with jax.enable_x64(True):
        theirs, ours = jax.random.key(seed), random.key(seed)
        pairs: list[tuple[Any, Any]] = [
            (jax.random.bits(theirs, (99,), "uint64"), random.bits(ours, (99,), "uint64")),
            (jax.random.uniform(theirs, (99,), "float64"), random.uniform(ours, (99,), "float64")),
            (jax.random.randint(theirs, (99,), -7, 10**15, "int64"),
             random.randint(ours, (99,), -7, 10**15, "int64")),
            (jax.random.key_data(jax.random.key(2**40 + 3)), random.key(2**40 + 3)),
            (jax.random.key_data(jax.random.key(-1)), random.key(-1)),
        ]
        for theirs_value, ours_value in pairs:
            assert np.array_equal(np.asarray(theirs_value), ours_value.numpy())


@pytest.mark.peers("jax")
@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.1, 0.7), (-3.7, 1e-3), (5.0, 5.5)])
def test_uniform_within_bounds_is_jax_s_to_one_rounding(bounds: tuple[float, float]) -> None:
    import jax

    with jax.enable_x64(False):
        theirs = np.asarray(jax.random.uniform(jax.random.key(1), (LARGE,), "float32", *bounds))
    ours = random.uniform(random.key(1), (LARGE,), None, *bounds).numpy()
    # XLA fuses the product and the sum on some machines.
    rounding = np.spacing(np.float32(max(map(abs, bounds))))
    assert np.abs(theirs.astype(float) - ours).max() <= rounding
    assert ours.min() >= np.float32(bounds[0]) and ours.max() <= np.float32(bounds[1])


@pytest.mark.peers("jax")
@pytest.mark.parametrize("count", [0, 1, 2, 1000, 3000])
def test_permutations_equal_jax_s(count: int) -> None:
    import jax

    with jax.enable_x64(False):
        key = jax.random.key(5)
        assert np.array_equal(np.asarray(jax.random.permutation(key, count)),
                              random.permutation(random.key(5), count).numpy())
        table = np.arange(3.0 * count, dtype=np.float32).reshape(3, count)
        assert np.array_equal(
            np.asarray(jax.random.permutation(key, table, axis=1)),
            random.permutation(random.key(5), tinyml.tensor(table), axis=1).numpy(),
        )


def test_all_devices_give_the_same_numbers(device: str) -> None:
    here, there = random.key(3), random.key(3, device=device)
    for draw in (
        lambda key: random.bits(key, (33,)),
        lambda key: random.uniform(key, (33,), None, -0.3, 0.9),
        lambda key: random.randint(key, (33,), -9, 10**6),
        lambda key: random.bernoulli(key, 0.3, (33,)),
        lambda key: random.permutation(key, 33),
    ):
        assert np.array_equal(draw(here).numpy(), draw(there).numpy())
    assert str(draw(there).device) == str(there.device)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_are_normal(dtype: str) -> None:
    x = random.normal(random.key(11), (LARGE + 1,), dtype).numpy().astype(float)
    assert x.shape == (LARGE + 1,)
    # Each bound is 5 deviations of the statistic over LARGE independent numbers.
    tolerance = 5 / math.sqrt(LARGE)
    assert abs(x.mean()) < tolerance
    assert abs((x**2).mean() - 1) < tolerance * math.sqrt(2)
    assert abs((x**3).mean()) < tolerance * math.sqrt(15)
    assert abs((x**4).mean() - 3) < tolerance * math.sqrt(96)
    half = len(x) // 2
    assert abs((x[:half] * x[half : 2 * half]).mean()) < tolerance * math.sqrt(2)
    # Kolmogorov and Smirnov: the distance exceeds 2.2 / sqrt(n) once in 8,000 keys.
    ranks = np.arange(1, len(x) + 1) / len(x)
    exact = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in np.sort(x)])
    assert np.abs(exact - ranks).max() < 2.2 / math.sqrt(len(x))


def test_normal_takes_mean_and_deviation() -> None:
    plain = random.normal(random.key(2), (5,)).numpy()
    moved = random.normal(random.key(2), (5,), None, 3.0, 0.5).numpy()
    assert np.allclose(moved, plain * 0.5 + 3, rtol=1e-6)
    assert random.normal(random.key(2), ()).shape == ()
    assert random.normal(random.key(2), (0, 3)).shape == (0, 3)


def test_uniform_and_randint_cover_their_ranges_evenly() -> None:
    x = random.uniform(random.key(4), (LARGE,)).numpy()
    assert x.min() >= 0 and x.max() < 1
    for counts in (np.histogram(x, 64, (0, 1))[0],
                   np.bincount(random.randint(random.key(4), (LARGE,), 0, 64).numpy())):
        assert len(counts) == 64
        expected = LARGE / 64
        # Chi squared with 63 degrees of freedom exceeds 130 once in 10^6 keys.
        assert ((counts - expected) ** 2 / expected).sum() < 130


def test_bernoulli_takes_tensors_and_extremes() -> None:
    p = tinyml.tensor(np.array([0.0, 1.0, 0.5], np.float32))
    drawn = random.bernoulli(random.key(0), p, (1000, 3)).numpy()
    assert drawn.dtype == bool and not drawn[:, 0].any() and drawn[:, 1].all()
    assert 400 < drawn[:, 2].sum() < 600
    assert random.bernoulli(random.key(0), p).shape == (3,)


def test_seed_repeats_and_keys_differ() -> None:
    random.seed(9)
    first = [random.next_key().tolist() for _ in range(4)]
    random.seed(9)
    assert [random.next_key().tolist() for _ in range(4)] == first
    assert len(set(map(tuple, first))) == 4
    random.seed(9)
    assert random.uniform(None, (3,)).tolist() == random.uniform(
        tinyml.tensor(np.array(first[0], np.uint32)), (3,)).tolist()


def test_threads_never_get_the_same_key() -> None:
    generator = random.Generator(1)
    found: list[tuple[int, ...]] = []

    def draw() -> None:
        for _ in range(25):
            found.append(tuple(generator.next_key().tolist()))

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = random.Generator(1)
    assert sorted(found) == sorted(tuple(alone.next_key().tolist()) for _ in range(200))


@pytest.mark.parametrize(("call", "error"), [
    (lambda key: random.bits(0), DTypeError),  # type: ignore[arg-type]
    (lambda key: random.bits(tinyml.tensor([1.0, 2.0])), DTypeError),
    (lambda key: random.bits(random.split(key, 3)), ShapeError),
    (lambda key: random.bits(key, (2,), "int32"), DTypeError),
    (lambda key: random.bits(key, (-1,)), ShapeError),
    (lambda key: random.uniform(key, (2,), "int32"), DTypeError),
    (lambda key: random.normal(key, (2,), "int32"), DTypeError),
    (lambda key: random.randint(key, (2,), 0, 2, "float32"), DTypeError),
    (lambda key: random.randint(key, (2,), 0, 257, "uint8"), ArgumentError),
    (lambda key: random.randint(key, (2,), -1, 2, "uint8"), ArgumentError),
    (lambda key: random.randint(key, (2,), 0.5, 2), tinyml.TinyMLError),
    (lambda key: random.bernoulli(key, 1.5), ArgumentError),
    (lambda key: random.bernoulli(key, math.nan), ArgumentError),
    (lambda key: random.fold_in(key, -1), ArgumentError),
    (lambda key: random.fold_in(key, 2**32), ArgumentError),
    (lambda key: random.split(key, -1), ShapeError),
    (lambda key: random.key(2**64), ArgumentError),
    (lambda key: random.key("a"), tinyml.TinyMLError),
])
def test_bad_arguments_are_refused(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(random.key(0))
