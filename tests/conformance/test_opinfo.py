"""PyTorch's own samples as a judge: its list, its runner, and a sample of its verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from tinyml.conformance.opinfo import choice
from tinyml.conformance.suite.cases import asked

pytestmark = pytest.mark.peers("torch", "expecttest")


def test_the_list_is_what_the_rules_make_of_the_installed_torch() -> None:
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    if torch.__version__.split("+")[0] != choice.VERSION:
        pytest.skip(f"the list is that of torch {choice.VERSION}, here is {torch.__version__}")
    assert choice.LIST.read_text(encoding="utf-8") == choice.written(choice.choose(op_db))


def test_the_list_leaves_nothing_out_without_a_rule() -> None:
    entries = choice.listed()
    assert len({entry.name for entry in entries}) == len(entries) > 700
    assert len(choice.judged()) > 440
    for entry in entries:
        if entry.kind in choice.WHOLE_CLASSES and entry.rule:
            assert entry.rule in {"takes no float64", *choice.RULES_FOR_ALL}, entry


def test_adapters_name_ops_of_the_list() -> None:
    from tinyml.conformance.opinfo.adapters import ADAPTERS

    assert set(ADAPTERS) <= set(choice.judged())


def _tally(name: str, adapter: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from tinyml.conformance.opinfo import run

    monkeypatch.setitem(run.ADAPTERS, name, adapter)
    return run.judge(name).tallies[0]


def test_a_right_adapter_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = _tally("exp", lambda x: x.exp(), monkeypatch)
    assert (tally.share, tally.failed) == (1.0, 0) and tally.passed > 0


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        (lambda x: x.exp() * (1 + 1e-8), "elements differ"),
        (lambda x: x.exp().astype("float32"), "dtype float32 instead of float64"),
        (lambda x: x.exp().reshape((1, *x.shape)), "shape"),
        (lambda x: (x.exp(), x), "2 results instead of 1"),
        (lambda x: x.detach().exp(), "gradient of operand 0"),
        (lambda x: x.no_such_method(), "AttributeError"),
    ],
)
def test_a_planted_fault_is_seen(adapter: Any, words: str,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    tally = _tally("exp", adapter, monkeypatch)
    assert tally.share < 0.5 and tally.failed > 0  # one of torch's samples is empty
    assert words in tally.details[0]


def test_an_absent_op_fails_with_all_its_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinyml.conformance.opinfo import run

    monkeypatch.delitem(run.ADAPTERS, "exp")
    verdict = run.judge("exp")
    assert verdict.share == 0.0 and not verdict.ok and verdict.tallies[0].failed > 0
    assert "no adapter" in verdict.text()


def test_other_seeds_are_other_samples() -> None:
    from torch.testing._internal.common_methods_invocations import op_db

    from tinyml.conformance.opinfo import run

    info = next(op for op in op_db if op.formatted_name == "exp")
    first, again, other = (run._samples(info, seed, None)[0][1].input for seed in (0, 0, 1))
    assert bool((first == again).all()) and not bool((first == other).all())


def test_pytorch_s_samples_pass() -> None:
    """Some cases of every sixth op; all of all where TINYML_CONFORMANCE is full."""
    from tinyml.conformance.opinfo import run

    if asked({}) is None:
        verdict = run.judge()
        assert verdict.ok, "\n" + verdict.text()
    else:
        verdict = run.judge(limit=3, part=(0, 6))
        assert len(verdict.tallies) > 70
        assert verdict.share >= run.TOGETHER, "\n" + verdict.text()
        assert all(tally.share > 0 for tally in verdict.tallies), "\n" + verdict.text()


def test_differences_name_their_source_and_ops_of_the_list() -> None:
    from tinyml.conformance.opinfo.differences import DIFFERENCES

    for difference in DIFFERENCES:
        assert set(difference.names) <= set(choice.judged())
        assert len(difference.why) > 40
