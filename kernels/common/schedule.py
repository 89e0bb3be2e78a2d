"""The schedule: a nest and its layouts become a tree of loops, the same for every device.

What is decided here depends on shapes and strides only, never on threads: which axes are one axis,
which run in parallel, which pass a value belongs to, where partial sums are kept apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinyml.ir.lower import NotOneNest
from tinyml.ir.nest import Monoid, Nest
from tinyml.ir.spec import Spec, dense_strides
from tinyml.kernels.common.index_space import LOOPS, Space

UNROLL = (32, 16, 8)  # lanes tried over a parallel axis: vectors of 8 or 16 floats
MOST_WORDS = 24  # of a nest in such lanes: a text of thousands of lines is compiled for minutes
INTENSITY = 8  # points of the nest per element of an argument before packing it pays
NAMELESS = (*LOOPS, "item", "const", "axis")  # written where they are used, or as states
LONG = 32  # a reduction shorter than this keeps one partial state


class Loop(NamedTuple):
    """A sequential loop over one axis; `lanes` partial states are kept apart inside."""

    axis: str
    body: list[Statement]
    lanes: int
    reverse: bool = False


class Step(NamedTuple):
    """'value', 'init', 'finish', 'combine' or 'store' of one id, with its number of lanes."""

    kind: str
    id: int
    lanes: int


Statement = Loop | Step


class Program(Space):
    """A scheduled nest: a space, and what is done at each of its points.

    lane                the innermost parallel axis, if `lanes` > 1 of its points run together
    body                the statements at one parallel point
    """

    def __init__(self, nest: Nest, strides: Sequence[Sequence[int]]) -> None:
        super().__init__(nest, strides)
        self.lane: str | None = None
        self.lanes = 1
        self.partial: dict[int, int] = {}  # partial states of reductions that keep several
        self.body: list[Statement] = []
        self.checks = any(i.kind == "check" for i in self.code)
        self.scanned = any(i.kind == "running" for i in self.code)

    # ---- the tree

    def build(self) -> Program:
        """Fill in `body` for the chosen parallel axes."""
        stores = [k for k, i in enumerate(self.code) if i.kind == "store"]
        self.body = self._block(frozenset(self.par), frozenset(), stores)
        begun = _begun(self.body)
        if len(begun) != len(set(begun)):
            raise NotOneNest  # a reduction inside another's loop would run again in each pass
        return self

    def _block(self, opened: frozenset[str], known: frozenset[int],
               effects: list[int]) -> list[Statement]:
        """Statements at one point of the axes in `opened`, leaving `effects` done."""
        here: set[int] = set()
        needs: dict[int, set[int]] = {}
        scans: dict[int, set[int]] = {}
        pending = list(effects)
        effects = []
        while pending:
            effect = pending.pop(0)
            effects.append(effect)
            scans[effect] = self._scans(effect, opened, known)
            needs[effect] = self._needs(effect, opened, known) | scans[effect]
            for value in sorted(needs[effect]):
                if self.code[value].kind in LOOPS:
                    step = self.steps[value]
                    if step not in needs and step not in pending and value not in here:
                        pending.append(step)
            here |= needs[effect]
        stage = self._stages(here, effects, needs, scans)
        order = sorted(effects)
        statements: list[Statement] = []
        last = max([stage[e] for e in effects], default=0)
        for level in range(last + 1):
            statements += [
                Step("value", v, 1) for v in sorted(here)
                if stage[v] == level and self.code[v].kind not in NAMELESS
            ]
            statements += self._effects(
                [e for e in order if stage[e] == level], opened, known | here, scans
            )
        return statements

    def _scans(self, effect: int, opened: frozenset[str], known: frozenset[int]) -> set[int]:
        """Scans whose running state `effect` reads, so that it runs in their loop, begun here."""
        found: set[int] = set()
        seen: set[int] = set()
        work = list(self.code[effect].args) if self.scanned else []
        while work:
            value = work.pop()
            instr = self.code[value]
            if value in seen or instr.kind == "item":
                continue
            seen.add(value)
            if instr.kind != "state":
                work.extend(instr.args)
                continue
            scan = instr.data[0]
            if self.code[scan].kind != "running" or scan in known or scan in found:
                continue
            if self.free[scan] <= opened:
                if set(self.code[scan].data[1]) & opened:
                    raise NotOneNest  # its axis is walked already, around an axis of its state
                found.add(scan)
            work.extend(self.code[self.steps[scan]].args)
        if self.code[effect].kind == "step":
            found.discard(self.code[effect].data[0])
        return found

    def _needs(self, effect: int, opened: frozenset[str], known: frozenset[int]) -> set[int]:
        """Values that `effect` uses, directly or inside its loops, computable at `opened`."""
        found: set[int] = set()
        seen: set[int] = set()
        work = list(self.code[effect].args)
        if self.code[effect].kind == "step":
            work.extend(self.code[self.code[effect].data[0]].data[2])  # where the state begins
        while work:
            value = work.pop()
            if value in seen or value in known:
                continue
            seen.add(value)
            instr = self.code[value]
            if instr.kind == "state":
                continue
            if self.free[value] <= opened:
                found.add(value)
            if instr.kind == "reduce":
                work.extend(self.code[self.steps[value]].args)
            else:
                work.extend(instr.args)
        if self.code[effect].kind == "step":
            found.discard(self.code[effect].data[0])
        return found

    def _stages(self, here: set[int], effects: list[int], needs: dict[int, set[int]],
                scans: dict[int, set[int]]) -> dict[int, int]:
        """Passes in which a scan and all that reads its running state are in the same one."""
        pairs = [(e, self.steps[scan]) for e in effects for scan in scans[e]]
        least: dict[int, int] = {}
        for _ in range(len(here) + len(effects) + 1):
            stage = self._passes(here, effects, needs, least)
            apart = [pair for pair in pairs if stage[pair[0]] != stage[pair[1]]]
            if not apart:
                return stage
            for pair in apart:
                least.update(dict.fromkeys(pair, max(stage[e] for e in pair)))
        raise NotOneNest  # a scan's loop needs what comes out at the end of that loop

    def _passes(self, here: set[int], effects: list[int], needs: dict[int, set[int]],
                least: dict[int, int]) -> dict[int, int]:
        """The pass of each value and effect: one more than the deepest reduction it needs."""
        stage: dict[int, int] = {}
        written: dict[int, int] = {}
        for k in sorted(here | set(effects)):
            instr = self.code[k]
            if k in needs:
                stage[k] = max([stage.get(v, 0) for v in needs[k]], default=0)
                stage[k] = max(stage[k], least.get(k, 0))
                if instr.kind == "store":
                    arg = instr.data[0]
                    stage[k] = max(stage[k], written.get(arg, -1) + 1)
                    written[arg] = stage[k]
            elif instr.kind == "item":
                stage[k] = stage.get(self.steps[instr.args[0]], 0) + 1
            else:
                stage[k] = max([stage.get(v, 0) for v in instr.args], default=0)
                if instr.kind == "load":  # of an output: what was stored there before
                    stage[k] = max(stage[k], written.get(instr.data[0], -1) + 1)
        return stage

    def _effects(self, effects: list[int], opened: frozenset[str], known: frozenset[int],
                 scans: dict[int, set[int]]) -> list[Statement]:
        """Loops and direct steps for effects of one pass; equal first axes share a loop."""
        groups: dict[str, list[int]] = {}
        direct: list[int] = []
        for effect in effects:
            rest = self._remaining(effect, opened, scans[effect])
            if rest:
                groups.setdefault(rest[0], []).append(effect)
            else:
                direct.append(effect)
        statements: list[Statement] = []
        for group in [*groups.values(), direct]:
            self._choose_partials(group, opened)
            for effect in group:
                reduction = self._opens(effect, opened)
                if reduction is not None:
                    lanes = self.partial.get(reduction, 1)
                    statements.append(Step("init", reduction, lanes))
        for effect in direct:
            kind = "combine" if self.code[effect].kind == "step" else "store"
            statements.append(Step(kind, effect, 1))
        for axis, group in groups.items():
            innermost = all(len(self._remaining(e, opened)) == 1 for e in group)
            lanes = self._lanes(group) if innermost else 1
            inner = self._block(opened | {axis}, known, group)
            statements.append(Loop(axis, inner, lanes, self._reversed(group, axis)))
            for effect in group:
                reduction = self._opens(effect, opened)
                if reduction is not None and self.partial.get(reduction, 1) > 1:
                    statements.append(Step("finish", reduction, self.partial[reduction]))
        return statements

    def _lanes(self, group: list[int]) -> int:
        """The partial states that the effects of an innermost loop keep: all the same number."""
        first = self.code[group[0]]
        return self.partial.get(first.data[0], 1) if first.kind == "step" else 1

    def _reversed(self, group: list[int], axis: str) -> bool:
        """Whether a loop runs backwards: a matter of the scans in it, which must agree."""
        loops = [self.code[self.code[e].data[0]] for e in group if self.code[e].kind == "step"]
        ways = {i.data[3] for i in loops if i.kind == "running" and axis in i.data[1]}
        if len(ways) > 1:
            raise NotOneNest
        return True in ways

    def _opens(self, effect: int, opened: frozenset[str]) -> int | None:
        """The reduction whose state begins where `effect` stands, if it does."""
        instr = self.code[effect]
        if instr.kind != "step":
            return None
        reduction: int = instr.data[0]
        axes = set(self.code[reduction].data[1])
        return reduction if not axes & opened else None

    def _remaining(self, effect: int, opened: frozenset[str],
                   scans: frozenset[int] | set[int] = frozenset()) -> list[str]:
        """The loops still to open around an effect, that of the scans it reads first."""
        first = {a for scan in scans for a in self.code[scan].data[1]}
        if len(first) > 1:
            raise NotOneNest
        instr = self.code[effect]
        if instr.kind == "step":
            rest = [a for a in self.code[instr.data[0]].data[1] if a not in opened]
        else:
            named = [self.code[a].data for a in instr.args[1:] if self.code[a].kind == "axis"]
            rest = [a for a in named if a in self.free[effect] and a not in opened]
            rest += sorted(self.free[effect] - set(rest) - opened)
        if not first <= set(rest):
            raise NotOneNest
        return sorted(rest, key=lambda a: a not in first)

    def _choose_partials(self, group: list[int], opened: frozenset[str]) -> None:
        """How many partial states reductions keep: a matter of monoids and lengths.

        Only where one innermost loop holds exactly these reductions, so that all have its lanes.
        """
        steps = [e for e in group if self.code[e].kind == "step"]
        if self.lanes > 1 or not steps or len(steps) != len(group):
            return
        reductions = [self.code[e].data[0] for e in steps]
        if any(self.code[r].kind == "running" or r in self.partial or self._opens(e, opened) is None
               for r, e in zip(reductions, steps)):
            return
        axes = {self.code[r].data[1] for r in reductions}
        if len(axes) != 1:
            return
        (over,) = axes
        if not over or self.sizes[over[-1]] < LONG or self._nested(group, over):
            return
        monoids: list[Monoid] = [self.code[r].data[0] for r in reductions]
        lanes = min(monoid.lanes for monoid in monoids)
        self.partial.update(dict.fromkeys(reductions, lanes))

    def _nested(self, group: list[int], axes: tuple[str, ...]) -> bool:
        """Whether another reduction runs inside the loops over `axes`."""
        work = [a for e in group for a in self.code[e].args]
        seen: set[int] = set()
        while work:
            value = work.pop()
            if value in seen or not self.free[value] & set(axes):
                continue
            seen.add(value)
            if self.code[value].kind == "item":
                return True
            work.extend(self.code[value].args)
        return False


def _begun(statements: Sequence[Statement]) -> list[int]:
    """The reductions of a tree, as often as they are begun."""
    found: list[int] = []
    for statement in statements:
        if isinstance(statement, Loop):
            found += _begun(statement.body)
        elif statement.kind == "init":
            found.append(statement.id)
    return found


def schedule(nest: Nest, strides: Sequence[Sequence[int]]) -> Program:
    """The loop tree of a nest whose arguments have these strides (in elements)."""
    return Program(nest, strides).build()


def points(program: Program) -> int:
    """How many points the nest visits, an estimate of its work."""
    most = 1
    for k, instr in enumerate(program.code):
        if instr.kind in ("store", "step"):
            count = 1
            for axis in program.free[k]:
                count *= program.sizes[axis]
            most = max(most, count)
    return most


def lane_axis(program: Program,
              specs: Sequence[Spec]) -> tuple[str, list[tuple[int, int]]] | None:
    """A parallel axis along which a reduction may run in lanes, and the dimensions to pack for it.

    Along it every read inside the reduction is either the same for all lanes, or a plain index,
    whose dimension then must have stride 1: (argument, dimension) pairs that do not are listed.
    """
    if not any(i.kind in LOOPS for i in program.code):
        return None
    if sum(i.kind == "prim" for i in program.code) > MOST_WORDS:
        return None
    work = points(program)
    best: tuple[int, str, list[tuple[int, int]]] | None = None
    for axis in reversed(program.par):
        size = program.sizes[axis]
        if size < UNROLL[-1]:
            continue
        pack = _packing(program, specs, axis, work)
        if pack is None:
            continue
        score = -len(pack) * 2 + (1 if size >= UNROLL[1] else 0)
        if best is None or score > best[0]:
            best = (score, axis, pack)
    return None if best is None else best[1:]


class Packing(NamedTuple):
    """A copy of an argument with another dimension innermost: the program that makes it."""

    arg: int
    program: Program


def run_in_lanes(program: Program, specs: Sequence[Spec]) -> list[Packing]:
    """Let points along a parallel axis run together, where a reduction gains by it.

    Sets the program's `lane` and `lanes` and the strides of arguments that are packed for it, and
    gives the copies to be made before. `specs` are those of the arguments.
    """
    chosen = lane_axis(program, specs)
    if chosen is None:
        return []
    program.lane, pack = chosen
    program.lanes = next(n for n in UNROLL if program.sizes[chosen[0]] >= n)
    program.par = [a for a in program.par if a != program.lane] + [program.lane]
    copies = []
    for arg, dim in pack:
        strides = packed_strides(specs[arg].shape, dim)
        copies.append(Packing(arg, _copy(specs[arg], strides)))
        program.strides[arg] = strides
    return copies


def packed_strides(shape: Sequence[int], dim: int) -> list[int]:
    """Dense strides with `dim` innermost and the other dimensions in order.

    >>> packed_strides((2, 3, 4), 0)
    [1, 8, 2]
    """
    order = [d for d in range(len(shape)) if d != dim] + [dim]
    strides = [0] * len(shape)
    for position, stride in enumerate(dense_strides([shape[d] for d in order])):
        d = order[position]
        strides[d] = stride if shape[d] > 1 else 0
    return strides


def _copy(spec: Spec, strides: list[int]) -> Program:
    """The program that writes a tensor densely under other strides, the innermost loop by them."""
    nest = Nest()
    source = nest.arg(spec.dtype, spec.ndim, "in")
    target = nest.arg(spec.dtype, spec.ndim, "out")
    index = nest.axes_for(spec.shape)
    nest.store(target, nest.load(source, index), index)
    program = Program(nest, [spec.strides, strides])
    steps = {program.code[i].data: s for i, s in zip(index, strides)
             if program.code[i].kind == "axis"}
    program.par.sort(key=lambda a: -steps.get(a, 0))
    return program.build()


def _packing(program: Program, specs: Sequence[Spec], axis: str,
             work: int) -> list[tuple[int, int]] | None:
    axis_id = program.ids[axis]
    pack: list[tuple[int, int]] = []
    vector = False
    for k, instr in enumerate(program.code):
        if axis not in program.free[k]:
            continue
        if instr.kind == "check" or instr.kind == "load" and instr.data[1] < len(instr.args):
            return None  # a branch per lane keeps them from being one vector
        if instr.kind != "load":
            continue
        arg, rank = instr.data
        index = instr.args[:rank]
        dims = [d for d, i in enumerate(index) if axis in program.free[i]]
        if len(dims) != 1 or index[dims[0]] != axis_id:
            return None
        stride = program.strides[arg][dims[0]]
        if stride not in (0, 1):
            elements = 1
            for i in index:
                for name in program.free[i]:
                    elements *= program.sizes[name]
            if work < INTENSITY * elements:
                return None
            if program.sizes[axis] > specs[arg].shape[dims[0]]:
                return None  # several dimensions as one: another order would take them apart
            if (arg, dims[0]) not in pack:
                pack.append((arg, dims[0]))
        vector = vector or stride != 0
    if len({arg for arg, _ in pack}) != len(pack):
        return None
    return pack if vector else None
