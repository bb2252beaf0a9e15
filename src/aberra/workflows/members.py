"""The members of an ensemble, each a fit of its own, beside each other where there are cores."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any

from aberra.capabilities import HasMembers
from aberra.console import screen
from aberra.devices import choose_device, cores
from aberra.errors import ConfigError
from aberra.jobs import HERE, Job, share
from aberra.registry import named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from aberra.cohort import Cohort
    from aberra.detector import Detector
    from aberra.jobs import Engine
    from aberra.method import Method

EACH = 2
"""Cores for a member: a small network gains little from more."""


def learn_members(
    fit: Callable[..., Detector],
    detector: Detector,
    cohort: Cohort,
    run: Path,
    *,
    seed: int,
    device: str,
    cache: Path,
    workers: int,
    tensorboard: bool,
    progress: bool,
    on: Engine = HERE,
    part: str = "",
) -> dict[str, Any] | None:
    """Fit every member of an ensemble and put the weights together.

    What is finished is kept, and what was interrupted goes on, as of any fit.

    Args:
        fit: :func:`aberra.workflows.fit.fit`.
        detector: with an ensemble that is not used yet; gets the members' weights.
        cohort: with splits.
        run: the members' detectors are ``run/member-0`` and so on.
        seed: the ensemble's; member k of K has K·seed + k.
        device: as of a fit. On a CPU of 4 cores or more members learn beside each other.
        cache: of prepared cases, which the members share.
        workers: threads that prepare cases.
        tensorboard: each member writes events for TensorBoard.
        progress: show progress bars, where members learn one after the other.
        on: who fits the members; this process chooses by its cores.
        part: only some members, as in ``2/5``; who finds all of them fitted then puts them together.

    Returns:
        The facts of the training, as of any fit (:func:`together`); None where members of another
        part are missing.

    Raises:
        MismatchError: no such part.
        AberraError: a member could not be fitted; the message names it.
    """
    ensemble = detector.model
    assert isinstance(ensemble, HasMembers)  # noqa: S101 - asked for such only
    count = len(ensemble.members())
    method = replace(
        detector.method, model=ensemble.member_config(), score={"name": "residual"}, case={}, postprocess={}
    )
    options: list[dict[str, Any]] = [
        {
            "method": method, "cohort": cohort, "out": run / f"member-{index}",
            "channels": list(detector.channels), "seed": count * seed + index, "resume": True,
            "device": device, "cache": cache, "workers": workers, "calibrated": False, "tensorboard": tensorboard,
        }
        for index in range(count)
    ]  # fmt: skip
    jobs = [Job(f"member {index}", each) for index, each in enumerate(options)]
    if part:
        for job in share(jobs, part, "member(s)"):
            fit(**job.options, progress=progress)
        missing = [each for each in options if not (each["out"] / "detector.toml").is_file()]
        if missing:
            screen(stderr=True).print(
                f"part {part} is fitted, {len(missing)} of {count} members are not yet; the last part puts them together"
            )
            return None
    elif on is HERE and choose_device(device).type == "cpu" and (beside := at_once(count, cores())) > 1:
        from aberra.jobs.processes import Processes

        on = Processes(beside)
    if on is not HERE:
        on.do(_saved, [Job(job.name, {"fit": fit, **job.options}) for job in jobs], progress=progress)
    facts: list[Mapping[str, Any]] = []
    for member, each in zip(ensemble.members(), options, strict=True):
        learnt = fit(**each, progress=progress)  # what was learnt elsewhere is only loaded
        member.load_state_dict(learnt.model.state_dict())
        facts.append(learnt.facts)
    found = {"members": count, "member_seeds": [each["seed"] for each in options]}
    return found | together(facts)


def _saved(fit: Callable[..., Detector], **options: Any) -> None:
    """Fit in another process; the detector is in its folder."""
    fit(**options)


def members_of(method: Method) -> int:
    """How many members the ensemble of a method has.

    Raises:
        ConfigError: it is no ensemble.
    """
    model, options = named("models", method.model)
    if not issubclass(model, HasMembers):
        raise ConfigError(
            f"{method.name}: one model is one job; --on and --part share out the members of an ensemble, as `waic` is one. "
            "Leave them out; `torchrun` trains one model in several processes"
        )
    return int(options.get("members", signature(model).parameters["members"].default))


WHOLE: dict[str, Callable[[list[Any]], Any]] = {
    "training_steps": max, "training_samples": max, "training_late_gain": max,
    "training_seconds": lambda each: round(sum(each), 1), "training_device": lambda each: each[0],
}  # fmt: skip
"""What the ensemble's training is, of those of its members."""


def together(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of an ensemble's training from those of its members': the most steps, all seconds,
    the greatest late gain, and the best validation loss of each.
    """
    each = {key: [own[key] for own in facts if key in own] for key in (*WHOLE, "training_best_validation")}
    losses = each.pop("training_best_validation")
    found = {key: WHOLE[key](values) for key, values in each.items() if values}
    return found | ({"member_best_validation": losses} if losses else {})


def at_once(members: int, cores: int) -> int:
    """How many members learn beside each other; 1 where there are no cores for two.

    Examples:
        >>> from aberra.workflows.members import at_once
        >>> [at_once(5, cores) for cores in (1, 2, 4, 64)]
        [1, 1, 2, 5]
    """
    return max(1, min(members, cores // EACH))
