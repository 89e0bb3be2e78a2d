"""The disk cache of compiled kernels: a private folder whose problems never fail a run.

An entry is a SHA-256 digest of its name and its payload, followed by the payload; nothing in it is
a pickle. Whatever goes wrong (an unwritable folder, a damaged file, a full disk) costs one warning
and a compilation. What was not used for long goes, as does the oldest if there is too much.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
import time
import warnings
from hashlib import sha256

from tinyml.errors import CacheWarning

MOST_BYTES = 1 << 30  # of all entries
LARGEST = 1 << 28  # of one entry, in bytes
DAY = 86_400.0  # seconds
KEPT_DAYS = 90  # without use
SCRATCH_SECONDS = 3_600.0  # after which its writer must have been killed
_MAGIC = b"tinyml-2"
_HEAD = len(_MAGIC) + 32
_OWN = re.compile(r"[0-9a-f]{64}\.\w+(\..+)?")  # what `key` names; other files are not touched
_FAILURES = (OSError, ValueError, MemoryError)
_warned = False
_swept: set[str] = set()


def folder() -> str:
    """Return the cache folder: TINYML_CACHE_DIR, or tinyml in the user's cache folder.

    Without either, as for a user without a home, it is '', and nothing is cached.
    """
    chosen = os.environ.get("TINYML_CACHE_DIR")
    if chosen:
        place = os.path.expanduser(chosen)
        return "" if place.startswith("~") else place
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or ""
        if not os.path.isabs(base):  # as the XDG specification has it
            base = os.path.join(home, ".cache")
    return os.path.join(base, "tinyml") if os.path.isabs(base) else ""


def key(*parts: str) -> str:
    """Return a file name derived from everything that an entry depends on."""
    digest = sha256(_MAGIC)  # an entry of another format is another entry
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
            f"the kernel cache in {folder() or '(no folder)'} is not used: {problem}; results are "
            "right, only slower to start. Remedy: make the folder yours and writable, delete it, "
            "or set TINYML_CACHE_DIR to another one",
            CacheWarning,
            stacklevel=2,
        )


def problem() -> str | None:
    """Return why the cache cannot be used, or None; create the folder if it is missing."""
    place = folder()
    if not place:
        return "there is no home folder"
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        if hasattr(os, "getuid"):
            status = os.stat(place)
            if status.st_uid != os.getuid():
                return "it belongs to another user"
            if status.st_mode & 0o022:
                return "others may write to it"
    except _FAILURES as error:
        return str(error)
    return None


def _digest(name: str, payload: bytes) -> bytes:
    text = name.encode()
    return sha256(len(text).to_bytes(8, "little") + text + payload).digest()


def get(name: str) -> bytes | None:
    """Return the payload stored under a name; None if it is missing, damaged or not the user's."""
    place = folder()
    if not place:
        _trusted()  # which warns
        return None
    path = os.path.join(place, name)
    try:
        data = _read(path)
    except FileNotFoundError:
        return None
    except _FAILURES as error:
        _warn(f"{name}: {error}")
        _remove(path)
        return None
    if data[:_HEAD] == _MAGIC + _digest(name, data[_HEAD:]):
        return data[_HEAD:] if _trusted() else None
    _warn(f"{name} is damaged")
    _remove(path)
    return None


def _read(path: str) -> bytes:
    """Return the content of a plain file of this user; raise OSError for anything else.

    A pipe or a device in its place must not make the process wait, and a link not lead elsewhere.
    """
    flags = os.O_RDONLY
    for flag in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, flag, 0)
    handle = os.open(path, flags)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no plain file")
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            raise OSError("it belongs to another user, or others may write to it")
        if status.st_size > LARGEST:
            raise OSError(f"it has {status.st_size} bytes")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(LARGEST)
    finally:
        os.close(handle)
    if time.time() - status.st_mtime > DAY:
        with contextlib.suppress(OSError):
            os.utime(path)  # it is in use: the unused go first
    return data


def _remove(path: str) -> None:
    with contextlib.suppress(*_FAILURES):
        os.unlink(path)


def _trusted() -> bool:
    trouble = problem()
    if trouble:
        _warn(trouble)
    return trouble is None


def put(name: str, payload: bytes) -> None:
    """Store a payload; the file is renamed into place when complete, so no reader sees half."""
    if len(payload) > LARGEST - _HEAD or not _trusted():
        return
    path = os.path.join(folder(), name)
    scratch = f"{path}.{os.getpid()}-{id(payload):x}.part"
    try:
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0),
                         0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + _digest(name, payload) + payload)
        os.replace(scratch, path)
    except _FAILURES as error:
        _warn(str(error))
        _remove(scratch)
    except BaseException:  # Ctrl-C
        _remove(scratch)
        raise
    _sweep(folder())


def _sweep(place: str) -> None:
    """Remove, once in a process, what killed processes left, what is old, and what is too much."""
    if place in _swept:
        return
    _swept.add(place)
    now = time.time()
    found = []
    try:
        with os.scandir(place) as listed:
            for entry in listed:
                status, own = entry.stat(follow_symlinks=False), _OWN.fullmatch(entry.name)
                if own and not stat.S_ISDIR(status.st_mode):
                    most = KEPT_DAYS * DAY if own[1] is None else SCRATCH_SECONDS
                    found.append((now - status.st_mtime, most, status.st_size, entry.path))
    except _FAILURES as error:
        _warn(str(error))
        return
    total = 0
    for age, most, size, path in sorted(found):  # the youngest first
        total += size
        if age > most or total > MOST_BYTES:
            _remove(path)


def entries() -> tuple[int, int]:
    """Return the number of entries in the cache, and their total bytes."""
    count = size = 0
    try:
        with os.scandir(folder()) as found:
            for entry in found:
                if entry.is_file():
                    count += 1
                    size += entry.stat().st_size
    except _FAILURES:
        pass
    return count, size
