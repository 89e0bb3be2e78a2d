"""The driver's errors as tinyml's own: every call of the driver that may fail goes through here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from tinyml.errors import AllocationError, DeviceError, TinyMLError

F = TypeVar("F", bound=Callable[..., Any])

# Status codes of clEnqueue..., clCreateBuffer and clFinish (OpenCL 1.2 specification, section 5).
OUT_OF_MEMORY = ("MEM_OBJECT_ALLOCATION_FAILURE", "OUT_OF_RESOURCES", "OUT_OF_HOST_MEMORY")


def is_out_of_memory(error: Any) -> bool:
    """Return whether a `pyopencl.Error` says that memory is missing."""
    return any(word in str(error) for word in OUT_OF_MEMORY)


def typed(error: Any, device: str) -> TinyMLError:
    """Return the tinyml error for a `pyopencl.Error`: AllocationError or DeviceError."""
    if is_out_of_memory(error):
        return AllocationError(
            f"the driver of {device} lacks memory or other resources: {error}",
            remedy="free tensors or use smaller ones; if that does not help, the device is lost: "
                   "start the program again")
    return DeviceError(
        f"the driver of {device} refused: {error}",
        remedy="the device may be lost: start the program again, or compute on device='cpu'; "
               "`tinyml doctor` tries each device")


def guarded(method: F) -> F:
    """Make a method of a device raise tinyml's errors where it meets the driver's."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except self.driver_error as error:
            raise typed(error, self.name) from error

    return call  # type: ignore[return-value]
