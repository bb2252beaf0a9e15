"""A model, and a second one of the same kind that has learnt what all images have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from aberra.models.ensemble import member_table
from aberra.nets.networks import Choice
from aberra.options import Between, Dims, Edge, Width, configured
from aberra.registry import build

if TYPE_CHECKING:
    from aberra.batch import Batch


class WithBackground(nn.Module):
    """Two models of one kind: the second one learns from the same images with noise in them.

    Ren, Liu, Fertig, Snoek, Poplin, DePristo, Dillon, Lakshminarayanan 2019, *Likelihood Ratios for
    Out-of-Distribution Detection* (arXiv 1906.02845): the background model sees images in which
    each pixel is replaced, with probability μ, by one drawn evenly from all intensities, so that it
    learns the background and not what is in front of it. Score ``likelihood-ratio`` with ``against
    = "background"`` compares the two; all else is asked of the first. The kind is a table, ``name``
    and options::

        [model.member]
        name = "vae"
        latent = 128

    Twice the parameters of a member: 3,516,898 of VAEs at 128² with one channel.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        member: a model that bounds the likelihood (:class:`aberra.capabilities.HasElbo`).
        mutation: μ; the paper's images have 0.1 to 0.3.

    Raises:
        ConfigError: another model, or an option of it that cannot be.

    Deviation: pixels of the foreground alone are replaced, evenly between the lowest and the
    highest intensity of the batch's foreground in that channel. The paper's weight decay of the
    background model is that of the training.

    Examples:
        >>> import torch
        >>> from aberra.models.with_background import WithBackground
        >>> member = {"name": "vae", "latent": 4, "network": {"width": 4}}
        >>> model = WithBackground(channels=1, size=(32, 32), member=member).eval()
        >>> [each.shape for each in model.background_terms(torch.rand(2, 1, 32, 32))]
        [torch.Size([2]), torch.Size([2])]
    """

    name = "with-background"
    TABLES: ClassVar = {"member": ("models", {"name": "vae"})}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        member: Choice = None,
        mutation: Between = 0.2,
    ) -> None:
        super().__init__()
        inner = member_table(type(self), member)
        shape: dict[str, Any] = {"channels": channels, "dims": dims, "size": size}
        self.own = build("models", inner, **shape)
        self.background = build("models", inner, **shape)
        self.mutation = mutation

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Sum of both models' losses."""
        own = self.own.loss(batch)["loss"]
        mutated = self.mutated(batch.x, batch.mask, batch.generator)
        background = self.background.loss(batch._replace(x=mutated))["loss"]
        return {"loss": own + background, "own": own, "background": background}

    def mutated(self, x: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Images (B, C, S) with a share of their foreground's pixels, ``mask`` (B, 1, S), replaced."""
        drawn = torch.rand(mask.shape, generator=generator, device=x.device)
        even = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        inside, axes = mask > 0, (0, *range(2, x.ndim))
        low = torch.where(inside, x, torch.inf).amin(dim=axes, keepdim=True)
        high = torch.where(inside, x, -torch.inf).amax(dim=axes, keepdim=True)
        return torch.where(inside & (drawn < self.mutation), low + (high - low) * even, x)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The first model's: (B, C, S) to (B, C, S)."""
        restored: Tensor = self.own.reconstruct(x)
        return restored

    def elbo_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The first model's, each (B,)."""
        terms: tuple[Tensor, Tensor] = self.own.elbo_terms(x)
        return terms

    def background_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The second model's, each (B,)."""
        terms: tuple[Tensor, Tensor] = self.background.elbo_terms(x)
        return terms
