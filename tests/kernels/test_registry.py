"""The kernel table: a registered kernel goes first, by rank; None passes the call on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tinyml
from tinyml.core.apply import apply
from tinyml.errors import DeviceError
from tinyml.ir.devices import (
    HOST,
    ROOMS,
    Call,
    Plan,
    candidates,
    find_device,
    find_kernels,
    is_device_name,
    kernel,
)
from tinyml.ir.op import Op
from tinyml.ir.spec import make_spec

ROOT = Path(__file__).parents[2]


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
    assert find_kernels(op.name, device) == [choosy, plain]
    apply(op, x)
    assert asked == ["choosy", "plain"]  # a plan is asked for once


def test_a_kernel_without_a_room_is_for_every_device(device: str) -> None:
    name = f"everywhere_{device}"
    room = device.partition(":")[0]

    @kernel(name)
    def general(call: Call) -> None:
        return None

    @kernel(name, room)
    def special(call: Call) -> None:
        return None

    @kernel(name, rank=5)
    def urgent(call: Call) -> None:
        return None

    assert find_kernels(name, device) == [urgent, special, general]
    assert find_kernels(name, f"{device}:1") == [urgent, special, general]
    assert find_kernels(name, "elsewhere") == [urgent, general]


def test_the_kernels_of_a_room_are_known_before_its_device_is_opened() -> None:
    code = ("from tinyml.ir.devices import _devices, find_kernels\n"
            "print(len(find_kernels('svd', 'cpu')), find_kernels('svd', 'opencl'), _devices)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          timeout=60)
    assert done.stdout.split() == ["1", "[]", "{}"], done.stderr


def test_a_room_lists_its_devices(device: str) -> None:
    room = device.partition(":")[0]
    names = [found.name for found in candidates(room)]
    assert room in ROOMS and device in names
    assert all(name is None or is_device_name(name) for name in names)


def test_without_a_kernel_the_nest_runs(device: str) -> None:
    op = _op(f"nested_{device}")
    assert apply(op, tinyml.ones(3, device=device)).tolist() == [-1.0] * 3
    assert [plan.how for plan in op.memo.values()] == ["nest"]


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "opencl:x", "opencl:", "opencl:99", ""])
def test_a_device_that_is_not_there(name: str) -> None:
    if name:
        with pytest.raises(DeviceError):
            find_device(name)
    else:
        found: Any = find_device(name or None)
        assert found is find_device(HOST)
