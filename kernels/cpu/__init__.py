"""The CPU: memory at addresses, nests compiled by Numba, ranges split over threads."""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyml.dtypes import DType, integer_range, rounded
from tinyml.errors import ArgumentError, out_of_range
from tinyml.ir.lower import Scalar
from tinyml.ir.nest import Nest
from tinyml.ir.spec import Spec, flat, stored
from tinyml.kernels.common.emitter import Kernel
from tinyml.kernels.common.interchange import Exchange, layout, over
from tinyml.kernels.common.pool import Block, Buffer, Pool, Pooled, memory_budget
from tinyml.kernels.common.schedule import ScheduledNest, points, run_in_lanes
from tinyml.kernels.common.subbyte import memory, pack, unpack
from tinyml.kernels.cpu.emit import emit
from tinyml.kernels.cpu.objectcode import function, load

GRAIN = 1 << 16  # points of a nest below which one thread does it all
MOST_RANGES = 256
LIMIT = 1 << 1000  # integers from here on are beyond every float
ALIGNMENT = 64


class View:
    """Memory that somebody else owns: part of a buffer, or a NumPy array's."""

    __slots__ = ("ptr", "owner")

    def __init__(self, ptr: int, owner: Any) -> None:
        self.ptr = ptr
        self.owner = owner


