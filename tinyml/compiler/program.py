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
from tinyml.graph.graph import Graph, last_uses, needed, replay
from tinyml.ir.lower import NotOneNest, Numbers, lower
from tinyml.ir.op import Var
from tinyml.ir.spec import Spec, make_spec


class BufferView(NamedTuple):
    """Where a variable's content lies: in the memory of `base`, from `offset` on, as `spec`."""

    base: Var
    offset: int
    spec: Spec


class Launch(NamedTuple):
    """One call: `run(*ins, *outs)`, or `outs = run(*ins)` where it allocates by itself."""

    run: Callable[..., Any]
    ins: tuple[Any, ...]  # places and Python numbers
    outs: tuple[Var, ...]
    allocates: bool
    name: str


class Executable(NamedTuple):
    """What became of a graph.

    run     from input buffers to output buffers
    outs    their layouts
    launches   the calls
    slots   the bytes of each planned slot
    """

    run: Callable[..., Any]
    outs: tuple[Spec, ...]
    launches: tuple[Launch, ...]
    slots: tuple[int, ...]


def flattened(graph: Graph) -> tuple[Graph, list[Any]]:
    """The graph in ops that have a nest or a kernel: graphs and composites inside it taken apart.

    Equal equations are one, and equations that nothing needs are gone. Constants that bodies made are its
    last inputs; their tensors come with it.
    """
    builder = Builder(inline=True)
    with building(builder), no_grad():
        xs = [builder.input(var.spec) for var in graph.inputs]
        outputs = [builder.enter(y).buf for y in replay(graph, xs)]
    captures = builder.captured()
    inputs = [*builder.inputs, *[c.var for c in captures]]
    return (Graph(inputs, needed(builder.equations, outputs, inputs), outputs),
            [c.tensor for c in captures])


def compiled(graph: Graph, ins: Sequence[Spec]) -> Executable:
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
        self.launches: list[Launch] = []
        self.known: dict[Any, Any] = {}

    def program(self, count: int) -> Executable:
        """Steps, slots and the function that runs them; the first `count` inputs are given."""
        self._some(Grouping(self.graph), range(len(self.graph.equations)))
        run, slots = _written(self, count)
        return Executable(run, tuple([self.places[var].spec for var in self.graph.outputs]),
                       tuple(self.launches), tuple(slots))

    # ---- launches

    def _some(self, grouping: Grouping, members: Sequence[int]) -> None:
        for k in members:
            if k in grouping.views:
                self._view(k)
            elif grouping.of[k].root == k:  # at the last equation of a group all that it reads is there
                self._group(grouping, grouping.of[k])

    def _view(self, k: int) -> None:
        equation = self.graph.equations[k]
        place = self.places[equation.inputs[0]]
        layout = equation.op.view(place.spec, **equation.attrs)  # type: ignore[misc]
        if layout is None:  # these strides have no such view
            self._plan(k)
            return
        strides, offset = layout
        spec = equation.outs[0].spec
        laid = make_spec(spec.shape, spec.dtype, spec.device, strides)
        self.places[equation.outs[0]] = BufferView(place.base, place.offset + offset, laid)

    def _group(self, grouping: Grouping, group: Group) -> None:
        """A group as one launch; smaller groups where it is no nest."""
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
        equations = [self.graph.equations[k] for k in sorted(group.members)]
        root = self.graph.equations[group.root]
        inside = {var for equation in equations for var in equation.outs}
        args = list(dict.fromkeys(v for equation in equations for v in equation.operands if v not in inside))
        places = [self.places[v] for v in args]
        outs = [make_spec(v.spec.shape, v.spec.dtype, v.spec.device) for v in root.outs]
        key = form(equations, args), tuple([p.spec for p in places])
        known = self.known.get(key)
        if known is None:
            numbers = Numbers()
            nest = lower(equations, root.outs, args, numbers)
            device: Any = outs[0].device
            ins = [*[p.spec for p in places], *numbers.scalars]
            name = "+".join(dict.fromkeys(equation.op.name for equation in equations))
            run = device.prepare(nest, ins, outs, name, into=True)
            known = self.known[key] = run, numbers.values, name
        run, values, name = known
        self.launches.append(Launch(run, (*places, *values), root.outs, False, name))
        for var, spec in zip(root.outs, outs):
            self.places[var] = BufferView(var, 0, spec)

    def _plan(self, k: int) -> None:
        """An equation as the eager op would run it."""
        equation = self.graph.equations[k]
        ins = tuple([self.places[v] if isinstance(v, Var) else v for v in equation.inputs])
        specs = tuple([v.spec if isinstance(v, BufferView) else type(v) for v in ins])
        plan = make_plan(equation.op, specs, equation.attrs)
        self.launches.append(Launch(plan.run, ins, equation.outs, True, equation.op.name))
        for var, spec in zip(equation.outs, plan.outs):
            self.places[var] = BufferView(var, 0, spec)


