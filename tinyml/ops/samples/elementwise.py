"""Sample generators: the small, seeded cases that every op record is tested on.

A generator is made once, where the record is defined, and called with a dtype's name:

>>> from tinyml.ops.samples import unary
>>> [sample.name for sample in unary(-1.0, 1.0)("float32")][:3]
['vector', 'empty', 'special']

Corner cases come first. Shapes repeat on purpose: a kernel is compiled per structure (rank after
merging, strides, dtype), so one shape used ten times costs one compilation. The dtypes in `RICH`
see every layout; the others see contiguous data and special values.

Attributes are those of the record, normalised: axes are not negative, slices have the form of
`slice.indices`, and a dtype is its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyml.dtypes import COMPLEX, FLOATS, REAL, STORED, UNSIGNED
from tinyml.ops.samples.values import (
    RICH,
    Array,
    ErrorCase,
    Sample,
    Samples,
    pairs,
    readonly,
    reversed_steps,
    scalar,
    special,
    spread,
    transposed,
)

__all__ = ["binary", "bits", "cast", "comparison", "division", "error_cases", "finite", "logical",
           "operands", "power", "predicate", "scaling", "shifts", "ternary", "unary",
           "with_cotangent", "with_numbers"]

# -- elementwise -------------------------------------------------------------------------------


def unary(
    low: float = -3.0,
    high: float = 3.0,
    wide: tuple[float, float] | None = None,
    rich: tuple[str, ...] = RICH,
) -> Samples:
    """Sample one tensor: smooth points in [low, high], accuracy over `wide`, hard values.

    Dtypes in `rich` see every layout.
    """

    def samples(dtype: str) -> list[Sample]:
        def x(*shape: int) -> Array:
            return spread(dtype, shape, low, high)

        cases = [
            Sample((x(7),), {}, "vector", True),
            Sample((x(0, 3),), {}, "empty"),
            Sample((special(dtype),), {}, "special"),
            Sample((spread(dtype, (101,), *(wide or (low, high))),), {}, "range"),
        ]
        if dtype == "float32":
            whole = spread("int32", (7,), max(low, -9.0), min(high, 9.0))
            cases.append(Sample((whole,), {}, "integers"))
        if dtype in rich:
            cases += [
                Sample((x(),), {}, "0-d", True),
                Sample((x(1),), {}, "one"),
                Sample((transposed(x(3, 4)),), {}, "transposed", True),
                Sample((reversed_steps(x(5)),), {}, "reversed"),
                Sample((readonly(x(3, 4)),), {}, "read-only"),
            ]
        return cases

    return samples


def binary(
    low: float = -3.0,
    high: float = 3.0,
    second: tuple[float, float] | None = None,
    mixed: bool = True,
    hard: bool = True,
    rich: tuple[str, ...] = RICH,
) -> Samples:
    """Sample two tensors, elementwise: broadcast pairs, layouts, Python scalars, every hard pair.

    `second` is the range of the second operand, `mixed` adds operands of two dtypes, and `hard`
    holds the pairs of special values; dtypes in `rich` see every layout.
    """

    def samples(dtype: str) -> list[Sample]:
        def x(*shape: int) -> Array:
            return spread(dtype, shape, low, high)

        def y(*shape: int) -> Array:
            return spread(dtype, shape, *(second or (low, high)), seed="y")

        cases = [
            Sample((x(7), y(7)), {}, "same", True),
            Sample((x(0, 3), y(3)), {}, "empty"),
        ]
        if hard:
            cases.append(Sample(pairs(special(dtype), special(dtype)), {}, "special"))
        if dtype in rich or dtype == "int32":
            cases.append(Sample((x(7), scalar(dtype)), {}, "scalar right", True))
        if dtype not in rich:
            return cases
        cases += [
            Sample((x(), y()), {}, "0-d", True),
            Sample((x(3, 1), y(1, 4)), {}, "outer", True),
            Sample((x(4), y(2, 3, 4)), {}, "trailing", True),
            Sample((scalar(dtype), y(7)), {}, "scalar left", True),
            Sample((transposed(x(3, 4)), y(3, 4)), {}, "transposed"),
            Sample((reversed_steps(x(7)), readonly(y(7))), {}, "reversed"),
            Sample((x(1), y(0)), {}, "one by empty"),
        ]
        if mixed and dtype in FLOATS:
            whole = spread("int32", (7,), max(low, -9.0), min(high, 9.0))
            cases.append(Sample((whole, y(7)), {}, "int by float"))
            cases.append(Sample((whole, whole[::-1].copy()), {}, "integers"))
        if mixed and dtype == "float64":
            cases.append(Sample((spread("float32", (7,), low, high), y(7)), {}, "two floats", True))
        return cases

    return samples


def comparison() -> Samples:
    """Sample two tensors to compare: as `binary`, with some equal values; nothing is smooth."""
    base = binary(rich=("float32", "bool"))

    def samples(dtype: str) -> list[Sample]:
        x = spread(dtype, (7,), -3.0, 3.0)
        y = x.copy()
        y[::2] = spread(dtype, (4,), -3.0, 3.0, seed="y")
        cases = [Sample((x, y), {}, "ties")]
        return cases + [sample._replace(smooth=False) for sample in base(dtype)]

    return samples


def predicate() -> Samples:
    """Sample one tensor to bool (isnan, logical_not): as `unary`; nothing is smooth."""
    base = unary(rich=("float32",))
    return lambda dtype: [sample._replace(smooth=False) for sample in base(dtype)]


def logical() -> Samples:
    """Sample two tensors as truth values."""
    base = binary(mixed=False, rich=("bool",))
    return lambda dtype: [sample._replace(smooth=False) for sample in base(dtype)]


def bits() -> Samples:
    """Sample two integer or bool tensors, bit by bit, over the whole range of the dtype."""
    base = binary(mixed=False, rich=("int32",))
    return lambda dtype: [sample._replace(smooth=False) for sample in base(dtype)]


def shifts() -> Samples:
    """Sample an integer shifted by an integer: by 0 to bits - 1, then by bits and more."""

    def samples(dtype: str) -> list[Sample]:
        size = np.iinfo(dtype).bits
        x, by = pairs(special(dtype), np.array([0, 1, size // 2, size - 1], dtype))
        far = pairs(special(dtype), np.array([size, size + 1, 100], dtype))
        cases = [
            Sample((x, by), {}, "special"),
            Sample(far, {}, "beyond the width"),
            Sample((spread(dtype, (0, 3), 0, 5), by[:3]), {}, "empty"),
            Sample((spread(dtype, (7,), 0, 90), 3), {}, "scalar right"),
        ]
        if dtype == "int32":
            column, row = spread(dtype, (3, 1), 0, 90), spread(dtype, (1, 4), 0, 5)
            cases.append(Sample((column, row), {}, "outer"))
        return cases

    return samples


def division() -> Samples:
    """Sample x1 over x2: the divisor of either sign and away from 0; every hard pair."""

    def samples(dtype: str) -> list[Sample]:
        cases = binary(-9.0, 9.0, second=(0.6, 2.9))(dtype)
        if dtype in UNSIGNED:
            return cases
        x, y = spread(dtype, (9,), -9.0, 9.0), spread(dtype, (9,), -2.9, -0.6, seed="y")
        return [*cases, Sample((x, y), {}, "negative divisor", True)]

    return samples


def finite(base: Samples) -> Samples:
    """Return a generator's cases, with complex ones free of infinities and NaN."""

    def tame(x: Any) -> Any:
        return np.where(np.isfinite(x), x, 0) if isinstance(x, np.ndarray) else x

    def samples(dtype: str) -> list[Sample]:
        cases = base(dtype)
        if not dtype.startswith("complex"):
            return cases
        return [c._replace(args=tuple(map(tame, c.args))) if c.name == "special" else c
                for c in cases]

    return samples


