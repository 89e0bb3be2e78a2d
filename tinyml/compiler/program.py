"""Programs: a graph as a plain list of calls, its buffers planned and reused.

A program is made once for the layouts of its inputs. Values that live only inside it share slots: a
slot is taken when a value is written, and free again after the value is last read. A call of the
program takes a set of slots, so that several threads can run it; its results are new memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tinyml.compiler.fusion import Group, Grouping, form
from tinyml.core.builder import Builder, building
from tinyml.core.plan import make_plan
from tinyml.core.state import no_grad
from tinyml.graph.graph import Graph, last_uses, needed, replay, variables
from tinyml.ir.lower import NotOneNest, Numbers, lower
from tinyml.ir.op import Var
from tinyml.ir.spec import Spec, make_spec


class BufferView(NamedTuple):
    """Where a variable's content lies: in the memory of `base`, from `offset` on, as `spec`."""

    base: Var
    offset: int
    spec: Spec


class Step(NamedTuple):
    """One call: `run(*ins, *outs)`, or `outs = run(*ins)` where it allocates by itself."""

    run: Callable[..., Any]
    ins: tuple[Any, ...]  # places and Python numbers
    outs: tuple[Var, ...]
    allocates: bool
    name: str


class Program(NamedTuple):
    """What became of a graph.

    run     from input buffers to output buffers
    outs    their layouts
    steps   the calls
    slots   the bytes of each planned slot
    """

    run: Callable[..., Any]
    outs: tuple[Spec, ...]
    steps: tuple[Step, ...]
    slots: tuple[int, ...]


def flattened(graph: Graph) -> tuple[Graph, list[Any]]:
    """The graph in ops that have a nest or a kernel: graphs and composites inside it taken apart.

    Equal lines are one, and lines that nothing needs are gone. Constants that bodies made are its
    last inputs; their tensors come with it.
    """
    builder = Builder(inline=True)
    with building(builder), no_grad():
        xs = [builder.input(var.spec) for var in graph.inputs]
        outputs = [builder.enter(y).buf for y in replay(graph, xs)]
    captures = builder.captured()
    inputs = [*builder.inputs, *[c.var for c in captures]]
    return (Graph(inputs, needed(builder.lines, outputs, inputs), outputs),
            [c.tensor for c in captures])


def compiled(graph: Graph, ins: Sequence[Spec]) -> Program:
    """The program of a graph for inputs of these layouts."""
    flat, constants = flattened(graph)
    specs = [*ins, *[c.spec for c in constants]]
    return _Planner(flat, specs, [c.buf for c in constants]).program(len(ins))


class _Planner:
    """The state of one compilation."""

    def __init__(self, graph: Graph, ins: Sequence[Spec], constants: Sequence[Any]) -> None:
        self.graph = graph
        self.constants = constants
        self.places = {var: BufferView(var, 0, spec) for var, spec in zip(graph.inputs, ins)}
        self.steps: list[Step] = []
        self.known: dict[Any, Any] = {}

    def program(self, count: int) -> Program:
        """Steps, slots and the function that runs them; the first `count` inputs are given."""
        self._some(Grouping(self.graph), range(len(self.graph.lines)))
        run, slots = _written(self, count)
        return Program(run, tuple([self.places[var].spec for var in self.graph.outputs]),
                       tuple(self.steps), tuple(slots))

    # ---- steps

    def _some(self, grouping: Grouping, members: Sequence[int]) -> None:
        for k in members:
            if k in grouping.views:
                self._view(k)
            elif grouping.of[k].root == k:  # at the last line of a group all that it reads is there
                self._group(grouping, grouping.of[k])

    def _view(self, k: int) -> None:
        line = self.graph.lines[k]
        place = self.places[line.app.inputs[0]]
        layout = line.app.op.view(place.spec, **line.app.attrs)  # type: ignore[misc]
        if layout is None:  # these strides have no such view
            self._plan(k)
            return
        strides, offset = layout
        spec = line.outs[0].spec
        laid = make_spec(spec.shape, spec.dtype, spec.device, strides)
        self.places[line.outs[0]] = BufferView(place.base, place.offset + offset, laid)

    def _group(self, grouping: Grouping, group: Group) -> None:
        """A group as one step; smaller groups where it is no nest."""
        if grouping.traits[group.root] is None:
            self._plan(group.root)
            return
        try:
            self._launch(group)
        except NotOneNest:
            if len(group.members) == 1:
                self._plan(group.root)
                return
            grouping.divide(group)
            self._some(grouping, sorted(group.members))

    def _launch(self, group: Group) -> None:
        lines = [self.graph.lines[k] for k in sorted(group.members)]
        root = self.graph.lines[group.root]
        inside = {var for line in lines for var in line.outs}
        args = list(dict.fromkeys(v for line in lines for v in variables(line) if v not in inside))
        places = [self.places[v] for v in args]
        outs = [make_spec(v.spec.shape, v.spec.dtype, v.spec.device) for v in root.outs]
        key = form(lines, args), tuple([p.spec for p in places])
        known = self.known.get(key)
        if known is None:
            numbers = Numbers()
            nest = lower(root.outs, args, numbers)
            device: Any = outs[0].device
            ins = [*[p.spec for p in places], *numbers.scalars]
            name = "+".join(dict.fromkeys(line.app.op.name for line in lines))
            run = device.prepare(nest, ins, outs, name, into=True)
            known = self.known[key] = run, numbers.values, name
        run, values, name = known
        self.steps.append(Step(run, (*places, *values), root.outs, False, name))
        for var, spec in zip(root.outs, outs):
            self.places[var] = BufferView(var, 0, spec)

    def _plan(self, k: int) -> None:
        """A line as the eager op would run it."""
        line = self.graph.lines[k]
        app = line.app
        ins = tuple([self.places[v] if isinstance(v, Var) else v for v in app.inputs])
        specs = tuple([v.spec if isinstance(v, BufferView) else type(v) for v in ins])
        plan = make_plan(app.op, specs, app.attrs)
        self.steps.append(Step(plan.run, ins, line.outs, True, app.op.name))
        for var, spec in zip(line.outs, plan.outs):
            self.places[var] = BufferView(var, 0, spec)


