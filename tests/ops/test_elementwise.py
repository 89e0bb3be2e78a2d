"""Elementwise ops: what follows from a decorated function, and what the standards say of values."""

from __future__ import annotations

import ast
import inspect
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
from tinyml.core.make import Tensor
from tinyml.dtypes import INTEGERS, as_dtype, integer_range
from tinyml.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError
from tinyml.ir.op import OPS
from tinyml.ops.elementwise import (
    activation,
    arithmetic,
    comparison,
    conversion,
    transcendental,
)
from tinyml.ops.elementwise.define import Operand, elementwise
from tinyml.ops.special import bessel, error, gamma

pytestmark = pytest.mark.kernels(1)

ROOMS = (activation, arithmetic, comparison, conversion, transcendental)
SPECIAL = (bessel, error, gamma)
FUNCTIONS = {name: getattr(room, name) for room in ROOMS for name in room.__all__}
DEFINED = {name: f for name, f in FUNCTIONS.items() if hasattr(f, "op")}
Array = Any


# ---- what follows from a decorated function


def _decorated(room: ModuleType) -> list[ast.FunctionDef]:
    """The functions of a module under the decorator, as they are written."""
    tree = ast.parse(Path(str(room.__file__)).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
            and any("elementwise(" in ast.unparse(d) for d in node.decorator_list)]


@pytest.mark.parametrize("room", (*ROOMS, *SPECIAL), ids=lambda room: room.__name__)
def test_an_op_has_at_most_six_lines(room: ModuleType) -> None:
    """But for further lines of its docstring."""
    found = _decorated(room)
    assert len(found) > 3
    for node in found:
        text = node.body[0]
        more = (text.end_lineno or 0) - text.lineno
        lines = (node.end_lineno or 0) - node.decorator_list[0].lineno + 1 - more
        assert lines <= 6, f"{room.__name__}.{node.name}: {lines} lines"


@pytest.mark.parametrize("room", (*ROOMS, *SPECIAL), ids=lambda room: room.__name__)
def test_a_room_gives_away_what_it_defines(room: ModuleType) -> None:
    own = {name for name, value in vars(room).items() if inspect.isfunction(value)
           and value.__module__ == room.__name__ and not name.startswith("_")}
    helpers = {"infer", "as_tensors", "as_operand", "in_wide", "horner", "ratio", "turn_of",
               "exp_of_square", "astype", "stirling_rest"}
    assert own - helpers == set(room.__all__)


def test_the_functions_are_the_public_ones() -> None:
    assert len(DEFINED) > 100
    assert all(getattr(tinyml, name) is function for name, function in FUNCTIONS.items())


@pytest.mark.parametrize("name", sorted(DEFINED))
def test_a_record_follows_from_its_function(name: str) -> None:
    function: Any = DEFINED[name]
    assert OPS[function.op.name] is function.op
    text = " ".join(function.__doc__.split()).removeprefix("Return ")
    assert text.lower().startswith(function.op.doc.lower()) and function.op.doc.endswith(".")
    assert function.op.samples is not None and function.op.errors is not None
    primitive = inspect.getsource(function).endswith("    ...\n")
    assert (function.op.nest is not None) == primitive == (function.op.body is None)


@pytest.mark.parametrize("name", sorted(DEFINED))
def test_a_function_is_where_editors_look_for_it(name: str) -> None:
    function: Any = DEFINED[name]
    assert function.__name__ == function.__qualname__ == name
    assert function.__module__.startswith("tinyml.ops.elementwise.")
    assert f"def {name}(" in inspect.getsource(function)
    signature = inspect.signature(function)
    assert signature.return_annotation == "Tensor"
    assert {p.annotation for p in signature.parameters.values()} == {"Operand"}


@pytest.mark.parametrize(("name", "names"), [
    ("acos", "x"), ("atan2", "x1 x2"), ("bitwise_invert", "x"), ("logaddexp", "x1 x2"),
    ("pow", "x1 x2"), ("clip", "x min max"), ("where", "condition x1 x2"), ("round", "x decimals"),
    ("real", "x"), ("leaky_relu", "x negative_slope"),
])
def test_operands_have_the_standards_names(name: str, names: str) -> None:
    assert list(inspect.signature(FUNCTIONS[name]).parameters) == names.split()


