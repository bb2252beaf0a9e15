"""The page: a worklist, then a section a case."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.cohort import Cohort
from aberra.errors import AberraError, InputError
from aberra.failures import told as reason_of
from aberra.files import read_mark, reading, write_text
from aberra.output import claim, expect_results
from aberra.report.panels import case_picture, thumbnail
from aberra.report.template import template
from aberra.result import Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.cohort import Case
    from aberra.volume import Volume

DETAILED = 100
"""Cases shown with pictures; the worklist has all."""

PROTOCOLS = {
    "healthy-fpr-1": "flags 1 % of the voxels of healthy held-out cases",
    "healthy-fpr-5": "flags 5 % of the voxels of healthy held-out cases",
    "healthy-fpr-10": "flags 10 % of the voxels of healthy held-out cases",
    "healthy-percentile-98": "is the 98th percentile of the voxels of healthy held-out cases",
    "healthy-percentile-99.9": "is the 99.9th percentile of the voxels of healthy held-out cases",
    "validation-lesion": "gives the best Dice on validation cases with lesions",
    "fixed-0.5": "is half of a probability, fixed before any case was seen",
    "as-given": "separates the masks as they were imported",
}

COLOURS = {
    True: "from 0 to 1",
    False: "from the 95th percentile of healthy voxels to twice their 99.9th",
}
"""The fixed colour scale in words, by whether the map holds probabilities
(:class:`aberra.detector.calibration.Calibration`)."""


def write_report(
    results: Path | str, *, title: str | None = None, manifest: Path | str | Cohort | None = None
) -> Path:
    """Write ``report.html`` for a folder of results.

    Nothing in it is loaded from elsewhere. The same results give the same bytes.

    Args:
        results: folder that ``aberra detect`` wrote.
        title: of the page.
        manifest: the cohort or its manifest; adds truth contours.

    Returns:
        The page's path.

    Raises:
        InputError: no case in the folder, neither finished nor failed.
        OutputError: the folder is not one that aberra wrote, or a page is there that it did not
            write.
    """
    results = Path(results)
    rows = _worklist(results)
    if not rows:
        raise InputError(f"{results}: no results; run `aberra detect MODEL PATH --out {results}` first")
    expect_results(results, (row["case"] for row in rows))
    claim(results, "results", adopt=True)
    truths = _truths(manifest)
    first: Result | None = None
    cases: list[dict[str, Any]] = []
    for row in rows[:DETAILED]:
        if not row["score"]:
            continue
        try:
            case, result = _section(results / row["case"], truths.get(row["case"]))
        except Exception as error:  # noqa: BLE001 - one case never ends a report
            reason = f"cannot be shown: {reason_of(error, results, row['case'])}"
            row["warnings"] = "; ".join(filter(None, [row["warnings"], reason]))
            continue
        first = first or result
        row["thumbnail"] = case["thumbnail"]
        row["anchor"] = len(cases) + 1
        cases.append(case)
    page = template("report.html.j2").render(
        title=title,
        rows=rows,
        cases=cases,
        failed=sum(not row["score"] for row in rows),
        omitted=max(0, len(rows) - DETAILED),
        has_truth=any(case["has_truth"] for case in cases),
        **_facts(results, first, rows),
    )
    write_text(results / "report.html", page)
    return results / "report.html"


def _facts(results: Path, first: Result | None, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What all cases share, from one that is finished; where none is, the model's name from the
    folder's mark.
    """
    if first is None:
        mark = read_mark(results) or {}
        return {"model": mark.get("model", {}), "threshold": "", "versions": {}}
    protocol, healthy = first.threshold["protocol"], first.healthy_scores
    return {
        "model": first.model,
        "threshold": f"{first.threshold['value']:.4g}",
        "protocol": protocol,
        "meaning": PROTOCOLS.get(protocol, "was set by the user"),
        "colours": COLOURS[first.scale == {"low": 0.0, "high": 1.0}],
        "healthy": len(healthy),
        "smallest": f"{1 / (len(healthy) + 1):.3g}",
        "histogram": _histogram(healthy, [float(row["score"]) for row in rows if row["score"]]),
        "versions": first.versions,
    }


def _worklist(results: Path) -> list[dict[str, Any]]:
    """Rows of scores.csv, smallest p first, then highest score."""
    path = results / "scores.csv"
    if not path.is_file():
        return []
    with reading(path):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file))
            for row in rows:
                row["thumbnail"] = ""
                row["p_text"] = f"{float(row['p']):.3g}" if row["p"] else "–"
                row["score_text"] = f"{float(row['score']):.4g}" if row["score"] else "failed"
                row["largest_text"] = f"{float(row['largest_mm3']):,.0f}" if row["largest_mm3"] else "–"
            rows.sort(
                key=lambda row: (
                    not row["score"],
                    float(row["p"] or 1),
                    -float(row["score"] or 0),
                    row["case"],
                )
            )
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise InputError(f"{path}: damaged ({error}); run the same `aberra detect` again") from error
    return rows


