"""tinyml: a minimal reference machine learning framework in pure Python (Numba and OpenCL)."""

import os as _os
import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

__version__ = "0.1.0"


def _find_from_checkout() -> None:
    """Make `tinyml.kernels` and `tinyml.conformance` findable beside a checkout's `tinyml/`.

    They are packages without a file of their own, so entries in `sys.modules` whose path is one
    folder each are enough, and nothing else of the checkout becomes importable. A wheel holds
    them inside the package, so there this does nothing, whatever stands beside it.
    """
    package = _os.path.dirname(_os.path.abspath(__file__))
    checkout = _os.path.dirname(package)
    inside = _os.path.isdir(_os.path.join(package, "kernels"))
    if inside or not _os.path.isdir(_os.path.join(checkout, "kernels", "cpu")):
        return
    from importlib.machinery import ModuleSpec
    from importlib.util import module_from_spec

    for name in ("kernels", "conformance"):
        spec = ModuleSpec(f"{__name__}.{name}", None, is_package=True)
        spec.submodule_search_locations = [_os.path.join(checkout, name)]
        globals()[name] = _sys.modules[spec.name] = module_from_spec(spec)


_find_from_checkout()

# First, since the module tinyml.tensor must not stand in the place of the function of that name.
from tinyml.tensor import Tensor  # noqa: E402, I001

import tinyml.ops.bits  # noqa: E402
import tinyml.ops.optim  # noqa: E402, F401
from tinyml.dtypes import (  # noqa: E402
    DType,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tinyml.dtypes import bool_ as bool  # noqa: E402
from tinyml.errors import TinyMLError  # noqa: E402
from tinyml.ops.composite import (  # noqa: E402
    cross_entropy,
    gelu,
    layer_norm,
    log_softmax,
    relu,
    sigmoid,
    softmax,
)
from tinyml.ops.contraction import conv2d, matmul, max_pool2d  # noqa: E402
from tinyml.ops.creation import (  # noqa: E402
    arange,
    asarray,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from tinyml.ops.elementwise import (  # noqa: E402
    abs,
    add,
    astype,
    bitwise_and,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    cos,
    divide,
    equal,
    erf,
    erfc,
    exp,
    floor,
    greater,
    greater_equal,
    isnan,
    less,
    less_equal,
    log,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    pow,
    reciprocal,
    sign,
    sin,
    sqrt,
    square,
    subtract,
    tanh,
    where,
)
from tinyml.ops.indexing import gather, scatter, scatter_add, take  # noqa: E402
from tinyml.ops.reduce import argmax, argmin, max, mean, min, sum, var  # noqa: E402
from tinyml.ops.scan import (  # noqa: E402
    cumprod,
    cumsum,
    cumulative_prod,
    cumulative_sum,
    linear_scan,
)
from tinyml.ops.shape import (  # noqa: E402
    broadcast_to,
    concat,
    expand_dims,
    flip,
    pad,
    permute_dims,
    reshape,
    squeeze,
    stack,
)
from tinyml.ops.sorting import argsort, nonzero, sort, topk  # noqa: E402
from tinyml.registry import get_num_threads, set_num_threads  # noqa: E402

__all__ = [
    "DType",
    "GradientTape",
    "Graph",
    "Tensor",
    "TinyMLError",
    "__version__",
    "abs",
    "add",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "asarray",
    "astype",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "bool",
    "broadcast_to",
    "checkpoint",
    "concat",
    "cond",
    "conv2d",
    "cos",
    "cross_entropy",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "custom_gradient",
    "debug",
    "divide",
    "equal",
    "erf",
    "erfc",
    "exp",
    "expand_dims",
    "eye",
    "flip",
    "float32",
    "float64",
    "floor",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "gather",
    "gelu",
    "get_num_threads",
    "grad",
    "greater",
    "greater_equal",
    "hessian",
    "hvp",
    "int16",
    "int32",
    "int64",
    "int8",
    "isnan",
    "jacobian",
    "jit",
    "jvp",
    "layer_norm",
    "less",
    "less_equal",
    "linear_scan",
    "linspace",
    "load",
    "load_graph",
    "log",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "mean",
    "memory_stats",
    "min",
    "minimum",
    "multiply",
    "negative",
    "no_grad",
    "nonzero",
    "not_equal",
    "ones",
    "ones_like",
    "pad",
    "permute_dims",
    "pow",
    "profile",
    "reciprocal",
    "relu",
    "reset_peak",
    "reshape",
    "save",
    "save_graph",
    "scan",
    "scatter",
    "scatter_add",
    "set_num_threads",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "sort",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "subtract",
    "sum",
    "take",
    "tanh",
    "tensor",
    "tensor_spec",
    "topk",
    "trace",
    "track_memory",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "value_and_grad",
    "var",
    "vjp",
    "where",
    "while_loop",
    "zeros",
    "zeros_like",
]

# Rooms above the core load when they are first named: a graph runs without them.
_ROOMS = ("nn", "optim", "random", "data", "io", "tree", "train")
_NAMES = {
    "autodiff": ("grad", "hessian", "jacobian", "no_grad", "value_and_grad", "vjp"),
    "compiler": ("jit",),
    "control": ("cond", "scan", "while_loop"),
    "custom": ("checkpoint", "custom_gradient"),
    "forward": ("hvp", "jvp"),
    "graph": ("Graph", "tensor_spec", "trace"),
    "graphfile": ("load_graph", "save_graph"),
    "io": ("load", "save"),
    "memory": ("memory_stats", "reset_peak", "track_memory"),
    "nans": ("debug",),
    "observe": ("profile",),
    "tape": ("GradientTape",),
}
_ROOM_OF = {name: room for room, names in _NAMES.items() for name in names}

if _TYPE_CHECKING:
    from tinyml.autodiff import grad, hessian, jacobian, no_grad, value_and_grad, vjp
    from tinyml.compiler import jit
    from tinyml.control import cond, scan, while_loop
    from tinyml.custom import checkpoint, custom_gradient
    from tinyml.forward import hvp, jvp
    from tinyml.graph import Graph, tensor_spec, trace
    from tinyml.graphfile import load_graph, save_graph
    from tinyml.io import load, save
    from tinyml.memory import memory_stats, reset_peak, track_memory
    from tinyml.nans import debug
    from tinyml.observe import profile
    from tinyml.tape import GradientTape


def __getattr__(name: str) -> object:
    """Rooms above the core, and what they hold."""
    from importlib import import_module

    if name in _ROOMS:
        return import_module(f"tinyml.{name}")
    if name in _ROOM_OF:
        found = getattr(import_module(f"tinyml.{_ROOM_OF[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'tinyml' has no attribute {name!r}")
