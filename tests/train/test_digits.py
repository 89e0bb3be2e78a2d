"""Training on the digits: it learns, the seed gives the bits, and it stops without a loss."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyml.data.digits import split
from tinyml.errors import ArgumentError, DeviceError, FileMissingError
from tinyml.io.safetensors import save
from tinyml.ops.creation import ones, tensor
from tinyml.ops.nn.softmax import log_softmax
from tinyml.train import digits

pytestmark = pytest.mark.kernels(3)

TRAIN = "import sys; from tinyml.train import digits; digits.train(sys.argv[1], 1, 7, sys.argv[2])"


def _start(arguments: list[str], **more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **more}
    return subprocess.Popen([sys.executable, *arguments], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _bits(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """What must be the same in each run: the weights file, and the history without its times."""
    history = json.loads((folder / digits.HISTORY).read_text(encoding="utf-8"))
    for word in ("seconds", "cpu_seconds"):
        assert history.pop(word) > 0
    content = (folder / digits.WEIGHTS).read_bytes()
    return hashlib.sha256(content).hexdigest(), history


def _trained_elsewhere(device: str, folder: Path, **environment: str) -> Any:
    process = _start(["-c", TRAIN, device, str(folder)], **environment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return _bits(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole training on the CPU."""
    folder = tmp_path_factory.mktemp("digits")
    digits.train("cpu", 20, 0, folder)
    return folder


def test_the_network_is_as_small_as_it_says() -> None:
    net = digits.network(0)
    assert sum(parameter.size for parameter in net.parameters()) == 9930


def test_the_same_seed_starts_from_the_same_weights_on_each_device(device: str) -> None:
    here, there = digits.network(5, "cpu").state_dict(), digits.network(5, device).state_dict()
    for name, value in here.items():
        assert str(there[name].device) == device
        np.testing.assert_array_equal(value.numpy(), there[name].numpy(), err_msg=name)


def test_it_learns(device: str, tmp_path: Path) -> None:
    result = digits.train(device, 2, 0, tmp_path)
    history = json.loads((tmp_path / digits.HISTORY).read_text(encoding="utf-8"))
    assert result.accuracy > 0.8
    assert history["accuracy"][-1] == result.accuracy
    assert history["loss"][1] < history["loss"][0]
    assert history["device"] == device
    assert history["versions"]["numpy"] == np.__version__
    assert (tmp_path / digits.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_it_reaches_what_the_issue_asks_for(trained: Path) -> None:
    history = json.loads((trained / digits.HISTORY).read_text(encoding="utf-8"))
    assert history["accuracy"][-1] >= 0.985
    assert len(history["loss"]) == history["epochs"] == 20


def test_test_reproduces_the_accuracy(trained: Path, device: str) -> None:
    history = json.loads((trained / digits.HISTORY).read_text(encoding="utf-8"))
    result = digits.test(trained / digits.WEIGHTS, device)
    assert result.total == 360
    # Devices differ in the last bits, which may turn one image that is undecided.
    assert abs(result.correct - round(360 * history["accuracy"][-1])) <= (device != "cpu")


def test_test_asks_about_what_was_held_out(tmp_path: Path) -> None:
    trained = digits.train("cpu", 1, 1, tmp_path, hold_out="last")
    assert trained.total == 359
    assert digits.test(tmp_path / digits.WEIGHTS, "cpu") == trained


def test_weights_of_another_program_are_asked_about_every_fifth(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save(path, digits.network(0).state_dict())
    assert digits.test(path).total == 360


@pytest.mark.parametrize("metadata", [{"training": "nonsense"}, {"training": "[]"}])
def test_strange_metadata_is_no_obstacle(tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / "strange.safetensors"
    save(path, digits.network(0).state_dict(), metadata)
    assert digits.test(path).total == 360


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save(path, {"conv1.weight": ones((2, 2))})
    with pytest.raises(ArgumentError, match=r"missing: output\.bias"):
        digits.test(path)
    with pytest.raises(FileMissingError, match="no file"):
        digits.test(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"epochs": 0}, ArgumentError, "epochs >= 1"),
        ({"seed": -1}, ArgumentError, "0 <= seed"),
        ({"hold_out": "third"}, ArgumentError, "hold_out in"),
        ({"device": "abacus"}, DeviceError, "no device 'abacus'"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path: Path, arguments: dict[str, Any],
                                     error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        digits.train(**{"device": "cpu", "out": tmp_path / "run", **arguments})
    assert not list(tmp_path.glob("run/*"))


def test_a_loss_that_diverges_keeps_the_weights_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits.train("cpu", 1, 0, tmp_path)
    before = (tmp_path / digits.WEIGHTS).read_bytes()
    monkeypatch.setattr(digits, "RATE", 1e30)
    with pytest.raises(digits.DivergedError, match="loss of epoch 1 is (nan|inf)"):
        digits.train("cpu", 1, 0, tmp_path)
    assert (tmp_path / digits.WEIGHTS).read_bytes() == before


def test_the_loss_is_the_smoothed_cross_entropy() -> None:
    parts = split()
    net = digits.network(0)
    training = digits._Training(parts, net, 1, np.random.default_rng(0))
    images, labels = parts[0][:64], parts[1][:64]
    log_p = log_softmax(net(digits._normalised(images, "cpu")), axis=1).numpy()
    expected = -0.9 * log_p[np.arange(64), labels].mean() - 0.1 * log_p.mean()
    loss = training.step(digits._normalised(images, "cpu"),
                         tensor(training.targets[:64]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_a_seed_gives_the_same_bits_in_every_process(device: str, tmp_path: Path) -> None:
    """Warm and cold cache, one thread and two, in separate processes."""
    cold = {"TINYML_CACHE_DIR": str(tmp_path / "cache"), "POCL_CACHE_DIR": str(tmp_path / "pocl")}
    first = _trained_elsewhere(device, tmp_path / "1", **cold, TINYML_NUM_THREADS="2")
    assert _trained_elsewhere(device, tmp_path / "2", **cold, TINYML_NUM_THREADS="1") == first
    assert _trained_elsewhere(device, tmp_path / "3") == first
    digits.train(device, 1, 7, tmp_path / "4")
    assert _bits(tmp_path / "4") == first


def test_ctrl_c_keeps_the_last_whole_epoch(tmp_path: Path) -> None:
    command = ["-m", "tinyml", "train", "digits", "--epochs", "500", "--out", str(tmp_path)]
    process = _start(command, TERM="dumb")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   2/500"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    history = json.loads((tmp_path / digits.HISTORY).read_text(encoding="utf-8"))
    epochs = len(history["loss"])
    assert epochs >= 2
    assert f"interrupted: {tmp_path} holds epoch {epochs} of 500" in errors
    assert (tmp_path / digits.PICTURE).exists()
    assert digits.test(tmp_path / digits.WEIGHTS, "cpu").accuracy == history["accuracy"][-1]


def test_ctrl_c_in_the_first_epoch_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> list[float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(digits._Training, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        digits.train("cpu", 1, 0, tmp_path)
    assert "nothing is written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
