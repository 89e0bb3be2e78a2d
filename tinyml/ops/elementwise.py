"""Elementwise operations: a table of words, each with its promotion, gradient and accuracy.

Every row becomes a record whose nest is one word of the vocabulary. Error bounds of inexact
functions are those of the OpenCL C specification 3.0, section 7.4 (relative error as ULPs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core import SCALARS, apply, binary, unary
from tinyml.dtypes import (
    COMPLEX,
    EVERY,
    FLOATS,
    INTEGERS,
    SIGNED,
    DType,
    as_dtype,
    bool_,
    float32,
    promote,
    promote_scalar,
)
from tinyml.errors import ArgumentTypeError, DTypeError, ShapeError, expect
from tinyml.lower import element, kind_of
from tinyml.nest import Ids, Nest
from tinyml.op import Op, define
from tinyml.ops.samples import ErrorCase, error_cases
from tinyml.spec import Spec, broadcast_shapes, make_spec

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

NUMBERS = (*FLOATS, *INTEGERS)
ALL = ("bool", *NUMBERS)

__all__ = ["abs", "add", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift",
           "bitwise_xor", "cos", "divide", "equal", "erf", "erfc", "exp", "floor",
           "greater", "greater_equal", "isnan", "less", "less_equal", "log",
           "logical_and", "logical_not", "logical_or", "maximum", "minimum", "multiply",
           "negative", "not_equal", "pow", "reciprocal", "sign", "sin", "sqrt", "square",
           "subtract", "tanh", "where"]

# What a kind of op accepts, what it computes in, and whether its result is a bool.
KINDS: dict[str, tuple[tuple[str, ...], Callable[[DType], DType], bool]] = {
    "field": ((*NUMBERS, *COMPLEX), lambda d: d, False),
    "number": (NUMBERS, lambda d: d, False),
    "signed": ((*FLOATS, *SIGNED), lambda d: d, False),
    "float": (ALL, lambda d: d if d.is_float else float32, False),
    "test": (ALL, lambda d: d if d.is_float else float32, True),
    "compare": (ALL, lambda d: d, True),
    "logical": (ALL, lambda d: bool_, True),
    "bits": (("bool", *INTEGERS), lambda d: d, False),
    "shift": (INTEGERS, lambda d: d, False),
    "quotient": ((*ALL, *COMPLEX), lambda d: d if d.is_inexact else float32, False),
    "same": ((*ALL, *COMPLEX), lambda d: d, True),
    "any": (EVERY, lambda d: d, False),
}


def meet(operands: tuple[Any, ...]) -> DType:
    """The type in which dtypes, specs and kinds of Python numbers meet; numbers are weak."""
    kinds = [kind_of(operand) if not isinstance(operand, type) else operand
             for operand in operands]
    found: DType | None = None
    for kind in kinds:
        if isinstance(kind, DType):
            found = kind if found is None else promote(found, kind)
    weak = [kind for kind in kinds if not isinstance(kind, DType)]
    if found is None:
        found = as_dtype(weak[0])
    for kind in weak:
        found = promote_scalar(found, kind)
    return found


def operand_dtype(kind: str, operands: tuple[Any, ...]) -> DType:
    """The type in which an op of a kind computes; DTypeError where it accepts none."""
    accepted, compute, _ = KINDS[kind]
    dtype = meet(operands)
    if dtype.name not in accepted:
        raise DTypeError(f"{dtype.name} is not accepted",
                         remedy=f"cast with .astype(...) to one of {', '.join(accepted)}")
    return compute(dtype)


def shape_of(specs: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape to which specs and numbers broadcast."""
    return broadcast_shapes(*[s.shape if isinstance(s, Spec) else () for s in specs])


def device_of(specs: tuple[Any, ...]) -> Spec:
    """The first spec among specs and numbers."""
    return next(s for s in specs if isinstance(s, Spec))


def elementwise(name: str, kind: str, arity: int, *, word: str | None = None, skip: int = 0,
                **fields: Any) -> Op:
    """A record whose nest is one word of `arity` operands, the first `skip` being conditions."""
    returns_bool = KINDS[kind][2]
    text = word or name

    def infer(*specs: Any) -> Spec:
        expect(len(specs) == arity, f"operands: {arity}", len(specs), ArgumentTypeError)
        dtype = operand_dtype(kind, specs[skip:])
        first = device_of(specs)
        result = bool_ if returns_bool else dtype
        return make_spec(shape_of(specs), result, first.device, None, first.symbolic)

    def nest(n: Nest, index: Ids, *xs: Any) -> int:
        dtype = operand_dtype(kind, xs[skip:])
        conditions = [element(n, x, index, bool_) for x in xs[:skip]]
        values = [element(n, x, index, dtype) for x in xs[skip:]]
        return n.prim(text, *conditions, *values, dtype=bool_ if returns_bool else dtype)

    def lift(*specs: Any) -> tuple[tuple[int, ...], DType]:
        return shape_of(specs), operand_dtype(kind, specs[skip:])

    fields.setdefault("dtypes", KINDS[kind][0] if kind != "float" else FLOATS)
    if returns_bool or kind in ("bits", "shift"):
        fields.setdefault("differentiable", False)
    return define(name, infer, nest=nest, lift=lift, **fields)


