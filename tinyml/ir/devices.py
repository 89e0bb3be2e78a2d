"""Devices and kernels, found by name and loaded on first use.

A device's code is its room: a folder under kernels/ that has `open_device(number)` and
`candidates()`, and registers its kernels on import. Only the table here and the room itself know
the device's name; other code asks a device what it can do, and the kernel table what runs there.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from tinyml.concurrency import new_lock
from tinyml.dtypes import DType
from tinyml.errors import ArgumentError, DeviceError, DeviceTypeError, shown
from tinyml.ir.nest import Nest
from tinyml.ir.op import Op
from tinyml.ir.spec import Spec

# The rooms, and whether their devices are numbered: 'opencl', 'opencl:1', ...
_NUMBERED = {"cpu": False, "opencl": True}
ROOMS = tuple(_NUMBERED)
HOST = "cpu"  # the device in host memory; the default unless TINYML_DEVICE is set
_NAME = re.compile("|".join(f"{room}(:[0-9]{{1,3}})?" if numbered else room
                            for room, numbered in _NUMBERED.items()))


class Call(NamedTuple):
    """A request to a kernel: an op, the layouts of its inputs, its attributes, the outputs."""

    op: Op
    ins: tuple[Any, ...]
    attrs: dict[str, Any]
    outs: tuple[Spec, ...]
    device: Device


class Plan(NamedTuple):
    """How a call runs: `run(*buffers and numbers)` returns a buffer, or a tuple of `outs` buffers.

    `how` tells people what it is: kernel, nest, body or view.
    """

    run: Callable[..., Any]
    outs: tuple[Spec, ...]
    how: str


class Device(Protocol):
    """The interface of a device. Its buffers are opaque to others; offsets are in elements.

    `asynchronous` devices may still be working when a call returns.
    """

    name: str
    asynchronous: bool

    def empty(self, nbytes: int) -> Any:
        """Return new memory."""

    def upload(self, array: Any, dtype: DType | None = None) -> Any:
        """Return new memory that holds a dense NumPy array, packed if `dtype` is a packed type."""

    def download(self, buffer: Any, spec: Spec) -> Any:
        """Wait for a tensor's content, and return it as a NumPy array."""

    def export(self, buffer: Any, spec: Spec) -> Any:
        """Return a tensor's memory for other libraries, in each protocol that they support."""

    def borrow(self, array: Any) -> tuple[Any, Spec] | None:
        """Return an array's own memory as a buffer, and its layout; None if impossible."""

    def as_array(self, data: Any, dtype: Any = None, copy: bool | None = None) -> Any:
        """Return anything that holds numbers as a NumPy array, for a tensor of type `dtype`."""

    def view(self, buffer: Any, offset: int, spec: Spec) -> Any:
        """Return a view of the memory that starts `offset` elements later."""

    def prepare(self, nest: Nest, ins: Sequence[Any], outs: Sequence[Spec], op: str,
                into: bool = False) -> Callable[..., Any]:
        """Return a function that runs the nest, from input buffers and numbers to output buffers.

        With `into`, it takes the output buffers after the inputs and returns None.
        """

    def supports(self, dtype: Any) -> bool:
        """Return whether this device can hold tensors of this type."""

    def synchronize(self) -> None:
        """Wait for all work; raise the first error of this thread's calls that no read raised."""

    def afford(self, nbytes: int) -> None:
        """Raise AllocationError if this much could never be allocated."""

    def limit_memory(self, size: int | str | None) -> None:
        """Set the number of bytes that may be held; None restores the default."""

    def in_use(self) -> int:
        """Return the number of bytes in use by tensors."""

    def block_size(self, nbytes: int) -> int:
        """Return the size of the block that serves a request; equal sizes may share a block."""


# ---- devices

_devices: dict[str, Device] = {}
_limits: dict[str, int | str | None] = {}  # of memory, by device; "" for all others
_lock = new_lock(whole=True)


def is_device_name(name: str) -> bool:
    """Return whether this is a valid name of a device, whether or not it exists here.

    >>> [is_device_name(name) for name in ("cpu", "opencl:1", "cpu:1", "gpu")]
    [True, True, False, False]
    """
    return _NAME.fullmatch(name) is not None


