"""What one pass over the cases of an evaluation accumulates, and the numbers that come of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.filters import threshold_otsu

from aberra.detector.calibration import FIXED, GIVEN
from aberra.metrics.bootstrap import PatientBootstrap, with_intervals
from aberra.metrics.case import (
    LEVELS,
    accuracy,
    auroc,
    average_precision,
    cohens_kappa,
    fpr_at_tpr,
    realised_fpr,
    resolved,
)
from aberra.metrics.kinds import KindOverlap
from aberra.metrics.lesion import FP_RATES, Froc, LesionCounts
from aberra.metrics.slices import SliceScores
from aberra.metrics.surface import hd95
from aberra.metrics.uncertainty import Reliability, UncertaintyQuality, brier, ece, reliability_bins
from aberra.metrics.voxel import Counts, Overlap, Residuals, VoxelHistogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from aberra.volume import Volume

CASE_BITS = 18
"""Resolution of a single case's histogram: AP to about 1e-5, 4 MiB."""

LADDER = 16
"""Thresholds of the FROC curve."""

MIN_VOXELS = 8
"""Findings below this are dropped in FROC, as in the masks."""

EVEN = 0.5
"""Probability above which a case is called diseased."""

OTSU = "average-otsu"
"""Protocol: the mean over the cases of the threshold that Otsu 1979 finds in each map (Wolleb et
al. 2022, arXiv 2203.04306); no truth is used, but the cases that are judged are."""

MIN_GROUP = 10
"""Healthy cases of a group from which its false-positive rate is printed."""


PATHOLOGY = ("pathology", "profile")
"""Columns of a manifest that name a scan's disease; the first that is filled counts."""


def pathology_of(groups: Mapping[str, str]) -> str:
    """The disease that a case's columns name; empty without."""
    return next((groups[column] for column in PATHOLOGY if groups.get(column)), "")


@dataclass(frozen=True)
class Compared:
    """What is compared of a case: result and truth on one grid.

    Attributes:
        map: the anomaly map.
        mask: as written, shape (D, H, W), like all that follows.
        labels: label value of the true lesions, 0 elsewhere.
        region: voxels that are judged.
        spread: uncertainty; None without.
        kinds: label values that the result tells; None without.
        second: mask of a second rater; None without.
    """

    map: Volume
    mask: NDArray[np.bool]
    labels: NDArray[np.uint8]
    region: NDArray[np.bool]
    spread: NDArray[np.float32] | None
    kinds: NDArray[np.generic] | None
    second: NDArray[np.bool] | None


