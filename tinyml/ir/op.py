"""The op record and the table of ops: each operation is defined once, by such a record."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from inspect import CO_VARARGS
from struct import Struct
from typing import Any

from tinyml.dtypes import FLOATS
from tinyml.errors import ArgumentError, ArgumentTypeError, KernelNotFound, SourceLocation, shown
from tinyml.ir.spec import Spec

Rule = Callable[..., Any]
LIVING: weakref.WeakSet[Op] = weakref.WeakSet()  # those in the table, and those made ad hoc


class Op:
    """One operation; everything else about it is derived from this record.

    name      the key everywhere
    infer     (*specs, **attrs) -> Spec or a tuple of them; raises user errors before any work.
              Among the specs, a Python number is given as itself.
    grad      one rule per input: (g, y, *xs, **attrs) -> cotangent; or one joint rule for all
              inputs: (g, y, *xs, wanted, **attrs) -> cotangents, where `wanted` marks the inputs
              that need one. A parameter whose name begins with '_' gets a tensor without values,
              so the value is not kept for it.
    normalize (*specs, **attrs) -> attrs in normal form (axes counted from the front, ...)
    promote   (*specs) -> (shape, dtype) to which tensor inputs broadcast and promote, if any

    How it runs, besides kernels:

    nest          at one index of a loop nest: (n, index, *sources, **attrs) -> id or ids
    scatter_nest  as a nest that does its own stores: (n, outs, *sources, **attrs)
    body          as other ops: (*tensors, **attrs) -> tensor or tuple
    complex_body  the same for complex operands, if the nest is for real ones
    fallback      the same if its nest cannot be merged with others
    host_impl     directly on tensors: (*tensors, **attrs) -> tensor or tuple, if a size of the
                  result depends on values, or its nest raises NotOneNest
    view          (spec, **attrs) -> (strides, offset) if the result shares the input's memory,
                  None if it cannot

    Other properties:

    cross_device  whether operands may live on several devices
    inlines       whether it is a graph: compiled graphs always inline it, whatever kernels it has
    accepts_none_cotangents   whether the joint rule takes None instead of zeros for an output
                  that has no cotangent
    internal      whether it is only a step of another op: no samples, not found by name
    samples, errors   dtype name -> cases, for the conformance suite
    ulp           the largest allowed error of a result, in units in the last place
    dtypes        names of the dtypes for which samples are made
    doc           a one-line description
    """

    name: str
    infer: Callable[..., Spec | tuple[Spec, ...]]
    grad: tuple[Rule | None, ...] | Rule | None = None
    normalize: Callable[..., dict[str, Any]] | None = None
    promote: Callable[..., tuple[tuple[int, ...], Any]] | None = None
    nest: Callable[..., Any] | None = None
    scatter_nest: Callable[..., Any] | None = None
    body: Callable[..., Any] | None = None
    complex_body: Callable[..., Any] | None = None
    fallback: Callable[..., Any] | None = None
    host_impl: Callable[..., Any] | None = None
    view: Callable[..., Any] | None = None
    cross_device: bool = False
    inlines: bool = False
    accepts_none_cotangents: bool = False
    internal: bool = False
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
        self.counted: set[Any] = set()  # numbers of operands, with names of attributes, that fit
        self.keeps, self.keeps_rest, self.keeps_y = _kept(self.grad)
        LIVING.add(self)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def composition(self, specs: Iterable[Any]) -> Callable[..., Any] | None:
        """Return the function that computes it with other ops for these operands, or None."""
        if self.complex_body is not None and _any_complex(specs):
            return self.complex_body
        return self.body or self.fallback

    def operand_rules(self) -> list[tuple[Callable[..., Any], int]]:
        """Return the functions that take its operands, and how many arguments precede them."""
        given = [(self.body, 0), (self.complex_body, 0), (self.fallback, 0), (self.host_impl, 0),
                 (self.nest, 2), (self.scatter_nest, 2)]
        given += [(rule, 2) for rule in (self.grad if isinstance(self.grad, tuple) else ())]
        return [(rule, lead) for rule, lead in given if rule is not None]

    def lowers_directly(self, specs: Iterable[Any]) -> bool:
        """Return whether its own nest serves these operands, without its body."""
        if self.nest is None:
            return self.scatter_nest is not None
        return self.complex_body is None or not _any_complex(specs)

    def rule(self, k: int) -> Rule | None:
        """Return the rule for input `k`, or the joint rule if there is one."""
        if isinstance(self.grad, tuple):
            return self.grad[k] if k < len(self.grad) else None
        return self.grad

    def keeps_input(self, k: int) -> bool:
        """Return whether some rule reads the values of input `k`."""
        return self.keeps[k] if k < len(self.keeps) else self.keeps_rest


def _any_complex(specs: Iterable[Any]) -> bool:
    return any(isinstance(s, Spec) and s.dtype.kind == "complex" for s in specs)


def _kept(grad: tuple[Rule | None, ...] | Rule | None) -> tuple[tuple[bool, ...], bool, bool]:
    """Return which inputs, whether further inputs, and whether the output the rules read."""
    if grad is None:
        return (), False, False
    if not isinstance(grad, tuple):
        code = grad.__code__
        others = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]  # the name of `*xs`
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

    Raises ArgumentError if the name is taken, or if the op has neither a gradient nor a body and
    is not declared non-differentiable, so that no gradient is silently missing.
    """
    op = Op(name, infer, **fields)
    if name in OPS:
        raise ArgumentError(f"an op named {name!r} exists already", remedy="another name")
    if op.differentiable and op.grad is None and op.body is None and op.fallback is None:
        raise ArgumentError(
            f"op {name!r} has neither grad nor body",
            remedy="give one, or declare differentiable=False",
        )
    OPS[name] = op
    return op


