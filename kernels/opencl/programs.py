"""The kernels of one OpenCL device: built once by its driver, and cached on disk."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

from tinyml.errors import BuildError
from tinyml.kernels.common.cache import folder, get, key, problem, put


class Programs:
    """The programs that the driver has built for one device."""

    def __init__(self, name: str, context: Any, device: Any, entry: dict[str, Any]) -> None:
        import pyopencl as cl

        self.cl = cl
        self.name = name
        self._context = context
        self._device = device
        self._entry = entry
        self._kernels: dict[str, Any] = {}
        correct = cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
        exact = bool(device.single_fp_config & correct)
        self._options = ["-cl-fp32-correctly-rounded-divide-sqrt"] if exact else []

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
                numbered = "\n".join(f"{k:4d} {line}" for k, line in
                                     enumerate(source.splitlines(), 1))
                raise BuildError(f"the driver of {self.name} does not build this kernel: {error}\n"
                                 f"{numbered}") from None
            binary = program.get_info(cl.program_info.BINARIES)[0]
        put(name, bytes(binary))
        return program


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Let one process build at a time: PoCL's cold cache fails under several."""
    try:
        import fcntl

        if problem() is not None:
            raise OSError
        file = open(os.path.join(folder(), "build.lock"), "a", encoding="ascii")
    except (ImportError, OSError):
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
