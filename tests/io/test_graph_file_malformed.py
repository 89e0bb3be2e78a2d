"""Graph files that are malformed or hostile: refused with a reason, or harmless."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
import tinyml.io.graph_reader as graphreader
import tinyml.io.graph_writer as graphfile
import tinyml.random
from tinyml.core.apply import apply
from tinyml.errors import DTypeError, FileFormatError, FileMissingError, TinyMLError
from tinyml.graph.graph import Graph
from tinyml.graph.trace import Traced, trace
from tinyml.io.graph_writer import load_graph, save_graph
from tinyml.ir.op import OPS, Op
from tinyml.ir.spec import make_spec
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


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A graph file and the one beside it."""
    save_graph(tmp_path / "m.json", trace(loss)(W))
    return tmp_path / "m.json", next(tmp_path.glob("m.*.safetensors"))


# ---- what is malformed


def changed(pair: tuple[Path, Path], change: Callable[[Document], Any]) -> None:
    document = json.loads(pair[0].read_text(encoding="utf-8"))
    change(document)
    pair[0].write_text(json.dumps(document), encoding="utf-8")


def last(document: Document) -> Document:
    graph: Document = document["graphs"][-1]
    return graph


def lines(document: Document) -> list[Document]:
    found: list[Document] = last(document)["lines"]
    return found


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format="x"), "its format is not 'tinyml.graph'"),
        (lambda d: d.update(version=2), "version 2 of the format, where 1 is known"),
        (lambda d: d.update(more=1), "an object with format, version, tensors, graphs"),
        (lambda d: d.update(tensors="../../etc/passwd"), "the digest"),
        (lambda d: d.update(tensors=None), "1 captured tensors, and no digest"),
        (lambda d: d.update(graphs=[]), "no graph"),
        (lambda d: lines(d)[0].update(op="tahn"), "no op named 'tahn'"),
        (lambda d: lines(d)[0].update(op=7), "an op without a name"),
        (lambda d: lines(d)[0].update(inputs=[{"var": 99}] * 2), "variable 99, where 2 are known"),
        (lambda d: lines(d)[0].update(inputs=[{"var": 2}] * 2), "variable 2, where 2 are known"),
        (lambda d: lines(d)[0].update(inputs=[{"var": -1}] * 2), "the variable -1"),
        (lambda d: lines(d)[0].update(inputs=[{"var": True}] * 2), "the variable True"),
        (lambda d: lines(d)[1].update(inputs=[{"var": 0}] * 2), "tanh: Expect: operands: 1"),
        (lambda d: lines(d)[1].update(inputs=[]), "numbers alone"),
        (lambda d: lines(d)[1].update(op="inv", inputs=[{"var": 0}] * 2),
         "inv: Expect: x. Actual: an operand, an operand"),
        (lambda d: lines(d)[1].update(op="svdvals", inputs=[{"var": 0}, 1]), "svdvals: Expect: x"),
        (lambda d: lines(d)[1].update(inputs=["x"]), "no number and no variable"),
        (lambda d: lines(d)[2]["attrs"].update(axis=5), "-2 <= axis < 2"),
        (lambda d: lines(d)[2]["attrs"].update(axis="x"), "softmax"),
        (lambda d: lines(d)[2]["attrs"].update(axes=1), "Actual: an operand, axis, axes"),
        (lambda d: lines(d)[2]["attrs"].update(axis={"code": "x"}), "of unknown kind"),
        (lambda d: lines(d)[2]["attrs"].update(axis=nested(40)), "more than 32 deep"),
        (lambda d: lines(d)[2]["attrs"].update(axis=[0] * 2000), "at most 1024"),
        (lambda d: lines(d)[2]["attrs"].update(axis="x" * 5000), "a string of 5000"),
        (lambda d: lines(d)[2]["attrs"].update(axis=2**60), "written as text"),
        (lambda d: lines(d)[2]["attrs"].update(axis={"int": "1" * 200}), "no integer"),
        (lambda d: lines(d)[2]["attrs"].update(axis={"bits": "7ff"}), "hexadecimal"),
        (lambda d: lines(d)[2]["attrs"].update(axis={"graph": 0}), "graph 0, where 0 stand"),
        (lambda d: lines(d)[2]["attrs"].update(axis={"size": 0}), "the size 0 of no value"),
        (lambda d: lines(d)[1].update(outputs=[["float32", [3, 4], "cpu"]]), r"float32\(3, 4\)"),
        (lambda d: lines(d)[1].update(outputs=[["int8", [3, 3], "cpu"]]), "gives float32"),
        (lambda d: lines(d)[1].update(outputs=[]), "0 results"),
        (lambda d: last(d).update(inputs=[["float32", [-1], "cpu"]]), "a size of -1"),
        (lambda d: last(d).update(inputs=[["float32", [2**62, 9], "cpu"]]), "more bytes"),
        (lambda d: last(d).update(inputs=[["float32", [1] * 65, "cpu"]]), "at most 64"),
        (lambda d: last(d).update(inputs=[["float9", [1], "cpu"]]), "no data type"),
        (lambda d: last(d).update(inputs=[["float32", [1], "cpu:\u00b2"]]), "no device"),
        (lambda d: last(d).update(inputs=["float32"]), r"not \[dtype, shape, device\]"),
        (lambda d: last(d).update(outputs=[1000]), "the variable 1000"),
        (lambda d: last(d).update(outputs=[0, 0]), "leaves, for 2 values"),
        (lambda d: last(d).update(structure=["*"]), "arguments that are no tuple"),
        (lambda d: last(d).update(structure=["*", {"tuple": 2}]), "takes more than there is"),
        (lambda d: last(d).update(result=["*", "*"]), "a structure of 2 leaves"),
        (lambda d: last(d).update(result=["*", {"dict": ["b", "a"]}]), "a structure with"),
        (lambda d: last(d).update(result=["*", {"Linear": 1}]), "a structure with"),
        (lambda d: last(d).update(cells=[{"name": "x", "spec": 0, "becomes": 0}]), "unknown cell"),
        (lambda d: last(d).update(captures=[]), "variable 1, where 1 are known"),
        (lambda d: last(d).update(captures=[["int32", [3, 3], "cpu"]]), "capture 0 is int32"),
        (lambda d: last(d)["captures"].append(["int8", [1], "cpu"]), "m.json"),
    ],
)
def test_malformed_graphs_are_refused(pair: tuple[Path, Path], change: Callable[[Document], Any],
                                      words: str) -> None:
    changed(pair, change)
    with pytest.raises(FileFormatError, match=words) as caught:
        load_graph(pair[0])
    assert str(pair[0]) in str(caught.value) and caught.value.remedy


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "its format"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e999}', "the number 1e999"),
        (b'{"a": ' + b"9" * 5000 + b"}", "the integer 999"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=words):
        load_graph(tmp_path / "m.json")


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "m.json", "wb") as file:
        file.truncate(graphfile.MAX_BYTES + 1)
    with pytest.raises(FileFormatError, match="bytes, more than"):
        load_graph(tmp_path / "m.json")


