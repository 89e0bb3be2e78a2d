"""The loop nest, proven generally: any graph of words and reductions is one launch, and right."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinyml
from tinyml.conformance import reference
from tinyml.core.apply import apply
from tinyml.dtypes import DTYPES, as_dtype, float32, promote
from tinyml.ir.devices import find_device
from tinyml.ir.monoids import SUM
from tinyml.ir.nest import Nest
from tinyml.ir.op import OPS, Op
from tinyml.ir.spec import dense_strides, make_spec
from tinyml.kernels import common
from tinyml.kernels.common.schedule import Block, Loop, ScheduledNest, schedule

pytestmark = pytest.mark.kernels(1)

Tensor = Any
Body = Callable[..., Any]
IR = Path(tinyml.__file__).parent / "ir"
COMMON = Path(common.__file__).parent


def uniform(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Any:
    """Seeded float32 values."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def as_tuple(value: Any) -> tuple[Any, ...]:
    """An op's results, one or several."""
    return value if isinstance(value, tuple) else (value,)


def launch(body: Body, *xs: Tensor) -> tuple[Any, Any, str]:
    """A body op by op, the same body as one op, and how that op ran."""
    with tinyml.no_grad():
        apart = body(*xs)
        specs = tuple(make_spec(y.shape, y.dtype, y.device) for y in as_tuple(apart))
        op = Op(
            "temporary",
            lambda *_: specs if isinstance(apart, tuple) else specs[0],
            body=body,
        )
        together = apply(op, *xs)
    (plan,) = op.memo.values()
    return apart, together, plan.how


def assert_same_bits(want: Tensor, have: Tensor) -> None:
    """Equal in shape, type and every bit, any NaN being equal to any NaN."""
    x, y = want.numpy(), have.numpy()
    assert have.dtype is want.dtype and have.shape == want.shape
    np.testing.assert_array_equal(y, x)
    if x.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(y) & ~np.isnan(y), np.signbit(x) & ~np.isnan(x))


def assert_close(want: Tensor, have: Tensor) -> None:
    """Equal but for the rounding of sums that are added up in another order."""
    assert have.dtype is want.dtype and have.shape == want.shape
    np.testing.assert_allclose(have.numpy(), want.numpy(), rtol=2e-5, atol=2e-6)


# ---- random graphs of vocabulary words over one broadcast shape

POOL = ("bool", "uint8", "int32", "float32")
WORDS = tuple(name for name, op in OPS.items() if op.promote is not None and op.normalize is None
              and op.samples and set(POOL) & set(op.dtypes) and name not in ("complex", "polar"))
ARITY = {name: len(OPS[name].samples(OPS[name].dtypes[0])[0].args) for name in WORDS}  # type: ignore
CONDITIONS = {"where": 1}  # operands in front that are conditions of any type
SHAPES = ((3, 5), (5,), (3, 1), ())


class Line(NamedTuple):
    """One op of a graph: which values it reads, and the type that each is cast to before."""

    op: str
    args: tuple[int | float, ...]
    dtypes: tuple[str | None, ...]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], list[Line]]:
    """The types of the inputs, and lines that read inputs and earlier lines."""
    kinds = [draw(st.sampled_from(POOL)) for _ in SHAPES]
    known = list(kinds)
    lines: list[Line] = []
    for _ in range(draw(st.integers(1, 12))):
        name = draw(st.sampled_from((*WORDS, "cast")))
        if name == "cast":
            source, target = draw(st.integers(0, len(known) - 1)), draw(st.sampled_from(POOL))
            lines.append(Line("cast", (source,), (target,)))
            known.append(target)
            continue
        op = OPS[name]
        skip = CONDITIONS.get(name, 0)
        home = draw(st.sampled_from([d for d in POOL if d in op.dtypes]))
        args: list[int | float] = []
        dtypes: list[str | None] = []
        for k in range(ARITY[name]):
            args.append(draw(st.integers(0, len(known) - 1)))
            own = known[int(args[-1])]
            mixes = promote(DTYPES[home], DTYPES[own]).name in op.dtypes
            free = k < skip or (k > skip and mixes and draw(st.booleans()))
            dtypes.append(None if free else home)
        if ARITY[name] == 2 and home == "float32" and draw(st.integers(0, 4)) == 0:
            args[1], dtypes[1] = 0.5, None
        lines.append(Line(name, tuple(args), tuple(dtypes)))
        met = [known[int(a)] if d is None else d for a, d in zip(args, dtypes) if a != 0.5][skip:]
        result = DTYPES[met[0]]
        for other in met[1:]:
            result = promote(result, DTYPES[other])
        found: Any = op.infer(*[_blank(result)] * len(args))
        known.append(found.dtype.name)
    return kinds, lines


