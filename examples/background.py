"""Six pictures of the ideas behind the methods, drawn with nets so small that a CPU trains them.

    python examples/background.py --out docs/pictures            # about three minutes of one core
    python examples/background.py --out somewhere --quick        # does it run? Nothing is learnt

Eights are healthy. A five is an eight from which two strokes are missing, and it is known which: all
are drawn here, with the same hand. docs/explanation/background.md says what the pictures show.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from aberra.batch import Batch
from aberra.diffusion.samplers import ddim
from aberra.files import atomic_path
from aberra.registry import build
from aberra.restore.guided import Guided

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

EDGE = 28
DISEASED = 1
STEPS = 100
"""T of the diffusion model."""

INK, BLUE, RED = "#22303c", "#1f6f8b", "#d1495b"


# -- the data --------------------------------------------------------------------------------------


def drawn(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw eights, and of each a five, a six and a nine: (N, 1, 28, 28) each, from -1 (paper) to 1
    (ink).
    """
    rng = np.random.default_rng(seed)

    def some(low: float, high: float) -> NDArray[np.float64]:
        return rng.uniform(low, high, (count, 1))

    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)

    def loop(
        square: float, across: NDArray[np.float64], up: NDArray[np.float64]
    ) -> list[NDArray[np.float64]]:
        """A superellipse, squarer than an ellipse: columns and rows of its points, (N, 96) each."""
        return [
            size * np.sign(each) * np.abs(each) ** (2 / square) for size, each in ((across, cos), (up, sin))
        ]

    upper, lower = some(0.28, 0.36), some(0.32, 0.42)
    x_upper, y_upper = loop(3.2, some(0.30, 0.42), upper)
    x_lower, y_lower = loop(2.6, some(0.34, 0.46), lower)
    x, y = np.hstack([x_upper, x_lower]), np.hstack([y_upper - upper, y_lower + lower])
    # a five lacks the right side of the upper loop and the left side of the lower one
    right, left = (cos > 0) & (np.abs(sin) < 0.72), (cos < 0) & (sin < 0.6) & (sin > -0.9)
    none = np.zeros(96, bool)
    x, y = x + some(-0.3, 0.1) * y + 0.03 * np.sin(4 * y + some(0, 6)), y + some(-0.12, 0.12) * x
    x, y = x + some(-0.08, 0.08), y + some(-0.08, 0.08)
    width = torch.from_numpy(some(0.07, 0.12)).float()

    points = torch.from_numpy(np.stack([x, y], axis=-1)).float()
    axis = torch.linspace(-1, 1, EDGE)
    pixels = torch.cartesian_prod(axis, axis).flip(1)

    def image(missing: NDArray[np.bool]) -> Tensor:
        """Pixels nearer to a point of the line than half of the pen's width are ink."""
        parts = torch.split(points[:, torch.from_numpy(~missing)], 100)
        distance = torch.cat([torch.cdist(pixels[None], part).amin(dim=2) for part in parts])
        ink = ((width - distance) * EDGE / 2 + 0.5).clamp(0, 1)
        return 2 * ink.reshape(count, 1, EDGE, EDGE) - 1

    upper_part, lower_part = np.hstack([right, none]), np.hstack([none, left])
    return image(none.repeat(2)), image(upper_part | lower_part), image(upper_part), image(lower_part)


# -- learning --------------------------------------------------------------------------------------


def train(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    data: tuple[Tensor, ...],
    *,
    steps: int,
    rate: float = 2e-3,
) -> None:
    """Train by Adam, the rate rising and falling once, on batches of images and their classes; then
    freeze.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(data[0]), (16,), generator=generator)
        optimiser.zero_grad()
        loss(*(each[chosen] for each in data)).backward()
        optimiser.step()
        schedule.step()
    model.eval().requires_grad_(requires_grad=False)


def of_model(model: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of one of aberra's models, of images and classes; a five is diseased all over."""
    generator = torch.Generator().manual_seed(1)

    def loss(x: Tensor, kind: Tensor) -> Tensor:
        lesion = kind.reshape(-1, 1, 1, 1).expand_as(x).float()
        found: Tensor = model.loss(Batch(x, torch.ones_like(x), generator, lesion))["loss"]
        return found

    return loss


