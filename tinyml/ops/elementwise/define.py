"""The form of a row: one elementwise op, said in at most five lines of a table.

    tanh = row("tanh(x)", "float", "The hyperbolic tangent.",
               lambda g, y, _x: g - g * y * y, ulp=5)

A row names its public function with its operands, the kind that says what types it takes and
gives, its formula, and one gradient rule per operand. Everything else is derived: the record, the
function with its signature and docstring, the cases and error cases, and a line of the stub
`elementwise.pyi`, which `python -m tinyml.ops.stub` writes. What a row computes is one word of the
vocabulary, or a body by other ops, which becomes one loop nest by itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.node import Data, Tensor
from tinyml.core.upload import SCALARS
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
from tinyml.ir.nest import Ids, Nest
from tinyml.ir.op import Op, define, find
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.arguments import broadcast_shapes, element, kind_of
from tinyml.ops.calls import binary, unary
from tinyml.ops.samples import ErrorCase

# What an elementwise function takes: a tensor, a Python number, or what a tensor can be made of.
Operand: TypeAlias = "Tensor | complex | npt.NDArray[Any] | np.generic | list[Any]"

NUMBERS = (*FLOATS, *INTEGERS)
ALL = ("bool", *NUMBERS)


class Kind(NamedTuple):
    """What a kind of op accepts, what it computes in and gives, and the words for it."""

    accepts: tuple[str, ...]
    computes: Callable[[DType], DType]
    gives: Callable[[DType], DType]
    says: str


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
    "number": Kind((*NUMBERS, *COMPLEX), _same, _same, "Numbers keep the type in which they meet."),
    "real": Kind(NUMBERS, _same, _same, "Real numbers keep the type in which they meet."),
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
    "integer": Kind(INTEGERS, _same, _same, "Integers keep the type in which they meet."),
    "any": Kind(EVERY, _same, _same, "Values keep the type in which they meet."),
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
    accepted = KINDS[kind].accepts
    dtype = meet(operands)
    if dtype.name not in accepted:
        raise DTypeError(f"{dtype.name} is not accepted",
                         remedy=f"cast with .astype(...) to one of {', '.join(accepted)}")
    return KINDS[kind].computes(dtype)


def shape_of(specs: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape to which specs and numbers broadcast."""
    return broadcast_shapes(*[s.shape if isinstance(s, Spec) else () for s in specs])


def device_of(specs: tuple[Any, ...]) -> Spec:
    """The first spec among specs and numbers."""
    return next(s for s in specs if isinstance(s, Spec))


# ---- the record


def elementwise(name: str, kind: str, arity: int, *, word: str | None = None, skip: int = 0,
                body: Callable[..., Any] | None = None,
                parts: Callable[..., Any] | None = None, **fields: Any) -> Op:
    """A record of `arity` operands that broadcast, the first `skip` of them being conditions.

    It computes one word of the vocabulary, or a body, whose tensors come in the type of the
    arithmetic; of complex operands `parts`, where that is given.
    """
    gives = KINDS[kind].gives
    text = word or name

    def infer(*specs: Any) -> Spec:
        expect(len(specs) == arity, f"operands: {arity}", len(specs), ArgumentTypeError)
        first = device_of(specs)
        dtype = gives(operand_dtype(kind, specs[skip:]))
        return make_spec(shape_of(specs), dtype, first.device, None, first.symbolic)

    def nest(n: Nest, index: Ids, *xs: Any) -> int:
        dtype = operand_dtype(kind, xs[skip:])
        conditions = [element(n, x, index, bool_) for x in xs[:skip]]
        values = [element(n, x, index, dtype) for x in xs[skip:]]
        return n.prim(text, *conditions, *values, dtype=gives(dtype))

    def promote_operands(*specs: Any) -> tuple[tuple[int, ...], DType]:
        return shape_of(specs), operand_dtype(kind, specs[skip:])

    def composed(*xs: Any) -> Any:
        dtype = operand_dtype(kind, tuple([x.spec if isinstance(x, Data) else x for x in xs]))
        met = [apply(find("cast"), x, dtype=dtype)
               if isinstance(x, Data) and x.spec.dtype is not dtype else x for x in xs]
        chosen = parts if dtype.kind == "complex" and parts else body
        return chosen(*met)  # type: ignore[misc]

    accepts = FLOATS if kind == "float" else KINDS[kind].accepts
    accepts = (*FLOATS, *COMPLEX) if kind in ("inexact", "angle") else accepts
    fields.setdefault("dtypes", tuple([dtype for dtype in accepts if dtype in (*ALL, *COMPLEX)]))
    if body is None:
        fields["nest"] = nest
    if body is not None:
        fields["body"] = composed
    elif parts is not None:
        fields["complex_body"] = composed
    return define(name, infer, promote=promote_operands, **fields)


