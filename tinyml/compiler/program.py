"""Executables: a graph as a plain list of launches, with buffers planned and reused.

An executable is compiled for one combination of input layouts. Intermediate values share slots: a
slot is taken when a value is written, and freed after its last use. Each call takes a set of slots,
so several threads can run it at once; results are always new memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tinyml.compiler.fusion import Fuser, FusionGroup, structural_key
from tinyml.concurrency import no_grad
from tinyml.core.builder import Builder, building
from tinyml.core.plan import make_plan
from tinyml.graph.graph import Graph, find_last_uses, prune, replay
from tinyml.ir.lower import NotOneNest, Numbers, lower
from tinyml.ir.op import Var
from tinyml.ir.spec import Spec, make_spec


class BufferView(NamedTuple):
    """The location of a variable's content: in `base`'s memory, from `offset` on, as `spec`."""

    base: Var
    offset: int
    spec: Spec


class Launch(NamedTuple):
    """One call: `run(*ins, *outs)`, or `outs = run(*ins)` if it allocates its outputs."""

    run: Callable[..., Any]
    ins: tuple[Any, ...]  # buffer views and Python numbers
    outs: tuple[Var, ...]
    allocates: bool
    name: str


class Executable(NamedTuple):
    """A compiled graph.

    run       a function from input buffers to output buffers
    outs      the layouts of the outputs
    launches  its calls, in order
    slots     the size in bytes of each planned slot
    """

    run: Callable[..., Any]
    outs: tuple[Spec, ...]
    launches: tuple[Launch, ...]
    slots: tuple[int, ...]


def flatten(graph: Graph) -> tuple[Graph, list[Any]]:
    """Return the graph in terms of ops with a nest or a kernel; graphs and composites are inlined.

    Equal equations are merged, and unused ones are dropped. Constants made by bodies become the
    last inputs; their tensors are returned too.
    """
    builder = Builder(inline=True)
    with building(builder), no_grad():
        xs = [builder.input(var.spec) for var in graph.inputs]
        outputs = [builder.enter(y).buf for y in replay(graph, xs)]
    captures = builder.captured()
    inputs = [*builder.inputs, *[c.var for c in captures]]
    return (Graph(inputs, prune(builder.equations, outputs, inputs), outputs),
            [c.tensor for c in captures])


def compile_graph(graph: Graph, ins: Sequence[Spec]) -> Executable:
    """Compile a graph for inputs of these layouts."""
    flat, constants = flatten(graph)
    specs = [*ins, *[c.spec for c in constants]]
    return _Planner(flat, specs, [c.buf for c in constants]).plan(len(ins))


class _Planner:
    """The state of one compilation."""

    def __init__(self, graph: Graph, ins: Sequence[Spec], constants: Sequence[Any]) -> None:
        self.graph = graph
        self.constants = constants
        self.views = {var: BufferView(var, 0, spec) for var, spec in zip(graph.inputs, ins)}
        self.launches: list[Launch] = []
        self._known: dict[Any, Any] = {}

    def plan(self, count: int) -> Executable:
        """Plan launches and slots, and write the function; the caller gives `count` inputs."""
        self._plan_members(Fuser(self.graph), range(len(self.graph.equations)))
        run, slots = _write_function(self, count)
        return Executable(run, tuple([self.views[var].spec for var in self.graph.outputs]),
                          tuple(self.launches), tuple(slots))

    # ---- launches

    def _plan_members(self, fuser: Fuser, members: Sequence[int]) -> None:
        for k in members:
            if k in fuser.views:
                self._plan_view(k)
            elif fuser.group_of[k].root == k:  # by its last equation, all that a group reads exists
                self._plan_group(fuser, fuser.group_of[k])

    def _plan_view(self, k: int) -> None:
        equation = self.graph.equations[k]
        view = self.views[equation.inputs[0]]
        layout = equation.op.view(view.spec, **equation.attrs)  # type: ignore[misc]
        if layout is None:  # no such view exists for these strides
            self._plan_alone(k)
            return
        strides, offset = layout
        spec = equation.outs[0].spec
        laid_out = make_spec(spec.shape, spec.dtype, spec.device, strides)
        self.views[equation.outs[0]] = BufferView(view.base, view.offset + offset, laid_out)

    def _plan_group(self, fuser: Fuser, group: FusionGroup) -> None:
        """Plan a group as one launch, or as smaller groups if it does not form one nest."""
        if fuser.traits[group.root] is None:
            self._plan_alone(group.root)
            return
        try:
            self._plan_nest(group)
        except NotOneNest:
            if len(group.members) == 1:
                self._plan_alone(group.root)
                return
            fuser.divide(group)
            self._plan_members(fuser, sorted(group.members))

    def _plan_nest(self, group: FusionGroup) -> None:
        equations = [self.graph.equations[k] for k in sorted(group.members)]
        root = self.graph.equations[group.root]
        inside = {var for equation in equations for var in equation.outs}
        args = list(dict.fromkeys(
            v for equation in equations for v in equation.operands if v not in inside))
        views = [self.views[v] for v in args]
        outs = [make_spec(v.spec.shape, v.spec.dtype, v.spec.device) for v in root.outs]
        key = structural_key(equations, args), tuple([view.spec for view in views])
        known = self._known.get(key)
        if known is None:
            numbers = Numbers()
            nest = lower(equations, root.outs, args, numbers)
            device: Any = outs[0].device
            ins = [*[view.spec for view in views], *numbers.scalars]
            name = "+".join(dict.fromkeys(equation.op.name for equation in equations))
            run = device.prepare(nest, ins, outs, name, into=True)
            known = self._known[key] = run, numbers.values, name
        run, values, name = known
        self.launches.append(Launch(run, (*views, *values), root.outs, False, name))
        for var, spec in zip(root.outs, outs):
            self.views[var] = BufferView(var, 0, spec)

    def _plan_alone(self, k: int) -> None:
        """Plan an equation to run as the eager op would."""
        equation = self.graph.equations[k]
        ins = tuple([self.views[v] if isinstance(v, Var) else v for v in equation.inputs])
        specs = tuple([v.spec if isinstance(v, BufferView) else type(v) for v in ins])
        plan = make_plan(equation.op, specs, equation.attrs)
        self.launches.append(Launch(plan.run, ins, equation.outs, True, equation.op.name))
        for var, spec in zip(equation.outs, plan.outs):
            self.views[var] = BufferView(var, 0, spec)


# ---- writing the function that runs it


def _write_function(planner: _Planner, count: int) -> tuple[Callable[..., Any], list[int]]:
    """Return a Python function with one line for each launch, and the bytes of each slot.

    The caller gives the first `count` inputs. An intermediate value holds a slot until its last
    reader has run; memory that a launch allocated is released then, too.
    """
    namespace: dict[str, Any] = {"arenas": []}

    def bind(value: Any) -> str:
        """Return the name of a value in the generated source."""
        name = f"v{len(namespace)}"
        namespace[name] = value
        return name

    def slot(var: Var) -> tuple[int, Any]:
        return var.spec.device.block_size(var.spec.nbytes), var.spec.device

    def name_view(view: BufferView) -> str:
        if view.offset and view not in views:
            views[view] = f"w{len(views)}"
            lines.append(f"    {views[view]} = {bind(view.spec.device.view)}"
                         f"({names[view.base]}, {view.offset}, {bind(view.spec)})")
        return views[view] if view.offset else names[view.base]

    given, constants = planner.graph.inputs[:count], planner.graph.inputs[count:]
    names = {var: f"x{k}" for k, var in enumerate(given)}
    names.update(zip(constants, map(bind, planner.constants)))
    results = [planner.views[var] for var in planner.graph.outputs]
    kept = {view.base for view in results}
    touched = [(*launch.outs, *[v.base for v in launch.ins if isinstance(v, BufferView)])
               for launch in planner.launches]
    views: dict[BufferView, str] = {}
    slots: list[tuple[int, Any]] = []
    free: dict[Any, list[str]] = {}
    lines: list[str] = []
    for k, (launch, dead) in enumerate(zip(planner.launches, find_last_uses(touched, list(kept)))):
        values = [name_view(v) if isinstance(v, BufferView) else bind(v) for v in launch.ins]
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
    returned = ", ".join(map(name_view, results))
    head = [f"def run({', '.join(names[var] for var in given)}):"]
    if slots:
        new = ", ".join(f"{bind(device.empty)}({nbytes})" for nbytes, device in slots)
        head += ["    try:", "        arena = arenas.pop()", "    except IndexError:",
                 f"        arena = ({new},)",
                 f"    ({', '.join(f's{k}' for k in range(len(slots)))},) = arena"]
        lines.append("    arenas.append(arena)")
    text = "\n".join([*head, *lines, f"    return {returned}", ""])
    exec(compile(text, "<tinyml program>", "exec"), namespace)
    run: Callable[..., Any] = namespace.pop("run")  # a function in its own globals is a cycle
    return run, [nbytes for nbytes, _ in slots]
