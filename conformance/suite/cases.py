"""The cases: every op with every sample of every dtype it declares, each under a name."""

from __future__ import annotations

import fnmatch
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tinyml.ops.sampling import Sample


class Case(NamedTuple):
    """One sample of one op in one dtype; its name is 'op/dtype/sample'.

    >>> Case(None, "add", "float32", Sample((1, 2), {}, "0-d")).name
    'add/float32/0-d'
    """

    op: Any
    of: str
    dtype: str
    sample: Sample

    @property
    def name(self) -> str:
        """'op/dtype/sample'."""
        return f"{self.of}/{self.dtype}/{self.sample.name}"


def op_cases(op: Any, dtypes: Iterable[str] | None = None) -> Iterator[Case]:
    """The cases of one record, dtype by dtype."""
    for dtype in op.dtypes if dtypes is None else dtypes:
        for sample in op.samples(dtype):
            yield Case(op, op.name, dtype, sample)


def chosen(name: str, only: str | None) -> bool:
    """Whether a case of this name is meant by a pattern: its beginning, or a shell pattern.

    A pattern 'op/sample' leaves out the dtype.

    >>> [chosen("add/float32/outer", p) for p in (None, "add", "add/outer", "*/float32/*", "ad")]
    [True, True, True, True, False]
    """
    if only is None or name == only or fnmatch.fnmatchcase(name, only):
        return True
    parts, wanted = name.split("/"), only.split("/")
    return parts[: len(wanted)] == wanted or [parts[0], *parts[2:]] == wanted


def cotangent(name: str, shape: tuple[int, ...], number: int = 0) -> Any:
    """A seeded cotangent of the shape, in float64, between -1 and 1."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {number}".encode()))
    return np.asarray(rng.uniform(-1.0, 1.0, shape))


def describe(sample: Sample) -> str:
    """The arguments and attributes of a sample in one line, without values.

    >>> describe(Sample((np.ones((2, 3), "int8"), 2.5), {"axis": 0}, "x"))
    'int8[2, 3], 2.5, axis=0'
    """
    parts = [
        f"{x.dtype.name}{list(x.shape)}" if isinstance(x, np.ndarray) else repr(x)
        for x in sample.args
    ]
    return ", ".join(parts + [f"{key}={value!r}" for key, value in sample.attrs.items()])


Judge = Callable[[Case], str | None]