# ---- the function that runs it


def _written(planner: _Planner, count: int) -> tuple[Callable[..., Any], list[int]]:
    """The program as a Python function, one line a call, and the bytes of each slot.

    The first `count` inputs are given. A value that lives only inside takes a slot until its last
    reader has run; what a launch allocates by itself is let go then.
    """
    space: dict[str, Any] = {"arenas": []}

    def bind(value: Any) -> str:
        """The name by which the text knows a value."""
        name = f"v{len(space)}"
        space[name] = value
        return name

    def slot(var: Var) -> tuple[int, Any]:
        return var.spec.device.block_size(var.spec.nbytes), var.spec.device

    def name_of(place: BufferView) -> str:
        if place.offset and place not in views:
            views[place] = f"w{len(views)}"
            lines.append(f"    {views[place]} = {bind(place.spec.device.view)}"
                         f"({names[place.base]}, {place.offset}, {bind(place.spec)})")
        return views[place] if place.offset else names[place.base]

    given, constants = planner.graph.inputs[:count], planner.graph.inputs[count:]
    names = {var: f"x{k}" for k, var in enumerate(given)}
    names.update(zip(constants, map(bind, planner.constants)))
    results = [planner.places[var] for var in planner.graph.outputs]
    kept = {place.base for place in results}
    touched = [(*launch.outs, *[v.base for v in launch.ins if isinstance(v, BufferView)])
               for launch in planner.launches]
    views: dict[BufferView, str] = {}
    slots: list[tuple[int, Any]] = []
    free: dict[Any, list[str]] = {}
    lines: list[str] = []
    for k, (launch, dead) in enumerate(zip(planner.launches, last_uses(touched, list(kept)))):
        values = [name_of(v) if isinstance(v, BufferView) else bind(v) for v in launch.ins]
        for j, var in enumerate(launch.outs):
            if launch.allocates or var in kept:
                names[var] = f"o{k}_{j}"
            elif free.setdefault(slot(var), []):
                names[var] = free[slot(var)].pop()
            else:
                names[var] = f"s{len(slots)}"
                slots.append(slot(var))
        outs = [names[var] for var in launch.outs]
        if launch.allocates:
            lines.append(f"    {', '.join(outs)} = {bind(launch.run)}({', '.join(values)})")
        else:
            lines += [f"    {names[var]} = {bind(var.spec.device.empty)}({var.spec.nbytes})"
                      for var in launch.outs if var in kept]
            lines.append(f"    {bind(launch.run)}({', '.join([*values, *outs])})")
        for var in dead:
            if names[var][0] == "s":
                free[slot(var)].append(names[var])
            elif names[var][0] == "o":
                lines.append(f"    {names[var]} = None")
    found = ", ".join(map(name_of, results))
    head = [f"def run({', '.join(names[var] for var in given)}):"]
    if slots:
        new = ", ".join(f"{bind(device.empty)}({nbytes})" for nbytes, device in slots)
        head += ["    try:", "        arena = arenas.pop()", "    except IndexError:",
                 f"        arena = ({new},)",
                 f"    ({', '.join(f's{k}' for k in range(len(slots)))},) = arena"]
        lines.append("    arenas.append(arena)")
    text = "\n".join([*head, *lines, f"    return {found}", ""])
    exec(compile(text, "<tinyml program>", "exec"), space)
    run: Callable[..., Any] = space.pop("run")  # a function in its own globals is a cycle
    return run, [nbytes for nbytes, _ in slots]