def _blank(dtype: Any) -> Any:
    return make_spec((), dtype, find_device("cpu"), None, True)


def graph_body(lines: list[Line], count: int) -> Body:
    """The graph as a body; its results are the values that no line reads."""
    read = {a for line in lines for a in line.args if isinstance(a, int)}
    last = [k for k in range(count, count + len(lines)) if k not in read]

    def body(*xs: Tensor) -> Any:
        values = list(xs)
        for line in lines:
            operands: list[Any] = [values[a] if isinstance(a, int) else a for a in line.args]
            if line.op == "cast":
                values.append(operands[0].op("cast", dtype=DTYPES[str(line.dtypes[0])]))
                continue
            cast = [
                x if d is None or x.dtype.name == d else x.op("cast", dtype=DTYPES[d])
                for x, d in zip(operands, line.dtypes)
            ]
            values.append(apply(OPS[line.op], *cast))
        return values[last[0]] if len(last) == 1 else tuple(values[k] for k in last)

    return body


def graph_inputs(kinds: list[str], device: str) -> list[Tensor]:
    """Values with zeros of both signs, a NaN, an infinity, and the bounds of the integers."""
    inputs = []
    for kind, shape in zip(kinds, SHAPES):
        size = int(np.prod(shape))
        if kind == "float32":
            special = [-0.0, 1.5, np.nan, -2.25, 0.0, np.inf, 300.5, -0.3, 1e-3]
        elif kind == "bool":
            special = [1, 0, 0]
        else:
            bounds = np.iinfo(kind)
            special = [3, bounds.max, 0, 7, bounds.min, 1, 2]
        array = np.resize(np.array(special, kind), size).reshape(shape)
        inputs.append(tinyml.tensor(array, device=device))
    return inputs


@pytest.mark.kernels(85)
@settings(max_examples=10)
@given(graph=graphs())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_random_graph_of_words_is_one_launch(graph: Any, device: str) -> None:
    kinds, lines = graph
    apart, together, how = launch(graph_body(lines, len(kinds)), *graph_inputs(kinds, device))
    assert how == "nest"
    for want, have in zip(as_tuple(apart), as_tuple(together), strict=True):
        assert_same_bits(want, have)


def test_the_random_graphs_know_every_elementwise_op() -> None:
    """Each op whose operands broadcast is a word, and has a number of operands and a type."""
    assert len(WORDS) > 30
    assert all(1 <= ARITY[name] <= 4 for name in WORDS)
    assert all(set(POOL) & set(OPS[name].dtypes) for name in WORDS)


# ---- random graphs with reductions, views and movement between the words

CALM = ("add", "mul", "tanh", "maximum", "sub")  # words that neither overflow nor jump


def _flipped(x: Tensor, axis: int) -> Tensor:
    return tinyml.flip(x, axis)


def _padded(x: Tensor, axis: int) -> Tensor:
    before = [0] * x.ndim
    before[axis] = 1
    return tinyml.pad(x, [(width, 0) for width in before], constant_values=0.5)


def _taken(x: Tensor, axis: int) -> Tensor:
    """Every element along an axis twice, by computed indices."""
    rows = apply(OPS["iota"], x, axis=axis)
    return x.op("take_along", rows - 1, axis=axis)


MOVES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "sum": lambda x, axis: x.sum(axis=axis, keepdims=True),
    "mean": lambda x, axis: x.mean(axis=axis, keepdims=True),
    "max": lambda x, axis: x.max(axis=axis, keepdims=True),
    "var": lambda x, axis: x.var(axis=axis, keepdims=True),
    "argmax": lambda x, axis: x.argmax(axis=axis, keepdims=True).astype("float32") * 0.1,
    "softmax": lambda x, axis: tinyml.softmax(x, axis),
    "both sums": lambda x, axis: x.sum(axis=(0, 1), keepdims=True) * 0.01,
    "sum and expand": lambda x, axis: tinyml.broadcast_to(
        x.sum(axis=axis, keepdims=True), x.shape),
    "flip": _flipped,
    "pad and slice": lambda x, axis: _padded(x, axis)[tuple(
        slice(x.shape[d]) if d == axis else slice(None) for d in range(2))],
    "concat and slice": lambda x, axis: tinyml.concat([x, x * 0.5], axis)[tuple(
        slice(None, None, 2) if d == axis else slice(None) for d in range(2))],
    "take": _taken,
    "reshape": lambda x, axis: x.reshape(-1).reshape(x.shape),
    "transpose twice": lambda x, axis: x.T.tanh().T,
    "product": lambda x, axis: (x @ x.T) @ x * 0.01,
}


