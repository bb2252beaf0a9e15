"""A classifier of healthy and diseased images, and the common ways to keep it from learning the
scanner instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import TYPE_CHECKING, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.covariates import of_site
from aberra.errors import ConfigError
from aberra.kinds import diseased
from aberra.nets.domains import (
    class_discrepancy,
    clustered,
    confusion,
    domain_head,
    means_of,
    reversed_gradient,
    supervised_contrast,
)
from aberra.nets.inception_resnet import BASE, BLOCKS, inception_resnet
from aberra.options import Dims, Edge, Levels, NotNegative, Positive, Width, configured

if TYPE_CHECKING:
    from aberra.batch import Batch

Adaptation = Literal["none", "dann", "unlearning", "supcon", "can"]
OF_DOMAINS = ("dann", "unlearning", "can")
"""Adaptations that have to know the target."""

NECK = 1024
"""Units behind the encoder at the publication's width."""


class SphereClassifier(nn.Module):
    """What classifiers on the unit sphere share: encoder, code, classes and site.

    The encoder is Inception-ResNet-v1 (:mod:`aberra.nets.inception_resnet`), then dense layers; its
    code is scaled to length one.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        width: filters of the first layer; the publication has 32.
        blocks: of the network.
        latent: K, numbers of the code.
        target: the value of the manifest's column ``site`` of the people that the classifier is
            for; empty is all.
    """

    def __init__(
        self,
        *,
        channels: int,
        dims: int,
        size: Sequence[int],
        width: int,
        blocks: Sequence[int],
        latent: int,
        target: str,
    ) -> None:
        super().__init__()
        body = inception_resnet(channels=channels, dims=dims, size=size, width=width, blocks=blocks)
        neck = max(1, NECK * width // BASE)
        self.encoder = nn.Sequential(
            body, nn.Linear(body.features, neck, bias=False), nn.ReLU(), nn.Linear(neck, latent)
        )
        self.target = target
        self.conditions: Sequence[str] = ()
        self.covariates: Sequence[str] = of_site(target)

    def given(self, values: Sequence[float]) -> Self:
        """Itself: it learns from sites, but is told none in use."""
        del values
        return self

    def code(self, x: Tensor) -> Tensor:
        """A point on the unit sphere, (B, C, S) to (B, K)."""
        return F.normalize(self.encoder(x), dim=1)

    def logits(self, code: Tensor) -> Tensor:
        """Of healthy and diseased, (B, K) to (B, 2)."""
        raise NotImplementedError

    def classify(self, x: Tensor) -> Tensor:
        """Log-probabilities of healthy and diseased, (B, C, S) to (B, 2)."""
        return F.log_softmax(self.logits(self.code(x)).float(), dim=1)

    def label(self, lesion: Tensor) -> Tensor:
        """Class of each sample: diseased where it has a lesion voxel, (B, 1, S) to (B,)."""
        return diseased(lesion)

    def of_target(self, batch: Batch) -> Tensor:
        """Whether a sample is of the target, (B,); all are without one."""
        if not self.target:
            return torch.ones(len(batch.x), dtype=torch.bool, device=batch.x.device)
        return batch.known[:, 0] == 1

    def watched(self, code: Tensor, classes: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the target's samples, over all samples, so that those of batches can be
        averaged; weights are chosen by it.
        """
        each = F.cross_entropy(self.logits(code).float(), classes, reduction="none")
        return (each * target).mean().detach()


class Classifier(SphereClassifier):
    """Healthy or diseased, by cross-entropy.

    Baselines of Wolleb et al. 2022, Learn to Ignore (MICCAI, arXiv 2110.06803), on its encoder.
    ``adapt`` adds a loss to the cross-entropy, "domain" being whether an image is of the target:

    - ``dann``: the domain's cross-entropy, its gradient turned round before the encoder and
      multiplied by 2 / (1 + e^(−10p)) − 1, p the share of the training that is done (Ganin et al.
      2016, JMLR 17(59)).
    - ``unlearning``: a head learns the domain from the detached code, and the encoder learns that
      its answer be uniform (Tzeng et al. 2015, arXiv 1510.02192; Dinsdale, Jenkinson, Namburete
      2021, NeuroImage 228).
    - ``supcon``: supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362); the
      cross-entropy then moves the classifier only.
    - ``can``: contrastive domain discrepancy, the target's classes found by spherical k-means from
      the source's means (Kang et al. 2019, arXiv 1901.00976).

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        width: filters of the first layer; the publication has 32.
        blocks: how many of the network's three kinds; the publication has 5, 10 and 6.
        latent: K.
        target: the site that the classifier is for; empty is all.
        weighted: classes weigh as much as each other in the cross-entropy, by how often they were
            drawn so far.
        adapt: see above.
        weight: of the added loss.
        temperature: τ of ``supcon``.

    Raises:
        ConfigError: an adaptation to a target without one.

    Deviation: the baselines' settings are not published. Source is one domain, of whatever
    scanners. ``unlearning`` takes its three steps at once instead of one after the other. ``supcon``
    learns in one stage and without a second view of each image. ``can`` clusters each batch instead
    of the whole target.
    """

    name = "classifier"
    drawn: Tensor

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        width: Width = 8,
        blocks: Sequence[Levels] = BLOCKS,
        latent: Width = 128,
        target: str = "",
        weighted: bool = False,
        adapt: Adaptation = "none",
        weight: NotNegative = 1.0,
        temperature: Positive = 0.1,
    ) -> None:
        super().__init__(
            channels=channels, dims=dims, size=size, width=width, blocks=blocks, latent=latent, target=target
        )
        if adapt in OF_DOMAINS:
            expect_target(target, f"model.adapt={adapt}")
        self.weighted = weighted
        self.adapt = adapt
        self.weight = weight
        self.temperature = temperature
        self.classifier = nn.Linear(latent, 2)
        self.domain = domain_head(latent) if adapt in ("dann", "unlearning") else None
        self.register_buffer("drawn", torch.zeros(2))

    def logits(self, code: Tensor) -> Tensor:
        """Of healthy and diseased, (B, K) to (B, 2)."""
        logits: Tensor = self.classifier(code)
        return logits

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and what ``adapt`` adds; validation watches the target's cross-entropy."""
        classes, code = self.label(batch.truth), self.code(batch.x)
        seen = code.detach() if self.adapt == "supcon" else code
        weights = self._class_weights(classes) if self.weighted else None
        losses = {"classification": F.cross_entropy(self.logits(seen).float(), classes, weights)}
        if self.adapt == "supcon":
            losses["contrast"] = supervised_contrast(code, classes, self.temperature)
        elif self.adapt != "none":
            losses |= self._of_domains(code, classes, batch)
        total, *added = losses.values()
        for each in added:
            total = total + self.weight * each
        return {"loss": total, **losses, "error": self.watched(code, classes, self.of_target(batch))}

    def _class_weights(self, classes: Tensor) -> Tensor:
        if self.training:
            self.drawn += torch.bincount(classes, minlength=2).to(self.drawn)
        drawn = self.drawn.clamp(min=1)
        return drawn.sum() / (2 * drawn)

    def _of_domains(self, code: Tensor, classes: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The added losses; images of unknown site have none."""
        known = ~batch.known[:, 0].isnan()
        code, classes, domain = code[known], classes[known], (batch.known[known, 0] == 1).long()
        if self.adapt == "can":
            source, target = domain == 0, domain == 1
            found = clustered(code[target].detach(), means_of(code[source].detach(), classes[source]))
            return {"discrepancy": class_discrepancy(code[source], code[target], classes[source], found)}
        head = self.domain
        if head is None or not len(code):
            return {}
        if self.adapt == "dann":
            turned = reversed_gradient(code, 2 / (1 + exp(-10 * batch.progress)) - 1)
            return {"domain": F.cross_entropy(head(turned).float(), domain)}
        told = F.cross_entropy(head(code.detach()).float(), domain)
        return {"domain": told, "confusion": confusion(head, code)}


def expect_target(target: str, of: str) -> None:
    """Refuse to adapt to nobody.

    Raises:
        ConfigError: no target.
    """
    if not target:
        raise ConfigError(
            f"{of}: for which site? Give its value in the manifest's column 'site', as in --set model.target=NAME"
        )
