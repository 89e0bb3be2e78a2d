"""The schedule: turns a nest and its layouts into a tree of loops, the same for every device.

Decisions here depend on shapes and strides only, never on threads: which axes merge, which run in
parallel, which pass a value belongs to, which loop has which part of a reduction. The order of the
elements of a sum is not decided here: the nest's `Accumulation` fixes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal, NamedTuple

from tinyml.ir.accumulation import SHORT
from tinyml.ir.lower import NotOneNest
from tinyml.ir.nest import Axis, Check, Const, Item, Load, Nest, Prim, Reduce, Scan
from tinyml.ir.spec import Spec, dense_strides
from tinyml.kernels.common.index_space import IndexSpace

LANE_COUNTS = (32, 16, 8)  # tried over a parallel axis: vectors of 8 or 16 floats
MAX_WORDS = 24  # of a nest run in lanes: thousands of lines of source take minutes to compile
MIN_REUSE = 8  # points of the nest per element of an argument that make packing worthwhile
NO_STATEMENT = frozenset((Reduce, Scan, Item, Const, Axis))  # not computed by a statement


class Loop(NamedTuple):
    """A sequential loop over one axis, with `lanes` separate partial states.

    block   the elements of one pass of a loop over blocks; 0 in a loop over elements
    within  whether the loop runs over the elements of one block
    """

    axis: str
    body: Block
    lanes: int = 1
    reverse: bool = False
    block: int = 0
    within: bool = False


class Statement(NamedTuple):
    """An action on one id: an instruction's, or a loop's where its state begins or ends.

    A loop of several blocks opens an empty tree, pushes each block's state, and collects them.
    """

    kind: Literal["value", "open", "init", "finish", "push", "collect", "combine", "store"]
    id: int
    lanes: int = 1


Block = list[Loop | Statement]


class ScheduledNest(IndexSpace):
    """A scheduled nest: an index space, and the statements at each of its points.

    lane_axis   the innermost parallel axis, if `lanes` > 1 of its points run together
    partials    the number of partial states, for reductions that keep several
    counted     those of them that count elements, since no loop has all their lanes as its own
    body        the statements at one parallel point
    """

    def __init__(self, nest: Nest, strides: Sequence[Sequence[int]], width: int = 8) -> None:
        super().__init__(nest, strides, width)
        self.lane_axis: str | None = None
        self.lanes = 1
        self.partials: dict[int, int] = {}
        self.counted: set[int] = set()
        self.body: Block = []
        self.checks = any(isinstance(instr.payload, Check) for instr in self.code)
        self.has_scans = any(isinstance(loop, Scan) for loop in self.loops.values())

    # ---- the tree

    def build(self) -> ScheduledNest:
        """Fill in `body` for the chosen parallel axes."""
        self.body = self._block(frozenset(self.parallel), frozenset(), list(self.stores))
        begun, used = _loops(self.body, "init"), _loops(self.body, "combine")
        if len(begun) != len(set(begun)):
            raise NotOneNest  # a reduction inside another's loop would rerun on each pass
        if not {self.loop_of[effect] for effect in used} <= set(begun):
            raise NotOneNest  # a reduction over an axis that a loop around it walks already
        return self

    def _block(self, around: frozenset[str], known: frozenset[int], effects: list[int]) -> Block:
        """Return the statements with these effects at one point of the axes `around`."""
        here: set[int] = set()
        needs: dict[int, set[int]] = {}
        scans: dict[int, set[int]] = {}
        pending = list(effects)
        effects = []
        while pending:
            effect = pending.pop(0)
            effects.append(effect)
            scans[effect] = self._scans(effect, around, known)
            needs[effect] = self._needs(effect, around, known) | scans[effect]
            for value in sorted(needs[effect]):
                if value in self.loops:
                    step = self.steps[value]
                    if step not in needs and step not in pending and value not in here:
                        pending.append(step)
            here |= needs[effect]
        passes = self._passes(here, effects, needs, scans)
        order = sorted(effects)
        block: Block = []
        last = max([passes[e] for e in effects], default=0)
        for number in range(last + 1):
            block += [
                Statement("value", v) for v in sorted(here)
                if passes[v] == number and type(self.code[v].payload) not in NO_STATEMENT
            ]
            block += self._effects(
                [e for e in order if passes[e] == number], around, known | here, scans
            )
        return block

    def _scans(self, effect: int, around: frozenset[str], known: frozenset[int]) -> set[int]:
        """Return the scans begun here whose state `effect` reads, so that it runs in their loop."""
        found: set[int] = set()
        seen: set[int] = set()
        work = list(self.code[effect].args) if self.has_scans else []
        while work:
            value = work.pop()
            if value in seen or isinstance(self.code[value].payload, Item):
                continue
            seen.add(value)
            if value not in self.states:
                work.extend(self.code[value].args)
                continue
            k = self.states[value].loop
            scan = self.loops[k]
            if not isinstance(scan, Scan) or k in known or k in found:
                continue
            if self.free[k] <= around:
                if scan.axis in around:
                    raise NotOneNest  # its axis is already walked, outside an axis of its state
                found.add(k)
            work.extend(self.code[self.steps[k]].args)
        return found - {self.loop_of.get(effect)}

    def _needs(self, effect: int, around: frozenset[str], known: frozenset[int]) -> set[int]:
        """Return the values computable at `around` that `effect` uses, directly or in its loops."""
        found: set[int] = set()
        seen: set[int] = set()
        work = list(self.code[effect].args)
        own = self.loop_of.get(effect)
        if own is not None:
            loop = self.loops[own]
            work.extend((*loop.init, *(loop.start if isinstance(loop, Scan) else ())))
        while work:
            value = work.pop()
            if value in seen or value in known:
                continue
            seen.add(value)
            if value in self.states:
                continue
            if self.free[value] <= around:
                found.add(value)
            is_reduction = isinstance(self.loops.get(value), Reduce)
            work.extend(self.code[self.steps[value] if is_reduction else value].args)
        return found - {own}

    def _passes(self, here: set[int], effects: list[int], needs: dict[int, set[int]],
                scans: dict[int, set[int]]) -> dict[int, int]:
        """Return the pass of each value and effect; a scan shares one with all that reads it."""
        pairs = [(e, self.steps[scan]) for e in effects for scan in scans[e]]
        least: dict[int, int] = {}
        for _ in range(len(here) + len(effects) + 1):
            passes = self._earliest_passes(here, effects, needs, least)
            apart = [pair for pair in pairs if passes[pair[0]] != passes[pair[1]]]
            if not apart:
                return passes
            for pair in apart:
                least.update(dict.fromkeys(pair, max(passes[e] for e in pair)))
        raise NotOneNest  # a scan's loop needs a value that is ready only after that loop

    def _earliest_passes(self, here: set[int], effects: list[int], needs: dict[int, set[int]],
                         least: dict[int, int]) -> dict[int, int]:
        """Return the pass of each value and effect: the one after the last reduction it needs."""
        passes: dict[int, int] = {}
        written: dict[int, int] = {}  # the pass after the last store to an argument
        for k in sorted(here | set(effects)):
            instr = self.code[k]
            if k in needs:
                passes[k] = max([passes.get(v, 0) for v in needs[k]], default=0)
                passes[k] = max(passes[k], least.get(k, 0))
                if k in self.stores:
                    arg = self.stores[k].arg
                    passes[k] = max(passes[k], written.get(arg, 0))
                    written[arg] = passes[k] + 1
            elif isinstance(instr.payload, Item):
                passes[k] = passes.get(self.steps[instr.args[0]], 0) + 1
            else:
                passes[k] = max([passes.get(v, 0) for v in instr.args], default=0)
                if k in self.loads:  # from an output: what was stored there before
                    passes[k] = max(passes[k], written.get(self.loads[k].arg, 0))
        return passes

    def _effects(self, effects: list[int], around: frozenset[str], known: frozenset[int],
                 scans: dict[int, set[int]]) -> Block:
        """Return one pass's loops and statements; effects with the same first axis share a loop."""
        groups: dict[tuple[str, int], list[int]] = {}
        direct: list[int] = []
        rests = {e: self._remaining(e, around, scans[e]) for e in effects}
        for effect, rest in rests.items():
            if rest:
                length = self._block_along(rest[0], effect, rests, scans)
                groups.setdefault((rest[0], length), []).append(effect)
            else:
                direct.append(effect)
        block: Block = []
        for (axis, _), group in groups.items():
            self._choose_partials(group, around, axis)
            beginning = self._beginning(group, around, axis)
            block += [Statement("open", loop) for loop in self._opening(group, around)]
            block += self._at("init", [b for b in beginning if b not in self.blocks])
        block += [Statement("combine" if e in self.loop_of else "store", e) for e in direct]
        for (axis, length), group in groups.items():
            beginning = self._beginning(group, around, axis)
            counted = not beginning or beginning[0] in self.counted
            lanes = 1 if counted else self.partials.get(beginning[0], 1)
            inner = self._block(around | {axis}, known, group)
            loop = Loop(axis, inner, lanes, self._is_reversed(group, axis), 0, length > 0)
            if length:
                own = [b for b in beginning if b in self.blocks]
                loop = Loop(axis, [*self._at("init", own), loop, *self._at("finish", own),
                                   *[Statement("push", b) for b in own]],
                            reverse=loop.reverse, block=length)
            block.append(loop)
            block += self._at("finish", [b for b in beginning if b not in self.blocks])
            block += [Statement("collect", b) for b in self._opening(group, around)
                      if isinstance(self.loops[b], Reduce)]
        return block

    def _at(self, kind: Literal["init", "finish"], loops: list[int]) -> Block:
        return [Statement(kind, loop, self.partials.get(loop, 1)) for loop in loops
                if kind == "init" or loop in self.partials]

    def _block_along(self, axis: str, effect: int, rests: dict[int, list[str]],
                     scans: dict[int, set[int]]) -> int:
        """Return the elements of an effect's block along an axis, 0 if its blocks have it whole.

        Scans along an axis, and all that read them, share one loop.
        """
        loops = {self.loop_of[effect]} if effect in self.loop_of else set()
        if scans[effect] or any(isinstance(self.loops[k], Scan) for k in loops):
            loops |= {k for e, rest in rests.items() if rest and rest[0] == axis
                      for k in (*scans[e], self.loop_of.get(e, -1))
                      if isinstance(self.loops.get(k), Scan)}
        lengths = {self.blocks[k][1] for k in loops if k in self.blocks
                   and self.blocks[k][0] == axis}
        if len(lengths) > 1:
            raise NotOneNest
        return max(lengths, default=0)

    def _is_reversed(self, group: list[int], axis: str) -> bool:
        """Return whether a loop runs backwards; the scans in it decide, and must agree."""
        loops = [self.loops[self.loop_of[e]] for e in group if e in self.loop_of]
        ways = {loop.reverse for loop in loops if isinstance(loop, Scan) and loop.axis == axis}
        if len(ways) > 1:
            raise NotOneNest
        return True in ways

    def _opening(self, effects: list[int], around: frozenset[str]) -> list[int]:
        """Return the loops of several blocks that end in these effects and start here."""
        loops = [self.loop_of[e] for e in effects if e in self.loop_of]
        return [loop for loop in loops
                if loop in self.blocks and around.isdisjoint(self.loops[loop].axes)]

    def _beginning(self, effects: list[int], around: frozenset[str], axis: str) -> list[int]:
        """Return the loops that end in these effects and whose state begins at a loop over axis."""
        loops = [self.loop_of[e] for e in effects if e in self.loop_of]
        return [loop for loop in loops if
                (axis == self.blocks[loop][0] if loop in self.blocks
                 else around.isdisjoint(self.loops[loop].axes))]

    def _remaining(self, effect: int, around: frozenset[str],
                   scans: frozenset[int] | set[int] = frozenset()) -> list[str]:
        """Return the axes still to walk around an effect, those of the scans it reads first."""
        first = {a for scan in scans for a in self.loops[scan].axes}
        if len(first) > 1:
            raise NotOneNest
        loop = self.loop_of.get(effect)
        if loop is not None:
            rest = [a for a in self.loops[loop].axes if a not in around]
        else:
            named = self.plain_axes(self.code[effect].args[1:])
            rest = [a for a in named if a in self.free[effect] and a not in around]
            rest += sorted(self.free[effect] - set(rest) - around)
        if not first <= set(rest):
            raise NotOneNest
        return sorted(rest, key=lambda a: a not in first)

    def _choose_partials(self, group: list[int], around: frozenset[str], axis: str) -> None:
        """Choose the lanes of the reductions that begin at a loop over an axis.

        The loop has lanes of its own if it is the innermost and holds only reductions with several.
        Else those whose order asks for lanes count elements, and the others keep one state.
        """
        beginning = self._beginning(group, around, axis)
        reductions = {b: loop for b in beginning if isinstance(loop := self.loops[b], Reduce)}
        ordered = [b for b, loop in reductions.items() if loop.order.in_lanes]
        several = [b for b, loop in reductions.items() if b in ordered
                   or not loop.order.block and loop.monoid.lanes > 1]
        alone = (self.lanes == 1 and len(several) == len(group)
                 and all(self._remaining(e, around) == [axis] for e in group)
                 and not self._holds_reduction(group, (axis,))
                 and not (ordered and any(self._is_bool(b) for b in several)))
        if alone and (ordered or self.extents[axis] >= SHORT):
            self.partials.update(dict.fromkeys(several, self.width if ordered else min(
                self.loops[b].monoid.lanes for b in several)))
        else:
            self.partials.update(dict.fromkeys(ordered, self.width))
            self.counted.update(ordered)

    def _is_bool(self, loop: int) -> bool:
        return any(self.code[start].dtype.kind == "bool" for start in self.loops[loop].init)

    def _holds_reduction(self, group: list[int], axes: tuple[str, ...]) -> bool:
        """Return whether another reduction runs inside the loops over `axes`."""
        work = [a for e in group for a in self.code[e].args]
        seen: set[int] = set()
        while work:
            value = work.pop()
            if value in seen or self.free[value].isdisjoint(axes):
                continue
            seen.add(value)
            if isinstance(self.code[value].payload, Item):
                return True
            work.extend(self.code[value].args)
        return False


