"""Random programs: one function of 2 to 20 calls, run in every way that must give the same.

A program is a list of steps, each a call with the places of its operands, drawn from a seed. Its
floats are compared bit for bit eager and jitted, twice, and within a bound of the other device's;
its gradients eager, jitted and through a jitted function within rounding in float64.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinyml

Call = Callable[..., Any]
DTYPES = ("float64", "float32", "float32", "float16", "bfloat16")
SHAPES = ((4,), (3, 4), (4, 4), (2, 3, 4), (1, 4), (3, 1), ())
CLOSE = 1e-9  # of the largest magnitude, in float64: thousands of roundings, and no more


def _safe(x: Any) -> Any:
    """A bounded function with a slope everywhere: keeps values from growing step by step."""
    return tinyml.tanh(x * 0.5)


UNARY: dict[str, Call] = {
    "sin": tinyml.sin, "tanh": tinyml.tanh, "sigmoid": tinyml.sigmoid, "negative": lambda x: -x,
    "exp": lambda x: tinyml.exp(_safe(x)), "log": lambda x: tinyml.log(x * x + 1.0),
    "sqrt": lambda x: tinyml.sqrt(x * x + 0.5), "erf": tinyml.erf, "abs": tinyml.abs,
    "square": lambda x: _safe(x) ** 2, "relu": lambda x: tinyml.relu(x - 0.125),
    "transpose": lambda x: x.T if x.ndim == 2 else x,
    "swap": lambda x: tinyml.permute_dims(x, tuple(reversed(range(x.ndim)))),
    "flat": lambda x: x.reshape(-1), "backwards": lambda x: tinyml.flip(x),
    "stride": lambda x: x[..., ::2] if x.ndim else x,
    "first": lambda x: x[0] if x.ndim else x, "roll": lambda x: tinyml.roll(x, 1),
    "sum": lambda x: x.sum(), "sum last": lambda x: x.sum(axis=-1) if x.ndim else x,
    "mean first": lambda x: x.mean(axis=0, keepdims=True) if x.ndim else x,
    "max last": lambda x: x.max(axis=-1, keepdims=True) if x.ndim else x,
    "var": lambda x: tinyml.var(x), "norm": lambda x: tinyml.sqrt((x * x).sum() + 1.0),
    "softmax": lambda x: tinyml.softmax(x, axis=-1) if x.ndim else x,
    "cumulative sum": lambda x: tinyml.cumulative_sum(x, axis=-1) if x.ndim else x,
    "sort": lambda x: tinyml.sort(x, axis=-1) if x.ndim else x,
    "double": lambda x: tinyml.concat([x, x], axis=0) if x.ndim else x,
    "take": lambda x: tinyml.take(x, tinyml.tensor([0, 0], device=x.device), axis=0)
    if x.ndim else x,
}
BINARY: dict[str, Call] = {
    "add": lambda x, y: x + y, "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: _safe(x) * y, "matmul": lambda x, y: x @ y,
    "divide": lambda x, y: x / (y * y + 1.0), "maximum": tinyml.maximum,
    "where": lambda x, y: tinyml.where(x > 0.25, x, y),
    "atan2": lambda x, y: tinyml.atan2(x, y * y + 1.0),
}


class Step(NamedTuple):
    """One call: its name, and the places of its operands among the values before it."""

    name: str
    places: tuple[int, ...]


class Program(NamedTuple):
    """Inputs as float64 arrays, a dtype, the steps, and the places of what is returned."""

    inputs: tuple[np.ndarray[Any, Any], ...]
    dtype: str
    steps: tuple[Step, ...]
    results: tuple[int, ...]

    def __call__(self, *xs: Any) -> tuple[Any, ...]:
        """Run the steps."""
        values = list(xs)
        for name, places in self.steps:
            call = UNARY.get(name) or BINARY[name]
            values.append(call(*[values[k] for k in places]))
        return tuple(values[k] for k in self.results)


def _shape(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The result's shape, found by running the call on zeros; None if the shapes do not fit."""
    call = UNARY.get(name) or BINARY[name]
    try:
        graph = tinyml.trace(call)(*[tinyml.zeros(s) for s in shapes])
    except tinyml.TinyMLError:
        return None
    shape: tuple[int, ...] = graph.outputs[0].spec.shape
    return shape


