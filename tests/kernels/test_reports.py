"""Index errors on OpenCL: raised by those who read what depends on them, and by nobody else."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
import tinyml.kernels.opencl.reports as reports
from tinyml.errors import OutOfRangeError
from tinyml.ir.devices import find_device

pytestmark = [pytest.mark.parametrize("device", ["opencl"], indirect=True),
              pytest.mark.kernels(2)]

WAIT = 60  # seconds that no thread of a test takes


@pytest.fixture
def opencl(device: str) -> Any:
    """The OpenCL device, without errors of earlier tests."""
    found: Any = find_device("opencl")
    with contextlib.suppress(OutOfRangeError):
        found.synchronize()
    return found


def _table(rows: int = 5) -> Any:
    return tinyml.tensor(np.arange(rows * 2, dtype=np.float32).reshape(rows, 2), device="opencl")


def _rows(table: Any, *numbers: int) -> Any:
    return tinyml.take(table, tinyml.tensor(list(numbers), device="opencl"), axis=0)


def _in_thread(work: Callable[[], Any]) -> Any:
    """Return what `work` returns in another thread, or raise what it raises."""
    said: list[Any] = []

    def run() -> None:
        try:
            said.append((work(), None))
        except Exception as error:
            said.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(WAIT)
    (result, error), = said
    if error is not None:
        raise error
    return result


def test_another_thread_reads_what_is_its_own(opencl: Any) -> None:
    table = _table()
    wrong, right = _rows(table, 1, 8), _rows(table, 4)
    assert _in_thread(right.tolist) == [[8.0, 9.0]]
    assert _in_thread(table.tolist) == table.tolist()
    _in_thread(opencl.synchronize)
    for _ in range(2):  # a wrong value is never handed out, however often it is read
        with pytest.raises(OutOfRangeError, match="index 8 is out of range for axis 0 of size 5"):
            wrong.numpy()
        with pytest.raises(OutOfRangeError, match="index 8"):
            _in_thread(wrong.tolist)
    opencl.synchronize()  # the error was raised already
    assert right.tolist() == [[8.0, 9.0]]


@pytest.mark.kernels(20)
@pytest.mark.parametrize("make", [
    lambda x: x * 2.0,
    lambda x: x.sum(axis=0),
    lambda x: x[1:, ::-1],
    lambda x: x[1:].permute_dims(1, 0).reshape(-1),
    lambda x: tinyml.cumulative_sum(x + 1.0, axis=1),
    lambda x: tinyml.jit(lambda x: (x - 1.0).sum() * x[0])(x),
    lambda x: tinyml.concat([_table(1)] * 40 + [x]),
    lambda x: tinyml.concat([x] + [_table(1)] * 40),
    lambda x: tinyml.gather(_table(), x[:, 0].astype("int64")),
    lambda x: tinyml.where(x > 0.0, x, -x),
])
def test_what_is_computed_from_it_raises(opencl: Any, make: Callable[[Any], Any]) -> None:
    table = _table()
    assert np.isfinite(make(_rows(table, 0, 1, 2)).numpy()).all()
    with pytest.raises(OutOfRangeError, match="index -6") as caught:
        make(_rows(table, 0, -6, 2)).numpy()
    assert caught.value.op == "gather" and "float32[5, 2] opencl" in str(caught.value.inputs)
    assert "return tinyml.take(table" in str(caught.value.line)  # the call, not the read
    assert np.isfinite(make(_rows(table, 0, 1, 2)).numpy()).all()


@pytest.mark.kernels(12)
def test_compiled_functions_reuse_memory_but_no_errors(opencl: Any) -> None:
    """Intermediate values of a compiled graph lie in slots, which each run writes anew."""
    table = _table(7)
    run = tinyml.jit(lambda t, i: tinyml.cumulative_sum(
        tinyml.take(t, i, axis=0), axis=0).sum(axis=1) + 1.0)
    bad, good = (tinyml.tensor([k], device="opencl") for k in (7, 6))
    results = [run(table, index) for index in (good, bad, good, bad, good)]
    for k, result in enumerate(results):
        if k % 2:
            with pytest.raises(OutOfRangeError, match="index 7 .* size 7"):
                result.tolist()
        else:
            assert result.tolist() == [26.0]


@pytest.mark.kernels(8)
def test_a_pullback_of_a_wrong_index_raises(opencl: Any) -> None:
    table = tinyml.tensor(np.ones((4, 2), np.float32), device="opencl", requires_grad=True)
    _rows(table, 0, 5).sum().backward()
    with pytest.raises(OutOfRangeError, match="index 5"):
        table.grad.numpy()
    assert table.tolist() == [[1.0, 1.0]] * 4


def test_what_nobody_reads_is_raised_by_a_wait_of_its_thread(opencl: Any) -> None:
    table = _table()

    def drop(*numbers: int) -> None:
        _rows(table, *numbers)

    drop(5)
    drop(1)
    drop(6)
    _in_thread(opencl.synchronize)
    assert table[0].tolist() == [0.0, 1.0]
    with pytest.raises(OutOfRangeError, match="index 5"):
        opencl.synchronize()
    opencl.synchronize()
    with pytest.raises(OutOfRangeError, match="index 9"):
        _in_thread(lambda: (drop(9), opencl.synchronize()))
    opencl.synchronize()


def test_a_lent_array_is_checked(opencl: Any) -> None:
    wrong = _rows(_table(), 12)
    for read in (np.asarray, np.from_dlpack, lambda x: x.to("cpu"), lambda x: x[0, 0].item()):
        with pytest.raises(IndexError):
            read(wrong)


def test_more_launches_than_slots(opencl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds fill up, are joined and forgotten; errors of each are still those of their results."""
    monkeypatch.setattr(opencl._reports, "slots", 4)
    table = _table()
    wrong = {k: _rows(table, 5 + k) for k in range(0, 23, 5)}
    chain = table
    for _ in range(11):  # depends on the launches of three rounds
        chain = _rows(chain, 0, 1, 2, 3, 4)
    late = chain + _rows(wrong[15], 0)
    right = [_rows(table, k % 5) for k in range(19)]
    for k, rows in enumerate(right):
        assert rows.tolist() == [[2.0 * (k % 5), 2.0 * (k % 5) + 1]]
    assert chain.tolist() == table.tolist()
    with pytest.raises(OutOfRangeError, match="index 20 "):
        late.tolist()
    for k, rows in wrong.items():
        with pytest.raises(OutOfRangeError, match=f"index {5 + k} "):
            rows.tolist()
    opencl.synchronize()


