"""Fusion: which equations of a graph share a nest, by one rule over how each op reads its operands.

Equations are visited from last to first. One joins the nest of its readers if all of them are in
that nest, none reads an element twice, and no loop loses its parallel axes; otherwise its result is
written to memory and it starts a new nest. A view of something in memory is the same memory with
other strides. Nothing here knows an op by name: running its `nest` once shows how it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from tinyml.graph.graph import Graph
from tinyml.ir.lower import Lowering, NotOneNest, Numbers
from tinyml.ir.nest import Axis, Check, Const, Ids
from tinyml.ir.op import Equation, Var, attribute_key

MOST_EQUATIONS = 48  # per nest: compilers are slow on huge functions, and arguments are limited
SMALL = 1 << 16  # points of a loop that one thread may as well run alone
ENOUGH = 64  # points of a parallel axis that keep a device busy


class Access(NamedTuple):
    """How an op reads an operand.

    once    no element twice, except in loops inside all axes that it depends on, where it is kept
    plain   at an index that consists of axes only
    """

    once: bool
    plain: bool


class OpTraits(NamedTuple):
    """What an op's nest is like.

    accesses  one per operand
    reduces   whether it contains loops
    work      the number of points that it visits
    heavy     whether it is a contraction: it reads operands many times, so they belong in memory
    plain     whether it reads all operands at plain axes
    checks    whether it checks indices
    """

    accesses: tuple[Access, ...]
    reduces: bool
    work: int
    heavy: bool
    plain: bool
    checks: bool


class _Probe(Lowering):
    """A lowering that notes how one op reads its operands, combining all reads of each operand."""

    def __init__(self, operands: Sequence[Var]) -> None:
        super().__init__((), operands, Numbers())
        self.accesses = dict.fromkeys(operands, Access(True, True))

    def at(self, var: Var, index: Ids, guard: int | None = None, other: int | None = None) -> int:
        """Load, noting the axes of the index and whether it is plain."""
        n, size = self.nest, var.spec.size
        free = n.join(index if guard is None else (*index, guard))
        order = list(n.axes)
        last = max(map(order.index, free), default=-1)
        visits = prod([n.axes[axis] for axis in free])
        once = size == 1 or visits <= size and free.issuperset(order[:last])
        plain = guard is None and all(isinstance(n.code[i].payload, (Axis, Const)) for i in index)
        before = self.accesses[var]
        self.accesses[var] = Access(before.once and once, before.plain and plain)
        return super().at(var, index, guard, other)


def analyze(equation: Equation) -> OpTraits | None:
    """Run an op's nest once, and return its traits; None if it has no nest."""
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
    accesses = tuple([probe.accesses.get(v, Access(True, True)) for v in equation.inputs])
    reduces = bool(n.loops)
    return OpTraits(accesses, reduces, prod(n.axes.values()),
                    reduces and not all(a.once for a in accesses), all(a.plain for a in accesses),
                    any(isinstance(instr.payload, Check) for instr in n.code))


class FusionGroup:
    """A group of equations that become one nest."""

    def __init__(self) -> None:
        self.members: list[int] = []  # the root first
        self.plain = True  # whether every equation reads at plain axes
        self.reduces = False
        self.heavy = False

    @property
    def root(self) -> int:
        """The equation whose results are written to memory."""
        return self.members[0]


