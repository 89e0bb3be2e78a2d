"""Linear algebra: the linalg extension of the Array API standard 2024.12.

Matrices are the last two axes; the axes before them are a batch. Factorisations come from the
LAPACK of NumPy's library, for float32, float64, complex64 and complex128 (integers become float32),
on the CPU; elsewhere they raise KernelNotFound, whose remedy is `.to("cpu")`. A matrix gives the
same bits for every number of threads, if that library lets its threads be counted (OpenBLAS, as
shipped in NumPy's wheels for Linux and macOS). A matrix that holds a NaN gives NaN, and so does an
infinity when eigenvalues or singular values are computed. Products, vector norms, `trace` and
`diagonal` run on every device. All but `matrix_rank` have gradients.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from tinyml.core.apply import apply, apply_many
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.dtypes import bool_, float32, int64, promote
from tinyml.errors import ArgumentError, ArgumentTypeError, ShapeError, expect, shown
from tinyml.errors.hints import front
from tinyml.functions.datatypes import finfo
from tinyml.functions.norms import vector_norm
from tinyml.functions.products import cross, outer
from tinyml.ops.arguments import as_size
from tinyml.ops.concat import concat
from tinyml.ops.creation import as_tensors, asarray, eye
from tinyml.ops.diagonal import diagonal as diagonal_of
from tinyml.ops.elementwise import abs, astype, conj
from tinyml.ops.linalg import (
    CHOLESKY,
    DET,
    EIGH,
    EIGVALSH,
    INV,
    PINV,
    QR,
    SLOGDET,
    SOLVE,
    SVD,
    SVDVALS,
)
from tinyml.ops.matmul import matmul, matrix_transpose, tensordot, vecdot
from tinyml.ops.reduction import max, min, sum
from tinyml.ops.rounding import rounded_once
from tinyml.ops.views import broadcast_to, reshape, slice_axis

__all__ = ["cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul",
           "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr",
           "slogdet", "solve", "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm"]


class Eigen(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class Triangular(NamedTuple):
    """What `qr` returns."""

    Q: Tensor
    R: Tensor


class Determinant(NamedTuple):
    """What `slogdet` returns."""

    sign: Tensor
    logabsdet: Tensor


class Singular(NamedTuple):
    """What `svd` returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _matrix(x: Any) -> Any:
    """Return a tensor with at least 2 axes; integers and bools become float32."""
    x = asarray(x)
    expect(x.ndim >= 2, "at least 2 axes", x.shape, ShapeError)
    return astype(x, float32) if x.dtype.is_integer or x.dtype is bool_ else x


# ---- solutions and factors


