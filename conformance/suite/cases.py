"""The cases: every op with every sample of every dtype that it declares, each with a name."""

from __future__ import annotations

import fnmatch
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from tinyml.ops.samples.values import Sample


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
    """Return the cases of one record, dtype by dtype."""
    for dtype in op.dtypes if dtypes is None else dtypes:
        for sample in op.samples(dtype):
            yield Case(op, op.name, dtype, sample)


# Kernels that CI compiles for the ops suite on each device: about 0.1 s each, in two processes.
BUDGET = 2000
SETTING = "TINYML_CONFORMANCE"  # 'full', or another budget


class Within(NamedTuple):
    """A sample of the cases that needs few kernels: the names of its cases, and the counts."""

    names: frozenset[str]
    kernels: int
    of: int

    def __str__(self) -> str:
        return (f"the sample has {len(self.names)} cases, some {self.kernels} of {self.of} kernels "
                f"({SETTING}=full runs all)")


def structure(case: Case) -> Any:
    """Return what distinguishes kernels, roughly: op, types, ranks, layouts, kinds of attributes.

    >>> import numpy as np
    >>> first, second = [Case(None, "neg", "int8", Sample((np.ones(n, "int8"),), {}, "a"))
    ...                  for n in (3, 5)]
    >>> structure(first) == structure(second)
    True
    """
    operands = [
        (x.dtype.name, x.ndim, x.size > 1, 1 in x.shape, x.flags.c_contiguous, 0 in x.strides,
         any(step < 0 for step in x.strides)) if isinstance(x, np.ndarray) else type(x).__name__
        for x in case.sample.args
    ]
    attrs = [(name, repr(v) if isinstance(v, (str, bool)) else type(v).__name__)
             for name, v in case.sample.attrs.items()]
    return case.of, case.dtype, tuple(operands), tuple(attrs)


def within(ops: Mapping[str, Any], budget: int) -> Within:
    """Return a sample of the ops' cases that needs at most `budget` kernels, always the same one.

    In each round, every op gets one more structure in each of its types, first each op in float32
    or the first of its types, so that no op or type is left out before all have something.
    """
    columns: dict[tuple[str, str], dict[Any, list[str]]] = {}
    for op in ops.values():
        for case in op_cases(op):
            of_one = columns.setdefault((op.name, case.dtype), {})
            of_one.setdefault(structure(case), []).append(case.name)
    total = sum(map(len, columns.values()))
    first = {op.name: min(op.dtypes, key=lambda dtype: dtype != "float32") for op in ops.values()}
    order = sorted(columns, key=lambda pair: pair[1] != first[pair[0]])
    names: list[str] = []
    kernels = 0
    for turn in zip_longest(*[columns[pair].values() for pair in order]):
        for group in turn:
            if group and kernels < budget:
                names += group
                kernels += 1
    return Within(frozenset(names), kernels, total)


def asked(ops: Mapping[str, Any]) -> Within | None:
    """Return the sample that the environment asks for, by default CI's; None for all cases.

    It leaves out no op, however small the budget.
    """
    text = os.environ.get(SETTING, str(BUDGET))
    return None if text == "full" else within(ops, max(int(text), len(ops)))


def chosen(name: str, only: str | None) -> bool:
    """Return whether a pattern, a prefix of the name or a shell pattern, selects a case.

    A pattern 'op/sample' leaves out the dtype.

    >>> [chosen("add/float32/outer", p) for p in (None, "add", "add/outer", "*/float32/*", "ad")]
    [True, True, True, True, False]
    """
    if only is None or name == only or fnmatch.fnmatchcase(name, only):
        return True
    parts, wanted = name.split("/"), only.split("/")
    return parts[: len(wanted)] == wanted or [parts[0], *parts[2:]] == wanted


def cotangent(name: str, shape: tuple[int, ...], number: int = 0) -> Any:
    """Return a seeded cotangent of the shape, in float64, between -1 and 1."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {number}".encode()))
    return np.asarray(rng.uniform(-1.0, 1.0, shape))


def describe(sample: Sample) -> str:
    """Return the arguments and attributes of a sample on one line, without values.

    >>> describe(Sample((np.ones((2, 3), "int8"), 2.5), {"axis": 0}, "x"))
    'int8[2, 3], 2.5, axis=0'
    """
    parts = [
        f"{x.dtype.name}{list(x.shape)}" if isinstance(x, np.ndarray) else repr(x)
        for x in sample.args
    ]
    return ", ".join(parts + [f"{key}={value!r}" for key, value in sample.attrs.items()])


Judge = Callable[[Case], str | None]
