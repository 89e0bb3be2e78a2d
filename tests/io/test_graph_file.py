"""Graphs in files: what is saved comes back bit for bit, and nothing malformed does harm."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
import tinyml.io.graph_reader as graphreader
import tinyml.io.graph_writer as graphfile
import tinyml.io.safetensors as io
import tinyml.random
import tinyml.tree as tree
from tests.trials.files import ROWS, SAMPLED, W, everything, loss, sampled, step
from tinyml.core.apply import apply
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    FileFormatError,
    FileMissingError,
    SerializationError,
)
from tinyml.graph.graph import Graph
from tinyml.graph.trace import Traced, trace
from tinyml.io.graph_writer import load_graph, save_graph
from tinyml.ir.op import OPS, Op, attribute_key
from tinyml.nn import Linear

pytestmark = pytest.mark.kernels(1)

ROOT = Path(__file__).parents[2]


def bits(result: Any) -> list[tuple[str, tuple[int, ...], bytes]]:
    """dtype, shape and bytes of every tensor in a result."""
    arrays = [x.numpy() for x in tree.flatten(result)[0]]
    return [(a.dtype.str, a.shape, np.ascontiguousarray(a).tobytes()) for a in arrays]


def text(graph: Traced) -> str:
    """A graph as people read it, with sizes that depend on values without their numbers."""
    return re.sub(r"n\d+<=", "n<=", repr(graph))


def round_trip(folder: Path, graph: Traced, device: str | None = None) -> Traced:
    path = folder / "model.json"
    save_graph(path, graph)
    return load_graph(path, device)


def same_graph(folder: Path, graph: Traced, *xs: Any) -> None:
    """Saved and loaded, a graph reads the same and gives the same bits."""
    loaded = round_trip(folder, graph)
    assert text(loaded) == text(graph)
    assert loaded.structure == graph.structure and loaded.result == graph.result
    found = []
    for one in (graph, loaded):
        tinyml.random.seed(5)
        found.append(bits(one(*xs)))
    assert found[0] == found[1]


# ---- round trips


@pytest.mark.kernels(1)
@pytest.mark.parametrize("name", SAMPLED)
def test_every_op_comes_back(name: str, tmp_path: Path) -> None:
    op = OPS[name]
    assert op.samples is not None
    graph, arrays = sampled(op, next(iter(op.samples(op.dtypes[0]))))
    same_graph(tmp_path, graph, *[tinyml.tensor(x) for x in arrays])


@pytest.mark.parametrize("name", SAMPLED)
def test_every_sample_fits_the_rules_for_files(name: str) -> None:
    op = OPS[name]
    assert op.samples is not None
    for dtype in op.dtypes:
        for sample in op.samples(dtype):
            graph, _ = sampled(op, sample)
            document = {"format": graphreader.FORMAT, "version": graphreader.VERSION,
                        "tensors": None, "graphs": graphfile.Writer(graph).graphs}
            again = graphreader.Reader("it", json.loads(json.dumps(document))).parts
            for one, two in zip(graph.equations, again.equations, strict=True):
                assert one.op is two.op
                ours, theirs = ([var.spec for var in each.outs] for each in (one, two))
                assert ours == theirs or any(spec.unknown for spec in ours)
                if not any("graph" in key for key in one.attrs):
                    assert attribute_key(one.attrs) == attribute_key(two.attrs)


KINDS: dict[str, Callable[..., Any]] = {
    "everything": everything,
    "grad": lambda x, _: tinyml.value_and_grad(loss)(x),
    "grad of grad": lambda x, _: tinyml.grad(lambda x: (tinyml.grad(loss)(x) ** 2).sum())(x),
    "grad of scan": lambda x, _: tinyml.grad(step)(x),
    "jit": lambda x, _: tinyml.jit(lambda x: {"a": x @ W, "b": [x.sum(), None]})(x),
    "grad of jit": lambda x, _: tinyml.grad(tinyml.jit(loss))(x),
    "two applications of one graph": lambda x, _: (lambda f: f(f(x)))(tinyml.jit(lambda x: x * W)),
    "checkpoint": lambda x, _: tinyml.grad(tinyml.checkpoint(loss))(x),
    "arguments as they are": lambda x, index: (index, x, W),
    "nothing": lambda x, _: (),
    "composites": lambda x, i: (tinyml.gelu(x), tinyml.layer_norm(x, W[0], W[1]),
                                tinyml.cross_entropy(x, i * 0), tinyml.random.normal(None, (2, 2))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_graph_comes_back(kind: str, tmp_path: Path) -> None:
    same_graph(tmp_path, trace(KINDS[kind])(W, ROWS), W, ROWS)


@pytest.mark.kernels(8)
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_moves_to_another_device(kind: str, device: str, tmp_path: Path) -> None:
    graph = trace(lambda x: KINDS[kind](x, ROWS.astype("int32")))(W)
    loaded = round_trip(tmp_path, graph, device)
    results = []
    for one, x in ((graph, W), (loaded, W.to(device))):
        tinyml.random.seed(5)
        results.append(tree.flatten(one(x))[0])
    for a, b in zip(*results, strict=True):
        assert str(b.device) == device and a.dtype is b.dtype
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
    again = round_trip(tmp_path, loaded, "cpu")
    tinyml.random.seed(5)
    for a, b in zip(results[0], tree.flatten(again(W))[0], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


def test_a_loaded_graph_is_differentiable_and_can_be_traced(tmp_path: Path) -> None:
    loaded = round_trip(tmp_path, trace(loss)(W))
    assert bits(tinyml.grad(loaded)(W)) == bits(tinyml.grad(loss)(W))
    same_graph(tmp_path, trace(tinyml.grad(loaded))(W), W)


HARD = [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1e22, 0.1, -1e308,
        struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]]
attributes = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | st.sampled_from(HARD)
    | st.text(max_size=8) | st.sampled_from([tinyml.int8, tinyml.bool, tinyml.float64])
    | st.builds(np.float32, st.floats(width=32)) | st.builds(np.int64, st.integers(-9, 2**60))
    | st.builds(slice, st.none() | st.integers(), st.none() | st.integers(), st.none()),
    lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=12)


def packed(value: Any) -> Any:
    """A key of a value that floats enter with all their bits."""
    if isinstance(value, tuple):
        return tuple(map(packed, value))
    if isinstance(value, slice):
        return slice, value.start, value.stop, value.step
    if isinstance(value, np.generic):
        return type(value), value.tobytes()
    return type(value), struct.pack("d", value) if type(value) is float else value


@given(attributes)
@settings(max_examples=200)
def test_an_attribute_keeps_every_bit(value: Any) -> None:
    empty = Traced(Graph([], [], []))
    written = json.loads(json.dumps(graphfile.Writer(empty)._value(value, 0), allow_nan=False))
    document = {"format": graphreader.FORMAT, "version": 1, "tensors": None,
                "graphs": graphfile.Writer(empty).graphs}
    assert packed(graphreader.Reader("it", document)._value(written)) == packed(value)


@pytest.mark.parametrize("number", [*HARD[:4], *HARD[5:9], 3, 2**53 + 1, -(2**53) - 1, True])
def test_operands_that_are_numbers_keep_every_bit(number: Any, tmp_path: Path) -> None:
    graph = trace(lambda x: x * number)(tinyml.tensor_spec((2,), "float64"))
    loaded = round_trip(tmp_path, graph)
    assert packed(loaded.equations[0].inputs[1]) == packed(number)
    same_graph(tmp_path, graph, tinyml.tensor(np.array([1.0, -2.0])))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3)])
def test_captures_of_any_dtype_and_shape(dtype: str, shape: tuple[int, ...],
                                         tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    a, b = tinyml.tensor(values), tinyml.tensor(values.T.copy()).op("permute_dims", axes=tuple(
        range(len(shape)))[::-1])
    same_graph(tmp_path, trace(lambda x: (x == a, a, b))(a), a)


def test_special_values_in_captures_keep_their_bits(tmp_path: Path) -> None:
    values = tinyml.tensor(np.array([0.0, -0.0, np.inf, np.nan, 1e-45], np.float32))
    loaded = round_trip(tmp_path, trace(lambda: values)())
    assert bits(loaded()) == bits(values)


@given(st.recursive(st.none() | st.just(0), lambda inner: st.lists(inner, max_size=3)
                    | st.lists(inner, max_size=3).map(tuple)
                    | st.dictionaries(st.text(max_size=3), inner, max_size=3)
                    | st.dictionaries(st.integers(-3, 3), inner, max_size=3)))
@settings(max_examples=50)
def test_structures_come_back(tmp_path: Path, shape: Any) -> None:
    x = tinyml.tensor(1.0)
    argument = tree.map(lambda _: x, shape)
    graph = trace(lambda tree_: tree.map(lambda leaf: leaf * 2.0, tree_))(argument)
    loaded = round_trip(tmp_path, graph)
    assert loaded.structure == graph.structure and loaded.result == graph.result
    assert tree.map(lambda leaf: leaf.item(), loaded(argument)) == tree.map(lambda _: 2.0, shape)


# ---- what is refused when saving


class Point(NamedTuple):
    x: Any


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (lambda: trace(lambda m, x: m(x))(Linear(3, 2), W), "close over a module"),
        (lambda: trace(lambda x: Point(x))(W), "Point"),
        (lambda: trace(lambda x: {1.5: x})(W), "dict with such keys"),
        (lambda: trace(lambda x: apply(Op("mine", lambda x: x), x))(W), "'mine' is not in the"),
    ],
)
def test_what_no_file_can_hold_is_refused(graph: Callable[[], Traced], words: str,
                                          tmp_path: Path) -> None:
    with pytest.raises(SerializationError, match=words) as caught:
        save_graph(tmp_path / "x.json", graph())
    assert caught.value.remedy and os.listdir(tmp_path) == []


def test_a_module_that_is_closed_over_travels_as_captures(tmp_path: Path) -> None:
    layer = Linear(3, 2)
    same_graph(tmp_path, trace(lambda x: layer(x))(W), W)


def test_a_generator_of_its_own_is_refused(tmp_path: Path) -> None:
    own = tinyml.random.Generator(3)
    with pytest.raises(SerializationError, match="a random generator of its own"):
        save_graph(tmp_path / "x.json", trace(lambda: own.next_key())())


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match="is no graph"):
        save_graph(tmp_path / "x.json", lambda x: x)  # type: ignore[arg-type]
    for call in (lambda: save_graph(tmp_path / "x", trace(loss)(W)), lambda: load_graph("x.txt")):
        with pytest.raises(ArgumentError, match=r"ends in \.json|named 'x\.txt'"):
            call()
    with pytest.raises(FileMissingError, match="no file"):
        load_graph(tmp_path / "x.json")
    with pytest.raises(FileFormatError, match="not a regular file"):
        (tmp_path / "d.json").mkdir()
        load_graph(tmp_path / "d.json")


# ---- files: whole or not at all, and only those that belong together


def test_saving_again_replaces_both_files(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    for k in range(3):
        w = tinyml.full((2,), float(k))
        save_graph(path, trace(lambda w=w: w)())
        assert load_graph(path)().tolist() == [k, k]
        assert len(os.listdir(tmp_path)) == 2
    save_graph(path, trace(lambda x: x)(W))
    assert os.listdir(tmp_path) == ["m.json"]


@pytest.mark.parametrize("step", ["save", "write_atomic"])
def test_who_is_interrupted_leaves_the_old_graph(step: str, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.json"
    save_graph(path, trace(lambda: W)())

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(graphfile, step, killed)
        with pytest.raises(KeyboardInterrupt):
            save_graph(path, trace(lambda: W + 1.0)())
    assert bits(load_graph(path)()) == bits(W)


def test_the_same_graph_gives_the_same_files(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_graph(tmp_path / name / "m.json", trace(everything)(W, ROWS))
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1] and len(contents[0]) == 2


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A graph file and the one beside it."""
    save_graph(tmp_path / "m.json", trace(loss)(W))
    return tmp_path / "m.json", next(tmp_path.glob("m.*.safetensors"))


