"""The trial of wrong calls: every public function, called with arguments of every wrong kind.

A call is a line of Python that the seed chooses, such as `tinyml.flip(None, 2**64)`. It may return,
raise a TinyMLError that is also the standard class, raise what the caller's own object raised, or
Python's own TypeError for a signature. Everything else is a finding: another library's error or
warning, a hang, a gigabyte of memory, a crash. Repeat one by

    python -m tests.trials.wrong_calls "tinyml.flip(None, 2**64)"

The calls run in a process of their own, where the CPU computes nothing: kernels are not compiled,
and results are zeros. So thousands of calls take seconds, and what is tried is what comes before.
With every fourth seed (3, 7, ...) they are compiled, which takes minutes.
"""

from __future__ import annotations

import ctypes
import faulthandler
import inspect
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HANGS = 4.0  # seconds after which a call hangs: they all take milliseconds
COMPILED = 15  # the same in multiples, where a call may compile kernels
MEMORY = 1 << 30  # bytes that a call may take
FOUND = "finding: "


HERE = traceback.FrameSummary("<string>", 1, "<module>")


class Blame(Exception):
    """What the caller's own objects raise; it must arrive as it is."""


class Unshown(Exception):
    """What a `__repr__` raises; it must hide no other error."""


class Hangs(BaseException):
    """A call that takes too long."""


class Rude:
    """An object whose method of one name raises, and whose `__repr__` always does."""

    def __repr__(self) -> str:
        raise Unshown("this object cannot be shown")


def _rude(*names: str) -> Any:
    def method(self: Any, *_: Any, **__: Any) -> Any:
        raise Blame(f"one of {', '.join(names)}")

    return type("Rude", (Rude,), dict.fromkeys(names, method))()


def _cyclic() -> tuple[list[Any], dict[str, Any]]:
    items: list[Any] = [1.0]
    items.append(items)
    table: dict[str, Any] = {"a": 1.0}
    table["b"] = table
    return items, table


def square(x: Any) -> Any:
    """Return x squared: a right function."""
    return x * x


def raiser(*_: Any, **__: Any) -> Any:
    """Raise: a function of the caller's that fails."""
    raise Blame("the caller's function")


def _deep(levels: int) -> Any:
    nested: Any = 1.0
    for _ in range(levels):
        nested = [nested]
    return nested


