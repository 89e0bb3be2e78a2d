"""The schedule: a nest and its layouts become a tree of loops, the same for every device.

What is decided here depends on shapes and strides only, never on threads: which axes are one axis,
which run in parallel, which pass a value belongs to, where partial sums are kept apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinyml.lower import NotOneNest
from tinyml.nest import ZERO, Monoid, Nest
from tinyml.spec import Spec, dense_strides

UNROLL = (32, 16, 8)  # lanes tried over a parallel axis: vectors of 8 or 16 floats
INTENSITY = 8  # points of the nest per element of an argument before packing it pays
NAMELESS = ("reduce", "item", "const", "axis")  # written where they are used, or as states
LONG = 32  # a reduction shorter than this keeps one partial state


class Loop(NamedTuple):
    """A sequential loop over one axis; `lanes` partial states are kept apart inside."""

    axis: str
    body: list[Statement]
    lanes: int


class Step(NamedTuple):
    """'value', 'init', 'finish', 'combine' or 'store' of one id, with its number of lanes."""

    kind: str
    id: int
    lanes: int


Statement = Loop | Step


class Program:
    """A scheduled nest.

    code, free, sizes   the nest after axes were merged
    strides             per argument, per dimension, in elements; 0 means the index is not used
    par                 axes that run in parallel, the innermost last
    lane                the innermost parallel axis, if `lanes` > 1 of its points run together
    body                the statements at one parallel point
    """

    def __init__(self, nest: Nest, strides: Sequence[Sequence[int]]) -> None:
        self.nest = nest
        self.code = list(nest.code)
        self.sizes = dict(nest.axes)
        self.strides = [list(s) for s in strides]
        self.ids = {i.data: k for k, i in enumerate(self.code) if i.kind == "axis"}
        self._merge_axes()
        self.free = self._free_axes()
        self.steps = {i.data[0]: k for k, i in enumerate(self.code) if i.kind == "step"}
        self.par = self._parallel()
        self.lane: str | None = None
        self.lanes = 1
        self.partial: dict[int, int] = {}  # partial states of reductions that keep several
        self.body: list[Statement] = []
        self.checks = any(i.kind == "check" for i in self.code)

    # ---- one axis out of two

    def _accesses(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """(id, argument, index ids) of every load and store."""
        found = []
        for k, instr in enumerate(self.code):
            if instr.kind == "load":
                found.append((k, instr.data[0], instr.args[: instr.data[1]]))
            elif instr.kind == "store":
                found.append((k, instr.data[0], instr.args[1:]))
        return found

    def _merge_axes(self) -> None:
        """Join neighbouring axes that every access walks as one."""
        computed = {
            a for i in self.code if i.kind not in ("load", "store")
            for a in i.args
        } | {
            a for i in self.code if i.kind == "load" for a in i.args[i.data[1]:]
        } | {i.args[0] for i in self.code if i.kind == "store"}
        plain = [name for name, k in self.ids.items() if k not in computed]
        merged = True
        while merged:
            merged = any(
                self._merge(first, second) for first in plain for second in plain
                if first != second and first in self.sizes and second in self.sizes
            )

    def _merge(self, first: str, second: str) -> bool:
        outer, inner = self.ids[first], self.ids[second]
        size = self.sizes[second]
        touched = []
        for k, arg, index in self._accesses():
            at_outer = [d for d, i in enumerate(index) if i == outer]
            at_inner = [d for d, i in enumerate(index) if i == inner]
            if len(at_outer) != len(at_inner) or len(at_outer) > 1:
                return False
            if at_outer:
                if self.strides[arg][at_outer[0]] != size * self.strides[arg][at_inner[0]]:
                    return False
                touched.append((k, at_outer[0]))
        reductions = [i.data[1] for i in self.code if i.kind == "reduce"]
        for axes in reductions:
            if (first in axes) != (second in axes):
                return False
            if first in axes and axes.index(first) + 1 != axes.index(second):
                return False
        for k, d in touched:
            instr = self.code[k]
            position = d + (1 if instr.kind == "store" else 0)
            args = (*instr.args[:position], ZERO, *instr.args[position + 1:])
            self.code[k] = instr._replace(args=args)
        for k, instr in enumerate(self.code):
            if instr.kind == "reduce":
                monoid, axes, init = instr.data
                axes = tuple([a for a in axes if a != first])
                self.code[k] = instr._replace(data=(monoid, axes, init))
        self.sizes[second] *= self.sizes.pop(first)
        return True

    # ---- free axes, parallel axes

    def _free_axes(self) -> list[frozenset[str]]:
        free: list[frozenset[str]] = []
        for _k, instr in enumerate(self.code):
            own: frozenset[str] = frozenset()
            for a in instr.args:
                own |= free[a]
            if instr.kind == "axis":
                own = frozenset((instr.data,)) if instr.data in self.sizes else frozenset()
            elif instr.kind == "reduce":
                own -= set(instr.data[1])
            elif instr.kind == "state":
                reduction, _, role = instr.data
                own = free[reduction]
                if role == 0:
                    own |= set(self.code[reduction].data[1])
            elif instr.kind == "item":
                own = free[instr.args[0]]
            elif instr.kind == "step":
                own = free[instr.data[0]] | set(self.code[instr.data[0]].data[1])
            free.append(own)
        return free

    def _parallel(self) -> list[str]:
        """Axes that every store walks plainly and that no needed reduction is independent of."""
        names = list(self.sizes)
        for instr in self.code:
            if instr.kind == "store":
                plain = {i.data for i in (self.code[a] for a in instr.args[1:]) if i.kind == "axis"}
                names = [a for a in names if a in plain]
        for k, instr in enumerate(self.code):
            if instr.kind == "reduce":
                inside = self.free[k] | set(instr.data[1])
                if not any(self.free[k] & set(self.code[o].data[1])
                           for o in self.steps if o != k):
                    names = [a for a in names if a in inside]
        order = {a: d for d, a in enumerate(self._store_order())}
        return sorted(names, key=lambda a: order.get(a, -1))

    def _store_order(self) -> list[str]:
        for instr in self.code:
            if instr.kind == "store":
                return [self.code[a].data for a in instr.args[1:] if self.code[a].kind == "axis"]
        return []

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
        pending = list(effects)
        effects = []
        while pending:
            effect = pending.pop(0)
            effects.append(effect)
            needs[effect] = self._needs(effect, opened, known)
            for value in sorted(needs[effect]):
                if self.code[value].kind == "reduce":
                    step = self.steps[value]
                    if step not in needs and step not in pending and value not in here:
                        pending.append(step)
            here |= needs[effect]
        stage = self._stages(here, effects, needs)
        order = sorted(effects)
        statements: list[Statement] = []
        last = max([stage[e] for e in effects], default=0)
        for level in range(last + 1):
            statements += [
                Step("value", v, 1) for v in sorted(here)
                if stage[v] == level and self.code[v].kind not in NAMELESS
            ]
            statements += self._effects(
                [e for e in order if stage[e] == level], opened, known | here
            )
        return statements

    def _needs(self, effect: int, opened: frozenset[str], known: frozenset[int]) -> set[int]:
        """Values that `effect` uses, directly or inside its loops, computable at `opened`."""
        found: set[int] = set()
        seen: set[int] = set()
        work = list(self.code[effect].args)
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

    def _stages(self, here: set[int], effects: list[int],
                needs: dict[int, set[int]]) -> dict[int, int]:
        """The pass of each value and effect: one more than the deepest reduction it needs."""
        stage: dict[int, int] = {}
        written: dict[int, int] = {}
        for k in sorted(here | set(effects)):
            instr = self.code[k]
            if k in needs:
                stage[k] = max([stage.get(v, 0) for v in needs[k]], default=0)
                if instr.kind == "store":
                    arg = instr.data[0]
                    stage[k] = max(stage[k], written.get(arg, -1) + 1)
                    written[arg] = stage[k]
            elif instr.kind == "item":
                stage[k] = stage.get(self.steps[instr.args[0]], 0) + 1
            else:
                stage[k] = max([stage.get(v, 0) for v in instr.args], default=0)
        return stage

    def _effects(self, effects: list[int], opened: frozenset[str],
                 known: frozenset[int]) -> list[Statement]:
        """Loops and direct steps for effects of one pass; equal first axes share a loop."""
        groups: dict[str, list[int]] = {}
        direct: list[int] = []
        for effect in effects:
            rest = self._remaining(effect, opened)
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
            statements.append(Loop(axis, inner, lanes))
            for effect in group:
                reduction = self._opens(effect, opened)
                if reduction is not None and self.partial.get(reduction, 1) > 1:
                    statements.append(Step("finish", reduction, self.partial[reduction]))
        return statements

    def _lanes(self, group: list[int]) -> int:
        """The partial states that the effects of an innermost loop keep: all the same number."""
        return self.partial.get(self.code[group[0]].data[0], 1) if group else 1

    def _opens(self, effect: int, opened: frozenset[str]) -> int | None:
        """The reduction whose state begins where `effect` stands, if it does."""
        instr = self.code[effect]
        if instr.kind != "step":
            return None
        reduction: int = instr.data[0]
        axes = set(self.code[reduction].data[1])
        return reduction if not axes & opened else None

    def _remaining(self, effect: int, opened: frozenset[str]) -> list[str]:
        instr = self.code[effect]
        if instr.kind == "step":
            return [a for a in self.code[instr.data[0]].data[1] if a not in opened]
        named = [self.code[a].data for a in instr.args[1:] if self.code[a].kind == "axis"]
        rest = [a for a in named if a in self.free[effect] and a not in opened]
        return rest + sorted(self.free[effect] - set(rest) - opened)

    def _choose_partials(self, group: list[int], opened: frozenset[str]) -> None:
        """How many partial states reductions keep: a matter of monoids and lengths.

        Only where one innermost loop holds exactly these reductions, so that all have its lanes.
        """
        steps = [e for e in group if self.code[e].kind == "step"]
        if self.lanes > 1 or not steps or len(steps) != len(group):
            return
        reductions = [self.code[e].data[0] for e in steps]
        if any(r in self.partial or self._opens(e, opened) is None
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


def lane_axis(program: Program) -> tuple[str, list[tuple[int, int]]] | None:
    """A parallel axis along which a reduction may run in lanes, and the dimensions to pack for it.

    Along it every read inside the reduction is either the same for all lanes, or a plain index,
    whose dimension then must have stride 1: (argument, dimension) pairs that do not are listed.
    """
    if not any(i.kind == "reduce" for i in program.code):
        return None
    work = points(program)
    best: tuple[int, str, list[tuple[int, int]]] | None = None
    for axis in reversed(program.par):
        size = program.sizes[axis]
        if size < UNROLL[-1]:
            continue
        pack = _packing(program, axis, work)
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
    chosen = lane_axis(program)
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


def _packing(program: Program, axis: str, work: int) -> list[tuple[int, int]] | None:
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
            if (arg, dims[0]) not in pack:
                pack.append((arg, dims[0]))
        vector = vector or stride != 0
    if len({arg for arg, _ in pack}) != len(pack):
        return None
    return pack if vector else None
