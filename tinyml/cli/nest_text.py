"""Loop nests as text, for `tinyml explain`."""

from __future__ import annotations

import tinyml.ir.nest as ir
from tinyml.ir.nest import Instr, Nest

MOST_INSTRUCTIONS = 200  # of a nest; its source shows the rest


def nest_text(nest: Nest) -> str:
    """Return a nest as lines: its axes and arguments, then one statement per line.

    >>> from tinyml.dtypes import float32
    >>> n = Nest()
    >>> x, y = n.arg(float32, 1, "in"), n.arg(float32, 1, "out")
    >>> i = n.axis("i0", 8)
    >>> v = n.load(x, (i,))
    >>> n.store(y, n.prim("mul", v, v), (i,))
    >>> print(nest_text(n))
    nest over i0 < 8
      a0: float32, 1 axis, in
      a1: float32, 1 axis, out
      v2: float32 = a0[i0]
      v3: float32 = mul(v2, v2)
      a1[i0] = v3
    """
    axes = ", ".join(f"{name} < {size}" for name, size in nest.axes.items())
    lines = [f"nest over {axes}" if axes else "nest of one point"]
    for k, arg in enumerate(nest.args):
        lines.append(f"  a{k}: {arg.dtype.name}, {arg.rank} {'axis' if arg.rank == 1 else 'axes'}, "
                     f"{arg.role}")
    names = [_name(nest, k, instr) for k, instr in enumerate(nest.code)]
    texts = [text for k, instr in enumerate(nest.code)
             if (text := _statement(names, k, instr)) is not None]
    lines += [f"  {text}" for text in texts[:MOST_INSTRUCTIONS]]
    if len(texts) > MOST_INSTRUCTIONS:
        lines.append(f"  and {len(texts) - MOST_INSTRUCTIONS} more")
    return "\n".join(lines)


def _name(nest: Nest, k: int, instr: Instr) -> str:
    """Return a value's name in other statements; for a constant or an index, its own text."""
    match instr.payload:
        case ir.Axis(name):
            return name
        case ir.Const() as constant:
            return repr(constant.value)
        case ir.Param(number):
            return str(nest.params[number])
        case ir.ScalarArg(number):
            return f"number{number}"
    return f"v{k}"


def _statement(names: list[str], k: int, instr: Instr) -> str | None:
    """Return one statement; None for a value that has no line of its own."""
    args = [names[i] for i in instr.args]
    head = f"{names[k]}: {instr.dtype.name} = "
    match instr.payload:
        case ir.Axis() | ir.Const() | ir.Param() | ir.ScalarArg():
            return None
        case ir.Load(arg, rank):
            text = f"{head}a{arg}[{', '.join(args[:rank])}]"
            return text if len(args) == rank else f"{text} if {args[rank]} else {args[rank + 1]}"
        case ir.Store(arg):
            return f"a{arg}[{', '.join(args[1:])}] = {args[0]}"
        case ir.Prim(word):
            return f"{head}{word}({', '.join(args)})"
        case ir.Reduce() as reduction:
            return _loop(names, k, "reduce", reduction, args)
        case ir.Scan() as scan:
            return _loop(names, k, "scan", scan, args[:-len(scan.init)])  # the start comes last
        case ir.State(loop, component, role):
            return f"{head}{role.value} {component} of {names[loop]}"
        case ir.Step(loop):
            return f"{names[loop]} becomes {', '.join(args)}"
        case ir.Item(component):
            return f"{head}{args[0]}.{component}"
        case ir.Check() | ir.Imaginary() as other:
            return f"{head}{type(other).__name__.lower()}({', '.join(args)})"


def _loop(names: list[str], k: int, word: str, loop: ir.Reduce | ir.Scan, items: list[str]) -> str:
    """Return a loop as text: its monoid, its axes, its items, and its initial state."""
    first = isinstance(loop, ir.Scan) and loop.start or loop.init
    start = ", ".join(names[i] for i in first)
    return (f"{names[k]}: {word} {loop.monoid.name} over {', '.join(loop.axes)} "
            f"of {', '.join(items)} from {start}")
