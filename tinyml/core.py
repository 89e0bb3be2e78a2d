"""One Tensor, one `apply`: an op is executed, or becomes a line of a graph, and then is recorded.

`Data` is what a tensor is: a buffer (or a graph's variable), a spec, and how it was made, if a
gradient may be asked for. `Node` is how it was made; it holds values, never tensors, so there are
no reference cycles and memory is freed without the collector.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from tinyml.dtypes import as_dtype
from tinyml.errors import (
    ArgumentTypeError,
    DTypeError,
    KernelNotFound,
    MixedDeviceError,
    TinyMLError,
)
from tinyml.lower import NotOneNest, Scalar, lower
from tinyml.op import OPS, Application, Op, Var, attribute_key, find
from tinyml.registry import Call
from tinyml.registry import device as find_device
from tinyml.registry import find as find_kernels
from tinyml.spec import Spec, make_spec

if TYPE_CHECKING:
    from tinyml.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")
MEMO_LIMIT = 512  # plans kept per op; a loop over ever new shapes must not grow without bound
SCALARS = (bool, int, float)


class State(threading.local):
    """What a thread is doing: whether it records, and how deep in differentiations it is."""

    recording = True
    depth = 0


STATE = State()


class Node:
    """How a value was made: the plan that ran, the inputs with their values and nodes, the result.

    `low` is the least depth of any leaf that it depends on: a backward pass records itself only
    when an outer differentiation can see it. Values are kept only where a rule reads them.
    """

    __slots__ = ("op", "plan", "bufs", "parents", "y", "low")

    def __init__(self, op: Op | None, plan: Any, bufs: tuple[Any, ...],
                 parents: tuple[Node | None, ...], y: Any, low: int) -> None:
        self.op = op
        self.plan = plan
        self.bufs = bufs
        self.parents = parents
        self.y = y
        self.low = low


class Leaf(Node):
    """Where differentiation ends: a value with respect to which a gradient is asked for."""

    __slots__ = ("grad", "spec")

    def __init__(self, spec: Spec, low: int, parent: Node | None = None) -> None:
        super().__init__(None, None, (), (parent,) if parent else (), None, low)
        self.spec = spec
        self.grad: Any = None


class Item(Node):
    """Output `place` of an op of several outputs, whose own node is the one parent."""

    __slots__ = ("place",)

    def __init__(self, main: Node, place: int) -> None:
        super().__init__(None, None, (), (main,), None, main.low)
        self.place = place


class Data:
    """What a tensor is: buffer, spec, node."""

    __slots__ = ("buf", "spec", "node", "__weakref__")

    def __init__(self, buf: Any, spec: Spec, node: Node | None = None) -> None:
        self.buf = buf
        self.spec = spec
        self.node = node


_Tensor: Any = Data


def adopt(cls: type) -> None:
    """Make `cls`, a subclass of Data without slots of its own, the one class of tensors."""
    global _Tensor
    _Tensor = cls


def make(buf: Any, spec: Spec, node: Node | None = None) -> Tensor:
    """A tensor of these parts."""
    tensor: Tensor = _Tensor(buf, spec, node)
    return tensor


class Planned:
    """An op on given layouts, ready to run.

    `fast` says that a record of it needs no cast first: one float output, a rule of its own, and
    every float input in the type that it computes in. `kept` are the inputs as rules see them, and
    `expands` the views that make them so, where operands broadcast.
    """

    __slots__ = ("run", "ins", "outs", "out", "attrs", "how", "single", "fast", "kept", "expands")

    def __init__(self, run: Callable[..., Any], ins: tuple[Any, ...], outs: tuple[Spec, ...],
                 attrs: dict[str, Any], how: str, single: bool) -> None:
        self.run = run
        self.ins = ins
        self.outs = outs
        self.out = outs[0]
        self.attrs = attrs
        self.how = how
        self.single = single
        self.fast = False
        self.kept = ins
        self.expands: tuple[Planned | None, ...] = ()


# ---- watching: plans are made anew with their runs wrapped, so nothing is paid when nobody looks

Watch = Callable[[Op, Planned], Callable[..., Any]]
_watch: Watch | None = None


def watch(wrap: Watch | None) -> Callable[[], None]:
    """Let `wrap(op, plan)` give what runs in the place of `plan.run`, for every op in all threads.

    Returns the function that ends it. A later call stands in the place of an earlier one until it
    is ended; observers that share one `wrap` are the business of tinyml.observe.
    """
    global _watch
    before, kept = _watch, {op: dict(op.memo) for op in OPS.values()}
    for op in kept:
        op.memo.clear()
    _watch = wrap

    def end() -> None:
        global _watch
        _watch = before
        for op in OPS.values():
            op.memo.clear()
            op.memo.update(kept.get(op, {}))

    return end


# ---- the one path


def apply(op: Op, *xs: Any, **attrs: Any) -> Any:
    """Apply an op to tensors and Python numbers; the one path of every operation.

    Returns a tensor, or a tuple of them for an op of several outputs. Raises the TinyMLError that
    the op's shape rule raises, with op, inputs and the user's line.
    """
    key: Any = tuple([x.spec if isinstance(x, Data) else type(x) for x in xs])
    if attrs:
        try:
            key = (key, attribute_key(attrs))
        except TinyMLError as error:
            raise error.during(op.name, describe(xs)) from None
    plan: Planned | None = op.memo.get(key)
    if plan is None:
        return _first(op, xs, attrs)
    return _run(op, plan, xs)


def _run(op: Op, plan: Planned, xs: Sequence[Any]) -> Any:
    """Execute, recording where an input has a node."""
    try:
        if STATE.recording:
            for x in xs:
                if isinstance(x, Data) and x.node is not None:
                    return _record(op, plan, xs)
        return _execute(plan, xs)
    except TinyMLError as error:
        raise error.during(op.name, describe(xs)) from error.__cause__


def _execute(plan: Planned, xs: Sequence[Any]) -> Any:
    result = plan.run(*[x.buf if isinstance(x, Data) else x for x in xs])
    if plan.single:
        return _Tensor(result, plan.out)
    return tuple([_Tensor(buf, spec) for buf, spec in zip(result, plan.outs)])


def _first(op: Op, xs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """A call for which there is no plan yet: convert, check, plan, or trace."""
    try:
        xs = _operands(op, xs)
        if any(isinstance(x, Data) and x.spec.symbolic for x in xs):
            return _trace(op, xs, attrs)
        specs = tuple([x.spec if isinstance(x, Data) else type(x) for x in xs])
        key = (specs, attribute_key(attrs)) if attrs else specs
        plan = op.memo.get(key)
        if plan is None:
            plan = make_plan(op, specs, attrs)
            _prepare_record(op, plan)
            if _watch is not None:
                plan.run = _watch(op, plan)
            if len(op.memo) >= MEMO_LIMIT:
                op.memo.clear()
            op.memo[key] = plan
    except TinyMLError as error:
        raise error.during(op.name, describe(xs)) from error.__cause__
    return _run(op, plan, xs)


def _prepare_record(op: Op, plan: Planned) -> None:
    """Say once what every recording of this plan needs: see Planned."""
    if op.grad is None or not op.differentiable:
        return
    plan.fast = plan.single and plan.out.dtype.is_float
    if op.lift is None:
        return
    shape, dtype = op.lift(*plan.ins)
    kept = list(plan.ins)
    expands: list[Planned | None] = [None] * len(kept)
    for k, spec in enumerate(plan.ins):
        if isinstance(spec, Spec) and spec.dtype.is_float:
            plan.fast = plan.fast and spec.dtype is dtype
            if spec.shape != shape:
                expands[k] = make_plan(find("expand"), (spec,), {"shape": shape})
                kept[k] = expands[k].out  # type: ignore[union-attr]
    if any(expands):
        plan.kept, plan.expands = tuple(kept), tuple(expands)


def _expanded(plan: Planned, k: int, node: Node) -> Node:
    """The node of an operand as the op sees it: expanded, where it broadcasts."""
    expand = plan.expands[k]
    if expand is None:
        return node
    return Node(find("expand"), expand, (None,), (node,), None, node.low)


def describe(xs: Sequence[Any]) -> str:
    """Operands for an error message."""
    return ", ".join(repr(x.spec) if isinstance(x, Data) else f"{x!r:.80}" for x in xs)


def named(function: Callable[P, R]) -> Callable[P, R]:
    """A public function whose own checks say its name and operands, as those of ops do."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TinyMLError as error:
            raise error.during(function.__name__, describe(args)) from error.__cause__

    return call


