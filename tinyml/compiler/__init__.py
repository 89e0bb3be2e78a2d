"""The compiler: turns graphs into plain lists of kernel calls.

It is the kernel of the op `call`, on every device: with it, a graph runs as a few launches; without
it, one equation at a time.
"""

from tinyml.compiler.program import compile_graph
from tinyml.core.apply import watched
from tinyml.core.plan import plan_composition
from tinyml.extend import Call, Plan, kernel


@kernel("call")
def plan_call(call: Call) -> Plan:
    """Compile the graph, unless an observer is active or a size depends on values."""
    graph = call.attrs["graph"]
    if watched() or graph.unknown:
        return plan_composition(call)  # one equation at a time
    executable = compile_graph(graph, call.ins)
    return Plan(executable.run, executable.outs, "jit")
