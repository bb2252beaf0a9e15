"""The doctor: what files and cohorts are, what is wrong with them, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.cohort.departures import Finding, compare, departures
from aberra.cohort.fingerprint import Fingerprint, Measure, case_samples, measure, summarise
from aberra.cohort.manifest import Cohort
from aberra.errors import AberraError, InputError, ManifestError, MismatchError
from aberra.foreground import constant
from aberra.io import distinct, files_of, input_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.cohort.case import Case
    from aberra.volume import Volume

__all__ = ["Finding", "Report", "compare", "examine"]

Source = Path | str | Cohort

NEARLY_EMPTY = 0.01
ANISOTROPIC = 3.0
FEWEST_VOXELS, MOST_LABELS = 1000, 50
"""A scan of so many voxels with so few values, all whole numbers, looks like a label map."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the doctor found.

    Attributes:
        findings: in reading order.
        fingerprints: source to its fingerprint, for sources that have one.
    """

    findings: tuple[Finding, ...]
    fingerprints: dict[str, Fingerprint]

    @property
    def failed(self) -> bool:
        """Whether something cannot be used."""
        return any(each.level == "error" for each in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return {
            "failed": self.failed,
            "findings": [each.to_json() for each in self.findings],
            "fingerprints": {name: each.to_json() for name, each in self.fingerprints.items()},
        }


@dataclass(kw_only=True)
class _Seen:
    """One source on the examination table."""

    name: str
    cases: list[Case] = field(default_factory=list)
    measures: dict[str, Measure] = field(default_factory=dict)
    judged: dict[str, Measure] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: Any, topic: str, what: str, remedy: str = "", cases: Iterable[str] = ()) -> None:
        """Note a finding."""
        self.findings.append(Finding(level=level, topic=topic, what=what, remedy=remedy, cases=tuple(cases)))


def examine(
    source: Source | Sequence[Source],
    model: Fingerprint | None = None,
    *,
    channels: Sequence[str] | None = None,
    view: Callable[[Volume], Volume] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Read every scan of the sources and report; a file that cannot be read is a finding, not an
    exception.

    Args:
        source: scan files, folders, manifests or cohorts.
        model: a model's fingerprint to hold each case against.
        channels: columns to read, in the model's order; by default the model's own, or all.
        view: what the model's recipe leaves of a scan (:meth:`aberra.prepare.Recipe.view`), which
            is held against it.
        progress: called with (cases done, cases in all).
    """
    given = (
        list(source) if isinstance(source, Sequence) and not isinstance(source, str | Cohort) else [source]
    )
    sources = [_open(each) for each in given if isinstance(each, Cohort)]
    sources += [
        _open(group) for group in distinct([Path(each) for each in given if not isinstance(each, Cohort)])
    ]
    total, done = sum(len(each.cases) for each in sources), 0
    for seen in sources:
        for case in seen.cases:
            _case(seen, case, _wanted(case, model, channels), case_samples(total), view)
            done += 1
            if progress is not None:
                progress(done, total)
    fingerprints = {}
    for seen in sources:
        if seen.measures and (found := _describe(seen)) is not None:
            fingerprints[seen.name] = found
        if model is not None and seen.measures:
            _against(seen, model)
    findings = [finding for seen in sources for finding in seen.findings]
    return Report(findings=(*findings, *_patients(sources), *_duplicates(sources)), fingerprints=fingerprints)


def _open(source: Cohort | list[Path]) -> _Seen:
    """Turn a source (several paths are of one input) into cases; problems become findings."""
    seen = _Seen(name=str(source.source if isinstance(source, Cohort) else source[0]))
    try:
        cohort = source if isinstance(source, Cohort) else Cohort.from_paths(source)
        seen.cases = list(cohort)
        for note in cohort.warnings:
            seen.add("warn", "search", *_parted(note))
    except ManifestError as error:
        for problem in error.problems:
            seen.add("error", "manifest", f"{Path(seen.name).name}: {problem}", "correct the manifest")
    except (AberraError, OSError) as error:
        seen.add("error", "file", *_parted(error))
    return seen


def _wanted(case: Case, model: Fingerprint | None, channels: Sequence[str] | None) -> list[str]:
    """The channels to read: those asked for, else the model's where the case has them, else all."""
    if not channels and model is not None and all(name in case.channels for name in model.channels):
        return list(model.channels)
    return list(channels or case.channels)


