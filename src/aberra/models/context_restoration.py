"""Context restoration: a VAE that puts exchanged patches back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aberra.models.vae import VAE
from aberra.nets.swapping import PatchSwap
from aberra.options import Few, NotNegative, ShareAboveZero, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class ContextRestoration(VAE):
    """A VAE that sees healthy images of which two patches are exchanged, and is asked for the
    image as it was: it has to know what belongs where.

    Venkatakrishnan 2020 (M.Sc. thesis, TU München), algorithm 1, after Chen et al. 2019:

        L = ‖x − Dec(z)‖² + β·KL,   z ~ q(z|x̃),

    x̃ being x with patches exchanged (:class:`aberra.nets.swapping.PatchSwap`), summed over pixels,
    mean over the batch. The weights are a start for others (``training.start``), and in use the
    whole image is reconstructed. Validation measures the restoration of exchanged patches, too.

    4,542,369 parameters at 128² with one channel.

    Args:
        kl_weight: β. The thesis writes of a prior but has no such term in its objectives: 0.
        error: ``squared``, or ``norm``, ‖x − x̂‖ as the algorithm prints it.
        swaps: how often two patches are exchanged.
        edge: of a patch over that of the image; the thesis' eighth.

    Raises:
        ConfigError: as the VAE.

    Deviation: the pixels' mean in the thesis is a sum here, as of the VAE, which Adam does not see
    where β is 0. All else as :class:`aberra.models.vae.VAE`.

    Examples:
        >>> import torch
        >>> from aberra.models.context_restoration import ContextRestoration
        >>> model = ContextRestoration(channels=1, size=(32, 32), network={"width": 4}).eval()
        >>> x = torch.rand(2, 1, 32, 32)
        >>> model.code(x).shape, model.reconstruct(x).shape
        (torch.Size([2, 64, 2, 2]), torch.Size([2, 1, 32, 32]))
    """

    name = "context-restoration"
    NETWORK: ClassVar = {"name": "venkatakrishnan"}

    @configured("model", extends=VAE, without=("likelihood", "scale"))
    def __init__(
        self,
        *,
        kl_weight: NotNegative = 0.0,
        error: Literal["squared", "norm"] = "squared",
        swaps: Few = 1,
        edge: ShareAboveZero = 1 / 8,
        **options: Any,
    ) -> None:
        super().__init__(kl_weight=kl_weight, likelihood="gaussian", **options)
        self.error = error
        self.swap = PatchSwap(edge=edge, swaps=swaps)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Error of the restored image, one posterior sample an image."""
        return self.bound(batch, self.swap(batch.x, batch.mask, batch.generator))

    def negative_log_likelihood(self, x: Tensor, restored: Tensor, mask: Tensor | None = None) -> Tensor:
        """‖x − x̂‖² or ‖x − x̂‖ of each image (of ``mask``, where given): (B,)."""
        difference = (x - restored if mask is None else (x - restored) * mask).flatten(1)
        squared = difference.square().sum(dim=1)
        return squared.sqrt() if self.error == "norm" else squared
