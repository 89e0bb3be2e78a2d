"""What only OpenCL has: builds that fail, forks, reads of device memory, missing float64."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
import tinyml.cli.explain as views
from tinyml.conformance import reference
from tinyml.conformance.suite.backends import elsewhere
from tinyml.core.apply import apply
from tinyml.dtypes import as_dtype
from tinyml.errors import (
    AllocationError,
    ArgumentError,
    BuildError,
    DeviceError,
    DTypeError,
    ExportError,
    OutOfRangeError,
    TinyMLError,
)
from tinyml.ir.devices import find_device
from tinyml.ir.op import OPS, Op

ROOT = Path(__file__).parents[2]

FORK = """
import os, sys
import tinyml
from tinyml.errors import ForkedDeviceError

x = tinyml.ones(4, device="opencl")
y = x + x
uses = {
    "a known op": lambda: x + x,
    "a new op": lambda: tinyml.tanh(x),
    "a read": lambda: y.numpy(),
    "an upload": lambda: tinyml.tensor([1.0], device="opencl"),
    "a wait": lambda: x.device.synchronize(),
}
child = os.fork()
if child == 0:
    wrong = 0
    for name, use in uses.items():
        try:
            use()
            print(name, "did not raise", flush=True)
            wrong = 1
        except ForkedDeviceError as error:
            if not isinstance(error, RuntimeError) or "spawn" not in str(error):
                print(name, error, flush=True)
                wrong = 1
    if (tinyml.ones(4) + 1).tolist() != [2.0] * 4:
        wrong = 1
    os._exit(wrong)
_, status = os.waitpid(child, 0)
assert y.tolist() == [2.0] * 4
os._exit(os.waitstatus_to_exitcode(status))
"""


@pytest.fixture
def opencl(device: str) -> Any:
    """The OpenCL device itself."""
    return find_device("opencl")


pytestmark = pytest.mark.parametrize("device", ["opencl"], indirect=True)


def test_a_build_failure_shows_log_and_source(opencl: Any) -> None:
    source = "__kernel void k(__global float *x) {\n    x[0] = undeclared_name;\n}\n"
    with pytest.raises(BuildError) as caught:
        opencl.programs.build(source)
    text = str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    assert "undeclared_name" in text.split("1 __kernel")[0]  # the driver's log
    assert "2     x[0] = undeclared_name;" in text  # the source, numbered
    assert (tinyml.ones(3, device="opencl") + 1).tolist() == [2.0, 2.0, 2.0]


LOST = [("DEVICE_NOT_AVAILABLE", DeviceError, RuntimeError),
        ("INVALID_COMMAND_QUEUE", DeviceError, RuntimeError),
        ("MEM_OBJECT_ALLOCATION_FAILURE", AllocationError, MemoryError),
        ("OUT_OF_RESOURCES", AllocationError, MemoryError)]
LATE = tinyml.tensor(np.arange(3))  # on the CPU, so that only the call below meets the device
CALLS = [  # what the driver refuses, and a use that meets it; the first run makes the plans
    ("enqueue_nd_range_kernel", lambda x: tinyml.roll(x, 7)),
    ("enqueue_nd_range_kernel", lambda x: tinyml.jit(lambda x: (x * 3.0).sum() - x)(x)),
    ("enqueue_copy", lambda x: x.numpy()),
    ("enqueue_copy", lambda x: x.sum().item()),
    ("enqueue_copy", lambda x: LATE.to("opencl")),
    ("enqueue_map_buffer", np.asarray),
    ("enqueue_map_buffer", np.from_dlpack),
    ("finish", lambda x: x.device.synchronize()),
    ("Kernel", lambda x: tinyml.log10(x[:1] + 31.0)),
    ("Buffer", lambda x: tinyml.zeros((1 << 22) + 3, device="opencl") + 1.0),
]


@pytest.mark.kernels(40)
@pytest.mark.parametrize(("code", "kind", "standard"), LOST)
def test_a_lost_device_is_a_typed_error(
        code: str, kind: type[TinyMLError], standard: type[Exception], opencl: Any,
        monkeypatch: pytest.MonkeyPatch) -> None:
    cl, queue = opencl.cl, opencl._queue
    x = tinyml.tensor(np.arange(6.0, dtype=np.float32), device="opencl")
    opencl.synchronize()
    for name, use in CALLS:

        def refuse(*args: Any, _name: str = name, **kwargs: Any) -> Any:
            raise cl.LogicError(f"{_name} failed: {code}")

        opencl.pool.release()
        reserved = opencl.pool.reserved
        with monkeypatch.context() as patch:
            patch.setattr(opencl, "cl", _With(cl, {name: refuse}))
            patch.setattr(opencl.programs, "cl", opencl.cl)
            patch.setattr(opencl.programs, "_kernels", {})
            patch.setattr(opencl, "_queue", _With(queue, {name: refuse})
                          if name == "finish" else queue)
            patch.setattr(opencl, "_on_host", True)
            for op in OPS.values():
                patch.setattr(op, "memo", {})
            with pytest.raises(kind, match=code) as caught:
                use(x)
        assert isinstance(caught.value, standard) and caught.value.remedy, name
        assert "opencl" in caught.value.message, name
        if name == "Buffer":
            assert opencl.pool.reserved == reserved  # what was not obtained is not counted
    assert (x + 1.0).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.kernels(3)
def test_what_computes_amid_a_launch_changes_nothing(
        opencl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler or a finalizer may launch the same kernel before it is enqueued."""
    enqueue = opencl.cl.enqueue_nd_range_kernel
    amid: list[Any] = []

    def interrupted(*args: Any) -> Any:
        if work:
            amid.append(work.pop()())
        return enqueue(*args)

    table = tinyml.tensor(np.arange(10.0, dtype=np.float32), device="opencl")
    first, second, wrong = (tinyml.tensor([k], device="opencl") for k in (3, 8, 77))
    with monkeypatch.context() as patch:
        patch.setattr(opencl, "cl", _With(opencl.cl, {"enqueue_nd_range_kernel": interrupted}))
        for op in OPS.values():
            patch.setattr(op, "memo", {})
        for other, index in ((second, first), (wrong, first), (first, wrong)):
            work: list[Any] = [lambda k=other: tinyml.gather(table, k)]
            outer = tinyml.gather(table, index)
            for result, k in ((outer, index), (amid.pop(), other)):
                if k is wrong:
                    with pytest.raises(OutOfRangeError, match="index 77"):
                        result.tolist()
                else:
                    assert result.tolist() == [float(k.item())]


