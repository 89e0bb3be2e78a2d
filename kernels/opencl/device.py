"""OpenCL devices: memory handles, nests compiled by the device's driver, one in-order queue."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyml.concurrency import new_lock
from tinyml.dtypes import DType, rounded
from tinyml.errors import ForkedDeviceError, user_location
from tinyml.ir.lower import Scalar
from tinyml.ir.spec import Spec
from tinyml.kernels.common.device import Array, NestDevice, Run, number_range, refuse_number
from tinyml.kernels.common.interchange import array_at, reach
from tinyml.kernels.common.pool import Block, Buffer, FreeList, Pool, memory_budget
from tinyml.kernels.common.schedule import ScheduledNest
from tinyml.kernels.opencl.emit import emit
from tinyml.kernels.opencl.failures import guarded, is_out_of_memory, typed
from tinyml.kernels.opencl.programs import Programs
from tinyml.kernels.opencl.reports import SLOT_NUMBERS, Pending, Reports

GROUP = 64  # work-items per group; a fixed size keeps drivers from specialising kernels again
_NO_OFFSET = np.int64(0)


class Memory(Buffer):
    """Pool memory, and the checked launches that its content depends on."""

    __slots__ = ("pending",)

    def __init__(self, block: Block, free: FreeList) -> None:
        self.ptr = block[0]
        self.block = block
        self.free = free
        self.pending: Pending | None = None


class View:
    """Part of a buffer: its handle, and an offset in elements."""

    __slots__ = ("ptr", "offset", "owner")

    def __init__(self, ptr: Any, offset: int, owner: Memory) -> None:
        self.ptr = ptr
        self.offset = offset
        self.owner = owner

    @property
    def pending(self) -> Pending | None:
        """The checked launches that the whole buffer depends on."""
        return self.owner.pending


class Mapped:
    """A buffer mapped for the host, unmapped before its block returns to the pool."""

    __slots__ = ("map", "buffer")

    def __init__(self, map: Any, buffer: Any) -> None:
        self.map = map
        self.buffer = buffer

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the device is lost, and the memory with it
            self.map.release()


def name_of(number: int) -> str:
    """Return the name of OpenCL device `number`."""
    return f"opencl:{number}" if number else "opencl"


class OpenCL(NestDevice):
    """One OpenCL device."""

    asynchronous = True
    emit = staticmethod(emit)

    @guarded
    def __init__(self, number: int, entry: dict[str, Any]) -> None:
        import pyopencl as cl

        self.cl = cl
        self.driver_error = cl.Error
        self.name = name_of(number)
        self.entry = entry
        self._device = cl.get_platforms()[entry["platform"]].get_devices()[entry["device"]]
        self._context = cl.Context([self._device])
        self._queue = cl.CommandQueue(self._context)
        limit = memory_budget(int(self._device.global_mem_size))
        self.pool = Pool(self.name, self._raw, limit, Memory)
        self.programs = Programs(self.name, self._context, self._device, entry)
        self.reads = 0
        self._pid = os.getpid()
        self._lock = new_lock()
        self._reports = Reports(self.name, self._context, self._queue, self._lock)
        self._launching = False  # a signal handler or finalizer may compute amid a launch
        self._exiting = False
        atexit.register(self._before_exit)
        is_cpu = bool(self._device.type & cl.device_type.CPU)
        self._on_host = is_cpu and bool(self._device.host_unified_memory)
        # Lanes of one work-item fill a CPU's vectors; neighbouring work-items fill a GPU's.
        self.runs_lanes = is_cpu

    # ---- memory

    @guarded
    def _raw(self, nbytes: int) -> Block:
        if nbytes > self._device.max_mem_alloc_size:
            raise MemoryError(f"one allocation may have {self._device.max_mem_alloc_size} bytes")
        try:
            flags = self.cl.mem_flags.READ_WRITE
            return self.cl.Buffer(self._context, flags, nbytes), None
        except self.cl.Error as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from None
            raise

    def _refuse_fork(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedDeviceError(
                f"device {self.name} was opened before this process was forked",
                remedy="start child processes with the 'spawn' method",
            )

    def empty(self, nbytes: int) -> Buffer:
        """Return new, uninitialised memory."""
        self._refuse_fork()
        return self.pool.empty(nbytes)

    @guarded
    def _write(self, buffer: Buffer, array: Array) -> None:
        if array.nbytes:
            self.cl.enqueue_copy(self._queue, buffer.ptr, array, is_blocking=True)

    @guarded
    def _read(self, buffer: Any, spec: Spec) -> Array:
        """Return a copy of the tensor's content."""
        self._refuse_fork()
        self.reads += 1
        low, count = reach(spec)
        span = np.empty(max(count, 1), np.uint8)
        if spec.size:
            start = buffer.offset * spec.dtype.itemsize + low
            self.cl.enqueue_copy(self._queue, span[:count], buffer.ptr, src_offset=start,
                                 is_blocking=True)
        if buffer.pending is not None:
            self._reports.check(buffer.pending)
        return array_at(span.ctypes.data - low, span, spec)

    @guarded
    def lend(self, buffer: Any, spec: Spec) -> Array | None:
        """Return the tensor's memory, mapped until nobody reads it, if it is host memory."""
        if not spec.size:
            return self.download(buffer, spec)  # there is nothing to copy
        if spec.dtype.is_subbyte or not self._on_host:
            return None
        self._refuse_fork()
        self.reads += 1
        low, count = reach(spec)
        start = buffer.offset * spec.dtype.itemsize + low
        span, _ = self.cl.enqueue_map_buffer(self._queue, buffer.ptr, self.cl.map_flags.READ, start,
                                             (count,), np.dtype(np.uint8), is_blocking=True)
        held = Mapped(span.base, buffer)
        if buffer.pending is not None:
            self._reports.check(buffer.pending)
        return array_at(span.ctypes.data - low, held, spec)

    def view(self, buffer: Any, offset: int, spec: Spec) -> View:
        """Return a view of the memory that starts `offset` elements later."""
        owner = buffer.owner if isinstance(buffer, View) else buffer
        return View(buffer.ptr, buffer.offset + offset, owner)

    def supports(self, dtype: DType) -> bool:
        """Return whether the device computes with this type."""
        return dtype.kind != "complex" and (dtype.name != "float64" or bool(self.entry.get("fp64")))

    @guarded
    def synchronize(self) -> None:
        """Wait for the queue; raise the first error of this thread's calls that no read raised."""
        self._refuse_fork()
        self._queue.finish()
        self._reports.check_own()

    def _before_exit(self) -> None:
        """Wait now, and after each launch from here: a driver may die if kernels still run."""
        self._exiting = True
        if os.getpid() == self._pid:
            with contextlib.suppress(self.cl.Error):  # a lost device has nothing to wait for
                self._queue.finish()

    # ---- execution

    def _bind(self, scheduled: ScheduledNest, ins: Sequence[Any], outs: Sequence[Spec], op: str,
              packs: Sequence[tuple[int, Run]] = (), into: bool = False) -> Run:
        emitted = self.emit(scheduled)
        meta = self.upload(np.array([emitted.extent, *emitted.meta], np.int64))
        with self._lock:
            compiled = self.programs.kernel(emitted.source)
        inputs = ", ".join(map(repr, [spec for spec in ins if isinstance(spec, Spec)]))
        is_tensor = [isinstance(spec, Spec) for spec in ins]
        kinds = [value.kind for value in ins if isinstance(value, Scalar)]
        converters = [_converter(kind, dtype) for kind, dtype in zip(kinds, scheduled.nest.scalars)]
        sizes = [spec.nbytes for spec in outs]
        groups = ((-(-emitted.extent // GROUP)) * GROUP,)
        local = (GROUP,)
        enqueue, queue, lock = self.cl.enqueue_nd_range_kernel, self._queue, self._lock
        empty, refuse_fork = self.pool.empty, self._refuse_fork
        single, count, checks = len(outs) == 1, len(ins), emitted.checks
        first = 3 if checks else 1  # the place of the first buffer
        reports, driver_error = self._reports, self.cl.Error

        def run(*values: Any) -> Any:
            refuse_fork()
            results: list[Any] = list(values[count:]) if into else [empty(size) for size in sizes]
            arguments: list[Any] = []
            scalars = []
            pending = None
            for value, tensor in zip(values, is_tensor):
                if tensor:
                    arguments += (value.ptr, np.int64(value.offset))
                    if value.pending is not None:
                        pending = reports.join(pending, value.pending)
                else:
                    scalars.append(value)
            for result in results:
                arguments += (result.ptr, np.int64(result.offset) if into else _NO_OFFSET)
            arguments += [convert(value) for convert, value in zip(converters, scalars)]
            line = user_location() if checks else None
            try:
                with lock:
                    nested, self._launching = self._launching, True
                    try:
                        kernel = self.programs.again(compiled) if nested else compiled
                        set_arg = kernel.set_arg
                        set_arg(0, meta.ptr)  # the integers live as long as the plan
                        for place, argument in enumerate(arguments, first):
                            set_arg(place, argument)
                        if checks:
                            round, slot = reports.take(op, inputs, line)
                            set_arg(1, round.memory)
                            set_arg(2, SLOT_NUMBERS[slot])
                        enqueue(queue, kernel, groups, local)
                    finally:
                        self._launching = nested
                    if self._exiting:
                        queue.finish()
            except driver_error as error:
                raise typed(error, self.name) from error
            if checks:
                pending = reports.launched(round, slot, pending)
            if into or pending is not None:
                self._depend(results, pending)
            if into:
                return None
            return results[0] if single else tuple(results)

        return _after_packing(packs, run) if packs else run

    def _inherit(self, operands: Sequence[Any], results: Sequence[Any]) -> None:
        pending = None
        for operand in operands:
            if operand.pending is not None:
                pending = self._reports.join(pending, operand.pending)
        self._depend(results, pending)

    def _depend(self, results: Sequence[Any], pending: Pending | None) -> None:
        """Let new results depend on these launches only; in a part, the others keep theirs."""
        for result in results:
            if not isinstance(result, View):
                result.pending = pending
            elif pending is not None:
                result.owner.pending = self._reports.join(result.owner.pending, pending)


def _after_packing(packs: Sequence[tuple[int, Run]], run: Run) -> Run:
    """Return a function that packs operands, each with its function, and then runs."""

    def packed(*values: Any) -> Any:
        buffers = list(values)
        for place, pack in packs:
            buffers[place] = pack(buffers[place])
        return run(*buffers)

    return packed


def _converter(kind: type, dtype: DType) -> Callable[[Any], Any]:
    """Return a function that converts a Python number to a kernel argument for `dtype`."""
    if dtype.kind == "bool":
        return lambda value: np.int64(bool(value))
    make = _float_of(dtype) if dtype.is_float else _to_integer
    bounds = number_range(kind, dtype)
    if bounds is None:
        return make
    low, high = bounds

    def convert(value: int) -> Any:
        if not low <= value <= high:
            refuse_number(value, dtype.name)
        return make(value)

    return convert


def _to_integer(value: int) -> Any:
    return np.int64(value if value < 1 << 63 else value - (1 << 64))


def _float_of(dtype: DType) -> Callable[[Any], Any]:
    """Return a function from a number to the float type of `dtype`'s arithmetic, or infinity."""
    number: Any = np.dtype(dtype.compute).type
    largest = float(np.finfo(number).max)

    def convert(value: Any) -> Any:
        if -largest <= value <= largest or value != value:
            return number(value)
        return number(np.copysign(np.inf, float(value)))

    return (lambda value: convert(rounded(value, dtype.name))) if dtype.is_small_float else convert
