"""Voxel AP of a detector, or of a training run's weights, beside brightness inside the brain, scan
by scan.

    python benchmarks/shipped.py WHAT MANIFEST [--channel flair] [--split test] [--cases 8]

``WHAT`` is a detector (folder or shipped name), or ``method.toml:weights.safetensors`` (a catalogue
name does as well): weights that are still in training. AP is taken over the voxels of the brain
mask on the scan's own grid.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from aberra.detector import Detector
    from aberra.volume import Volume


def detector_of(what: str, channel: str) -> Detector:
    """Load a saved detector, or put weights into a method."""
    from aberra.detector import Detector

    if ":" not in what:
        return Detector.load(what)
    from safetensors.torch import load_file

    from aberra.method import Method
    from aberra.prepare import Recipe
    from aberra.registry import build

    name, _, file = what.partition(":")
    method = Method.load(name)
    size = method.prepare["size"]
    size = [size] * 3 if isinstance(size, int) else size
    model = build("models", method.model, channels=1, dims=3, size=size)
    tensors = load_file(file)
    shadow = "ema." if any(key.startswith("ema.") for key in tensors) else ""
    model.load_state_dict(
        {key.removeprefix(shadow): tensor for key, tensor in tensors.items() if key.startswith(shadow)}
    )
    return Detector(
        method=method,
        recipe=Recipe.from_config(method.prepare["steps"]),
        model=model,
        channels=[channel],
        dims=3,
        size=size,
    )


def average_precision(values: np.ndarray, truth: np.ndarray) -> float:
    """Exact AP of scores (N,) against truth (N,)."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, values)) if truth.any() else float("nan")


def brightness(volume: Volume, inside: np.ndarray, *, dark: bool) -> dict[str, float]:
    """AP of the plain intensity, and of its median over 3 mm."""
    from scipy.ndimage import median_filter

    x = -volume.data[0] if dark else volume.data[0]
    edges = [max(1, 2 * round((3 / step - 1) / 2) + 1) for step in volume.spacing]
    truth = volume.lesion[inside]
    return {
        "m0": average_precision(x[inside], truth),
        "m0_3mm": average_precision(median_filter(x, size=edges)[inside], truth),
    }


def main() -> None:
    """Print a line a scan and the means."""
    import torch

    from aberra.cohort import Cohort

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--channel", default="flair")
    parser.add_argument("--split")
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument(
        "--dark", action="store_true", help="lesions are dark, as in T1: for the baseline only"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    detector = detector_of(options.what, options.channel)
    cohort = Cohort.read(options.manifest)
    cases = [
        each
        for each in (cohort.select(split=options.split) if options.split else cohort)
        if options.channel in each.channels
    ]
    rows: list[dict[str, Any]] = []
    for case in cases[: options.cases or None]:
        volume = case.read([options.channel])
        started = perf_counter()
        found = detector.analyse(volume)
        seconds = perf_counter() - started
        inside = found.inside
        row = {
            "ap": average_precision(found.map[inside], volume.lesion[inside]),
            **brightness(volume, inside, dark=options.dark),
        }
        rows.append(row)
        values = "  ".join(f"{key} {value:.3f}" for key, value in row.items())
        print(
            f"{case.case:20s} {values}  lesion {volume.lesion.sum() * volume.voxel_mm3 / 1000:.1f} ml  {seconds:.1f} s",
            flush=True,
        )
    print(
        f"{'mean':20s} " + "  ".join(f"{key} {np.nanmean([row[key] for row in rows]):.3f}" for key in rows[0])
    )


if __name__ == "__main__":
    main()
