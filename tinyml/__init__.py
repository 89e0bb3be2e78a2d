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

import tinyml.functions.split_stack as _arranging  # noqa: E402
import tinyml.functions.padding as _borders  # noqa: E402
import tinyml.functions.histograms as _counting  # noqa: E402
import tinyml.functions.sets as _distinct  # noqa: E402
import tinyml.functions.nan_reductions as _nans  # noqa: E402
import tinyml.functions.norms as _norms  # noqa: E402
import tinyml.functions.products as _products  # noqa: E402
import tinyml.ops.cumulative_extrema as _running  # noqa: E402
import tinyml.functions.numeric as _series  # noqa: E402
import tinyml.functions.statistics as _statistics  # noqa: E402
import tinyml.ops.random_bits  # noqa: E402
import tinyml.ops.nn.softmax as _composite  # noqa: E402
import tinyml.ops.matmul as _contraction  # noqa: E402
import tinyml.ops.creation as _creation  # noqa: E402
import tinyml.functions.datatypes as _datatypes  # noqa: E402
import tinyml.ops.elementwise as _elementwise  # noqa: E402
import tinyml.ops.fft  # noqa: E402
import tinyml.ops.gather_scatter as _indexing  # noqa: E402
import tinyml.ops.linalg  # noqa: E402
import tinyml.functions.rearrange as _manipulation  # noqa: E402
import tinyml.ops.nn.optimizer_steps  # noqa: E402
import tinyml.ops.special.bessel  # noqa: E402
import tinyml.ops.special.gamma  # noqa: E402
import tinyml.ops.special.polynomials  # noqa: E402, F401
import tinyml.ops.reduction as _reduce  # noqa: E402
import tinyml.ops.cumulative as _scan  # noqa: E402
import tinyml.functions.sets as _sets  # noqa: E402
import tinyml.ops.views as _shape  # noqa: E402
import tinyml.ops.sorting as _sorting  # noqa: E402
from tinyml.dtypes import (  # noqa: E402
    DType,
    bfloat16,
    complex64,
    complex128,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int4,
    int8,
    int16,
    int32,
    int64,
    uint4,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tinyml.dtypes import bool_ as bool  # noqa: E402
from tinyml.errors import TinyMLError  # noqa: E402
from tinyml.functions.split_stack import *  # noqa: E402, F403
from tinyml.functions.padding import *  # noqa: E402, F403
from tinyml.functions.histograms import *  # noqa: E402, F403
from tinyml.functions.sets import *  # noqa: E402, F403
from tinyml.functions.nan_reductions import *  # noqa: E402, F403
from tinyml.functions.norms import *  # noqa: E402, F403
from tinyml.functions.products import *  # noqa: E402, F403
from tinyml.ops.cumulative_extrema import *  # noqa: E402, F403
from tinyml.functions.numeric import *  # noqa: E402, F403
from tinyml.functions.statistics import *  # noqa: E402, F403
from tinyml.ops.nn.softmax import *  # noqa: E402, F403
from tinyml.ops.matmul import *  # noqa: E402, F403
from tinyml.ops.creation import *  # noqa: E402, F403
from tinyml.functions.datatypes import *  # noqa: E402, F403
from tinyml.ops.elementwise import *  # noqa: E402, F403
from tinyml.ops.gather_scatter import *  # noqa: E402, F403
from tinyml.functions.rearrange import *  # noqa: E402, F403
from tinyml.ops.reduction import *  # noqa: E402, F403
from tinyml.ops.cumulative import *  # noqa: E402, F403
from tinyml.functions.sets import *  # noqa: E402, F403
from tinyml.ops.views import *  # noqa: E402, F403
from tinyml.ops.sorting import *  # noqa: E402, F403
from tinyml.ir.devices import get_num_threads, set_num_threads  # noqa: E402

# The standard that this namespace keeps, and its names: those that the modules of ops give away.
__array_api_version__ = "2024.12"
__all__ = ["DType", "Tensor", "TinyMLError", "__array_api_version__", "__version__", "bfloat16",
           "bool", "complex128", "complex64", "float16", "float32", "float64", "float8_e4m3fn",
           "float8_e5m2", "get_num_threads", "int16", "int32", "int4", "int64", "int8",
           "set_num_threads", "uint16", "uint32", "uint4", "uint64", "uint8"]
__all__ += _arranging.__all__
__all__ += _borders.__all__
__all__ += _counting.__all__
__all__ += _distinct.__all__
__all__ += _nans.__all__
__all__ += _norms.__all__
__all__ += _products.__all__
__all__ += _running.__all__
__all__ += _series.__all__
__all__ += _statistics.__all__
__all__ += _composite.__all__
__all__ += _contraction.__all__
__all__ += _creation.__all__
__all__ += _datatypes.__all__
__all__ += _elementwise.__all__
__all__ += _indexing.__all__
__all__ += _manipulation.__all__
__all__ += _reduce.__all__
__all__ += _scan.__all__
__all__ += _sets.__all__
__all__ += _shape.__all__
__all__ += _sorting.__all__
__all__ += [
    "GradientTape",
    "Graph",
    "checkpoint",
    "cond",
    "custom_gradient",
    "debug",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jit",
    "jvp",
    "load",
    "load_graph",
    "memory_stats",
    "no_grad",
    "profile",
    "reset_peak",
    "save",
    "save_graph",
    "scan",
    "tensor_spec",
    "trace",
    "track_memory",
    "value_and_grad",
    "vjp",
    "while_loop",
]

# Rooms above the core load when they are first named: a graph runs without them.
_ROOMS = ("nn", "optim", "random", "data", "io", "special", "fft", "linalg", "tree", "train")
_NAMES = {
    "autodiff": ("grad", "value_and_grad", "vjp"),
    "custom": ("checkpoint", "custom_gradient"),
    "derivatives": ("hessian", "hvp", "jacobian"),
    "flow": ("cond", "scan", "while_loop"),
    "forward": ("jvp",),
    "graph": ("Graph",),
    "graphfile": ("load_graph", "save_graph"),
    "io": ("load", "save"),
    "jitted": ("jit",),
    "memory": ("memory_stats", "reset_peak", "track_memory"),
    "nans": ("debug",),
    "observe": ("profile",),
    "tape": ("GradientTape",),
    "tracing": ("tensor_spec", "trace"),
    "values": ("no_grad",),
}
_ROOM_OF = {name: room for room, names in _NAMES.items() for name in names}

if _TYPE_CHECKING:
    from tinyml.autodiff.checkpoint import checkpoint
    from tinyml.autodiff.custom_gradient import custom_gradient
    from tinyml.autodiff.grad import grad, value_and_grad, vjp
    from tinyml.autodiff.jacobian import hessian, hvp, jacobian
    from tinyml.autodiff.jvp import jvp
    from tinyml.autodiff.tape import GradientTape
    from tinyml.compiler.jit import jit
    from tinyml.core.state import no_grad
    from tinyml.graph.control_flow import cond, scan, while_loop
    from tinyml.graph.graph import Graph
    from tinyml.graph.trace import tensor_spec, trace
    from tinyml.io.graph_writer import load_graph, save_graph
    from tinyml.io.safetensors import load, save
    from tinyml.observe.memory import memory_stats, reset_peak, track_memory
    from tinyml.observe.nans import debug
    from tinyml.observe.profile import profile


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
