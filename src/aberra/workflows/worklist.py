"""A cohort's findings for a reader: a sheet, a page, and pictures of every case."""

from __future__ import annotations

import csv
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aberra.cohort.inputs import keep_out
from aberra.errors import InputError, OutputError, shortlist
from aberra.failures import told
from aberra.files import config_hash, csv_text, file_hash, reading, write_json, write_text
from aberra.grades import FOLDER
from aberra.options import configured
from aberra.output import claim, expect_results
from aberra.reader.page import render_reader
from aberra.reader.session import DATA, identify, worklist_cases
from aberra.reader.stacks import VERSION, stacks_key, write_stacks
from aberra.result import Result
from aberra.workflows.objects import cut_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES = "pictures"
NUMBERS = ("volume_mm3", "peak", "mean")
CENTRE = ("centre_x", "centre_y", "centre_z")
SHEET = (
    "rank", "case", "object", "p", "score", "volume_mm3", *CENTRE, "region", "peak", "mean", "grade", "note",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""

OTHER = (
    "objects of other results, or cut otherwise, are there, and grades may be of them; choose another --out"
)


@dataclass(frozen=True, kw_only=True)
class Worklist:
    """What was made.

    Attributes:
        cases: cases with objects.
        objects: their objects.
        kept: cases whose pictures were there from before.
        folder: of the sheet and the page.
    """

    cases: int
    objects: int
    kept: int
    folder: Path


@configured("worklist")
def worklist(
    results: Path, *, out: Path, progress: bool = False, failed: MutableMapping[str, str] | None = None
) -> Worklist:
    """Write ``worklist.csv``, ``index.html`` and pictures of the objects that ``aberra objects`` has
    found, those of the case with the smallest p first, then with the highest score.

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
    cases = _ranked(results, rows, scores)
    identity = cut_identity(results, rows)
    claim(out, "worklist", identity=identity, other=OTHER)
    _expect_same(out, cases)
    kept = 0
    for case in track(cases, description="pictures", disable=not progress):
        try:
            kept += _draw(results / case["case"], out / PICTURES / case["id"], case)
        except Exception as error:  # noqa: BLE001 - one case never ends a cohort
            failed[case["case"]] = case["problem"] = told(error, out, case["case"])
    write_text(out / "worklist.csv", "\ufeff" + csv_text(SHEET, _sheet(cases)))
    write_json(out / DATA, {"identity": identity, "cases": cases})
    write_text(out / "index.html", _page(cases, identity))
    return Worklist(cases=len(cases), objects=len(rows), kept=kept, folder=out)


def _expect_same(out: Path, cases: list[dict[str, Any]]) -> None:
    """Refuse to change objects that readers may have graded; cases may be added.

    Raises:
        OutputError: a case is gone, or has other objects.
    """
    if not any((out / FOLDER).glob("*.jsonl")):
        return
    now = {case["case"]: case["objects"] for case in cases}
    changed = [case["case"] for case in worklist_cases(out) if now.get(case["case"]) != case["objects"]]
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
                {
                    "id": identify(name), "case": name, "p": float(of_case["p"]) if of_case["p"] else None,
                    "score": float(of_case["score"]), "warnings": of_case["warnings"], "problem": "",
                    "threshold": float(row["threshold"]), "protocol": row["protocol"], "objects": [],
                },
            )  # fmt: skip
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
    ranked = sorted(
        cases.values(),
        key=lambda case: (1.0 if case["p"] is None else case["p"], -case["score"], case["case"]),
    )
    for case in ranked:
        case["objects"].sort(key=lambda found: found["object"])
    return ranked


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
        for found in case["objects"]:
            row = {"rank": rank} | case | found | dict(zip(CENTRE, found["centre"], strict=True))
            for name in ("case", "region"):
                row[name] = f"'{row[name]}" if row[name].startswith(FORMULA) else row[name]
            yield row | {"p": "" if row["p"] is None else row["p"], "grade": "", "note": ""}


def _page(cases: list[dict[str, Any]], identity: str) -> str:
    """The page to look at without a reader."""
    items = [
        found | {"case": index, "saved": None, "given": []}
        for index, case in enumerate(cases)
        for found in case["objects"]
    ]
    shown = [{name: case[name] for name in case if name != "objects"} for case in cases]
    return render_reader(
        {"identity": identity, "reader": "", "blinded": False, "judges": [], "cases": shown, "items": items}
    )
