"""The compiler: graphs become plain lists of kernel calls.

It is the kernel of the op `call`, on every device: with it, a graph runs as few launches; without
it, one equation after the other.
"""

from tinyml.compiler.program import compiled
from tinyml.core.apply import watched
from tinyml.core.plan import run_composition
from tinyml.ir.devices import Call, Plan, kernel


@kernel("call")
def _call(call: Call) -> Plan:
    """A compiled graph; one equation after the other where somebody looks, or where a size depends on values."""
    graph = call.attrs["graph"]
    if watched() or graph.unknown:
        return Plan(run_composition(call), call.outs, "body")
    program = compiled(graph, call.ins)
    return Plan(program.run, program.outs, "jit")
