"""What label values in mask files mean: kinds of lesion that a model tells apart, and guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from aberra.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

GUESSED = "guessed"
"""Manifest column that is 1 where ``lesion`` was outlined by a method and not by a person: its
values are 0, 1 (lesion) and :data:`UNDECIDED`."""

UNDECIDED = 2
"""Label value of a guess where nothing is said."""

UNTOLD, GUESSES = -3.0, -2.0
"""What models that learn from unlabelled samples, too, get as truth where nobody has said it:
nothing is known, or a guess of 0 or 1 added to :data:`GUESSES`."""


def is_guessed(known: Mapping[str, str]) -> bool:
    """Whether what a manifest says of a case calls its lesion mask a guess.

    Raises:
        InputError: the column says neither 1 nor 0.

    Examples:
        >>> from aberra.kinds import is_guessed
        >>> is_guessed({"guessed": "1"}), is_guessed({"site": "1"})
        (True, False)
    """
    value = known.get(GUESSED, "").strip()
    if value not in {"", "0", "1"}:
        raise InputError(
            f"{GUESSED} '{value}': expected 1 where the lesion mask is a guess, else 0 or nothing"
        )
    return value == "1"


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
