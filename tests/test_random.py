"""Random numbers: jax's bits, exact distributions, a generator that threads may share."""

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


def test_all_devices_give_the_same_numbers(device: str) -> None:
    here, there = random.key(3), random.key(3, device=device)
    for draw in (
        lambda key: random.bits(key, (33,)),
        lambda key: random.uniform(key, (33,), None, -0.3, 0.9),
        lambda key: random.randint(key, (33,), -9, 10**6),
        lambda key: random.randint(key, (33,), -9, 10**16, "int64"),
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


def even(counts: np.ndarray[Any, Any]) -> bool:
    """Chi squared within 6 deviations, sqrt(2 df), of its mean df: once in far over 10^6 keys."""
    expected, freedom = counts.sum() / len(counts), len(counts) - 1
    return bool(((counts - expected) ** 2 / expected).sum() < freedom + 6 * math.sqrt(2 * freedom))


@pytest.mark.parametrize(("dtype", "low", "high"), [
    ("uint8", 0, 200), ("uint8", 0, 256), ("int8", -128, 65), ("int8", -3, 4),
    ("uint16", 1, 50_000), ("int32", -(2**31), 2**30 + 1), ("uint32", 0, 3 << 30),
    ("int64", 0, 192), ("int64", -(2**63), 2**62), ("uint64", 7, 3 << 62),
    ("int64", -(2**63), 2**63), ("uint64", 0, 2**64), ("uint64", 0, 2**32 + 2**31),
])
def test_integers_fill_every_part_of_their_range(dtype: str, low: int, high: int) -> None:
    drawn = random.randint(random.key(17), (LARGE,), low, high, dtype).numpy()
    offsets = drawn.astype(object) - low
    span = high - low
    assert 0 <= offsets.min() and offsets.max() < span
    parts = 64 if span > 2**13 else span
    assert even(np.bincount((offsets * parts // span).astype(np.int64), minlength=parts))
    if span > 2**13:  # the low bits, too
        assert even(np.bincount((offsets % 8).astype(np.int64), minlength=8))


@pytest.mark.parametrize("span", [1, 5, 100, 2**31 + 9, 2**32, 2**32 + 1, 3**39, 2**64 - 1, 2**64])
def test_integers_are_the_integer_part_of_a_long_fraction_times_the_span(span: int) -> None:
    key, count = random.key(23), 50
    if span <= 2**32:
        words, width = [reference_words([0, 23], count)], 64
    else:
        pair = random.split(key).tolist()
        words, width = [reference_words(one, count) for one in pair], 128
    expected = []
    for k in range(count):
        fraction = 0
        for word in (half[k] for pair_of in words for half in pair_of):
            fraction = fraction << 32 | int(word)
        expected.append(fraction * span >> width)
    assert random.randint(key, (count,), 0, span, "uint64").tolist() == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_never_reaches_its_upper_bound(dtype: str) -> None:
    kind = np.dtype(dtype).type
    greatest = float(np.finfo(kind).max)
    for low, steps in ((1.0, 3), (1.0, 16), (-1.0, 5), (1e6, 2), (-3.0, 1)):
        high = low
        for _ in range(steps):
            high = float(np.nextafter(kind(high), kind(math.inf)))
        x = random.uniform(random.key(6), (4096,), dtype, low, high).numpy()
        values, counts = np.unique(x, return_counts=True)
        assert values.min() == low and values.max() < high and len(values) == steps
        assert steps == 1 or even(counts)
    for low, high in ((-greatest, greatest), (-greatest, greatest / 2), (0.0, greatest)):
        x = random.uniform(random.key(6), (4096,), dtype, low, high).numpy()
        assert np.isfinite(x).all() and low <= x.min() and x.max() < high
        assert even(np.histogram(x / greatest, 16, (low / greatest, high / greatest))[0])
    assert random.uniform(random.key(6), (3,), dtype, 0.1, 0.1).tolist() == [kind(0.1)] * 3
    assert random.uniform(random.key(6), (3,), dtype, 2.0, -1.0).tolist() == [2.0] * 3


def test_rare_events_are_as_rare_as_asked() -> None:
    """At 2^-23, the step of a float32, one in 8 million would become four of 2^-25."""
    high, low = reference_words([0, 1], LARGE)
    fraction = ((high ^ low).astype(np.uint64) << np.uint64(32)) | low
    for p in (1e-4, 3e-5, 0.3, 2.0**-14, 1 - 1e-5):
        want = fraction < np.uint64(int(p * 2**64))
        assert np.array_equal(random.bernoulli(random.key(1), p, (LARGE,)).numpy(), want)
        for dtype in ("float64", "float16"):
            some = tinyml.tensor(p, dtype)
            want = fraction < np.float64(some.item()) * 2.0**64
            assert np.array_equal(random.bernoulli(random.key(1), some, (LARGE,)).numpy(), want)
    least = float(np.sort(fraction)[2]) / 2**64  # far below 2^-14
    assert random.bernoulli(random.key(1), least * 1.001, (LARGE,)).numpy().sum() == 3


def test_permutations_are_even() -> None:
    keys = random.split(random.key(8), 600)
    places = np.zeros((3, 3), np.int64)
    orders: dict[tuple[int, ...], int] = {}
    for k in range(600):
        order = tuple(random.permutation(keys[k], 3).tolist())
        assert sorted(order) == [0, 1, 2]
        orders[order] = orders.get(order, 0) + 1
        places[order, range(3)] += 1
    assert even(np.array(list(orders.values()))) and len(orders) == 6
    assert all(even(row) for row in places)
    table = tinyml.reshape(tinyml.arange(12), (3, 4))
    moved = random.permutation(random.key(2), table, axis=1)
    assert moved.tolist() == table.numpy()[:, random.permutation(random.key(2), 4).numpy()].tolist()
    assert sorted(random.permutation(random.key(3), 3000).tolist()) == list(range(3000))
    assert random.permutation(random.key(3), 0).tolist() == []


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
    (lambda key: random.bernoulli(key, tinyml.tensor([1, 0])), DTypeError),
    (lambda key: random.uniform(key, (2,), None, 0.0, math.inf), ArgumentError),
    (lambda key: random.uniform(key, (2,), None, math.nan, 1.0), ArgumentError),
    (lambda key: random.uniform(key, (2,), "float32", 0.0, 1e39), ArgumentError),
    (lambda key: random.fold_in(key, -1), ArgumentError),
    (lambda key: random.fold_in(key, 2**32), ArgumentError),
    (lambda key: random.split(key, -1), ShapeError),
    (lambda key: random.key(2**64), ArgumentError),
    (lambda key: random.key("a"), tinyml.TinyMLError),
])
def test_bad_arguments_are_refused(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(random.key(0))