class Classifier(nn.Module):
    """Convolutions, the mean over all places, a linear layer: what a class activation map needs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S) to logits (B, 2)."""
        return self.head(self.seen(x).mean(dim=(2, 3)))

    def seen(self, x: Tensor) -> Tensor:
        """The last maps, (B, 32, S / 2); paper is 0, as it is beyond the edges."""
        return self.body((x + 1) / 2)

    def activation(self, x: Tensor, kind: int) -> Tensor:
        """Class activation map (Zhou et al. 2016): the last maps, weighted as the class weights
        them, (B, 1, S).
        """
        seen = torch.einsum("bkhw,k->bhw", self.seen(x), self.head.weight[kind])[:, None]
        return F.interpolate(seen.clamp(min=0), size=x.shape[2:], mode="bilinear")

    def saliency(self, x: Tensor, kind: int) -> Tensor:
        """How much each pixel moves the class's logit (Simonyan et al. 2014), (B, 1, S)."""
        asked = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(self(asked)[:, kind].sum(), asked)
        return slope.abs()


# -- pictures --------------------------------------------------------------------------------------


def panels(
    rows: Sequence[tuple[str, Tensor, dict[str, Any]]], *, heads: Sequence[str] = (), size: float = 0.95
) -> Figure:
    """Rows of images (N, 1, S), each with its name and how it is shown."""
    columns = len(rows[0][1])
    figure = Figure(figsize=(size * columns + 1.5, size * len(rows) + 0.25), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images, how) in zip(axes, rows, strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image[0].numpy(), **how)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, color=INK)
    for axis, head in zip(axes[0], heads, strict=False):
        axis.set_title(head, fontsize=9, color=INK)
    return figure


GREY = {"cmap": "gray_r", "vmin": -1, "vmax": 1}
CHANGE = {"cmap": "RdBu_r", "vmin": -2, "vmax": 2}


def heat(images: Tensor) -> dict[str, Any]:
    """One scale for all of a row."""
    return {"cmap": "inferno", "vmin": 0, "vmax": float(images.quantile(0.998))}


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whole."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    print(path)


def shapes(fives: Tensor, eights: Tensor, truth: Tensor, vae: Any, healthy: Tensor) -> Figure:
    """A five and an eight through an autoencoder of eights, and through guided diffusion."""
    x = torch.cat([fives[:4], eights[4:6]])
    true = torch.cat([truth[:4], torch.zeros_like(truth[:2])])
    restored, guided = vae.reconstruct(x), torch.cat([healthy[:4], healthy[-2:]])
    return panels(
        [
            ("image", x, GREY),
            ("autoencoder\nof eights", restored, GREY),
            ("what it changed", restored - x, CHANGE),
            ("guided diffusion", guided, GREY),
            ("what it changed", guided - x, CHANGE),
            ("missing strokes", true, CHANGE),
        ],
        heads=["five"] * 4 + ["eight"] * 2,
    )


def attention(x: Tensor, truth: Tensor, classifier: Classifier, healthy: Tensor) -> Figure:
    """What a classifier looks at, beside what would have to change."""
    cam, slope = classifier.activation(x, DISEASED), classifier.saliency(x, DISEASED)
    changed = (healthy - x).abs()
    return panels(
        [
            ("image", x, GREY),
            ("class activation", cam, heat(cam)),
            ("saliency", slope, heat(slope)),
            ("counterpart", changed, heat(changed)),
            ("missing strokes", truth, heat(truth + 1e-3)),
        ],
        heads=["five"] * len(x),
    )


