"""Add to errors the operation that failed and its operands."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar

from tinyml.core.node import Data
from tinyml.errors import TinyMLError, owner, shown, typed, usage
from tinyml.errors.hints import keyword

P = ParamSpec("P")
R = TypeVar("R")


def describe(xs: Sequence[Any]) -> str:
    """Return operands as text for an error message."""
    return ", ".join(repr(x.spec) if isinstance(x, Data) else shown(x) for x in xs)


def add_context(error: TinyMLError, name: str, xs: Sequence[Any]) -> TinyMLError:
    """Return the error, naming an operation and its operands unless it names others already.

    For hot paths, where a context manager would be too slow.
    """
    return error if error.op is not None else error.during(name, describe(xs))


def fail(error: Exception, name: str, xs: Sequence[Any], remedy: str | None = None,
         final: bool = True) -> NoReturn:
    """Raise the error, naming an operation and its operands.

    What Python or NumPy raise about arguments becomes a TinyMLError (`typed`), caused by it. What
    the user's code raised is raised as it is.
    """
    found = error if isinstance(error, TinyMLError) else typed(error, remedy)
    try:
        if found is None:
            raise error
        found.during(name, describe(xs), final)
        raise found from (error.__cause__ if found is error else error)
    finally:
        del error, found  # the traceback has this frame: a cycle


@contextmanager
def error_context(name: str, xs: Sequence[Any]) -> Iterator[None]:
    """Make errors raised inside the block name this operation and these operands."""
    try:
        yield
    except TinyMLError as error:
        raise add_context(error, name, xs) from error.__cause__


def named_in_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Make the errors of a public function name it and its operands, as an op's errors do.

    The function that the user called is named, not one that it calls; what the arguments make
    Python or NumPy raise becomes a TinyMLError, whose remedy is the function's signature.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            by_user = owner(sys._getframe(1).f_code.co_filename) != "tinyml"
            remedy = None if isinstance(error, TinyMLError) else keyword(error) or usage(function)
            fail(error, function.__name__, args, remedy, by_user)

    return call
