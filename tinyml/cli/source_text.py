"""The source text of functions, as `tinyml explain` shows it."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
import types
from typing import Any

from tinyml.dtypes import DType
from tinyml.ir.nest import Monoid
from tinyml.ir.op import Op


def source(function: Any) -> str:
    """Return the source text of a function, with the plain values that it closes over.

    >>> twice = lambda x: 2 * x
    >>> source(len)
    '<built-in function len>'
    """
    if isinstance(function, functools.partial):
        bound = [*map(_plain, function.args),
                 *[f"{k}={_plain(v)}" for k, v in function.keywords.items()]]
        return f"{source(function.func)}\nwith {', '.join(bound)}"
    function = inspect.unwrap(function)
    try:
        text = (_lambda(function) if function.__name__ == "<lambda>"
                else textwrap.dedent(inspect.getsource(function)).rstrip())
    except (OSError, TypeError, AttributeError):
        return repr(function)
    closed = [f"{name} = {_plain(cell.cell_contents)}"
              for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ())]
    return f"{text}\nwhere {', '.join(closed)}" if closed else text


def _plain(value: Any) -> str:
    """Return a short form of a value: functions, ops and monoids by name."""
    if isinstance(value, (DType, Monoid, Op)):
        return value.name
    if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>":
        return _lambda(value)
    if callable(value):
        return str(getattr(value, "__name__", value))
    return f"{value!r:.80}"


@functools.lru_cache(maxsize=64)
def _lambdas(filename: str) -> list[tuple[int, str, ast.Lambda]]:
    text = "".join(linecache.getlines(filename))
    return [(node.lineno, ast.get_source_segment(text, node) or "", node)
            for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda)]


def _lambda(function: types.FunctionType) -> str:
    """Return the text of a lambda: the one on its line with its parameters and constants."""
    code = function.__code__
    near = [(text, node) for line, text, node in _lambdas(code.co_filename)
            if line == code.co_firstlineno]
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    same = [(text, node) for text, node in near
            if tuple([a.arg for a in (*node.args.posonlyargs, *node.args.args,
                                      *node.args.kwonlyargs)]) == names]
    if len(same) > 1:
        same = [entry for entry in same if _constants(entry[1]) == code.co_consts] or same
    if not same:
        raise OSError("no such lambda")
    first, *rest = same[0][0].splitlines()
    more = textwrap.indent(textwrap.dedent("\n".join(rest)), "    ")
    return f"{first}\n{more}" if rest else first


def _constants(node: ast.Lambda) -> Any:
    compiled = compile(ast.fix_missing_locations(ast.Expression(node)), "<lambda>", "eval")
    inner = next(c for c in compiled.co_consts if isinstance(c, types.CodeType))
    return inner.co_consts


def home_of(function: Any) -> str:
    """Return the file of a function, relative to the top of the package."""
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(inspect.unwrap(function), "__module__", None)
    return f"{module.replace('.', '/')}.py" if module else "built in"
