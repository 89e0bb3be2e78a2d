"""What other frameworks give for the rows of the edge table, measured for `docs/edges.md`.

Each framework is called by its own names, in one dtype of a row's kind. A '-' means that it has no
such function, or refuses the call.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyml.conformance.edges.check import Run, agrees, runs
from tinyml.conformance.edges.table import KINDS, Entry, Row, applies, read

Array = npt.NDArray[Any]
NAMES = ("numpy", "torch", "jax")
ABSENT = "-"
PADDED = 16

# The dtype that represents a kind.
SHOWN = {"slope": "float32", "float": "float32", "signed": "int32", "unsigned": "uint8",
         "int": "int32", "bool": "bool", "number": "float32", "complex": "complex64",
         "any": "float32"}

# Where a framework's name differs from the op's: NumPy's (and jax.numpy's), torch's, jax's own.
_OWN = {
    "sub": ("subtract", "sub"), "mul": ("multiply", "mul"), "div": ("true_divide", "true_divide"),
    "neg": ("negative", "neg"), "max": ("max", "amax"), "min": ("min", "amin"),
    "pow": ("power", "pow"), "equal": ("equal", "eq"), "cumprod": ("cumprod", "cumprod"),
    "bitwise_invert": ("bitwise_not", "bitwise_not"),
    "rsqrt": ("", "rsqrt", "jax.lax.rsqrt"),
    "slogdet": ("", ""), "svd": ("", ""),  # their outputs come in another order
}
_SPECIAL = ("jax.scipy.special", "jax.nn", "jax.lax")


def shown(row: Row, dtypes: tuple[str, ...]) -> str | None:
    """Return the dtype in which a row of this op is shown.

    None where the row applies to none of them.
    """
    able = [dtype for dtype in dtypes if applies(row, dtype)]
    if row.kind in KINDS and SHOWN[row.kind] in able:
        return SHOWN[row.kind]
    return able[0] if able else None


# Calls that never return: jax 0.10's gcd of the least integer.
_ENDLESS = {("jax", "gcd"), ("jax", "lcm")}


def _find(module: str, names: str) -> Any:
    found: Any = importlib.import_module(module)
    for name in filter(None, names.split(".")):
        found = getattr(found, name, None)
    return found if callable(found) else None


def _function(peer: str, op: str) -> Callable[..., Any] | None:
    if (peer, op) in _ENDLESS:
        return None
    own = (*_OWN.get(op, (op, op)), "")
    if peer == "numpy":
        places = [("numpy.linalg", own[0]), ("numpy", own[0])]
    elif peer == "torch":
        places = [(place, own[1]) for place in
                  ("torch.linalg", "torch", "torch.special", "torch.nn.functional")]
    else:
        places = [("jax.numpy.linalg", own[0]), ("jax.numpy", own[0]),
                  *[(place, op) for place in _SPECIAL]]
    found = (_find(module, name) for module, name in places if name)
    return next((f for f in found if f is not None), None)


def _call(peer: str, op: str, run: Run) -> tuple[Array, ...]:
    """Return a peer's outputs as arrays; raise whatever it raises where it refuses."""
    leave: Callable[[Any], Array] = np.asarray
    enter: Callable[[Array], Any] = np.asarray
    if peer == "torch":
        import torch

        enter = lambda x: torch.from_numpy(np.ascontiguousarray(x))  # noqa: E731
        leave = lambda y: np.asarray(y.numpy())  # noqa: E731
    elif peer == "jax":
        import jax.numpy

        enter = jax.numpy.asarray
    count = run.args[0].size
    if peer == "jax" and run.elementwise and count <= PADDED:  # padded to one size, compiled once
        run = run._replace(args=tuple(np.resize(x, PADDED) for x in run.args))
        return tuple(y[:count] for y in _called(peer, op, run, enter, leave))
    return _called(peer, op, run, enter, leave)


def _called(peer: str, op: str, run: Run, enter: Any, leave: Any) -> tuple[Array, ...]:
    xs = [enter(x) for x in run.args]
    if op == "cast":
        to = run.attrs["dtype"]
        if peer == "torch":
            return (leave(xs[0].to(getattr(importlib.import_module("torch"), to))),)
        return (leave(xs[0].astype(to)),)
    function = _function(peer, op)
    if function is None:
        raise NotImplementedError(op)
    if op == "gelu" and peer == "jax":
        return (leave(function(xs[0], approximate=False)),)
    if run.slope:
        return tuple(map(leave, _slopes(
            peer, lambda *each: _along(peer, op, function, list(each), run.attrs)[0], xs)))
    return tuple(map(leave, _along(peer, op, function, xs, run.attrs)))