def test_tensors_of_another_save_are_refused(pair: tuple[Path, Path]) -> None:
    arrays = io.load_numpy(pair[1])
    io.save(pair[1], {name: array + 1 for name, array in arrays.items()})
    with pytest.raises(FileFormatError, match="another content than the one saved with it"):
        load_graph(pair[0])


@pytest.mark.parametrize("harm", ["cut", "other dtype", "other name", "empty", "longer"])
def test_damaged_tensors_are_refused(pair: tuple[Path, Path], harm: str) -> None:
    content, array = pair[1].read_bytes(), io.load_numpy(pair[1])["0"]
    if harm == "other dtype":
        io.save(pair[1], {"0": array.view(np.int32)})
    elif harm == "other name":
        io.save(pair[1], {"1": array})
    else:
        pair[1].write_bytes({"cut": content[:-1], "empty": b"",
                             "longer": content + b"\0" * 100_000}[harm])
    with pytest.raises(FileFormatError):
        load_graph(pair[0])


def test_missing_tensors_are_told(pair: tuple[Path, Path]) -> None:
    pair[1].unlink()
    with pytest.raises(FileMissingError, match="which holds the tensors of"):
        load_graph(pair[0])


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_tensors_in_another_folder_are_not_read(pair: tuple[Path, Path]) -> None:
    other = pair[0].parent / "other"
    other.mkdir()
    pair[1].rename(other / "t")
    pair[1].symlink_to(other / "t")
    with pytest.raises(FileFormatError, match="another folder"):
        load_graph(pair[0])
    pair[0].rename(other / "j")  # both links into one folder: a store that files are linked from
    pair[0].symlink_to(other / "j")
    assert bits(load_graph(pair[0])(W)) == bits(loss(W))


