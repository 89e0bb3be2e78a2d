"""Plans: how an op runs on given layouts, by a kernel, else a view, else a nest, else other ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from inspect import signature
from typing import Any

from tinyml.concurrency import no_grad
from tinyml.core.builder import Builder, building, symbolic
from tinyml.core.make import make
from tinyml.core.state import STATE
from tinyml.dtypes import COMPLEX, STORED, promote, promote_scalar
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    KernelNotFound,
    MixedDeviceError,
    TinyMLError,
)
from tinyml.ir.devices import Call, Plan, find_kernels
from tinyml.ir.lower import NotOneNest, Scalar, lower
from tinyml.ir.nest import Nest
from tinyml.ir.op import Equation, Op, Var
from tinyml.ir.spec import Spec, make_spec

_DECLARED = frozenset((*COMPLEX, *STORED))  # types that few ops support


class Implicit:
    """The op records that `apply` uses implicitly; tinyml.ops sets them."""

    cast: Op
    copy: Op
    expand: Op


class CompiledOp:
    """An op on given layouts, ready to run.

    `fast` says that recording it needs no cast first: it has one float output, its own rule, and
    every float input in the type that it computes in. `kept` are the inputs as rules see them, and
    `expands` the views that broadcast operands to that form.
    """

    __slots__ = ("run", "ins", "outs", "out", "attrs", "how", "single", "fast", "kept", "expands")

    def __init__(self, run: Callable[..., Any], ins: tuple[Any, ...], outs: tuple[Spec, ...],
                 attrs: dict[str, Any], how: str) -> None:
        self.run = run
        self.ins = ins
        self.outs = outs
        self.out: Any = outs[0] if outs else None
        self.attrs = attrs
        self.how = how
        self.single = len(outs) == 1
        self.fast = False
        self.kept = ins
        self.expands: tuple[CompiledOp | None, ...] = ()


# ---- planning


def make_plan(op: Op, specs: Sequence[Any], attrs: dict[str, Any]) -> CompiledOp:
    """Return the plan of an op for these layouts: a kernel, else a view, nest or other ops."""
    attrs, given = checked(op, specs, attrs)
    ins = tuple(specs)
    if any(spec.unknown for spec in given):
        return CompiledOp(_by_itself(op, ins, attrs), ins, (), attrs, "host")
    outs = tuple([make_spec(spec.shape, spec.dtype, spec.device) for spec in given])  # dense
    before, STATE.planning = STATE.planning, True
    try:
        plan = _plan(Call(op, ins, attrs, outs, given[0].device))
    finally:
        STATE.planning = before
    return CompiledOp(plan.run, ins, plan.outs, attrs, plan.how)


def _plan(call: Call) -> Plan:
    op, device = call.op, call.device
    for candidate in find_kernels(op.name, device.name):
        plan = candidate(call)
        if plan is not None:
            return plan
    if op.view is not None:
        layout = op.view(call.ins[0], **call.attrs)
        if layout is not None and not (layout[1] and call.ins[0].dtype.is_subbyte):
            return _plan_view(call, layout)  # but an address cannot point inside a byte
    composition = op.composition(call.ins)
    if op.nest is not None or op.scatter_nest is not None or composition is not None:
        device.afford(sum(spec.nbytes for spec in call.outs))
        try:
            nest, ins = nest_of(call)
            return Plan(device.prepare(nest, ins, call.outs, op.name), call.outs, "nest")
        except NotOneNest:
            pass
    if composition is not None or op.host_impl is not None:
        return plan_composition(call)
    raise KernelNotFound(
        f"op {op.name!r} has no kernel, no nest and no body on {device.name}",
        remedy=f"register one with @kernel({op.name!r}, {device.name.partition(':')[0]!r})",
    )


def checked(op: Op, specs: Sequence[Any], attrs: dict[str, Any],
            ) -> tuple[dict[str, Any], tuple[Spec, ...]]:
    """Return the normalized attributes and the specs of the results.

    Raises the errors of the op's rules.
    """
    device: Any = None
    for spec in specs:
        if isinstance(spec, Spec) and not op.cross_device:
            if device is not None and spec.device is not device:
                raise MixedDeviceError(
                    f"tensors of {device} and {spec.device} in one operation",
                    remedy=f"move one with .to({str(device)!r})",
                )
            device = spec.device
    _refuse_undeclared(op, specs)
    try:
        if op.normalize is not None:
            attrs = op.normalize(*specs, **attrs)
        result = op.infer(*specs, **attrs)
    except TinyMLError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise _tripped(op, specs, attrs, error) from error
    known = (len(specs), *attrs)
    if known not in op.counted:
        miscounted = _miscounted(op, specs, attrs)
        if miscounted is not None:
            raise miscounted
        op.counted.add(known)
    given: tuple[Spec, ...] = result if isinstance(result, tuple) else (result,)
    for spec in given:
        if not spec.device.supports(spec.dtype):
            raise DTypeError(f"device {spec.device.name} has no {spec.dtype.name}",
                             remedy="float32, or device='cpu'")
    return attrs, given


def _refuse_undeclared(op: Op, specs: Sequence[Any]) -> None:
    """Raise DTypeError for a complex or storage-only type for which the record has no samples."""
    for spec in specs:
        if (isinstance(spec, Spec) and spec.dtype.name in _DECLARED and op.samples is not None
                and spec.dtype.name not in op.dtypes):
            raise DTypeError(f"{spec.dtype.name} is not accepted",
                             remedy=f"cast with .astype(...) to one of {', '.join(op.dtypes)}")


def _miscounted(op: Op, specs: Sequence[Any], attrs: dict[str, Any]) -> ArgumentTypeError | None:
    """Return an error if some rule of the record takes other operands or attributes than these."""
    found = (_unbound(op, rule, specs, attrs, lead) for rule, lead in op.operand_rules())
    return next((error for error in found if error is not None), None)


def _tripped(op: Op, specs: Sequence[Any], attrs: dict[str, Any],
             error: Exception) -> TinyMLError:
    """Return a typed error for an untyped one that a rule raised on its operands or attributes."""
    unbound = _unbound(op, op.normalize or op.infer, specs, attrs)
    if unbound is None and op.normalize is None:
        unbound = _miscounted(op, specs, attrs)
    if unbound is not None:
        return unbound
    number = next((k for k, spec in enumerate(specs) if not isinstance(spec, Spec)), None)
    if isinstance(error, AttributeError) and number is not None:
        return ArgumentTypeError(
            f"Expect: tensors only. Actual: operand {number} is a Python {specs[number].__name__}",
            remedy="tinyml.tensor(number) makes one")
    kind = ArgumentError if isinstance(error, (ValueError, ArithmeticError)) else ArgumentTypeError
    return kind(f"operands or attributes do not fit: {error}",
                remedy=op.doc or "see the op's record")


def _unbound(op: Op, rule: Callable[..., Any], xs: Sequence[Any],
             attrs: dict[str, Any], lead: int = 0) -> ArgumentTypeError | None:
    """Return the error for operands or attributes that do not match a rule's parameters.

    The rule takes `lead` arguments before them.
    """
    wanted = signature(rule)
    try:
        wanted.bind(*[None] * lead, *xs, **attrs)
        return None
    except TypeError:
        names = [name.lstrip("_") or "..." for name, p in wanted.parameters.items()
                 if p.kind is not p.VAR_KEYWORD][lead:]
        given = [*(["an operand"] * len(xs)), *attrs]
        return ArgumentTypeError(
            f"Expect: {', '.join(names)}. Actual: {', '.join(given) or 'nothing'}",
            remedy=op.doc or "see the op's record")


def equation_plan(op: Op, specs: Sequence[Any], attrs: dict[str, Any]) -> CompiledOp:
    """Return the plan of an op on variables: running it appends an equation to a graph."""
    attrs, given = checked(op, specs, attrs)
    outs = tuple([symbolic(spec) for spec in given])

    def run(*values: Any) -> Any:
        written = STATE.building.append(op, values, attrs, outs)
        return written[0] if len(written) == 1 else written

    return CompiledOp(run, tuple(specs), outs, attrs, "equation")


def _by_itself(op: Op, specs: Sequence[Any], attrs: dict[str, Any]) -> Callable[..., Any]:
    """Return the function, from buffers to tensors, that runs an op's body or host_impl."""

    def run(*values: Any) -> Any:
        xs = [make(v, spec) if isinstance(spec, Spec) else v for v, spec in zip(values, specs)]
        with no_grad():
            if op.host_impl is not None:
                return op.host_impl(*xs, **attrs)
            return run_composition(op, xs, attrs)

    return run