# What stands in a call's text. Right values for parameters by name; everything else gets x.
RIGHT = {
    "shape": "(2, 3)", "dtype": "'float32'", "device": "'cpu'", "axis": "0", "axes": "(0, 1)",
    "dim": "0", "n": "2", "k": "1", "num": "3", "f": "square",
    "argnums": "0", "body": "square", "params": "[p]", "lr": "0.1", "path": "'a.safetensors'",
    "tensors": "{'a': x}", "arrays": "[x, x]", "key": "tinyml.random.key(0)", "seed": "0",
    "primals": "(x,)", "tangents": "(x,)", "indices": "i", "index": "i", "source": "0",
    "destination": "1", "shift": "1", "repeats": "2", "repetitions": "2", "pad_width": "1",
    "subscripts": "'ij->ji'", "count": "2", "kind": "'integral'", "name": "'exp'", "mode": "'full'",
    "in_features": "3", "out_features": "2", "in_channels": "1", "out_channels": "1",
    "kernel_size": "1", "normalized_shape": "3", "fill_value": "1.0", "start": "0", "stop": "3",
    "step": "1", "n_rows": "2", "low": "0", "high": "5", "window_shape": "2", "num_classes": "3",
    "indices_or_sections": "1", "axis1": "0", "axis2": "1", "metadata": "{'a': 'b'}", "tree": "[x]",
    "min": "0.0", "max": "1.0", "decimals": "1", "cond": "x > 0", "condition": "x > 0", "q": "0.5",
    "choices": "[x, x]", "conditions": "[x > 0]", "data": "[1.0, 2.0]", "bins": "3", "total": "9",
}
WRONG = (
    # no tensor
    "None", "[1, 2]", "[[1], [2, 3]]", "[x, None]", "[]", "()", "{}", "''", "'abc'", "b'ab'", "'²'",
    r"'a\0b'", r"'\ud800'", "object", "object()", "len", "square", "raiser", "tinyml", "...",
    "slice(1)", "range(3)", "{1, 2}", "{'a': 1}", "iter([1])", "ArithmeticError",
    "np.ones((2, 3))", "np.array(['a'])", "np.array([None, 1])", "np.array(0)", "np.float32(3)",
    "np.datetime64('2020')", "np.ma.masked_array([1, 2], [0, 1])", "memoryview(b'abc')",
    # numbers that are no sizes, axes or settings
    "True", "-1", "0", "5", "-7", "1.5", "-0.0", "nan", "inf", "-inf", "1j", "complex(nan, inf)",
    "2**31", "2**63", "2**64", "-2**63", "10**30", "-10**400", "10**400", "1e308", "2**62",
    # sequences of them
    "(0, 0)", "(5,)", "(0, 1, 2)", "[0, 0.5]", "(2**63,)", "[2**64]", "(-1, -1)", "(nan,)", "[inf]",
    "(2**31, 2**31)", "(None, None)", "((1, 2), (3,))", "['a', 'b']", "(True, False)", "[1, [2]]",
    # data types and devices
    "'float33'", "'float8_e5m2'", "tinyml.int4", "tinyml.complex64", "np.dtype('datetime64[s]')",
    "np.dtype([('a', int)])", "int", "'cuda'", "'opencl:²'", "'cpu:1'", "'opencl:99999'",
    # tensors of other shapes and types
    "tinyml.ones(())", "i", "tinyml.ones((2, 0))", "tinyml.ones((4, 3))", "x > 0",
    "tinyml.zeros(3, dtype='complex64')", "tinyml.zeros(3, dtype='int4')", "p",
    "tinyml.ones(1, 'uint64')",
    # objects of the caller's that fail, or that contain themselves
    "_rude('__array__')", "_rude('__index__')", "_rude('__len__', '__getitem__')",
    "_rude('__iter__')",
    "_rude('__float__')", "_rude('__bool__')", "_rude('__eq__', '__hash__')", "_rude('__call__')",
    "_rude('__fspath__')", "_rude('__dlpack__', '__dlpack_device__')", "_rude()", "[_rude()]",
    "cyclic", "cycle", "[cyclic]", "{'a': cycle}", "_deep(20000)", "_deep(70)",
)
# What is not called: the number of threads is the process's, and the classes are tinyml's to make.
LEFT_OUT = ("tinyml.set_num_threads", "tinyml.get_num_threads", "tinyml.Graph",
            "tinyml.tree.TreeDef", "tinyml.Tensor", "tinyml.DType")
# Objects all of whose methods are called.
INSTANCES = ("layer", "tinyml.nn.Conv2d(1, 1, 1)", "tinyml.nn.MaxPool2d(1)", "tinyml.nn.Flatten()",
             "tinyml.nn.LayerNorm(3)", "tinyml.nn.Sequential(tinyml.nn.ReLU())", "optimizer",
             "tinyml.optim.AdamW([p])", "tinyml.random.Generator(0)", "tinyml.GradientTape()",
             "x.at[0]", "tinyml.float32", "tinyml.__array_namespace_info__()")
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "@", "&", "|", "^", "<<", ">>", "==", "<", ">=")


def names() -> dict[str, Any]:
    """Return what a call's text may name."""
    import numpy as np

    import tinyml

    items, table = _cyclic()
    return {"tinyml": tinyml, "np": np, "square": square, "raiser": raiser, "_rude": _rude,
            "cyclic": items, "cycle": table, "_deep": _deep, "nan": float("nan"),
            "inf": float("inf"), "x": tinyml.ones((2, 3)), "i": tinyml.tensor([0, 1]),
            "p": tinyml.ones((2, 3), requires_grad=True), "layer": tinyml.nn.Linear(3, 2),
            "optimizer": tinyml.optim.SGD([tinyml.ones(3, requires_grad=True)])}


