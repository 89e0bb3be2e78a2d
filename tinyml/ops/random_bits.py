"""Random bits: Threefry 2x32-20 in words of a nest, with the same bits on every device.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). The counter of element i is i
itself, in two words: jax's partitionable scheme.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.dtypes import int64, uint32
from tinyml.errors import DTypeError, expect
from tinyml.ir.nest import ZERO, Ids, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_shape, with_shape
from tinyml.ops.samples import ErrorCase, Sample
from tinyml.ops.views import Ints, ravel

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA  # the key schedule's constant


def threefry(n: Nest, keys: tuple[int, int], x0: int, x1: int) -> tuple[int, int]:
    """Return two words encrypted by twenty rounds under a key of two words."""

    def add(a: int, b: int) -> int:
        return n.prim("add", a, b)

    def xor(a: int, b: int) -> int:
        return n.prim("bitwise_xor", a, b)

    schedule = (*keys, xor(xor(*keys), n.const(PARITY, uint32)))
    x0, x1 = add(x0, schedule[0]), add(x1, schedule[1])
    for block in range(5):
        for turn in ROTATIONS[block % 2]:
            x0 = add(x0, x1)
            left = n.prim("rotate", x1, n.const(turn, uint32))
            x1 = xor(left, x0)
        x0 = add(x0, schedule[(block + 1) % 3])
        x1 = add(add(x1, schedule[(block + 2) % 3]), n.const(block + 1, uint32))
    return x0, x1


def _check_key(key: Spec) -> None:
    expect(key.dtype is uint32 and key.shape == (2,), "a key: uint32 of shape (2,)", key,
           DTypeError, remedy="tinyml.random.key(seed)")


def _keys(n: Nest, key: Any) -> tuple[int, int]:
    return key((ZERO,)), key((n.const(1, int64),))


def _bits_infer(key: Spec, *, shape: Ints) -> Spec:
    _check_key(key)
    return with_shape(key, shape)


def _bits_nest(n: Nest, index: Ids, key: Any, *, shape: Ints) -> int:
    place = ravel(n, index, shape)
    high = n.cast(n.prim("bitwise_right_shift", place, n.const(32, int64)), uint32)
    low = n.cast(place, uint32)
    return n.prim("bitwise_xor", *threefry(n, _keys(n, key), high, low))


RANDOM_BITS: Op = define(
    "random_bits", _bits_infer, nest=_bits_nest, differentiable=False,
    normalize=lambda key, shape: {"shape": as_shape(shape)},
    samples=samples.random_bits(), dtypes=("uint32",),
    errors=lambda: [ErrorCase((np.zeros(3, np.uint32),), {"shape": (2,)}, DTypeError, "a key")],
    doc="uint32 bits of a shape from a key (2,); element i depends on the key and i alone.",
)


def _pair_infer(key: Spec, x0: Spec, x1: Spec) -> tuple[Spec, Spec]:
    _check_key(key)
    expect(x0.shape == x1.shape, "counters of one shape", (x0.shape, x1.shape))
    expect(x0.dtype is uint32 and x1.dtype is uint32, "uint32 counters", (x0, x1), DTypeError)
    return with_shape(x0, x0.shape), with_shape(x0, x0.shape)


def _pair_samples(dtype: str) -> list[Sample]:
    key = np.array([1, 0xDEADBEEF], dtype)
    count = np.arange(7, dtype=dtype)
    return [Sample((key, count, count[::-1].copy()), {}, "counters"),
            Sample((key, count[:0], count[:0]), {}, "empty")]


THREEFRY: Op = define(
    "threefry2x32", _pair_infer, differentiable=False,
    nest=lambda n, index, key, x0, x1: threefry(n, _keys(n, key), x0(index), x1(index)),
    samples=_pair_samples, dtypes=("uint32",),
    doc="Threefry 2x32-20 of two counters, elementwise, under a key (2,).",
)
