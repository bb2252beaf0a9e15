"""Which cases of a cohort, and which of their columns, a method learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.capabilities import LearnsFromUnlabelled
from aberra.covariates import SITE
from aberra.errors import MismatchError, TrainingError
from aberra.method import SUPERVISED, Method
from aberra.registry import lookup
from aberra.training.config import LESION_FREE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.cohort import Cohort


def channels_of(cohort: Cohort, channels: Sequence[str] | None) -> list[str]:
    """The columns to read: those asked for, or all that every case has.

    Raises:
        MismatchError: not every case has them, or there is none that all have.
    """
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


def chosen(cohort: Cohort, method: Method) -> tuple[Cohort, Cohort]:
    """The cases that a method learns from, and those that it is watched with.

    Raises:
        TrainingError: there is none to learn from, or truth is missing that the method learns from.
    """
    train, val = (
        _with_diseased(cohort, method) if method.learns_from in SUPERVISED else _healthy(cohort, method)
    )
    _expect_target(train, method)
    return train, val


def _healthy(cohort: Cohort, method: Method) -> tuple[Cohort, Cohort]:
    """Healthy cases of ``train`` and ``val``, or all of which lesion-free slices can be learnt."""
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


def _usable(cohort: Cohort, split: str, *, lesion_free: bool) -> Cohort:
    """The cases of a split that may be learnt from."""
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
    """All cases of ``train`` and ``val``, healthy and diseased."""
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
