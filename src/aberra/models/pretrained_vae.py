"""A VAE that first learns to put exchanged patches back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aberra.models.context_restoration import ContextRestoration
from aberra.options import ShareBelowOne, configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor
    from torch.nn import Parameter

    from aberra.batch import Batch

Stage = Literal["restoration", "reconstruction"]


class PretrainedVAE(ContextRestoration):
    """Context restoration, then plain reconstruction with the same weights.

    Venkatakrishnan 2020 (M.Sc. thesis, TU München), algorithm 2: first the loss
    of :class:`aberra.models.context_restoration.ContextRestoration`, then L = ‖x − Dec(z)‖² + β·KL
    with z ~ q(z|x), x being whole. Adam begins anew with the second stage.

    4,542,369 parameters at 128² with one channel.

    Args:
        pretraining: share of the training steps that restores patches; 0 where the weights come
            from such a training already (``training.start``).

    Raises:
        ConfigError: as context restoration.

    Deviation: in the thesis each stage is stopped by eye. All else
    as :class:`aberra.models.context_restoration.ContextRestoration`.

    Examples:
        >>> from aberra.models.pretrained_vae import PretrainedVAE
        >>> model = PretrainedVAE(channels=1, size=(32, 32), network={"width": 4}, pretraining=0.25)
        >>> [model.stage(progress) for progress in (0.0, 0.2, 0.25)]
        ['restoration', 'restoration', 'reconstruction']
    """

    name = "pretrained-vae"

    @configured("model", extends=ContextRestoration)
    def __init__(self, *, pretraining: ShareBelowOne = 0.5, **options: Any) -> None:
        super().__init__(**options)
        self.pretraining = pretraining

    def stage(self, progress: float) -> Stage:
        """What is learnt after that share of the steps."""
        return "restoration" if progress < self.pretraining else "reconstruction"

    def turns(self, progress: float) -> Sequence[str]:
        """The stage, which has every turn of its steps."""
        return (self.stage(progress),)

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """All parameters in either stage."""
        return {"restoration": self.parameters(), "reconstruction": self.parameters()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """That of the stage, by the turn's name or, in validation, by the progress."""
        if (batch.turn or self.stage(batch.progress)) == "restoration":
            return super().loss(batch)
        return self.reconstruction_loss(batch)

    def reconstruction_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Of the second stage."""
        return self.bound(batch, batch.x)