def _operands(op: Op, xs: Sequence[Any]) -> list[Any]:
    """Tensors and numbers as they are; arrays and lists as tensors on the others' device."""
    if any(type(x) not in SCALARS and not isinstance(x, Data) for x in xs) or not any(
        isinstance(x, Data) for x in xs
    ):
        device = next((x.spec.device for x in xs if isinstance(x, Data)), None)
        tensors = any(isinstance(x, Data) for x in xs)
        return [x if isinstance(x, Data) or (tensors and type(x) in SCALARS)
                else upload(op_array(x), device) for x in xs]
    return list(xs)


def op_array(value: Any, dtype: Any = None) -> np.ndarray[Any, Any]:
    """A NumPy array of a number, a nested list or an array; ArgumentTypeError for others.

    Without a `dtype` in view, Python floats become float32, tinyml's default.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if type(value) in SCALARS or isinstance(value, (list, tuple)):
        try:
            array = np.asarray(value)
        except (ValueError, OverflowError) as error:
            raise ArgumentTypeError(f"no tensor from {value!r:.80}: {error}") from None
        if array.dtype == np.float64 and dtype is None:
            return array.astype(np.float32)
        return array
    raise ArgumentTypeError(
        f"an operand is a {type(value).__name__}",
        remedy="a tensor, a number, a NumPy array or a list",
    )


def upload(array: np.ndarray[Any, Any], device: Any = None, dtype: Any = None) -> Tensor:
    """A tensor with the content of an array; DTypeError where its type has no counterpart."""
    wanted = as_dtype(array.dtype if dtype is None else dtype)
    target = find_device(device)
    if not target.supports(wanted):
        raise DTypeError(f"device {target.name} has no {wanted.name}", remedy="float32")
    spec = make_spec(array.shape, wanted, target)
    dense = np.ascontiguousarray(array, wanted.numpy).reshape(array.shape)
    return make(target.upload(dense), spec)


# ---- planning


def make_plan(op: Op, specs: Sequence[Any], attrs: dict[str, Any]) -> Planned:
    """How an op runs on these layouts: kernel, else view, else nest, else body."""
    tensors = [spec for spec in specs if isinstance(spec, Spec)]
    device = tensors[0].device
    for spec in tensors:
        if spec.device is not device:
            raise MixedDeviceError(
                f"tensors of {device} and {spec.device} in one operation",
                remedy=f"move one with .to({str(device)!r})",
            )
    attrs, result = _inferred(op, specs, attrs)
    given = result if isinstance(result, tuple) else (result,)
    outs = tuple([make_spec(spec.shape, spec.dtype, device) for spec in given])  # dense
    single = len(outs) == 1
    for spec in outs:
        if not device.supports(spec.dtype):
            raise DTypeError(f"device {device.name} has no {spec.dtype.name}",
                             remedy="float32, or device='cpu'")
    call = Call(op, tuple(specs), attrs, outs, device)
    for candidate in find_kernels(op.name, device.name):
        plan = candidate(call)
        if plan is not None:
            return Planned(plan.run, tuple(specs), plan.outs, attrs, plan.how, single)
    if op.view is not None:
        layout = op.view(specs[0], **attrs)
        if layout is not None:
            return _plan_view(call, layout)
    if op.nest is not None or op.push is not None or op.body is not None:
        return _plan_nest(call, single)
    raise KernelNotFound(
        f"op {op.name!r} has no kernel, no nest and no body on {device.name}",
        remedy=f"register one with @kernel({op.name!r}, {device.name.partition(':')[0]!r})",
    )


def _inferred(op: Op, specs: Sequence[Any], attrs: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The attributes in their one form, and what the shape rule gives."""
    try:
        if op.canon is not None:
            attrs = op.canon(*specs, **attrs)
        return attrs, op.infer(*specs, **attrs)
    except TypeError as error:
        if isinstance(error, TinyMLError):
            raise
        raise ArgumentTypeError(f"operands or attributes do not fit: {error}",
                                remedy=op.doc or "see the op's record") from None


