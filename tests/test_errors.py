"""Bad input: each kind is its own TinyMLError and a standard class, and says where and what."""

from __future__ import annotations

import copy
import math
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinyml
from tinyml import errors
from tinyml.core.apply import MEMO_LIMIT, apply
from tinyml.ir.op import OPS, Op, attribute_key, define, find
from tinyml.ir.spec import make_spec

pytestmark = pytest.mark.kernels(1)

HERE = "test_errors.py"


class Bad(NamedTuple):
    """A call on (a float32 (2, 3) tensor, an int64 (3,) tensor) and the error that it raises.

    `says` are parts of its text: the op, what was expected, what was found.
    """

    call: Callable[[Any, Any], Any]
    error: type[tinyml.TinyMLError]
    standard: type[Exception]
    op: str | None
    says: tuple[str, ...]


BAD: dict[str, Bad] = {
    # wrong shape
    "shapes that do not broadcast": Bad(
        lambda x, k: x + x[:, :2], errors.ShapeError, ValueError, "add",
        ("(2, 3)", "(2, 2)", "sizes 2 and 3", "float32[2, 3]", "float32[2, 2]")),
    "inner sizes of a product": Bad(
        lambda x, k: x @ x, errors.ShapeError, ValueError, "matmul", ("3 != 2", "float32[2, 3]")),
    "a vector-free product": Bad(
        lambda x, k: tinyml.matmul(x, x[0, 0]), errors.ShapeError, ValueError, None, ("2 and 0",)),
    "a reshape to another size": Bad(
        lambda x, k: x.reshape(4), errors.ShapeError, ValueError, "reshape",
        ("6 elements", "(4,)")),
    "a negative size": Bad(
        lambda x, k: tinyml.zeros((2, -1)), errors.ShapeError, ValueError, None, ("(2, -1)",)),
    "a broadcast to a smaller shape": Bad(
        lambda x, k: tinyml.broadcast_to(x, (3,)), errors.ShapeError, ValueError, "expand",
        ("(2, 3)", "(3,)")),
    "labels for other rows": Bad(
        lambda x, k: tinyml.cross_entropy(x, k), errors.ShapeError, ValueError, "cross_entropy",
        ("(2,)", "(3,)")),
    "a window larger than the image": Bad(
        lambda x, k: tinyml.max_pool2d(x.reshape(1, 1, 2, 3), 4), errors.ShapeError, ValueError,
        "max_pool2d", ("(1, 1, 2, 3)",)),
    "channels of a convolution": Bad(
        lambda x, k: tinyml.conv2d(x.reshape(1, 2, 1, 3), x.reshape(2, 3, 1, 1)),
        errors.ShapeError, ValueError, "conv2d", ("2 != 3",)),
    "the greatest of nothing": Bad(
        lambda x, k: x[:0].max(axis=0), errors.ShapeError, ValueError, "max", ("(0, 3)",)),
    "a concat of other sizes": Bad(
        lambda x, k: tinyml.concat([x, x[:, :2]]), errors.ShapeError, ValueError, "concat",
        ("outside axis 0", "(2, 2)")),
    "a truth value of many": Bad(
        lambda x, k: bool(x), errors.ShapeError, ValueError, None, ("(2, 3)",)),
    "an item of many": Bad(
        lambda x, k: x.item(), errors.ShapeError, ValueError, None, ("(2, 3)",)),
    # wrong dtype
    "bits of floats": Bad(
        lambda x, k: x & x, errors.DTypeError, TypeError, "bitwise_and", ("float32", "int64")),
    "a type that does not exist": Bad(
        lambda x, k: x.astype("float31"), errors.DTypeError, TypeError, None,
        ("float31", "float32")),
    "a type that NumPy has alone": Bad(
        lambda x, k: tinyml.tensor(np.ones(1, "M8[D]")), errors.DTypeError, TypeError, None,
        ("M8",)),
    "strings": Bad(
        lambda x, k: tinyml.tensor(["a"]), errors.DTypeError, TypeError, None, ("<U1",)),
    "a sum of uint64 and int64": Bad(
        lambda x, k: k.astype("uint64") + k, errors.DTypeError, TypeError, "add",
        ("uint64", "int64")),
    "float indices": Bad(
        lambda x, k: tinyml.gather(x, x[0]), errors.DTypeError, TypeError, "gather", ("float32",)),
    "a mask of floats": Bad(
        lambda x, k: x[x], errors.DTypeError, TypeError, "index", ("float32", "compare")),
    "a mask of another shape": Bad(
        lambda x, k: x[k == 0], errors.OutOfRangeError, IndexError, "index", ("(3,)", "(2,)")),
    "the negative of a bool": Bad(
        lambda x, k: -(x > 0), errors.DTypeError, TypeError, "neg", ("bool",)),
    # wrong device
    "a device that does not exist": Bad(
        lambda x, k: x.to("tpu"), errors.DeviceError, RuntimeError, None, ("tpu", "opencl")),
    "a second processor": Bad(
        lambda x, k: tinyml.zeros(1, device="cpu:1"), errors.DeviceError, RuntimeError, None,
        ("cpu:1",)),
    "a far OpenCL device": Bad(
        lambda x, k: tinyml.zeros(1, device="opencl:99"), errors.DeviceError, RuntimeError, None,
        ("99",)),
    # wrong axis
    "an axis too far": Bad(
        lambda x, k: x.sum(axis=2), errors.AxisError, IndexError, "sum", ("-2 <= axis < 2",)),
    "an axis before the first": Bad(
        lambda x, k: tinyml.softmax(x, axis=-3), errors.AxisError, ValueError, "softmax", ("-3",)),
    "an axis twice": Bad(
        lambda x, k: x.sum(axis=(0, -2)), errors.AxisError, IndexError, "sum", ("once",)),
    "axes that are no permutation": Bad(
        lambda x, k: x.permute_dims(0, 0), errors.AxisError, IndexError, "permute_dims",
        ("(0, 0)",)),
    "too many indices": Bad(
        lambda x, k: x[0, 0, 0], errors.AxisError, IndexError, "index", ("2", "3")),
    # wrong attribute
    "an axis that is a word": Bad(
        lambda x, k: x.sum(axis="rows"), errors.ArgumentTypeError, TypeError, "sum", ("rows",)),
    "a size that is no integer": Bad(
        lambda x, k: x.reshape(1.5), errors.ArgumentTypeError, TypeError, "reshape", ("1.5",)),
    "a stride of 0": Bad(
        lambda x, k: tinyml.max_pool2d(x.reshape(1, 1, 2, 3), 1, 0), tinyml.TinyMLError, ValueError,
        "max_pool2d", ("positive",)),
    "a step of 0": Bad(
        lambda x, k: tinyml.arange(0, 5, 0), errors.ArgumentError, ValueError, None, ("step",)),
    "an attribute that is an array": Bad(
        lambda x, k: x.op("pad", before=(0, 0), after=(0, 0), value=np.ones(2)),
        tinyml.TinyMLError, TypeError, "pad", ("value",)),
    "an attribute that does not exist": Bad(
        lambda x, k: x.op("softmax", axes=1), tinyml.TinyMLError, TypeError, "softmax", ("axes",)),
    "an input too many": Bad(
        lambda x, k: x.op("softmax", x, axis=1), tinyml.TinyMLError, TypeError, "softmax", ()),
    "a number that does not fit": Bad(
        lambda x, k: k.astype("uint8") + 300, errors.ArgumentError, ValueError, "add",
        ("300", "uint8[3]")),
    "a number that does not fit, below": Bad(
        lambda x, k: k.astype("uint8") * -1, errors.ArgumentError, ValueError, "mul",
        ("-1", "uint8[3]")),
    "an operand of another kind": Bad(
        lambda x, k: tinyml.add(x, "one"), errors.ArgumentTypeError, TypeError, "add", ("str",)),
    "data of no shape": Bad(
        lambda x, k: tinyml.tensor([[1], [2, 3]]), errors.ArgumentTypeError, TypeError, None, ()),
    # index out of range
    "an integer out of range": Bad(
        lambda x, k: x[2], errors.OutOfRangeError, IndexError, "index",
        ("index 2 is out of range for axis 0 of size 2",)),
    "an update out of range": Bad(
        lambda x, k: x.at[0, -4].set(0.0), errors.OutOfRangeError, IndexError, "index", ("-4",)),
    # others
    "an op that does not exist": Bad(
        lambda x, k: x.op("tanhh"), errors.KernelNotFound, NotImplementedError, None,
        ("tanhh", "'tanh'")),
    "the length of a number": Bad(
        lambda x, k: len(x[0, 0]), errors.ArgumentTypeError, TypeError, None, ("0-d",)),
    "an index that is no integer": Bad(
        lambda x, k: x[1.5], errors.ArgumentTypeError, TypeError, "index", ("float",)),
    "a tensor of floats as an index": Bad(
        lambda x, k: [1, 2][x[0, 0]], errors.ArgumentTypeError, TypeError, None, ("float32",)),
    "no threads": Bad(
        lambda x, k: tinyml.set_num_threads(0), errors.ArgumentError, ValueError, None, ("0",)),
}


