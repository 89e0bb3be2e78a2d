"""Reductions in lanes that LLVM can vectorise: a loop over a small array of partial states.

LLVM does not vectorise a chain of additions, whose order is fixed. An inner loop over independent
lanes has no such order. The elements left over at the end go into the first lanes, one each; then
the lanes are merged pairwise. So the order depends on the extent alone.
"""

from __future__ import annotations

from tinyml.kernels.common.schedule import Loop, ScheduledNest
from tinyml.kernels.common.statements import StatementEmitter

LANES = 64  # four of the widest vectors: enough to hide the latency of an addition
VARIABLES = {LANES: "lane", LANES + 1: "other"}  # lane numbers that only the kernel knows
LANE, OTHER = VARIABLES


class LaneEmitter(StatementEmitter):
    """An emitter whose reductions keep LANES partial states if the monoid allows several."""

    def __init__(self, scheduled: ScheduledNest) -> None:
        super().__init__(scheduled)
        self._in_arrays: set[int] = set()  # the reductions whose states are currently in arrays
        self._filling: frozenset[int] = frozenset()  # those whose lanes are being filled
        self._row: frozenset[int] = frozenset()  # those whose lanes are filled by a row

    def state(self, loop: int, component: int, lane: int) -> str:
        """Return the name of a component of a state, or its element in the array of lanes."""
        if loop not in self._in_arrays:
            return super().state(loop, component, lane)
        if loop in self._filling:
            lane = LANE
        return f"{self._array(loop, component)}[{VARIABLES.get(lane, lane)}]"

    def _array(self, loop: int, component: int) -> str:
        return f"s{self.number(loop)}_{component}"

    def _fits_arrays(self, loop: int) -> bool:
        """Return whether every component can be in an array: a pointer to bools means bytes."""
        starts = self.scheduled.loops[loop].init
        return all(self.scheduled.code[start].dtype.kind != "bool" for start in starts)

    def write_init(self, loop: int, lanes: int) -> None:
        """Write the arrays, filled with empty states."""
        if lanes == 1 or loop in self.scheduled.counted or not self._fits_arrays(loop):
            super().write_init(loop, lanes)
            return
        self._in_arrays.add(loop)
        starts = [self.name(start, 0) for start in self.scheduled.loops[loop].init]
        for j, start in enumerate(starts):
            self.write(f"{self._array(loop, j)} = array({start}, {LANES})")
        self.open_loop("lane", "0", str(LANES))
        for j, start in enumerate(starts):
            self.assign(self.state(loop, j, LANE), start)
        self.close_loop()

    def write_loop(self, loop: Loop) -> None:
        """Write a loop over blocks of LANES elements, one per lane, and over the remainder."""
        inside = frozenset(self.scheduled.loop_of[s.id] for s in loop.body
                           if not isinstance(s, Loop) and s.kind == "combine")
        if self._is_row(loop, inside):
            self._write_row(loop, inside)
            return
        if loop.lanes == 1 or not all(map(self._fits_arrays, inside)):
            super().write_loop(loop)
            return
        axis = self.variable(loop.axis)
        start, stop, size = self.range_of(loop)
        whole = f"{stop} - {size} % {LANES}"
        self._filling = inside
        self.open_loop("block", start, whole, LANES)
        self._fill(axis, str(LANES), loop)
        self.close_loop()
        self.write(f"block = {whole}")
        self._fill(axis, f"{size} % {LANES}", loop)
        self._filling = frozenset()

    def _is_row(self, loop: Loop, inside: frozenset[int]) -> bool:
        """Return whether a loop only adds a row of elements to reductions that count them alike."""
        effects = [s for s in loop.body if isinstance(s, Loop) or s.kind != "value"]
        over = {(self.scheduled.loops[k].axes, self.scheduled.blocks.get(k)) for k in inside}
        return (len(effects) == len(inside) and len(over) == 1 and self._counting >= inside
                and all(self.lanes_of(k) == 1 for k in inside))

    def _write_row(self, loop: Loop, inside: frozenset[int]) -> None:
        """Write a loop that fills up the lanes from the current one on, all at once if it can."""
        axis, turn = self.variable(loop.axis), self.turn(min(inside))
        start, stop, _ = self.range_of(loop)
        self._row = inside
        self.write(f"place = {start}")
        self.open_branch("while", f"place < {stop}")
        long = f"{stop} - place > {LANES} - {turn}"
        self.write(f"ends = ({LANES} if {long} else {turn} + {stop} - place)")
        self.write(f"block = place - {turn}")
        self.open_branch("if", f"ends - {turn} == {LANES}")
        self._fill(axis, str(LANES), loop)
        self.close_loop()
        self.open_branch("if", f"ends - {turn} < {LANES}")
        self._fill(axis, "ends", loop, turn)
        self.close_loop()
        self.write("place = block + ends")
        self._row = frozenset()
        for each in inside:
            self.write(f"{self.turn(each)} = ends & {LANES - 1}")
        self.close_loop()

    def turn(self, loop: int) -> str:
        """Return the variable that holds the lane of the current element of a counted loop."""
        return "lane" if loop in self._row else super().turn(loop)

    def _fill(self, axis: str, stop: str, loop: Loop, start: str = "0") -> None:
        """Write a loop that adds one element of the block to each of the lanes before `stop`."""
        self.open_loop("lane", start, stop)
        self.write(f"{axis} = block + lane")
        self.write_block(loop.body)
        self.close_loop()

    def write_finish(self, loop: int, lanes: int) -> None:
        """Write the pairwise merges of all lanes."""
        if loop not in self._in_arrays:
            super().write_finish(loop, lanes)
            return
        width = LANES
        while width > 1:
            width //= 2
            self.open_loop("lane", "0", str(width))
            self.write(f"other = lane + {width}")
            self.write_merge(loop, ("lanes", self._state(loop, LANE)), self._state(loop, OTHER))
            self.close_loop()
        self._in_arrays.remove(loop)
        for j, _ in enumerate(self.scheduled.loops[loop].init):
            self.write(f"{self.state(loop, j, 0)} = {self._array(loop, j)}[0]")

    def write_first_turn(self, loop: int) -> None:
        """Write the lane of the first element."""
        self.write(f"turn{self.number(loop)} = 0")

    def write_turn(self, loop: int) -> None:
        """Write the lane of the next element, the last element's too."""
        if loop in self._row:
            return
        turn = f"turn{self.number(loop)}"
        self.write(f"{turn} = ({turn} + 1) & {LANES - 1}")
