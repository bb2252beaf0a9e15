"""From a cohort to a calibrated detector: choose cases, plan, prepare, train, calibrate, save."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from aberra.capabilities import (
    Fits,
    FitsDensity,
    FitsSamples,
    HasMembers,
    LearnsFromLesions,
    LearnsFromPlanted,
    LearnsFromSimulated,
    LearnsFromUnlabelled,
    MayBeFrozen,
    Trains,
)
from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of, keep_out
from aberra.cohort.manifest import expect_cohort
from aberra.covariates import SITE, learnt
from aberra.detector import Detector
from aberra.detector.folder import refuse_finished
from aberra.errors import ConfigError, MismatchError, ModelError, OutputError, TrainingError
from aberra.files import MARK, config_hash, discard, locked, read_mark
from aberra.kinds import GUESSED, UNDECIDED
from aberra.method import SUPERVISED, Method
from aberra.options import Count, configured
from aberra.output import check_held, claim
from aberra.registry import build, lookup, named
from aberra.training.config import LESION_FREE
from aberra.workflows.calibrate import measure_calibration, tuned
from aberra.workflows.members import learn_members
from aberra.workflows.start import Start, check_start
from aberra.workflows.teacher import Teacher, check_teacher

if TYPE_CHECKING:
    from torch import Tensor, nn

    from aberra.cohort.fingerprint import Fingerprint
    from aberra.synthesis.planted import Planted
    from aberra.synthesis.simulated import Simulated
    from aberra.training import TrainingConfig
    from aberra.volume import Volume

ENCODER = "encoder."
"""How the names of the tensors begin that a model with a density trains."""

TRAINING = "training_"
"""How the names of a detector's facts begin that its training gave."""


