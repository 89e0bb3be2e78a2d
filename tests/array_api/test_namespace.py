"""tinyml is a namespace of the Array API 2024.12: its names, their parameters, what it tells."""

from __future__ import annotations

import inspect
import math
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml.errors import ArgumentError, DTypeError, GradientError, ShapeError

TABLE = Path(__file__).with_name("signatures.txt").read_text().splitlines()
LINES = [line for line in TABLE if not line.startswith("#")]
FUNCTIONS = [line for line in LINES if not line.startswith("array.")]
METHODS = [line.removeprefix("array.") for line in LINES if line.startswith("array.")]
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
BITS = ("and", "or", "xor", "lshift", "rshift")


def signature(line: str) -> inspect.Signature:
    """The signature that a line of the table writes down."""
    made: dict[str, Any] = {}
    exec(f"def f{line[line.index('('):]}: ...", made)
    return inspect.signature(made["f"])


def complaints(function: Any, wanted: inspect.Signature) -> list[str]:
    """Calls that the standard allows and a function would not take."""
    own = list(inspect.signature(function).parameters.values())
    by_name = {p.name: p for p in own}
    found = []
    for place, p in enumerate(wanted.parameters.values()):
        if p.kind is p.KEYWORD_ONLY:
            if p.name not in by_name or by_name[p.name].kind is p.POSITIONAL_ONLY:
                found.append(f"no keyword {p.name}")
            elif by_name[p.name].default is p.empty:
                found.append(f"{p.name} has no default")
            continue
        if place >= len(own):
            found.append(f"no parameter {p.name}")
        elif p.kind is p.VAR_POSITIONAL and own[place].kind is not p.kind:
            found.append(f"no *{p.name}")
        elif p.kind is p.POSITIONAL_OR_KEYWORD and (own[place].name, own[place].kind) != (
                p.name, p.kind):
            found.append(f"{p.name} is {own[place]}")
        elif p.default is not p.empty and own[place].default is p.empty:
            found.append(f"{p.name} has no default")
    return found


@pytest.mark.parametrize("line", FUNCTIONS, ids=lambda line: line.partition("(")[0])
def test_a_function_of_the_standard(line: str) -> None:
    function = operator.attrgetter(line.partition("(")[0])(tinyml)
    assert complaints(function, signature(line)) == []


@pytest.mark.parametrize("line", METHODS, ids=lambda line: line.partition("(")[0])
def test_a_method_or_attribute_of_the_standard(line: str) -> None:
    name, _, parameters = line.partition("(")
    attribute = getattr(tinyml.Tensor, name)
    assert isinstance(attribute, property) if not parameters else not complaints(
        attribute, signature(line))


def test_the_table_speaks_of_the_whole_standard_and_a_planted_fault_is_seen() -> None:
    assert (len(FUNCTIONS), len(METHODS)) == (171, 41)
    assert complaints(lambda x, axes: x, signature("f(x, /, axis, *, keepdims=False)")) == [
        "axis is axes", "no keyword keepdims"]


@pytest.mark.parametrize("name", [*ARITHMETIC, *BITS, "matmul"])
def test_an_operator_has_its_reflected_and_its_in_place_form(name: str) -> None:
    assert hasattr(tinyml.Tensor, f"__r{name}__") and hasattr(tinyml.Tensor, f"__i{name}__")


def test_names_of_the_front_door_are_there_and_named_once() -> None:
    names = tinyml.__all__
    assert sorted(set(names)) == sorted(names)
    assert [name for name in names if not hasattr(tinyml, name)] == []
    lazy = [name for name, module in tinyml._LAZY.items() if module != "tinyml"]
    assert lazy and set(lazy) <= set(names)


def test_constants() -> None:
    assert (tinyml.e, tinyml.pi, tinyml.inf) == (math.e, math.pi, math.inf)
    assert math.isnan(tinyml.nan) and tinyml.newaxis is None
    assert tinyml.__array_api_version__ == "2024.12"


# ---- what the namespace tells of itself


