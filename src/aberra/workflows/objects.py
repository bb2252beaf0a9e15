"""Cut the maps of a cohort into objects: what a reader is shown, and which of it is a lesion."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aberra.cohort import Cohort
from aberra.cohort.manifest import expect_cohort
from aberra.detector.postprocess import PostProcess
from aberra.errors import InputError, OutputError, shortlist
from aberra.failures import told
from aberra.files import (
    config_hash,
    csv_text,
    file_hash,
    read_json,
    read_mark,
    reading,
    write_json,
    write_text,
)
from aberra.grades import FOLDER as GRADES_FOLDER
from aberra.kinds import GUESSED, is_guessed
from aberra.metrics.objects import LEAST_MM3, match, summary_of
from aberra.metrics.voxel import VoxelHistogram
from aberra.options import Between, NotNegative, Within, configured
from aberra.output import claim, expect_results
from aberra.result import Result
from aberra.versions import versions
from aberra.workflows.detect import OBJECTS
from aberra.workflows.evaluate import truth_of
from aberra.workflows.object_threshold import Threshold, threshold_of
from aberra.workflows.scores import finished_cases
from aberra.workflows.tally import CASE_BITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aberra.cohort import Case

COLUMNS = (
    "case", "object", "volume_mm3", "centre_x", "centre_y", "centre_z", "region", "peak", "mean", "p", "threshold",
    "protocol",
)  # fmt: skip
MATCHES = ("case", "object", "volume_mm3", "lesion", "lesion_mm3", "hit", "touches")
LESIONS = ("case", "lesion", "volume_mm3", "centre_x", "centre_y", "centre_z", "hit", "touched")

RECORD = ("case", "patient", "score", "p", "objects", "lesions", "ap", "auroc")
"""What of a case's record other commands may read."""

