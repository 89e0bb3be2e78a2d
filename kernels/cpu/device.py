"""The CPU device: memory at addresses, nests compiled by Numba, ranges split over threads."""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyml.dtypes import DType, rounded
from tinyml.errors import out_of_range
from tinyml.ir.lower import Scalar
from tinyml.ir.spec import Spec
from tinyml.kernels.common.device import Array, NestDevice, Run, number_range, refuse_number
from tinyml.kernels.common.emitter import Kernel
from tinyml.kernels.common.interchange import array_at, spec_of
from tinyml.kernels.common.pool import Block, Buffer, Pool, memory_budget
from tinyml.kernels.common.schedule import ScheduledNest, points
from tinyml.kernels.cpu.emit import emit
from tinyml.kernels.cpu.lanes import LANES
from tinyml.kernels.cpu.objectcode import function, load
from tinyml.kernels.cpu.workers import Workers

GRAIN = 1 << 16  # points of a nest below which one thread runs it all
MOST_RANGES = 256
ALIGNMENT = 64


class View:
    """Memory owned by something else: part of a buffer, or a NumPy array's memory."""

    __slots__ = ("ptr", "owner")

    def __init__(self, ptr: int, owner: Any) -> None:
        self.ptr = ptr
        self.owner = owner


def _raw(nbytes: int) -> Block:
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    address = memory.ctypes.data
    return -(-address // ALIGNMENT) * ALIGNMENT, memory


def _physical_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or its cgroup's."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = 1 << 33
    return min([total, *_group_limits("/sys/fs/cgroup", _text("/proc/self/cgroup"))])


def _group_limits(root: str, groups: str) -> list[int]:
    """Return the limits of a process's control groups (v1 and v2) and of those around them.

    `groups` is the text of /proc/self/cgroup: lines of number:controllers:path. A container often
    sees its own group as the root.
    """
    limits = []
    for line in ["::/", ":memory:/", *groups.splitlines()]:
        _, controllers, path = (line.split(":", 2) + ["", "", ""])[:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        folder, name = (("memory", "memory.limit_in_bytes") if controllers else
                        ("", "memory.max"))
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for count in range(len(parts) + 1):
            text = _text(os.path.join(root, folder, *parts[:count], name)).strip()
            if text.isdecimal():  # v2 has "max" for none, v1 a huge number
                limits.append(int(text))
    return limits


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def default_threads() -> int:
    """Return TINYML_NUM_THREADS, or the number of processors that this process may use."""
    chosen = os.environ.get("TINYML_NUM_THREADS")
    if chosen and chosen.isdecimal() and int(chosen) > 0:
        return int(chosen)
    if chosen:
        warnings.warn(f"TINYML_NUM_THREADS is {chosen!r}, no count of threads; all are used",
                      stacklevel=2)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


class CPU(NestDevice):
    """The device 'cpu'."""

    name = "cpu"
    emit = staticmethod(emit)
    width = LANES

    def __init__(self) -> None:
        self.pool = Pool(self.name, _raw, memory_budget(_physical_memory()))
        self.threads = default_threads()  # per kernel; see tinyml.set_num_threads
        self._workers = Workers()

    # ---- memory

    def _write(self, buffer: Buffer, array: Array) -> None:
        ctypes.memmove(buffer.ptr, array.ctypes.data, array.nbytes)

    def _read(self, buffer: Any, spec: Spec) -> Array:
        """Return the tensor's own memory; the array keeps it alive."""
        return array_at(buffer.ptr, buffer, spec)

    def lend(self, buffer: Any, spec: Spec) -> Array | None:
        """Return the tensor's own memory, unless its elements share bytes."""
        return None if spec.dtype.is_subbyte else self._read(buffer, spec)

    def borrow(self, array: Array) -> tuple[View, Spec] | None:
        """Return the array's own memory as a tensor's, and its layout; None if impossible."""
        spec = spec_of(array, self)
        return None if spec is None else (View(array.ctypes.data, array), spec)

    def view(self, buffer: Any, offset: int, spec: Spec) -> View:
        """Return a view of the memory that starts `offset` elements later."""
        return View(buffer.ptr + offset * spec.dtype.itemsize, buffer)

    def supports(self, dtype: DType) -> bool:
        """Return True: the CPU supports every type."""
        return True

    def synchronize(self) -> None:
        """Do nothing: when a call returns, its work is done."""

    # ---- execution

    def _bind(self, scheduled: ScheduledNest, ins: Sequence[Any], outs: Sequence[Spec], op: str,
              packs: Sequence[tuple[int, Run]] = (), into: bool = False) -> Run:
        kernel = self.emit(scheduled)
        address = load(kernel.source, kernel.types)
        small = function(address, kernel.types, False)
        large = function(address, kernel.types, True)
        metas = _ranges(kernel, points(scheduled))
        frees = [] if into else [self.pool.free_list(spec.nbytes) for spec in outs]
        space: dict[str, Any] = {
            "Buffer": Buffer, "take": self.pool.take, "call": small, "metas": metas,
            "meta": metas[0].ctypes.data, "ranges": [m.ctypes.data for m in metas],
            "large": large, "split": self._split, "refuse": _refuse_index, "op": op,
            "refuse_number": refuse_number, "rounded": rounded, "status_for": _status,
        }
        for k, (spec, free) in enumerate(zip(outs, frees)):
            space[f"free{k}"], space[f"size{k}"] = free, spec.nbytes
        for place, pack in packs:
            space[f"pack{place}"] = pack
        source = _binding(kernel, ins, len(outs), [place for place, _ in packs], len(metas) > 1,
                          scheduled.nest.scalars, into)
        exec(_compiled(source), space)
        run: Run = space.pop("run")  # a function in its own globals would be a cycle
        return run

    # ---- threads

    def _split(self, call: Callable[..., None], ranges: list[int], keep: Any, *args: Any) -> None:
        """Run a kernel over ranges that depend only on the shape, on as many threads as allowed.

        `keep` is what owns the memory that the arguments address.
        """
        others = min(self.threads, len(ranges)) - 1
        if others:
            self._workers.run(call, ranges, args, keep, others)
            return
        for meta in ranges:
            call(meta, *args)


@functools.lru_cache(maxsize=1024)
def _compiled(source: str) -> Any:
    return compile(source, "<tinyml binding>", "exec")


def _ranges(kernel: Kernel, work: int) -> list[np.ndarray[Any, Any]]:
    """Return one run-time record per range; the ranges depend only on the shape."""
    parts = max(1, min(kernel.extent, work // GRAIN, MOST_RANGES))
    cuts = [kernel.extent * k // parts for k in range(parts + 1)]
    return [np.array([lo, hi, *kernel.meta], np.int64) for lo, hi in zip(cuts, cuts[1:])]


def _binding(kernel: Kernel, ins: Sequence[Any], count: int, packed: Sequence[int], many: bool,
             scalars: Sequence[DType], into: bool) -> str:
    """Return the source of a function that calls the kernel.

    It allocates the `count` outputs, or takes them as arguments (`into`). `packed` operands are
    packed first; if there are `many` ranges, threads share them.
    """
    names = [f"a{k}" for k in range(len(ins))]
    results = [f"o{k}" for k in range(count)]
    tensors = [n for n, spec in zip(names, ins) if isinstance(spec, Spec)]
    numbers = [n for n, spec in zip(names, ins) if not isinstance(spec, Spec)]
    lines = [f"def run({', '.join([*names, *results] if into else names)}):"]
    kinds = [value.kind for value in ins if isinstance(value, Scalar)]
    for name, kind, dtype in zip(numbers, kinds, scalars):
        lines += _number_lines(name, kind, dtype)
    for k in range(0 if into else count):
        lines += ["    try:", f"        block = free{k}.pop()", "    except IndexError:",
                  f"        block = take(size{k})", f"    o{k} = Buffer(block, free{k})"]
    lines += [f"    a{place} = pack{place}(a{place})" for place in packed]
    pairs = [k for k, dtype in enumerate(scalars) if dtype.kind == "complex"]
    values = [f"{t}.ptr" for t in (*tensors, *results)]
    values += [f"{name}.real" if k in pairs else name for k, name in enumerate(numbers)]
    values += [f"{numbers[k]}.imag" for k in pairs]
    if kernel.checks:
        lines.append("    status = status_for()")
        values.insert(0, "status.ctypes.data")
    arguments = ", ".join(values)
    keep = ", ".join(["metas", *tensors, *results, *["status"] * kernel.checks])
    start = f"split(large, ranges, ({keep})" if many else "call(meta"
    lines.append(f"    {start}, {arguments})")
    if kernel.checks:
        lines.append("    if status[2]: refuse(status, op)")
    if not into:
        lines.append(f"    return {', '.join(results)}")
    return "\n".join(lines) + "\n"


def _number_lines(name: str, kind: type, dtype: DType) -> list[str]:
    """Return lines that refuse an out-of-range Python number and convert others to an argument."""
    if dtype.kind == "bool":
        return [f"    {name} = 1 if {name} else 0"]
    lines = []
    bounds = number_range(kind, dtype)
    if bounds is not None:
        low, high = bounds
        lines.append(f"    if not {low} <= {name} <= {high}: "
                     f"refuse_number({name}, {dtype.name!r})")
    if dtype.is_small_float:
        lines.append(f"    {name} = rounded({name}, {dtype.name!r})")
    return lines


def _status() -> np.ndarray[Any, Any]:
    return np.zeros(4, np.int64)


def _refuse_index(status: np.ndarray[Any, Any], op: str) -> None:
    raise out_of_range(status[0], status[1], status[3])
