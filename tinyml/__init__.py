"""tinyml: a minimal reference machine learning framework in pure Python (Numba and OpenCL)."""

import os as _os
import sys as _sys
import typing as _typing

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
    if inside or not _os.path.isdir(_os.path.join(checkout, "kernels", "common")):
        return
    from importlib.machinery import ModuleSpec
    from importlib.util import module_from_spec

    for name in ("kernels", "conformance"):
        spec = ModuleSpec(f"{__name__}.{name}", None, is_package=True)
        spec.submodule_search_locations = [_os.path.join(checkout, name)]
        globals()[name] = _sys.modules[spec.name] = module_from_spec(spec)


_find_from_checkout()

# First: the function `tensor`, below, takes the name that loading this module binds.
from tinyml.tensor import Tensor as Tensor  # noqa: E402, I001
from tinyml.concurrency import IMPORTING as _IMPORTING  # noqa: E402
from tinyml.dtypes import *  # noqa: E402, F403
from tinyml.dtypes import __all__ as _dtypes  # noqa: E402
from tinyml.dtypes import bool_ as _bool  # noqa: E402
from tinyml.errors import TinyMLError as TinyMLError  # noqa: E402
from tinyml.functions.datatypes import (  # noqa: E402
    __array_namespace_info__ as __array_namespace_info__,
)
from tinyml.functions.public import *  # noqa: E402, F403
from tinyml.functions.public import _NAMES as _functions  # noqa: E402
from tinyml.errors.hints import front as _front  # noqa: E402
from tinyml.ir.devices import get_num_threads as get_num_threads  # noqa: E402
from tinyml.ir.devices import set_memory_limit as set_memory_limit  # noqa: E402
from tinyml.ir.devices import set_num_threads as set_num_threads  # noqa: E402
from tinyml.neighbours import watch as _watch  # noqa: E402
from tinyml.ops.public import *  # noqa: E402, F403
from tinyml.ops.public import _NAMES as _ops  # noqa: E402

if _typing.TYPE_CHECKING:
    from tinyml._lazy import *  # noqa: F403

bool = _bool  # as the standard has it
# The standard that this namespace keeps.
__array_api_version__ = "2024.12"


def _lazy_names() -> dict[str, str]:
    """Read `_lazy.pyi`, the one table of names that load when they are first used (SPEC 1)."""
    path = _os.path.join(_os.path.dirname(_os.path.abspath(__file__)), "_lazy.pyi")
    with open(path, encoding="utf-8") as file:
        lines = [line.split() for line in file]
    return {words[-1]: words[1] for words in lines if words[:1] == ["from"]}


_LAZY = _lazy_names()
if not _typing.TYPE_CHECKING:  # checkers read literal lists only; without one, what is imported
    __all__ = ["Tensor", "TinyMLError", "__array_api_version__", "__version__", "bool",
               "get_num_threads", "set_memory_limit", "set_num_threads"]
    __all__ += [*_dtypes, *_functions, *_ops]
    __all__ += [name for name, module in _LAZY.items() if module != __name__]
    # Public too, but not for `import *`, which would load every room.
    _ROOMS = [name for name, module in _LAZY.items() if module == __name__]


_refuse, __dir__ = _front(__name__)
_watch()


def _load(name: str) -> object:
    """Load a room above the core, or a name of one, when it is first asked for."""
    if name not in _LAZY:
        return _refuse(name)
    from importlib import import_module

    module = _LAZY[name]
    with _IMPORTING:  # Python's own locks of imports are not renewed in a forked child
        if module == __name__:
            return import_module(f"{module}.{name}")
        found = globals()[name] = getattr(import_module(module), name)
        return found


if not _typing.TYPE_CHECKING:  # a checker that sees it takes any name to be there
    __getattr__ = _load
