"""What a model says of an image in one number: terms of its objective, shared by the scores that
differentiate or report them, and statistics of its residual.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from aberra.capabilities import HasDensity, HasElbo, Reconstructs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

OfTerm = Literal["reconstruction", "kl", "elbo", "nll", "bits-per-dim"]

OfResidual = Literal["l1", "entropy", "concentration"]
Statistic = Literal[OfTerm, OfResidual]

NEEDS: dict[str, type] = dict.fromkeys(get_args(OfResidual), Reconstructs) | {
    "reconstruction": Reconstructs,
    "kl": HasElbo,
    "elbo": HasElbo,
    "nll": HasDensity,
    "bits-per-dim": HasDensity,
}
"""What a term asks of a model."""


def needs_of(of: str) -> tuple[type, ...]:
    """Capabilities that a term asks for."""
    return (NEEDS[of],)


def term(model: Any, x: Tensor, of: str) -> Tensor:
    """One term a image: (B, C, S) to (B,), differentiable.

    ``reconstruction`` is −log p(x|z) without its constant, Σ|x − x̂| for a model without a
    likelihood; ``kl`` is KL(q(z|x) ‖ p(z)), unweighted; ``elbo`` is their sum, the negative
    evidence lower bound. ``nll`` is −log p of the image or its code, of a model that has a density;
    ``bits-per-dim`` the same in bits, over the number of the image's values.
    """
    if of in ("nll", "bits-per-dim"):
        nats: Tensor = -model.log_density(x)
        return nats if of == "nll" else nats / (log(2) * x[0].numel())
    if not isinstance(model, HasElbo):
        return (x - model.reconstruct(x)).abs().flatten(1).sum(dim=1)  # type: ignore[no-any-return]
    reconstruction, kl = model.elbo_terms(x)
    return {"reconstruction": reconstruction, "kl": kl, "elbo": reconstruction + kl}[of]


def statistics(model: Any, x: Tensor, inside: Tensor, of: Sequence[str]) -> Tensor:
    """Numbers of each image: terms, and statistics of its residual |x − x̂| in the foreground.

    ``l1`` is the residual's mean, in prepared intensities; ``entropy`` its
    :func:`normalised_entropy`, ``concentration`` 1 minus that. Terms are those of :func:`term`.
    All in float32; what several have in common is computed once.

    Args:
        model: is asked.
        x: shape (B, C, S).
        inside: foreground, shape (B, 1, S), float 0/1.
        of: which.

    Returns:
        Shape (B, len(of)).
    """
    found: dict[str, Tensor] = {}
    with torch.autocast(x.device.type, enabled=False):
        if not {"l1", "entropy", "concentration"}.isdisjoint(of):
            residual = (x - model.reconstruct(x)).abs().mean(dim=1, keepdim=True)
            total, count = ((each * inside).flatten(1).sum(dim=1) for each in (residual, inside))
            spread = normalised_entropy(residual, inside)
            found |= {"l1": total / count.clamp(min=1), "entropy": spread, "concentration": 1 - spread}
        if {"kl", "elbo"} <= {*of}:
            reconstruction, kl = model.elbo_terms(x)
            found |= {"reconstruction": reconstruction, "kl": kl, "elbo": reconstruction + kl}
        return torch.stack([found[each] if each in found else term(model, x, each) for each in of], dim=1)


def statistic(model: Any, x: Tensor, inside: Tensor, of: str) -> Tensor:
    """One of :func:`statistics` an image: (B, C, S) and its foreground (B, 1, S) to (B,)."""
    return statistics(model, x, inside, [of])[:, 0]


def normalised_entropy(values: Tensor, inside: Tensor) -> Tensor:
    """How evenly a map is spread over the n pixels of a mask: −Σ p log p / log n, p = r / Σr.

    1 where all pixels have the same value, 0 where all of it is in one pixel; 1 of a map of zeros,
    in which nothing stands out, and of a mask of one pixel. Heer 2021, *The Out-of-Distribution
    Blindspot of Unsupervised Lesion Detection using VAEs* (ETH Zurich).

    Args:
        values: not negative, shape (B, 1, S).
        inside: shape (B, 1, S), float 0/1.

    Returns:
        Shape (B,), in [0, 1].

    Deviation: divided by log n, which makes it a normalised entropy; the thesis prints another
    divisor.

    Examples:
        >>> import torch
        >>> from aberra.scores.terms import normalised_entropy
        >>> one = torch.zeros(1, 1, 4, 4)
        >>> one[..., 2, 2] = 3.0
        >>> normalised_entropy(torch.cat([torch.ones_like(one), one]), torch.ones(2, 1, 4, 4))
        tensor([1., 0.])
    """
    shares = (values * inside).flatten(1)
    total, count = shares.sum(dim=1), inside.flatten(1).sum(dim=1)
    shares = shares / total.clamp(min=torch.finfo(shares.dtype).tiny)[:, None]
    nats = -torch.xlogy(shares, shares).sum(dim=1)
    even = (total <= 0) | (count < 2)
    return torch.where(even, 1.0, nats.abs() / count.clamp(min=2).log()).clamp(max=1)
