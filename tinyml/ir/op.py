"""The op record and its table: an operation is defined once, here is the form of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from inspect import CO_VARARGS
from typing import Any

from tinyml.dtypes import FLOATS
from tinyml.errors import ArgumentError, ArgumentTypeError, KernelNotFound
from tinyml.ir.spec import Spec

Rule = Callable[..., Any]
LIVING: weakref.WeakSet[Op] = weakref.WeakSet()  # those of the table, and those made ad hoc


class Op:
    """One operation; everything else about it is derived from this record.

    name      the key everywhere
    infer     (*specs, **attrs) -> Spec or a tuple of them; raises the user's error before any work.
              A Python number stands for itself among the specs.
    grad      one rule per input: (g, y, *xs, **attrs) -> cotangent; or one joint rule for all of
              them: (g, y, *xs, wanted, **attrs) -> cotangents, `wanted` saying for which inputs
              one is needed. A parameter whose name begins with '_' gets a tensor without values,
              and the value is not kept for it.
    canon     (*specs, **attrs) -> attrs in their one form (axes counted from the front, ...)
    lift      (*specs) -> (shape, dtype) to which tensor inputs broadcast and promote, if they do
    body      the op by other ops: (*tensors, **attrs) -> tensor or tuple
    nest      the op at one index of a loop nest: (n, index, *sources, **attrs) -> id or ids;
              where there is a body, too, that one is for complex operands, or, with
              `complex_nest`, for what turns out to be no one nest
    push      the op as a nest that stores by itself: (n, outs, *sources, **attrs)
    dynamic   (*tensors, **attrs) -> tensor or tuple, run as it stands, where a size of the result
              depends on values
    view      (spec, **attrs) -> (strides, offset) where the result shares the input's memory,
              None where it cannot
    mixes     whether operands may live on several devices
    absent    whether the joint rule takes None, in the place of zeros, for a cotangent of an output
              to which nothing arrives
    samples, errors   dtype name -> cases, for the conformance suite
    ulp       how far a result may lie from the exact one, in units in the last place
    dtypes    names of the dtypes for which samples are made
    doc       a line for people
    """

    name: str
    infer: Callable[..., Spec | tuple[Spec, ...]]
    grad: tuple[Rule | None, ...] | Rule | None = None
    canon: Callable[..., dict[str, Any]] | None = None
    lift: Callable[..., tuple[tuple[int, ...], Any]] | None = None
    body: Callable[..., Any] | None = None
    nest: Callable[..., Any] | None = None
    complex_nest: bool = False
    push: Callable[..., Any] | None = None
    dynamic: Callable[..., Any] | None = None
    view: Callable[..., Any] | None = None
    mixes: bool = False
    absent: bool = False
    samples: Callable[[str], Iterable[Any]] | None = None
    errors: Callable[[], Iterable[Any]] | None = None
    ulp: float | dict[str, float] = 0.0
    dtypes: tuple[str, ...] = FLOATS
    differentiable: bool = True
    doc: str = ""

    def __init__(self, name: str, infer: Callable[..., Any], **fields: Any) -> None:
        unknown = fields.keys() - Op.__annotations__.keys()
        if unknown:
            raise ArgumentTypeError(f"an op has no {sorted(unknown)}",
                                    remedy=f"one of {', '.join(Op.__annotations__)}")
        vars(self).update(fields, name=name, infer=infer)
        self.memo: dict[Any, Any] = {}
        self.keeps, self.keeps_rest, self.keeps_y = _kept(self.grad)
        LIVING.add(self)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def lowers_directly(self, specs: Iterable[Any]) -> bool:
        """Whether it says itself as statements of a nest, for these operands.

        With a nest and a body it does so for real numbers; for complex ones it is its body, unless
        the nest is for them too.
        """
        if self.scatter_nest is not None or self.nest is None or self.body is None or self.complex_nest:
            return self.scatter_nest is not None or self.nest is not None
        return not any(isinstance(s, Spec) and s.dtype.kind == "complex" for s in specs)

    def run_body(self, xs: Iterable[Any], attrs: dict[str, Any]) -> Any:
        """The body's result; over narrow floats it is computed in the wider type, rounded once."""
        body: Any = self.body
        xs = tuple(xs)
        specs = [getattr(x, "spec", type(x)) for x in xs]
        if not any(isinstance(s, Spec) and s.dtype.is_small_float for s in specs):
            return body(*xs, **attrs)
        wide = [x.astype(s.dtype.compute) if isinstance(s, Spec) and s.dtype.is_small_float else x
                for x, s in zip(xs, specs)]
        result, outs = body(*wide, **attrs), self.infer(*specs, **attrs)
        if not isinstance(result, tuple):
            return result.astype(outs.dtype)  # type: ignore[union-attr]
        return tuple([y.astype(spec.dtype) for y, spec in zip(result, outs)])  # type: ignore

    def rule(self, k: int) -> Rule | None:
        """The rule for input `k`, the joint one where there is one."""
        if isinstance(self.grad, tuple):
            return self.grad[k] if k < len(self.grad) else None
        return self.grad

    def keeps_input(self, k: int) -> bool:
        """Whether some rule reads the values of input `k`."""
        return self.keeps[k] if k < len(self.keeps) else self.keeps_rest


