"""Rules of the user's own: custom_gradient; and checkpoint, which runs a function again.

Both put one node in the place of all that a function does, with a joint rule made on the spot.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import tinyml.tree as tree
from tinyml.autodiff.grad import conforming, is_float
from tinyml.core.apply import apply_many
from tinyml.core.builder import entered
from tinyml.core.error_context import describe
from tinyml.core.make import make
from tinyml.core.node import Item, Node
from tinyml.core.plan import CompiledOp
from tinyml.core.state import STATE, no_grad
from tinyml.errors import ArgumentTypeError, GradientError, TinyMLError, expect
from tinyml.graph.graph import build, replay
from tinyml.ir.op import Op
from tinyml.ops.creation import zeros_like
from tinyml.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def plain(x: Any) -> Any:
    """A value without how it was made."""
    x = entered(x)
    return make(x.buf, x.spec) if isinstance(x, Tensor) and x.node is not None else x


def like(x: Any) -> Any:
    """A tensor's shape and type without its values, which need not be kept."""
    return make(None, x.spec) if isinstance(x, Tensor) else x


def joined(name: str, xs: Sequence[Tensor], more: Sequence[Node], ys: Sequence[Tensor],
           rule: Callable[..., Any]) -> list[Tensor]:
    """`ys` with one node, made of the tensors `xs` and the nodes `more` by a joint rule.

    The rule gets xs without values, and None for each of `more`; no ys means no node.
    """
    if not ys:
        return []
    parents = tuple([x.node for x in xs] + list(more))
    specs = tuple([x.spec for x in xs] + [None] * len(more))
    outs = tuple([y.spec for y in ys])
    plan = CompiledOp(_never, specs, outs, {}, "rule")
    op = Op(name, lambda *_: outs if len(outs) > 1 else outs[0], grad=rule)
    min_level = min(node.min_level for node in parents if node is not None)
    node = Node(op, plan, (None,) * len(parents), parents, None, min_level)
    if len(ys) == 1:
        return [make(ys[0].buf, ys[0].spec, node)]
    return [make(y.buf, y.spec, Item(node, k)) for k, y in enumerate(ys)]


def _never(*_: Any) -> Any:
    raise GradientError("this record has a rule only, it does not run by itself")


def _floats(leaves: Sequence[Any]) -> list[int]:
    return [k for k, x in enumerate(leaves) if is_float(x)]


