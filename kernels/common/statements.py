"""Writes the statements and loops of a schedule, and the order in which a reduction accumulates.

A reduction that needs several blocks runs one block at a time. The states of finished blocks merge
as a binary counter adds: after a block, as long as the number of blocks before it has ones in its
low bits, the tree's state at that level merges with it. So only one state per level is kept, and
an element takes part in as many merges as the tree is deep.
"""

from __future__ import annotations

from tinyml.dtypes import int64
from tinyml.ir.nest import Check, Prim, Role, Scan
from tinyml.kernels.common.emitter import Emitter
from tinyml.kernels.common.schedule import Block, Loop, ScheduledNest

LEVELS = 48  # of the tree of blocks: more than any loop ends

Part = tuple[str, list[str]]  # a suffix for names, and the components of a state


class StatementEmitter(Emitter):
    """An emitter of whole kernel bodies."""

    def __init__(self, scheduled: ScheduledNest) -> None:
        super().__init__(scheduled)
        self._counting: set[int] = set()  # the reductions whose lanes are currently in an array

    def state(self, loop: int, component: int, lane: int) -> str:
        """Return the name of a component of a state, or its element in the array of lanes."""
        if loop not in self._counting:
            return super().state(loop, component, lane)
        return self._in_lane(loop, component, self.turn(loop), lane)

    def turn(self, loop: int) -> str:
        """Return the variable that holds the lane of the current element of a counted loop."""
        return f"turn{self.number(loop)}"

    def _in_lane(self, loop: int, component: int, turn: str, lane: int) -> str:
        """Return an element of an array of states: one row per partial state or level."""
        several = self.lanes_of(loop)
        place = turn if several == 1 else f"{turn} * {several} + {lane}"
        return f"a{self.number(loop)}_{component}[{place}]"

    def _in_tree(self, loop: int, lane: int) -> list[str]:
        """Return the components of the state of the tree at the current level."""
        number, several = self.number(loop), self.lanes_of(loop)
        place = f"level{number}" if several == 1 else f"level{number} * {several} + {lane}"
        return [f"tree{number}_{j}[{place}]" for j in range(self._components(loop))]

    def _components(self, loop: int) -> int:
        return len(self.scheduled.loops[loop].init)

    def _state(self, loop: int, lane: int) -> list[str]:
        return [self.state(loop, j, lane) for j in range(self._components(loop))]

    # ---- statements

    def write_block(self, block: Block) -> None:
        """Write statements, in order."""
        for statement in block:
            if isinstance(statement, Loop):
                self.write_loop(statement)
                continue
            match statement.kind:
                case "value":
                    self._write_value(statement.id)
                case "open":
                    self._write_open(statement.id)
                case "init":
                    self.write_init(statement.id, statement.lanes)
                case "finish":
                    self.write_finish(statement.id, statement.lanes)
                case "push":
                    self._write_push(statement.id)
                case "collect":
                    self._write_collect(statement.id)
                case "combine":
                    self._write_combine(statement.id)
                case "store":
                    self._write_store(statement.id)

    def _write_value(self, value: int) -> None:
        instr = self.scheduled.code[value]
        for lane in range(self.lanes_of(value)):
            name = self.name(value, lane)
            if isinstance(instr.payload, Check):
                index, extent = (self.name(a, lane) for a in instr.args)
                number = instr.payload.axis
                axis = self.runtime_integer(("axis of", number), number)
                for line in self.check(name, index, extent, axis):
                    self.write(line)
            else:
                self.declare(name, self.expression(value, lane), instr.dtype)

    def _write_store(self, store: int) -> None:
        instr = self.scheduled.code[store]
        arg = self.scheduled.stores[store].arg
        for lane in range(self.lanes_of(store)):
            value = self.name(instr.args[0], lane)
            if instr.dtype.kind == "bool":
                value = self.language.choose(value, "1", "0")
            self.assign(self.element(arg, instr.args[1:], lane), value)

    # ---- the state of a loop

    def write_init(self, loop: int, lanes: int) -> None:
        """Write the initial state of a loop."""
        if loop in self.scheduled.counted:
            self._write_counted_init(loop, lanes)
            return
        for lane in range(max(lanes, self.lanes_of(loop))):
            self._write_empty(loop, lane)

    def _write_empty(self, loop: int, lane: int) -> None:
        for j, start in enumerate(self.scheduled.loops[loop].init):
            dtype = self.scheduled.code[start].dtype
            self.declare(self.state(loop, j, lane), self.name(start, lane), dtype)

    def _write_combine(self, step: int) -> None:
        loop = self.scheduled.loop_of[step]
        for lane in range(self.lanes_of(step)):
            for j, value in enumerate(self.scheduled.code[step].args):
                self.assign(self.state(loop, j, lane), self.name(value, lane))
        if loop in self._counting:
            self.write_turn(loop)

    def write_finish(self, loop: int, lanes: int) -> None:
        """Merge partial states pairwise into lane 0."""
        if loop in self._counting:
            self._write_counted_finish(loop, lanes)
            return
        width = lanes
        while width > 1:
            width //= 2
            for lane in range(width):
                self.write_merge(loop, (f"{lane}_{lane + width}", self._state(loop, lane)),
                                 self._state(loop, lane + width))

    def write_merge(self, loop: int, into: Part, other: list[str],
                    result: list[str] | None = None) -> None:
        """Merge a state into another, or write the result of that elsewhere."""
        names: dict[int, str] = {}
        parts = {Role.MERGED: into[1], Role.OTHER: other}
        values = [self._merged(v, loop, into[0], parts, names)
                  for v in self.scheduled.merges[loop]]
        for place, value in zip(result or into[1], values):
            self.assign(place, value)

    def _merged(self, value: int, loop: int, suffix: str, parts: dict[Role, list[str]],
                names: dict[int, str]) -> str:
        """Return the text of a value of a merge, after writing its operands."""
        state = self.scheduled.states.get(value)
        if state is not None and state.loop == loop:
            return parts[state.role][state.component]
        instr = self.scheduled.code[value]
        if not isinstance(instr.payload, Prim):
            return self.name(value, 0)
        if value not in names:
            operands = [self._merged(a, loop, suffix, parts, names) for a in instr.args]
            text = self._apply(instr.payload.word, instr, operands)
            names[value] = f"w{self.number(value)}_{suffix}"
            self.declare(names[value], text, instr.dtype)
        return names[value]

    # ---- lanes in turn: where no loop has all lanes of a reduction as its own

    def _write_counted_init(self, loop: int, lanes: int) -> None:
        """Write an array of empty states, and the lane of the first element."""
        number, several = self.number(loop), self.lanes_of(loop)
        self._write_rows(loop, "a", lanes)
        self._counting.add(loop)
        self.open_loop(f"turn{number}", "0", str(lanes))
        for lane in range(several):
            for j, start in enumerate(self.scheduled.loops[loop].init):
                self.assign(self.state(loop, j, lane), self.name(start, lane))
        self.close_loop()
        self.write_first_turn(loop)

    def _write_rows(self, loop: int, name: str, rows: int) -> None:
        """Declare the arrays of states of a loop."""
        for j, start in enumerate(self.scheduled.loops[loop].init):
            kind = self.types[self.scheduled.code[start].dtype.name]
            self.write(self.language.room(kind, f"{name}{self.number(loop)}_{j}",
                                          self.name(start, 0), rows * self.lanes_of(loop)))

    def _write_counted_finish(self, loop: int, lanes: int) -> None:
        """Merge the rows of the array pairwise; the result is the state under its own name."""
        number, several = self.number(loop), self.lanes_of(loop)
        width = lanes
        while width > 1:
            width //= 2
            self.open_loop(f"row{number}", "0", str(width))
            for lane in range(several):
                into, other = [[self._in_lane(loop, j, row, lane)
                                for j in range(self._components(loop))]
                               for row in (f"row{number}", f"(row{number} + {width})")]
                self.write_merge(loop, (str(lane), into), other)
            self.close_loop()
        self._counting.remove(loop)
        for lane in range(several):
            for j, start in enumerate(self.scheduled.loops[loop].init):
                self.declare(self.state(loop, j, lane), self._in_lane(loop, j, "0", lane),
                             self.scheduled.code[start].dtype)

    def write_first_turn(self, loop: int) -> None:
        """Write the lane of the first element: elements that fill no row go to the first lane."""
        number = self.number(loop)
        terms = self._elements(loop)
        self.declare(f"whole{number}", f"{terms} - {terms} % {self.scheduled.width}", int64)
        self.declare(f"term{number}", "0", int64)
        self.declare(f"turn{number}", "0", int64)

    def write_turn(self, loop: int) -> None:
        """Write the lane of the next element."""
        number = self.number(loop)
        term = f"term{number}"
        self.assign(term, f"{term} + 1")
        self.assign(f"turn{number}", self.language.choose(
            f"{term} < whole{number}", f"{term} & {self.scheduled.width - 1}", "0"))

    def _elements(self, loop: int) -> str:
        """Return the number of elements of a block, an expression."""
        axes = list(self.scheduled.loops[loop].axes)
        axis, _ = self.scheduled.blocks.get(loop, ("", 0))
        factors = []
        if axis:
            start, stop = self._bounds(axis)
            factors.append(f"({stop} - {start})")
            axes = axes[axes.index(axis) + 1:]
        return f"({' * '.join([*factors, *map(self.extent, axes)])})"

    # ---- the tree of blocks

    def _write_open(self, loop: int) -> None:
        """Write room for one state per level, and the number of blocks."""
        self._write_rows(loop, "tree", LEVELS)
        self.declare(f"blocks{self.number(loop)}", "0", int64)
        scan = self.scheduled.loops[loop]
        if isinstance(scan, Scan):
            for lane in range(self.lanes_of(loop)):
                for place, start in zip(self._before(loop, lane), scan.start):
                    self.declare(place, self.name(start, lane), self.scheduled.code[start].dtype)

    def _before(self, loop: int, lane: int) -> list[str]:
        """Return the components of the state of all earlier blocks of a scan."""
        return [f"before{self.number(loop)}_{j}_{lane}" for j in range(self._components(loop))]

    def _write_push(self, loop: int) -> None:
        """Add the state of a block to the tree."""
        number = self.number(loop)
        bits, level, blocks = f"bits{number}", f"level{number}", f"blocks{number}"
        self.declare(bits, blocks, int64)
        self.declare(level, "0", int64)
        self.open_branch("while", f"{bits} & 1")
        for lane in range(self.lanes_of(loop)):
            state = self._state(loop, lane)
            self.write_merge(loop, (f"t{lane}", self._in_tree(loop, lane)), state, state)
        self._write_next_level(bits, level)
        self.close_loop()
        for lane in range(self.lanes_of(loop)):
            for place, value in zip(self._in_tree(loop, lane), self._state(loop, lane)):
                self.assign(place, value)
        self.assign(blocks, f"{blocks} + 1")
        scan = self.scheduled.loops[loop]
        if isinstance(scan, Scan):  # the next block's elements come after all of these
            for lane in range(self.lanes_of(loop)):
                for place, start in zip(self._state(loop, lane), scan.init):
                    self.assign(place, self.name(start, lane))
            self.assign(bits, blocks)
            self.assign(level, "0")
            self._write_merged_levels(loop, bits, level)
            for lane in range(self.lanes_of(loop)):
                starts = [self.name(start, lane) for start in scan.start]
                self.write_merge(loop, (f"b{lane}", starts), self._state(loop, lane),
                                 self._before(loop, lane))

    def _write_collect(self, loop: int) -> None:
        """Merge what is left in the tree into the state of a reduction."""
        number = self.number(loop)
        level, blocks = f"level{number}", f"blocks{number}"
        for lane in range(self.lanes_of(loop)):
            self._write_empty(loop, lane)
        self.declare(level, "0", int64)
        self._write_merged_levels(loop, blocks, level)

    def _write_merged_levels(self, loop: int, blocks: str, level: str) -> None:
        """Merge the tree into an empty state, the latest elements first."""
        self.open_branch("while", f"{blocks} > 0")
        self.open_branch("if", f"{blocks} & 1")
        for lane in range(self.lanes_of(loop)):
            state = self._state(loop, lane)
            self.write_merge(loop, (f"c{lane}", self._in_tree(loop, lane)), state, state)
        self.close_loop()
        self._write_next_level(blocks, level)
        self.close_loop()

    def _write_next_level(self, bits: str, level: str) -> None:
        self.assign(bits, f"{bits} >> 1")
        self.assign(level, f"{level} + 1")

    # ---- loops

    def _bounds(self, axis: str) -> tuple[str, str]:
        """Return the variables of the bounds of a block along an axis."""
        variable = self.variable(axis)
        return f"from_{variable}", f"to_{variable}"

    def range_of(self, loop: Loop) -> tuple[str, str, str]:
        """Return the start, stop and number of elements of a loop."""
        if not loop.within:
            extent = self.extent(loop.axis)
            return "0", extent, extent
        start, stop = self._bounds(loop.axis)
        return start, stop, f"({stop} - {start})"

    def loop_over(self, axis: str, start: str, stop: str, step: int, block: Block) -> None:
        """Write a sequential loop with these statements as its body."""
        self.open_loop(self.variable(axis), start, stop, step)
        self.write_block(block)
        self.close_loop()

    def loop_in_lanes(self, loop: Loop) -> None:
        """Write a loop in steps of its lanes, and one over the remaining points."""
        start, stop, size = self.range_of(loop)
        whole = f"{stop} - {size} % {loop.lanes}"
        outer = self.lane_axis, self.lane_count
        self.lane_axis, self.lane_count = loop.axis, loop.lanes
        self.loop_over(loop.axis, start, whole, loop.lanes, loop.body)
        self.lane_axis, self.lane_count = outer
        self.loop_over(loop.axis, whole, stop, 1, loop.body)

    def write_loop(self, loop: Loop) -> None:
        """Write a loop of the schedule."""
        start, stop, _ = self.range_of(loop)
        if loop.block:
            self._write_blocks(loop)
        elif loop.reverse:
            self.loop_over(loop.axis, f"{stop} - 1", f"{start} - 1" if loop.within else "-1", -1,
                           loop.body)
        elif loop.lanes > 1:
            self.loop_in_lanes(loop)
        else:
            self.loop_over(loop.axis, start, stop, 1, loop.body)

    def _write_blocks(self, loop: Loop) -> None:
        """Write a loop over the blocks of an axis; the bounds of each get names."""
        start, stop = self._bounds(loop.axis)
        extent = self.extent(loop.axis)
        length = self.runtime_integer(("block", loop.axis, loop.block), loop.block)
        size = self.scheduled.extents[loop.axis]
        number = f"block_{self.variable(loop.axis)}"
        count = self.runtime_integer(("blocks", loop.axis, loop.block), -(-size // loop.block))
        self.open_loop(number, "0", count)
        if loop.reverse:
            self.declare(stop, f"{extent} - {number} * {length}", int64)
            begins = self.language.choose(f"{stop} > {length}", f"{stop} - {length}", "0")
            self.declare(start, begins, int64)
        else:
            self.declare(start, f"{number} * {length}", int64)
            ends = f"{start} + {length}"
            self.declare(stop, self.language.choose(f"{ends} < {extent}", ends, extent), int64)
        self.write_block(loop.body)
        self.close_loop()
