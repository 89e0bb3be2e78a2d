"""A script for a child process: finds what an OpenCL device can do by running tiny kernels.

`python probe.py` lists the devices; `python probe.py PLATFORM DEVICE` tests one; both print a line
of JSON. A driver that crashes or hangs takes down only this process.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

TRIALS = {
    "basic": ("float", "#pragma OPENCL FP_CONTRACT OFF\n", 4),
    "fp64": ("double", "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n", 8),
    "fp16": ("half", "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n", 2),
}
SOURCE = """__kernel void k(__global {t} *x) {{
    size_t i = get_global_id(0);
    x[i] = x[i] * ({t})2 + ({t})1;
}}"""


def candidates() -> list[dict[str, Any]]:
    """Return every device, preferred ones first: GPUs, PoCL, others, simulators."""
    import pyopencl as cl

    try:
        platforms = cl.get_platforms()
    except cl.Error as error:
        if "PLATFORM_NOT_FOUND" in str(error):
            return []
        raise
    found = []
    for p, platform in enumerate(platforms):
        try:
            devices = platform.get_devices()
        except cl.Error:  # another platform's are still of use
            continue
        for d, device in enumerate(devices):
            gpu = bool(device.type & cl.device_type.GPU)
            pocl = "Portable Computing Language" in platform.name
            simulator = "grind" in platform.name.lower()
            found.append({
                "platform": p, "device": d, "name": device.name.strip(),
                "driver": f"{platform.name} {platform.version} {device.driver_version}",
                "order": 0 if gpu else 3 if simulator else 1 if pocl else 2,
            })
    return sorted(found, key=lambda entry: (entry["order"], entry["platform"], entry["device"]))


def trial(p: int, d: int) -> dict[str, Any]:
    """Return which trials succeed on one device."""
    import numpy as np
    import pyopencl as cl

    device = cl.get_platforms()[p].get_devices()[d]
    context = cl.Context([device])
    queue = cl.CommandQueue(context)
    result: dict[str, Any] = {}
    for name, (kind, pragma, size) in TRIALS.items():
        try:
            program: Any = cl.Program(context, pragma + SOURCE.format(t=kind))
            program.build(cache_dir=False)
            values = np.full(64, 3, f"f{size}")
            buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, values.nbytes)
            cl.enqueue_copy(queue, buffer, values)
            kernel = cl.Kernel(program, "k")
            kernel.set_arg(0, buffer)
            cl.enqueue_nd_range_kernel(queue, kernel, (64,), (64,))
            cl.enqueue_copy(queue, values, buffer)
            result[name] = bool((values == 7).all())
        except cl.Error as error:
            result[name] = False
            result[f"{name}_error"] = str(error)[:500]
    return result


def main(arguments: list[str]) -> int:
    """Run the command line."""
    answer = trial(int(arguments[0]), int(arguments[1])) if arguments else candidates()
    print(f"\n{json.dumps(answer)}")
    return 0


if __name__ == "__main__":
    if sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]  # the modules beside this one are no packages of others
    raise SystemExit(main(sys.argv[1:]))
