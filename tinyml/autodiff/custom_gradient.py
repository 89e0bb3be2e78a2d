"""User-defined gradient rules: custom_gradient.

One node, or one equation of a graph, stands for the whole function, with a joint rule made for the
call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, ParamSpec, TypeVar, overload

import tinyml.tree as tree
from tinyml.autodiff.grad import check_conforms, is_float
from tinyml.concurrency import no_grad
from tinyml.core.apply import as_tuple
from tinyml.core.builder import entered
from tinyml.core.error_context import error_context
from tinyml.core.make import make
from tinyml.core.node import Item, Node
from tinyml.core.plan import CompiledOp
from tinyml.core.state import STATE
from tinyml.errors import ArgumentTypeError, GradientError, TinyMLError, as_function
from tinyml.extend import Op, apply_many, expect
from tinyml.graph.graph import build, replay
from tinyml.ops.creation import zeros_like
from tinyml.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def strip_node(x: Any) -> Any:
    """Return a value without its node."""
    x = entered(x)
    return make(x.buf, x.spec) if isinstance(x, Tensor) and x.node is not None else x


def strip_values(x: Any) -> Any:
    """Return a tensor's shape and dtype without its values, which need not be kept."""
    return make(None, x.spec) if isinstance(x, Tensor) else x


def float_places(leaves: Sequence[Any]) -> list[int]:
    """Return the positions of the float tensors."""
    return [k for k, x in enumerate(leaves) if is_float(x)]


