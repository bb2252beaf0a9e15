from __future__ import annotations

import pytest
import torch

from aberra.models.dae import DAE
from aberra.models.fanogan import FAnoGAN
from aberra.training import TrainingConfig, hardware

GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        (GPU, {}, True),
        (GPU, {"steps": 50}, False),  # over before it pays
        (GPU, {"compile": "off"}, False),
        (CPU, {}, False),
        (CPU, {"compile": "on"}, True),
    ],
)
def test_networks_are_compiled_where_it_pays(device, options, expected, monkeypatch):
    monkeypatch.setattr(hardware, "find_spec", lambda name: name)
    model = DAE(channels=1, size=(16, 16), network={"width": 4, "depth": 2})
    assert hardware.compiles(model, TrainingConfig(**options), device) is expected


def test_critics_and_machines_without_triton_are_left_uncompiled(monkeypatch):
    critic = FAnoGAN(channels=1, size=(16, 16), network={"width": 4}, latent=4)
    monkeypatch.setattr(hardware, "find_spec", lambda name: name)
    assert not hardware.compiles(critic, TrainingConfig(), GPU)
    monkeypatch.setattr(hardware, "find_spec", lambda _: None)
    assert not hardware.compiles(
        DAE(channels=1, size=(16, 16), network={"width": 4, "depth": 2}), TrainingConfig(), GPU
    )
