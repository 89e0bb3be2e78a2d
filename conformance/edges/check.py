"""Check devices against the edge table: its rows bit for bit, its rules on filled samples.

An entry gives rise to two checks. Each row is run as written. Every sample of the record is also
run with its floats replaced by hard values. Under a `bits` rule the result is exactly NumPy's in
that dtype; under an `ulp` rule it lies within the record's bound of the reference; under every rule
the devices agree on each NaN, infinity and sign of zero. All NaNs compare equal.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinyml.conformance import reference
from tinyml.conformance.edges.table import SLOPE, Entry, Row, applies, arrays, read, value
from tinyml.conformance.suite import bounds, ops, ulp
from tinyml.conformance.suite.backends import Backend, elsewhere, open_backend
from tinyml.conformance.suite.cases import Case, Within, op_cases
from tinyml.errors import ArgumentError
from tinyml.ir.op import find
from tinyml.ops.samples.values import special

Array = npt.NDArray[Any]
TURNS = 2  # how often each sample of a full run is filled, each time starting at another value


class Run(NamedTuple):
    """One call that rows make, and what they expect of it; `text` is the row as written.

    With `slope`, the results are the operands' cotangents for a cotangent of ones.
    """

    args: tuple[Array, ...]
    attrs: dict[str, Any]
    results: tuple[Any, ...]
    text: str
    elementwise: bool
    slope: bool = False


def check(name: str, devices: Sequence[str], dtypes: Sequence[str] | None = None,
          sample: Within | None = None) -> list[str]:
    """Return each deviation of the devices from the table for an op, one per line.

    The list is empty where the devices agree with the table. With a `sample`, only its cases are
    filled with hard values.
    """
    op = find(name)
    entry = read().entry(op)
    if entry is None:
        return [f"{name}: no entry in conformance/edges/table.txt"]
    backends = [open_backend(f"tinyml:{device}") for device in devices
                if not elsewhere(name, f"tinyml:{device}")]
    found = []
    for dtype in op.dtypes if dtypes is None else dtypes:
        able = [backend for backend in backends if backend.lacks(dtype) is None]
        found += [*_rows(entry, dtype, able), *_filled(op, entry, dtype, able, sample)]
    return found


def runs(entry: Entry, dtype: str) -> Iterator[Run]:
    """Return the calls that an entry's rows make in a dtype.

    >>> from tinyml.conformance.edges.table import read
    >>> [run.text for run in runs(read().entries["neg"], "uint8")][:1]
    ['min -> min']
    """
    for row in entry.rows:
        if applies(row, dtype):
            yield _run(entry, row, dtype)


def _run(entry: Entry, row: Row, dtype: str) -> Run:
    args = arrays([value(each, dtype) for each in row.args], dtype)
    attrs = {**(entry.along or {}), **row.attrs}
    if entry.along is None:  # elementwise: each value of a list meets each of the others
        args = [x.reshape(-1) for x in np.meshgrid(*args, indexing="ij")]
    return Run(tuple(args), attrs, row.results, row.text, entry.along is None, row.kind == SLOPE)


def outputs_of(backend: Backend, op: str, run: Run) -> tuple[Array, ...]:
    """Return what a run gives on a backend: an op's results, or the slopes of the first one."""
    if not run.slope:
        return backend.run(op, *run.args, **run.attrs)
    like = backend.run(op, *run.args, **run.attrs)[0]
    pull = backend.pullback(op, run.args, run.attrs, tuple(range(len(run.args))))
    return pull(np.ones(like.shape, like.dtype))


def wanted(run: Run, number: int, like: Array) -> Array:
    """Return what output `number` of a run must be, in the dtype and shape of `like`."""
    (result,) = arrays([value(run.results[number], like.dtype.name)], like.dtype.name)
    return np.broadcast_to(result.astype(like.dtype), like.shape)


def agrees(run: Run, number: int, got: Array, units: float) -> bool:
    """Return whether output `number` is what the row says.

    The bits must be equal; multiples of pi need only be within the bound in ULPs.
    """
    want = wanted(run, number, got)
    if "pi" not in ast.unparse(run.results[number]):
        return bool(np.all(same(got, want)))
    exact = np.asarray(value(run.results[number], got.dtype.name), np.longdouble)
    return bool(np.all(ulp.distance(got, np.broadcast_to(exact, got.shape)) <= units + 0.5))


def same(got: Array, want: Array) -> Any:
    """Return where two arrays of one dtype have the same bits; all NaNs count as the same.

    >>> same(np.float32([0.0, np.nan]), np.float32([-0.0, np.nan])).tolist()
    [False, True]
    """
    kind = reference.kind(got.dtype)
    if kind in "biu":
        return got == want
    if kind == "c":
        return same(got.real, want.real) & same(got.imag, want.imag)
    got, want = _wide(got), _wide(want)
    equal = (got == want) & (np.signbit(got) == np.signbit(want))
    return equal | (got != got) & (want != want)


def _wide(x: Array) -> Array:
    """Return floats narrower than 32 bits as float32, which holds them all; others unchanged."""
    with np.errstate(invalid="ignore"):  # converting a NaN of ml_dtypes
        return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def _rows(entry: Entry, dtype: str, backends: Sequence[Backend]) -> Iterator[str]:
    for run in runs(entry, dtype):
        for backend in backends:
            where = f"{entry.op} {dtype} on {backend.name}: {run.text}"
            try:
                outputs = outputs_of(backend, entry.op, run)
            except Exception as error:
                yield f"{where}: raised {type(error).__name__}: {error}"
                continue
            if len(outputs) != len(run.results):
                yield f"{where}: {len(outputs)} results"
                continue
            for number, got in enumerate(outputs):
                if not agrees(run, number, got, bounds.units(find(entry.op), got.dtype.name)):
                    yield f"{where}: got {got.tolist()}"


