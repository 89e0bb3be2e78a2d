"""Sample generators of scans and of ops that order: running sums and products, sort, nonzero."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.dtypes import COMPLEX, FLOATS
from tinyml.ops.samples.values import (
    RICH,
    Array,
    Sample,
    Samples,
    reversed_steps,
    special,
    spread,
    transposed,
)

LONG = 4099  # longer than what is scanned without blocks, and not a multiple of a block


def _widened(dtype: str) -> str:
    """Return the type in which a running sum or product of a dtype starts."""
    if dtype in (*FLOATS, *COMPLEX):
        return dtype
    return "uint64" if dtype.startswith("u") else "int64"


def _along(dtype: str, low: float, high: float, long: tuple[float, float]) -> list[Sample]:
    """Return the samples of one tensor along an axis, in both directions."""

    def x(*shape: int) -> Array:
        return spread(dtype, shape, low, high)

    def case(value: Array, axis: int, name: str, smooth: bool = False, reverse: bool = False,
             exclusive: bool = False, start: Array | None = None) -> Sample:
        args = (value,) if start is None else (value, start)
        attrs = {"axis": axis, "reverse": reverse, "exclusive": exclusive}
        return Sample(args, attrs, name, smooth)

    begin = spread(_widened(dtype), (3, 1), 1.0, 3.0, seed="s")
    cases = [
        case(x(7), 0, "vector", True),
        case(x(3, 4), 1, "rows", True),
        case(x(3, 4), 0, "columns backward", True, reverse=True),
        case(x(3, 4), 1, "exclusive", True, exclusive=True),
        case(x(0, 3), 1, "no rows"),
        case(x(3, 0), 1, "no columns"),
        case(x(3, 1), 1, "one", True),
        case(x(3, 4), 1, "start", True, start=begin),
    ]
    if dtype not in RICH:
        return cases
    cases += [
        case(x(3, 1), 1, "one exclusive", True, exclusive=True, start=begin),
        case(x(2, 3, 4), 1, "middle backward exclusive", True, reverse=True, exclusive=True),
        case(x(3, 4), 1, "start backward exclusive", True, True, True, start=begin),
        case(transposed(x(3, 4)), 1, "transposed"),
        case(reversed_steps(x(3, 7)), 0, "reversed"),
        case(np.broadcast_to(x(7), (3, 7)), 1, "repeated rows"),
        case(x(5, 40), 0, "wide columns"),
    ]
    far = spread(dtype, (LONG,), *long)
    cases += [
        case(far, 0, "long"),
        case(spread(dtype, (2, 4096), *long), 1, "long rows backward", reverse=True),
        case(far[:, None], 0, "long exclusive start", exclusive=True,
             start=spread(_widened(dtype), (1, 1), 1.0, 2.0)),
    ]
    return cases


def running_sum() -> Samples:
    """Sample cumsum(x[, start], axis, reverse, exclusive): both ways, blocks, hard values."""

    def samples(dtype: str) -> list[Sample]:
        hard = {"axis": 0, "reverse": False, "exclusive": False}
        values = special(dtype)
        cases = [*_along(dtype, -3.0, 3.0, (-3.0, 3.0)), Sample((values,), hard, "special")]
        if dtype in FLOATS:
            endless = np.array([1.0, np.inf, 2.0, -np.inf, 3.0, np.nan, -0.0], dtype)
            cases.append(Sample((endless,), hard, "infinite"))
            cases.append(Sample((np.array([-0.0, -0.0], dtype),), hard, "zeros"))
        return cases

    return samples


def running_product() -> Samples:
    """Sample cumprod(x[, start], axis, reverse, exclusive): zero factors, blocks, overflow."""

    def samples(dtype: str) -> list[Sample]:
        cases = _along(dtype, -2.0, 2.0, (0.99, 1.01) if dtype in FLOATS else (0.0, 9.0))
        plain: dict[str, Any] = {"axis": 0, "reverse": False, "exclusive": False}
        if dtype in FLOATS:
            zeros = np.array([2.0, -1.5, 0.0, 3.0, 0.5, 0.0, 1.25], dtype)
            ways = [("zeros", False, False), ("zeros backward", True, False),
                    ("zeros exclusive", False, True)]
            cases += [Sample((zeros,), {"axis": 0, "reverse": r, "exclusive": e}, name, True)
                      for name, r, e in ways]
            endless = np.array([1.0, -np.inf, 2.0, 0.0, 3.0, np.nan], dtype)
            cases.append(Sample((endless,), plain, "infinite"))
        else:
            cases.append(Sample((special(dtype),), plain, "special"))
        return cases

    return samples


def recurrence() -> Samples:
    """Sample linear_scan(a, b[, start], axis, reverse): decays, growth, zeros, blocks."""

    def samples(dtype: str) -> list[Sample]:
        def case(a: Array, axis: int, name: str, smooth: bool = False, reverse: bool = False,
                 start: Array | None = None) -> Sample:
            b = spread(dtype, a.shape, -3.0, 3.0, seed="b")
            args = (a, b) if start is None else (a, b, start)
            return Sample(args, {"axis": axis, "reverse": reverse}, name, smooth)

        def a(*shape: int) -> Array:
            return spread(dtype, shape, -2.0, 2.0)

        begin = spread(dtype, (3, 1), -3.0, 3.0, seed="s")
        far = spread(dtype, (LONG,), -0.9, 0.9)
        cases = [
            case(a(7), 0, "vector", True),
            case(a(3, 4), 1, "rows backward", True, reverse=True),
            case(a(3, 4), 1, "start", True, start=begin),
            case(a(3, 0), 1, "empty"),
            case(a(3, 1), 1, "one", True),
            case(a(2, 3, 4), 1, "middle", True),
        ]
        if dtype in FLOATS:
            sparse = a(9)
            sparse[::3] = 0.0
            backward = case(a(3, 4), 1, "start backward", True, True, begin)
            flipped = case(reversed_steps(a(3, 4)), 0, "layouts")
            growing = np.full(LONG, 1.5, dtype)
            silent = np.zeros(LONG, dtype)
            cases += [
                case(sparse, 0, "zeros", True),
                backward,
                flipped,
                case(far, 0, "long"),
                case(far[None], 1, "long backward", reverse=True),
                case(far[:, None], 0, "long start", start=begin[:1]),
                Sample((growing, silent), {"axis": 0, "reverse": False}, "long growth of nothing"),
            ]
        return cases

    return samples


def sort() -> Samples:
    """Sample sort(x, axis, descending): ties, NaN, both zeros, every size around powers of two."""

    def samples(dtype: str) -> list[Sample]:
        def x(*shape: int) -> Array:
            return spread(dtype, shape, -3.0, 3.0)

        def case(value: Array, axis: int, name: str, smooth: bool = False,
                 descending: bool = False) -> Sample:
            return Sample((value,), {"axis": axis, "descending": descending}, name, smooth)

        rng = np.random.default_rng(7)
        ties = rng.integers(0, 4, (3, 13)).astype(dtype)
        hard = special(dtype)
        many = rng.permutation(np.tile(hard, 3)) if hard.size > 2 else ties[0]
        cases = [
            case(x(7), 0, "vector", True),
            case(x(3, 4), 1, "rows", True),
            case(x(3, 4), 0, "columns descending", True, True),
            case(ties, 1, "ties"),
            case(ties, 1, "ties descending", descending=True),
            case(many, 0, "special"),
            case(many, 0, "special descending", descending=True),
            case(x(0, 3), 0, "none"),
            case(x(3, 0), 0, "empty"),
            case(x(3, 1), 1, "one", True),
        ]
        if dtype in RICH:
            cases += [
                case(x(8), 0, "a power of two", True),
                case(x(2, 3, 5), 1, "middle", True, True),
                case(transposed(x(3, 5)), 1, "transposed"),
                case(reversed_steps(x(3, 5)), 0, "reversed"),
                case(x(300), 0, "long"),
            ]
        return cases

    return samples


def nonzero() -> Samples:
    """Sample nonzero(x): none, some, all; NaN counts, -0.0 does not; layouts; more than a block."""

    def samples(dtype: str) -> list[Sample]:
        some = spread(dtype, (3, 4), -3.0, 3.0)
        some[some < 1] = 0
        cases = [
            Sample((some,), {}, "some"),
            Sample((np.zeros((3, 2), dtype),), {}, "none"),
            Sample((np.ones((2, 2, 3), dtype),), {}, "all"),
            Sample((np.zeros((0, 3), dtype),), {}, "empty"),
            Sample((np.ones(1, dtype),), {}, "one"),
            Sample((special(dtype),), {}, "special"),
        ]
        if dtype in RICH:
            cases += [
                Sample((transposed(some),), {}, "transposed"),
                Sample((reversed_steps(some),), {}, "reversed"),
                Sample(((np.arange(LONG) % 3).astype(dtype),), {}, "long"),
            ]
        return cases

    return samples


def running_extreme() -> Samples:
    """Sample cummax(x, axis): rows, columns, blocks, hard values, NaN among numbers."""

    def samples(dtype: str) -> list[Sample]:
        def case(shape: tuple[int, ...], axis: int, name: str, smooth: bool = False) -> Sample:
            return Sample((spread(dtype, shape, -3.0, 3.0),), {"axis": axis}, name, smooth)

        cases = [
            case((7,), 0, "vector", True),
            case((3, 4), 1, "rows", True),
            case((3, 4), 0, "columns", True),
            case((0, 3), 1, "no rows"),
            case((3, 0), 1, "no columns"),
            case((3, 1), 1, "one", True),
            Sample((np.repeat(spread(dtype, (4,), -3.0, 3.0), 2),), {"axis": 0}, "equal"),
        ]
        if dtype in FLOATS:
            numbers = np.array([1.0, -np.inf, 3.0, np.nan, 5.0, np.inf], dtype)
            cases += [Sample((numbers,), {"axis": 0}, "nan"),
                      Sample((special(dtype)[1:],), {"axis": 0}, "special")]
        if dtype in RICH:
            cases += [case((2, LONG), 1, "long"), case((LONG, 2), 0, "long columns"),
                      Sample((transposed(spread(dtype, (3, 4), -3.0, 3.0)),), {"axis": 1},
                             "transposed")]
        return cases

    return samples