def _loops(block: Block, kind: str) -> list[int]:
    """Return the ids of a tree's statements of one kind, one entry for each statement."""
    found: list[int] = []
    for statement in block:
        if isinstance(statement, Loop):
            found += _loops(statement.body, kind)
        elif statement.kind == kind:
            found.append(statement.id)
    return found


def schedule(nest: Nest, strides: Sequence[Sequence[int]], width: int = 8) -> ScheduledNest:
    """Return the schedule of a nest whose arguments have these strides (in elements)."""
    return ScheduledNest(nest, strides, width).build()


def points(scheduled: ScheduledNest) -> int:
    """Return the number of points that the nest visits, an estimate of its work."""
    return max([1, *[prod([scheduled.extents[axis] for axis in scheduled.free[k]])
                     for k in (*scheduled.loop_of, *scheduled.stores)]])


# ---- lanes over a parallel axis


class Packing(NamedTuple):
    """A copy of an argument with a different innermost dimension, and the nest that makes it."""

    arg: int
    scheduled: ScheduledNest


def run_in_lanes(scheduled: ScheduledNest, specs: Sequence[Spec]) -> list[Packing]:
    """Run points along a parallel axis together if a reduction gains by it.

    Sets `lane_axis` and `lanes` of the scheduled nest and the strides of the arguments packed for
    it. Returns the copies to make first. `specs` describe the arguments.
    """
    chosen = _choose_lane_axis(scheduled, specs)
    if chosen is None:
        return []
    axis, pack = chosen
    scheduled.lane_axis = axis
    scheduled.lanes = next(n for n in LANE_COUNTS if scheduled.extents[axis] >= n)
    scheduled.parallel = [a for a in scheduled.parallel if a != axis] + [axis]
    copies = []
    for arg, dim in pack:
        strides = packed_strides(specs[arg].shape, dim)
        copies.append(Packing(arg, _copy_nest(specs[arg], strides)))
        scheduled.strides[arg] = strides
    return copies


