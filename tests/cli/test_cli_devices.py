"""Devices that are not there are refused before anything is read."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.devices import choose_device
from aberra.errors import ConfigError

ABSENT = ["mps", "xpu", "meta", "vulkan", "cuda:9", "cpu:3", "", "cpu ", "CPU", "cuda:x", "abacus", "gpu"]


@pytest.mark.parametrize("device", ABSENT)
def test_a_device_that_is_not_there_is_one_line(device):
    with pytest.raises(ConfigError) as caught:
        choose_device(device)
    message = str(caught.value)
    assert message.startswith(f"device {device or repr('')}: not ")
    assert "use auto" in message
    assert "\n" not in message


def test_devices_that_are_there():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in {"cpu", "cuda"}
    assert choose_device(choose_device("cpu")).type == "cpu"  # a torch.device will do


@pytest.mark.parametrize("device", ["mps", "xpu", "cuda:99"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["detect", "flair", "nowhere.nii.gz", "--out", "out"],
        ["fit", "dae", "nowhere.csv", "--out", "out"],
        ["calibrate", "flair", "nowhere.csv", "--out", "out"],
        ["benchmark", "smoke", "--out", "out"],
    ],
)
def test_every_command_refuses_it_first(arguments, device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*arguments, "--device", device])
    assert isinstance(done.exception, ConfigError), done.output
    assert str(done.exception).startswith(f"device {device}: not there")
    assert not list(tmp_path.iterdir())
