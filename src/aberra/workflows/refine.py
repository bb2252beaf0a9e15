"""A cascade: a generalist says which scans are unusual, a specialist outlines what is in these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aberra.cohort import Cohort
from aberra.errors import CalibrationError, ConfigError
from aberra.files import discard, read_json
from aberra.options import Between, conforming
from aberra.workflows.detect import REFINED, Summary, detect_cohort

if TYPE_CHECKING:
    from pathlib import Path

    from aberra.detector import Detector

LEVEL = 0.05


def check_refine(generalist: Detector, level: float) -> None:
    """Refuse a generalist whose p-values can never be as low as the level.

    Raises:
        CalibrationError: it has no healthy case scores, or too few.
        ConfigError: a level outside (0, 1).
    """
    try:
        conforming(level, Between, "refine level", LEVEL)
    except ConfigError as error:
        raise ConfigError(f"--refine-level: {error}") from error
    scores = generalist.calibration.scores if generalist.calibration else []
    name = generalist.folder or generalist.method.name
    if 1 / (len(scores) + 1) > level:
        raise CalibrationError(
            f"{name}: {len(scores)} healthy cases give no p-value below {1 / (len(scores) + 1):.3f}, so nothing would be "
            f"refined at {level:g}; calibrate with more, or raise --refine-level"
        )


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
    for file in (out / REFINED).glob("*/result.json"):
        if file.parent.name not in kept:  # of an earlier run at a higher level
            discard(file.parent)
    if not chosen:
        return Summary()
    return detect_cohort(specialist, Cohort(chosen, cohort.source), out=out / REFINED, **options)


def _unusual(folder: Path, level: float) -> bool:
    """Whether a case's result is there and its p-value at most the level."""
    if not (folder / "result.json").is_file():
        return False
    p = read_json(folder / "result.json").get("p")
    return p is not None and float(p) <= level
