"""A cohort's findings for a reader: a sheet, a page, and pictures of every case."""

from __future__ import annotations

import csv
from collections.abc import MutableMapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aberra.cohort.inputs import keep_out
from aberra.errors import InputError, OutputError, shortlist
from aberra.failures import told
from aberra.files import config_hash, csv_text, file_hash, read_json, reading, write_json, write_text
from aberra.grades import FOLDER
from aberra.options import configured
from aberra.output import claim, expect_results
from aberra.reader.page import render_reader
from aberra.reader.session import DATA, identify, nothing_of, worklist_cases
from aberra.reader.stacks import VERSION, stacks_key, write_stacks
from aberra.result import Result
from aberra.workflows.detect import OBJECTS
from aberra.workflows.objects import cut_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES = "pictures"
NUMBERS = ("volume_mm3", "peak", "mean")
CENTRE = ("centre_x", "centre_y", "centre_z")
SHEET = (
    "rank", "case", "object", "p", "score", "volume_mm3", *CENTRE, "region", "peak", "mean", "reason", "grade", "note",
)  # fmt: skip
OF_OBJECT = ("object", "centre", "region", *NUMBERS)
"""What a line of the sheet has of an object."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""

OTHER = (
    "objects of other results, or cut otherwise, are there, and grades may be of them; choose another --out"
)


@dataclass(frozen=True, kw_only=True)
class Worklist:
    """What was made.

    Attributes:
        cases: cases on the list.
        objects: their objects.
        without: cases that have none.
        kept: cases whose pictures were there from before.
        folder: of the sheet and the page.
    """

    cases: int
    objects: int
    without: int
    kept: int
    folder: Path


@configured("worklist")
def worklist(
    results: Path, *, out: Path, progress: bool = False, failed: MutableMapping[str, str] | None = None
) -> Worklist:
    """Write ``worklist.csv``, ``index.html`` and pictures of the objects that ``aberra objects`` has
    found, those of the case with the smallest p first, then with the highest score. Cases without
    objects are at the end, in the same order, with the reason: a reader may look at them, and add what
    was missed.

    Case by case; a case whose pictures are there is kept, so that an interrupted run is completed by
    running it again, and cases that have come since are added.

    Args:
        results: folder of results with ``objects.csv``.
        out: folder of the worklist.
        progress: show a progress bar.
        failed: gets case and reason of those that cannot be shown; they stay on the list.

    Raises:
        InputError: no objects have been looked for, there are none, or a table is damaged.
        OutputError: ``out`` holds something else, or grades of other objects, or lies in what is
            read.
    """
    from rich.progress import track

    failed = {} if failed is None else failed
    rows = _table(results / "objects.csv", f"run `aberra objects {results}` first")
    if not rows:
        raise InputError(f"{results / 'objects.csv'}: no objects, so there is nothing to read")
    scores = _table(results / "scores.csv", "run the same `aberra detect` again")
    scans = [Path(path) for row in scores for path in row["path"].split(";") if path]
    expect_results(results, (row["case"] for row in rows))
    keep_out(out, [results / "objects.csv", *scans])
    cases = [*_ranked(results, rows, scores), *_without(results, rows, scores)]
    identity = cut_identity(results, rows)
    claim(out, "worklist", identity=identity, other=OTHER)
    _expect_same(out, cases)
    kept = 0
    for case in track(cases, description="pictures", disable=not progress):
        if case["problem"]:
            continue
        try:
            kept += _draw(results / case["case"], out / PICTURES / case["id"], case)
        except Exception as error:  # noqa: BLE001 - one case never ends a cohort
            failed[case["case"]] = case["problem"] = told(error, out, case["case"])
    write_text(out / "worklist.csv", "\ufeff" + csv_text(SHEET, _sheet(cases)))
    write_json(out / DATA, {"identity": identity, "cases": cases})
    write_text(out / "index.html", _page(cases, identity))
    without = sum(not case["objects"] for case in cases)
    return Worklist(cases=len(cases), objects=len(rows), without=without, kept=kept, folder=out)


def _expect_same(out: Path, cases: list[dict[str, Any]]) -> None:
    """Refuse to change objects that readers may have graded; cases may be added.

    Raises:
        OutputError: a case is gone, or has other objects.
    """
    if not any((out / FOLDER).glob("*.jsonl")):
        return
    now = {case["case"]: case["objects"] for case in cases}
    shown = [case for case in worklist_cases(out) if case["objects"] or not case["problem"]]
    changed = [case["case"] for case in shown if now.get(case["case"]) != case["objects"]]
    if changed:
        raise OutputError(
            f"{out / FOLDER}: holds grades, and {shortlist(changed)} has other objects now; choose another --out"
        )


def _table(path: Path, remedy: str) -> list[dict[str, str]]:
    """Lines of a table.

    Raises:
        InputError: it is not there.
    """
    if not path.is_file():
        raise InputError(f"{path}: is not there; {remedy}")
    with reading(path):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        except (ValueError, csv.Error) as error:
            raise InputError(f"{path}: damaged ({error}); {remedy}") from error


def _ranked(results: Path, rows: list[dict[str, str]], scores: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Cases with their objects, most anomalous first.

    Raises:
        InputError: a number is missing or none.
    """
    known = {row["case"]: row for row in scores}
    cases: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            name, of_case = row["case"], known[row["case"]]
            case = cases.setdefault(
                name,
                _case(of_case) | {"threshold": float(row["threshold"]), "protocol": row["protocol"]},
            )
            found = {
                "id": identify(name, int(row["object"])),
                "object": int(row["object"]),
                "region": row["region"],
            }
            found["centre"] = [float(row[axis]) for axis in CENTRE]
            case["objects"].append(found | {key: float(row[key]) for key in NUMBERS})
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{results / 'objects.csv'}, line {number}: no object of a case of scores.csv ({error}); run `aberra objects {results}` again"
            ) from error
    for case in cases.values():
        case["objects"].sort(key=lambda found: found["object"])
    return sorted(cases.values(), key=_rank)