# ---- the function that runs it


def _written(planner: _Planner, count: int) -> tuple[Callable[..., Any], list[int]]:
    """The program as a Python function, one line a call, and the bytes of each slot.

    The first `count` inputs are given. A value that lives only inside takes a slot until its last
    reader has run; what a step allocates by itself is let go then.
    """
    space: dict[str, Any] = {"arenas": []}

    def named(value: Any) -> str:
        """The name by which the text knows a value."""
        name = f"v{len(space)}"
        space[name] = value
        return name

    def slot(var: Var) -> tuple[int, Any]:
        return var.spec.device.block_size(var.spec.nbytes), var.spec.device

    def said(place: BufferView) -> str:
        if place.offset and place not in views:
            views[place] = f"w{len(views)}"
            lines.append(f"    {views[place]} = {named(place.spec.device.view)}"
                         f"({names[place.base]}, {place.offset}, {named(place.spec)})")
        return views[place] if place.offset else names[place.base]

    given, constants = planner.graph.inputs[:count], planner.graph.inputs[count:]
    names = {var: f"x{k}" for k, var in enumerate(given)}
    names.update(zip(constants, map(named, planner.constants)))
    results = [planner.places[var] for var in planner.graph.outputs]
    kept = {place.base for place in results}
    touched = [(*step.outs, *[v.base for v in step.ins if isinstance(v, BufferView)])
               for step in planner.steps]
    views: dict[BufferView, str] = {}
    slots: list[tuple[int, Any]] = []
    free: dict[Any, list[str]] = {}
    lines: list[str] = []
    for k, (step, dead) in enumerate(zip(planner.steps, last_uses(touched, list(kept)))):
        values = [said(v) if isinstance(v, BufferView) else named(v) for v in step.ins]
        for j, var in enumerate(step.outs):
            if step.allocates or var in kept:
                names[var] = f"o{k}_{j}"
            elif free.setdefault(slot(var), []):
                names[var] = free[slot(var)].pop()
            else:
                names[var] = f"s{len(slots)}"
                slots.append(slot(var))
        outs = [names[var] for var in step.outs]
        if step.allocates:
            lines.append(f"    {', '.join(outs)} = {named(step.run)}({', '.join(values)})")
        else:
            lines += [f"    {names[var]} = {named(var.spec.device.empty)}({var.spec.nbytes})"
                      for var in step.outs if var in kept]
            lines.append(f"    {named(step.run)}({', '.join([*values, *outs])})")
        for var in dead:
            if names[var][0] == "s":
                free[slot(var)].append(names[var])
            elif names[var][0] == "o":
                lines.append(f"    {names[var]} = None")
    found = ", ".join(map(said, results))
    head = [f"def run({', '.join(names[var] for var in given)}):"]
    if slots:
        new = ", ".join(f"{named(device.empty)}({nbytes})" for nbytes, device in slots)
        head += ["    try:", "        arena = arenas.pop()", "    except IndexError:",
                 f"        arena = ({new},)",
                 f"    ({', '.join(f's{k}' for k in range(len(slots)))},) = arena"]
        lines.append("    arenas.append(arena)")
    text = "\n".join([*head, *lines, f"    return {found}", ""])
    exec(compile(text, "<tinyml program>", "exec"), space)
    run: Callable[..., Any] = space.pop("run")  # a function in its own globals is a cycle
    return run, [nbytes for nbytes, _ in slots]
