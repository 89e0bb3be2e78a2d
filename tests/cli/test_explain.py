"""`tinyml kernels` and `tinyml explain`: what they say is what the planner and the devices do."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml
import tinyml.cli.explain as views
from tinyml.cli.explain import every_op, explain, how, nest_text, op_named, source, subject
from tinyml.cli.formulas import formulas, gradient_lines
from tinyml.cli.main import CUT_OFF, main
from tinyml.core.apply import apply
from tinyml.errors import ArgumentError, DeviceError, KernelNotFound, ShapeError
from tinyml.ir.devices import find_device
from tinyml.ir.nest import Nest, Store
from tinyml.ir.op import OPS, Op
from tinyml.ops.linalg import BY_LAPACK

pytestmark = pytest.mark.kernels(2)

ROOT = Path(__file__).parents[2]

# An op of each kind: a word, a reduction, a product, a view, a scatter, a composite, random.
KINDS = ["tanh", "add", "where", "sum", "argmax", "matmul", "conv2d", "reshape", "permute_dims",
         "slice", "scatter_add", "gather", "softmax", "layer_norm", "cumsum", "random_bits",
         "max_pool2d"]
WAYS = {"kernel", "view", "nest", "scatter", "body", "host"}


def _run(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert main(words) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


# ---- tinyml kernels


def test_every_op_has_a_row_and_a_way_on_each_device(device: str,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    lines = _run(capsys, "kernels", "--device", device).splitlines()
    assert lines[0].split() == ["op", device]
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    assert set(rows) == set(every_op())
    for name, ways in rows.items():
        assert set(ways.split(", ")) <= WAYS or device != "cpu" and name in BY_LAPACK, name
    for name, ways in [("tanh", "nest"), ("matmul", "nest"), ("permute_dims", "view"),
                       ("reshape", "view, nest"), ("scatter_add", "scatter"), ("softmax", "nest")]:
        assert rows[name].startswith(ways), name


def test_the_ways_are_those_of_the_plans_that_run(device: str) -> None:
    place = find_device(device)
    for name in KINDS:
        op = OPS[name]
        sample = subject(name).sample
        assert sample is not None
        op.memo.clear()
        args = [tinyml.tensor(np.ascontiguousarray(x), device=device)
                if isinstance(x, np.ndarray) else x for x in sample.args]
        apply(op, *args, **sample.attrs)
        (plan,) = op.memo.values()
        expected = "scatter" if op.scatter_nest is not None and plan.how == "nest" else plan.how
        assert expected in how(op, place), name


def test_nothing_is_compiled_to_say_how(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = find_device(device)
    monkeypatch.setattr(place, "prepare", None)
    assert how(OPS["gelu"], place) == ["nest"]


def test_a_kernel_that_is_registered_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import tinyml.ir.devices as registry

    def mine(call: Any) -> Any:
        small = call.outs[0].size < 10
        return registry.Plan(lambda *xs: None, call.outs, "kernel") if small else None

    monkeypatch.setitem(registry._kernels, ("tanh", "cpu"), [(10, mine)])
    assert how(OPS["tanh"], find_device("cpu")) == ["kernel", "nest"]


def test_some_ops_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(_run(capsys, "kernels", "matmul", "multiply", "--json", "--device", "cpu"))
    assert found == {"devices": {"cpu": None}, "ops": {"matmul": {"cpu": ["nest"]},
                                                       "mul": {"cpu": ["nest"]}}}


def _without_opencl(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        if name.startswith("opencl"):
            raise DeviceError("no OpenCL device 0: 0 usable")
        return find_device(name)

    monkeypatch.setattr(views, "find_device", find)


def test_a_missing_device_is_said(monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    _without_opencl(monkeypatch)
    lines = _run(capsys, "kernels", "tanh").splitlines()
    assert lines == ["op    cpu", "tanh  nest", "no opencl: no OpenCL device 0: 0 usable"]
    text = _run(capsys, "explain", "tanh")
    assert "on opencl\n  no OpenCL device 0: 0 usable" in text and "on cpu: nest" in text
    assert "no OpenCL device" in _run(capsys, "kernels", "--device", "opencl", status=1)


def test_a_reader_that_goes_away_is_no_error() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
         "from tinyml.cli.main import main; sys.exit(main(['kernels', '--device', 'cpu']))"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait() == CUT_OFF and said == b""


def test_an_unknown_op_has_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("kernels", "explain"):
        text = _run(capsys, command, "softmx", status=1)
        assert "no op named 'softmx'" in text and "remedy: one of softmax" in text
        assert "`tinyml kernels` lists them" in _run(capsys, command, "qqq", status=1)
    with pytest.raises(KernelNotFound):
        op_named("Tensor")
    assert op_named("multiply") is OPS["mul"]  # the public function's name


# ---- tinyml explain


@pytest.mark.parametrize("name", KINDS)
def test_an_op_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = _run(capsys, "explain", name, "--device", "cpu")
    op = OPS[name]
    assert text.startswith(f"{name}: {op.doc}\n  error bound ")
    for section in ("operands (", "shape rule (tinyml/ops/", "\ngradient\n", "\non cpu: "):
        assert section in text, section
    assert ("not differentiable" in text) is not op.differentiable
    if "\non cpu: nest" in text or "\non cpu: scatter" in text:
        assert "nest over " in text and "def k(meta" in text


def test_the_source_is_what_is_compiled(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text given to the compiler when the op is prepared is the text that is shown."""
    place: Any = find_device(device)
    compiled: list[str] = []
    bind = type(place)._bind

    def spy(self: Any, program: Any, *args: Any) -> Any:
        compiled.append(self.emit(program).source)
        return bind(self, program, *args)

    monkeypatch.setattr(type(place), "_bind", spy)
    for name, shapes in [("gelu", [(4, 5)]), ("sum", [(3, 70)]), ("conv2d", None),
                         ("matmul", [(40, 40), (40, 40)]), ("scatter_add", None)]:
        compiled.clear()
        chosen = subject(name, shapes)
        text = explain(chosen, [device])
        assert not compiled and chosen.sample is not None
        views.make_plan(chosen.op, views._specs(chosen.sample, place), chosen.sample.attrs)
        assert compiled, name
        for source_text in compiled:
            for line in source_text.splitlines():
                assert line.strip() in text, (name, line)


