"""Grouping: which equations of a graph share a nest, by one rule over what each op asks its operands.

Equations are visited from the last to the first. An equation joins the nest of its readers if all of them
are in that nest, none asks for an element twice, and no loop loses its parallel axes; else its
result is written to memory and it begins a nest of its own. A view of something in memory is the
same memory under other strides. Nothing here knows an op by its name: what an op asks is found by
running its `nest` once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from tinyml.graph.graph import Graph
from tinyml.ir.lower import Lowering, NotOneNest, Numbers
from tinyml.ir.nest import Axis, Const, Ids
from tinyml.ir.op import Equation, Var, attribute_key

MOST_EQUATIONS = 48  # of a nest: compilers are slow on endless functions, and arguments are limited
SMALL = 1 << 16  # points of a loop that one thread may as well run alone
ENOUGH = 64  # points of a parallel axis that keep a device busy


class Asked(NamedTuple):
    """How an op reads an operand.

    once    no element twice, but in loops inside of all that it depends on, where it is kept
    plain   at an index that is only axes
    """

    once: bool
    plain: bool


class Traits(NamedTuple):
    """What an op's nest is like.

    asked    per operand
    reduces  whether it loops inside
    work     the points that it visits
    heavy    a contraction: it reads operands many times, so they are worth being in memory
    plain    whether it reads all operands at axes alone
    """

    asked: tuple[Asked, ...]
    reduces: bool
    work: int
    heavy: bool
    plain: bool


class _Probe(Lowering):
    """A lowering that notes how one op reads its operands, all readings of one together."""

    def __init__(self, operands: Sequence[Var]) -> None:
        super().__init__((), operands, Numbers())
        self.asked = dict.fromkeys(operands, Asked(True, True))

    def at(self, var: Var, index: Ids, guard: int | None = None, other: int | None = None) -> int:
        """Note the axes of the index and whether it is plain, and load."""
        n, size = self.nest, var.spec.size
        free = n.join(index if guard is None else (*index, guard))
        order = list(n.axes)
        last = max(map(order.index, free), default=-1)
        visits = prod([n.axes[axis] for axis in free])
        once = size == 1 or visits <= size and free.issuperset(order[:last])
        plain = guard is None and all(isinstance(n.code[i].payload, (Axis, Const)) for i in index)
        before = self.asked[var]
        self.asked[var] = Asked(before.once and once, before.plain and plain)
        return super().at(var, index, guard, other)


def traits(equation: Equation) -> Traits | None:
    """Run an op's nest once, and see what it asks for; None where it has none."""
    if equation.op.nest is None and equation.op.scatter_nest is None:
        return None
    operands = list(dict.fromkeys(equation.operands))
    probe = _Probe(operands)
    sources = [probe.source(v) for v in equation.inputs]
    n = probe.nest
    try:
        if equation.op.scatter_nest is not None:
            numbers = [n.arg(v.spec.dtype, v.spec.ndim, "out") for v in equation.outs]
            equation.op.scatter_nest(n, numbers, *sources, **equation.attrs)
        else:
            index = n.axes_for(equation.outs[0].spec.shape)
            equation.op.nest(n, index, *sources, **equation.attrs)  # type: ignore[misc]
    except NotOneNest:
        return None
    asked = tuple([probe.asked.get(v, Asked(True, True)) for v in equation.inputs])
    reduces = bool(n.loops)
    return Traits(asked, reduces, prod(n.axes.values()),
                  reduces and not all(a.once for a in asked), all(a.plain for a in asked))


class Group:
    """Equations that become one nest."""

    def __init__(self) -> None:
        self.members: list[int] = []  # the root first
        self.plain = True  # whether every equation reads at axes alone
        self.reduces = False
        self.heavy = False

    @property
    def root(self) -> int:
        """The equation whose results are written."""
        return self.members[0]