class Tally:
    """What one pass accumulates; nothing here grows with the number of voxels.

    Args:
        calibration: of the results, as in ``calibration.json``; may be empty.
        replicates: of the bootstrap.
        seed: of bootstrap and tests.
        curves: count for FROC, too.
    """

    def __init__(self, calibration: dict[str, Any], *, replicates: int, seed: int, curves: bool) -> None:
        self.thresholds: dict[str, float] = calibration.get("thresholds", {})
        self.default: str | None = calibration.get("default")
        self.calibrated = len(calibration.get("scores", []))
        self.groups = {name: len(scores) for name, scores in calibration.get("groups", {}).items()}
        self.replicates = replicates
        self.seed = seed
        self.bootstrap = PatientBootstrap(replicates, seed)
        self.froc = Froc(ladder(calibration) if curves else [])
        self.histogram = VoxelHistogram()
        self.residuals = Residuals()
        self.lesions = LesionCounts()
        self.slices = SliceScores()
        self.reliability = Reliability()
        self.uncertainty = UncertaintyQuality()
        self.pooled: dict[str, Overlap] = {}
        self.otsu: list[float] = []
        self.counts: list[Counts] = []
        self.kinds = KindOverlap()
        self.cases: list[dict[str, Any]] = []
        self.warnings: dict[str, list[str]] = {}

    def add(self, patient: str, case: Compared, pathology: str = "") -> dict[str, Any]:
        """Add a case, of a disease of that name, to the pools and return its own metrics."""
        found, mask, judged = case.map, case.mask, case.region
        truth = case.labels > 0
        scores, marks = found.data[0][judged], truth[judged]
        self.histogram.add(scores, marks)
        self.bootstrap.add(patient, scores, marks)
        self.residuals.add(scores, marks)
        self.slices.add(patient, found.data[0], truth, judged, found.affine, pathology=pathology)
        self.lesions.add(mask, truth, found.voxel_mm3)
        self.froc.add(found.data[0], truth, found.voxel_mm3, MIN_VOXELS)
        if FIXED in self.thresholds:  # then the map is a probability
            self.reliability.add(patient, scores, marks)
        if case.spread is not None:
            self.uncertainty.add(patient, case.spread[judged], mask[judged], marks)
        own = VoxelHistogram(CASE_BITS)
        own.add(scores, marks)
        curve = own.curve()
        if GIVEN not in self.thresholds and scores.size and scores.min() < scores.max():
            self.otsu.append(float(threshold_otsu(scores)))
        self.counts.append(Counts.of(own))
        dice = {}
        for name, value in self.thresholds.items():
            overlap = Overlap.of(scores > value, marks)
            self.pooled[name] = self.pooled.get(name, Overlap()) + overlap
            dice[name] = overlap.dice if marks.any() else None
        drawn = Overlap.of(mask, truth)
        return {
            "ap": curve.ap,
            "auroc": curve.auroc,
            "best_dice": curve.best_dice,
            "prevalence": curve.prevalence,
            "dice": dice,
            "kinds": {} if case.kinds is None else self.kinds.add(case.kinds[judged], case.labels[judged]),
            "mask_dice": drawn.dice if truth.any() else None,
            "mask_volume_difference": drawn.volume_difference if truth.any() else None,
            "mask_jaccard": drawn.jaccard if truth.any() else None,
            "mask_hd95_mm": hd95(mask, truth, found.spacing),
            "mask_empty": not mask.any(),
            "raters_dice": None if case.second is None else Overlap.of(case.second, truth).dice,
        }

    def summary(self) -> dict[str, Any]:
        """The numbers of all cases, by what is counted."""
        draws = {"replicates": self.replicates, "seed": self.seed}
        return {
            "voxel": self._voxel(),
            "mask": self._mask(),
            "raters": self._mean("raters_dice"),
            "change": {name: self._mean(name) for name in ("change_mse", "change_ssim", "identity_mse")},
            "kinds": self.kinds.summary(FIXED if FIXED in self.thresholds else self.default),
            "reliability": self.reliability.summary(**draws),
            "uncertainty": self.uncertainty.summary(**draws),
            "lesion": self._lesion(),
            "slice": self._slice(**draws),
            "case": self._case(),
        }

    def _slice(self, **draws: Any) -> dict[str, Any]:
        """What slices tell, and beside each disease the Dice of its masks."""
        found = self.slices.summary(**draws)
        for row in found["pathologies"]:
            own = [
                case["mask_dice"]
                for case in self.cases
                if case.get("mask_dice") is not None and pathology_of(case["groups"]) == row["pathology"]
            ]
            row["dice"] = float(np.mean(own)) if own else None
        return found

    def _voxel(self) -> dict[str, Any]:
        curve = asdict(self.histogram.curve())
        replicates = self.bootstrap.samples() if curve["positives"] else {}
        curve["intervals"] = self.bootstrap.intervals(replicates) if replicates else {}
        # the same patients' weights for every method: what paired tests of pooled metrics need
        curve["replicates"] = {
            name: [None if np.isnan(value) else round(float(value), 6) for value in values]
            for name, values in replicates.items()
        }
        judged = [row for row in self.cases if "dice" in row]
        thresholds, pooled = dict(self.thresholds), dict(self.pooled)
        if self.otsu:
            thresholds[OTSU] = float(np.mean(self.otsu))
            pooled[OTSU] = Overlap()
            for row, own in zip(judged, self.counts, strict=True):
                overlap = own.above(thresholds[OTSU])
                pooled[OTSU] += overlap
                row["dice"][OTSU] = overlap.dice if overlap.actual else None
        at = {}
        for name, overlap in pooled.items():
            found = [(row["patient"], dice) for row in judged if (dice := row["dice"][name]) is not None]
            patients = _by_patient(found)
            at[name] = {
                "threshold": thresholds[name],
                "dice": overlap.dice,
                "sensitivity": overlap.sensitivity,
                "precision": overlap.precision,
                "dice_mean": float(np.mean([dice for _, dice in found])) if found else None,
                "dice_patient_mean": float(np.mean(patients)) if patients else None,
                "dice_patient_std": float(np.std(patients)) if patients else None,
            }
        residuals = self.residuals.summary() | {"histogram": self.residuals.bins()}
        return {"pooled": curve, "per_case": self._mean("ap"), "at_threshold": at, "residuals": residuals}

    def _mask(self) -> dict[str, Any]:
        """The masks as written, over the cases with lesions: an empty one has Dice and Jaccard 0
        and no HD95.
        """
        judged = [row for row in self.cases if row.get("mask_dice") is not None]
        found: dict[str, Any] = {
            "protocol": ", ".join(sorted({row["protocol"] for row in judged})),
            "cases": len(judged),
            "empty": sum(row["mask_empty"] for row in judged),
            "empty_healthy": sum(row.get("mask_empty", False) for row in self.cases if row["label"] == 0),
        }
        for name in ("dice", "jaccard", "hd95_mm", "volume_difference"):
            found[name] = self._mean(f"mask_{name}")["mean"]
        return found

    def _mean(self, name: str) -> dict[str, Any]:
        """Mean of a figure over the cases that have it."""
        values = [row[name] for row in self.cases if row.get(name) is not None]
        return {"cases": len(values), "mean": float(np.mean(values)) if values else None}

    def _lesion(self) -> dict[str, Any]:
        return {
            "protocol": self.default,
            "overlap": "any voxel; IoU 0.1",
            **self.lesions.summary(),
            "froc": self.froc.at(FP_RATES),
            "froc_points": self.froc.points(),
        }

    def _case(self) -> dict[str, Any]:
        scores = np.array([row["score"] for row in self.cases], dtype=float)
        labels = np.array([row["label"] for row in self.cases], dtype=bool)
        patients = [row["patient"] for row in self.cases]
        statistics: dict[str, Callable[[NDArray[np.int64]], float | None]] = {
            "auroc": lambda drawn: auroc(scores[drawn], labels[drawn]),
            "ap": lambda drawn: average_precision(scores[drawn], labels[drawn]),
            "fpr_at_95_tpr": lambda drawn: fpr_at_tpr(scores[drawn], labels[drawn]),
        }
        found = {"healthy": int((~labels).sum()), "diseased": int(labels.sum())} | with_intervals(
            statistics, patients, replicates=self.replicates, seed=self.seed
        )
        found |= self._diagnosis()
        healthy = [row for row in self.cases if row["label"] == 0 and row["p"] is not None]
        found["calibration_cases"] = self.calibrated
        found["false_positive_rate"] = (
            realised_fpr([row["p"] for row in healthy], self.calibrated) if healthy else []
        )
        found["unresolved"] = [level for level in LEVELS if healthy and not resolved(level, self.calibrated)]
        found["false_positive_rate_by_group"] = {
            f"{column}={value}": realised_fpr(own, self.groups.get(value, self.calibrated))
            for column in ("site", "sex")
            for value in sorted({row["groups"].get(column, "") for row in healthy})
            if value
            and len(own := [row["p"] for row in healthy if row["groups"].get(column) == value]) >= MIN_GROUP
        }
        return found

    def _diagnosis(self) -> dict[str, Any]:
        """Accuracy, kappa and calibration of the cases' probabilities; nothing without any."""
        told = [row for row in self.cases if row.get("probability") is not None]
        if not told:
            return {}
        p = np.array([row["probability"] for row in told], dtype=float)
        labels = np.array([row["label"] for row in told], dtype=bool)
        bins = np.stack([reliability_bins(*each) for each in zip(p[:, None], labels[:, None], strict=True)])
        statistics: dict[str, Callable[[NDArray[np.int64]], float | None]] = {
            "accuracy": lambda drawn: accuracy(p[drawn] > EVEN, labels[drawn]),
            "kappa": lambda drawn: cohens_kappa(p[drawn] > EVEN, labels[drawn]),
            "ece": lambda drawn: ece(bins[drawn].sum(axis=0)),
            "brier": lambda drawn: brier(bins[drawn].sum(axis=0)),
        }
        patients = [row["patient"] for row in told]
        return with_intervals(statistics, patients, replicates=self.replicates, seed=self.seed)


def _by_patient(values: Iterable[tuple[str, float]]) -> list[float]:
    """The mean of each patient's cases."""
    of_patient: dict[str, list[float]] = {}
    for patient, value in values:
        of_patient.setdefault(patient, []).append(value)
    return [float(np.mean(own)) for own in of_patient.values()]


def ladder(calibration: dict[str, Any]) -> list[float]:
    """Thresholds for FROC, geometrically from the healthy 90 % quantile to well above the colour
    scale; of a probability its odds, so that they are as close near 1 as near 0.
    """
    thresholds = calibration.get("thresholds", {})
    low = thresholds.get("healthy-fpr-10", 0.0)
    if FIXED in thresholds:
        odds = np.geomspace(max(low / (1 - low), 1e-3), 1e4, LADDER)
        return [float(step) for step in odds / (1 + odds)]
    high = calibration.get("scale", {}).get("high", 1.0) * 2
    low = max(low, high / 1000)
    return [float(step) for step in np.geomspace(low, high, LADDER)]
