"""Pictures of a run: the loss curve and what the model makes of validation samples."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor


def loss_curve(run: Path) -> None:
    """Draw ``loss.png`` from ``metrics.jsonl``."""
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    styles: dict[str, dict[str, Any]] = {
        "loss": {"lw": 0.8, "alpha": 0.6, "label": "training"},
        "validation": {"marker": "o", "ms": 3, "label": "validation"},
    }
    for key, style in styles.items():
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, **style)
    if all(row.get("loss", 1) > 0 for row in rows):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="loss", title="Training")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    with atomic_path(run / "loss.png") as temporary:
        figure.savefig(temporary, dpi=120)


def reconstruction_grid(run: Path, x: Tensor, restored: Tensor) -> None:
    """Draw ``reconstructions.png``: input, reconstruction and residual of up to eight samples.

    Args:
        run: the run's folder.
        x: shape (B, C, S).
        restored: same shape.
    """
    from matplotlib.figure import Figure

    if x.ndim == 5:  # a middle slice stands for a 3-D patch
        x, restored = (each[:, :, each.shape[2] // 2] for each in (x, restored))
    count = min(8, len(x))
    picks = [round(index * (len(x) - 1) / max(1, count - 1)) for index in range(count)]
    image_in, image_out = (_beside(each[picks, 0]) for each in (x, restored))
    low, top = float(x.min()), float(x.max())
    rows = (
        ("input", image_in, "gray", low, top),
        ("reconstruction", image_out, "gray", low, top),
        ("residual", np.abs(image_in - image_out), "inferno", 0.0, 0.5 * (top - low)),
    )
    height, width = image_in.shape
    edge = 1.5 * count
    figure = Figure(figsize=(edge, 3 * (edge * height / width + 0.25)))
    # one picture a row: two dozen axes would take longer to draw than a small model to learn
    for axes, (title, image, colours, lower, upper) in zip(figure.subplots(3), rows, strict=True):
        axes.imshow(image, cmap=colours, vmin=lower, vmax=upper)
        axes.set_axis_off()
        axes.set_title(title, loc="left", fontsize=9)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.95, hspace=0.12)
    with atomic_path(run / "reconstructions.png") as temporary:
        figure.savefig(temporary, dpi=110)


def _beside(images: Tensor) -> NDArray[np.float32]:
    """Images (N, H, W) in a row, a gap between each two: (H, N · W + gaps)."""
    gap = max(1, images.shape[-1] // 32)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (0, gap)), constant_values=np.nan)
    found: NDArray[np.float32] = np.concatenate(list(padded), axis=1)[:, :-gap]
    return found
