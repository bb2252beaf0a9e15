"""A density on the codes of a trained encoder (CRADL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from aberra.capabilities import Encodes, LearnsFromLesions, LearnsFromPlanted, LearnsInTurns, Trains
from aberra.densities.density import Density
from aberra.nets.networks import Choice
from aberra.options import Dims, Edge, Width, configured
from aberra.registry import build, fitting_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aberra.batch import Batch

BATCH = 64
"""Images that are encoded at a time."""


class FeatureDensity(nn.Module):
    """log p(z(x)): an encoder learns first, then a density learns the codes of healthy images.

    Lüth et al. 2023 (CRADL, arXiv 2301.02126): ``simclr`` as encoder, on whose features a mixture
    of Gaussians or RealNVP is learnt; the same densities on the posterior means of a VAE or a
    context VAE are what it is compared with. Encoder and density are tables, ``name`` and options::

        [model.encoder]
        name = "vae"
        latent = 128

        [model.density]
        name = "gmm"
        components = [1, 2, 4, 8]

    The encoder's training is the method's (its loss is this model's). The density is learnt after
    it, on the codes of as many samples as ``training.samples`` says, without augmentation; what it
    has to choose, it chooses by the likelihood of healthy validation samples.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        encoder: a model that has codes (:class:`aberra.capabilities.Encodes`) and one loss; a code
            that is a map is flattened.
        density: ``gmm`` or ``realnvp``.

    Raises:
        ConfigError: an encoder that has no codes or learns in another way, or an option of either
            table that cannot be.
        NotFittedError: asked before the density is learnt.

    Deviation: log p is taken relative to the likeliest training sample, so that −log p of what is
    healthy begins near 0. No gradient and no order of samples depends on that.

    Examples:
        >>> import torch
        >>> from aberra.models.feature_density import FeatureDensity
        >>> encoder = {"name": "ae", "latent": 4, "network": {"width": 4}}
        >>> density = {"name": "gmm", "components": [1]}
        >>> model = FeatureDensity(channels=1, size=(32, 32), encoder=encoder, density=density)
        >>> x = torch.rand(20, 1, 32, 32)
        >>> model.eval().fit_density(x[:15], x[15:], seed=0)["components"]
        1
        >>> model.log_density(x[:2]).shape
        torch.Size([2])
    """

    name = "feature-density"
    TABLES: ClassVar = {
        "encoder": ("models", {"name": "simclr"}),
        "density": ("densities", {"name": "gmm"}),
    }
    level: Tensor

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        encoder: Choice = None,
        density: Choice = None,
    ) -> None:
        super().__init__()
        inner = fitting_table(type(self), "encoder", encoder, _can_encode, expected="a model with codes")
        head = fitting_table(
            type(self),
            "density",
            density,
            _of_codes,
            expected="a density of codes",
            hint="; model.name=feature-maps takes densities of feature maps",
        )
        self.encoder = build("models", inner, channels=channels, dims=dims, size=size)
        with torch.no_grad():
            self.encoder.eval()
            features = self._vectors(torch.zeros(1, channels, *size)).shape[1]
            self.encoder.train()
        self.density = build("densities", head, features=features)
        # the optimiser of the encoder's training leaves it alone
        self.density.requires_grad_(requires_grad=False)
        self.register_buffer("level", torch.zeros(()))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's."""
        losses: dict[str, Tensor] = self.encoder.loss(batch)
        return losses

    @torch.no_grad()
    def fit_density(self, x: Tensor, validation: Tensor, seed: int) -> Mapping[str, Any]:
        """Learn the density of the codes of healthy samples ``x`` (N, C, S); ``validation`` (M, C,
        S) may be empty.
        """
        learnt, watched = (self._codes(each) for each in (x, validation))
        chosen: Mapping[str, Any] = self.density.fit(learnt, watched, seed)
        self.level.copy_(
            torch.cat([self.density.log_density(part) for part in torch.split(learnt, BATCH)]).max()
        )
        return chosen

    def log_density(self, x: Tensor) -> Tensor:
        """Log p(z(x)) − its greatest value of a training sample, (B, C, S) to (B,)."""
        with torch.autocast(x.device.type, enabled=False):  # a narrow density needs the codes' digits
            found: Tensor = self.density.log_density(self._vectors(x)) - self.level
        return found

    def _vectors(self, x: Tensor) -> Tensor:
        """Codes as vectors, (B, C, S) to (B, F)."""
        code: Tensor = self.encoder.code(x).flatten(1)
        return code

    def _codes(self, x: Tensor) -> Tensor:
        """Codes of samples on any device, on the density's, (N, F)."""
        if not len(x):
            return self.level.new_zeros((0, self.density.mean.numel()))
        return torch.cat(
            [self._vectors(part.to(self.level.device)).float() for part in torch.split(x, BATCH)]
        )


def learns_alone(model: type[Any]) -> bool:
    """Whether a model learns from healthy samples by one loss."""
    others = (LearnsInTurns, LearnsFromLesions, LearnsFromPlanted)
    return issubclass(model, Trains) and not any(issubclass(model, each) for each in others)


def _can_encode(model: type[Any]) -> bool:
    return issubclass(model, Encodes) and learns_alone(model)


def _of_codes(density: type[Any]) -> bool:
    return issubclass(density, Density)
