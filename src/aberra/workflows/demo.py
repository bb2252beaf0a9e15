"""The main job on phantoms: healthy cohort → detector → lesions found in unseen cases → report."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = "flair"
UNSEEN = 16
"""Unseen cases; half of them get lesions."""

PROFILES = ("ms", "tumour", "stroke")
"""Diseases whose lesions they get; the small detector of ``--from-scratch`` gets planted ones."""

SCRATCH = {"cases": 44, "spacing": 3.0, "training.steps": 600, "prepare.size": 64, "model.network.width": 16}
"""``--from-scratch``: coarse phantoms and a short training that fit into ten minutes on two
cores."""


def run(out: Path, *, from_scratch: bool = False, seed: int = 2026) -> Path:
    """Run the demo and return the report's path.

    Args:
        out: folder of the demo; finished parts of an earlier run are reused.
        from_scratch: train a small DAE on healthy phantoms instead of using the shipped detector.
        seed: of the phantoms.

    Raises:
        OutputError: the folder holds something else.
    """
    from aberra.cohort import Cohort
    from aberra.console import screen
    from aberra.detector import Detector
    from aberra.method import Method
    from aberra.output import claim
    from aberra.synthesis import write_cohort
    from aberra.workflows.detect import detect_cohort
    from aberra.workflows.evaluate import evaluate

    claim(out, "demo")
    console = screen()
    started = perf_counter()
    spacing = float(SCRATCH["spacing"]) if from_scratch else 1.5
    if from_scratch:
        console.rule("1 · healthy phantoms")
        healthy = write_cohort(out / "healthy", cases=int(SCRATCH["cases"]), spacing=spacing, seed=seed)
        console.rule("2 · learn what healthy looks like")
        method = Method.load("dae", {key: value for key, value in SCRATCH.items() if "." in key})
        detector = Detector.fit(
            method, Cohort.read(healthy), out=out / "model", seed=seed, resume=True, progress=True
        )
    else:
        console.rule("1 · the shipped detector")
        detector = Detector.load(SHIPPED)
        console.print(
            f"'{SHIPPED}': {detector.method.title}, learnt from {detector.facts.get('data', 'healthy phantoms')}"
        )
    console.rule("unseen cases, half of them with lesions")
    name = "unseen-coarse" if from_scratch else "unseen"
    profiles = () if from_scratch else PROFILES
    manifest = write_cohort(
        out / name, cases=UNSEEN, lesions=0.5, spacing=spacing, seed=seed + 1, profiles=profiles
    )
    results = out / ("results-coarse" if from_scratch else "results")
    console.rule("detect")
    detect_cohort(detector, Cohort.read(manifest), out=results, progress=True)
    console.rule("evaluate against the truth")
    evaluate(results, manifest, n_boot=200)
    report = results / "report.html"
    console.rule(f"done in {perf_counter() - started:.0f} s")
    console.print(f"scores: {results / 'scores.csv'}\nreport: {report}")
    return report
