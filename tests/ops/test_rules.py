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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
import tinyml.graph.control_ops  # noqa: F401  # cond, scan and while are ops, too
from tinyml import errors
from tinyml.core.apply import apply
from tinyml.core.plan import checked
from tinyml.graph.graph import build
from tinyml.ir.op import OPS, Op, find
from tinyml.ir.spec import make_spec

pytestmark = pytest.mark.kernels(1)

ROOT = Path(__file__).parents[2]
NAMES = sorted(name for name, op in OPS.items() if not op.internal)
DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")
ODD: list[Any] = [
    None, True, -1, 0, 1, 2, 3, 7, 1 << 40, 1 << 63, 10**400, -(1 << 70), 0.5, -0.0, 1e300,
    float("nan"), float("inf"), "x", "cpu", "float32", "", (), (0,), (1, 1), (2, 3), (-1, 2),
    (1 << 40, 1 << 40), (1 << 70, 0), (0, 0, 1 << 70, 1), (1, 1, 2, 2), (1, None), ("a", "b"),
    (1.5, 2), [1, 2], slice(1, 2), {"a": 1}, {1: 2, "a": 3}, np.float32(0.5), np.int8(-1), int,
    object(), b"x", 1j,
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


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_only_errors_of_tinyml_come_out_of_an_op(part: int, device: str) -> None:
    """TINYML_FUZZ is the number of calls of each op."""
    count = int(os.environ.get("TINYML_FUZZ", "4"))
    assert run_fuzz(NAMES[part::4], count, device) == []


# ---- counts and kinds of operands


@pytest.mark.parametrize("name", [name for name in NAMES if OPS[name].promote is not None
                                  and OPS[name].normalize is None])
def test_a_word_takes_as_many_operands_as_it_has(name: str) -> None:
    op = find(name)
    assert op.samples is not None
    count = len(next(iter(op.samples(op.dtypes[0]))).args)
    x = tinyml.tensor(np.ones(2, op.dtypes[0]))
    for wrong in {0, 1, 2, 3, 4} - {count, 0}:
        with pytest.raises(errors.ArgumentTypeError, match=f"operands: {count}. Actual: {wrong}"):
            apply(op, *[x] * wrong)
    with pytest.raises(errors.ArgumentTypeError, match="operands: "):
        tinyml.trace(lambda x: apply(op, *[x] * (count + 1)))(x)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"concat"}))
def test_no_record_takes_more_or_fewer_operands_than_it_has(name: str) -> None:
    """Nothing is computed: the check comes before, when a call or a line of a file is planned."""
    op = find(name)
    if op.samples is None:
        assert name in {"transfer", "call", "cond", "scan", "while"}
        return
    case = next(iter(op.samples(op.dtypes[0])))
    ours = [tinyml.tensor(x).spec if isinstance(x, np.ndarray) else type(x) for x in case.args]
    checked(op, ours, case.attrs)
    for attrs in (case.attrs, {}):
        for specs in ([*ours, ours[0]], ours * 3, [*ours, int], [*ours, bool, int], ours[:-1]):
            with pytest.raises(tinyml.TinyMLError):
                checked(op, specs, attrs)


def test_a_call_with_another_operand_says_which_there_are() -> None:
    x = tinyml.ones((2, 2))
    for call, names in ((lambda: x.op("svd", x), "x, full"), (lambda: x.op("inv", x, x), "x"),
                        (lambda: x.op("qr", x, complete=True), "x, complete"),
                        (lambda: x.op("solve"), "a, b"),
                        (lambda: tinyml.jit(lambda x: x.op("cholesky", x))(x), "x")):
        with pytest.raises(errors.ArgumentTypeError, match=f"Expect: {names}. Actual: an operand"):
            call()


def test_a_number_in_the_place_of_a_tensor() -> None:
    with pytest.raises(errors.ArgumentTypeError, match="operand 1 is a Python int") as caught:
        apply(find("gather"), tinyml.ones(3), 1, axis=0)
    assert caught.value.remedy == "tinyml.tensor(number) makes one"


def test_a_rule_that_trips_raises_an_error_of_ours() -> None:
    def trips(kind: type[Exception]) -> Callable[..., Any]:
        def infer(x: Any) -> Any:
            raise kind("tripped")
        return infer

    kinds = {ValueError: ValueError, ZeroDivisionError: ValueError, KeyError: TypeError,
             AttributeError: TypeError, TypeError: TypeError}
    for kind, standard in kinds.items():
        with pytest.raises(tinyml.TinyMLError, match="tripped") as caught:
            apply(Op("trips", trips(kind)), tinyml.ones(1))
        assert isinstance(caught.value, standard) and isinstance(caught.value.__cause__, kind)


