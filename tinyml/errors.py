"""The error tree: every failure is a TinyMLError that is also the standard Python class."""

from __future__ import annotations

import linecache
import os
import sys
import types
from typing import Any, NoReturn

_HOUSE = os.path.dirname(os.path.abspath(__file__))
_ROOMS = tuple(
    os.path.join(folder, "")
    for folder in (
        _HOUSE,
        os.path.join(os.path.dirname(_HOUSE), "kernels"),
        os.path.join(os.path.dirname(_HOUSE), "conformance"),
    )
)


def user_frame(start: types.FrameType | None = None) -> types.FrameType | None:
    """The innermost frame outside tinyml, seen from `start` or the caller; None without one."""
    frame: types.FrameType | None = start or sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(_ROOMS) and not filename.startswith("<tinyml"):
            return frame
        frame = frame.f_back
    return None


def line_text(filename: str, number: int) -> str:
    """A line of a file as people read it: 'file:line: source'."""
    source = linecache.getline(filename, number).strip()
    place = f"{os.path.basename(filename)}:{number}"
    return f"{place}: {source[:120]}" if source else place


Place = tuple[str, int]


def user_place() -> Place | None:
    """File and number of the innermost line outside tinyml; None where there is none."""
    frame = user_frame()
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def user_line() -> str | None:
    """The innermost line outside tinyml, as 'file:line: source'; None where there is none."""
    place = user_place()
    return None if place is None else line_text(*place)


class TinyMLError(Exception):
    """The root of all errors that tinyml raises.

    Attributes: `message`, `remedy` (the nearest way out), `op` (the operation's name),
    `inputs` (dtypes, shapes and devices as text), `line` (the user's line). Each class has a usual
    remedy for where no nearer one is given.

    >>> from tinyml.errors import ShapeError
    >>> error = ShapeError("sizes differ", remedy="reshape one of them")
    >>> isinstance(error, ValueError), error.remedy
    (True, 'reshape one of them')
    """

    usual_remedy: str | None = None

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy or self.usual_remedy
        self.op: str | None = None
        self.inputs: str | None = None
        self.line = user_line()

    def during(self, op: str, inputs: str) -> TinyMLError:
        """Say which operation failed on which inputs; the innermost op keeps its place."""
        if self.op is None:
            self.op, self.inputs = op, inputs
        return self

    def __str__(self) -> str:
        lines = [f"{self.op}: {self.message}" if self.op else self.message]
        for label, text in (("inputs", self.inputs), ("line", self.line), ("remedy", self.remedy)):
            if text:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)


class ShapeError(TinyMLError, ValueError):
    """Shapes do not fit."""

    usual_remedy = "compare .shape of the operands; reshape, permute_dims or broadcast_to change it"


class DTypeError(TinyMLError, TypeError):
    """A data type is not accepted here."""

    usual_remedy = "cast with .astype(...)"


class DeviceError(TinyMLError, RuntimeError):
    """A device does not exist, is not usable, or refuses."""

    usual_remedy = "tinyml doctor shows the devices"


class MixedDeviceError(DeviceError, ValueError):
    """Tensors of two devices met in one operation."""


class ForkedDeviceError(DeviceError):
    """A device was used in a child process after a fork."""


class AxisError(TinyMLError, ValueError, IndexError):
    """An axis is out of range or named twice."""

    usual_remedy = "name each axis once, counted from 0, or from -1 at the end"


class ArgumentError(TinyMLError, ValueError):
    """An attribute or argument has a value that is not accepted."""

    usual_remedy = "see the docstring of the function"


class ArgumentTypeError(TinyMLError, TypeError):
    """An argument has a type that is not accepted."""

    usual_remedy = "see the docstring of the function"


class OutOfRangeError(TinyMLError, IndexError):
    """An index lies outside its axis."""

    usual_remedy = "an index inside of the axis"


class AllocationError(TinyMLError, MemoryError):
    """An allocation would exceed the memory budget."""

    usual_remedy = "smaller tensors, or free some"


class BuildError(TinyMLError, RuntimeError):
    """A kernel does not compile."""

    usual_remedy = "report it with the source above"


class KernelNotFound(TinyMLError, NotImplementedError):
    """An operation has no kernel, no nest and no body on a device."""

    usual_remedy = "tinyml.op.OPS lists the ops"


class GradientError(TinyMLError, RuntimeError):
    """A gradient was asked for where there is none."""

    usual_remedy = "make inputs with requires_grad=True, of a float type"


class NaNError(TinyMLError, FloatingPointError):
    """A NaN or an infinity appeared that no input held, and `tinyml.debug` was asked to say so."""

    usual_remedy = "keep the operands in the range that the op is defined on"


class GraphError(TinyMLError, ValueError):
    """A graph and what it is given do not fit."""

    usual_remedy = "trace the function again for these arguments"


class DynamicShapeError(TinyMLError, TypeError):
    """A size that depends on values was used as a number."""

    usual_remedy = "do this outside of jit and trace, where sizes are known"


class ConcretizationError(TinyMLError, TypeError):
    """A graph under construction was asked for a number that only its runs will have."""

    usual_remedy = "tinyml.where or tinyml.cond chooses by value; or do this outside of jit"


class LeakedTracerError(TinyMLError, RuntimeError):
    """A value of a graph was used after that graph was finished."""

    usual_remedy = "return it from the function, or pass the object that holds it as an argument"


class MissingExtraError(TinyMLError, ImportError):
    """An optional package is not installed."""


class FileFormatError(TinyMLError, ValueError):
    """A file is malformed."""

    usual_remedy = "write the file again"


class FileMissingError(TinyMLError, FileNotFoundError):
    """A file does not exist."""

    usual_remedy = "check the path"


class SerializationError(TinyMLError, TypeError):
    """An object refuses to be serialised in this way."""

    usual_remedy = "tinyml.save"


class ReadOnlyError(TinyMLError, TypeError):
    """Something that does not change was asked to."""

    usual_remedy = ".copy() first"


class CacheWarning(UserWarning):
    """The kernel cache cannot be used; results are right, only slower to start."""


class NaNWarning(UserWarning):
    """A NaN or an infinity appeared that no input held: `tinyml.debug(nans="warn")`."""


def expect(holds: bool, rule: str, actual: Any, error: type[TinyMLError] = ShapeError, *,
           remedy: str | None = None) -> None:
    """Raise `error` with 'Expect: rule' and 'Actual: actual' unless `holds`.

    >>> expect(2 + 2 == 4, "sums add up", None)
    """
    if not holds:
        refuse(rule, actual, error, remedy=remedy)


def refuse(rule: str, actual: Any, error: type[TinyMLError] = ShapeError, *,
           remedy: str | None = None) -> NoReturn:
    """Raise `error`, saying what was expected and what was found."""
    raise error(f"Expect: {rule}. Actual: {actual}", remedy=remedy)


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """The error for an optional package that is not installed."""
    return MissingExtraError(
        f"the package {package!r} is not installed", remedy=f"pip install 'tinyml[{extra}]'"
    )