class Fuser:
    """The fusion groups of a graph's equations.

    group_of   the group of each equation
    views      equations whose result is their operand's memory with other strides
    """

    def __init__(self, graph: Graph) -> None:
        self.equations = graph.equations
        self.traits = _analyze_all(self.equations)
        self.readers: dict[Var, list[tuple[int, int]]] = {}
        for k, equation in enumerate(self.equations):
            for place, value in enumerate(equation.inputs):
                if isinstance(value, Var):
                    self.readers.setdefault(value, []).append((k, place))
        self.group_of: dict[int, FusionGroup] = {}
        self.views: set[int] = set()
        self._plain_at: dict[int, bool] = {}
        self._cut: set[int] = set()
        self._form(range(len(self.equations)), set(graph.outputs))

    def divide(self, group: FusionGroup) -> None:
        """Split a group that does not form one nest into smaller ones: reductions stand alone."""
        inner = [k for k in group.members if k != group.root]
        reducing = [k for k in inner if self.traits[k].reduces]  # type: ignore[union-attr]
        self._cut.update(reducing if reducing and not self._cut.issuperset(reducing) else inner)
        members = sorted(group.members)
        for k in members:
            del self.group_of[k]
        self._form(members, set(self.equations[group.root].outs))

    def _form(self, members: Sequence[int], written: set[Var]) -> None:
        for k in reversed(members):
            equation, traits = self.equations[k], self.traits[k]
            alone = k in self._cut or not written.isdisjoint(equation.outs)
            group = None if alone else self._find_group(k)
            if group is None and _is_view(equation):
                self.views.add(k)
                continue
            if group is None:
                group = FusionGroup()
                self._plain_at[k] = True
            self.group_of[k] = group
            group.members.append(k)
            if traits is not None:
                group.reduces = group.reduces or traits.reduces
                group.heavy = group.heavy or traits.heavy
                group.plain = group.plain and traits.plain

    def _find_group(self, k: int) -> FusionGroup | None:
        """Return the group of all readers of an equation, if it may join."""
        traits = self.traits[k]
        readers = [r for var in self.equations[k].outs for r in self.readers.get(var, [])]
        if traits is None or self.equations[k].op.scatter_nest is not None or not readers:
            return None
        group = self.group_of.get(readers[0][0])
        if group is None or any(self.group_of.get(r) is not group for r, _ in readers):
            return None
        if len(group.members) >= MOST_EQUATIONS or self.traits[group.root] is None:
            return None
        if traits.checks and not self.equations[group.root].outs[0].spec.size:
            return None  # a nest over nothing would check nothing
        plain = True
        for reader, place in readers:
            access = self.traits[reader].accesses[place]  # type: ignore[union-attr]
            if not access.once:
                return None
            plain = plain and access.plain and self._plain_at[reader]
        if _is_view(self.equations[k]) and not (plain and traits.plain):
            return None
        if traits.reduces and not (plain and self._may_loop(k, traits, group)):
            return None
        if group.heavy and not traits.plain:
            return None
        self._plain_at[k] = plain
        return group

    def _may_loop(self, k: int, traits: OpTraits, group: FusionGroup) -> bool:
        """Return whether the nest keeps its parallel axes with this reduction inside it."""
        if self.equations[group.root].op.scatter_nest is not None:
            return False
        if group.heavy or traits.heavy and (group.reduces or not group.plain):
            return False
        size = self.equations[k].outs[0].spec.size
        root = self.equations[group.root].outs[0].spec.size
        return traits.work <= SMALL and root <= SMALL or size >= ENOUGH and root >= size


def _is_view(equation: Equation) -> bool:
    if equation.op.view is None or not isinstance(equation.inputs[0], Var):
        return False
    return equation.op.view(equation.inputs[0].spec, **equation.attrs) is not None


def structural_key(equations: Sequence[Equation], args: Sequence[Var]) -> Any:
    """Return a key for what equations compute, independent of the names of variables."""
    numbers: dict[Any, Any] = {v: k for k, v in enumerate(args)}
    key = []
    for equation in equations:
        key.append((equation.op, attribute_key(equation.attrs), tuple([
            numbers[v] if isinstance(v, Var) else (attribute_key(v),) for v in equation.inputs])))
        for var in equation.outs:
            numbers[var] = len(numbers)
    return tuple(key)


def _analyze_all(equations: Sequence[Equation]) -> list[OpTraits | None]:
    """Return the traits of each equation, analysing equal equations once."""
    known: dict[Any, OpTraits | None] = {}
    traits: list[OpTraits | None] = []
    for equation in equations:
        args = list(dict.fromkeys(equation.operands))
        key = structural_key([equation], args), tuple([v.spec for v in args])
        if key not in known:
            known[key] = analyze(equation)
        traits.append(known[key])
    return traits
