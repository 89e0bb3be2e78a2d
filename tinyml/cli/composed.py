"""Public functions that are composed of ops, for `tinyml explain`: their source and their trace.

They have no record, so no samples. They are traced on what the first example of their docstring
gives them, else on small tensors and numbers that they take; or on tensors of the shapes asked for.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import tinyml
import tinyml.tree as tree
from tinyml.cli.source_text import home_of, source
from tinyml.core.node import Data
from tinyml.errors import ShapeError, TinyMLError
from tinyml.graph.trace import tensor_spec, trace

# Where they are defined; what the other rooms make public is no computation on tensors.
ROOMS = tuple([f"tinyml.{room}" for room in (
    "ops", "functions", "linalg", "special", "fft", "random", "nn.functional")])
_X = np.arange(6, dtype=np.float32).reshape(2, 3) / 8
GUESSES: tuple[tuple[Any, ...], ...] = tuple([
    (first, *rest) for first in (_X, [_X, _X], _X[0], (2, 3))
    for rest in ((_X, _X, _X), (0, 1, 2), (0.5, 0.5, 0.5), (_X[0], _X[0], _X[0]))])


class Example(NamedTuple):
    """A call of a function."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    text: str


class _Called(Exception):
    """Ends an example where it calls the function; carries the arguments."""


def _note(*args: Any, **kwargs: Any) -> None:
    raise _Called(args, kwargs)


def public(name: str) -> Any:
    """Return what `tinyml` has under a name, such as 'linalg.norm'; None if there is none."""
    found: Any = tinyml
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def composed(name: str) -> Any:
    """Return the public function of a name if it is composed of ops, else None.

    >>> composed("einsum").__name__, composed("pi")
    ('einsum', None)
    """
    found = public(name)
    if inspect.isclass(found) or not callable(found):
        return None
    return found if str(getattr(found, "__module__", "")).startswith(ROOMS) else None


def example(function: Any) -> Example | None:
    """Return the first call of a function in its docstring's examples; nothing is computed."""
    namespace: dict[str, Any] = {"tinyml": tinyml, "np": np, "__call__": _note,
                                 function.__name__: function}
    for step in doctest.DocTestParser().get_examples(inspect.getdoc(function) or ""):
        try:
            code = ast.parse(step.source)
        except SyntaxError:
            continue
        calls = [node for node in ast.walk(code) if isinstance(node, ast.Call)
                 and getattr(node.func, "attr", getattr(node.func, "id", "")) == function.__name__]
        text = ast.unparse(calls[0]) if calls else ""
        if calls:
            calls[0].func = ast.copy_location(ast.Name("__call__", ast.Load()), calls[0].func)
        try:
            exec(compile(code, "<example>", "exec"), namespace)
        except _Called as called:
            args, kwargs = called.args
            return Example(args, kwargs, text)
        except Exception:  # an example that shows an error
            continue
    return _guess(function)


def _guess(function: Any) -> Example | None:
    """Return arguments that a function takes, tried one after another; None if none of these."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return None
    count = sum(p.kind <= p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters)
    count += 2 * any(p.kind == p.VAR_POSITIONAL for p in parameters)
    for guess in GUESSES:
        given = Example(guess[:count], {}, "small tensors and numbers")
        try:
            _trace(function, given)
        except Exception:  # whatever a function says to what it does not take
            continue
        return given
    return None


def _trace(function: Any, call: Example, specs: Sequence[Any] | None = None) -> Any:
    """Return the trace of a call, its tensors replaced by variables, with other specs if given."""
    leaves, structure, places = _leaves(call)

    def run(*xs: Any) -> Any:
        given = list(leaves)
        for place, x in zip(places, xs):
            given[place] = x
        args, kwargs = tree.unflatten(structure, given)
        return function(*args, **kwargs)

    return trace(run)(*(specs or [leaves[place] for place in places]))


def _leaves(call: Example) -> tuple[list[Any], Any, list[int]]:
    """Return a call's arguments as leaves, their structure, and which of them are tensors."""
    leaves, structure = tree.flatten((list(call.args), call.kwargs))
    leaves = [tinyml.tensor(x) if isinstance(x, np.ndarray) else x for x in leaves]
    return leaves, structure, [k for k, x in enumerate(leaves) if isinstance(x, Data)]


def explain_composed(name: str, shapes: Sequence[tuple[int, ...]] | None = None,
                     dtype: str | None = None, attrs: dict[str, Any] | None = None) -> str:
    """Return a composed function in sections: what it is, its source, and its trace.

    Raises ShapeError if `shapes` are not one for each tensor of the example.

    >>> print(explain_composed("einsum").split("trace")[1].splitlines()[1])
      graph(a: int64[2, 2] cpu, b: int64[2] cpu):
    """
    function = composed(name)
    shown = example(function)
    operands, traced = "not known: its docstring has no example", "none"
    if shown is not None:
        call = shown._replace(kwargs={**shown.kwargs, **(attrs or {})})
        asked = shapes is not None or dtype is not None or attrs
        operands = "as asked" if asked else shown.text
        traced = _traced(name, function, call, shapes, dtype)
    summary = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
    sections = [
        (f"{name}: {summary}", "composed of operations: it has no record of its own"),
        ("operands", operands),
        (f"source ({home_of(function)})", source(function)),
        ("trace", traced),
    ]
    return "\n\n".join(f"{title}\n{textwrap.indent(text, '  ')}" for title, text in sections)


def _traced(name: str, function: Any, call: Example, shapes: Sequence[tuple[int, ...]] | None,
            dtype: str | None) -> str:
    leaves, _, places = _leaves(call)
    if shapes is not None and len(shapes) != len(places):
        raise ShapeError(f"{name} of {len(shapes)} tensors: its example has {len(places)}",
                         remedy="one --shape for each tensor")
    specs = [tensor_spec(shapes[k] if shapes else leaves[place].shape,
                         dtype or leaves[place].dtype)
             for k, place in enumerate(places)]
    try:
        return repr(_trace(function, call, specs))
    except TinyMLError as error:
        return f"none: {error.message}"
