"""`apply`: executes an op, or appends it to the graph under construction, and records it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinyml.concurrency import RECORDING
from tinyml.core.builder import refuse_leaked
from tinyml.core.error_context import add_context, fail
from tinyml.core.make import Class, Tensor
from tinyml.core.node import Data, Item, Node
from tinyml.core.plan import CompiledOp, Implicit, equation_plan, make_plan, run_composition
from tinyml.core.state import STATE
from tinyml.core.upload import as_operands, upload
from tinyml.errors import TinyMLError
from tinyml.ir.op import Op, attribute_key
from tinyml.ir.spec import Spec

MEMO_LIMIT = 512  # plans kept per op, so that ever new shapes do not use ever more memory


class Watching:
    """The wrapper of all that runs while observers are active (tinyml.observe), else None."""

    wrap: Callable[[Op, CompiledOp], Callable[..., Any]] | None = None


def watched() -> bool:
    """Return whether an observer is active."""
    return Watching.wrap is not None


# ---- apply


def apply(op: Op, *xs: Any, **attrs: Any) -> Tensor:
    """Apply an op with one output to tensors and Python numbers; every operation comes here.

    Ops with several outputs use `apply_many`. Raises the TinyMLError of the op's shape rule, with
    op, inputs and the user's line added.
    """
    result: Tensor
    if STATE.building is not None:
        result = _write(op, xs, attrs)
        return result
    key: Any = tuple([x.spec if isinstance(x, Data) else type(x) for x in xs])
    if attrs:
        try:
            key = (key, attribute_key(attrs))
        except Exception as error:
            fail(error, op.name, xs)
    plan: CompiledOp | None = op.memo.get(key)
    result = _first(op, xs, attrs) if plan is None else run(op, plan, xs)
    return result


def apply_many(op: Op, *xs: Any, **attrs: Any) -> tuple[Tensor, ...]:
    """Apply an op with any number of outputs, and return them all."""
    return as_tuple(apply(op, *xs, **attrs))


def as_tuple(result: Any) -> tuple[Any, ...]:
    """Return an op's result, or its cotangents, as a tuple even if there is just one."""
    return result if isinstance(result, tuple) else (result,)


def run(op: Op, plan: CompiledOp, xs: Sequence[Any]) -> Any:
    """Execute a plan, recording it if an input has a node."""
    try:
        if RECORDING.get():
            for x in xs:
                if isinstance(x, Data) and x.node is not None:
                    return record(op, plan, xs)
        return _execute(plan, xs)
    except TinyMLError as error:
        raise add_context(error, op.name, xs) from error.__cause__


def _execute(plan: CompiledOp, xs: Sequence[Any]) -> Any:
    result = plan.run(*[x.buf if isinstance(x, Data) else x for x in xs])
    if plan.single:
        return Class.tensor(result, plan.out)
    if plan.how == "host":
        return result
    return tuple([Class.tensor(buf, spec) for buf, spec in zip(result, plan.outs)])