def _plan_view(call: Call, layout: tuple[tuple[int, ...], int]) -> Planned:
    strides, offset = layout
    out = call.outs[0]
    spec = make_spec(out.shape, out.dtype, out.device, strides)
    device = call.device

    def run(buf: Any) -> Any:
        return device.view(buf, offset, spec) if offset else buf

    return Planned(run, call.ins, (spec,), call.attrs, "view", True)


def _plan_nest(call: Call, single: bool) -> Planned:
    """One launch where op or body are one nest, else the body's ops one by one."""
    op = call.op
    call.device.afford(sum(spec.nbytes for spec in call.outs))
    inputs: list[Any] = []
    for spec in call.ins:
        numbers = sum(isinstance(i, Scalar) for i in inputs)
        inputs.append(Var(None, 0, symbolic(spec)) if isinstance(spec, Spec)
                      else Scalar(spec, numbers))
    try:
        outputs = _outputs(op, inputs, call)
        nest = lower(outputs, inputs)
        ins = [i if isinstance(i, Scalar) else spec for i, spec in zip(inputs, call.ins)]
        run = call.device.prepare(nest, ins, call.outs, op.name)
    except NotOneNest:
        return Planned(_run_body(call), call.ins, call.outs, call.attrs, "body", single)
    return Planned(run, call.ins, call.outs, call.attrs, "nest", single)


