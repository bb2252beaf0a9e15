"""The page of an audit: numbers, densities, a map, and which cases are not to be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.audit.maps import unit
from aberra.audit.measures import REFERENCE, SCORES
from aberra.report.template import template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from aberra.audit.measures import Row

TITLES = {
    "score": "case score of the detector",
    "adjusted": "the same among healthy scans of the most similar scanner",
    "shift": "shift score",
}
BINS = 28
GROUPS = ("reference", "healthy", "lesional", "unlabelled")
COLUMNS = (
    "cohort", "score", "healthy", "lesional", "within", "across", "false_alarm", "lesional_shift", "entanglement",
    "abstained", "flagged",
)  # fmt: skip


def group_of(row: Row) -> str:
    """Which of :data:`GROUPS` a case is drawn as."""
    if row.cohort == REFERENCE:
        return "reference"
    return "unlabelled" if row.lesion is None else "lesional" if row.lesion else "healthy"


def render_page(
    rows: Sequence[Row],
    table: Sequence[Mapping[str, Any]],
    places: NDArray[np.float64],
    *,
    map_of: str,
    facts: Mapping[str, str],
    notes: Sequence[str],
    pictures: Mapping[str, str],
) -> str:
    """The page as HTML that loads nothing from elsewhere.

    Args:
        rows: the cases.
        table: of :func:`aberra.audit.measures.summary`.
        places: of the cases on the map, (N, 2).
        map_of: what the map is of, in words.
        facts: shown at the top.
        notes: what a reader must know.
        pictures: title to data URI, of models that make images.
    """
    cohorts = [name for name in dict.fromkeys(row.cohort for row in rows) if name != REFERENCE]
    own = [row for row in rows if row.cohort == REFERENCE]
    densities = [
        {
            "cohort": cohort,
            "score": TITLES[score],
            "svg": _densities([*own, *(row for row in rows if row.cohort == cohort)], score),
        }
        for cohort in cohorts
        for score in SCORES
    ]
    worst = sorted(rows, key=lambda row: (row.shift_p, -row.shift, row.case))
    return template("audit.html.j2").render(
        facts=facts,
        notes=list(notes),
        columns=COLUMNS,
        table=[{name: shown(each[name]) for name in COLUMNS} for each in table],
        densities=densities,
        map=_map(rows, places, cohorts),
        map_of=map_of,
        groups=GROUPS,
        cases=[
            {
                "case": row.case, "cohort": row.cohort,
                "lesion": "–" if row.lesion is None else "yes" if row.lesion else "no",
                "score": f"{row.score:.4g}", "p": f"{row.p:.3g}", "adjusted": f"{row.adjusted:.2f}",
                "shift": f"{row.shift:.2f}", "shift_p": f"{row.shift_p:.3g}", "trusted": row.trusted,
                "reasons": ", ".join(row.reasons),
            }
            for row in worst
        ],
        pictures=pictures,
    )  # fmt: skip


def shown(value: Any) -> str:
    """A number as a table shows it."""
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def ticks(low: float, high: float, y: float, kind: str = "") -> str:
    """Both ends and the middle of an axis from x = 10 to 710, as inline SVG of a class ``kind``."""
    of = f' class="{kind}"' if kind else ""
    return "".join(
        f'<text{of} x="{10 + 700 * share:.0f}" y="{y:g}" text-anchor="{anchor}">{low + (high - low) * share:.3g}</text>'
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )


def _densities(rows: Sequence[Row], score: str) -> str:
    """Histograms of the groups over one axis, as inline SVG; each has the same area."""
    values = np.array([getattr(row, score) for row in rows], dtype=float)
    low, high = float(values.min()), float(values.max())
    high = high if high > low else low + 1
    edges = np.linspace(low, high, BINS + 1)
    parts = []
    for group in GROUPS:
        part = values[[group_of(row) == group for row in rows]]
        if not part.size:
            continue
        counts = np.histogram(part, edges)[0] / part.size
        tops = 118 - 108 * counts / max(counts.max(), 1e-9)
        steps = "".join(
            f"L{10 + index * 700 / BINS:.1f} {top:.1f}L{10 + (index + 1) * 700 / BINS:.1f} {top:.1f}"
            for index, top in enumerate(tops)
        )
        parts.append(f'<path class="g-{group}" d="M10 118{steps}L710 118Z"/>')
    return (
        f'<svg viewBox="0 0 720 150" role="img" aria-label="Densities of {TITLES[score]}">{"".join(parts)}'
        f'<line class="axis" x1="10" x2="710" y1="119" y2="119"/>{ticks(low, high, 140)}</svg>'
    )


def _map(rows: Sequence[Row], places: NDArray[np.float64], cohorts: Sequence[str]) -> str:
    """Cases on the plane, as inline SVG; the shape is the cohort, the colour what the case is."""
    dots = []
    for row, at in zip(rows, unit(places), strict=True):
        x, y = 20 + 680 * at[0], 340 - 320 * at[1]
        number = 0 if row.cohort == REFERENCE else 1 + cohorts.index(row.cohort)
        label = "•" if not number else str(number)
        size = 22 if not number else 13
        dots.append(
            f'<text class="g-{group_of(row)}" x="{x:.1f}" y="{y:.1f}" style="font-size:{size}px" text-anchor="middle">{label}</text>'
        )
    return f'<svg viewBox="0 0 720 360" role="img" aria-label="Map of the cases">{"".join(dots)}</svg>'
