"""x[key], x[key] = v, x.at[key] and their likes: NumPy's rules, on every device."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyml

Array = Any


def grid(*shape: int) -> Array:
    """0, 1, 2, ... as float32 in a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


# ---- any key


@st.composite
def keys(draw: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """A key that NumPy takes for an array of this shape: parts of every kind in any order."""
    parts: list[Any] = []
    inner = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    count = None  # places of a mask, which all tables must fit
    axis = 0
    dotted = False
    while axis < len(shape):
        kind = draw(st.sampled_from(["int", "slice", "table", "mask", "none", "dots", "stop"]))
        size = shape[axis]
        if kind == "int" and size:
            parts.append(draw(st.integers(-size, size - 1)))
            axis += 1
        elif kind == "slice":
            parts.append(draw(st.slices(size)))
            axis += 1
        elif kind == "table" and (size or 0 in inner):
            own = draw(st.sampled_from([inner, inner[1:], tuple([1] * len(inner))]))
            if not size and 0 not in own:
                continue
            if count is not None and own not in ((), (1,), (count,)):
                own = ()
                if not size:
                    continue
            parts.append(draw(hnp.arrays(
                draw(st.sampled_from([np.int64, np.int32, np.int8])), own,
                elements=st.integers(-size, max(size - 1, -size)))))
            axis += 1
        elif kind == "mask" and count is None and not any(
                isinstance(p, np.ndarray) for p in parts):
            rank = draw(st.integers(0, min(2, len(shape) - axis)))
            mask = draw(hnp.arrays(np.bool_, shape[axis : axis + rank]))
            count = int(mask.sum())
            parts.append(mask if rank or draw(st.booleans()) else bool(mask))
            axis += rank
        elif kind == "none":
            parts.append(None)
        elif kind == "dots" and not dotted:
            dotted = True
            parts.append(Ellipsis)
            axis = draw(st.integers(axis, len(shape)))
        elif kind == "stop":
            break
        if len(parts) > 6:
            break
    return tuple(parts)


def ours(part: Any, device: str) -> Any:
    """A part of a key as a tensor where it is an array."""
    return tinyml.tensor(part, device=device) if isinstance(part, np.ndarray) else part


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)


@settings(max_examples=150)
@given(data=st.data())
def test_any_key_reads_as_numpys(data: st.DataObject, device: str) -> None:
    array = grid(*data.draw(SHAPES))
    key = data.draw(keys(array.shape))
    if data.draw(st.booleans()):
        key = tuple([ours(part, device) for part in key])
    plain = tuple([part.numpy() if isinstance(part, tinyml.Tensor) else part for part in key])
    try:
        want = array[plain]
    except IndexError:
        return  # sizes that do not broadcast
    have = tinyml.tensor(array, device=device)[key]
    assert have.shape == want.shape
    np.testing.assert_array_equal(have.numpy(), want)


@settings(max_examples=150)
@given(data=st.data())
def test_any_key_writes_as_numpys(data: st.DataObject, device: str) -> None:
    array = grid(*data.draw(SHAPES))
    key = data.draw(keys(array.shape))
    try:
        shape = array[key].shape
    except IndexError:
        return
    value = np.float32(data.draw(st.integers(-9, 9)))
    if data.draw(st.booleans()):
        lead = data.draw(st.integers(0, len(shape)))
        own = tuple([data.draw(st.sampled_from([1, n])) for n in shape[lead:]])
        value = np.asarray(-grid(*own) - 1.5)
    x = tinyml.tensor(array, device=device)
    theirs = tuple([ours(part, device) for part in key])
    want = array.copy()
    want[key] = value
    np.testing.assert_array_equal(x.at[theirs].set(value).numpy(), want)
    for name, ufunc in (("add", np.add), ("mul", np.multiply), ("min", np.minimum),
                        ("max", np.maximum)):
        want = array.copy()
        ufunc.at(want, key, value)
        have = getattr(x.at[theirs], name)(value)
        np.testing.assert_allclose(have.numpy(), want, rtol=1e-6)
    x[theirs] = value
    want = array.copy()
    want[key] = value
    np.testing.assert_array_equal(x.numpy(), want)