def symbolic(spec: Spec) -> Spec:
    """The spec of a graph's variable of this shape, dtype and device."""
    return make_spec(spec.shape, spec.dtype, spec.device, None, True)


def _outputs(op: Op, inputs: list[Any], call: Call) -> list[Var]:
    """The graph of an op: itself, or its body's ops."""
    if op.nest is not None or op.push is not None:
        app = Application(op, tuple(inputs), call.attrs, call.outs)
        return [Var(app, k, symbolic(spec)) for k, spec in enumerate(call.outs)]
    specs = [i.spec for i in inputs if isinstance(i, Var)]
    weak = next((spec for spec in specs if spec.dtype.is_float), specs[0])
    values = []
    for value in inputs:
        if isinstance(value, Scalar):
            value.var = Var(None, 0, make_spec((), weak.dtype, weak.device, None, True))
            value = value.var
        values.append(make(value, value.spec))
    body: Any = op.body
    with paused():
        try:
            result = body(*values, **call.attrs)
        except TypeError as error:
            raise _misfit(body, values, call.attrs, error) from error.__cause__
    results = result if isinstance(result, tuple) else (result,)
    for tensor, spec in zip(results, call.outs):
        if not isinstance(tensor.buf, Var):
            raise NotOneNest
        if tensor.spec.shape != spec.shape or tensor.spec.dtype is not spec.dtype:
            raise KernelNotFound(f"the body of {op.name!r} gives {tensor.spec}, its rule {spec}")
    return [tensor.buf for tensor in results]


def _misfit(body: Callable[..., Any], values: list[Any], attrs: dict[str, Any],
            error: TypeError) -> TypeError:
    """ArgumentTypeError where operands and attributes do not fit a body's parameters."""
    import inspect

    try:
        inspect.signature(body).bind(*values, **attrs)
    except TypeError as problem:
        return ArgumentTypeError(f"operands or attributes do not fit: {problem}")
    return error


def _run_body(call: Call) -> Callable[..., Any]:
    body: Any = call.op.body
    if body is None:
        raise KernelNotFound(f"op {call.op.name!r} cannot run on {call.device.name}")

    def run(*values: Any) -> Any:
        xs = [make(v, spec) if isinstance(spec, Spec) else v for v, spec in zip(values, call.ins)]
        with paused():
            result = body(*xs, **call.attrs)
            results = result if isinstance(result, tuple) else (result,)
            bufs = tuple([
                tensor.buf if tensor.spec is spec else apply(find("copy"), tensor).buf
                for tensor, spec in zip(results, call.outs)
            ])
        return bufs if len(bufs) > 1 else bufs[0]

    return run


