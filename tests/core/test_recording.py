"""no_grad: it holds for what its block runs, not for other tasks, threads or suspended blocks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml

pytestmark = pytest.mark.kernels(1)

LEAF = tinyml.ones((1,), requires_grad=True)


def records() -> bool:
    """Whether operations are recorded now."""
    return (LEAF * 2.0).requires_grad


def rows(count: int) -> Iterator[int]:
    """Yield inside of no_grad."""
    with tinyml.no_grad():
        for k in range(count):
            assert not records()
            yield k
            assert not records()


def test_a_suspended_generator_leaves_recording_on() -> None:
    for _ in rows(2):
        assert records()
    abandoned = rows(3)
    next(abandoned)
    assert records()
    abandoned.close()
    assert records()


@given(st.lists(st.integers(0, 3), max_size=12))
def test_generators_in_any_order(order: list[int]) -> None:
    open_rows = [rows(2) for _ in range(4)]
    for k in order:
        next(open_rows[k], None)
        assert records()
        with tinyml.no_grad():
            assert not records()
            next(open_rows[-1 - k], None)
            assert not records()
        assert records()
    del open_rows
    assert records()


def test_a_generator_inside_of_no_grad_does_not_record() -> None:
    def outer() -> Iterator[bool]:
        yield records()
        with tinyml.no_grad():
            yield from (records() for _ in range(2))
        yield records()

    with tinyml.no_grad():
        assert list(outer()) == [False] * 4
    assert list(outer()) == [True, False, False, True]


def test_context_managers_of_the_user_hold_for_their_block() -> None:
    @contextlib.contextmanager
    def evaluating() -> Iterator[None]:
        with tinyml.no_grad():
            yield

    with evaluating():
        assert not records()
        with contextlib.ExitStack() as stack:
            stack.enter_context(evaluating())
            assert not records()
    assert records()
    with contextlib.ExitStack() as stack:
        stack.enter_context(tinyml.no_grad())
        assert not records()
    assert records()

    def suspended() -> Iterator[None]:
        with evaluating():
            assert not records()
            yield
            assert not records()

    for _ in suspended():
        assert records()


def test_interleaved_tasks_do_not_see_each_other() -> None:
    seen: dict[str, list[bool]] = {"off": [], "on": [], "taped": []}

    async def off() -> None:
        for _ in range(3):
            with tinyml.no_grad():
                await asyncio.sleep(0)
                seen["off"].append(records())
                await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def on() -> None:
        for _ in range(9):
            seen["on"].append(records())
            await asyncio.sleep(0)

    async def taped() -> None:
        with tinyml.no_grad():
            for _ in range(3):
                x = tinyml.tensor([3.0])
                with tinyml.GradientTape() as tape:
                    tape.watch(x)
                    await asyncio.sleep(0)
                    y = x * x
                    await asyncio.sleep(0)
                slope = tape.gradient(y, x)
                seen["taped"].append(slope.tolist() == [6.0] and not slope.requires_grad)

    async def main() -> None:
        await asyncio.gather(off(), on(), off(), taped())

    asyncio.run(main())
    assert seen == {"off": [False] * 6, "on": [True] * 9, "taped": [True] * 3}
    assert records()


def test_tasks_made_inside_inherit_it() -> None:
    async def child() -> bool:
        await asyncio.sleep(0)
        return records()

    async def main() -> list[bool]:
        with tinyml.no_grad():
            return await asyncio.gather(child(), child())

    assert asyncio.run(main()) == [False, False]


def test_threads_start_recording() -> None:
    found: list[Any] = []
    with tinyml.no_grad():
        thread = threading.Thread(target=lambda: found.append(records()))
        thread.start()
        thread.join()
    assert found == [True]


def test_blocks_nest_and_end_with_an_exception() -> None:
    with pytest.raises(KeyError), tinyml.no_grad():
        with tinyml.no_grad():
            assert not records()
        assert not records()
        raise KeyError
    assert records()

    @tinyml.no_grad()
    def decorated() -> bool:
        return records()

    assert decorated() is False and decorated() is False and records()
