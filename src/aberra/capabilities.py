"""What a score may ask of a model. A model has a capability by having its method; there is no class tree.

Shapes: ``B`` batch, ``C`` channels, ``S`` the spatial axes of the network, ``(H, W)`` or ``(D, H, W)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Generator, Tensor

    from aberra.volume import Volume


@runtime_checkable
class Trains(Protocol):
    """Learns by gradient descent in :mod:`aberra.training`."""

    def loss(self, x: Tensor, mask: Tensor, generator: Generator) -> dict[str, Tensor]:
        """Loss of a healthy batch.

        Args:
            x: intensities, shape (B, C, S).
            mask: foreground, shape (B, 1, S), float 0/1.
            generator: the only source of randomness besides dropout, on ``x``'s device.

        Returns:
            Scalars; ``"loss"`` is minimised, the others are logged.
        """
        ...


@runtime_checkable
class Fits(Protocol):
    """Learns in one pass over prepared volumes, without gradients."""

    def fit(self, volumes: Iterable[Volume]) -> None:
        """Learn from prepared healthy volumes, seen one at a time."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """Returns the healthy version of its input."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S), deterministic."""
        ...


@runtime_checkable
class HasPosterior(Protocol):
    """Has a Gaussian posterior q(z|x)."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), each (B, K) or (B, K, S')."""
        ...


@runtime_checkable
class ScoresVolume(Protocol):
    """Scores the voxels of a whole prepared volume directly."""

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Shape (C, D, H, W) and (D, H, W) to a non-negative map (D, H, W)."""
        ...


CAPABILITIES: dict[str, type] = {
    proto.__name__: proto for proto in (Trains, Fits, Reconstructs, HasPosterior, ScoresVolume)
}
"""By name: scores list what they need in ``needs``, a tuple of these names."""
