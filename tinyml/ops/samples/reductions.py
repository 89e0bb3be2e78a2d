"""Sample generators of reductions and of ops along one axis."""

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


def reduction(
    multi_axis: bool = True,
    identity: bool = True,
    single: bool = False,
    rich: tuple[str, ...] = RICH,
    **attrs: Any,
) -> Samples:
    """Sample a reduction over `axis` (a tuple) with `keepdims`.

    `identity` says whether an empty reduction has a value (sum does, max does not); `single` makes
    `axis` an int, as for softmax, and drops `keepdims`; `attrs` are added to every sample.
    Dtypes in `rich` see every layout.
    """

    def samples(dtype: str) -> list[Sample]:
        def x(*shape: int) -> Array:
            return spread(dtype, shape, -3.0, 3.0)

        def case(
            value: Array, axis: tuple[int, ...], name: str, smooth: bool = False, keep: bool = False
        ) -> Sample:
            given: dict[str, Any] = {"axis": axis[0] if single else axis, **attrs}
            if not single:
                given["keepdims"] = keep
            return Sample((value,), given, name, smooth)

        cases = [
            case(x(7), (0,), "vector", True),
            case(x(3, 4), (1,), "rows", True, keep=True),
            case(x(0, 3), (1,), "empty kept"),
            case(special(dtype), (0,), "special"),
            case(np.array([special(dtype)[-1]] * 9), (0,), "ties"),
        ]
        if dtype not in rich:
            return cases
        cases += [
            case(x(3, 4), (0,), "columns", True),
            case(x(3, 1), (1,), "one"),
            case(transposed(x(3, 4)), (1,), "transposed"),
            case(reversed_steps(x(7)), (0,), "reversed"),
            case(x(601), (0,), "long"),
        ]
        if dtype in FLOATS:
            hard = special(dtype)
            cases.append(case(np.stack([hard, np.roll(hard, 5), hard[::-1]], 1), (1,), "hard rows"))
        if multi_axis:
            cases += [
                case(x(2, 3, 4), (0, 2), "two axes", True),
                case(x(2, 3, 4), (0, 1, 2), "all axes", True, keep=True),
                case(x(), (), "0-d"),
            ]
        if identity:
            cases.append(case(x(0, 3), (0,), "empty reduced"))
        return cases

    return samples


def arg_reduction() -> Samples:
    """Sample argmax and argmin: `axis` is an int; ties give the first, NaN wins."""

    def samples(dtype: str) -> list[Sample]:
        cases = reduction(multi_axis=False, identity=False, rich=("float32",))(dtype)
        return [
            sample._replace(attrs={**sample.attrs, "axis": sample.attrs["axis"][0]}, smooth=False)
            for sample in cases
        ]

    return samples


def variance() -> Samples:
    """Sample var: as `reduction`, with corrections 0 and 1; a large mean shows cancellation."""

    def samples(dtype: str) -> list[Sample]:
        cases = reduction(identity=False, correction=0.0)(dtype)
        x = spread(dtype, (3, 4), -3.0, 3.0)
        unbiased: dict[str, Any] = {"axis": (1,), "keepdims": False, "correction": 1.0}
        cases.append(Sample((x,), unbiased, "unbiased", True))
        whole = {**unbiased, "axis": (0,)}
        cases.append(Sample((spread(dtype, (7,), 1000.0, 1001.0),), whole, "large mean"))
        return cases

    return samples


def axis_map() -> Samples:
    """Sample softmax and log_softmax: an int `axis`; the shape stays."""
    return reduction(multi_axis=False, identity=False, single=True)