def assert_says(error: tinyml.TinyMLError, bad: Bad) -> None:
    """The user's line, the remedy, the op, and the parts."""
    text = str(error)
    first = bad.call.__code__.co_firstlineno
    places = [f"{HERE}:{line}" for line in range(first, first + 3)]
    assert any(place in text for place in places), text
    assert "remedy:" in text and error.remedy, text
    for part in bad.says:
        assert part in text
    if bad.op is not None:
        assert error.op == bad.op and text.startswith(f"{bad.op}:"), text
        assert error.inputs and "inputs:" in text, text


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, device: str) -> None:
    bad = BAD[name]
    x = tinyml.ones((2, 3), device=device)
    k = tinyml.tensor([0, 1, 2], device=device)
    for _ in range(2):  # the second time some of it is known already
        with pytest.raises(bad.error) as caught:
            bad.call(x, k)
        assert isinstance(caught.value, bad.standard)
        assert isinstance(caught.value, tinyml.TinyMLError)
        assert_says(caught.value, bad)
        if bad.op is not None:
            assert device in str(caught.value.inputs)
    assert (x + 1.0).tolist() == [[2.0] * 3] * 2


DATA_DEPENDENT: dict[str, Bad] = {
    "gather": Bad(lambda x, k: tinyml.gather(x, k).numpy(), errors.OutOfRangeError,
                  IndexError, "gather", ("index 2 is out of range", "size 2")),
    "gather, negative": Bad(lambda x, k: tinyml.gather(x, k - 3).numpy(), errors.OutOfRangeError,
                            IndexError, "gather", ("index -3 is out of range", "size 2")),
    "x[table]": Bad(lambda x, k: x[:, k + 1].numpy(), errors.OutOfRangeError, IndexError,
                    "gather", ("index 3 is out of range", "size 3")),
    "scatter_add": Bad(lambda x, k: x.at[k].add(1.0).numpy(), errors.OutOfRangeError, IndexError,
                       "scatter_add", ("index 2 is out of range", "size 2")),
    "scatter": Bad(lambda x, k: x.at[k].set(1.0).numpy(), errors.OutOfRangeError, IndexError,
                   "scatter", ("index 2 is out of range",)),
    "labels": Bad(lambda x, k: tinyml.cross_entropy(x, k[:2] * 3).item(), errors.OutOfRangeError,
                  IndexError, "cross_entropy", ("index 3 is out of range",)),
}