def _slopes(peer: str, function: Callable[..., Any], xs: list[Any]) -> Any:
    """Return a peer's cotangents of all operands for a cotangent of ones."""
    if peer == "torch":
        leaves = [x.requires_grad_() for x in xs]
        function(*leaves).sum().backward()
        return [leaf.grad for leaf in leaves]
    if peer == "jax":
        y, pull = importlib.import_module("jax").vjp(function, *xs)
        return pull(importlib.import_module("jax.numpy").ones_like(y))
    raise NotImplementedError("no gradients")


def _along(peer: str, op: str, function: Any, xs: list[Any], attrs: dict[str, Any]) -> Any:
    """Call a function with the attributes under the framework's own names."""
    words: dict[str, Any] = {}
    for name, value in attrs.items():
        if name == "axis":
            words["dim" if peer == "torch" else "axis"] = value
        elif name == "correction":
            words["correction" if peer == "torch" else "ddof"] = value
        elif value not in (False, 0):
            words[name] = value
    if op == "sort":
        return _sorted(peer, function, xs[0], words)
    result = function(*xs, **words)
    return result if isinstance(result, tuple) else (result,)


def _sorted(peer: str, function: Any, x: Any, words: dict[str, Any]) -> Any:
    if peer == "torch":
        result = function(x, stable=True, **words)
        return result.values, result.indices
    if words.pop("descending", False):
        raise NotImplementedError("no descending order")
    places = importlib.import_module("numpy" if peer == "numpy" else "jax.numpy").argsort(
        x, stable=True, **words)
    return function(x, **words), places


def shows(values: tuple[Array, ...]) -> str:
    """Return outputs as the table writes them.

    >>> shows((np.float32([0.5, -0.0, np.nan]),))
    '[0.5, -0, nan]'
    """
    return ", ".join(_text(np.asarray(x)) for x in values)


def _text(x: Array) -> str:
    if x.ndim:
        each = [_text(np.asarray(v)) for v in x]
        return each[0] if len(each) == 1 else f"[{', '.join(each)}]"
    value = x.item()
    if isinstance(value, bool):
        return str(value).lower()
    text = np.format_float_scientific(np.float64(str(x[()])), trim="-", exp_digits=1) if (
        isinstance(value, float) and abs(value) not in (0.0, np.inf) and value == value
        and not 1e-4 <= abs(value) < 1e7) else str(x[()])
    return text.removesuffix(".0").replace("e+", "e")


def measure(peer: str, ops: dict[str, Any]) -> dict[str, str]:
    """Return what a peer gives, by 'op kind attrs: row'.

    The value is '=' where the peer agrees and '-' where it has no answer. `ops` holds the records
    to measure, by name.
    """
    if peer == "jax":
        import jax

        with jax.enable_x64(True):
            return _measure_all(peer, ops)
    return _measure_all(peer, ops)


def _measure_all(peer: str, ops: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in read().entries.values():
        op = ops.get(entry.op)
        if op is None:
            continue
        for row in entry.rows:
            dtype = shown(row, op.dtypes)
            if dtype is not None:
                found[key(entry, row)] = _measured(peer, entry, row, dtype)
    return found


def key(entry: Entry, row: Row) -> str:
    """Return a row's unique key."""
    given = " ".join(f"{name}={value!r}" for name, value in row.attrs.items())
    return f"{entry.op} {row.kind} {given}: {row.text}"


def _measured(peer: str, entry: Entry, row: Row, dtype: str) -> str:
    (run,) = runs(entry._replace(rows=(row,)), dtype)
    try:
        with np.errstate(all="ignore"):
            outputs = _call(peer, entry.op, run)
    except Exception:
        return ABSENT
    if len(outputs) != len(run.results):
        return ABSENT
    agree = all(_agrees(run, k, np.asarray(got)) for k, got in enumerate(outputs))
    return "=" if agree else shows(outputs)


def _agrees(run: Run, number: int, got: Array) -> bool:
    try:
        return agrees(run, number, got, 4.0)
    except (ValueError, OverflowError):  # their dtype cannot hold our value
        return False
