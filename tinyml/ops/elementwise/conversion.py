"""Choice, conversion and copies: what moves values of every type."""

from __future__ import annotations

from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.node import Data, Tensor
from tinyml.core.plan import Implicit
from tinyml.dtypes import EVERY, DType, as_dtype
from tinyml.errors import DTypeError, expect
from tinyml.ir.op import Op, define, find
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.elementwise.define import Operand, elementwise, listed, row
from tinyml.ops.elementwise.define import conj as conjugate
from tinyml.ops.samples import ErrorCase

WHERE: Op = elementwise(
    "where", "any", 3, skip=1, samples=samples.ternary(), dtypes=EVERY,
    grad=(None, lambda g, _y, c, _a, _b: where(c, g, 0.0),
          lambda g, _y, c, _a, _b: where(c, 0.0, g)),
    doc="x1 where the condition holds, else x2; all three broadcast.",
)


@listed
def where(condition: Operand, x1: Operand, x2: Operand, /) -> Tensor:
    """Elements of x1 where the condition holds, else of x2; all three broadcast.

    >>> import tinyml
    >>> tinyml.where(tinyml.tensor([True, False]), 1.0, 2.0).tolist()
    [1.0, 2.0]
    """
    return apply(WHERE, condition, x1, x2)


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
    doc="x in another type: floats to integers truncate and saturate, NaN becomes 0; integers "
        "wrap around; to bool is x != 0.",
)


def astype(x: Any, dtype: Any) -> Tensor:
    """x in another data type, a new tensor; x itself where it has the type already.

    Floats to integers truncate and saturate, NaN becomes 0; integers wrap around.

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

_REAL = row("real(x)", "part", "The real part.", lambda g, _y, _x: astype(g, _x.dtype))
_IMAG = row("imag(x)", "part", "The imaginary part.",
            lambda g, _y, _x: astype(g, _x.dtype).op("mul", 1j))
_CONJ = row("conj(x)", "complex", "The complex conjugate.", lambda g, _y, _x: conjugate(g))
complex = row("complex(x1, x2)", "pair", "The complex number of a real and an imaginary part.",
              lambda g, _y, _a, _b: real(g), lambda g, _y, _a, _b: imag(g),
              samples=samples.binary(mixed=False))


def _is_real(x: Any) -> bool:
    return isinstance(x, Data) and x.spec.dtype.kind != "complex"


@listed
def real(x: Operand, /) -> Tensor:
    """The real part of x; of real numbers, x itself.

    >>> import tinyml
    >>> tinyml.real(tinyml.tensor([1 + 2j])).tolist()
    [1.0]
    """
    return x if _is_real(x) else _REAL(x)  # type: ignore[return-value]


@listed
def imag(x: Operand, /) -> Tensor:
    """The imaginary part of x; of real numbers, zeros.

    >>> import tinyml
    >>> tinyml.imag(tinyml.tensor([1 + 2j])).tolist()
    [2.0]
    """
    if not _is_real(x):
        return _IMAG(x)
    none: Tensor = apply(find("logical_and"), x, False)
    return astype(none, x.dtype)  # type: ignore[union-attr]


@listed
def conj(x: Operand, /) -> Tensor:
    """The complex conjugate of x; of real numbers, x itself.

    >>> import tinyml
    >>> tinyml.conj(tinyml.tensor([1 + 2j])).tolist()
    [(1-2j)]
    """
    return x if _is_real(x) else _CONJ(x)  # type: ignore[return-value]