@pytest.mark.parametrize("name", DATA_DEPENDENT)
def test_an_index_out_of_range_among_the_data(name: str, device: str) -> None:
    """On the CPU at once, on OpenCL where the result is read; then all is as before."""
    bad = DATA_DEPENDENT[name]
    x = tinyml.ones((2, 3), device=device)
    k = tinyml.tensor([0, 1, 2], device=device)
    for _ in range(2):
        with pytest.raises(bad.error) as caught:
            bad.call(x, k)
        assert isinstance(caught.value, bad.standard)
        assert_says(caught.value, bad)
        assert device in str(caught.value.inputs)
        assert x.tolist() == [[1.0] * 3] * 2
        assert tinyml.gather(x, k[:2]).tolist() == [[1.0] * 3] * 2


def test_on_opencl_a_bad_index_is_reported_once_and_at_a_read() -> None:
    try:
        x = tinyml.ones(3, device="opencl")
    except errors.DeviceError:
        pytest.skip("no OpenCL device here")
    bad = tinyml.gather(x, tinyml.tensor([7], device="opencl"))
    more = bad + 1.0
    with pytest.raises(errors.OutOfRangeError, match="index 7"):
        x.device.synchronize()
    assert more.shape == (1,) and x.tolist() == [1.0] * 3


def test_devices_do_not_mix() -> None:
    try:
        theirs = tinyml.ones(3, device="opencl")
    except errors.DeviceError:
        pytest.skip("no OpenCL device here")
    ours = tinyml.ones(3)
    calls: list[Callable[[], Any]] = [
        lambda: ours + theirs, lambda: theirs * ours, lambda: tinyml.where(ours > 0, theirs, ours),
        lambda: tinyml.concat([ours, theirs]), lambda: ours.at[0].set(theirs[0]),
        lambda: tinyml.gather(theirs, tinyml.tensor([0])), lambda: theirs[tinyml.tensor([0])],
    ]
    for call in calls:
        with pytest.raises(errors.MixedDeviceError) as caught:
            call()
        assert isinstance(caught.value, (ValueError, RuntimeError))
        text = str(caught.value)
        assert f"{HERE}:" in text and ".to(" in text and "opencl" in text and "cpu" in text
        assert caught.value.op and caught.value.inputs


