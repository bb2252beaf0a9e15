"""A cascade: a generalist says which scans are unusual, a specialist outlines what is in these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aberra.cohort import Cohort
from aberra.files import discard, read_json
from aberra.workflows.detect import REFINED, Summary, detect_cohort
from aberra.workflows.gate import LEVEL, expect_reached

if TYPE_CHECKING:
    from pathlib import Path

    from aberra.detector import Detector


def check_refine(generalist: Detector, level: float) -> None:
    """Refuse a generalist whose p-values can never be as low as the level.

    Raises:
        CalibrationError: it has no healthy case scores, or too few.
        ConfigError: a level outside (0, 1).
    """
    expect_reached(generalist, level, of="refine", so="nothing would be refined")


def refine(
    out: Path, specialist: Detector, cohort: Cohort, *, level: float = LEVEL, **options: Any
) -> Summary:
    """Run a second detector on the cases of a folder of results whose p-value is at most ``level``.

    The cascade that Baur proposes (thesis, TU München 2021, ch. 4): a generalist that has learnt what
    is healthy finds that something is unusual, and roughly where; a specialist of the kind of lesion
    delineates it. The generalist's results stay as they are; the specialist's are ``out/refined``,
    a folder of results of its own.

    Args:
        out: what :func:`aberra.workflows.detect.detect_cohort` wrote.
        specialist: calibrated.
        cohort: the cases; those without a result are left out.
        level: greatest p-value of the generalist's at which the specialist is asked.
        options: of :func:`aberra.workflows.detect.detect_cohort`.

    Returns:
        What the specialist did.

    Raises:
        OutputError: another specialist's results are there, and ``overwrite`` is off.
        CalibrationError: the specialist is not calibrated.

    Deviation: the proposal has a classifier of the disease in between, which chooses the specialist;
    here the user does.
    """
    chosen = [case for case in cohort if _unusual(out / case.case, level)]
    kept = {case.case for case in chosen}
    for case in cohort:
        if case.case not in kept:  # of an earlier run at a higher level
            discard(out / REFINED / case.case)
    if not chosen:
        return Summary()
    return detect_cohort(specialist, Cohort(chosen, cohort.source), out=out / REFINED, **options)


def _unusual(folder: Path, level: float) -> bool:
    """Whether a case's result is there and its p-value at most the level."""
    if not (folder / "result.json").is_file():
        return False
    p = read_json(folder / "result.json").get("p")
    return p is not None and float(p) <= level
