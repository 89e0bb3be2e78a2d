"""Random numbers from explicit keys: Threefry 2x32-20, with jax's bits for the same key.

A key is a uint32 tensor of shape (2,). The same key gives the same numbers on every device; `split`
and `fold_in` make new keys. Where a key may be None, None takes the next key of the global
generator, which `seed` sets; unless set, every process starts from seed 0.

Counter-based generator: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
`bits`, `split`, `fold_in` and `uniform` on [0, 1) follow jax's partitionable scheme, where element
i of a shape depends on the key and i alone. The rest does not: jax's `randint`, `bernoulli` and
`permutation` are biased, and its `uniform` may return the upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyml.core.apply import apply, apply_many
from tinyml.core.error_context import named_in_errors
from tinyml.core.state import GLOBAL_STATE
from tinyml.dtypes import (
    DTYPES,
    DType,
    as_dtype,
    float32,
    float64,
    int32,
    integer_range,
    rounded,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tinyml.errors import ArgumentError, DTypeError, ShapeError
from tinyml.errors.hints import front
from tinyml.ir.devices import HOST
from tinyml.ops.arguments import as_axis, as_number, as_shape, as_size
from tinyml.ops.concat import concat
from tinyml.ops.creation import full, index_along, tensor
from tinyml.ops.elementwise import cos, log, minimum, nextafter, sin, sqrt, where
from tinyml.ops.gather_scatter import gather
from tinyml.ops.random_bits import RANDOM_BITS, THREEFRY
from tinyml.ops.sorting import argsort
from tinyml.ops.views import broadcast_to
from tinyml.state.stateful import Stateful
from tinyml.tensor import StateTensor, Tensor

__all__ = ["Generator", "bernoulli", "bits", "fold_in", "key", "next_key", "normal", "permutation",
           "randint", "seed", "split", "uniform"]

_WORD = 1 << 32
_UNSIGNED = {8: uint8, 16: uint16, 32: uint32, 64: uint64}
_FRACTION_BITS = {float32: 23, float64: 52}


# ---- keys


@named_in_errors
def key(seed: int, device: Any = None) -> Tensor:
    """Return the key for a seed, -2^63 <= seed < 2^64: its high and low 32 bits.

    jax gives the same key for 0 <= seed < 2^32, and for all others if its 64-bit mode is on.
    Raises ArgumentError for a seed out of range.

    >>> key(2**32 + 7).tolist()
    [1, 7]
    """
    number = as_size(seed, "seed")
    if not -(1 << 63) <= number < 1 << 64:
        raise ArgumentError(f"seed {number} has more than 64 bits")
    number %= 1 << 64
    words = np.array([number // _WORD, number % _WORD], np.uint32)
    return tensor(words, device=device)


@named_in_errors
def split(key: Tensor | None, num: int = 2) -> Tensor:
    """Return `num` new keys, uint32 (num, 2), independent of each other, as are their numbers.

    >>> split(key(0)).tolist()
    [[1797259609, 2579123966], [928981903, 3453687069]]
    """
    count = as_shape(as_size(num, "num"))[0]
    start = _key(key)
    high, low = apply_many(THREEFRY, start, *_counters(start, count))
    return concat([high.reshape((count, 1)), low.reshape((count, 1))], axis=1)


@named_in_errors
def fold_in(key: Tensor | None, data: int) -> Tensor:
    """Return a new key from a key and a number, 0 <= data < 2^32, such as a step number.

    Raises ArgumentError for a number out of range.

    >>> fold_in(key(0), 9).shape
    (2,)
    """
    number = as_size(data, "data")
    if not 0 <= number < _WORD:
        raise ArgumentError(f"data is {number}", remedy="0 <= data < 2**32")
    start = _key(key)
    words = [full((1,), word, dtype=uint32, device=start.device) for word in (0, number)]
    return concat(apply_many(THREEFRY, start, *words), axis=0)


class Generator(Stateful):
    """A sequence of keys; safe to share between threads, since each gets its own keys.

    Its `state` is a key on the CPU; in a graph it is an input, replaced after each run. So jit
    takes a generator as an argument, or a function that closes over one.
    """

    def __init__(self, seed: int = 0) -> None:
        self.state = StateTensor(key(seed, device=HOST))

    def seed(self, seed: int) -> None:
        """Start again from this seed."""
        state = key(seed, device=HOST)
        with self.state.lock:
            self.state._replace(state)

    def next_key(self) -> Tensor:
        """Return a key that was not returned before, on the CPU."""
        with self.state.lock:
            pair = split(self.state)
            self.state._replace(pair[0])
            return pair[1]


GENERATOR = Generator()
GLOBAL_STATE.append(GENERATOR.state)


@named_in_errors
def seed(seed: int) -> None:
    """Seed the global generator. Raises ArgumentError for a seed of more than 64 bits.

    >>> seed(3)
    >>> first = uniform(None, (2,)).tolist()
    >>> seed(3)
    >>> uniform(None, (2,)).tolist() == first
    True
    """
    GENERATOR.seed(seed)


def next_key() -> Tensor:
    """Return the next key of the global generator."""
    return GENERATOR.next_key()


# ---- numbers


@named_in_errors
def bits(key: Tensor | None, shape: Any = (), dtype: Any = uint32) -> Tensor:
    """Return random bits of any shape as uint8, uint16, uint32 or uint64; raises DTypeError.

    >>> bits(key(0), (2,)).tolist()
    [4070199207, 4202968722]
    """
    kind, size = as_dtype(dtype), as_shape(shape)
    if kind.kind != "uint":
        raise DTypeError(f"bits of {kind.name}", remedy="an unsigned type")
    start = _key(key)
    if kind is uint64:
        words64 = apply_many(THREEFRY, start, *_counters(start, math.prod(size)))
        high, low = (word.astype(uint64) for word in words64)
        return ((high << 32) | low).reshape(size)
    words: Tensor = apply(RANDOM_BITS, start, shape=(math.prod(size),)).reshape(size)
    if kind is uint32:
        return words
    return (words & integer_range(kind)[1]).astype(kind)


@named_in_errors
def uniform(key: Tensor | None, shape: Any = (), dtype: Any = None, minval: float = 0.0,
            maxval: float = 1.0) -> Tensor:
    """Return numbers in [minval, maxval): multiples of 2^-23 (float32) or 2^-52 (float64), scaled.

    The bounds are rounded to the type first; a result is rounded down, so `maxval` never occurs,
    and each of few numbers between the bounds is equally likely. If minval >= maxval, minval is
    returned. Raises DTypeError for a dtype that is not floating, ArgumentError for bounds that are
    not finite in it.

    >>> uniform(key(0), (2,)).dtype
    tinyml.float32
    """
    kind = _floating(dtype)
    low, high = (rounded(as_number(v, n), kind.name)
                 for v, n in ((minval, "minval"), (maxval, "maxval")))
    if not math.isfinite(low) or not math.isfinite(high):
        raise ArgumentError(f"{kind.name} bounds {minval} and {maxval}", remedy="finite bounds")
    fraction = _FRACTION_BITS[kind]
    words = bits(key, shape, _UNSIGNED[kind.bits]) >> kind.bits - fraction
    unit = words.astype(kind) * 2.0**-fraction
    if (low, high) == (0.0, 1.0):
        return unit
    half = 1.0 if math.isfinite(rounded(high - low, kind.name)) else 0.5  # no span overflows
    result = _between(unit, low * half, max(low, high) * half, kind)
    return result if half == 1.0 else result / half


def _between(unit: Tensor, low: float, high: float, kind: DType) -> Tensor:
    """Return numbers of [0, 1) scaled to [low, high), each rounded down.

    The error of the sum is exact (Knuth, The Art of Computer Programming 2, 4.2.2, theorem B).
    """
    scaled = unit * rounded(high - low, kind.name)
    total = scaled + low
    part = total - low
    error = (low - (total - part)) + (scaled - part)
    down = where(error < 0.0, nextafter(total, -math.inf), total)
    return minimum(down, max(low, _before(high, kind)))


def _before(number: float, kind: DType) -> float:
    """Return the greatest number of a float type below a number."""
    return float(np.nextafter(kind.numpy.type(number), kind.numpy.type(-math.inf)))


@named_in_errors
def normal(key: Tensor | None, shape: Any = (), dtype: Any = None, mean: float = 0.0,
           std: float = 1.0) -> Tensor:
    """Return normal numbers by the Box-Muller method (1958): sqrt(-2 ln u) (cos, sin)(2 pi v).

    u uses all bits of a word, so numbers reach 6.7 deviations in float32 and 9.5 in float64. The
    distribution is jax's; the numbers are not. Raises DTypeError for a dtype that is not floating.

    >>> normal(key(0), (3, 5)).shape
    (3, 5)
    """
    kind, size = _floating(dtype), as_shape(shape)
    count = math.prod(size)
    half = (count + 1) // 2
    pair = split(key)
    word = bits(pair[0], (half,), _UNSIGNED[kind.bits]).astype(kind)
    u = (word + 0.5) * 2.0**-kind.bits
    radius = sqrt(log(u) * -2.0)
    angle = uniform(pair[1], (half,), kind) * (2 * math.pi)
    both = concat([radius * cos(angle), radius * sin(angle)], axis=0)
    result = both[:count].reshape(size)
    return result if (mean, std) == (0.0, 1.0) else result * float(std) + float(mean)


@named_in_errors
def bernoulli(key: Tensor | None, p: Any = 0.5, shape: Any = None) -> Tensor:
    """Return bools that are True with probability `p`, a number or a float tensor, within 2^-64.

    `p` broadcasts to `shape`, by default p's own shape. Raises ArgumentError for a number outside
    [0, 1], DTypeError for a tensor that is not floating, ShapeError.

    >>> bernoulli(key(0), 1.0, (3,)).tolist()
    [True, True, True]
    """
    high: Any
    low: Any
    if isinstance(p, Tensor):
        if not p.dtype.is_float:
            raise DTypeError(f"probabilities of {p.dtype.name}")
        size = p.shape if shape is None else as_shape(shape)
        scaled = broadcast_to(p, size).astype(DTYPES[p.dtype.compute]) * float(_WORD)
        high = scaled.astype(uint64)
        low = ((scaled - high.astype(scaled.dtype)) * float(_WORD)).astype(uint64)
    else:
        number = as_number(p, "p")
        if not 0 <= number <= 1:
            raise ArgumentError(f"p is {p}", remedy="a probability between 0 and 1")
        size = () if shape is None else as_shape(shape)
        high, low = divmod(int(Fraction(number) * _WORD**2), _WORD)
    first, second = _pairs(_key(key), size)
    # The first word is that of `bits`, and the pair is as random as Threefry's own.
    first, second = ((first ^ second).astype(uint64), second.astype(uint64))
    drawn: Tensor = (first < high) | ((first == high) & (second < low))
    return drawn


@named_in_errors
def randint(key: Tensor | None, shape: Any, minval: int, maxval: int, dtype: Any = None) -> Tensor:
    """Return integers minval <= n < maxval, int32 unless `dtype` names another type.

    If there is no such integer, minval is returned. n - minval is the integer part of u times the
    span, u a fraction of 64 random bits, or of 128 for a span over 2^32 (Lemire, "Fast random
    integer generation in an interval", 2019, without the rejection): so every probability is right
    within a factor of 1 +- 2^-32, and the numbers depend on the bounds alone, not on the type.
    jax's differ. Raises DTypeError for a dtype that is not an integer type, and ArgumentError for
    bounds that it cannot hold.

    >>> sorted(set(randint(key(0), (100,), -1, 2).tolist()))
    [-1, 0, 1]
    """
    kind = int32 if dtype is None else as_dtype(dtype)
    if not kind.is_integer:
        raise DTypeError(f"randint of {kind.name}", remedy="an integer type")
    low, high = as_size(minval, "minval"), as_size(maxval, "maxval")
    least, greatest = integer_range(kind)
    if not (least <= low <= greatest and least <= high <= greatest + 1):
        raise ArgumentError(f"{kind.name} does not hold {low} <= n < {high}")
    span, size, start = max(high - low, 1), as_shape(shape), _key(key)
    if span <= _WORD:
        upper, lower = (word.astype(uint64) for word in _pairs(start, size))
        offset = (upper * span + (lower * span >> 32)) >> 32
    else:
        pair = split(start)
        upper, lower = (bits(pair[i], size, uint64) for i in (0, 1))
        offset = upper
        if span < _WORD**2:
            carry = _high_word(lower, span)
            rest = upper * span + carry
            offset = _high_word(upper, span) + (rest < carry).astype(uint64)
    return (offset + low % _WORD**2).astype(kind)


@named_in_errors
def permutation(key: Tensor | None, x: Any, axis: int = 0) -> Tensor:
    """Return the numbers 0 to x - 1, or the slices of a tensor along an axis, in random order.

    The bits come from the device and are sorted on the host, so this waits for the device.

    >>> sorted(permutation(key(0), 4).tolist())
    [0, 1, 2, 3]
    """
    if not isinstance(x, Tensor):
        start = _key(key)
        return _order(start, as_shape(x)[0])
    at = as_axis(axis, x.ndim)
    return gather(x, _order(_key(key), x.shape[at]).to(x.device), at)


def _order(key: Tensor, count: int) -> Tensor:
    """Shuffle by sorting on random words, often enough that ties do not matter.

    Two items tie in all of r rounds with probability 2^-64r, any two with less than count^2 times
    that: less than 2^-32 for these r.
    """
    order = index_along((count,), 0, key.device)
    for _ in range(math.ceil((2 * count.bit_length() + 32) / 64) if count > 1 else 0):
        pair = split(key)
        key = pair[0]
        order = gather(order, argsort(bits(pair[1], (count,), uint64)))
    return order


def _key(key: Tensor | None) -> Tensor:
    if key is None:
        return next_key()
    if not isinstance(key, Tensor) or key.dtype is not uint32:
        found = key.dtype.name if isinstance(key, Tensor) else type(key).__name__
        raise DTypeError(f"a key is of uint32, not {found}", remedy="tinyml.random.key(seed)")
    if key.shape != (2,):
        raise ShapeError(f"a key has the shape (2,), not {key.shape}", remedy="one key at a time")
    return key


def _pairs(key: Tensor, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Return two random uint32 words for each element of a shape."""
    words = apply_many(THREEFRY, key, *_counters(key, math.prod(shape)))
    return (word.reshape(shape) for word in words)


def _counters(key: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the high and low words of 0 to count - 1 on the key's device."""
    place = index_along((count,), 0, key.device)
    return (place >> 32).astype(uint32), place.astype(uint32)


def _floating(dtype: Any) -> DType:
    kind = float32 if dtype is None else as_dtype(dtype)
    if kind not in _FRACTION_BITS:
        raise DTypeError(f"random numbers of {kind.name}", remedy="float32 or float64")
    return kind


def _high_word(x: Tensor, y: int) -> Tensor:
    """Return the upper 64 bits of a product of 64-bit numbers, from products of their halves."""
    mask = _WORD - 1
    x1, x0, y1, y0 = x >> 32, x & mask, y >> 32, y & mask
    middle = (x0 * y0 >> 32) + (x0 * y1 & mask) + (x1 * y0 & mask)
    return x1 * y1 + (x0 * y1 >> 32) + (x1 * y0 >> 32) + (middle >> 32)


if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