@st.composite
def deep_graphs(draw: st.DrawFn) -> tuple[tuple[int, int], list[tuple[str, int, int]]]:
    """A shape, and lines (what, first value, second value or axis)."""
    shape = draw(st.sampled_from([(3, 5), (4, 37), (33, 2), (9, 16)]))
    lines: list[tuple[str, int, int]] = []
    for known in range(2, 2 + draw(st.integers(1, 7))):
        what = draw(st.sampled_from((*MOVES, *CALM)))
        first = draw(st.integers(max(0, known - 3), known - 1))
        other = draw(st.integers(0, 1 if what in MOVES else known - 1))
        lines.append((what, first, other))
    return shape, lines


def deep_body(lines: list[tuple[str, int, int]]) -> Body:
    """The lines as a body; the result is the last value."""

    def body(*xs: Tensor) -> Tensor:
        values = list(xs)
        for what, first, other in lines:
            if what in MOVES:
                values.append(MOVES[what](values[first], other))
            elif what == "tanh":
                values.append(values[first].tanh())
            else:
                values.append(apply(OPS[what], values[first], values[other]))
        return values[-1]

    return body


@pytest.mark.kernels(65)
@settings(max_examples=15)
@given(graph=deep_graphs())
@example(graph=((3, 5), [("take", 0, 0), ("flip", 2, 0), ("concat and slice", 3, 0)]))
@example(graph=((3, 5), [("softmax", 1, 0), ("pad and slice", 2, 0), ("sum", 3, 0)]))
def test_a_random_graph_with_reductions_is_right(graph: Any, device: str) -> None:
    """One launch where the rule allows it, else several; the same values either way."""
    shape, lines = graph
    xs = [tinyml.tensor(uniform(*shape, seed=k), device=device) for k in (7, 8)]
    apart, together, how = launch(deep_body(lines), *xs)
    assert how in ("nest", "body")
    assert_close(apart, together)


# ---- bodies of the table

# The body of a sort is a network of many launches, that of a transform one for each factor; sums of
# exponentials need their maxima first, cofactors are minors of minors.
MANY = ("sort", "fft", "logcumsumexp", "cofactor_dx")
COMPOSITES = tuple(name for name, op in OPS.items() if op.body is not None and op.nest is None
                   and op.samples and name not in MANY)


@pytest.mark.kernels(15)
@pytest.mark.parametrize("name", COMPOSITES)
def test_every_body_of_the_table_is_one_launch(name: str, device: str) -> None:
    op = OPS[name]
    assert op.samples is not None and op.body is not None
    dtype = "float32" if "float32" in op.dtypes else op.dtypes[0]
    for sample in list(op.samples(dtype))[:2]:
        made = reference.dtypes(name, *sample.args, **sample.attrs)
        if not all(find_device(device).supports(as_dtype(d.name)) for d in made):
            assert device != "cpu"  # complex numbers: tests/test_dtypes.py
            return
        xs = [tinyml.tensor(a, device=device) if isinstance(a, np.ndarray) else a
              for a in sample.args]
        attrs = sample.attrs
        if op.normalize is not None:
            attrs = op.normalize(*[x.spec if hasattr(x, "spec") else type(x) for x in xs], **attrs)
        apart, together, how = launch(partial(op.body, **attrs), *xs)
        assert how == "nest", (name, sample.name)
        for want, have in zip(as_tuple(apart), as_tuple(together), strict=True):
            assert_close(want, have)


# ---- bodies by hand


def _softmax(x: Tensor, axis: int) -> Tensor:
    e = (x - x.max(axis=axis, keepdims=True)).exp()
    return e / e.sum(axis=axis, keepdims=True)


