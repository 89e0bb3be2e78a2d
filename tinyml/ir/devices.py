"""The kernel table and the devices: both found by name, loaded on first use."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from tinyml.dtypes import DType
from tinyml.errors import ArgumentError, DeviceError
from tinyml.ir.nest import Nest
from tinyml.ir.op import Op
from tinyml.ir.spec import Spec


class Call(NamedTuple):
    """What a kernel is asked for: an op, the layouts of its inputs, its attributes, the outputs."""

    op: Op
    ins: tuple[Any, ...]
    attrs: dict[str, Any]
    outs: tuple[Spec, ...]
    device: Device


class Plan(NamedTuple):
    """How a call runs: `run(*buffers and numbers)` gives a buffer, or a tuple of `outs` buffers.

    `how` says for people what it is: kernel, nest, body or view.
    """

    run: Callable[..., Any]
    outs: tuple[Spec, ...]
    how: str


class Device(Protocol):
    """What a room under kernels/ provides. Buffers are its own; offsets are in elements."""

    name: str

    def empty(self, nbytes: int) -> Any:
        """New memory."""

    def upload(self, array: Any, dtype: DType | None = None) -> Any:
        """New memory with the content of a dense NumPy array, packed where `dtype` is."""

    def download(self, buffer: Any, spec: Spec) -> Any:
        """A NumPy array of a tensor's content; waits for it."""

    def export(self, buffer: Any, spec: Spec) -> Any:
        """A tensor's memory for other libraries, by each protocol that they know."""

    def borrow(self, array: Any) -> tuple[Any, Spec] | None:
        """An array's own memory as a buffer, and its layout; None where no tensor can lie there."""

    def as_array(self, data: Any, dtype: Any = None, copy: bool | None = None) -> Any:
        """A NumPy array of anything that holds numbers, meant for a tensor of type `dtype`."""

    def view(self, buffer: Any, offset: int, spec: Spec) -> Any:
        """The same memory, `offset` elements further on."""

    def prepare(self, nest: Nest, ins: Sequence[Any], outs: Sequence[Spec], op: str,
                into: bool = False) -> Callable[..., Any]:
        """A function from input buffers and numbers to output buffers that runs the nest.

        With `into`, it takes the output buffers after the inputs and gives nothing.
        """

    def supports(self, dtype: Any) -> bool:
        """Whether tensors of this type may live here."""

    def synchronize(self) -> None:
        """Wait until all that was asked for is done; raise what went wrong meanwhile."""

    def afford(self, nbytes: int) -> None:
        """AllocationError where this much could never be allocated."""

    def in_use(self) -> int:
        """Bytes held by tensors."""

    def block_size(self, nbytes: int) -> int:
        """Bytes of the block that serves a request: requests of one block size may share it."""


HOST = "cpu"  # the device that is always there; its memory is the host's
_ROOMS = {"cpu": "tinyml.kernels.cpu", "opencl": "tinyml.kernels.opencl"}
_devices: dict[str, Device] = {}
_lock = threading.RLock()
Kernel = Callable[[Call], Plan | None]
_kernels: dict[tuple[str, str], list[tuple[int, Kernel]]] = {}


def device(name: str | Device | None = None) -> Device:
    """The device of a name: 'cpu', 'opencl', 'opencl:1'; None means TINYML_DEVICE or 'cpu'.

    Raises DeviceError where there is none.

    >>> device("cpu")
    cpu
    """
    if name is None:
        name = os.environ.get("TINYML_DEVICE") or "cpu"
    if not isinstance(name, str):
        return name
    found = _devices.get(name)
    if found is not None:
        return found
    room, _, number = name.partition(":")
    if room not in _ROOMS or (number and not number.isdigit()) or (room == "cpu" and number):
        raise DeviceError(f"no device {name!r}", remedy="'cpu', 'opencl' or 'opencl:1'")
    with _lock:
        if name not in _devices:
            canonical = room if int(number or 0) == 0 else f"{room}:{int(number)}"
            if canonical not in _devices:
                opened = importlib.import_module(_ROOMS[room]).open_device(int(number or 0))
                _devices[canonical] = opened
            _devices[name] = _devices[canonical]
        return _devices[name]


def kernel(op: str, room: str, rank: int = 0) -> Callable[[Kernel], Kernel]:
    """Register a kernel of an op for 'cpu' or 'opencl'; a higher rank is asked first.

    The kernel gets a Call and returns a Plan, or None: not mine, ask the next.
    """

    def register(function: Kernel) -> Kernel:
        table = _kernels.setdefault((op, room), [])
        table.append((rank, function))
        table.sort(key=lambda entry: -entry[0])
        return function

    return register


def find(op: str, room: str) -> list[Kernel]:
    """The kernels of an op on a device's room, the highest rank first."""
    return [function for _, function in _kernels.get((op, room.partition(":")[0]), [])]


def set_num_threads(count: int) -> None:
    """How many threads a CPU kernel may use; results do not depend on it.

    Raises ArgumentError unless `count` is at least 1.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ArgumentError(f"{count!r} threads", remedy="an integer of at least 1")
    cpu: Any = device("cpu")
    cpu.threads = count


def get_num_threads() -> int:
    """How many threads a CPU kernel may use."""
    cpu: Any = device("cpu")
    threads: int = cpu.threads
    return threads
