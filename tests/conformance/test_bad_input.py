"""Wrong calls of every op are refused by name, alike on every device, in words that are held."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
from tinyml.conformance.suite import bad_input
from tinyml.conformance.suite.run import all_ops
from tinyml.ir.op import Op
from tinyml.ops.samples.values import Sample

OPS = all_ops()
FOLDER = Path(__file__).with_name("bad_input")
FAMILIES = bad_input.families()
REPEAT = "write them anew: python docs/tools/regenerate.py bad_input"


@pytest.mark.kernels(1)
@pytest.mark.parametrize("name", sorted(OPS))
def test_a_wrong_call_is_refused_by_name(name: str, device: str) -> None:
    op = OPS[name]
    for call in bad_input.calls(op):
        told = bad_input.answer(op, call, device)
        assert bad_input.complaint(op, call, told) is None, call.wrong
        if device != "cpu" and told.error is not None and "has no" not in told.text:
            assert told[:3] == bad_input.answer(op, call, "cpu")[:3], call.wrong


@pytest.mark.parametrize("room", sorted(FAMILIES))
def test_the_words_are_held(room: str) -> None:
    held = FOLDER / f"{room}.txt"
    assert held.exists(), REPEAT
    assert held.read_text(encoding="utf-8") == bad_input.written(FAMILIES[room]), REPEAT


def test_no_words_are_left_without_a_family() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(FAMILIES), REPEAT


_numbers = st.one_of(st.integers(-3, 3), st.integers(-(2**65), 2**65),
                     st.sampled_from(bad_input.ENDS), st.floats(), st.booleans())
_plain = st.one_of(_numbers, st.none(), st.text(string.ascii_letters, max_size=3))
_values = st.one_of(_plain, st.lists(_plain, max_size=4), st.lists(_plain, max_size=4).map(tuple))
_shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
_dtypes = st.sampled_from(("float32", "int64", "bool", "uint8", "float64"))


@settings(max_examples=300)
@given(st.data())
def test_whatever_is_given_is_answered(data: st.DataObject) -> None:
    op = OPS[data.draw(st.sampled_from(sorted(OPS)))]
    args, attrs = bad_input.base(op)
    operands = tuple(
        np.zeros(data.draw(_shapes), data.draw(_dtypes)) if data.draw(st.booleans()) else x
        for x in args)
    given_attrs = {name: data.draw(_values) if data.draw(st.booleans()) else v
                   for name, v in attrs.items()}
    call = bad_input.Call("fuzz", operands, given_attrs)
    told = bad_input.answer(op, call, "cpu")
    assert bad_input.complaint(op, call, told) is None, (op, call, told)


@pytest.mark.parametrize("said", [RuntimeError("it fell over"), tinyml.TinyMLError("no remedy")])
def test_an_op_that_answers_badly_is_found(said: Exception) -> None:
    def infer(x: Any, *, axis: int) -> Any:
        if axis:
            raise said
        return x

    op = Op("clumsy", infer, samples=lambda dtype: [Sample((np.ones(3, dtype),), {"axis": 0}, "a")])
    found = [bad_input.complaint(op, call, bad_input.answer(op, call, "cpu"))
             for call in bad_input.calls(op)]
    assert any(found)
