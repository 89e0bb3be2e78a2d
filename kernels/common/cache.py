"""The disk cache of compiled kernels: a private folder whose problems never fail a run.

An entry is a SHA-256 digest followed by its payload; nothing in it is a pickle. Whatever goes
wrong (an unwritable folder, a damaged file, a full disk) costs one warning and a compilation.
"""

from __future__ import annotations

import os
import sys
import warnings
from hashlib import sha256

from tinyml.errors import CacheWarning

_MAGIC = b"tinyml-1"
_warned = False


def folder() -> str:
    """Return the cache folder: TINYML_CACHE_DIR, or tinyml in the user's cache folder."""
    chosen = os.environ.get("TINYML_CACHE_DIR")
    if chosen:
        return chosen
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.join(base, "tinyml")


def key(*parts: str) -> str:
    """Return a file name derived from everything that an entry depends on."""
    digest = sha256()
    for part in parts:
        text = part.encode()
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return digest.hexdigest()


def _warn(problem: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"the kernel cache in {folder()} is not used: {problem}; results are right, only "
            "slower to start. Remedy: make the folder yours and writable, delete it, or set "
            "TINYML_CACHE_DIR to another one",
            CacheWarning,
            stacklevel=2,
        )


def problem() -> str | None:
    """Return why the cache cannot be used, or None; create the folder if it is missing."""
    place = folder()
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        if hasattr(os, "getuid"):
            status = os.stat(place)
            if status.st_uid != os.getuid():
                return "it belongs to another user"
            if status.st_mode & 0o022:
                return "others may write to it"
    except OSError as error:
        return str(error)
    return None


def get(name: str) -> bytes | None:
    """Return the payload stored under a name; None if it is missing or damaged."""
    path = os.path.join(folder(), name)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(str(error))
        return None
    head = len(_MAGIC) + 32
    if data[: len(_MAGIC)] == _MAGIC and sha256(data[head:]).digest() == data[len(_MAGIC) : head]:
        return data[head:] if _trusted() else None
    _warn(f"{name} is damaged")
    try:
        os.unlink(path)
    except OSError:
        pass
    return None


def _trusted() -> bool:
    trouble = problem()
    if trouble:
        _warn(trouble)
    return trouble is None


def put(name: str, payload: bytes) -> None:
    """Store a payload; the file is renamed into place when complete, so no reader sees half."""
    if not _trusted():
        return
    path = os.path.join(folder(), name)
    scratch = f"{path}.{os.getpid()}.{id(payload):x}"
    try:
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + sha256(payload).digest() + payload)
        os.replace(scratch, path)
    except OSError as error:
        _warn(str(error))
        try:
            os.unlink(scratch)
        except OSError:
            pass


def entries() -> tuple[int, int]:
    """Return the number of entries in the cache, and their total bytes."""
    count = size = 0
    try:
        with os.scandir(folder()) as found:
            for entry in found:
                if entry.is_file():
                    count += 1
                    size += entry.stat().st_size
    except OSError:
        pass
    return count, size
