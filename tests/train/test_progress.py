"""Progress: plain lines where no cursor moves or rich is missing, a bar on a terminal."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from tinyml.train.progress import Bar, Lines, Reporter, progress


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def train(report: Reporter, epochs: int, steps: int) -> None:
    with report:
        for epoch in range(epochs):
            for _ in range(steps):
                report.step()
            report.epoch(loss=1 / (epoch + 1), accuracy=1 - 0.5 / (epoch + 1))


def test_lines_are_plain_text() -> None:
    stream = io.StringIO()
    train(progress(10, 2, stream=stream), 10, 2)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "epoch  1/10  loss 1.0000  held out 50.00 %"
    assert lines[-1] == "epoch 10/10  loss 0.1000  held out 95.00 %"
    assert len(lines) == 10 and stream.getvalue().isascii()


def test_a_line_is_flushed_at_once() -> None:
    flushed = []

    class Stream(io.StringIO):
        def flush(self) -> None:
            flushed.append(self.getvalue())

    train(progress(1, 1, stream=Stream()), 1, 1)
    assert flushed and flushed[0].endswith("%\n")


def test_a_terminal_gets_a_bar(terminal: Terminal) -> None:
    pytest.importorskip("rich")
    report = progress(3, 4, stream=terminal)
    assert isinstance(report, Bar)
    train(report, 3, 4)
    text = terminal.getvalue()
    assert "3/3" in text and "loss 0.3333" in text and "83.33 %" in text
    assert report.live.finished


def test_the_bar_says_compiling_until_there_are_figures(terminal: Terminal) -> None:
    pytest.importorskip("rich")
    report = progress(2, 3, stream=terminal)
    assert isinstance(report, Bar)

    def figures() -> str:
        return str(report.live.tasks[0].fields["figures"])

    with report:
        seen = [figures()]
        for _ in range(3):
            report.step()
            seen.append(figures())
        assert seen == ["compiling", "", "", "compiling"]
        report.epoch(loss=0.5, accuracy=0.5)
        for _ in range(3):
            report.step()
            assert figures() == "loss 0.5000  held out 50.00 %"
    assert "compiling" in terminal.getvalue()


def test_an_interrupt_puts_the_bar_away(terminal: Terminal) -> None:
    pytest.importorskip("rich")
    report = progress(3, 4, stream=terminal)
    assert isinstance(report, Bar)
    with pytest.raises(KeyboardInterrupt), report:
        report.step()
        raise KeyboardInterrupt
    assert not report.live.live.is_started
    assert terminal.getvalue().rstrip("\n").endswith("\x1b[?25h"), "the cursor is shown again"


def test_a_dumb_terminal_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress(3, 4, stream=terminal), Lines)


def test_without_rich_a_terminal_gets_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rich", "rich.console", "rich.progress"):
        monkeypatch.setitem(sys.modules, name, None)
    report = progress(1, 1, stream=terminal)
    assert isinstance(report, Lines)
    train(report, 1, 1)
    assert terminal.getvalue() == "epoch 1/1  loss 1.0000  held out 50.00 %\n"


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    train(progress(1, 1), 1, 1)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("epoch 1/1")


def test_rich_is_not_imported_for_lines() -> None:
    code = (
        "import sys; from tinyml.train.progress import progress; r = progress(1, 1);"
        "r.epoch(1.0, 1.0); print('rich' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "False"