def replace_at(leaves: Sequence[Any], places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    """Return a copy of the leaves with `values` at `places`."""
    result = list(leaves)
    for place, value in zip(places, values):
        result[place] = value
    return result


def attach_rule(name: str, xs: Sequence[Tensor], more: Sequence[Node], ys: Sequence[Tensor],
                rule: Callable[..., Any]) -> list[Tensor]:
    """Return `ys` with one node, whose joint rule serves the tensors `xs` and the nodes `more`.

    The rule gets xs without values, and None for each of `more`. Without ys there is no node.
    """
    if not ys:
        return []
    parents = tuple([x.node for x in xs] + list(more))
    specs = tuple([x.spec for x in xs] + [None] * len(more))
    outs = tuple([y.spec for y in ys])
    op = Op(name, lambda *_: _single(outs), grad=rule)
    plan = CompiledOp(_refuse_to_run, specs, outs, {}, "rule")
    min_level = min(node.min_level for node in parents if node is not None)
    node = Node(op, plan, (None,) * len(parents), parents, None, min_level)
    if len(ys) == 1:
        return [make(ys[0].buf, ys[0].spec, node)]
    return [make(y.buf, y.spec, Item(node, k)) for k, y in enumerate(ys)]


def _refuse_to_run(*_: Any) -> Any:
    raise GradientError("this record has a rule only, it does not run by itself")


def _single(values: Sequence[Any]) -> Any:
    """Return results as an op returns them: a tuple, or the value itself if there is just one."""
    return tuple(values) if len(values) > 1 else values[0]


# ---- custom_gradient


@overload
def custom_gradient(f: Callable[P, tuple[R, Callable[..., Any]]], *, linear: bool = False,
                    jvp: Callable[..., Any] | None = None) -> Callable[P, R]: ...


@overload
def custom_gradient(f: None = None, *, linear: bool = False,
                    jvp: Callable[..., Any] | None = None,
                    ) -> Callable[[Callable[P, tuple[R, Callable[..., Any]]]],
                                  Callable[P, R]]: ...


def custom_gradient(f: Any = None, *, linear: bool = False,
                    jvp: Callable[..., Any] | None = None) -> Any:
    """Give a function a custom gradient: f(*xs) returns (value, pullback).

    `pullback(g)` takes a cotangent like the value and returns a tuple with one for each argument,
    or just the cotangent if there is one argument; None stands for zeros. Arguments and value may
    be pytrees. Only arguments are differentiated: f must not close over differentiated values.

    Second-order gradients differentiate the pullback, and jvp transposes it. Both are wrong unless
    the pullback is linear in g (one that clips g is not), so both raise GradientError by default.
    `@custom_gradient(linear=True)` declares that the pullback is linear in g and made of
    differentiable operations. `jvp=rule`, where rule(primals, tangents) returns the value's tangent
    from two tuples, allows jvp of any order, but no second order in reverse mode.

    Also raises GradientError if f closes over a differentiated value, and ArgumentTypeError if f
    does not return a pair.

    >>> import tinyml
    >>> @tinyml.custom_gradient
    ... def clipped(x):
    ...     return x, lambda g: tinyml.minimum(g, 1.0)
    >>> tinyml.grad(lambda x: (clipped(x) * 5.0).sum())(tinyml.tensor([3.0])).tolist()
    [1.0]
    """
    if f is None:
        return functools.partial(custom_gradient, linear=linear, jvp=jvp)
    if linear is True and jvp is not None:
        raise ArgumentTypeError("linear=True and jvp= at once",
                                remedy="linear=True alone gives jvp too")
    as_function(f)
    if jvp is not None:
        as_function(jvp, "jvp")
    own = _Custom(f, linear, jvp)

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        with error_context(own.name, args):
            return own.call(args, kwargs)

    return call


class _Custom:
    """A function with its declared properties."""

    def __init__(self, f: Callable[..., Any], linear: bool, jvp: Callable[..., Any] | None) -> None:
        self.f = f
        self.linear = linear
        self.jvp = jvp
        self.name: str = getattr(f, "__qualname__", type(f).__name__)

    def run(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Run f, and return its (value, pullback) pair after checking it."""
        result = self.f(*args, **kwargs)
        if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
            raise ArgumentTypeError(f"{self.name} returned a {type(result).__name__}",
                                    remedy="return value, pullback")
        return result

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the value, with one node or one equation for the whole of f."""
        flat, definition = tree.flatten(args)
        if any(isinstance(x, Tensor) and x.node is not None for x in tree.flatten(kwargs)[0]):
            raise GradientError("a differentiated value is given by name",
                                remedy="give it by position, or .detach() it")
        way = self._execute if STATE.building is None else self._write
        return way(flat, definition, kwargs)

    def _execute(self, flat: list[Any], definition: tree.TreeDef, kwargs: dict[str, Any]) -> Any:
        """Run f once, on values, and keep its pullback for the backward pass."""
        bare = [strip_node(x) for x in flat]
        value, pullback = self.run(tree.unflatten(definition, bare), kwargs)
        outputs, shape = tree.flatten(value)
        if STATE.recording and any(isinstance(y, Tensor) and y.node is not None for y in outputs):
            raise self.closes_over()
        places = [k for k in float_places(flat) if flat[k].node is not None]
        if not STATE.recording or not places:
            return value
        kept = bare if self.linear or self.jvp is not None else []
        call = _Call(self, kwargs, definition, [strip_values(x) for x in flat], shape,
                     [strip_values(y) for y in outputs])

        def rule(g: Any, _y: Any, *_xs: Any, wanted: tuple[bool, ...]) -> list[Any]:
            gs = as_tuple(g)

            def primals() -> list[Any]:
                return replace_at(kept, places, [make(kept[k].buf, x.spec, x.node)
                                                 for k, x in zip(places, _xs)])

            if STATE.recording and self.linear:
                found = call.pull(call.run(primals()), gs)
            else:
                with no_grad():
                    found = call.pull(pullback, [strip_node(x) for x in gs])
                if STATE.recording:
                    found = call.guard(found, places, [*gs, *_xs], primals)
            return [found[k] for k in places]

        at = call.float_outputs
        ys = attach_rule(self.name, [flat[k] for k in places], (), [outputs[k] for k in at], rule)
        return tree.unflatten(shape, replace_at(outputs, at, ys))

    def _write(self, flat: list[Any], definition: tree.TreeDef, kwargs: dict[str, Any]) -> Any:
        """Append one equation, whose value, pullback and jvp are graphs."""
        at = [k for k, x in enumerate(flat) if isinstance(x, Tensor)]
        xs = [flat[k] for k in at]
        floats, count, specs = float_places(xs), len(xs), [x.spec for x in xs]
        arguments = [strip_values(x) for x in flat]
        results: list[Any] = []

        def run(*values: Any) -> list[Any]:
            value, _ = self.run(tree.unflatten(definition, replace_at(arguments, at, values)),
                                kwargs)
            results[:] = tree.flatten(value)
            return [y for y in results[0] if isinstance(y, Tensor)]

        primal = build(run, specs)
        outputs, shape = results
        call = _Call(self, kwargs, definition, arguments, shape,
                     [strip_values(y) for y in outputs])
        tensors = [k for k, y in enumerate(outputs) if isinstance(y, Tensor)]

        def pull(*values: Any) -> list[Any]:
            again = call.run(replace_at(arguments, at, values[:count]))
            found = call.pull(again, values[count:])
            return [zeros_like(xs[k]) if found[at[k]] is None else found[at[k]] for k in floats]

        def push(*values: Any) -> list[Any]:
            directions = replace_at([None] * len(flat), [at[k] for k in floats], values[count:])
            return call.push(replace_at(arguments, at, values[:count]), directions)

        graphs = [primal, build(pull, [*specs, *[outputs[k].spec for k in call.float_outputs]])]
        if self.jvp is not None:
            graphs.append(build(push, [*specs, *[xs[k].spec for k in floats]]))
        captured = [c.tensor for graph in graphs for c in graph.captures]
        if STATE.recording and any(x.node is not None for x in captured):
            raise self.closes_over()
        # The captures of each graph follow the arguments, in the order of the graphs.
        ends = list(accumulate([len(graph.captures) for graph in graphs], initial=count))
        # The value advances the state that it draws from; a gradient draws what the value drew.
        sizes = [len(primal.gives), *[len(graph.outputs) for graph in graphs[1:]]]

        def apply_part(number: int, values: Sequence[Any], more: Sequence[Any] = ()) -> list[Any]:
            """Apply the equations of one of the graphs."""
            own = values[ends[number] : ends[number + 1]]
            return replay(graphs[number], [*values[:count], *more, *own])[: sizes[number]]

        def rule(g: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...]) -> list[Any]:
            if any(wanted[count:]):
                raise self.closes_over()
            gs = dict(zip(tensors, as_tuple(g)))
            found = apply_many(pullback, *xs, *[gs[k] for k in call.float_outputs])
            return replace_at([None] * len(xs), floats, found)

        def transposed(h: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...]) -> list[Any]:
            self.check_transposable(wanted[: ends[-1]])
            return [*[None] * ends[-1], *apply_part(2, xs[: ends[-1]], as_tuple(h))]

        pullback = Op(
            f"pullback of {self.name}", lambda *_: _single([xs[k].spec for k in floats]),
            grad=None if self.linear else transposed, inlines=True, cross_device=True,
            body=lambda *v: _single(apply_part(1, v[: ends[-1]], v[ends[-1] :])))
        outs = [*[outputs[k].spec for k in tensors], *[state.var.spec for state in primal.states]]
        op = Op(self.name, lambda *_: _single(outs), grad=rule, inlines=True, cross_device=True,
                body=lambda *v: _single(apply_part(0, v)))
        ys = apply_many(op, *xs, *captured)
        for state, y in zip(primal.states, ys[len(tensors):]):
            state.tensor._replace(y)
        return tree.unflatten(shape, replace_at(outputs, tensors, ys))

    def closes_over(self) -> TinyMLError:
        """Return the error for a gradient that would be lost."""
        return GradientError(f"{self.name} closes over a differentiated value",
                             remedy="make it an argument, or .detach() it")

    def check_cotangents(self, found: Any, args: tuple[Any, ...]) -> list[Any]:
        """Return a pullback's result as one cotangent for each leaf, None where it gave none."""
        single = len(args) == 1
        if single and not (isinstance(found, tuple) and len(found) == 1
                           and not isinstance(args[0], tuple)):
            found = (found,)
        expect(isinstance(found, (tuple, list)) and len(found) == len(args),
               f"the pullback of {self.name} returns {len(args)} cotangents",
               len(found) if isinstance(found, (tuple, list)) else type(found).__name__,
               GradientError, remedy="one for each argument, None for zeros")
        result: list[Any] = []
        for arg, g in zip(args, found):
            own, definition = tree.flatten(arg)
            result += ([None] * len(own) if g is None and own
                       else check_conforms(g, own, definition, "cotangent like the argument"))
        return result

    def check_transposable(self, wanted_primals: Sequence[bool]) -> None:
        """Raise GradientError if the derivative of the pullback that is needed was not declared."""
        if self.jvp is None:
            raise GradientError(
                f"{self.name} has a gradient of its own, not declared linear in its cotangent: jvp"
                " and second order might be wrong",
                remedy="@custom_gradient(linear=True) if the pullback is linear in g and"
                " differentiable; else @custom_gradient(jvp=rule) for jvp",
            ).during(self.name, "")
        if any(wanted_primals):
            raise GradientError(
                f"{self.name} has a gradient and a jvp of its own: no second order in reverse",
                remedy="forward over forward (jvp of jvp), or @custom_gradient(linear=True)",
            ).during(self.name, "")


