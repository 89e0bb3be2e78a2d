"""`tinyml bench`: figures and their targets, measured in one run with torch and jax."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import tinyml
from tinyml.cli.bench.core import STARTS, eager_rows, memory_rows, starting_rows, training_rows
from tinyml.cli.bench.jit import jit_rows
from tinyml.cli.bench.timing import PEERS, ROUNDS, Row
from tinyml.errors import TinyMLError
from tinyml.ir.devices import HOST, ROOMS, find_device

__all__ = ["add_arguments", "main", "show"]


def _verdict(row: Row) -> str:
    return {True: "met", False: "NOT MET", None: ""}[row.met]


def _cells(row: Row) -> list[str]:
    figures = ", ".join(f"{name} {value:.3g}" for name, value in row.figures.items())
    judged = "" if row.figure is None else f"{row.figure:.2f} {row.judged}"
    target = "" if row.target is None else f"<= {row.target:g}"
    return [row.name, f"{figures} {row.unit}", judged, target, _verdict(row)]


def show(rows: list[Row]) -> None:
    """Print a table, with rich where it is installed."""
    header = ["what", "median", "judged", "target", ""]
    lines = [_cells(row) for row in rows]
    if importlib.util.find_spec("rich") is not None and sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*header)
        for row, cells in zip(rows, lines):
            style = {True: "green", False: "bold red", None: ""}[row.met]
            table.add_row(*cells[:-1], f"[{style}]{cells[-1]}[/]" if style else "")
        Console().print(table)
        return
    widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
    for line in [header, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def _machine() -> dict[str, Any]:
    """Return the machine's details."""
    names = ("numpy", *PEERS)
    modules = {name: sys.modules[name] for name in names if name in sys.modules}
    return {
        "tinyml": tinyml.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        **{name: str(getattr(module, "__version__", "")) for name, module in modules.items()},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `tinyml bench`."""
    parser.add_argument("suite", choices=["core", "jit"],
                        help="what is measured: the core (operations, import, first result), or "
                             "compiled functions")
    parser.add_argument("--device", default=HOST, help="cpu, opencl or opencl:1 (default: cpu)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N",
                        help=f"rounds of each timing (default: {ROUNDS})")
    parser.add_argument("--memory", action="store_true",
                        help="also whether memory stays flat (minutes)")
    parser.add_argument("--train", action="store_true",
                        help="also the main job's CPU seconds, cold and warm, on both devices")


def main(args: argparse.Namespace) -> int:
    """Print the figures with their targets; return 2 where a device is missing."""
    try:
        find_device(args.device)
        rows = _rows(args.suite, args.device, max(1, args.rounds))
        if args.memory:
            rows += memory_rows(args.device)
        if args.train:
            rows += training_rows(ROOMS)
    except TinyMLError as error:
        print(error, file=sys.stderr)
        return 2
    show(rows)
    missing = [name for name in PEERS if name not in sys.modules]
    if missing:
        print(f"not compared with {' and '.join(missing)}: pip install 'tinyml[peers]'")
    judged = [row for row in rows if row.met is not None]
    print(f"{sum(bool(row.met) for row in judged)} of {len(judged)} targets met")
    if args.json:
        report = {"machine": _machine(), "suite": args.suite, "device": args.device,
                  "rows": [{**row._asdict(), "met": row.met} for row in rows]}
        Path(args.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def _rows(suite: str, device: str, rounds: int) -> list[Row]:
    if suite == "jit":
        return jit_rows(device, rounds)
    rows = eager_rows(device, rounds)
    if importlib.util.find_spec("resource") is not None:  # not on Windows
        rows += starting_rows(device, min(STARTS, rounds))
    return rows