# -- samples with hard values ------------------------------------------------------------------


def _fill(x: Any, turn: int) -> Any:
    if not isinstance(x, np.ndarray) or reference.kind(x.dtype) != "f" or x.size == 0:
        return x
    hard = np.roll(special(x.dtype.name), 3 * turn)
    filled = np.empty_like(x, subok=False)  # in the same layout, where NumPy can
    filled[...] = np.resize(hard, x.size).reshape(x.shape)
    return filled


def _cases(op: Any, dtype: str, within: Within | None) -> Iterator[Case]:
    """Return each sample with its floats replaced; the ops suite covers those without floats."""
    for case in op_cases(op, (dtype,)):
        if within is not None and case.name not in within.names:
            continue
        for turn in range(TURNS if within is None else 1):
            args = tuple(_fill(x, 2 * k + 5 * turn) for k, x in enumerate(case.sample.args))
            if any(x is not y for x, y in zip(args, case.sample.args)):
                yield case._replace(sample=case.sample._replace(args=args))


def _filled(op: Any, entry: Entry, dtype: str, backends: Sequence[Backend],
            sample: Within | None) -> Iterator[str]:
    for case in _cases(op, dtype, sample):
        attrs = case.sample.attrs
        results = reference.evaluate(op.name, *case.sample.args, **attrs)
        able = [b for b in backends if not any(b.lacks(r.dtype.name) for r in results)]
        everything = [_outputs(b, case) for b in able]
        for backend, outputs in zip(able, everything):
            for complaint in _judged(entry, case, outputs):
                yield f"{case.name} with hard values on {backend.name}: {complaint}"
        for backend, outputs in zip(able[1:], everything[1:]):
            if len(outputs) != len(everything[0]):
                yield f"{case.name} with hard values: only one of the devices refuses them"
            for a, b in zip(everything[0], outputs):
                apart = _unlike(op, case, a, b)
                if apart:
                    yield (f"{case.name} with hard values, {able[0].name} against "
                           f"{backend.name}: {apart}")


def _outputs(backend: Backend, case: Case) -> tuple[Array, ...]:
    """Return what a device gives; nothing where it refuses the values (a singular matrix, say)."""
    try:
        return backend.run(case.of, *case.sample.args, **case.sample.attrs)
    except ArgumentError:
        return ()


def _judged(entry: Entry, case: Case, outputs: tuple[Array, ...]) -> Iterator[str]:
    if entry.rule.how == "alike":
        return
    if entry.rule.how == "ulp":
        complaint = ops.judge(_Given(outputs), case).complaint
        if complaint:
            yield complaint
        return
    # Narrow floats are computed in float32 and rounded once.
    args = [_wide(x) if isinstance(x, np.ndarray) and reference.kind(x.dtype) == "f" else x
            for x in case.sample.args]
    want = reference.native(case.of, *args, **case.sample.attrs)
    for got, exact in zip(outputs, want, strict=True):
        exact = _rounded(exact, got.dtype)
        agree = np.asarray(got.shape == exact.shape and same(got, exact))
        if not agree.all():
            yield f"got {got.tolist()!r:.200} instead of {exact.tolist()!r:.200}"


def _rounded(x: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(all="ignore"):
        return x.astype(dtype) if reference.kind(x.dtype) == reference.kind(dtype) == "f" else x


class _Given:
    """A backend that returns results computed earlier, for the ops suite's judge."""

    name = version = "given"

    def __init__(self, outputs: tuple[Array, ...]) -> None:
        self.outputs = outputs

    def lacks(self, dtype: str) -> str | None:
        """Return None: it lacks no dtype."""
        return None

    def run(self, op: str, /, *arrays: Any, **attrs: Any) -> tuple[Array, ...]:
        """Return the outputs given."""
        return self.outputs

    def pullback(self, *_: Any) -> Any:
        """Raise NotImplementedError; gradients are never asked for."""
        raise NotImplementedError

    tangent = second = pullback


def _unlike(op: Any, case: Case, first: Array, second: Array) -> str | None:
    """Return where two devices differ in kind, or by more than the bound.

    Values differ in kind where one is a NaN, an infinity or a zero of a sign that the other is not.
    """
    if reference.kind(first.dtype) != "f":
        apart = first != second
    else:
        x, y = _wide(first), _wide(second)
        zeros = (x == 0) & (y == 0) & (np.signbit(x) != np.signbit(y))
        apart = zeros | (np.isnan(x) != np.isnan(y))
        wide = reference.widened(case.of, *case.sample.args)
        if not np.any(bounds.magnitude(case.of, wide, case.sample.attrs)):
            far = ulp.distance(first, y.astype(np.longdouble), signed_zero=False)
            apart = apart | (far > 2 * bounds.units(op, first.dtype.name) + 1)
    if not np.any(apart):
        return None
    place = tuple(int(k) for k in np.argwhere(apart)[0])
    return f"at {place}: {first[place]!r} and {second[place]!r}"
