"""Elementwise ops as decorated functions: the record's facts above the function that users call.

    @elementwise("float", ulp=5, grad=lambda g, y, _x: g - g * y * y)
    def tanh(x: Operand, /) -> Tensor:
        \"\"\"Return the hyperbolic tangent.\"\"\"
        ...

Everything else is derived from the function: the record, with the function's name, operands and
docstring; the path from a call to the plan; the cases and error cases of the conformance suite. A
function whose body is only a docstring and `...` is one word of the vocabulary, which each device
implements. Any other body defines the op by other ops, and becomes one loop nest automatically.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.plan import Implicit
from tinyml.dtypes import (
    COMPLEX,
    EVERY,
    FLOATS,
    INTEGERS,
    DType,
    as_dtype,
    bool_,
    complex64,
    complex128,
    float32,
    float64,
    part,
    promote,
    promote_scalar,
)
from tinyml.errors import ArgumentTypeError, DTypeError, ShapeError, expect
from tinyml.errors.hints import keyword
from tinyml.ir.nest import Ids, Nest
from tinyml.ir.op import Op, Rule, define
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.arguments import broadcast_shapes, element, kind_of
from tinyml.ops.calls import binary, unary
from tinyml.ops.samples import ErrorCase

__all__ = ["ALL", "KINDS", "NUMBERS", "Operand", "device_of", "elementwise", "meet",
           "operand_dtype", "shape_of"]

# What an elementwise function takes: a tensor, a number, an array or a list. A body treats it as a
# tensor, which no union of those types would allow: hence Any.
Operand: TypeAlias = "Tensor | Any"

NUMBERS = (*FLOATS, *INTEGERS)
ALL = ("bool", *NUMBERS)


class Kind(NamedTuple):
    """The types that a kind of op accepts, computes in and returns, and a sentence for the docs."""

    accepts: tuple[str, ...]
    computes: Callable[[DType], DType]
    gives: Callable[[DType], DType]
    sentence: str


def _same(dtype: DType) -> DType:
    return dtype


def _float(dtype: DType) -> DType:
    return dtype if dtype.is_inexact else float32


def _bool(_: DType) -> DType:
    return bool_


def _joined(dtype: DType) -> DType:
    return complex128 if dtype is float64 else complex64


_WIDENS = "Floats keep their type, integers and bools become float32."
KINDS: dict[str, Kind] = {
    "number": Kind((*NUMBERS, *COMPLEX), _same, _same,
                   "Numbers are promoted to their common type."),
    "real": Kind(NUMBERS, _same, _same, "Real numbers are promoted to their common type."),
    "float": Kind(ALL, _float, _float, _WIDENS),
    "inexact": Kind((*ALL, *COMPLEX), _float, _float, _WIDENS),
    "size": Kind((*NUMBERS, *COMPLEX), _same, part, "The result has the type of the parts."),
    "complex": Kind(COMPLEX, _same, _same, "Complex numbers keep their type."),
    "angle": Kind((*ALL, *COMPLEX), _float, part, "The result is a real float."),
    "part": Kind(COMPLEX, _same, part, "The result has the type of the parts."),
    "pair": Kind(("float32", "float64"), _same, _joined, "Two floats give the complex type."),
    "wide": Kind(("float32", "float64"), _same, _same, "float32 and float64 keep their type."),
    "test": Kind((*ALL, *COMPLEX), _float, _bool, "The result is bool."),
    "check": Kind(ALL, _float, _bool, "The result is bool."),
    "compare": Kind(ALL, _same, _bool, "The result is bool."),
    "equality": Kind((*ALL, *COMPLEX), _same, _bool, "The result is bool."),
    "logical": Kind((*ALL, *COMPLEX), _bool, _bool, "The result is bool."),
    "bits": Kind(("bool", *INTEGERS), _same, _same, "Integers and bools keep their type."),
    "integer": Kind(INTEGERS, _same, _same, "Integers are promoted to their common type."),
    "any": Kind(EVERY, _same, _same, "Values are promoted to their common type."),
}


def meet(operands: tuple[Any, ...]) -> DType:
    """Return the common type of dtypes, specs and kinds of Python numbers; numbers are weak."""
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
    """Return the type in which an op of a kind computes; raises DTypeError if not accepted."""
    accepted = KINDS[kind].accepts
    dtype = meet(operands)
    if dtype.name not in accepted:
        raise DTypeError(f"{dtype.name} is not accepted",
                         remedy=f"cast with .astype(...) to one of {', '.join(accepted)}")
    return KINDS[kind].computes(dtype)


def shape_of(specs: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the common broadcast shape of specs and numbers."""
    return broadcast_shapes(*[s.shape if isinstance(s, Spec) else () for s in specs])


