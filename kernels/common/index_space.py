"""The index space of a nest for given strides: which axes merge, and which run in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinyml.ir.nest import ZERO, Axis, Ids, Load, Nest, Prim, Reduce, Role, Scan, State, Step, Store


class Access(NamedTuple):
    """A load or store: its id, argument and indices, and where these begin in its args."""

    id: int
    arg: int
    indices: Ids
    first: int


class IndexSpace:
    """A nest whose neighbouring axes are merged wherever every access walks them as one.

    code, free, extents   the nest after merging axes
    strides               per argument, per dimension, in elements; 0 means the index is unused
    axis_names, axis_ids  map the id of an index to the name of its axis, and back
    loads, stores, loops, states  the payloads of these kinds, by id
    steps, loop_of        map a loop to the step that ends its body, and back
    merges                maps a loop to the values that merge two partial states
    parallel              axes that run in parallel, innermost last
    width                 the number of lanes of a reduction that has several
    blocks                maps a loop of several blocks to an axis, and its length in a block
    """

    def __init__(self, nest: Nest, strides: Sequence[Sequence[int]], width: int = 8) -> None:
        self.nest = nest
        self.width = width
        self.code = list(nest.code)
        self.extents = dict(nest.axes)
        self.strides = [list(s) for s in strides]
        self.axis_names: dict[int, str] = {}
        self.loads: dict[int, Load] = {}
        self.stores: dict[int, Store] = {}
        self.loops = dict(nest.loops)
        self.states: dict[int, State] = {}
        self.steps: dict[int, int] = {}
        self.merges: dict[int, Ids] = {}
        for k, instr in enumerate(self.code):
            match instr.payload:
                case Prim():
                    pass
                case Load() as load:
                    self.loads[k] = load
                case Store() as store:
                    self.stores[k] = store
                case Axis(name):
                    self.axis_names[k] = name
                case State() as state:
                    self.states[k] = state
                case Step(loop, merge):
                    self.steps[loop] = k
                    self.merges[loop] = merge
        self.axis_ids = {name: k for k, name in self.axis_names.items()}
        self.loop_of = {step: loop for loop, step in self.steps.items()}
        self.blocks = self._cut_into_blocks()
        self._join_axes()
        self.free = self._free_axes()
        self.parallel = self._parallel_axes()

    # ---- blocks

    def _cut_into_blocks(self) -> dict[int, tuple[str, int]]:
        """Cut each long sum: a block has whole inner axes and a part of the axis around them.

        The cut is made before axes merge, so that it depends on the shape alone.
        """
        blocks = {}
        for k, loop in self.loops.items():
            if not loop.order.block:
                continue
            most = loop.order.block * (self.width if loop.order.in_lanes else 1)
            for axis in reversed(loop.axes):
                if self.extents[axis] > most:
                    blocks[k] = axis, most
                    break
                most //= max(self.extents[axis], 1)
        return blocks

    # ---- one axis out of two

    def _accesses(self) -> list[Access]:
        return [
            *[Access(k, load.arg, self.code[k].args[: load.rank], 0)
              for k, load in self.loads.items()],
            *[Access(k, store.arg, self.code[k].args[1:], 1) for k, store in self.stores.items()],
        ]

    def _join_axes(self) -> None:
        """Merge neighbouring axes that every access walks as one."""
        indices = {a.id: range(a.first, a.first + len(a.indices)) for a in self._accesses()}
        computed = {value for k, instr in enumerate(self.code)
                    for position, value in enumerate(instr.args)
                    if position not in indices.get(k, ())}
        plain = [name for name, k in self.axis_ids.items() if k not in computed]
        joined = True
        while joined:
            joined = any(
                self._join(outer, inner) for outer in plain for inner in plain
                if outer != inner and outer in self.extents and inner in self.extents
            )

    def _join(self, outer: str, inner: str) -> bool:
        """Merge two axes into `inner` if every access allows it; return whether it did."""
        outer_id, inner_id, extent = self.axis_ids[outer], self.axis_ids[inner], self.extents[inner]
        touched = []
        for access in self._accesses():
            at_outer = [d for d, i in enumerate(access.indices) if i == outer_id]
            at_inner = [d for d, i in enumerate(access.indices) if i == inner_id]
            if len(at_outer) != len(at_inner) or len(at_outer) > 1:
                return False
            if at_outer:
                strides = self.strides[access.arg]
                if strides[at_outer[0]] != extent * strides[at_inner[0]]:
                    return False
                touched.append((access.id, access.first + at_outer[0]))
        for loop in self.loops.values():
            if (outer in loop.axes) != (inner in loop.axes):
                return False
            if outer in loop.axes and loop.axes.index(outer) + 1 != loop.axes.index(inner):
                return False
        for axis, length in self.blocks.values():
            if inner == axis and extent % length:
                return False  # the last block of each row is shorter
        for k, position in touched:
            instr = self.code[k]
            args = (*instr.args[:position], ZERO, *instr.args[position + 1:])
            self.code[k] = instr._replace(args=args)
        for k, loop in self.loops.items():
            if isinstance(loop, Reduce) and outer in loop.axes:
                loop = loop._replace(axes=tuple([a for a in loop.axes if a != outer]))
                self.loops[k], self.code[k] = loop, self.code[k]._replace(payload=loop)
        for k, (axis, length) in self.blocks.items():
            if outer == axis:
                self.blocks[k] = inner, length * extent
        self.extents[inner] *= self.extents.pop(outer)
        return True

    # ---- free axes, parallel axes

    def _free_axes(self) -> list[frozenset[str]]:
        free: list[frozenset[str]] = []
        for k, instr in enumerate(self.code):
            own: frozenset[str] = frozenset()
            for position, value in enumerate(instr.args):
                if k not in self.loads or not self._is_constant(k, position, free[value]):
                    own |= free[value]
            match instr.payload:
                case Prim() | Load() | Store():
                    pass
                case Axis(name):
                    own = frozenset((name,)) if name in self.extents else frozenset()
                case Reduce() | Scan():
                    own = own.difference(self.loops[k].axes)
                case State(loop, _, role):
                    own = free[loop]
                    if role in (Role.CURRENT, Role.BEFORE):
                        own = own.union(self.loops[loop].axes)
                case Step(loop):
                    own = free[loop].union(self.loops[loop].axes)
            free.append(own)
        return free

    def _is_constant(self, load: int, position: int, axes: frozenset[str]) -> bool:
        """Return whether a load's index is an axis of stride 0, and the axis is not empty."""
        arg, rank = self.loads[load]
        if position >= rank or self.code[load].args[position] not in self.axis_names:
            return False
        return not self.strides[arg][position] and all(self.extents.get(a) for a in axes)

    def _parallel_axes(self) -> list[str]:
        """Return axes that all stores walk plainly, all reductions depend on, and no scan walks.

        A scan may be recomputed at each point of an axis that it does not depend on: that costs one
        step per element of the result, unless its steps hold a reduction, which costs more.
        """
        names = list(self.extents)
        plain = [self.plain_axes(self.code[k].args[1:]) for k in self.stores]
        for (k, store), walked in zip(self.stores.items(), plain):
            names = [a for a in names if a in (self.free[k] if store.disjoint else walked)]
        for k, loop in self.loops.items():
            others = [(o, other) for o, other in self.loops.items() if o != k]
            if isinstance(loop, Scan):
                names = [a for a in names if a != loop.axis]
                if any(isinstance(other, Reduce) and loop.axis in self.free[o]
                       for o, other in others):
                    names = [a for a in names if a in self.free[k]]
            elif not any(self.free[k].intersection(other.axes) for _, other in others):
                names = [a for a in names if a in self.free[k] or a in loop.axes]
        order = {a: d for d, a in enumerate(plain[0])} if plain else {}
        return sorted(names, key=lambda a: order.get(a, -1))

    def plain_axes(self, index: Ids) -> list[str]:
        """Return the axis names of those indices that are just an axis."""
        return [self.axis_names[i] for i in index if i in self.axis_names]
