"""Add to errors the operation that failed and its operands."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from tinyml.core.node import Data
from tinyml.errors import ArgumentTypeError, TinyMLError
from tinyml.hints import keyword

P = ParamSpec("P")
R = TypeVar("R")


def describe(xs: Sequence[Any]) -> str:
    """Return operands as text for an error message."""
    return ", ".join(repr(x.spec) if isinstance(x, Data) else f"{x!r:.80}" for x in xs)


def add_context(error: TinyMLError, name: str, xs: Sequence[Any]) -> TinyMLError:
    """Return the error, naming an operation and its operands unless it names others already.

    For hot paths, where a context manager would be too slow.
    """
    return error.during(name, describe(xs))


@contextmanager
def error_context(name: str, xs: Sequence[Any]) -> Iterator[None]:
    """Make errors raised inside the block name this operation and these operands."""
    try:
        yield
    except TinyMLError as error:
        raise add_context(error, name, xs) from error.__cause__


def named_in_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Make the errors of a public function name it and its operands, as an op's errors do."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TinyMLError as error:
            raise add_context(error, function.__name__, args) from error.__cause__
        except TypeError as error:
            hint = keyword(error)
            if hint is None:
                raise
            wrong = ArgumentTypeError(str(error), remedy=hint)
            raise add_context(wrong, function.__name__, args) from None

    return call
