"""tinyml.linalg beside NumPy and torch: values, gradients of two orders, refusals, threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
import tinyml.linalg as linalg
from tinyml.cli.explain import kernels
from tinyml.conformance.suite import ops
from tinyml.conformance.suite.backends import NumPy, open_backend
from tinyml.conformance.suite.cases import op_cases
from tinyml.conformance.suite.run import run_op
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    GradientError,
    KernelNotFound,
    ShapeError,
)
from tinyml.ir.op import find
from tinyml.ops.linalg import BY_LAPACK, WIDE

pytestmark = pytest.mark.kernels(1)

SIZES = st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 6))


def matrices(shape: tuple[int, ...], dtype: str, kind: str = "") -> Any:
    """Seeded matrices; 'square' far from singular, 'positive' definite."""
    rng = np.random.default_rng(abs(hash(shape)) % 1000)
    x = rng.normal(size=shape) + (1j * rng.normal(size=shape) if dtype.startswith("c") else 0)
    own = 3.0 * np.sqrt(max(shape[-2:])) * np.eye(*shape[-2:])
    if kind == "positive":
        x = x @ np.conj(np.swapaxes(x, -1, -2)) + own
    return (x + own if kind == "square" else x).astype(dtype)


def tensor(x: Any) -> Any:
    return tinyml.tensor(x, dtype=x.dtype.name)


def near(got: Any, want: Any, dtype: str, units: float = 200) -> None:
    """Within some epsilons of the greatest element."""
    want = np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=units * np.finfo(dtype).eps * max(
        1.0, float(np.max(np.abs(want), initial=0.0))))


# ---- values


@given(SIZES, st.sampled_from(WIDE))
def test_squares_beside_numpy(size: tuple[int, int, int], dtype: str) -> None:
    batch, n, columns = size
    x = matrices((batch, n, n), dtype, "square")
    b = matrices((batch, n, columns), dtype)
    near(linalg.inv(tensor(x)), np.linalg.inv(x), dtype)
    near(linalg.det(tensor(x)), np.linalg.det(x), dtype)
    near(linalg.solve(tensor(x), tensor(b)), np.linalg.solve(x, b), dtype)
    for got, want in zip(linalg.slogdet(tensor(x)), np.linalg.slogdet(x), strict=True):
        near(got, want, dtype)
    for n in (-2, 0, 1, 5):
        near(linalg.matrix_power(tensor(x / 4), n), np.linalg.matrix_power(x / 4, n), dtype, 2000)
    x = matrices(x.shape, dtype, "positive")
    lower = linalg.cholesky(tensor(x))
    near(lower, np.linalg.cholesky(x), dtype)
    near(linalg.cholesky(tensor(x), upper=True), np.conj(np.swapaxes(lower.numpy(), -1, -2)), dtype)
    values, vectors = linalg.eigh(tensor(x))
    near(values, np.linalg.eigvalsh(x), dtype)
    near(linalg.eigvalsh(tensor(x)), np.linalg.eigvalsh(x), dtype)
    near((vectors * tinyml.expand_dims(values, -2)) @ tinyml.conj(vectors).mT, x, dtype)


@pytest.mark.kernels(85)
@given(SIZES, st.sampled_from(WIDE))
def test_rectangles_beside_numpy(size: tuple[int, int, int], dtype: str) -> None:
    x = matrices(size, dtype)
    rows, columns = size[1:]
    count = min(rows, columns)
    for mode in ("reduced", "complete"):
        q, r = linalg.qr(tensor(x), mode=mode)
        near(q @ r, x, dtype)
        one = np.broadcast_to(np.eye(q.shape[-1]), (size[0], *q.shape[-1:] * 2))
        near(tinyml.conj(q).mT @ q, one, dtype)
        assert (q.shape[-1], r.shape[-2]) == ((rows, rows) if mode == "complete" else (count,) * 2)
        assert not np.tril(r.numpy(), -1).any()
    u, s, vh = linalg.svd(tensor(x), full_matrices=False)
    near((u * tinyml.expand_dims(s, -2)) @ vh, x, dtype)
    near(s, np.linalg.svd(x, compute_uv=False), dtype)
    near(linalg.svdvals(tensor(x)), s.numpy(), dtype)
    whole = linalg.svd(tensor(x))
    assert (whole.U.shape, whole.Vh.shape) == ((size[0], rows, rows), (size[0], columns, columns))
    near(whole.U @ tinyml.conj(whole.U).mT, np.broadcast_to(np.eye(rows), whole.U.shape), dtype)
    near(linalg.pinv(tensor(x)) @ tensor(x) @ linalg.pinv(tensor(x)),
         linalg.pinv(tensor(x)).numpy(), dtype, 2e4)
    near(linalg.matrix_rank(tensor(x)), np.linalg.matrix_rank(x), dtype)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("ord", ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_matrix_norms_beside_numpy(ord: Any, dtype: str) -> None:
    x = matrices((2, 3, 4), dtype)
    for keepdims in (False, True):
        near(linalg.matrix_norm(tensor(x), ord=ord, keepdims=keepdims),
             np.linalg.matrix_norm(x, ord=ord, keepdims=keepdims), dtype)


def test_tolerances_are_numbers_or_of_the_batch() -> None:
    x = np.stack([np.diag([1.0, 1e-2, 1e-4]), np.diag([1.0, 1e-3, 0.0])])
    for rtol in (1e-3 / 2, np.array([1e-3, 1e-5])):
        own = rtol if isinstance(rtol, float) else tinyml.tensor(rtol, dtype="float64")
        near(linalg.pinv(tensor(x), rtol=own), np.linalg.pinv(x, rtol=rtol), "float64")
        assert linalg.matrix_rank(tensor(x), rtol=own).tolist() == np.linalg.matrix_rank(
            x, rtol=rtol).tolist()
    assert linalg.matrix_rank(tinyml.zeros((2, 0, 3))).tolist() == [0, 0]


def test_products_and_diagonals_run_on_every_device(device: str) -> None:
    x = tinyml.reshape(tinyml.arange(24, dtype="float32", device=device), (2, 3, 4))
    for offset in (-2, 0, 1):
        np.testing.assert_array_equal(linalg.diagonal(x, offset=offset).numpy(),
                                      np.linalg.diagonal(x.numpy(), offset=offset))
        np.testing.assert_array_equal(linalg.trace(x, offset=offset).numpy(),
                                      np.linalg.trace(x.numpy(), offset=offset))
    assert linalg.trace(tinyml.ones((2, 2), dtype="int8", device=device)).dtype is tinyml.int64
    assert linalg.matrix_norm(x, ord=1).tolist() == [21.0, 57.0]
    assert linalg.matrix_power(x[:, :, :3], 0).tolist() == [np.eye(3).tolist()] * 2


# ---- gradients


def losses() -> list[Any]:
    """A name, a kind of matrix, and a number of it that no choice of LAPACK's changes."""
    def weigh(y: Any, x: Any) -> Any:
        return (y * x).sum()

    def conj(x: Any) -> Any:
        return tinyml.conj(x) if isinstance(x, tinyml.Tensor) else x.conj()

    def of_eigh(la: Any, x: Any, herm: Any) -> Any:
        w, v = la.eigh(herm(x))
        return ((v[..., :1] @ conj(v[..., :1]).mT) * x).sum() + (w * w * w).sum()

    def of_svd(la: Any, x: Any, _: Any) -> Any:
        u, s, vh = la.svd(x, full_matrices=False)
        return (u[..., :1] @ vh[..., :1, :] * conj(x)).sum() + (s * s * s).sum()

    def of_qr(la: Any, x: Any, _: Any) -> Any:
        q, r = la.qr(x)
        return (q * conj(x)).sum() + (r * r).sum()

    return [
        ("inv", "square", lambda la, x, h: weigh(la.inv(x), x)),
        ("det", "square", lambda la, x, h: la.det(x).sum()),
        ("slogdet", "square", lambda la, x, h: sum(y.sum() for y in la.slogdet(x))),
        ("solve", "square", lambda la, x, h: weigh(la.solve(x, x.mT), x)),
        ("cholesky", "positive", lambda la, x, h: weigh(la.cholesky(h(x)), x)),
        ("eigh", "positive", of_eigh),
        ("eigvalsh", "positive", lambda la, x, h: (la.eigvalsh(h(x)) ** 3).sum()),
        ("svd", "square", of_svd), ("svd", "tall", of_svd), ("svd", "wide", of_svd),
        ("svdvals", "tall", lambda la, x, h: (la.svdvals(x) ** 3).sum()),
        ("qr", "square", of_qr), ("qr", "tall", of_qr),
        ("pinv", "tall", lambda la, x, h: weigh(la.pinv(x).mT, x)),
        ("pinv", "wide", lambda la, x, h: weigh(la.pinv(x).mT, x)),
    ]