def _norm_backward(g: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """Layer norm's gradient to x, statistics by Welford."""
    spread = (x.var(axis=1, keepdims=True) + 1e-5).sqrt()
    normal = (x - x.mean(axis=1, keepdims=True)) / spread
    gx = g * w
    inner = gx - gx.mean(axis=1, keepdims=True)
    return (inner - normal * (gx * normal).mean(axis=1, keepdims=True)) / spread


def _entropy(x: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with a gathered row, written out."""
    z = x - x.max(axis=1, keepdims=True)
    picked = z.op("take_along", labels.op("reshape", shape=(x.shape[0], 1)), axis=1)
    return (z.exp().sum(axis=1, keepdims=True).log() - picked).mean()


X, Y, G = uniform(4, 37), uniform(3, 37, seed=1), uniform(4, 37, seed=2)
CUBE = uniform(3, 4, 5, seed=3)
ONE_LAUNCH: dict[str, tuple[Body, tuple[Any, ...]]] = {
    "softmax of softmax": (lambda x: _softmax(_softmax(x, 1), 1), (X,)),
    "softmax of scaled softmax sums": (
        lambda x: _softmax(_softmax(x, 1) * _softmax(x * 2.0, 1).sum(axis=1, keepdims=True), 1),
        (X,),
    ),
    "softmax over the first axis": (lambda x: _softmax(x, 0), (X,)),
    "softmax over a middle axis": (lambda x: _softmax(x, 1), (CUBE,)),
    "layer norm backward": (_norm_backward, (G, X, uniform(37, seed=4))),
    "cross-entropy": (_entropy, (X, np.array([0, 36, -1, 5]))),
    "entropy of rows": (lambda x: -(_softmax(x, 1) * _softmax(x, 1).log()).sum(axis=1).mean(),
                        (X,)),
    "sum over rows of row ranges": (
        lambda x: (x.max(axis=1) - x.min(axis=1)).square().sum(axis=0), (X,)),
    "sum over rows of softmax means": (
        lambda x: (_softmax(x, 1) * x).sum(axis=1).sum(axis=0), (X,)),
    "sum over columns of row sums at once": (lambda x: _softmax(x, 1).sum(axis=0), (X,)),
    "argmax of sums": (lambda x: x.sum(axis=1).argmax(axis=0), (X,)),
    "argmax of sums of rows": (lambda x: x.sum(axis=0).argmax(axis=0), (X,)),
    "three levels": (lambda x: x.max(axis=2).sum(axis=1).max(axis=0), (CUBE,)),
    "outer axes, then the inner": (lambda x: x.sum(axis=(0, 2)).max(axis=0), (CUBE,)),
    "middle, then the rest": (lambda x: x.var(axis=1).sum(axis=(0, 1)), (CUBE,)),
    "sum of a product": (lambda x, y: (x @ y.T).max(axis=1), (X, Y)),
    "product of normalised rows": (
        lambda x, y: (x / x.square().sum(axis=1, keepdims=True).sqrt()) @ y.T, (X, Y)),
    "concat of reductions": (
        lambda x, y: tinyml.concat([x.sum(axis=1), y.max(axis=1)]), (X, Y)),
    "concat of softmaxes": (
        lambda x, y: tinyml.concat([_softmax(x, 1), _softmax(y, 1)]), (X, Y)),
    "reduction of a concat": (lambda x, y: tinyml.concat([x, y]).sum(axis=0), (X, Y)),
    "padded variances": (lambda x: tinyml.pad(x.var(axis=1), (2, 1), constant_values=9.0), (X,)),
    "slice of a softmax": (lambda x: _softmax(x, 1)[1:3, ::-2], (X,)),
    "gathered sums": (lambda x, i: tinyml.gather(x.sum(axis=1), i), (X, np.array([3, -4, 0]))),
    "sum of gathered rows": (
        lambda x, i: tinyml.gather(x, i).sum(axis=1), (X, np.array([3, -4, 0]))),
    "concat of gathers": (
        lambda x, y, i: tinyml.concat([tinyml.gather(x, i), y]).max(axis=1),
        (X, Y, np.array([3, -4]))),
    "pool of sums": (
        lambda x: tinyml.max_pool2d(x.sum(axis=4), 2)[0], (uniform(1, 2, 4, 4, 3, seed=5),)),
    "sums of two lengths": (lambda x, y: x.sum() - y.sum(), (X, Y)),
    "mean and variance together": (
        lambda x: (x.mean(axis=1), x.var(axis=1), x.argmax(axis=1)), (X,)),
    "results of two shapes": (lambda x: (_softmax(x, 1), x.max(axis=1)), (X,)),
    "a reduction and its input": (lambda x: (x.exp(), x.exp().sum(axis=(0, 1))), (X,)),
    "two sums of one tensor at two indices": (
        lambda x: x.sum(axis=1).reshape(4, 1) - x.sum(axis=1).reshape(1, 4), (X,)),
    "integers": (lambda x, i: (x * i).astype(tinyml.int32).sum(axis=1).max(axis=0),
                 (X, np.arange(37))),
}


@pytest.mark.kernels(5)
@pytest.mark.parametrize("name", ONE_LAUNCH)
def test_a_body_with_nested_reductions_is_one_launch(name: str, device: str) -> None:
    body, arrays = ONE_LAUNCH[name]
    xs = [tinyml.tensor(a, device=device) for a in arrays]
    apart, together, how = launch(body, *xs)
    for want, have in zip(as_tuple(apart), as_tuple(together), strict=True):
        assert_close(want, have)
    assert how == "nest"


def _begun(block: Block) -> list[int]:
    """The reductions whose state begins in a loop tree, one entry for each place."""
    found: list[int] = []
    for statement in block:
        if isinstance(statement, Loop):
            found += _begun(statement.body)
        elif statement.kind == "init":
            found.append(statement.id)
    return found


@pytest.mark.kernels(5)
@pytest.mark.parametrize("name", [*ONE_LAUNCH, "attention"])
def test_no_reduction_of_a_nest_is_computed_twice(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, arrays = {**ONE_LAUNCH, **SEVERAL_LAUNCHES}[name]
    xs = [tinyml.tensor(a) for a in arrays]
    nests: list[tuple[str, ScheduledNest]] = []
    prepare = type(xs[0].device).prepare

    def watched(self: Any, nest: Nest, ins: Any, outs: Any, op: str) -> Any:
        strides = [spec.strides for spec in (*ins, *outs) if hasattr(spec, "strides")]
        nests.append((op, schedule(nest, strides)))
        return prepare(self, nest, ins, outs, op)

    monkeypatch.setattr(type(xs[0].device), "prepare", watched)
    launch(body, *xs)
    for op, scheduled in nests:
        begun = _begun(scheduled.body)
        assert len(begun) == len(set(begun)), op


SEVERAL_LAUNCHES: dict[str, tuple[Body, tuple[Any, ...]]] = {
    # A variance reads its operand twice, so a reduction in it would run twice.
    "variance of means": (lambda x: x.mean(axis=1).var(axis=0), (X,)),
    "variance of sums over the first axis": (lambda x: x.sum(axis=0).var(axis=0), (X,)),
    "softmax of a product": (lambda x, y: _softmax(x @ y.T, 1), (X, Y)),
    "one sum at two indices": (
        lambda x: (lambda s: s.reshape(4, 1) * s.reshape(1, 4))(x.sum(axis=1)), (X,)),
    "softmax of sums": (lambda x: _softmax(x.sum(axis=1), 0), (X,)),
    "attention": (
        lambda q, k, v: _softmax(q @ k.T, 1) @ v, (X, Y, uniform(3, 6, seed=6))),
}


@pytest.mark.parametrize("name", SEVERAL_LAUNCHES)
def test_a_body_that_is_not_one_nest_is_right_all_the_same(name: str, device: str) -> None:
    body, arrays = SEVERAL_LAUNCHES[name]
    xs = [tinyml.tensor(a, device=device) for a in arrays]
    apart, together, how = launch(body, *xs)
    assert how == "body"
    for want, have in zip(as_tuple(apart), as_tuple(together), strict=True):
        assert_close(want, have)


def test_scalars_of_a_call_reach_a_nest(device: str) -> None:
    x = tinyml.tensor(X, device=device)
    op = Op("temporary", lambda x, *_: x, body=lambda x, a, b: _softmax(x * a, 1) + b)
    want = _softmax(x * 2.5, 1) + 3.0
    assert_close(want, apply(op, x, 2.5, 3.0))
    assert [plan.how for plan in op.memo.values()] == ["nest"]
    assert_close(_softmax(x * -1.0, 1), apply(op, x, -1.0, 0.0))
    assert len(op.memo) == 1


# ---- no op's name in the grouping code


def _strings(path: Path) -> list[ast.Constant]:
    """Every string of a file but docstrings and the names of slots."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body and isinstance(node.body[0], ast.Expr)
    } | {
        id(name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__"
        for name in ast.walk(node.value)
    }
    return [node for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and id(node) not in prose]


def _words_given(path: Path) -> set[int]:
    """Strings that are a word handed to `prim`, or make a payload or monoid."""
    makers = {"prim", "Prim", "_folding", "_arg_reduction", "Monoid"}
    found: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if name in makers:
                found |= {a.lineno * 1000 + a.col_offset for a in node.args
                          if isinstance(a, ast.Constant)}
    return found


@pytest.mark.parametrize("path", [IR / "lower.py", COMMON / "schedule.py"])
def test_no_name_of_an_op_stands_in_the_grouping_code(path: Path) -> None:
    given = _words_given(path)
    assert [s.value for s in _strings(path)
            if s.value in OPS and s.lineno * 1000 + s.col_offset not in given] == []


def test_the_nest_names_words_only_in_its_arithmetic() -> None:
    given = _words_given(IR / "nest.py")
    loose = {s.value for s in _strings(IR / "nest.py")
             if s.value in OPS and s.lineno * 1000 + s.col_offset not in given}
    # A choice moves bits as they are; parts of complex numbers are what its words are made of.
    assert loose == {"where", "complex", "real", "imag"}


def test_the_emitter_knows_the_cast_only() -> None:
    """A cast has a text per pair of types."""
    assert {s.value for s in _strings(COMMON / "emitter.py") if s.value in OPS} == {"cast"}


@pytest.mark.parametrize("path", [IR / "lower.py", IR / "nest.py", COMMON / "schedule.py",
                                  COMMON / "emitter.py"])
def test_the_grouping_code_asks_no_op_for_its_name(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asked = [node.lineno for node in ast.walk(tree)
             if isinstance(node, ast.Attribute) and node.attr == "name"
             and getattr(node.value, "attr", getattr(node.value, "id", "")) == "op"]
    assert asked == []


def test_an_op_that_the_table_does_not_know_fuses_as_well(device: str) -> None:
    """The rule reads what an op says of itself, so a stranger's op takes part."""
    stranger = Op("stranger", OPS["square"].infer, nest=OPS["square"].nest)
    x = tinyml.tensor(X, device=device)
    apart, together, how = launch(lambda x: _softmax(apply(stranger, x), 1), x)
    assert how == "nest"
    assert_close(apart, together)


# ---- merging of axes


def _scheduled(shape: tuple[int, ...], strides: tuple[int, ...], over: int = 0) -> ScheduledNest:
    """y = x * x, or the sum over the last `over` axes."""
    n = Nest()
    kept = shape[: len(shape) - over]
    x, y = n.arg(float32, len(shape), "in"), n.arg(float32, len(kept), "out")
    index = n.axes_for(kept)
    inner = n.over(index, shape[len(kept):])
    value = n.load(x, (*index, *inner))
    square = n.prim("mul", value, value)
    result = n.reduce(SUM, inner, square)[0] if over else square
    n.store(y, result, index)
    return ScheduledNest(n, [strides, dense_strides(kept)])


@pytest.mark.parametrize(
    ("shape", "strides", "over", "axes"),
    [
        ((2, 3, 4), (12, 4, 1), 0, [24]),
        ((2, 3, 4), (4, 8, 1), 0, [2, 3, 4]),
        ((2, 3, 4), (24, 8, 2), 0, [24]),
        ((2, 3, 4), (1, 2, 6), 0, [2, 3, 4]),
        ((2, 3, 4), (-12, -4, -1), 0, [24]),
        ((2, 3, 4), (0, 0, 0), 0, [24]),
        ((2, 3, 4), (0, 4, 1), 0, [2, 12]),
        ((2, 3, 4), (20, 4, 1), 0, [2, 12]),
        ((2, 1, 4), (4, 0, 1), 0, [8]),
        ((2, 3, 4), (12, 4, 1), 1, [4, 6]),
        ((2, 3, 4), (12, 4, 1), 2, [2, 12]),
        ((2, 3, 4), (12, 1, 3), 2, [2, 3, 4]),
        ((2, 3, 4), (12, 4, 1), 3, [24]),
    ],
)
def test_axes_that_every_access_walks_as_one_are_one(
    shape: tuple[int, ...], strides: tuple[int, ...], over: int, axes: list[int]
) -> None:
    assert sorted(_scheduled(shape, strides, over).extents.values()) == sorted(axes)