@named_in_errors
def cholesky(x: Any, /, *, upper: bool = False) -> Tensor:
    """Return the lower triangular l with l l^H = x, or, if `upper`, the upper u with u^H u = x.

    Array API standard 2024.12, linalg.cholesky. x is (..., n, n), and so is the result; only the
    Hermitian part of x is used. Raises ShapeError, DTypeError, and ArgumentError if a matrix is not
    positive definite.

    >>> import tinyml
    >>> tinyml.linalg.cholesky(tinyml.tensor([[4.0, 2.0], [2.0, 5.0]])).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    lower = apply(CHOLESKY, _matrix(x))
    return conj(lower).mT if upper else lower


@named_in_errors
def inv(x: Any, /) -> Tensor:
    """Return the inverse of square matrices (..., n, n) (Array API standard 2024.12, linalg.inv).

    Raises ShapeError, DTypeError, and ArgumentError where a matrix is singular.

    >>> import tinyml
    >>> tinyml.linalg.inv(tinyml.tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return apply(INV, _matrix(x))


@named_in_errors
def solve(x1: Any, x2: Any, /) -> Tensor:
    """Return the solution y of x1 y = x2, without inverting x1 (standard 2024.12, linalg.solve).

    x1 is (..., n, n), x2 is one vector (n,) or (..., n, k); the batches broadcast. Raises
    ShapeError, DTypeError, and ArgumentError if a matrix is singular.

    >>> import tinyml
    >>> x = tinyml.tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> tinyml.linalg.solve(x, tinyml.tensor([1.0, 1.0])).tolist()
    [0.5, 0.25]
    """
    x1, x2 = as_tensors(x1, x2)
    x1, vector = _matrix(x1), x2.ndim == 1
    x2 = _matrix(reshape(x2, (x2.size, 1)) if vector else x2)
    dtype = promote(x1.dtype, x2.dtype)
    y = apply(SOLVE, astype(x1, dtype), astype(x2, dtype))
    return reshape(y, y.shape[:-1]) if vector else y


@named_in_errors
def qr(x: Any, /, *, mode: str = "reduced") -> Triangular:
    """Return Q with orthonormal columns and an upper triangular R, named so, with Q R = x.

    Array API standard 2024.12, linalg.qr: (..., m, n) to (..., m, k) and (..., k, n) with k the
    lesser of m and n, or m if `mode` is "complete". The signs are those of Householder reflections,
    so R's diagonal may be negative. Raises ShapeError, DTypeError, ArgumentError. Gradients need
    independent columns (else ArgumentError), and raise GradientError where columns were added to
    complete Q.

    >>> import tinyml
    >>> q, r = tinyml.linalg.qr(tinyml.tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> tinyml.allclose(q @ r, tinyml.tensor([[3.0, 1.0], [4.0, 2.0]]))
    True
    """
    expect(mode in ("reduced", "complete"), "mode 'reduced' or 'complete'", mode, ArgumentError)
    x = _matrix(x)
    rows, columns = x.shape[-2:]
    if rows >= columns:
        return Triangular(*apply_many(QR, x, complete=mode == "complete" and rows > columns))
    q, r = apply_many(QR, slice_axis(x, x.ndim - 1, 0, rows), complete=False)
    rest = matmul(conj(q).mT, slice_axis(x, x.ndim - 1, rows, columns))
    return Triangular(q, concat([r, rest], axis=-1))


@named_in_errors
def eigh(x: Any, /) -> Eigen:
    """Return the ascending eigenvalues (..., n) and eigenvectors (..., n, n) of Hermitian matrices.

    Array API standard 2024.12, linalg.eigh; the fields are eigenvalues and eigenvectors. Only the
    Hermitian part is used, so gradients are Hermitian. An eigenvector is determined up to a factor
    of modulus 1; gradients are right for what does not depend on it. Where eigenvalues are equal,
    gradients through the eigenvectors are not finite. Raises ShapeError, DTypeError.

    >>> import tinyml
    >>> tinyml.linalg.eigh(tinyml.tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
    [1.0, 2.0]
    """
    values, vectors = apply_many(EIGH, _matrix(x))
    return Eigen(values, vectors)


@named_in_errors
def eigvalsh(x: Any, /) -> Tensor:
    """Return only the eigenvalues that `eigh` returns (standard 2024.12, linalg.eigvalsh).

    Where some are equal, the gradient is one of several possible ones.

    >>> import tinyml
    >>> tinyml.linalg.eigvalsh(tinyml.tensor([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0, 2.0]
    """
    return apply(EIGVALSH, _matrix(x))


@named_in_errors
def svd(x: Any, /, *, full_matrices: bool = True) -> Singular:
    """Return U, the descending singular values S (..., k), and Vh, with U diag(S) Vh = x.

    Array API standard 2024.12, linalg.svd, of (..., m, n), with k = min(m, n): U is (..., m, m) and
    Vh (..., n, n), or, without `full_matrices`, (..., m, k) and (..., k, n). What `eigh` says about
    vectors holds here; gradients through more than k vectors raise GradientError. Raises
    ShapeError, DTypeError.

    >>> import tinyml
    >>> tinyml.linalg.svd(tinyml.tensor([[0.0, 2.0], [1.0, 0.0]])).S.tolist()
    [2.0, 1.0]
    """
    values, left, right = apply_many(SVD, _matrix(x), full=bool(full_matrices))
    return Singular(left, values, right)


@named_in_errors
def svdvals(x: Any, /) -> Tensor:
    """Return only the singular values that `svd` returns (standard 2024.12, linalg.svdvals).

    >>> import tinyml
    >>> tinyml.linalg.svdvals(tinyml.tensor([[0.0, 2.0], [1.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    return apply(SVDVALS, _matrix(x))


def _tolerance(x: Any, rtol: Any) -> Any:
    """Return the fraction of the greatest singular value up to which others count as 0."""
    if rtol is None:
        kind = x.dtype if x.dtype.is_inexact else float32
        size: int = x.shape[-1] if x.shape[-1] > x.shape[-2] else x.shape[-2]
        return size * float(finfo(kind).eps)
    return rtol if isinstance(rtol, (int, float)) else asarray(rtol, device=x.device)


@named_in_errors
def pinv(x: Any, /, *, rtol: Any = None) -> Tensor:
    """Return the pseudoinverse (..., n, m) of matrices (Array API standard 2024.12, linalg.pinv).

    Singular values of at most `rtol` times the greatest count as 0. `rtol` is a number or a tensor
    that broadcasts to the batch, by default max(m, n) eps. Gradients are right where the rank does
    not change. Raises ShapeError, DTypeError.

    >>> import tinyml
    >>> tinyml.linalg.pinv(tinyml.tensor([[2.0], [0.0]])).tolist()
    [[0.5, 0.0]]
    """
    x = _matrix(x)
    return apply(PINV, x, _tolerance(x, rtol))


@named_in_errors
def matrix_rank(x: Any, /, *, rtol: Any = None) -> Tensor:
    """Return the number of singular values of each matrix above `rtol` times the greatest.

    Array API standard 2024.12, linalg.matrix_rank; `rtol` is as in `pinv`, the result int64. Raises
    ShapeError, DTypeError.

    >>> import tinyml
    >>> tinyml.linalg.matrix_rank(tinyml.ones((2, 2))).item()
    1
    """
    x = _matrix(x)
    values = svdvals(x)
    if not values.shape[-1]:
        return sum(astype(values, int64), -1)
    least: Any = _tolerance(x, rtol)
    if not isinstance(least, (int, float)):
        least = reshape(least, (*least.shape, 1))
    return sum(astype(values > max(values, -1, True) * least, int64), -1)


@named_in_errors
def det(x: Any, /) -> Tensor:
    """Return the determinant of square matrices (Array API standard 2024.12, linalg.det).

    A polynomial: its derivatives of any order are finite for singular matrices, too. Raises
    ShapeError, DTypeError.

    >>> import tinyml
    >>> tinyml.linalg.det(tinyml.tensor([[2.0, 0.0], [0.0, 4.0]])).item()
    8.0
    """
    return apply(DET, _matrix(x))


@named_in_errors
def slogdet(x: Any, /) -> Determinant:
    """Return the sign of determinants and the log of their absolute value, without overflow.

    Array API standard 2024.12, linalg.slogdet; the fields are sign and logabsdet. A singular matrix
    gives 0 and -inf, and its gradient raises ArgumentError. Raises ShapeError, DTypeError.

    >>> import tinyml
    >>> tinyml.linalg.slogdet(tinyml.tensor([[1.0, 0.0], [0.0, -1.0]])).sign.item()
    -1.0
    """
    size, sign = apply_many(SLOGDET, _matrix(x))
    return Determinant(sign, size)


# ---- functions built on those above


@named_in_errors
@rounded_once
def matrix_power(x: Any, n: int, /) -> Tensor:
    """Return the n-th power of square matrices; if n is negative, that of the inverse.

    Array API standard 2024.12, linalg.matrix_power: (..., m, m). Raises ShapeError,
    ArgumentTypeError, and ArgumentError for a singular matrix and a negative n, or an n of more
    than 64 bits.

    >>> import tinyml
    >>> tinyml.linalg.matrix_power(tinyml.tensor([[1, 1], [0, 1]]), 3).tolist()
    [[1, 3], [0, 1]]
    """
    x, n = asarray(x), as_size(n, "n")
    expect(n.bit_length() < 64, "n of at most 64 bits", n.bit_length(), ArgumentError)
    expect(x.ndim >= 2 and x.shape[-1] == x.shape[-2], "square matrices", x.shape, ShapeError)
    if n == 0:
        return broadcast_to(eye(x.shape[-1], dtype=x.dtype, device=x.device), x.shape)
    square, left = (inv(x), -n) if n < 0 else (x, n)
    found: Tensor | None = None
    while left:
        if left & 1:
            found = square if found is None else matmul(found, square)
        left >>= 1
        square = matmul(square, square) if left else square
    assert found is not None
    return found


@named_in_errors
def diagonal(x: Any, /, *, offset: int = 0) -> Tensor:
    """Return the diagonals of matrices (Array API standard 2024.12, linalg.diagonal).

    A positive `offset` counts columns to the right, a negative one rows down. Raises ShapeError.

    >>> import tinyml
    >>> tinyml.linalg.diagonal(tinyml.tensor([[1, 2], [3, 4]])).tolist()
    [1, 4]
    """
    x = asarray(x)
    expect(x.ndim >= 2, "at least 2 axes", x.shape, ShapeError)
    return diagonal_of(x, offset, -2, -1)


@named_in_errors
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """Return the sums along diagonals, typed as in `sum` (standard 2024.12, linalg.trace).

    Raises ShapeError.

    >>> import tinyml
    >>> tinyml.linalg.trace(tinyml.tensor([[1, 2], [3, 4]])).item()
    5
    """
    return sum(diagonal(x, offset=offset), -1, dtype=dtype)


@named_in_errors
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """Return a norm of each matrix (Array API standard 2024.12, linalg.matrix_norm).

    `ord`: "fro" (or None), the root of the sum of squares; "nuc", the sum of the singular values; 2
    and -2, the greatest and the least of them; 1 and -1, the greatest and the least column sum of
    absolute values; inf and -inf, row sum. The result is real. Raises ShapeError, ArgumentError.

    >>> import tinyml
    >>> tinyml.linalg.matrix_norm(tinyml.tensor([[3.0, 0.0], [0.0, 4.0]])).item()
    5.0
    """
    x = _matrix(x)
    if ord is None or isinstance(ord, str):
        expect(ord in (None, "fro", "nuc"), "ord 'fro' or 'nuc'", ord, ArgumentError)
    elif isinstance(ord, bool) or not isinstance(ord, (int, float)):
        raise ArgumentTypeError(f"ord is {shown(ord)}",
                                remedy="'fro', 'nuc', 1, -1, 2, -2, inf, -inf")
    if ord in (None, "fro"):
        return vector_norm(x, (-2, -1), keepdims)
    if ord == "nuc":
        found: Any = sum(svdvals(x), -1)
    else:
        size = math.fabs(ord)
        expect(size in (1, 2, math.inf), "ord of size 1, 2 or inf", ord, ArgumentError)
        values = svdvals(x) if size == 2 else sum(abs(x), -2 if size == 1 else -1)
        found = (max if ord > 0 else min)(values, -1)
    return reshape(found, (*found.shape, 1, 1)) if keepdims else found


if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