@configured("fit")
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
    workers: Count = 2,
    calibrated: bool = True,
    trained: Path | None = None,
    progress: bool = False,
) -> Detector:
    """Fit a method to the healthy training cases of a cohort and save the detector.

    Training uses the split ``train`` (all cases but a held-out fifth of the patients where the
    manifest has no splits), early stopping and calibration the split ``val``. Cases with lesions
    are left out, except with ``training.slices = "lesion-free"``, which learns from their slices
    without lesion voxels, and by methods that learn from ``labels`` or ``masks``; these are still
    calibrated on healthy cases, or on lesion-free slices where there are none. With
    ``training.teacher`` another detector outlines what nobody has
    (:mod:`aberra.workflows.teacher`); then only cases of label 0 are healthy.

    Args:
        method: what to fit.
        cohort: the cases.
        out: the detector's folder; ``out/run`` holds checkpoints, ``metrics.jsonl`` and figures,
            ``out/guesses`` what a teacher has outlined.
        channels: manifest columns to read, in order; None takes all that every case has.
        seed: of weights and sampling.
        resume: go on with an interrupted fit, or return the finished detector. An interrupted fit
            with the same settings, data and seed is continued without it, too.
        device: ``auto``, ``cpu`` or ``cuda``.
        cache: folder of prepared cases that other runs share; None keeps them in ``out`` until
            done.
        workers: threads that prepare cases.
        calibrated: calibrate on the held-out healthy cases; off where :func:`calibrate` follows
            with the question: then a fit, finished or not, of a method that learns the same is the
            same fit.
        trained: a detector that was fitted to the same cases with the same seed and differs in its
            density only: its encoder is taken instead of trained again.
        progress: show progress bars.

    Raises:
        OutputError: ``out`` holds another detector or another unfinished fit.
        TrainingError: no case to learn from, or truth is missing that the method learns from.
        ConfigError: the method's settings cannot work.
        ModelError: the model to start from, or the trained one, is not there, or has no weight that
            fits.
        SystemExit: this is a further process of a training on several devices; the first one goes
            on and saves.
    """
    from aberra.cohort.fingerprint import fingerprint as measure
    from aberra.cohort.splits import split_by_patient, split_hash
    from aberra.detector import Detector
    from aberra.devices import choose_device
    from aberra.prepare import Recipe

    expect_cohort(cohort)
    choose_device(device)
    _check_options(method)  # a typo must not cost the preparation of a whole cohort
    names = _channels(cohort, channels)
    if not any(case.split for case in cohort):
        cohort = split_by_patient(cohort, {"train": 0.8, "val": 0.2}, seed=seed)
    train_cases, val_cases = _chosen(cohort, method)
    _expect_target(train_cases, method)
    facts = {
        "seed": seed,
        "data_hash": train_cases.data_hash(names),
        "split_hash": split_hash(cohort),
        "training_cases": len(train_cases),
        "validation_cases": len(val_cases),
    }
    if columns := learnt(method.model):
        facts["covariates_hash"] = train_cases.covariates_hash(columns)
    start, teacher = Start.of(method, val_cases, names), Teacher.of(method)
    facts |= start.facts | teacher.facts
    # what is only trained does not depend on the question; texts decide nothing
    asked = method.settings if calibrated else [method.learns_from, method.learnt]
    identity = config_hash([asked, facts, names])
    for folder in filter(None, (out, cache)):
        keep_out(folder, inputs_of(cohort))
    if _claim(out, cache, identity, resume=resume, look=True):
        return Detector.load(out, device=device)

    measured = measure(train_cases, names, view=_view(method, device))
    steps, dims, size = plan_recipe(method, measured)
    recipe = Recipe.from_config(steps)
    recipe.fit(lambda: (case.read(names) for case in train_cases))
    import torch

    torch.manual_seed(seed)
    model = build("models", method.model, channels=len(names), dims=dims, size=size)
    facts |= start.begin(model)
    learnt_from = [*(case.content_hash(names) for case in train_cases), *start.learnt, *teacher.learnt]
    detector = Detector(
        method=method,
        recipe=recipe,
        model=model,
        channels=names,
        dims=dims,
        size=size,
        fingerprint=measured,
        facts=facts | {"learnt": list(dict.fromkeys(learnt_from))},
        device=device,
    )
    if _claim(out, cache, identity, resume=resume):  # what cannot be built has taken no folder
        return Detector.load(out, device=device)
    prepared = cache or out / "prepared"
    with locked(out / MARK, shared=True):  # another process may be at the same fit
        claim(prepared, "cache")
        told = teacher.told(
            fit, cohort, (train_cases, val_cases), out / "guesses", cache, channels=names, seed=seed, device=device,
            progress=progress,
        )  # fmt: skip
        training = _taught(
            detector, cohort, (told.train, told.validation), prepared, out,
            identity=identity, seed=seed, device=device, workers=workers, trained=trained, progress=progress,
        )  # fmt: skip
    if training is None:
        raise SystemExit
    detector = detector.with_(facts={**detector.facts, **told.facts, **training})
    if len(told.validation) and calibrated:
        detector = _calibrated(detector, told.validation, names, out, progress=progress)
    check_held(out, identity)
    faster = (out / "detector.toml").is_file()  # another process was, at the same fit
    detector = Detector.load(out, device=device) if faster else detector.save(out)
    if cache is None:
        with locked(out / MARK, wait=False) as unused:
            if unused:
                discard(prepared)
    return detector


def _chosen(cohort: Cohort, method: Method) -> tuple[Cohort, Cohort]:
    """Return the cases to learn from and to watch."""
    if method.learns_from in SUPERVISED:
        return _with_diseased(cohort, method)
    lesion_free = method.training.get("slices") == LESION_FREE
    train, val = (_usable(cohort, split, lesion_free=lesion_free) for split in ("train", "val"))
    if not len(train):
        raise TrainingError(
            f"{cohort.source}: no healthy case in split 'train' (label 0, or no label and no lesion file). "
            "To learn from lesion-free slices of diseased cases: --set training.slices=lesion-free"
        )
    return train, val


def _expect_target(cases: Cohort, method: Method) -> None:
    """Refuse a target that no training case is of, before a folder is taken.

    Raises:
        TrainingError: names the sites that there are.
    """
    target, there = method.model.get("target"), {case.groups.get(SITE, "") for case in cases}
    if target and target not in there:
        named = ", ".join(sorted(there - {""})) or "none; the manifest needs the column"
        raise TrainingError(
            f"{cases.source}: model.target={target}: no training case has this site; there are: {named}"
        )


