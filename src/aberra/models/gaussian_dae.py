"""Denoising autoencoder with white noise and a narrow code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.models.ae import AE
from aberra.options import Positive, configured

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.batch import Batch


class GaussianDAE(AE):
    """An autoencoder that sees healthy images under white noise and is asked for the image.

    Vincent et al. 2008; the baseline "DAE" of Zimmerer et al. 2018 (arXiv 1812.05941) and 2019
    (arXiv 1907.02796). L = ‖x − Dec(Enc(x + σn))‖₁, n ~ N(0, I), in training only: validation and
    use see the scan itself. Its residual approximates ∇ log p(x) (Alain & Bengio 2014).

    Args:
        sigma: σ, in normalised intensities; the publications do not state theirs.

    Raises:
        ConfigError: as the autoencoder, or a σ that is not positive.

    All else as :class:`aberra.models.ae.AE`.
    """

    name = "gaussian-dae"

    @configured("model", extends=AE)
    def __init__(self, *, sigma: Positive = 0.2, **options: Any) -> None:
        super().__init__(**options)
        self.sigma = sigma

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """ℓ1 error against the image without noise, summed over pixels, mean over the batch."""
        x = seen = batch.x
        if self.training:
            seen = x + self.sigma * torch.randn(
                x.shape, generator=batch.generator, device=x.device, dtype=x.dtype
            )
        error = (self.reconstruct(seen) - x).abs().sum() / len(x)
        return {"loss": error, "reconstruction": error}