def _first(op: Op, xs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """Run a call that has no plan yet: convert, check, plan."""
    try:
        xs = as_operands(xs)
        for x in xs:
            if isinstance(x, Data) and x.spec.symbolic:
                refuse_leaked(x)
        specs = tuple([x.spec if isinstance(x, Data) else type(x) for x in xs])
        key = (specs, attribute_key(attrs)) if attrs else specs
        plan = op.memo.get(key)
        if plan is None:
            watching = Watching.wrap
            plan = make_plan(op, specs, attrs)
            _prepare_record(op, plan)
            if watching is not None:
                plan.run = watching(op, plan)
            if len(op.memo) >= MEMO_LIMIT:
                op.memo.clear()
            if watching is Watching.wrap:  # otherwise it belongs to another memo
                op.memo[key] = plan
    except Exception as error:
        fail(error, op.name, xs)
    return run(op, plan, xs)


def _write(op: Op, xs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """Append a call to the graph under construction, recording it like any other call."""
    builder = STATE.building
    try:
        xs = [builder.enter(x) if isinstance(x, Data) else x for x in as_operands(xs)]
        specs = tuple([x.spec if isinstance(x, Data) else type(x) for x in xs])
        plan = equation_plan(op, specs, attrs)
        if builder.inlines(op, plan.ins, plan.out.device):
            return run_composition(op, xs, plan.attrs)
        _prepare_record(op, plan)
    except Exception as error:
        fail(error, op.name, xs)
    return run(op, plan, xs)


def _prepare_record(op: Op, plan: CompiledOp) -> None:
    """Compute once what every recording of this plan needs; see CompiledOp."""
    if op.grad is None or not op.differentiable:
        return
    plan.fast = plan.single and plan.out.dtype.is_inexact
    if op.promote is None:
        return
    shape, dtype = op.promote(*plan.ins)
    plan_of = equation_plan if plan.how == "equation" else make_plan
    kept = list(plan.ins)
    expands: list[CompiledOp | None] = [None] * len(kept)
    for k, spec in enumerate(plan.ins):
        if isinstance(spec, Spec) and spec.dtype.is_inexact:
            plan.fast = plan.fast and spec.dtype is dtype
            if spec.shape != shape:
                expands[k] = plan_of(Implicit.expand, (spec,), {"shape": shape})
                kept[k] = expands[k].out  # type: ignore[union-attr]
    if any(expands):
        plan.kept, plan.expands = tuple(kept), tuple(expands)


def expanded(plan: CompiledOp, k: int, node: Node) -> Node:
    """Return the node of an operand as the op sees it: expanded if it broadcasts."""
    expand = plan.expands[k]
    if expand is None:
        return node
    return Node(Implicit.expand, expand, (None,), (node,), None, node.min_level)


# ---- recording


def record(op: Op, plan: CompiledOp, xs: Sequence[Any]) -> Any:
    """Execute a plan, and record how the result was made."""
    if not plan.fast:
        if op.grad is None and op.composition(plan.ins) is not None:
            return run_composition(op, xs, plan.attrs)
        if not op.differentiable:
            return _execute(plan, xs)
        if op.promote is not None:
            lifted = _promoted(op, xs)
            if lifted is not None:
                return apply(op, *lifted, **plan.attrs)
    result = plan.run(*[x.buf if isinstance(x, Data) else x for x in xs])
    if plan.single:
        return Class.tensor(result, plan.out,
                       _node(op, plan, xs, result) if plan.out.dtype.is_inexact else None)
    node = _node(op, plan, xs, result)
    return tuple([Class.tensor(buf, spec, Item(node, k) if spec.dtype.is_inexact else None)
                  for k, (buf, spec) in enumerate(zip(result, plan.outs))])


def _node(op: Op, plan: CompiledOp, xs: Sequence[Any], result: Any) -> Node:
    parents: list[Node | None] = []
    bufs: list[Any] = []
    min_level = 1 << 62
    for k, x in enumerate(xs):
        if isinstance(x, Data):
            node = x.node
            bufs.append(x.buf if op.keeps_input(k) else None)
            if node is not None:
                if node.min_level < min_level:
                    min_level = node.min_level
                if plan.expands:
                    node = expanded(plan, k, node)
            parents.append(node)
        else:
            parents.append(None)
            bufs.append(x)
    return Node(op, plan, tuple(bufs), tuple(parents), result if op.keeps_y else None, min_level)


def _promoted(op: Op, xs: Sequence[Any]) -> list[Any] | None:
    """Return the inputs, floats with a node cast to the op's type; None if none needs a cast.

    So every rule sees operands of one dtype; the plan takes care that they have one shape. The sum
    over broadcast axes is the gradient of `expand`, written only there.
    """
    assert op.promote is not None
    _, dtype = op.promote(*[x.spec if isinstance(x, Data) else type(x) for x in xs])
    lifted = [
        apply(Implicit.cast, x, dtype=dtype)
        if isinstance(x, Data) and x.node is not None and x.spec.dtype.is_inexact
        and x.spec.dtype is not dtype else x
        for x in xs
    ]
    return lifted if any(a is not b for a, b in zip(lifted, xs)) else None


# ---- full


def full(shape: tuple[int, ...], value: Any, dtype: Any, device: Any) -> Tensor:
    """Return a tensor filled with one value, stored once and read with stride 0.

    The value becomes the type's as `upload` converts it: there is one rule.
    """
    one = upload(value, device, dtype)
    return apply(Implicit.expand, one, shape=shape) if shape else one

