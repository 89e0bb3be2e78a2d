"""Bad input: calls of every op with exactly one thing wrong, derived from its samples.

Operands have another rank, size, type or kind, or there are too many or too few. Attributes are
missing, of another type, off by one, or at the limits of 32 and 64 bits; so are indices. Every call
must give a result or a TinyMLError that names the op, the operands and a remedy, and every device
must give the same answer. `tests/conformance/bad_input/` holds the messages;
`python docs/tools/regenerate.py bad_input` regenerates them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinyml.conformance import reference
from tinyml.core.apply import apply_many
from tinyml.core.error_context import describe
from tinyml.core.plan import checked
from tinyml.core.upload import upload
from tinyml.dtypes import EVERY, as_dtype
from tinyml.errors import TinyMLError
from tinyml.ir.devices import HOST, ROOMS, find_device
from tinyml.ir.op import attribute_key, find
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.samples.values import Sample

ENDS = (2**31 - 1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63), 2**64)
HUGE = 1 << 40  # bytes, more than any machine has: refused before anything is allocated, or a view
SHOWN = 3  # how many of the calls that get a message are listed with it
ODD: dict[str, Any] = {
    "None": None, "a string": "x", "a half": 1.5, "NaN": float("nan"), "True": True,
    "an object": object(), "an empty list": [], "a set": {1}, "a list of lists": [[1]],
}


class Call(NamedTuple):
    """One call: what is wrong with it, its operands and attributes.

    `value` is true where only an operand's values are wrong, so that the op must run to refuse it.
    """

    wrong: str
    args: tuple[Any, ...]
    attrs: dict[str, Any]
    value: bool = False


class Answer(NamedTuple):
    """What a call gave: an error's class and message, or None and the specs of the results.

    `size` is the number of bytes of the largest result that the rules allow.
    """

    error: type[BaseException] | None
    text: str
    remedy: str | None = None
    inputs: str | None = None
    size: int = 0


# -- calls -------------------------------------------------------------------------------------


def calls(op: Any) -> Iterator[Call]:
    """Return the wrong calls of a record, in a fixed order.

    >>> from tinyml.conformance.suite.run import all_ops
    >>> [call.wrong for call in calls(all_ops()["neg"])][:3]
    ['no operand', 'an operand more', 'operand 0: None']
    """
    args, attrs = base(op)
    yield Call("no operand", (), attrs)
    yield Call("an operand more", (*args, args[-1]), attrs)
    if len(args) > 1:
        yield Call("an operand less", args[:-1], attrs)
    for k, x in enumerate(args):
        for wrong, y, value in _operands(x):
            changed = (*args[:k], y, *args[k + 1 :])
            yield Call(f"operand {k}: {wrong}", changed, attrs, value)
    for name, v in attrs.items():
        rest = {other: w for other, w in attrs.items() if other != name}
        yield Call(f"{name} left out", args, rest)
        for wrong, w in _attributes(v):
            yield Call(f"{name}: {wrong}", args, {**attrs, name: w})
    yield Call("an attribute more", args, {**attrs, "colour": 1})


def base(op: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a correct call with several elements, from which the wrong ones are derived."""
    dtypes = sorted(op.dtypes, key=lambda dtype: dtype != "float32")
    samples: list[Sample] = [s for dtype in dtypes[:4] for s in op.samples(dtype)]
    whole = [s for s in samples if all(getattr(x, "ndim", 1) and np.size(x) for x in s.args)]
    first = (whole or samples)[0]
    return first.args, first.attrs


def _operands(x: Any) -> Iterator[tuple[str, Any, bool]]:
    for wrong in ("None", "a string", "an object", "a set"):
        yield wrong, ODD[wrong], False
    if not isinstance(x, np.ndarray):
        return
    yield "0-d", np.array(x.reshape(-1)[0]) if x.size else np.zeros((), x.dtype), False
    yield "an axis more", x[None], False
    yield "eleven axes more", x[(None,) * 11], False
    if x.ndim:
        yield "a size more", np.resize(x, (*x.shape[:-1], x.shape[-1] + 1)), False
        yield "no elements", x[..., :0], False
    for dtype in EVERY:
        if dtype != x.dtype.name:
            with np.errstate(all="ignore"):
                yield dtype, np.zeros_like(x, as_dtype(dtype).numpy), False
    if reference.kind(x.dtype) in "iu" and x.size:
        limits = np.iinfo(x.dtype)
        for end in (-1, *(max(x.shape) + d for d in (0, 1)), *ENDS):
            if limits.min <= end <= limits.max:
                y = x.copy()
                y.reshape(-1)[0] = end
                yield f"{end} among them", y, True