def device_of(specs: tuple[Any, ...]) -> Spec:
    """Return the first spec among specs and numbers."""
    return next(s for s in specs if isinstance(s, Spec))


# ---- the decorator

F = TypeVar("F", bound=Callable[..., Any])


def elementwise(kind: str, *, op: str | None = None, word: str | None = None, conditions: int = 0,
                grad: Rule | tuple[Rule | None, ...] | None = None,
                complex_body: Rule | None = None, **fields: Any) -> Callable[[F], F]:
    """Make the decorated function an elementwise op, whose record is the function's `op`.

    kind          a key of KINDS: the types it accepts, computes in and returns
    op            the record's name, where it is not the function's
    word          the word of the vocabulary, if it is not the record's name
    conditions    the number of leading operands that are conditions, of any type
    grad          one rule, or one per operand, see Op; omitted if the body itself is
                  differentiable, or the result is constant almost everywhere
    complex_body  the op by other ops for complex operands, if the function is for real ones
    fields        further fields of the record: `ulp`, `samples`, `dtypes`, ...
    """

    def decorate(function: F) -> F:
        assert isinstance(function, FunctionType)
        name = op or function.__name__
        arity, defaults = function.__code__.co_argcount, function.__defaults__ or ()
        text = inspect.cleandoc(function.__doc__ or "")
        body = None if _is_empty(function) else function
        known = dict(fields)
        if KINDS[kind].gives is _bool or kind in ("bits", "integer"):
            known.setdefault("differentiable", False)
        elif grad is not None:
            known["grad"] = grad if isinstance(grad, tuple) else (grad,)
        elif body is None:
            known["grad"] = (None,) * arity
        base = fields.get("samples") or samples.operands(arity - len(defaults))
        known["samples"] = samples.with_numbers(base, defaults) if defaults else base
        known.setdefault("errors", _errors(kind, arity))
        known.setdefault("dtypes", _sampled(kind))
        known["doc"] = _as_noun(" ".join(text.partition("\n\n")[0].split()))
        known.update(_ways(kind, word or name, conditions, body, complex_body))
        record = define(name, _infer(kind, arity, conditions), **known)
        call = functools.update_wrapper(_call(record, function, arity, defaults), function)
        call.__doc__ = f"{text}\n\n{_about_operands(kind, arity)}\n"
        call.op = record  # type: ignore[attr-defined]
        return cast(F, call)

    return decorate


def _nothing() -> None:
    """Do nothing: the body of a primitive, whose bytecode all primitives have."""
    ...


def _is_empty(function: FunctionType) -> bool:
    """Return whether a function's body is only a docstring and `...`."""
    return function.__code__.co_code == _nothing.__code__.co_code


def _sampled(kind: str) -> tuple[str, ...]:
    """Return the types in which an op of a kind is tested with samples."""
    if kind == "float":
        return FLOATS
    if kind in ("inexact", "angle"):
        return (*FLOATS, *COMPLEX)
    return tuple([dtype for dtype in KINDS[kind].accepts if dtype in (*ALL, *COMPLEX)])