def towering(height: int, times: int) -> Document:
    """Graphs that each apply the one below `times` times; the lowest one has one line."""
    spec = ["float32", [2], "cpu"]
    lowest = {"op": "neg", "inputs": [{"var": 0}], "attrs": {}, "outputs": [spec]}
    graphs: list[Document] = [{"inputs": [spec], "cells": [], "lines": [lowest], "outputs": [1]}]
    for number in range(height):
        calls = [{"op": "call", "inputs": [{"var": k}], "attrs": {"graph": {"graph": number}},
                  "outputs": [spec]} for k in range(times)]
        graphs.append({"inputs": [spec], "cells": [], "lines": calls, "outputs": [times]})
    graphs[-1].update(captures=[], structure=None, result=None)
    return {"format": "tinyml.graph", "version": 1, "tensors": None, "graphs": graphs}


def test_graphs_that_apply_each_other_too_often_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(towering(graphreader.MAX_DEPTH, 1)), encoding="utf-8")
    assert load_graph(path)(tinyml.tensor([1.0, 2.0]))[0].tolist() == [-1.0, -2.0]
    for height, times, words in ((22, 2, "more than 1000000 lines"), (33, 1, "more than 32 deep")):
        path.write_text(json.dumps(towering(height, times)), encoding="utf-8")
        with pytest.raises(FileFormatError, match=words):
            load_graph(path)


