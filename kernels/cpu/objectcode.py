"""Compile Numba source to object code, cached on disk and loaded without importing numba."""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib.util
import os
import re
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from tinyml.concurrency import new_lock
from tinyml.errors import BuildError
from tinyml.kernels.common.cache import folder, get, key, put

# Symbols that resolve in a process without numba: the C library's mathematics and memory functions.
ALLOWED = frozenset(
    name + suffix
    for name in ("exp", "log", "sin", "cos", "tan", "tanh", "erf", "erfc", "pow", "fmod",
                 "floor", "ceil", "trunc", "rint", "fma", "sqrt", "acos", "asin", "atan", "atan2",
                 "sinh", "cosh", "acosh", "asinh", "atanh", "log1p", "expm1", "log2", "log10",
                 "exp2", "hypot", "ldexp", "logb", "nextafter")
    for suffix in ("", "f")
) | {"memcpy", "memset", "memmove"}

# The modules that define a source's names and how it is compiled.
_HERE = __name__.rpartition(".")[0]
MODULES = (*[f"{_HERE}.{name}" for name in ("math_integer", "math_f64", "math_f32", "small_floats",
                                            "objectcode", "intrinsics")],
           "tinyml.kernels.common.small_floats", "tinyml.dtypes")

_lock = new_lock(whole=True)
_loaded: dict[tuple[str, tuple[str, ...]], int] = {}
_engine: Any = None
_modules: list[Any] = []


def _llvm() -> Any:
    import llvmlite.binding

    return llvmlite.binding


def _linker() -> Any:
    """Return the process's only engine, which loads object code into memory."""
    global _engine
    if _engine is None:
        llvm = _llvm()
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        _modules.append(machine)  # first: the engine refers to it, whatever interrupts
        _engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    return _engine


_salt_text = ""


def _texts() -> str:
    """Return a digest of the modules that object code depends on, without importing them."""
    found: list[Any] = [importlib.util.find_spec(name) for name in MODULES]
    return key(*[spec.loader.get_data(spec.origin).hex() for spec in found])


def _salt() -> str:
    """Return what else object code depends on: modules, versions and the processor."""
    global _salt_text
    if not _salt_text:
        llvm = _llvm()
        package = os.path.dirname(os.path.dirname(llvm.__file__))
        packages = os.path.dirname(package)
        versions = sorted(
            name for name in os.listdir(packages)
            if name.startswith(("numba-", "llvmlite-")) and name.endswith(".dist-info")
        )
        features = llvm.get_host_cpu_features().flatten()
        found = importlib.util.find_spec("numba")
        origin = found.origin if found and found.origin else ""
        _salt_text = "|".join([*versions, origin, llvm.get_host_cpu_name(), features, _texts()])
    return _salt_text


def load(source: str, types: tuple[str, ...]) -> int:
    """Return the address of a kernel, compiled now or taken from the cache."""
    address = _loaded.get((source, types))
    return _undisturbed(source, types) if address is None else address


def _undisturbed(source: str, types: tuple[str, ...]) -> int:
    """Load a kernel on a thread that is not the main one, where no signal handler runs.

    An import or a compilation that Ctrl-C cuts short would leave numba unusable; so it goes on.
    """
    if threading.current_thread() is not threading.main_thread() or _lock._is_owned():
        return _load_once(source, types)
    results: SimpleQueue[tuple[int, BaseException | None]] = SimpleQueue()

    def work() -> None:
        enabled = gc.isenabled()
        gc.disable()  # a finalizer here could wait for a lock of the thread that waits for this one
        try:
            result: tuple[int, BaseException | None] = _load_once(source, types), None
        except BaseException as error:
            result = 0, error
        if enabled:
            gc.enable()
        results.put(result)

    try:
        threading.Thread(target=work, name="tinyml build").start()
    except RuntimeError:  # no more threads, or the interpreter ends
        return _load_once(source, types)
    address, error = results.get()
    try:
        if error is not None:
            raise error
    finally:
        del error  # its traceback holds this frame
    return address


def _load_once(source: str, types: tuple[str, ...]) -> int:
    with _lock:
        address = _loaded.get((source, types))
        if address is None:
            address = _loaded[source, types] = _load(source, types)
        return address


def _load(source: str, types: tuple[str, ...]) -> int:
    name = key("cpu-4", source, *types, _salt()) + ".o"
    kept = get(name)
    if kept is None:
        symbol, code = build(source, types)
        put(name, symbol.encode() + b"\0" + code)
    else:
        head, _, code = kept.partition(b"\0")
        symbol = head.decode()
    return place(symbol, code)


def place(symbol: str, code: bytes) -> int:
    """Load object code into memory; return the address of its symbol."""
    llvm = _llvm()
    engine = _linker()
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address: int = engine.get_function_address(symbol)
    if not address:
        raise BuildError(f"object code without its symbol {symbol!r}",
                         remedy=f"delete the cache folder {folder()}")
    return address


def build(source: str, types: tuple[str, ...]) -> tuple[str, bytes]:
    """Compile with Numba; return (symbol, object code). Raises BuildError with the source."""
    import numba

    from tinyml.kernels.cpu import intrinsics, math_f32, small_floats

    called = {**math_f32.FUNCTIONS, **small_floats.FUNCTIONS}
    signature = numba.types.void(*[intrinsics.numba_type(t) for t in types])
    space = {**intrinsics.NAMES, **called}
    try:
        name = symbol_name(source, types)
        unique = source.replace("def k(", f"def {name}(", 1)
        exec(compile(unique, "<tinyml kernel>", "exec"), space)
        intrinsics.compile_called(source, called)
        with intrinsics.superword_vectorisation():
            compiled: Any = numba.cfunc(signature, error_model="numpy")(space[name])
        library = compiled._library
        refuse_foreign(library.get_llvm_str())
        return compiled._wrapper_name, bytes(library._get_compiled_object())
    except BuildError:
        raise
    except Exception as error:
        raise BuildError(f"Numba does not compile this kernel: {error}\n{source}") from error


def symbol_name(source: str, types: tuple[str, ...]) -> str:
    """Return a unique name for the kernel: a process loads object code made by many others."""
    return "k" + key(source, *types)[:16]


def refuse_foreign(llvm_text: str) -> None:
    """Raise BuildError if code calls a symbol that a process without numba does not have.

    Such a symbol (math.gamma, a complex exponential, an allocation) would crash the process that
    loads the object code later.
    """
    declared = re.findall(r"^declare [^@]*@\"?([\w.$]+)\"?\(", llvm_text, re.MULTILINE)
    foreign = sorted({d for d in declared if not d.startswith("llvm.") and d not in ALLOWED})
    if foreign:
        raise BuildError(
            f"the kernel needs {', '.join(foreign)}, which a process without numba does not have",
            remedy="write it with the vocabulary's words",
        )


_CTYPES = {"float64": ctypes.c_double, "int64": ctypes.c_int64}


@functools.lru_cache(maxsize=256)  # each is a separate class, which only the collector frees
def _prototype(types: tuple[str, ...], release_gil: bool) -> Any:
    make: Any = ctypes.CFUNCTYPE if release_gil else ctypes.PYFUNCTYPE
    args = [ctypes.c_void_p if t.startswith("*") else _CTYPES[t] for t in types]
    return make(None, *args)


def function(address: int, types: tuple[str, ...], release_gil: bool) -> Callable[..., None]:
    """Return a callable that takes addresses and numbers."""
    made: Callable[..., None] = _prototype(types, release_gil)(address)
    return made