class Grouping:
    """The groups of a graph's equations.

    of       the group of each equation
    views    equations whose result is their operand's memory under other strides
    """

    def __init__(self, graph: Graph) -> None:
        self.equations = graph.equations
        self.traits = _all_traits(self.equations)
        self.readers: dict[Var, list[tuple[int, int]]] = {}
        for k, equation in enumerate(self.equations):
            for place, value in enumerate(equation.inputs):
                if isinstance(value, Var):
                    self.readers.setdefault(value, []).append((k, place))
        self.of: dict[int, Group] = {}
        self.plain_at: dict[int, bool] = {}
        self.views: set[int] = set()
        self.cut: set[int] = set()
        self._form(range(len(self.equations)), set(graph.outputs))

    def divide(self, group: Group) -> None:
        """Form smaller groups in the place of one that is no nest: reductions stand alone."""
        inner = [k for k in group.members if k != group.root]
        reducing = [k for k in inner if self.traits[k].reduces]  # type: ignore[union-attr]
        self.cut.update(reducing if reducing and not self.cut.issuperset(reducing) else inner)
        members = sorted(group.members)
        for k in members:
            del self.of[k]
        self._form(members, set(self.equations[group.root].outs))

    def _form(self, members: Sequence[int], written: set[Var]) -> None:
        for k in reversed(members):
            equation, trait = self.equations[k], self.traits[k]
            group = None if k in self.cut or not written.isdisjoint(equation.outs) else self._join(k)
            if group is None and _is_view(equation):
                self.views.add(k)
                continue
            if group is None:
                group = Group()
                self.plain_at[k] = True
            self.of[k] = group
            group.members.append(k)
            if trait is not None:
                group.reduces = group.reduces or trait.reduces
                group.heavy = group.heavy or trait.heavy
                group.plain = group.plain and trait.plain

    def _join(self, k: int) -> Group | None:
        """The group of all readers of an equation, if it may join."""
        trait = self.traits[k]
        readers = [r for var in self.equations[k].outs for r in self.readers.get(var, [])]
        if trait is None or self.equations[k].op.scatter_nest is not None or not readers:
            return None
        group = self.of.get(readers[0][0])
        if group is None or any(self.of.get(r) is not group for r, _ in readers):
            return None
        if len(group.members) >= MOST_EQUATIONS or self.traits[group.root] is None:
            return None
        plain = True
        for reader, place in readers:
            asked = self.traits[reader].asked[place]  # type: ignore[union-attr]
            if not asked.once:
                return None
            plain = plain and asked.plain and self.plain_at[reader]
        if _is_view(self.equations[k]) and not (plain and trait.plain):
            return None
        if trait.reduces and not (plain and self._may_loop(k, trait, group)):
            return None
        if group.heavy and not trait.plain:
            return None
        self.plain_at[k] = plain
        return group

    def _may_loop(self, k: int, trait: Traits, group: Group) -> bool:
        """Whether a reduction inside another nest leaves it its parallel axes."""
        if self.equations[group.root].op.scatter_nest is not None:
            return False
        if group.heavy or trait.heavy and (group.reduces or not group.plain):
            return False
        size = self.equations[k].outs[0].spec.size
        root = self.equations[group.root].outs[0].spec.size
        return trait.work <= SMALL and root <= SMALL or size >= ENOUGH and root >= size


def _is_view(equation: Equation) -> bool:
    if equation.op.view is None or not isinstance(equation.inputs[0], Var):
        return False
    return equation.op.view(equation.inputs[0].spec, **equation.attrs) is not None


def form(equations: Sequence[Equation], args: Sequence[Var]) -> Any:
    """What equations do to arguments, whatever these are called: equal groups have the same form."""
    numbers: dict[Any, Any] = {v: k for k, v in enumerate(args)}
    said = []
    for equation in equations:
        said.append((equation.op, attribute_key(equation.attrs), tuple([
            numbers[v] if isinstance(v, Var) else (attribute_key(v),) for v in equation.inputs])))
        for var in equation.outs:
            numbers[var] = len(numbers)
    return tuple(said)


def _all_traits(equations: Sequence[Equation]) -> list[Traits | None]:
    """The traits of each equation; those of equal ones are found once."""
    known: dict[Any, Traits | None] = {}
    found: list[Traits | None] = []
    for equation in equations:
        args = list(dict.fromkeys(equation.operands))
        key = form([equation], args), tuple([v.spec for v in args])
        if key not in known:
            known[key] = traits(equation)
        found.append(known[key])
    return found
