"""What an op is and how it runs here: the views behind `tinyml kernels` and `tinyml explain`.

Everything comes from the records and the planner itself, for the samples that every record has;
nothing here knows an op by name.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import json
import linecache
import textwrap
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import tinyml
import tinyml.ir.nest as ir
from tinyml.core.plan import CompiledOp, checked, make_plan, nest_of
from tinyml.dtypes import DType, as_dtype
from tinyml.errors import ArgumentError, DeviceError, KernelNotFound, ShapeError, TinyMLError
from tinyml.graph.trace import trace
from tinyml.ir.devices import HOST, ROOMS, Call, find_device, find_kernels
from tinyml.ir.nest import Instr, Monoid, Nest
from tinyml.ir.op import OPS, Op
from tinyml.ir.spec import Spec, make_spec
from tinyml.observe.profile import table
from tinyml.ops.samples.values import Sample

FORMS = ("host_impl", "view", "nest", "scatter_nest", "body", "complex_body", "fallback")
MOST_NEAR = 3
MOST_INSTRUCTIONS = 200  # of a nest; its source shows the rest

# ---- ops and their samples


def every_op() -> dict[str, Op]:
    """Return every record by name, including those of control flow, which load on first use."""
    import tinyml.graph.control_ops  # noqa: F401

    return dict(sorted(OPS.items()))


def op_named(name: str) -> Op:
    """Return the op of a name, or of a public function; KernelNotFound suggests near names."""
    ops = every_op()
    public = getattr(getattr(tinyml, name, None), "op", None)
    found = ops.get(name, public)
    if isinstance(found, Op):
        return found
    near = difflib.get_close_matches(name, ops, MOST_NEAR, 0.5)
    raise KernelNotFound(
        f"no op named {name!r}",
        remedy=f"one of {', '.join(near)}?" if near else "`tinyml kernels` lists them",
    )


def _specs(sample: Sample, device: Any) -> tuple[Any, ...]:
    """Return a sample as the planner takes it: specs with layouts, and the types of numbers."""
    return tuple([
        make_spec(x.shape, as_dtype(x.dtype), device,
                  tuple([step // x.itemsize for step in x.strides]))
        if isinstance(x, np.ndarray) else type(x)
        for x in sample.args
    ])


def _samples(op: Op, dtype: str | None = None) -> list[Sample]:
    if op.samples is None:
        return []
    chosen = dtype or ("float32" if "float32" in op.dtypes else op.dtypes[0])
    return list(op.samples(chosen))


# ---- how each op runs


class Unbuilt:
    """A device that plans like another but compiles nothing."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def prepare(self, *_: Any) -> Callable[..., Any]:
        """Return a stand-in for the kernel."""
        return lambda *values: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.device, name)

    def __repr__(self) -> str:
        return repr(self.device)


def how(op: Op, device: Any) -> list[str]:
    """Return how an op runs on a device: how the planner runs its samples, in their order.

    Each entry is kernel, view, nest, scatter (a nest that stores its results itself), body (other
    ops, one by one) or host (Python decides what is launched). The list is empty where the device
    refuses the op.
    >>> from tinyml.ir.devices import find_device
    >>> how(op_named("reshape"), find_device("cpu"))
    ['view', 'nest']
    """
    place = Unbuilt(device)
    found: list[str] = []
    for sample in _samples(op):
        try:
            plan = make_plan(op, _specs(sample, place), sample.attrs)
        except KernelNotFound:
            return ["none"]
        except TinyMLError:
            continue  # a type that this device lacks
        word = _word(op, plan)
        if word not in found:
            found.append(word)
    return found or (["kernel"] if find_kernels(op.name, device.name) else [_of_record(op)])


def _word(op: Op, plan: CompiledOp) -> str:
    return "scatter" if plan.how == "nest" and op.scatter_nest is not None else plan.how


def _of_record(op: Op) -> str:
    """Return how the record itself runs, for an op without samples."""
    words = {"host_impl": "host", "view": "view", "scatter_nest": "scatter", "nest": "nest",
             "body": "body", "fallback": "body"}
    return next((word for field, word in words.items() if getattr(op, field) is not None), "kernel")


class Kernels(NamedTuple):
    """How ops run, by op and device; and, for each device, its problem or None."""

    ops: dict[str, dict[str, list[str]]]
    devices: dict[str, str | None]

    def __str__(self) -> str:
        usable = [name for name, problem in self.devices.items() if problem is None]
        cells = [("op", *usable)]
        cells += [(op, *[", ".join(ways[name]) for name in usable])
                  for op, ways in self.ops.items()]
        lines = [table(cells, "l" * len(cells[0]))]
        lines += [f"no {name}: {problem}" for name, problem in self.devices.items() if problem]
        return "\n".join(lines)

    def json(self) -> str:
        """Return the same as JSON."""
        return json.dumps({"devices": self.devices, "ops": self.ops}, indent=1)


