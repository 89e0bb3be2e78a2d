"""Sample generators of the ops that move, index and contract."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.dtypes import FLOATS
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

# -- views and movement ------------------------------------------------------------------------


def _three(dtype: str, shape: tuple[int, ...]) -> list[tuple[Array, str]]:
    """Return the same values in three named layouts; only dense for a dtype that is not rich."""
    x = spread(dtype, shape, -3.0, 3.0)
    if dtype not in RICH:
        return [(x, "dense")]
    return [(x, "dense"), (transposed(x), "transposed"), (reversed_steps(x), "reversed")]


def _each(
    shape: tuple[int, ...], *attrs: dict[str, Any], empty: dict[str, Any] | None = None
) -> Samples:
    """Sample a tensor of `shape` with each set of attributes, in each layout, and an empty one."""

    def samples(dtype: str) -> list[Sample]:
        cases = [
            Sample((x,), given, f"{layout} {number}", True)
            for number, given in enumerate(attrs)
            for x, layout in _three(dtype, shape)[: None if number == 0 else 1]
        ]
        if empty is not None:
            cases.append(Sample((spread(dtype, (0, 3), 0, 1),), empty, "empty"))
        return cases

    return samples


def reshape() -> Samples:
    """Sample reshape(x, shape): merged, split, to and from size 1, and strides that need a copy."""
    shapes = ((12,), (2, 6), (3, 1, 4))
    base = _each((3, 4), *({"shape": shape} for shape in shapes), empty={"shape": (3, 0)})

    def samples(dtype: str) -> list[Sample]:
        one = Sample((spread(dtype, (1, 1), 1, 2),), {"shape": ()}, "to 0-d", True)
        hard = special(dtype)
        return [*base(dtype), one, Sample((hard,), {"shape": (hard.size, 1)}, "special")]

    return samples


def permute_dims() -> Samples:
    """Sample permute_dims(x, axes): one order of each kind."""
    orders = ((2, 0, 1), (1, 0, 2), (0, 1, 2))
    return _each((2, 3, 4), *({"axes": axes} for axes in orders), empty=None)


def slices() -> Samples:
    """Sample slice(x, start, stop, step) as `slice.indices` gives them: gaps, backward, empty."""

    def attrs(*parts: tuple[int, int, int]) -> dict[str, Any]:
        return dict(zip(("start", "stop", "step"), zip(*parts, strict=True), strict=True))

    base = _each(
        (5, 6),
        attrs((1, 4, 1), (0, 6, 2)),
        attrs((4, -1, -1), (5, 0, -2)),
        attrs((2, 3, 1), (0, 6, 1)),
        attrs((3, 3, 1), (0, 6, 1)),
        empty=attrs((0, 0, 1), (2, -1, -1)),
    )

    def samples(dtype: str) -> list[Sample]:
        # An empty slice has no gradient to check by differences.
        return [s._replace(smooth=s.smooth and not s.name.endswith("3")) for s in base(dtype)]

    return samples


def _slice_shape(attrs: dict[str, Any]) -> tuple[int, ...]:
    places = zip(attrs["start"], attrs["stop"], attrs["step"], strict=True)
    return tuple(len(range(*place)) for place in places)


def unslice() -> Samples:
    """Sample unslice(g, shape, start, stop, step): g in a slice of zeros of a shape."""

    def samples(dtype: str) -> list[Sample]:
        return [
            Sample(
                (spread(dtype, _slice_shape(case.attrs), -3.0, 3.0, seed="g"),),
                {"shape": case.args[0].shape, **case.attrs},
                case.name,
                case.smooth,
            )
            for case in slices()(dtype)
        ]

    return samples


def expand() -> Samples:
    """Sample expand(x, shape): new axes, stretched axes, both; from 0-d and to empty."""

    def samples(dtype: str) -> list[Sample]:
        def case(shape: tuple[int, ...], to: tuple[int, ...], name: str) -> Sample:
            return Sample((spread(dtype, shape, -3.0, 3.0),), {"shape": to}, name, 0 not in to)

        return [
            case((4,), (3, 4), "new axis"),
            case((3, 1), (3, 4), "stretched"),
            case((1, 3, 1), (2, 1, 3, 4), "both"),
            case((), (2, 3), "0-d"),
            case((3, 4), (3, 4), "same"),
            case((1, 4), (0, 4), "to empty"),
        ]

    return samples


def concat() -> Samples:
    """Sample concat(*xs, axis): two, three, one tensor; sizes and layouts differ, one is empty."""

    def samples(dtype: str) -> list[Sample]:
        def x(*shape: int) -> Array:
            return spread(dtype, shape, -3.0, 3.0)

        cases = [
            Sample((x(2, 4), x(3, 4)), {"axis": 0}, "rows", True),
            Sample((x(3, 2), x(3, 0), x(3, 5)), {"axis": 1}, "columns"),
            Sample((x(7),), {"axis": 0}, "one tensor", True),
            Sample((special(dtype), special(dtype)[::-1].copy()), {"axis": 0}, "special"),
        ]
        if dtype in RICH:
            cases += [
                Sample((x(2, 3, 1), x(2, 3, 2), x(2, 3, 1)), {"axis": 2}, "three", True),
                Sample((transposed(x(3, 2)), reversed_steps(x(3, 4))), {"axis": 1}, "layouts"),
            ]
        return cases

    return samples


def pad() -> Samples:
    """Sample pad(x, before, after, value): uneven widths, zero widths, hard fill values."""

    def samples(dtype: str) -> list[Sample]:
        fill: Any = {"bool": True}.get(dtype, -1.5 if dtype in FLOATS else 7)
        uneven = {"before": (1, 0), "after": (2, 3), "value": fill}
        cases = [Sample((x,), uneven, name, True) for x, name in _three(dtype, (3, 4))]
        none = {"before": (0,), "after": (0,), "value": fill}
        empty = {"before": (1, 0), "after": (1, 1), "value": fill}
        cases += [
            Sample((special(dtype),), none, "special, no width"),
            Sample((spread(dtype, (0, 3), 0, 1),), empty, "empty"),
            Sample((spread(dtype, (), 1, 2),), {"before": (), "after": (), "value": fill}, "0-d"),
        ]
        if dtype in FLOATS:
            hard = {"before": (1,), "after": (1,), "value": -np.inf}
            cases.append(Sample((special(dtype),), hard, "minus infinity"))
        return cases

    return samples


# -- indexing ----------------------------------------------------------------------------------


def index_table(*index: int, dtype: str = "int64") -> Array:
    return np.array(index, dtype)


def gather() -> Samples:
    """Sample gather(x, indices, axis) as numpy.take: repeats, negative, 0-d, empty, 2-d indices."""

    def samples(dtype: str) -> list[Sample]:
        table = index_table(0, 3, 3, 1)
        cases = [Sample((x, table), {"axis": 0}, name, True) for x, name in _three(dtype, (4, 3))]
        x = spread(dtype, (4, 3), -3.0, 3.0)
        cases += [
            Sample((x, index_table(2, -1, 0, -3)), {"axis": 1}, "negative", True),
            Sample((x, table.reshape(2, 2)), {"axis": 0}, "table", True),
            Sample((x, table, index_table(2, -1, 0, 2)), {"axis": 0}, "pairs", True),
            Sample((x, table[:2].reshape(2, 1), index_table(2, -1)), {"axis": 0}, "outer", True),
            Sample((x, np.array(1)), {"axis": 0}, "0-d", True),
            Sample((x, np.zeros((0,), np.int64)), {"axis": 1}, "empty"),
            Sample((special(dtype), index_table(1, 0, 1, dtype="int32")), {"axis": 0}, "special"),
        ]
        return cases

    return samples


def scatter(word: str) -> Samples:
    """Sample scatter(x, updates, *tables, axis) by a word: repeats; for "set" the last wins."""

    def samples(dtype: str) -> list[Sample]:
        x, updates = spread(dtype, (4, 3), -3.0, 3.0), spread(dtype, (4, 3), -3.0, 3.0, seed="u")
        repeats = index_table(0, 3, 3, 1)
        cases = [
            Sample((x, updates, repeats), {"axis": 0}, "repeats", True),
            Sample((x, updates[:, :2].copy(), index_table(1, -1)), {"axis": 1}, "negative", True),
            Sample((x, updates[0], np.array(2)), {"axis": 0}, "0-d", True),
            Sample((x, updates[0, 0], np.array(2), np.array(-1)), {"axis": 0}, "place", True),
            Sample((x, updates[:, 0].copy(), repeats, index_table(2, 1, 1, 0)), {"axis": 0},
                   "pairs", True),
            Sample((x, updates[:0], np.zeros(0, np.int64)), {"axis": 0}, "empty"),
            Sample((special(dtype), special(dtype)[-1:], index_table(0)), {"axis": 0}, "special"),
        ]
        if dtype in RICH:
            table = repeats.reshape(2, 2)
            many = updates.reshape(2, 2, 3)
            cases += [
                Sample((x, many, table), {"axis": 0}, "table", True),
                Sample((transposed(x), reversed_steps(updates), repeats), {"axis": 0}, "layouts"),
            ]
        if word != "set":
            crowd = np.arange(40) % 3
            heap = spread(dtype, (40,), *((0.5, 1.5) if word == "mul" else (-3.0, 3.0)), seed="u")
            cases.append(Sample((x[:, 0].copy(), heap, crowd), {"axis": 0}, "crowded", True))
        return cases

    return samples


def slice_set() -> Samples:
    """Sample slice_set(x, v, start, stop, step): the slice of x replaced by v of its shape."""

    def samples(dtype: str) -> list[Sample]:
        wanted = [s for s in slices()(dtype) if not s.name.startswith("empty")]
        cases = []
        for sample in wanted:
            value = spread(dtype, _slice_shape(sample.attrs), -3.0, 3.0, seed="v")
            cases.append(sample._replace(args=(*sample.args, value)))
        return cases

    return samples


# -- contractions and the rest -----------------------------------------------------------------


def matmul() -> Samples:
    """Sample matmul(x, y): matrices, broadcast batches, no terms, one row, layouts, hard values."""

    def samples(dtype: str) -> list[Sample]:
        def x(*shape: int) -> Array:
            return spread(dtype, shape, -3.0, 3.0)

        def y(*shape: int) -> Array:
            return spread(dtype, shape, -3.0, 3.0, seed="y")

        cases = [
            Sample((x(3, 5), y(5, 2)), {}, "matrices", True),
            Sample((x(1, 1), y(1, 1)), {}, "one", True),
            Sample((x(3, 0), y(0, 2)), {}, "no terms"),
            Sample((x(0, 5), y(5, 2)), {}, "empty"),
        ]
        if dtype in RICH:
            hard = special(dtype)
            cases += [
                Sample((x(2, 3, 5), y(2, 5, 2)), {}, "batches", True),
                Sample((x(3, 5), y(2, 5, 2)), {}, "broadcast left", True),
                Sample((x(2, 1, 3, 5), y(4, 5, 2)), {}, "broadcast both", True),
                Sample((transposed(x(3, 5)), y(5, 2)), {}, "transposed left"),
                Sample((x(3, 5), transposed(y(5, 2))), {}, "transposed right"),
                Sample((x(3, 5), reversed_steps(y(5, 2))), {}, "reversed"),
                Sample((x(17, 33), y(33, 19)), {}, "odd sizes"),
                Sample((hard[:, None], hard[None, :]), {}, "special"),
            ]
        return cases

    return samples


def vecdot() -> Samples:
    """Sample vecdot(x, y) along the last axis: vectors, broadcast batches, no terms."""

    def samples(dtype: str) -> list[Sample]:
        def case(x: tuple[int, ...], y: tuple[int, ...], name: str) -> Sample:
            args = spread(dtype, x, -3.0, 3.0), spread(dtype, y, -3.0, 3.0, seed="y")
            return Sample(args, {}, name, 0 not in x)

        cases = [case((5,), (5,), "vectors"), case((2, 0), (0,), "no terms"),
                 case((0, 5), (5,), "empty")]
        if dtype in RICH:
            hard = special(dtype)
            x, y = case((2, 1, 5), (3, 5), "").args
            cases += [
                case((2, 1, 5), (3, 5), "broadcast"),
                Sample((transposed(x), reversed_steps(y)), {}, "layouts"),
                Sample((hard[:, None], hard[:, None]), {}, "special"),
            ]
        return cases

    return samples


def random_bits() -> Samples:
    """Sample random_bits(key, shape): three keys, one with a high word; odd counts, 0-d, empty."""

    def samples(dtype: str) -> list[Sample]:
        zero, seven, high = ((0, 0), (0, 7), (0xDEADBEEF, 0xFFFFFFFF))
        return [
            Sample((np.array(key, dtype),), {"shape": shape}, f"{name} {shape}")
            for key, name in ((zero, "zero"), (seven, "seven"), (high, "high"))
            for shape in ((7,), (2, 3, 5), (), (0, 3))
        ]

    return samples