def test_any_other_body_is_by_other_ops() -> None:
    """The decorator on a function that is none of the house's."""
    @elementwise("float", op="tests_twice", ulp=1)
    def twice(x: Operand, /, times: Operand = 2.0) -> Tensor:
        """Return x times two.

        It has an example that is no part of the record.
        """
        return x * times

    op = OPS.pop("tests_twice")
    assert op.doc == "x times two." and op.body is not None and op.nest is None
    assert twice(tinyml.tensor([1, 2])).tolist() == [2.0, 4.0]
    assert twice(tinyml.tensor([1.0]), times=3).tolist() == [3.0]
    assert twice.__doc__ is not None and "integers and bools become float32" in twice.__doc__


def test_operands_go_by_position() -> None:
    with pytest.raises(TypeError):
        tinyml.tanh(x=tinyml.tensor(1.0))  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        tinyml.add(x1=1.0, x2=2.0)  # type: ignore[call-arg]
    with pytest.raises(ArgumentTypeError, match="leaky_relu"):
        tinyml.leaky_relu(tinyml.tensor(1.0), slope=2.0)  # type: ignore[call-arg]


def test_numbers_with_a_default_go_by_name() -> None:
    x = tinyml.tensor([-2.0, 3.0])
    assert tinyml.leaky_relu(x).tolist() == pytest.approx([-0.02, 3.0])
    assert tinyml.leaky_relu(x, negative_slope=0.5).tolist() == [-1.0, 3.0]
    assert tinyml.leaky_relu(x, tinyml.tensor([0.25, 9.0])).tolist() == [-0.5, 3.0]
    assert tinyml.leaky_relu(tinyml.tensor([-4, 4]), 0.5).tolist() == [-2.0, 4.0]


# ---- types


def test_numbers_are_weak(device: str) -> None:
    for dtype in ("int8", "uint16", "float16", "float32"):
        x = tinyml.ones((3,), dtype=dtype, device=device)
        assert (x + 2).dtype.name == tinyml.maximum(x, 2).dtype.name == dtype
        assert tinyml.remainder(x, 2).dtype.name == tinyml.pow(x, 2).dtype.name == dtype
    x = tinyml.ones((3,), dtype="int8", device=device)
    assert (x + 1.5).dtype.name == tinyml.copysign(x, -1.0).dtype.name == "float32"
    assert (x * True).dtype.name == "int8"


def test_numbers_alone_have_the_default_types() -> None:
    assert tinyml.add(1, 2).dtype.name == "int64" and tinyml.add(1, 2).item() == 3
    assert tinyml.sin(1).dtype.name == "float32"
    assert tinyml.hypot(3.0, 4.0).item() == 5.0
    assert tinyml.logical_xor(True, False).item() is True
    assert tinyml.exp(1j).dtype.name == "complex64"


@pytest.mark.kernels(4)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_an_int_beyond_the_type_is_refused(dtype: str, device: str) -> None:
    low, high = integer_range(as_dtype(dtype))
    x = tinyml.zeros((2,), dtype=dtype, device=device)
    for function in (tinyml.add, tinyml.maximum, tinyml.floor_divide, tinyml.bitwise_or):
        for number in (low - 1, high + 1, 1 << 80):
            with pytest.raises(ArgumentError):
                function(x, number)
    assert tinyml.add(x, low).tolist() == [low, low]
    if high < 1 << 63:
        assert tinyml.add(x, high).tolist() == [high, high]


def test_types_without_meaning_are_refused() -> None:
    with pytest.raises(DTypeError):
        tinyml.add(tinyml.tensor([True]), tinyml.tensor([True]))
    with pytest.raises(DTypeError):
        tinyml.bitwise_invert(tinyml.tensor([1.0]))
    with pytest.raises(DTypeError):
        tinyml.atan2(tinyml.tensor([1j]), 1.0)
    with pytest.raises(DTypeError):
        tinyml.nextafter(tinyml.ones((1,), dtype="float16"), 1.0)
    with pytest.raises(ShapeError):
        tinyml.hypot(tinyml.ones((2, 3)), tinyml.ones((4,)))