def test_a_device_without_the_data_type_is_told(tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    save_graph(tmp_path / "m.json", trace(lambda x: x)(tinyml.tensor_spec((2,), "float64")))
    cpu = type(W.device)
    monkeypatch.setattr(cpu, "supports", lambda self, dtype: dtype.name != "float64")
    with pytest.raises(DTypeError, match="has no float64"):
        load_graph(tmp_path / "m.json")


def test_graphs_of_control_flow_must_fit_the_operands(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    save_graph(path, trace(everything)(W, ROWS))
    whole = json.loads(path.read_text(encoding="utf-8"))
    for name, drop in (("cond", -1), ("scan", -1), ("while", -1), ("cond", 0), ("scan", 0)):
        document = copy.deepcopy(whole)
        line = next(line for line in lines(document) if line["op"] == name)
        del line["inputs"][drop]
        path.write_text(json.dumps(document), encoding="utf-8")
        words = f"{name}: |'{name}' of numbers alone"
        with pytest.raises(FileFormatError, match=words):
            load_graph(path)


def test_ops_that_would_read_outside_are_refused() -> None:
    cpu = W.device

    def spec(*shape: int, dtype: Any = tinyml.float32) -> Any:
        return make_spec(shape, dtype, cpu, None, True)

    place = {"start": (0, 0), "stop": (9, 9), "step": (1, 1)}
    cases = [
        ("put_along", (spec(4, 3), spec(2, 3, dtype=tinyml.int64), spec(1, 3)), {"axis": 0}),
        ("put_along", (spec(4, 3), spec(2, 9, dtype=tinyml.int64), spec(2, 9)), {"axis": 0}),
        ("unslice", (spec(2, 2),), {"shape": (3, 3), **place}),
        ("unslice", (spec(2, 2),), {"shape": (30, 30), **place}),
        ("max_pool2d_dx", (spec(1, 2, 2, 2), spec(1, 1, 2, 2, dtype=tinyml.int64)),
         {"shape": (1, 2, 4, 4)}),
        ("max_pool2d_take", (spec(1, 2, 4, 4), spec(1, 3, 2, 2, dtype=tinyml.int64)), {}),
    ]
    for name, specs, attrs in cases:
        document = {"format": "tinyml.graph", "version": 1, "tensors": None, "graphs": [{
            "inputs": [[s.dtype.name, list(s.shape), "cpu"] for s in specs], "captures": [],
            "cells": [], "outputs": [], "structure": None, "result": None,
            "lines": [{"op": name, "inputs": [{"var": k} for k in range(len(specs))],
                       "attrs": attrs, "outputs": []}]}]}
        with pytest.raises(FileFormatError, match=name):
            graphreader.Reader("it", json.loads(json.dumps(document)))


# ---- any mutation


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


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Document]]:
    """Saved graphs, and what their files say."""
    folder = tmp_path_factory.mktemp("graphs")
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


@pytest.mark.kernels(70)
@given(st.integers(0, 2**32))
@settings(max_examples=300)
def test_any_mutation_is_refused_or_runs(documents: list[tuple[Path, Document]],
                                         seed: int) -> None:
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
