"""The index space of a nest under given strides: which axes are one, and which run in parallel."""

from __future__ import annotations

from collections.abc import Sequence

from tinyml.ir.nest import ZERO, Instr, Nest

LOOPS = ("reduce", "running")  # what has a state, and a step along axes of its own


class Space:
    """A nest whose neighbouring axes are joined where every access walks them as one.

    code, free, sizes   the nest after axes were merged
    strides             per argument, per dimension, in elements; 0 means the index is not used
    steps               from a reduction or scan to the statement that takes one more element in
    par                 axes that run in parallel, the innermost last
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
        reductions = [i.data[1] for i in self.code if i.kind in LOOPS]
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
            for d, a in enumerate(instr.args):
                if not self._same_along(instr, d, free[a]):
                    own |= free[a]
            if instr.kind == "axis":
                own = frozenset((instr.data,)) if instr.data in self.sizes else frozenset()
            elif instr.kind in LOOPS:
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

    def _same_along(self, instr: Instr, place: int, axes: frozenset[str]) -> bool:
        """Whether a load's index says nothing: an axis of stride 0, and there are elements."""
        if (instr.kind != "load" or place >= instr.data[1]
                or self.code[instr.args[place]].kind != "axis"):
            return False
        return not self.strides[instr.data[0]][place] and all(self.sizes.get(a) for a in axes)

    def _parallel(self) -> list[str]:
        """Axes that every store walks plainly, no scan runs along, and every reduction depends on.

        A scan may be computed again at each point of an axis that it is independent of: that is one
        step per element of the result. Unless its steps hold a reduction, which is more.
        """
        names = list(self.sizes)
        for k, instr in enumerate(self.code):
            if instr.kind == "store" and instr.data[1] == "once":
                names = [a for a in names if a in self.free[k]]
            if instr.kind == "store" and instr.data[1] != "once":
                plain = {i.data for i in (self.code[a] for a in instr.args[1:]) if i.kind == "axis"}
                names = [a for a in names if a in plain]
        for k, instr in enumerate(self.code):
            if instr.kind == "running":
                (along,) = instr.data[1]
                names = [a for a in names if a != along]
                if any(self.code[o].kind == "reduce" and along in self.free[o]
                       for o in self.steps):
                    names = [a for a in names if a in self.free[k]]
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
