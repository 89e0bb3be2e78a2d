"""Hold what tools have measured above its floor: `floors.py coverage FILE`, `floors.py types FILE`.

FILE is what `coverage json` or `pyright --verifytypes --outputjson` has written.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import PurePath
from typing import Any

COVERAGE = 75  # per cent of the lines and branches of a folder that README's tests run
LOWER = {  # folders with a floor of their own
    "conformance/opinfo": 0,  # needs torch: the peers' stage runs it
    "conformance/edges": 20,  # most of it asks the peers, or stands behind the sample
    # Most of their tests compile: the sample has some of these, the rest of the tests has all.
    "tinyml/autodiff": 65,
    "tinyml/functions": 65,
    "tinyml/optim": 65,
    "tinyml/state": 65,
    "kernels/cpu": 60,  # what Numba compiles is not run by Python
    "tinyml/cli/bench": 20,  # its timed runs are not tests
    "tinyml/train": 60,
}
TYPES = 69  # per cent of the public names whose types pyright knows


def coverage(found: dict[str, Any]) -> bool:
    """Print what part of each folder runs; whether each is above its floor."""
    ran: Counter[str] = Counter()
    of: Counter[str] = Counter()
    for name, file in found["files"].items():
        folder = PurePath(name).parent.as_posix()
        totals = file["summary"]
        ran[folder] += totals["covered_lines"] + totals["covered_branches"]
        of[folder] += totals["num_statements"] + totals["num_branches"]
    good = True
    print("folder                        %  floor")
    for folder in sorted(of):
        share, floor = 100 * ran[folder] / max(of[folder], 1), LOWER.get(folder, COVERAGE)
        good = good and share >= floor
        print(f"{folder:28} {share:4.1f} {floor:4}{'' if share >= floor else '  below its floor'}")
    print(f"{'together':28} {100 * ran.total() / of.total():4.1f}")
    return good


def types(found: dict[str, Any]) -> bool:
    """Print how many of the public names have a known type; whether enough."""
    for problem in found["generalDiagnostics"]:
        print(problem["message"])
    share = 100 * found["typeCompleteness"]["completenessScore"]
    print(f"known types of public names: {share:.1f} %, floor {TYPES} %")
    return share >= TYPES


if __name__ == "__main__":
    kind, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        sys.exit(0 if {"coverage": coverage, "types": types}[kind](json.load(file)) else 1)
