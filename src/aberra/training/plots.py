"""Pictures of a run: the loss curve and what the model makes of validation samples."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aberra.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def loss_curve(run: Path) -> None:
    """Draw ``loss.png`` from ``metrics.jsonl``."""
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
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
    figure = Figure(figsize=(1.5 * count, 4.8), layout="constrained")
    axes = figure.subplots(3, count, squeeze=False)
    low, top = float(x.min()), float(x.max())
    for column, pick in enumerate(picks):
        image_in, image_out = x[pick, 0].numpy(), restored[pick, 0].numpy()
        residual = abs(image_in - image_out)
        rows = (
            (image_in, "gray", low, top),
            (image_out, "gray", low, top),
            (residual, "inferno", 0.0, 0.5 * (top - low)),
        )
        for row, (image, colours, lower, upper) in enumerate(rows):
            axes[row, column].imshow(image, cmap=colours, vmin=lower, vmax=upper)
            axes[row, column].set_axis_off()
    for row, title in enumerate(("input", "reconstruction", "residual")):
        axes[row, 0].set_title(title, loc="left", fontsize=9)
    with atomic_path(run / "reconstructions.png") as temporary:
        figure.savefig(temporary, dpi=110)
