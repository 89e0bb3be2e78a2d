"""What all devices share: pooled memory, transfers to and from the host, preparing nests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from tinyml.dtypes import DType, integer_range
from tinyml.errors import ArgumentError, DTypeError
from tinyml.ir.devices import find_device
from tinyml.ir.nest import Nest
from tinyml.ir.spec import Spec, flat, stored
from tinyml.kernels.common.emitter import Kernel
from tinyml.kernels.common.interchange import Export, as_array
from tinyml.kernels.common.pool import Buffer, Pool, size_class
from tinyml.kernels.common.schedule import Packing, ScheduledNest, run_in_lanes
from tinyml.kernels.common.subbyte import byte_spec, pack, unpack

Array = np.ndarray[Any, Any]
Run = Callable[..., Any]  # from buffers and numbers to buffers
LIMIT = 1 << 1000  # integers from here on are beyond every float


class Candidate(NamedTuple):
    """A device that was found, described for people.

    name     the name that opens it; None if it is not usable
    about    what it is and can do
    driver   what runs it, or ''
    remedy   what to do if it does not work
    problem  why it is not usable, or ''
    """

    name: str | None
    about: str
    driver: str
    remedy: str
    problem: str = ""


class NestDevice(ABC):
    """A device that runs nests. Devices compare by their names.

    asynchronous  whether work may still be running when a call returns
    runs_lanes    whether several points of a nest run in one work-item, as CPU vectors need
    width         the number of lanes of a long sum over a last axis, a part of its order
    emit          turns a scheduled nest into a kernel in the device's language
    """

    name: str
    pool: Pool
    asynchronous = False
    runs_lanes = True
    width = 8
    emit: Callable[[ScheduledNest], Kernel]

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return self is other or other == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return find_device, (self.name,)

    # ---- memory

    def empty(self, nbytes: int) -> Buffer:
        """Return new, uninitialised memory."""
        return self.pool.empty(nbytes)

    def upload(self, array: Array, dtype: DType | None = None) -> Buffer:
        """Return new memory that holds a dense array, packed if `dtype` is a packed type."""
        array = pack(array, dtype)
        buffer = self.empty(array.nbytes)
        self._write(buffer, array)
        return buffer

    def download(self, buffer: Any, spec: Spec) -> Array:
        """Return a tensor's content as a read-only array; raise pending errors of the device."""
        if spec.dtype.is_subbyte:
            return unpack(self._read(buffer, byte_spec(spec)), spec)
        return self._read(buffer, spec)

    @abstractmethod
    def _write(self, buffer: Buffer, array: Array) -> None:
        """Copy a dense array into new memory."""

    @abstractmethod
    def _read(self, buffer: Any, spec: Spec) -> Array:
        """Return the content, read-only, of a tensor whose elements are whole bytes."""

    @abstractmethod
    def view(self, buffer: Any, offset: int, spec: Spec) -> Any:
        """Return a view of the memory that starts `offset` elements later."""

    def afford(self, nbytes: int) -> None:
        """Raise AllocationError if this much could never be allocated."""
        self.pool.afford(nbytes)

    def limit_memory(self, size: int | str | None) -> None:
        """Set the number of bytes that may be held; None restores the default."""
        self.pool.limit(size)

    def in_use(self) -> int:
        """Return the number of bytes in use by tensors."""
        return self.pool.in_use()

    def block_size(self, nbytes: int) -> int:
        """Return the size of the block that serves a request; equal sizes may share a block."""
        return size_class(nbytes)

    # ---- other libraries' memory

    def lend(self, buffer: Any, spec: Spec) -> Array | None:
        """Return a tensor's own memory, read-only; None if the host cannot address it."""
        return None

    def borrow(self, array: Array) -> tuple[Any, Spec] | None:
        """Return an array's own memory as a tensor's, and its layout; None if impossible."""
        return None

    def export(self, buffer: Any, spec: Spec) -> Export:
        """Return a tensor's memory in a form that other libraries can import."""
        return Export(self, buffer, spec)

    as_array = staticmethod(as_array)

    # ---- execution

    @abstractmethod
    def supports(self, dtype: DType) -> bool:
        """Return whether this device can hold tensors of this type."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all work; raise the first error of this thread's calls that no read raised."""

    def prepare(self, nest: Nest, ins: Sequence[Any], outs: Sequence[Spec], op: str,
                into: bool = False) -> Run:
        """Return a function that runs the nest, from input buffers and numbers to output buffers.

        With `into`, it takes the output buffers after the inputs and returns None.
        """
        for dtype in dict.fromkeys([instr.dtype for instr in nest.code]):
            if not self.supports(dtype):
                raise DTypeError(f"device {self.name} has no {dtype.name}",
                                 remedy="float32, or device='cpu'")
        if any(spec.size == 0 for spec in outs):
            return self._run_nothing(ins, outs, into)
        scheduled, copies = self._schedule(nest, ins, outs)
        places = [k for k, spec in enumerate(ins) if isinstance(spec, Spec)]
        packs = []
        for copy in copies:
            place = places[copy.arg]
            spec = ins[place]
            packs.append((place, self._bind(copy.scheduled, [spec], [flat(spec)], "pack")))
        return self._bind(scheduled, ins, outs, op, packs, into)

    def sources(self, nest: Nest, ins: Sequence[Any], outs: Sequence[Spec]) -> list[str]:
        """Return the sources that `prepare` compiles: those that pack operands, then the nest's."""
        scheduled, copies = self._schedule(nest, ins, outs)
        return [self.emit(each).source for each in [*[c.scheduled for c in copies], scheduled]]

    def _schedule(self, nest: Nest, ins: Sequence[Any],
                  outs: Sequence[Spec]) -> tuple[ScheduledNest, list[Packing]]:
        """Return the scheduled nest and the copies that pack its operands."""
        tensors = [spec for spec in ins if isinstance(spec, Spec)]
        strides = [spec.strides for spec in (*tensors, *map(stored, outs))]
        scheduled = ScheduledNest(nest, strides, self.width)
        copies = run_in_lanes(scheduled, tensors) if self.runs_lanes else []
        return scheduled.build(), copies

    @abstractmethod
    def _bind(self, scheduled: ScheduledNest, ins: Sequence[Any], outs: Sequence[Spec], op: str,
              packs: Sequence[tuple[int, Run]] = (), into: bool = False) -> Run:
        """Return what `prepare` returns, for a scheduled nest.

        `packs` are (operand, function) pairs: the kernel reads the function's result instead.
        """

    def _run_nothing(self, ins: Sequence[Any], outs: Sequence[Spec], into: bool) -> Run:
        """Return the function to run when an output is empty: nothing is computed."""
        places = [k for k, spec in enumerate(ins) if isinstance(spec, Spec)]

        def run(*values: Any) -> Any:
            results = values[len(ins):] if into else [self.empty(spec.nbytes) for spec in outs]
            self._inherit([values[k] for k in places], results)
            if into:
                return None
            return tuple(results) if len(results) > 1 else results[0]

        return run

    def _inherit(  # noqa: B027  # a hook: nothing to do where calls are done when they return
        self, operands: Sequence[Any], results: Sequence[Buffer]) -> None:
        """Make results raise what is known too late of operands; nothing is, if calls are done."""


# ---- Python numbers passed to a kernel at run time


def number_range(kind: type, dtype: DType) -> tuple[int, int] | None:
    """Return the least and greatest number of a kind allowed with a type; None if all are.

    Integers that would wrap or exceed every float are refused; floats become infinite.

    >>> from tinyml.dtypes import float32, int8
    >>> number_range(int, int8), number_range(float, float32)
    ((-128, 127), None)
    """
    if kind is not int or dtype.kind == "bool":
        return None
    return integer_range(dtype) if dtype.is_integer else (1 - LIMIT, LIMIT - 1)


def refuse_number(value: int, dtype: str) -> NoReturn:
    """Raise ArgumentError for a number outside the range of the type that it is combined with."""
    raise ArgumentError(
        f"the number {value} does not fit {dtype}" if abs(value) < LIMIT
        else "a number beyond every data type",
        remedy="cast the tensor to a wider type first",
    )
