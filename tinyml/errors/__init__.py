"""The error classes: each is a TinyMLError and also the matching standard Python error."""

from __future__ import annotations

import inspect
import linecache
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

_HOUSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_BESIDE = [os.path.join(os.path.dirname(_HOUSE), room) for room in ("kernels", "conformance")]
_ROOMS = (*[os.path.join(folder, "") for folder in (_HOUSE, *_BESIDE)], "<tinyml")
_STANDARD = (os.path.join(os.path.dirname(os.__file__), ""), "<frozen ", "<__array_function__")
_PACKAGES = tuple([f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages")])
_owners: dict[str, str] = {}


def owner(filename: str) -> str:
    """Return whose code a file holds: "tinyml", "library", "python" (its own library) or "user".

    >>> owner(os.__file__), owner(__file__), owner("<stdin>")
    ('python', 'tinyml', 'user')
    """
    found = _owners.get(filename)
    if found is None:
        found = ("tinyml" if filename.startswith(_ROOMS)
                 else "library" if any(name in filename for name in _PACKAGES)
                 else "python" if filename.startswith(_STANDARD) else "user")
        _owners[filename] = found
    return found


def user_frame(start: types.FrameType | None = None) -> types.FrameType | None:
    """Return the innermost frame of the user's code, seen from `start` or the caller.

    Where there is none but an installed package's, that one; None if there is neither.
    """
    frame: types.FrameType | None = start or sys._getframe(1)
    library = None
    while frame is not None:
        whose = owner(frame.f_code.co_filename)
        if whose == "user":
            return frame
        if whose == "library" and library is None:
            library = frame
        frame = frame.f_back
    return library


def line_text(filename: str, number: int) -> str:
    """Return a line of a file for people to read: 'file:line: source'."""
    source = linecache.getline(filename, number).strip()
    place = f"{os.path.basename(filename)}:{number}"
    return f"{place}: {source[:120]}" if source else place


SourceLocation = tuple[str, int]


def user_location() -> SourceLocation | None:
    """Return file and number of the user's innermost line; None if there is none."""
    frame = user_frame()
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def user_line() -> str | None:
    """Return the user's innermost line, as 'file:line: source'.

    Returns None if there is none.
    """
    place = user_location()
    return None if place is None else line_text(*place)


def shown(value: Any, limit: int = 80) -> str:
    """Return a value's repr in at most `limit` characters, or its type's name if that raises.

    So what is said about an argument never hides the error that it is said in.

    >>> shown("x" * 9, 5), shown(3)
    ("'xxxx", '3')
    """
    try:
        return repr(value)[:limit]
    except Exception:  # whatever the caller's object raises
        return f"<{type(value).__name__}>"


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
        self._final = False

    def during(self, op: str, inputs: str, final: bool = True) -> TinyMLError:
        """Record which operation failed on which inputs, unless an inner one is recorded for good.

        It is not `final` for a function that tinyml itself called: the user called another one.
        """
        if not self._final:
            self.op, self.inputs, self._final = op, inputs, final
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


class DeviceTypeError(DeviceError, TypeError):
    """A device was named by something other than a string."""


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
                           remedy=f"indices from {-size} to {size - 1}" if size
                           else "no index fits an axis without elements; a slice may be empty")


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
    found = actual if isinstance(actual, str) else shown(actual, 400)
    raise error(f"Expect: {rule}. Actual: {found}", remedy=remedy)


# What an error of Python's or of another library's becomes, if arguments caused it.
_TYPED: tuple[tuple[type[Exception], type[TinyMLError]], ...] = (
    (RecursionError, ArgumentError), (MemoryError, AllocationError), (IndexError, OutOfRangeError),
    (TypeError, ArgumentTypeError), (AttributeError, ArgumentTypeError),
    (ValueError, ArgumentError), (LookupError, ArgumentError), (ArithmeticError, ArgumentError),
)


def typed(error: Exception, remedy: str | None = None) -> TinyMLError | None:
    """Return the TinyMLError for an error that arguments caused deep inside.

    None if the user's code is on the way to where it was raised, as with a callback or a method of
    an argument, and if it is of no such kind: these pass as they are.

    >>> type(typed(OverflowError("too large"))).__name__, typed(OSError("disk"))
    ('ArgumentError', None)
    """
    kind = next((ours for theirs, ours in _TYPED if isinstance(error, theirs)), None)
    place = error.__traceback__ and error.__traceback__.tb_next  # the first is who asks
    while place is not None:
        if owner(place.tb_frame.f_code.co_filename) == "user":
            return None
        place = place.tb_next
    if kind is None:
        return None
    if isinstance(error, RecursionError):
        return kind("an argument contains itself, or is nested too deeply",
                    remedy="lists within lists, as deep as the tensor has axes")
    return kind(f"the arguments do not fit: {error}", remedy=remedy)


def as_function(f: Any, what: str = "f") -> Any:
    """Return f if it can be called; raise ArgumentTypeError otherwise.

    >>> as_function(len) is len
    True
    """
    if not callable(f):
        refuse(f"a function as {what}", f"{shown(f)} of type {type(f).__name__}", ArgumentTypeError,
               remedy="a function of tensors, such as lambda x: (x * x).sum()")
    return f


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Return the error for an optional package that is not installed."""
    return MissingExtraError(
        f"the package {package!r} is not installed", remedy=f"pip install 'tinyml[{extra}]'"
    )


def usage(function: Callable[..., Any]) -> str:
    """Return how a function is called, without the annotations."""
    wanted = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in wanted.parameters.values()]
    return f"{function.__name__}{wanted.replace(parameters=bare, return_annotation=wanted.empty)}"
