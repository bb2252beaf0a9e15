"""Which number of a slice takes pure noise for healthy? After Heer 2021, whose KL term does.

    python benchmarks/noise.py RUN/detectors/TASK RUN/cohorts/COHORT/manifest.csv [--cases 10]
        [--out benchmarks/results/noise.csv]

Every calibrated detector in a folder, as `aberra benchmark heer-ood` leaves them, scores healthy
cases and the same cases with every voxel of the foreground drawn anew from a normal distribution of
the scan's own mean and spread. The AUROC is that of noise against healthy by the case score: 1
where noise is always the stranger, 0 where it always passes for the healthier.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from table import commit, save, show

if TYPE_CHECKING:
    from aberra.volume import Volume

SEED = 17


def main() -> None:
    """Score, print and save a row a detector."""
    from aberra.cohort import Cohort
    from aberra.detector import Detector
    from aberra.metrics.case import auroc

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detectors", type=Path)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases = list(Cohort.read(options.cohort).select(healthy=True))[: options.cases]
    rows = []
    for folder in sorted(path.parent for path in options.detectors.glob("*/detector.toml")):
        detector = Detector.load(folder, device="cpu")
        scores = []
        for number, case in enumerate(cases):
            volume = case.read(detector.channels)
            scores.append([detector.analyse(each).score for each in (volume, noise(volume, number))])
        healthy, strange = np.array(scores).T
        found = auroc([*strange, *healthy], [1] * len(strange) + [0] * len(healthy))
        row: dict[str, Any] = {
            # without the hashes of the run
            "detector": re.sub(r"(-[0-9a-f]{4})?-0-[0-9a-f]{8}$", "", folder.name),
            "cases": len(cases), "auroc": round(float(found or 0), 3), "healthy": f"{np.median(healthy):.4g}",
            "noise": f"{np.median(strange):.4g}", "commit": commit(),
        }  # fmt: skip
        show(row)
        rows.append(row)
    save(rows, options.out)


def noise(volume: Volume, number: int) -> Volume:
    """The scan with every voxel of its foreground drawn anew, of the scan's own mean and spread."""
    from aberra.foreground import region

    inside = region(volume)
    rng = np.random.default_rng([SEED, number])
    data = volume.data.copy()
    for channel in data:
        values = channel[inside]
        channel[inside] = rng.normal(values.mean(), values.std(), size=len(values))
    return volume.with_(data=data)


if __name__ == "__main__":
    main()
