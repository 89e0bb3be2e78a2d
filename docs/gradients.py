"""Write docs/gradients.md anew from the records: `python docs/gradients.py`."""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).with_name("gradients.md")

HEAD = """\
# Where gradients flow

Every op and every input, derived from the records by `python docs/gradients.py`.

| mark | meaning |
|---|---|
| rule | a gradient of any order, checked: see below |
| flat | no rule, and the reference is constant around every sample: the slope is 0 |
| whole | only integers, bools, indices or numbers of Python arrive there |
| no | the record declares the op not differentiable |

A rule is held against central differences of the reference, and is linear in the cotangent; the
gradient of the gradient against differences of the gradient; forward mode against both.

| op | inputs |
|---|---|
"""


def written() -> str:
    """The page."""
    from tinyml.conformance.suite.coverage import row
    from tinyml.conformance.suite.run import all_ops

    rows = [row(op) for op in all_ops().values()]
    return HEAD + "".join(f"| {r.op} | {', '.join(r.inputs)} |\n" for r in rows)


if __name__ == "__main__":
    sys.path.insert(0, str(PAGE.parents[1]))
    PAGE.write_text(written(), encoding="utf-8")