def _calibrated(
    detector: Detector, cases: Cohort, names: list[str], out: Path, *, progress: bool
) -> Detector:
    """The detector, tuned and calibrated on the held-out cases, on lesion-free slices where that is
    all there is.
    """
    detector = tuned(detector, list(cases), names)
    lesion_free = detector.method.training.get("slices") == LESION_FREE
    if detector.method.learns_from in SUPERVISED:
        healthy = cases.select(healthy=True)
        lesion_free, cases = not len(healthy), healthy if len(healthy) else cases
    calibration = measure_calibration(
        detector, cases, names, lesion_free=lesion_free, progress=progress, logs=out
    )
    return detector.with_(calibration=calibration)


def plan_recipe(method: Method, measured: Fingerprint) -> tuple[list[dict[str, Any]], int, tuple[int, ...]]:
    """Turn a method's wishes and a cohort's fingerprint into recipe steps, dimensions and network
    size.

    Raises:
        ConfigError: a 3-D network for 2-D images, a model that learns from simulated brains for them,
            or an unknown wish.
    """
    from aberra.prepare import checked_wishes, plan
    from aberra.prepare.plan import fit_shape

    wishes = checked_wishes(method.prepare)
    dims: int = wishes.pop("dims", 2)
    if measured.kind == "image" and dims == 3:
        raise ConfigError("prepare.dims=3 needs volumes; this cohort is 2-D images. Use --set prepare.dims=2")
    model = named("models", method.model)[0]
    if measured.kind == "image" and issubclass(model, LearnsFromSimulated):
        raise ConfigError(
            f"{method.name} learns from simulated brains beside the scans and needs volumes of heads; this cohort is 2-D images"
        )
    if "steps" in wishes:
        size = wishes["size"]
        edges = (size,) * dims if isinstance(size, int) else tuple(size)
        fit_shape(model, dims, edges)
        return list(wishes["steps"]), dims, edges
    planned = plan(measured, dims=dims, **wishes)
    return planned["prepare"], dims, tuple(planned["size"])


def _view(method: Method, device: str) -> Callable[[Volume], Volume]:
    """What a method's recipe, which is not planned yet, will leave of a scan: planning and later
    comparisons need its measures.
    """
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
    if not cohort.common_channels:
        raise MismatchError(f"{cohort.source}: no channel that every case has; choose one with --channel")
    return list(cohort.common_channels)


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
    if method.training.get("teacher"):
        return train, val  # the teacher says which are diseased
    sick = [case for case in train if not case.healthy]
    if not sick:
        raise TrainingError(
            f"{cohort.source}: {method.name} learns from {method.learns_from}; no diseased case (label 1) in split 'train'"
        )
    bare = [case.case for case in (*train, *val) if not case.healthy and case.lesion is None]
    if bare and method.learns_from == "masks" and not _learns_unlabelled(method):
        raise TrainingError(
            f"{cohort.source}: {method.name} learns from lesion masks; missing in column 'lesion': {', '.join(bare[:5])}"
        )
    return train, val


def _learns_unlabelled(method: Method) -> bool:
    """Whether a method's model learns from diseased cases that nobody has outlined."""
    return issubclass(lookup("models", method.model["name"]), LearnsFromUnlabelled)


class _Labelled(Sequence["Volume"]):
    """Prepared cases with a truth each: nothing where healthy, the whole foreground where only the
    label says diseased, which is undecided to models that learn from ``unlabelled`` cases.
    """

    def __init__(self, prepared: Sequence[Volume], cases: Cohort, *, unlabelled: bool) -> None:
        self.prepared = prepared
        self.cases = list(cases)
        self.unlabelled = unlabelled

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
        if self.cases[index].healthy:
            told = {key: value for key, value in volume.covariates.items() if key != GUESSED}
            return volume.with_(lesion=np.zeros_like(volume.judged), covariates=told)
        if not self.unlabelled:
            return volume.with_(lesion=volume.judged)
        return volume.with_(
            lesion=volume.judged,
            kinds=volume.judged.astype(np.uint8) * UNDECIDED,
            covariates={**volume.covariates, GUESSED: "1"},
        )


