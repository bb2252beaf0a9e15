"""How the model of a detector learns: what it is shown, by what it can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
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
from aberra.devices import ranks
from aberra.errors import ModelError
from aberra.files import locked
from aberra.jobs import HERE
from aberra.kinds import GUESSED, UNDECIDED
from aberra.output import check_held, claim
from aberra.training.config import LESION_FREE, TrainingConfig
from aberra.training.together import expect_together
from aberra.workflows.members import learn_members

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from aberra.cohort import Cohort
    from aberra.detector import Detector
    from aberra.jobs import Engine
    from aberra.synthesis.planted import Planted
    from aberra.synthesis.simulated import Simulated
    from aberra.volume import Volume

ENCODER = "encoder."
"""How the names of the tensors begin that a model with a density trains."""

TRAINING = "training_"
"""How the names of a detector's facts begin that its training gave."""


def taught(
    fit: Callable[..., Detector],
    detector: Detector,
    cohort: Cohort,
    chosen: tuple[Cohort, Cohort],
    *,
    prepared: Path,
    out: Path,
    identity: str,
    trained: Path | None,
    on: Engine = HERE,
    part: str = "",
    **learning: Any,
) -> dict[str, Any] | None:
    """Train or fit the model of a detector that is not used yet, whichever it can, or the members of
    an ensemble.

    Args:
        fit: :func:`aberra.workflows.fit.fit`, of members.
        detector: gets the weights.
        cohort: with splits.
        chosen: cases to learn from and to watch.
        prepared: folder of prepared cases.
        out: the detector's folder.
        identity: of the fit.
        trained: a detector of the same training, whose encoder is taken.
        on: who fits the members.
        part: only some of them.
        learning: ``seed``, ``device``, ``workers``, ``tensorboard`` and ``progress`` of the fit.

    Returns:
        The facts of a training; None in the further processes of one on several devices, and where
        other parts of an ensemble are missing: then there is nothing left to do.

    Raises:
        TrainingError: there is nothing to learn from, or the training fails.
        ModelError: ``trained`` is not there, or its encoder is another one.
    """
    expect_together(detector.model, TrainingConfig.from_dict(detector.method.training))
    if not isinstance(detector.model, HasMembers):
        return _learn(detector, *chosen, prepared, out, identity=identity, trained=trained, **learning)
    claim(out / "run", "run", identity=identity, other="another fit trains here; choose another --out")
    return learn_members(fit, detector, cohort, out / "run", cache=prepared, on=on, part=part, **learning)


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
    tensorboard: bool,
    progress: bool,
) -> dict[str, Any] | None:
    """As :func:`taught`; nothing for models that learn nothing."""
    from aberra.prepare import prepare_cohort
    from aberra.training import Sampler, train

    if not isinstance(detector.model, Trains | Fits | FitsSamples):
        return {}
    options: dict[str, Any] = {
        "channels": list(detector.channels), "workers": workers, "progress": progress, "logs": out
    }  # fmt: skip
    with _one_by_one(prepared):
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
    with _one_by_one(prepared):
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
            tensorboard=tensorboard,
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


def _one_by_one(folder: Path) -> AbstractContextManager[Any]:
    """Of the processes of one training the first prepares, and the others find what it has made."""
    return locked(folder) if ranks()[1] > 1 else nullcontext()


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