def _bad_shapes(dtype: str) -> Callable[[], list[ErrorCase]]:
    x, y = np.ones((2, 3), dtype), np.ones((2, 4), dtype)
    return error_cases(ErrorCase((x, y), {}, ShapeError, "do not broadcast"))


def _public(op: Op, name: str, arity: int) -> Any:
    function: Any = (unary if arity == 1 else binary)(op)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = op.doc
    function.op = op
    return function


def word1(name: str, kind: str, grad: Callable[..., Any] | None, doc: str, *,
          public: str | None = None, **fields: Any) -> Callable[[Any], Tensor]:
    """A row of one operand: its record, and the public function."""
    rules = None if fields.get("differentiable") is False else (grad,)
    fields.setdefault("samples", samples.unary())
    op = elementwise(name, kind, 1, grad=rules, doc=doc, **fields)
    function: Callable[[Any], Tensor] = _public(op, public or name, 1)
    return function


def word2(name: str, kind: str, grads: tuple[Any, Any] | None, doc: str, *,
          public: str | None = None, **fields: Any) -> Callable[[Any, Any], Tensor]:
    """A row of two operands: its record, and the public function."""
    fields.setdefault("samples", samples.binary())
    fields.setdefault("errors", _bad_shapes(KINDS[kind][0][-1]))
    op = elementwise(name, kind, 2, grad=grads, doc=doc, **fields)
    function: Callable[[Any, Any], Tensor] = _public(op, public or name, 2)
    return function


# ---- arithmetic

add = word2("add", "field", (lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g),
            "x + y, elementwise with broadcasting; integers wrap around.")
subtract = word2("sub", "field", (lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: -g),
                 "x - y, elementwise with broadcasting; integers wrap around.", public="subtract")
multiply = word2("mul", "field", (lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a),
                 "x * y, elementwise with broadcasting; integers wrap around.", public="multiply")
divide = word2("div", "quotient", (lambda g, _y, _a, b: g / b, lambda g, y, _a, b: -(g * y) / b),
               "x / y, elementwise; integers become float32; x / 0 is inf or NaN.",
               public="divide", ulp=2.5)
negative = word1("neg", "field", lambda g, _y, _x: -g, "-x, elementwise; integers wrap around.",
                 public="negative")
abs = word1("abs", "number", lambda g, _y, x: g * sign(x),
            "|x|, elementwise; the least integer stays itself.")
square = word1("square", "field", lambda g, _y, x: g * x * 2, "x * x, elementwise.",
               word="square")
reciprocal = word1("reciprocal", "quotient", lambda g, y, _x: -(g * y * y),
                   "1 / x, elementwise; 1 / 0 is inf.", ulp=2.5)
sign: Callable[[Any], Tensor] = word1(
    "sign", "number", None, "-1, 0 or 1 by the sign of x; NaN stays NaN.")


def _power_base(g: Any, _y: Any, a: Any, b: Any) -> Any:
    return g * b * a ** (b - 1)


def _power_exponent(g: Any, y: Any, a: Any, _b: Any) -> Any:
    if isinstance(a, SCALARS):
        return g * y * (math.log(a) if a > 0 else 0.0)
    return where(a == 0, 0.0, g * y * log(a))


pow = word2("pow", "float", (_power_base, _power_exponent),
            "x to the power y, elementwise (IEEE 754 pow); integers become float32.", ulp=16,
            samples=samples.power())
maximum = word2(
    "maximum", "number",
    (lambda g, _y, a, b: _share(g, a > b, a == b), lambda g, _y, a, b: _share(g, b > a, a == b)),
    "The greater of x and y; NaN where one is NaN, x where they are equal. At a tie each side gets "
    "half the gradient.",
)
minimum = word2(
    "minimum", "number",
    (lambda g, _y, a, b: _share(g, a < b, a == b), lambda g, _y, a, b: _share(g, b < a, a == b)),
    "The lesser of x and y; NaN where one is NaN, x where they are equal. At a tie each side gets "
    "half the gradient.",
)


def _share(g: Any, won: Any, tied: Any) -> Any:
    return where(won, g, where(tied, g * 0.5, 0.0))


# ---- functions

exp = word1("exp", "float", lambda g, y, _x: g * y, "e to the power x.", ulp=3,
            samples=samples.unary(-3.0, 3.0, (-80.0, 80.0)))
log = word1("log", "float", lambda g, _y, x: g / x,
            "The natural logarithm; -inf at 0, NaN below.", ulp=3,
            samples=samples.unary(0.1, 3.0, (1e-30, 1e30)))
