"""Many tensors one behind the other: as NumPy has it, whatever their layouts, types and sizes."""

from __future__ import annotations

import numpy as np
import pytest

import tinyml
from tinyml.ir.op import find
from tinyml.ops.concat import MANY, SMALL, concat_rows

pytestmark = pytest.mark.kernels(1)

TYPES = ("float32", "float64", "int32", "bool", "float16", "int8")


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_many_are_joined_as_numpy_does(axis: int, mixed: bool, device: str) -> None:
    rng = np.random.default_rng(axis)
    shape = [2, 3, 4]
    arrays, tensors = [], []
    for k in range(MANY + 5):
        shape[axis] = k % 4  # empty ones and such of size 1 among them
        values = (rng.normal(size=shape) * 9).astype(TYPES[k % len(TYPES)] if mixed else "float32")
        tensor = tinyml.asarray(values, device=device)
        turned = k % 3 == 1 and values.size
        arrays.append(np.flip(values, 0) if turned else values)
        tensors.append(tinyml.flip(tensor, axis=0) if turned else tensor)
    joined = tinyml.concat(tensors, axis=axis)
    wanted = np.concatenate([a.astype(joined.dtype.numpy) for a in arrays], axis=axis)
    assert np.array_equal(joined.numpy(), wanted)


@pytest.mark.parametrize("count", [MANY + 1, 2 * MANY, 5 * MANY + 3])
@pytest.mark.parametrize("size", [3, SMALL + 1])
def test_equal_operands_are_joined_in_groups(size: int, count: int, device: str) -> None:
    """Whole groups of small ones are a launch each; large ones and the rest are one by one."""
    rows = np.random.default_rng(count).normal(size=(count, 2, size)).astype("float32")
    parts = [tinyml.asarray(row, device=device) for row in rows]
    for axis in (0, 1):
        assert np.array_equal(tinyml.concat(parts, axis=axis).numpy(), np.concatenate(rows, axis))
    where = parts[0].dtype, parts[0].device
    stacked = concat_rows(parts, (count, size, 2), *where)
    assert np.array_equal(stacked.numpy(), rows.reshape(count, size, 2))
    numbers = concat_rows([part[0, 0] for part in parts], (count,), *where)
    assert numbers.tolist() == rows[:, 0, 0].tolist()


def test_bytes_that_operands_share_are_right(device: str) -> None:
    parts = [tinyml.asarray([1, 2, 3], dtype="int4", device=device) for _ in range(MANY + 3)]
    assert tinyml.concat(parts).astype("int8").tolist() == [1, 2, 3] * (MANY + 3)


def test_a_type_is_met_by_all_at_once(device: str) -> None:
    """An int32 that met a float16 first would be rounded to it."""
    parts = [tinyml.asarray([100001], dtype="int32", device=device)] * (MANY + 1)
    parts += [tinyml.ones(1, dtype=kind, device=device) for kind in ("float16", "float64")]
    assert tinyml.concat(parts)[0].item() == 100001.0


def test_gradients_and_jit_of_many(device: str) -> None:
    parts = [tinyml.ones(2, device=device, requires_grad=True) for _ in range(MANY + 4)]
    weights = tinyml.arange(2.0 * len(parts), device=device)
    (tinyml.concat(parts) * weights).sum().backward()
    last = parts[-1].grad
    assert last is not None and last.tolist() == weights.tolist()[-2:]
    joined = tinyml.jit(lambda *xs: tinyml.concat(xs) * 2.0)(*parts)
    assert joined.tolist() == [2.0] * 2 * len(parts)


def test_the_kernel_is_for_many_alone() -> None:
    few, many = ([tinyml.ones(k + 1) for k in range(count)] for count in (MANY, MANY + 1))
    for xs, how in ((few, "nest"), (many, "kernel")):
        tinyml.concat(xs)
        plans = [plan for key, plan in find("concat").memo.items() if len(plan.ins) == len(xs)]
        assert {plan.how for plan in plans} == {how}
