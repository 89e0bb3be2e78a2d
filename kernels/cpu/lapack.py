"""The CPU's linear algebra kernels: LAPACK through NumPy, on one BLAS thread.

The bits of LAPACK's results depend on the number of BLAS threads, so it is set to 1 during a call
and restored afterwards; a lock keeps two calls from doing so at once. OpenBLAS, in NumPy's wheels
for Linux and macOS, has this setting. If NumPy's library does not, the number is unchanged, and
the same bits are promised only for the same number of threads.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinyml.concurrency import new_lock
from tinyml.errors import ArgumentError
from tinyml.ir.devices import Call, Plan, kernel
from tinyml.ir.spec import Spec
from tinyml.kernels.common.interchange import array_at

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]
# Names of OpenBLAS's setting, with and without NumPy's prefix and the suffix for 64-bit integers.
NAMES = [f"{prefix}openblas_{{}}_num_threads{suffix}"
         for prefix in ("scipy_", "") for suffix in ("64_", "")]
_lock = new_lock()


@functools.lru_cache(1)
def threads() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Return BLAS's getter and setter for its number of threads; None if it has none."""
    try:
        from numpy.linalg import _umath_linalg  # the module linked with the library

        library = ctypes.CDLL(_umath_linalg.__file__)
    except (ImportError, OSError):  # a NumPy built differently
        return None
    for name in NAMES:
        try:
            return library[name.format("get")], library[name.format("set")]
        except AttributeError:
            pass
    return None


@contextmanager
def one_thread() -> Iterator[None]:
    """Give BLAS one thread inside the block, and restore the number after it."""
    with _lock:
        found = threads()
        if found is None:
            yield
            return
        get, set_to = found
        before = get()
        try:
            set_to(1)
            yield
        finally:
            set_to(before)


# ---- by name: from matrices to the outputs


def _hermitian(x: Array) -> Array:
    return x / 2 + np.conj(np.swapaxes(x, -1, -2)) / 2


def _products_of_others(s: Array) -> Array:
    """Return, for each number of the last axis, the product of all others, without division."""
    one = np.ones((*s.shape[:-1], 1), s.dtype)
    before = np.cumprod(np.concatenate([one, s[..., :-1]], -1), -1)[..., : s.shape[-1]]
    after = np.cumprod(np.concatenate([one, s[..., :0:-1]], -1), -1)[..., ::-1][..., : s.shape[-1]]
    return np.asarray(before * after)


def _turned(u: Array, inner: Array, vh: Array) -> Array:
    """Return the cofactors of u s vh, given those of s: a unitary u has det(u) conj(u)."""
    turn = np.linalg.det(u) * np.linalg.det(vh)
    return np.asarray(turn[..., None, None] * (np.conj(u) @ inner @ np.conj(vh)))


def _cofactor(x: Array) -> Arrays:
    """Return the cofactors, from products of all singular values but one."""
    u, s, vh = np.linalg.svd(x)
    return (_turned(u, _products_of_others(s)[..., None] * np.eye(x.shape[-1], dtype=s.dtype), vh),)


def _cofactor_dx(x: Array, h: Array) -> Arrays:
    """Return the cofactors' derivative along h, from products of all singular values but two.

    For a diagonal s, m moves cofactor i, i by the products without i and k, times m[k, k], and
    cofactor i, j by minus the product without i and j, times m[j, i].
    """
    u, s, vh = np.linalg.svd(x)
    one = np.eye(x.shape[-1], dtype=s.dtype)
    but_two = _products_of_others(np.where(one == 1, 1, s[..., None, :])) * (1 - one)
    m = np.conj(np.swapaxes(u, -1, -2)) @ h @ np.conj(np.swapaxes(vh, -1, -2))
    own = but_two @ np.diagonal(m, axis1=-2, axis2=-1)[..., None]
    return (_turned(u, own * one - but_two * np.swapaxes(m, -1, -2), vh),)


def _svd(x: Array, full: bool) -> Arrays:
    u, s, vh = np.linalg.svd(x, full_matrices=full)
    return s, u, vh


LAPACK: dict[str, Callable[..., Arrays]] = {
    "cholesky": lambda x: (np.linalg.cholesky(_hermitian(x)),),
    "cofactor": _cofactor,
    "cofactor_dx": _cofactor_dx,
    "det": lambda x: (np.linalg.det(x),),
    "eigh": lambda x: tuple(np.linalg.eigh(_hermitian(x))),
    "eigvalsh": lambda x: (np.linalg.eigvalsh(_hermitian(x)),),
    "inv": lambda x: (np.linalg.inv(x),),
    "pinv": lambda x, rtol: (np.linalg.pinv(x, rtol=rtol),),
    "qr": lambda x, complete: tuple(np.linalg.qr(x, "complete" if complete else "reduced")),
    "slogdet": lambda x: tuple(np.linalg.slogdet(x))[::-1],
    "solve": lambda x, b: (np.linalg.solve(x, b),),
    "svd": _svd,
    "svdvals": lambda x: (np.linalg.svd(x, compute_uv=False),),
}
# Elimination and reflections, which treat an infinity like any other number.
DIRECT = ("cholesky", "det", "inv", "qr", "slogdet", "solve")
# The meaning of LAPACK's failure, and the remedy.
REFUSALS = {
    "cholesky": ("a matrix is not positive definite", "add a multiple of the identity to it"),
    "inv": ("a matrix is singular", "tinyml.linalg.pinv"),
    "solve": ("a matrix is singular", "tinyml.linalg.pinv"),
}
LOST = ("the iteration did not converge", "scale the matrix; its elements differ by too much")


def computed(name: str, *xs: Any, **attrs: Any) -> list[Array]:
    """Return the outputs of an op; a matrix that holds a NaN gives NaN everywhere.

    So does an infinity if eigenvalues or singular values are computed: what LAPACK does then
    differs between libraries, and it may iterate forever.
    """
    x = xs[0]
    good = ~(np.isnan(x) if name in DIRECT else ~np.isfinite(x)).any((-2, -1))
    if not good.all():
        x = np.where(good[..., None, None], x, np.eye(*x.shape[-2:], dtype=x.dtype))
    with one_thread(), np.errstate(all="ignore"):
        try:
            found = [np.array(y) for y in LAPACK[name](x, *xs[1:], **attrs)]
        except np.linalg.LinAlgError:
            message, remedy = REFUSALS.get(name, LOST)
            raise ArgumentError(message, remedy=remedy) from None
    if not good.all():
        batch = max(np.ndim(each) for each in xs) - 2
        for y in found:
            y[np.broadcast_to(~good, y.shape[:batch])] = np.nan
    return found


def _register(name: str) -> None:
    @kernel(name, "cpu")
    def lapack(call: Call) -> Plan:
        device: Any = call.device

        def run(*operands: Any) -> Any:
            xs = [device.download(x, spec) if isinstance(spec, Spec) else x
                  for x, spec in zip(operands, call.ins)]
            results = []
            for spec, value in zip(call.outs, computed(name, *xs, **call.attrs)):
                buffer = device.empty(spec.nbytes)
                array_at(buffer.ptr, buffer, spec, writeable=True)[...] = value
                results.append(buffer)
            return tuple(results) if len(results) > 1 else results[0]

        return Plan(run, call.outs, "kernel")


for _name in LAPACK:
    _register(_name)
