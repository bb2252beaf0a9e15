"""Learn to Ignore: a classifier whose features stay near class centres that the target domain
chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aberra.models.classifier import SphereClassifier, expect_target
from aberra.nets.inception_resnet import BLOCKS
from aberra.nets.sphere import FASTER, SphereHead, anchors_of
from aberra.options import Dims, Edge, Levels, NotNegative, Positive, Width, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class L2I(SphereClassifier):
    """Healthy or diseased, for the scanner of few labelled people, learnt with many people of other
    scanners whose class goes with the scanner.

    Wolleb, Sandkühler, Bieder, Barakovic, Hadjikhani, Papadopoulou, Yaldizli, Kuhle, Granziera, Cattin
    2022, Learn to Ignore: Domain Adaptation for Multi-Site MRI Analysis (MICCAI, arXiv 2110.06803).
    The code f of an image is a point on the unit sphere. L_cls + 100·L_cen + L_latent
    (:class:`aberra.nets.sphere.SphereHead`): the classifier C learns from detached codes; the
    centres O and the encoder E learn from images of the target domain, one of each class in every
    batch; all images draw the encoder to the centres, and a scanner's codes have no other place to
    be.

    At the publication's width of 32, one channel, 3-D: 36,431,842 parameters, 258 of them the
    classifier's and 256 the centres'.

    Args:
        channels: C.
        dims: 2 or 3; the publication is 3-D.
        size: spatial shape S of the input; the publication has 124 × 120 × 172 voxels of 1 mm.
        target: the value of the manifest's column ``site`` of the people that the classifier is
            for.
        width: filters of the first layer; the publication has 32.
        blocks: how many of the network's three kinds; the publication has 5, 10 and 6.
        latent: K.
        radius: r.
        distance: d.
        fixed: fixed centres ±(1, …, 1) / √K, an ablation of the publication.
        centring: weight of L_cen.
        latent_weight: weight of L_latent.

    Raises:
        ConfigError: no target, or r and d that cannot be.

    Deviation: 2-D sibling; width 8 instead of 32, so that it trains on a CPU (``--set
    model.width=32``). Layers whose numbers of filters are not printed were found by counting
    parameters; that there is a ReLU between the two dense layers is ours. Weight decay is decoupled.
    """

    name = "l2i"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        target: str = "",
        width: Width = 8,
        blocks: Sequence[Levels] = BLOCKS,
        latent: Width = 128,
        radius: NotNegative = 0.1,
        distance: Positive = 1.9,
        fixed: bool = False,
        centring: NotNegative = 100.0,
        latent_weight: NotNegative = 1.0,
    ) -> None:
        expect_target(target, "l2i learns for the people of a site")
        super().__init__(
            channels=channels, dims=dims, size=size, width=width, blocks=blocks, latent=latent, target=target
        )
        self.head = SphereHead(
            latent, radius=radius, distance=distance, fixed=fixed, centring=centring, latent=latent_weight
        )
        self.anchor = self.covariates[0]

    def rate_of(self, parameter: str) -> float:
        """The centres move twice as fast as the rest."""
        return FASTER if parameter.startswith("head.centres.") else 1.0

    def logits(self, code: Tensor) -> Tensor:
        """Of healthy and diseased, (B, K) to (B, 2)."""
        logits: Tensor = self.head(code)
        return logits

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The total and its parts; validation watches the target's cross-entropy."""
        classes, code, target = self.label(batch.truth), self.code(batch.x), self.of_target(batch)
        losses = self.head.losses(code, classes, anchors_of(classes, target))
        return losses | {"error": self.watched(code, classes, target)}
