"""Class centres on the unit sphere: features of one class are drawn to one point, whatever the
scanner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

CLASSES = 2

FASTER = 2.0
"""Learning rate of centres over that of all else: 1e-4 against 5e-5."""


class Centres(nn.Module):
    """A point on the unit sphere for each class, and what draws features there.

    Wolleb et al. 2022, Learn to Ignore (MICCAI, arXiv 2110.06803), f on the sphere S^{K−1}, o_i the
    centre of f's class:

    - L_cen = max(‖f − o_i‖ − r, 0)² + Σ_{k≠i} ½·max(d − ‖o_k − o_i‖, 0)² (:meth:`centring`),
    - L_latent = max(‖f − o_i‖ − r, 0)², o fixed (:meth:`latent`).

    Args:
        features: K.
        radius: r, how far from its centre a feature may be.
        distance: d, how far apart centres have to be; on the unit sphere 2 at most.
        fixed: the centres are ±(1, …, 1) / √K and do not learn.

    Raises:
        ConfigError: the balls of radius r around two centres at distance d meet, or no two points
            of the sphere are that far apart.
    """

    def __init__(self, features: int, *, radius: float, distance: float, fixed: bool = False) -> None:
        super().__init__()
        if not 2 * radius < distance <= 2:
            raise ConfigError(
                f"model.radius={radius:g}, model.distance={distance:g}: expected 2·radius < distance ≤ 2, the diameter of the unit sphere"
            )
        self.radius = radius
        self.distance = distance
        if fixed:
            ones = torch.ones(1, features)
            self.register_buffer("raw", torch.cat([ones, -ones]))
        else:
            self.raw = nn.Parameter(torch.randn(CLASSES, features))

    @property
    def points(self) -> Tensor:
        """The centres, (2, K), of unit length."""
        return F.normalize(self.raw, dim=1)

    def centring(self, features: Tensor, classes: Tensor) -> Tensor:
        """Mean of L_cen, of features (B, K) and their classes (B,); moves features and centres."""
        points = self.points
        away = torch.linalg.vector_norm(points[classes][:, None] - points[None], dim=2)
        others = F.one_hot(classes, CLASSES) == 0
        apart = 0.5 * ((self.distance - away).clamp(min=0) ** 2 * others).sum(dim=1)
        each: Tensor = self._within(features, points[classes]) + apart
        return each.mean()

    def latent(self, features: Tensor, classes: Tensor) -> Tensor:
        """Mean of L_latent, of features (B, K) and their classes (B,); moves features only."""
        return self._within(features, self.points.detach()[classes]).mean()

    def _within(self, features: Tensor, points: Tensor) -> Tensor:
        gap = torch.linalg.vector_norm(features - points, dim=1)
        beyond: Tensor = (gap - self.radius).clamp(min=0)
        return beyond.square()


class SphereHead(nn.Module):
    """Features on the unit sphere, a linear classifier of them, and centres; what Learn to Ignore
    trains.

    Total = L_cls + 100·L_cen + L_latent (the weights are arguments): L_cls is the cross-entropy of
    the classifier C, whose features are detached, so that it moves C alone; L_cen is of anchors,
    images of the target domain; L_latent of all images.

    Args:
        features: K.
        radius: r.
        distance: d.
        fixed: see :class:`Centres`.
        centring: weight of L_cen.
        latent: weight of L_latent.
    """

    def __init__(
        self,
        features: int,
        *,
        radius: float = 0.1,
        distance: float = 1.9,
        fixed: bool = False,
        centring: float = 100.0,
        latent: float = 1.0,
    ) -> None:
        super().__init__()
        self.centres = Centres(features, radius=radius, distance=distance, fixed=fixed)
        self.classifier = nn.Linear(features, CLASSES)
        self.weights = (centring, latent)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of healthy and diseased, (B, K) on the sphere to (B, 2)."""
        logits: Tensor = self.classifier(features)
        return logits

    def losses(self, features: Tensor, classes: Tensor, anchors: Sequence[int]) -> dict[str, Tensor]:
        """The total and its parts.

        Args:
            features: on the sphere, (B, K).
            classes: (B,).
            anchors: places in the batch of the images that L_cen is of; none leaves it out.
        """
        centring, latent = self.weights
        parts = {
            "classification": F.cross_entropy(self(features.detach()).float(), classes),
            "latent": self.centres.latent(features, classes),
        }
        total = parts["classification"] + latent * parts["latent"]
        if len(anchors):
            chosen = torch.as_tensor(anchors, device=features.device)
            parts["centring"] = self.centres.centring(features[chosen], classes[chosen])
            total = total + centring * parts["centring"]
        return {"loss": total, **parts}


class SphereGuide(nn.Module):
    """A classifier of noised images that learns to ignore the scanner.

    Args:
        encoder: (B, C, S) and steps (B,) to features (B, K).
        features: K.
    """

    def __init__(self, encoder: nn.Module, features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = SphereHead(features)

    def code(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """A point on the unit sphere, (B, K)."""
        return F.normalize(self.encoder(noisy, steps).float(), dim=1)

    def forward(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """Logits of healthy and diseased, (B, 2)."""
        logits: Tensor = self.head(self.code(noisy, steps))
        return logits

    def losses(self, noisy: Tensor, steps: Tensor, classes: Tensor, target: Tensor) -> dict[str, Tensor]:
        """As of :class:`SphereHead`; ``target`` (B,) says which images are of the target domain."""
        return self.head.losses(self.code(noisy, steps), classes, anchors_of(classes, target))


def anchors_of(classes: Tensor, there: Tensor) -> list[int]:
    """Places in a batch of the last image of each class that is there.

    Args:
        classes: (B,).
        there: whether an image may be taken, (B,).

    Examples:
        >>> import torch
        >>> from aberra.nets.sphere import anchors_of
        >>> anchors_of(torch.tensor([0, 1, 0, 1]), torch.tensor([True, True, True, False]))
        [2, 1]
    """
    found = []
    for each in range(CLASSES):
        places = torch.nonzero((classes == each) & there)[:, 0]
        found += places[-1:].tolist()
    return found