def test_a_thread_that_never_reads_keeps_its_first_error_only(
        opencl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl._reports, "slots", 2)
    table = _table()
    for k in range(30):
        _rows(table, k)  # 5 is the first that is too large
    assert len(opencl._reports._own.rounds) <= reports.KEPT + 1
    with pytest.raises(OutOfRangeError, match="index 5 "):
        opencl.synchronize()
    opencl.synchronize()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_read_raises_just_where_numpy_does(data: st.DataObject, opencl: Any) -> None:
    """A random program of gathers and sums in two threads; the truth is computed by NumPy."""
    runners = st.sampled_from([_in_thread, lambda work: work()])
    values: list[tuple[Any, Any]] = [(_table(), np.arange(10.0).reshape(5, 2))]
    for _ in range(data.draw(st.integers(1, 10))):
        (x, left), (y, right) = data.draw(st.tuples(*[st.sampled_from(values)] * 2))
        numbers = data.draw(st.lists(st.integers(-6, 5), min_size=5, max_size=5))
        if data.draw(st.booleans()):
            step = functools.partial(_rows, x, *numbers)
            fine = left is not None and all(-5 <= n < 5 for n in numbers)
            made = left[numbers] if fine else None
        else:
            step = functools.partial(tinyml.add, x, y)
            made = None if left is None or right is None else left + right
        values.append((data.draw(runners)(step), made))
    for x, truth in data.draw(st.permutations(values)):
        run = data.draw(runners)
        if truth is None:
            with pytest.raises(OutOfRangeError):
                run(x.numpy)
        else:
            assert np.array_equal(run(x.numpy), truth)
