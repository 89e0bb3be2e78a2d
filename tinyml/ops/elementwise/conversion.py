"""Selecting, converting and copying values of every type; complex numbers and their parts."""

from __future__ import annotations

from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.plan import Implicit
from tinyml.dtypes import EVERY, DType, as_dtype
from tinyml.errors import DTypeError, expect
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.elementwise.define import Operand, elementwise
from tinyml.ops.samples import ErrorCase

__all__ = ["complex", "conj", "imag", "real", "where"]


def _choose(condition: Any, x1: Any, x2: Any) -> Tensor:
    return where(condition, x1, x2)  # whose type is not known yet in its own decorator


@elementwise("any", conditions=1, samples=samples.ternary(), dtypes=EVERY,
             grad=(None, lambda g, _y, c, _a, _b: _choose(c, g, 0.0),
                   lambda g, _y, c, _a, _b: _choose(c, 0.0, g)))
def where(condition: Operand, x1: Operand, x2: Operand, /) -> Tensor:
    """Return x1 where the condition holds, else x2; all three broadcast.

    >>> import tinyml
    >>> tinyml.where(tinyml.tensor([True, False]), 1.0, 2.0).tolist()
    [1.0, 2.0]
    """
    ...


def _cast_infer(x: Spec, *, dtype: DType) -> Spec:
    expect(x.dtype.kind != "complex" or dtype.kind in ("complex", "bool"), "a complex type or bool",
           dtype.name, DTypeError, remedy="real(x) or imag(x) first")
    return make_spec(x.shape, dtype, x.device, None, x.symbolic)


CAST: Op = define(
    "cast", _cast_infer,
    normalize=lambda x, dtype: {"dtype": as_dtype(dtype)},
    nest=lambda n, index, x, dtype: n.cast(x(index), dtype),
    grad=(lambda g, _y, _x, dtype: astype(g if _x.dtype.kind == "complex" else real(g), _x.dtype),),
    samples=samples.cast(), dtypes=EVERY,
    errors=lambda: [ErrorCase(([1.0],), {"dtype": "float31"}, DTypeError, "float31")],
    doc="x in another type: floats truncate and saturate when cast to integers, and NaN becomes 0; "
        "integers wrap around; bool is x != 0.",
)


def astype(x: Any, dtype: Any) -> Tensor:
    """Return x in another data type as a new tensor, or x itself if it already has the type.

    Floats truncate and saturate when cast to integers, and NaN becomes 0; integers wrap around.

    >>> import tinyml
    >>> tinyml.astype(tinyml.tensor([1.9, -300.0]), tinyml.int8).tolist()
    [1, -128]
    """
    wanted = as_dtype(dtype)
    return x if x.spec.dtype is wanted else apply(CAST, x, dtype=wanted)


COPY: Op = define(
    "copy", lambda x: make_spec(x.shape, x.dtype, x.device, None, x.symbolic),
    nest=lambda n, index, x: x(index), grad=(lambda g, _y, _x: g,),
    samples=samples.unary(), dtypes=EVERY, doc="The same values in new, dense memory.",
)

Implicit.cast, Implicit.copy = CAST, COPY

# ---- complex numbers


@elementwise("pair", samples=samples.binary(mixed=False),
             grad=(lambda g, _y, _a, _b: real(g), lambda g, _y, _a, _b: imag(g)))
def complex(x1: Operand, x2: Operand, /) -> Tensor:
    """Return the complex number with the given real and imaginary parts."""
    ...


@elementwise("part", op="real", grad=lambda g, _y, _x: astype(g, _x.dtype))
def _real(x: Operand, /) -> Tensor:
    """Return the real part."""
    ...


@elementwise("part", op="imag", grad=lambda g, _y, _x: astype(g, _x.dtype) * 1j)
def _imag(x: Operand, /) -> Tensor:
    """Return the imaginary part."""
    ...


@elementwise("complex", op="conj", grad=lambda g, _y, _x: conj(g))
def _conj(x: Operand, /) -> Tensor:
    """Return the complex conjugate."""
    ...


def _is_real(x: Any) -> bool:
    return isinstance(x, Data) and x.spec.dtype.kind != "complex"


def real(x: Operand, /) -> Tensor:
    """Return the real part of x; for real numbers, x itself.

    >>> import tinyml
    >>> tinyml.real(tinyml.tensor([1 + 2j])).tolist()
    [1.0]
    """
    return x if _is_real(x) else _real(x)


def imag(x: Operand, /) -> Tensor:
    """Return the imaginary part of x; for real numbers, zeros.

    >>> import tinyml
    >>> tinyml.imag(tinyml.tensor([1 + 2j])).tolist()
    [2.0]
    """
    return astype(x.op("logical_and", False), x.dtype) if _is_real(x) else _imag(x)


def conj(x: Operand, /) -> Tensor:
    """Return the complex conjugate of x; for real numbers, x itself.

    >>> import tinyml
    >>> tinyml.conj(tinyml.tensor([1 + 2j])).tolist()
    [(1-2j)]
    """
    return x if _is_real(x) else _conj(x)
