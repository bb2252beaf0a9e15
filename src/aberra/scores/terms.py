"""Terms of a model's objective as functions of the image, shared by the scores that differentiate
or report them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aberra.capabilities import HasElbo, Reconstructs

if TYPE_CHECKING:
    from torch import Tensor

OfTerm = Literal["reconstruction", "kl", "elbo"]


def needs_of(of: str) -> tuple[type, ...]:
    """Capabilities that a term asks for."""
    return (Reconstructs,) if of == "reconstruction" else (HasElbo,)


def term(model: Any, x: Tensor, of: str) -> Tensor:
    """One term a image: (B, C, S) to (B,), differentiable.

    ``reconstruction`` is −log p(x|z) without its constant, Σ|x − x̂| for a model without a
    likelihood; ``kl`` is KL(q(z|x) ‖ p(z)), unweighted; ``elbo`` is their sum, the negative
    evidence lower bound.
    """
    if not isinstance(model, HasElbo):
        return (x - model.reconstruct(x)).abs().flatten(1).sum(dim=1)  # type: ignore[no-any-return]
    reconstruction, kl = model.elbo_terms(x)
    return {"reconstruction": reconstruction, "kl": kl, "elbo": reconstruction + kl}[of]
