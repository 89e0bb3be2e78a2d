"""The reference's linear algebra: elimination, reflections and rotations, one matrix at a time.

It uses nothing from LAPACK, so it works in long double. A matrix that holds a NaN or an infinity
gives NaN. Eigenvectors and singular vectors are determined only up to a factor of magnitude 1, so
`UNIQUE` says for each such op which part of its outputs is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .rules import define

Array = npt.NDArray[Any]
SWEEPS = 30  # of rotations; each squares the remaining off-diagonal part


def _part(x: Array) -> Any:
    """Return the type of x's parts."""
    return x.real.dtype


def _adjoint(x: Array) -> Array:
    return np.conj(np.swapaxes(x, -1, -2))


def each(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one matrix (and of a second, broadcast) extended to batches of them."""

    def over(x: Array, *others: Any, **attrs: Any) -> Any:
        arrays = [np.asarray(other, x.dtype) for other in others if np.ndim(other) >= 2]
        numbers = [other for other in others if np.ndim(other) < 2]
        batch = np.broadcast_shapes(x.shape[:-2], *[other.shape[:-2] for other in arrays])
        wide = [np.broadcast_to(a, (*batch, *a.shape[-2:])) for a in (x, *arrays)]
        found = []
        for place in np.ndindex(*batch) if 0 not in batch else [None]:
            own = [np.zeros(a.shape[-2:], a.dtype) + (np.eye(*a.shape[-2:], dtype=a.dtype))
                   if place is None else a[place].copy() for a in wide]
            bad = not np.isfinite(own[0]).all()
            own[0] = np.eye(*own[0].shape, dtype=x.dtype) if bad else own[0]
            result = function(*own, *numbers, **attrs)
            results = result if isinstance(result, tuple) else (result,)
            found.append([np.full_like(r, np.nan) if bad else np.asarray(r) for r in results])
        stacked = [np.reshape(np.stack(column)[: 0 if 0 in batch else None],
                              (*batch, *column[0].shape)) for column in zip(*found)]
        return tuple(stacked) if len(stacked) > 1 else stacked[0]

    over.__doc__ = function.__doc__
    return over


# ---- elimination


def _eliminated(x: Array, b: Array) -> tuple[Array, Array, int]:
    """Return x reduced to upper triangular form by partial pivoting, b alike, and the sign.

    The sign is that of the permutation of the rows.
    """
    sign = 1
    for k in range(len(x)):
        best = k + int(np.argmax(np.abs(x[k:, k])))
        if best != k:
            x[[k, best]], b[[k, best]] = x[[best, k]], b[[best, k]]
            sign = -sign
        for row in range(k + 1, len(x)):
            factor = x[row, k] / x[k, k] if x[k, k] else x[k, k]
            x[row, k:] -= factor * x[k, k:]
            b[row] -= factor * b[k]
    return x, b, sign


@define("solve")
@each
def solve(x: Array, b: Array) -> Array:
    """Return the solution by elimination, then back substitution."""
    x, b, _ = _eliminated(x, b)
    for k in range(len(x) - 1, -1, -1):
        b[k] = (b[k] - x[k, k + 1 :] @ b[k + 1 :]) / x[k, k]
    return b


@define("inv")
def inv(x: Array) -> Array:
    """Return the inverse: the solution for the columns of the identity."""
    return np.asarray(solve(x, np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape)))


@define("det")
@each
def det(x: Array) -> Array:
    """Return the product of the pivots."""
    pivots, _, sign = _eliminated(x, np.zeros((len(x), 0), x.dtype))
    return np.asarray(sign * np.prod(np.diagonal(pivots)), x.dtype)


@define("cofactor")
@each
def cofactor(x: Array) -> Array:
    """Return the cofactors: signed determinants with one row and one column left out."""
    found = np.zeros_like(x)
    for i, j in np.ndindex(*x.shape):
        minor = np.delete(np.delete(x, i, 0), j, 1)
        found[i, j] = (-1) ** (i + j) * det(minor)
    return found


@define("cofactor_dx")
@each
def cofactor_dx(x: Array, h: Array) -> Array:
    """Return the sum over rows of the cofactors of x with that row taken from h, not its own."""
    found = np.zeros_like(x)
    for row in range(len(x)):
        mixed = x.copy()
        mixed[row] = h[row]
        own = cofactor(mixed)
        own[row] = 0
        found += own
    return found


@define("slogdet", result="part and first")
@each
def slogdet(x: Array) -> tuple[Array, Array]:
    """Return the sum of the logarithms of the pivots' magnitudes, and their signs' product."""
    pivots, _, sign = _eliminated(x, np.zeros((len(x), 0), x.dtype))
    sizes = np.abs(np.diagonal(pivots))
    turns = np.where(sizes == 0, 0, np.diagonal(pivots) / np.where(sizes == 0, 1, sizes))
    return np.asarray(np.sum(np.log(sizes)), _part(x)), np.asarray(sign * np.prod(turns), x.dtype)


@define("cholesky")
@each
def cholesky(x: Array) -> Array:
    """Return the lower Cholesky factor, computed row by row."""
    x = (x + _adjoint(x)) / 2
    found = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(i + 1):
            left = x[i, j] - found[i, :j] @ np.conj(found[j, :j])
            found[i, j] = np.sqrt(left.real) if i == j else left / found[j, j]
    return found


# ---- reflections


@define("qr", result="two of the first")
@each
def qr(x: Array, complete: bool) -> tuple[Array, Array]:
    """Return Householder's factors; as in LAPACK, a column that is zero below its head stays."""
    m, n = x.shape
    q = np.eye(m, dtype=x.dtype)
    for k in range(min(m, n)):
        column = x[k:, k].copy()
        size = np.sqrt(np.sum(np.abs(column) ** 2))
        if np.all(column[1:] == 0) and (x.dtype.kind != "c" or column[0].imag == 0):
            continue
        new = -np.copysign(size, column[0].real)
        # I - tau w w^H with w[0] = 1 takes the column to `new` times the first unit vector.
        w = column / (column[0] - new)
        w[0] = 1
        tau = (new - column[0]) / new
        x[k:] -= np.conj(tau) * np.outer(w, np.conj(w) @ x[k:])
        x[k + 1 :, k] = 0
        q[:, k:] -= tau * np.outer(q[:, k:] @ w, np.conj(w))
    width = m if complete else n
    return q[:, :width], x[:width]


# ---- rotations


def _rotated(x: Array) -> tuple[Array, Array]:
    """Return the ascending eigenvalues and vectors of a Hermitian matrix, by Jacobi's rotations."""
    n = len(x)
    v = np.eye(n, dtype=x.dtype)
    small = np.finfo(_part(x)).tiny
    for _ in range(SWEEPS):
        for p in range(n):
            for q in range(p + 1, n):
                size = np.abs(x[p, q])
                if size <= small:
                    continue
                slope = (x[q, q].real - x[p, p].real) / (2 * size)
                t = np.copysign(1 / (np.abs(slope) + np.sqrt(slope * slope + 1)), slope)
                c = 1 / np.sqrt(t * t + 1)
                s = t * c * x[p, q] / size
                turn = np.array([[c, s], [-np.conj(s), c]], x.dtype)
                x[:, [p, q]] = x[:, [p, q]] @ turn
                x[[p, q]] = _adjoint(turn) @ x[[p, q]]
                x[p, q] = x[q, p] = 0
                v[:, [p, q]] = v[:, [p, q]] @ turn
    order = np.argsort(np.diagonal(x).real)
    return np.diagonal(x).real[order].copy(), v[:, order]


@define("eigh", result="part and first")
@each
def eigh(x: Array) -> tuple[Array, Array]:
    """Return the eigenvalues and eigenvectors of the Hermitian part."""
    return _rotated((x + _adjoint(x)) / 2)


@define("eigvalsh", result="part")
def eigvalsh(x: Array) -> Array:
    """Return the eigenvalues of the Hermitian part."""
    return np.asarray(eigh(x)[0])


def _decomposed(x: Array) -> tuple[Array, Array, Array]:
    """Return the descending singular values and their vectors, by the smaller Gram matrix."""
    m, n = x.shape
    if m < n:
        s, u, vh = _decomposed(_adjoint(x))
        return s, _adjoint(vh), _adjoint(u)
    squares, v = _rotated(_adjoint(x) @ x)
    s, v = np.sqrt(np.maximum(squares[::-1], 0)), v[:, ::-1]
    return s, (x @ v) / s, _adjoint(v)


def _completed(u: Array) -> Array:
    """Return orthonormal columns extended to a square matrix."""
    rest = qr(u.copy(), complete=True)[0][:, u.shape[1] :]
    return np.concatenate([u, rest], 1)


@define("svd", result="part and two of the first")
@each
def svd(x: Array, full: bool) -> tuple[Array, Array, Array]:
    """Return the factors by rotations; with `full`, reflections complete the vectors."""
    s, u, vh = _decomposed(x)
    return (s, _completed(u), _adjoint(_completed(_adjoint(vh)))) if full else (s, u, vh)


@define("svdvals", result="part")
def svdvals(x: Array) -> Array:
    """Return the singular values that `svd` gives."""
    return np.asarray(svd(x, full=False)[0])


@define("pinv", data=(0,))
@each
def pinv(x: Array, rtol: Any) -> Array:
    """Return the pseudoinverse: singular values inverted, or 0 where they count as 0."""
    s, u, vh = _decomposed(x)
    kept = s > rtol * (s[0] if len(s) else 0)
    factors = np.where(kept, 1 / np.where(kept, s, 1), 0)
    return np.asarray(_adjoint(vh) @ (factors[:, None] * _adjoint(u)))


# ---- the unique part of outputs


def _eigen(w: Array, v: Array) -> tuple[Array, ...]:
    return w, (v * w[..., None, :]) @ _adjoint(v), _adjoint(v) @ v


def _singular(s: Array, u: Array, vh: Array) -> tuple[Array, ...]:
    count = s.shape[-1]
    product = (u[..., :count] * s[..., None, :]) @ vh[..., :count, :]
    return s, product, _adjoint(u) @ u, vh @ _adjoint(vh)


UNIQUE: dict[str, Callable[..., tuple[Array, ...]]] = {"eigh": _eigen, "svd": _singular}
