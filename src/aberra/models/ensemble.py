"""Several models of one kind that began from other weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from aberra.capabilities import HasElbo, Reconstructs, Trains
from aberra.nets.networks import Choice
from aberra.options import Dims, Edge, Width, Within, configured
from aberra.registry import build, fitting_table

if TYPE_CHECKING:
    from collections.abc import Iterator

Members = Annotated[int, Within(2, 32)]


class Ensemble(nn.Module):
    """K models of one kind, each trained by itself from other weights and in another order.

    Lakshminarayanan, Pritzel, Blundell 2017, *Simple and Scalable Predictive Uncertainty Estimation
    using Deep Ensembles* (arXiv 1612.01474); for the likelihood of VAEs: Choi, Jang, Alemi 2018,
    *WAIC, but Why?* (arXiv 1810.01392), Heer 2021. The members' kind is a table, ``name`` and
    options::

        [model.member]
        name = "vae"
        latent = 128

    ``fit`` trains the members as ``[training]`` says, each as a fit of its own: member k of an
    ensemble of seed s is the model that seed K·s + k gives. Members learn beside each other, in
    processes, where the machine has cores for two or more, else one after the other
    (:func:`aberra.workflows.members.learn_members`).

    K times the parameters of a member: 8,792,245 of five VAEs at 128² with one channel.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        member: a model that bounds the likelihood (:class:`aberra.capabilities.HasElbo`).
        members: K, at most 32.

    Raises:
        ConfigError: another model, or an option of it that cannot be.

    Examples:
        >>> import torch
        >>> from aberra.models.ensemble import Ensemble
        >>> member = {"name": "vae", "latent": 4, "network": {"width": 4}}
        >>> model = Ensemble(channels=1, size=(32, 32), member=member, members=3).eval()
        >>> x = torch.rand(2, 1, 32, 32)
        >>> own = [each.reconstruct(x) for each in model.members()]
        >>> torch.allclose(model.reconstruct(x), sum(own) / 3, atol=1e-6)
        True
    """

    name = "ensemble"
    TABLES: ClassVar = {"member": ("models", {"name": "vae"})}

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        member: Choice = None,
        members: Members = 5,
    ) -> None:
        super().__init__()
        inner = member_table(type(self), member)
        self.member = inner
        self.each = nn.ModuleList(
            build("models", inner, channels=channels, dims=dims, size=size) for _ in range(members)
        )

    def members(self) -> Sequence[nn.Module]:
        """The members, whose weights are this model's."""
        return self._each

    def member_config(self) -> dict[str, Any]:
        """What a member is built from."""
        return dict(self.member)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of the members' reconstructions: (B, C, S) to (B, C, S)."""
        total = torch.zeros_like(x)
        for member in self._each:
            total = total + member.reconstruct(x)
        return total / len(self._each)

    def sample_reconstructions(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Reconstructions of the members, one after the other, (B, C, S) each; more than K begin
        again.
        """
        for draw in range(count):
            yield self._each[draw % len(self._each)].reconstruct(x)

    def elbo_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means of the members' reconstruction and KL terms, each (B,)."""
        every = [member.elbo_terms(x) for member in self._each]
        reconstruction, kl = (torch.stack(terms).mean(dim=0) for terms in zip(*every, strict=True))
        return reconstruction, kl

    @property
    def _each(self) -> list[Any]:
        return list(self.each)


def member_table(model: type[Any], choice: Choice) -> dict[str, Any]:
    """The table of a model's option ``member``, a model that bounds the likelihood by itself.

    Raises:
        ConfigError: another one; the message names those that do.
    """
    return fitting_table(
        model, "member", choice, _bounds_likelihood, expected="a model that bounds the likelihood"
    )


def _bounds_likelihood(model: type[Any]) -> bool:
    """Whether a model learns by gradient, reconstructs and has an ELBO, and is not made of others."""
    needed = all(issubclass(model, each) for each in (Trains, Reconstructs, HasElbo))
    return needed and "member" not in getattr(model, "TABLES", {})