def kernels(names: Sequence[str] = (), devices: Sequence[str] = ROOMS) -> Kernels:
    """Return how the named ops (default: all) run on each device.

    A missing device is reported, unless it is the only one requested, which raises DeviceError.
    Raises KernelNotFound for an unknown name.
    """
    ops = [op_named(name) for name in names] or list(every_op().values())
    found: dict[str, dict[str, list[str]]] = {op.name: {} for op in ops}
    problems: dict[str, str | None] = {}
    for name in devices:
        try:
            device = find_device(name)
        except DeviceError as error:
            if len(devices) == 1:
                raise
            problems[name] = error.message
            continue
        problems[name] = None
        for op in ops:
            found[op.name][name] = how(op, device)
    return Kernels(found, problems)


# ---- one op


class Subject(NamedTuple):
    """The subject of an explanation: an op on operands; on none where its record has no samples."""

    op: Op
    sample: Sample | None


def subject(name: str, shapes: Sequence[tuple[int, ...]] | None = None, dtype: str | None = None,
            attrs: dict[str, Any] | None = None) -> Subject:
    """Return an op with operands to explain it on: its first sample, or dense ones of these shapes.

    Attributes are those of the sample unless given. Raises KernelNotFound for an unknown name,
    DTypeError for an unknown type, ArgumentError for shapes of an op without samples, and
    ShapeError where no sample has that many tensors.
    """
    op = op_named(name)
    dtype = as_dtype(dtype).name if dtype is not None else None
    samples = [s for s in _samples(op, dtype)
               if all(x.size for x in s.args if isinstance(x, np.ndarray))]
    if not samples:
        if shapes is not None:
            raise ArgumentError(f"op {op.name!r} has no samples, so what its operands are is not "
                                "known", remedy=f"tinyml explain {op.name}")
        return Subject(op, None)
    sample = samples[0]
    if shapes is not None:
        counts = [sum(isinstance(x, np.ndarray) for x in s.args) for s in samples]
        if len(shapes) not in counts:
            raise ShapeError(f"{op.name} of {len(shapes)} tensors: its samples have "
                             f"{' or '.join(map(str, sorted(set(counts))))}",
                             remedy="one --shape for each tensor")
        ranks = tuple(map(len, shapes))
        fitting = [s for s, count in zip(samples, counts) if count == len(shapes)]
        sample = next((s for s in fitting if _ranks(s) == ranks), fitting[0])
        given = iter(shapes)
        args = tuple([np.zeros(next(given), x.dtype) if isinstance(x, np.ndarray) else x
                      for x in sample.args])
        sample = sample._replace(args=args, name="as asked")
    return Subject(op, sample._replace(attrs={**sample.attrs, **(attrs or {})}))


def _ranks(sample: Sample) -> tuple[int, ...]:
    return tuple([x.ndim for x in sample.args if isinstance(x, np.ndarray)])


def explain(chosen: Subject, devices: Sequence[str] = ROOMS) -> str:
    """Return an op in sections: a summary, its rules and kernels with their source, its nest.

    Raises what the op's shape rule raises for these operands, and DeviceError where the only
    requested device is missing.

    >>> print(explain(subject("tanh", [(2, 3)]), ["cpu"]).split("shape rule")[0].rstrip())
    tanh: The hyperbolic tangent.
      error bound 5 ULP; samples of float16, bfloat16, float32, float64, complex64, complex128
    <BLANKLINE>
    operands (as asked)
      float32[2, 3] -> float32[2, 3]
    """
    op, sample = chosen
    if len(devices) == 1:
        find_device(devices[0])
    bound = f"error bound {_bound(op.ulp)}; " if op.dtypes else ""
    sections = [(f"{op.name}: {op.doc}" if op.doc else op.name,
                 f"{bound}samples of {', '.join(op.dtypes) or 'no type'}")]
    if sample is not None:
        host = Unbuilt(find_device(HOST))
        attrs, outs = checked(op, _specs(sample, host), sample.attrs)
        operands = [_form(x) for x in _specs(sample, host)]
        operands += [f"{key}={value!r}" for key, value in attrs.items()]
        sections.append((f"operands ({sample.name})",
                         f"{', '.join(operands)} -> {', '.join(map(_form, outs))}"))
    sections += [(f"shape rule ({_home(op.infer)})", source(op.infer)), ("gradient", _gradient(op))]
    for field in FORMS:
        function = getattr(op, field)
        if function is not None:
            sections.append((f"{field} ({_home(function)})", source(function)))
    if sample is not None:
        sections += [_on_device(op, sample, name, first=name == devices[0]) for name in devices]
    return "\n\n".join(f"{title}\n{textwrap.indent(text, '  ')}" for title, text in sections)


