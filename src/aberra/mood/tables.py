"""A submission's numbers as rows for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.mood.rank import Ranked
    from aberra.mood.ranking import Place
    from aberra.mood.scorer import Scores

HEAD = ("metric", "value", "95 % interval")
GROUP_HEAD = ("kind", "name", "cases", "AP at 50/50", "AUROC", "FPR at 95 % TPR", "median")


def headlines(found: Scores) -> list[tuple[str, str, str]]:
    """Metric, value and interval: first what the challenge publishes, then what is exact."""
    published, exact = found.published, found.exact
    if found.task == "pixel":
        size = f"{published['batches']} batch(es)"
        if published["left_out"]:
            size += f", {published['left_out']} without an anomaly left out"
        rows = [
            (f"pixel AP, first pass of {size}", shown(published["ap"]), ""),
            ("pixel AP, second pass", shown(published["second"]), ""),
            ("AP, all voxels, float32", shown(exact["ap"]), _spread(exact, "ap")),
        ]
    else:
        rows = [("sample AP", shown(published["ap"]), _spread(exact, "ap"))]
    rows += [
        ("AP of a constant (prevalence)", shown(exact["prevalence"]), ""),
        ("AUROC", shown(exact["auroc"]), _spread(exact, "auroc")),
    ]
    if found.reading:
        reading = found.reading
        at = f"at prevalence {reading['prevalence']:g}"
        rows += [
            ("FPR at 95 % TPR", shown(exact["fpr95"]), _spread(exact, "fpr95")),
            (f"share read {at}", shown(reading["read"]), ""),
            (f"share saved {at}", shown(reading["saved"]), ""),
        ]
    return rows


def group_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A group's row as text."""
    numbers = (shown(row[name]) for name in ("ap", "auroc", "fpr95", "median"))
    return row["kind"], row["name"], str(row["cases"]), *numbers


def as_markdown(found: Scores) -> str:
    """Both tables, and what must be known of them."""
    lines = [f"# {found.team} on {found.dataset}, {found.task}", ""]
    lines += markdown(HEAD, headlines(found))
    if found.groups:
        lines += ["", *markdown(GROUP_HEAD, [group_cells(row) for row in found.groups])]
    lines += [f"\n{note}" for note in found.notes]
    lines += [f"\n{case}: counts as zeros: {reason}" for case, reason in found.zeros.items()]
    return "\n".join(lines) + "\n"


def ranking_head(found: Ranked) -> tuple[str, ...]:
    """Columns of a ranking."""
    often = (f"at this rank in {found.replicates} draws",) if found.stability else ()
    return ("rank", "team", *found.places[0].values, "mean rank", "consensus", *often)


def ranking_cells(found: Ranked, place: Place) -> tuple[str, ...]:
    """A team's row: its value and, in brackets, rank on each data set."""
    own = (f"{value:.3f} ({place.ranks[name]})" for name, value in place.values.items())
    counts = found.stability.get(place.team)
    often = () if counts is None else (f"{counts[place.rank - 1] / found.replicates:.0%}",)
    mean, consensus = f"{place.mean_rank:g}", f"{place.consensus:g} ({place.consensus_rank})"
    return (str(place.rank), place.team, *own, mean, consensus, *often)


def agreement_lines(found: Ranked) -> list[str]:
    """τ-b with the other table; of the final rankings last, with its interval."""
    lines = [
        f"Kendall's τ-b, {name}: {tau:.3f} ({teams} teams)" for name, (tau, teams) in found.agreement.items()
    ]
    if found.interval is not None:
        low, high = found.interval
        lines[-1] = lines[-1].removesuffix(")") + f"; 95 % over teams {low:.3f} to {high:.3f})"
    return lines


def ranking_markdown(found: Ranked) -> str:
    """The ranking, how it agrees with another, and what must be known of it."""
    lines = markdown(ranking_head(found), [ranking_cells(found, place) for place in found.places])
    for name, rows in found.subclasses.items():
        cells = [
            (row["subclass"], *(shown(row[key]) for key in ("median", "best", "oracle")), row["oracle_team"])
            for row in rows
        ]
        lines += [
            "",
            *markdown((name, "median", f"best ({found.places[0].team})", "oracle", "oracle's team"), cells),
        ]
    if found.opposed:
        head = ("team", "rank", "rank against", "falls by")
        lines += ["", *markdown(head, [tuple(map(str, row.values())) for row in found.opposed])]
    return "\n".join([*lines, *(f"\n{line}" for line in (*agreement_lines(found), *found.notes))]) + "\n"


def markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]


def shown(value: float | None) -> str:
    """A number with three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def _spread(exact: dict[str, Any], name: str) -> str:
    both = exact.get(f"{name}_interval")
    return "" if both is None else f"{both[0]:.3f} – {both[1]:.3f}"
