"""Prepared cases on disk, by content: a changed file or recipe never meets a stale entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from aberra.cohort.inputs import inputs_of, keep_out
from aberra.console import bars
from aberra.errors import InputError
from aberra.failures import told
from aberra.files import atomic_path, config_hash, read_json, write_json
from aberra.output import claim
from aberra.volume import ON_GRID, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from aberra.cohort import Case
    from aberra.prepare.recipe import Recipe

LAYOUT = 2
"""Of an entry: one of layout 1 has no label values of lesions."""


class PreparedCohort(Sequence[Volume]):
    """Prepared cases, opened memory-mapped when asked for.

    Args:
        cases: in order.
        folders: of their arrays.
    """

    def __init__(self, cases: Sequence[Case], folders: Sequence[Path]) -> None:
        self.cases = list(cases)
        self.folders = list(folders)

    @overload
    def __getitem__(self, index: int) -> Volume: ...
    @overload
    def __getitem__(self, index: slice) -> PreparedCohort: ...
    def __getitem__(self, index: int | slice) -> Volume | PreparedCohort:
        """One prepared volume, or several cases."""
        if isinstance(index, slice):
            return PreparedCohort(self.cases[index], self.folders[index])
        # entries are kept by the content of files; what is known of the person is the manifest's
        return _load(self.folders[index], self.cases[index].groups)

    def __len__(self) -> int:
        return len(self.folders)


def prepare_cohort(
    cases: Sequence[Case],
    recipe: Recipe,
    folder: Path,
    *,
    channels: Sequence[str],
    workers: int = 2,
    progress: bool = False,
    logs: Path | None = None,
) -> PreparedCohort:
    """Prepare cases in parallel; entries that are there are kept, so an interrupted run goes on.

    Args:
        cases: what to prepare.
        recipe: how.
        folder: of the cache; may be shared between cohorts and recipes.
        channels: which channels, in order.
        workers: threads (the work is in SciPy and SimpleITK, which release the interpreter).
        progress: show a progress bar.
        logs: folder of the run, which gets the logs of what was not foreseen; ``folder`` without.

    Raises:
        OutputError: the folder holds something else, or a scan.
        InputError: lists every case that failed; the others are kept.
    """
    from aberra.cohort import Cohort

    keep_out(folder, inputs_of(Cohort(cases)))
    claim(folder, "cache")
    mark = recipe.fingerprint
    failures: dict[str, str] = {}
    folders: list[Path] = []
    missing: dict[Path, Case] = {}
    for case in cases:
        try:
            target = folder / config_hash([case.content_hash(channels), mark, list(channels), LAYOUT])
        except Exception as error:  # noqa: BLE001 - one case never ends a cohort
            failures[case.case] = told(error, logs or folder, case.case)
            continue
        folders.append(target)
        if not _finished(target):
            missing[target] = case
    with bars(show=progress) as bar, ThreadPoolExecutor(workers) as pool:
        task = bar.add_task("preparing", total=len(cases), completed=len(folders) - len(missing))
        running = {
            pool.submit(_prepare, case, recipe, target, list(channels)): case
            for target, case in missing.items()
        }
        try:
            for done in as_completed(running):
                try:
                    done.result()
                except Exception as error:  # noqa: BLE001 - one case never ends a cohort
                    name = running[done].case
                    failures[name] = told(error, logs or folder, name)
                bar.update(task, advance=1, description=f"preparing {running[done].case}")
        except BaseException:  # Ctrl-C must not wait for every case that is still queued
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        listed = "\n  ".join(f"{name}: {reason}" for name, reason in sorted(failures.items()))
        raise InputError(f"{len(failures)} of {len(cases)} cases cannot be prepared:\n  {listed}")
    return PreparedCohort(cases, folders)


def _finished(target: Path) -> bool:
    return (target / "meta.json").is_file()


def _prepare(case: Case, recipe: Recipe, target: Path, channels: list[str]) -> None:
    volume = recipe(case.read(channels))
    with atomic_path(target, last="meta.json", unless=lambda: _finished(target)) as temporary:
        temporary.mkdir()
        np.save(temporary / "data.npy", volume.data)
        for name in ON_GRID:
            if (array := getattr(volume, name)) is not None:
                np.save(temporary / f"{name}.npy", array)
        meta = {"affine": volume.affine.tolist(), "channels": list(volume.channels)}
        write_json(temporary / "meta.json", meta | {"provenance": dict(volume.provenance)})


def _load(folder: Path, covariates: Mapping[str, str]) -> Volume:
    meta = read_json(folder / "meta.json")
    arrays: dict[str, Any] = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r") if (folder / f"{name}.npy").is_file() else None
        for name in ("data", *ON_GRID)
    }
    meta |= {"affine": np.array(meta["affine"]), "channels": tuple(meta["channels"])}
    return Volume.stored(**meta, **arrays, covariates=covariates)
