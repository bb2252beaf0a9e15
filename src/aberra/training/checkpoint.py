"""A training run's state in one file: tensors as safetensors, the rest as JSON in its header.

Nothing is pickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from aberra.errors import ModelError
from aberra.files import atomic_path
from aberra.former import present_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from aberra.training.adams import Adams

NAME = "checkpoint.safetensors"


@dataclass
class Progress:
    """What a run knows besides tensors.

    Attributes:
        step: optimiser steps taken.
        best: lowest validation loss.
        best_step: where it was.
        stale: evaluations since.
        cuts: how often the plateau schedule halved the learning rate.
        seconds: training time so far.
        stage: turns of the last evaluation, of models that learn in turns.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    cuts: int = 0
    seconds: float = 0.0
    stage: str = ""
    losses: dict[str, float] = field(default_factory=dict)


def save(
    folder: Path,
    model: nn.Module,
    optimizer: Adams,
    progress: Progress,
    shadows: dict[str, dict[str, Tensor]],
) -> None:
    """Write the checkpoint atomically.

    Args:
        folder: of the run.
        model: current weights.
        optimizer: its moments, those of every player.
        progress: counters.
        shadows: further sets of weights by name (``ema``, ``best``).
    """
    from safetensors.torch import save_file

    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    state = optimizer.state_dict()["state"]
    tensors |= {
        f"optimizer.{index}.{key}": value for index, slot in state.items() for key, value in slot.items()
    }
    for shadow, weights in shadows.items():
        tensors |= {f"{shadow}.{name}": tensor for name, tensor in weights.items()}
    # clones: safetensors refuses tensors that share memory, and `best` may be the current weights
    plain = {
        name: torch.as_tensor(tensor).detach().cpu().clone().contiguous() for name, tensor in tensors.items()
    }
    with atomic_path(folder / NAME) as temporary:
        save_file(plain, temporary, metadata={"progress": json.dumps(progress.__dict__)})


def load(
    folder: Path, model: nn.Module, optimizer: Adams
) -> tuple[Progress, dict[str, dict[str, Tensor]]] | None:
    """Put a checkpoint's state into model and optimiser; None where there is none.

    Raises:
        ModelError: the file is damaged or of another model.
    """
    from safetensors import safe_open

    path = folder / NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups.setdefault(group, {})[rest] = tensor
        optimised = groups.pop("optimizer", {})
        groups = {group: present_weights(weights, model) for group, weights in groups.items()}
        model.load_state_dict(groups.pop("model"))
        moments: dict[int, dict[str, Any]] = {}
        for name, tensor in optimised.items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    except Exception as error:
        raise ModelError(
            f"{path}: damaged or of another model ({error}); delete {folder} to start again"
        ) from error
    return progress, groups
