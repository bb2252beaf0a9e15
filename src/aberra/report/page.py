"""The page: a worklist, then a section a case."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import AberraError, InputError
from aberra.files import write_text
from aberra.report.panels import case_picture, thumbnail
from aberra.result import Result

if TYPE_CHECKING:
    from jinja2 import Template
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


def write_report(
    results: Path | str, *, title: str | None = None, manifest: Path | str | None = None
) -> Path:
    """Write ``report.html`` for a folder of results.

    Nothing in it is loaded from elsewhere. The same results give the same bytes.

    Args:
        results: folder that ``aberra detect`` wrote.
        title: of the page.
        manifest: the cohort's manifest; adds truth contours.

    Returns:
        The page's path.

    Raises:
        InputError: no finished result in the folder.
    """
    results = Path(results)
    rows = _worklist(results)
    if not rows:
        raise InputError(f"{results}: no results; run `aberra detect MODEL PATH --out {results}` first")
    truths = _truths(manifest)
    cases = [
        _section(results / row["case"], truths.get(row["case"])) for row in rows[:DETAILED] if row["score"]
    ]
    for row, case in zip(rows, cases, strict=False):
        row["thumbnail"] = case["thumbnail"]
    first = Result.load(results / cases[0]["case"])
    protocol = first.threshold["protocol"]
    page = _template().render(
        title=title
        or f"{first.model.get('name', 'detector')} · {len(rows)} case{'s' if len(rows) != 1 else ''}",
        model=first.model,
        protocol=protocol,
        threshold=f"{first.threshold['value']:.4g}",
        meaning=PROTOCOLS.get(protocol, "was set by the user"),
        rows=rows,
        cases=cases,
        omitted=max(0, len(rows) - DETAILED),
        healthy=len(first.healthy_scores),
        smallest=f"{1 / (len(first.healthy_scores) + 1):.3g}",
        histogram=_histogram(first.healthy_scores, [float(row["score"]) for row in rows if row["score"]]),
        has_truth=any(case["has_truth"] for case in cases),
        versions=first.versions,
    )
    write_text(results / "report.html", page)
    return results / "report.html"


def _worklist(results: Path) -> list[dict[str, Any]]:
    """Rows of scores.csv, smallest p first, then highest score."""
    path = results / "scores.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        row["thumbnail"] = ""
        row["p_text"] = f"{float(row['p']):.3g}" if row["p"] else "–"
        row["score_text"] = f"{float(row['score']):.4g}" if row["score"] else "failed"
        row["largest_text"] = f"{float(row['largest_mm3']):,.0f}" if row["largest_mm3"] else "–"
    rows.sort(
        key=lambda row: (not row["score"], float(row["p"] or 1), -float(row["score"] or 0), row["case"])
    )
    return rows


def _truths(manifest: Path | str | None) -> dict[str, Case]:
    if manifest is None:
        return {}
    from aberra.cohort import Cohort

    return {case.case: case for case in Cohort.read(manifest) if case.lesion is not None}


def _section(folder: Path, case: Case | None) -> dict[str, Any]:
    """Everything the template needs of one case."""
    result = Result.load(folder)
    warnings = list(result.warnings)
    scan, problem = _scan(result)
    if problem:
        warnings.append(problem)
    truth = _truth(case, result)
    picture, told = case_picture(result, scan, truth)
    rank = sum(score >= result.score for score in result.healthy_scores)
    return {
        "case": result.case,
        "picture": picture,
        "told": told,
        "thumbnail": thumbnail(result, scan),
        "score": f"{result.score:.4g}",
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


def _kinds(result: Result) -> str:
    """Volume of every kind of lesion by its label value, where kinds are told apart."""
    if result.kinds is None:
        return ""
    values, counts = np.unique(result.kinds[result.kinds > 0], return_counts=True)
    told = (
        f"{value}: {count * result.map.voxel_mm3:,.0f} mm³"
        for value, count in zip(values, counts, strict=True)
    )
    return ", ".join(told) or "none"


def _scan(result: Result) -> tuple[Volume | None, str]:
    """The input, or why it cannot be shown."""
    from aberra.io import read

    path = next(iter(result.paths.values()), "")
    try:
        scan = read(path)
    except AberraError as error:
        return None, f"the input cannot be shown: {error}"
    if scan.shape != result.map.shape:
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


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("aberra.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
