"""How graphs are read: one line an op, values named a, b, c, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyml.op import Var


def is_graph(value: Any) -> bool:
    """Whether an attribute is a graph, which stands on a higher floor."""
    return hasattr(value, "lines") and hasattr(value, "outputs")


def said(graph: Any) -> list[str]:
    """The lines of a graph as text; those of graphs inside it are indented."""
    names: dict[Var, str] = {}

    def name(var: Var) -> str:
        return names.setdefault(var, _letters(len(names)))

    def given(vars_: Sequence[Var]) -> str:
        return ", ".join(f"{name(var)}: {var.spec}" for var in vars_)

    head = f"graph({given(graph.inputs)})"
    if graph.captures:
        head += f" captures({given([c.var for c in graph.captures])})"
    if graph.cells:
        head += f" cells({given([held.var for held in graph.cells])})"
    lines = [head + ":"]
    for line in graph.lines:
        app = line.app
        inputs = [name(v) if isinstance(v, Var) else repr(v) for v in app.inputs]
        inputs += [f"{key}={_attribute(value)}" for key, value in app.attrs.items()]
        results = ", ".join(name(var) for var in line.outs)
        specs = ", ".join(str(var.spec) for var in line.outs)
        lines.append(f"  {results} = {app.op.name}({', '.join(inputs)}): {specs}")
        for key, value in app.attrs.items():
            if is_graph(value):
                lines += [f"    {key} = {text}" if k == 0 else f"    {text}"
                          for k, text in enumerate(said(value))]
    lines.append(f"  return {', '.join(name(var) for var in graph.outputs)}")
    for held in graph.cells:
        lines.append(f"  {name(held.var)} becomes {name(held.result)}")
    return lines


def _attribute(value: Any) -> str:
    return "..." if is_graph(value) else getattr(value, "name", None) or repr(value)


def _letters(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text