def scaling() -> Samples:
    """Sample x1 with whole numbers x2."""
    base = binary(-3.0, 3.0, second=(-9.0, 9.0), hard=False)

    def whole(x: Any) -> Any:
        return np.trunc(x.astype("float64")).astype(x.dtype) if isinstance(x, np.ndarray) else 2.0

    return lambda dtype: [case._replace(args=(case.args[0], whole(case.args[1])))
                          for case in base(dtype)]


def operands(arity: int) -> Samples:
    """Return `unary`, `binary`, or a generator of three or more tensors that broadcast."""
    if arity < 3:
        return unary() if arity == 1 else binary()

    def samples(dtype: str) -> list[Sample]:
        def as_tuple(*shapes: tuple[int, ...]) -> tuple[Array, ...]:
            return tuple([spread(dtype, shape, -3.0, 3.0, seed=f"x{k}")
                          for k, shape in enumerate(shapes)])

        hard = special(dtype)
        return [
            Sample(as_tuple(*[(7,)] * arity), {}, "same", True),
            Sample(as_tuple(*[()] * arity), {}, "0-d"),
            Sample(as_tuple((0, 3), *[(3,)] * (arity - 1)), {}, "empty"),
            Sample(as_tuple((3, 1), *[(4,)] * (arity - 1)), {}, "outer", True),
            Sample(tuple([np.roll(hard, 3 * k) for k in range(arity)]), {}, "special"),
        ]

    return samples


