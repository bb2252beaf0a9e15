"""The published 500 restoration steps against fewer steps on the same path: AP, time and agreement,
same weights.

    python benchmarks/restoration.py DETECTOR METHOD MANIFEST --split test --out FILE.csv

DETECTOR has the weights that METHOD (vae-restoration, gmvae-restoration, irvae) asks, as
`aberra benchmark` leaves them in detectors/; schedule and steps are varied, the post-processing is
the detector's. MANIFEST has lesion masks.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
from table import save, show

from aberra.benchmark.machine import commit, machine
from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.method import Method
from aberra.metrics.voxel import VoxelHistogram

SETTINGS = (("constant", 500), ("decreasing", 50), ("decreasing", 25), ("decreasing", 10), ("constant", 50))


def main() -> None:
    """Measure every setting and print a row each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("detector", type=Path)
    options.add_argument("method")
    options.add_argument("manifest", type=Path)
    options.add_argument("--cases", type=int, default=4)
    options.add_argument("--split")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    detector = Detector.load(given.detector)
    postprocess = detector.method.postprocess
    cohort = Cohort.read(given.manifest).select(split=given.split)
    cases = [case for case in cohort if case.lesion is not None][: given.cases]
    volumes = [detector.read(case) for case in cases]
    slices = sum(int(detector.recipe(each).mask.any(axis=(1, 2)).sum()) for each in volumes)
    rows, reference = [], None
    for schedule, steps in SETTINGS:
        method = Method.load(given.method, {"score.restore.schedule": schedule, "score.restore.steps": steps})
        detector = detector.asking(replace(method, postprocess=postprocess))
        histogram, values, started = VoxelHistogram(24), [], perf_counter()
        for volume in volumes:
            analysis = detector.analyse(volume)
            histogram.add(analysis.map[analysis.inside], volume.lesion[analysis.inside])
            values.append(analysis.map[analysis.inside])
        seconds = perf_counter() - started
        flat = np.concatenate(values)
        reference = flat if reference is None else reference
        curve = histogram.curve()
        rows.append(
            {
                "method": given.method,
                "schedule": schedule,
                "steps": steps,
                "tv": detector.question.score.score.restore.tv,
                "length": detector.question.score.score.restore.length,
                "AP": round(curve.ap, 4),
                "best_dice": round(curve.best_dice, 4),
                "AUROC": round(curve.auroc, 4),
                "correlation_with_500": round(float(np.corrcoef(reference, flat)[0, 1]), 4),
                "seconds_per_slice": round(seconds / slices, 4),
                "cases": len(cases),
                "size": detector.size[0],
                "machine": machine(),
                "commit": commit(),
            }
        )
        show(rows[-1])
    save(rows, given.out)


if __name__ == "__main__":
    main()
