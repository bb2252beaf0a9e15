"""Where models run: the CPU, or one GPU; how many cores and processes there are."""

from __future__ import annotations

import os

import torch

from aberra.errors import ConfigError


def choose_device(wish: str = "auto") -> torch.device:
    """Return CUDA where there is one for ``auto``, else the device asked for: ``cpu``, ``cuda`` or
    ``cuda:N``.

    Raises:
        ConfigError: the device is not known, not there or cannot be used.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = {"auto": "cuda" if there else "cpu", "cpu": "cpu"}
    if there:
        known |= {"cuda": "cuda"} | {f"cuda:{index}": f"cuda:{index}" for index in range(there)}
    name = str(wish)
    if name not in known:
        try:
            kind = torch.device(name).type
        except RuntimeError as error:
            raise ConfigError(f"device {name or repr(name)}: not known; use auto, cpu or cuda") from error
        if kind == "cuda":
            what = f"there are {there} GPUs" if there else "torch finds no GPU here"
            raise ConfigError(f"device {name}: not there, {what}; use auto or cpu")
        raise ConfigError(f"device {name}: not there; use auto, cpu or cuda")
    device = torch.device(known[name])
    if device.type == "cuda":
        try:
            torch.zeros(1, device=device)
        except Exception as error:
            what = str(error).splitlines()[0]
            raise ConfigError(f"device {device}: cannot be used ({what}); use --device cpu") from error
    return device


BF16, TRITON = (8, 0), (7, 0)
"""CUDA capabilities from which a GPU computes in bf16 itself, and Triton compiles for it."""


def capability(device: torch.device) -> tuple[int, int]:
    """What a GPU can do, as CUDA counts it; (0, 0) of a CPU."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)


def takes_bf16(device: torch.device) -> bool:
    """Whether a device computes in bf16 itself; older GPUs only imitate it, slower than 32 bit."""
    return capability(device) >= BF16


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ranks() -> tuple[int, int]:
    """This process's number among those that ``torchrun`` has started for one training, and how many
    these are; (0, 1) without ``torchrun``.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