def _check_options(method: Method) -> None:
    """Refuse a method whose options cannot be, before anything is read or written."""
    from aberra.detector import Question
    from aberra.prepare import checked_wishes
    from aberra.training import TrainingConfig

    TrainingConfig.from_dict(method.training)
    checked_wishes(method.prepare)
    model, _ = named("models", method.model)
    check_start(method)
    check_teacher(method)
    Question.of(method, model)


def _claim(out: Path, cache: Path | None, identity: str, *, resume: bool, look: bool = False) -> bool:
    """Take the folders for this fit, or only ``look`` whether they could be.

    Return True where the same fit is already finished.
    """
    known = read_mark(out) or {}
    if resume and known.get("identity") == identity and (out / "detector.toml").is_file():
        return True
    refuse_finished(out)
    other = "there is an unfinished fit of other settings, data or seed already; choose another --out or delete the folder"
    begun = (out / "run").exists()  # what failed before it could train is nobody's loss
    if cache is not None and os.path.realpath(cache) == os.path.realpath(out):
        raise OutputError(f"{out}: is both the detector's folder and the cache; choose another --cache")
    if cache is not None:
        claim(cache, "cache", look=look)
    claim(out, "detector", identity=identity, other=other, replace=not begun, look=look)
    return False


def _taught(
    detector: Detector,
    cohort: Cohort,
    chosen: tuple[Cohort, Cohort],
    prepared: Path,
    out: Path,
    *,
    identity: str,
    **learning: Any,
) -> dict[str, Any] | None:
    """Train the model of a detector that is not used yet, or the members of an ensemble; returns
    as :func:`_learn`.
    """
    if not isinstance(detector.model, HasMembers):
        return _learn(detector, *chosen, prepared, out, identity=identity, **learning)
    claim(out / "run", "run", identity=identity, other="another fit trains here; choose another --out")
    return learn_members(fit, detector, cohort, out / "run", cache=prepared, **learning)


def _learn(
    detector: Detector,
    train_cases: Cohort,
    val_cases: Cohort,
    prepared: Path,
    out: Path,
    *,
    identity: str,
    seed: int,
    device: str,
    workers: int,
    trained: Path | None,
    progress: bool,
) -> dict[str, Any] | None:
    """Train or fit the model of a detector that is not used yet, whichever it can; nothing for
    models that learn nothing.

    Returns:
        The facts of a training; None in the further processes of one on several devices, which have
        nothing left to do.
    """
    from aberra.prepare import prepare_cohort
    from aberra.training import Sampler, TrainingConfig, train

    if not isinstance(detector.model, Trains | Fits | FitsSamples):
        return {}
    options: dict[str, Any] = {
        "channels": list(detector.channels), "workers": workers, "progress": progress, "logs": out
    }  # fmt: skip
    training: Sequence[Volume] = prepare_cohort(list(train_cases), detector.recipe, prepared, **options)
    config = TrainingConfig.from_dict(detector.method.training)
    if isinstance(detector.model, Fits):
        detector.model.fit(map(_lesion_free_part, training) if config.slices == LESION_FREE else training)
        return {}
    if isinstance(detector.model, FitsSamples):
        sampler = Sampler(training, config, dims=detector.dims, size=detector.size)
        x, mask = sampler.fixed(config.samples, seed)
        detector.model.fit_samples(x, mask, seed)
        return {}
    validation: Sequence[Volume] = prepare_cohort(list(val_cases), detector.recipe, prepared, **options)
    if isinstance(detector.model, LearnsFromLesions):
        unlabelled = isinstance(detector.model, LearnsFromUnlabelled)
        training = _Labelled(training, train_cases, unlabelled=unlabelled)
        validation = _Labelled(validation, val_cases, unlabelled=unlabelled)
    learnt: Sequence[Volume] | Planted | Simulated = training
    watched: Sequence[Volume] | Planted = validation
    if isinstance(detector.model, LearnsFromPlanted):
        learnt = _planted(detector, training, config, detector.model.task())
        if len(validation):
            watched = _planted(detector, validation, config, detector.model.validation_task())
    elif isinstance(detector.model, LearnsFromSimulated):
        learnt = _beside_simulated(detector, training, config, detector.model.simulation(), seed=seed)
    check_held(out, identity)
    claim(out / "run", "run", identity=identity, other="another fit trains here; choose another --out")
    frozen = isinstance(detector.model, MayBeFrozen) and detector.model.is_frozen()
    summary: Mapping[str, Any] | None = (
        {}
        if frozen
        else _handed_on(detector.model, trained)
        if trained
        else train(
            detector.model,
            learnt,
            config,
            out / "run",
            validation=watched,
            dims=detector.dims,
            size=detector.size,
            device=device,
            seed=seed,
            progress=progress,
        )
    )
    if summary is None:
        return None
    known = {f"{TRAINING}{key}": value for key, value in summary.items() if value is not None}
    if isinstance(detector.model, FitsDensity):
        x, held_out = (_fixed(detector, volumes, config, seed) for volumes in (training, validation))
        chosen = detector.model.fit_density(x, held_out, seed)
        known |= {f"density_{key}": value for key, value in chosen.items()}
    return known