@pytest.mark.parametrize("shape", [(1 << 40, 1 << 40), (1 << 62, 4), (1 << 63,), (3, 1 << 64)])
def test_an_overflowing_shape(shape: tuple[int, ...], device: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: tinyml.zeros(shape, device=device),
        lambda: tinyml.broadcast_to(tinyml.ones((), device=device), shape),
    ]
    for call in calls:
        with pytest.raises(errors.AllocationError) as caught:
            call()
        assert isinstance(caught.value, MemoryError)
        text = str(caught.value)
        assert str(shape) in text and f"{HERE}:" in text and "remedy:" in text
    with pytest.raises(errors.AllocationError):
        x = tinyml.zeros((1 << 32, 1), device=device)
        _ = x + tinyml.zeros((1, 1 << 32), device=device)


def test_an_allocation_beyond_the_budget(device: str) -> None:
    """Nothing is allocated, what is there stays, and the next one that fits works."""
    x = tinyml.ones(1 << 16, device=device).copy()
    pool: Any = x.device
    x.device.pool.release()
    before, budget = pool.pool.reserved, pool.pool.budget
    pool.pool.budget = before + (1 << 20)
    try:
        for _ in range(2):
            with pytest.raises(errors.AllocationError) as caught:
                (tinyml.broadcast_to(x, (256, 1 << 16)) + 1.0).sum()
            assert isinstance(caught.value, MemoryError) and caught.value.op == "add"
            text = str(caught.value)
            assert f"{HERE}:" in text and "TINYML_MEMORY_LIMIT" in text and device in text
            assert "float32[256, 65536]" in text
            assert pool.pool.reserved <= before
        with pytest.raises(errors.AllocationError, match="budget"):
            tinyml.tensor(np.zeros(1 << 20, np.float32), device=device)
        assert (x + 1.0).sum().item() == 2.0 * (1 << 16)
    finally:
        pool.pool.budget = budget


def test_the_budget_counts_what_comes_back(device: str) -> None:
    x = tinyml.ones(1 << 18, device=device).copy()
    pool: Any = x.device
    pool.pool.release()
    budget = pool.pool.budget
    pool.pool.budget = pool.pool.reserved + 5 * x.nbytes
    try:
        for _ in range(10):
            y = x + 1.0
            y = y * 2.0
        del y
        for _ in range(10):  # other sizes: free blocks are given back before refusing
            y = tinyml.concat([x, x]) * 1.0
            del y
        assert (x + 1.0)[0].item() == 2.0
    finally:
        pool.pool.budget = budget


# ---- ops without a kernel


def test_an_op_that_cannot_run_says_what_exists(device: str) -> None:
    op = Op("nothing_at_all", lambda x: make_spec(x.shape, x.dtype, x.device))
    x = tinyml.ones(2, device=device)
    with pytest.raises(errors.KernelNotFound) as caught:
        apply(op, x)
    assert isinstance(caught.value, NotImplementedError)
    text = str(caught.value)
    assert all(part in text for part in ("nothing_at_all", device, "kernel", "nest", "body",
                                         "@kernel", f"{HERE}:", "float32[2]"))
    with pytest.raises(errors.KernelNotFound, match="no op named"):
        find("nothing_at_all")


def test_a_kernel_registered_by_name_is_asked_first() -> None:
    from tinyml.ir.devices import Plan, _kernels, kernel

    op = Op("mine", OPS["neg"].infer, nest=OPS["neg"].nest)
    asked: list[int] = []
    x = tinyml.tensor([1.0, -2.0])

    @kernel("mine", "cpu", rank=1)
    def low(call: Any) -> Any:
        asked.append(1)
        return Plan(lambda buf: buf, call.outs, "kernel")

    @kernel("mine", "cpu", rank=2)
    def high(call: Any) -> Any:
        asked.append(2)
        return None

    try:
        assert apply(op, x).tolist() == [1.0, -2.0] and asked == [2, 1]
        assert [plan.how for plan in op.memo.values()] == ["kernel"]
    finally:
        del _kernels["mine", "cpu"]
    op.memo.clear()
    assert apply(op, x).tolist() == [-1.0, 2.0]


