"""Detector: a recipe, a model, a score, post-processing and a calibration that belong together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.detector.postprocess import CaseScore, PostProcess
from aberra.errors import CalibrationError, ConfigError, MismatchError
from aberra.files import config_hash, file_hash
from aberra.method import Method, catalogue
from aberra.options import checked, conforming
from aberra.registry import build
from aberra.result import Result
from aberra.volume import expect_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from aberra.cohort import Case, Cohort
    from aberra.cohort.fingerprint import Fingerprint
    from aberra.detector.calibration import Calibration
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
        reconstruction: on the scan's own grid, shape (C, D, H, W), in prepared intensities; None without.
        uncertainty: on the scan's own grid, shape (D, H, W), non-negative, zero where nothing was judged; None without.
        kinds: likeliest label value where the map is above 0.5, 0 elsewhere, on the scan's own grid, shape (D, H, W); None without.
    """

    prepared: Volume
    map: NDArray[np.float32]
    inside: NDArray[np.bool]
    score: float
    reconstruction: NDArray[np.float32] | None
    uncertainty: NDArray[np.float32] | None = None
    kinds: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a method asks a model, and what is made of the answer.

    Attributes:
        score: gives the map.
        postprocess: cleans it.
        case_question: score that gives the map of the case score; None where it is the same.
        case_score: one number of that map.
    """

    score: Any
    postprocess: PostProcess
    case_question: Any
    case_score: CaseScore

    @classmethod
    def of(cls, method: Method, model: Any) -> Question:
        """Build what a method asks a model, or the model's class.

        Raises:
            ConfigError: an option that cannot be.
            PairingError: the model cannot answer.
        """
        from aberra.scores import check_pairing

        case = dict(method.case)
        other = conforming(case.pop("score", None), dict[str, Any] | None, "case.score")
        score = build("scores", method.score)
        question = None if other is None else build("scores", other)
        for each in (score, question):
            if each is not None:
                check_pairing(model, each)
        return cls(
            score=score,
            postprocess=PostProcess(**checked(PostProcess, method.postprocess, "postprocess")),
            case_question=question,
            case_score=CaseScore(**checked(CaseScore, case, "case")),
        )


class Detector:
    """Learns from healthy scans, then shows where a scan departs from them.

    Use :meth:`fit` or :meth:`load`; the constructor only puts the parts together.

    Args:
        method: the named pairing.
        recipe: preparation.
        model: the network or statistical model, with its weights.
        channels: names of the channels it reads, in order.
        dims: 2 (slices) or 3 (patches).
        size: spatial shape of the network's input.
        calibration: thresholds and healthy scores; None if not calibrated.
        fingerprint: of the cohort it learnt from.
        facts: seed, hashes, learnt cases and training figures, saved with it.
        folder: where it is saved; None if it is not.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: slices or patches at once; None chooses by memory.

    Raises:
        PairingError: the score asks for something that the model cannot do.
    """

    def __init__(
        self,
        *,
        method: Method,
        recipe: Recipe,
        model: nn.Module,
        channels: Sequence[str],
        dims: int,
        size: Sequence[int],
        calibration: Calibration | None = None,
        fingerprint: Fingerprint | None = None,
        facts: dict[str, Any] | None = None,
        folder: Path | None = None,
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        from aberra.detector.windows import Runner

        self.recipe = recipe
        self.channels = tuple(channels)
        self.dims = dims
        self.size = tuple(size)
        self.calibration = calibration
        self.fingerprint = fingerprint
        self.facts = facts or {}
        self.folder = folder
        self.runner = Runner(
            dims=dims, size=self.size, batch_size=batch_size, device=device, grows=getattr(model, "grows", 0)
        )
        self.model = self.runner.place(model).eval()
        recipe.place(device)
        self._pair(method)

    def _pair(self, method: Method) -> None:
        """Build a method's score, post-processing and case score around the model."""
        asked = Question.of(method, self.model)
        self.method = method
        self.score, self.postprocess = asked.score, asked.postprocess
        self.case_question, self.case_score = asked.case_question, asked.case_score

    def ask(self, method: Method) -> None:
        """Ask the same model another method's question; the calibration of the old one is dropped.

        The method's model must be what this detector was fitted as, changed settings aside; what was learnt, and how, stays.

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
        self._pair(replace(method, **own.learnt))
        self.calibration = None
        self.folder = None
        self.__dict__.pop("identity", None)

    # -- learning ---------------------------------------------------------------------------------------------

    @classmethod
    def fit(cls, method: Method | str | Path, cohort: Cohort, *, out: Path | str, **options: Any) -> Detector:
        """Learn from a cohort's healthy training cases and save to ``out``.

        See :func:`aberra.workflows.fit.fit` for the options and errors.
        """
        from aberra.workflows.fit import fit

        if not isinstance(method, Method):
            method = Method.load(conforming(method, str | PathLike, "method", "dae"))
        return fit(method, cohort, out=Path(conforming(out, str | PathLike, "out")), **options)

    # -- files ------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, model: Path | str, *, device: str = "auto", batch_size: int | None = None) -> Detector:
        """Load a saved detector by folder, or a shipped one by name (``flair``, ``any-contrast``).

        Raises:
            ModelError: missing, unfinished, damaged or of another format version.
        """
        from aberra.detector.folder import load

        return load(model, device=device, batch_size=batch_size)

    def save(self, folder: Path | str) -> None:
        """Write ``weights.safetensors``, ``fingerprint.json``, ``calibration.json``, ``card.md`` and, last, ``detector.toml``."""
        from aberra.detector.folder import save

        save(self, Path(folder))

    @cached_property
    def identity(self) -> dict[str, str]:
        """Name, method and fingerprint (hash of weights, recipe and score) that results carry."""
        weights = file_hash(self.folder / "weights.safetensors") if self.folder else "unsaved"
        parts = [
            weights,
            self.recipe.fingerprint,
            self.method.score,
            self.method.postprocess,
            self.method.case,
        ]
        name = self.folder.name if self.folder else self.method.name
        return {"name": name, "method": self.method.name, "fingerprint": config_hash(parts)}

    # -- use --------------------------------------------------------------------------------------------------

    def analyse(self, volume: Volume, *, reconstruct: bool = False) -> Analysis:
        """Prepare a scan, score it, clean the map and bring it back onto the scan's grid.

        Args:
            volume: the scan, as read.
            reconstruct: bring reconstruction, uncertainty and kinds back, too, where the score has them.

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
        mask = np.ones(prepared.shape, dtype=bool) if prepared.mask is None else prepared.mask
        x = torch.from_numpy(np.ascontiguousarray(prepared.data))
        inner = torch.from_numpy(np.ascontiguousarray(mask))
        scored = self.score(self.model, x, inner, self.runner)
        judged = self.postprocess.inside(prepared)
        cleaned = self.postprocess.clean(scored.map.float().cpu().numpy(), judged, prepared.spacing)
        cleaned = self.postprocess.weigh(cleaned, prepared)
        inside = back(judged.astype(np.float32), prepared, volume, order=0) > 0
        values = np.where(inside, np.maximum(back(cleaned, prepared, volume), 0), np.float32(0))
        reduced, within = cleaned, judged
        if self.case_question is not None:
            reduced, within = self.case_question(self.model, x, inner, self.runner).map.numpy(), mask
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
        return Analysis(
            prepared=prepared,
            map=values.astype(np.float32, copy=False),
            inside=inside,
            score=self.case_score(reduced, within),
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
        from aberra.versions import versions

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
        mask, components = self.postprocess.segment(analysis.map, grid, value)
        p = self.calibration.p_value(analysis.score, group)
        warnings = [*volume.provenance.get("warnings", []), *analysis.prepared.provenance.get("warnings", [])]
        if p is None:
            warnings.append("no p-value: the calibration has no healthy case scores")
        warnings += self._shift_warnings(volume, analysis.prepared)
        restored, unsure = analysis.reconstruction, analysis.uncertainty
        return Result(
            case=case,
            paths=paths or {},
            map=grid,
            mask=mask,
            reconstruction=None if restored is None else volume.with_(data=restored, mask=None, lesion=None),
            uncertainty=None if unsure is None else grid.with_(data=unsure[None], channels=("uncertainty",)),
            kinds=analysis.kinds,
            score=analysis.score,
            p=p,
            components=components,
            threshold={"protocol": name, "value": value},
            scale=self.calibration.scale,
            healthy_scores=self.calibration.scores,
            warnings=list(dict.fromkeys(warnings)),
            seconds=round(perf_counter() - started, 3),
            model=self.identity,
            input={
                "shape": list(volume.shape),
                "affine": volume.affine.tolist(),
                "spacing_mm": [round(step, 5) for step in volume.spacing],
                "orientation": volume.orientation,
                **{
                    key: analysis.prepared.provenance[key]
                    for key in ("brain_mask", "registration")
                    if key in analysis.prepared.provenance
                },
            },
            versions=versions(),
        )

    def read(self, case: Case, channels: Sequence[str] | None = None) -> Volume:
        """Read a case's channels in the model's order.

        The model's own channel names are used where the case has them; a one-channel model also reads a
        one-channel case whatever its name, and says so in the warnings. Otherwise ``channels`` must tell.

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
        volume = case.read(wanted)
        if (
            channels is None
            and wanted != list(self.channels)
            and wanted != ["image"]
            and self.channels != ("image",)
        ):
            note = f"the model was fitted on '{self.channels[0]}', this is '{wanted[0]}'"
            warnings = [*volume.provenance.get("warnings", []), note]
            volume = volume.with_(provenance={**volume.provenance, "warnings": warnings})
        return volume

    def calibrate(self, cohort: Cohort, **options: Any) -> Calibration:
        """Calibrate on held-out healthy cases; see :func:`aberra.workflows.calibrate.calibrate`."""
        from aberra.workflows.calibrate import calibrate

        return calibrate(self, cohort, **options)

    def _shift_warnings(self, volume: Volume, prepared: Volume) -> list[str]:
        """Say where the scan, without the skull that its preparation took away, departs from what the model has seen."""
        from aberra.cohort.doctor import compare
        from aberra.prepare import back
        from aberra.prepare.brain_mask import FOUND_RULES

        if self.fingerprint is None:
            return []
        if prepared.mask is not None and prepared.provenance.get("brain_mask") in FOUND_RULES:
            mask = back(prepared.mask.astype(np.float32), prepared, volume, order=0) > 0
            volume = volume.with_(data=volume.data * mask, mask=mask)
        return compare(volume, self.fingerprint)
