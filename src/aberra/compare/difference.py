"""The sign of a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Sign = Literal["absolute", "positive", "negative"]


def signed(difference: Tensor, mode: str) -> Tensor:
    """Absolute value of a difference, or the part of it that has the sign asked for; any shape."""
    if mode == "absolute":
        return difference.abs()
    return (difference if mode == "positive" else -difference).clamp(min=0)
