"""Hostile files: graphs and tensors that were changed, which are refused by name or harmless."""

from __future__ import annotations

import copy
import functools
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinyml
import tinyml.io.safetensors as io
import tinyml.random
from tinyml.core.apply import apply
from tinyml.errors import DTypeError, FileFormatError, FileMissingError, TinyMLError
from tinyml.graph.graph import Graph
from tinyml.graph.trace import Traced, trace
from tinyml.io.graph_writer import load_graph, save_graph
from tinyml.ir.op import OPS, Op
from tinyml.ops.samples.values import Sample

Document = dict[str, Any]
W = tinyml.tensor(np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32))
ROWS = tinyml.tensor(np.array([0, 1, -1]))
SAMPLED = sorted(name for name, op in OPS.items() if op.samples is not None)


def sampled(op: Op, sample: Sample) -> tuple[Traced, list[np.ndarray[Any, Any]]]:
    arrays = [x for x in sample.args if isinstance(x, np.ndarray)]

    def f(*xs: Any) -> Any:
        rest = iter(xs)
        args = [next(rest) if isinstance(x, np.ndarray) else x for x in sample.args]
        return apply(op, *args, **sample.attrs)

    return trace(f)(*arrays), arrays


def everything(x: Any, index: Any) -> Any:
    """Captures, all kinds of control flow, the generator, unknown sizes, a nested container."""
    h = (x @ W).tanh()
    h = tinyml.cond(h.sum() > 0, lambda h: h * W, lambda h: h - 2.5, h)
    c, ys = tinyml.scan(lambda c, r: (c + r * 2.0, c.sum()), h[0], h)
    z = tinyml.while_loop(lambda z: z.sum() < 10.0, lambda z: z + 1.0, c, max_steps=40)
    wide = tinyml.pad(h, ((1, 1), (1, 0)), constant_values=-0.0)
    rows = x.op("nonzero").astype("float32") * 2.0
    picked = tinyml.gather(wide, index, 0).astype("float64")
    along = x.op("take_along", tinyml.argsort(x, axis=0), axis=0)
    drawn = tinyml.random.uniform(None, (3,))
    return {"a": [z + drawn, ys], "b": (rows, picked[::2], along, None, h.sum())}


def loss(x: Any) -> Any:
    return ((x @ W).tanh() * tinyml.softmax(x)).sum()


def step(x: Any) -> Any:
    return tinyml.scan(lambda c, r: ((c @ W).tanh() + r, c.sum()), x[0], x)[0].sum()


# ---- graphs


POOL: list[Any] = [
    -1, 0, 1, 2, 3, 7, 2**40, 2**63, 1.5, -0.0, "x", "cpu", "float32", "int64", "add", "cond",
    None, True, False, [], {}, {"var": 0}, {"var": 3}, {"graph": 0}, {"graph": 1}, {"size": 0},
    {"bits": "7ff8000000000000"}, {"int": "9" * 90}, {"slice": [None, 1, 2]}, {"dtype": "int8"},
    {"numpy": ["int8", "00"]}, [0], [1, 1], [0, 1, 2, 3],
]


def trails(value: Any, trail: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a document."""
    yield trail
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from trails(inner, (*trail, key))


def at(value: Any, trail: tuple[Any, ...]) -> Any:
    for key in trail:
        value = value[key]
    return value


def mutated(document: Document, rng: random.Random) -> Document:
    """A document with one to three values replaced, removed, doubled, moved or off by a little."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = [t for t in trails(document) if t and t[0] not in ("format", "version")]
        if not places:
            break
        trail = rng.choice(places)
        parent, key = at(document, trail[:-1]), trail[-1]
        way = rng.random()
        if way < 0.15:
            del parent[key]
        elif way < 0.3 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(rng.choice(parent)))
        elif way < 0.5 and type(parent[key]) is int:
            parent[key] += rng.choice([-2, -1, 1, 2])
        elif way < 0.75:
            alike = [t for t in places if len(t) == len(trail) and t[-1] == key]
            parent[key] = copy.deepcopy(at(document, rng.choice(alike)))
        else:
            parent[key] = copy.deepcopy(rng.choice(POOL))
    return document


