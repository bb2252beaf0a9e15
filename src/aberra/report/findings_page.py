"""The page of a population study: what was found, what the rest is, and what to look at again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.grades import HITS, MISSED
from aberra.report.template import template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RATES = {
    "sensitivity": "sensitivity: findings with an object on them",
    "precision": "precision: objects that are a finding",
    "medical": "objects that are a finding or a condition",
}
AGREED = {
    "agreed": "equal grades",
    "kappa": "Cohen's κ of the grades",
    "kappa_finding": "κ of finding or not",
}
MEASURES = {"ap": "average precision", "auroc": "AUROC"}
KNOWN = {
    "recall": "lesions found",
    "precision": "objects that are a lesion",
    "false_positives_per_scan": "false objects a scan",
}
CENTRE = ("centre_x", "centre_y", "centre_z")
BINS = 20
LISTED = 200
"""Rows of a list that the page shows; the table beside it has all."""


def render_findings(
    content: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    review: Sequence[Mapping[str, Any]],
    training: Sequence[Mapping[str, Any]],
) -> str:
    """The page as HTML that loads nothing from elsewhere.

    Args:
        content: what ``findings.json`` has.
        rows: of ``findings.csv``.
        review: of ``review.csv``.
        training: of ``training.csv``.
    """
    reading = content["reading"]
    return template("findings.html.j2").render(
        facts={
            "scans": content["cases"],
            "with objects": content["with_objects"],
            "objects": content["objects"],
            "graded": content["graded"],
            "findings": sum(row["objects"] for row in content["by_grade"] if row["grade"] in HITS),
            "missed": sum(row["missed"] for row in content["by_grade"] if row["grade"] in HITS),
        },
        readers=", ".join(f"{name} ({count})" for name, count in content["readers"].items()),
        final=content["final"],
        notes=content["notes"],
        grades=[_grade(row) for row in content["by_grade"]],
        undecided={"split between readers": content["disputed"], "not graded": content["ungraded"]},
        rates=[(words, _percent(content["rates"], name)) for name, words in RATES.items()],
        agreement=[
            {"who": f"{pair['one']} and {pair['other']}", "objects": pair["objects"]}
            | {name: _number(pair, name) for name in AGREED}
            for pair in content["agreement"]
        ],
        agreed=AGREED,
        reading=reading,
        saved={name: _percent(reading, name) for name in ("false_positive_rate", "to_read", "saved")},
        known=_known(content["known"]),
        histograms=[
            {"title": words, "scans": len(values), "svg": _histogram(values, words)}
            for name, words in MEASURES.items()
            if (values := content["per_scan"][name])
        ],
        groups=[_group(row) for row in content["by_group"]],
        lists=[
            _list("Findings", [row for row in rows if row["grade"] in HITS], "findings.csv"),
            _list("Second review", review, "review.csv"),
            _list("Findings in what the detector has learnt from", training, "training.csv"),
        ],
    )  # fmt: skip


def _grade(row: Mapping[str, Any]) -> dict[str, Any]:
    """A grade as the table shows it; the bar is as long as its share of objects."""
    known = row["objects"] + row["missed"]
    found = f"{row['objects']} of {known}" if row["grade"] in HITS and known else ""
    return dict(row) | {"bar": round(100 * (row["share"] or 0)), "found": found, "hit": row["grade"] in HITS}


def _percent(numbers: Mapping[str, Any], name: str) -> str:
    value, ends = numbers[name], numbers.get(f"{name}_interval")
    if value is None:
        return "–"
    return f"{value:.1%}" + (f" [{ends[0]:.1%}, {ends[1]:.1%}]" if ends else "")


def _number(numbers: Mapping[str, Any], name: str) -> str:
    value, ends = numbers[name], numbers.get(f"{name}_interval")
    if value is None:
        return "–"
    return f"{value:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "")


def _known(truth: Mapping[str, Any]) -> dict[str, Any]:
    """Known lesions as the page shows them; empty without truth."""
    if not truth:
        return {}
    return {
        "lesions": truth["lesions"],
        "scans": truth["cases"],
        "rows": [
            (words, _number(truth["hit"], name), _number(truth["touch"], name))
            for name, words in KNOWN.items()
        ],
        "by_volume": [
            {
                "volume": f"{row['from_mm3'] / 1000:g} ml or more"
                if row["to_mm3"] is None
                else f"{row['from_mm3'] / 1000:g} to {row['to_mm3'] / 1000:g} ml",
                "lesions": row["lesions"],
                "hit": f"{row['recall_hit']:.0%}",
                "touched": f"{row['recall_touch']:.0%}",
            }
            for row in truth["by_volume"]
            if row["lesions"]
        ],
    }


def _group(row: Mapping[str, Any]) -> dict[str, Any]:
    """A group as the table shows it."""
    return {
        "group": f"{row['column']} {row['value']}",
        "cases": row["cases"],
        "objects": row["objects"],
        "graded": row["graded"],
        "findings": sum(each["objects"] for each in row["by_grade"] if each["grade"] in HITS),
        "sensitivity": _percent(row["rates"], "sensitivity"),
        "precision": _percent(row["rates"], "precision"),
        "saved": _percent(row["reading"], "saved"),
    }


def _list(title: str, rows: Sequence[Mapping[str, Any]], file: str) -> dict[str, Any]:
    """The first rows of a list."""
    shown = [
        {
            "scan": row["case"],
            "object": "missed" if row["object"] == MISSED else row["object"],
            "grade": row.get("grade") or "",
            "why": row.get("why", ""),
            "centre, mm": " ".join(f"{row[name]:.0f}" for name in CENTRE if row.get(name) not in {None, ""}),
            "region": row.get("region", ""),
            "ml": f"{row['volume_mm3'] / 1000:.1f}" if row.get("volume_mm3") else "",
            "p of the scan": "" if row.get("p") is None else f"{row['p']:.3g}",
            "notes": row.get("note", ""),
        }
        for row in rows[:LISTED]
    ]
    columns = [name for name in (shown[0] if shown else ()) if any(row[name] != "" for row in shown)]
    return {"title": title, "columns": columns, "rows": shown, "all": len(rows), "file": file}


def _histogram(values: Sequence[float], title: str) -> str:
    """How many scans have which value between 0 and 1, as inline SVG."""
    counts = np.histogram(values, BINS, (0, 1))[0]
    width, top = 700 / BINS, max(int(counts.max()), 1)
    bars = "".join(
        f'<rect x="{10 + index * width + 1:.1f}" width="{width - 2:.1f}" y="{118 - 90 * count / top:.1f}" height="{90 * count / top:.1f}"/>'
        f'<text x="{10 + (index + 0.5) * width:.1f}" y="{112 - 90 * count / top:.1f}" text-anchor="middle">{count}</text>'
        for index, count in enumerate(counts)
        if count
    )
    axis = "".join(
        f'<text x="{10 + 700 * share:.0f}" y="136" text-anchor="{anchor}">{share:g}</text>'
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return f'<svg class="bars" viewBox="0 0 720 142" role="img" aria-label="Scans by {title}">{bars}<line class="axis" x1="10" x2="710" y1="119" y2="119"/>{axis}</svg>'
