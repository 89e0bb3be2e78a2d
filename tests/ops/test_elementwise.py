"""The elementwise tables: what follows from a row, and what the standards say of its values."""

from __future__ import annotations

import ast
import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
import tinyml.ops.elementwise as front
from tinyml.dtypes import INTEGERS, as_dtype, integer_range
from tinyml.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError
from tinyml.ops.elementwise.define import FUNCTIONS, conj
from tinyml.ops.elementwise.stub import stub

ROWS = {name: f for name, f in FUNCTIONS.items() if hasattr(f, "op")}
Array = Any


# ---- what follows from a row


def test_a_row_has_at_most_five_lines() -> None:
    seen = 0
    for path in sorted(Path(front.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "row":
                seen += 1
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 5, f"{path.name}, line {node.lineno}: {lines} lines"
    assert seen >= len(ROWS) > 100


def test_the_stub_is_what_the_rows_say() -> None:
    written = Path(front.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    assert written == stub(), "write it anew: python -m tinyml.ops.stub"


def test_the_stub_names_all_functions() -> None:
    tree = ast.parse(stub())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert functions == set(front.__all__) == set(FUNCTIONS)
    assert all(getattr(tinyml, name) is FUNCTIONS[name] for name in functions)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_function_follows_from_its_row(name: str) -> None:
    function: Any = ROWS[name]
    assert function.__name__ == name
    assert function.__doc__.startswith(function.op.doc)
    signature = inspect.signature(function)
    assert signature.return_annotation == "Tensor"
    for parameter in signature.parameters.values():
        alone = parameter.default is inspect.Parameter.empty
        assert (parameter.kind is inspect.Parameter.POSITIONAL_ONLY) == alone
        assert parameter.annotation == "Operand"


@pytest.mark.parametrize(("name", "names"), [
    ("acos", "x"), ("atan2", "x1 x2"), ("bitwise_invert", "x"), ("logaddexp", "x1 x2"),
    ("pow", "x1 x2"), ("clip", "x min max"), ("where", "condition x1 x2"), ("round", "x decimals"),
    ("real", "x"), ("leaky_relu", "x negative_slope"),
])
def test_operands_have_the_standards_names(name: str, names: str) -> None:
    assert list(inspect.signature(FUNCTIONS[name]).parameters) == names.split()


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
    assert conj(x) is x and tinyml.conj(x) is x
    assert conj(2.0) == 2.0 and conj(1j) == -1j


@pytest.mark.parametrize("name", ["elu", "softplus", "logsigmoid", "silu", "mish", "sinc",
                                  "logaddexp", "hypot", "softsign", "celu"])
def test_gradients_are_numbers_far_out(name: str) -> None:
    function: Any = ROWS[name]
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
