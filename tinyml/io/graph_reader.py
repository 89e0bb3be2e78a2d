"""The reader of graph files. It trusts nothing, and checks each line against its op's rule.

A document is a list of graphs, each after those that its lines apply; the last is the graph itself.
In a graph, variables are numbered: inputs, captures, cells, then the results of the lines. So the
format allows neither forward references nor cycles.

    spec       [dtype, shape, device]; a size that depends on values is {"size": number, "limit": n}
    line       {"op": name, "inputs": [{"var": number} or a number], "attrs": {...},
               "outputs": [spec, ...]}
    values     as in JSON, with arrays as tuples; else {"int": digits} beyond 2^53, {"bits": 8 bytes
               of a float that is not finite}, {"numpy": [dtype, bytes]}, {"slice": [...]},
               {"dtype": name}, {"device": name}, {"size": number}, {"graph": number}
    structure  nodes in postorder: "*" a leaf, null None, {"tuple": n}, {"list": n}, {"dict": keys}
    cell       {"name": "generator", "spec": spec, "becomes": variable}

The op's own rule infers the shapes of the results again, so a file cannot claim wrong ones.
"""

from __future__ import annotations

import importlib
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

import tinyml.tree as tree
from tinyml.core.builder import Capture, symbolic
from tinyml.core.plan import checked
from tinyml.dtypes import DTYPES, DType, uint32
from tinyml.errors import DTypeError, FileFormatError, TinyMLError
from tinyml.graph.graph import Graph
from tinyml.ir.devices import HOST, find_device, is_device_name
from tinyml.ir.dims import Dim
from tinyml.ir.op import Equation, Op, Scope, Var, find
from tinyml.ir.spec import Spec, make_spec

FORMAT, VERSION = "tinyml.graph", 1
MAX_LINES = 1_000_000  # in all graphs, each counted as often as it is applied
MAX_DEPTH = 32  # of nested graphs, and of nested tuples
MAX_NAME = 4096  # characters in a string
MAX_ITEMS = 1024  # elements of a tuple
MAX_AXES = 64  # as in NumPy
MAX_REASON = 1000  # characters in a message
EXACT = 1 << 53  # larger integers are text, so that readers that only have float64 keep them
GENERATOR = "generator"  # the only hidden state, that of tinyml.random
# Ops whose module is loaded when a file names one; the others are loaded with tinyml.
MODULES = dict.fromkeys(("cond", "scan", "while"), "tinyml.graph.control_ops")
CONTAINERS: dict[str, Any] = {"tuple": tuple, "list": list}


def find_generator() -> Any:
    """Return the state of the global random generator, whose module is loaded when needed."""
    return importlib.import_module("tinyml.random").GENERATOR.state


class Parts(NamedTuple):
    """The content of a document: a graph without its captured tensors."""

    inputs: list[Var]
    captures: list[Var]
    cells: list[Capture]
    equations: list[Equation]
    outputs: list[Var]
    structure: tree.TreeDef | None
    result: tree.TreeDef | None


