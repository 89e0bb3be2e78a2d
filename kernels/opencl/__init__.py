"""OpenCL devices: memory handles, nests compiled by the device's driver, one in-order queue."""

from __future__ import annotations

import importlib.util
from typing import Any

from tinyml.errors import DeviceError
from tinyml.kernels.common.device import Candidate
from tinyml.kernels.opencl.device import OpenCL, name_of
from tinyml.kernels.opencl.discovery import list_devices

_INSTALL = "install an OpenCL driver (Debian, Ubuntu: apt install pocl-opencl-icd)"


def open_device(number: int) -> OpenCL:
    """Return OpenCL device `number`, counted in the order in which probing ranks them."""
    entries = _entries()
    usable = [entry for entry in entries if entry["basic"]]
    if number >= len(usable):
        broken = "".join([f"; {entry['name']} fails: {_reason(entry)}"
                          for entry in entries if not entry["basic"]])
        raise DeviceError(f"no OpenCL device {number}: {len(usable)} usable{broken}",
                          remedy=f"{_INSTALL}; `tinyml doctor` shows what was tried")
    return OpenCL(number, usable[number])


def _entries() -> list[dict[str, Any]]:
    """Return what `list_devices` does; raise DeviceError for whatever it meets."""
    try:
        if importlib.util.find_spec("pyopencl") is None:
            raise ImportError("No module named 'pyopencl'")
    except (ImportError, ValueError) as error:
        raise DeviceError(f"pyopencl cannot be imported: {error}",
                          remedy="pip install pyopencl") from None
    try:
        return list_devices()
    except DeviceError:
        raise
    except Exception as error:  # a broken driver may raise anything
        raise DeviceError(f"OpenCL cannot be asked for its devices: {error}",
                          remedy="pip install --force-reinstall pyopencl") from error


def candidates() -> list[Candidate]:
    """Return all devices as `tinyml doctor` shows them; raise DeviceError if there is none."""
    entries = _entries()
    if not entries:
        raise DeviceError("no OpenCL device was found", remedy=f"{_INSTALL}; the CPU works without")
    usable = [entry for entry in entries if entry["basic"]]
    broken = [entry for entry in entries if not entry["basic"]]
    return [*[_usable(number, entry) for number, entry in enumerate(usable)],
            *map(_broken, broken)]


def _usable(number: int, entry: dict[str, Any]) -> Candidate:
    features = [f"{word} {'yes' if entry.get(word) else 'no'}" for word in ("fp64", "fp16")]
    return Candidate(name_of(number), ", ".join([entry["name"], *features]), entry["driver"],
                     "update its driver")


def _broken(entry: dict[str, Any]) -> Candidate:
    return Candidate(None, f"OpenCL device {entry['name']}", entry["driver"],
                     "update or remove its driver; it is left out until then", _reason(entry))


def _reason(entry: dict[str, Any]) -> str:
    return str(entry.get("basic_error") or "wrong results").splitlines()[0]
