"""Multi-task VAE: reconstructs a slice and tells how it was turned and shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.models.pretrained_vae import PretrainedVAE
from aberra.models.vae import kl_to_standard_normal, posterior_sample
from aberra.nets.transformations import CLASSES, COUNT, Order, Transformations
from aberra.options import NotNegative, ShareAboveZero, configured

if TYPE_CHECKING:
    from aberra.batch import Batch


class Multitask(PretrainedVAE):
    """After context restoration, a VAE of turned and shifted slices with a head that tells the turn
    and the shifts.

    Venkatakrishnan 2020 (M.Sc. thesis, TU München), algorithm 3:

        L = Σ_h −log p_h(y_h|T(x)) + w·‖T(x) − x̂‖² / n + β·KL / n,

    T being one of 36 transformations (:class:`aberra.nets.transformations.Transformations`), y_h
    its label of head h (shift along, shift down, turn: 10 logits), x̂ the reconstruction of T(x) and
    n the number of its values. The head is one linear layer on the encoder's features, before a
    code is drawn. Mean over the batch. Training logs both terms as they are and their
    ``ratio``, which is the w that would make them equal.

    4,562,859 parameters at 128² with one channel, 20,490 of them the head's.

    Args:
        weight: w. The thesis took 100, since the two terms differed by about as much.
        shift: over the edge.
        order: ``turn-first`` or ``shift-first``.

    Raises:
        ConfigError: as context restoration, or slices that are not as high as wide.

    Deviation: the thesis does not tell whether x or T(x) is reconstructed; here one pass does both
    tasks. Three independent labels are our reading of "six translations, rotation 0–4". With
    ``error = "norm"`` the second term is ‖T(x) − x̂‖ / √n. All else
    as :class:`aberra.models.pretrained_vae.PretrainedVAE`.

    Examples:
        >>> import torch
        >>> from aberra.models.multitask import Multitask
        >>> model = Multitask(channels=1, size=(32, 32), network={"width": 4}).eval()
        >>> [logits.shape[1] for logits in model.logits(torch.rand(2, 1, 32, 32))]
        [3, 3, 4]
        >>> model.certainty(torch.rand(2, 1, 32, 32), 0).shape
        torch.Size([2])
    """

    name = "multitask"

    @configured("model", extends=PretrainedVAE)
    def __init__(
        self,
        *,
        weight: NotNegative = 100.0,
        shift: ShareAboveZero = 1 / 8,
        order: Order = "turn-first",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        network = self.network
        self.weight = weight
        self.transform = Transformations(size=network.size, shift=shift, order=order)
        with torch.no_grad():
            self.encoder.eval()
            features = self.encoder(torch.zeros(1, network.channels, *network.size)).numel()
            self.encoder.train()
        self.head = nn.Linear(features, sum(CLASSES))

    def logits(self, x: Tensor) -> tuple[Tensor, ...]:
        """Of the shift along, the shift down and the turn: (B, C, S) to (B, 3), (B, 3) and (B, 4)."""
        return self._heads(self.encoder(x))

    def transformations(self) -> int:
        """How many there are; number 0 changes nothing."""
        return COUNT

    def certainty(self, x: Tensor, number: int) -> Tensor:
        """Probability of the true label after a transformation, mean over the three heads: (B, C,
        S) to (B,), in [0, 1].
        """
        numbers = torch.full((len(x),), number, device=x.device)
        truth = self.transform.labels[numbers]
        heads = self.logits(self.transform(x, numbers))
        found = [
            logits.float().softmax(dim=1).gather(1, label.unsqueeze(1))
            for logits, label in zip(heads, truth.unbind(dim=1), strict=True)
        ]
        return torch.cat(found, dim=1).mean(dim=1)

    def reconstruction_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Both tasks on transformed images."""
        numbers = torch.randint(COUNT, (len(batch.x),), generator=batch.generator, device=batch.x.device)
        x, mask = (self.transform(each, numbers) for each in (batch.x, batch.mask))
        features = self.encoder(x)
        mean, log_variance = self.mean(features), self.log_variance(features)
        restored = self.decode(posterior_sample(mean, log_variance, batch.generator))
        values = x[0].numel()
        error = self.negative_log_likelihood(x, restored, mask if self.masked else None).mean()
        image = error / (values if self.error == "squared" else values**0.5)
        kl = kl_to_standard_normal(mean, log_variance).mean() / values
        truth = self.transform.labels[numbers].unbind(dim=1)
        told = [
            F.cross_entropy(logits, label) for logits, label in zip(self._heads(features), truth, strict=True)
        ]
        transformation = torch.stack(told).sum()
        return {
            "loss": transformation + self.weight * image + self.weighted(kl, batch.step),
            "transformation": transformation,
            "image": image,
            "kl": kl,
            "ratio": (transformation / image).detach(),
        }

    def _heads(self, features: Tensor) -> tuple[Tensor, ...]:
        """Logits of the encoder's features."""
        return self.head(features.flatten(1)).split(CLASSES, dim=1)  # type: ignore[no-any-return]
