"""docs/gradients.md, generated from the records: where gradients flow."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "gradients.md"

HEAD = """\
# Where gradients flow

Every op and every input, derived from the records by `python docs/tools/regenerate.py gradients`.

| mark | meaning |
|---|---|
| rule | a gradient of any order, checked: see below |
| flat | no rule, and the reference is constant around every sample: the slope is 0 |
| whole | only integers, bools, indices or numbers of Python arrive there |
| no | the record declares the op not differentiable |
| none | not along this input: {declared} |

A rule is held against central differences of the reference, and is linear in the cotangent; the
gradient of the gradient against differences of the gradient; forward mode against both.

| op | inputs |
|---|---|
"""


def page() -> str:
    """Return the page."""
    from tinyml.conformance.suite.coverage import DECLARED, row
    from tinyml.conformance.suite.run import all_ops

    rows = sorted([f"| {op} | {', '.join(inputs)} |\n"
                   for op, inputs in map(row, all_ops().values())])
    reasons = "; ".join(f"{op} {k} ({why})" for (op, k), why in DECLARED.items())
    return HEAD.format(declared=reasons) + "".join(rows)
