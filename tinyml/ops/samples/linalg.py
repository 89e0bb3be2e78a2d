"""Sample generators of linear algebra: matrices far from singular, with well-separated values."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.dtypes import as_dtype
from tinyml.ops.samples.values import Array, Sample, Samples, spread, transposed


def _matrix(dtype: str, shape: tuple[int, ...], kind: str) -> Array:
    """Return elements in (-1, 1), with a diagonal that keeps differences in denominators large."""
    x = spread(dtype, shape, -1.0, 1.0)
    rows, columns = shape[-2:]
    apart = np.diag(3.0 + 2.0 * np.arange(max(rows, columns)))[:rows, :columns]
    if kind in ("positive", "hermitian"):
        x = (x + np.conj(np.swapaxes(x, -1, -2))) / 2
    if kind == "hermitian":
        apart = apart * np.where(np.arange(columns) % 2, -1.0, 1.0)
    return np.asarray((x + apart).astype(as_dtype(dtype).numpy))


def matrices(kind: str, others: tuple[Any, ...], attrs: dict[str, Any]) -> Samples:
    """Sample matrices of a kind, each followed by `others`.

    `kind` is square, pair, positive, hermitian, solve, tall or any.
    """
    square = kind not in ("tall", "any")

    def samples(dtype: str) -> list[Sample]:
        def case(shape: tuple[int, ...], name: str, smooth: bool = False) -> Sample:
            x = _matrix(dtype, shape, kind)
            after = others
            if kind == "pair":
                after = (spread(dtype, shape, -1.0, 1.0, seed="h"),)
            if kind == "solve":
                after = (spread(dtype, (shape[-1], 2), -1.0, 1.0, seed="b"),)
            return Sample((x, *after), attrs, name, smooth)

        cases = [case((3, 3), "three", True), case((1, 1), "one", True), case((0, 0), "none"),
                 case((2, 2, 2), "batch", True), case((0, 2, 2), "no batch"),
                 case((12, 12), "twelve")]
        cases.append(_changed(case((3, 3), "nan"), np.nan))
        cases.append(_changed(case((2, 3, 3), "nan in one of two"), np.nan))
        if kind in ("hermitian", "any"):
            cases.append(_changed(case((2, 3, 3), "inf in one of two"), np.inf))
        first = case((3, 3), "")
        cases.append(first._replace(args=(transposed(first.args[0]), *first.args[1:]),
                                    name="transposed", smooth=True))
        if not square:
            cases += [case((4, 2), "tall", True), case((2, 0), "no columns")]
        if kind == "any":
            cases += [case((2, 4), "wide", True), case((0, 2), "no rows")]
        if kind == "solve":
            a, b = _matrix(dtype, (2, 1, 2, 2), kind), spread(dtype, (3, 2, 1), -1, 1, seed="b")
            cases.append(Sample((a, b), {}, "batches broadcast", True))
        for name in attrs:  # complete and full, for shapes in which they make a difference
            cases += [case(shape, f"{name} {size}")._replace(attrs={name: True})
                      for shape, size in (((3, 2), "tall"), ((2, 2, 2), "batch"))]
            if kind == "any":
                cases.append(case((2, 3), f"{name} wide")._replace(attrs={name: True}))
        return cases

    return samples


def _changed(sample: Sample, value: float) -> Sample:
    """Return a sample with a value put into a corner of its first matrix."""
    x = sample.args[0]
    x[(0,) * x.ndim] = value
    return sample
