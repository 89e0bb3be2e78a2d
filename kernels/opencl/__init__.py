"""OpenCL devices: memory by handles, nests compiled by the device's driver, one in-order queue."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinyml.dtypes import DType, integer_range, rounded
from tinyml.errors import (
    ArgumentError,
    BuildError,
    DeviceError,
    DTypeError,
    ForkedDeviceError,
    out_of_range,
)
from tinyml.ir.lower import Scalar
from tinyml.ir.nest import Nest
from tinyml.ir.spec import Spec, flat, stored
from tinyml.kernels.common.cache import folder, get, key, problem, put
from tinyml.kernels.common.emitter import Kernel
from tinyml.kernels.common.interchange import Exchange, over, reach
from tinyml.kernels.common.pool import Block, Buffer, Pool, Pooled, memory_budget
from tinyml.kernels.common.schedule import ScheduledNest, run_in_lanes
from tinyml.kernels.common.subbyte import memory, pack, unpack
from tinyml.kernels.opencl.emit import emit

GROUP = 64  # work-items of a group; one size keeps drivers from specialising kernels again
PROBE_SECONDS = 120
LIMIT = 1 << 1000  # integers from here on are beyond every float
TAGS = 4096  # plans with checks that are told apart in a late report


class View:
    """A part of another buffer: its handle, and an offset in elements."""

    __slots__ = ("ptr", "offset", "owner")

    def __init__(self, ptr: Any, offset: int, owner: Any) -> None:
        self.ptr = ptr
        self.offset = offset
        self.owner = owner


class Mapped:
    """A buffer that the host reads: unmapped before its block goes back to the pool."""

    __slots__ = ("map", "buffer")

    def __init__(self, map: Any, buffer: Any) -> None:
        self.map = map
        self.buffer = buffer

    def __del__(self) -> None:
        self.map.release()


def _ask(*arguments: str) -> Any:
    """Run probe.py in a child process: a bad driver must not take this one with it."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.py")
    try:
        child = subprocess.run(
            [sys.executable, "-W", "ignore", script, *arguments],
            capture_output=True, text=True, timeout=PROBE_SECONDS, check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return json.loads(child.stdout) if child.returncode == 0 and child.stdout else None


def probe() -> list[dict[str, Any]]:
    """Every OpenCL device with what it can do, usable ones first, from the cache where known."""
    import pyopencl as cl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            driver = "|".join(
                f"{p.name} {p.version} {d.name} {d.driver_version}"
                for p in cl.get_platforms() for d in p.get_devices()
            )
    except cl.Error:
        return []
    name = key("probe-1", driver, sys.executable) + ".json"
    kept = get(name)
    if kept is not None:
        found: list[dict[str, Any]] = json.loads(kept)
        return found
    found = _ask() or []
    for entry in found:
        result = _ask(str(entry["platform"]), str(entry["device"]))
        entry.update(result or {"basic": False, "basic_error": "the probe crashed or hung"})
    found.sort(key=lambda entry: not entry["basic"])
    put(name, json.dumps(found).encode())
    return found


@contextlib.contextmanager
def _build_lock() -> Iterator[None]:
    """One process builds at a time: PoCL's own cold cache fails under many."""
    try:
        import fcntl

        if problem() is not None:
            raise OSError
        file = open(os.path.join(folder(), "build.lock"), "a", encoding="ascii")
    except (ImportError, OSError):
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class OpenCL(Pooled, Exchange):
    """One OpenCL device."""

    def __init__(self, number: int, entry: dict[str, Any]) -> None:
        import pyopencl as cl

        self.cl = cl
        self.name = f"opencl:{number}" if number else "opencl"
        self.entry = entry
        self._device = cl.get_platforms()[entry["platform"]].get_devices()[entry["device"]]
        self._context = cl.Context([self._device])
        self._queue = cl.CommandQueue(self._context)
        limit = memory_budget(int(self._device.global_mem_size))
        self.pool = Pool(self.name, self._raw, limit)
        self.reads = 0
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._kernels: dict[str, Any] = {}
        self._status = self._upload(np.zeros(4, np.int64))
        self._tags: dict[int, tuple[str, str]] = {}  # what a tag in the status stands for
        self._next_tag = 0
        self._unread = False
        self._is_cpu = bool(self._device.type & cl.device_type.CPU)
        self._on_host = self._is_cpu and bool(self._device.host_unified_memory)
        correct = cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
        exact = bool(self._device.single_fp_config & correct)
        self._options = ["-cl-fp32-correctly-rounded-divide-sqrt"] if exact else []

    # ---- memory

    def _raw(self, nbytes: int) -> Block:
        if nbytes > self._device.max_mem_alloc_size:
            raise MemoryError(f"one allocation may have {self._device.max_mem_alloc_size} bytes")
        try:
            flags = self.cl.mem_flags.READ_WRITE
            return self.cl.Buffer(self._context, flags, nbytes), None
        except self.cl.Error as error:
            raise MemoryError(str(error)) from None

    def _here(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedDeviceError(
                f"device {self.name} was opened before this process was forked",
                remedy="start child processes with the 'spawn' method",
            )

    def empty(self, nbytes: int) -> Buffer:
        """New memory, its content undefined."""
        self._here()
        return self.pool.empty(nbytes)

    def _upload(self, array: np.ndarray[Any, Any]) -> Buffer:
        buffer = self.pool.empty(array.nbytes)
        if array.nbytes:
            self.cl.enqueue_copy(self._queue, buffer.ptr, array, is_blocking=True)
        return buffer

    def upload(self, array: np.ndarray[Any, Any], dtype: DType | None = None) -> Buffer:
        """New memory with the content of a dense array, packed where `dtype` is."""
        self._here()
        return self._upload(pack(array, dtype))

    def download(self, buffer: Any, spec: Spec) -> np.ndarray[Any, Any]:
        """A read-only copy of a tensor's content; raises what went wrong before it."""
        if spec.dtype.is_subbyte:
            return unpack(self.download(buffer, memory(spec)), spec)
        self._here()
        self.reads += 1
        low, count = reach(spec)
        span = np.empty(max(count, 1), np.uint8)
        if spec.size:
            start = buffer.offset * spec.dtype.itemsize + low
            self.cl.enqueue_copy(self._queue, span[:count], buffer.ptr, src_offset=start,
                                 is_blocking=True)
        self._raise_reports()
        return over(span.ctypes.data - low, span, spec)

    def lend(self, buffer: Any, spec: Spec) -> np.ndarray[Any, Any] | None:
        """The tensor's own memory where that is the host's, mapped until nobody reads it."""
        if not spec.size:
            return self.download(buffer, spec)  # of which there is nothing to copy
        if spec.dtype.is_subbyte or not self._on_host:
            return None
        self._here()
        self.reads += 1
        low, count = reach(spec)
        start = buffer.offset * spec.dtype.itemsize + low
        span, _ = self.cl.enqueue_map_buffer(self._queue, buffer.ptr, self.cl.map_flags.READ, start,
                                             (count,), np.dtype(np.uint8), is_blocking=True)
        held = Mapped(span.base, buffer)
        self._raise_reports()
        return over(span.ctypes.data - low, held, spec)

    def view(self, buffer: Any, offset: int, spec: Spec) -> View:
        """The same memory, `offset` elements further on."""
        return View(buffer.ptr, buffer.offset + offset, buffer)

    def supports(self, dtype: DType) -> bool:
        """Whether the device computes with this type."""
        return dtype.kind != "complex" and (dtype.name != "float64" or bool(self.entry.get("fp64")))

    def synchronize(self) -> None:
        """Wait for the queue; raise what went wrong."""
        self._here()
        self._queue.finish()
        self._raise_reports()

    def _raise_reports(self) -> None:
        """An index out of range is reported on the device and raised at the next wait."""
        if not self._unread:
            return
        status = np.zeros(4, np.int64)
        with self._lock:
            self._unread = False
            self.cl.enqueue_copy(self._queue, status, self._status.ptr, is_blocking=True)
            if status[0]:
                zero = np.zeros(4, np.int64)
                self.cl.enqueue_copy(self._queue, self._status.ptr, zero, is_blocking=True)
        if status[0]:
            raise out_of_range(*status[1:]).during(*self._tags[int(status[:1].view(np.int32)[0])])

    # ---- execution

    def prepare(self, nest: Nest, ins: Sequence[Any], outs: Sequence[Spec], op: str,
                into: bool = False) -> Callable[..., Any]:
        """A function from input buffers and numbers to output buffers that runs the nest.

        With `into`, it takes the output buffers after the inputs and gives nothing.
        """
        self._here()
        for instr in nest.code:
            if not self.supports(instr.dtype):
                raise DTypeError(f"device {self.name} has no {instr.dtype.name}",
                                 remedy="float32, or device='cpu'")
        if any(spec.size == 0 for spec in outs):
            return self.nothing(outs, into)
        tensors = [spec for spec in ins if isinstance(spec, Spec)]
        scheduled = ScheduledNest(nest, [spec.strides for spec in (*tensors, *map(stored, outs))])
        # A CPU's vectors are filled by lanes of one work-item, a GPU's by neighbouring ones.
        copies = run_in_lanes(scheduled, tensors) if self._is_cpu else []
        with self._lock:
            run = self._bind(emit(scheduled.build()), ins, outs, op, nest.scalars, into)
            if not copies:
                return run
            packers = [
                (places[copy.arg], self._bind(emit(copy.scheduled), [tensors[copy.arg]],
                                              [flat(tensors[copy.arg])], "pack", ()))
                for places in [[k for k, spec in enumerate(ins) if isinstance(spec, Spec)]]
                for copy in copies
            ]

        def packed(*values: Any) -> Any:
            buffers = list(values)
            for place, copy in packers:
                buffers[place] = copy(buffers[place])
            return run(*buffers)

        return packed

    def sources(self, nest: Nest, ins: Sequence[Any], outs: Sequence[Spec]) -> list[str]:
        """What `prepare` builds: the sources that pack operands, then the nest's own."""
        tensors = [spec for spec in ins if isinstance(spec, Spec)]
        scheduled = ScheduledNest(nest, [spec.strides for spec in (*tensors, *map(stored, outs))])
        copies = run_in_lanes(scheduled, tensors) if self._is_cpu else []
        return [*[emit(copy.scheduled).source for copy in copies], emit(scheduled.build()).source]

    def _bind(self, kernel: Kernel, ins: Sequence[Any], outs: Sequence[Spec], op: str,
              numbers: Sequence[DType], into: bool = False) -> Callable[..., Any]:
        compiled = self._kernel(kernel.source)
        meta = self._upload(np.array([kernel.extent, *kernel.meta], np.int64))
        head: list[Any] = [meta.ptr]
        if kernel.checks:
            inputs = ", ".join(map(repr, [spec for spec in ins if isinstance(spec, Spec)]))
            tag = self._next_tag = self._next_tag % TAGS + 1
            self._tags[tag] = (op, inputs)
            head += [self._status.ptr, np.int32(tag)]
        is_tensor = [isinstance(spec, Spec) for spec in ins]
        scalar_specs = [value for value in ins if isinstance(value, Scalar)]
        converters = [_converter(s.kind, d) for s, d in zip(scalar_specs, numbers)]
        sizes = [spec.nbytes for spec in outs]
        groups = ((-(-kernel.extent // GROUP)) * GROUP,)
        local = (GROUP,)
        enqueue, queue, lock = self.cl.enqueue_nd_range_kernel, self._queue, self._lock
        empty, here = self.pool.empty, self._here
        single, count = len(outs) == 1, len(ins)

        def run(*values: Any) -> Any:
            here()
            results = list(values[count:]) if into else [empty(size) for size in sizes]
            arguments = list(head)
            scalars = []
            for value, tensor in zip(values, is_tensor):
                if tensor:
                    arguments += (value.ptr, np.int64(value.offset))
                else:
                    scalars.append(value)
            for result in results:
                arguments += (result.ptr, np.int64(result.offset) if into else _NO_OFFSET)
            arguments += [convert(value) for convert, value in zip(converters, scalars)]
            with lock:
                for place, argument in enumerate(arguments):
                    compiled.set_arg(place, argument)
                enqueue(queue, compiled, groups, local)
                if kernel.checks:
                    self._unread = True
            _ = meta  # the run-time integers live as long as the plan
            if into:
                return None
            return results[0] if single else tuple(results)

        return run

    def _kernel(self, source: str) -> Any:
        """One kernel object per source; arguments are set under the lock."""
        kernel = self._kernels.get(source)
        if kernel is None:
            kernel = self._kernels[source] = self.cl.Kernel(self._build(source), "k")
        return kernel

    def _build(self, source: str) -> Any:
        """From the cached binary, or from source; BuildError shows the driver's log."""
        cl = self.cl
        name = key("opencl-1", source, self.entry["driver"], self.entry["name"],
                         " ".join(self._options)) + ".bin"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # drivers print remarks of their own
            kept = get(name)
            if kept is not None:
                try:
                    program = cl.Program(self._context, [self._device], [kept])
                    return program.build(self._options, cache_dir=False)
                except cl.Error:
                    pass  # a driver that changed without a new version: build anew
            try:
                with _build_lock():
                    program = cl.Program(self._context, source)
                    program.build(self._options, cache_dir=False)
            except cl.Error as error:
                numbered = "\n".join(f"{k:4d} {line}" for k, line in
                                     enumerate(source.splitlines(), 1))
                raise BuildError(f"the driver of {self.name} does not build this kernel: {error}\n"
                                 f"{numbered}") from None
            binary = program.get_info(cl.program_info.BINARIES)[0]
        put(name, bytes(binary))
        return program


_NO_OFFSET = np.int64(0)


def _float_converter(kind: type, dtype: DType) -> Callable[[Any], Any]:
    number: Any = np.dtype(dtype.compute).type
    largest = float(np.finfo(number).max)

    def convert(value: Any) -> Any:
        if kind is int and not -LIMIT < value < LIMIT:
            raise ArgumentError("a number beyond every data type",
                                remedy="cast the tensor to a wider type first")
        if dtype.is_small_float:
            value = rounded(value, dtype.name)
        if -largest <= value <= largest or value != value:
            return number(value)
        return number(np.copysign(np.inf, float(value)))

    return convert


def _converter(kind: type, dtype: DType) -> Callable[[Any], Any]:
    """How a Python number becomes a kernel argument of the type it meets."""
    if dtype.is_float:
        return _float_converter(kind, dtype)
    if not dtype.is_integer:
        return lambda value: np.int64(bool(value))
    low, high = integer_range(dtype)

    def convert(value: int) -> Any:
        if not low <= value <= high:
            raise ArgumentError(f"the number {value} does not fit {dtype.name}",
                                remedy="cast the tensor to a wider type first")
        return np.int64(value if value < 1 << 63 else value - (1 << 64))

    return convert


def open_device(number: int) -> OpenCL:
    """OpenCL device `number`, in the order in which probing prefers them."""
    try:
        import pyopencl  # noqa: F401
    except ImportError as error:
        raise DeviceError(f"pyopencl cannot be imported: {error}",
                          remedy="pip install pyopencl") from None
    usable = [entry for entry in probe() if entry["basic"]]
    if number >= len(usable):
        raise DeviceError(
            f"no OpenCL device {number}: {len(usable)} usable",
            remedy="install an OpenCL driver (Debian, Ubuntu: apt install pocl-opencl-icd); "
            "`tinyml doctor` shows what was tried",
        )
    return OpenCL(number, usable[number])
