"""The kernel of a concatenation of many tensors: one copy after another, each to its place.

As one nest it would choose among all operands at every element, and be compiled for each number of
them; the copies of equal layouts share one kernel.
"""

from __future__ import annotations

from typing import Any

from tinyml.op import find
from tinyml.planning import nest_of
from tinyml.registry import Call, Plan, kernel
from tinyml.spec import make_spec

MANY = 8  # operands of one nest at the most


@kernel("concat", "opencl")
@kernel("concat", "cpu")
def copies(call: Call) -> Plan | None:
    """A copy for each operand where there are many; packed ones, which share bytes, are a nest."""
    (out,), device, axis = call.outs, call.device, call.attrs["axis"]
    if len(call.ins) <= MANY or out.dtype.packed:
        return None
    steps = []
    place = 0
    for x in call.ins:
        part = make_spec(x.shape, out.dtype, device, out.strides)
        nest, ins = nest_of(Call(find("cast"), (x,), {"dtype": out.dtype}, (part,), device))
        steps.append((device.prepare(nest, ins, (part,), "concat", into=True),
                      place * out.strides[axis], part))
        place += x.shape[axis]

    def run(*operands: Any) -> Any:
        buffer = device.empty(out.nbytes)
        for (copy, offset, part), x in zip(steps, operands, strict=True):
            copy(x, device.view(buffer, offset, part) if offset else buffer)
        return buffer

    return Plan(run, call.outs, "kernel")