# ---- what is loaded


def controlled(x: Any) -> list[Any]:
    """What a cond, a scan and a while_loop give."""
    total, sums = tinyml.scan(lambda c, row: (c + row, c * 2.0), x[0], x)
    return [total, sums, tinyml.cond(x.sum() > 0.0, lambda v: v * 2.0, lambda v: -v, x),
            tinyml.while_loop(lambda v: v.sum() < 9.0, lambda v: v + 1.0, x)]


def test_a_graph_runs_without_autodiff_compiler_and_numba(tmp_path: Path) -> None:
    """In a second process, when the kernels are in the cache."""
    save_graph(tmp_path / "m.json", trace(lambda x: (tinyml.grad(loss)(x),
                                                     tinyml.random.uniform(None, (2,)),
                                                     *controlled(x)))(W))
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import tinyml\n"
        "from tinyml.io.graph_writer import load_graph\n"
        f"graph = load_graph({str(tmp_path / 'm.json')!r}, 'cpu')\n"
        "y, r, *_ = graph(tinyml.ones((3, 3)))\n"
        "print(y.numpy().tobytes().hex())\n"
        "heavy = ('tinyml.autodiff', 'tinyml.compiler', 'tinyml.forward', 'tinyml.nn', 'numba',\n"
        "         'pyopencl')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    printed = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.split("\n"))
    want = load_graph(tmp_path / "m.json")(tinyml.ones((3, 3)))[0].numpy().tobytes().hex()
    assert printed[1][:2] == [want, "[]"] and printed[0][0] == want
