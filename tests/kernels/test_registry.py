"""The kernel table: a registered kernel goes first, by rank; None passes the call on."""

from __future__ import annotations

from typing import Any

import pytest

import tinyml
from tinyml.core.apply import apply
from tinyml.errors import DeviceError
from tinyml.ir.devices import Call, Plan, device, find, kernel
from tinyml.ir.op import Op
from tinyml.ir.spec import make_spec


def _op(name: str) -> Op:
    return Op(name, lambda x: make_spec(x.shape, x.dtype, x.device, None, x.symbolic),
              nest=lambda n, index, x: n.prim("neg", x(index)), differentiable=False)


def test_the_highest_rank_is_asked_first_and_none_means_the_next(device: str) -> None:
    op = _op(f"ranked_{device}")
    room = device.partition(":")[0]
    asked: list[str] = []

    @kernel(op.name, room, rank=1)
    def plain(call: Call) -> Plan:
        asked.append("plain")
        spec = call.outs[0]
        return Plan(lambda x: call.device.upload(spec.dtype.numpy.type([7.0] * spec.size)),
                    call.outs, "kernel")

    @kernel(op.name, room, rank=10)
    def choosy(call: Call) -> Plan | None:
        asked.append("choosy")
        return None

    x = tinyml.ones(3, device=device)
    assert apply(op, x).tolist() == [7.0] * 3
    assert asked == ["choosy", "plain"]
    assert [plan.how for plan in op.memo.values()] == ["kernel"]
    assert find(op.name, device) == [choosy, plain]
    apply(op, x)
    assert asked == ["choosy", "plain"]  # a plan is asked for once


def test_without_a_kernel_the_nest_runs(device: str) -> None:
    op = _op(f"nested_{device}")
    assert apply(op, tinyml.ones(3, device=device)).tolist() == [-1.0] * 3
    assert [plan.how for plan in op.memo.values()] == ["nest"]


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "opencl:x", "opencl:99", ""])
def test_a_device_that_is_not_there(name: str) -> None:
    if name:
        with pytest.raises(DeviceError):
            device(name)
    else:
        found: Any = device(name or None)
        assert found == "cpu"