@pytest.mark.peers("torch")
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("name", "kind", "loss"), losses())
def test_gradients_beside_torch(name: str, kind: str, loss: Any, dtype: str) -> None:
    import torch

    shape = {"tall": (2, 4, 3), "wide": (2, 3, 4)}.get(kind, (2, 3, 3))
    x = matrices(shape, dtype, kind)

    def theirs(z: Any) -> Any:
        y = loss(torch.linalg, z, lambda m: (m + m.mH) / 2)
        return y.real if y.is_complex() else y

    def ours(z: Any) -> Any:
        y = loss(linalg, z, lambda m: (m + tinyml.conj(m).mT) / 2)
        return tinyml.real(y) if y.dtype.kind == "complex" else y

    peer = torch.tensor(x, requires_grad=True)
    (g,) = torch.autograd.grad(theirs(peer), peer, create_graph=True)
    direction = matrices(shape[::-1], dtype).transpose(2, 1, 0).copy()
    second = torch.autograd.grad((g * torch.tensor(direction)).real.sum(), peer)[0]
    scale = 1 + float(g.detach().abs().max())

    def along(z: Any) -> Any:
        y = tinyml.sum(tinyml.grad(ours)(z) * tensor(direction))
        return tinyml.real(y) if y.dtype.kind == "complex" else y

    for function in (ours, tinyml.jit(ours)):
        got = tinyml.grad(function)(tensor(x))
        np.testing.assert_allclose(got.numpy(), g.detach().resolve_conj().numpy(), rtol=0,
                                   atol=1e-10 * scale)
    np.testing.assert_allclose(tinyml.grad(along)(tensor(x)).numpy(),
                               second.resolve_conj().numpy(), rtol=0,
                               atol=1e-9 * (scale + float(second.abs().max())))


