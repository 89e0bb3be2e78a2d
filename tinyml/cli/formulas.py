"""Gradients as formulas, for `tinyml explain`: the trace of a pullback, written as mathematics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import tinyml
from tinyml.core.apply import apply, as_tuple
from tinyml.errors import TinyMLError
from tinyml.graph.graph import Graph, prune
from tinyml.graph.trace import trace
from tinyml.ir.op import Equation, Op, Var
from tinyml.ir.spec import Spec

ATOM = 9
INFIX = {  # operator, and how tightly it binds
    "equal": ("==", 0), "not_equal": ("!=", 0), "less": ("<", 0), "less_equal": ("<=", 0),
    "greater": (">", 0), "greater_equal": (">=", 0), "add": ("+", 1), "sub": ("-", 1),
    "mul": ("*", 2), "div": ("/", 2), "matmul": ("@", 2), "pow": ("**", 4),
}
NEGATED = 3
IMPLIED = ("cast", "expand")  # what operators do to their operands by themselves
MOST_LINES = 40
LONGEST = 60  # characters of a part without a name
Text = tuple[str, int]


def gradient_lines(op: Op, specs: Sequence[Any], values: Sequence[Any],
                   attrs: dict[str, Any]) -> list[str]:
    """Return the gradients of an op's operands as formulas; none where it cannot be traced.

    `specs` are the operands' layouts, and the types of numbers, whose `values` are used. `g` is
    the gradient of the result `y`, `x` an operand and `dx` its gradient.

    >>> from tinyml.ir.op import find
    >>> x = tinyml.tensor_spec((3,))
    >>> gradient_lines(find("sin"), [x], [None], {})
    ['dx = g * cos(x)']
    >>> gradient_lines(find("mul"), [x, x], [None, None], {})
    ['dx0 = g * x1', 'dx1 = g * x0']
    """
    tensors = [spec for spec in specs if isinstance(spec, Spec)]
    wanted = [k for k, spec in enumerate(tensors) if spec.dtype.is_inexact]
    outs: list[Spec] = []

    def results(*xs: Any) -> tuple[Any, ...]:
        given = iter(xs)
        full = [next(given) if isinstance(spec, Spec) else value
                for spec, value in zip(specs, values)]
        ys = as_tuple(apply(op, *full, **attrs))
        return tuple([y for y in ys if y.spec.dtype.is_inexact])

    def pulled(xs: Sequence[Any], gs: Sequence[Any]) -> Any:
        def along(*floats: Any) -> Any:
            full = list(xs)
            for k, x in zip(wanted, floats):
                full[k] = x
            return results(*full)

        _, pull = tinyml.vjp(along, *[xs[k] for k in wanted])
        return list(pull(tuple(gs)))

    try:
        outs = [var.spec for var in trace(results)(*tensors).outputs]
        graph = trace(pulled)(tensors, outs)
    except TinyMLError:
        return []
    names = [*_numbered("x", len(tensors)), *_numbered("g", len(outs))]
    every = _numbered("dx", len(tensors))
    return formulas(graph, names, [every[k] for k in wanted], op, len(tensors))


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{k}" for k in range(count)]


def formulas(graph: Graph, inputs: Sequence[str], results: Sequence[str], op: Op | None = None,
             count: int = 0) -> list[str]:
    """Return a graph as formulas: a line for each output, and for what is used again or long.

    What `op` gives for the first `count` inputs is named y.
    """
    operands = list(graph.inputs[:count])
    equations = prune(graph.equations, graph.outputs, graph.reads)
    uses = Counter([v for e in equations for v in e.inputs if isinstance(v, Var)])
    uses.update(graph.outputs)
    texts: dict[Any, Text] = {var: (name, ATOM) for var, name in zip(graph.inputs, inputs)}
    texts.update({c.var: _constant(c.tensor) for c in graph.captures})
    implied: dict[Any, Text] = {}  # the operands of casts and broadcasts
    letters = _letters()
    lines = []
    for equation in equations:
        text = _expression(equation, texts, implied)
        outs = equation.outs
        if equation.op.name in IMPLIED:
            implied[outs[0]] = implied.get(equation.inputs[0], texts[equation.inputs[0]])
            if implied[outs[0]][1] == ATOM and implied[outs[0]][0].isidentifier():
                texts[outs[0]] = text
                continue
        own = equation.op is op and [v for v in equation.inputs if isinstance(v, Var)] == operands
        short = len(text[0]) <= LONGEST or outs[0] in graph.outputs
        if len(outs) == 1 and uses[outs[0]] == 1 and short and not own:
            texts[outs[0]] = text
            continue
        names = _numbered("y", len(outs)) if own else [next(letters) for _ in outs]
        lines.append(f"{', '.join(names)} = {text[0]}")
        for var, name in zip(outs, names):
            texts[var] = name, ATOM
            implied.pop(var, None)
    shown = [f"{name} = {texts[var][0]}" for name, var in zip(results, graph.outputs)]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... and {len(lines) - MOST_LINES} lines more"]
    return [*lines, *shown]


def _letters() -> Iterator[str]:
    """Yield names that no operand has: a, b, ..., f, h, ..., then t0, t1, ..."""
    yield from "abcdefhijklmnopqrstuvw"
    number = 0
    while True:
        yield f"t{number}"
        number += 1


def _constant(tensor: Any) -> Text:
    if tensor.spec.size == 1 and not tensor.spec.dtype.kind == "complex":
        return repr(tensor.numpy().reshape(()).item()), ATOM
    return f"constant {tensor.spec}", 0


def _expression(equation: Equation, texts: dict[Any, Text], implied: dict[Any, Text]) -> Text:
    name, attrs = equation.op.name, equation.attrs

    def operand(value: Any, level: int, plain: bool = True) -> str:
        if not isinstance(value, Var):
            text, own = repr(value), ATOM if not str(value).startswith("-") else NEGATED
        else:
            text, own = implied.get(value, texts[value]) if plain else texts[value]
        return text if own >= level else f"({text})"

    xs = equation.inputs
    if name in INFIX and len(xs) == 2:
        sign, level = INFIX[name]
        # a - (b - c) and (a ** b) ** c need their parentheses, a - b - c and a ** b ** c do not
        left, right = (level + 1, level) if sign == "**" else (level, level + 1)
        left += not level  # Python would read a < b < c as one comparison
        return f"{operand(xs[0], left)} {sign} {operand(xs[1], right)}", level
    if name == "neg":
        return f"-{operand(xs[0], NEGATED + 1)}", NEGATED
    if name == "square":
        return f"{operand(xs[0], 5)} ** 2", 4
    if name == "reciprocal":
        return f"1 / {operand(xs[0], 3)}", 2
    inner = [operand(x, 0, plain=False) for x in xs]
    inner += [f"{key}={getattr(value, 'name', None) or repr(value)}"
              for key, value in attrs.items() if value is not False and value is not None
              and not isinstance(value, Graph)]
    return f"{name}({', '.join(inner)})", ATOM
