"""How much artefacts raise the case score of healthy scans, and how often they are flagged for it.

    python benchmarks/artefacts.py --data DATA --work runs/artefacts [--cases 40] [t1 flair]

``t1`` is asked about the healthy test scans of ``DATA/ixi``, ``flair`` about healthy FLAIR drawn
from the label maps of ``DATA/anatomy`` that it was not trained on. Severities are those
of :func:`aberra.synthesis.artefact`, 0 (none) to 1 (hardly readable): *mild* is 0.3, *strong* 0.8.
The score of each scan is compared with its own without the artefact. Everything is kept in
``--work``: run again to go on, or when another detector is shipped.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from table import PAGES, as_markdown, commit, kept, publish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.cohort import Case, Cohort
    from aberra.detector import Detector
    from aberra.detector.calibration import Calibration

SEVERITIES = {"mild": 0.3, "strong": 0.8}
NOMINAL = 0.05
SPACING, SEED = 1.5, 43
"""Of drawn FLAIR: the voxel size that ``flair`` is calibrated at, and a seed that nothing else has
used."""


def cohort_of(channel: str, data: Path, work: Path, cases: int) -> Cohort:
    """Healthy scans of a channel, the first ``cases``."""
    from aberra.cohort import Cohort
    from aberra.synthesis import write_cohort
    from aberra.synthesis.anatomy import held_out

    if channel == "t1":
        cohort = Cohort.read(data / "ixi" / "manifest.csv").select(split="test", healthy=True)
    else:
        heads = [str(path) for path in held_out(data / "anatomy")]
        made = write_cohort(
            work / f"drawn-{channel}-{cases}",
            cases=cases,
            contrast=channel,
            spacing=SPACING,
            seed=SEED,
            anatomy=heads,
            workers=1,
        )
        cohort = Cohort.read(made)
    return Cohort(list(cohort)[:cases], cohort.source)


def scored(detector: Detector, case: Case, number: int) -> dict[str, Any]:
    """Case score of a scan as it is (``none``) and with every artefact and severity; a case's draws
    are its own.
    """
    from aberra.synthesis import ARTEFACTS, artefact

    volume = case.read(list(detector.channels))
    found = {"none": detector.analyse(volume).score}
    for name in ARTEFACTS:
        for severity, value in SEVERITIES.items():
            spoiled = artefact(name, volume, severity=value, seed=SEED + number)
            found[f"{name}, {severity}"] = detector.analyse(spoiled).score
    return found


def summary(scores: Sequence[dict[str, float]], calibration: Calibration) -> list[dict[str, Any]]:
    """A row an artefact: median rise of the score, in spreads of the calibration's healthy scores,
    median p and share flagged.
    """
    healthy = np.array(calibration.scores)
    spread = 1.4826 * float(np.median(np.abs(healthy - np.median(healthy))))
    rows = []
    for what in sorted(scores[0], key=lambda each: each != "none"):  # as it is first
        p = np.array([calibration.p_value(each[what]) for each in scores], dtype=float)
        name, _, severity = what.partition(", ")
        rises = [(each[what] - each["none"]) / spread for each in scores]
        row = {"artefact": name, "severity": severity, "n": len(scores)}
        row |= {"rise": round(float(np.median(rises)), 3), "median_p": round(float(np.median(p)), 4)}
        rows.append(row | {"flagged": round(float((p <= NOMINAL + 1e-12).mean()), 4)})
    return rows


def measured(what: str, data: Path, work: Path, cases: int) -> list[dict[str, Any]]:
    """Rows of a detector."""
    from aberra.detector import Detector

    detector = Detector.load(what, device="cpu")
    version = detector.identity["fingerprint"]
    (channel,) = detector.channels
    cohort = cohort_of(channel, data, work, cases)
    scores = [
        kept(work / f"{what}-{version}" / f"{case.case}.json", partial(scored, detector, case, number))
        for number, case in enumerate(cohort)
    ]
    if detector.calibration is None:
        raise SystemExit(f"{what}: not calibrated")
    fixed = {"version": version, "commit": commit(), "date": datetime.now(UTC).date().isoformat()}
    return [{"detector": what} | row | fixed for row in summary(scores, detector.calibration)]


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """A line an artefact and severity; rise and share flagged of every detector."""
    detectors = list(dict.fromkeys(row["detector"] for row in rows))
    by = {(row["detector"], row["artefact"], row["severity"]): row for row in rows}
    lines = []
    for artefact, severity in dict.fromkeys((row["artefact"], row["severity"]) for row in rows):
        own = [by[detector, artefact, severity] for detector in detectors]
        cells = [cell for row in own for cell in (f"{row['rise']:+.1f}", f"{row['flagged']:.0%}")]
        lines.append([artefact, severity, *cells])
    header = ["artefact", "severity"]
    for detector in detectors:
        n = by[detector, "none", ""]["n"]
        header += [f"`{detector}`: rise (n = {n})", "flagged"]
    caption = (
        "rise: median change of a scan's score by the artefact, in robust standard deviations (1.48 MAD) of the healthy calibration scores. "
        f"flagged: p ≤ {NOMINAL:g}. {rows[0]['date']}, CPU."
    )
    return as_markdown(header, lines, caption)


def main() -> None:
    """Measure, print, keep."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detectors", nargs="*", default=("t1", "flair"), help="shipped detectors")
    parser.add_argument("--data", type=Path, required=True, help="folder of ixi and anatomy")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=40, help="scans of each detector")
    parser.add_argument("--out", type=Path, help="CSV, as in benchmarks/results/artefacts.csv")
    parser.add_argument(
        "--page", action="store_true", help="write the table that docs/explanation/shipped.md shows"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        row for what in options.detectors for row in measured(what, options.data, options.work, options.cases)
    ]
    page = PAGES / "shipped" / "artefacts.txt" if options.page else None
    publish(rows, as_table(rows), options.out, page)


if __name__ == "__main__":
    main()
