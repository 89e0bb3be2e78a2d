"""Sample generators of what is beyond the standard: running extremes."""

from __future__ import annotations

import numpy as np

from tinyml.ops.samples_scan import LONG
from tinyml.ops.sampling import FLOATS, RICH, Sample, Samples, special, spread, transposed


def running_extreme() -> Samples:
    """cummax(x, axis): rows, columns, blocks, hard values, NaN among numbers."""

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
