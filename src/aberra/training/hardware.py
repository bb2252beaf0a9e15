"""Where and how a run computes: devices, precision, memory format, compiled networks."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from aberra.capabilities import LearnsInTurns
from aberra.devices import choose_device
from aberra.errors import ConfigError

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch import nn

    from aberra.training.config import TrainingConfig

COMPILING_PAYS = 1000
"""Steps; compiling takes about as long as some hundred of them."""


def fabric(model: nn.Module, config: TrainingConfig, device: str) -> Fabric:
    """Devices and precision; starts the other processes where there are several devices.

    Raises:
        ConfigError: several devices for a model that learns in turns, or a device that is not
            there.
    """
    from lightning.fabric import Fabric

    chosen = choose_device(device)
    precision: Any = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if chosen.type == "cuda" else "32-true"
    if isinstance(model, LearnsInTurns) and config.devices > 1:
        raise ConfigError(
            f"training.devices={config.devices}: a model that learns in turns (a GAN) trains on one device"
        )
    one = chosen.index is not None and config.devices == 1
    devices: Any = [chosen.index] if one else config.devices
    if chosen.type == "cuda":  # matrix products outside bf16, too
        torch.set_float32_matmul_precision("high")
    made = Fabric(accelerator=chosen.type, devices=devices, precision=precision)
    if config.devices > 1:
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
