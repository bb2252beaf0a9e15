"""Adapt a detector to a site: a segmenter learns what the detector finds in the site's own scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of, keep_out
from aberra.cohort.manifest import expect_cohort
from aberra.cohort.splits import split_by_patient
from aberra.detector import Detector
from aberra.detector.folder import refuse_finished
from aberra.errors import CalibrationError
from aberra.method import Method
from aberra.models.anomaly_segmenter import AnomalySegmenter
from aberra.options import Count, configured
from aberra.output import claim
from aberra.pretrained import shipped_detectors
from aberra.workflows.fit import fit

STRIDE = 16
"""Voxels that the edges of the default students' windows are multiples of."""

GENTLE = {"training.steps": 150, "training.learning_rate": 3e-4, "training.warmup": 10}
"""Of a student that begins as its teacher: there is little to learn, and much to forget."""


@configured("adapt")
def adapt(
    teacher: Detector,
    cohort: Cohort,
    *,
    out: Path,
    student: Method | None = None,
    settings: Mapping[str, Any] | None = None,
    rounds: Count = 1,
    scratch: bool = False,
    channels: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
    workers: Count = 2,
    progress: bool = False,
) -> Detector:
    """Train a segmenter on what a detector finds in a cohort's scans, and save it in ``out``.

    The self-teaching loop of Baur, Wiestler, Albarqouni, Navab 2019 (MIDL, PMLR 102), with any
    detector as teacher. Scans of label 0 are healthy and teach what is no lesion; of all others the
    teacher says what is. Outlines in the column ``lesion`` are not looked at, but for those of
    ``training.outlined`` patients. Splits are as of :func:`aberra.workflows.fit.fit`: only ``train``
    is learnt, the teacher's findings in ``val`` choose the weights, all other splits stay unseen.
    The adapted detector is calibrated on the scans of label 0 in ``val``; where there are none, on
    the slices of ``val`` in which the teacher finds nothing, which gives no p-values.

    A run that was interrupted goes on when it is started again.

    Args:
        teacher: saved or shipped, and calibrated.
        cohort: the site's scans.
        out: folder of the adapted detector; ``out/guesses/cohort`` has what the teacher found, as a
            cohort that every command reads, ``out/rounds`` the detectors of earlier rounds.
        student: a method that learns from masks; None is :func:`student_of`.
        settings: ``section.key`` to value over the student's.
        rounds: of teaching; in each the student of the one before is the teacher.
        scratch: draw the student's weights where it could begin with the teacher's.
        channels: manifest columns to read.
        seed: of weights and sampling.
        device: ``auto``, ``cpu`` or ``cuda``.
        cache: folder of prepared cases and of teachers' maps that other runs share.
        workers: threads that prepare cases.
        progress: show progress bars.

    Returns:
        The adapted detector.

    Raises:
        CalibrationError: the teacher has no thresholds, or lies in no folder.
        OutputError: ``out`` holds another detector, or a scan.
        TrainingError: the teacher finds nothing, or every scan is healthy.
        ConfigError: a student that does not learn from masks, or settings that cannot work.
    """
    expect_cohort(cohort)
    if teacher.folder is None or teacher.calibration is None:
        raise CalibrationError(
            f"{teacher.method.name}: a teacher has to be saved and calibrated; run `aberra calibrate` with healthy cases"
        )
    refuse_finished(out)
    keep_out(out, inputs_of(cohort))
    if not any(case.split for case in cohort):
        cohort = split_by_patient(cohort, {"train": 0.8, "val": 0.2}, seed=seed)
    options: dict[str, Any] = {
        "channels": channels or _columns(teacher, cohort), "seed": seed, "resume": True, "device": device,
        "cache": cache, "workers": workers, "progress": progress,
    }  # fmt: skip
    if rounds > 1:
        claim(out, "detector")
    for number in range(1, rounds + 1):
        method = taught_by(teacher, student, settings or {}, scratch=scratch)
        folder = out if number == rounds else out / "rounds" / str(number)
        teacher = fit(method, cohort, out=folder, **options)
    return teacher


def taught_by(
    teacher: Detector, student: Method | None, settings: Mapping[str, Any], *, scratch: bool
) -> Method:
    """The method that a teacher's student is fitted by: the student's, with the teacher in
    ``training``.
    """
    method, begins = (student, False) if student is not None else student_of(teacher)
    place = place_of(teacher)
    own: dict[str, Any] = {"training.teacher": place, "training.outlined": 0}
    if begins and not scratch:
        own |= {"training.start": place} | GENTLE
    return method.overridden(own | dict(settings))


def student_of(teacher: Detector) -> tuple[Method, bool]:
    """The student that goes with a teacher, prepared as the teacher is, and whether it can begin
    with the teacher's weights.

    A segmenter that has learnt from masks has itself as student, one that has learnt from planted
    lesions ``unet-3d`` (or ``unet``) with its network, every other detector ``unet-3d`` or ``unet``
    as it is.
    """
    own, model = teacher.method, teacher.model
    steps = {"dims": teacher.dims, "size": list(teacher.size), "steps": teacher.recipe.to_config()}
    if own.learns_from == "masks":
        training = {key: value for key, value in own.training.items() if key not in {"start", "teacher"}}
        return replace(own, prepare=steps, training=training), True
    method = Method.load("unet-3d" if teacher.dims == 3 else "unet")
    begins = isinstance(model, AnomalySegmenter)
    if isinstance(model, AnomalySegmenter):
        network = {"name": "unet-added", "widths": list(own.model["widths"])}
        table = {"network": network, "classes": len(model.kinds) or 1, "maps": own.model.get("maps", 0)}
        method = replace(method, model=method.model | table, case=own.case)
    else:  # its windows may be of any size
        steps["size"] = [-(-edge // STRIDE) * STRIDE for edge in teacher.size]
    return replace(method, prepare=steps), begins


def place_of(detector: Detector) -> str:
    """How a detector is named: a shipped one by its name, another by its folder."""
    for name, folder in shipped_detectors().items():
        if detector.folder == folder:
            return name
    return str(detector.folder)


def _columns(teacher: Detector, cohort: Cohort) -> list[str] | None:
    """The teacher's own columns where every case has them; None leaves the choice to the fit."""
    there = all(name in case.channels for case in cohort for name in teacher.channels)
    return list(teacher.channels) if there else None
