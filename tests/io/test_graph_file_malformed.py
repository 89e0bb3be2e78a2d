"""Graph files that are malformed or hostile: refused with a reason, or harmless."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
import tinyml.io.graph_reader as graphreader
import tinyml.io.graph_writer as graphfile
from tests.trials.files import ROWS, Document, W, everything, loss, save_graphs, try_graph
from tinyml.errors import DTypeError, FileFormatError
from tinyml.graph.trace import trace
from tinyml.io.graph_writer import load_graph, save_graph
from tinyml.ir.spec import make_spec


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


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Document]]:
    return save_graphs(tmp_path_factory.mktemp("graphs"))


@pytest.mark.kernels(70)
@given(st.integers(0, 2**32))
@settings(max_examples=300)
def test_any_mutation_is_refused_or_runs(documents: list[tuple[Path, Document]],
                                         seed: int) -> None:
    try_graph(seed, documents)