VERSION = 2
"""Of what is kept of a case; another one is made again."""


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects of a cohort.

    Attributes:
        rows: lines of ``objects.csv``.
        cases: cases that were cut.
        kept: of these, found finished from before.
        threshold: where maps are cut.
        summary: recall, precision and false positives a scan, with truth; empty without.
        notes: what a reader must know.
        folder: of the results.
    """

    rows: list[dict[str, Any]]
    cases: int
    kept: int
    threshold: Threshold
    summary: dict[str, Any]
    folder: Path
    notes: list[str] = field(default_factory=list)


@configured("objects")
def objects(
    results: Path,
    *,
    threshold: str | None = None,
    least_volume_mm3: NotNegative = LEAST_MM3,
    toy: Path | None = None,
    toy_truth: Cohort | None = None,
    healthy: Path | None = None,
    level: Between = 0.05,
    truth: Cohort | None = None,
    regions: bool = False,
    n_boot: Annotated[int, Within(1, 100_000)] = 500,
    seed: int = 0,
    progress: bool = False,
    failed: MutableMapping[str, str] | None = None,
) -> Objects:
    """Write ``objects.csv`` and ``objects.json`` into a folder of results: the connected regions of
    every map above a threshold that are large enough, largest first as in a result.

    Thresholds: a protocol of the results' calibration (as in ``healthy-fpr-1``; the one of the masks
    where none is named), a number, ``toy`` (the best pooled Dice on lesions that were planted into
    other scans; Zimmerer 2022), or ``conformal``: the lowest one at which a further healthy case,
    exchangeable with those of ``healthy``, has any object with a probability of at most ``level``.

    Case by case; what is known of a case is kept in ``objects/`` until its result, its truth or a
    setting changes, so that an interrupted run is completed by running it again.

    Args:
        results: what :func:`aberra.workflows.detect.detect_cohort` wrote.
        threshold: see above.
        least_volume_mm3: smaller regions are no objects.
        toy: results of the same detector on scans with planted lesions.
        toy_truth: their manifest.
        healthy: results of the same detector on healthy cases that it has not learnt from.
        level: of ``conformal``.
        truth: known lesions; then ``matches.csv`` and ``lesions.csv`` say which object is which
            lesion (:func:`aberra.metrics.objects.match`).
        regions: name side and tissue of every object, by affine registration to MNI152.
        n_boot: bootstrap replicates over patients.
        seed: of the bootstrap.
        progress: show a progress bar.
        failed: gets case and reason of those that fail.

    Raises:
        ConfigError: see :func:`aberra.workflows.object_threshold.threshold_of`.
        CalibrationError: too few healthy cases for the level, or no calibration to have a protocol
            of.
        InputError: no results, results to set a threshold on that are judged, too, or truth that
            is a guess.
        OutputError: the folder is not one of results, or readers have graded other objects in it.
    """
    failed = {} if failed is None else failed
    names = finished_cases(results)
    if not names:
        raise InputError(f"{results}: no results; run `aberra detect MODEL PATH --out {results}` first")
    expect_results(results, names)
    known = _known(truth)
    cut = threshold_of(
        results, threshold, least_mm3=least_volume_mm3, toy=toy, toy_truth=toy_truth, healthy=healthy, level=level,
        progress=progress,
    )  # fmt: skip
    settings = {
        "threshold": cut.value,
        "protocol": cut.protocol,
        "least_volume_mm3": least_volume_mm3,
        "regions": regions,
    }
    identity = config_hash(
        [
            VERSION,
            (read_mark(results) or {}).get("identity"),
            {name: settings[name] for name in ("threshold", "least_volume_mm3")},
        ]
    )
    _expect_ungraded(results, identity)
    claim(results, "results", adopt=True)
    claim(results / OBJECTS, "objects")
    found, kept = _walk(results, names, known, settings, failed, progress=progress)
    notes = [cut.note] * bool(cut.note) + _notes(found, failed, known, regions=regions)
    summary = summary_of(found, n_boot=n_boot, seed=seed) if truth is not None else {}
    rows = [row for each in found for row in each["objects"]]
    write_text(results / "objects.csv", csv_text(COLUMNS, rows))
    if truth is not None:
        write_text(results / "matches.csv", csv_text(MATCHES, rows))
        write_text(
            results / "lesions.csv",
            csv_text(LESIONS, (row for each in found for row in each["lesions"] or ())),
        )
    content = {
        "identity": identity,
        "settings": settings,
        "cases": len(found),
        "objects": len(rows),
        "with_objects": sum(bool(each["objects"]) for each in found),
        "failed": dict(failed),
        "notes": notes,
        "truth": summary,
        "versions": versions(),
    }
    write_json(results / "objects.json", content)
    return Objects(
        rows=rows, cases=len(found), kept=kept, threshold=cut, summary=summary, folder=results, notes=notes
    )


def _known(truth: Cohort | None) -> dict[str, Case]:
    """The cases of which is known what is in them, by name.

    Raises:
        InputError: some of it is a detector's guess.
    """
    if truth is None:
        return {}
    expect_cohort(truth)
    guesses = [case.case for case in truth if is_guessed(case.groups)]
    if guesses:
        raise InputError(
            f"{truth.source}: the lesion masks of {len(guesses)} case(s) are guesses of a detector (column '{GUESSED}'): "
            f"{shortlist(guesses)}. Match against outlines"
        )
    return {case.case: case for case in truth if case.lesion is not None or case.healthy}


def _expect_ungraded(results: Path, identity: str) -> None:
    """Refuse to number anew what readers have graded.

    Raises:
        OutputError: there are grades of other objects.
    """
    if not any((results / GRADES_FOLDER).glob("*.jsonl")):
        return
    try:
        same = read_json(results / "objects.json")["identity"] == identity
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise OutputError(
            f"{results / GRADES_FOLDER}: holds grades of objects that were cut otherwise; move the folder away, or cut as before"
        )


def _walk(
    results: Path,
    names: Sequence[str],
    known: dict[str, Case],
    settings: dict[str, Any],
    failed: MutableMapping[str, str],
    *,
    progress: bool,
) -> tuple[list[dict[str, Any]], int]:
    """What is known of every case, and how much of it was known before."""
    from rich.progress import track

    found, kept = [], 0
    for name in track(names, description="objects", disable=not progress):
        case = known.get(name)
        try:
            truth = None if case is None else [case.content_hash([]), case.patient]
            key = config_hash([VERSION, file_hash(results / name / "result.json"), settings, truth])
            record = _kept(results / OBJECTS / f"{name}.json", key)
            kept += record is not None
            if record is None:
                record = {"key": key} | _cut(results, name, case, settings)
                write_json(results / OBJECTS / f"{name}.json", record)
            found.append(record)
        except Exception as error:  # noqa: BLE001 - one case never ends a cohort
            failed[name] = told(error, results, name)
    return found, kept


def cut_identity(results: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """What grades of objects are of: the results, and where their maps were cut; cases that are
    added since do not change it.

    Args:
        results: the folder.
        rows: lines of ``objects.csv``, or the objects of records.
    """
    cuts = sorted({(float(row["threshold"]), row["protocol"]) for row in rows})
    return config_hash([(read_mark(results) or {}).get("identity"), cuts])


def read_records(results: Path) -> list[dict[str, Any]]:
    """What :func:`objects` has kept of every case.

    Raises:
        InputError: nothing, or what is there is damaged.
    """
    if not (results / "objects.json").is_file():
        raise InputError(f"{results}: no objects; run `aberra objects {results}` first")
    found = []
    for name in finished_cases(results):
        path = results / OBJECTS / f"{name}.json"
        with reading(path):
            try:
                record = read_json(path)
                found.append({key: record[key] for key in RECORD})
            except FileNotFoundError:  # it has failed, which objects.json says
                continue
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: damaged ({error}); run `aberra objects` again") from error
    return found


def _kept(path: Path, key: str) -> dict[str, Any] | None:
    """What an earlier run found of a case, if nothing has changed since."""
    try:
        record: dict[str, Any] = read_json(path)
        return record if record["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cut(results: Path, name: str, case: Case | None, settings: dict[str, Any]) -> dict[str, Any]:
    """One case: its objects and, with truth, its lesions and how the map ranks their voxels."""
    result = Result.load(results / name)
    values = result.map.data[0]
    mask, regions = PostProcess(min_mm3=settings["least_volume_mm3"]).segment(
        values, result.map, settings["threshold"]
    )
    places, why = _places(result, [each.centre_mm for each in regions]) if settings["regions"] else ([], "")
    rows = []
    for number, each in enumerate(regions, start=1):
        x, y, z = each.centre_mm
        rows.append(
            {
                "case": name, "object": number, "volume_mm3": each.volume_mm3, "centre_x": x, "centre_y": y, "centre_z": z,
                "region": places[number - 1] if places else "", "peak": each.peak, "mean": each.mean, "p": result.p,
                "threshold": settings["threshold"], "protocol": settings["protocol"],
            }
        )  # fmt: skip
    record = {
        "case": name, "patient": name if case is None else case.patient, "score": result.score, "p": result.p,
        "objects": rows, "unplaced": why, "lesions": None, "ap": None, "auroc": None,
    }  # fmt: skip
    if case is None:
        return record
    labels, judged = truth_of(case, result.map, {})
    matches, lesions = match(regions, mask, labels > 0, result.map)
    histogram = VoxelHistogram(CASE_BITS)
    histogram.add(values[judged], labels[judged] > 0)
    curve = histogram.curve()
    record["objects"] = [row | asdict(found) for row, found in zip(rows, matches, strict=True)]
    record["lesions"] = [
        {"case": name, "lesion": each.lesion, "volume_mm3": each.volume_mm3, "hit": each.hit, "touched": each.touched}
        | dict(zip(("centre_x", "centre_y", "centre_z"), each.centre_mm, strict=True))
        for each in lesions
    ]  # fmt: skip
    return record | {"ap": curve.ap, "auroc": curve.auroc}


def _places(result: Result, points: Sequence[tuple[float, float, float]]) -> tuple[list[str], str]:
    """Side and tissue of places in a scan, and why there are none."""
    from aberra.io import read
    from aberra.prepare import Recipe
    from aberra.prepare.atlas_places import places_of

    if not points:
        return [], ""
    if not result.paths:
        return [""] * len(points), "the result does not say where the scan is"
    scan = read(next(iter(result.paths.values())))
    if scan.is_image:
        return [""] * len(points), "an image is no brain"
    return places_of(Recipe.from_config([{"name": "brain-mask"}])(scan), points)


def _notes(
    found: Sequence[dict[str, Any]],
    failed: MutableMapping[str, str],
    known: dict[str, Case],
    *,
    regions: bool,
) -> list[str]:
    """What a reader of the tables must know."""
    notes = []
    if failed:
        notes.append(f"{len(failed)} case(s) failed and are left out: {shortlist(failed)}")
    unplaced = {each["case"]: each["unplaced"] for each in found if each["unplaced"]}
    if regions and unplaced:
        first = next(iter(unplaced.values()))
        notes.append(f"no region for {len(unplaced)} case(s) ({shortlist(unplaced)}): {first}")
    untold = [each["case"] for each in found if each["lesions"] is None]
    if known and untold:
        notes.append(f"{len(untold)} case(s) without truth are in no number: {shortlist(untold)}")
    return notes