def _truths(manifest: Path | str | Cohort | None) -> dict[str, Case]:
    if manifest is None:
        return {}
    cohort = manifest if isinstance(manifest, Cohort) else Cohort.read(manifest)
    return {case.case: case for case in cohort if case.lesion is not None}


def _section(folder: Path, case: Case | None) -> tuple[dict[str, Any], Result]:
    """Everything the template needs of one case, and its result."""
    result = Result.load(folder)
    warnings = list(result.warnings)
    scan, problem = input_of(result)
    if problem:
        warnings.append(problem)
    truth = _truth(case, result)
    picture, told = case_picture(result, scan, truth)
    rank = sum(score >= result.score for score in result.healthy_scores)
    told_of = {
        "case": result.case,
        "picture": picture,
        "told": told,
        "thumbnail": thumbnail(result, scan),
        "score": f"{result.score:.4g}",
        "probability": "" if result.probability is None else f"{result.probability:.3g}",
        "p": "–" if result.p is None else f"{result.p:.3g}",
        "above": rank,
        "healthy": len(result.healthy_scores),
        "components": [
            {
                "volume": f"{each.volume_mm3:,.0f}",
                "centre": ", ".join(f"{value:.1f}" for value in each.centre_mm),
                "peak": f"{each.peak:.3g}",
                "mean": f"{each.mean:.3g}",
            }
            for each in result.components[:12]
        ],
        "more": max(0, len(result.components) - 12),
        "kinds": _kinds(result),
        "warnings": warnings,
        "strip": _strip(result.healthy_scores, result.score),
        "has_truth": truth is not None,
        "facts": {
            "file": "; ".join(f"{name}: {path}" for name, path in result.paths.items()),
            "SHA-256": result.input.get("sha256", "–"),
            "grid": f"{'×'.join(map(str, result.input['shape']))} voxels of {'×'.join(f'{step:.3g}' for step in result.input['spacing_mm'])} mm, {result.input['orientation']}",
            "brain mask": result.input.get("brain_mask", "–"),
            "threshold": f"{result.threshold['value']:.4g} ({result.threshold['protocol']})",
            "model": f"{result.model.get('name')} ({result.model.get('method')}, {result.model.get('fingerprint')})",
            "time": f"{result.seconds:.1f} s",
        },
    }
    return told_of, result


def _kinds(result: Result) -> str:
    """Volume of every kind of lesion by its label value, where kinds are told apart."""
    if result.kinds is None:
        return ""
    kinds = zip(*np.unique(result.kinds[result.kinds > 0], return_counts=True), strict=True)
    return ", ".join(f"{value}: {count * result.map.voxel_mm3:,.0f} mm³" for value, count in kinds) or "none"


def input_of(result: Result) -> tuple[Volume | None, str]:
    """The input, or why it cannot be shown."""
    from aberra.io import onto, read

    path = next(iter(result.paths.values()), "")
    try:
        scan = onto(read(path), result.map)
    except AberraError as error:
        return None, f"the input cannot be shown: {error}"
    if scan is None:
        return None, f"the input cannot be shown: {path} has changed since detection"
    return scan, ""


def _truth(case: Case | None, result: Result) -> NDArray[np.bool] | None:
    if case is None or case.lesion is None:
        return None
    from aberra.io import read_mask

    return read_mask(case.lesion, result.map)


def _histogram(healthy: list[float], scores: list[float]) -> str:
    """Case scores over the healthy distribution, as inline SVG."""
    everything = [*healthy, *scores]
    low, high = min(everything), max(everything)
    span = (high - low) or 1.0
    width, height, bins = 720, 150, 36
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    parts = []
    for values, css in ((healthy, "bar-healthy"), (scores, "bar-case")):
        if not values:
            continue
        counts = np.histogram(values, edges)[0] / len(values)
        top = counts.max() or 1
        for index, count in enumerate(counts):
            if count:
                tall = 108 * count / top
                parts.append(
                    f'<rect class="{css}" x="{10 + index * 700 / bins:.1f}" y="{118 - tall:.1f}" width="{700 / bins - 1.5:.1f}" height="{tall:.1f}"/>'
                )
    ticks = "".join(
        f'<text x="{10 + 700 * share:.0f}" y="140" text-anchor="{anchor}">{low + span * share:.3g}</text>'
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Histogram of case scores and of healthy calibration cases">'
        f'{"".join(parts)}<line class="axis" x1="10" x2="710" y1="119" y2="119"/>{ticks}</svg>'
    )


def _strip(healthy: list[float], score: float) -> str:
    """One case's score among the healthy ones, as inline SVG."""
    everything = [*healthy, score]
    low, high = min(everything), max(everything)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return 10 + 300 * (value - low) / span

    dots = "".join(
        f'<line class="tick" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="14" y2="30"/>' for value in healthy
    )
    mark = x(score)
    return (
        '<svg viewBox="0 0 320 44" role="img" aria-label="This case among the healthy calibration cases">'
        f'<line class="axis" x1="10" x2="310" y1="31" y2="31"/>{dots}'
        f'<path class="mark" d="M{mark:.1f} 30 l-6 -12 h12 z"/><text x="{mark:.1f}" y="12" text-anchor="middle">{score:.3g}</text></svg>'
    )
