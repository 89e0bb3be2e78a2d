"""tinyml: a minimal reference machine learning framework in pure Python (Numba and OpenCL)."""

import os as _os
import sys as _sys

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

import tinyml.ops.bits  # noqa: E402
import tinyml.ops.optim  # noqa: E402, F401
from tinyml.autodiff import grad, no_grad, value_and_grad, vjp  # noqa: E402
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
from tinyml.registry import get_num_threads, set_num_threads  # noqa: E402
from tinyml.tensor import Tensor  # noqa: E402

__all__ = [
    "DType",
    "Tensor",
    "TinyMLError",
    "__version__",
    "abs",
    "add",
    "arange",
    "argmax",
    "argmin",
    "asarray",
    "astype",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "bool",
    "broadcast_to",
    "concat",
    "conv2d",
    "cos",
    "cross_entropy",
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
    "int16",
    "int32",
    "int64",
    "int8",
    "isnan",
    "layer_norm",
    "less",
    "less_equal",
    "linspace",
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
    "min",
    "minimum",
    "multiply",
    "negative",
    "no_grad",
    "not_equal",
    "ones",
    "ones_like",
    "pad",
    "permute_dims",
    "pow",
    "reciprocal",
    "relu",
    "reshape",
    "scatter",
    "scatter_add",
    "set_num_threads",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "subtract",
    "sum",
    "take",
    "tanh",
    "tensor",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "value_and_grad",
    "var",
    "vjp",
    "where",
    "zeros",
    "zeros_like",
]

_LATER = {"nn": "tinyml.nn", "optim": "tinyml.optim", "random": "tinyml.random",
          "data": "tinyml.data", "io": "tinyml.io", "tree": "tinyml.tree",
          "train": "tinyml.train"}


def __getattr__(name: str) -> object:
    """Rooms above the core load when they are first named."""
    from importlib import import_module

    if name in _LATER:
        return import_module(_LATER[name])
    if name in ("save", "load"):
        return getattr(import_module("tinyml.io"), name)
    raise AttributeError(f"module 'tinyml' has no attribute {name!r}")
