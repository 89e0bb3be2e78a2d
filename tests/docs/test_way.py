"""docs/how-an-op-works.md names each file that softmax enters on its way to the emitted sources."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-an-op-works.md").read_text(encoding="utf-8")
MOST_FILES, MOST_CONCEPTS = 10, 9
SHARE = 2 / 3  # of the lines that run on the way, at least, in the ten files
TABLES = {f"kernels/{folder}/words.py" for folder in ("common", "cpu", "opencl")}  # data alone

# Runs softmax for the first time on a device; stops at the source text. Prints lines by file.
TRACER = """
import collections, json, os, sys
import tinyml

device, root = sys.argv[1:]
x = tinyml.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
run, emitted = collections.defaultdict(set), []

def enter(frame, event, arg):
    known = not emitted and frame.f_code.co_filename.startswith(root)
    return note if known else None

def note(frame, event, arg):
    code = frame.f_code
    if event == "line" and not emitted:
        run[os.path.relpath(code.co_filename, root)].add(frame.f_lineno)
    if event == "return" and code.co_name == "emit" and code.co_filename.endswith("emit.py"):
        emitted.append(arg)
    return note

sys.settrace(enter)
tinyml.softmax(x)
sys.settrace(None)
assert emitted
print(json.dumps({name.replace(os.sep, "/"): sorted(lines) for name, lines in run.items()}))
"""


@pytest.fixture(scope="module")
def entered() -> dict[str, set[int]]:
    """The lines that run on the way, on either device, by file."""
    found: dict[str, set[int]] = {}
    for device in ("cpu", "opencl"):
        done = subprocess.run([sys.executable, "-c", TRACER, device, str(ROOT)], cwd=ROOT,
                              capture_output=True, text=True, check=False)
        if "DeviceError" in done.stderr:
            pytest.skip(f"no device {device!r} here")
        assert done.returncode == 0, done.stderr
        for name, lines in json.loads(done.stdout).items():
            found.setdefault(name, set()).update(lines)
    return found


def _files(title: str) -> list[str]:
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S)
    rows = re.findall(r"^\|.*\|$", section, flags=re.M)
    return [name for row in rows for name in re.findall(r"`((?:tinyml|kernels)/[\w/]+\.py)`", row)]


def test_there_are_few_files_and_few_concepts() -> None:
    assert 0 < len(_files("Ten files")) <= MOST_FILES
    (section,) = re.findall(r"^## Nine concepts\n(.*?)(?=^## )", PAGE, flags=re.M | re.S)
    assert 0 < len(re.findall(r"^\d\. .*\*\*\w+\*\*", section, flags=re.M)) <= MOST_CONCEPTS


def test_every_file_on_the_way_is_named(entered: dict[str, set[int]]) -> None:
    named = [*_files("Ten files"), *_files("Asked on the way")]
    assert len(named) == len(set(named))
    assert set(entered) - set(named) == set()
    assert set(named) - set(entered) <= TABLES


def test_most_of_the_way_is_in_the_ten_files(entered: dict[str, set[int]]) -> None:
    lines = {name: len(numbers) for name, numbers in entered.items()}
    opened = sum(lines[name] for name in _files("Ten files"))
    assert opened >= SHARE * sum(lines.values()), sorted(lines.items(), key=lambda pair: -pair[1])
