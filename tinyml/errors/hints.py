"""What users of other libraries write, and what to write here: one table.

A row is read by whoever meets the name: a module that has no such attribute, a tensor that has no
such method, a function that has no such argument. Only rows speak; no name is guessed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from tinyml.errors import UnknownNameError


class Hint(NamedTuple):
    """A row: what is written elsewhere, and the same here, as code."""

    elsewhere: str
    here: str

    @property
    def place(self) -> tuple[str, str]:
        """Where the name is missing, and the name: ('x', 'view'), ('nn', 'Tanh'), ('', 'dim')."""
        owner, dot, name = self.elsewhere.partition("(")[0].rpartition(".")
        return (owner, name) if dot else ("", re.split(r"\W", self.elsewhere)[0])


_CASTS = {"bfloat16": "bfloat16", "bool": "bool", "byte": "uint8", "char": "int8",
          "double": "float64", "float": "float32", "half": "float16", "int": "int32",
          "long": "int64", "short": "int16"}
_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floor_divide": "//", "pow": "**",
              "remainder": "%", "mm": "@", "bmm": "@", "dot": "@", "mv": "@", "eq": "==",
              "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_RENAMED = {
    "absolute": "abs", "amax": "max", "amin": "min", "arccos": "acos", "arccosh": "acosh",
    "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2",
    "arctanh": "atanh", "array": "tensor", "as_tensor": "asarray", "bmm": "matmul", "cat": "concat",
    "chunk": "array_split", "clamp": "clip", "concatenate": "concat", "compile": "jit",
    "cumulative_logsumexp": "logcumsumexp", "digamma": "special.psi", "div": "divide",
    "dot": "vecdot", "eq": "equal", "erfinv": "special.erfinv", "ge": "greater_equal",
    "gt": "greater", "inference_mode": "no_grad", "inverse": "linalg.inv",
    "invert": "bitwise_invert", "jacfwd": "jacobian", "jacrev": "jacobian", "le": "less_equal",
    "left_shift": "bitwise_left_shift", "lgamma": "special.gammaln", "log_sigmoid": "logsigmoid",
    "lt": "less", "mm": "matmul", "mod": "remainder", "movedim": "moveaxis", "mul": "multiply",
    "nanproduct": "nanprod", "ne": "not_equal", "neg": "negative", "norm": "vector_norm",
    "permute": "permute_dims", "power": "pow", "product": "prod",
    "right_shift": "bitwise_right_shift", "sub": "subtract", "svd": "linalg.svd",
    "swapdims": "swapaxes", "transpose": "permute_dims", "true_divide": "divide",
    "unbind": "unstack", "unsqueeze": "expand_dims",
}

HINTS: tuple[Hint, ...] = tuple([Hint(*row) for row in (
    # tensors
    ("x.view(3, 2)", "x.reshape(3, 2)"),
    ("x.size()", "x.shape"),
    ("x.dim()", "x.ndim"),
    ("x.numel()", "x.size"),
    ("x.t()", "x.T"),
    ("x.permute(1, 0)", "x.permute_dims(1, 0)"),
    ("x.transpose(0, 1)", "x.swapaxes(0, 1)"),
    ("x.unsqueeze(0)", "x.expand_dims(0)"),
    ("x.expand(4, 2, 3)", "x.broadcast_to((4, 2, 3))"),
    ("x.repeat(2, 1)", "x.tile((2, 1)), or tinyml.repeat(x, 2, axis=0) for each row in place"),
    ("x.chunk(2)", "tinyml.array_split(x, 2)"),
    ("x.split(1)", "tinyml.split(x, 2), into 2 parts, or at indices"),
    ("x.unbind()", "tinyml.unstack(x)"),
    ("x.gather(0, i)", "x.take_along_axis(i, axis=0)"),
    ("x.index_select(0, i[0])", "x.take(i[0], axis=0)"),
    ("x.masked_fill(mask, 0.0)", "tinyml.where(mask, 0.0, x)"),
    ("x.masked_select(mask)", "x[mask]"),
    ("x.scatter_add_(0, i, src)", "x.at[i].add(1.0)"),
    ("x.clamp(0, 1)", "x.clip(0, 1)"),
    ("x.norm()", "tinyml.vector_norm(x)"),
    ("x.real", "tinyml.real(x)"),
    ("x.imag", "tinyml.imag(x)"),
    ("x.neg()", "-x"),
    ("x.type(dtype)", "x.astype(dtype)"),
    ("x.type_as(y)", "x.astype(y.dtype)"),
    ("x.clone()", "x.copy()"),
    ("x.contiguous()", "x"),
    ("x.cuda()", "x.to('opencl')"),
    ("x.cpu()", "x.to('cpu')"),
    ("x.is_cuda", "str(x.device) != 'cpu'"),
    ("x.data", "x.detach()"),
    ("x.requires_grad_()", "tinyml.tensor(x, requires_grad=True)"),
    ("x.zero_()", "x[...] = 0.0"),
    ("x.fill_(2.0)", "x[...] = 2.0"),
    ("x.fill(2.0)", "x[...] = 2.0"),
    ("x.copy_(y)", "x[...] = y"),
    ("x.add_(y)", "x += y"),
    ("x.sub_(y)", "x -= y"),
    ("x.mul_(y)", "x *= y"),
    ("x.div_(y)", "x /= y"),
    ("x.clamp_(0, 1)", "x = x.clip(0, 1)"),
    ("x.new_zeros((2, 3))", "tinyml.zeros((2, 3), dtype=x.dtype, device=x.device)"),
    ("x.new_ones((2, 3))", "tinyml.ones((2, 3), dtype=x.dtype, device=x.device)"),
    ("x.tobytes()", "x.numpy().tobytes()"),
    ("x.block_until_ready()", "x.numpy()"),
    *[(f"x.{name}()", f"x.astype('{dtype}')") for name, dtype in _CASTS.items()],
    *[(f"x.{name}(y)", f"x {sign} y") for name, sign in _OPERATORS.items() if sign != "@"],
    *[(f"x.{name}(y.T)", f"x {sign} y.T") for name, sign in _OPERATORS.items() if sign == "@"],
    # functions
    *[(f"tinyml.{name}(...)", f"tinyml.{ours}") for name, ours in _RENAMED.items()],
    *[(f"tinyml.{name}", f"tinyml.{dtype}") for name, dtype in _CASTS.items()
      if name not in ("bool", "bfloat16")],
    ("tinyml.manual_seed(0)", "tinyml.random.seed(0)"),
    ("tinyml.rand(2, 3)", "tinyml.random.uniform(None, (2, 3))"),
    ("tinyml.randn(2, 3)", "tinyml.random.normal(None, (2, 3))"),
    ("tinyml.randint(0, 9, (2, 3))", "tinyml.random.randint(None, (2, 3), 0, 9)"),
    ("tinyml.randperm(5)", "tinyml.random.permutation(None, 5)"),
    ("tinyml.bernoulli(p)", "tinyml.random.bernoulli(None, p)"),
    ("tinyml.flatten(x)", "x.flatten()"),
    ("tinyml.is_tensor(x)", "isinstance(x, tinyml.Tensor)"),
    ("tinyml.set_grad_enabled(False)", "tinyml.no_grad()"),
    ("tinyml.device('cpu')", "'cpu', the name itself"),
    ("tinyml.cuda", "tinyml.tensor(data, device='opencl')"),
    ("tinyml.autograd", "tinyml.grad"),
    ("tinyml.functional", "tinyml.nn.functional"),
    ("tinyml.Module", "tinyml.nn.Module"),
    ("tinyml.numpy", "tinyml itself; x.numpy() is the array of a tensor"),
    ("tinyml.tree_map(f, x)", "tinyml.tree.map(f, x)"),
    ("tinyml.lax", "tinyml.cond, tinyml.scan, tinyml.while_loop"),
    # random numbers
    ("random.PRNGKey(0)", "random.key(0)"),
    ("random.manual_seed(0)", "random.seed(0)"),
    ("random.rand(2, 3)", "random.uniform(None, (2, 3))"),
    ("random.random((2, 3))", "random.uniform(None, (2, 3))"),
    ("random.randn(2, 3)", "random.normal(None, (2, 3))"),
    ("random.standard_normal((2, 3))", "random.normal(None, (2, 3))"),
    ("random.shuffle(x)", "random.permutation(None, x)"),
    ("random.default_rng(0)", "random.Generator(0)"),
    # modules and optimizers
    ("nn.Parameter(x)", "tinyml.tensor(x, requires_grad=True)"),
    ("nn.ModuleList(nets)", "list(nets): a list of modules is a child"),
    ("nn.ModuleDict(nets)", "dict(nets): a dict of modules is a child"),
    ("nn.CrossEntropyLoss()", "nn.functional.cross_entropy"),
    ("nn.MSELoss()", "nn.functional.mse_loss"),
    ("nn.Tanh()", "tinyml.tanh"),
    ("nn.Sigmoid()", "tinyml.sigmoid"),
    ("nn.SiLU()", "tinyml.silu"),
    ("nn.Softmax(dim=-1)", "tinyml.softmax"),
    ("nn.LogSoftmax(dim=-1)", "tinyml.log_softmax"),
    ("functional.tanh(x)", "tinyml.tanh(x)"),
    ("functional.sigmoid(x)", "tinyml.sigmoid(x)"),
    ("functional.one_hot(i, 3)", "tinyml.one_hot(i, 3)"),
    ("functional.pad(x, 1)", "tinyml.pad(x, 1)"),
    ("optim.Adam(params)", "optim.AdamW(params, weight_decay=0.0)"),
    ("optim.lr_scheduler", "optim.cosine, optim.one_cycle"),
    ("linalg.norm(x)", "linalg.vector_norm(x), or matrix_norm"),
    ("linalg.inverse(a)", "linalg.inv(a)"),
    # arguments
    ("dim=0", "axis=0"),
    ("dims=(0, 1)", "axis=(0, 1)"),
    ("axes=(0, 1)", "axis=(0, 1)"),
    ("keepdim=True", "keepdims=True"),
    ("input=x", "x first, without a name"),
    ("other=y", "y second, without a name"),
    ("a=x", "x first, without a name"),
    ("a_min=0", "min=0"),
    ("a_max=1", "max=1"),
    ("size=(2, 3)", "shape=(2, 3)"),
    ("unbiased=True", "correction=1"),
    ("ddof=1", "correction=1"),
    ("out=y", "y = ...: a function makes a new tensor"),
)])

_BY_PLACE = {hint.place: hint for hint in HINTS}


def _refuse(what: str, owner: str, name: str) -> NoReturn:
    """Raise UnknownNameError, with the hint if there is a row."""
    hint = _BY_PLACE.get((owner, name))
    error = UnknownNameError(f"{what} has no attribute {name!r}",
                             remedy=hint and f"instead of {hint.elsewhere}: {hint.here}")
    error.name = name
    raise error


def keyword(error: BaseException) -> str | None:
    """Return what to write in place of an argument that a function does not have, if known.

    >>> try:
    ...     sorted([], dim=0)
    ... except TypeError as error:
    ...     keyword(error)
    'instead of dim=0: axis=0'
    """
    found = re.search(r"keyword argument:? '(\w+)'|'(\w+)' is an invalid keyword", str(error))
    hint = found and _BY_PLACE.get(("", found[1] or found[2]))
    return f"instead of {hint.elsewhere}: {hint.here}" if hint else None


def front(module: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a public module: hints, and no internals."""
    owner = module.rpartition(".")[2]

    def get(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _refuse(module, owner, name)

    def names() -> list[str]:
        space = vars(sys.modules[module])
        dunders = [name for name in space if name.startswith("__") and name != "__getattr__"]
        return sorted({*space["__all__"], *space.get("_ROOMS", ()), *dunders})

    return get, names


class _Missing:
    """A name that tensors do not have, but users of other libraries look for.

    A descriptor, since a `__getattr__` would slow down every attribute of every tensor.
    """

    def __init__(self, what: str, owner: str, name: str) -> None:
        self.what, self.owner, self.name = what, owner, name

    def __get__(self, instance: Any, owner: Any = None) -> NoReturn:
        _refuse(self.what, self.owner, self.name)


def add_missing(cls: type, owner: str, what: str) -> Sequence[str]:
    """Let a class answer the names of its rows, unless it has them; return these names."""
    missing = [name for whose, name in _BY_PLACE if whose == owner and not hasattr(cls, name)]
    for name in missing:
        setattr(cls, name, _Missing(what, owner, name))
    return missing
