"""Internal ops are in the table, described, and out of reach for whoever names an op."""

from __future__ import annotations

import pytest

import tinyml
from tinyml.conformance.suite.run import all_ops
from tinyml.errors import KernelNotFound
from tinyml.ir.op import OPS, find

INTERNAL = sorted(name for name, op in OPS.items() if op.internal)


def test_there_are_some_and_the_suites_leave_them_out() -> None:
    assert INTERNAL == ["block_maps", "block_products", "coordinates", "partition", "sort_step"]
    assert set(INTERNAL).isdisjoint(all_ops())


@pytest.mark.parametrize("name", INTERNAL)
def test_an_internal_op_is_described_and_not_found_by_name(name: str) -> None:
    assert OPS[name].doc and OPS[name].samples is None
    with pytest.raises(KernelNotFound, match="a step of another op"):
        find(name)
    with pytest.raises(KernelNotFound):
        tinyml.ones(2).op(name)
