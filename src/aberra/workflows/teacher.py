"""A detector as teacher: what it finds in scans is learnt where nobody has outlined lesions.

Baur, Wiestler, Albarqouni, Navab 2019, Fusing Unsupervised and Supervised Deep Learning for White
Matter Lesion Segmentation (MIDL, PMLR 102): an unsupervised model's maps of unlabelled scans, cut at
a threshold, are pseudo-labels, from which a segmenter learns, alone or beside a few true outlines.

Deviation: the teacher may be any detector; voxels between two thresholds may be left undecided
(``training.doubt``), and a region may be taken as a whole (``training.regions``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.detector.folder import resolve_model
from aberra.detector.weights import WEIGHTS
from aberra.errors import CalibrationError, ConfigError, TrainingError
from aberra.files import config_hash, csv_text, file_hash, write_text
from aberra.foreground import EVERYWHERE
from aberra.kinds import GUESSED, UNDECIDED
from aberra.method import SUPERVISED, Method, catalogue
from aberra.output import claim
from aberra.result import Result
from aberra.workflows.detect import detect_cohort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.cohort import Case

RULES = ("threshold", "doubt", "regions", "outlined")
"""Options of a training that mean nothing without a teacher."""


def check_teacher(method: Method) -> None:
    """Refuse a teacher of a method that does not learn from lesions, or rules for none.

    Raises:
        ConfigError: says so.
    """
    place = method.training.get("teacher", "")
    if not place:
        idle = [name for name in RULES if method.training.get(name)]
        if idle:
            raise ConfigError(
                f"training.{idle[0]} says what is learnt of a teacher; name one with training.teacher: a detector's "
                "folder, a shipped one, or a method that learns nothing"
            )
        return
    if method.learns_from not in SUPERVISED:
        raise ConfigError(
            f"training.teacher={place}: {method.name} learns from {method.learns_from}, not from lesions; take a method "
            "that learns from masks, as unet"
        )
    if method.training.get("regions") and not method.training.get("doubt"):
        raise ConfigError("training.regions needs training.doubt, the threshold that regions are found at")
    if _is_method(place) and Method.load(place).learns_from != "nothing":
        raise ConfigError(
            f"training.teacher={place}: this method learns; fit it first, and give the detector's folder"
        )


def _is_method(place: str) -> bool:
    return place in catalogue()


@dataclass(frozen=True, kw_only=True)
class Told:
    """Cases with what a teacher has said of them.

    Attributes:
        train: cases to learn from.
        validation: cases to watch with.
        facts: of the detector that learns.
    """

    train: Cohort
    validation: Cohort
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What is learnt from besides outlines; nothing by default, which changes nothing.

    Attributes:
        place: a detector's folder, the name of a shipped one, or a method that learns nothing.
        rules: ``threshold``, ``doubt``, ``regions`` and ``outlined`` of the training.
        hash: of the detector's files, or of the method's settings.
        learnt: content hashes of the cases that the teacher has learnt from.

    Examples:
        >>> from aberra.method import Method
        >>> from aberra.workflows.teacher import Teacher
        >>> Teacher.of(Method.load("unet")).facts
        {}
    """

    place: str = ""
    rules: dict[str, Any] = field(default_factory=dict)
    hash: str = ""
    learnt: Sequence[str] = ()

    @classmethod
    def of(cls, method: Method) -> Teacher:
        """Look up the teacher that a method's training names.

        Raises:
            ModelError: there is no such detector, or it is damaged.
        """
        place = method.training.get("teacher", "")
        if not place:
            return cls()
        rules = {name: method.training[name] for name in RULES if name in method.training}
        if _is_method(place):
            return cls(place=place, rules=rules, hash=config_hash(Method.load(place).settings))
        folder = resolve_model(place)
        files = [folder / name for name in ("detector.toml", WEIGHTS, "calibration.json")]
        found = config_hash([file_hash(path) for path in files if path.is_file()])
        learnt = Detector.load(place, device="cpu").facts.get("learnt", [])
        return cls(place=place, rules=rules, hash=found, learnt=learnt)

    @property
    def facts(self) -> dict[str, Any]:
        """What tells one teacher from another: the same place may hold another one tomorrow."""
        return {"teacher_hash": self.hash} if self.place else {}

    def told(
        self,
        fit: Callable[..., Detector],
        cohort: Cohort,
        chosen: tuple[Cohort, Cohort],
        folder: Path,
        cache: Path | None,
        *,
        channels: Sequence[str],
        seed: int,
        device: str,
        progress: bool,
    ) -> Told:
        """Outline the lesions of all cases that are neither healthy by their label nor outlined.

        Maps are kept, so that an interrupted fit goes on; ``folder/cohort`` is a cohort whose
        ``lesion`` are the teacher's findings where its column ``guessed`` is 1. Cases that the label
        calls diseased and in which the teacher finds nothing are left out.

        Args:
            fit: :func:`aberra.workflows.fit.fit`, for a teacher that is a method.
            cohort: that the cases are of.
            chosen: cases to learn from and to watch with.
            folder: for maps and findings.
            cache: folder whose maps other fits share; None keeps them in ``folder``.
            channels: to read.
            seed: of a teacher that is a method.
            device: as of a fit.
            progress: show progress bars.

        Raises:
            TrainingError: the teacher finds nothing in any case to learn from, or no case can be
                read.
            CalibrationError: it has no thresholds.
            ConfigError: it has no threshold of that name, or ``doubt`` is the higher one.
        """
        if not self.place:
            return Told(train=chosen[0], validation=chosen[1])
        claim(folder, "cache")
        every = [*chosen[0], *chosen[1]]
        kept = self._outlined(chosen[0])
        asked = [
            replace(case, lesion=None, lesion2=None, ignore=None)
            for case in every
            if case.label != 0 and case.case not in kept
        ]
        detector = self._detector(fit, cohort, folder / "teacher", channels, seed=seed, device=device)
        name, high, low = self._thresholds(detector)
        mark = config_hash([self.hash, detector.identity["fingerprint"], cohort.data_hash(channels)])
        maps = (cache or folder) / f"maps-{mark}"
        summary = detect_cohort(
            detector, Cohort(asked), out=maps, channels=channels, report=False, progress=progress
        )
        if len(summary.failed) == len(asked) and asked:
            case, reason = next(iter(summary.failed.items()))
            raise TrainingError(
                f"{cohort.source}: the teacher {self.place} can read none of {len(asked)} case(s); {case}: {reason}"
            )
        guesses = folder / "cohort"
        claim(guesses, "cohort", identity=mark, replace=True)
        made: dict[str, Case] = {}
        nothing: list[str] = []
        voxels = 0
        for case in asked:
            if case.case in summary.failed:
                continue
            result = Result.load(maps / case.case)
            labels = guess(result.map.data[0], high, low, regions=bool(self.rules.get("regions")))
            found = int((labels == 1).sum())
            if not found and case.label == 1:
                nothing.append(case.case)
                continue
            path = guesses / f"{case.case}_lesion.nii.gz"
            result.map.with_(data=labels[None].astype(np.float32), channels=("mask",)).write(path)
            made[case.case] = replace(case, lesion=path, groups={**case.groups, GUESSED: "1"})
            voxels += found if case.split == "train" else 0
        if asked and not voxels:
            raise TrainingError(
                f"{cohort.source}: the teacher {self.place} finds nothing above its threshold '{name}' ({high:g}) in any of "
                "the training cases; lower it with training.threshold, as in training.threshold=healthy-fpr-5"
            )
        train, validation = (Cohort(_with(part, kept, made), cohort.source) for part in chosen)
        if not any(case.lesion is not None for case in train):
            raise TrainingError(
                f"{cohort.source}: every training case has label 0, so there is nothing for the teacher to find; "
                "give scans with label 1, or without label"
            )
        write_text(guesses / "manifest.csv", _manifest([*train, *validation]))
        return Told(
            train=train,
            validation=validation,
            facts={
                "teacher": self.place,
                "teacher_threshold": f"{name} ({high:g})",
                "guessed_cases": len(made),
                "outlined_cases": len(kept),
                "guessed_nothing": nothing,
                "not_guessed": sorted(summary.failed),
            },
        )

    def _outlined(self, train: Cohort) -> set[str]:
        """Names of the training cases whose outlines are used."""
        with_outline = [case for case in train if case.lesion is not None and case.label != 0]
        patients = list(dict.fromkeys(case.patient for case in with_outline))
        most = self.rules.get("outlined")
        chosen = set(patients if most is None else patients[:most])
        return {case.case for case in with_outline if case.patient in chosen}

    def _detector(
        self,
        fit: Callable[..., Detector],
        cohort: Cohort,
        folder: Path,
        channels: Sequence[str],
        *,
        seed: int,
        device: str,
    ) -> Detector:
        """The teacher; a method is calibrated on the healthy cases that are held out."""
        if not _is_method(self.place):
            detector = Detector.load(self.place, device=device)
        else:
            healthy = Cohort([case for case in cohort if case.label == 0], cohort.source)
            if not len(healthy):
                raise CalibrationError(
                    f"{cohort.source}: training.teacher={self.place} is a method, which needs scans of label 0 for its "
                    "thresholds; there are none. Give a calibrated detector: a shipped one, or a folder"
                )
            detector = fit(
                Method.load(self.place), healthy, out=folder, channels=channels, seed=seed, resume=True,
                device=device,
            )  # fmt: skip
        if detector.calibration is None:
            raise CalibrationError(
                f"training.teacher={self.place}: not calibrated, so it has no thresholds; run `aberra calibrate` with "
                "healthy cases"
            )
        return detector

    def _thresholds(self, detector: Detector) -> tuple[str, float, float]:
        """Name and value of the lesions' threshold, and the value above which voxels are undecided."""
        assert detector.calibration is not None  # noqa: S101 - refused before
        name, high = detector.calibration.threshold(self.rules.get("threshold") or None)
        doubt = self.rules.get("doubt")
        low = detector.calibration.threshold(doubt)[1] if doubt else high
        if low > high:
            raise ConfigError(
                f"training.doubt={doubt} ({low:g}) is above training.threshold={name} ({high:g}); exchange them"
            )
        return name, high, low


