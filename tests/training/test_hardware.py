from __future__ import annotations

import os

import pytest
import torch

from aberra.errors import ConfigError
from aberra.models.dae import DAE
from aberra.models.fanogan import FAnoGAN
from aberra.training import TrainingConfig, hardware, together

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
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    model = DAE(channels=1, size=(16, 16), network={"width": 4, "depth": 2})
    assert hardware.compiles(model, TrainingConfig(**options), device) is expected


def test_critics_and_machines_without_triton_are_left_uncompiled(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    critic = FAnoGAN(channels=1, size=(16, 16), network={"width": 4}, latent=4)
    monkeypatch.setattr(hardware, "find_spec", lambda name: name)
    assert not hardware.compiles(critic, TrainingConfig(), GPU)
    monkeypatch.setattr(hardware, "find_spec", lambda _: None)
    assert not hardware.compiles(
        DAE(channels=1, size=(16, 16), network={"width": 4, "depth": 2}), TrainingConfig(), GPU
    )


def test_gpus_that_triton_cannot_compile_for_are_left_uncompiled(monkeypatch):
    monkeypatch.setattr(hardware, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    model = DAE(channels=1, size=(16, 16), network={"width": 4, "depth": 2})
    assert not hardware.compiles(model, TrainingConfig(), GPU)


class Recorded:
    """What a run would compute on."""

    def __init__(self, plugins, **options):
        self.options, self.launched = options, False
        self.environment = type(plugins[0]).__name__

    def launch(self):
        self.launched = True


@pytest.fixture
def fabric(fake_gpus, monkeypatch):
    """Makes the run's device with so many GPUs of a capability."""
    monkeypatch.setattr("lightning.fabric.Fabric", Recorded)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    model = DAE(channels=1, size=(16, 16), network={"width": 4, "depth": 2})

    def make(device="auto", *, count=1, capability=(9, 0), **config):
        fake_gpus(count, capability)
        return hardware.fabric(model, TrainingConfig(**config), device)

    return make


@pytest.mark.parametrize(
    ("capability", "config", "precision"),
    [
        ((9, 0), {}, "bf16-mixed"),
        ((8, 0), {}, "bf16-mixed"),
        ((7, 5), {}, "32-true"),  # a T4 or V100 would imitate it
        ((9, 0), {"precision": "32-true"}, "32-true"),
        ((7, 5), {"precision": "bf16-mixed"}, "bf16-mixed"),  # who asks for it gets it
    ],
)
def test_bf16_where_the_gpu_computes_in_it(fabric, capability, config, precision):
    made = fabric(capability=capability, **config)
    assert made.options == {"accelerator": "cuda", "devices": 1, "precision": precision}


def test_without_a_gpu_it_is_32_bit(fabric):
    assert fabric(count=0).options == {"accelerator": "cpu", "devices": 1, "precision": "32-true"}
    assert fabric("cpu", count=2).options["accelerator"] == "cpu"


def test_one_of_several_gpus_or_all_that_are_asked_for(fabric):
    assert fabric(count=4).options["devices"] == 1
    assert fabric("cuda:3", count=4).options["devices"] == [3]
    with pytest.raises(ConfigError, match="device cuda:4: not there, there are 4 GPUs"):
        fabric("cuda:4", count=4)
    several = fabric(count=4, devices=4)
    assert (several.options["devices"], several.options["num_nodes"], several.launched) == (4, 1, True)
    assert not fabric(count=4).launched


def test_torchrun_says_how_many_gpus_there_are_here(fabric, monkeypatch):
    for room in (hardware, together):
        monkeypatch.setattr(room, "ranks", lambda: (5, 8))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    made = fabric(count=4, batch_size=16)
    assert (made.options["devices"], made.options["num_nodes"], made.launched) == (4, 2, True)
    assert made.environment == "TorchElasticEnvironment"


@pytest.mark.parametrize(
    "tasks", [{"SLURM_NTASKS": "2"}, {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}]
)
def test_the_tasks_of_a_slurm_job_are_not_taken_for_a_trainings(tasks, monkeypatch, tmp_path):
    for name, value in (tasks | {"SLURM_JOB_NAME": "fit", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    model = DAE(channels=1, size=(16, 16), network={"width": 4, "depth": 2})
    made = hardware.fabric(model, TrainingConfig(), "cpu")
    assert (made.world_size, made.global_rank) == (1, 0)


@pytest.mark.parametrize(("dims", "last"), [(2, True), (3, False)])
def test_networks_of_slices_are_laid_out_channels_last(dims, last):
    size = (16,) * dims
    model = hardware.place(DAE(channels=1, dims=dims, size=size, network={"width": 4, "depth": 2}), CPU, dims)
    kernels = [each for each in model.parameters() if each.ndim == dims + 2 and each.shape[1] > 1]
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    wide = [each for each in kernels if max(each.shape[2:]) > 1]
    assert wide
    assert all(each.is_contiguous(memory_format=layout) == last for each in wide)