def targets() -> list[tuple[str, list[inspect.Parameter]]]:
    """Return the text of every public function, class and method, with its parameters."""
    import tinyml

    rooms = ("linalg", "fft", "special", "random", "nn", "nn.functional", "optim", "tree", "io")
    found: dict[str, Any] = {f"tinyml.{n}": getattr(tinyml, n) for n in sorted(tinyml.__all__)}
    for room in rooms:
        module: Any = tinyml
        for part in room.split("."):
            module = getattr(module, part)
        listed = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
        for name in listed:
            home = getattr(getattr(module, name), "__module__", None)
            if hasattr(module, "__all__") or home == module.__name__:  # else it is imported there
                found[f"tinyml.{room}.{name}"] = getattr(module, name)
    found.update({f"x.{n}": getattr(tinyml.ones((2, 3)), n) for n in dir(tinyml.ones((2, 3)))
                  if n[0] != "_" or n in ("__getitem__", "__setitem__", "__array__", "__dlpack__",
                                          "__contains__", "__array_namespace__")})
    for text in INSTANCES:
        value = eval(text, names())
        found.update({f"{text}.{n}": getattr(value, n) for n in dir(value)
                      if (n[0] != "_" and n.isidentifier() and n != "update")  # a step's, inside
                      or n in ("__call__", "__getitem__")})
    listed = []
    for text, value in sorted(found.items()):
        if text in LEFT_OUT or not callable(value) or isinstance(value, types.ModuleType):
            continue
        if isinstance(value, type) and issubclass(value, (Exception, str, tuple)):
            continue
        try:
            listed.append((text, list(inspect.signature(value).parameters.values())))
        except ValueError:
            continue  # a type of NumPy's, say, without a signature
    return listed


def calls(seed: int) -> Iterator[str]:
    """Yield calls without end."""
    rng, every = random.Random(seed), targets()
    while True:
        if rng.random() < 0.05:
            left, right = rng.sample(["x", rng.choice(WRONG)], 2)
            yield f"{left} {rng.choice(OPERATORS)} {right}"
            continue
        text, parameters = rng.choice(every)
        given: list[tuple[inspect.Parameter, str]] = []
        for p in parameters:
            if p.kind is p.VAR_POSITIONAL:
                given += [(p, "x")] * rng.randrange(3)
            elif p.kind is not p.VAR_KEYWORD and (p.default is p.empty or rng.random() < 0.5):
                given.append((p, RIGHT.get(p.name, "x" if p.default in (p.empty, None)
                                           else repr(p.default))))
        wrong = rng.choice((1, 1, 1, 2, len(given)))
        for k in rng.sample(range(len(given)), min(wrong, len(given))):
            given[k] = given[k][0], rng.choice(WRONG)
        if given and rng.random() < 0.03:
            given.pop(rng.randrange(len(given)))
        words, named = [], False
        for p, value in given:
            named = named or p.kind is p.KEYWORD_ONLY or (
                p.default is not p.empty and p.kind is not p.POSITIONAL_ONLY)
            named = named and p.kind is not p.VAR_POSITIONAL
            words.append(f"{p.name}={value}" if named else value)
        if rng.random() < 0.03:
            words.append(f"surplus={rng.choice(WRONG)}")
        call = f"{text}({', '.join(words)})"
        yield f"tinyml.trace(lambda x: {call})(x)" if rng.random() < 0.1 else call


# ---- the verdict