def test_gradients_of_values_where_some_are_equal() -> None:
    one = tinyml.eye(3, dtype="float64")
    for function in (linalg.eigvalsh, linalg.svdvals, lambda x: linalg.eigh(x).eigenvalues,
                     lambda x: linalg.svd(x).S):
        got = tinyml.grad(lambda x: tinyml.sum(function(x)))(one)  # noqa: B023
        near(got, np.eye(3), "float64")
    near(tinyml.grad(lambda x: tinyml.sum(linalg.pinv(x)))(one), -np.ones((3, 3)), "float64")


def test_the_gradient_of_a_singular_determinant_is_its_cofactors() -> None:
    x = tinyml.tensor([[1.0, 2.0], [2.0, 4.0]], dtype="float64")
    near(tinyml.grad(linalg.det)(x), [[4.0, -2.0], [-2.0, 1.0]], "float64")
    near(tinyml.grad(linalg.det)(x * 0.0), np.zeros((2, 2)), "float64")
    with pytest.raises(ArgumentError, match="singular"):
        tinyml.grad(lambda x: linalg.slogdet(x).logabsdet)(x)


def test_vectors_without_a_derivative_refuse_it() -> None:
    x = tensor(matrices((4, 2), "float64"))
    with pytest.raises(GradientError, match="complete q"):
        tinyml.grad(lambda x: tinyml.sum(linalg.qr(x, mode="complete").Q))(x)
    with pytest.raises(GradientError, match="have no derivative"):
        tinyml.grad(lambda x: tinyml.sum(linalg.svd(x).U))(x)
    near(tinyml.grad(lambda x: tinyml.sum(linalg.svd(x).S))(x),
         tinyml.grad(lambda x: tinyml.sum(linalg.svdvals(x)))(x).numpy(), "float64")