def _attributes(v: Any) -> Iterator[tuple[str, Any]]:
    yield from ODD.items()
    if isinstance(v, bool) or not isinstance(v, (int, tuple, float)):
        return
    if not isinstance(v, tuple):
        for w in (v - 1, v + 1, -v - 1, *ENDS):
            yield repr(w), w
        return
    yield "an element more", (*v, 0)
    if v and all(isinstance(n, int) for n in v):
        yield "an element less", v[:-1]
        yield "twice the first", (v[0], *v)
        for n in (v[0] - 1, v[0] + 1, -1, -2, *ENDS):
            yield f"{n} first", (n, *v[1:])
        yield "a half first", (0.5, *v[1:])
        yield "None first", (None, *v[1:])


# -- answers -----------------------------------------------------------------------------------


def planned(op: Any, call: Call, device: str) -> Answer | None:
    """Return what the op's own rules answer, without running it.

    None where an operand is not a tensor.
    """
    target = find_device(device)
    specs: list[Any] = []
    for x in call.args:
        if isinstance(x, np.ndarray):
            specs.append(make_spec(x.shape, as_dtype(x.dtype), target))
        elif type(x) in (bool, int, float, complex):
            specs.append(type(x))
        else:
            return None
    if not any(isinstance(spec, Spec) for spec in specs):
        return None
    try:
        attribute_key(call.attrs)
        _, outs = checked(op, tuple(specs), call.attrs)
    except Exception as error:
        return _refused(error)
    size = max((spec.nbytes for spec in outs if not spec.unknown), default=0)
    return Answer(None, ", ".join(map(repr, outs)), size=size)


def answer(op: Any, call: Call, device: str) -> Answer:
    """Return a device's answer to a call that the rules refuse or that only values make wrong."""
    told = planned(op, call, device)
    target = find_device(device)
    held = [as_dtype(x.dtype) for x in call.args if isinstance(x, np.ndarray)]
    if not all(map(target.supports, held)):
        return Answer(None, "the device makes no such tensor")
    huge = told is not None and told.size >= HUGE
    if told is not None and told.error is None and not call.value and not huge:
        return told
    try:
        xs = [upload(x, target) if isinstance(x, np.ndarray) else x for x in call.args]
        result = apply_many(op, *xs, **call.attrs)
        for y in () if huge else result:
            y.numpy()  # OpenCL reports an index out of range when a result is read
    except Exception as error:
        return _refused(error)
    return Answer(None, describe(result))


def _refused(error: Exception) -> Answer:
    message = getattr(error, "message", str(error))
    name = getattr(error, "op", None)
    told = _plain(f"{name}: {message}" if name else message)
    return Answer(type(error), told, getattr(error, "remedy", None), getattr(error, "inputs", None))


def _plain(text: str) -> str:
    """Return a message without what varies by machine: device names, addresses, budgets."""
    text = re.sub(rf"\b({'|'.join(ROOMS)})(:\d+)?\b", "DEVICE", text)
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def complaint(op: Any, call: Call, told: Answer) -> str | None:
    """Return what is wrong with an answer: not a TinyMLError, or one that says too little."""
    if told.error is None:
        return None
    if not issubclass(told.error, TinyMLError):
        return f"{told.error.__name__}: {told.text}"
    if not told.text.startswith(f"{op.name}: "):
        return f"does not begin with the op: {told.text}"
    if not told.remedy:
        return f"no remedy: {told.text}"
    if told.inputs is None and call.args:
        return f"no operands: {told.text}"
    return None


# -- snapshots ---------------------------------------------------------------------------------


def family(op: Any) -> str:
    """Return the package or module that defines an op; its snapshots share one file."""
    return str(op.infer.__module__).rpartition(".")[2]


def families() -> dict[str, list[str]]:
    """Return the names of the ops of every family."""
    from tinyml.conformance.suite.run import all_ops

    found: dict[str, list[str]] = {}
    for name, op in all_ops().items():
        found.setdefault(family(op), []).append(name)
    return found


def written(names: list[str]) -> str:
    """Return the text of a family's file: each message once, with the ops and calls that get it."""
    said: dict[str, tuple[list[str], list[str]]] = {}
    for name in names:
        op = find(name)
        for call in calls(op):
            told = answer(op, call, HOST)
            if told.error is not None:
                message = told.text.replace(name, "OP")
                text = f"{told.error.__name__}: {message}\n  remedy: {told.remedy}"
                ops, wrongs = said.setdefault(text.replace(f"{op.doc}", "DOC"), ([], []))
                ops += [name] * (name not in ops)
                wrongs += [call.wrong] * (call.wrong not in wrongs)
    return "".join(
        f"{text}\n  to: {', '.join(wrongs[:SHOWN])}{', ...' * (len(wrongs) > SHOWN)}\n"
        f"  of: {'all' if len(ops) == len(names) else ', '.join(sorted(ops))}\n"
        for text, (ops, wrongs) in sorted(said.items()))


def write(folder: Path) -> None:
    """Write the files of all families anew; remove files that belong to no family."""
    found = {folder / f"{name}.txt": ops for name, ops in families().items()}
    for path in folder.glob("*.txt"):
        if path not in found:
            path.unlink()
    for path, ops in found.items():
        path.write_text(written(ops), encoding="utf-8")
