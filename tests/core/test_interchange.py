"""Tensors handed to other libraries and taken from them: memory, lifetimes, types, refusals."""

from __future__ import annotations

import array as python_array
import gc
import sys
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tinyml
from tinyml import errors
from tinyml.ir.devices import find_device

pytestmark = pytest.mark.kernels(1)

Array = Any
TYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
         "float16", "float32", "float64", "complex64", "complex128"]
FOREIGN = ["bfloat16", "float8_e4m3fn", "float8_e5m2"]


def grid(*shape: int) -> Array:
    """0, 1, 2, ... as float32 in a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def start(x: Any) -> int:
    """Where a tensor's first element lies."""
    address: int = x.numpy().ctypes.data
    return address


def lends(device: str) -> bool:
    """Whether the host can address the memory of a device."""
    x = tinyml.ones((1,), device=device)
    return find_device(device).lend(x.buf, x.spec) is not None


# ---- to NumPy


@pytest.mark.parametrize("dtype", TYPES)
def test_numpy_shares_every_type_read_only(dtype: str) -> None:
    x = tinyml.tensor(grid(2, 3)).astype(dtype)
    for take in (np.asarray, np.from_dlpack, lambda x: np.array(x, copy=False)):
        for part in (x, x.T, x[:, ::2], x[1:, 1:], x[0, 0]):
            have: Array = take(part)  # type: ignore[operator]
            assert have.ctypes.data == start(part) and not have.flags.writeable
            assert have.dtype == x.dtype.numpy and have.tolist() == part.tolist()
    assert np.asarray(x[::-1, ::-1]).tolist() == x[::-1, ::-1].tolist()


@pytest.mark.parametrize("dtype", [*FOREIGN, "int4", "uint4"])
def test_types_that_numpy_lacks_come_by_array(dtype: str, device: str) -> None:
    x = tinyml.tensor(grid(2, 3), device=device).astype(dtype)
    have = np.asarray(x)
    assert have.dtype.name == dtype and have.tolist() == x.tolist()
    assert not hasattr(x, "__array_interface__")
    with pytest.raises(BufferError):
        x.__buffer__(0)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
def test_odd_shapes_go_out_and_in(shape: tuple[int, ...], device: str) -> None:
    x = tinyml.full(shape, 3.0, device=device)
    for take in (np.asarray, np.from_dlpack, lambda x: np.asarray(x.__buffer__(0))):
        have: Array = take(x)  # type: ignore[operator]
        assert have.shape == shape and have.tolist() == x.tolist()
        assert tinyml.from_dlpack(have, device=device).tolist() == x.tolist()


def test_memory_lives_as_long_as_its_last_holder(device: str) -> None:
    """The pool hands out no block that an array still reads, whichever door it went out by."""
    takers: list[Callable[[Any], Array]] = [
        np.asarray, np.from_dlpack, lambda x: np.asarray(x.__buffer__(0)), lambda x: x.numpy(),
        lambda x: np.asarray(x[::-1])[::-1]]
    for take in takers:
        x = tinyml.tensor(grid(64, 64), device=device)
        held = take(x)
        x[...] = 0.0  # gives x another content
        del x
        gc.collect()
        others = [tinyml.full((64, 64), -1.0, device=device).copy() for _ in range(8)]
        assert (held == grid(64, 64)).all() and others[0][0, 0].item() == -1.0


def test_array_keeps_to_what_is_asked(device: str) -> None:
    x = tinyml.tensor([1.0, 2.5], device=device)
    assert np.asarray(x, dtype="int64").tolist() == [1, 2]
    copied = np.array(x, copy=True)
    copied[0] = 5.0
    assert x.tolist() == [1.0, 2.5]
    with pytest.raises(ValueError, match="no copy"):
        x.__array__(np.dtype("float64"), copy=False)
    if lends(device):
        assert x.__array__(copy=False).ctypes.data == x.__array__().ctypes.data
    else:
        with pytest.raises(ValueError, match="no copy"):
            x.__array__(copy=False)


def test_buffers_are_read_only() -> None:
    x = tinyml.tensor(grid(2, 3))
    view = x.__buffer__(0)
    assert view.readonly and view.shape == (2, 3) and view.tolist() == x.tolist()
    if sys.version_info >= (3, 12):
        assert memoryview(x).readonly and bytes(memoryview(x)) == grid(2, 3).tobytes()


# ---- DLPack