def _kept(grad: tuple[Rule | None, ...] | Rule | None) -> tuple[tuple[bool, ...], bool, bool]:
    """Which inputs, which further inputs, and whether the output rules read: by their names."""
    if grad is None:
        return (), False, False
    if not isinstance(grad, tuple):
        code = grad.__code__
        others = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]  # that of `*xs`
        return (), not others.startswith("_"), not code.co_varnames[1].startswith("_")
    keeps = [False] * len(grad)
    keeps_y = rest = False
    for rule in grad:
        if rule is None:
            continue
        code = rule.__code__
        read = code.co_varnames[: code.co_argcount]
        keeps_y = keeps_y or not read[1].startswith("_")
        for k, name in enumerate(read[2 : 2 + len(grad)]):
            keeps[k] = keeps[k] or not name.startswith("_")
        if code.co_flags & CO_VARARGS:
            rest = rest or not code.co_varnames[len(read) + code.co_kwonlyargcount].startswith("_")
    return tuple(keeps), rest, keeps_y


OPS: dict[str, Op] = {}


def define(name: str, infer: Callable[..., Any], **fields: Any) -> Op:
    """Add a record to the table.

    Raises ArgumentError where the name is taken, or where the op has neither a gradient nor a body
    and is not declared non-differentiable, so that no gradient is missing silently.
    """
    op = Op(name, infer, **fields)
    if name in OPS:
        raise ArgumentError(f"an op named {name!r} exists already", remedy="another name")
    if op.differentiable and op.grad is None and op.body is None:
        raise ArgumentError(
            f"op {name!r} has neither grad nor body",
            remedy="give one, or declare differentiable=False",
        )
    OPS[name] = op
    return op


def find(name: str) -> Op:
    """The op of that name; KernelNotFound where there is none.

    >>> import tinyml
    >>> find("tanh")
    <op tanh>
    """
    try:
        return OPS[name]
    except KeyError:
        import difflib

        close = difflib.get_close_matches(name, OPS, 1)
        raise KernelNotFound(
            f"no op named {name!r}", remedy=f"did you mean {close[0]!r}?" if close else None
        ) from None


class Scope:
    """What variables know of the graph that they belong to: whether it is still being built."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = True


class Application:
    """A line of a graph: an op applied to variables and Python numbers.

    `place` is the user's file and line where it was written, where that is known.
    """

    __slots__ = ("op", "inputs", "attrs", "specs", "place")

    def __init__(self, op: Op, inputs: tuple[Any, ...], attrs: dict[str, Any],
                 specs: tuple[Spec, ...], place: tuple[str, int] | None = None) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.specs = specs
        self.place = place


class Var:
    """A value of a graph: output `out` of a line; an input where `source` is None."""

    __slots__ = ("source", "out", "spec", "scope")

    def __init__(self, source: Application | None, out: int, spec: Spec,
                 scope: Scope | None = None) -> None:
        self.source = source
        self.out = out
        self.spec = spec
        self.scope = scope


def attribute_key(value: Any) -> Any:
    """A hashable key that carries type and bits: 0.0 is not -0.0, 1 is not True, NaN is itself.

    >>> attribute_key(0.0) == attribute_key(-0.0), attribute_key(1) == attribute_key(True)
    (False, False)
    """
    kind = type(value)
    if kind is float:
        return kind, value.hex() if value == value else "nan"
    if hasattr(value, "dtype") and hasattr(value, "item"):  # of NumPy: 0-d is a number
        if getattr(value, "ndim", 1) or not hasattr(value, "tobytes"):
            raise ArgumentTypeError("an array is no attribute", remedy="pass it as an operand")
        return kind, str(value.dtype), attribute_key(value.item())
    if kind is tuple or kind is list:
        return tuple, tuple([attribute_key(v) for v in value])
    if kind is slice:
        return slice, attribute_key((value.start, value.stop, value.step))
    if kind is dict:
        try:
            items = sorted(value.items())
        except TypeError:
            raise ArgumentTypeError("a dict with keys of several types",
                                    remedy="strings as keys") from None
        return dict, tuple([(k, attribute_key(v)) for k, v in items])
    try:
        hash(value)
    except TypeError:
        raise ArgumentTypeError(f"an attribute of type {kind.__name__}",
                                remedy="numbers, strings, tuples or slices") from None
    return kind, value
