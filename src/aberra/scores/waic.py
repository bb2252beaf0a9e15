"""How unlikely a slice is to an ensemble, and how much its members disagree about that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.capabilities import HasMembers
from aberra.options import configured
from aberra.scores import Scored
from aberra.scores.term import of_slices
from aberra.scores.terms import term

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner


class WAIC:
    """``E[−log p_θ(x)] + Var[log p_θ(x)]`` over the members θ of an ensemble; constant in each
    slice, as of ``term``.

    Choi, Jang, Alemi 2018, *WAIC, but Why? Generative Ensembles for Robust Anomaly Detection*
    (arXiv 1810.01392), section 2, with the sign turned; log p by its bound, the ELBO, as in Heer
    2021, *The Out-of-Distribution Blindspot of Unsupervised Lesion Detection using VAEs* (ETH
    Zurich), where it is the best score of a shift of domain and no better one of lesions. The
    variance has the divisor K, so that members that agree leave the mean. In nats, and nats².

    Raises:
        PairingError: a model that is no ensemble.

    Deviation: the thesis prints the sum of mean and variance and writes of their difference; of
    likelihoods it is the difference that is lower where a slice is unusual.
    """

    name = "waic"
    needs = (HasMembers,)

    @configured("score")
    def __init__(self) -> None:
        pass

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        return Scored(of_slices(lambda batch, _: self.value(model, batch), x, mask, run).clamp(min=0))

    def value(self, model: HasMembers, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B,)."""
        with torch.autocast(x.device.type, enabled=False):
            every = torch.stack([term(member, x, "elbo") for member in model.members()])
        return every.mean(dim=0) + every.var(dim=0, correction=0)