def _errors(kind: str, arity: int) -> Callable[[], list[ErrorCase]]:
    """Shapes that do not broadcast, and a type that the kind does not accept."""
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


# ---- the public function

F = TypeVar("F", bound=Callable[..., Any])
Function: TypeAlias = "Callable[..., Tensor]"  # where a row is named before it stands
FUNCTIONS: dict[str, Callable[..., Any]] = {}  # all that the stub lists, by public name


def row(call: str, kind: str, doc: str, *grads: Any, op: str | None = None,
        **fields: Any) -> Callable[..., Tensor]:
    """A row of the table: its record, and the public function that it returns.

    call    the function with its operands, "atan2(x1, x2)"; one may have a number as its default
    kind    a key of KINDS
    grads   one rule per operand, see Op; none where the result is constant almost everywhere
    op      the record's name, where it is not the function's
    fields  of the record: `body`, `parts` (a body for complex operands), `ulp`, `samples`,
            `dtypes`; `word`, where it is not the name
    """
    name, _, inside = call.rstrip(")").partition("(")
    operands = [part.partition("=") for part in inside.split(", ")]
    defaults = tuple([float(value) if "." in value else int(value)
                      for _, _, value in operands if value])
    arity = len(operands)
    constant = not grads and not fields.get("body")
    if KINDS[kind].gives is _bool or kind in ("bits", "integer"):
        fields.setdefault("differentiable", False)
    elif grads or constant:
        fields["grad"] = grads or (None,) * arity
    base = fields.pop("samples", None) or samples.operands(arity - len(defaults))
    fields["samples"] = samples.with_numbers(base, defaults) if defaults else base
    fields.setdefault("errors", _errors(kind, arity))
    record = elementwise(op or name, kind, arity, doc=doc, **fields)
    function = _public(record, arity, defaults)
    parameters = [
        inspect.Parameter(
            operand, inspect.Parameter.POSITIONAL_OR_KEYWORD if default
            else inspect.Parameter.POSITIONAL_ONLY, annotation="Operand",
            default=defaults[k - arity] if default else inspect.Parameter.empty)
        for k, (operand, _, default) in enumerate(operands)
    ]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = _docstring(kind, doc, arity)
    function.__signature__ = inspect.Signature(parameters, return_annotation="Tensor")
    function.op = record
    FUNCTIONS[name] = function
    made: Callable[..., Tensor] = function
    return made


def _docstring(kind: str, doc: str, arity: int) -> str:
    shape = "The result has the shape of x." if arity == 1 else "Operands broadcast."
    return f"{doc}\n\n{KINDS[kind].says} {shape} Other types raise DTypeError.\n"


def _public(op: Op, arity: int, defaults: tuple[Any, ...]) -> Any:
    """The shortest way from operands to the op."""
    if not defaults and arity <= 2:
        return (unary if arity == 1 else binary)(op)

    def call(*xs: Any, **named: Any) -> Any:
        if named:
            signature: inspect.Signature = call.__signature__  # type: ignore[attr-defined]
            try:
                bound = signature.bind(*xs, **named)
            except TypeError as error:
                raise ArgumentTypeError(f"{op.name}: {error}") from None
            bound.apply_defaults()
            xs = bound.args
        elif len(xs) < arity:
            xs = (*xs, *defaults[len(xs) - arity :])
        return apply(op, *xs)

    return call


def listed(function: F) -> F:
    """A function written by hand that stands in the stub among those of rows."""
    FUNCTIONS[function.__name__] = function
    return function


def conj(x: Any) -> Any:
    """The complex conjugate of an operand in a rule; what is real, itself, without a node."""
    if isinstance(x, SCALARS):
        return x.conjugate()
    return apply(find("conj"), x) if x.spec.dtype.kind == "complex" else x
