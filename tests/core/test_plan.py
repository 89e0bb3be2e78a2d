"""Rules and nests by layouts alone: no device is asked, and none need be there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinyml.conformance.suite.run import all_ops
from tinyml.core.plan import checked, nest_of
from tinyml.dtypes import as_dtype
from tinyml.ir.devices import Call
from tinyml.ir.lower import NotOneNest
from tinyml.ir.spec import make_spec

pytestmark = pytest.mark.kernels(1)

# Without kernels written by hand, and without fft, whose body uploads a table.
# Their rules ask whether the device has a kernel.
HOST = ("fft", "cofactor_dx")
OPS = {name: op for name, op in all_ops().items() if name not in HOST and (
    op.nest or op.scatter_nest or op.body or op.fallback)}


class Nowhere:
    """A device that has a name alone."""

    name = "nowhere"

    def supports(self, dtype: Any) -> bool:
        """Every type would live there."""
        return True


NOWHERE: Any = Nowhere()


def _spec(x: Any) -> Any:
    """The layout of an array of a sample; the type of a number."""
    is_array = isinstance(x, np.ndarray)
    return make_spec(x.shape, as_dtype(x.dtype), NOWHERE) if is_array else type(x)


def _call(name: str) -> Call:
    """A call of an op with the first of its samples."""
    op = OPS[name]
    sample = next(iter(op.samples(min(op.dtypes, key=lambda dtype: dtype != "float32"))))
    specs = tuple(map(_spec, sample.args))
    attrs, outs = checked(op, specs, dict(sample.attrs))
    return Call(op, specs, attrs, outs, NOWHERE)


@pytest.mark.parametrize("name", sorted(OPS))
def test_a_rule_and_a_nest_need_no_device(name: str) -> None:
    call = _call(name)
    assert call.outs
    try:
        nest, inputs = nest_of(call)
    except NotOneNest:
        return
    assert len(inputs) == len(call.ins) and nest.code


def test_most_ops_are_among_them() -> None:
    assert len(OPS) > 0.9 * len(all_ops())