def _plan_view(call: Call, layout: tuple[tuple[int, ...], int]) -> Plan:
    strides, offset = layout
    out = call.outs[0]
    spec = make_spec(out.shape, out.dtype, out.device, strides)
    device = call.device

    def run(buf: Any) -> Any:
        return device.view(buf, offset, spec) if offset else buf

    return Plan(run, (spec,), "view")


def nest_of(call: Call) -> tuple[Nest, list[Any]]:
    """Return the nest of an op for given layouts, and its inputs: specs and run-time numbers.

    Raises NotOneNest if it does not form one nest.
    """
    inputs: list[Any] = []
    for spec in call.ins:
        numbers = sum(isinstance(i, Scalar) for i in inputs)
        inputs.append(Var(symbolic(spec)) if isinstance(spec, Spec) else Scalar(spec, numbers))
    nest = lower(*_equations(inputs, call), inputs)
    return nest, [i if isinstance(i, Scalar) else spec for i, spec in zip(inputs, call.ins)]


def _equations(inputs: list[Any], call: Call) -> tuple[list[Equation], Sequence[Var]]:
    """Return equations for an op, itself or the ops that it is composed of, and their outputs."""
    op = call.op
    if op.lowers_directly(call.ins):
        outs = tuple([Var(symbolic(spec)) for spec in call.outs])
        return [Equation(op, tuple(inputs), call.attrs, outs)], outs
    builder = Builder(inline=True, closed=True)
    specs = [i.spec for i in inputs if isinstance(i, Var)]
    strong = reduce(promote, {spec.dtype: None for spec in specs if spec.dtype.is_inexact} or
                    [specs[0].dtype])
    values = []
    for value in inputs:
        if isinstance(value, Scalar):
            dtype = promote_scalar(strong, value.kind)
            value.var = Var(make_spec((), dtype, specs[0].device, None, True))
            value = value.var
        value.scope = builder.scope
        values.append(make(value, value.spec))
    body: Any = op.composition(call.ins)
    with building(builder), no_grad():
        try:
            result = run_composition(op, values, call.attrs)
        except TypeError as error:
            raise _unbound(op, body, values, call.attrs) or error from error.__cause__
    results = result if isinstance(result, tuple) else (result,)
    for tensor, spec in zip(results, call.outs):
        if not isinstance(tensor.buf, Var):
            raise NotOneNest
        if tensor.spec.shape != spec.shape or tensor.spec.dtype is not spec.dtype:
            raise KernelNotFound(f"the body of {op.name!r} gives {tensor.spec}, its rule {spec}")
    return builder.equations, [tensor.buf for tensor in results]


