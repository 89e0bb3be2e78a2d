"""Reductions in lanes, as LLVM vectorises them: a small array of partial states, a loop over it.

A chain of additions has an order, so LLVM makes no vectors of it. An inner loop over lanes that do
not depend on each other has none. What is left over at the end goes into the first lanes, one each;
then lanes are merged pairwise. The order is thus given by the length alone.
"""

from __future__ import annotations

from tinyml.kernels.common.emitter import Emitter
from tinyml.kernels.common.schedule import Loop, Program

LANES = 64  # four of the widest vectors: enough that the latency of an addition is hidden
VARIABLES = {LANES: "lane", LANES + 1: "other"}  # numbers of lanes that only the kernel knows
LANE, OTHER = VARIABLES


class InLanes(Emitter):
    """An emitter whose reductions keep LANES partial states where the monoid allows any."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._arrays: set[int] = set()  # the reductions whose states lie in arrays at present
        self._open: frozenset[int] = frozenset()  # those whose lanes are being filled

    def _state(self, reduction: int, component: int, lane: int) -> str:
        if reduction not in self._arrays:
            return super()._state(reduction, component, lane)
        if reduction in self._open:
            lane = LANE
        return f"{self._array(reduction, component)}[{VARIABLES.get(lane, lane)}]"

    def _array(self, reduction: int, component: int) -> str:
        return f"s{self._numbered(reduction)}_{component}"

    def _plain(self, reduction: int) -> bool:
        """Whether every component may lie in an array: a pointer to bools means bytes."""
        starts = self.program.code[reduction].data[2]
        return all(self.program.code[start].dtype.kind != "bool" for start in starts)

    def _init(self, reduction: int, lanes: int) -> None:
        if lanes == 1 or not self._plain(reduction):
            super()._init(reduction, lanes)
            return
        self._arrays.add(reduction)
        starts = [self.name(start, 0) for start in self.program.code[reduction].data[2]]
        for j, start in enumerate(starts):
            self.write(f"{self._array(reduction, j)} = array({start}, {LANES})")
        self.write(self.open_loop("lane", "0", str(LANES), 1))
        self.depth += 1
        for j, start in enumerate(starts):
            self.write(self.assign(self._state(reduction, j, LANE), start))
        self.depth -= 1

    def _loop(self, loop: Loop) -> None:
        inside = frozenset(self.program.code[s.id].data[0] for s in loop.body
                           if not isinstance(s, Loop) and s.kind == "combine")
        if loop.lanes == 1 or not all(self._plain(r) for r in inside):
            super()._loop(loop)
            return
        axis, size = self.axis(loop.axis), self.size(loop.axis)
        self._open = inside
        self.write(self.open_loop("block", "0", f"{size} - {size} % {LANES}", LANES))
        self.depth += 1
        self._fill(axis, "block", str(LANES), loop)
        self.depth -= 1
        self.write(f"block = {size} - {size} % {LANES}")
        self._fill(axis, "block", f"{size} % {LANES}", loop)
        self._open = frozenset()

    def _fill(self, axis: str, first: str, count: str, loop: Loop) -> None:
        """One point of the axis into each of `count` lanes."""
        self.write(self.open_loop("lane", "0", count, 1))
        self.depth += 1
        self.write(f"{axis} = {first} + lane")
        self.body(loop.body)
        self.depth -= 1

    def _finish(self, reduction: int, lanes: int) -> None:
        if lanes == 1 or not self._plain(reduction):
            super()._finish(reduction, lanes)
            return
        width = LANES
        while width > 1:
            width //= 2
            self.write(self.open_loop("lane", "0", str(width), 1))
            self.depth += 1
            self.write(f"other = lane + {width}")
            self._merge(reduction, LANE, OTHER)
            self.depth -= 1
        self._arrays.remove(reduction)
        for j, _ in enumerate(self.program.code[reduction].data[2]):
            self.write(f"{self._state(reduction, j, 0)} = {self._array(reduction, j)}[0]")
