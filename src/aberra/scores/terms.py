"""Terms of a model's objective as functions of the image, shared by the scores that differentiate
or report them.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any, Literal

from aberra.capabilities import HasDensity, HasElbo, Reconstructs

if TYPE_CHECKING:
    from torch import Tensor

OfTerm = Literal["reconstruction", "kl", "elbo", "nll", "bits-per-dim"]

NEEDS: dict[str, type] = {
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
