"""Three densities of the same points in the plane, and where each of them points: a mixture of
Gaussians, a flow and a small VAE, whose ELBO stands for the density.

The arrows are the gradient of the log-density, which the score ``gradient`` maps for images: away
from what is anomalous, and the longer the more anomalous a point is. Between the clouds, or far from
them, they need not point to the nearest one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor, nn

from aberra.densities.gmm import GaussianMixture
from aberra.densities.realnvp import RealNVP
from aberra.models.vae import kl_to_standard_normal, posterior_sample

if TYPE_CHECKING:
    from collections.abc import Callable

REACH = 4.5
"""The plane is shown from −REACH to REACH."""


class PlaneVAE(nn.Module):
    """A VAE of points (B, 2) with a code of two numbers and Gaussian output of fixed scale."""

    def __init__(self, scale: float = 0.25) -> None:
        super().__init__()
        self.scale = scale
        self.encoder = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 4))
        self.decoder = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 2))

    def terms(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """−log p(x|z), at the posterior mean without a generator, and KL, each (B,)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean if generator is None else posterior_sample(mean, log_variance, generator)
        error = ((x - self.decoder(z)) ** 2).sum(dim=1) / (2 * self.scale**2)
        return error + float(np.log(2 * np.pi * self.scale**2)), kl_to_standard_normal(mean, log_variance)

    def bound(self, x: Tensor) -> Tensor:
        """The ELBO at the posterior mean, (B, 2) to (B,)."""
        reconstruction, kl = self.terms(x)
        return -reconstruction - kl

    def learn(self, x: Tensor, steps: int, seed: int) -> None:
        """Train on points (N, 2)."""
        generator = torch.Generator().manual_seed(seed)
        adam = torch.optim.Adam(self.parameters(), 5e-3)
        for _ in range(steps):
            rows = torch.randint(len(x), (256,), generator=generator)
            loss = sum(term.mean() for term in self.terms(x[rows], generator))
            adam.zero_grad()
            loss.backward()
            adam.step()


def points(count: int, seed: int) -> Tensor:
    """Points (N, 2): two round clouds and a crescent."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=count)
    angle = rng.uniform(0.1 * np.pi, 0.9 * np.pi, count)
    crescent = np.stack([2.6 * np.cos(angle), 2.6 * np.sin(angle) - 0.4], axis=1)
    centre = np.where((kind == 0)[:, None], [-1.8, -2.0], [1.9, -1.6])
    where = np.where((kind == 2)[:, None], crescent, centre)
    spread = np.choose(kind, [0.35, 0.55, 0.18])[:, None]
    return torch.from_numpy(where + spread * rng.normal(size=(count, 2))).float()


def field(log_density: Callable[[Tensor], Tensor], grid: Tensor) -> tuple[Tensor, Tensor]:
    """Log-density (N,) and its gradient (N, 2) at points (N, 2)."""
    at = grid.clone().requires_grad_()
    values = log_density(at)
    (gradient,) = torch.autograd.grad(values.sum(), at)
    return values.detach(), gradient


def draw(path: Path, *, count: int = 1500, epochs: int = 40, steps: int = 1500, seed: int = 0) -> None:
    """Learn the three densities and write the figure.

    Args:
        path: of a PNG.
        count: points to learn from; a fifth as many are held out.
        epochs: of the flow.
        steps: of the VAE.
        seed: of points, weights and training.
    """
    mpl.use("agg")
    from matplotlib import pyplot as plt

    torch.manual_seed(seed)
    learnt, unseen = points(count, seed), points(count // 5, seed + 1)
    mixture = GaussianMixture(features=2)
    flow = RealNVP(features=2, blocks=6, width=64, epochs=epochs, learning_rate=3e-3)
    components = mixture.fit(learnt, unseen, seed)["components"]
    flow.fit(learnt, unseen, seed)
    vae = PlaneVAE()
    vae.learn(learnt, steps, seed)
    densities = {
        f"Mixture of {components} Gaussians, log p": mixture.log_density,
        "RealNVP, log p": flow.log_density,
        "VAE, ELBO at the posterior mean": vae.bound,
    }
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.9), layout="constrained")
    for axis, (title, log_density) in zip(axes, densities.items(), strict=True):
        fine, coarse = (torch.linspace(-REACH, REACH, each) for each in (161, 19))
        values, _ = field(log_density, torch.cartesian_prod(fine, fine))
        grid = torch.cartesian_prod(coarse, coarse)
        _, arrows = field(log_density, grid)
        # lengths differ by orders of magnitude
        length = arrows.norm(dim=1, keepdim=True)
        arrows = arrows / length.clamp(min=1e-6) * torch.log1p(length)
        shown = values.reshape(161, 161).T.clamp(min=-25)
        image = axis.contourf(fine, fine, shown, levels=np.linspace(-25, max(0.0, float(shown.max())), 26))
        axis.plot(*learnt[:400].T, ".", color="white", markersize=1.5, alpha=0.6)
        axis.quiver(*grid.T, *arrows.T, color="#f0b429", width=0.004)
        mean = float(log_density(unseen).detach().mean())
        axis.set(title=f"{title}\nmean of unseen points {mean:.2f}", aspect="equal")
        axis.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH))
    figure.colorbar(image, ax=axes, label="nats, cut at −25", shrink=0.85)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=Path("density-2d.png"))
    draw(parser.parse_args().out)