def with_numbers(base: Samples, numbers: tuple[Any, ...]) -> Samples:
    """Return a generator's cases with Python numbers as further operands."""
    return lambda dtype: [case._replace(args=(*case.args, *numbers)) for case in base(dtype)]


def with_cotangent(base: Samples) -> Samples:
    """Return a generator of another's smooth cases, with a cotangent as first operand."""
    return lambda dtype: [
        case._replace(args=(spread(dtype, case.args[0].shape, -2, 2, seed="g"), *case.args))
        for case in base(dtype) if case.smooth]


def power() -> Samples:
    """Sample x ** y: positive bases are smooth; integers take exponents 0 to 5 and wrap around."""

    def samples(dtype: str) -> list[Sample]:
        if dtype in FLOATS:
            roots = Sample((special(dtype), 0.5), {}, "square root")
            squares = Sample((spread(dtype, (7,), -3.0, 3.0), 2), {}, "square", True)
            cases = [case for case in binary(0.2, 3.0)(dtype) if case.name != "integers"]
            return [*cases, roots, squares]
        low = 0 if dtype in UNSIGNED else -4
        cases = binary(low, 4, second=(0, 5), hard=False)(dtype)
        return [*cases, Sample(pairs(special(dtype), special(dtype)), {}, "special")]

    return samples


def ternary() -> Samples:
    """Sample where(condition, x, y): broadcast in all three, a Python scalar for either branch."""

    def samples(dtype: str) -> list[Sample]:
        def x(*shape: int) -> Array:
            return spread(dtype, shape, -3.0, 3.0)

        def y(*shape: int) -> Array:
            return spread(dtype, shape, -3.0, 3.0, seed="y")

        chosen = np.array([True, False, True, True, False, False, True])
        hard, other = pairs(special(dtype), special(dtype))
        cases = [
            Sample((chosen, x(7), y(7)), {}, "same", True),
            Sample((np.array(True), x(), y()), {}, "0-d", True),
            Sample((np.zeros((0, 3), bool), x(3), y(1)), {}, "empty"),
            Sample((np.arange(hard.size) % 3 == 0, hard, other), {}, "special"),
        ]
        if dtype in RICH:
            column = np.array([[True], [False], [True]])
            cases += [
                Sample((column, x(1, 4), y(3, 4)), {}, "outer", True),
                Sample((chosen, x(7), scalar(dtype)), {}, "scalar right", True),
                Sample((chosen, scalar(dtype), y(7)), {}, "scalar left", True),
                Sample((chosen[::-1], reversed_steps(x(7)), y()), {}, "reversed"),
            ]
        return cases

    return samples


def cast() -> Samples:
    """Sample cast(x, dtype): to a float, to narrow and wide integers, to bool; hard values last.

    Out-of-range floats saturate, NaN becomes 0; integers wrap around.
    """

    def samples(dtype: str) -> list[Sample]:
        x = spread(dtype, (7,), -3.0, 3.0)
        targets = ["float32", "int32"]
        if dtype in RICH:
            targets = [*REAL, *STORED]
        if dtype in COMPLEX:
            targets = [*COMPLEX, "bool"]
        cases = [
            Sample((x,), {"dtype": to}, f"to {to}", dtype in FLOATS and to in FLOATS)
            for to in targets
        ]
        cases += [Sample((special(dtype),), {"dtype": to}, f"special to {to}") for to in targets]
        cases.append(Sample((spread(dtype, (0, 3), 0, 1),), {"dtype": targets[0]}, "empty"))
        if dtype in RICH:
            flipped = transposed(spread(dtype, (3, 4), -3.0, 3.0))
            cases.append(Sample((flipped,), {"dtype": "float32"}, "transposed"))
        return cases

    return samples


# -- errors ------------------------------------------------------------------------------------


def error_cases(*cases: ErrorCase) -> Callable[[], list[ErrorCase]]:
    """Return a record's `errors` field from its cases.

    >>> error_cases(ErrorCase((1,), {}, ValueError, "one"))()[0].match
    'one'
    """
    return lambda: list(cases)
