"""Choice, conversion and copies: what moves values of every type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tinyml.ops.samples as samples
from tinyml.core import apply
from tinyml.dtypes import DType, as_dtype
from tinyml.errors import DTypeError
from tinyml.op import Op, define
from tinyml.ops.rows import ALL, Operand, elementwise, listed
from tinyml.ops.samples import ErrorCase
from tinyml.spec import Spec, make_spec

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

WHERE: Op = elementwise(
    "where", "any", 3, skip=1, samples=samples.ternary(), dtypes=ALL,
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
    result: Tensor = apply(WHERE, condition, x1, x2)
    return result


def _cast_infer(x: Spec, *, dtype: DType) -> Spec:
    return make_spec(x.shape, dtype, x.device, None, x.symbolic)


CAST: Op = define(
    "cast", _cast_infer,
    canon=lambda x, dtype: {"dtype": as_dtype(dtype)},
    nest=lambda n, index, x, dtype: n.cast(x(index), dtype),
    grad=(lambda g, _y, _x, dtype: astype(g, _x.dtype),),
    samples=samples.cast(), dtypes=ALL,
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
    result: Tensor = x if x.spec.dtype is wanted else apply(CAST, x, dtype=wanted)
    return result


COPY: Op = define(
    "copy", lambda x: make_spec(x.shape, x.dtype, x.device, None, x.symbolic),
    nest=lambda n, index, x: x(index), grad=(lambda g, _y, _x: g,),
    samples=samples.unary(), dtypes=ALL, doc="The same values in new, dense memory.",
)
