"""Graphs as text: one line for each equation, values named a, b, c, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyml.graph.graph import Graph
from tinyml.ir.op import Var


def format_lines(graph: Graph) -> list[str]:
    """Return the lines of a graph as text; those of nested graphs are indented."""
    names: dict[Var, str] = {}

    def name(var: Var) -> str:
        return names.setdefault(var, _letters(len(names)))

    def declare(vars_: Sequence[Var]) -> str:
        return ", ".join(f"{name(var)}: {var.spec}" for var in vars_)

    head = f"graph({declare(graph.inputs)})"
    if graph.captures:
        head += f" captures({declare([c.var for c in graph.captures])})"
    lines = [head + ":"]
    for equation in graph.equations:
        inputs = [name(v) if isinstance(v, Var) else repr(v) for v in equation.inputs]
        inputs += [f"{key}={_format_attribute(value)}" for key, value in equation.attrs.items()]
        results = ", ".join(name(var) for var in equation.outs)
        specs = ", ".join(str(var.spec) for var in equation.outs)
        lines.append(f"  {results} = {equation.op.name}({', '.join(inputs)}): {specs}")
        for key, value in equation.attrs.items():
            if isinstance(value, Graph):
                lines += [f"    {key} = {text}" if k == 0 else f"    {text}"
                          for k, text in enumerate(format_lines(value))]
    lines.append(f"  return {', '.join(name(var) for var in graph.outputs)}")
    lines += [f"  {name(state.var)} becomes {name(state.result)}" for state in graph.states]
    return lines


def _format_attribute(value: Any) -> str:
    return "..." if isinstance(value, Graph) else getattr(value, "name", None) or repr(value)


def _letters(number: int) -> str:
    """Return the name for a value's number: a, b, ..., z, aa, ab, ..."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text
