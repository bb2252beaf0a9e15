"""The page of a site bias: class and site, probes, histograms and a map of the cases."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from aberra.audit.maps import unit
from aberra.audit.page import shown, ticks
from aberra.report.template import template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

COLOURS = (
    ("#1f6f8b", "#62b6d3"), ("#c8434f", "#ef7d86"), ("#8a6d1f", "#e2c46a"), ("#5b4a9a", "#a99be0"),
    ("#2f8f5b", "#6fd09a"), ("#7d8d99", "#93a4b1"), ("#b0549b", "#e195cf"), ("#a0522d", "#d9956d"),
)  # fmt: skip
"""Of sites and classes, on paper and on a dark screen."""

CLASSES = ("healthy", "diseased", "unlabelled")

WIDTH, HEIGHT = 720, 300


def class_of(label: int | None) -> str:
    """A label in words."""
    return "unlabelled" if label is None else CLASSES[label]


def by_site_alone(classes: Sequence[str], sites: Sequence[str]) -> float:
    """Share of cases whose class is that of most of their site's.

    Examples:
        >>> from aberra.audit.bias_page import by_site_alone
        >>> by_site_alone(["healthy", "healthy", "diseased"], ["a", "a", "b"])
        1.0
    """
    counts: dict[str, Counter[str]] = {}
    for name, site in zip(classes, sites, strict=True):
        counts.setdefault(site, Counter())[name] += 1
    return sum(count.most_common(1)[0][1] for count in counts.values()) / len(sites)


def render_bias(
    *,
    column: str,
    sites: Sequence[str],
    confusion: Sequence[Mapping[str, Any]],
    association: float | None,
    by_site: float,
    probes: Sequence[Mapping[str, Any]],
    histograms: Mapping[str, tuple[float, float, Mapping[str, NDArray[np.float64]]]],
    places: NDArray[np.float64] | None,
    of_cases: Mapping[str, Sequence[str]],
    map_of: str,
    facts: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    """The page as HTML that loads nothing from elsewhere.

    Args:
        column: of the manifest, that names the sites.
        sites: their names, in the order of the colours.
        confusion: rows of ``site`` and a count for each class.
        association: Cramér's V.
        by_site: see :func:`by_site_alone`.
        probes: rows of the table of probes.
        histograms: title to the ends of the axis and the mean histogram of each site.
        places: of the cases on the map, (N, 2); None leaves it out.
        of_cases: ``site`` and ``class`` of each case.
        map_of: what the map is of.
        facts: shown at the top.
        notes: what a reader must know.
    """
    classes = [name for name in CLASSES if any(row[name] for row in confusion)]
    maps = []
    if places is not None:
        for names, of in ((sites, "site"), (classes, "class")):
            maps.append({"names": names, "svg": _dots(places, of_cases[of], names)})
    return template("site-bias.html.j2").render(
        colours=COLOURS,
        column=column,
        classes=classes,
        confusion=confusion,
        association=shown(association),
        by_site=f"{by_site:.0%}",
        probes=[
            {key: shown(value) if key in ("accuracy", "chance", "p") else value for key, value in row.items()}
            for row in probes
        ],
        sites=sites,
        histograms=[
            {"title": title, "svg": _lines(low, high, means, sites, title)}
            for title, (low, high, means) in histograms.items()
        ],
        maps=maps,
        map_of=map_of,
        facts=facts,
        notes=list(notes),
    )


def _lines(
    low: float, high: float, means: Mapping[str, NDArray[np.float64]], sites: Sequence[str], title: str
) -> str:
    """Histograms of the sites as lines over one axis, inline SVG."""
    top = max(float(each.max()) for each in means.values())
    parts = []
    for index, site in enumerate(sites):
        if site not in means:
            continue
        values = means[site]
        points = " ".join(
            f"{10 + 700 * (bin_ + 0.5) / len(values):.1f},{HEIGHT - 25 - (HEIGHT - 40) * value / max(top, 1e-12):.1f}"
            for bin_, value in enumerate(values)
        )
        parts.append(f'<path class="s{index % len(COLOURS)}" d="M{points.replace(" ", "L")}"/>')
    axis = f'<line class="axis" x1="10" x2="710" y1="{HEIGHT - 24}" y2="{HEIGHT - 24}"/>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Histograms: {_plain(title)}">{"".join(parts)}{axis}{ticks(low, high, HEIGHT - 6, "label")}</svg>'


def _dots(places: NDArray[np.float64], of: Sequence[str], names: Sequence[str]) -> str:
    """Cases on the plane, coloured, inline SVG."""
    dots = [
        f'<circle class="s{names.index(name) % len(COLOURS)}" cx="{20 + 680 * at[0]:.1f}" cy="{HEIGHT - 20 - (HEIGHT - 40) * at[1]:.1f}" r="5"/>'
        for name, at in zip(of, unit(places), strict=True)
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Map of the cases">{"".join(dots)}</svg>'
    )


def _plain(text: str) -> str:
    from html import escape

    return escape(text, quote=True)