def _without(results: Path, rows: list[dict[str, str]], scores: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Cases without objects, most anomalous first, and why they have none.

    Raises:
        InputError: a score is no number.
    """
    listed, cut = {row["case"] for row in rows}, rows[0]
    failed = _failed(results)
    cases = []
    for row in scores:
        name = row["case"]
        if name in listed:
            continue
        try:
            case = _case(row) | {"threshold": float(cut["threshold"]), "protocol": cut["protocol"]}
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{results / 'scores.csv'}: no score of {name} ({error}); run the same `aberra detect` again"
            ) from error
        if case["score"] is None:
            reason, problem = "no result", row["warnings"]
        elif name in failed:
            reason, problem = "objects cannot be told", failed[name]
        elif (results / OBJECTS / f"{name}.json").is_file():
            reason, problem = "no object above the threshold", ""
        else:
            reason, problem = "not cut into objects yet", f"run `aberra objects {results}` again"
        cases.append(case | {"reason": reason, "problem": problem})
    return sorted(cases, key=_rank)


def _failed(results: Path) -> dict[str, str]:
    """Case to why ``aberra objects`` could not cut it."""
    path = results / "objects.json"
    if not path.is_file():
        return {}
    with reading(path):
        try:
            return dict(read_json(path)["failed"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); run `aberra objects` again") from error


def _case(row: dict[str, str]) -> dict[str, Any]:
    """A case as ``scores.csv`` has it."""
    return {
        "id": identify(row["case"]), "case": row["case"], "p": float(row["p"]) if row["p"] else None,
        "score": float(row["score"]) if row["score"] else None, "warnings": row["warnings"], "problem": "", "reason": "",
        "objects": [],
    }  # fmt: skip


def _rank(case: dict[str, Any]) -> tuple[float, float, str]:
    """By p, then by score; what has no result comes last."""
    p, score = case["p"], case["score"]
    return (1.0 if p is None else p, inf if score is None else -score, case["case"])


def _draw(source: Path, folder: Path, case: dict[str, Any]) -> bool:
    """Make a case's pictures, unless those of the same result and objects are there."""
    key = config_hash([VERSION, file_hash(source / "result.json"), case["threshold"], case["objects"]])
    if stacks_key(folder) == key:
        return True
    places = {found["id"]: found["centre"] for found in case["objects"]}
    result = Result.load(source)
    write_stacks(folder, result, key=key, name=case["id"], places=places, threshold=case["threshold"])
    return False


def _sheet(cases: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lines of ``worklist.csv``; no name in it can be taken for a formula."""
    for rank, case in enumerate(cases, start=1):
        for found in case["objects"] or [dict.fromkeys(OF_OBJECT, "")]:
            row = {"rank": rank} | case | found | dict(zip(CENTRE, found["centre"] or [""] * 3, strict=True))
            for name in ("case", "region"):
                row[name] = f"'{row[name]}" if row[name].startswith(FORMULA) else row[name]
            blank = {name: "" for name in ("p", "score") if row[name] is None}
            yield row | blank | {"grade": "", "note": ""}


def _page(cases: list[dict[str, Any]], identity: str) -> str:
    """The page to look at without a reader."""
    items = [
        found | {"case": index, "saved": None, "given": []}
        for index, case in enumerate(cases)
        for found in case["objects"] or [nothing_of(case)]
    ]
    shown = [{name: case[name] for name in case if name != "objects"} for case in cases]
    return render_reader(
        {"identity": identity, "reader": "", "blinded": False, "judges": [], "cases": shown, "items": items}
    )