def _case(
    seen: _Seen,
    case: Case,
    channels: list[str],
    samples: int,
    view: Callable[[Volume], Volume] | None,
) -> None:
    """Read and measure one case."""
    try:
        volume = case.read(channels)
        taken = measure(volume, samples=samples)
        judged = taken if view is None else measure(view(volume), samples=samples)
    except AberraError as error:
        seen.add("error", "file", *_parted(error), cases=[case.case])
        return
    except Exception as error:  # noqa: BLE001 - whatever a broken file does to a reader, the others are still examined
        seen.add(
            "error", "file", f"{case.case}: {type(error).__name__}: {error}", "copy it again", [case.case]
        )
        return
    seen.measures[case.case] = taken
    seen.judged[case.case] = judged
    for note in volume.provenance.get("warnings", []):
        what, remedy = _parted(note, ". ", "compare with the scanner's export")
        seen.add("warn", "header", f"{case.case}: {what}", remedy, [case.case])
    _content(seen, case, volume, taken)


def _content(seen: _Seen, case: Case, volume: Volume, taken: Measure) -> None:
    if flat := constant(volume):
        remedy = "export the scan again; there is nothing to see in this one"
        seen.add("error", "intensity", f"{case.case}: {flat}", remedy, [case.case])
        return
    for name, channel in zip(volume.channels, volume.data, strict=True):
        if _like_labels(channel):
            values = f"{len(np.unique(channel))} different values, all whole numbers"
            what = f"{case.case}: {name} looks like a label map: {values}"
            seen.add(
                "warn", "intensity", what, "make sure that it is the scan, not its segmentation", [case.case]
            )
    if taken.foreground_fraction < NEARLY_EMPTY:
        what = f"{case.case}: only {taken.foreground_fraction:.2%} of the scan is foreground"
        seen.add(
            "warn", "intensity", what, "look at the scan; leave it out if it is nearly empty", [case.case]
        )


def _like_labels(channel: NDArray[np.float32]) -> bool:
    """Whether a channel (D, H, W) has as few values as a segmentation."""
    if channel.size < FEWEST_VOXELS or (channel != np.rint(channel)).any():
        return False
    return len(np.unique(channel)) <= MOST_LABELS


def _describe(seen: _Seen) -> Fingerprint | None:
    """Say what a source is: format, geometry, orientation, intensities, labels."""
    common = set.intersection(*(set(each.channels) for each in seen.measures.values()))
    names = tuple(name for name in next(iter(seen.measures.values())).channels if name in common)
    everything = tuple(dict.fromkeys(name for each in seen.measures.values() for name in each.channels))
    for name in everything:
        missing = [case for case, each in seen.measures.items() if name not in each.channels]
        if missing:
            what = f"{name} is missing in {len(missing)} of {len(seen.measures)} cases"
            seen.add(
                "info", "channels", what, f"fit and detect without {name}, or leave these cases out", missing
            )
    if not names:
        remedy = "keep different sequences in different manifests"
        seen.add("warn", "channels", "no channel is in every case", remedy)
        return None
    try:
        found = summarise([replace(each, channels=names) for each in seen.measures.values()])
    except MismatchError as error:
        seen.add("error", "dimensions", *_parted(error))
        return None
    unread = len(seen.cases) - len(seen.measures)
    rest = f"; {unread} unreadable" if unread else ""
    what = f"{seen.name}: {found.n_cases} {found.kind}(s), {', '.join(names)}, stored as {_counted(found.dtypes)}"
    seen.add("ok", "format", what + rest)
    _labels(seen)
    _geometry(seen, found)
    for name in names:
        low, median, high = (f"{found.percentile(name, level):.4g}" for level in (0.5, 50, 99.5))
        zeros = f"{found.intensity[name]['zero_fraction']:.0%} exact zeros"
        what = f"{name}: foreground {low} to {high} (0.5 to 99.5 %), median {median}, {zeros}"
        seen.add("ok", "intensity", what)
    return found


def _labels(seen: _Seen) -> None:
    healthy, diseased, unknown = (sum(case.label == label for case in seen.cases) for label in (0, 1, None))
    counts = f"{healthy} healthy, {diseased} not, {unknown} without label"
    patients = len({case.patient for case in seen.cases})
    truth = sum(case.lesion is not None for case in seen.cases)
    splits = Counter(case.split for case in seen.cases if case.split)
    rest = f"; splits {_counted(splits)}" if splits else ""
    what = f"{len(seen.cases)} case(s) of {patients} patient(s): {counts}; {truth} with truth"
    seen.add("ok", "cohort", what + rest)


