"""A submission's predictions: the challenge's files, or a folder of ``aberra detect``."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from aberra.detector.calibration import Calibration
from aberra.errors import ConfigError, InputError, MismatchError
from aberra.files import read_json, reading
from aberra.mood.truth import ENDS
from aberra.mood.unit import Unit
from aberra.output import kind_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.mood.truth import Task, Truth
    from aberra.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Reads what was predicted for a case, clamped to [0, 1].

    Attributes:
        folder: of ``<case>.nii.gz`` or ``<case>.nii.gz.txt``; or of results.
        unit: brings results, which are in their detector's own units, into [0, 1]; None of the
            challenge's files.
    """

    folder: Path
    unit: Unit | None = None

    @classmethod
    def of(cls, folder: Path, task: Task) -> Predictions:
        """What a folder holds; ``pixel`` and ``sample`` may lie in it side by side.

        Raises:
            InputError: no folder, or results whose calibration is damaged.
        """
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; expected predictions <case>{ENDS[task]}, or results of `aberra detect`"
            )
        if kind_of(folder) != "results":
            return cls(folder=folder / task if (folder / task).is_dir() else folder)
        path = folder / "calibration.json"
        with reading(path):
            try:
                return cls(folder=folder, unit=Unit.of(Calibration.from_json(read_json(path))))
            except (ConfigError, ValueError) as error:
                raise InputError(f"{path}: damaged ({error}); detect again") from error

    def score(self, case: str) -> float:
        """The case's score.

        Raises:
            InputError: missing, or no finite number.
        """
        path = self.folder / (f"{case}{ENDS['sample']}" if self.unit is None else f"{case}/result.json")
        with reading(path):
            try:
                if self.unit is None:
                    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                    value = float(lines[0])
                else:
                    value = self.unit.score(float(read_json(path)["score"]))
            except (ValueError, IndexError, KeyError, TypeError) as error:
                raise InputError(f"{path}: no number ({error})") from error
        if not isfinite(value):
            raise InputError(f"{path}: {value} is not finite")
        return min(max(value, 0.0), 1.0)

    def map(self, truth: Truth, scan: Volume | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The case's map (D, H, W).

        Args:
            truth: the case.
            scan: its voxels and axis order, where these are known; otherwise the shape decides, as
                it does in the challenge.
            shape: that it must have.

        Raises:
            InputError: missing, unreadable or not finite.
            MismatchError: another shape.
        """
        from aberra.io import onto, read

        case = truth.case
        path = self.folder / (f"{case}{ENDS['pixel']}" if self.unit is None else f"{case}/map.nii.gz")
        found = read(path)
        if scan is not None:
            found = onto(found, scan) or found
        if found.shape != shape:
            raise MismatchError(f"{path}: shape {found.shape}, the truth has {shape}")
        values: NDArray[np.float32] = found.data[0]
        return np.clip(values, 0, 1) if self.unit is None else self.unit.map(values)