def find(name: str) -> Op:
    """Return the op with this name; raise KernelNotFound if there is none or it is internal.

    Internal ops trust their operands, so they must not be called from outside, least of all by a
    file.

    >>> import tinyml
    >>> find("tanh")
    <op tanh>
    """
    op = OPS.get(name) if isinstance(name, str) else None
    if op is None:
        import difflib

        close = difflib.get_close_matches(name, OPS, 1) if isinstance(name, str) else None
        raise KernelNotFound(
            f"no op named {shown(name)}", remedy=f"did you mean {close[0]!r}?" if close else None)
    if op.internal:
        raise KernelNotFound(f"{name!r} is a step of another op", remedy="call that op")
    return op


class Scope:
    """The state that a graph's variables share: whether the graph is still being built."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = True


class Var:
    """A value of a graph: an input, or the result of an equation.

    `location` is the user's file and line of its equation, if known.
    """

    __slots__ = ("spec", "scope", "location")

    def __init__(self, spec: Spec, scope: Scope | None = None,
                 location: SourceLocation | None = None) -> None:
        self.spec = spec
        self.scope = scope
        self.location = location


class Equation:
    """One line of a graph, outs = op(inputs, attrs); inputs are variables and Python numbers.

    `location` is the user's file and line that made it, if known.
    """

    __slots__ = ("op", "inputs", "attrs", "outs", "location")

    def __init__(self, op: Op, inputs: tuple[Any, ...], attrs: dict[str, Any],
                 outs: tuple[Var, ...], location: SourceLocation | None = None) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.outs = outs
        self.location = location

    @property
    def operands(self) -> list[Var]:
        """The variables that it reads."""
        return [v for v in self.inputs if isinstance(v, Var)]


_BITS = Struct("d").pack
_PLAIN = {bool, int, str, type(None)}


def attribute_key(value: Any) -> Any:
    """Return a hashable key with type and bits: 0.0 is not -0.0, 1 is not True.

    A NaN equals a NaN with the same sign and payload.

    >>> attribute_key(0.0) == attribute_key(-0.0), attribute_key(1) == attribute_key(True)
    (False, False)
    """
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if kind is float:
        return kind, _BITS(value)
    if kind is complex:
        return kind, _BITS(value.real), _BITS(value.imag)
    if hasattr(value, "dtype") and hasattr(value, "item"):  # from NumPy: a 0-d array is a number
        if getattr(value, "ndim", 1) or not hasattr(value, "tobytes"):
            raise ArgumentTypeError("an array is no attribute", remedy="pass it as an operand")
        return kind, str(value.dtype), value.tobytes()
    if kind is tuple or kind is list:
        return tuple, tuple([attribute_key(v) for v in value])
    if isinstance(value, tuple):
        return kind, tuple([attribute_key(v) for v in value])
    if kind is frozenset:
        return kind, frozenset([attribute_key(v) for v in value])
    if kind is slice:
        return slice, attribute_key((value.start, value.stop, value.step))
    if kind is dict:
        try:
            items = sorted(value.items())
        except TypeError:
            raise ArgumentTypeError("a dict with keys of several types",
                                    remedy="strings as keys") from None
        return dict, tuple([(k if type(k) is str else attribute_key(k), attribute_key(v))
                            for k, v in items])
    try:
        hash(value)
    except TypeError:
        raise ArgumentTypeError(f"an attribute of type {kind.__name__}",
                                remedy="numbers, strings, tuples or slices") from None
    if kind is not type and hasattr(kind, "__dataclass_fields__"):
        return kind, tuple([attribute_key(getattr(value, k)) for k in kind.__dataclass_fields__])
    if hasattr(kind, "as_tuple"):  # a Decimal: 1.0 and 1.00 are equal
        return kind, value.as_tuple()
    return kind, value
