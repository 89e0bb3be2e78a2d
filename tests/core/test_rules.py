"""Every record's own rule: whatever an op is given, it is right or raises a TinyMLError.

Shapes, types, numbers of operands and attributes are drawn at random, also such as no caller would
give. It runs in a child process, so that a crash is seen as one.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
import tinyml.control
from tinyml import errors
from tinyml.core import apply
from tinyml.graph import build
from tinyml.op import OPS, Op, find
from tinyml.planning import checked
from tinyml.spec import make_spec

ROOT = Path(__file__).parents[2]
NAMES = sorted(OPS)
DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")
ODD: list[Any] = [
    None, True, -1, 0, 1, 2, 3, 7, 1 << 40, 1 << 63, 10**400, -(1 << 70), 0.5, -0.0, 1e300,
    float("nan"), float("inf"), "x", "cpu", "float32", "", (), (0,), (1, 1), (2, 3), (-1, 2),
    (1 << 40, 1 << 40), (1 << 70, 0), (0, 0, 1 << 70, 1), (1, 1, 2, 2), (1, None), ("a", "b"), (1.5, 2),
    [1, 2], slice(1, 2), {"a": 1}, {1: 2, "a": 3}, np.float32(0.5), np.int8(-1), int, object(),
    b"x", 1j,
]
SHAPES = [(), (0,), (1,), (3,), (2, 3), (3, 2), (4, 0), (1, 2, 2), (1, 2, 4, 4), (1, 2, 2, 2),
          (2, 1, 3, 3)]


# ---- drawn at random


def array(rng: random.Random) -> Any:
    shape = rng.choice(SHAPES)
    values = np.random.default_rng(rng.getrandbits(32)).integers(-4, 5, shape)
    x = values.astype(rng.choice(DTYPES))
    return x[..., ::-1] if x.ndim and rng.random() < 0.2 else x


def call_of(op: Op, rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
    """Operands and attributes: those of a sample with some of them changed, or any."""
    cases = [] if op.samples is None else list(op.samples(rng.choice(op.dtypes or DTYPES)))
    cases = [case for case in cases if all(np.size(x) < 5000 for x in case.args)]
    if cases and rng.random() < 0.85:
        case = rng.choice(cases)
        args, attrs = list(case.args), dict(case.attrs)
    else:
        args, attrs = [array(rng) for _ in range(rng.randrange(4))], {}
        for name in ("axis", "shape", "start", "stop", "step", "device", "dtype", "stride"):
            if rng.random() < 0.2:
                attrs[name] = rng.choice(ODD)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        change(args, attrs, rng)
    return args, attrs


def change(args: list[Any], attrs: dict[str, Any], rng: random.Random) -> None:
    kind = rng.randrange(8)
    place = rng.randrange(len(args)) if args else 0
    if kind == 0 and args:
        del args[place]
    elif kind == 1:
        args.insert(place, array(rng))
    elif kind == 2 and args:
        args[place] = rng.choice([0, 1, -1, 2.5, True, float("nan"), 1 << 70])
    elif kind == 3 and args:
        args[place] = array(rng)
    elif kind == 4 and args and isinstance(args[place], np.ndarray):
        args[place] = args[place].astype(rng.choice(DTYPES))
    elif kind == 5 and attrs:
        del attrs[rng.choice(sorted(attrs))]
    elif kind == 6:
        attrs[rng.choice(["axis", "extra", "shape"])] = rng.choice(ODD)
    elif attrs:
        name = rng.choice(sorted(attrs))
        value = attrs[name]
        if isinstance(value, tuple) and value and rng.random() < 0.7:
            changed = list(value)
            changed[rng.randrange(len(value))] = rng.choice(ODD[:24])
            attrs[name] = tuple(changed)
        else:
            attrs[name] = rng.choice(ODD)


def fuzz(names: list[str], count: int, device: str) -> list[str]:
    """What went wrong: op, operands, attributes and the error that is none of ours."""
    wrong = []
    target = tinyml.zeros(1, device=device).device
    target.pool.budget = 1 << 28
    for name in names:
        op, rng = find(name), random.Random(f"rules of {name}")
        for k in range(count):
            args, attrs = call_of(op, rng)
            said = f"{name} #{k} {[getattr(x, 'shape', x) for x in args]!r:.200} {attrs!r:.200}"
            try:
                print(said, file=sys.stderr, flush=True)  # the last line is what crashed
                xs = [tinyml.tensor(x, device=device) if isinstance(x, np.ndarray) else x
                      for x in args]
                results = apply(op, *xs, **attrs)
                for y in results if isinstance(results, tuple) else (results,):
                    y.numpy()
            except tinyml.TinyMLError as error:
                if not error.remedy or not error.message:
                    wrong.append(f"{said}: says no way out: {error!r}")
            except Exception as error:
                wrong.append(f"{said}: {type(error).__name__}: {error}")
            op.memo.clear()
    return wrong


def run_fuzz(names: list[str], count: int, device: str) -> list[str]:
    """The same in a process of its own."""
    code = f"import sys, json; sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]!r}\n" \
           f"import test_rules\nprint(json.dumps(test_rules.fuzz({names!r}, {count}, {device!r})))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True,
                          text=True, timeout=600)
    last = done.stderr.strip().rpartition("\n")[2]
    assert done.returncode == 0, f"exit {done.returncode} at {last}"
    found: list[str] = json.loads(done.stdout)
    return found