def _form(spec: Any) -> str:
    """Return a spec without its device, with strides where not dense; a number as its type."""
    if not isinstance(spec, Spec):
        return str(spec.__name__)
    text = f"{spec.dtype.name}{list(spec.shape)}"
    return text if spec.contiguous else f"{text} strides {list(spec.strides)}"


def _bound(ulp: float | dict[str, float]) -> str:
    if isinstance(ulp, dict):
        return ", ".join(f"{value:g} ULP ({name})" for name, value in ulp.items())
    return f"{ulp:g} ULP" if ulp else "0 ULP besides the roundings of a sum's terms"


def _gradient(op: Op) -> str:
    if not op.differentiable:
        return "none: not differentiable"
    if op.grad is None:
        return "that of its body"
    if not isinstance(op.grad, tuple):
        return f"of all operands at once:\n{source(op.grad)}"
    return "\n".join(
        f"of operand {k}: " + ("none" if rule is None else source(rule))
        for k, rule in enumerate(op.grad)
    )


def _on_device(op: Op, sample: Sample, name: str, first: bool) -> tuple[str, str]:
    """Return how an op runs on one device, with the source that is compiled there."""
    try:
        device: Any = find_device(name)
        plan = make_plan(op, _specs(sample, device), sample.attrs)
    except TinyMLError as error:
        return f"on {name}", error.message
    title = f"on {name}: {_word(op, plan)}"
    if plan.how == "view":
        return title, f"the same memory, strides {list(plan.outs[0].strides)}"
    if plan.how in ("body", "host"):
        return title, _lines(op, sample, plan)
    if plan.how != "nest":
        tried = [f"{function.__name__} ({_home(function)})"
                 for function in find_kernels(op.name, device.name)]
        return title, f"a kernel of the device's own, the first that takes it of {', '.join(tried)}"
    call = Call(op, plan.ins, plan.attrs, plan.outs, device)
    nest, ins = nest_of(call)
    sources = device.sources(nest, ins, plan.outs)
    packs = [f"first, an operand is packed:\n{text.rstrip()}" for text in sources[:-1]]
    parts = [nest_text(nest)] if first else []
    return title, "\n\n".join([*parts, *packs, sources[-1].rstrip()])


def _lines(op: Op, sample: Sample, plan: CompiledOp) -> str:
    """Return the ops of a body, which run one by one."""
    body: Any = op.composition(plan.ins)
    if body is None:
        return "by the function above"
    specs = [spec for spec in plan.ins if isinstance(spec, Spec)]

    def run(*tensors: Any) -> Any:
        given = iter(tensors)
        full = [next(given) if isinstance(spec, Spec) else value
                for spec, value in zip(plan.ins, sample.args)]
        return body(*full, **plan.attrs)

    return f"one by one\n{trace(run)(*specs)!r}"


# ---- source text of functions


def source(function: Any) -> str:
    """Return the source text of a function, with the plain values that it closes over.

    >>> twice = lambda x: 2 * x
    >>> source(len)
    '<built-in function len>'
    """
    if isinstance(function, functools.partial):
        bound = [*map(_plain, function.args),
                 *[f"{k}={_plain(v)}" for k, v in function.keywords.items()]]
        return f"{source(function.func)}\nwith {', '.join(bound)}"
    function = inspect.unwrap(function)
    try:
        text = (_lambda(function) if function.__name__ == "<lambda>"
                else textwrap.dedent(inspect.getsource(function)).rstrip())
    except (OSError, TypeError, AttributeError):
        return repr(function)
    closed = [f"{name} = {_plain(cell.cell_contents)}"
              for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ())]
    return f"{text}\nwhere {', '.join(closed)}" if closed else text


def _plain(value: Any) -> str:
    """Return a short form of a value: functions, ops and monoids by name."""
    if isinstance(value, (DType, Monoid, Op)):
        return value.name
    if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>":
        return _lambda(value)
    if callable(value):
        return str(getattr(value, "__name__", value))
    return f"{value!r:.80}"


@functools.lru_cache(maxsize=64)
def _lambdas(filename: str) -> list[tuple[int, str, ast.Lambda]]:
    text = "".join(linecache.getlines(filename))
    return [(node.lineno, ast.get_source_segment(text, node) or "", node)
            for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda)]


