"""Narrow floats, packed integers and complex numbers: conversions, arithmetic, gradients, jit."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyml
from tinyml.dtypes import COMPLEX, DTYPES, EVERY, FLOATS, REAL, STORED, as_dtype, promote
from tinyml.errors import DTypeError

pytestmark = pytest.mark.kernels(1)

Array = np.ndarray[Any, Any]
NARROW = [name for name in EVERY if DTYPES[name].is_small_float]
PACKED = [name for name in EVERY if DTYPES[name].is_subbyte]


def patterns(name: str) -> Array:
    """Every pattern of bits of a narrow float."""
    dtype = DTYPES[name]
    return np.arange(1 << dtype.bits, dtype=dtype.storage).view(dtype.numpy)


def same(got: Array, want: Array) -> bool:
    """The same values with the same signs, any NaN equal to any NaN."""
    with np.errstate(all="ignore"):
        a, b = got.astype(np.float64), want.astype(np.float64)
    equal = (a == b) & (np.signbit(a) == np.signbit(b)) | (a != a) & (b != b)
    return got.dtype == want.dtype and bool(equal.all())


def finite(name: str) -> Array:
    """The numbers of a narrow float in order, as float64."""
    with np.errstate(invalid="ignore"):  # ml_dtypes' NaN on its way
        x = np.unique(patterns(name).astype(np.float64))
    return x[np.isfinite(x)]


# ---- what the rows say


@pytest.mark.parametrize("name", EVERY)
def test_a_row_and_numpy_agree(name: str) -> None:
    dtype = DTYPES[name]
    assert as_dtype(name) is as_dtype(dtype.numpy) is as_dtype(dtype) is dtype
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert dtype.is_subbyte or dtype.numpy.itemsize == dtype.itemsize
    if dtype.is_small_float:
        info = ml_dtypes.finfo(dtype.numpy)
        assert (info.nmant, info.nexp, info.bits) == (dtype.mantissa, dtype.exponent, dtype.bits)


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(REAL + COMPLEX, 2)])
def test_promotion_does_not_know_an_order(first: str, second: str) -> None:
    a, b = DTYPES[first], DTYPES[second]
    if "uint64" in (first, second) and {"int8", "int16", "int32", "int64"} & {first, second}:
        with pytest.raises(DTypeError, match="no common type"):
            promote(b, a)
        return
    assert promote(a, b) is promote(b, a)
    assert promote(promote(a, b), b) is promote(a, b)


@pytest.mark.parametrize("name", STORED)
def test_what_is_only_stored_is_not_computed_with(name: str, device: str) -> None:
    x = tinyml.zeros(3, dtype=name, device=device)
    for wrong in (lambda: x + x, lambda: x * 2, lambda: tinyml.exp(x), lambda: x.sum(),
                  lambda: x + tinyml.ones(3, device=device)):
        with pytest.raises(DTypeError, match=name) as caught:
            wrong()
        assert "astype" in str(caught.value)


# ---- every pattern


@pytest.mark.kernels(1)
@pytest.mark.parametrize("to", [*FLOATS, "bool", "int32", "int64", "uint8", *NARROW[2:]])
@pytest.mark.parametrize("name", NARROW)
def test_every_pattern_converts(name: str, to: str, device: str) -> None:
    """As NumPy's and ml_dtypes' do; to integers they truncate and saturate, NaN gives 0."""
    x, dtype = patterns(name), DTYPES[to]
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        if dtype.is_integer:
            info = np.iinfo(to)
            want = np.where(wide <= info.min, info.min, np.trunc(np.nan_to_num(wide)))
            want = np.where(want >= info.max, info.max, want.astype(to)).astype(to)
        else:
            want = wide != 0 if to == "bool" else x.astype(np.float32).astype(dtype.numpy)
    assert same(tinyml.tensor(x, device=device).astype(to).numpy(), want)


@pytest.mark.parametrize("name", NARROW)
def test_what_is_moved_keeps_its_bits(name: str, device: str) -> None:
    x = patterns(name)
    moved = tinyml.flip(tinyml.tensor(x, device=device), axis=0).numpy()
    storage = DTYPES[name].storage
    assert (moved.view(storage) == x[::-1].view(storage)).all()


@pytest.mark.parametrize("name", NARROW)
def test_float32_is_rounded_to_nearest_even(name: str, device: str) -> None:
    """At every number of the format, halfway between neighbours, and next to those."""
    x = finite(name)
    middle = ((x[1:] + x[:-1]) / 2).astype(np.float32)
    beside = [np.nextafter(middle, np.float32(end)) for end in (np.inf, -np.inf)]
    points = [x.astype(np.float32), middle, *beside,
              np.float32([0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan]),
              np.random.default_rng(0).integers(0, 1 << 32, 5000, np.uint32).view(np.float32)]
    whole = np.concatenate(points)
    with np.errstate(all="ignore"):
        want = whole.astype(DTYPES[name].numpy)
    assert same(tinyml.tensor(whole, device=device).astype(name).numpy(), want)


@pytest.mark.parametrize("name", NARROW)
def test_float64_is_rounded_once(name: str, device: str) -> None:
    """Just beside the middle of two neighbours; by way of float32 it would be the middle."""
    x = finite(name)[1:-1]
    low, high = x[:-1], x[1:]
    middle = (low + high) / 2
    for toward, want in ((-np.inf, low), (np.inf, high)):
        got = tinyml.tensor(np.nextafter(middle, toward), device=device).astype(name).numpy()
        assert (got.astype(np.float64) == want).all()


def test_integers_come_by_float32(device: str) -> None:
    x = np.array([0, 1, -1, 2049, 65504, 65519, 65520, 1 << 40, -(1 << 62), 257, 383], np.int64)
    for name in ("float16", "bfloat16"):
        got = tinyml.tensor(x, device=device).astype(name).numpy()
        with np.errstate(over="ignore"):
            assert same(got, x.astype(np.float32).astype(DTYPES[name].numpy))


# ---- arithmetic of narrow floats

pairs = st.tuples(*[hnp.arrays(np.uint16, 16)] * 2)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@given(bits=pairs)
def test_each_result_is_rounded(name: str, bits: tuple[Array, Array]) -> None:
    """One operation in float32, rounded to the type: NumPy and ml_dtypes do the same."""
    x, y = (b.view(DTYPES[name].numpy) for b in bits)
    a, b = tinyml.tensor(x), tinyml.tensor(y)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float32), y.astype(np.float32)
        for ours, numpys in ((tinyml.add, np.add), (tinyml.multiply, np.multiply),
                             (tinyml.subtract, np.subtract), (tinyml.divide, np.divide)):
            want = numpys(*wide).astype(x.dtype)
            assert same(ours(a, b).numpy(), want)
        assert ((a < b).numpy() == (x < y)).all()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_chain_rounds_at_every_step_when_fused_too(name: str, device: str) -> None:
    x = tinyml.tensor(np.linspace(0.1, 3, 100).astype(DTYPES[name].numpy), device=device)

    def chain(x: Any) -> Any:
        return (x * 1.1 + 0.3) * x - x / 3.0

    assert same(tinyml.jit(chain)(x).numpy(), chain(x).numpy())


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_sums_are_kept_in_float32(name: str, device: str) -> None:
    x = tinyml.full(5000, 1.0, dtype=name, device=device)
    assert x.sum().item() == float(as_dtype(name).numpy.type(5000))  # 256 or 2048 if kept narrow
    assert tinyml.mean(x).item() == 1.0 and tinyml.var(x).item() == 0.0


@pytest.mark.parametrize("number", [1.0009765625, 1e9, -1e-9, 3, True, 0.1, float("nan")])
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_python_number_takes_the_narrow_type(name: str, number: Any, device: str) -> None:
    one = np.ones(1, DTYPES[name].numpy)
    with np.errstate(over="ignore"):
        want = (one.astype(np.float32) * np.float32(one.dtype.type(number))).astype(one.dtype)
    assert same((tinyml.tensor(one, device=device) * number).numpy(), want)


@pytest.mark.kernels(10)
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_gradients_have_the_narrow_type(name: str, device: str) -> None:
    x = tinyml.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=name, device=device, requires_grad=True)
    w = tinyml.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=name, device=device)
    (tinyml.tanh(x @ w)).sum().backward()
    wide = tinyml.tensor(x.numpy().astype(np.float32), device=device, requires_grad=True)
    tinyml.tanh(wide @ w.astype("float32")).sum().backward()
    assert x.grad is not None and wide.grad is not None and x.grad.dtype is as_dtype(name)
    error = np.abs(x.grad.numpy().astype(np.float64) - wide.grad.numpy())
    assert error.max() < 8 * float(ml_dtypes.finfo(DTYPES[name].numpy).eps)


# ---- packed integers


@pytest.mark.kernels(2)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (3, 5), (2, 0, 3)])
@pytest.mark.parametrize("name", PACKED)
def test_packed_integers_come_and_go(name: str, shape: tuple[int, ...], device: str) -> None:
    low = -8 if name == "int4" else 0
    x = (np.arange(int(np.prod(shape))).reshape(shape) * 5 % 16 + low).astype(np.int8)
    packed = tinyml.tensor(x.astype(DTYPES[name].numpy), device=device)
    assert packed.nbytes == (x.size + 1) // 2
    assert (packed.numpy().astype(np.int8) == x).all() and packed.dtype is as_dtype(name)
    again = packed.astype("int8").astype(name)
    assert (again.numpy().astype(np.int8) == x).all()
    assert packed.tolist() == x.tolist()


@pytest.mark.kernels(15)
@pytest.mark.parametrize("name", PACKED)
def test_moves_of_packed_integers(name: str, device: str) -> None:
    x = np.arange(15).reshape(3, 5) % 8
    packed = tinyml.tensor(x, dtype=name, device=device)
    for ours, numpys in (
        (packed.T, x.T), (packed[1:], x[1:]), (packed[:, ::-1], x[:, ::-1]),
        (packed[1, 2], x[1, 2]),
        (tinyml.concat([packed, packed], axis=1), np.concatenate([x, x], 1)),
        (tinyml.broadcast_to(packed[0], (2, 5)), np.broadcast_to(x[0], (2, 5))),
        (tinyml.reshape(packed.T, (15,)), x.T.reshape(15)),
        (tinyml.where(packed.astype("bool"), packed, packed), x),
        (tinyml.take(packed, tinyml.tensor([2, 0], device=device), axis=0), x[[2, 0]]),
    ):
        assert ours.dtype is as_dtype(name)
        assert (ours.numpy().astype(np.int64) == numpys).all()


def test_casts_to_packed_integers_saturate_floats_and_wrap_integers(device: str) -> None:
    x = tinyml.tensor([-300.0, -8.7, -0.9, 3.9, 7.2, 16.0, float("nan")], device=device)
    assert x.astype("int4").tolist() == [-8, -8, 0, 3, 7, 7, 0]
    assert x.astype("uint4").tolist() == [0, 0, 0, 3, 7, 15, 0]
    whole = tinyml.tensor([-17, -9, -1, 8, 15, 16, 300], device=device)
    assert whole.astype("int4").tolist() == [-1, 7, -1, -8, -1, 0, -4]
    assert whole.astype("uint4").tolist() == [15, 7, 15, 8, 15, 0, 12]


@pytest.mark.parametrize("name", PACKED)
def test_jit_packs_too(name: str, device: str) -> None:
    def f(x: Any) -> Any:
        return (x.astype("float32") * 2.0).astype(name)

    x = tinyml.tensor([1, 2, 3, 1, 2], dtype=name, device=device)
    assert tinyml.jit(f)(x).tolist() == f(x).tolist() == [2, 4, 6, 2, 4]


# ---- complex numbers


def test_complex_arithmetic_is_numpys() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(4, 5)) + 1j * rng.normal(size=(4, 5)) for _ in "xy")
    a, b = tinyml.tensor(x), tinyml.tensor(y)
    assert a.dtype is as_dtype("complex128")
    for ours, numpys in ((a + b, x + y), (a - b, x - y), (a * b, x * y), (a / b, x / y), (-a, -x),
                         (a * 2.5, x * 2.5), (a + 2j, x + 2j), (a @ b.T, x @ y.T),
                         (a.sum(axis=0), x.sum(0)), (tinyml.mean(a), x.mean())):
        np.testing.assert_allclose(ours.numpy(), numpys, rtol=1e-13)
    assert (a == a).numpy().all() and not (a != a).numpy().any()
    assert tinyml.where(a == a, a, b).numpy().tobytes() == x.tobytes()


@pytest.mark.parametrize("number", [1 + 1j, 3e200 + 4e200j, 1e-200j, 1e-320 + 0j, -2.0 + 0j])
def test_division_neither_overflows_nor_underflows(number: complex) -> None:
    x = tinyml.tensor([number], dtype="complex128")
    assert abs((x / x).item() - 1) < 1e-15
    assert abs((x / number).item() - 1) < 1e-15


def test_division_by_zero_is_not_a_number() -> None:
    x = tinyml.tensor([1 + 1j, 0j], dtype="complex64")
    got = (x / 0).numpy()
    assert np.isinf(got[0]) and np.isnan(got[1])


def test_complex_numbers_stay_on_the_cpu(device: str) -> None:
    if device == "cpu":
        assert tinyml.tensor([1j]).dtype is as_dtype("complex64")
        return
    for make in (lambda: tinyml.tensor([1j], device=device),
                 lambda: tinyml.ones(2, device=device) * 1j):
        with pytest.raises(DTypeError, match="complex64"):
            make()


@pytest.mark.peers("torch")
def test_complex_gradients_are_those_of_torch() -> None:
    """The conjugate convention: the gradient of a real loss points uphill in the plane."""
    import torch

    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=3) + 1j * rng.normal(size=3) for _ in "xy")
    a, b = (tinyml.tensor(v, requires_grad=True) for v in (x, y))
    p, q = (torch.tensor(v, requires_grad=True) for v in (x, y))
    for f in (lambda u, v: u * v + u * (2 - 1j), lambda u, v: u / v - v * 3.0,
              lambda u, v: (u - v) * (u - v) * u):
        for leaf in (a, b, p, q):
            leaf.grad = None
        g = rng.normal(size=3) + 1j * rng.normal(size=3)
        f(a, b).backward(tinyml.tensor(g))
        f(p, q).backward(torch.tensor(g))
        for ours, theirs in ((a, p), (b, q)):
            assert ours.grad is not None and theirs.grad is not None
            np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)
