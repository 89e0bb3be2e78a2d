"""The Tensor class: its methods and operators, each a name for an op."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

import tinyml.core.apply as core
import tinyml.core.backward as reverse
import tinyml.ops.creation as creation
import tinyml.ops.elementwise as words
import tinyml.ops.matmul as contraction
import tinyml.ops.pickled as pickled
import tinyml.ops.subscript as selection
import tinyml.ops.views as shapes
from tinyml.concurrency import new_lock
from tinyml.core.apply import apply
from tinyml.core.backward import backward
from tinyml.core.builder import entered, refuse_leaked
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Class, make
from tinyml.core.node import Data, Leaf, Node
from tinyml.core.state import STATE
from tinyml.core.upload import Deferred, upload
from tinyml.dtypes import DType
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    ConcretizationError,
    DTypeError,
    GradientError,
    ReadOnlyError,
    expect,
)
from tinyml.errors.hints import add_missing
from tinyml.ir.devices import HOST, Device, find_device
from tinyml.ir.op import find
from tinyml.ops.calls import binary
from tinyml.ops.elementwise.conversion import COPY
from tinyml.ops.methods import Methods

Binary = Callable[[Any, Any], "Tensor"]
# What helps where NumPy asks a value of a graph for its content.
_INSTEAD = "tinyml.sin(x) for numpy.sin(x), and so on; or do it outside of jit"
_KNOWN = (Data, bool, int, float, complex, np.ndarray, np.generic, Deferred)


def _operator(function: Any) -> Binary:
    """Return a binary method; an operand that it does not know gets its turn (NotImplemented)."""
    op = function.op

    def miss(x: Any, y: Any) -> Any:
        return apply(op, x, y) if isinstance(y, _KNOWN) else NotImplemented

    return binary(op, miss)


def _product(x: Any, y: Any) -> Any:
    """Return `x @ y`; numbers are not matrices."""
    if isinstance(y, Data):
        return contraction.matmul(x, y)
    return (contraction.matmul(x, creation.asarray(y, device=x.device))
            if isinstance(y, np.ndarray) else NotImplemented)


def _product_reflected(x: Any, y: Any) -> Any:
    """Return `array @ tensor`."""
    if not isinstance(y, np.ndarray):
        return NotImplemented
    return contraction.matmul(creation.asarray(y, device=x.device), x)


def _inplace(function: Any, word: str) -> Binary:
    """Return the method for `x op= y`, which replaces x's content but not its shape or dtype."""

    def method(x: Any, y: Any) -> Any:
        if not isinstance(y, _KNOWN):
            return NotImplemented
        x._may_change(f"x {word}= y", f"x = x {word} y")
        value = function(x, y)
        expect(value.dtype is x.dtype, f"a result of {x.dtype.name}", value.dtype.name, DTypeError,
               remedy=f"x = x {word} y makes a new tensor")
        x._replace(value)
        return x

    return method


def _three(function: Any, word: str) -> tuple[Binary, Binary, Binary]:
    """Return the methods for `x op y`, for the reflected `number op x`, and for `x op= y`."""

    def reflected(x: Any, y: Any) -> Any:
        return function(y, x) if isinstance(y, _KNOWN) else NotImplemented

    return _operator(function), reflected, _inplace(function, word)