# ---- whole numbers


def _wrap(value: int, dtype: str) -> int:
    low, high = integer_range(as_dtype(dtype))
    return (value - low) % (high - low + 1) + low


@st.composite
def _pairs(draw: Any) -> tuple[str, list[int], list[int]]:
    dtype = draw(st.sampled_from(INTEGERS))
    low, high = integer_range(as_dtype(dtype))
    near = st.sampled_from([n for n in (low, low + 1, -1, 0, 1, 2, high - 1, high) if n >= low])
    number = st.one_of(near, st.integers(low, high), st.integers(max(low, -9), 9))
    pairs = draw(st.lists(st.tuples(number, number), min_size=8, max_size=8))
    return dtype, [x for x, _ in pairs], [y for _, y in pairs]


@given(_pairs())
@settings(max_examples=60, deadline=None)
def test_whole_numbers_divide_as_pythons_do(case: tuple[str, list[int], list[int]]) -> None:
    dtype, xs, ys = case
    x, y = tinyml.tensor(np.array(xs, dtype)), tinyml.tensor(np.array(ys, dtype))
    quotients = [_wrap(a // b, dtype) if b else 0 for a, b in zip(xs, ys)]
    assert tinyml.floor_divide(x, y).tolist() == quotients
    assert tinyml.remainder(x, y).tolist() == [a % b if b else 0 for a, b in zip(xs, ys)]
    rests = [int(math.copysign(abs(a) % abs(b), a)) if b and abs(a) < 1 << 53 and abs(b) < 1 << 53
             else None for a, b in zip(xs, ys)]
    got = tinyml.fmod(x, y).tolist()
    assert all(g == r for g, r in zip(got, rests) if r is not None)
    assert tinyml.gcd(x, y).tolist() == [_wrap(math.gcd(a, b), dtype) for a, b in zip(xs, ys)]


@given(_pairs())
@settings(max_examples=60, deadline=None)
def test_whole_powers_wrap_around(case: tuple[str, list[int], list[int]]) -> None:
    dtype, xs, ys = case

    def power(a: int, b: int) -> int:
        if b >= 0:
            return _wrap(pow(a, b, 1 << 64), dtype)
        return {1: 1, -1: -1 if b % 2 else 1}.get(a, 0)

    x, y = tinyml.tensor(np.array(xs, dtype)), tinyml.tensor(np.array(ys, dtype))
    result = tinyml.pow(x, y)
    assert result.dtype.name == dtype
    assert result.tolist() == [power(a, b) for a, b in zip(xs, ys)]


def test_whole_numbers_are_round_already(device: str) -> None:
    x = tinyml.tensor([-(1 << 62) - 1, 3], device=device)
    for function in (tinyml.floor, tinyml.ceil, tinyml.trunc, tinyml.round):
        assert function(x).tolist() == [-(1 << 62) - 1, 3]


# ---- floats


HARD = np.array([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0,
                 -1.0, 0.5, -0.5, 2.5, -3.0], np.float32)
EXACT = ("floor_divide", "remainder", "fmod", "copysign", "nextafter", "fmax", "fmin", "maximum",
         "heaviside")


@pytest.mark.parametrize("name", EXACT)
def test_devices_decide_alike(name: str, device: str) -> None:
    x, y = (a.ravel() for a in np.meshgrid(HARD, HARD))
    results = [getattr(tinyml, name)(tinyml.tensor(x, device=d), tinyml.tensor(y, device=d))
               for d in ("cpu", device)]
    first, second = (r.numpy() for r in results)
    alike = (first.view(np.int32) == second.view(np.int32)) | (np.isnan(first) & np.isnan(second))
    assert alike.all(), (x[~alike], y[~alike], first[~alike], second[~alike])


@given(st.lists(st.floats(width=32), min_size=6, max_size=6),
       st.lists(st.floats(width=32), min_size=6, max_size=6))
@settings(max_examples=60, deadline=None)
def test_floats_divide_as_pythons_do(xs: list[float], ys: list[float]) -> None:
    x, y = (tinyml.tensor(np.array(v, np.float64)) for v in (xs, ys))
    for a, b, quotient, rest in zip(xs, ys, tinyml.floor_divide(x, y).tolist(),
                                    tinyml.remainder(x, y).tolist(), strict=True):
        # Beyond 2^50 a quotient may be a unit off, as its record says.
        if math.isfinite(a) and math.isfinite(b) and b and abs(a / b) < 2.0**50:
            assert quotient == a // b and math.copysign(1, quotient) == math.copysign(1, a // b)
            assert rest == a % b and math.copysign(1, rest) == math.copysign(1, a % b)


def test_halves_go_to_even(device: str) -> None:
    x = tinyml.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 8388607.5], device=device)
    assert tinyml.round(x).tolist() == [0.0, 2.0, 2.0, -0.0, -2.0, 8388608.0]
    y = tinyml.tensor([1.2345, -6.7896], dtype="float64", device=device)
    assert tinyml.round(y, decimals=2).tolist() == [1.23, -6.79]
    assert tinyml.round(y * 100, decimals=-2).tolist() == [100.0, -700.0]


