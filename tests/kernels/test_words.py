"""The words of the CPU: how exact they are everywhere, and that they are the same everywhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import tinyml
from tinyml.conformance.reference import wide
from tinyml.conformance.suite.bounds import units
from tinyml.conformance.suite.ulp import REFERENCE_SLACK, distance
from tinyml.core.apply import apply
from tinyml.ir.op import OPS, Op
from tinyml.kernels.common.cache import key
from tinyml.kernels.cpu import objectcode
from tinyml.ops.arguments import with_shape

pytestmark = pytest.mark.kernels(1)

Array = npt.NDArray[Any]

WORDS = ("exp", "log", "tanh", "sin", "cos", "erf", "erfc", "sqrt")
STRIDE = 40009  # a prime: every so many of the 2^32 patterns of a float32
NEAR = 300  # how many neighbours of an edge are tried on each side

# Where formulas change over, results overflow or vanish, and arguments are hardest to reduce.
EDGES = (
    0.0, 2.0**-149, 2.0**-126, 0.3465736, 0.5, 0.70710678, 1.0, 1.41421356, math.pi / 2, 2.0, 3.0,
    math.pi, 3.92, 4.0, 9.01, 10.0, 10.0545, 10.5, 20.0, 87.33655, 88.72283, 89.0, 103.97208, 104.0,
    2.0**23, 2.0**51, 2.0**78, 2.0**105, 16367173 * 2.0**72, 3.4e38, math.inf,
)


def _neighbours(values: Array, integer: Any) -> Array:
    both = np.concatenate([values, -values]).view(integer)
    return (both[:, None] + np.arange(-NEAR, NEAR + 1, dtype=integer)).ravel().view(values.dtype)


@pytest.fixture(scope="module")
def float32s() -> Array:
    patterns = np.arange(0, 1 << 32, STRIDE, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate([patterns, _neighbours(np.array(EDGES, np.float32), np.int32)])


@pytest.fixture(scope="module")
def float64s() -> Array:
    random = np.random.default_rng(0)
    patterns = random.integers(0, 1 << 64, 50_000, dtype=np.uint64).view(np.float64)
    sizes = 10.0 ** random.uniform(-20, 3, 50_000) * random.choice([-1.0, 1.0], 50_000)
    near_one = 1 + random.uniform(-0.5, 0.5, 50_000) ** 5
    edges = np.array((*EDGES, 708.3964, 709.782713, 745.13322, 2.0**-1074, 2.0**-1022))
    return np.concatenate([patterns, sizes, near_one, _neighbours(edges, np.int64)])


def _assert_within(name: str, computed: Array, exact: Array, args: tuple[Array, ...]) -> None:
    with np.errstate(invalid="ignore"):
        far = distance(computed, exact)
    worst = int(np.argmax(far))
    bound = units(OPS[name], computed.dtype.name) + REFERENCE_SLACK
    assert far[worst] <= bound, (name, [a[worst] for a in args], computed[worst], exact[worst])


# Those of the C library: as exact, but not vectors.
CALLED = ("acos", "asin", "atan", "sinh", "cosh", "tan", "asinh", "acosh", "atanh", "log1p",
          "expm1", "log2", "log10", "exp2")


@pytest.mark.parametrize("name", [*WORDS, *CALLED])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_within_the_bound_everywhere(name: str, dtype: str, request: Any) -> None:
    values: Array = request.getfixturevalue(dtype + "s")
    if name in ("erf", "erfc"):
        values = values[::8]  # their reference is slow
    with np.errstate(invalid="ignore"):  # signalling NaNs among the patterns
        exact = wide(name, values.astype(np.longdouble))[0]
    computed = getattr(tinyml, name)(tinyml.tensor(values)).numpy()
    _assert_within(name, computed, exact, (values,))


SPECIAL = np.array(
    [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.0000001, 0.99999994, 1.5, 2.0, -2.0, 3.0, -3.0, -4.0, -5.0,
     8388607.5, -8388607.5, 16777215.0, -16777215.0, 16777216.0, 1e-45, -1e-45, 1e38, -1e38,
     math.inf, -math.inf, math.nan], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_powers_of_all_kinds(dtype: str) -> None:
    random = np.random.default_rng(0)
    base, power = (a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL))
    patterns = random.integers(0, 1 << 32, (2, 100_000), dtype=np.uint64).astype(np.uint32)
    first, second = patterns.view(np.float32)
    near_one = 1 + random.uniform(-1, 1, 100_000) * 10 ** random.uniform(-7, 0, 100_000)
    large = random.choice([-1, 1], 100_000) * 10 ** random.uniform(0, 9, 100_000)
    fractions = random.uniform(-4, 4, 100_000)
    with np.errstate(all="ignore"):
        bases = np.concatenate([base, first, np.abs(first), near_one]).astype(dtype)
        powers = np.concatenate([power, second, fractions, large]).astype(dtype)
        exact = np.power(bases.astype(np.longdouble), powers.astype(np.longdouble))
    computed = tinyml.pow(tinyml.tensor(bases), tinyml.tensor(powers)).numpy()
    _assert_within("pow", computed, exact, (bases, powers))


@pytest.mark.parametrize("name", [*WORDS, "pow"])
def test_an_element_has_its_bits_wherever_it_stands(name: str) -> None:
    values = np.random.default_rng(0).uniform(0.01, 30, 700).astype(np.float32)

    def bits(x: Any) -> Array:
        y = tinyml.pow(x, 1.7) if name == "pow" else getattr(tinyml, name)(x)
        computed: Array = y.numpy().view(np.int32)
        return computed

    x = tinyml.tensor(values)
    whole = bits(x)
    for size in (1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 65, 129):
        for start in (0, 1, 500):
            part = slice(start, start + size)
            assert np.array_equal(bits(x[part]), whole[part]), (size, start)
    assert np.array_equal(bits(x[::3]), whole[::3])
    assert np.array_equal(bits(x[::-1]), whole[::-1])
    assert np.array_equal(bits(x.reshape(70, 10).T), whole.reshape(70, 10).T)


# ---- how they are compiled


def _kernel(monkeypatch: Any, run: Callable[[], Any]) -> list[tuple[str, tuple[str, ...]]]:
    """The sources and types of the kernels that `run` loads."""
    seen: list[tuple[str, tuple[str, ...]]] = []
    load = objectcode.load

    def watched(source: str, types: tuple[str, ...]) -> int:
        seen.append((source, types))
        return load(source, types)

    monkeypatch.setattr("tinyml.kernels.cpu.device.load", watched)
    run()
    return seen


def _machine_independent(source: str, types: tuple[str, ...]) -> str:
    """What LLVM makes of a kernel."""
    import numba

    from tinyml.kernels.cpu import intrinsics, math_f32

    space = {**intrinsics.NAMES, **math_f32.FUNCTIONS}
    exec(source, space)
    intrinsics.compile_called(source, math_f32.FUNCTIONS)
    signature = numba.types.void(*[intrinsics.numba_type(t) for t in types])
    with intrinsics.superword_vectorisation():
        compiled: Any = numba.cfunc(signature, error_model="numpy")(space["k"])
    return str(compiled._library.get_llvm_str())


def _ad_hoc(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    op = Op("ad_hoc", lambda x: with_shape(x, x.shape), body=body, differentiable=False)
    return lambda x: apply(op, x)


CHAIN = _ad_hoc(lambda x: (
    (x * 1.5 + 2.0).op("tanh") * x.op("sigmoid") - (-(x * x)).op("exp") + x.op("sin").op("erf")
))


@pytest.mark.kernels(3)
@pytest.mark.parametrize("name", [*WORDS, "sigmoid", "gelu", "chain", "softmax"])
def test_loops_become_vectors_without_calls(name: str, monkeypatch: Any) -> None:
    x = tinyml.ones((3, 101))
    ops: dict[str, Callable[[Any], Any]] = {"chain": CHAIN}
    function = ops.get(name, lambda t: t.op(name, **({"axis": 1} if name == "softmax" else {})))
    ((source, types),) = _kernel(monkeypatch, lambda: function(x))
    text = _machine_independent(source, types)
    assert re.search(r"<\d+ x (float|double)>", text)
    called = re.findall(r"^declare [^@]*@\"?([\w.$]+)", text, re.MULTILINE)
    assert all(symbol.startswith("llvm.") for symbol in called), called


def test_the_cache_knows_all_text_that_goes_into_object_code() -> None:
    files = {name: Path(inspect.getfile(importlib.import_module(name)))
             for name in objectcode.MODULES}
    assert objectcode._texts() == key(*[file.read_bytes().hex() for file in files.values()])
    assert objectcode._texts() in objectcode._salt()
    # How it is compiled, and what a type is, end here.
    for name in files.keys() - {objectcode.__name__, "tinyml.dtypes"}:
        for node in ast.walk(ast.parse(files[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinyml."):
                assert node.module in objectcode.MODULES


# ---- reductions in lanes

LENGTHS = (1, 2, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 200)


@pytest.mark.kernels(3)
@pytest.mark.parametrize("length", LENGTHS)
def test_reductions_of_every_length(length: int) -> None:
    values = np.random.default_rng(length).integers(-50, 50, (3, length))
    x = tinyml.tensor(values.astype(np.float32))
    assert tinyml.sum(x, axis=1).tolist() == values.sum(1).tolist()
    assert tinyml.max(x, axis=1).tolist() == values.max(1).tolist()
    assert tinyml.min(x, axis=1).tolist() == values.min(1).tolist()
    whole = tinyml.tensor(values)
    assert tinyml.sum(whole, axis=1).tolist() == values.sum(1).tolist()
    wanted = values.astype(np.float64).var(1)
    assert np.allclose(tinyml.var(x, axis=1).numpy(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_nan_wins_wherever_it_stands(length: int) -> None:
    values = np.zeros((length, length), np.float32)
    np.fill_diagonal(values, np.nan)
    x = tinyml.tensor(values)
    assert np.isnan(tinyml.max(x, axis=1).numpy()).all()
    assert np.isnan(tinyml.min(x, axis=1).numpy()).all()