def test_define_wants_a_gradient_a_body_or_a_word() -> None:
    infer = OPS["neg"].infer
    with pytest.raises(ValueError, match="neither grad nor body") as caught:
        define("untold", infer, nest=OPS["neg"].nest)
    assert "differentiable=False" in str(caught.value) and f"{HERE}:" in str(caught.value)
    with pytest.raises(errors.ArgumentError, match="exists already"):
        define("neg", infer, differentiable=False)
    assert "untold" not in OPS
    try:
        define("told", infer, nest=OPS["neg"].nest, differentiable=False)
        assert tinyml.tensor([1.0], requires_grad=True).op("told").requires_grad is False
    finally:
        OPS.pop("told", None)


# ---- keys carry type and bits


PAYLOAD = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0007))[0]


class Point(NamedTuple):
    """A named tuple: equal to any tuple of equal numbers."""

    x: float


@dataclass(frozen=True)
class Frozen:
    """A frozen dataclass, equal to any other with an equal number."""

    x: float


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0.0, -0.0), (1, True), (0, False), (1, 1.0), (np.float32(0.0), np.float32(-0.0)),
        (np.float64(0.0), np.float64(-0.0)), (np.float64(1.0), 1.0), ((0.0,), (-0.0,)),
        (slice(0, 1), slice(0, 1, 1)), (slice(0), slice(False)), (slice(0.0), slice(-0.0)),
        ({"a": 1}, {"a": True}), ({"a": 0.0}, {"a": -0.0}), ("1", 1), (None, 0),
        ((1, 2), (1, (2,))), (complex(-1, 0.0), complex(-1, -0.0)), (0j, complex(-0.0, 0.0)),
        (math.nan, -math.nan), (math.nan, PAYLOAD), (complex(0, math.nan), complex(0, PAYLOAD)),
        ({1: "a"}, {True: "a"}), (frozenset((0.0,)), frozenset((-0.0,))), (1 + 0j, 1.0),
        (Decimal("1.0"), Decimal("1.00")), (Point(0.0), Point(-0.0)), (Frozen(0.0), Frozen(-0.0)),
        (np.complex64(0), np.complex64(complex(0, -0.0))), (Point(0), (0,)),
        ({"a": 1}, (("a", 1),)), (slice(1, 2), (1, 2, None)), (float("inf"), float("-inf")),
    ],
    ids=repr,
)
def test_keys_of_different_values_differ(first: Any, second: Any) -> None:
    assert attribute_key(first) != attribute_key(second)
    assert attribute_key(copy.deepcopy(first)) == attribute_key(first)
    hash(attribute_key(first))


@pytest.mark.parametrize(
    "value",
    [math.nan, -math.nan, np.float64("nan"), np.float32("nan"), (1, math.nan), {"a": math.nan},
     slice(None, None, -1), [1, 2], tinyml.float32, "x", None],
    ids=repr,
)
def test_keys_of_equal_values_are_equal(value: Any) -> None:
    again = pickle.loads(pickle.dumps(value)) if not isinstance(value, slice) else value
    assert attribute_key(again) == attribute_key(value)
    hash(attribute_key(value))


def _constant() -> Op:
    """An op whose result is its attribute, so that a shared plan would show."""
    return Op(
        "constant", lambda x, value: make_spec(x.shape, tinyml.float32, x.device),
        nest=lambda n, index, x, value: n.const(value, tinyml.float32),
        normalize=lambda x, value: {"value": float(value)},
    )


def test_plans_are_kept_apart_by_type_and_bits(device: str) -> None:
    op, x = _constant(), tinyml.ones(1, device=device)
    values = [0.0, -0.0, 1, True, 1.0, math.nan, np.float32(-0.0), np.float32(0.0)]
    for value in (*values, *values[::-1]):
        have = apply(op, x, value=value).numpy()[0]
        assert math.isnan(have) if value != value else have == np.float32(value)
        if value == value:
            assert np.signbit(have) == np.signbit(np.float32(value))
    assert len(op.memo) == len(values)
    for _ in range(5):
        apply(op, x, value=float("nan"))
        apply(op, x, value=-float("nan"))
    assert len(op.memo) == len(values) + 1  # another bit