def sampling(ddpm: Any, *, seed: int, columns: int = 9, calls: int = 32) -> Figure:
    """From noise to an image: x_t above, what the network takes for the image below."""
    process = ddpm.process()
    times = process.times(calls)
    shown = {times[round(place)] for place in np.linspace(0, len(times) - 2, columns - 1)}
    x = torch.randn(2, 1, EDGE, EDGE, generator=torch.Generator().manual_seed(seed))
    noisy, guessed, heads = [], [], []
    for t, s in pairwise(times):
        if t in shown:
            noisy.append(x)
            guessed.append(ddpm.denoise(x, t).image)
            heads.append(f"t = {t}")
        x = ddim(ddpm.denoise, x, [t, s], process)
    noisy, guessed, heads = [*noisy, x], [*guessed, x], [*heads, "t = 0"]
    rows = [
        (name, torch.stack([each[sample] for each in images]), GREY)
        for sample in (0, 1)
        for name, images in (("$x_t$", noisy), ("its image", guessed))
    ]
    return panels(rows, heads=heads)


def densities(eights: Tensor, fives: Tensor, vae: Any) -> tuple[Figure, dict[str, float]]:
    """The terms of the evidence lower bound of eights and of fives, and the AUROC of each."""
    terms = [vae.elbo_terms(x) for x in (eights, fives)]
    scores = {
        "reconstruction": [rec for rec, _ in terms],
        "KL": [kl for _, kl in terms],
        "negative ELBO": [rec + kl for rec, kl in terms],
    }
    figure = Figure(figsize=(8.4, 2.5), layout="constrained")
    found = {}
    for axis, (name, (healthy, sick)) in zip(figure.subplots(1, 3), scores.items(), strict=True):
        found[name] = float((sick[:, None] > healthy).float().mean())
        both_kinds = torch.cat([healthy, sick])
        edges = np.linspace(float(both_kinds.min()), float(both_kinds.max()), 40)
        for values, colour, label in ((healthy, BLUE, "eights"), (sick, RED, "fives")):
            axis.hist(values.numpy(), bins=edges, color=colour, alpha=0.55, label=label)
        axis.set_title(f"{name}, nats; AUROC {found[name]:.2f}", loc="left", fontsize=9, color=INK)
        axis.tick_params(labelsize=8)
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure, found


def traversals(eights: Tensor, vae: Any, *, rows: int = 4, columns: int = 9) -> Figure:
    """An eight whose code moves along one axis at a time: those that the images use most."""
    mean, log_variance = vae.encode(eights)
    used = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).mean(dim=0)
    places = torch.linspace(-3, 3, columns)
    lines = []
    for axis in used.argsort(descending=True)[:rows].tolist():
        z = mean[:1].repeat(columns, 1)
        z[:, axis] = places
        lines.append((f"axis {axis}\n{used[axis]:.1f} nats", vae.decode(z), GREY))
    return panels(lines, heads=[f"{place:+.1f}" for place in places.tolist()])


def guide(*, start: int, scale: float, calls: int) -> Guided:
    """DDIM up to ``start`` and down under guidance; the guide is asked more often than the network,
    and what the network takes for the image stays between paper and ink.
    """
    return Guided(start=start, scale=scale, steps=calls, guide_steps=4, clip=True)