def guess(
    values: NDArray[np.float32], high: float, low: float, *, regions: bool = False
) -> NDArray[np.uint8]:
    """A map (D, H, W) as label values: 1 lesion, :data:`aberra.kinds.UNDECIDED`, or 0.

    Args:
        values: the map.
        high: voxels above it are lesion.
        low: voxels above it and not above ``high`` are undecided.
        regions: all of a region above ``low`` (26-connected) is lesion where one of its voxels is
            above ``high``.

    Examples:
        >>> import numpy as np
        >>> from aberra.workflows.teacher import guess
        >>> values = np.array([0.1, 0.4, 0.9, 0.1, 0.4], np.float32).reshape(1, 1, 5)
        >>> guess(values, 0.5, 0.3).ravel().tolist()
        [0, 2, 1, 0, 2]
        >>> guess(values, 0.5, 0.3, regions=True).ravel().tolist()
        [0, 1, 1, 0, 2]
    """
    from scipy.ndimage import label

    sure = values > high
    labels = np.where(sure, 1, np.where(values > low, UNDECIDED, 0)).astype(np.uint8)
    if regions:
        numbers, count = label(values > low, structure=EVERYWHERE)
        reaches = np.zeros(count + 1, dtype=bool)
        reaches[np.unique(numbers[sure])] = True
        reaches[0] = False
        labels[reaches[numbers]] = 1
    return labels


def _with(part: Cohort, kept: set[str], made: dict[str, Case]) -> list[Case]:
    """Cases of a part: outlined, guessed, or healthy by their label."""
    return [
        made.get(case.case, case)
        for case in part
        if case.label == 0 or case.case in kept or case.case in made
    ]


def _manifest(cases: Sequence[Case]) -> str:
    """Cases as a manifest, which every command reads."""
    columns = list(dict.fromkeys(name for case in cases for name in (*case.files, *case.groups)))
    rows = [
        {"case": case.case, "patient": case.patient, "label": "" if case.label is None else case.label,
         "split": case.split or ""}
        | {name: path.absolute() for name, path in case.files.items()}
        | case.groups
        for case in cases
    ]  # fmt: skip
    return csv_text(["case", "patient", "label", "split", *columns], rows)