def test_pads_of_both_zeros(device: str) -> None:
    x = tinyml.ones(1, device=device)
    for value in (0.0, -0.0, 0.0, np.float32(-0.0), np.float32(0.0)):
        padded = tinyml.pad(x, (1, 0), constant_values=value).numpy()
        assert np.signbit(padded[0]) == np.signbit(value)
    padded = tinyml.pad(x, 1, constant_values=math.nan).numpy()
    assert np.isnan(padded).tolist() == [True, False, True]


def test_scalars_share_a_plan_and_not_a_value(device: str) -> None:
    x = tinyml.tensor([1.0, -1.0], device=device)
    size = len(OPS["mul"].memo)
    for value in (0.0, -0.0, 2.5, math.inf):
        have = (x * value).numpy()
        want = x.numpy() * np.float32(value)
        np.testing.assert_array_equal(have, want)
        np.testing.assert_array_equal(np.signbit(have), np.signbit(want))
    assert len(OPS["mul"].memo) <= size + 1
    assert (x + True).tolist() == [2.0, 0.0] and (x + 1).tolist() == [2.0, 0.0]
    k = tinyml.tensor([True], device=device)
    assert (k + 1).dtype is tinyml.int64 and (k == True).dtype is tinyml.bool  # noqa: E712


def test_slices_do_not_share_plans(device: str) -> None:
    x = tinyml.arange(6, device=device)
    for _ in range(2):
        for index in (slice(0, 4, 2), slice(1, 4, 2), slice(0, 4), slice(4, 0, -2), slice(2, 2)):
            assert x[index].tolist() == list(range(6))[index]


def test_the_memo_is_bounded() -> None:
    op, x = _constant(), tinyml.ones(1)
    for k in range(MEMO_LIMIT + 50):
        op.memo[k] = op.memo.get(k)
    apply(op, x, value=1.0)
    assert len(op.memo) <= MEMO_LIMIT
    for size in range(1, 40):
        assert tinyml.zeros(size).reshape(1, size).shape == (1, size)


# ---- the tree itself

PAIRS: dict[type[tinyml.TinyMLError], tuple[type[Exception], ...]] = {
    errors.ShapeError: (ValueError,), errors.DTypeError: (TypeError,),
    errors.DeviceError: (RuntimeError,), errors.DeviceTypeError: (RuntimeError, TypeError),
    errors.MixedDeviceError: (RuntimeError, ValueError),
    errors.ForkedDeviceError: (RuntimeError,), errors.AxisError: (ValueError, IndexError),
    errors.ArgumentError: (ValueError,), errors.ArgumentTypeError: (TypeError,),
    errors.OutOfRangeError: (IndexError,), errors.AllocationError: (MemoryError,),
    errors.BuildError: (RuntimeError,), errors.KernelNotFound: (NotImplementedError,),
    errors.GradientError: (RuntimeError,), errors.MissingExtraError: (ImportError,),
    errors.FileFormatError: (ValueError,), errors.FileMissingError: (FileNotFoundError,),
    errors.SerializationError: (TypeError,), errors.ReadOnlyError: (TypeError,),
    errors.NaNError: (FloatingPointError,), errors.GraphError: (ValueError,),
    errors.ConcretizationError: (TypeError,), errors.DynamicShapeError: (TypeError,),
    errors.LeakedTracerError: (RuntimeError,), errors.ExportError: (BufferError,),
    errors.UnknownNameError: (AttributeError,),
}


def test_every_error_is_a_standard_class_too() -> None:
    found = {e for e in vars(errors).values() if isinstance(e, type)
             and issubclass(e, tinyml.TinyMLError)} - {tinyml.TinyMLError}
    assert found == set(PAIRS)
    for error, standard in PAIRS.items():
        caught = error("the message", remedy="the way out")
        assert all(isinstance(caught, kind) for kind in standard)
        assert "the message" in str(caught) and "the way out" in str(caught)
        assert f"{HERE}:" in str(caught)


def test_the_innermost_line_of_the_user_is_named() -> None:
    def inner(x: Any) -> Any:
        return x.reshape(5)  # this line

    with pytest.raises(errors.ShapeError) as caught:
        tinyml.grad(inner)(tinyml.ones(2))
    assert caught.value.line is not None and caught.value.line.endswith("# this line")


def test_the_gradient_of_a_bad_cotangent_names_the_line() -> None:
    value, pullback = tinyml.vjp(lambda x: x * 2.0, tinyml.ones(2))
    with pytest.raises(errors.ShapeError) as caught:
        pullback(tinyml.ones(3))
    assert f"{HERE}:" in str(caught.value) and "(2,)" in str(caught.value)
