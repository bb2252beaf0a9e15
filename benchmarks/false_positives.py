"""Do p-values keep their promise on healthy phantoms, and how much do artefacts raise the score?

    python benchmarks/false_positives.py [--model flair] [--contrast flair] [--cases 200]
        [--artefact-cases 10]

Phantoms are rendered in memory with a seed that neither training nor calibration used.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from table import save

if TYPE_CHECKING:
    from aberra.detector import Detector

SEED = 777
SEVERITY = 0.5


@cache
def detector(model: str) -> Detector:
    """Load once a process."""
    import torch

    from aberra.detector import Detector

    torch.set_num_threads(1)
    return Detector.load(model, device="cpu")


def score(model: str, contrast: str, spacing: float, case: int, disturbed: str) -> float:
    """Case score of one healthy phantom, with an artefact where asked."""
    from aberra.synthesis import artefact, draw_phantom, render

    scan = render(draw_phantom(SEED, case, contrast), spacing)
    if disturbed:
        scan = artefact(disturbed, scan, severity=SEVERITY, seed=case)
    return detector(model).analyse(scan).score


def main() -> None:
    """Run and print."""
    from aberra.detector import Detector
    from aberra.metrics.case import realised_fpr
    from aberra.synthesis import ARTEFACTS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="flair")
    parser.add_argument("--contrast", default="flair")
    parser.add_argument("--spacing", type=float, default=1.5)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--artefact-cases", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jobs = [(case, "") for case in range(options.cases)]
    jobs += [(case, name) for name in ARTEFACTS for case in range(options.artefact_cases)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(score, options.model, options.contrast, options.spacing, *job) for job in jobs]
        scores = dict(zip(jobs, [each.result() for each in running], strict=True))
    calibration = Detector.load(options.model).calibration
    p_values = {job: calibration.p_value(value) for job, value in scores.items()}
    rows = []
    for row in realised_fpr([p_values[case, ""] for case in range(options.cases)], len(calibration.scores)):
        low, high = row["expected"]
        print(
            f"healthy, nominal {row['nominal']:.0%}: {row['flagged']} of {row['n']} = {row['realised']:.1%}, "
            f"binomial range {low:.1%} to {high:.1%}, {'inside' if row['within'] else 'OUTSIDE'}"
        )
        rows.append(
            {
                "what": f"healthy, p <= {row['nominal']}",
                "n": row["n"],
                "value": row["realised"],
                "low or rise": low,
                "high": high,
            }
        )
    for name in ARTEFACTS:
        pairs = [(scores[case, name], scores[case, ""]) for case in range(options.artefact_cases)]
        rise = float(np.median([after / before for after, before in pairs]))
        flagged = float(np.mean([p_values[case, name] <= 0.05 for case in range(options.artefact_cases)]))
        print(
            f"{name} at severity {SEVERITY}: score × {rise:.2f} (median of {len(pairs)}), flagged at p <= 0.05: {flagged:.0%}"
        )
        what = f"{name} {SEVERITY}, flagged at p <= 0.05"
        rows.append({"what": what, "n": len(pairs), "value": flagged, "low or rise": rise, "high": ""})
    save(rows, options.out)


if __name__ == "__main__":
    main()
