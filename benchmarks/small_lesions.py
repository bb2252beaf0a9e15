"""Which lesions are found, by volume, at one false positive a scan: drawn FLAIR of heads that no
shipped detector was trained on.

    python benchmarks/small_lesions.py --anatomy DATA/anatomy --work runs/small [--healthy 16]
        [--diseased 32] [DETECTOR ...]

``DETECTOR`` is a shipped name, a folder, or a catalogue method that learns nothing. Each is cut
where the *healthy* cases have one region a scan in the mean; the diseased cases have no say in it.
Regions and lesions are 26-connected. Regions below 8 mm³ are dropped, as in the masks; lesions
below 8 mm³, splinters of larger ones that tissue borders cut off, are not counted. Everything is
kept in ``--work``: run again to go on, or with another detector.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from table import PAGES, as_markdown, commit, kept, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from aberra.cohort import Case, Cohort
    from aberra.detector import Detector

DETECTORS = ("flair", "tissue-bright", "intensity")
PROFILES = ("ms", "wmh", "tumour", "stroke", "haemorrhage", "fcd", "generic")
CONTRAST, SPACING, SEED = "flair", 1.0, 41
RATE = 1.0
"""False positives a healthy scan, in the mean."""

MIN_MM3 = 8.0
TAILS = (1e-7, 0.05)
"""Share of healthy voxels above the threshold, between which it is looked for."""

HALVINGS = 20


class Sparse:
    """The high voxels of a map: all that a threshold's regions depend on.

    Args:
        values: map, shape (D, H, W).
        inside: voxels that are judged, same shape.
        voxel_mm3: of its grid.
    """

    def __init__(self, values: NDArray[np.float32], inside: NDArray[np.bool], voxel_mm3: float) -> None:
        self.shape, self.voxel_mm3 = values.shape, voxel_mm3
        self.judged = int(inside.sum())
        floor = np.quantile(values[inside], 1 - 2 * TAILS[1]) if self.judged else 0.0
        self.where = np.flatnonzero((values > floor) & inside)
        self.values = values.ravel()[self.where]

    def regions(self, threshold: float) -> int:
        """How many regions of at least :data:`MIN_MM3` lie above a threshold."""
        from scipy.ndimage import label

        from aberra.foreground import EVERYWHERE

        mask = np.zeros(self.shape, dtype=bool)
        mask.ravel()[self.where[self.values > threshold]] = True
        labels, _ = label(mask, structure=EVERYWHERE)
        return int((np.bincount(labels.ravel())[1:] >= MIN_MM3 / self.voxel_mm3 - 1e-6).sum())


def threshold_at(rate: float, maps: Sequence[Sparse]) -> float:
    """Lowest threshold above which there are at most ``rate`` regions a map in the mean, found by
    halving the share of voxels above it.

    Raises:
        SystemExit: there are no more even where 5 % of the voxels lie above.
    """
    values = np.sort(np.concatenate([each.values for each in maps]))[::-1]
    judged = sum(each.judged for each in maps)

    def at(tail: float) -> float:
        return float(values[min(int(tail * judged), len(values) - 1)])

    def false(threshold: float) -> float:
        return float(np.mean([each.regions(threshold) for each in maps]))

    few, many = TAILS
    if not len(values) or false(at(many)) <= rate:
        raise SystemExit(f"{many:.0%} of the healthy voxels make no more than {rate:g} region(s) a scan")
    for _ in range(HALVINGS):
        middle = float(np.sqrt(few * many))
        few, many = (middle, many) if false(at(middle)) <= rate else (few, middle)
    return at(few)


def drawn(anatomy: Path, work: Path, *, cases: int, diseased: bool) -> Cohort:
    """Healthy or diseased cases of the held-out heads."""
    from aberra.cohort import Cohort
    from aberra.synthesis import write_cohort
    from aberra.synthesis.anatomy import held_out

    heads = [str(path) for path in held_out(anatomy)]
    name = "diseased" if diseased else "healthy"
    manifest = write_cohort(
        work / f"{name}-{cases}",
        cases=cases,
        lesions=float(diseased),
        contrast=CONTRAST,
        spacing=SPACING,
        seed=SEED + diseased,
        anatomy=heads,
        profiles=PROFILES if diseased else (),
        workers=1,
    )
    return Cohort.read(manifest)


def detector_of(what: str, healthy: Cohort, work: Path) -> Detector:
    """A shipped or saved detector; a method that learns nothing is planned from the healthy cases."""
    from aberra.cohort import Cohort
    from aberra.detector import Detector
    from aberra.method import Method, catalogue

    if what not in catalogue():
        return Detector.load(what, device="cpu")
    if Method.load(what).learns_from != "nothing":
        raise SystemExit(f"{what}: learns from scans; fit it and give its folder")
    cohort = Cohort((replace(case, split="train") for case in healthy), healthy.source)
    return Detector.fit(
        what, cohort, out=work / "methods" / what, resume=True, calibrated=False, device="cpu"
    )


def counted(detector: Detector, case: Case, threshold: float) -> dict[str, Any]:
    """Lesions of 8 mm³ and more and those that are found, by volume bin, and false regions of a
    diseased case.
    """
    from aberra.metrics.lesion import LesionCounts, large_regions

    volume = case.read([CONTRAST])
    counts, everything = LesionCounts(), LesionCounts()
    smallest = int(np.ceil(MIN_MM3 / volume.voxel_mm3 - 1e-6))
    mask = large_regions(detector.analyse(volume).map > threshold, smallest)
    truth = np.asarray(volume.lesion)
    counts.add(mask, large_regions(truth, smallest), volume.voxel_mm3)
    everything.add(mask, truth, volume.voxel_mm3)  # a region on a splinter is not false
    return {
        "lesions": counts.lesions.tolist(), "overlapped": counts.overlapped.tolist(), "false": everything.false
    }  # fmt: skip


def measured(what: str, healthy: Cohort, diseased: Cohort, work: Path) -> list[dict[str, Any]]:
    """Rows of a detector, one a volume bin."""
    from aberra.metrics.lesion import BINS_MM3

    detector = detector_of(what, healthy, work)
    version = detector.identity["fingerprint"]
    folder = work / f"{Path(what).name}-{version}"
    cut = kept(
        folder / f"threshold-{len(healthy)}.json", lambda: {"threshold": _threshold(detector, healthy)}
    )
    threshold = float(cut["threshold"])
    found = [
        kept(folder / f"{threshold:.6g}-{case.case}.json", partial(counted, detector, case, threshold))
        for case in diseased
    ]
    lesions, hits = (np.sum([each[key] for each in found], axis=0) for key in ("lesions", "overlapped"))
    return [
        {
            "detector": Path(what).name, "from_mm3": low or MIN_MM3, "to_mm3": high, "lesions": int(count), "found": int(hit),
            "recall": round(int(hit) / int(count), 4) if count else "", "threshold": round(threshold, 6),
            "false_positives_a_diseased_scan": round(float(np.mean([each["false"] for each in found])), 3),
            "healthy": len(healthy), "diseased": len(diseased), "version": version, "commit": commit(),
            "date": datetime.now(UTC).date().isoformat(),
        }
        for (low, high), count, hit in zip(pairwise(BINS_MM3), lesions, hits, strict=True)
    ]  # fmt: skip


def _threshold(detector: Detector, healthy: Cohort) -> float:
    maps = []
    for case in healthy:
        volume = case.read([CONTRAST])
        analysis = detector.analyse(volume)
        maps.append(Sparse(analysis.map, analysis.inside, volume.voxel_mm3))
    return threshold_at(RATE, maps)


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Recall with the number of lesions, a column a volume bin, a line a detector."""
    bins = list(dict.fromkeys((row["from_mm3"], row["to_mm3"]) for row in rows))
    name: Callable[[float, float], str] = lambda low, high: (  # noqa: E731
        f"> {low:,.0f} mm³" if np.isinf(high) else f"{low:,.0f}–{high:,.0f} mm³"
    )
    lines = []
    for detector in dict.fromkeys(row["detector"] for row in rows):
        own = [row for row in rows if row["detector"] == detector]
        cells = [
            f"{row['recall']:.2f} ({row['found']} of {row['lesions']})" if row["lesions"] else ""
            for row in own
        ]
        lines.append([f"`{detector}`", *cells, f"{own[0]['false_positives_a_diseased_scan']:.1f}"])
    first = rows[0]
    caption = (
        f"Lesions touched by a region, at the threshold where {first['healthy']} healthy cases have one region a scan in the mean; "
        f"{first['diseased']} diseased cases. {first['date']}, CPU."
    )
    header = ["FLAIR, drawn", *(name(low, high) for low, high in bins), "false a diseased scan"]
    return as_markdown(header, lines, caption)


def main() -> None:
    """Measure, print, keep."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detectors", nargs="*", default=DETECTORS)
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--healthy", type=int, default=16)
    parser.add_argument("--diseased", type=int, default=32)
    parser.add_argument("--out", type=Path, help="CSV, as in benchmarks/results/small-lesions.csv")
    parser.add_argument(
        "--page", action="store_true", help="write the table that docs/explanation/shipped.md shows"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    healthy = drawn(options.anatomy, options.work, cases=options.healthy, diseased=False)
    diseased = drawn(options.anatomy, options.work, cases=options.diseased, diseased=True)
    rows = [row for what in options.detectors for row in measured(what, healthy, diseased, options.work)]
    page = PAGES / "shipped" / "small-lesions.txt" if options.page else None
    publish(rows, as_table(rows), options.out, page)


if __name__ == "__main__":
    main()