def _infer(kind: str, arity: int, conditions: int) -> Callable[..., Spec]:
    """Return the shape rule: operands broadcast and are promoted."""
    gives = KINDS[kind].gives

    def infer(*specs: Any) -> Spec:
        expect(len(specs) == arity, f"operands: {arity}", len(specs), ArgumentTypeError)
        first = device_of(specs)
        dtype = gives(operand_dtype(kind, specs[conditions:]))
        return make_spec(shape_of(specs), dtype, first.device, None, first.symbolic)

    return infer


def _ways(kind: str, word: str, conditions: int, body: Rule | None,
          complex_body: Rule | None) -> dict[str, Any]:
    """Return the fields that define how an op runs: by a word, or by other ops."""
    gives = KINDS[kind].gives

    def nest(n: Nest, index: Ids, *xs: Any) -> int:
        dtype = operand_dtype(kind, xs[conditions:])
        chosen = [element(n, x, index, bool_) for x in xs[:conditions]]
        values = [element(n, x, index, dtype) for x in xs[conditions:]]
        return n.prim(word, *chosen, *values, dtype=gives(dtype))

    def promoted(*specs: Any) -> tuple[tuple[int, ...], DType]:
        return shape_of(specs), operand_dtype(kind, specs[conditions:])

    def composed(formula: Rule) -> Rule:
        """Return a body whose operands are cast to the arithmetic's type first."""

        def by_other_ops(*xs: Any) -> Any:
            dtype = operand_dtype(kind, tuple([x.spec if isinstance(x, Data) else x for x in xs]))
            return formula(*[apply(Implicit.cast, x, dtype=dtype)
                             if isinstance(x, Data) and x.spec.dtype is not dtype else x
                             for x in xs])

        return by_other_ops

    return {"promote": promoted,
            "nest": nest if body is None else None,
            "body": None if body is None else composed(body),
            "complex_body": None if complex_body is None else composed(complex_body)}


def _as_noun(text: str) -> str:
    """Return a docstring's summary as a record's noun phrase, without "Return".

    >>> _as_noun("Return the sine."), _as_noun("Return x1 + x2.")
    ('The sine.', 'x1 + x2.')
    """
    text = text.removeprefix("Return ")
    word = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if word in ("the", "a", "an", "whether") else text


def _errors(kind: str, arity: int) -> Callable[[], list[ErrorCase]]:
    """Return the error cases: shapes that do not broadcast, and a type that is not accepted."""
    accepted = KINDS[kind].accepts

    def cases() -> list[ErrorCase]:
        found = []
        if arity > 1:
            rest = [np.ones((2, 4), accepted[0])] * (arity - 1)
            found.append(ErrorCase((np.ones((2, 3), accepted[0]), *rest), {}, ShapeError,
                                   "do not broadcast"))
        refused = [name for name in ("bool", "float32") if name not in accepted]
        if refused:
            wrong = np.ones((2, 3), refused[0])
            found.append(ErrorCase((wrong,) * arity, {}, DTypeError, "is not accepted"))
        return found

    return cases


def _call(op: Op, function: FunctionType, arity: int,
          defaults: tuple[Any, ...]) -> Callable[..., Any]:
    """Return the function with the shortest path from operands to the plan."""
    straight = (unary(op) if arity == 1 else binary(op) if arity == 2
                else functools.partial(apply, op))
    if function.__code__.co_posonlyargcount == arity <= 2:
        return straight
    signature = inspect.signature(function)

    def call(*xs: Any, **named: Any) -> Any:
        if named:
            try:
                bound = signature.bind(*xs, **named)
            except TypeError as error:
                raise ArgumentTypeError(f"{op.name}: {error}", remedy=keyword(error)) from None
            bound.apply_defaults()
            xs = bound.args
        elif len(xs) < arity:
            xs = (*xs, *defaults[len(xs) - arity:])
        return straight(*xs) if len(xs) == arity else apply(op, *xs)

    return call


def _about_operands(kind: str, arity: int) -> str:
    """Return the closing sentences of a docstring, on types and shapes."""
    shape = "The result has the shape of x." if arity == 1 else "Operands broadcast."
    refusal = "" if kind == "any" else " Other types raise DTypeError."
    return f"{KINDS[kind].sentence} {shape}{refusal}"
