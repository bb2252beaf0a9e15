"""The tables of a benchmark: what is in them, and what their captions say."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from statistics import fmean
from typing import TYPE_CHECKING, Any

from aberra.benchmark.render import Cell, Table, as_csv, as_html, as_latex, as_markdown, page
from aberra.benchmark.rows import (
    CHANCE,
    HIGHER,
    LOWER,
    PROTOCOLS,
    SHOWN_IN_TABLES,
    UNDERTRAINED,
    bar,
    is_plain,
    means,
    undertrained,
)
from aberra.benchmark.statistics import indistinct, over_seeds
from aberra.files import write_text
from aberra.metrics.bootstrap import interval
from aberra.metrics.ranks import ranks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Rows = Sequence[Mapping[str, Any]]
    Replicates = Mapping[tuple[str, str, str, int], NDArray[np.float64]]

FPR = "healthy FPR"
"""Metric of how often healthy cases are flagged."""

CASE_AUROC = "case AUROC"
"""What methods are ordered by where no lesion is outlined."""

SPREAD = {"Dice per patient, mean": "Dice per patient, std"}
"""Metrics that stand with their spread, ± one standard deviation."""
HEADINGS = {
    "⌈Dice⌉": "⌈Dice⌉ (oracle)",
    FPR: "healthy FPR (p ≤ 0.05)",
    "Dice per patient, mean": "Dice per patient, mean ± std",
}
"""Of columns that are not called as their metric."""


def comparison(
    rows: Rows,
    replicates: Replicates,
    *,
    task: str,
    cohort: str,
    patients: int,
    protocol: str,
    metrics: Sequence[str] = SHOWN_IN_TABLES,
) -> Table:
    """All methods on one cohort, best AP first, or best case AUROC where the cohort has labels alone;
    those that were trained too short come last and are not ranked.

    Args:
        rows: as in results.csv.
        replicates: of AP.
        task: whose rows.
        cohort: whose rows.
        patients: how many have lesions.
        protocol: of what depends on a threshold.
        metrics: the columns; those that no row has are left out.
    """
    chosen = [row for row in rows if (row["task"], row["cohort"]) == (task, cohort) and is_plain(row)]
    columns = {metric: means(chosen, metric, (*PROTOCOLS, protocol)) for metric in metrics}
    columns = {metric: values for metric, values in columns.items() if values}
    widths = {metric: means(chosen, SPREAD[metric], (protocol,)) for metric in columns if metric in SPREAD}
    ap = means(chosen, "AP", PROTOCOLS)
    short = undertrained(chosen)
    by = ap or means(chosen, CASE_AUROC, PROTOCOLS)
    labels = sorted(
        {row["label"] for row in chosen}, key=lambda label: (label in short, -by.get(label, -1.0), label)
    )
    merged = over_seeds(replicates, task, cohort)
    ranked = {label: value for label, value in ap.items() if label not in short}
    tied = indistinct(ranked, merged, patients=patients)
    spread = {label: interval(values) for label, values in merged.items()} if patients > 1 else {}
    body = []
    for label in labels:
        own = [row for row in chosen if row["label"] == label]
        cells = [
            _cell(metric, values, label, spread=spread, tied=tied, short=short)
            for metric, values in columns.items()
        ]
        cells = [
            replace(cell, text=f"{cell.text} ± {widths[metric][label]:.3f}")
            if label in widths.get(metric, {})
            else cell
            for cell, metric in zip(cells, columns, strict=True)
        ]
        body.append((label, (*cells, *_facts(own[0], short))))
    seeds = len({row["seed"] for row in chosen})
    first = chosen[0]
    held = "diseased by label, without lesion masks"
    if ap:
        held = f"{patients} patient(s) with lesions, prevalence {float(first['prevalence'] or 0):.4f}"
    caption = (
        f"{first['cases']} cases, {held}, {seeds} seed(s). {_meaning(chosen, columns, protocol)}{_if_chance(body)}Italic rows are baselines. "
        f"{_against_the_bar(chosen, ap, short) if 'AP' in columns else ''}{_where(chosen)}"
    )
    header = ("method", *(HEADINGS.get(each, each) for each in columns), "training s", "s/case", "parameters")
    return Table(f"{task}: {cohort}", header, tuple(body), caption, _baselines(chosen))


def overview(rows: Rows, replicates: Replicates, patients: Mapping[tuple[str, str], int]) -> Table:
    """AP of every method on every cohort, and its mean rank over the cohorts that all methods of
    the table have.

    Args:
        rows: as in results.csv.
        replicates: of AP.
        patients: task and cohort to how many have lesions.
    """
    chosen = [row for row in rows if row["metric"] == "AP" and is_plain(row)]
    cohorts = list(dict.fromkeys((row["task"], row["cohort"]) for row in chosen))
    values = {
        key: means([row for row in chosen if (row["task"], row["cohort"]) == key], "AP", PROTOCOLS)
        for key in cohorts
    }
    named = dict.fromkeys(row["label"] for row in chosen)
    labels = [label for label in named if all(label in values[key] for key in cohorts)]
    short = undertrained(chosen)
    ranked = [label for label in labels if label not in short]
    mean_rank = {label: fmean(places) for label, places in ranks(values, ranked).items()}
    tops = {key: max((values[key][label] for label in ranked), default=None) for key in cohorts}
    spreads = {
        key: {label: interval(each) for label, each in over_seeds(replicates, *key).items()}
        for key in cohorts
        if patients.get(key, 0) > 1
    }
    body = []
    for label in sorted(labels, key=lambda each: mean_rank.get(each, float("inf"))):
        cells = [
            Cell(
                f"{values[key][label]:.3f}",
                best=label in mean_rank and values[key][label] == tops[key],
                chance=_at_chance(label, spreads.get(key, {})),
            )
            for key in cohorts
        ]
        rank = Cell("undertrained")
        if label in mean_rank:
            rank = Cell(f"{mean_rank[label]:.1f}", best=mean_rank[label] == min(mean_rank.values()))
        body.append((label, (*cells, rank)))
    header = ("method", *(f"{task}: {cohort}" for task, cohort in cohorts), "mean rank")
    left_out = len({row["label"] for row in chosen}) - len(labels)
    return Table(
        "AP on every cohort",
        header,
        tuple(body),
        "Voxel AP, mean over seeds; rows that ran on every cohort. Mean rank over the cohorts, 1 is best. "
        f"{_if_short(chosen)}{_if_chance(body)}"
        f"{left_out} row(s) that did not run on every cohort are left out.{_versions(chosen)}",
        _baselines(chosen),
    )


def false_positives(rows: Rows, *, task: str, cohort: str) -> Table:
    """Share of unseen healthy cases that each method flags at every nominal rate, with its
    Clopper-Pearson 95 % interval.
    """
    chosen = [
        row
        for row in rows
        if (row["task"], row["cohort"], row["metric"]) == (task, cohort, FPR) and is_plain(row)
    ]
    levels = list(dict.fromkeys(row["protocol"] for row in chosen))
    short = undertrained(chosen)
    body = []
    for label in dict.fromkeys(row["label"] for row in chosen):
        own = [row for row in chosen if row["label"] == label]
        cells = []
        for level in levels:
            at = [row for row in own if row["protocol"] == level]  # one a seed
            value, low, high = (fmean(float(row[key]) for row in at) for key in ("value", "low", "high"))
            cells.append(Cell(f"{value:.3f} [{low:.3f}, {high:.3f}]"))
        body.append((label, (*cells, *_facts(own[0], short))))
    caption = (
        f"{chosen[0]['cases']} healthy cases: share with a p-value of at most the nominal rate, and its 95 % interval. "
        f"{_meaning(chosen, (), '')}{_where(chosen)}"
    )
    header = ("method", *levels, "training s", "s/case", "parameters")
    return Table(
        f"{task}: {cohort}, realised false-positive rate", header, tuple(body), caption, _baselines(chosen)
    )


def write_tables(
    folder: Path,
    rows: Rows,
    replicates: Replicates,
    patients: Mapping[tuple[str, str], int],
    *,
    protocol: str,
    metrics: Sequence[str] = SHOWN_IN_TABLES,
) -> None:
    """Write ``tables/TASK-COHORT.{md,csv,tex,html}``, the same for the overview, and
    ``tables/index.html`` with everything.

    Cohorts with diseased cases are compared; of those without, the table says what share of them is
    flagged.
    """
    target = folder / "tables"
    plain = [row for row in rows if is_plain(row)]
    keys, labelled, healthy = (
        dict.fromkeys((row["task"], row["cohort"]) for row in plain if row["metric"] == metric)
        for metric in ("AP", CASE_AUROC, FPR)
    )
    tables = {
        f"{task}-{cohort}": comparison(
            rows,
            replicates,
            task=task,
            cohort=cohort,
            patients=patients[task, cohort],
            protocol=protocol,
            metrics=metrics,
        )
        for task, cohort in keys | labelled
    }
    if len(keys) > 1:
        tables = {"overview": overview(rows, replicates, patients)} | tables
    tables |= {
        f"{task}-{cohort}": false_positives(rows, task=task, cohort=cohort)
        for task, cohort in healthy
        if (task, cohort) not in keys | labelled
    }
    for name, table in tables.items():
        for ending, render in (("md", as_markdown), ("csv", as_csv), ("tex", as_latex)):
            write_text(target / f"{name}.{ending}", render(table))
        write_text(target / f"{name}.html", page(table.title, as_html(table)))
    figures = sorted(path.name for path in (folder / "figures").glob("*.png"))
    pictures = "".join(
        f'<figure><img src="../figures/{escape(name)}" alt="{escape(name)}"><figcaption>{escape(name)}</figcaption></figure>'
        for name in figures
    )
    body = "".join(as_html(table) for table in tables.values())
    write_text(target / "index.html", page("Benchmark", body + pictures))


def _baselines(rows: Rows) -> frozenset[str]:
    return frozenset(row["label"] for row in rows if row.get("baseline"))


def _where(rows: Rows) -> str:
    """Machines, the first and the last date, and a warning where the code was not one."""
    machines, dates = (sorted({row[key] for row in rows}) for key in ("machine", "date"))
    return f"{' or '.join(machines)}, {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}.{_versions(rows)}"


def _versions(rows: Rows) -> str:
    """A warning where rows are of several versions of the code."""
    commits = sorted({str(row["commit"]) for row in rows if row.get("commit")})
    if len(commits) < 2:
        return ""
    return f" Rows were measured by {len(commits)} versions of the code: {', '.join(commits)}."


def _meaning(rows: Rows, shown: Collection[str], protocol: str) -> str:
    """What a reader must know about the columns shown."""
    cut = {row["metric"] for row in rows if row["protocol"] == protocol}
    at = [metric for metric in shown if metric in cut]
    said = {
        "AP": "AP pools the voxels; brackets are 95 % intervals over patients. ",
        "AP per case, mean": "AP per case is the mean over the diseased cases, each by itself. ",
        "AUROC": "AUROC pools the voxels. ",
        "⌈Dice⌉": "⌈Dice⌉ is at the best threshold on these cases, an upper bound. ",
    }
    text = "".join(said.get(metric, "") for metric in shown)
    text += _if_short(rows)
    if at:
        verb = "is" if len(at) == 1 else "are"
        text += f"{', '.join(at)} {verb} at the threshold {protocol}, set on other, healthy cases. "
    if "AP" in shown:
        text += "† AP not significantly below the best: t test on the paired bootstrap over patients, Holm over the methods, 5 %. "
    return text


def _if_short(rows: Rows) -> str:
    """What *undertrained* means, where a row is."""
    if not undertrained(rows):
        return ""
    return (
        f"undertrained: the healthy validation loss still fell by more than {UNDERTRAINED:.0%} in the last fifth of the steps; the row is "
        "a lower bound and is not ranked. "
    )


def _if_chance(body: Sequence[tuple[str, Sequence[Cell]]]) -> str:
    """What ° means, where a cell has it."""
    if not any(cell.chance for _, cells in body for cell in cells):
        return ""
    return f"° not told from chance: the 95 % interval of the AP does not lie above that of {CHANCE}, noise through the same post-processing. "


def _against_the_bar(rows: Rows, ap: Mapping[str, float], short: Collection[str]) -> str:
    """How many methods have a higher AP than the plain threshold has in its best polarity."""
    best = bar(rows)
    others = set(ap) - _baselines(rows) - set(short)
    if best is None or not others:
        return ""
    label, value = best
    above = sum(ap[each] > value for each in others)
    return f"The plain threshold is at its best as '{label}' ({value:.3f}); of the rows that are no baseline, {above} of {len(others)} are above it. "


def _at_chance(label: str, spread: Mapping[str, tuple[float, float] | None]) -> bool:
    """Whether the interval of a row does not lie above that of the random map."""
    own, noise = spread.get(label), spread.get(CHANCE)
    return label != CHANCE and own is not None and noise is not None and own[0] <= noise[1]


def _cell(
    metric: str,
    values: Mapping[str, float],
    label: str,
    *,
    spread: Mapping[str, tuple[float, float] | None],
    tied: Collection[str],
    short: Collection[str],
) -> Cell:
    """One number with what it means beside the others; ``short`` are the labels that are not
    ranked.
    """
    if label not in values:
        return Cell("")
    better = max if metric in HIGHER else min if metric in LOWER else None
    ranked = [value for each, value in values.items() if each not in short]
    best = better is not None and label not in short and values[label] == better(ranked)
    text = f"{values[label]:.3f}"
    if metric != "AP":
        return Cell(text, best=best)
    around = spread.get(label)
    if around is not None:
        text += f" [{around[0]:.3f}, {around[1]:.3f}]"
    return Cell(text, best=best, tied=label in tied, chance=_at_chance(label, spread))


def _facts(row: Mapping[str, Any], short: Collection[str]) -> tuple[Cell, ...]:
    """Training time and whether it was too short, time a case and parameters."""
    training, parameters = row.get("training_seconds"), row.get("parameters")
    mark = ", undertrained" if row["label"] in short else ""
    return (
        Cell("" if training is None else f"{float(training):.0f}{mark}"),
        Cell(f"{float(row['seconds_per_case']):.2f}"),
        Cell(f"{int(parameters):,}" if parameters else ""),
    )