def test_clip_takes_what_is_there() -> None:
    x = tinyml.tensor([-1.0, 0.5, math.nan, 9.0])
    assert tinyml.clip(x, max=1.0).tolist()[::3] == [-1.0, 1.0]
    assert tinyml.clip(x, 0.0).tolist()[::3] == [0.0, 9.0]
    assert np.isnan(tinyml.clip(x, 0.0, 1.0).tolist()[2])
    assert tinyml.clip(x).tolist()[:2] == [-1.0, 0.5] and tinyml.clip(x) is not x
    assert tinyml.clip(tinyml.tensor([1, 7], dtype="int8"), 2, 5).dtype is tinyml.int8


def test_a_number_is_its_parts() -> None:
    x = tinyml.tensor([12.0, -0.3, 0.0, math.inf, 1e-42])
    m, e = tinyml.frexp(x)
    wanted = np.frexp(np.array([12.0, -0.3, 0.0, math.inf, 1e-42], np.float32))
    assert m.tolist() == wanted[0].tolist() and e.tolist() == wanted[1].tolist()
    assert tinyml.ldexp(m, e).tolist() == x.tolist()


# ---- gradients


def test_a_real_conjugate_is_the_tensor_itself() -> None:
    x = tinyml.tensor([1.0], requires_grad=True)
    assert tinyml.conj(x) is x


def test_the_slope_beside_a_complex_number_has_its_conjugate() -> None:
    z = tinyml.tensor([1j], requires_grad=True)
    (z * (2 + 3j)).backward(tinyml.tensor([1 + 0j]))
    (z / 2j).backward(tinyml.tensor([1 + 0j]))
    assert z.grad is not None and z.grad.tolist() == [2 - 3j + 0.5j]


@pytest.mark.kernels(7)
@pytest.mark.parametrize("name", ["elu", "softplus", "logsigmoid", "silu", "mish", "sinc",
                                  "logaddexp", "hypot", "softsign", "celu"])
def test_gradients_are_numbers_far_out(name: str) -> None:
    function: Any = FUNCTIONS[name]
    far = [-80.0, -1e-3, 1e-3, 80.0]
    x = tinyml.tensor(far, requires_grad=True)
    y = function(x, 1.0) if name in ("logaddexp", "hypot") else function(x)
    y.sum().backward()
    assert x.grad is not None and np.isfinite(x.grad.numpy()).all()


def test_the_slope_of_a_power_at_zero() -> None:
    for exponent, slope in ((0.0, 0.0), (1.0, 1.0), (2.0, 0.0)):
        base = tinyml.tensor(0.0, requires_grad=True)
        (base ** exponent).backward()
        (base ** tinyml.tensor(exponent)).backward()
        assert base.grad is not None and base.grad.item() == 2 * slope
