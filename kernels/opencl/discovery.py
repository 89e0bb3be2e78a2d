"""Find OpenCL devices and what works on each, tried in child processes first.

A driver may crash or hang where it only lists its devices. So a child lists them, and this process
does so only where a child has with the same drivers; another child tries each device. What they
answered is cached. That one died, said nothing or met an error is not: the next call tries again.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from tinyml.errors import DeviceError
from tinyml.kernels.common.cache import get, key, put
from tinyml.kernels.opencl.failures import is_out_of_memory

PROBE_SECONDS = 120
LAST_WORDS = 300  # characters shown of what a child wrote before it died
_LATE = "gave no answer"
_PYTHON = re.compile(r"(python|pypy)w?[\d.]*[a-z]*(\.exe)?", re.IGNORECASE)
_SETTINGS = ("OCL_", "OPENCL_", "POCL_", "CUDA_", "NVIDIA_", "ROCR_", "HIP_", "GPU_", "LD_")
_ICD_FOLDERS = ("/etc/OpenCL/vendors", "/usr/share/OpenCL/vendors",
                os.path.join(sys.prefix, "etc", "OpenCL", "vendors"))
_LIBRARIES = ("/usr/lib", "/usr/lib/*", "/usr/lib64", "/usr/local/lib")
_PLACES = ("/sys/devices", "/proc/cpuinfo", "/dev/dri", "/dev/nvidiactl", "/dev/kfd")
_answers: dict[str, bytes] = {}  # those of this process, also where nothing is cached on disk


def list_devices() -> list[dict[str, Any]]:
    """Return every OpenCL device and what it can do, usable ones first; cached if known.

    Raises DeviceError, with the driver's last words, where the devices cannot be listed, and
    ImportError if this process cannot import pyopencl.
    """
    listing = key("listing-1", *_identity())
    if _known(listing) is None:
        try:
            found = _ask()
        except DeviceError as error:
            raise _naming_drivers(error) from None
        if not found:
            return []
        _keep(listing, found)
    found = _list_here()
    for entry in found:
        trial = key("probe-2", entry["driver"], entry["name"], listing,
                    f"{entry['platform']} {entry['device']}")
        kept = _known(trial)
        try:
            result = _ask(str(entry["platform"]), str(entry["device"])) if kept is None else kept
        except DeviceError as error:
            entry.update({"basic": False, "basic_error": error.message})
            continue
        entry.update(result)
        if kept is None and not _may_pass(result):
            _keep(trial, result)
    return sorted(found, key=lambda entry: not entry["basic"])


def _list_here() -> list[dict[str, Any]]:
    import pyopencl as cl

    from tinyml.kernels.opencl.probe import candidates

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return candidates()
    except cl.Error as error:
        raise DeviceError(f"OpenCL cannot list its devices: {error}", remedy=_remedy()) from error


# ---- answers


def _may_pass(result: dict[str, Any]) -> bool:
    """Return whether a trial ended in an error that may not come again, such as lack of memory."""
    return "basic_error" in result or any(map(is_out_of_memory, result.values()))


def _known(name: str) -> Any:
    kept = _answers.get(name) or get(f"{name}.json")
    return None if kept is None else json.loads(kept)


def _keep(name: str, answer: Any) -> None:
    _answers[name] = json.dumps(answer).encode()
    put(f"{name}.json", _answers[name])


def _identity() -> Iterator[str]:
    """Yield what decides which drivers load here: files, settings, and what of the machine shows.

    A cache may be shared by machines, containers and sandboxes, in which drivers behave otherwise.
    """
    yield sys.version
    spec = importlib.util.find_spec("pyopencl")
    yield _stamp(str(spec and spec.origin))
    yield from sorted(f"{name}={text}" for name, text in os.environ.items()
                      if name.startswith(_SETTINGS) and not name.endswith("CACHE_DIR"))
    for folder in (os.environ.get("OCL_ICD_VENDORS", ""), *_ICD_FOLDERS):
        for path in _icd_files(folder) or [folder]:
            yield _stamp(path)
            yield from map(_stamp, _libraries(path))
    if hasattr(os, "uname"):
        yield " ".join(os.uname())
    yield from map(str, map(os.path.exists, _PLACES))


def _icd_files(folder: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(folder), "*.icd")))


def _naming_drivers(error: DeviceError) -> DeviceError:
    """Return the error of a listing that died, naming the drivers with which it dies alone."""
    if _LATE in error.message:
        return error  # each would be waited for
    chosen = os.environ.get("OCL_ICD_VENDORS")
    files = [path for folder in ([chosen] if chosen else _ICD_FOLDERS)
             for path in _icd_files(folder)]
    bad = [path for path in files if len(files) > 1 and not _lists_alone(path)]
    if 0 < len(bad) < len(files):
        error.message += f"; so does {' and '.join(bad)} alone"
        error.remedy = (f"remove {' and '.join(bad)}, or set OCL_ICD_VENDORS to a folder with the "
                        "other drivers; the CPU works without")
    return error


def _lists_alone(path: str) -> bool:
    try:
        _ask(OCL_ICD_VENDORS=path)
    except DeviceError:
        return False
    return True


def _stamp(path: str) -> str:
    """Return a file's path, size and time."""
    try:
        status = os.stat(path)
    except OSError:
        return path
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _libraries(path: str) -> list[str]:
    """Return the files that an .icd file may name."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            name = file.read(4096).strip()
    except OSError:
        return []
    return [found for folder in _LIBRARIES
            for found in sorted(glob.glob(os.path.join(folder, glob.escape(name))))] or [name]


# ---- children


def _ask(*arguments: str, **settings: str) -> Any:
    """Return what probe.py answers in a child process; raise DeviceError with its last words.

    `settings` are environment variables of the child's own.
    """
    what = "an OpenCL device was tried" if arguments else "OpenCL's devices were listed"
    python = _interpreter()
    if python is None:
        raise DeviceError(
            f"no Python interpreter was found in which OpenCL could be tried: sys.executable is "
            f"{sys.executable!r}", remedy="set sys.executable to a Python with the same packages")
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.py")
    paths = os.pathsep.join([path or os.getcwd() for path in sys.path if isinstance(path, str)])
    try:
        child = subprocess.run(
            [python, "-W", "ignore", script, *arguments], stdin=subprocess.DEVNULL,
            capture_output=True, timeout=PROBE_SECONDS, check=False,
            env={**os.environ, "PYTHONPATH": paths, **settings})
    except subprocess.TimeoutExpired as late:
        end, words = f"{_LATE} in {PROBE_SECONDS} s", late.stderr
    except (OSError, ValueError) as error:
        end, words = f"could not start ({error})", b""
    else:
        lines = child.stdout.splitlines() or [b""]  # a driver may write lines of its own before
        try:
            if child.returncode == 0:
                return json.loads(lines[-1])
        except ValueError:
            pass
        end, words = _end(child.returncode), child.stderr
    raise DeviceError(f"a child process {end} while {what}{_last(words)}", remedy=_remedy())


def _end(status: int) -> str:
    """Return how a process ended.

    >>> _end(-6), _end(3)
    ('died of SIGABRT', 'ended with status 3')
    """
    if status < 0:
        try:
            return f"died of {signal.Signals(-status).name}"
        except ValueError:
            return f"died of signal {-status}"
    return f"ended with status {status}"


def _last(words: bytes | None) -> str:
    lines = (words or b"").decode("utf-8", "replace").split("\n")
    text = "; ".join([line.strip() for line in lines if line.strip()][-3:])
    return f": {text[-LAST_WORDS:]}" if text else ""


def _remedy() -> str:
    if sys.platform == "linux" and not os.path.isdir("/sys/devices"):
        return ("there is no /sys here, which PoCL needs: mount it in this container or sandbox "
                "(mount -t sysfs sysfs /sys); the CPU works without")
    return ("update or remove the driver (`clinfo` lists them, OCL_ICD_VENDORS names a folder of "
            "those to load); the CPU works without")


def _interpreter() -> str | None:
    """Return a Python to start; sys.executable may be missing, or a program that embeds Python."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    paths = [sys.executable, getattr(sys, "_base_executable", None)]
    for prefix in (sys.exec_prefix, sys.base_exec_prefix):
        paths += [os.path.join(prefix, *place) for place in (
            ("bin", version), ("bin", "python3"), ("python.exe",), ("Scripts", "python.exe"))]
    for path in paths:
        if (path and isinstance(path, str) and _PYTHON.fullmatch(os.path.basename(path))
                and os.path.isfile(path) and os.access(path, os.X_OK)):
            return path
    return None
