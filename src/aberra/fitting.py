"""From a cohort to a calibrated detector: choose cases, plan, prepare, train, calibrate, save."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from aberra.calibrating import measure_calibration, tune_score
from aberra.capabilities import Fits, FitsSamples, LearnsFromLesions, Trains
from aberra.errors import ConfigError, MismatchError, OutputError, TrainingError
from aberra.files import config_hash, read_json, write_json
from aberra.method import SUPERVISED
from aberra.registry import build
from aberra.training.config import LESION_FREE

if TYPE_CHECKING:
    from pathlib import Path

    from aberra.cohort import Cohort
    from aberra.cohort.fingerprint import Fingerprint
    from aberra.detector import Detector
    from aberra.method import Method
    from aberra.volume import Volume


def fit(
    method: Method,
    cohort: Cohort,
    *,
    out: Path,
    channels: Sequence[str] | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    cache: Path | None = None,
    workers: int = 2,
    calibrated: bool = True,
    progress: bool = False,
) -> Detector:
    """Fit a method to the healthy training cases of a cohort and save the detector.

    Training uses the split ``train`` (all cases but a held-out fifth of the patients where the manifest has no
    splits), early stopping and calibration the split ``val``. Cases with lesions are left out, except with
    ``training.slices = "lesion-free"``, which learns from their slices without lesion voxels, and by methods that learn from
    ``labels`` or ``masks``; these are still calibrated on healthy cases, or on lesion-free slices where there are none.

    Args:
        method: what to fit.
        cohort: the cases.
        out: the detector's folder; ``out/run`` holds checkpoints, ``metrics.jsonl`` and figures.
        channels: manifest columns to read, in order; None takes all that every case has.
        seed: of weights and sampling.
        resume: go on with an interrupted fit, or return the finished detector. An interrupted fit with the same
            settings, data and seed is continued without it, too.
        device: ``auto``, ``cpu`` or ``cuda``.
        cache: folder of prepared cases that other runs share; None keeps them in ``out`` until done.
        workers: threads that prepare cases.
        calibrated: calibrate on the held-out healthy cases; off where :func:`calibrate` follows with another question.
        progress: show progress bars.

    Raises:
        OutputError: ``out`` holds another detector or another unfinished fit.
        TrainingError: no case to learn from, or truth is missing that the method learns from.
        ConfigError: the method's settings cannot work.
    """
    from aberra.cohort.fingerprint import fingerprint as measure
    from aberra.cohort.splits import split_by_patient, split_hash
    from aberra.detector import Detector
    from aberra.prepare import Recipe
    from aberra.training import TrainingConfig

    TrainingConfig.from_dict(method.training)  # a typo must not cost the preparation of a whole cohort
    names = _channels(cohort, channels)
    lesion_free = method.training.get("slices") == LESION_FREE
    if not any(case.split for case in cohort):
        cohort = split_by_patient(cohort, {"train": 0.8, "val": 0.2}, seed=seed)
    if method.learns_from in SUPERVISED:
        train_cases, val_cases = _with_diseased(cohort, method)
    else:
        train_cases = _usable(cohort, "train", lesion_free=lesion_free)
        val_cases = _usable(cohort, "val", lesion_free=lesion_free)
    if not len(train_cases):
        raise TrainingError(
            f"{cohort.source}: no healthy case in split 'train' (label 0, or no label and no lesion file). "
            "To learn from lesion-free slices of diseased cases: --set training.slices=lesion-free"
        )
    facts = {
        "seed": seed,
        "data_hash": train_cases.data_hash(names),
        "split_hash": split_hash(cohort),
        "training_cases": len(train_cases),
        "validation_cases": len(val_cases),
    }
    identity = config_hash([method.to_dict(), facts, names])
    finished = _claim(out, identity, resume=resume)
    if finished:
        return Detector.load(out, device=device)

    measured = measure(train_cases, names, view=_view(method, device))
    steps, dims, size = plan_recipe(method, measured)
    recipe = Recipe.from_config(steps)
    recipe.fit(lambda: (case.read(names) for case in train_cases))
    import torch

    torch.manual_seed(seed)
    model = build("models", method.model, channels=len(names), dims=dims, size=size)
    detector = Detector(
        method=method,
        recipe=recipe,
        model=model,
        channels=names,
        dims=dims,
        size=size,
        fingerprint=measured,
        facts=facts | {"learnt": [case.content_hash(names) for case in train_cases]},
        device=device,
    )
    prepared = cache or out / "run" / "prepared"
    _learn(
        detector,
        train_cases,
        val_cases,
        prepared,
        out / "run",
        seed=seed,
        device=device,
        workers=workers,
        progress=progress,
    )
    if len(val_cases) and calibrated:
        tune_score(detector, list(val_cases), names)
        if method.learns_from in SUPERVISED:
            healthy = val_cases.select(healthy=True)
            lesion_free, val_cases = not len(healthy), healthy if len(healthy) else val_cases
        detector.calibration = measure_calibration(
            detector, val_cases, names, lesion_free=lesion_free, progress=progress
        )
    detector.save(out)
    if cache is None:
        shutil.rmtree(prepared, ignore_errors=True)
    return detector


def plan_recipe(method: Method, measured: Fingerprint) -> tuple[list[dict[str, Any]], int, tuple[int, ...]]:
    """Turn a method's wishes and a cohort's fingerprint into recipe steps, dimensions and network size.

    Raises:
        ConfigError: a 3-D network for 2-D images, or an unknown wish.
    """
    from inspect import signature

    from aberra.errors import unknown
    from aberra.prepare import plan

    wishes = dict(method.prepare)
    dims = int(method.model.get("dims", 2))
    if measured.kind == "image" and dims == 3:
        raise ConfigError("model.dims=3 needs volumes; this cohort is 2-D images. Use --set model.dims=2")
    if "steps" in wishes:
        size = wishes.get("size")
        if size is None:
            raise ConfigError(
                "[prepare] with its own steps needs size, the network's spatial shape, as in size = [128, 128]"
            )
        return list(wishes["steps"]), dims, tuple(int(edge) for edge in np.atleast_1d(size))
    accepted = set(signature(plan).parameters) - {"fingerprint", "dims"}
    for key in wishes:
        if key not in accepted:
            raise unknown("option of [prepare]:", key, accepted | {"steps"})
    planned = plan(measured, dims=dims, **wishes)
    return planned["prepare"], dims, tuple(planned["size"])


def _view(method: Method, device: str) -> Callable[[Volume], Volume]:
    """What a method's recipe, which is not planned yet, will leave of a scan: planning and later comparisons need its measures."""
    from aberra.prepare import Recipe

    mask = method.prepare.get("mask", "auto")
    options = {"method": mask} if isinstance(mask, str) else dict(mask)
    recipe = Recipe.from_config(method.prepare.get("steps", [{"name": "brain-mask", **options}]))
    recipe.place(device)
    return recipe.view


