"""From a cohort to a calibrated detector: choose cases, plan, prepare, train, calibrate, save."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aberra.capabilities import HasMembers, LearnsFromSimulated, Trains
from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of, keep_out
from aberra.cohort.manifest import expect_cohort
from aberra.covariates import learnt
from aberra.detector import Detector
from aberra.detector.folder import refuse_finished
from aberra.errors import ConfigError, OutputError
from aberra.files import MARK, config_hash, discard, locked, read_mark
from aberra.jobs import HERE, Engine
from aberra.method import SUPERVISED, Method
from aberra.options import Count, configured
from aberra.output import check_held, claim
from aberra.registry import build, named
from aberra.training.board import expect_tensorboard
from aberra.training.config import LESION_FREE
from aberra.workflows.calibrate import measure_calibration, tuned
from aberra.workflows.cases import channels_of, chosen
from aberra.workflows.learn import taught
from aberra.workflows.members import members_of
from aberra.workflows.start import Start, check_start
from aberra.workflows.teacher import Teacher, check_teacher

if TYPE_CHECKING:
    from aberra.cohort.fingerprint import Fingerprint
    from aberra.volume import Volume


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
    tensorboard: bool = False,
    progress: bool = False,
    on: Engine = HERE,
    part: str = "",
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
        tensorboard: write events for TensorBoard to ``out/run/tensorboard``, too; of an ensemble to
            each member's.
        progress: show progress bars.
        on: who fits the members of an ensemble (:func:`aberra.jobs.engine`).
        part: only some members of an ensemble, as in ``2/5``; the last part puts them together.

    Raises:
        OutputError: ``out`` holds another detector or another unfinished fit.
        TrainingError: no case to learn from, or truth is missing that the method learns from.
        ConfigError: the method's settings cannot work, or there is no TensorBoard.
        ModelError: the model to start from, or the trained one, is not there, or has no weight that
            fits.
        SystemExit: this is a further process of a training on several devices, of which the first
            one goes on and saves; or other parts of an ensemble are missing.
    """
    from aberra.cohort.fingerprint import fingerprint as measure
    from aberra.cohort.splits import split_by_patient, split_hash
    from aberra.detector import Detector
    from aberra.devices import choose_device
    from aberra.prepare import Recipe

    expect_cohort(cohort)
    choose_device(device)
    # a typo must not cost the preparation of a whole cohort
    _check_options(method, shared=on is not HERE or bool(part), tensorboard=tensorboard)
    names = channels_of(cohort, channels)
    if not any(case.split for case in cohort):
        cohort = split_by_patient(cohort, {"train": 0.8, "val": 0.2}, seed=seed)
    train_cases, val_cases = chosen(cohort, method)
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
        training = taught(
            fit, detector, cohort, (told.train, told.validation), prepared=prepared, out=out,
            identity=identity, seed=seed, device=device, workers=workers, trained=trained, tensorboard=tensorboard,
            progress=progress, on=on, part=part,
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


def _check_options(method: Method, *, shared: bool = False, tensorboard: bool = False) -> None:
    """Refuse a method whose options cannot be, or which cannot be shared out, before anything is
    read or written.
    """
    from aberra.detector import Question
    from aberra.prepare import checked_wishes
    from aberra.training import TrainingConfig

    if shared:
        members_of(method)
    TrainingConfig.from_dict(method.training)
    checked_wishes(method.prepare)
    model, _ = named("models", method.model)
    check_start(method)
    check_teacher(method)
    Question.of(method, model)
    if not tensorboard:
        return
    expect_tensorboard()
    if not issubclass(model, Trains | HasMembers):
        raise ConfigError(
            f"--tensorboard: the model '{method.model['name']}' is not trained step by step; leave it out"
        )


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
