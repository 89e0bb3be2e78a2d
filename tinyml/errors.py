"""The error classes: each is a TinyMLError and also the matching standard Python error."""

from __future__ import annotations

import linecache
import os
import sys
import types
from typing import Any, NoReturn

_HOUSE = os.path.dirname(os.path.abspath(__file__))
_BESIDE = [os.path.join(os.path.dirname(_HOUSE), room) for room in ("kernels", "conformance")]
_ROOMS = tuple([os.path.join(folder, "") for folder in (_HOUSE, *_BESIDE)])


def user_frame(start: types.FrameType | None = None) -> types.FrameType | None:
    """Return the innermost frame outside tinyml, seen from `start` or the caller.

    Returns None if there is none.
    """
    frame: types.FrameType | None = start or sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(_ROOMS) and not filename.startswith("<tinyml"):
            return frame
        frame = frame.f_back
    return None


def line_text(filename: str, number: int) -> str:
    """Return a line of a file for people to read: 'file:line: source'."""
    source = linecache.getline(filename, number).strip()
    place = f"{os.path.basename(filename)}:{number}"
    return f"{place}: {source[:120]}" if source else place


SourceLocation = tuple[str, int]


def user_location() -> SourceLocation | None:
    """Return file and number of the innermost line outside tinyml; None if there is none."""
    frame = user_frame()
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def user_line() -> str | None:
    """Return the innermost line outside tinyml, as 'file:line: source'.

    Returns None if there is none.
    """
    place = user_location()
    return None if place is None else line_text(*place)


class TinyMLError(Exception):
    """The root of all errors that tinyml raises.

    Attributes: `message`, `remedy` (what to do about it), `op` (the operation's name), `inputs`
    (dtypes, shapes and devices as text), `line` (the user's line). Each class has a default
    remedy, used if no more specific one is given.

    >>> from tinyml.errors import ShapeError
    >>> error = ShapeError("sizes differ", remedy="reshape one of them")
    >>> isinstance(error, ValueError), error.remedy
    (True, 'reshape one of them')
    """

    usual_remedy: str | None = None

    def __init_subclass__(cls, remedy: str | None = None) -> None:
        if remedy is not None:
            cls.usual_remedy = remedy

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy or self.usual_remedy
        self.op: str | None = None
        self.inputs: str | None = None
        self.line = user_line()

    def during(self, op: str, inputs: str) -> TinyMLError:
        """Record which operation failed on which inputs, unless an inner op is recorded already."""
        if self.op is None:
            self.op, self.inputs = op, inputs
        return self

    def __str__(self) -> str:
        lines = [f"{self.op}: {self.message}" if self.op else self.message]
        for label, text in (("inputs", self.inputs), ("line", self.line), ("remedy", self.remedy)):
            if text:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)


class ShapeError(
    TinyMLError, ValueError,
    remedy="compare .shape of the operands; reshape, permute_dims or broadcast_to change it",
):
    """Shapes do not match."""


class DTypeError(TinyMLError, TypeError, remedy="cast with .astype(...)"):
    """A data type is not accepted here."""


class DeviceError(TinyMLError, RuntimeError, remedy="tinyml doctor shows the devices"):
    """A device does not exist, is not usable, or refuses."""


class MixedDeviceError(DeviceError, ValueError):
    """One operation was given tensors on two devices."""


class ForkedDeviceError(DeviceError):
    """A device was used in a child process after a fork."""


class AxisError(TinyMLError, ValueError, IndexError,
                remedy="name each axis once, counted from 0, or from -1 at the end"):
    """An axis is out of range or named twice."""


class ArgumentError(TinyMLError, ValueError, remedy="see the docstring of the function"):
    """An attribute or argument has a value that is not accepted."""


class ArgumentTypeError(TinyMLError, TypeError, remedy="see the docstring of the function"):
    """An argument has a type that is not accepted."""


class OutOfRangeError(TinyMLError, IndexError, remedy="an index inside of the axis"):
    """An index lies outside its axis."""