def _channels(cohort: Cohort, channels: Sequence[str] | None) -> list[str]:
    """Return the columns to read: those asked for, or all that every case has."""
    if channels:
        missing = {name for name in channels for case in cohort if name not in case.channels}
        if missing:
            raise MismatchError(
                f"{cohort.source}: not every case has {', '.join(sorted(missing))}; columns: {', '.join(cohort.channel_names)}"
            )
        return list(channels)
    complete = [name for name in cohort.channel_names if all(name in case.channels for case in cohort)]
    if not complete:
        raise MismatchError(f"{cohort.source}: no channel that every case has; choose one with --channel")
    return complete


def _usable(cohort: Cohort, split: str, *, lesion_free: bool) -> Cohort:
    """Return the cases of a split that may be learnt from."""
    chosen = cohort.select(split=split)
    if not lesion_free:
        return chosen.select(healthy=True)
    unclear = [case.case for case in chosen if not case.healthy and case.lesion is None]
    if unclear:
        raise TrainingError(
            f"{cohort.source}: lesion-free slices need a lesion mask of every diseased case; missing: {', '.join(unclear)}"
        )
    return chosen


def _with_diseased(cohort: Cohort, method: Method) -> tuple[Cohort, Cohort]:
    """Return all cases of ``train`` and ``val``, healthy and diseased."""
    train, val = (cohort.select(split=split) for split in ("train", "val"))
    sick = [case for case in train if not case.healthy]
    if not sick:
        raise TrainingError(
            f"{cohort.source}: {method.name} learns from {method.learns_from}; no diseased case (label 1) in split 'train'"
        )
    bare = [case.case for case in (*train, *val) if not case.healthy and case.lesion is None]
    if bare and method.learns_from == "masks":
        raise TrainingError(
            f"{cohort.source}: {method.name} learns from lesion masks; missing in column 'lesion': {', '.join(bare[:5])}"
        )
    return train, val


