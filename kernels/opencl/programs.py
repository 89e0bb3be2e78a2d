"""The kernels of one OpenCL device: built once by its driver, and cached on disk."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

from tinyml.errors import BuildError
from tinyml.kernels.common.cache import folder, get, key, problem, put
from tinyml.kernels.opencl.failures import guarded, is_out_of_memory

PATIENCE = 30.0  # seconds to wait for another process's build; PoCL takes up to a few
PAUSE = 0.02
_patience = PATIENCE


class Programs:
    """The programs that the driver has built for one device."""

    def __init__(self, name: str, context: Any, device: Any, entry: dict[str, Any]) -> None:
        import pyopencl as cl

        self.cl = cl
        self.driver_error = cl.Error
        self.name = name
        self._context = context
        self._device = device
        self._entry = entry
        self._kernels: dict[str, Any] = {}
        correct = cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
        exact = bool(device.single_fp_config & correct)
        self._options = ["-cl-fp32-correctly-rounded-divide-sqrt"] if exact else []

    @guarded
    def kernel(self, source: str) -> Any:
        """Return the kernel object of a source; set its arguments only under the device's lock."""
        kernel = self._kernels.get(source)
        if kernel is None:
            kernel = self._kernels[source] = self.cl.Kernel(self.build(source), "k")
        return kernel

    def again(self, kernel: Any) -> Any:
        """Return another kernel object of the same program, with arguments of its own."""
        return self.cl.Kernel(kernel.get_info(self.cl.kernel_info.PROGRAM), "k")

    def build(self, source: str) -> Any:
        """Return the program, from a cached binary or from its source.

        Raises BuildError with the driver's log and the numbered source.
        """
        cl = self.cl
        name = key("opencl-1", source, self._entry["driver"], self._entry["name"],
                   " ".join(self._options)) + ".bin"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # drivers print their own remarks
            kept = get(name)
            if kept is not None:
                try:
                    program = cl.Program(self._context, [self._device], [kept])
                    return program.build(self._options, cache_dir=False)
                except cl.Error:
                    pass  # the driver changed without a new version: rebuild
            try:
                with _one_process():
                    program = cl.Program(self._context, source)
                    program.build(self._options, cache_dir=False)
            except cl.Error as error:
                if is_out_of_memory(error):
                    raise
                numbered = "\n".join(f"{k:4d} {line}" for k, line in
                                     enumerate(source.splitlines(), 1))
                raise BuildError(f"the driver of {self.name} does not build this kernel: {error}\n"
                                 f"{numbered}") from None
            try:
                binary = bytes(program.get_info(cl.program_info.BINARIES)[0])
            except cl.Error:
                return program  # it runs, though it cannot be kept
        put(name, binary)
        return program


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Let one process build at a time: PoCL's cold cache fails under several.

    The lock is the process's own: POSIX record locks are not inherited by forked children, and end
    with the process. Threads of one process are ordered by their device's lock. Whoever has waited
    `PATIENCE` seconds builds without it, and does not wait again until it was free: its owner may
    be stopped. Should PoCL then fail, that is a BuildError, and the next call builds again.
    """
    handle = _open_lock()
    if handle is None:
        yield
        return
    try:
        _wait_for_lock(handle)
        yield
    finally:
        os.close(handle)  # which frees the lock


def _open_lock() -> int | None:
    """Return an open file to lock; None where there are no locks, or no folder."""
    try:
        import fcntl  # noqa: F401  there is none on Windows

        if problem() is not None:
            return None
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(os.path.join(folder(), "build.lock"), flags, 0o600)
    except (ImportError, OSError):
        return None


def _wait_for_lock(handle: int) -> bool:
    """Return whether the lock was obtained within the patience that is left."""
    import fcntl

    global _patience
    end = time.monotonic() + _patience
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it
            if time.monotonic() >= end:
                _patience = 0.0
                return False
            time.sleep(PAUSE)
        except OSError:  # a file system without locks
            return False
        else:
            _patience = PATIENCE
            return True
