"""The cohorts of a suite on disk: phantoms are written, manifests read, lesions planted or painted by
an editor.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.benchmark.suite import FOLDS
from aberra.cohort import Cohort
from aberra.errors import ConfigError, expect_known
from aberra.files import config_hash
from aberra.foreground import region
from aberra.output import claim
from aberra.prepare.brain_mask import BrainMask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aberra.benchmark.suite import CohortSpec, Suite, Task
    from aberra.prepare.brain_mask import MaskMethod


class MissingDataError(ConfigError):
    """A cohort needs files that are not on this machine."""


def materialise(
    suite: Suite,
    name: str,
    folder: Path,
    data: Path | None,
    *,
    device: str = "auto",
    progress: bool,
    order: int | None = None,
) -> Cohort:
    """Return a suite's cohort, written to ``folder/NAME`` where it is made here; complete ones are
    kept.

    Args:
        suite: the suite.
        name: of the cohort.
        folder: of made cohorts.
        data: folder that manifests and lesion masks are relative to; None if there is none.
        device: of editors.
        progress: show progress bars.
        order: seed of the order of the patients that ``share`` is of; None is that of the manifest.

    Raises:
        MissingDataError: a manifest that is not there.
        ConfigError: an option that the synthesis or the edit does not have.
    """
    from aberra.synthesis import lesion_cohort, write_cohort
    from aberra.synthesis.ellipses import write_ellipses

    spec = suite.cohorts[name]
    target = folder / name
    try:
        if spec.phantom:
            made = write_cohort(target, progress=progress, **_drawn(spec.phantom, data))
            cohort = Cohort.read(made)
        elif spec.ellipses:
            cohort = Cohort.read(write_ellipses(target, progress=progress, **spec.ellipses))
        elif spec.plant:
            options = _drawn({key: value for key, value in spec.plant.items() if key != "cohort"}, data)
            origin = materialise(suite, spec.plant["cohort"], folder, data, device=device, progress=progress)
            cohort = Cohort.read(lesion_cohort(origin, target, progress=progress, **options))
        elif spec.mood:
            options = _drawn({key: value for key, value in spec.mood.items() if key != "cohort"}, data)
            origin = materialise(suite, spec.mood["cohort"], folder, data, device=device, progress=progress)
            cohort = _challenge(origin, target, progress=progress, **options)
        elif spec.union:
            parts = [
                materialise(suite, each, folder, data, device=device, progress=progress, order=order)
                for each in spec.union
            ]
            cohort = _together(parts, f"{suite.name}: {name}")
        elif spec.edit:
            cohort = _edited(suite, spec.edit, target, data, device=device, progress=progress)
        else:
            cohort = Cohort.read(_manifest(spec, data))
    except TypeError as error:
        raise ConfigError(f"suite {suite.name}, cohort '{name}': {error}") from error
    cohort = _chosen(cohort, spec, order)
    return masked(cohort, spec.mask, folder / f"{name}-masks", progress=progress) if spec.mask else cohort


def task_cohorts(
    suite: Suite,
    task: Task,
    folder: Path,
    data: Path | None,
    *,
    device: str = "auto",
    progress: bool,
    order: int | None = None,
) -> tuple[Cohort, dict[str, Cohort]]:
    """Return the cohort to fit to (splits ``train`` and ``val``) and the cohorts to test, by name;
    ``order`` as of :func:`materialise`.

    Raises:
        MissingDataError: see :func:`materialise`.
        ConfigError: a patient to learn from is also in validation or in a test cohort.
    """
    options: dict[str, Any] = {"device": device, "progress": progress, "order": order}
    train = materialise(suite, task.train, folder, data, **options)
    validation = materialise(suite, task.validation, folder, data, **options)
    names = filter(None, (*task.test, task.healthy))
    tested = {name: materialise(suite, name, folder, data, **options) for name in names}
    learnt = {each.patient for each in train}
    for name, cohort in {task.validation: validation, **tested}.items():
        both = learnt & {each.patient for each in cohort}
        if both and _people(suite, name) & _people(suite, task.train):
            raise ConfigError(
                f"suite {suite.name}, task '{task.name}': {len(both)} patient(s) of '{task.train}' are in '{name}', too: "
                f"{', '.join(sorted(both)[:5])}"
            )
    return _to_learn_from(train, validation, f"{suite.name}/{task.name}"), tested


def _to_learn_from(train: Cohort, validation: Cohort, source: str) -> Cohort:
    """Two cohorts as the splits ``train`` and ``val`` of one."""
    cases = [
        replace(case, split=split, case=f"{split}-{case.case}", patient=f"{split}-{case.patient}")
        for split, part in (("train", train), ("val", validation))
        for case in part
    ]
    return Cohort(cases, source)


def _edited(
    suite: Suite, spec: Mapping[str, Any], target: Path, data: Path | None, *, device: str, progress: bool
) -> Cohort:
    """A cohort with lesions painted by an editor, which is fitted first; cohorts of the same editor
    share it.
    """
    from aberra.benchmark.suite import Entry, Task
    from aberra.detector import Detector
    from aberra.workflows.edit_cohort import edit_cohort

    folder = target.parent
    common: dict[str, Any] = {"device": device, "progress": progress}
    options = _drawn({key: value for key, value in spec.items() if key not in {"cohort", "editor"}}, data)
    row = dict(spec["editor"])
    train, validation = (
        materialise(suite, row.pop(key), folder, data, **common) for key in ("train", "validation")
    )
    name = f"editor-{config_hash(spec['editor'])}"
    task = Task(name=name, train="", validation="")
    editor = Detector.fit(
        suite.method(task, Entry(label=name, **row)), _to_learn_from(train, validation, f"{suite.name}/{name}"), out=folder / name,
        seed=0, resume=True, calibrated=False, **common,
    )  # fmt: skip
    origin = materialise(suite, spec["cohort"], folder, data, **common)
    edit_cohort(editor, origin, out=target, progress=progress, **options)
    return Cohort.read(target / "manifest.csv")


def _challenge(origin: Cohort, target: Path, *, contaminate: float = 0, **options: Any) -> Cohort:
    """Scans with anomalies of the challenge's families, or training scans of which some are not
    healthy.
    """
    from aberra.mood import contaminated_set, make_set

    if contaminate:
        made = contaminated_set(origin, target, shares=[contaminate], **options)
        return Cohort.read(made.manifests[contaminate])
    return Cohort.read(make_set(origin, target, **options).manifest)


def share_of(cohort: Cohort, share: float) -> Cohort:
    """Keep a share of the training patients, at least one; the others' cases are left out.

    Validation stays whole.
    """
    patients = list(dict.fromkeys(case.patient for case in cohort if case.split == "train"))
    kept = set(patients[: max(1, round(share * len(patients)))])
    return Cohort((case for case in cohort if case.split != "train" or case.patient in kept), cohort.source)


def masked(cohort: Cohort, method: MaskMethod, folder: Path, *, progress: bool) -> Cohort:
    """Cases with a brain mask each: the manifest's, or one that is found once and kept in ``folder``.

    Args:
        cohort: the cases.
        method: as of :class:`aberra.prepare.brain_mask.BrainMask`.
        folder: of the masks that are found.
        progress: show a progress bar.
    """
    from rich.progress import track

    step = BrainMask(method=method)
    claim(folder, "cache")
    found = []
    for case in track(cohort, "brain masks", disable=not progress):
        path = folder / f"{case.case}-{case.content_hash()}.nii.gz"
        if case.mask is None and not path.is_file():
            volume = step(case.read())
            volume.with_(data=region(volume)[None].astype(np.float32), channels=("mask",)).write(path)
        found.append(case if case.mask is not None else replace(case, mask=path))
    return Cohort(found, cohort.source)


def _together(parts: list[Cohort], source: str) -> Cohort:
    """The cases of several cohorts.

    Raises:
        ConfigError: two cases have one name.
    """
    cases = [case for part in parts for case in part]
    names = [case.case for case in cases]
    if len(set(names)) < len(names):
        twice = sorted({each for each in names if names.count(each) > 1})
        raise ConfigError(
            f"{source}: {len(twice)} case(s) are in more than one of the cohorts: {', '.join(twice[:5])}; "
            "phantoms of one site have the same names: give each a site"
        )
    return Cohort(cases, source)


def _people(suite: Suite, name: str) -> set[str]:
    """Where a cohort's patients come from: within one manifest, or one seed of phantoms, a name is
    a person.
    """
    spec = suite.cohorts[name]
    if made := spec.plant or spec.mood or spec.edit:
        return _people(suite, made["cohort"])
    if spec.union:
        return set().union(*(_people(suite, each) for each in spec.union))
    if spec.ellipses:
        return {f"ellipses of seed {spec.ellipses.get('seed', 0)}"}
    return {spec.manifest or f"phantoms of seed {spec.phantom.get('seed', 0)}"}


def _manifest(spec: CohortSpec, data: Path | None) -> Path:
    path = Path(spec.manifest) if Path(spec.manifest).is_absolute() else (data or Path()) / spec.manifest
    if (data is None and not path.is_absolute()) or not path.is_file():
        raise MissingDataError(f"{path}: not there; give the folder of the data with --data")
    return path


def _drawn(options: dict[str, Any], data: Path | None) -> dict[str, Any]:
    """Options of the synthesis: pairs as tuples, label maps of the data folder, lesion masks only
    where they are.
    """
    drawn: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
    if "anatomy" in drawn:
        maps = (data or Path()) / str(drawn["anatomy"])
        if data is None or not maps.parent.is_dir():
            raise MissingDataError(f"{maps}: not there; give the folder of the data with --data")
        drawn["anatomy"] = maps
    if "masks" in drawn:
        folder = (data or Path()) / str(drawn.pop("masks"))
        if data is not None and folder.parent.is_dir():
            drawn["masks"] = folder
    return drawn


def _shared(cohort: Cohort, share: Sequence[float], order: int | None) -> set[str]:
    """The patients from one share to another; with an order, of the patients of each label apart."""
    patients = list(dict.fromkeys(case.patient for case in cohort))
    groups = [patients]
    if order is not None:
        shuffled = np.random.default_rng([order, 31]).permutation(len(patients))
        sick = {case.patient for case in cohort if not case.healthy}
        drawn = [patients[index] for index in shuffled]
        groups = [[each for each in drawn if (each in sick) == label] for label in (False, True)]
    ends = [[round(each * len(group)) for each in share] for group in groups]
    return {each for group, (first, last) in zip(groups, ends, strict=True) for each in group[first:last]}


def _chosen(cohort: Cohort, spec: CohortSpec, order: int | None = None) -> Cohort:
    """Apply the split, health, share, folds and number that a cohort asks for."""
    cohort = cohort.select(split=spec.split or None, healthy=spec.healthy or None)
    if spec.without:
        expect_known(f"case in {cohort.source}:", spec.without, [case.case for case in cohort])
        cohort = Cohort((case for case in cohort if case.case not in spec.without), cohort.source)
    if spec.share:
        kept = _shared(cohort, spec.share, order)
        cohort = Cohort((case for case in cohort if case.patient in kept), cohort.source)
    if spec.folds:
        patients = list(dict.fromkeys(case.patient for case in cohort))
        kept = {patient for index, patient in enumerate(patients) if index % FOLDS in spec.folds}
        cohort = Cohort((case for case in cohort if case.patient in kept), cohort.source)
    if spec.channels:
        fitting = [case for case in cohort if all(name in case.channels for name in spec.channels)]
        only = ({name: case.channels[name] for name in spec.channels} for case in fitting)
        cases = (replace(case, channels=channels) for case, channels in zip(fitting, only, strict=True))
        cohort = Cohort(cases, cohort.source)
    if spec.most and len(cohort) > spec.most:
        picks = np.unique(np.linspace(0, len(cohort) - 1, spec.most).round().astype(int))
        cohort = Cohort((cohort[int(pick)] for pick in picks), cohort.source)
    if not len(cohort):
        raise ConfigError(f"{cohort.source}: no case is left in this cohort (split '{spec.split}')")
    return cohort