# ---- what is refused


@pytest.mark.parametrize(("call", "error", "says"), [
    (lambda x: linalg.inv(x), ArgumentError, "singular"),
    (lambda x: linalg.solve(x, x), ArgumentError, "singular"),
    (lambda x: linalg.matrix_power(x, -1), ArgumentError, "singular"),
    (lambda x: linalg.cholesky(-x), ArgumentError, "not positive definite"),
    (lambda x: tinyml.jit(linalg.inv)(x), ArgumentError, "singular"),
    (lambda x: linalg.inv(x[:1]), ShapeError, "square"),
    (lambda x: linalg.det(x[0]), ShapeError, "at least 2 axes"),
    (lambda x: linalg.eigh(x[:1]), ShapeError, "square"),
    (lambda x: linalg.matrix_power(x[:1], 2), ShapeError, "square"),
    (lambda x: linalg.matrix_power(x, 1.5), ArgumentTypeError, "n is 1.5"),
    (lambda x: linalg.solve(x, x[:1]), ShapeError, "2 rows"),
    (lambda x: linalg.qr(x, mode="r"), ArgumentError, "complete"),
    (lambda x: linalg.svd(x.astype("float16")), DTypeError, "float16"),
    (lambda x: linalg.matrix_norm(x, ord="max"), ArgumentError, "fro"),
    (lambda x: linalg.matrix_norm(x, ord=3), ArgumentError, "1, 2 or inf"),
    (lambda x: linalg.matrix_norm(x, ord=[1]), ArgumentTypeError, "ord"),
    (lambda x: linalg.pinv(x, rtol=tinyml.ones(3)), ShapeError, "rtol"),
])
def test_refusals(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call(tinyml.ones((2, 2)))


def test_opencl_names_the_way_to_the_cpu() -> None:
    x = tinyml.eye(2, device="opencl")
    for name in ("cholesky", "det", "eigh", "eigvalsh", "inv", "matrix_rank", "pinv", "qr",
                 "slogdet", "svd", "svdvals"):
        with pytest.raises(KernelNotFound, match="no LAPACK") as caught:
            getattr(linalg, name)(x)
        assert '.to("cpu")' in str(caught.value)
    with pytest.raises(KernelNotFound, match="no LAPACK"):
        linalg.solve(x, x)
    assert linalg.inv(x.to("cpu")).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_the_table_of_kernels_says_where_there_is_none() -> None:
    assert kernels(["inv"]).ops["inv"] == {"cpu": ["kernel"], "opencl": ["none"]}


@pytest.mark.parametrize("name", sorted(BY_LAPACK))
def test_elsewhere_is_skipped_with_a_reason_and_never_passed(name: str) -> None:
    (verdict,) = run_op("ops", find(name), open_backend("tinyml:opencl"), name)
    assert (verdict.status, verdict.detail) == ("skipped", "declared for the CPU alone")
    assert all(v.status == "passed" for v in run_op("ops", find(name), open_backend("tinyml:cpu"),
                                                    f"{name}/float32"))


def test_matrices_with_nan_or_infinities_are_answered() -> None:
    for value in (np.nan, np.inf):
        x = np.stack([np.eye(3), np.eye(3)])
        x[0, 1, 1] = value
        for found in (linalg.eigh(tensor(x)), linalg.svd(tensor(x)), [linalg.pinv(tensor(x))]):
            for y in found:
                assert np.isnan(y.numpy()[0]).all() and np.isfinite(y.numpy()[1]).all()
    x[0, 1, 1] = np.nan
    for name in ("inv", "det", "cholesky"):
        y = getattr(linalg, name)(tensor(x)).numpy()
        assert np.isnan(y[0]).all() and np.isfinite(y[1]).all()


# ---- the suite's eyes


@pytest.mark.parametrize("name", ["eigh", "svd"])
def test_the_suite_takes_other_signs_and_sees_other_vectors(name: str) -> None:
    class Turned(NumPy):
        def __init__(self, by: float) -> None:
            self.by = by

        def run(self, op: str, /, *arrays: Any, **attrs: Any) -> tuple[Any, ...]:
            values, *vectors = open_backend("tinyml:cpu").run(op, *arrays, **attrs)
            turned = [v.copy() for v in vectors]
            turned[0][..., 0] *= self.by
            if name == "svd":
                turned[1][..., 0, :] *= self.by
            return (values, *turned)

    case = next(case for case in op_cases(find(name), ("float64",)) if case.sample.smooth)
    assert ops.judge(Turned(-1.0), case).complaint is None
    assert "ULP away" in str(ops.judge(Turned(1.0 + 1e-12), case).complaint)


# ---- threads


@contextmanager
def blas(count: int) -> Iterator[Any]:
    """BLAS with so many threads, where it can be told."""
    from tinyml.kernels.cpu import lapack

    found = lapack.threads()
    if found is None:
        yield None
        return
    get, set_to = found
    before = get()
    set_to(count)
    try:
        yield get
    finally:
        set_to(before)


def test_the_bits_do_not_depend_on_threads_and_their_number_is_restored() -> None:
    x = matrices((200, 200), "float64", "square")
    found = []
    for count in (1, 2, 3):
        with blas(count) as get:
            found.append([np.asarray(y.numpy()).tobytes() for y in (
                linalg.inv(tensor(x)), *linalg.svd(tensor(x)), *linalg.qr(tensor(x)),
                *linalg.eigh(tensor(x)), linalg.solve(tensor(x), tensor(x[:, :7])))])
            assert get is None or get() == count
            with pytest.raises(ArgumentError):
                linalg.inv(tinyml.zeros((2, 2)))
            assert get is None or get() == count
    assert found[0] == found[1] == found[2]


def test_many_threads_at_once() -> None:
    x = matrices((60, 60), "float64", "square")
    want, found = linalg.inv(tensor(x)).numpy().tobytes(), []

    def work() -> None:
        for _ in range(5):
            found.append(linalg.inv(tensor(x)).numpy().tobytes())

    with blas(2) as get:
        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert get is None or get() == 2
    assert found == [want] * 20


def polynomial(x: Any) -> Any:
    """The determinant by its first row, without a quotient."""
    if x.shape[-1] == 1:
        return x[..., 0, 0]
    size, found = x.shape[-1], 0.0
    for k in range(size):
        rest = [j for j in range(size) if j != k]
        minor = tinyml.stack([x[..., 1:, j] for j in rest], -1)
        found = found + (-1.0) ** k * x[..., 0, k] * polynomial(minor)
    return found


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_a_determinant_is_a_polynomial_whatever_the_rank(rank: int, dtype: str) -> None:
    size = 3
    left, right = matrices((2, size, size), dtype)[..., :rank], matrices((2, size, size), dtype)
    x = tensor(np.asarray(left @ right[..., :rank, :]))
    v, w = tensor(matrices((2, size, size), dtype)), tensor(matrices((2, size, size), dtype)[::-1])

    def real_part(y: Any) -> Any:
        return tinyml.real(y).sum()

    def derivatives(f: Any) -> list[Any]:
        first = tinyml.grad(lambda x: real_part(f(x)))
        second = tinyml.grad(lambda x: real_part(first(x) * v))
        return [first(x), second(x), tinyml.grad(lambda x: real_part(second(x) * w))(x)]

    for got, want in zip(derivatives(tinyml.linalg.det), derivatives(polynomial)):
        np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-12)
    second = tinyml.jit(lambda x: derivatives(tinyml.linalg.det)[1])
    np.testing.assert_allclose(second(x).numpy(), derivatives(polynomial)[1].numpy(), atol=1e-12)


def test_the_hessian_of_a_singular_determinant() -> None:
    for size in (1, 2, 4):
        x = tensor(np.zeros((size, size)) if size < 4 else np.outer([1.0, 2, 3, 4], [2.0, 0, 1, 1]))
        got, want = (tinyml.hessian(f)(x).numpy() for f in (tinyml.linalg.det, polynomial))
        np.testing.assert_allclose(got, want, atol=1e-11)