class _Call(NamedTuple):
    """One call: the structures of arguments and value, and their leaves without values."""

    custom: _Custom
    kwargs: dict[str, Any]
    definition: tree.TreeDef
    arguments: list[Any]
    shape: tree.TreeDef
    outputs: list[Any]

    @property
    def float_outputs(self) -> list[int]:
        """The positions of the outputs that have cotangents and tangents."""
        return float_places(self.outputs)

    def run(self, leaves: Sequence[Any]) -> Callable[[Any], Any]:
        """Run f again, and return its pullback."""
        pullback: Callable[[Any], Any] = self.custom.run(
            tree.unflatten(self.definition, leaves), self.kwargs)[1]
        return pullback

    def pull(self, pullback: Callable[[Any], Any], gs: Sequence[Any]) -> list[Any]:
        """Return the cotangents of the arguments' leaves, from those of the float outputs."""
        g = replace_at([None] * len(self.outputs), self.float_outputs, gs)
        return self.custom.check_cotangents(pullback(tree.unflatten(self.shape, g)),
                                            tree.unflatten(self.definition, self.arguments))

    def push(self, leaves: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        """Return the tangents of the float outputs, by the jvp rule."""
        assert self.custom.jvp is not None
        tangent = self.custom.jvp(tree.unflatten(self.definition, leaves),
                                  tree.unflatten(self.definition, tangents))
        found = check_conforms(tangent, self.outputs, self.shape, "tangent like the value")
        return [found[k] for k in self.float_outputs]

    def guard(self, found: list[Any], places: list[int], ins: list[Any],
              primals: Callable[[], list[Any]]) -> list[Any]:
        """Return cotangents with a node that can be differentiated only by the jvp rule.

        They were made from `ins`: cotangents of the float outputs, then the arguments at `places`.
        """
        at = [k for k in places if found[k] is not None]
        if not at or all(x.node is None for x in ins):
            return found
        count = len(self.float_outputs)

        def rule(h: Any, _y: Any, *_ins: Any, wanted: tuple[bool, ...]) -> list[Any]:
            self.custom.check_transposable(wanted[count:])
            hs, leaves = dict(zip(at, as_tuple(h))), primals()
            tangents = [hs[k] if k in hs else zeros_like(x) if is_float(x) else None
                        for k, x in enumerate(leaves)]
            return [*self.push(leaves, tangents), *[None] * len(places)]

        ys = attach_rule(f"pullback of {self.custom.name}", ins, (), [found[k] for k in at], rule)
        return replace_at(found, at, ys)