sqrt = word1("sqrt", "float", lambda g, y, _x: g / (y * 2), "The square root; NaN below 0.",
             ulp=3, samples=samples.unary(0.1, 3.0, (1e-30, 1e30)))
sin = word1("sin", "float", lambda g, _y, x: g * cos(x), "The sine of x radians.", ulp=4,
            samples=samples.unary(-3.0, 3.0, (-100.0, 100.0)))
cos: Callable[[Any], Tensor] = word1(
    "cos", "float", lambda g, _y, x: -(g * sin(x)), "The cosine of x radians.", ulp=4,
    samples=samples.unary(-3.0, 3.0, (-100.0, 100.0)))
tanh = word1("tanh", "float", lambda g, y, _x: g - g * y * y, "The hyperbolic tangent.", ulp=5,
             samples=samples.unary(-3.0, 3.0, (-12.0, 12.0)))
erf = word1("erf", "float", lambda g, _y, x: g * exp(-(x * x)) * (2 / math.sqrt(math.pi)),
            "The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.", ulp=16)
erfc = word1("erfc", "float", lambda g, _y, x: g * exp(-(x * x)) * (-2 / math.sqrt(math.pi)),
             "The complementary error function, 1 - erf(x) without cancellation.", ulp=16)
floor = word1("floor", "number", None, "The greatest integer not above x, in x's type.")
isnan = word1("isnan", "test", None, "Whether x is NaN.", samples=samples.predicate())
logical_not = word1("logical_not", "logical", None, "Whether x is false or 0.",
                    samples=samples.predicate())

# ---- comparisons, logic, bits

_compare: dict[str, Any] = {"samples": samples.comparison()}
equal = word2("equal", "same", None, "x == y; NaN equals nothing.", **_compare)
not_equal = word2("not_equal", "same", None, "x != y; NaN differs from everything.", **_compare)
less = word2("less", "compare", None, "x < y; false where one is NaN.", **_compare)
less_equal = word2("less_equal", "compare", None, "x <= y; false where one is NaN.", **_compare)
greater = word2("greater", "compare", None, "x > y; false where one is NaN.", **_compare)
greater_equal = word2("greater_equal", "compare", None, "x >= y; false where one is NaN.",
                      **_compare)
logical_and = word2("logical_and", "logical", None, "Whether both x and y are true.",
                    samples=samples.logical())
logical_or = word2("logical_or", "logical", None, "Whether x or y is true.",
                   samples=samples.logical())
_bits: dict[str, Any] = {"samples": samples.bits()}
bitwise_and = word2("bitwise_and", "bits", None, "The bits set in both x and y.", **_bits)
bitwise_or = word2("bitwise_or", "bits", None, "The bits set in x or y.", **_bits)
bitwise_xor = word2("bitwise_xor", "bits", None, "The bits set in one of x and y.", **_bits)
bitwise_left_shift = word2(
    "bitwise_left_shift", "shift", None,
    "x shifted left by y bits; 0 where y is negative or not below the width.",
    samples=samples.shifts())
bitwise_right_shift = word2(
    "bitwise_right_shift", "shift", None,
    "x shifted right by y bits, filled with the sign; all fill where y is not in the width.",
    samples=samples.shifts())

# ---- choice and conversion

WHERE: Op = elementwise(
    "where", "any", 3, skip=1, samples=samples.ternary(), dtypes=EVERY,
    grad=(None, lambda g, _y, c, _a, _b: where(c, g, 0.0),
          lambda g, _y, c, _a, _b: where(c, 0.0, g)),
    doc="x where the condition holds, else y; all three broadcast.",
)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """Elements of x where the condition holds, else of y; all three broadcast.

    >>> import tinyml
    >>> tinyml.where(tinyml.tensor([True, False]), 1.0, 2.0).tolist()
    [1.0, 2.0]
    """
    result: Tensor = apply(WHERE, condition, x, y)
    return result


def _cast_infer(x: Spec, *, dtype: DType) -> Spec:
    expect(x.dtype.kind != "complex" or dtype.kind in ("complex", "bool"), "a complex type or bool",
           dtype.name, DTypeError, remedy="real(x) or imag(x) first")
    return make_spec(x.shape, dtype, x.device, None, x.symbolic)


CAST: Op = define(
    "cast", _cast_infer,
    canon=lambda x, dtype: {"dtype": as_dtype(dtype)},
    nest=lambda n, index, x, dtype: n.cast(x(index), dtype),
    grad=(lambda g, _y, _x, dtype: astype(g, _x.dtype),),
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
    result: Tensor = x if x.spec.dtype is wanted else apply(CAST, x, dtype=wanted)
    return result


COPY: Op = define(
    "copy", lambda x: make_spec(x.shape, x.dtype, x.device, None, x.symbolic),
    nest=lambda n, index, x: x(index), grad=(lambda g, _y, _x: g,),
    samples=samples.unary(), dtypes=EVERY, doc="The same values in new, dense memory.",
)