def judge(text: str, known: dict[str, Any]) -> str | None:
    """Return what is wrong with how a call ends, or None."""
    import tinyml

    def ring(*_: Any) -> None:
        raise Hangs(f"more than {HANGS} seconds")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    faulthandler.dump_traceback_later(5 * HANGS, exit=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = eval(text, dict(known))
            if inspect.isfunction(result):  # of grad, jit and their like: the call comes later
                result(known["x"])
    except tinyml.TinyMLError as error:
        try:
            str(error)
        except Exception as hidden:
            return f"a {type(error).__name__} that cannot be shown: {hidden!r:.80}"
        return None if len(type(error).__mro__) > 4 else "a TinyMLError of no standard class"
    except Blame:
        return None
    except (Exception, Hangs) as error:
        return _blamed(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
    return None


def _blamed(error: BaseException) -> str | None:
    """Return an error that is not tinyml's as text, unless Python itself raised it."""
    from tinyml.errors import owner

    frames = traceback.extract_tb(error.__traceback__)[1:] or [HERE]  # the first is `judge`
    if any(f.filename == __file__ for f in frames) and not isinstance(error, (Unshown, Hangs)):
        return None  # the caller's own function raised it
    own = frames[-1].filename == "<string>" or re.match(r"[\w.]+\(\) (got|missing|takes) ",
                                                        str(error))
    if isinstance(error, (TypeError, AttributeError)) and own:
        return None  # of the call's own line: a wrong signature, an operator that nobody takes
    if not any(owner(f.filename) == "tinyml" for f in frames) and not isinstance(error, Hangs):
        return None  # nothing of tinyml ran: an array of NumPy's takes its operators first
    if isinstance(error, OSError) and error.errno is not None:
        return None  # from the system, about a path
    where = " <- ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[:-4:-1])
    return f"{type(error).__name__}: {str(error)[:100]!r}; {where}"


def hollow() -> None:
    """Make the CPU compute nothing: no kernel is compiled, and every result is zeros."""
    import tinyml.core.plan as plan
    from tinyml.kernels.cpu.device import CPU

    def prepare(self: Any, nest: Any, ins: Any, outs: Any, op: str, into: bool = False) -> Any:
        def run(*buffers: Any) -> Any:
            if into:
                return None
            made = [self.empty(spec.nbytes) for spec in outs]
            for buffer, spec in zip(made, outs):
                ctypes.memset(buffer.ptr, 0, spec.nbytes)
            return made[0] if len(made) == 1 else tuple(made)

        return run

    plan.find_kernels = lambda op, device: []
    CPU.prepare = prepare  # type: ignore[method-assign]


def limit_memory() -> None:
    """Let the process take so much more address space."""
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + 2 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def run(seed: int, seconds: float, count: int) -> None:
    """Judge calls, and print the findings, each kind once; the child's part."""
    global HANGS
    known, seen, end = names(), set(), time.monotonic() + seconds
    if seed % 4 == 3:
        HANGS *= COMPILED
    else:
        hollow()
    if sys.platform == "linux":
        limit_memory()
    for number, text in enumerate(calls(seed)):
        if number >= count or time.monotonic() > end:
            print(f"{number} calls", flush=True)
            return
        sys.stderr.write(f"{text}\n")  # the last line is the call that crashed
        found = judge(text, known)
        kind = found and found.partition("; ")[2] + found.partition(":")[0]
        if found and kind not in seen:
            seen.add(kind)
            print(f"{FOUND}{text}\n    {found}", flush=True)


def trial(seed: int, seconds: float, count: int = sys.maxsize) -> list[str]:
    """Return the findings of calls that a seed chooses, of so many or for so long."""
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        child = subprocess.run(
            [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv.pop())\n"
             f"from tests.trials import wrong_calls as w; w.run({seed}, {seconds}, {count})",
             str(root)],
            cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace",
            env={**os.environ, "TINYML_MEMORY_LIMIT": str(MEMORY), "TINYML_NUM_THREADS": "1",
                 "PYTHONPATH": str(root)})
        found = child.stdout.split(FOUND)[1:]
        if child.returncode:
            log.seek(0)
            last = log.read().decode(errors="replace").splitlines()[-20:]
            found.append("the process ended with " + "\n".join([str(child.returncode), *last]))
    return [text.strip() for text in found]


if __name__ == "__main__":
    scope = names()
    hollow()
    for line in sys.argv[1:]:
        print(line, "->", judge(line, scope) or "as it should be")
