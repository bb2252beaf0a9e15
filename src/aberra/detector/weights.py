"""A model's weights as the bytes that are saved, and their hash."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "weights.safetensors"
"""Their file in a detector's folder."""


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that are saved, on the CPU, in the order of their memory."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of the file that the weights would be saved as: what :func:`aberra.files.file_hash`
    says of it when they are.
    """
    from safetensors.torch import save

    return sha256(save(state_of(model))).hexdigest()