def test_the_rules_are_shown_as_they_are_written() -> None:
    text = explain(subject("tanh"), ["cpu"])
    assert "of operand 0: lambda g, y, _x: " in text
    text = explain(subject("where"), ["cpu"])
    assert "of operand 0: none" in text and "of operand 2: lambda" in text
    assert "that of its body" in explain(subject("mean"), ["cpu"])
    assert "none: not differentiable" in explain(subject("argmax"), ["cpu"])
    assert "of all operands at once:\n  def " in explain(subject("cumsum"), ["cpu"])


def test_shapes_types_and_attributes_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    text = _run(capsys, "explain", "softmax", "--shape", "8,100", "--set", "axis=0",
                "--device", "cpu")
    assert "operands (as asked)\n  float32[8, 100], axis=0 -> float32[8, 100]\n" in text
    text = _run(capsys, "explain", "add", "--shape", "", "3,1", "--dtype", "int16",
                "--device", "cpu")
    assert "int16[], int16[3, 1] -> int16[3, 1]" in text
    text = _run(capsys, "explain", "permute_dims", "--shape", "2,3", "--device", "cpu",
                "--set", "axes=(1, 0)")
    assert "on cpu: view\n  the same memory, strides [1, 3]" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "--shape", "2", "3"), "do not broadcast"),
        (("add", "--shape", "2", "2", "2"), "add of 3 tensors: its samples have 1 or 2"),
        (("add", "--dtype", "float31"), "float31"),
        (("tanh", "--device", "abacus"), "no device 'abacus'"),
        (("sum", "--shape", "2", "--set", "axis=(3,)"), "-1 <= axis < 1"),
        (("sum", "--shape", "2", "--set", "colour=1"), "do not fit"),
    ],
)
def test_what_does_not_fit_is_an_error(words: tuple[str, ...], says: str,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert says in _run(capsys, "explain", *words, status=1)


@pytest.mark.parametrize("words", [("add", "--shape", "two"), ("add", "--set", "axis"), ()])
def test_wrong_options(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["explain", *words])
    assert stop.value.code == 2
    assert "usage: tinyml explain" in capsys.readouterr().err


@pytest.mark.kernels(55)
def test_the_verdict_is_run_then_and_there(device: str, capsys: pytest.CaptureFixture[str],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    text = _run(capsys, "explain", "square", "--judge", "--device", device)
    text = text.split("\nconformance\n")[1]
    for suite in ("ops", "gradients"):
        assert f"{suite} on tinyml:{device}: " in text
        assert f"tinyml conformance --suite {suite} --device {device} --only square" in text
    assert ", 0 failed, 0 unsupported" in text
    wrong = (lambda g, _y, x: g * x,)  # half of what is right
    monkeypatch.setattr(OPS["square"], "grad", wrong)
    monkeypatch.setattr(OPS["square"], "memo", {})
    assert main(["explain", "square", "--judge", "--device", "cpu"]) == 1
    text = capsys.readouterr().out
    assert "of operand 0: lambda g, _y, x: g * x\n" in text and "failed: square/" in text


def test_nothing_is_judged_unless_asked(capsys: pytest.CaptureFixture[str],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyml.conformance.suite.run.run_op", None)
    monkeypatch.setattr("tinyml.kernels.cpu.device.CPU._bind", None)  # nor is anything compiled
    text = _run(capsys, "explain", "logaddexp", "--device", "cpu")
    assert "def k(meta" in text and "conformance" not in text


def test_an_op_whose_body_runs_one_by_one_lists_its_ops() -> None:
    op = Op("both_ways", lambda x: x, doc="Softmax along both axes.",
            body=lambda x: tinyml.softmax(tinyml.softmax(x, axis=0), axis=1),
            samples=lambda dtype: [views.Sample((np.ones((2, 3), dtype),), {}, "matrix")])
    text = explain(views.Subject(op, op.samples("float32")[0]), ["cpu"])  # type: ignore[misc,index]
    text = text.split("on cpu: body\n  one by one\n  graph(")[1]
    assert text.count("= softmax(") == 2


def test_a_composed_function_shows_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    text = _run(capsys, "explain", "einsum", "--shape", "5,4", "4", "--dtype", "float32")
    assert text.startswith("einsum: Return sums of products over named axes")
    assert "source (tinyml/functions/einsum.py)\n  @named_in_errors\n  def einsum(" in text
    trace = text.split("\ntrace\n")[1]
    assert trace.startswith("  graph(a: float32[5, 4] cpu, b: float32[4] cpu):")
    assert "matmul(" in trace and ": float32[5] cpu\n    return " in trace
    assert "einsum of 3 tensors: its example has 2" in _run(
        capsys, "explain", "einsum", "--shape", "1", "2", "3", status=1)
    assert "no op named 'grad'" in _run(capsys, "explain", "grad", status=1)


@pytest.mark.parametrize(("name", "says"), [
    ("stack", "= concat("), ("linalg.vector_norm", "= sqrt("), ("flip", "slice("),
    ("nanmean", "= isnan("), ("fft.fftshift", "graph("), ("percentile", "sort"),
    ("unique_values", "= nonzero("), ("set_num_threads", None), ("union1d", "")])
def test_more_composed_functions(name: str, says: str | None,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    text = _run(capsys, "explain", name, status=int(says is None))
    assert says is None or says in text.split("\ntrace\n")[1] and "source (tinyml/" in text


NUMBERS = np.array([[0.3, 0.7, 0.2], [0.9, 0.4, 0.6]], np.float32)


@pytest.mark.kernels(60)
@pytest.mark.parametrize(("name", "args", "attrs"), [
    ("tanh", [NUMBERS], {}),
    ("div", [NUMBERS, NUMBERS[::-1]], {}),
    ("sub", [NUMBERS, NUMBERS[0]], {}),
    ("pow", [NUMBERS, NUMBERS + 1], {}),
    ("atan2", [NUMBERS, NUMBERS * 2], {}),
    ("sum", [NUMBERS], {"axis": (1,)}),
    ("max", [NUMBERS], {"axis": (0,)}),
    ("matmul", [NUMBERS, NUMBERS.T.copy()], {}),
    ("softmax", [NUMBERS], {"axis": 1}),
    ("layer_norm", [NUMBERS, NUMBERS[0], NUMBERS[1]], {}),
    ("sinc", [NUMBERS], {}),
])
def test_a_gradient_as_a_formula_has_the_gradient_as_its_value(
        name: str, args: list[Any], attrs: dict[str, Any]) -> None:
    """The lines are run as Python, and judged by differences of the op in float64."""
    op = op_named(name)
    xs = [tinyml.tensor(x) for x in args]
    lines = gradient_lines(op, [x.spec for x in xs], args, attrs)
    y = apply(op, *xs, **attrs)
    g = np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
    names: dict[str, Any] = {n: functools.partial(apply, o) for n, o in OPS.items()}
    names |= {"float32": tinyml.float32, "g": tinyml.tensor(g)}
    names |= {f"x{k}": x for k, x in enumerate(xs)} | {"x": xs[0]}
    exec("\n".join(lines), names)
    for k, x in enumerate(args):
        found = names["dx" if len(xs) == 1 else f"dx{k}"].numpy()
        slope = np.empty(x.shape)
        for place in np.ndindex(x.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [np.array(a, np.float64) for a in args]
                moved[k][place] += step
                value = apply(op, *map(tinyml.tensor, moved), **attrs).numpy()
                ends.append((value * g.astype(np.float64)).sum())
            slope[place] = (ends[0] - ends[1]) / 2e-5
        # float32 rounds each of a few operations on numbers below 10; the differences are finer
        np.testing.assert_allclose(found, slope, rtol=1e-4, atol=1e-5)


def test_formulas_have_the_parentheses_that_they_need() -> None:
    x = tinyml.tensor_spec((2,))

    def shown(f: Callable[..., Any]) -> str:
        return formulas(tinyml.trace(f)(x, x, x), "abc", ["r"])[-1]

    assert shown(lambda a, b, c: a - (b - c)) == "r = a - (b - c)"
    assert shown(lambda a, b, c: (a - b) - c) == "r = a - b - c"
    assert shown(lambda a, b, c: (a + b) * -c) == "r = (a + b) * -c"
    assert shown(lambda a, b, c: -(a * b)) == "r = -(a * b)"
    assert shown(lambda a, b, c: a / (b / c)) == "r = a / (b / c)"
    assert shown(lambda a, b, c: (a**b) ** c) == "r = (a ** b) ** c"
    assert shown(lambda a, b, c: (-a) ** (b**c)) == "r = (-a) ** b ** c"
    assert shown(lambda a, b, c: (a < b) == (c < b)) == "r = (a < b) == (c < b)"
    lines = formulas(tinyml.trace(lambda a, b: (a * b).exp() + a * b)(x, x), "xy", ["r"])
    assert lines[-1].startswith("r = exp(") and len(lines) in (1, 2)


def test_every_gradient_has_a_formula() -> None:
    from tinyml.core.plan import checked

    host = find_device("cpu")
    for op in every_op().values():
        sample = subject(op.name).sample
        if op.differentiable and sample is not None:
            specs = views._specs(sample, host)
            attrs, _ = checked(op, specs, sample.attrs)
            lines = gradient_lines(op, specs, sample.args, attrs)
            assert lines and lines[-1].startswith("dx"), op.name


# ---- the parts


def test_source_finds_each_of_two_lambdas_of_a_line() -> None:
    rules = (lambda g, x: g * 2.0, lambda g, x: g * 3.0, lambda g: g)
    assert [source(rule) for rule in rules] == [
        "lambda g, x: g * 2.0", "lambda g, x: g * 3.0", "lambda g: g"]


def test_source_shows_what_a_function_closes_over() -> None:
    def outer(word: str, rule: Callable[..., Any]) -> Callable[..., Any]:
        def inner(x: Any) -> Any:
            return rule(word, x)

        return inner

    assert source(outer("exp", lambda w, x: (w, x))).endswith(
        "return rule(word, x)\nwhere rule = lambda w, x: (w, x), word = 'exp'")
    assert source(functools.partial(int, base=2)).endswith("with base=2")
    assert source(len) == "<built-in function len>"
    assert source(eval("lambda x: x")).startswith("<function")


def test_a_nest_has_a_line_a_statement(device: str) -> None:
    from tinyml.core.plan import nest_of
    from tinyml.ir.devices import Call

    nests = 0
    for name in KINDS:
        chosen = subject(name)
        assert chosen.sample is not None
        if how(chosen.op, find_device("cpu"))[0] not in ("nest", "scatter"):
            continue
        place = find_device(device)
        specs = views._specs(chosen.sample, views.Unbuilt(place))
        plan = views.make_plan(chosen.op, specs, chosen.sample.attrs)
        nest, _ = nest_of(Call(chosen.op, plan.ins, plan.attrs, plan.outs, place))
        text = nest_text(nest)
        stores = sum(isinstance(instr.payload, Store) for instr in nest.code)
        assert sum(line.strip().startswith("a") and "] = " in line
                   for line in text.splitlines()) == stores > 0
        assert "+=" not in text  # a store writes; what adds to the old value reads it before
        nests += 1
    assert nests > 10
    assert Nest().code and nest_text(Nest()) == "nest of one point"


def test_subject_errors() -> None:
    with pytest.raises(ShapeError):
        subject("tanh", [(1,), (2,)])
    with pytest.raises(ArgumentError, match="'cond' has no samples"):
        subject("cond", [()])


def test_an_op_without_samples_is_explained_by_its_record(
        capsys: pytest.CaptureFixture[str]) -> None:
    text = _run(capsys, "explain", "cond")
    assert text.startswith(f"cond: {OPS['cond'].doc}\n  samples of no type\n\nshape rule (")
    assert "of all operands at once:" in text and "operands (" not in text
    assert "\non cpu" not in text and "conformance" not in text
    assert "\ncond" in _run(capsys, "kernels", "cond")
