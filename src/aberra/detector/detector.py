"""Detector: a recipe, a model, a score, post-processing and a calibration that belong together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isnan
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.capabilities import Grows, TakesConditions
from aberra.covariates import numbers_of
from aberra.detector.question import Question
from aberra.detector.weights import WEIGHTS, weights_hash
from aberra.errors import CalibrationError, ConfigError, MismatchError
from aberra.files import config_hash, file_hash
from aberra.method import Method, catalogue
from aberra.options import conforming
from aberra.result import SCANS_OWN, Result, grid_facts
from aberra.versions import versions
from aberra.volume import expect_volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from aberra.cohort import Case, Cohort
    from aberra.cohort.fingerprint import Fingerprint
    from aberra.detector.calibration import Calibration
    from aberra.detector.windows import Runner
    from aberra.prepare import Recipe
    from aberra.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What a detector sees in one scan, before any threshold.

    Attributes:
        prepared: the scan on the model's grid.
        map: cleaned anomaly map on the scan's own grid, shape (D, H, W), non-negative.
        inside: voxels that were judged, on the scan's own grid, shape (D, H, W).
        score: the case score.
        probability: that the case is diseased, where the case score is one; None without.
        reconstruction: on the scan's own grid, shape (C, D, H, W), in prepared intensities; None
            without.
        uncertainty: on the scan's own grid, shape (D, H, W), non-negative, zero where nothing was
            judged; None without.
        kinds: likeliest label value where the map is above 0.5, 0 elsewhere, on the scan's own
            grid, shape (D, H, W); None without.
    """

    prepared: Volume
    map: NDArray[np.float32]
    inside: NDArray[np.bool]
    score: float
    reconstruction: NDArray[np.float32] | None
    uncertainty: NDArray[np.float32] | None = None
    kinds: NDArray[np.uint8] | None = None
    probability: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Detector:
    """Learns from healthy scans, then shows where a scan departs from them.

    Use :meth:`fit` or :meth:`load`; the constructor only puts the parts together. A detector is a
    value: nothing about it changes, :meth:`with_` and :meth:`asking` make another one of the same
    model.

    Args:
        method: the named pairing.
        recipe: preparation.
        model: the network or statistical model, with its weights, which nothing may change any
            more.
        channels: names of the channels it reads, in order.
        dims: 2 (slices) or 3 (patches).
        size: spatial shape of the network's input.
        calibration: thresholds and healthy scores; None if not calibrated.
        fingerprint: of the cohort it learnt from.
        facts: seed, hashes, learnt cases and training figures, saved with it.
        folder: where it is saved; None if it is not.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: slices or patches at once; None chooses by memory.

    Attributes:
        question: what the method asks the model.
        runner: runs the model over whole volumes.

    Raises:
        PairingError: the score asks for something that the model cannot do.

    Examples:
        >>> from aberra import Detector
        >>> detector = Detector.load("flair")
        >>> detector.method.name, detector.channels, detector.dims
        ('synthetic-lesions', ('flair',), 3)
        >>> healthy = detector.calibration.n_cases  # a score of 2 is above all of theirs
        >>> detector.calibration.p_value(2.0) == 1 / (healthy + 1)
        True
    """

    method: Method
    recipe: Recipe
    model: nn.Module
    channels: Sequence[str]
    dims: int
    size: Sequence[int]
    calibration: Calibration | None = None
    fingerprint: Fingerprint | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    device: str = "auto"
    batch_size: int | None = None
    question: Question = field(init=False)
    runner: Runner = field(init=False)

    def __post_init__(self) -> None:
        from aberra.detector.windows import Runner

        runner = Runner(
            dims=self.dims,
            size=self.size,
            batch_size=self.batch_size,
            device=self.device,
            grows=self.model.grows if isinstance(self.model, Grows) else 0,
        )
        self.recipe.place(self.device)
        parts = {
            "channels": tuple(self.channels),
            "size": tuple(self.size),
            "model": runner.place(self.model).eval(),
            "question": Question.of(self.method, self.model),
            "runner": runner,
        }
        for name, part in parts.items():
            object.__setattr__(self, name, part)  # the only place where a frozen value may set its own

    def with_(self, **changes: Any) -> Detector:
        """Return a copy with some parts replaced; the model is shared."""
        return replace(self, **changes)

    def asking(self, method: Method) -> Detector:
        """Return the same model asked another method's question, neither calibrated nor saved.

        The method's model must be what this detector was fitted as, changed settings aside; what
        was learnt, and how, stays.

        Raises:
            ConfigError: another model.
            PairingError: the model cannot answer.
        """
        own = self.method
        named = Method.load(own.name).model if own.name in catalogue() else own.model
        if method.model not in (own.model, named):
            raise ConfigError(
                f"{method.name} asks model {method.model}, this detector is {own.model}; fit {method.name} itself"
            )
        return self.with_(method=replace(method, **own.learnt), calibration=None, folder=None)

    @cached_property
    def identity(self) -> dict[str, str]:
        """Name, method and fingerprint (hash of weights, recipe and score) that results carry;
        saved or not, the fingerprint is the same.
        """
        weights = file_hash(self.folder / WEIGHTS) if self.folder else weights_hash(self.model)
        method = self.method
        parts = [weights, self.recipe.fingerprint, method.score, method.postprocess, method.case]
        name = self.folder.name if self.folder else self.method.name
        return {"name": name, "method": self.method.name, "fingerprint": config_hash(parts)}

    # -- conveniences: they import upwards, when they are called -----------------------------------

    @classmethod
    def fit(cls, method: Method | str | Path, cohort: Cohort, *, out: Path | str, **options: Any) -> Detector:
        """Learn from a cohort's healthy training cases and save to ``out``; options and errors
        are :func:`aberra.workflows.fit.fit`'s.
        """
        from aberra.workflows.fit import fit

        if not isinstance(method, Method):
            method = Method.load(conforming(method, str | PathLike, "method", "dae"))
        return fit(method, cohort, out=Path(conforming(out, str | PathLike, "out")), **options)

    def calibrate(self, cohort: Cohort, **options: Any) -> Detector:
        """Return the detector calibrated on held-out healthy cases, and save it;
        see :func:`aberra.workflows.calibrate.calibrate`.
        """
        from aberra.workflows.calibrate import calibrate

        return calibrate(self, cohort, **options)

    @classmethod
    def load(cls, model: Path | str, *, device: str = "auto", batch_size: int | None = None) -> Detector:
        """Load a saved detector by folder, or a shipped one by name (``flair``);
        see :func:`aberra.detector.folder.load`.
        """
        from aberra.detector.folder import load

        return load(model, device=device, batch_size=batch_size)

    def save(self, folder: Path | str) -> Detector:
        """Write the detector's folder and return the detector that lies there;
        see :func:`aberra.detector.folder.save`.
        """
        from aberra.detector.folder import save

        return save(self, Path(folder))

    # -- use ---------------------------------------------------------------------------------------

    @property
    def conditions(self) -> Sequence[str]:
        """What the model may be told of a person besides the scan; empty of most."""
        return self.model.conditions if isinstance(self.model, TakesConditions) else ()

    def model_of(self, volume: Volume) -> nn.Module:
        """The model as it is asked about a scan: told the conditions that it takes, as far as the
        scan's ``covariates`` have them.

        Raises:
            InputError: a covariate that is neither a value nor unknown.
        """
        if not self.conditions:
            return self.model
        told: nn.Module = self.model.given(numbers_of(self.conditions, volume.covariates))  # type: ignore[operator]
        return told

    def content_hash(self, case: Case, channels: Sequence[str] | None = None) -> str:
        """Hash of all that the model is shown or told of a case."""
        content = case.content_hash(channels or list(case.channels))
        known = [case.groups.get(name, "") for name in self.conditions]
        return config_hash([content, known]) if known else content

    def analyse(self, volume: Volume, *, reconstruct: bool = False) -> Analysis:
        """Prepare a scan, score it, clean the map and bring it back onto the scan's grid.

        Args:
            volume: the scan, as read.
            reconstruct: bring reconstruction, uncertainty and kinds back, too, where the score has
                them.

        Raises:
            InputError: not a volume, or the scan has no foreground.
            MismatchError: another number of channels than the model's.
        """
        import torch

        from aberra.prepare import back

        expect_volume(volume)
        if len(volume.channels) != len(self.channels):
            raise MismatchError(
                f"{volume.provenance.get('path', 'scan')}: {len(volume.channels)} channel(s); "
                f"the model reads {len(self.channels)}: {', '.join(self.channels)}"
            )
        prepared = self.recipe(volume)
        mask = prepared.judged
        x = torch.from_numpy(np.ascontiguousarray(prepared.data))
        inner = torch.from_numpy(np.ascontiguousarray(mask))
        model = self.model_of(volume)
        scored = self.question.score(model, x, inner, self.runner)
        judged = self.question.postprocess.inside(prepared)
        limited = self.question.postprocess.limit(scored.map.float().cpu().numpy(), prepared)
        cleaned = self.question.postprocess.clean(limited, judged, prepared.spacing)
        cleaned = self.question.postprocess.weigh(cleaned, prepared)
        inside = back(judged.astype(np.float32), prepared, volume, order=0) > 0
        values = np.where(inside, np.maximum(back(cleaned, prepared, volume), 0), np.float32(0))
        reduced, within = cleaned, judged
        if self.question.case_question is not None:
            reduced, within = self.question.case_question(model, x, inner, self.runner).map.numpy(), mask
        restored = None
        if reconstruct and scored.reconstruction is not None:
            restored = back(scored.reconstruction.float().cpu().numpy(), prepared, volume)
        unsure = None
        if reconstruct and scored.uncertainty is not None:
            spread = back(scored.uncertainty.float().cpu().numpy(), prepared, volume)
            unsure = np.where(inside, np.maximum(spread, 0), np.float32(0))
        kinds = None
        if reconstruct and scored.kinds is not None:
            told = np.stack(
                [back(each.float().cpu().numpy(), prepared, volume) for each in scored.kinds.values()]
            )
            likeliest = np.array([*scored.kinds], dtype=np.uint8)[told.argmax(axis=0)]
            kinds = np.where(values > 0.5, likeliest, np.uint8(0))  # where the mask of fixed-0.5 is
        score = self.question.case_score(reduced, within)
        return Analysis(
            prepared=prepared,
            map=values.astype(np.float32, copy=False),
            inside=inside,
            score=score,
            probability=min(score, 1.0) if self.question.of_disease else None,
            reconstruction=restored,
            uncertainty=unsure,
            kinds=kinds,
        )

    def detect(
        self,
        volume: Volume,
        *,
        case: str = "scan",
        paths: dict[str, str] | None = None,
        group: str | None = None,
        protocol: str | None = None,
    ) -> Result:
        """Detect anomalies in one scan.

        Args:
            volume: the scan, as read.
            case: its name.
            paths: file of each channel, for the record.
            group: its value of the calibration's group column, if there is one.
            protocol: threshold protocol of the mask; the calibration's default for None.

        Raises:
            CalibrationError: the detector is not calibrated, so that no threshold can be stated.
            InputError, MismatchError: the scan cannot be used.
        """
        started = perf_counter()
        expect_volume(volume)
        conforming(case, str, "case")
        if self.calibration is None:
            raise CalibrationError(
                f"{self.folder or self.method.name}: not calibrated, so no threshold can be stated; "
                "run `aberra calibrate MODEL MANIFEST` with healthy cases"
            )
        name, value = self.calibration.threshold(protocol)
        analysis = self.analyse(volume, reconstruct=True)
        grid = volume.with_(data=analysis.map[None], channels=("anomaly",), mask=None, lesion=None)
        mask, components = self.question.postprocess.segment(analysis.map, grid, value)
        p = self.calibration.p_value(analysis.score, group)
        warnings = [*volume.provenance.get("warnings", []), *analysis.prepared.provenance.get("warnings", [])]
        if p is None:
            warnings.append("no p-value: the calibration has no healthy case scores")
        warnings += self._shift_warnings(volume, analysis.prepared)
        told = numbers_of(self.conditions, volume.covariates)
        if untold := [name for name, value in zip(self.conditions, told, strict=True) if isnan(value)]:
            warnings.append(
                f"{' and '.join(untold)} unknown, so the model was asked without; a manifest can tell in a column of this name"
            )
        restored, unsure, known = analysis.reconstruction, analysis.uncertainty, analysis.prepared.provenance
        return Result(
            case=case,
            paths=paths or {},
            map=grid,
            mask=mask,
            reconstruction=None if restored is None else volume.with_(data=restored, mask=None, lesion=None),
            uncertainty=None if unsure is None else grid.with_(data=unsure[None], channels=("uncertainty",)),
            kinds=analysis.kinds,
            score=analysis.score,
            probability=analysis.probability,
            p=p,
            components=components,
            threshold={"protocol": name, "value": value},
            scale=self.calibration.scale,
            healthy_scores=self.calibration.scores,
            warnings=list(dict.fromkeys(warnings)),
            seconds=round(perf_counter() - started, 3),
            model=self.identity,
            input=grid_facts(volume)
            | ({SCANS_OWN: True} if self.recipe.keeps_intensities else {})
            | {key: known[key] for key in ("brain_mask", "registration") if key in known},
            versions=versions(),
        )

    def read(self, case: Case, channels: Sequence[str] | None = None) -> Volume:
        """Read a case's channels in the model's order.

        The model's own channel names are used where the case has them; a one-channel model also
        reads a one-channel case whatever its name, and says so in the warnings. Otherwise
        ``channels`` must tell.

        Raises:
            MismatchError: it is not clear which columns to read.
        """
        available = list(case.channels)
        if channels:
            wanted = list(channels)
        elif all(name in available for name in self.channels):
            wanted = list(self.channels)
        elif len(self.channels) == len(available) == 1:
            wanted = available
        else:
            raise MismatchError(
                f"{case.case}: the model reads {', '.join(self.channels)}; this case has {', '.join(available)}. "
                "Name the column to read with --channel"
            )
        from aberra.prepare.grid import warn

        volume = case.read(wanted)
        if (
            channels is None
            and wanted != list(self.channels)
            and wanted != ["image"]
            and self.channels != ("image",)
        ):
            return warn(volume, f"the model was fitted on '{self.channels[0]}', this is '{wanted[0]}'")
        return volume

    def _shift_warnings(self, volume: Volume, prepared: Volume) -> list[str]:
        """Say where the scan, without the skull that its preparation took away, departs from what
        the model has seen.
        """
        from aberra.cohort.doctor import compare
        from aberra.prepare import back
        from aberra.prepare.brain_mask import FOUND_RULES

        if self.fingerprint is None:
            return []
        if prepared.mask is not None and prepared.provenance.get("brain_mask") in FOUND_RULES:
            mask = back(prepared.mask.astype(np.float32), prepared, volume, order=0) > 0
            volume = volume.with_(data=volume.data * mask, mask=mask)
        return compare(volume, self.fingerprint)
