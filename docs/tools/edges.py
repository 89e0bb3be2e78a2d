"""docs/edges.md, from the edge table and from the results of other frameworks in edges.json.

One test compares the page with what would be written. Another measures again, where those
frameworks are installed.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "edges.md"
MEASURED = Path(__file__).with_name("edges.json")
SAME = "="

HEAD = """\
# The edge table

What every op gives at NaN, infinities, signed zeros, subnormals, overflow, division by zero and
casts out of range. It is data, [`conformance/edges/table.txt`](../conformance/edges/table.txt), and
both devices obey it: results written here are bits, any NaN equal to any NaN, and inexact ones
elsewhere lie within the record's `ulp`. Written by `python docs/tools/regenerate.py edges`.

Beside each decision stands what others give, measured with {versions} on {machine}: `=` is the same
bits, `-` says that there is no such function or that it refuses. Values are those of the dtype:
`max`, `min` (of a float, the negative of max), `tiny` (the least subnormal), `normal` (the least
normal), `eps`, `bits`; a list is each of its values in turn, or, where an axis is named, a vector.

## Rules

| rule | what it says |
|---|---|
"""


def measured() -> dict[str, Any]:
    """Return the results of the frameworks installed here, with versions and the machine."""
    from tinyml.conformance.edges import peers
    from tinyml.conformance.suite.run import all_ops

    versions = {name: importlib.metadata.version(name) for name in peers.NAMES}
    ops = all_ops()
    results = {name: {key: text for key, text in peers.measure(name, ops).items() if text != SAME}
               for name in peers.NAMES}
    return {"versions": versions, "machine": platform.machine(), "results": results}


def measure() -> None:
    """Measure the installed frameworks again."""
    MEASURED.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")


def page() -> str:
    """Return the page in the table's order, so that moving files does not change it."""
    from tinyml.conformance.edges import peers
    from tinyml.conformance.edges.table import read
    from tinyml.conformance.suite.run import all_ops

    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    table, ops = read(), all_ops()
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    lines = [HEAD.format(versions=versions, machine=found["machine"]).rstrip("\n")]
    lines += [f"| {rule.name} | {rule.text} |" for rule in table.rules.values()]
    of: dict[str, list[str]] = {rule: [] for rule in table.rules}
    for name, op in ops.items():
        entry = table.entry(op)
        of.setdefault(entry.rule.name if entry else "undecided", []).append(name)
    lines += ["", "## Ops", "", "| rule | ops |", "|---|---|"]
    lines += [f"| {rule} | {', '.join(sorted(names))} |" for rule, names in of.items()]
    lines += ["", "## Decisions"]
    for name, entry in table.entries.items():
        op = ops[name]
        if not entry.rows:
            continue
        along = ", ".join(f"{key}={value!r}" for key, value in (entry.along or {}).items())
        lines += ["", f"### {name}" + (f" ({along})" if along else ""), "",
                  f"| dtype | decision | {' | '.join(peers.NAMES)} |",
                  f"|---|---|{'---|' * len(peers.NAMES)}"]
        for row in entry.rows:
            if peers.shown(row, op.dtypes) is None:
                continue
            given = "".join(f", {key}={value!r}" for key, value in row.attrs.items())
            key = peers.key(entry, row)
            others = " | ".join(found["results"][peer].get(key, SAME) for peer in peers.NAMES)
            lines.append(f"| {row.kind}{given} | {row.text} | {others} |")
    return "\n".join(lines) + "\n"
