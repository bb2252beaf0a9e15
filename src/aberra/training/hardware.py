"""Where and how a run computes: devices, precision, memory format, compiled networks."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from aberra.capabilities import FitsDensity, LearnsInTurns
from aberra.devices import TRITON, capability, choose_device, ranks, takes_bf16
from aberra.training.together import expect_together, processes

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch import nn

    from aberra.training.config import TrainingConfig

COMPILING_PAYS = 1000
"""Steps; compiling takes about as long as some hundred of them."""


def fabric(model: nn.Module, config: TrainingConfig, device: str) -> Fabric:
    """Devices and precision; where several devices are asked for starts the other processes, and
    where ``torchrun`` has started them joins them.

    Raises:
        ConfigError: a device that is not there, or several processes for a model that cannot
            (:func:`aberra.training.together.expect_together`).
    """
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from lightning.fabric.strategies import DDPStrategy

    chosen = choose_device(device)
    precision: Any = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if takes_bf16(chosen) else "32-true"
    expect_together(model, config)
    if chosen.type == "cuda":  # matrix products outside bf16, too
        torch.set_float32_matmul_precision("high")
    count = processes(config)
    # told, not guessed: inside a job of Slurm's Fabric would take its tasks for ours and wait for them
    torchrun = ranks()[1] > 1
    environment = TorchElasticEnvironment() if torchrun else LightningEnvironment()
    if count == 1:
        devices: Any = [chosen.index] if chosen.index is not None else 1
        return Fabric(accelerator=chosen.type, devices=devices, precision=precision, plugins=[environment])
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if torchrun else count
    strategy = DDPStrategy(find_unused_parameters=isinstance(model, FitsDensity))  # a density learns later
    made = Fabric(
        accelerator=chosen.type,
        devices=here,
        num_nodes=count // here,
        precision=precision,
        strategy=strategy,
        plugins=[environment],
    )
    made.launch()
    return made


def place(model: nn.Module, device: torch.device, dims: int) -> nn.Module:
    """Put a model on a device; 2-D ones in channels-last, which convolutions like on CPU and CUDA."""
    model = model.to(device)
    return model.to(memory_format=torch.channels_last) if dims == 2 else model  # type: ignore[call-overload]


def compiles(model: nn.Module, config: TrainingConfig, device: torch.device) -> bool:
    """Whether to compile the networks.

    Critics are not compiled by themselves: their penalty differentiates a gradient.
    """
    if config.compile != "auto":
        return config.compile == "on"
    there = capability(device) >= TRITON and find_spec("triton") is not None
    return there and config.steps >= COMPILING_PAYS and not isinstance(model, LearnsInTurns)


def compile_networks(model: nn.Module) -> None:
    """Compile the networks of a model, not its ``loss``, whose generators and branches would break
    the graph.
    """
    for network in model.children():
        network.compile()


def forget_compiled(model: nn.Module) -> None:
    """Undo :func:`compile_networks`; in use, shapes change too often for it."""
    for network in model.children():
        network._compiled_call_impl = None  # noqa: SLF001  (torch has no public way back)