def guidance(fives: Tensor, eights: Tensor, ddpm: Any, *, calls: int) -> tuple[Figure, list[str]]:
    """Counterparts of one five and one eight over start step L and scale s, and what holds over
    many: fives that become eights, and eights that stay as they are.
    """
    starts, scales = (30, 60, 90), (3.0, 10.0, 30.0, 100.0)
    x = torch.cat([fives, eights])
    grid: dict[tuple[int, float], Tensor] = {}
    for start in starts:
        for scale in scales:
            grid[start, scale] = guide(start=start, scale=scale, calls=calls).counterpart(ddpm, x)
    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    *images, curves = figure.subfigures(1, 3, width_ratios=[1, 1, 0.8])
    for part, which, name in zip(images, (2, -1), ("one five", "one eight"), strict=True):
        part.suptitle(name, fontsize=9, color=INK)
        for line, start in zip(part.subplots(len(starts), len(scales)), starts, strict=True):
            for axis, scale in zip(line, scales, strict=True):
                axis.imshow(grid[start, scale][which, 0].numpy(), **GREY)
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if start == starts[0]:
                    axis.set_title(f"s = {scale:g}", fontsize=8, color=INK)
            line[0].set_ylabel(f"L = {start}", fontsize=8, color=INK)
    lines = []
    upper, lower = curves.subplots(2, 1, sharex=True)
    for start, colour in zip(starts, ("#440154", "#2a788e", "#7ad151"), strict=True):
        flipped, kept = [], []
        for scale in scales:
            made = grid[start, scale]
            flipped.append(float((ddpm.checked_healthy(made[: len(fives)]) > np.log(0.5)).float().mean()))
            kept.append(float((made[len(fives) :] - eights).abs().mean()))
            lines.append(
                f"L {start:3d}, s {scale:4g}: {flipped[-1]:4.0%} of fives become eights, eights change by {kept[-1]:.3f}"
            )
        upper.plot(scales, flipped, "o-", color=colour, ms=4, label=f"L = {start}")
        lower.plot(scales, kept, "o-", color=colour, ms=4)
    upper.set_title("fives that become eights", loc="left", fontsize=8.5, color=INK)
    lower.set_title("change of eights", loc="left", fontsize=8.5, color=INK)
    lower.set(xscale="log", xlabel="s")
    lower.set_ylim(bottom=0)
    upper.set_ylim(-0.03, 1.03)
    upper.legend(frameon=False, fontsize=7)
    for axis in (upper, lower):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, lines


def main(out: Path, *, quick: bool, seed: int = 0) -> None:
    """Draw, learn, draw the pictures into ``out`` and print the numbers."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    share = 0.004 if quick else 1.0
    calls = 2 if quick else 16
    count = max(9, int(1500 * share))
    eights, *others = drawn(count, seed)
    # half of what the classifiers and the diffusion model see is healthy; with fives alone among the
    # others they would take a six, which has one of the two strokes, for an eight
    diseased = torch.cat([each[place::3] for place, each in enumerate(others)])
    seen, kinds = torch.cat([eights, diseased]), torch.arange(2).repeat_interleave(count)
    eights_new, fives_new, *_ = drawn(8 if quick else 300, seed + 1)
    truth = ((eights_new - fives_new) > 1).float()

    shape = {"channels": 1, "size": (EDGE, EDGE)}
    vae: Any = build(
        "models",
        {"name": "vae", "network": "mlp", "latent": 10, "likelihood": "gaussian", "scale": 0.5},
        **shape,
    )
    train(vae, of_model(vae), (eights, kinds[: len(eights)]), steps=max(2, int(2000 * share)), rate=1e-3)
    figure, found = densities(eights_new, fives_new, vae)
    save(figure, out / "background-densities.png")
    save(traversals(eights_new, vae), out / "background-traversals.png")
    for name, auroc in found.items():
        print(f"{name}: AUROC {auroc:.3f}")

    classifier = Classifier()
    train(
        classifier,
        lambda x, kind: F.cross_entropy(classifier(x), kind),
        (seen, kinds),
        steps=max(2, int(200 * share)),
    )

    network = {"width": 16, "multipliers": [1, 2, 2], "blocks": 1, "attention": [7]}
    ddpm: Any = build(
        "models",
        {"name": "guided-ddpm", "network": network, "guide_width": 8, "timesteps": STEPS, "schedule": "cosine", "predicts": "velocity"},
        **shape,
    )  # fmt: skip
    train(ddpm, of_model(ddpm), (seen, kinds), steps=max(2, int(900 * share)))
    save(sampling(ddpm, seed=seed), out / "background-sampling.png")
    asked = torch.cat([fives_new[:4], eights_new[4:6]])
    healthy = guide(start=75, scale=10.0, calls=calls).counterpart(ddpm, asked)
    save(shapes(fives_new, eights_new, truth, vae, healthy), out / "background-shapes.png")
    save(attention(fives_new[:4], truth[:4], classifier, healthy[:4]), out / "background-attention.png")
    figure, lines = guidance(fives_new[:8], eights_new[-8:], ddpm, calls=calls)
    save(figure, out / "background-guidance.png")
    print(*lines, sep="\n")


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--quick", action="store_true")
    given = options.parse_args()
    main(given.out, quick=given.quick)
