"""Child processes that are forked, interrupted, shared by threads: each attempt is one child.

The child draws its schedule from the seed, computes, and compares every value with what it must be.
It fails by a word on its standard output, by a signal, or by not ending.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 120  # a child that takes longer hangs

HEAD = """
import gc, os, random, signal, sys, threading, time
import numpy as np
import tinyml

seed, device = int(sys.argv[1]), sys.argv[2]
rng = random.Random(seed)

def wrong(text):
    print("WRONG", text, flush=True)
    os._exit(3)

def work(k, size):  # a value that only k and the size decide, by ops of every kind
    x = tinyml.full((size,), float(k % 7), device=device)
    y = (x * 2.0 + 1.0).reshape(2, -1)
    total = (y * y).sum(axis=1)
    where = tinyml.argsort(total)
    f = tinyml.grad(lambda z: (z * z).sum())
    return [float(total[1].item()), float(where[0].item()), float(f(x)[0].item())]

def right(k, size):
    y = 2.0 * (k % 7) + 1.0
    return [y * y * (size // 2), 0.0, 2.0 * (k % 7)]

def check(k, size):
    found = work(k, size)
    if found != right(k, size):
        wrong(f"{k} {size}: {found} and not {right(k, size)}")
"""

# Threads compute new shapes (specs, plans, kernels, memory, numbers) while the main one forks.
FORKS = HEAD + """
def busy(start):
    k = start
    while not done:
        work(k, 2 * (k % 50 + 1))
        tinyml.random.normal(None, (k % 9 + 1,))
        k += 1

done = []
work(1, 4)
threads = [threading.Thread(target=busy, args=(1000 * t,), daemon=True) for t in range(3)]
for t in threads:
    t.start()
for turn in range(12):
    time.sleep(rng.uniform(0.0, 0.05))
    child = os.fork()
    if child == 0:
        device = "cpu"  # a child opens no device of its parent
        signal.alarm(30)
        for k in range(5):
            check(k, 2 * rng.randrange(1, 40))
            check(k, 2 * rng.randrange(40000, 90000))
        tinyml.random.normal(None, (3,))
        tinyml.jit(lambda x: x * 3.0 + float(turn))(tinyml.ones(3)).tolist()
        gc.collect()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        wrong(f"fork {turn}: status {status}")
done.append(1)
for t in threads:
    t.join()
"""

# Alarms interrupt split kernels again and again; what was never finished must not be written to.
SIGNALS = HEAD + """
class Stop(Exception):
    pass

def stop(number, frame):  # anywhere in the library, in a wait for its workers too
    if shots and frame.f_code.co_filename != "<string>":
        shots.pop()
        raise Stop

def compute(number, frame):
    check(rng.randrange(99), 2 * rng.randrange(1, 30))

shots = []
size = 2_000_000
tinyml.set_num_threads(4)
big = tinyml.full((size,), 0.5, device=device)
work(1, size), work(2, 4)
signal.signal(signal.SIGALRM, rng.choice([stop, stop, compute]))
for turn in range(30):
    shots[:] = [1] * rng.randint(1, 3)
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 0.01), rng.uniform(5e-5, 1e-3))
        for k in range(4):
            tinyml.exp(big * float(k)) + 1.0
    except Stop:
        pass
    shots.clear()
    signal.setitimer(signal.ITIMER_REAL, 0)
    fresh = [tinyml.full((size,), float(k), device=device) * 1.0 for k in range(3)]
    time.sleep(0.01)
    for k, x in enumerate(fresh):
        values = x.numpy()
        if not (values == k).all():
            wrong(f"turn {turn}: {np.unique(values)[:5]} in a tensor of {k}")
    check(turn, 2 * (turn + 1))
"""

# Many threads, each with values of its own, some of them wrong calls that only they may hear of.
THREADS = HEAD + """
from tinyml.errors import TinyMLError

ends = time.monotonic() + 4.0
failed = []

def loop(name):
    own = random.Random(f"{seed} {name}")
    table = tinyml.full((16,), float(name), device=device)
    try:
        while time.monotonic() < ends and not failed:
            if name % 3 == 0:  # this thread errs; each of its own reads must say so
                rows = tinyml.tensor([own.randrange(16, 99)], device=device)
                try:
                    value = tinyml.take(table, rows).tolist()
                except TinyMLError:
                    continue
                failed.append(f"thread {name}: {value} from outside of a table")
            check(own.randrange(99), 2 * own.randrange(1, 60))
            if table[own.randrange(16)].item() != name:
                failed.append(f"thread {name}: a foreign value")
    except BaseException as error:
        failed.append(f"thread {name}: {error!r}")

threads = [threading.Thread(target=loop, args=(k,)) for k in range(10)]
for t in threads:
    t.start()
for t in threads:
    t.join()
if failed:
    wrong(failed[0])
"""


def attempt(code: str, seed: int, device: str | None = None) -> str | None:
    """Run the child of a seed; return what went wrong in it, or None.

    Seeds take the devices in turn, unless one is given.
    """
    device = device or ("cpu", "opencl")[seed % 2]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, str(seed), device],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, timeout=SECONDS,
            capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired:
        return f"{device}: the child hangs: more than {SECONDS} s"
    if done.returncode:
        return f"{device}: status {done.returncode}: {done.stdout[-500:]}{done.stderr[-1500:]}"
    return None
