"""Kinds of lesion that a model tells apart, by their label values in mask files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from aberra.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def checked(kinds: Sequence[int]) -> tuple[int, ...]:
    """Label values as a tuple.

    Raises:
        ConfigError: values outside 1 to 255, or one that is there twice.
    """
    if len(set(kinds)) < len(kinds) or any(not 1 <= int(value) == value <= 255 for value in kinds):
        raise ConfigError(
            f"model.kinds={list(kinds)}; expected different label values of the lesion masks, 1 to 255"
        )
    return tuple(int(value) for value in kinds)


def one_hot(lesion: Tensor, kinds: Sequence[int]) -> Tensor:
    """Label values (B, 1, S) to 0 and 1 for each of K kinds, (B, K, S); other values are
    background. Without kinds unchanged.
    """
    if not kinds:
        return lesion
    return torch.cat([lesion == value for value in kinds], dim=1).to(lesion.dtype)


def diseased(lesion: Tensor) -> Tensor:
    """Class of each sample, 1 where it has a lesion voxel: (B, 1, S) to (B,), long."""
    return (lesion.flatten(1).amax(dim=1) > 0).long()