def find_device(name: str | Device | None = None) -> Device:
    """Return a device by name: 'cpu', 'opencl', 'opencl:1'; for None, TINYML_DEVICE or 'cpu'.

    Raises DeviceError if there is none.

    >>> find_device("cpu")
    cpu
    """
    if name is None:
        name = os.environ.get("TINYML_DEVICE") or HOST
    if not isinstance(name, str):
        if not hasattr(type(name), "as_array"):  # of the protocol; no other argument has it
            raise DeviceTypeError(f"a device is {shown(name)} of type {type(name).__name__}",
                                  remedy="'cpu', 'opencl' or 'opencl:1'")
        return name
    found = _devices.get(name)
    if found is not None:
        return found
    if not is_device_name(name):
        raise DeviceError(f"no device {name!r}", remedy="'cpu', 'opencl' or 'opencl:1'")
    room, _, digits = name.partition(":")
    number = int(digits or 0)
    canonical = f"{room}:{number}" if number else room
    with _lock:
        if canonical not in _devices:
            opened: Device = _room(room).open_device(number)
            opened.limit_memory(_limits.get(canonical, _limits.get("")))
            _devices[canonical] = opened
        _devices[name] = _devices[canonical]
        return _devices[name]


@functools.cache
def _room(name: str) -> Any:
    """Return the module of a room, whose kernels are registered by its import."""
    return importlib.import_module(f"tinyml.kernels.{name}")


def candidates(room: str) -> Any:
    """Return the devices that a room found, usable or not, as `tinyml doctor` shows them."""
    return _room(room).candidates()


def set_num_threads(count: int) -> None:
    """Let each CPU kernel use up to `count` threads; results do not depend on it.

    Raises ArgumentError unless `count` is at least 1.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ArgumentError(f"{shown(count)} threads", remedy="an integer of at least 1")
    cpu: Any = find_device(HOST)
    cpu.threads = count


def set_memory_limit(limit: int | str | None, device: str | Device | None = None) -> None:
    """Let a device hold at most `limit` bytes of memory; by default every device, each so much.

    `limit` is a number of bytes or text with a unit, "2GB" or "512 MiB"; None restores the default:
    TINYML_MEMORY_LIMIT, or 4/5 of what the device has. Tensors that exist stay; what would exceed
    the limit raises AllocationError before it is allocated. `tinyml.memory_stats().budget` returns
    the limit. Raises ArgumentError for anything else, DeviceError if there is no such device.

    >>> import tinyml
    >>> tinyml.set_memory_limit("2GB")
    >>> tinyml.memory_stats("cpu").budget
    2000000000
    >>> tinyml.set_memory_limit(None)
    """
    one = find_device(HOST if device is None else device)
    one.limit_memory(limit)  # which checks it
    with _lock:
        if device is None:
            _limits.clear()
            _limits[""] = limit
            for other in _devices.values():
                other.limit_memory(limit)
        else:
            _limits[one.name] = limit


def get_num_threads() -> int:
    """Return the number of threads that a CPU kernel may use."""
    cpu: Any = find_device(HOST)
    threads: int = cpu.threads
    return threads


# ---- kernels

KernelFunction = Callable[[Call], Plan | None]
_kernels: dict[tuple[str, str | None], list[tuple[int, KernelFunction]]] = {}


def kernel(op: str, room: str | None = None,
           rank: int = 0) -> Callable[[KernelFunction], KernelFunction]:
    """Register a kernel of an op for a room, or for all devices; higher ranks are asked first.

    The kernel takes a Call and returns a Plan, or None to decline, so that the next one is asked.
    """

    def register(function: KernelFunction) -> KernelFunction:
        _kernels.setdefault((op, room), []).append((rank, function))
        return function

    return register


def find_kernels(op: str, device: str) -> list[KernelFunction]:
    """Return the kernels of an op on the device of this name, highest rank first."""
    room = device.partition(":")[0]
    if room in ROOMS:
        _room(room)
    known = [*_kernels.get((op, room), []), *_kernels.get((op, None), [])]
    return [function for _, function in sorted(known, key=lambda entry: -entry[0])]
