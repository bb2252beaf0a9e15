"""What of a detector is a plain function of a slice or patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from aberra.capabilities import AsksOnce, Denoises, Grows, Reconstructs, SegmentsInSteps
from aberra.errors import PairingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from aberra.detector import Detector

Gives = Literal["map", "reconstruction"]


class Graph(nn.Module):
    """A function of prepared slices or patches: (B, C, S) to (B, 1, S), or to (B, C, S).

    Attributes:
        gives: ``map``, the anomaly map, or ``reconstruction``, the healthy version.
        why: of a reconstruction, why it is not the map.
    """

    gives: Gives
    why: str = ""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class MapGraph(Graph):
    """The map as the detector's own score makes it.

    A score asks its questions through a :class:`aberra.detector.windows.Runner`, over a volume (C,
    D, H, W), and treats all voxels alike. So windows side by side, (C, B, S), are a volume to it,
    too, and what runs over that is a single call.
    """

    gives = "map"

    def __init__(self, model: nn.Module, score: Any) -> None:
        super().__init__(model)
        self.score = score

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S) to (B, 1, S)."""
        everywhere = torch.ones_like(x[:, 0], dtype=torch.bool)
        found: Tensor = self.score(self.model, x.transpose(0, 1), everywhere, _at_once).map
        return found[:, None]


class ReconstructionGraph(Graph):
    """The model's reconstruction."""

    gives = "reconstruction"

    def __init__(self, model: nn.Module, why: str) -> None:
        super().__init__(model)
        self.why = why

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S) to (B, C, S)."""
        found: Tensor = self.model.reconstruct(x).float()  # type: ignore[operator]
        return found


def graph_of(detector: Detector) -> Graph:
    """The map of a detector where its score asks the model once, else its reconstruction.

    Raises:
        PairingError: the model gives neither.
    """
    model, score = detector.model, detector.question.score.score
    name, title = detector.method.model["name"], detector.method.score["name"]
    steps = isinstance(model, SegmentsInSteps | Denoises)
    if isinstance(score, AsksOnce) and score.once and not steps:
        return MapGraph(model, score).eval()
    if isinstance(model, Reconstructs) and not steps:
        why = f"the score '{title}' asks for gradients, many passes or the whole scan, which a graph has not"
        return ReconstructionGraph(model, why).eval()
    why = (
        "takes noise out in many steps, each a call of its network"
        if steps
        else "has no network that makes an image of an image (it is fitted to each scan, classifies, or knows a density only)"
    )
    raise PairingError(
        f"{detector.identity['name']}: cannot be exported: the model '{name}' {why}. Use it by `aberra detect`, "
        "or export a detector whose map is one pass of a network, such as flair or an autoencoder"
    )


def shapes_of(detector: Detector) -> list[tuple[int, ...]]:
    """Two shapes (B, C, S) that differ in all that may differ: what a graph is traced with and
    checked on.
    """
    channels, size, step = channels_of(detector), tuple(detector.size), multiple_of(detector)
    smaller = tuple(max(2 * step, edge // (2 * step) * step) for edge in size) if step else size
    return [(1, len(channels), *size), (3, len(channels), *smaller)]


def channels_of(detector: Detector) -> tuple[str, ...]:
    """Channels of a prepared scan."""
    return (*detector.channels, *detector.recipe.appends)


def multiple_of(detector: Detector) -> int:
    """Voxels that each edge of a patch may be any multiple of; 0 where its shape is fixed."""
    model = detector.model
    return model.grows if isinstance(model, Grows) and detector.dims == 3 else 0


def _at_once(
    function: Callable[..., Tensor],
    x: Tensor,
    mask: Tensor,
    *,
    also: Sequence[Tensor] = (),
    grad: bool = False,
) -> Tensor:
    """Stands for a Runner: all of (C, B, S) is one batch of windows."""
    del mask, grad
    return function(*(each.transpose(0, 1) for each in (x, *also))).transpose(0, 1)