class _Labelled(Sequence["Volume"]):
    """Prepared cases with a truth each: nothing where healthy, the whole foreground where only the label says diseased."""

    def __init__(self, prepared: Sequence[Volume], cases: Cohort) -> None:
        self.prepared = prepared
        self.cases = list(cases)

    def __len__(self) -> int:
        return len(self.prepared)

    @overload
    def __getitem__(self, index: int) -> Volume: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Volume]: ...
    def __getitem__(self, index: int | slice) -> Volume | Sequence[Volume]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        volume = self.prepared[index]
        if volume.lesion is not None:
            return volume
        everywhere = np.ones(volume.shape, dtype=bool) if volume.mask is None else volume.mask
        return volume.with_(lesion=np.zeros_like(everywhere) if self.cases[index].healthy else everywhere)


def _claim(out: Path, identity: str, *, resume: bool) -> bool:
    """Take the folder for this fit. Return True where the same fit is already finished."""
    claim = out / "fit.json"
    known = read_json(claim).get("identity") if claim.is_file() else None
    finished = (out / "detector.toml").is_file()
    if finished and resume and known == identity:
        return True
    if finished or (known is not None and known != identity):
        state = "a finished detector" if finished else "an unfinished fit of other settings, data or seed"
        raise OutputError(f"{out}: there is {state} already; choose another --out or delete the folder")
    if known is None and out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: the folder is not empty; choose another --out")
    write_json(claim, {"identity": identity})
    return False


def _learn(
    detector: Detector,
    train_cases: Cohort,
    val_cases: Cohort,
    prepared: Path,
    run: Path,
    *,
    seed: int,
    device: str,
    workers: int,
    progress: bool,
) -> None:
    """Train or fit the detector's model, whichever it can; nothing for models that learn nothing."""
    from aberra.prepare import prepare_cohort
    from aberra.training import Sampler, TrainingConfig, train

    if not isinstance(detector.model, Trains | Fits | FitsSamples):
        return
    options: dict[str, Any] = {"channels": list(detector.channels), "workers": workers, "progress": progress}
    training: Sequence[Volume] = prepare_cohort(list(train_cases), detector.recipe, prepared, **options)
    config = TrainingConfig.from_dict(detector.method.training)
    if isinstance(detector.model, Fits):
        detector.model.fit(map(_lesion_free_part, training) if config.slices == LESION_FREE else training)
        return
    if isinstance(detector.model, FitsSamples):
        sampler = Sampler(training, config, dims=detector.dims, size=detector.size)
        x, mask = sampler.fixed(config.samples, seed)
        detector.model.fit_samples(x, mask, seed)
        return
    validation: Sequence[Volume] = prepare_cohort(list(val_cases), detector.recipe, prepared, **options)
    if isinstance(detector.model, LearnsFromLesions):
        training, validation = _Labelled(training, train_cases), _Labelled(validation, val_cases)
    summary = train(
        detector.model,
        training,
        config,
        run,
        validation=validation,
        dims=detector.dims,
        size=detector.size,
        device=device,
        seed=seed,
        progress=progress,
    )
    detector.facts |= {f"training_{key}": value for key, value in summary.items() if value is not None}


def _lesion_free_part(volume: Volume) -> Volume:
    """Take slices with lesion voxels out of the mask: what training by samples never draws, no other model may see."""
    if volume.lesion is None:
        return volume
    mask = np.ones(volume.shape, dtype=bool) if volume.mask is None else volume.mask
    return volume.with_(mask=mask & ~volume.lesion.any(axis=(1, 2), keepdims=True))