def _lambda(function: types.FunctionType) -> str:
    """Return the text of a lambda: the one on its line with its parameters and constants."""
    code = function.__code__
    near = [(text, node) for line, text, node in _lambdas(code.co_filename)
            if line == code.co_firstlineno]
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    same = [(text, node) for text, node in near
            if tuple([a.arg for a in (*node.args.posonlyargs, *node.args.args,
                                      *node.args.kwonlyargs)]) == names]
    if len(same) > 1:
        same = [entry for entry in same if _constants(entry[1]) == code.co_consts] or same
    if not same:
        raise OSError("no such lambda")
    first, *rest = same[0][0].splitlines()
    more = textwrap.indent(textwrap.dedent("\n".join(rest)), "    ")
    return f"{first}\n{more}" if rest else first


def _constants(node: ast.Lambda) -> Any:
    compiled = compile(ast.fix_missing_locations(ast.Expression(node)), "<lambda>", "eval")
    inner = next(c for c in compiled.co_consts if isinstance(c, types.CodeType))
    return inner.co_consts


def _home(function: Any) -> str:
    """Return the file of a function, relative to the top of the package."""
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(inspect.unwrap(function), "__module__", None)
    return f"{module.replace('.', '/')}.py" if module else "built in"


# ---- loop nests as text


def nest_text(nest: Nest) -> str:
    """Return a nest as lines: its axes and arguments, then one statement per line.

    >>> from tinyml.dtypes import float32
    >>> n = Nest()
    >>> x, y = n.arg(float32, 1, "in"), n.arg(float32, 1, "out")
    >>> i = n.axis("i0", 8)
    >>> v = n.load(x, (i,))
    >>> n.store(y, n.prim("mul", v, v), (i,))
    >>> print(nest_text(n))
    nest over i0 < 8
      a0: float32, 1 axis, in
      a1: float32, 1 axis, out
      v2: float32 = a0[i0]
      v3: float32 = mul(v2, v2)
      a1[i0] = v3
    """
    axes = ", ".join(f"{name} < {size}" for name, size in nest.axes.items())
    lines = [f"nest over {axes}" if axes else "nest of one point"]
    for k, arg in enumerate(nest.args):
        lines.append(f"  a{k}: {arg.dtype.name}, {arg.rank} {'axis' if arg.rank == 1 else 'axes'}, "
                     f"{arg.role}")
    names = [_name(nest, k, instr) for k, instr in enumerate(nest.code)]
    texts = [text for k, instr in enumerate(nest.code)
             if (text := _statement(names, k, instr)) is not None]
    lines += [f"  {text}" for text in texts[:MOST_INSTRUCTIONS]]
    if len(texts) > MOST_INSTRUCTIONS:
        lines.append(f"  and {len(texts) - MOST_INSTRUCTIONS} more")
    return "\n".join(lines)


def _name(nest: Nest, k: int, instr: Instr) -> str:
    """Return a value's name in other statements; for a constant or an index, its own text."""
    match instr.payload:
        case ir.Axis(name):
            return name
        case ir.Const() as constant:
            return repr(constant.value)
        case ir.Param(number):
            return str(nest.params[number])
        case ir.ScalarArg(number):
            return f"number{number}"
    return f"v{k}"


def _statement(names: list[str], k: int, instr: Instr) -> str | None:
    """Return one statement; None for a value that has no line of its own."""
    args = [names[i] for i in instr.args]
    head = f"{names[k]}: {instr.dtype.name} = "
    match instr.payload:
        case ir.Axis() | ir.Const() | ir.Param() | ir.ScalarArg():
            return None
        case ir.Load(arg, rank):
            text = f"{head}a{arg}[{', '.join(args[:rank])}]"
            return text if len(args) == rank else f"{text} if {args[rank]} else {args[rank + 1]}"
        case ir.Store(arg, disjoint):
            return f"a{arg}[{', '.join(args[1:])}] {'+=' if disjoint else '='} {args[0]}"
        case ir.Prim(word):
            return f"{head}{word}({', '.join(args)})"
        case ir.Reduce() as reduction:
            return _loop(names, k, "reduce", reduction, args)
        case ir.Scan() as scan:
            return _loop(names, k, "scan", scan, args[:-len(scan.init)])  # the start comes last
        case ir.State(loop, component, role):
            return f"{head}{role.value} {component} of {names[loop]}"
        case ir.Step(loop):
            return f"{names[loop]} becomes {', '.join(args)}"
        case ir.Item(component):
            return f"{head}{args[0]}.{component}"
        case ir.Check() | ir.Imaginary() as other:
            return f"{head}{type(other).__name__.lower()}({', '.join(args)})"


def _loop(names: list[str], k: int, word: str, loop: ir.Reduce | ir.Scan, items: list[str]) -> str:
    """Return a loop as text: its monoid, its axes, its items, and its initial state."""
    first = isinstance(loop, ir.Scan) and loop.start or loop.init
    start = ", ".join(names[i] for i in first)
    return (f"{names[k]}: {word} {loop.monoid.name} over {', '.join(loop.axes)} "
            f"of {', '.join(items)} from {start}")
