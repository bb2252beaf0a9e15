"""What a submission does: a folder of scans into the challenge's files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from aberra.detector import Detector
from aberra.errors import CalibrationError, InputError, MismatchError
from aberra.failures import told
from aberra.files import reading, write_text
from aberra.mood.unit import Unit
from aberra.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from aberra.mood.truth import Task

SCANS = (".nii.gz", ".nii")


def predict_folder(model: Path, source: Path, target: Path, task: Task) -> int:
    """Predict every scan of a folder; one that fails is said on standard error and has no file.

    Args:
        model: a detector's folder.
        source: of NIfTI files, one image each.
        target: gets a map of the scan's name, or ``<name>.txt`` with one number, both in [0, 1]
            (:class:`aberra.mood.unit.Unit`).
        task: ``pixel`` or ``sample``.

    Returns:
        0, or 1 where a scan failed.

    Raises:
        ModelError, CalibrationError, MismatchError: the detector cannot be used so.
        InputError: there are no scans.
    """
    detector = Detector.load(model)
    unit = unit_of(detector)
    with reading(source):
        paths = sorted(path for path in source.iterdir() if path.name.endswith(SCANS))
    if not paths:
        raise InputError(f"{source}: no NIfTI file; expected one a case, as in case.nii.gz")
    failed = 0
    for path in paths:
        try:
            _predict(detector, unit, path, target, task)
        except Exception as error:  # noqa: BLE001 - one case never ends the others
            failed = 1
            sys.stderr.write(f"{path.name}: {told(error)}\n")
    return failed


def unit_of(detector: Detector) -> Unit:
    """How a detector's numbers get into [0, 1].

    Raises:
        MismatchError: it reads several channels; the challenge gives one image a case.
        CalibrationError: it is not calibrated.
    """
    where = detector.folder or detector.method.name
    if len(detector.channels) != 1:
        raise MismatchError(
            f"{where}: reads {', '.join(detector.channels)}; the challenge gives one image a case, so expected a model of one channel"
        )
    if detector.calibration is None:
        raise CalibrationError(
            f"{where}: not calibrated, so its numbers cannot be brought into [0, 1]; run `aberra calibrate MODEL MANIFEST` with healthy cases"
        )
    return Unit.of(detector.calibration)


def _predict(detector: Detector, unit: Unit, path: Path, target: Path, task: Task) -> None:
    """One scan."""
    volume = Volume.read(path, channel=detector.channels[0])
    analysis = detector.analyse(volume)
    if task == "sample":
        write_text(target / f"{path.name}.txt", f"{unit.score(analysis.score)!r}\n")
        return
    data = unit.map(analysis.map)[None]
    volume.with_(data=data, channels=("anomaly",), mask=None, lesion=None).write(target / path.name)