def _with(leaves: Sequence[Any], places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    """A copy of the leaves with other values at some places."""
    result = list(leaves)
    for place, value in zip(places, values):
        result[place] = value
    return result


# ---- custom_gradient


def custom_gradient(f: Callable[..., Any] | None = None, *, linear: bool = False,
                    jvp: Callable[..., Any] | None = None) -> Any:
    """A function with a gradient of its own: f(*xs) returns (value, pullback).

    `pullback(g)` takes a cotangent like the value and returns one for each argument, as a tuple;
    alone where there is one argument, None for zeros. Arguments and value may be pytrees. Only
    arguments are differentiated: f must not close over differentiated values.

    A second order differentiates the pullback, and jvp transposes it, which is wrong unless it is
    linear in g (one that clips g is not). So both raise GradientError, unless the function is
    declared with `@custom_gradient(linear=True)`: the pullback is linear in g and made of
    differentiable operations; or with `jvp=rule`, where rule(primals, tangents) gives the value's
    tangent from two tuples: then jvp, of any order, is allowed, and no second order in reverse.

    Raises GradientError also where f closes over a differentiated value, and ArgumentTypeError
    where f does not return a pair.

    >>> import tinyml
    >>> @tinyml.custom_gradient
    ... def clipped(x):
    ...     return x, lambda g: tinyml.minimum(g, 1.0)
    >>> tinyml.grad(lambda x: (clipped(x) * 5.0).sum())(tinyml.tensor([3.0])).tolist()
    [1.0]
    """
    if f is None:
        return functools.partial(custom_gradient, linear=linear, jvp=jvp)
    if linear and jvp is not None:
        raise ArgumentTypeError("linear=True and jvp= at once",
                                remedy="linear=True alone gives jvp too")
    own = _Custom(f, linear, jvp)

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return own.apply(args, kwargs)
        except TinyMLError as error:
            raise error.during(own.name, describe(args)) from error.__cause__

    return call


class _Custom:
    """A function with its declarations."""

    def __init__(self, f: Callable[..., Any], linear: bool, jvp: Callable[..., Any] | None) -> None:
        self.f = f
        self.linear = linear
        self.jvp = jvp
        self.name: str = getattr(f, "__qualname__", type(f).__name__)

    def run(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The pair that f returns, checked."""
        result = self.f(*args, **kwargs)
        if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
            raise ArgumentTypeError(f"{self.name} returned a {type(result).__name__}",
                                    remedy="return value, pullback")
        return result

    def apply(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The value, with one node in the place of all that f did."""
        flat, definition = tree.flatten(args)
        if any(isinstance(x, Tensor) and x.node is not None for x in tree.flatten(kwargs)[0]):
            raise GradientError("a differentiated value is given by name",
                                remedy="give it by position, or .detach() it")
        if STATE.building is not None:
            return self.line(flat, definition, kwargs)
        bare = [plain(x) for x in flat]
        value, pullback = self.run(tree.unflatten(definition, bare), kwargs)
        outputs, shape = tree.flatten(value)
        if STATE.recording and any(isinstance(y, Tensor) and y.node is not None for y in outputs):
            raise self.closes_over()
        places = [k for k in _floats(flat) if flat[k].node is not None]
        if not STATE.recording or not places:
            return value
        at = _floats(outputs)
        kept = bare if self.linear or self.jvp is not None else None
        likes = [like(y) for y in outputs]
        arguments = tree.unflatten(definition, [like(x) for x in flat])

        def rule(g: Any, _y: Any, *_xs: Any, wanted: tuple[bool, ...]) -> list[Any]:
            gs = list(g) if isinstance(g, tuple) else [g]

            def cotangent(values: Sequence[Any]) -> Any:
                return tree.unflatten(shape, _with([None] * len(likes), at, values))

            def primals() -> list[Any]:
                assert kept is not None
                nodes = [make(kept[k].buf, x.spec, x.node) for k, x in zip(places, _xs)]
                return _with(kept, places, nodes)

            if STATE.recording and self.linear:
                _, again = self.run(tree.unflatten(definition, primals()), kwargs)
                found = self.cotangents(again(cotangent(gs)), arguments)
                return [found[k] for k in places]
            with no_grad():
                bare_gs = cotangent([plain(x) for x in gs])
                found = self.cotangents(pullback(bare_gs), arguments)
            if STATE.recording:
                found = self.guarded(found, places, gs, list(_xs), primals,
                                     definition, likes, shape)
            return [found[k] for k in places]

        ys = joined(self.name, [flat[k] for k in places], (), [outputs[k] for k in at], rule)
        return tree.unflatten(shape, _with(outputs, at, ys))

    def line(self, flat: list[Any], definition: tree.TreeDef, kwargs: dict[str, Any]) -> Any:
        """The value in a graph under construction: one line, which keeps the rule as a graph."""
        at = [k for k, x in enumerate(flat) if isinstance(x, Tensor)]
        xs = [flat[k] for k in at]
        floats = [k for k, x in enumerate(xs) if is_float(x)]
        shapes: list[tree.TreeDef] = []
        results: list[Any] = []

        def entering(values: Sequence[Any]) -> list[Any]:
            args: list[Any] = tree.unflatten(definition, _with(flat, at, values))
            return args

        def forward(*values: Any) -> list[Any]:
            leaves, shape = tree.flatten(self.run(entering(values), kwargs)[0])
            shapes.append(shape)
            results[:] = leaves
            return [y for y in leaves if isinstance(y, Tensor)]

        primal = build(forward, [x.spec for x in xs])
        shape, outputs = shapes[0], [like(y) for y in results]
        places = [k for k, y in enumerate(outputs) if isinstance(y, Tensor)]
        out_floats = _floats(outputs)
        count = len(xs)

        def backwards(*values: Any) -> list[Any]:
            args = entering(values[:count])
            g = tree.unflatten(shape, _with([None] * len(outputs), out_floats, values[count:]))
            found = self.cotangents(self.run(args, kwargs)[1](g), tuple(args))
            return [zeros_like(xs[k]) if found[at[k]] is None else found[at[k]] for k in floats]

        def forwards(*values: Any) -> list[Any]:
            primals = entering(values[:count])
            directions: list[Any] = [None] * len(flat)
            for k, tangent in zip(floats, values[count:]):
                directions[at[k]] = tangent
            assert self.jvp is not None
            tangent = self.jvp(primals, tree.unflatten(definition, directions))
            found = conforming(tangent, outputs, shape, "tangent like the value")
            return [found[k] for k in out_floats]

        specs = [x.spec for x in xs]
        back = build(backwards, [*specs, *[outputs[k].spec for k in out_floats]])
        graphs = [primal, back]
        if self.jvp is not None:
            graphs.append(build(forwards, [*specs, *[xs[k].spec for k in floats]]))
        captured = [c.tensor for graph in graphs for c in graph.captures]
        if STATE.recording and any(x.node is not None for x in captured):
            raise self.closes_over()
        # What each graph captured stands behind the arguments, in the order of the graphs.
        ends = [count + sum(len(g.captures) for g in graphs[:k]) for k in range(len(graphs) + 1)]

        # State that the value draws from goes on; a gradient draws what the value drew.
        states = primal.states
        sizes = [len(primal.gives), *[len(graph.outputs) for graph in graphs[1:]]]

        def part(number: int, values: Sequence[Any], more: Sequence[Any] = ()) -> list[Any]:
            """Apply the lines of one of the graphs."""
            own = values[ends[number] : ends[number + 1]]
            return replay(graphs[number], [*values[:count], *more, *own])[: sizes[number]]

        def rule(g: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...]) -> list[Any]:
            if any(wanted[count:]):
                raise self.closes_over()
            gs = list(g) if isinstance(g, tuple) else [g]
            given = [gs[places.index(k)] for k in out_floats]
            by_place = dict(zip(floats, apply_many(pullback, *xs, *given)))
            return [by_place.get(k) for k in range(len(xs))]

        def transposed(h: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...]) -> list[Any]:
            if self.jvp is None or any(wanted[: ends[-1]]):
                raise self.refusal()
            hs = h if isinstance(h, tuple) else (h,)
            return [*[None] * ends[-1], *part(2, xs[: ends[-1]], hs)]

        def together(found: list[Any]) -> Any:
            return tuple(found) if len(found) > 1 else found[0]

        pullback = Op(
            f"pullback of {self.name}", lambda *_: together([xs[k].spec for k in floats]),
            grad=None if self.linear else transposed,
            body=lambda *v: together(part(1, v[: ends[-1]], v[ends[-1] :])))
        outs = [*[outputs[k].spec for k in places], *[state.var.spec for state in states]]
        op = Op(self.name, lambda *_: together(outs), grad=rule,
                body=lambda *v: together(part(0, v)))
        ys = apply_many(op, *xs, *captured)
        for state, y in zip(states, ys[len(places):]):
            state.tensor._replace(y)
        return tree.unflatten(shape, _with(results, places, ys))

    def closes_over(self) -> TinyMLError:
        """The error of a gradient that would be lost."""
        return GradientError(f"{self.name} closes over a differentiated value",
                             remedy="make it an argument, or .detach() it")

    def cotangents(self, found: Any, args: tuple[Any, ...]) -> list[Any]:
        """What a pullback returned, for each leaf of the arguments; None where it gave none."""
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
                       else conforming(g, own, definition, "cotangent like the argument"))
        return result

    def guarded(self, found: list[Any], places: list[int], gs: list[Any], xs: list[Any],
                primals: Callable[[], list[Any]], definition: tree.TreeDef, outputs: list[Any],
                shape: tree.TreeDef) -> list[Any]:
        """The cotangents with a node that refuses to be differentiated, but for a given jvp."""
        at = [k for k in places if found[k] is not None]
        ins = [*gs, *xs]
        if not at or all(x.node is None for x in ins):
            return found

        def rule(h: Any, _y: Any, *_ins: Any, wanted: tuple[bool, ...]) -> list[Any]:
            if self.jvp is None or any(wanted[len(gs):]):
                raise self.refusal()
            hs = dict(zip(at, h if isinstance(h, tuple) else (h,)))
            flat = primals()
            tangents = [None if not is_float(x) else hs[k] if k in hs else zeros_like(x)
                        for k, x in enumerate(flat)]
            tangent = self.jvp(tree.unflatten(definition, flat),
                               tree.unflatten(definition, tangents))
            result = conforming(tangent, outputs, shape, "tangent like the value")
            return [result[k] for k in _floats(outputs)] + [None] * len(xs)

        ys = joined(f"pullback of {self.name}", ins, (), [found[k] for k in at], rule)
        return _with(found, at, ys)

    def refusal(self) -> TinyMLError:
        """The error of a derivative that the declarations do not give."""
        if self.jvp is not None:
            return GradientError(
                f"{self.name} has a gradient and a jvp of its own: no second order in reverse",
                remedy="forward over forward (jvp of jvp), or @custom_gradient(linear=True)",
            ).during(self.name, "")
        return GradientError(
            f"{self.name} has a gradient of its own, not declared linear in its cotangent: jvp and"
            " second order might be wrong",
            remedy="@custom_gradient(linear=True) if the pullback is linear in g and"
            " differentiable; else @custom_gradient(jvp=rule) for jvp",
        ).during(self.name, "")
