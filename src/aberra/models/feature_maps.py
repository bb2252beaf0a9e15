"""A density on the feature maps of an encoder: where, and not only whether, features are unusual."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.capabilities import Fits, FitsSamples, HasFeatures, Trains
from aberra.densities.map_density import MapDensity, Maps
from aberra.errors import ConfigError
from aberra.models.feature_density import learns_alone
from aberra.nets.networks import Choice
from aberra.options import Dims, Edge, Maybe, Reach, Width, configured
from aberra.registry import build, fitting_table, lookup, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aberra.batch import Batch

LEARN = (Trains, Fits, FitsSamples)


class FeatureMaps(nn.Module):
    """How unlikely the features of each location are: an encoder learns first, then a density
    learns its feature maps of healthy images.

    Encoder and density are tables, ``name`` and options::

        [model.encoder]
        name = "context-restoration"

        [model.density]
        name = "memory-bank"
        budget = 4096

    The features of a location are those of several levels of the encoder, each averaged over its
    neighbourhood, enlarged to the finest of them and put together (Roth et al. 2022, PatchCore,
    arXiv 2106.08265, section 3.1). The map is the density's energy of each location, enlarged to
    the image.

    The encoder's training is the method's (its loss is this model's), and it stands still from then
    on; or it is ``frozen`` from the beginning, and brings weights that were learnt elsewhere.
    The density is learnt after it, from as many samples as ``training.samples`` says, without
    augmentation.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        encoder: a model that has feature maps (:class:`aberra.capabilities.HasFeatures`) and one
            loss, or none, as ``resnet`` and ``vit``.
        density: of maps: ``memory-bank``, ``padim`` or ``feature-ar``.
        levels: which maps of the encoder, 0 being the finest, ascending.
        pool: edge of the neighbourhood that features are averaged over, odd; 1 is the location
            itself.
        frozen: the encoder does not learn: all of its weights are those of ``training.start``, a
            detector of the same model or a ``.safetensors`` file. ``resnet`` and ``vit`` never
            learn here.

    Raises:
        ConfigError: an encoder that has no feature maps or learns in another way, a level that it
            does not have, or an option of either table that cannot be.
        NotFittedError: asked before the density is learnt.

    Examples:
        >>> import torch
        >>> from aberra.models.feature_maps import FeatureMaps
        >>> encoder = {"name": "context-restoration", "network": {"width": 4}}
        >>> model = FeatureMaps(channels=1, size=(32, 32), encoder=encoder, levels=[0, 1]).eval()
        >>> x = torch.rand(20, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> sorted(model.fit_density(x[:15], x[15:], seed=0))
        ['bank', 'radius', 'validation']
        >>> model.score_pixels(x[:2]).shape
        torch.Size([2, 1, 32, 32])
    """

    name = "feature-maps"
    TABLES: ClassVar = {
        "encoder": ("models", {"name": "context-restoration"}),
        "density": ("densities", {"name": "memory-bank"}),
    }

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        encoder: Choice = None,
        density: Choice = None,
        levels: Sequence[Maybe] = (1, 2),
        pool: Reach = 3,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.frozen = self.would_freeze({"encoder": encoder, "frozen": frozen})
        if not levels or any(after <= before for before, after in pairwise(levels)):
            raise ConfigError(
                f"model.levels={list(levels)}; expected ascending numbers, 0 being the finest map"
            )
        if not pool % 2:
            raise ConfigError(f"model.pool={pool}; expected an odd number of locations")
        self.levels = tuple(levels)
        self.pool = pool
        inner = fitting_table(type(self), "encoder", encoder, _has_maps, expected="a model with feature maps")
        head = fitting_table(type(self), "density", density, _of_maps, expected="a density of feature maps")
        self.encoder = build("models", inner, channels=channels, dims=dims, size=size)
        with torch.no_grad():
            self.encoder.eval()
            found = self._maps(torch.zeros(1, channels, *size))
            self.encoder.train()
        self.density = build("densities", head, features=found.shape[1], size=tuple(found.shape[2:]))
        # the optimiser of the encoder's training leaves it alone
        self.density.requires_grad_(requires_grad=False)

    @classmethod
    def would_freeze(cls, options: Mapping[str, Any]) -> bool:
        """Whether an encoder is to keep the weights that it is given, or has no other way."""
        inner = lookup("models", table_of(cls, "encoder", options.get("encoder"))["name"])
        return bool(options.get("frozen")) or not issubclass(inner, Trains)

    def is_frozen(self) -> bool:
        """Whether the encoder keeps the weights that it is given."""
        return self.frozen

    def renamed(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of others under the names that the encoder's have."""
        rename = getattr(self.encoder, "renamed", None)
        found: Mapping[str, Tensor] = weights if rename is None else rename(weights)
        return found

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's."""
        losses: dict[str, Tensor] = self.encoder.loss(batch)
        return losses

    @torch.no_grad()
    def fit_density(self, x: Tensor, validation: Tensor, seed: int) -> Mapping[str, Any]:
        """Learn the density of the maps of healthy samples ``x`` (N, C, S); ``validation`` (M, C,
        S) may be empty.
        """
        learnt, watched = (Maps(each, self._on_device).kept() for each in (x, validation))
        chosen: Mapping[str, Any] = self.density.fit(learnt, watched, seed)
        return chosen

    def score_pixels(self, x: Tensor) -> Tensor:
        """Energy of the location that a pixel lies in, (B, C, S) to (B, 1, S), enlarged linearly."""
        with torch.autocast(x.device.type, enabled=False):  # distances need the features' digits
            energy = self.density.energy(self._maps(x))[:, None]
            return _enlarged(energy, x.shape[2:])

    def _maps(self, x: Tensor) -> Tensor:
        """Features of all locations, (B, C, S) to (B, F, S')."""
        every = self.encoder.feature_maps(x.float())
        if self.levels[-1] >= len(every):
            raise ConfigError(
                f"model.levels={list(self.levels)}: the encoder has {len(every)} map(s) at this size, "
                f"of {', '.join('×'.join(map(str, each.shape[2:])) for each in every)} locations, numbered from 0"
            )
        mean = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
        chosen = [
            mean(every[level], self.pool, stride=1, padding=self.pool // 2, count_include_pad=False)
            for level in self.levels
        ]
        return torch.cat([_enlarged(each, chosen[0].shape[2:]) for each in chosen], dim=1)

    def _on_device(self, x: Tensor) -> Tensor:
        return self._maps(x.to(self.density.mean.device))


def _enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, F, S') to (B, F, S), linearly."""
    mode = "bilinear" if maps.ndim == 4 else "trilinear"
    return F.interpolate(maps, tuple(size), mode=mode, align_corners=False)


def _has_maps(model: type[Any]) -> bool:
    return issubclass(model, HasFeatures) and (learns_alone(model) or not issubclass(model, LEARN))


def _of_maps(density: type[Any]) -> bool:
    return issubclass(density, MapDensity)
