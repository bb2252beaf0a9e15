"""``scores.csv``: a line a case, made of the results that lie in a folder."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aberra.files import csv_text, read_json, write_text
from aberra.output import kind_of

if TYPE_CHECKING:
    from pathlib import Path

    from aberra.cohort import Cohort

COLUMNS = ("case", "path", "score", "p", "n_components", "largest_mm3", "seconds", "warnings")


def finished_cases(out: Path) -> list[str]:
    """Folders of finished cases in a folder of results."""
    return sorted(path.parent.name for path in out.glob("*/result.json") if kind_of(path.parent) == "case")


def _row(folder: Path) -> dict[str, Any]:
    """A case's line of scores.csv."""
    try:
        saved = read_json(folder / "result.json")
        return {
            "case": saved["case"],
            "path": ";".join(saved["paths"].values()),
            "score": saved["score"],
            "p": "" if saved["p"] is None else saved["p"],
            "n_components": len(saved["components"]),
            "largest_mm3": saved["components"][0]["volume_mm3"] if saved["components"] else 0.0,
            "seconds": saved["seconds"],
            "warnings": "; ".join(saved["warnings"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = "failed: result.json is damaged; delete the folder and detect again"
        return {"case": folder.name, "score": "", "warnings": reason}


def write_scores(out: Path, cohort: Cohort, failed: dict[str, str]) -> None:
    """Write scores.csv for every finished case in ``out`` (of this and earlier runs), most
    anomalous first.
    """
    rows: list[dict[str, Any]] = []
    for name in finished_cases(out):
        if name in failed:
            continue
        with suppress(FileNotFoundError):  # another process is at it
            rows.append(_row(out / name))
    rows.sort(key=lambda row: (row["score"] == "", -float(row["score"] or 0), row["case"]))
    paths = {case.case: ";".join(str(path) for path in case.channels.values()) for case in cohort}
    rows += [
        {"case": case, "path": paths[case], "warnings": f"failed: {reason}"}
        for case, reason in failed.items()
    ]
    write_text(out / "scores.csv", csv_text(COLUMNS, rows))
