"""Errors name the innermost operation that failed, by each way to say which."""

from __future__ import annotations

import numpy as np
import pytest

from tinyml.core.error_context import add_context, describe, error_context, named_in_errors
from tinyml.errors import ArgumentError, TinyMLError


def test_operands_are_described_in_short() -> None:
    assert describe([1, "x" * 200]) == f"1, {repr('x' * 200)[:80]}"
    assert describe(()) == ""


def test_the_innermost_operation_is_named() -> None:
    error = add_context(add_context(ArgumentError("no"), "inner", [1]), "outer", [2])
    assert (error.op, error.inputs) == ("inner", "1")


def test_a_block_names_its_operation_and_keeps_the_cause() -> None:
    cause = ValueError("why")
    with pytest.raises(ArgumentError) as caught, error_context("outer", [np.int64(3)]):
        raise ArgumentError("no") from cause
    assert caught.value.op == "outer" and caught.value.__cause__ is cause
    with pytest.raises(KeyError), error_context("outer", ()):
        raise KeyError("not ours")


def test_a_function_names_itself() -> None:
    @named_in_errors
    def half(x: int) -> int:
        """Return half of x."""
        if x % 2:
            raise ArgumentError("odd")
        return x // 2

    assert half(4) == 2 and half.__doc__ == "Return half of x."
    with pytest.raises(TinyMLError) as caught:
        half(3)
    assert str(caught.value).splitlines()[:2] == ["half: odd", "  inputs: 3"]