class Reader:
    """Reads and checks a document's graph. Raises FileFormatError if it is malformed.

    With `device`, everything moves there. Raises DeviceError if a device named in the document does
    not exist here, DTypeError if a device lacks a data type.
    """

    def __init__(self, name: str, document: Any, device: Any = None) -> None:
        self.name = name
        self.device = None if device is None else find_device(device)
        self.place = "the document"
        self._graphs: list[Graph] = []
        self._weights: list[int] = []  # lines of each graph, with those of the graphs it applies
        self._depths: list[int] = []
        self._sizes: dict[int, Dim] = {}
        self._lines = 0
        self._depth = 0
        graphs = self._object(document, "format", "version", "tensors", "graphs")["graphs"]
        entries = self._list(graphs, "graphs")
        if not entries:
            self.refuse("no graph")
        for k, entry in enumerate(entries[:-1]):
            self.place = f"graph {k}"
            parts = self._graph(entry, False)
            self._graphs.append(Graph(parts.inputs, parts.equations, parts.outputs))
            self._weights.append(self._lines)
            self._depths.append(self._depth)
        self.place = "the last graph"
        self.parts = self._graph(entries[-1], True)

    def refuse(self, reason: str) -> NoReturn:
        """Raise a FileFormatError that names the file and the place in it."""
        raise FileFormatError(f"{self.name} is no graph file: {self.place}: {reason[:MAX_REASON]}",
                              remedy="save it again with tinyml.save_graph, or fetch it again")

    # ---- graphs

    def _graph(self, entry: Any, last: bool) -> Parts:
        """Read one graph; only the last one has captures and structures."""
        here, self._lines, self._depth = self.place, 0, 0
        keys = ("inputs", "cells", "lines", "outputs")
        fields = self._object(entry, *keys, *(("captures", "structure", "result") if last else ()))
        scope = Scope()
        scope.open = False
        known: list[Var] = []

        def declare(specs: Any, what: str) -> list[Var]:
            vars_ = [Var(self._spec(s), scope) for s in self._list(specs, what)]
            known.extend(vars_)
            return vars_

        inputs = declare(fields["inputs"], "inputs")
        captures = declare(fields["captures"], "captures") if last else []
        cells = self._list(fields["cells"], "cells")
        if len(cells) > last:
            self.refuse(f"{len(cells)} cells")
        states = [self._state(cell, scope) for cell in cells]
        equations = [equation for _, transfers in states for equation in transfers]
        known += [transfers[0].outs[0] if transfers else var for var, transfers in states]
        for k, one in enumerate(self._list(fields["lines"], "lines")):
            self.place = f"{here}, line {k}"
            equation = self._line(one, known, scope)
            equations.append(equation)
            known.extend(equation.outs)
            self._lines += 1
            if self._lines > MAX_LINES:
                self.refuse(f"more than {MAX_LINES} lines")
        self.place = here
        captured = [self._capture_state(cell, var, known, equations, scope)
                    for cell, (var, _) in zip(cells, states)]
        outputs = [self._var(v, known) for v in self._list(fields["outputs"], "outputs")]
        if not last:
            return Parts(inputs, [], [], equations, outputs, None, None)
        structure = self._structure(fields["structure"], len(inputs))
        result = self._structure(fields["result"], len(outputs))
        if structure is not None and structure.nodes[-1].kind is not tuple:
            self.refuse("arguments that are no tuple")
        return Parts(inputs, captures, captured, equations, outputs, structure, result)

    def _line(self, entry: Any, known: list[Var], scope: Scope) -> Equation:
        fields = self._object(entry, "op", "inputs", "attrs", "outputs")
        op = self._op(fields["op"])
        inputs = [self._operand(x, known) for x in self._list(fields["inputs"], "inputs")]
        if not isinstance(fields["attrs"], dict):
            self.refuse("attributes that are no object")
        attrs = {key: self._value(value) for key, value in fields["attrs"].items()}
        wanted = [self._read_spec(s) for s in self._list(fields["outputs"], "outputs")]
        attrs, specs = self._infer(op, inputs, attrs)
        if len(specs) != len(wanted) or not specs:
            self.refuse(f"{len(wanted)} results, where {op.name!r} gives {len(specs)}")
        for spec, (dtype, shape, device) in zip(specs, wanted):
            same = spec.dtype is dtype and spec.device is device and len(shape) == spec.ndim
            if not same or not all(map(self._agrees, spec.shape, shape)):
                self.refuse(f"a result of {dtype.name}{shape} {device}, where {op.name!r} gives "
                            f"{spec}")
        return _make_equation(op, inputs, attrs, specs, scope)

    def _infer(self, op: Op, inputs: list[Any],
               attrs: dict[str, Any]) -> tuple[dict[str, Any], tuple[Spec, ...]]:
        """Return the normalized attributes and the results, by the op's own rule."""
        specs = [x.spec if isinstance(x, Var) else type(x) for x in inputs]
        if not any(isinstance(spec, Spec) for spec in specs):
            self.refuse(f"{op.name!r} of numbers alone")
        try:
            attrs, given = checked(op, specs, attrs)
            return attrs, tuple([symbolic(spec) for spec in given])
        except TinyMLError as error:
            self.refuse(f"{op.name}: {error.message}")

    def _agrees(self, size: Any, stated: Any) -> bool:
        """Return whether a size is as stated; give a size that depends on values its number."""
        if not isinstance(stated, tuple):
            return type(size) is int and size == stated
        number, limit = stated
        if not isinstance(size, Dim) or size.limit != limit:
            return False
        return self._sizes.setdefault(number, size) is size

    def _op(self, name: Any) -> Op:
        if not isinstance(name, str) or len(name) > MAX_NAME:
            self.refuse("an op without a name")
        if name in MODULES:
            importlib.import_module(MODULES[name])
        try:
            return find(name)
        except TinyMLError as error:
            self.refuse(f"{error.message}; an op of your own is defined before loading")

    def _operand(self, entry: Any, known: list[Var]) -> Any:
        if isinstance(entry, dict) and "var" in entry:
            return self._var(self._object(entry, "var")["var"], known)
        value = self._value(entry)
        if type(value) not in (bool, int, float):
            self.refuse(f"an operand that is no number and no variable: {_show(entry)}")
        return value

    def _var(self, number: Any, known: list[Var]) -> Var:
        if type(number) is not int or not 0 <= number < len(known):
            self.refuse(f"the variable {_show(number)}, where {len(known)} are known")
        return known[number]

    # ---- the random generator

    def _state(self, entry: Any, scope: Scope) -> tuple[Var, list[Equation]]:
        """Return a cell's variable, and the equations that move it to the requested device."""
        fields = self._object(entry, "name", "spec", "becomes")
        if fields["name"] != GENERATOR:
            self.refuse(f"an unknown cell {_show(fields['name'])}")
        if fields["spec"] != ["uint32", [2], HOST]:
            self.refuse("a generator whose state is no key on the cpu")
        var = Var(make_spec((2,), uint32, find_device(HOST), None, True), scope)
        if self.device is None or self.device is var.spec.device:
            return var, []
        return var, [self._transfer(var, self.device, scope)]

    def _capture_state(self, entry: Any, var: Var, known: list[Var], equations: list[Equation],
                       scope: Scope) -> Capture:
        result = self._var(entry["becomes"], known)
        if result.spec.device is not var.spec.device:
            equations.append(self._transfer(result, var.spec.device, scope))
            result = equations[-1].outs[0]
        if result.spec is not var.spec:
            self.refuse(f"a generator whose state becomes {result.spec}")
        return Capture(var, find_generator(), result)

    def _transfer(self, var: Var, device: Any, scope: Scope) -> Equation:
        op = find("transfer")
        return _make_equation(op, [var], *self._infer(op, [var], {"device": device.name}), scope)

    # ---- specs

    def _spec(self, entry: Any) -> Spec:
        """Return the spec of an input, whose sizes must be numbers."""
        dtype, shape, device = self._read_spec(entry)
        if not all(isinstance(size, int) for size in shape):
            self.refuse("an input whose size is not known")
        try:
            return make_spec(shape, dtype, device, None, True)
        except TinyMLError as error:
            self.refuse(error.message)

    def _read_spec(self, entry: Any) -> tuple[DType, tuple[Any, ...], Any]:
        """Return dtype, shape and device."""
        if not isinstance(entry, list) or len(entry) != 3:
            self.refuse(f"a spec {_show(entry)}, not [dtype, shape, device]")
        dtype, device = self._dtype(entry[0]), find_device(self._device(entry[2]))
        sizes = self._list(entry[1], "a shape", MAX_AXES)
        shape = tuple([self._unknown(n) if isinstance(n, dict) else self._natural(n, "a size")
                       for n in sizes])
        if not device.supports(dtype):
            raise DTypeError(f"{self.name}: device {device.name} has no {dtype.name}",
                             remedy="tinyml.load_graph(path, device='cpu')")
        return dtype, shape, device

    def _unknown(self, entry: Any) -> tuple[int, int]:
        fields = self._object(entry, "size", "limit")
        return self._natural(fields["size"], "a size"), self._natural(fields["limit"], "a limit")

    def _natural(self, number: Any, what: str) -> int:
        if type(number) is not int or not 0 <= number < 1 << 63:
            self.refuse(f"{what} of {_show(number)}")
        return number

    def _dtype(self, name: Any) -> DType:
        if not isinstance(name, str) or name not in DTYPES:
            self.refuse(f"no data type {_show(name)}")
        return DTYPES[name]

    def _device(self, name: Any) -> str:
        """Return the name of the device to use for a device named in the file."""
        if not isinstance(name, str) or not is_device_name(name):
            self.refuse(f"no device {_show(name)}")
        return name if self.device is None else self.device.name

    # ---- attributes

    def _value(self, entry: Any, depth: int = 0) -> Any:
        kind = type(entry)
        if depth > MAX_DEPTH:
            self.refuse(f"tuples in tuples, more than {MAX_DEPTH} deep")
        if kind is str and len(entry) > MAX_NAME:
            self.refuse(f"a string of {len(entry)} characters")
        if kind is int and abs(entry) > EXACT:
            self.refuse(f"the integer {entry:.3e}, which is to be written as text")
        if entry is None or kind in (bool, int, float, str):
            return entry
        if kind is list:
            return tuple([self._value(v, depth + 1)
                          for v in self._list(entry, "a tuple", MAX_ITEMS)])
        if kind is dict and len(entry) == 1:
            ((tag, content),) = entry.items()
            if tag in TAGS:
                return TAGS[tag](self, content)
        self.refuse(f"an attribute of unknown kind: {_show(entry)}")

    def _integer(self, text: Any) -> int:
        if not isinstance(text, str) or re.fullmatch(r"-?[0-9]{1,100}", text, re.ASCII) is None:
            self.refuse(f"no integer: {_show(text)}")
        return int(text)

    def _float(self, text: Any) -> float:
        value: float = struct.unpack(">d", self._bytes(text, 8))[0]
        return value

    def _numpy(self, entry: Any) -> Any:
        if not isinstance(entry, list) or len(entry) != 2:
            self.refuse(f"no NumPy number: {_show(entry)}")
        dtype = self._dtype(entry[0])
        return np.frombuffer(self._bytes(entry[1], dtype.itemsize), dtype.numpy)[0]

    def _bytes(self, text: Any, count: int) -> bytes:
        if not isinstance(text, str) or re.fullmatch(f"[0-9a-f]{{{2 * count}}}", text) is None:
            self.refuse(f"no {count} bytes in hexadecimal: {_show(text)}")
        return bytes.fromhex(text)

    def _slice(self, entry: Any) -> slice:
        parts = self._list(entry, "a slice", 3)
        values = [self._value(v) for v in parts]
        if len(values) != 3 or not all(v is None or type(v) is int for v in values):
            self.refuse(f"no slice: {_show(entry)}")
        return slice(*values)

    def _size(self, number: Any) -> Dim:
        if type(number) is not int or number not in self._sizes:
            self.refuse(f"the size {_show(number)} of no value before")
        return self._sizes[number]

    def _nested(self, number: Any) -> Graph:
        if type(number) is not int or not 0 <= number < len(self._graphs):
            self.refuse(f"graph {_show(number)}, where {len(self._graphs)} stand before")
        self._lines += self._weights[number]
        self._depth = max(self._depth, self._depths[number] + 1)
        if self._depth > MAX_DEPTH:
            self.refuse(f"graphs in graphs, more than {MAX_DEPTH} deep")
        return self._graphs[number]

    # ---- structures

    def _structure(self, entry: Any, leaves: int) -> tree.TreeDef | None:
        if entry is None:
            return None
        nodes: list[tree.Entry] = []
        roots = 0
        for node in self._list(entry, "a structure"):
            made = self._node(node)
            roots += 1 - made.arity
            if roots < 1:
                self.refuse("a structure that takes more than there is")
            nodes.append(made)
        definition = tree.TreeDef(nodes)
        if roots != 1 or definition.leaf_count != leaves:
            self.refuse(f"a structure of {definition.leaf_count} leaves, for {leaves} values")
        return definition

    def _node(self, node: Any) -> tree.Entry:
        if node == "*":
            return tree.LEAF
        if node is None:
            return tree.Entry(type(None), None, 0)
        if isinstance(node, dict) and len(node) == 1:
            ((kind, content),) = node.items()
            if kind in CONTAINERS:
                return tree.Entry(CONTAINERS[kind], None, self._natural(content, "a node"))
            if kind == "dict":
                keys = self._list(content, "keys")
                same = {type(key) for key in keys}
                if same <= {str} or same <= {int}:
                    if sorted(set(keys)) == keys:
                        return tree.Entry(dict, tuple(keys), len(keys))
        self.refuse(f"a structure with {_show(node)}")

    # ---- JSON

    def _object(self, entry: Any, *keys: str) -> dict[str, Any]:
        if not isinstance(entry, dict) or set(entry) != set(keys):
            found = f"one with {', '.join(entry)}" if isinstance(entry, dict) else _show(entry)
            self.refuse(f"Expect: an object with {', '.join(keys)}. Actual: {found}")
        return entry

    def _list(self, entry: Any, what: str, limit: int = MAX_LINES) -> list[Any]:
        if not isinstance(entry, list) or len(entry) > limit:
            found = f"{len(entry)} of them" if isinstance(entry, list) else f"{_show(entry)}"
            self.refuse(f"Expect: {what} as a list of at most {limit}. Actual: {found}")
        return entry


TAGS: dict[str, Callable[[Reader, Any], Any]] = {
    "int": Reader._integer,
    "bits": Reader._float,
    "slice": Reader._slice,
    "dtype": Reader._dtype,
    "device": Reader._device,
    "size": Reader._size,
    "graph": Reader._nested,
    "numpy": Reader._numpy,
}


def _show(entry: Any) -> str:
    """Return a value as text for a message; containers may be too long or too deep to print."""
    if isinstance(entry, (list, dict)):
        return f"{'an object' if isinstance(entry, dict) else 'a list'} of {len(entry)}"
    return f"{entry!r:.80}"


def _make_equation(op: Op, inputs: Sequence[Any], attrs: dict[str, Any],
                   specs: tuple[Spec, ...], scope: Scope) -> Equation:
    outs = tuple([Var(spec, scope) for spec in specs])
    return Equation(op, tuple(inputs), attrs, outs)
