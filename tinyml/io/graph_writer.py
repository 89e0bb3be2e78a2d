"""Graphs in files: readable JSON, with the captured tensors in a safetensors file beside it.

`model.json` holds the equations. Captured tensors are in `model.<digest>.safetensors`; the digest
is that of their content, and the JSON states it. A save adds one file and then replaces the other,
so a process that is killed in between leaves the old pair or the new one, and a mixture cannot be
read. Numbers keep every bit. Loading runs nothing; graph_reader checks what is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

import tinyml.tree as tree
from tinyml.core.builder import Capture
from tinyml.core.error_context import named_in_errors
from tinyml.core.upload import upload
from tinyml.dtypes import DTYPES, DType
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    FileFormatError,
    FileMissingError,
    SerializationError,
    TinyMLError,
)
from tinyml.graph.graph import Graph
from tinyml.graph.trace import Traced
from tinyml.io.graph_reader import (
    EXACT,
    FORMAT,
    GENERATOR,
    MAX_DEPTH,
    VERSION,
    Reader,
    find_generator,
)
from tinyml.io.safetensors import Path, as_path, load_numpy, save, write_atomic
from tinyml.ir.dims import Dim
from tinyml.ir.op import OPS, Equation, Var
from tinyml.ir.spec import Spec

Array = npt.NDArray[Any]

MAX_BYTES = 100_000_000  # of the JSON
HEADER_BYTES = 4096  # that the tensor file may have per tensor, besides its content
DIGITS = 16  # of the digest, in the name of the tensor file
ENDING = ".json"
REMEDY = "save it again with tinyml.save_graph, or fetch it again"


# ---- saving


@named_in_errors
def save_graph(path: Path, graph: Traced) -> None:
    """Write a graph to `path`, which ends in .json, and its captured tensors beside it.

    Inputs, outputs, equations, attributes, nested graphs, the generator's hidden state and the
    structure of arguments and result are kept, bit for bit. Locations in the user's program and
    gradients of captured tensors are not. The files of an earlier save are replaced atomically, but
    two processes that save to the same path are not synchronised.

    Raises SerializationError for what cannot be written (an op that is not in the table; a module
    or other class among arguments or results), ArgumentTypeError for anything but a graph,
    ArgumentError for a name with another ending, and OSError if the system refuses; the old files
    are then unchanged.

    >>> import os, tempfile, tinyml
    >>> path = os.path.join(tempfile.mkdtemp(), "double.json")
    >>> save_graph(path, tinyml.trace(lambda x: x * 2.0)(tinyml.tensor_spec((2,))))
    >>> load_graph(path)(tinyml.tensor([1.0, 3.0])).tolist()
    [2.0, 6.0]
    """
    if not isinstance(graph, Traced):
        raise ArgumentTypeError(f"a {type(graph).__name__} is no graph",
                                remedy="tinyml.trace(f)(*specs) makes one of a function")
    stem = _split_ending(path)
    arrays = {str(k): _as_array(c.tensor) for k, c in enumerate(_list_constants(graph))}
    digest = _compute_digest(list(arrays.values())) if arrays else None
    document = {"format": FORMAT, "version": VERSION, "tensors": digest,
                "graphs": Writer(graph).graphs}
    try:
        Reader(os.fspath(path), document)
    except FileFormatError as error:
        raise SerializationError(f"the graph could not be loaded again: {error.message}",
                                 remedy="a smaller graph") from None
    text = _format_document(document)
    if len(text) > MAX_BYTES:
        raise SerializationError(f"a graph of {len(text)} bytes, more than {MAX_BYTES}",
                                 remedy="a smaller graph; scan repeats lines without writing them")
    before = _find_digest(path)
    if digest is not None:
        save(_tensors_path(stem, digest), arrays)
    write_atomic(path, text)
    if before is not None and before != digest:
        try:
            os.unlink(_tensors_path(stem, before))
        except OSError:
            pass  # nothing reads it any more


def _split_ending(path: Path) -> str:
    text = as_path(path)
    if not text.endswith(ENDING):
        raise ArgumentError(f"a graph file named {text!r}", remedy="a name that ends in .json")
    return text[: -len(ENDING)]


def _tensors_path(stem: str, digest: str) -> str:
    """Return the path of the file that holds the captured tensors."""
    return f"{stem}.{digest[:DIGITS]}.safetensors"


def _list_constants(graph: Graph) -> list[Capture]:
    """Return the captures whose content belongs in the file."""
    return [capture for capture in graph.captures if not capture.is_state]


def _as_array(tensor: Any) -> Array:
    array: Array = tensor.detach().numpy()
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _compute_digest(arrays: Sequence[Array]) -> str:
    """Return the SHA-256 of the dtypes, shapes and bytes of tensors."""
    known = hashlib.sha256()
    for array in arrays:
        known.update(f"{array.dtype.str}{array.shape}".encode())
        known.update(array.reshape(-1).view(np.uint8).data)
    return known.hexdigest()


def _find_digest(path: Path) -> str | None:
    """Return the digest in the file to be replaced, or None."""
    try:
        return _check_head(path, _read(path))
    except (OSError, TinyMLError):
        return None


def _format_document(document: dict[str, Any]) -> bytes:
    """Return JSON text with one line for each equation."""

    def flat(value: Any) -> str:
        return json.dumps(value, allow_nan=False)

    graphs = []
    for graph in document["graphs"]:
        fields = []
        for key, value in graph.items():
            text = flat(value)
            if key == "lines" and value:
                text = "[\n    " + ",\n    ".join(map(flat, value)) + "\n  ]"
            fields.append(f"  {flat(key)}: {text}")
        graphs.append("{\n" + ",\n".join(fields) + "\n }")
    head = "".join(f" {flat(key)}: {flat(document[key])},\n"
                   for key in ("format", "version", "tensors"))
    return ("{\n" + head + ' "graphs": [' + ", ".join(graphs) + "]\n}\n").encode()


class Writer:
    """Writes the document of a graph. Raises SerializationError for parts that JSON cannot hold."""

    def __init__(self, graph: Traced) -> None:
        self.graphs: list[dict[str, Any]] = []
        self._numbers: dict[Graph, int] = {}
        self._sizes: dict[Dim, int] = {}
        last = self._graph(graph, 0)
        last["captures"] = [self._spec(c.var.spec) for c in _list_constants(graph)]
        last["structure"] = _describe_structure(graph.structure, "arguments")
        last["result"] = _describe_structure(graph.result, "result")
        self.graphs.append(last)

    def _graph(self, graph: Graph, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            raise SerializationError(f"graphs in graphs, more than {MAX_DEPTH} deep",
                                     remedy="jit fewer functions inside of each other")
        names: dict[Var, int] = {}
        for var in graph.reads:
            names[var] = len(names)
        inputs = [self._spec(var.spec) for var in graph.inputs]
        lines = []
        for equation in graph.equations:
            lines.append(self._line(equation, names, depth))
            for var in equation.outs:
                names[var] = len(names)
        return {"inputs": inputs, "cells": [self._cell(state, names) for state in graph.states],
                "lines": lines, "outputs": [names[var] for var in graph.outputs]}

    def _line(self, equation: Equation, names: dict[Var, int], depth: int) -> dict[str, Any]:
        home = OPS.get(equation.op.name)
        if home is not equation.op or home.internal:
            raise SerializationError(
                f"the op {equation.op.name!r} is not in the table of ops",
                remedy="define it with tinyml.extend.define, also where it loads")
        attrs = {key: self._value(value, depth) for key, value in equation.attrs.items()}
        if equation.op.name == "transfer":
            attrs = {"device": {"device": equation.attrs["device"]}}
        inputs = [{"var": names[v]} if isinstance(v, Var) else self._value(v, depth)
                  for v in equation.inputs]
        outputs = [self._spec(var.spec, new=True) for var in equation.outs]
        return {"op": equation.op.name, "inputs": inputs, "attrs": attrs, "outputs": outputs}

    def _cell(self, state: Capture, names: dict[Var, int]) -> dict[str, Any]:
        if state.tensor is not find_generator():
            raise SerializationError("the graph reads a random generator of its own",
                                     remedy="the global one, or pass keys as arguments")
        return {"name": GENERATOR, "spec": self._spec(state.var.spec),
                "becomes": names[state.result]}

    def _spec(self, spec: Spec, new: bool = False) -> list[Any]:
        """Return dtype, shape and device; number the sizes that depend on values and are new."""
        shape: list[Any] = []
        sizes: tuple[Any, ...] = spec.shape
        for size in sizes:
            if isinstance(size, Dim):
                if new:
                    self._sizes.setdefault(size, len(self._sizes))
                shape.append({**self._size(size), "limit": size.limit})
            else:
                shape.append(int(size))
        return [spec.dtype.name, shape, spec.device.name]

    def _size(self, size: Dim) -> dict[str, Any]:
        number = self._sizes.get(size)
        if number is None:
            raise SerializationError(f"the size {size!r} is that of no value of the graph",
                                     remedy="trace the whole function as one graph")
        return {"size": number}

    def _value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if abs(value) <= EXACT else {"int": str(value)}
        if kind is float:
            return value if math.isfinite(value) else {"bits": struct.pack(">d", value).hex()}
        if kind is tuple or kind is list:
            return [self._value(v, depth) for v in value]
        if kind is slice:
            return {"slice": [self._value(v, depth)
                              for v in (value.start, value.stop, value.step)]}
        if isinstance(value, DType):
            return {"dtype": value.name}
        if isinstance(value, Dim):
            return self._size(value)
        if isinstance(value, Graph):
            return {"graph": self._nested(value, depth + 1)}
        if isinstance(value, np.generic) and value.dtype.name in DTYPES:
            return {"numpy": [value.dtype.name, value.tobytes().hex()]}
        raise SerializationError(f"an attribute of type {kind.__name__}",
                                 remedy="numbers, strings, tuples, slices, dtypes or graphs")

    def _nested(self, graph: Graph, depth: int) -> int:
        number = self._numbers.get(graph)
        if number is None:
            graph_in_json = self._graph(graph.closed_over_as_inputs, depth)
            number = self._numbers[graph] = len(self.graphs)
            self.graphs.append(graph_in_json)
        return number


def _describe_structure(definition: tree.TreeDef | None, what: str) -> list[Any] | None:
    """Return a structure in postorder: "*" is a leaf; other nodes count their children."""
    if definition is None:
        return None
    nodes: list[Any] = []
    for entry in definition.nodes:
        if entry is tree.LEAF:
            nodes.append("*")
        elif entry.kind is type(None):
            nodes.append(None)
        elif entry.kind in (tuple, list):
            nodes.append({entry.kind.__name__: entry.arity})
        elif entry.kind is dict and all(type(key) in (str, int) for key in entry.fixed):
            nodes.append({"dict": list(entry.fixed)})
        else:
            name = "dict with such keys" if entry.kind is dict else entry.kind.__name__
            raise SerializationError(
                f"the {what} of the graph hold a {name}, whose code no file can hold",
                remedy="tuples, lists, dicts and None; close over a module instead of passing it: "
                       "its parameters are then saved as captures")
    return nodes


# ---- loading


@named_in_errors
def load_graph(path: Path, device: Any = None) -> Traced:
    """Return the graph in a file written by save_graph; with `device`, all of it moves there.

    Raises FileMissingError if a file is missing, FileFormatError if one is malformed or the two do
    not belong together, DeviceError if a device named in the file does not exist here, and
    DTypeError if the device lacks a data type.

    >>> import os, tempfile, tinyml
    >>> path = os.path.join(tempfile.mkdtemp(), "model.json")
    >>> w = tinyml.tensor([0.5, float("inf")])
    >>> save_graph(path, tinyml.trace(lambda x: {"y": x * w})(tinyml.tensor_spec(())))
    >>> load_graph(path, "cpu")(tinyml.tensor(3.0))["y"].tolist()
    [1.5, inf]
    """
    stem = _split_ending(path)
    while True:
        document = _read(path)
        digest = _check_head(path, document)
        parts = Reader(os.fspath(path), document, device).parts
        try:
            tensors = _load_tensors(path, stem, digest, [var.spec for var in parts.captures])
            break
        except FileMissingError:
            if _find_digest(path) in (digest, None):  # otherwise a save came in between: read again
                raise
    captures = [Capture(var, tensor, var) for var, tensor in zip(parts.captures, tensors)]
    graph = Graph(parts.inputs, parts.equations, parts.outputs, [*captures, *parts.cells])
    return Traced(graph, parts.structure, parts.result)


def _load_tensors(path: Path, stem: str, digest: str | None,
                  specs: Sequence[Spec]) -> list[Any]:
    """Return the captured tensors, checked against these specs and this digest."""
    if (digest is None) == bool(specs):
        _refuse(path, f"{len(specs)} captured tensors, and {'no' if specs else 'a'} digest of them")
    if digest is None:
        return []
    beside = _tensors_path(stem, digest)
    folder = os.path.dirname(os.path.realpath(beside))
    if folder not in (os.path.realpath(os.path.dirname(stem) or "."),
                      os.path.dirname(os.path.realpath(path))):
        _refuse(path, f"its tensors {beside} lie in another folder")
    try:
        more = os.stat(beside).st_size - sum(spec.nbytes for spec in specs)
    except FileNotFoundError:
        raise FileMissingError(f"no file {beside}, which holds the tensors of {os.fspath(path)}",
                               remedy="keep both files together") from None
    if not 0 <= more <= HEADER_BYTES * (len(specs) + 1):
        _refuse(path, f"the size of {beside} is not that of its tensors")
    loaded = load_numpy(beside)
    known = [loaded[str(k)] for k in range(len(specs)) if str(k) in loaded]
    if not len(known) == len(loaded) == len(specs):
        _refuse(path, f"{beside} has other tensors than it names")
    for k, (array, spec) in enumerate(zip(known, specs)):
        if array.shape != spec.shape or array.dtype.newbyteorder("=") != spec.dtype.numpy:
            _refuse(path, f"capture {k} is {spec}, but {array.dtype}{list(array.shape)} in "
                          f"{beside}")
    if _compute_digest([np.ascontiguousarray(a).reshape(a.shape) for a in known]) != digest:
        _refuse(path, f"{beside} has another content than the one saved with it")
    return [upload(array, spec.device, spec.dtype) for array, spec in zip(known, specs)]


def _read(path: Path) -> Any:
    """Return the value of a JSON file; refuse one that is too large or repeats a name."""
    try:
        with open(path, "rb", opener=_open_regular) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                _refuse(path, f"{size} bytes, more than {MAX_BYTES}")
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise FileMissingError(f"no file {os.fspath(path)}",
                               remedy="check the path and the current folder") from None

    def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            _refuse(path, "a name stands twice in one object")
        return result

    def as_float(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            _refuse(path, f"the number {text:.80}")
        return value

    def as_int(text: str) -> int:
        return int(text) if len(text) < 20 else _refuse(path, f"the integer {text:.80}...")

    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=refuse_twins,
                          parse_float=as_float, parse_int=as_int,
                          parse_constant=lambda word: _refuse(path, word))
    except FileFormatError:
        raise
    except (ValueError, RecursionError) as error:
        _refuse(path, f"it is not JSON ({error})")


def _open_regular(path: str, flags: int) -> int:
    """Open a file; refuse any but a regular one, which could block or never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        _refuse(path, "not a regular file")
    return os.open(path, flags)


def _check_head(path: Path, document: Any) -> str | None:
    """Check format and version of a document, and return the digest of the tensors, if any."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        _refuse(path, f"its format is not {FORMAT!r}")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        _refuse(path, f"version {version!r:.20} of the format, where {VERSION} is known",
                "load it with the release of tinyml that wrote it")
    digest = document.get("tensors")
    whole = isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    if digest is not None and not whole:
        _refuse(path, f"the digest {digest!r:.80} of its tensors")
    return digest


def _refuse(path: Path, reason: str, remedy: str = REMEDY) -> NoReturn:
    raise FileFormatError(f"{os.fspath(path)} is no graph file: {reason}", remedy=remedy)
