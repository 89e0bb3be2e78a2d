"""The shortest way from the operands of an elementwise function to its plan."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tinyml.concurrency import RECORDING
from tinyml.core.apply import apply, expanded, record, run
from tinyml.core.error_context import add_context
from tinyml.core.make import Class
from tinyml.core.node import Node
from tinyml.core.state import STATE
from tinyml.errors import TinyMLError
from tinyml.ir.op import Op
from tinyml.ir.spec import Spec


def unary(op: Op) -> Callable[[Any], Any]:
    """Return a function of one tensor that goes straight from the spec to the plan."""
    memo, state, recording = op.memo, STATE, RECORDING.get

    def call(x: Any, /) -> Any:
        if state.building is not None:
            return apply(op, x)
        try:
            plan = memo[(x.spec,)]
        except (KeyError, AttributeError):
            return apply(op, x)
        if x.node is not None and recording():
            return run(op, plan, (x,))
        try:
            return Class.tensor(plan.run(x.buf), plan.out)
        except TinyMLError as error:
            raise add_context(error, op.name, (x,)) from error.__cause__

    return call


def binary(op: Op, miss: Callable[[Any, Any], Any] | None = None) -> Callable[[Any, Any], Any]:
    """Return a function of two tensors, or of a tensor and a number: the most frequent call.

    `miss(x, y)`, by default `apply`, is called if there is no plan yet.
    """
    memo, state, recording = op.memo, STATE, RECORDING.get
    otherwise = functools.partial(apply, op) if miss is None else miss
    keep_x, keep_y, keep_result = op.keeps_input(0), op.keeps_input(1), op.keeps_y

    def call(x: Any, y: Any, /) -> Any:
        if state.building is not None:
            return otherwise(x, y)
        try:
            if y.__class__ is Class.tensor:
                plan = memo[x.spec, y.spec]
                b, node_y = y.buf, y.node
            else:
                plan = memo[x.spec, y.__class__]
                b, node_y = y, None
        except (KeyError, AttributeError):
            return otherwise(x, y)
        a, node_x = x.buf, x.node
        try:
            if node_x is node_y is None or not recording():
                return Class.tensor(plan.run(a, b), plan.out)
            if not plan.fast:
                return record(op, plan, (x, y))
            result = plan.run(a, b)
        except TinyMLError as error:
            raise add_context(error, op.name, (x, y)) from error.__cause__
        if plan.expands:
            if node_x is not None:
                node_x = expanded(plan, 0, node_x)
            if node_y is not None:
                node_y = expanded(plan, 1, node_y)
        if node_x is None:
            min_level = node_y.min_level
        elif node_y is None or node_x.min_level < node_y.min_level:
            min_level = node_x.min_level
        else:
            min_level = node_y.min_level
        kept = b if keep_y or plan.ins[1].__class__ is not Spec else None
        node = Node(op, plan, (a if keep_x else None, kept), (node_x, node_y),
                    result if keep_result else None, min_level)
        return Class.tensor(result, plan.out, node)

    return call