def draw(seed: int) -> Program:
    """Return the program of a seed."""
    rng = random.Random(seed)
    numbers = np.random.default_rng(seed)
    shapes = [rng.choice(SHAPES) for _ in range(rng.randint(1, 3))]
    inputs = tuple(numbers.normal(size=shape) for shape in shapes)
    steps: list[Step] = []
    for _ in range(rng.randint(2, 20)):
        for _ in range(8):  # some operands do not fit: draw again
            name = rng.choice([*UNARY, *BINARY, *BINARY])
            count = 1 if name in UNARY else 2
            places = tuple(max(rng.randrange(len(shapes)), rng.randrange(len(shapes)))
                           for _ in range(count))
            shape = _shape(name, *[shapes[k] for k in places])
            if shape is not None and np.prod(shape) <= 4096:
                shapes.append(shape)
                steps.append(Step(name, places))
                break
    last = range(len(inputs), len(shapes))
    results = {len(shapes) - 1, *(k for k in last if rng.random() < 0.2)}
    return Program(inputs, rng.choice(DTYPES), tuple(steps), tuple(sorted(results)))


# ---- the verdict


def _bits(values: Any) -> list[tuple[Any, ...]]:
    return [(str(v.dtype), v.shape, v.numpy().tobytes()) for v in values]


def _far(found: Any, right: Any) -> bool:
    """Whether arrays of float64 differ by more than rounding."""
    found, right = found.numpy(), right.numpy()
    with np.errstate(all="ignore"):
        largest = max(1.0, float(np.max(np.abs(right), initial=0.0)))
        return bool(found.shape != right.shape or np.any(np.abs(found - right) > CLOSE * largest))


def _loss(program: Program) -> Callable[..., Any]:
    return lambda *xs: sum((tinyml.sin(y).sum() for y in program(*xs)), start=tinyml.tensor(
        0.0, dtype="float64", device=xs[0].device))


def _on(program: Program, device: str, dtype: str) -> list[Any]:
    return [tinyml.tensor(x, dtype=dtype, device=device) for x in program.inputs]


def attempt(seed: int, devices: tuple[str, ...] = ("cpu", "opencl")) -> str | None:
    """Run the program of a seed in every way; return what differs, or None."""
    program = draw(seed)
    wrong: list[str] = []
    for device in devices:
        xs = _on(program, device, program.dtype)
        eager = _bits(program(*xs))
        if _bits(program(*xs)) != eager:
            wrong.append(f"{device}: two runs differ")
        jitted = tinyml.jit(program.__call__)
        if any(_bits(jitted(*xs)) != eager for _ in range(2)):
            wrong.append(f"{device}: jit and eager differ")
        if _bits(tinyml.trace(program.__call__)(*xs)(*xs)) != eager:
            wrong.append(f"{device}: a replay and eager differ")
        wide = _on(program, device, "float64")
        loss, places = _loss(program), tuple(range(len(wide)))
        right = tinyml.grad(loss, places)(*wide)
        for name, f in {"jit of grad": tinyml.jit(tinyml.grad(loss, places)),
                        "grad of jit": tinyml.grad(tinyml.jit(loss), places)}.items():
            if any(_far(a, b) for a, b in zip(f(*wide), right)):
                wrong.append(f"{device}: {name} and grad differ")
        tangents = tuple(tinyml.ones_like(x) for x in wide)
        _, slope = tinyml.jvp(loss, tuple(wide), tangents)
        if _far(slope, sum((g.sum() for g in right), start=slope * 0.0)):
            wrong.append(f"{device}: jvp and grad differ")
    if len(devices) == 2:
        both = [program(*_on(program, device, "float64")) for device in devices]
        if any(_far(a, b) for a, b in zip(*both)):
            wrong.append("the devices differ")
    return f"{wrong}: {program.dtype}, {program.steps}" if wrong else None