# ---- composites


def run_composition(op: Op, xs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """Apply the ops of which an op is composed to tensors.

    Small floats are computed in the wider type and rounded once at the end; but not in a graph,
    each equation of which rounds its result.
    """
    specs = [getattr(x, "spec", type(x)) for x in xs]
    body: Any = op.composition(specs)
    if op.inlines or not any(isinstance(s, Spec) and s.dtype.is_small_float for s in specs):
        return body(*xs, **attrs)
    wide = [x.astype(s.dtype.compute)
            if isinstance(s, Spec) and s.dtype.is_small_float else x
            for x, s in zip(xs, specs)]
    result, outs = body(*wide, **attrs), op.infer(*specs, **attrs)
    if not isinstance(outs, tuple):
        return result.astype(outs.dtype)
    return tuple([y.astype(spec.dtype) for y, spec in zip(result, outs)])


def plan_composition(call: Call) -> Plan:
    """Return the plan of an op that runs as other ops, from buffers to dense buffers."""
    function = _by_itself(call.op, call.ins, call.attrs)

    def run(*values: Any) -> Any:
        result = function(*values)
        results = result if isinstance(result, tuple) else (result,)
        bufs = tuple([tensor.buf if tensor.spec is spec else _dense(tensor)
                      for tensor, spec in zip(results, call.outs)])
        return bufs if len(bufs) > 1 else bufs[0]

    return Plan(run, call.outs, "body")


def _dense(tensor: Any) -> Any:
    """Return a buffer that holds a tensor's elements densely."""
    return make_plan(Implicit.copy, (tensor.spec,), {}).run(tensor.buf)
