"""Read the edge table: a rule per op, and rows that give its results as values of each dtype."""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinyml.dtypes import as_dtype, integer_range, part
from tinyml.ops.samples.values import finfo

Array = npt.NDArray[Any]


class Rule(NamedTuple):
    """A class of behaviour: its name, how results are compared, and a description.

    `how` is 'bits' (they are NumPy's), 'ulp' (within the record's bound of the reference), or
    'alike' (the rows and the agreement of devices decide: an intermediate may overflow where the
    result does not).
    """

    name: str
    how: str
    text: str


class Row(NamedTuple):
    """One decision: `args -> results`, for the dtypes of a kind, under given attributes."""

    kind: str
    attrs: dict[str, Any]
    text: str
    args: tuple[ast.expr, ...]
    results: tuple[ast.expr, ...]


class Entry(NamedTuple):
    """The table's entry for one op; `along` holds the attributes that make its lists vectors."""

    op: str
    rule: Rule
    along: dict[str, Any] | None
    rows: tuple[Row, ...]


class Table(NamedTuple):
    """The whole table: rules and entries, each by name."""

    rules: dict[str, Rule]
    entries: dict[str, Entry]

    def entry(self, op: Any) -> Entry | None:
        """Return a record's entry; an op without one that is made of other ops follows these."""
        found = self.entries.get(op.name)
        if found is None and op.body is not None:
            return Entry(op.name, self.rules["body"], None, ())
        return found


@functools.cache
def read() -> Table:
    """Return the table; raise ValueError, naming the line, where a line cannot be parsed."""
    text = resources.files("tinyml.conformance.edges").joinpath("table.txt").read_text("utf-8")
    return parse(text)


def parse(text: str) -> Table:
    """Return the table that a text describes.

    >>> table = parse("rule exact bits  As IEEE 754 has it.\\nadd  exact\\n  float  nan, 1 -> nan")
    >>> table.entries["add"].rows[0].text
    'nan, 1 -> nan'
    """
    rules: dict[str, Rule] = {}
    entries: dict[str, Entry] = {}
    current: list[str] = []  # the ops that the rows below belong to
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("rule "):
                _, name, how, words = line.split(maxsplit=3)
                if how not in ("bits", "ulp", "alike"):
                    raise ValueError(f"compared by {how!r}")
                rules[name] = Rule(name, how, words)
            elif line.startswith(" "):
                if not current:
                    raise ValueError("a row before any op")
                for name in current:
                    rows = (*entries[name].rows, *_rows(line.strip()))
                    entries[name] = entries[name]._replace(rows=rows)
            else:
                names, rule, along = [*line.split("  ", 2), ""][:3]
                current = names.split()
                for name in current:
                    if name in entries:
                        raise ValueError(f"{name} has an entry already")
                    entries[name] = Entry(name, rules[rule.split()[0]], _attrs(along), ())
        except (ValueError, KeyError, SyntaxError) as error:
            raise ValueError(f"edge table, line {number}: {error}: {line.strip()}") from None
    return Table(rules, entries)


def _attrs(text: str) -> dict[str, Any] | None:
    """Return attributes written as keyword arguments with literal values.

    None where the text is "whole".
    """
    if not text.strip():
        return None
    if text.strip() == "whole":
        return {}
    call = ast.parse(f"f({text.strip()})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError("dtypes are joined by ',' alone, attributes are written name=value")
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}


def _rows(line: str) -> Iterator[Row]:
    head, _, body = line.partition("  ")
    kind, _, given = head.partition(" ")
    attrs = _attrs(given) or {}
    for each in body.split(" | "):
        args, arrow, results = each.partition("->")
        if not arrow:
            raise ValueError(f"no '->' in {each!r}")
        text = f"{args.strip()} -> {results.strip()}"
        yield Row(kind, attrs, text, _values(args), _values(results))


def _values(text: str) -> tuple[ast.expr, ...]:
    parsed = ast.parse(f"({text.strip()},)", mode="eval").body
    assert isinstance(parsed, ast.Tuple)
    return tuple(parsed.elts)


# -- values of a dtype -------------------------------------------------------------------------

SLOPE = "slope"  # the kind of rows that hold an op's slopes, not its results

KINDS = {
    SLOPE: ("float",), "float": ("float",), "signed": ("int",), "unsigned": ("uint",),
    "int": ("int", "uint"),
    "bool": ("bool",), "number": ("float", "int", "uint"), "complex": ("complex",),
    "any": ("bool", "int", "uint", "float", "complex"),
}
_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow,
    ast.Div: operator.truediv,
}


def applies(row: Row, dtype: str) -> bool:
    """Return whether a row applies to a dtype, by its kind or by the dtype's own name.

    >>> applies(parse("rule r bits x\\na  r\\n  int  1 -> 1").entries["a"].rows[0], "uint8")
    True
    """
    if dtype.endswith("fn") and any("inf" in ast.unparse(each) for each in row.args):
        return False  # the dtype has no infinity
    if row.kind not in KINDS:
        return dtype in row.kind.split(",")
    return as_dtype(dtype).kind in KINDS[row.kind]


def _constants(dtype: str) -> dict[str, Any]:
    kind = as_dtype(dtype)
    if kind.is_inexact:
        info = finfo(part(kind))
        names = {"max": "max", "min": "min", "eps": "eps", "normal": "tiny",
                 "tiny": "smallest_subnormal"}
        return {name: float(getattr(info, of)) for name, of in names.items()}
    if kind.kind == "bool":
        return {"max": True, "min": False}
    low, high = integer_range(kind)
    return {"max": high, "min": low, "bits": kind.bits}


def value(expression: ast.expr, dtype: str) -> Any:
    """Return what an expression of the table means in a dtype: a number, or a list of them.

    >>> value(ast.parse("[max, 0 - 1]", mode="eval").body, "int8")
    [127, -1]
    """
    if isinstance(expression, (ast.List, ast.Tuple)):
        return [value(each, dtype) for each in expression.elts]
    if isinstance(expression, ast.Constant):
        return expression.value
    if isinstance(expression, ast.Name):
        known = {"true": True, "false": False, "nan": np.nan, "inf": np.inf, "pi": np.pi,
                 **_constants(dtype)}
        if expression.id not in known:
            raise ValueError(f"no {expression.id!r} in {dtype}")
        return known[expression.id]
    if isinstance(expression, ast.UnaryOp) and isinstance(expression.op, ast.USub):
        operand = value(expression.operand, dtype)
        if type(operand) is int and operand == 0:  # so that -0 is negative zero
            return -0.0
        return -operand
    if isinstance(expression, ast.BinOp) and type(expression.op) in _OPERATORS:
        pair = value(expression.left, dtype), value(expression.right, dtype)
        return _OPERATORS[type(expression.op)](*pair)
    raise ValueError(f"not a value: {ast.unparse(expression)}")


def arrays(values: Sequence[Any], dtype: str) -> list[Array]:
    """Return values as arrays of a dtype; bools stay bools."""
    kind, number = as_dtype(dtype).kind, as_dtype(dtype).numpy
    made = []
    for v in values:
        if _all_bools(v):
            made.append(np.array(v, bool))
        elif kind in ("float", "complex"):
            made.append(np.array(v, kind).astype(number))
        else:  # through Python's ints, which have no width
            made.append(np.array(v, object).astype(number))
    return made


def _all_bools(v: Any) -> bool:
    flat = np.array(v, object).reshape(-1)
    return flat.size > 0 and all(type(each) is bool for each in flat)