def _raw(nbytes: int) -> Block:
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    address = memory.ctypes.data
    return -(-address // ALIGNMENT) * ALIGNMENT, memory


def _physical_memory() -> int:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 33
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            text = file.read().strip()
        return min(total, int(text)) if text.isdigit() else total
    except OSError:
        return total


def _default_threads() -> int:
    chosen = os.environ.get("TINYML_NUM_THREADS")
    if chosen and chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    if chosen:
        warnings.warn(f"TINYML_NUM_THREADS is {chosen!r}, no count of threads; all are used",
                      stacklevel=2)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


class CPU(Pooled, Exchange):
    """The device 'cpu'."""

    name = "cpu"

    def __init__(self) -> None:
        self.pool = Pool("cpu", _raw, memory_budget(_physical_memory()))
        self.threads = _default_threads()  # for a kernel; see tinyml.set_num_threads
        self._workers: Any = None
        self._workers_count = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_workers)

    # ---- memory

    def empty(self, nbytes: int) -> Buffer:
        """New memory, its content undefined."""
        return self.pool.empty(nbytes)

    def upload(self, array: np.ndarray[Any, Any], dtype: DType | None = None) -> Buffer:
        """New memory with the content of a dense array, packed where `dtype` is."""
        array = pack(array, dtype)
        buffer = self.pool.empty(array.nbytes)
        ctypes.memmove(buffer.ptr, array.ctypes.data, array.nbytes)
        return buffer

    def download(self, buffer: Any, spec: Spec) -> np.ndarray[Any, Any]:
        """The tensor's own memory as a read-only array, which keeps it alive."""
        if spec.dtype.is_subbyte:
            return unpack(self.download(buffer, memory(spec)), spec)
        return over(buffer.ptr, buffer, spec)

    def lend(self, buffer: Any, spec: Spec) -> np.ndarray[Any, Any] | None:
        """Every tensor's own memory but that of packed ones."""
        return None if spec.dtype.is_subbyte else self.download(buffer, spec)

    def borrow(self, array: np.ndarray[Any, Any]) -> tuple[View, Spec] | None:
        """The array's own memory."""
        spec = layout(array, self)
        return None if spec is None else (View(array.ctypes.data, array), spec)

    def view(self, buffer: Any, offset: int, spec: Spec) -> View:
        """The same memory, `offset` elements further on."""
        return View(buffer.ptr + offset * spec.dtype.itemsize, buffer)

    def supports(self, dtype: DType) -> bool:
        """Every type lives here."""
        return True

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    # ---- execution

    def prepare(self, nest: Nest, ins: Sequence[Any], outs: Sequence[Spec], op: str,
                into: bool = False) -> Callable[..., Any]:
        """A function from input buffers and numbers to output buffers that runs the nest.

        With `into`, it takes the output buffers after the inputs and gives nothing.
        """
        tensors = [spec for spec in ins if isinstance(spec, Spec)]
        scheduled = ScheduledNest(nest, [spec.strides for spec in (*tensors, *map(stored, outs))])
        packing = [
            (copy.arg, self._bind(emit(copy.scheduled), [tensors[copy.arg]],
                                  [flat(tensors[copy.arg])], "pack", points(copy.scheduled), []))
            for copy in run_in_lanes(scheduled, tensors)
        ]
        kernel = emit(scheduled.build())
        return self._bind(kernel, ins, outs, op, points(scheduled), packing, nest.scalars, into)

    def sources(self, nest: Nest, ins: Sequence[Any], outs: Sequence[Spec]) -> list[str]:
        """What `prepare` compiles: the sources that pack operands, then the nest's own."""
        tensors = [spec for spec in ins if isinstance(spec, Spec)]
        scheduled = ScheduledNest(nest, [spec.strides for spec in (*tensors, *map(stored, outs))])
        packing = [emit(copy.scheduled).source for copy in run_in_lanes(scheduled, tensors)]
        return [*packing, emit(scheduled.build()).source]

    def _bind(self, kernel: Kernel, ins: Sequence[Any], outs: Sequence[Spec], op: str, work: int,
              packing: list[tuple[int, Callable[..., Any]]],
              numbers: Sequence[DType] = (), into: bool = False) -> Callable[..., Any]:
        if any(spec.size == 0 for spec in outs):
            return self.nothing(outs, into)
        address = load(kernel.source, kernel.types)
        small = function(address, kernel.types, False)
        large = function(address, kernel.types, True)
        metas = _ranges(kernel, work)
        frees = [] if into else [self.pool.free_list(spec.nbytes) for spec in outs]
        space: dict[str, Any] = {
            "Buffer": Buffer, "take": self.pool.take, "call": small, "metas": metas,
            "meta": metas[0].ctypes.data, "ranges": [m.ctypes.data for m in metas],
            "large": large, "split": self._split, "refuse": _refuse_index, "op": op,
            "refuse_scalar": _refuse_scalar, "rounded": rounded, "status_for": _status,
        }
        for k, (spec, free) in enumerate(zip(outs, frees)):
            space[f"free{k}"], space[f"size{k}"] = free, spec.nbytes
        for k, (_, copy) in enumerate(packing):
            space[f"pack{k}"] = copy
        source = _binding(kernel, ins, outs, [arg for arg, _ in packing], len(metas) > 1,
                          numbers, into)
        exec(_compiled(source), space)
        run: Callable[..., Any] = space.pop("run")  # a function in its own globals is a cycle
        return run

    # ---- threads

    def _forget_workers(self) -> None:
        self._workers = None

    def _split(self, call: Callable[..., None], ranges: list[int], *args: Any) -> None:
        """Run a kernel over ranges given by shape alone, on as many threads as are allowed."""
        count = min(self.threads, len(ranges))
        if count == 1:
            for meta in ranges:
                call(meta, *args)
            return
        if self._workers is None or self._workers_count < count:
            from concurrent.futures import ThreadPoolExecutor

            self._workers = ThreadPoolExecutor(count - 1, "tinyml")
            self._workers_count = count
        share = -(-len(ranges) // count)

        def work(first: int) -> None:
            for meta in ranges[first : first + share]:
                call(meta, *args)

        others = [self._workers.submit(work, k) for k in range(share, len(ranges), share)]
        try:
            work(0)  # this thread's share; it would only wait
        finally:  # nobody may write any more when the buffers go
            for other in others:
                other.result()


@functools.lru_cache(maxsize=1024)
def _compiled(source: str) -> Any:
    return compile(source, "<tinyml binding>", "exec")


def _ranges(kernel: Kernel, work: int) -> list[np.ndarray[Any, Any]]:
    """One run-time record per range; the cuts depend on the shape only."""
    parts = max(1, min(kernel.extent, work // GRAIN, MOST_RANGES))
    cuts = [kernel.extent * k // parts for k in range(parts + 1)]
    return [np.array([lo, hi, *kernel.meta], np.int64) for lo, hi in zip(cuts, cuts[1:])]


def _binding(kernel: Kernel, ins: Sequence[Any], outs: Sequence[Spec], packed: list[int],
             many: bool, scalars: Sequence[DType], into: bool) -> str:
    """The source of a function that calls the kernel, on outputs of its own or on given ones."""
    names = [f"a{k}" for k in range(len(ins))]
    results = [f"o{k}" for k in range(len(outs))]
    tensors = [n for n, spec in zip(names, ins) if isinstance(spec, Spec)]
    numbers = [n for n, spec in zip(names, ins) if not isinstance(spec, Spec)]
    lines = [f"def run({', '.join([*names, *results] if into else names)}):"]
    kinds = [value.kind for value in ins if isinstance(value, Scalar)]
    for name, kind, dtype in zip(numbers, kinds, scalars):
        if dtype.kind == "bool":
            lines.append(f"    {name} = 1 if {name} else 0")
        elif kind is int and dtype.is_integer:
            low, high = integer_range(dtype)
            lines.append(f"    if not {low} <= {name} <= {high}: refuse_scalar({name})")
        elif kind is int:
            lines.append(f"    if not -{LIMIT} < {name} < {LIMIT}: refuse_scalar({name})")
        if dtype.is_small_float:
            lines.append(f"    {name} = rounded({name}, {dtype.name!r})")
    for k in range(0 if into else len(outs)):
        lines += ["    try:", f"        block = free{k}.pop()", "    except IndexError:",
                  f"        block = take(size{k})", f"    o{k} = Buffer(block, free{k})"]
    for k, arg in enumerate(packed):
        lines.append(f"    q{k} = pack{k}({tensors[arg]})")
        tensors[arg] = f"q{k}"
    turned = [k for k, dtype in enumerate(scalars) if dtype.kind == "complex"]
    values = [f"{t}.ptr" for t in (*tensors, *results)]
    values += [f"{name}.real" if k in turned else name for k, name in enumerate(numbers)]
    values += [f"{numbers[k]}.imag" for k in turned]
    if kernel.checks:
        lines.append("    status = status_for()")
        values.insert(0, "status.ctypes.data")
    arguments = ", ".join(values)
    start = "split(large, ranges" if many else "call(meta"
    lines.append(f"    {start}, {arguments})")
    if kernel.checks:
        lines.append("    if status[2]: refuse(status, op)")
    if not into:
        lines.append(f"    return {', '.join(results)}")
    return "\n".join(lines) + "\n"


def _status() -> np.ndarray[Any, Any]:
    return np.zeros(4, np.int64)


def _refuse_index(status: np.ndarray[Any, Any], op: str) -> None:
    raise out_of_range(status[0], status[1], status[3])


def _refuse_scalar(value: int) -> None:
    raise ArgumentError(f"the number {value:.6g} does not fit the data type it meets"
                        if abs(value) < LIMIT else "a number beyond every data type",
                        remedy="cast the tensor to a wider type first")


def open_device(number: int) -> CPU:
    """The one CPU."""
    return CPU()


import tinyml.kernels.cpu.lapack  # noqa: E402
import tinyml.kernels.cpu.sorting  # noqa: E402, F401