# ---- ops that would read or write outside


def spec(*shape: int, dtype: Any = tinyml.float32) -> Any:
    return make_spec(shape, dtype, tinyml.zeros(1).device)


I64 = tinyml.int64
PLACE = {"start": (0, 0), "stop": (9, 9), "step": (1, 1)}
SGD = {"decay": 0.0}
PAD = {"before": (1,), "after": (0,)}
OUTSIDE: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ("put_along", (spec(4, 3), spec(2, 3, dtype=I64), spec(1, 3)), {"axis": 0},
     errors.ShapeError, r"updates of shape \(2, 3\)"),
    ("put_along", (spec(4, 3), spec(2, 9, dtype=I64), spec(2, 9)), {"axis": 0},
     errors.ShapeError, "outside axis 0"),
    ("put_along", (spec(4, 3), spec(4, dtype=I64), spec(4)), {"axis": 0},
     errors.ShapeError, "indices with 2 axes"),
    ("put_along", (spec(4), spec(4), spec(4)), {"axis": 0}, errors.DTypeError, "integer indices"),
    ("put_along", (spec(4), spec(4, dtype=I64), spec(4, dtype=I64)), {"axis": 0},
     errors.DTypeError, "updates of float32"),
    ("unslice", (spec(2, 2),), {"shape": (3, 3), **PLACE}, errors.ArgumentError, "a slice inside"),
    ("unslice", (spec(2, 2),), {"shape": (30, 30), **PLACE}, errors.ShapeError, r"\(9, 9\)"),
    ("unslice", (spec(2, 2),), {"shape": (-9, 9), **PLACE}, errors.ShapeError, "not negative"),
    ("slice", (spec(3),), {"start": (1 << 70,), "stop": (0,), "step": (1,)},
     errors.ArgumentError, "start of at most"),
    ("max_pool2d_dx", (spec(1, 2, 2, 2), spec(1, 1, 2, 2, dtype=I64)), {"shape": (1, 2, 4, 4)},
     errors.ShapeError, "indices of shape"),
    ("max_pool2d_dx", (spec(1, 2, 2, 2), spec(1, 2, 1, 2, dtype=I64)), {"shape": (1, 2, 4, 4)},
     errors.ShapeError, "g of shape"),
    ("max_pool2d_dx", (spec(1, 2, 2, 2), spec(1, 2, 2, 2, dtype=I64)), {"shape": (1, 2, 16)},
     errors.ShapeError, "indices of shape"),
    ("max_pool2d_take", (spec(1, 2, 4, 4), spec(1, 3, 2, 2, dtype=I64)), {},
     errors.ShapeError, r"indices of shape \(1, 2, H', W'\)"),
    ("max_pool2d_take", (spec(1, 2, 4, 4), spec(1, 2, 2, 2)), {}, errors.DTypeError, "int64"),
    ("conv2d_dx", (spec(1, 1, 2, 2), spec(1, 1, 2, 2)), {"shape": (1, 1, -3, 3)},
     errors.ShapeError, "not negative"),
    ("pad", (spec(2),), {**PAD, "value": None}, errors.ArgumentTypeError, "value is None"),
    ("pad", (spec(2),), {**PAD, "value": slice(1)}, errors.ArgumentTypeError, "value is slice"),
    ("pad", (spec(2, dtype=I64),), {**PAD, "value": 1 << 70}, errors.ArgumentError, "holds"),
    ("pad", (spec(2),), {"before": (1, 1), "after": (0,), "value": 0}, errors.ShapeError, "widths"),
    ("sgd_step", (spec(2), spec(2)), SGD, errors.ArgumentTypeError, "2 tensors and 1 numbers"),
    ("sgd_step", (spec(2), spec(2), spec(2)), SGD, errors.ShapeError, r"operand 2 of shape \(\)"),
    ("sgd_step", (spec(2), spec(2), float), {"decay": None}, errors.ArgumentTypeError, "decay is"),
    ("sgd_step", (spec(2), spec(2), float), {"rate": 1}, errors.ArgumentTypeError, "attributes"),
    ("softmax_dx", (spec(2), spec(3)), {"axis": 0}, errors.ShapeError, "operand 1 of shape"),
    ("softmax_dx", (spec(2), spec(2, 2)), {"axis": 0}, errors.ShapeError, "operand 1 of shape"),
    ("cross_entropy_dx", (spec(2), spec(2, 3), spec(2, dtype=I64)), {}, errors.ShapeError,
     "g of shape"),
    ("concat", (), {"axis": 0}, errors.ArgumentError, "at least one tensor"),
]