def test_the_protocol_is_kept(device: str) -> None:
    x = tinyml.tensor(grid(3), device=device)
    assert x.__dlpack_device__() == (1, 0)
    copied = np.from_dlpack(x, copy=True)
    assert copied.flags.writeable and copied.ctypes.data != start(x)
    assert "dltensor_versioned" in repr(x.__dlpack__(max_version=(1, 0)))
    assert "versioned" not in repr(x.__dlpack__())
    assert np.from_dlpack(x, device="cpu").tolist() == [0.0, 1.0, 2.0]
    for wrong in ({"stream": 1}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError):
            x.__dlpack__(**wrong)
    if not lends(device):
        with pytest.raises(BufferError, match="memory on the CPU"):
            np.from_dlpack(x, copy=False)


def test_every_door_gives_the_one_place_where_an_element_lies(device: str) -> None:
    """Without a copy, where the host can address it; so do the doors of views."""
    for dtype in ("bool", "int16", "float32", "bfloat16"):
        x = tinyml.tensor(grid(4, 6), device=device).astype(dtype)
        if not lends(device):
            with pytest.raises(BufferError):
                x.__dlpack__(copy=False)
            continue
        first = np.asarray(x).ctypes.data
        for part, place in ((x, 0), (x.T, 0), (x[1:, 2::2], 8), (x[3, 5], 23), (x[::-1], 18)):
            held = np.asarray(part, copy=False)
            assert held.ctypes.data == first + place * x.dtype.itemsize
            assert not held.flags.writeable and held.tolist() == part.tolist()
            if min(held.strides, default=0) >= 0:
                back = tinyml.from_dlpack(Holder(part.__dlpack__(copy=False)))
                assert start(back) == held.ctypes.data and str(back.device) == "cpu"
                assert back.dtype is x.dtype and back.tolist() == part.tolist()


def test_what_is_lent_returns_to_its_pool_when_the_last_lets_go(device: str) -> None:
    pool = find_device(device)
    x = tinyml.full((1000,), 2.0, device=device).copy()
    gc.collect()
    before = pool.in_use()
    held = [x.__dlpack__(), x.__dlpack__(max_version=(1, 0)), np.asarray(x), np.from_dlpack(x),
            x.__buffer__(0)]
    gone = before - pool.block_size(4000)
    del x
    while held:
        now = pool.in_use()
        assert now == before or not lends(device) and now == gone  # a buffer may hold x itself
        assert tinyml.full((1000,), -1.0, device=device).copy()[0].item() == -1.0
        held.pop()
    assert pool.in_use() == gone


