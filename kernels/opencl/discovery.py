"""Find OpenCL devices and what works on each, tested in a child process and cached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from typing import Any

from tinyml.kernels.common.cache import get, key, put

PROBE_SECONDS = 120


def list_devices() -> list[dict[str, Any]]:
    """Return every OpenCL device and what it can do, usable ones first; cached if known."""
    import pyopencl as cl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            driver = "|".join(
                f"{p.name} {p.version} {d.name} {d.driver_version}"
                for p in cl.get_platforms() for d in p.get_devices()
            )
    except cl.Error:
        return []
    name = key("probe-1", driver, sys.executable) + ".json"
    kept = get(name)
    if kept is not None:
        found: list[dict[str, Any]] = json.loads(kept)
        return found
    found = _probe() or []
    for entry in found:
        result = _probe(str(entry["platform"]), str(entry["device"]))
        entry.update(result or {"basic": False, "basic_error": "the probe crashed or hung"})
    found.sort(key=lambda entry: not entry["basic"])
    put(name, json.dumps(found).encode())
    return found


def _probe(*arguments: str) -> Any:
    """Run probe.py in a child process: a bad driver must not crash this one."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.py")
    try:
        child = subprocess.run(
            [sys.executable, "-W", "ignore", script, *arguments],
            capture_output=True, text=True, timeout=PROBE_SECONDS, check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return json.loads(child.stdout) if child.returncode == 0 and child.stdout else None
