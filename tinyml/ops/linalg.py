"""Linear algebra by LAPACK: one table of records; devices without LAPACK reject them.

Each takes matrices in the last two axes, with the axes before as a batch, of float32, float64,
complex64 or complex128. The public functions are in `tinyml.linalg`. Gradient rules are Hermitian
adjoints; `cholesky` and the eigenvalue ops read the Hermitian part (x + x^H) / 2, so that their
gradients are Hermitian. Where eigenvalues or singular values are equal, their vectors have no
derivative: gradients through them are not finite, but gradients through the values are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinyml.ops.samples.linalg as samples
from tinyml.core.apply import apply, apply_many
from tinyml.dtypes import COMPLEX, DType, part
from tinyml.errors import (
    ArgumentError,
    DTypeError,
    GradientError,
    KernelNotFound,
    ShapeError,
    expect,
)
from tinyml.ir.devices import find_kernels
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import broadcast_shapes, with_shape
from tinyml.ops.creation import IOTA, eye
from tinyml.ops.diagonal import diag_embed, tril, triu
from tinyml.ops.elementwise import conj, negative
from tinyml.ops.elementwise.conversion import complex, imag, where
from tinyml.ops.matmul import matmul, unbatched
from tinyml.ops.reduction import sum
from tinyml.ops.samples.values import ErrorCase
from tinyml.ops.views import reshape, slice_axis, zeros_of

WIDE = ("float32", "float64", *COMPLEX)
Shape = tuple[int, ...]
Output = tuple[Shape, DType]

# ---- the form of a record


def _shapes(name: str, square: bool,
            outputs: Callable[..., tuple[Output, ...]]) -> Callable[..., Any]:
    """Return a shape rule: matrices of a wide type, on a device with a kernel for the op."""

    def infer(x: Spec, *others: Any, **attrs: Any) -> Any:
        expect(x.dtype.name in WIDE, f"one of {', '.join(WIDE)}", x.dtype.name, DTypeError)
        expect(x.ndim >= 2, "at least 2 axes", x.shape, ShapeError)
        expect(not square or x.shape[-1] == x.shape[-2], "square matrices", x.shape, ShapeError)
        given = outputs(x, *others, **attrs)
        if not find_kernels(name, x.device.name):
            raise KernelNotFound(f"device {x.device.name} has no LAPACK; the CPU has",
                                 remedy='x.to("cpu") before, and .to(device) after it')
        specs = tuple([with_shape(x, shape, dtype) for shape, dtype in given])
        return specs if len(specs) > 1 else specs[0]

    return infer


def adjoint(x: Any) -> Any:
    """Return the conjugate transpose of matrices."""
    return conj(x).mT


def _as_column(x: Any) -> Any:
    """Return a number or vector per matrix with one more axis, to broadcast as a column."""
    return reshape(x, (*x.shape, 1))


def _as_row(x: Any) -> Any:
    return reshape(x, (*x.shape[:-1], 1, x.shape[-1]))


def _hermitian(x: Any) -> Any:
    return (x + adjoint(x)) * 0.5


def _halved(x: Any, triangle: Callable[..., Any], strict: int) -> Any:
    """Return a triangle of matrices with the diagonal halved."""
    return (triangle(x) + triangle(x, strict)) * 0.5


def _over(x: Any, r: Any) -> Any:
    """Return x r^-H."""
    return adjoint(apply(SOLVE, r, adjoint(x)))


def _gaps(sums: Any, differences: Any) -> Any:
    """Return 1 / (sums differences) off the diagonal, 0 on it."""
    own = apply(IOTA, differences, axis=-1) == apply(IOTA, differences, axis=-2)
    gaps = where(own, 1.0, differences if sums is None else differences * sums)
    return where(own, 0.0, 1.0 / gaps)


# ---- rules


def _cholesky_rule(g: Any, y: Any, _x: Any) -> Any:
    """Return y^-H P(y^H g) y^-1; P takes the lower triangle, diagonal halved (Murray 2016)."""
    inner = _halved(matmul(adjoint(y), g), tril, -1)
    left = apply(SOLVE, adjoint(y), inner)
    return _hermitian(_over(left, adjoint(y)))


def _cofactor_dx_body(x: Any, h: Any) -> Any:
    """Return the cofactors' derivative along h, by Faddeev and LeVerrier's recurrence.

    With p = x m: m' = p - tr(p) / k, n - 1 times from m = 1, gives the adjugate, whatever the rank.
    A polynomial without quotients of elements: it differentiates to any order.
    """
    n = x.shape[-1]
    one = (apply(IOTA, x, axis=-1) == apply(IOTA, x, axis=-2)).astype(x.dtype)
    m, slope = one, zeros_of(x)
    for k in range(1, n):
        slope = matmul(h, m) + matmul(x, slope)
        m = matmul(x, m)
        m, slope = (y - sum(y * one, (-2, -1), keepdims=True) * (1.0 / k) * one
                    for y in (m, slope))
    return slope.mT if n % 2 else negative(slope.mT)


def _slogdet_rule(g: Any, y: Any, x: Any) -> Any:
    """Return x^-H times the cotangent of log |det| and of the angle of a complex sign."""
    of_size, of_sign = g
    factor = of_size
    if of_sign is not None and x.dtype.kind == "complex":
        turned = -imag(conj(of_sign) * y[1])
        factor = complex(turned * 0.0 if of_size is None else of_size, turned)
    if factor is None:
        return None
    return _as_column(_as_column(factor)) * adjoint(apply(INV, x))


def _solve_first(g: Any, y: Any, a: Any, _b: Any) -> Any:
    return unbatched(-matmul(apply(SOLVE, adjoint(a), g), adjoint(y)), a)


def _solve_second(g: Any, _y: Any, a: Any, _b: Any) -> Any:
    return unbatched(apply(SOLVE, adjoint(a), g), _b)


def _qr_rule(g: Any, y: Any, _x: Any, *, complete: bool) -> Any:
    """Return (gq + q S) r^-H, with S Hermitian from a triangle of r gr^H - gq^H q (Walter 2010)."""
    gq, gr = g
    q, r = y
    if q.shape[-1] > r.shape[-1]:
        raise GradientError("the columns that complete q have no derivative",
                            remedy="mode='reduced'")
    inner = None if gr is None else matmul(triu(gr), adjoint(r))
    if gq is not None:
        own = matmul(adjoint(q), gq)
        inner = -own if inner is None else inner - own
    half = _halved(inner, triu, 1)
    found = matmul(q, half + adjoint(half))
    return _over(found if gq is None else gq + found, r)


def _eigh_rule(g: Any, y: Any, _x: Any) -> Any:
    """Return the Hermitian part of v (diag(gw) + (v^H gv) / (w_j - w_i)) v^H (Giles 2008)."""
    gw, gv = g
    w, v = y
    found = None if gw is None else v * _as_row(gw)
    if gv is not None:
        gaps = _gaps(None, _as_row(w) - _as_column(w))
        turned = matmul(v, matmul(adjoint(v), gv) * gaps)
        found = turned if found is None else found + turned
    return _hermitian(matmul(found, adjoint(v)))


def _svd_rule(g: Any, y: Any, _x: Any, *, full: bool) -> Any:
    """Return the contributions of those outputs that have a cotangent (Wan and Zhang 2019)."""
    gs, gu, gvh = g
    s, u, vh = y
    count = s.shape[-1]
    if max(u.shape[-1], vh.shape[-2]) > count:
        if gu is not None or gvh is not None:
            raise GradientError("the vectors beside those of a singular value have no derivative",
                                remedy="full_matrices=False")
        u, vh = slice_axis(u, u.ndim - 1, 0, count), slice_axis(vh, vh.ndim - 2, 0, count)
    if gu is None and gvh is None:
        return matmul(u * _as_row(gs), vh)
    row, column = _as_row(s), _as_column(s)
    gaps = _gaps(row + column, row - column)
    inner = None if gs is None else diag_embed(gs)
    outer = None
    if gu is not None:
        own = matmul(adjoint(u), gu)
        skew = own - adjoint(own)
        inner = _plus(inner, skew * gaps * row)
        if own.dtype.kind == "complex":  # the phase that u and v share
            inner = inner + skew * eye(count, dtype=s.dtype) / (2.0 * column)
        outer = matmul((gu - matmul(u, own)) / row, vh)
    if gvh is not None:
        own = matmul(gvh, adjoint(vh))
        inner = _plus(inner, column * ((adjoint(own) - own) * gaps))
        outer = _plus(outer, matmul(u, (gvh - matmul(own, vh)) / column))
    return matmul(matmul(u, inner), vh) + outer


def _plus(x: Any, y: Any) -> Any:
    return y if x is None else x + y


def _svdvals_rule(g: Any, _y: Any, x: Any) -> Any:
    _, u, vh = apply_many(SVD, x, full=False)
    return matmul(u * _as_row(g), vh)


def _eigvalsh_rule(g: Any, _y: Any, x: Any) -> Any:
    v = apply_many(EIGH, x)[1]
    return matmul(v * _as_row(g), adjoint(v))


def _pinv_rule(g: Any, y: Any, x: Any, _rtol: Any) -> Any:
    """Return the gradient by Golub and Pereyra (1973), for a rank that does not change."""
    gh, yh = adjoint(g), adjoint(y)
    left = matmul(matmul(gh, y), yh)
    right = matmul(yh, matmul(y, gh))
    return (left - matmul(x, matmul(y, left)) + right - matmul(matmul(right, y), x)
            - matmul(matmul(yh, g), yh))


# ---- the table


def _row(name: str, square: bool, outputs: Callable[..., tuple[Output, ...]], doc: str,
         make: str = "square", errors: tuple[ErrorCase, ...] = (), **fields: Any) -> Op:
    """Define an op with the shared error cases: no matrix, not square, a type without LAPACK."""
    others = _OTHERS.get(name, ((), {}))

    def cases() -> list[ErrorCase]:
        def wrong(x: Any, error: type[Exception], says: str) -> ErrorCase:
            return ErrorCase((x, *others[0]), others[1], error, says)

        found = [wrong(np.ones(2, np.float32), ShapeError, "at least 2 axes"),
                 wrong(np.ones((2, 2), np.float16), DTypeError, "float16"),
                 wrong(np.ones((2, 2), np.int32), DTypeError, "int32")]
        if square:
            found.append(wrong(np.ones((2, 3), np.float32), ShapeError, "square matrices"))
        return [*found, *errors]

    return define(name, _shapes(name, square, outputs), samples=samples.matrices(make, *others),
                  errors=cases, dtypes=WIDE, ulp=16, doc=doc, **fields)


# Operands after the matrix, and attributes, for the error cases and most samples.
_OTHERS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "pinv": ((1e-5,), {}), "qr": ((), {"complete": False}), "svd": ((), {"full": False}),
    "solve": ((np.ones((2, 1), np.float32),), {}),
    "cofactor_dx": ((np.ones((2, 2), np.float32),), {}),
}


def _same(x: Spec, *_: Any) -> tuple[Output, ...]:
    return ((x.shape, x.dtype),)


def _values(x: Spec) -> tuple[Output, ...]:
    return ((*x.shape[:-2], min(x.shape[-2:])), part(x.dtype)),


def _solve_outputs(x: Spec, b: Spec) -> tuple[Output, ...]:
    expect(b.dtype is x.dtype, f"operand 1 of {x.dtype.name}", b.dtype.name, DTypeError)
    expect(b.ndim >= 2 and b.shape[-2] == x.shape[-1], f"operand 1 with {x.shape[-1]} rows",
           b.shape, ShapeError)
    batch = broadcast_shapes(x.shape[:-2], b.shape[:-2])
    return ((*batch, *b.shape[-2:]), x.dtype),


def _pair_outputs(x: Spec, h: Spec) -> tuple[Output, ...]:
    expect(h.dtype is x.dtype, f"operand 1 of {x.dtype.name}", h.dtype.name, DTypeError)
    expect(h.shape == x.shape, f"operand 1 of shape {x.shape}", h.shape, ShapeError)
    return _same(x)


def _qr_outputs(x: Spec, *, complete: bool) -> tuple[Output, ...]:
    *batch, m, n = x.shape
    expect(m >= n, "at least as many rows as columns", x.shape, ShapeError,
           remedy="tinyml.linalg.qr takes others, too")
    width = m if complete else n
    return ((*batch, m, width), x.dtype), ((*batch, width, n), x.dtype)


def _svd_outputs(x: Spec, *, full: bool) -> tuple[Output, ...]:
    *batch, m, n = x.shape
    count = min(m, n)
    wide = (m, n) if full else (count, count)
    return (((*batch, count), part(x.dtype)), ((*batch, m, wide[0]), x.dtype),
            ((*batch, wide[1], n), x.dtype))


def _pinv_outputs(x: Spec, rtol: Any) -> tuple[Output, ...]:
    *batch, m, n = x.shape
    if isinstance(rtol, Spec):
        expect(rtol.dtype.is_float, "rtol of a real float type", rtol.dtype.name, DTypeError)
        expect(broadcast_shapes(rtol.shape, tuple(batch)) == tuple(batch),
               f"rtol that broadcasts to {tuple(batch)}", rtol.shape, ShapeError)
    return ((*batch, n, m), x.dtype),


_SINGULAR = np.ones((2, 2), np.float32)

CHOLESKY: Op = _row(
    "cholesky", True, _same, "The lower triangular l with l l^H the Hermitian part of x.",
    "positive", grad=(_cholesky_rule,),
    errors=(ErrorCase((-_SINGULAR,), {}, ArgumentError, "not positive definite"),))
INV: Op = _row(
    "inv", True, _same, "The inverse of x.",
    grad=(lambda g, y, _x: negative(matmul(matmul(adjoint(y), g), adjoint(y))),),
    errors=(ErrorCase((_SINGULAR,), {}, ArgumentError, "singular"),))
DET: Op = _row(
    "det", True, lambda x: ((x.shape[:-2], x.dtype),), "The determinant of x.",
    grad=(lambda g, _y, x: _as_column(_as_column(g)) * conj(apply(COFACTOR, x)),))
COFACTOR: Op = _row(
    "cofactor", True, _same, "The cofactors of x: det's gradient, even if x has no inverse.",
    grad=(lambda g, _y, x: conj(apply(COFACTOR_DX, x, conj(g))),))
COFACTOR_DX: Op = _row(
    "cofactor_dx", True, _pair_outputs, "The derivative of the cofactors of x along h, even if x "
    "has no inverse.", "pair", body=_cofactor_dx_body,
    errors=(ErrorCase((_SINGULAR, np.ones((3, 1), np.float32)), {}, ShapeError, "of shape"),
            ErrorCase((_SINGULAR, np.ones((2, 2))), {}, DTypeError, "float64")))
SLOGDET: Op = _row(
    "slogdet", True, lambda x: ((x.shape[:-2], part(x.dtype)), (x.shape[:-2], x.dtype)),
    "The logarithm of the determinant's modulus, and its sign, of modulus 1 or 0.",
    grad=(_slogdet_rule,), accepts_none_cotangents=True)
SOLVE: Op = _row(
    "solve", True, _solve_outputs, "The solution y of x y = b; the batches broadcast.", "solve",
    grad=(_solve_first, _solve_second),
    errors=(ErrorCase((_SINGULAR, _SINGULAR), {}, ArgumentError, "singular"),
            ErrorCase((_SINGULAR, np.ones((3, 1), np.float32)), {}, ShapeError, "2 rows"),
            ErrorCase((_SINGULAR, np.ones((2, 1))), {}, DTypeError, "float64")))
QR: Op = _row(
    "qr", False, _qr_outputs,
    "q with orthonormal columns and an upper triangular r, whose product is x, by Householder "
    "reflections: each diagonal element of r has the sign opposite to its column's first element.",
    "tall", grad=(_qr_rule,), accepts_none_cotangents=True,
    errors=(ErrorCase((np.ones((2, 3), np.float32),), {"complete": False}, ShapeError, "as many"),))
EIGH: Op = _row(
    "eigh", True, lambda x: (*_values(x), (x.shape, x.dtype)),
    "The ascending eigenvalues of the Hermitian part of x, and their vectors in columns.",
    "hermitian", grad=(_eigh_rule,), accepts_none_cotangents=True)
EIGVALSH: Op = _row(
    "eigvalsh", True, _values, "The ascending eigenvalues of the Hermitian part of x.", "hermitian",
    grad=(_eigvalsh_rule,))
SVD: Op = _row(
    "svd", False, _svd_outputs, "The descending singular values s, and u, vh: u diag(s) vh = x.",
    "any", grad=(_svd_rule,), accepts_none_cotangents=True)
SVDVALS: Op = _row("svdvals", False, _values, "The descending singular values of x.", "any",
                   grad=(_svdvals_rule,))
PINV: Op = _row(
    "pinv", False, _pinv_outputs, "The pseudoinverse of x; singular values of at most rtol times "
    "the greatest count as 0.", "any", grad=(_pinv_rule, None))

BY_LAPACK = frozenset(op.name for op in (CHOLESKY, INV, DET, COFACTOR, COFACTOR_DX, SLOGDET, SOLVE,
                                         QR, EIGH, EIGVALSH, SVD, SVDVALS, PINV))