IMPOSSIBLE: dict[str, tuple[Callable[[Any], Any], type[Exception]]] = {
    "reversed": (lambda x: x[::-1], BufferError),
    "a column reversed": (lambda x: x[:, ::-1], BufferError),
    "packed": (lambda x: x.astype("int4"), BufferError),
    "with a gradient": (lambda x: tinyml.tensor(x, requires_grad=True) * 1.0, RuntimeError),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_exports_are_refused_with_a_remedy(name: str) -> None:
    make, error = IMPOSSIBLE[name]
    x = make(tinyml.tensor(grid(2, 3)))
    with pytest.raises(error) as caught:
        np.from_dlpack(x)
    assert isinstance(caught.value, tinyml.TinyMLError) and caught.value.remedy


@pytest.mark.peers("torch", "jax")
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_exports_do_not_kill_the_neighbours(name: str) -> None:
    import jax.numpy as jnp
    import torch

    make, error = IMPOSSIBLE[name]
    x = make(tinyml.tensor(grid(2, 3)))
    for take in (torch.from_dlpack, jnp.from_dlpack):
        with pytest.raises(error):
            take(x)
    if error is BufferError and x.dtype.name == "float32":
        assert torch.from_dlpack(x, copy=True).tolist() == x.tolist()


def test_a_value_of_a_graph_has_no_memory() -> None:
    x = tinyml.tensor(grid(3))
    for take in (np.asarray, np.from_dlpack, lambda v: v.__array_interface__,
                 lambda v: v.__buffer__(0)):
        with pytest.raises(errors.ConcretizationError):
            tinyml.jit(take)(x)


def test_a_gradient_does_not_end_unseen() -> None:
    x = tinyml.tensor([1.0, 2.0], requires_grad=True)
    for take in (np.asarray, np.from_dlpack, lambda v: v.__buffer__(0)):
        with pytest.raises(errors.GradientError, match="gradient"):
            take(x)
    assert x.numpy().tolist() == np.asarray(x.detach()).tolist() == [1.0, 2.0]
    with pytest.raises(errors.TinyMLError):
        tinyml.tensor([x, x])


class Holder:
    """Who hands out one capsule, whatever is asked."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def test_what_is_no_capsule_is_refused() -> None:
    class Elsewhere(Holder):
        def __dlpack__(self, *, dl_device: Any = None, **_: Any) -> Any:
            raise BufferError(f"not to {dl_device}")

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    with pytest.raises(errors.ArgumentTypeError, match="capsule"):
        tinyml.from_dlpack(Holder(3))
    with pytest.raises(errors.ArgumentTypeError, match=r"not to \(1, 0\)"):
        tinyml.asarray(Elsewhere(None))
    for data in ([1.0], object()):
        with pytest.raises(errors.ArgumentTypeError, match="__dlpack__"):
            tinyml.from_dlpack(data)
    once = Holder(tinyml.tensor([1.0]).__dlpack__())
    assert tinyml.from_dlpack(once).tolist() == [1.0]
    with pytest.raises(errors.ArgumentTypeError, match="a capsule serves once"):
        tinyml.from_dlpack(once)


def test_tensors_pass_from_dlpack_as_they_are(device: str) -> None:
    x = tinyml.tensor(grid(3), device=device, requires_grad=True)
    assert tinyml.from_dlpack(x) is x
    assert tinyml.from_dlpack(x, copy=True) is not x
    assert str(tinyml.from_dlpack(x, device="cpu").device) == "cpu"
    if device != "cpu":
        with pytest.raises(errors.ArgumentError):
            tinyml.from_dlpack(x, device="cpu", copy=False)


@pytest.mark.peers("torch")
@pytest.mark.parametrize("dtype", [*TYPES, *FOREIGN])
def test_torch_shares_both_ways(dtype: str) -> None:
    import torch

    x = tinyml.tensor(grid(2, 3)).astype(dtype)
    for part in (x, x.T, x[:, ::2], x[0, 0], x[:0]):
        theirs = torch.from_dlpack(part)
        assert str(theirs.dtype) == f"torch.{dtype}" and tuple(theirs.shape) == part.shape
        if part.size:
            assert theirs.data_ptr() == start(part)
        back = tinyml.from_dlpack(theirs)
        assert back.dtype is x.dtype and back.tolist() == part.tolist()
        assert not part.size or start(back) == start(part)
    theirs = torch.arange(6).to(getattr(torch, dtype)).reshape(2, 3)
    x = tinyml.asarray(theirs)
    held, where = x.T, theirs.data_ptr()
    del theirs, x
    gc.collect()
    fill = [torch.full((2, 3), 9.0) for _ in range(8)]
    assert start(held) == where and len(fill) == 8
    assert np.asarray(held).astype("complex64").real.tolist() == np.array(
        np.arange(6).reshape(2, 3).T.astype(held.dtype.numpy), "complex64").real.tolist()


@pytest.mark.peers("torch")
def test_torchs_own_refusals_are_typed() -> None:
    import torch

    for theirs in (torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.complex64).conj(),
                   torch.ones(2, device="meta")):
        for take in (tinyml.asarray, tinyml.tensor, tinyml.from_dlpack):
            with pytest.raises(errors.ArgumentTypeError, match="DLPack"):
                take(theirs)


@pytest.mark.peers("jax")
def test_jax_shares_both_ways() -> None:
    import jax.numpy as jnp

    for dtype in ("bool", "int32", "uint8", "float16", "bfloat16", "float32", "complex64"):
        x = tinyml.tensor(grid(2, 3)).astype(dtype)
        theirs = jnp.from_dlpack(x)
        assert theirs.dtype.name == dtype and np.asarray(theirs).tolist() == x.tolist()
        assert theirs.unsafe_buffer_pointer() == start(x)
        own = jnp.arange(6).astype(dtype)
        back = tinyml.from_dlpack(own)
        assert start(back) == own.unsafe_buffer_pointer() and back.dtype.name == dtype
        del own
        gc.collect()
        assert back.tolist() == np.arange(6).astype(back.dtype.numpy).tolist()


# ---- odd arrays


def _misaligned() -> Array:
    raw = np.zeros(13, np.uint8)
    raw[1:] = np.arange(3, dtype=np.int32).view(np.uint8)
    return raw[1:].view(np.int32)


def _readonly() -> Array:
    array = grid(2, 3)
    array.flags.writeable = False
    return array


ODD: dict[str, Callable[[], Any]] = {
    "read-only": _readonly,
    "reversed": lambda: grid(2, 3)[::-1, ::-1],
    "misaligned": _misaligned,
    "big-endian": lambda: np.arange(3, dtype=">f8"),
    "Fortran": lambda: np.asfortranarray(grid(2, 3)),
    "0-d": lambda: np.array(3),
    "empty": lambda: np.zeros((0, 2)),
    "stride 0": lambda: np.broadcast_to(np.float32(2), (2, 3)),
    "a field": lambda: np.zeros(4, "i1,f4")["f1"],
    "a NumPy number": lambda: np.float16(2.5),
    "a NumPy bool": lambda: np.True_,
    "bfloat16": lambda: np.arange(3).astype(ml_dtypes.bfloat16),
    "int4": lambda: np.arange(3).astype(ml_dtypes.int4),
    "array.array": lambda: python_array.array("d", [0.1, 0.2]),
    "memoryview": lambda: memoryview(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "bytearray": lambda: bytearray(b"ab"),
    "range": lambda: range(3),
    "NumPy numbers": lambda: [np.float64(0.1), np.float64(0.2)],
    "rows": lambda: [np.arange(2.0), np.arange(2.0)],
}


@pytest.mark.kernels(1)
@pytest.mark.parametrize("name", ODD)
def test_odd_arrays_come_in_right(name: str, device: str) -> None:
    data = ODD[name]()
    want = np.asarray(data)
    for take in (tinyml.tensor, tinyml.asarray):
        x = take(data, device=device)
        assert x.shape == want.shape and x.tolist() == want.tolist()
        assert x.dtype.name == want.dtype.newbyteorder("=").name
        assert (x + x if x.dtype.name not in ("bool", "int4") else x).shape == want.shape
    for take in (tinyml.tensor, tinyml.asarray):
        assert take(data, dtype="float32", device=device).tolist() == \
            want.astype("float32").tolist()


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "objects": (lambda: np.array([1, None], object), errors.DTypeError),
    "masked": (lambda: np.ma.masked_array([1.0, 2.0], [0, 1]), errors.ArgumentTypeError),
    "structured": (lambda: np.zeros(2, "i4,f4"), errors.DTypeError),
    "strings": (lambda: np.array(["a"]), errors.DTypeError),
    "dates": (lambda: np.array(["2026-01-01"], "M8[D]"), errors.DTypeError),
    "text": (lambda: "ab", errors.ArgumentTypeError),
    "bytes": (lambda: b"ab", errors.ArgumentTypeError),
    "None": (lambda: None, errors.ArgumentTypeError),
    "a dict": (lambda: {1: 2}, errors.ArgumentTypeError),
    "a generator": (lambda: (k for k in range(3)), errors.ArgumentTypeError),
    "ragged": (lambda: [[1], [2, 3]], errors.ArgumentTypeError),
    "an int of 70 bits": (lambda: [2**70], errors.DTypeError),
}


if np.dtype(np.longdouble).itemsize > 8:  # elsewhere it is float64 by another name
    REFUSED["wide floats"] = (lambda: np.ones(2, np.longdouble), errors.DTypeError)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_tensor_is_refused(name: str) -> None:
    make, error = REFUSED[name]
    for take in (tinyml.tensor, tinyml.asarray):
        with pytest.raises(error) as caught:
            take(make())
        assert isinstance(caught.value, tinyml.TinyMLError)


def test_lists_of_tensors_keep_their_type(device: str) -> None:
    rows = [tinyml.tensor([0.1, 0.2], dtype="float64"), tinyml.tensor([0.3, 0.4], dtype="float64")]
    x = tinyml.asarray(rows, device=device)
    assert x.dtype is tinyml.float64 and x.tolist() == [[0.1, 0.2], [0.3, 0.4]]


def test_conversions_on_the_way_in_are_those_of_cast(device: str) -> None:
    hard = np.array([np.nan, np.inf, -np.inf, 1e30, -3.7])
    for dtype in ("int8", "int32", "int64", "uint8"):
        have = tinyml.tensor(hard, dtype=dtype, device=device)
        assert have.tolist() == tinyml.tensor(hard).astype(dtype).tolist()
    assert tinyml.tensor([1e300], dtype="float32", device=device).tolist() == [float("inf")]
    assert tinyml.tensor(np.array([300]), dtype="int8", device=device).tolist() == [44]
    with pytest.raises(errors.ArgumentError, match="-128 to 127"):
        tinyml.tensor([300], dtype="int8", device=device)
    with pytest.raises(errors.DTypeError, match="imaginary"):
        tinyml.tensor([1j], dtype="float32", device=device)


def test_sharing_is_seen_and_can_be_declined() -> None:
    data = grid(2, 3)
    shared, own = tinyml.asarray(data, copy=False), tinyml.asarray(data, copy=True)
    data[0, 0] = 9.0
    assert shared[0, 0].item() == 9.0 and own[0, 0].item() == 0.0
    assert start(shared) == data.ctypes.data
    for make in (ODD["misaligned"], ODD["big-endian"], lambda: [1.0]):
        with pytest.raises(errors.ArgumentError, match="shared"):
            tinyml.asarray(make(), copy=False)