@pytest.mark.parametrize(("name", "specs", "attrs", "error", "words"), OUTSIDE)
def test_operands_that_do_not_belong_together(name: str, specs: tuple[Any, ...],
                                              attrs: dict[str, Any], error: type[Exception],
                                              words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        checked(find(name), specs, attrs)
    assert isinstance(caught.value, tinyml.TinyMLError) and caught.value.remedy


# ---- ops that apply graphs

TRUE = spec(dtype=tinyml.bool)
STEP = build(lambda c, r: [c + r, c], [spec(2), spec(2)])
TEST = build(lambda v: [v.sum() < 9.0], [spec(2)])
GROW = build(lambda v: [v + 1.0], [spec(2)])
SCAN = {"body": STEP, "carry": 1, "consts": 0, "length": 3, "reverse": False}
WHILE = {"test": TEST, "body": GROW, "carry": 1, "max_steps": None}


@pytest.mark.parametrize(
    ("name", "specs", "attrs", "error", "words"),
    [
        ("cond", (TRUE, spec(3)), {"yes": GROW, "no": GROW}, errors.GraphError, "yes reads"),
        ("cond", (spec(), spec(2)), {"yes": GROW, "no": GROW}, errors.DTypeError, "type bool"),
        ("cond", (TRUE, spec(2)), {"yes": GROW, "no": TEST}, errors.GraphError, "same results"),
        ("cond", (TRUE, spec(2)), {"yes": GROW, "no": None}, errors.ArgumentTypeError, "no: a gr"),
        ("cond", (float, spec(2)), {"yes": GROW, "no": GROW}, errors.ArgumentTypeError, "float"),
        ("scan", (spec(2), spec(4, 2)), SCAN, errors.ShapeError, "first axis of 3"),
        ("scan", (spec(2), spec(3, 9)), SCAN, errors.GraphError, "body reads"),
        ("scan", (spec(2),), SCAN, errors.GraphError, "body reads"),
        ("scan", (), SCAN, errors.ArgumentError, "at least 1 operands"),
        ("scan", (spec(2), spec(3, 2)), {**SCAN, "length": -3}, errors.ArgumentError, "negative"),
        ("scan", (spec(2), spec(3, 2)), {**SCAN, "carry": 2}, errors.GraphError, "body reads"),
        ("scan", (spec(2), spec(3, 2)), {**SCAN, "carry": "x"}, errors.ArgumentTypeError, "carry"),
        ("scan", (spec(2), spec(3, 2)), {**SCAN, "body": 1}, errors.ArgumentTypeError, "a graph"),
        ("while", (spec(3),), WHILE, errors.GraphError, "test reads"),
        ("while", (spec(2),), {**WHILE, "carry": 0}, errors.ArgumentError, "a carry of 1 to 1"),
        ("while", (spec(2),), {**WHILE, "test": GROW}, errors.DTypeError, "type bool"),
        ("while", (spec(2),), {**WHILE, "body": TEST}, errors.GraphError, "gives the carry"),
        ("while", (spec(2),), {**WHILE, "max_steps": -1}, errors.ArgumentError, "max_steps"),
    ],
)
def test_operands_that_a_graph_does_not_read(name: str, specs: tuple[Any, ...],
                                             attrs: dict[str, Any], error: type[Exception],
                                             words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        checked(find(name), specs, attrs)
    assert isinstance(caught.value, tinyml.TinyMLError) and caught.value.remedy


# ---- right where types differ


def test_a_convolution_of_two_types_has_gradients_in_their_own(device: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 2, 5, 5)).astype(np.float32)
    w = rng.normal(size=(3, 2, 2, 2))
    try:
        one, two = tinyml.tensor(x, device=device), tinyml.tensor(w, device=device)
    except errors.DTypeError:
        pytest.skip("no float64 here")

    def loss(x: Any, w: Any) -> Any:
        return (tinyml.conv2d(x, w, stride=2) ** 2.0).sum()

    dx, dw = tinyml.grad(loss, argnums=(0, 1))(one, two)
    wide = tinyml.tensor(x.astype(np.float64), device=device)
    want_x, want_w = tinyml.grad(loss, argnums=(0, 1))(wide, two)
    assert dx.dtype is tinyml.float32 and dw.dtype is tinyml.float64
    np.testing.assert_allclose(dx.numpy(), want_x.numpy(), rtol=1e-5)
    np.testing.assert_allclose(dw.numpy(), want_w.numpy(), rtol=1e-10)
