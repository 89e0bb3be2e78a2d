"""The interface for plugins: its names, the page that explains each, and the page's plugin."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from tinyml import extend
from tinyml.conformance.reference import TABLE
from tinyml.conformance.suite.run import run
from tinyml.ir.op import OPS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
NAMES = ("Call ErrorCase Ids Monoid Nest Op Operand Plan Sample Spec apply apply_many define "
         "elementwise expect kernel with_shape").split()


def test_these_are_the_names() -> None:
    assert sorted(extend.__all__) == NAMES
    assert {name for name in vars(extend) if not name.startswith("_")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_explains_each_name_by_an_example(name: str) -> None:
    sections = re.split(r"^##+ ", PAGE, flags=re.M)[1:]
    (section,) = [text for text in sections if f"`{name}`" in text.partition("\n")[0]]
    assert re.search(rf"^(>>>|\.\.\.) .*\b{name}\b", section, flags=re.M)


def test_records_outside_of_ops_are_written_through_it() -> None:
    makers = re.compile(r"^(?:@|\w+(?:: Op)? = |.* )(define|kernel|Op)\(", flags=re.M)
    below = {"ops", "ir", "core"}
    found = {}
    for path in (ROOT / "tinyml").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names = set(makers.findall(text)) & set(extend.__all__)
        if names and path.relative_to(ROOT / "tinyml").parts[0] not in below:
            (imported,) = re.findall(r"^from tinyml\.extend import (.*)$", text, flags=re.M)
            found[path.name] = names - set(imported.split(", "))
    assert len(found) > 3 and not any(found.values()), found


@pytest.fixture
def plugin(tables: None) -> list[str]:
    """The ops of the page's plugin, defined."""
    before, space = set(TABLE), {"__name__": "plugin"}
    for example in doctest.DocTestParser().get_examples(PAGE):
        if "import run" in example.source:
            break
        exec(compile(example.source, "docs/extend.md", "exec"), space)
    return sorted(set(TABLE) - before)


@pytest.mark.kernels(27)
def test_the_plugin_is_right(plugin: list[str], device: str) -> None:
    assert plugin == ["count_bits", "lecun_tanh", "peak_to_peak"]
    for name in plugin:
        dtype = "float32" if OPS[name].differentiable else "uint8"
        for suite in ("ops", "gradients") if OPS[name].differentiable else ("ops",):
            report = run(suite, device, f"{name}/{dtype}")
            assert report.ok, report.text()


@pytest.mark.kernels(9)
@pytest.mark.parametrize("name", ["lecun_tanh", "peak_to_peak"])
def test_a_wrong_rule_of_the_plugin_is_found(plugin: list[str], name: str) -> None:
    OPS[name].grad = (lambda g, _y, _x, **_: g,)
    assert run("gradients", "cpu", f"{name}/float32").totals["failed"] > 0