def _trace(op: Op, xs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """A line of the graph under construction; a composite becomes its body's lines."""
    for x in xs:
        if isinstance(x, Data) and not x.spec.symbolic:
            raise NotOneNest
    specs = [x.spec if isinstance(x, Data) else type(x) for x in xs]
    attrs, result = _inferred(op, specs, attrs)
    if op.nest is None and op.push is None and op.body is not None:
        return op.body(*xs, **attrs)
    outs = result if isinstance(result, tuple) else (result,)
    inputs = tuple([x.buf if isinstance(x, Data) else x for x in xs])
    app = Application(op, inputs, attrs, outs)
    tensors = tuple([make(Var(app, k, symbolic(spec)), symbolic(spec))
                     for k, spec in enumerate(outs)])
    return tensors if isinstance(result, tuple) else tensors[0]


# ---- recording


@contextmanager
def paused() -> Iterator[None]:
    """Nothing is recorded inside, in this thread."""
    before = STATE.recording
    STATE.recording = False
    try:
        yield
    finally:
        STATE.recording = before


def _record(op: Op, plan: Planned, xs: Sequence[Any]) -> Any:
    """Execute, and say how the result was made."""
    if not plan.fast:
        if op.grad is None and op.body is not None:
            return op.body(*xs, **plan.attrs)
        if not op.differentiable:
            return _execute(plan, xs)
        if op.lift is not None:
            lifted = _lifted(op, xs)
            if lifted is not None:
                return apply(op, *lifted, **plan.attrs)
    result = plan.run(*[x.buf if isinstance(x, Data) else x for x in xs])
    if plan.single:
        return _Tensor(result, plan.out,
                       _node(op, plan, xs, result) if plan.out.dtype.is_float else None)
    node = _node(op, plan, xs, result)
    return tuple([_Tensor(buf, spec, Item(node, k) if spec.dtype.is_float else None)
                  for k, (buf, spec) in enumerate(zip(result, plan.outs))])


def _node(op: Op, plan: Planned, xs: Sequence[Any], result: Any) -> Node:
    parents: list[Node | None] = []
    bufs: list[Any] = []
    low = 1 << 62
    for k, x in enumerate(xs):
        if isinstance(x, Data):
            node = x.node
            bufs.append(x.buf if op.keeps_input(k) else None)
            if node is not None:
                if node.low < low:
                    low = node.low
                if plan.expands:
                    node = _expanded(plan, k, node)
            parents.append(node)
        else:
            parents.append(None)
            bufs.append(x)
    return Node(op, plan, tuple(bufs), tuple(parents), result if op.keeps_y else None, low)


def _lifted(op: Op, xs: Sequence[Any]) -> list[Any] | None:
    """Float inputs with a node, cast to what the op computes in; None where they are it.

    So every rule sees operands of one type; that they are of one shape is the plan's matter. The
    sum over broadcast axes is the gradient of `expand`, written once.
    """
    assert op.lift is not None
    _, dtype = op.lift(*[x.spec if isinstance(x, Data) else type(x) for x in xs])
    lifted = [
        apply(find("cast"), x, dtype=dtype)
        if isinstance(x, Data) and x.node is not None and x.spec.dtype.is_float
        and x.spec.dtype is not dtype else x
        for x in xs
    ]
    return lifted if any(a is not b for a, b in zip(lifted, xs)) else None


# ---- fast paths


def unary(op: Op) -> Callable[[Any], Any]:
    """A function of one tensor: straight from the spec to the plan."""
    memo, state = op.memo, STATE

    def call(x: Any) -> Any:
        try:
            plan = memo[(x.spec,)]
        except (KeyError, AttributeError):
            return apply(op, x)
        if x.node is not None and state.recording:
            return _run(op, plan, (x,))
        try:
            return _Tensor(plan.run(x.buf), plan.out)
        except TinyMLError as error:
            raise error.during(op.name, describe((x,))) from error.__cause__

    return call


def binary(op: Op, miss: Callable[[Any, Any], Any] | None = None) -> Callable[[Any, Any], Any]:
    """A function of two tensors, or of a tensor and a number: the path most travelled.

    `miss(x, y)` is asked where there is no plan yet; by default that is `apply`.
    """
    memo, state = op.memo, STATE
    keep_x, keep_y, keep_result = op.keeps_input(0), op.keeps_input(1), op.keeps_y

    def call(x: Any, y: Any) -> Any:
        try:
            if y.__class__ is _Tensor:
                plan = memo[x.spec, y.spec]
                b, node_y = y.buf, y.node
            else:
                plan = memo[x.spec, y.__class__]
                b, node_y = y, None
        except (KeyError, AttributeError):
            return apply(op, x, y) if miss is None else miss(x, y)
        a, node_x = x.buf, x.node
        try:
            if node_x is node_y is None or not state.recording:
                return _Tensor(plan.run(a, b), plan.out)
            if not plan.fast:
                return _record(op, plan, (x, y))
            result = plan.run(a, b)
        except TinyMLError as error:
            raise error.during(op.name, describe((x, y))) from error.__cause__
        if plan.expands:
            if node_x is not None:
                node_x = _expanded(plan, 0, node_x)
            if node_y is not None:
                node_y = _expanded(plan, 1, node_y)
        if node_x is None:
            low = node_y.low
        elif node_y is None or node_x.low < node_y.low:
            low = node_x.low
        else:
            low = node_y.low
        kept = b if keep_y or plan.ins[1].__class__ is not Spec else None
        node = Node(op, plan, (a if keep_x else None, kept), (node_x, node_y),
                    result if keep_result else None, low)
        return _Tensor(result, plan.out, node)

    return call


# ---- one value


def full(shape: tuple[int, ...], value: Any, dtype: Any, device: Any) -> Tensor:
    """A tensor of one value, stored once and read with stride 0."""
    one = upload(np.full((), value, dtype.numpy), device, dtype)
    result: Tensor = apply(find("expand"), one, shape=shape) if shape else one
    return result