class _With:
    """An object with some attributes replaced."""

    def __init__(self, whole: Any, parts: dict[str, Any]) -> None:
        self._whole = whole
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


def test_a_device_that_cannot_be_opened_is_a_typed_error(
        opencl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise opencl.cl.RuntimeError("clCreateContext failed: DEVICE_NOT_AVAILABLE")

    monkeypatch.setattr(opencl.cl, "Context", refuse)
    with pytest.raises(DeviceError, match="clCreateContext failed"):
        type(opencl)(0, opencl.entry)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_use_after_a_fork_raises(opencl: Any) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{FORK}"
    done = subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def _dtype(op: Op) -> str:
    return "float32" if "float32" in op.dtypes else op.dtypes[0]


# Whose result's size depends on values reads the device; what has no samples runs others; what is
# declared for the CPU alone is refused here, as the suite and tests/compiler/test_jit.py see.
# PoCL dies now and then if the process ends while it works. The hook, registered first, runs last.
EXIT = """
import atexit

def late():
    print(working, end.command_execution_status == cl.command_execution_status.COMPLETE)
    x @ x
    print((x * 2.0 + y)[0, 0].item(), flush=True)

atexit.register(late)
import pyopencl as cl
import tinyml
from tinyml.ir.devices import find_device
x = tinyml.ones((512, 512), device="opencl")
y = x
large = tinyml.ones((1536, 1536), device="opencl") * 1.0
for _ in range(8):
    y = (x @ y) / 512.0
large @ large  # takes longer than the next two lines
end = cl.enqueue_marker(find_device("opencl")._queue)
working = end.command_execution_status != cl.command_execution_status.COMPLETE
"""


@pytest.mark.kernels(5)
def test_the_process_ends_when_the_queue_is_empty(opencl: Any) -> None:
    done = subprocess.run([sys.executable, "-c", EXIT], cwd=ROOT, timeout=300,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True True\n3.0\n"), done.stderr


@pytest.mark.kernels(1)
@pytest.mark.parametrize("name", sorted(n for n, op in OPS.items() if op.samples and op.dtypes
                                        and op.host_impl is None
                                        and not elsewhere(n, "tinyml:opencl")))
def test_no_op_reads_the_device(name: str, opencl: Any) -> None:
    op = OPS[name]
    if op.samples is None:
        pytest.fail(f"op {name!r} has no samples")
    for sample in list(op.samples(_dtype(op)))[:1]:
        made = {_dtype(op), *[dtype.name for dtype in
                              reference.dtypes(name, *sample.args, **sample.attrs)]}
        if not all(opencl.supports(as_dtype(dtype)) for dtype in made):
            with pytest.raises(DTypeError, match="has no"):
                apply(op, *[tinyml.tensor(a, device="opencl") if isinstance(a, np.ndarray) else a
                            for a in sample.args], **sample.attrs)
            continue
        args = [tinyml.tensor(a, device="opencl") if isinstance(a, np.ndarray) else a
                for a in sample.args]
        before = opencl.reads
        results = apply(op, *args, **sample.attrs)
        assert opencl.reads == before, sample.name
        first = results[0] if isinstance(results, tuple) else results
        first.numpy()
        assert opencl.reads == before + 1


def test_a_way_back_reads_nothing(opencl: Any) -> None:
    x = tinyml.tensor(np.ones((5, 4), np.float32), device="opencl", requires_grad=True)
    labels = tinyml.tensor([0, 1, 2, 3, 0], device="opencl")
    before = opencl.reads
    tinyml.cross_entropy(tinyml.layer_norm(
        tinyml.gelu(x), tinyml.ones(4, device="opencl"), tinyml.zeros(4, device="opencl")
    ), labels).backward()
    assert opencl.reads == before and x.grad is not None


def test_an_index_out_of_range_is_raised_at_a_read_or_wait(opencl: Any) -> None:
    x = tinyml.tensor(np.arange(6, dtype=np.float32).reshape(2, 3), device="opencl")
    wrong = tinyml.take(x, tinyml.tensor([0, 9], device="opencl"), axis=0)
    with pytest.raises(OutOfRangeError, match="index 9 is out of range for axis 0 of size 2"):
        wrong.numpy()
    assert tinyml.take(x, tinyml.tensor([1], device="opencl"), axis=0).tolist() == [[3, 4, 5]]
    tinyml.take(x, tinyml.tensor([-3], device="opencl"), axis=0)
    with pytest.raises(IndexError) as caught:
        opencl.synchronize()
    assert isinstance(caught.value, TinyMLError) and caught.value.op == "gather"
    opencl.synchronize()


def test_a_device_without_float64_says_so(opencl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = tinyml.ones((3, 5, 7), device="opencl")
    monkeypatch.setitem(opencl.entry, "fp64", False)
    with pytest.raises(DTypeError, match="opencl has no float64") as caught:
        tinyml.tensor(np.ones(3), dtype="float64", device="opencl")
    assert isinstance(caught.value, TypeError) and "float32" in str(caught.value.remedy)
    with pytest.raises(DTypeError, match="no float64"):
        x.astype("float64")
    with pytest.raises(DTypeError, match="no float64"):
        tinyml.zeros((3, 5, 11), dtype="float64", device="opencl")
    assert (x + 1).numpy().dtype == np.float32


def test_a_view_is_a_handle_and_an_offset(opencl: Any) -> None:
    x = tinyml.tensor(np.arange(24, dtype=np.float32).reshape(4, 6), device="opencl")
    gc.collect()  # what failing calls of other tests left behind goes before it is counted
    held = opencl.in_use()
    y = x[1:, ::2].permute_dims(1, 0)
    assert opencl.in_use() == held and y.buf.ptr is x.buf.ptr and y.buf.offset == 6
    assert np.array_equal(y.numpy(), np.arange(24).reshape(4, 6)[1:, ::2].T)
    assert np.array_equal((y + y).numpy(), 2 * y.numpy())


def test_memory_of_a_device_alone_is_copied_or_refused(
        opencl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's; here so is what shares the host's, which is else lent, as PoCL's."""
    x = tinyml.tensor([[0.0, 1.0], [2.0, 3.0]], device="opencl")
    on_host = bool(opencl._device.type & opencl.cl.device_type.CPU)
    assert (opencl.lend(x.buf, x.spec) is not None) == on_host
    monkeypatch.setattr(opencl, "_on_host", False)
    for take in (lambda: x.__dlpack__(copy=False), lambda: np.from_dlpack(x, copy=False),
                 lambda: x.__dlpack__(copy=False, dl_device=(1, 0))):
        with pytest.raises(ExportError, match="memory on the CPU") as caught:
            take()
        assert caught.value.remedy
    with pytest.raises(ArgumentError, match="no copy"):
        x.__array__(copy=False)
    assert np.asarray(x).tolist() == np.from_dlpack(x).tolist() == x.tolist()
    assert np.from_dlpack(x).flags.writeable and np.from_dlpack(x[:0], copy=False).size == 0


def _sources(opencl: Any, op: Op, dtype: str) -> list[str]:
    """Return what is compiled for an op's first sample of a type; none where it has no nest."""
    assert op.samples is not None
    specs_on = views.Unbuilt(opencl)
    for sample in list(op.samples(dtype))[:1]:
        try:
            plan = views.make_plan(op, views._specs(sample, specs_on), sample.attrs)
            if plan.how == "nest":
                nest, ins = views.nest_of(
                    views.Call(op, plan.ins, plan.attrs, plan.outs, specs_on))
                found: list[str] = opencl.sources(nest, ins, plan.outs)
                return found
        except TinyMLError:
            pass  # a type that this device lacks
    return []


def _log(opencl: Any, source: str) -> str:
    """Return what the driver remarks on a source that it has not built before."""
    cl = opencl.cl
    program = cl.Program(opencl._context, f"{source}\n// {uuid.uuid4()}\n")
    program.build(opencl.programs._options, cache_dir=False)
    return str(program.get_build_info(opencl._device, cl.program_build_info.LOG))


@pytest.mark.parametrize("dtype", ["bool", "int32", "uint8"])
def test_no_integer_is_compared_with_itself(dtype: str, opencl: Any) -> None:
    """Drivers warn of it; ops write x != x where x may be NaN."""
    count = 0
    for op in list(OPS.values()):
        if op.samples is None or dtype not in op.dtypes:
            continue
        for source in _sources(opencl, op, dtype):
            kinds = {value: kind for kind, value in re.findall(r"\b(\w+) (v\d+) = ", source)}
            for left, right in re.findall(r"\b(v\d+) (?:[=!]=|[<>]=?) (v\d+)", source):
                count += 1
                assert left != right or kinds[left] in ("float", "double"), (op.name, source)
    assert count > 10


@pytest.mark.kernels(8)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float32"])
def test_what_is_compared_with_itself(dtype: str, opencl: Any,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[str] = []
    kernel = type(opencl.programs).kernel
    monkeypatch.setattr(type(opencl.programs), "kernel", lambda self, source: (
        sources.append(source) or kernel(self, source)))

    def compare(v: Any) -> list[Any]:
        return [v == v, v != v, v < v, v <= v, v > v, v >= v, (v != v) | ~(v >= v)]

    values = np.array([0, 1, 1, 0]).astype(dtype)
    if dtype == "float32":
        values[:2] = np.nan, np.inf
    found = tinyml.jit(compare)(tinyml.tensor(values, device="opencl"))
    for mine, right in zip(found, compare(values)):
        assert np.array_equal(mine.numpy(), right)
    assert sources and not [log for log in (_log(opencl, s) for s in sources) if "warning" in log]
