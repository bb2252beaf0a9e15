"""Where and how a run computes: devices, precision, memory format, compiled networks."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from aberra.capabilities import AnchorsClasses, FitsDensity, LearnsInTurns, Trains
from aberra.devices import choose_device, ranks
from aberra.errors import ConfigError

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch import nn

    from aberra.training.config import TrainingConfig

COMPILING_PAYS = 1000
"""Steps; compiling takes about as long as some hundred of them."""


def expect_together(model: nn.Module, config: TrainingConfig) -> None:
    """Refuse several processes for a model that they cannot train as one process would.

    Raises:
        ConfigError: says why.
    """
    count = processes(config)
    how = f"torchrun with {count} processes" if ranks()[1] > 1 else f"training.devices={count}"
    if count == 1:
        return
    if isinstance(model, LearnsInTurns):
        raise ConfigError(f"{how}: a model that learns in turns (a GAN) trains on one device")
    if not isinstance(model, Trains):
        raise ConfigError(
            f"{how}: this model has no training by gradient descent to share; run it in one process (members of an ensemble: --on)"
        )
    if isinstance(model, AnchorsClasses) and model.anchor:
        raise ConfigError(
            f"{how}: a model that sees samples of {model.anchor} behind every batch trains on one device"
        )
    if config.batch_size % count:
        raise ConfigError(
            f"{how}: training.batch_size={config.batch_size} cannot be shared by {count}; choose a multiple of {count}"
        )


def processes(config: TrainingConfig) -> int:
    """How many processes train one model, each on a device of its own."""
    count = ranks()[1]
    return count if count > 1 else config.devices


def fabric(model: nn.Module, config: TrainingConfig, device: str) -> Fabric:
    """Devices and precision; where several devices are asked for starts the other processes, and
    where ``torchrun`` has started them joins them.

    Raises:
        ConfigError: several processes for a model that cannot (:func:`expect_together`), or a device
            that is not there.
    """
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy

    chosen = choose_device(device)
    precision: Any = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if chosen.type == "cuda" else "32-true"
    expect_together(model, config)
    if chosen.type == "cuda":  # matrix products outside bf16, too
        torch.set_float32_matmul_precision("high")
    count = processes(config)
    if count == 1:
        devices: Any = [chosen.index] if chosen.index is not None else 1
        return Fabric(accelerator=chosen.type, devices=devices, precision=precision)
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if ranks()[1] > 1 else count
    strategy = DDPStrategy(find_unused_parameters=isinstance(model, FitsDensity))  # a density learns later
    made = Fabric(
        accelerator=chosen.type,
        devices=here,
        num_nodes=count // here,
        precision=precision,
        strategy=strategy,
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
    there = device.type == "cuda" and find_spec("triton") is not None
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
