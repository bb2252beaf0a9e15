"""What adapting a detector to a site brings: AP of every patient before and after, on scans that
nobody has learnt from.

    python benchmarks/adapt.py DATA/lgg/manifest.csv --work runs/adapt --out adapt.csv

Brain masks are found once, by deepbet, and are what is judged. The students differ in what is learnt
of the teacher; ``--set`` changes all of them. Everything is kept in ``--work``: run again to go on.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from shipped import average_precision
from table import as_markdown, commit, kept, publish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.cohort import Case
    from aberra.detector import Detector

SPLITS = ("test", "shift")
REPLICATES = 10_000

STUDENTS: dict[str, dict[str, Any]] = {
    "adapted": {},
    "regions": {"training.doubt": "healthy-fpr-5", "training.regions": True},
    "outlined": {"training.outlined": 5},
}
"""What is learnt: voxels above the teacher's threshold, regions that reach above it, or the outlines
of five patients besides."""


def measured(detector: Detector, case: Case) -> dict[str, Any]:
    """AP inside the brain mask."""
    volume = detector.read(case)
    found = detector.analyse(volume)
    truth = np.asarray(volume.lesion)[found.inside]
    return {"ap": round(average_precision(found.map[found.inside], truth), 4)}


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the 95 % percentile interval over patients that are drawn with replacement."""
    rng = np.random.default_rng(0)
    given = np.asarray(values, dtype=float)
    means = given[rng.integers(len(given), size=(REPLICATES, len(given)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(given.mean()), float(low), float(high)


def as_table(rows: Sequence[dict[str, Any]], teacher: str) -> str:
    """Mean AP and the mean difference to the teacher, a line a detector, a column a split."""
    lines = []
    found = {(row["detector"], row["split"], row["case"]): row["ap"] for row in rows}
    splits = list(dict.fromkeys(row["split"] for row in rows))
    for name in dict.fromkeys(row["detector"] for row in rows):
        line = [name]
        for split in splits:
            cases = [case for detector, part, case in found if (detector, part) == (name, split)]
            mean, low, high = interval([found[name, split, case] for case in cases])
            line.append(f"{mean:.3f} [{low:.3f}, {high:.3f}]")
            gains = [found[name, split, case] - found[teacher, split, case] for case in cases]
            mean, low, high = interval(gains)
            line.append("" if name == teacher else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        lines.append(line)
    counts = {split: len({case for _, part, case in found if part == split}) for split in splits}
    caption = (
        "Mean AP over patients inside the brain mask, and the difference to the teacher, with 95 % intervals over patients ("
        f"{', '.join(f'{split}: {count}' for split, count in counts.items())}). {rows[0]['date']}, CPU."
    )
    header = ["", *(title for split in splits for title in (split, f"{split}, difference"))]
    return as_markdown(header, lines, caption)


def main() -> None:
    """Adapt, measure, print, keep."""
    import torch

    from aberra.benchmark.cohorts import masked
    from aberra.cohort import Cohort
    from aberra.detector import Detector
    from aberra.method import parse_settings
    from aberra.workflows.adapt import adapt

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--teacher", default="flair")
    parser.add_argument("--students", nargs="*", choices=STUDENTS, default=["adapted"])
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--cases", type=int, help="of each split, the first; all without")
    parser.add_argument("--out", type=Path, help="CSV, as in benchmarks/results/adapt.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cohort = Cohort.read(options.manifest)
    site = [case for case in cohort if case.split in {"train", "val"}]
    brains = partial(masked, method="deepbet", folder=options.work / "masks", progress=True)
    site = brains(Cohort(site, cohort.source))
    settings = parse_settings(options.settings)
    detectors = {options.teacher: Detector.load(options.teacher, device="cpu")}
    for name in options.students:
        out = options.work / "-".join([name, *map(str, settings.values())])
        detectors[f"{options.teacher}, {name}"] = (
            Detector.load(out, device="cpu")
            if (out / "detector.toml").is_file()
            else adapt(
                detectors[options.teacher], site, out=out, settings=STUDENTS[name] | settings,
                cache=options.work / "prepared", device="cpu", workers=1, progress=True,
            )
        )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for name, detector in detectors.items():
        version = detector.identity["fingerprint"]
        for split in SPLITS:
            cases = brains(cohort.select(split=split)[slice(options.cases)])
            for case in cases:
                file = options.work / "cells" / f"{version}-{case.case}.json"
                rows.append(
                    {"detector": name, "split": split, "case": case.case}
                    | kept(file, partial(measured, detector, case))
                    | {
                        "steps": detector.facts.get("training_steps", ""), "guessed": detector.facts.get("guessed_cases", ""),
                        "version": version, "commit": commit(), "date": datetime.now(UTC).date().isoformat(),
                    }
                )  # fmt: skip
    publish(rows, as_table(rows, options.teacher), options.out, None)


if __name__ == "__main__":
    main()
