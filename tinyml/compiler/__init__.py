"""The compiler: graphs become plain lists of kernel calls.

It is the kernel of the op `call`, on every device: with it, a graph runs as few launches; without
it, line by line.
"""

from tinyml.compiler.program import compiled
from tinyml.core.apply import watched
from tinyml.core.plan import run_body
from tinyml.ir.devices import Call, Plan, kernel


@kernel("call", "opencl")
@kernel("call", "cpu")
def _call(call: Call) -> Plan:
    """A compiled graph; line by line where somebody looks, or where a size depends on values."""
    graph = call.attrs["graph"]
    if watched() or graph.unknown:
        return Plan(run_body(call), call.outs, "body")
    program = compiled(graph, call.ins)
    return Plan(program.run, program.outs, "jit")
