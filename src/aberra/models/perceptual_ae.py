"""An autoencoder that is held to features of the image, and not to its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.models.ae import AE
from aberra.models.simclr import SimCLR
from aberra.nets.networks import Choice
from aberra.options import Dims, Edge, Maybe, ShareBelowOne, Width, configured
from aberra.registry import build, fitting_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.nn import Parameter

    from aberra.batch import Batch

Stage = Literal["encoder", "autoencoder"]


class PerceptualAE(nn.Module):
    """First an encoder learns features of healthy images by SimCLR; then an autoencoder learns to
    copy the images such that their features f agree, and the pixels are not asked for.

    Shvetsova, Bakker, Fedulova, Schulz, Dylov 2021, *Anomaly Detection in Medical Imaging with Deep
    Perceptual Autoencoders* (IEEE Access 9, arXiv 2006.13265), the relative perceptual loss

        L = ‖f(x) − f(x̂)‖₁ / ‖f(x)‖₁,

    which does not depend on the contrast of the image; for the MOOD challenge 2020 with SimCLR's
    features of the healthy scans themselves (Zimmerer et al. 2022, IEEE TMI 41). Here its mean over
    ``levels`` of the encoder. The map has the difference where it is, enlarged to the pixels.

    Encoder and autoencoder are tables, ``name`` and options::

        [model.encoder]
        name = "simclr"
        latent = 512

        [model.autoencoder]
        name = "ae"
        latent = 128

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        encoder: ``simclr``.
        autoencoder: ``ae``.
        levels: which maps of the encoder, 0 being the finest.
        pretraining: share of the training steps that the encoder learns in; 0 where its weights
            come from another training (``training.start``).

    Raises:
        ConfigError: another model, an option of either that cannot be, or a level that the encoder
            does not have.

    Deviation: the encoder's features are behind batch norm, and not standardised again; the paper
    takes one layer of VGG19, standardised.

    Examples:
        >>> import torch
        >>> from aberra.models.perceptual_ae import PerceptualAE
        >>> small = {"encoder": {"network": {"width": 4}}, "autoencoder": {"network": {"width": 4}}}
        >>> model = PerceptualAE(channels=1, size=(32, 32), **small).eval()
        >>> [model.stage(progress) for progress in (0.0, 0.4, 0.5)]
        ['encoder', 'encoder', 'autoencoder']
        >>> model.score_pixels(torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 1, 32, 32])
    """

    name = "perceptual-ae"
    TABLES: ClassVar = {"encoder": ("models", {"name": "simclr"}), "autoencoder": ("models", {"name": "ae"})}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        encoder: Choice = None,
        autoencoder: Choice = None,
        levels: Sequence[Maybe] = (1,),
        pretraining: ShareBelowOne = 0.5,
    ) -> None:
        super().__init__()
        of, shape = type(self), {"channels": channels, "dims": dims, "size": size}
        sees = fitting_table(
            of, "encoder", encoder, lambda model: issubclass(model, SimCLR), expected="an encoder of views"
        )
        copies = fitting_table(
            of, "autoencoder", autoencoder, lambda model: model is AE, expected="an autoencoder"
        )
        self.encoder: SimCLR = build("models", sees, **shape)
        self.autoencoder: AE = build("models", copies, **shape)
        self.levels = tuple(levels)
        self.pretraining = pretraining
        with torch.no_grad():
            count = len(self.encoder.eval().feature_maps(torch.zeros(1, channels, *size)))
            self.encoder.train()
        if not levels or max(levels) >= count:
            raise ConfigError(
                f"model.levels={list(levels)}: the encoder has {count} map(s) at this size, numbered from 0"
            )

    def stage(self, progress: float) -> Stage:
        """What learns after that share of the steps."""
        return "encoder" if progress < self.pretraining else "autoencoder"

    def turns(self, progress: float) -> Sequence[str]:
        """The stage, which has every turn of its steps."""
        return (self.stage(progress),)

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """The parameters of each stage."""
        return {"encoder": self.encoder.parameters(), "autoencoder": self.autoencoder.parameters()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """That of the stage, by the turn's name or, in validation, by the progress."""
        if (batch.turn or self.stage(batch.progress)) == "encoder":
            return self.encoder.loss(batch)
        apart = self._apart(batch.x, self.reconstruct(batch.x))
        return {"loss": torch.stack([each.mean() for each in apart]).mean()}

    def reconstruct(self, x: Tensor) -> Tensor:
        """The autoencoder's: (B, C, S) to (B, C, S)."""
        return self.autoencoder.reconstruct(x)

    def score_pixels(self, x: Tensor) -> Tensor:
        """Relative difference of the features, mean over the levels, (B, C, S) to (B, 1, S)."""
        mode = "bilinear" if x.ndim == 4 else "trilinear"
        apart = self._apart(x, self.reconstruct(x))
        enlarged = [F.interpolate(each[:, None], x.shape[2:], mode=mode) for each in apart]
        return torch.stack(enlarged).mean(dim=0)

    def _apart(self, x: Tensor, restored: Tensor) -> list[Tensor]:
        """:func:`relative_difference` of each level, (B, S')."""
        self.encoder.eval()  # its batch norm has learnt, and must not follow the reconstructions
        with torch.autocast(
            x.device.type, enabled=False
        ):  # in bf16 the difference of like features is rounding
            pairs = zip(*(self.encoder.feature_maps(each.float()) for each in (x, restored)), strict=True)
            chosen = [pair for level, pair in enumerate(pairs) if level in self.levels]
        return [relative_difference(one, other) for one, other in chosen]


def relative_difference(one: Tensor, other: Tensor) -> Tensor:
    """``Σ|f − g|`` over the channels at each place, over the mean of ``Σ|f|`` over all places: (B,
    F, S') twice to (B, S').

    Its mean is ‖f − g‖₁ / ‖f‖₁.
    """
    apart = (one - other).abs().sum(dim=1)
    size = one.abs().sum(dim=1).flatten(1).mean(dim=1).clamp(min=torch.finfo(one.dtype).tiny)
    return apart / size.view(-1, *[1] * (apart.ndim - 1))