def weight(graph: Graph) -> int:
    """About how many bytes a run touches."""
    total = sum(var.spec.nbytes for var in graph.inputs)
    for equation in graph.equations:
        attrs = equation.attrs
        inner = sum(weight(v) for v in attrs.values() if isinstance(v, Graph))
        steps = 40 if equation.op.name == "while" else attrs.get("length", 1)
        total += inner * steps
        total += sum(1000 if v.spec.unknown else v.spec.nbytes for v in equation.outs)
    return total


def endless(graph: Graph) -> bool:
    return any(equation.op.name == "while" and equation.attrs["max_steps"] is None
               or any(isinstance(v, Graph) and endless(v) for v in equation.attrs.values())
               for equation in graph.equations)


def save_graphs(folder: Path) -> list[tuple[Path, Document]]:
    """Save graphs of every op and of all that a graph can hold; return what their files say."""
    graphs = {"everything": trace(everything)(W, ROWS), "grad": trace(tinyml.grad(step))(W)}
    for name in SAMPLED:
        op = OPS[name]
        assert op.samples is not None
        graphs[name] = sampled(op, next(iter(op.samples(op.dtypes[0]))))[0]
    found = []
    for name, graph in graphs.items():
        save_graph(folder / f"{name}.json", graph)
        path = folder / f"{name}.json"
        found.append((path, json.loads(path.read_text(encoding="utf-8"))))
    return found[:2] * 20 + found  # those with the most to mutate come as often as all the ops


def try_graph(seed: int, documents: list[tuple[Path, Document]]) -> None:
    """Load a mutated graph and run it; raise what is neither a refusal nor an op's error."""
    rng = random.Random(seed)
    path, document = rng.choice(documents)
    other = path.with_name("mutated.json")
    for beside in path.parent.glob(f"{path.stem}.*.safetensors"):
        target = path.with_name(beside.name.replace(path.stem, "mutated", 1))
        if not target.exists():
            target.write_bytes(beside.read_bytes())
    other.write_text(json.dumps(mutated(document, rng)), encoding="utf-8")
    try:
        graph = load_graph(other)
    except (FileFormatError, FileMissingError):
        return
    if weight(graph) < 1e6 and not endless(graph):
        xs = [tinyml.tensor(np.ones(v.spec.shape, v.spec.dtype.numpy)) for v in graph.inputs]
        try:
            graph.run(xs)
        except TinyMLError:
            pass


# ---- tensors


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return a file with bytes changed, cut off or added, or a number of its header changed."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(found) + 1)
        way = rng.randrange(6)
        if way == 0:
            del found[place : place + rng.choice([1, 8, 1000])]
        elif way == 1:
            found[place:place] = rng.randbytes(rng.choice([1, 8, 64]))
        elif way == 2:
            length = rng.choice([rng.randrange(2**16), 2**31, 2**63, 2**64 - 1])
            found[:8] = length.to_bytes(8, "little")
        elif way == 3 and len(found) > 8:
            digits = [k for k, byte in enumerate(found[8:], 8) if 48 <= byte <= 57]
            if digits:
                found[rng.choice(digits)] = 48 + rng.randrange(10)
        elif place < len(found):
            found[place] = rng.randrange(256)
    return bytes(found)


def try_tensors(seed: int, folder: Path) -> None:
    """Load a mutated file of tensors; raise what is no refusal, or if it gives more than it has."""
    rng = random.Random(seed)
    path = folder / "mutated.safetensors"
    dtypes = ("float32", "bool", "int64", "bfloat16", "float8_e4m3fn", "complex64")
    tensors = {f"layer.{k}": tinyml.zeros((k, rng.randrange(4)), dtype=rng.choice(dtypes))
               for k in range(rng.randrange(4))}
    io.save(path, tensors)
    content = mutated_bytes(path.read_bytes(), rng)
    path.write_bytes(content)
    try:
        arrays = io.load_numpy(path)
        loaded = tinyml.load(path)
    except (FileFormatError, DTypeError):
        return
    assert sum(array.nbytes for array in arrays.values()) <= len(content)
    for tensor in loaded.values():
        tensor.tolist()


@functools.cache
def _saved() -> tuple[tempfile.TemporaryDirectory[str], list[tuple[Path, Document]]]:
    folder = tempfile.TemporaryDirectory()
    return folder, save_graphs(Path(folder.name))


def attempt(seed: int) -> None:
    """Try a mutated graph or mutated tensors; whatever is raised is a finding."""
    folder, documents = _saved()
    if seed % 2:
        try_graph(seed, documents)
    else:
        try_tensors(seed, Path(folder.name))