def _geometry(seen: _Seen, found: Fingerprint) -> None:
    size, step = found.shape, found.spacing
    axes = range(1, 3) if found.kind == "image" else range(3)
    pairs = [(size["min"][axis], size["max"][axis]) for axis in axes]
    what = " × ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in pairs)
    if found.kind == "image":
        seen.add("ok", "geometry", f"{what} pixels (rows × columns)")
        return
    seen.add("ok", "geometry", f"grid {what} (S, P, L); orientation {_counted(found.orientations)}")
    voxel = " × ".join(
        f"{a:.3g}" if b / a < 1.01 else f"{a:.3g}–{b:.3g}"
        for a, b in zip(step["min"], step["max"], strict=True)
    )
    thick = "slices are thick: a 2-D model fits better" if found.anisotropy >= ANISOTROPIC else ""
    seen.add("ok", "spacing", f"{voxel} mm (S, P, L)", thick)
    wide = max(b / a for a, b in zip(step["min"], step["max"], strict=True))
    if wide > 1.5:
        what = f"voxel edges differ up to {wide:.1f}-fold between cases"
        seen.add("info", "spacing", what, "they are resampled; report results by protocol")
    extent = " × ".join(f"{value:.0f}" for value in found.extent_mm["median"])
    share = f"{found.foreground_fraction:.0%} of the grid ({_counted(found.foreground)})"
    skull = f"skull-stripped: {'yes' if found.skull_stripped else 'no'}, a guess: {found.skull_reason}"
    seen.add("ok", "coverage", f"foreground {extent} mm (S, P, L), {share}; {skull}")


def _against(seen: _Seen, model: Fingerprint) -> None:
    """Hold every case against the model, one finding a topic."""
    topics: dict[str, list[tuple[str, Finding]]] = {}
    for case, taken in seen.judged.items():
        for finding in departures(summarise([taken]), model):
            topics.setdefault(finding.topic, []).append((case, finding))
    for hits in topics.values():
        case, first = max(hits, key=lambda hit: hit[1].level == "error")
        where = "" if len(seen.measures) == 1 else f"{len(hits)} of {len(seen.measures)} cases, as {case}: "
        seen.findings.append(
            replace(first, what=f"model: {where}{first.what}", cases=tuple(name for name, _ in hits))
        )
    named = {name for each in seen.measures.values() for name in each.channels}
    if named != set(model.channels) and "channels" not in topics:
        what = f"model: read {', '.join(sorted(named))} as {', '.join(model.channels)}"
        seen.add("info", "channels", what, "make sure that it is the same sequence")
    if not topics:
        seen.add("ok", "model", f"model: nothing departs from its {model.n_cases} training case(s)")


def _patients(sources: list[_Seen]) -> list[Finding]:
    """The same patient in several manifests: leakage if one is fitted on and the other judged."""
    homes: dict[str, dict[str, set[str]]] = {}
    for seen in sources:
        for case in seen.cases:
            if case.row:
                homes.setdefault(case.patient, {}).setdefault(seen.name, set()).add(case.split or "")
    shared = {name: where for name, where in homes.items() if len(where) > 1}
    crossing = [name for name, where in shared.items() if len(set.union(*where.values()) - {""}) > 1]
    if not shared:
        return []
    return [
        Finding(
            level="error" if crossing else "warn",
            topic="patients",
            what=f"{len(shared)} patient(s) in more than one manifest"
            + (f", {len(crossing)} of them in different splits" if crossing else "")
            + f": {', '.join(sorted(crossing or shared)[:5])}",
            remedy="a patient belongs to one split only; never fit on one manifest and test on the other",
            cases=tuple(sorted(crossing or shared)),
        )
    ]


def _duplicates(sources: list[_Seen]) -> list[Finding]:
    """The same input, all its bytes, under two names."""
    owners: dict[Path, list[Case]] = {}
    sizes: dict[tuple[int, ...], set[Path]] = {}
    for case in (case for seen in sources for case in seen.cases):
        for path in case.channels.values():
            with suppress(OSError):  # what cannot be read is a finding of its own
                size = tuple(sorted(file.stat().st_size for file in files_of(path)))
                sizes.setdefault(size, set()).add(path.resolve())
                owners.setdefault(path.resolve(), []).append(case)
    alike: dict[str, list[Path]] = {}
    for group in sizes.values():
        for path in sorted(group):
            with suppress(InputError):
                # Only inputs of equal size can be equal, so most are never hashed.
                alike.setdefault(input_hash(path) if len(group) > 1 else str(path), []).append(path)
    findings = []
    for paths in alike.values():
        cases = [case for path in paths for case in owners[path]]
        several = len({id(case) for case in cases})
        if len(paths) > 1 or several > 1:
            apart = len({case.split for case in cases if case.split}) > 1
            findings.append(
                Finding(
                    level="error" if apart else "warn",
                    topic="duplicates",
                    what=f"the same file under {len(paths)} name(s), in {several} case(s){', in different splits' if apart else ''}: "
                    + ", ".join(path.name for path in paths[:4]),
                    remedy="keep one of them",
                    cases=tuple(dict.fromkeys(case.case for case in cases)),
                )
            )
    return findings


def _counted(counts: Any) -> str:
    return ", ".join(f"{name} ×{count}" for name, count in dict(counts).items())


def _parted(
    error: Exception | str, sign: str = "; ", usual: str = "copy or convert the file again"
) -> tuple[str, str]:
    """Split a message at its last semicolon, or another sign: what is wrong, and the remedy."""
    what, _, remedy = str(error).rpartition(sign)
    return (what, remedy) if what else (str(error), usual)