def test_inspection(device: str) -> None:
    info = tinyml.__array_namespace_info__()
    assert info.capabilities() == {
        "boolean indexing": True, "data-dependent shapes": True, "max dimensions": None}
    assert info.default_device() in info.devices() and len(set(info.devices())) == len(
        info.devices())
    defaults = info.default_dtypes(device=device)
    assert defaults["real floating"] is tinyml.float32 and defaults["integral"] is tinyml.int64
    assert tinyml.asarray(1.0).dtype is defaults["real floating"]
    assert tinyml.asarray(1).dtype is defaults["integral"]
    assert tinyml.argmax(tinyml.zeros(2)).dtype is defaults["indexing"]
    for kind in (None, "bool", ("bool", "integral")):
        for name, dtype in info.dtypes(device=device, kind=kind).items():
            assert tinyml.zeros(1, dtype=dtype, device=device).dtype.name == name
    assert set(info.dtypes(kind="unsigned integer")) == {"uint8", "uint16", "uint32", "uint64"}


def test_a_tensor_names_its_namespace() -> None:
    x = tinyml.zeros(2)
    assert x.__array_namespace__() is tinyml is x.__array_namespace__(api_version="2024.12")
    with pytest.raises(ArgumentError, match="2024.12"):
        x.__array_namespace__(api_version="1999.12")


# ---- conversions and devices


def test_conversions_of_one_element(device: str) -> None:
    def x(value: Any) -> tinyml.Tensor:
        return tinyml.asarray(value, device=device)

    assert (bool(x(True)), bool(x(0.0)), bool(x(math.nan))) == (True, False, True)
    assert (int(x(3)), int(x(-2.7)), float(x(1.5)), complex(x(1.5))) == (3, -2, 1.5, 1.5 + 0j)
    assert operator.index(x(3)) == 3 and list(range(x(2))) == [0, 1]
    for refused in (lambda: operator.index(x(1.0)), lambda: operator.index(x(True))):
        with pytest.raises(TypeError):
            refused()
    for convert in (bool, int, float, complex):
        with pytest.raises(ValueError):
            convert(x([1, 2]))


def test_to_device(device: str) -> None:
    x = tinyml.asarray([1.0, 2.0])
    moved = x.to_device(tinyml.zeros(1, device=device).device)
    assert str(moved.device) == device and moved.tolist() == [1.0, 2.0]
    with pytest.raises(ArgumentError, match="stream"):
        x.to_device("cpu", stream=1)


# ---- in place


def test_an_operator_in_place_replaces_the_content_of_this_object(device: str) -> None:
    x = tinyml.asarray([1, 2, 3], device=device)
    same, view, expected = x, x[:2], np.array([1, 2, 3])
    for operate in (operator.iadd, operator.imul, operator.isub, operator.ior, operator.ilshift):
        x, expected = operate(x, 2), operate(expected, 2)
        assert x is same and x.tolist() == expected.tolist() and x.dtype is tinyml.int64
    assert view.tolist() == [1, 2]


def test_an_operator_in_place_keeps_type_and_shape() -> None:
    x = tinyml.asarray([1, 2], dtype="int8")
    for other in (tinyml.asarray([1], dtype="int16"), 1.5):
        with pytest.raises(DTypeError, match="a result of int8"):
            x += other
    with pytest.raises(ShapeError):
        x += tinyml.ones((2, 2), dtype="int8")
    x += tinyml.asarray(1, dtype="int8")
    assert x.tolist() == [2, 3] and x.dtype is tinyml.int8


def test_an_operator_in_place_is_differentiable_but_not_on_a_leaf() -> None:
    leaf = tinyml.asarray([3.0])
    leaf = tinyml.tensor(leaf, requires_grad=True)
    y = leaf * 1.0
    y *= leaf
    y.sum().backward()
    assert leaf.grad is not None and leaf.grad.tolist() == [6.0]
    with pytest.raises(GradientError, match="leaf"):
        leaf += 1.0


def test_a_product_takes_arrays_on_either_side_and_no_numbers() -> None:
    x, array = tinyml.asarray([[1.0, 2.0], [3.0, 4.0]]), np.ones(2, np.float32)
    assert (x @ array).tolist() == [3.0, 7.0] and (x @ x).tolist() == [[7.0, 10.0], [15.0, 22.0]]
    assert x.__rmatmul__(array).tolist() == [4.0, 6.0]
    x @= tinyml.eye(2)
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(TypeError):
        x @ 2.0
