"""What guided edits attain: independent checkers' answers before and after, and how much changed
where, for every aim and weight.

python benchmarks/editing.py DETECTOR MANIFEST --out DIR [--split test] [--cases 8] [--steps 16]

DETECTOR was fitted as ddim-guided with model.guides = ["class", "area", "mask"]. Areas are asked of
diseased slices as they are, masks (one ellipsoid or blob a scan, radius 8 to 20 mm) are drawn into
lesion-free ones. Writes editing.csv and the figure editing.png. Means over cases; nothing is chosen
by them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from table import save, show

from aberra.benchmark.machine import commit, machine
from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.files import atomic_path
from aberra.prepare.orient import Orient
from aberra.workflows.edit import Aim, Edit, edit
from aberra.workflows.edit_cohort import drawn_lesion

if TYPE_CHECKING:
    from aberra.volume import Volume

PLAN = [
    ("class", "healthy", (0.0, 10.0, 100.0, 1000.0)),
    ("class", "diseased", (10.0, 100.0, 1000.0)),
    ("area", 0.0, (100.0, 1000.0, 10000.0)),
    ("area", 0.05, (1000.0, 10000.0)),
    ("area", 0.15, (1000.0, 10000.0)),
    ("mask", None, (0.0, 0.1, 1.0, 10.0)),
    ("mask+class", "diseased", (1.0,)),
]
"""Guides, target, and weights of the first guide; 0 is encoding and decoding alone."""


def aims_of(kind: str, target: Any, weight: float, volume: Volume, number: int) -> list[Aim]:
    """Aims of one edit; masks are drawn from the case's number."""
    if not kind.startswith("mask"):
        return [Aim(guide=kind, target=target, weight=weight)]
    mask = drawn_lesion(volume, np.random.default_rng([0, number]), (8.0, 20.0))
    asked = [Aim(guide="mask", target=mask, weight=weight)]
    return asked if target is None else [*asked, Aim(guide="class", target=target)]


def picture(scan: Volume, made: Edit, truth: np.ndarray[Any, Any] | None) -> list[np.ndarray[Any, Any]]:
    """Scan, edit and difference of the slice that changed most, and what was asked for or is there,
    radiological view.
    """
    parts = [scan.data[:1], made.scan.data[:1], made.difference[:1]]
    shown = [Orient(to="SPL")(scan.with_(data=part, channels=("x",), mask=None)).data[0] for part in parts]
    asked = made.lesion if made.lesion is not None else truth
    flat = np.zeros(scan.shape, np.float32) if asked is None else asked.astype(np.float32)
    shown.append(Orient(to="SPL")(scan.with_(data=flat[None], channels=("x",), mask=None)).data[0])
    place = int(np.abs(shown[2]).sum(axis=(1, 2)).argmax())
    return [each[place] for each in shown]


def draw(strips: dict[str, list[np.ndarray[Any, Any]]], path: Path) -> None:
    """A column an edit: scan, edited, difference, mask."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.7 * len(strips), 7.2), layout="constrained")
    axes = figure.subplots(4, len(strips), squeeze=False)
    for column, (name, (scan, edited, difference, mask)) in enumerate(strips.items()):
        low, high = np.percentile(scan[scan != 0], [0.5, 99.5])
        edge = max(float(np.abs(difference).max()), 1e-6)
        axes[0, column].imshow(scan, cmap="gray", vmin=min(low, 0), vmax=high)
        axes[1, column].imshow(edited, cmap="gray", vmin=min(low, 0), vmax=high)
        axes[2, column].imshow(difference, cmap="RdBu_r", vmin=-edge, vmax=edge)
        axes[3, column].imshow(mask, cmap="gray", vmin=0, vmax=1)
        axes[0, column].set_title(name, fontsize=8)
    for row, name in enumerate(("scan", "edited", "difference", "mask asked for or truth")):
        axes[row, 0].set_ylabel(name, fontsize=8)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("detector", type=Path)
    options.add_argument("manifest", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--split")
    options.add_argument("--cases", type=int, default=8)
    options.add_argument("--steps", type=int, default=16)
    given = options.parse_args()
    detector = Detector.load(given.detector)
    cohort = Cohort.read(given.manifest)
    cases = list(cohort.select(split=given.split) if given.split else cohort)[: given.cases]
    volumes = [detector.read(case) for case in cases]
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    strips = {}
    for kind, target, weights in PLAN:
        for weight in weights:
            began, found = perf_counter(), []
            for number, volume in enumerate(volumes):
                made = edit(
                    detector, volume, aims_of(kind, target, weight, volume, number), steps=given.steps
                )
                found.append(made.attained)
                if number == len(volumes) // 2:
                    name = f"{kind} {'' if target is None else target}\nweight {weight:g}"
                    strips[name] = picture(volume, made, volume.lesion)
            keys = (
                "class_before", "class_after", "area_before", "area_after", "area_error", "mask_before", "mask_after",
                "change", "change_inside", "change_outside",
            )  # fmt: skip
            means = {key: [each[key] for each in found if key in each] for key in keys}
            rows.append(
                {"guide": kind, "target": target, "weight": weight}
                | {key: round(float(np.mean(each)), 4) if each else None for key, each in means.items()}
                | {
                    "seconds_per_case": round((perf_counter() - began) / len(volumes), 2), "cases": len(volumes),
                    "steps": given.steps, "detector": detector.identity["fingerprint"], "machine": machine(), "commit": commit(),
                }
            )  # fmt: skip
            show({key: value for key, value in rows[-1].items() if value is not None})
    save(rows, given.out / "editing.csv")
    draw(strips, given.out / "editing.png")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