def _choose_lane_axis(scheduled: ScheduledNest,
                      specs: Sequence[Spec]) -> tuple[str, list[tuple[int, int]]] | None:
    """Choose a parallel axis along which a reduction can run in lanes, and what to pack for it.

    Every read inside the reduction must be either the same for all lanes or at a plain index whose
    dimension has stride 1. The (argument, dimension) pairs without stride 1 are the ones to pack.
    """
    if not scheduled.loops:
        return None
    if sum(isinstance(instr.payload, Prim) for instr in scheduled.code) > MAX_WORDS:
        return None
    work = points(scheduled)
    best: tuple[int, str, list[tuple[int, int]]] | None = None
    for axis in reversed(scheduled.parallel):
        extent = scheduled.extents[axis]
        if extent < LANE_COUNTS[-1]:
            continue
        pack = _dimensions_to_pack(scheduled, specs, axis, work)
        if pack is None:
            continue
        score = -len(pack) * 2 + (1 if extent >= LANE_COUNTS[1] else 0)
        if best is None or score > best[0]:
            best = (score, axis, pack)
    return None if best is None else best[1:]


def _dimensions_to_pack(scheduled: ScheduledNest, specs: Sequence[Spec], axis: str,
                        work: int) -> list[tuple[int, int]] | None:
    axis_id = scheduled.axis_ids[axis]
    pack: list[tuple[int, int]] = []
    is_vector = False
    for k, instr in enumerate(scheduled.code):
        load = instr.payload
        if axis not in scheduled.free[k]:
            continue
        if isinstance(load, Check) or isinstance(load, Load) and load.rank < len(instr.args):
            return None  # a branch per lane prevents vectorisation
        if not isinstance(load, Load):
            continue
        dims = [d for d, i in enumerate(instr.args) if axis in scheduled.free[i]]
        if len(dims) != 1 or instr.args[dims[0]] != axis_id:
            return None
        stride = scheduled.strides[load.arg][dims[0]]
        if stride not in (0, 1):
            elements = prod([scheduled.extents[a] for i in instr.args for a in scheduled.free[i]])
            if work < MIN_REUSE * elements:
                return None
            if scheduled.extents[axis] > specs[load.arg].shape[dims[0]]:
                return None  # several dimensions merged: another order would split them
            if (load.arg, dims[0]) not in pack:
                pack.append((load.arg, dims[0]))
        is_vector = is_vector or stride != 0
    if len({arg for arg, _ in pack}) != len(pack):
        return None
    return pack if is_vector else None


def packed_strides(shape: Sequence[int], dim: int) -> list[int]:
    """Return dense strides with `dim` innermost and the other dimensions in their order.

    >>> packed_strides((2, 3, 4), 0)
    [1, 8, 2]
    """
    order = [d for d in range(len(shape)) if d != dim] + [dim]
    strides = [0] * len(shape)
    for d, stride in zip(order, dense_strides([shape[d] for d in order])):
        strides[d] = stride if shape[d] > 1 else 0
    return strides


def _copy_nest(spec: Spec, strides: list[int]) -> ScheduledNest:
    """Return the nest that copies a tensor densely into the order that `strides` give."""
    nest = Nest()
    source = nest.arg(spec.dtype, spec.ndim, "in")
    target = nest.arg(spec.dtype, spec.ndim, "out")
    index = nest.axes_for(spec.shape)
    nest.store(target, nest.load(source, index), index)
    scheduled = ScheduledNest(nest, [spec.strides, strides])
    steps = {scheduled.axis_names[i]: s for i, s in zip(index, strides)
             if i in scheduled.axis_names}
    scheduled.parallel.sort(key=lambda a: -steps.get(a, 0))
    return scheduled.build()