def _handed_on(model: nn.Module, trained: Path) -> dict[str, Any]:
    """Take the encoder of another fit; returns what is known of its training, as ``train`` does."""
    from aberra.detector import Detector

    other = Detector.load(trained, device="cpu")
    weights = {name: tensor for name, tensor in other.model.state_dict().items() if name.startswith(ENCODER)}
    own = {name for name in model.state_dict() if name.startswith(ENCODER)}
    if not own or own != weights.keys():
        raise ModelError(
            f"{trained}: its encoder is another one; expected a detector that differs in its density only"
        )
    model.load_state_dict(weights, strict=False)
    known = {
        key.removeprefix(TRAINING): value for key, value in other.facts.items() if key.startswith(TRAINING)
    }
    return {key: value for key, value in known.items() if key != "cases"}


def _fixed(detector: Detector, volumes: Sequence[Volume], config: TrainingConfig, seed: int) -> Tensor:
    """At most ``config.samples`` samples (N, C, S) of prepared volumes, without augmentation."""
    import torch

    from aberra.training import Sampler

    if not len(volumes):
        return torch.zeros((0, len(detector.channels), *detector.size))
    return Sampler(volumes, config, dims=detector.dims, size=detector.size).fixed(config.samples, seed)[0]


def _planted(
    detector: Detector, volumes: Sequence[Volume], config: TrainingConfig, task: Mapping[str, Any]
) -> Planted:
    """Samples of prepared healthy volumes with the lesions that the model learns from, or is
    watched with.
    """
    from aberra.synthesis.parameters import FOREIGN
    from aberra.synthesis.planted import Planted
    from aberra.training import Sampler

    partners = not set(FOREIGN).isdisjoint(task.get("sources", ()))
    samples = Sampler(volumes, config, dims=detector.dims, size=detector.size, partners=partners)
    spacing = volumes[0].spacing[-detector.dims :]
    return Planted(samples, spacing=spacing, channels=detector.channels, **task)


def _beside_simulated(
    detector: Detector,
    volumes: Sequence[Volume],
    config: TrainingConfig,
    simulation: Mapping[str, Any],
    *,
    seed: int,
) -> Simulated:
    """Samples of prepared healthy volumes, each beside one of simulated scans that were prepared
    alike.
    """
    from aberra.synthesis.simulated import Simulated, simulated_scans
    from aberra.training import Sampler

    scans = simulated_scans(detector.channels, spacing=min(volumes[0].spacing), seed=seed, **simulation)
    shape: dict[str, Any] = {"dims": detector.dims, "size": detector.size}
    prepared = [detector.recipe(scan) for scan in scans]
    return Simulated(Sampler(volumes, config, **shape), Sampler(prepared, config, **shape))


def _lesion_free_part(volume: Volume) -> Volume:
    """Take slices with lesion voxels out of the mask: what training by samples never draws, no
    other model may see.
    """
    if volume.lesion is None:
        return volume
    return volume.with_(mask=volume.judged & ~volume.lesion.any(axis=(1, 2), keepdims=True))