def out_of_range(index: int, size: int, axis: int = -1) -> OutOfRangeError:
    """Return the error for an out-of-range index; a negative `axis` means that it has no number.

    >>> print(out_of_range(4, 3, 0).message)
    index 4 is out of range for axis 0 of size 3
    """
    which = "an axis" if axis < 0 else f"axis {axis}"
    return OutOfRangeError(f"index {index} is out of range for {which} of size {size}",
                           remedy=f"indices from {-size} to {size - 1}")


class AllocationError(TinyMLError, MemoryError, remedy="smaller tensors, or free some"):
    """An allocation would exceed the memory budget."""


class BuildError(TinyMLError, RuntimeError, remedy="report it with the source above"):
    """A kernel does not compile."""


class KernelNotFound(TinyMLError, NotImplementedError, remedy="`tinyml kernels` lists the ops"):
    """An operation has no kernel, no nest and no body on a device."""


class GradientError(TinyMLError, RuntimeError,
                    remedy="make inputs with requires_grad=True, of a float type"):
    """A gradient was requested where there is none."""


class NaNError(TinyMLError, FloatingPointError,
               remedy="keep the operands in the range that the op is defined on"):
    """A NaN or an infinity appeared that no input held; raised under `tinyml.debug`."""


class GraphError(TinyMLError, ValueError, remedy="trace the function again for these arguments"):
    """A graph and its arguments do not match."""


class DynamicShapeError(TinyMLError, TypeError,
                        remedy="do this outside of jit and trace, where sizes are known"):
    """A size that depends on values was used as a number."""


class ConcretizationError(
    TinyMLError, TypeError,
    remedy="tinyml.where or tinyml.cond chooses by value; or do this outside of jit",
):
    """A graph under construction was asked for a value that exists only when it runs."""


class LeakedTracerError(
    TinyMLError, RuntimeError,
    remedy="return it from the function, or pass the object that holds it as an argument",
):
    """A value of a graph was used after the graph was finished."""


class MissingExtraError(TinyMLError, ImportError):
    """An optional package is not installed."""


class FileFormatError(TinyMLError, ValueError, remedy="write the file again"):
    """A file is malformed."""


class FileMissingError(TinyMLError, FileNotFoundError, remedy="check the path"):
    """A file does not exist."""


class SerializationError(TinyMLError, TypeError, remedy="tinyml.save"):
    """An object cannot be serialised in this way."""


class ExportError(TinyMLError, BufferError, remedy="x.copy() first, or x.to('cpu')"):
    """A tensor cannot be handed to another library in this way."""


class ReadOnlyError(TinyMLError, TypeError, remedy=".copy() first"):
    """A change was made to something that cannot be changed."""


class UnknownNameError(TinyMLError, AttributeError, remedy="dir(...) lists what there is"):
    """A module or an object has no attribute of this name."""


class DeviceWarning(UserWarning):
    """A tensor is not on the device where it was: that device is missing here."""


class CacheWarning(UserWarning):
    """The kernel cache cannot be used; results are correct, but starting is slower."""


class NaNWarning(UserWarning):
    """A NaN or an infinity appeared that no input held; from `tinyml.debug(nans="warn")`."""


def expect(holds: bool, rule: str, actual: Any, error: type[TinyMLError] = ShapeError, *,
           remedy: str | None = None) -> None:
    """Raise `error` with 'Expect: rule' and 'Actual: actual' unless `holds`.

    >>> expect(2 + 2 == 4, "sums add up", None)
    """
    if not holds:
        refuse(rule, actual, error, remedy=remedy)


def refuse(rule: str, actual: Any, error: type[TinyMLError] = ShapeError, *,
           remedy: str | None = None) -> NoReturn:
    """Raise `error`, stating what was expected and what was found."""
    raise error(f"Expect: {rule}. Actual: {actual}", remedy=remedy)


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Return the error for an optional package that is not installed."""
    return MissingExtraError(
        f"the package {package!r} is not installed", remedy=f"pip install 'tinyml[{extra}]'"
    )
