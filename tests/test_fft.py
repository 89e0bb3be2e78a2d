"""tinyml.fft beside NumPy in long double, its gradients beside torch, under jit, and refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
import tinyml.fft as fft
from tinyml.errors import ArgumentError, AxisError, DTypeError, ShapeError
from tinyml.ops.fft import radices, roots

pytestmark = pytest.mark.kernels(1)

LENGTHS = (*range(1, 71), 97, 128, 1000, 1009, 4096)
TO_COMPLEX = ("fft", "ifft", "rfft", "ihfft")
TO_REAL = ("irfft", "hfft")
SEVERAL = ("fftn", "ifftn", "rfftn", "irfftn")
REAL_ONLY = ("rfft", "ihfft", "rfftn")
NORMS = ("backward", "ortho", "forward")


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(2, *shape))
    return (parts[0] + 1j * parts[1] if dtype.startswith("c") else parts[0]).astype(dtype)


def wide(x: Any) -> Any:
    return x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble)


def near(got: Any, want: Any) -> None:
    """Within eps log2 n of the norm of the exact transform, which spreads errors over all places.

    Each of at most log2 n radices adds up at most 32 terms with roots of their own rounding; the
    errors are independent, so that they grow as the root of the terms (Gentleman and Sande 1966).
    """
    assert got.shape == want.shape
    eps = np.finfo(np.dtype(got.dtype.name)).eps
    size = np.linalg.norm((want / max(np.abs(want).max(initial=0.0), 1e-300)).astype(complex))
    off = np.linalg.norm(((got.numpy() - want) / max(np.abs(want).max(initial=0.0), 1e-300)
                          ).astype(complex))
    assert off <= 2 * eps * (1 + math.log2(want.size + 1)) * size


@pytest.mark.kernels(30)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", ["fft", "ifft"])
def test_every_length_beside_numpy(name: str, dtype: str) -> None:
    for n in LENGTHS:
        x = numbers((2, n), dtype)
        got = getattr(fft, name)(tinyml.tensor(x, dtype=dtype))
        assert got.dtype.name == dtype
        near(got, getattr(np.fft, name)(wide(x)))


@pytest.mark.kernels(60)
@given(st.sampled_from((*TO_COMPLEX, *TO_REAL)), st.sampled_from(("float32", "float64")),
       st.tuples(st.integers(1, 9), st.integers(2, 9), st.integers(1, 5)), st.integers(-3, 2),
       st.none() | st.integers(1, 20), st.sampled_from(NORMS), st.booleans())
def test_one_axis_beside_numpy(name: str, dtype: str, shape: tuple[int, ...], axis: int,
                               n: int | None, norm: str, imaginary: bool) -> None:
    if imaginary and name not in REAL_ONLY:
        dtype = {"float32": "complex64", "float64": "complex128"}[dtype]
    if name in TO_REAL and n is None and shape[axis] == 1:
        n = 3
    x = numbers(shape, dtype)
    got = getattr(fft, name)(tinyml.tensor(x, dtype=dtype), n=n, axis=axis, norm=norm)
    assert (got.dtype.kind == "complex") == (name not in TO_REAL)
    assert got.dtype.bits == (64 if dtype in ("float32", "complex64") else 128) // (
        2 if name in TO_REAL else 1)
    near(got, getattr(np.fft, name)(wide(x), n=n, axis=axis, norm=norm))


@given(st.sampled_from(SEVERAL), st.permutations((0, 1, 2)), st.integers(1, 3),
       st.none() | st.tuples(*[st.integers(1, 7)] * 3), st.sampled_from(NORMS), st.booleans())
def test_several_axes_beside_numpy(name: str, order: list[int], count: int, sizes: Any, norm: str,
                                   named: bool) -> None:
    x = numbers((3, 4, 5), "float64" if name in REAL_ONLY else "complex128")
    axes = tuple(order[:count]) if named else None
    s = None if sizes is None else sizes[: count if named else 3]
    got = getattr(fft, name)(tinyml.tensor(x, dtype=x.dtype.name), s=s, axes=axes, norm=norm)
    near(got, getattr(np.fft, name)(wide(x), s=s, axes=axes if named or s is None else (0, 1, 2),
                                    norm=norm))


def test_sizes_without_axes_are_of_the_last_ones() -> None:
    x = numbers((2, 3, 4), "complex128")
    got = fft.fftn(tinyml.tensor(x, dtype="complex128"), s=(2, 5))
    near(got, np.fft.fftn(wide(x), s=(2, 5), axes=(1, 2)))


def test_no_rows_and_wholes_and_narrow_types() -> None:
    assert fft.fft(tinyml.zeros((0, 6))).shape == (0, 6)
    assert fft.rfft(tinyml.zeros((0, 6))).shape == (0, 4)
    for dtype in ("int32", "bool", "float16", "bfloat16"):
        got = fft.fft(tinyml.tensor([1, 0, 1], dtype=dtype))
        assert got.dtype is tinyml.complex64
        near(got, np.fft.fft(np.longdouble([1, 0, 1])))


@pytest.mark.kernels(3)
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_frequencies_and_shifts_are_numpys(n: int, device: str) -> None:
    for name in ("fftfreq", "rfftfreq"):
        got = getattr(fft, name)(n, d=0.3, device=device)
        assert got.dtype is tinyml.float32
        np.testing.assert_array_equal(got.numpy(), getattr(np.fft, name)(n, 0.3).astype("float32"))
    x = tinyml.reshape(tinyml.arange(3 * n, device=device), (3, n))
    for name in ("fftshift", "ifftshift"):
        for axes in (None, 1, (0,), (0, 1)):
            np.testing.assert_array_equal(getattr(fft, name)(x, axes=axes).numpy(),
                                          getattr(np.fft, name)(x.numpy(), axes=axes))


@given(st.integers(1, 10**9), st.integers(-(10**9), 10**9))
def test_roots_are_right_to_an_epsilon(n: int, turns: int) -> None:
    (got,) = roots(np.array([turns]), n)
    angle = -2 * np.longdouble(turns % n) / n * np.longdouble("3.14159265358979323846")
    assert abs(got - (np.cos(angle) + 1j * np.sin(angle))) <= 2 * np.finfo(float).eps


@given(st.integers(1, 5000))
def test_radices_make_the_length_or_a_prime_is_too_great(n: int) -> None:
    split = radices(n)
    great = any(n % p == 0 and all(p % q for q in range(2, p)) for p in range(33, n + 1))
    assert (math.prod(split) == n and max(split, default=1) <= 32) != great


# ---- gradients


def calls() -> list[Any]:
    return [
        ("fft", {"n": 7, "norm": "ortho"}), ("ifft", {"axis": 0}), ("rfft", {"n": 6}),
        ("rfft", {"n": 5, "norm": "forward"}), ("irfft", {"n": 6}), ("irfft", {"n": 5, "axis": 0}),
        ("hfft", {"n": 6}), ("ihfft", {"norm": "forward"}), ("fftn", {}),
        ("rfftn", {"s": (3, 4), "axes": (1, 0)}), ("irfftn", {"s": (3, 4), "axes": (0, 1)}),
    ]


@pytest.mark.peers("torch")
@pytest.mark.parametrize(("name", "attrs"), calls())
def test_gradients_beside_torch(name: str, attrs: dict[str, Any]) -> None:
    import torch

    x = numbers((3, 5), "float64" if name in REAL_ONLY else "complex128")
    theirs = {{"axis": "dim", "axes": "dim"}.get(key, key): v for key, v in attrs.items()}
    peer = torch.tensor(x, requires_grad=True)
    y = getattr(torch.fft, name)(peer, **theirs).resolve_conj()
    g = numbers(tuple(y.shape), str(y.dtype).removeprefix("torch."), 1)
    y.backward(torch.tensor(g))
    assert peer.grad is not None

    def ours(x: Any) -> Any:
        return getattr(fft, name)(x, **attrs)

    own = tinyml.tensor(x, dtype=x.dtype.name)
    for function in (ours, tinyml.jit(ours)):
        got, pull = tinyml.vjp(function, own)
        np.testing.assert_allclose(got.numpy(), y.detach().numpy(), rtol=1e-12, atol=1e-12)
        (back,) = pull(tinyml.tensor(g, dtype=g.dtype.name))
        np.testing.assert_allclose(back.numpy(), peer.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_the_second_gradient_of_a_power_spectrum() -> None:
    # The sum of |y|^2 over all n frequencies is n times that of x^2 (Parseval): its Hessian is 2 n.
    def power(x: Any) -> Any:
        y = fft.fft(x)
        return tinyml.sum(tinyml.real(y * tinyml.conj(y)))

    x = tinyml.tensor(numbers((37,), "float64"), dtype="float64")
    np.testing.assert_allclose(tinyml.hessian(power)(x).numpy(), 74 * np.eye(37), atol=1e-11)


# ---- refusals


@pytest.mark.parametrize(("call", "error", "says"), [
    (lambda x: fft.fft(x, n=0), ShapeError, "at least one element"),
    (lambda x: fft.ifft(x, n=-1), ShapeError, "at least one element"),
    (lambda x: fft.fft(x[:, :0]), ShapeError, "at least one element"),
    (lambda x: fft.irfft(x[:, :1]), ShapeError, "at least one element"),
    (lambda x: fft.fft(x, axis=2), AxisError, "axis"),
    (lambda x: fft.fft(x, norm="none"), ArgumentError, "backward, ortho, forward"),
    (lambda x: fft.fftn(x, axes=(), norm="none"), ArgumentError, "backward, ortho, forward"),
    (lambda x: fft.rfft(fft.fft(x)), DTypeError, "real numbers"),
    (lambda x: fft.ihfft(fft.fft(x)), DTypeError, "real numbers"),
    (lambda x: fft.rfftn(fft.fft(x)), DTypeError, "real numbers"),
    (lambda x: fft.fftn(x, axes=(0, 0)), AxisError, "each axis once"),
    (lambda x: fft.fftn(x, s=(1, 2, 3)), ShapeError, "at most 2 sizes"),
    (lambda x: fft.fftn(x, s=(1,), axes=(0, 1)), ShapeError, "2 sizes"),
    (lambda x: fft.fftn(x, s=(1, 0)), ShapeError, "at least one element"),
    (lambda x: fft.rfftn(x, axes=()), AxisError, "at least one axis"),
    (lambda x: fft.irfftn(x, axes=()), AxisError, "at least one axis"),
    (lambda x: fft.fftfreq(0), ShapeError, "at least one element"),
    (lambda x: fft.fftfreq(4, d=0), ArgumentError, "not 0"),
    (lambda x: fft.rfftfreq(4, dtype="int32"), DTypeError, "real float"),
    (lambda x: fft.fftshift(x, axes=2), AxisError, "axis"),
])
def test_refusals(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call(tinyml.ones((2, 3)))


def test_opencl_refuses_complex_numbers_in_words() -> None:
    with pytest.raises(DTypeError, match="no complex64"):
        fft.fft(tinyml.ones(4, device="opencl"))