class Tensor(Methods):
    """An array of numbers on a device, with a record of how it was made.

    Create one with `tinyml.tensor` and similar functions, not with this class. Memory is never
    overwritten: `x[i] = v` gives this object new content; views and recorded values keep the old.

    >>> import tinyml
    >>> x = tinyml.tensor([3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [6.0]
    """

    __slots__ = ()
    __array_priority__ = 100

    # ---- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of its axes."""
        return self.spec.shape

    @property
    def dtype(self) -> DType:
        """The data type of its elements."""
        return self.spec.dtype

    @property
    def device(self) -> Device:
        """The device that holds it."""
        device: Device = self.spec.device
        return device

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return self.spec.ndim

    @property
    def size(self) -> int:
        """The number of its elements."""
        return self.spec.size

    @property
    def nbytes(self) -> int:
        """The bytes of its elements."""
        return self.spec.nbytes

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix; raises ShapeError unless there are two axes."""
        expect(self.ndim == 2, "2 axes", self.ndim, remedy="permute_dims")
        return shapes.permute_dims(self, (1, 0))

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two axes swapped."""
        expect(self.ndim >= 2, "at least 2 axes", self.ndim)
        return shapes.permute_dims(self, (*range(self.ndim - 2), self.ndim - 1, self.ndim - 2))

    # ---- gradients

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded."""
        return self.node is not None

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by `backward`; None if there is none."""
        return self.node.grad if isinstance(self.node, Leaf) else None

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        expect(isinstance(self.node, Leaf), "a tensor made with requires_grad=True", "another",
               GradientError)
        assert isinstance(self.node, Leaf)
        _set_gradient(self.node, value)

    def detach(self) -> Tensor:
        """Return a tensor with the same values but no record of how they were made."""
        own = entered(self)
        return make(own.buf, own.spec)

    @named_in_errors
    def backward(self, gradient: Any = None) -> None:
        """Add the gradient of this scalar to `.grad` of every leaf that it depends on.

        `gradient` is the cotangent, a tensor, number, array or list, required unless this is a
        scalar. Raises GradientError if nothing was recorded.
        """
        if self.node is None:
            raise GradientError("nothing was recorded for this tensor",
                                remedy="make its inputs with requires_grad=True, outside no_grad()")
        if gradient is None:
            expect(self.size == 1, "one element, or a gradient of its shape", self.shape,
                   GradientError, remedy=".sum().backward(), or .backward(gradient) with weights")
            gradient = core.full(self.shape, 1, self.dtype, self.device)
        elif not isinstance(gradient, Data):
            gradient = upload(gradient, self.device, self.dtype)
        expect(gradient.shape == self.shape, f"a gradient of shape {self.shape}", gradient.shape)
        leaves = _leaves(self.node)
        for leaf, g in zip(leaves, backward([self.node], [gradient], leaves, False)):
            if g is not None:
                _set_gradient(leaf, g if leaf.grad is None else leaf.grad + g)

    register_hook = reverse.register_hook

    def _may_change(self, how: str, instead: str) -> None:
        """Raise GradientError if changing this object's content would lose its gradient."""
        if isinstance(self.node, Leaf) and STATE.recording:
            raise GradientError(f"{how} on a leaf would lose its gradient",
                                remedy=f"{instead}, or do this inside no_grad()")

    def _replace(self, value: Tensor) -> None:
        """Give this object new content of the same shape and dtype; a leaf stays a leaf."""
        expect(value.shape == self.shape and value.dtype is self.dtype, f"{self.spec}", value.spec)
        if STATE.building is not None:
            value = STATE.building.replace(self, value)
        if not isinstance(self.node, Leaf):
            self.node = value.node
        self.buf, self.spec = value.buf, value.spec

    # ---- its values

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the values as a read-only NumPy array, without a copy on the CPU."""
        array: np.ndarray[Any, Any] = self._home().download(self.buf, self.spec)
        return array

    def _home(self, remedy: str | None = None) -> Device:
        """Return the device that holds the content; raise ConcretizationError in a graph."""
        if self.spec.symbolic:
            refuse_leaked(self)
            raise ConcretizationError(f"{self.spec} is a value of a graph under construction: it "
                                      "has no content yet", remedy=remedy)
        return self.device

    def _export(self) -> Any:
        """Return the memory in a form that other libraries can import.

        Raises GradientError if the gradient would be lost there.
        """
        if self.node is not None:
            raise GradientError(f"{self.spec} has a gradient, which would end in another library's "
                                "array", remedy="x.detach(), or x.numpy() for its values")
        return self._home(_INSTEAD).export(self.buf, self.spec)

    @named_in_errors
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = self._export().array(dtype, copy)
        return array

    @property
    def __array_interface__(self) -> dict[str, Any]:
        interface: dict[str, Any] = self._export().interface()
        return interface

    def __buffer__(self, flags: int) -> memoryview:
        view: memoryview = self._export().buffer()
        return view

    @named_in_errors
    def __dlpack__(self, *, stream: Any = None, max_version: tuple[int, int] | None = None,
                   dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
        """Return a DLPack capsule for another library (Array API standard 2024.12).

        The capsule shares this tensor's memory if the host can address it, and keeps it alive: on
        the CPU, and on OpenCL devices that are the host's processor, where it stays mapped. From a
        device with its own memory it is a copy on the CPU. OpenCL capsules are not offered: NumPy
        and jax refuse them, and torch frees them twice. The versioned form is marked read-only,
        which NumPy respects. torch ignores the mark, and the unversioned form, which jax requests,
        has none: these libraries share the memory too, as they do with jax's own arrays, and must
        not write to it; `copy=True` gives them their own memory. Raises ExportError (a
        BufferError) for negative strides, packed types, a device other than the CPU, and if `copy`
        is False but a copy is needed; GradientError if a gradient flows through the tensor.
        """
        return self._export().dlpack(stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # kDLCPU: tensors of every device are exported through it

    @named_in_errors
    def item(self) -> Any:
        """Return the only element as a Python number; raise ShapeError unless there is just one."""
        expect(self.size == 1, "one element", f"{self.size} in shape {self.shape}",
               remedy=".tolist() gives all")
        return self.numpy().item()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return self.numpy().tolist()

    def __bool__(self) -> bool:
        expect(self.size == 1, "one element for a truth value", f"shape {self.shape}",
               remedy="compare and reduce first")
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if not self.dtype.is_integer or self.size != 1:
            raise ArgumentTypeError(f"{self.spec} is no index", remedy="one integer")
        return int(self.item())

    def __len__(self) -> int:
        if self.ndim == 0:
            raise ArgumentTypeError("a 0-d tensor has no length", remedy=".item()")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise ArgumentTypeError("a 0-d tensor cannot be iterated", remedy=".item()")
        return (self[k] for k in range(self.shape[0]))

    @named_in_errors
    def __contains__(self, value: Any) -> bool:
        with np.errstate(over="ignore"):  # what the type cannot hold is not in it
            return bool((self.numpy() == value).any())

    __hash__ = object.__hash__

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__()} - _MISSING)

    def __repr__(self) -> str:
        if self.spec.symbolic:
            return f"tensor(<{self.spec}>)"
        values = np.array2string(self.numpy(), separator=", ", prefix="tensor(")
        place = "" if self.device is find_device(HOST) else f", device={str(self.device)!r}"
        leaf = ", requires_grad=True" if isinstance(self.node, Leaf) else ""
        return f"tensor({values}, shape={self.shape}, dtype={self.dtype.name}{place}{leaf})"

    __reduce__ = pickled.reduce_tensor

    def __copy__(self) -> Tensor:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Tensor:
        result = creation.tensor(self, requires_grad=pickled.is_leaf(self))
        if self.grad is not None:
            result.grad = creation.tensor(self.grad)
        return result

    def copy(self) -> Tensor:
        """Return a copy in new, dense memory; differentiable."""
        return apply(COPY, self)

    @named_in_errors
    def to(self, device: Any) -> Tensor:
        """Return this tensor on a device, itself if it is there already; differentiable."""
        target = find_device(device)
        if target is self.device:
            return self
        return apply(creation.TRANSFER, self, device=target.name)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """Return `to(device)`, under its Array API name; a stream is refused."""
        expect(stream is None, "no stream", stream, ArgumentError)
        return self.to(device)

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        """Return the module whose functions take this tensor.

        Raises ArgumentError for an unsupported version of the standard.
        """
        namespace: Any = sys.modules[__name__.partition(".")[0]]
        known = namespace.__array_api_version__
        kept = ("2021.12", "2022.12", "2023.12", known)
        expect(isinstance(api_version, (str, type(None))) and api_version in (None, *kept),
               f"one of {', '.join(kept)}", api_version, ArgumentError)
        return namespace

    # ---- ops by name

    @named_in_errors
    def op(self, name: str, *others: Any, **attrs: Any) -> Tensor:
        """Return the result of the op called `name` on this tensor and others.

        >>> import tinyml
        >>> tinyml.tensor([4.0]).op("sqrt").tolist()
        [2.0]
        """
        return apply(find(name), self, *others, **attrs)

    # ---- operators

    # Declared, since a type checker meets operators in rules before it knows what `_three` returns.
    __add__: ClassVar[Binary]
    __radd__: ClassVar[Binary]
    __sub__: ClassVar[Binary]
    __rsub__: ClassVar[Binary]
    __mul__: ClassVar[Binary]
    __rmul__: ClassVar[Binary]
    __truediv__: ClassVar[Binary]
    __rtruediv__: ClassVar[Binary]

    __add__, __radd__, __iadd__ = _three(words.add, "+")
    __sub__, __rsub__, __isub__ = _three(words.subtract, "-")
    __mul__, __rmul__, __imul__ = _three(words.multiply, "*")
    __truediv__, __rtruediv__, __itruediv__ = _three(words.divide, "/")
    __floordiv__, __rfloordiv__, __ifloordiv__ = _three(words.floor_divide, "//")
    __mod__, __rmod__, __imod__ = _three(words.remainder, "%")
    __pow__, __rpow__, __ipow__ = _three(words.pow, "**")
    __and__, __rand__, __iand__ = _three(words.bitwise_and, "&")
    __or__, __ror__, __ior__ = _three(words.bitwise_or, "|")
    __xor__, __rxor__, __ixor__ = _three(words.bitwise_xor, "^")
    __lshift__, __rlshift__, __ilshift__ = _three(words.bitwise_left_shift, "<<")
    __rshift__, __rrshift__, __irshift__ = _three(words.bitwise_right_shift, ">>")
    __matmul__, __rmatmul__, __imatmul__ = _product, _product_reflected, _inplace(_product, "@")
    __eq__, __ne__ = _operator(words.equal), _operator(words.not_equal)  # type: ignore[assignment]
    __lt__, __le__ = _operator(words.less), _operator(words.less_equal)
    __gt__, __ge__ = _operator(words.greater), _operator(words.greater_equal)

    __neg__ = words.negative
    __pos__ = words.positive
    __abs__ = words.abs
    __invert__ = words.bitwise_invert

    # ---- shapes

    def reshape(self, *sizes: Any) -> Tensor:
        """Return the elements in another shape: `x.reshape((2, 3))` or `x.reshape(2, 3)`."""
        wanted = sizes[0] if len(sizes) == 1 else sizes
        return shapes.reshape(self, wanted)

    def permute_dims(self, *axes: Any) -> Tensor:
        """Return x with its axes reordered: `x.permute_dims((1, 0))` or `x.permute_dims(1, 0)`."""
        wanted = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return shapes.permute_dims(self, wanted)

    # ---- indexing

    def __getitem__(self, key: Any) -> Tensor:
        return selection.indexed(selection.getitem, self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._may_change("x[i] = v", "x = x.at[i].set(v)")
        self._replace(selection.indexed(selection.setitem, self, key, value))

    @property
    def at(self) -> selection.At:
        """`x.at[i].set(v)`, `add`, `mul`, `min`, `max`, ...: a copy with one part changed."""
        return selection.At(self)


def _set_gradient(leaf: Leaf, value: Tensor | None) -> None:
    """Set a leaf's gradient; raise ReadOnlyError if a graph would set it once, as it is built."""
    if STATE.building is not None and not leaf.spec.symbolic:
        raise ReadOnlyError(
            f"the gradient of {leaf.spec} from outside would be set while a graph is built, once "
            "and not at each run",
            remedy="pass the module or tensor as an argument: its gradient is written back")
    leaf.grad = value


def _leaves(node: Node) -> list[Leaf]:
    """Return every leaf that a node depends on, without recursion."""
    found: list[Leaf] = []
    seen = {id(node)}
    work = [node]
    while work:
        current = work.pop()
        if isinstance(current, Leaf) and not current.parents:
            found.append(current)
        for parent in current.parents:
            if parent is not None and id(parent) not in seen:
                seen.add(id(parent))
                work.append(parent)
    return found


class StateTensor(Tensor):
    """Hidden state, such as a generator's: a graph may read and replace it, holding its lock."""

    __slots__ = ("lock",)
    is_state = True

    def __init__(self, content: Tensor) -> None:
        super().__init__(content.buf, content.spec)
        self.lock = new_lock()

    def __copy__(self) -> StateTensor:
        return StateTensor(self.copy())

    def __deepcopy__(self, memo: Any) -> StateTensor:
        return StateTensor(self.copy())


Class.tensor = Tensor
_MISSING = frozenset(add_missing(Tensor, "x", "a tensor"))
