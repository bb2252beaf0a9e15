"""The tables of a benchmark as Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from statistics import fmean
from typing import TYPE_CHECKING, Any

from aberra.benchmark.rows import HIGHER, LOWER, SHOWN_IN_TABLES, UNDERTRAINED, is_plain, means
from aberra.benchmark.statistics import indistinct, over_seeds
from aberra.files import csv_text, write_text
from aberra.metrics.bootstrap import interval

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Rows = Sequence[Mapping[str, Any]]
    Replicates = Mapping[tuple[str, str, str, int], NDArray[np.float64]]

FPR = "healthy FPR"
"""Metric of how often healthy cases are flagged."""

HEADINGS = {"⌈Dice⌉": "⌈Dice⌉ (oracle)", FPR: "healthy FPR (p ≤ 0.05)"}
"""Of columns that are not called as their metric."""
PROTOCOLS = ("", "oracle", "ladder", "mask", "p ≤ 0.05")
"""Protocols of the values shown, beside the suite's."""


@dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
        text: as printed.
        best: highest of its column.
        tied: not significantly worse than the best (AP only).
    """

    text: str
    best: bool = False
    tied: bool = False


@dataclass(frozen=True)
class Table:
    """A table that can be rendered in four formats.

    Attributes:
        title: of the table.
        header: first column's heading first.
        rows: name and cells of each row.
        caption: what a reader must know.
        baselines: names of rows in italics.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    caption: str
    baselines: frozenset[str] = frozenset()


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
    """All methods on one cohort, best AP first.

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
    ap = means(chosen, "AP", PROTOCOLS)
    labels = sorted({row["label"] for row in chosen}, key=lambda label: -ap.get(label, -1.0))
    merged = over_seeds(replicates, task, cohort)
    tied = indistinct(ap, merged, patients=patients)
    spread = {label: interval(values) for label, values in merged.items()} if patients > 1 else {}
    body = []
    for label in labels:
        own = [row for row in chosen if row["label"] == label]
        cells = [_cell(metric, values, label, spread, tied) for metric, values in columns.items()]
        body.append((label, (*cells, *_facts(own[0]))))
    seeds = len({row["seed"] for row in chosen})
    first = chosen[0]
    caption = (
        f"{first['cases']} cases, {patients} patient(s) with lesions, prevalence {float(first['prevalence'] or 0):.4f}, "
        f"{seeds} seed(s). {_meaning(chosen, columns, protocol)}Italic rows are baselines. "
        f"{_where(chosen)}"
    )
    header = ("method", *(HEADINGS.get(each, each) for each in columns), "training s", "s/case", "parameters")
    return Table(f"{task}: {cohort}", header, tuple(body), caption, _baselines(chosen))


def overview(rows: Rows) -> Table:
    """AP of every method on every cohort, and its mean rank over the cohorts that all methods of the table have."""
    chosen = [row for row in rows if row["metric"] == "AP" and is_plain(row)]
    cohorts = list(dict.fromkeys((row["task"], row["cohort"]) for row in chosen))
    values = {
        key: means([row for row in chosen if (row["task"], row["cohort"]) == key], "AP", PROTOCOLS)
        for key in cohorts
    }
    named = dict.fromkeys(row["label"] for row in chosen)
    labels = [label for label in named if all(label in values[key] for key in cohorts)]
    ranks = {
        label: sum(1 + sum(values[key][other] > values[key][label] for other in labels) for key in cohorts)
        / max(1, len(cohorts))
        for label in labels
    }
    body = []
    for label in sorted(labels, key=lambda each: ranks[each]):
        cells = [
            Cell(f"{values[key][label]:.3f}", best=values[key][label] == max(values[key][o] for o in labels))
            for key in cohorts
        ]
        body.append((label, (*cells, Cell(f"{ranks[label]:.1f}", best=ranks[label] == min(ranks.values())))))
    header = ("method", *(f"{task}: {cohort}" for task, cohort in cohorts), "mean rank")
    left_out = len({row["label"] for row in chosen}) - len(labels)
    return Table(
        "AP on every cohort",
        header,
        tuple(body),
        "Voxel AP, mean over seeds; rows that ran on every cohort. Mean rank over the cohorts, 1 is best. "
        f"{left_out} row(s) that did not run on every cohort are left out.{_versions(chosen)}",
        _baselines(chosen),
    )


def false_positives(rows: Rows, *, task: str, cohort: str) -> Table:
    """Share of unseen healthy cases that each method flags at every nominal rate, with its Clopper-Pearson 95 % interval."""
    chosen = [
        row
        for row in rows
        if (row["task"], row["cohort"], row["metric"]) == (task, cohort, FPR) and is_plain(row)
    ]
    levels = list(dict.fromkeys(row["protocol"] for row in chosen))
    body = []
    for label in dict.fromkeys(row["label"] for row in chosen):
        own = [row for row in chosen if row["label"] == label]
        cells = []
        for level in levels:
            at = [row for row in own if row["protocol"] == level]  # one a seed
            value, low, high = (fmean(float(row[key]) for row in at) for key in ("value", "low", "high"))
            cells.append(Cell(f"{value:.3f} [{low:.3f}, {high:.3f}]"))
        body.append((label, (*cells, *_facts(own[0]))))
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
    """Write ``tables/TASK-COHORT.{md,csv,tex,html}``, the same for the overview, and ``tables/index.html`` with everything.

    Cohorts with lesions are compared; of those without, the table says what share of them is flagged.
    """
    target = folder / "tables"
    plain = [row for row in rows if is_plain(row)]
    keys, healthy = (
        dict.fromkeys((row["task"], row["cohort"]) for row in plain if row["metric"] == metric)
        for metric in ("AP", FPR)
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
        for task, cohort in keys
    }
    if len(keys) > 1:
        tables = {"overview": overview(rows)} | tables
    tables |= {
        f"{task}-{cohort}": false_positives(rows, task=task, cohort=cohort)
        for task, cohort in healthy
        if (task, cohort) not in keys
    }
    for name, table in tables.items():
        for ending, render in (("md", as_markdown), ("csv", as_csv), ("tex", as_latex)):
            write_text(target / f"{name}.{ending}", render(table))
        write_text(target / f"{name}.html", _page(table.title, as_html(table)))
    figures = sorted(path.name for path in (folder / "figures").glob("*.png"))
    pictures = "".join(
        f'<figure><img src="../figures/{escape(name)}" alt="{escape(name)}"><figcaption>{escape(name)}</figcaption></figure>'
        for name in figures
    )
    body = "".join(as_html(table) for table in tables.values())
    write_text(target / "index.html", _page("Benchmark", body + pictures))


def as_markdown(table: Table) -> str:
    """Render: the best in bold, ties with †, baselines in italics."""
    lines = [f"**{table.title}**", "", f"| {' | '.join(table.header)} |", "|---" * len(table.header) + "|"]
    for name, cells in table.rows:
        shown = [f"*{name}*" if name in table.baselines else name]
        shown += [(f"**{cell.text}**" if cell.best else cell.text) + _mark(cell) for cell in cells]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", table.caption, ""])


def as_csv(table: Table) -> str:
    """Render the texts alone, and a column that says which rows are tied with the best."""
    columns = (*table.header, "best or tied")
    ap = table.header.index("AP") - 1 if "AP" in table.header else 0
    rows = (
        (name, *(cell.text for cell in cells), int(any(c.tied for c in cells) or cells[ap].best))
        for name, cells in table.rows
    )
    return csv_text(columns, (dict(zip(columns, row, strict=True)) for row in rows))


def as_latex(table: Table) -> str:
    """Render for booktabs."""
    lines = [
        r"\begin{table}", r"\centering", f"\\caption{{{_tex(table.title)}. {_tex(table.caption)}}}",
        r"\begin{tabular}{l" + "r" * (len(table.header) - 1) + "}", r"\toprule",
        " & ".join(_tex(each) for each in table.header) + r" \\", r"\midrule",
    ]  # fmt: skip
    for name, cells in table.rows:
        shown = [f"\\textit{{{_tex(name)}}}" if name in table.baselines else _tex(name)]
        for cell in cells:
            text = f"\\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text)
            shown.append(text + (r"$^\dagger$" if cell.tied and not cell.best else ""))
        lines.append(" & ".join(shown) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def as_html(table: Table) -> str:
    """Render a table element with its caption."""
    head = "".join(f"<th>{escape(each)}</th>" for each in table.header)
    body = []
    for name, cells in table.rows:
        kind = ' class="baseline"' if name in table.baselines else ""
        shown = ""
        for cell in cells:
            best = ' class="best"' if cell.best else ""
            shown += f"<td{best}>{escape(cell.text)}{_mark(cell)}</td>"
        body.append(f"<tr{kind}><th>{escape(name)}</th>{shown}</tr>")
    return (
        f"<section><h2>{escape(table.title)}</h2><div class='wide'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div><p>{escape(table.caption)}</p></section>"
    )


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
    if any((row.get("late_gain") or 0) > UNDERTRAINED for row in rows):
        text += f"undertrained: the validation loss still fell by more than {UNDERTRAINED:.0%} in the last fifth of the steps. "
    if at:
        verb = "is" if len(at) == 1 else "are"
        text += f"{', '.join(at)} {verb} at the threshold {protocol}, set on other, healthy cases. "
    if "AP" in shown:
        text += "† AP not significantly below the best: t test on the paired bootstrap over patients, Holm over the methods, 5 %. "
    return text


def _cell(
    metric: str,
    values: Mapping[str, float],
    label: str,
    spread: Mapping[str, tuple[float, float] | None],
    tied: set[str],
) -> Cell:
    if label not in values:
        return Cell("")
    better = max if metric in HIGHER else min if metric in LOWER else None
    best = better is not None and values[label] == better(values.values())
    text = f"{values[label]:.3f}"
    if metric != "AP":
        return Cell(text, best=best)
    around = spread.get(label)
    if around is not None:
        text += f" [{around[0]:.3f}, {around[1]:.3f}]"
    return Cell(text, best=best, tied=label in tied)


def _facts(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Training time and whether it was too short, time a case and parameters."""
    training, parameters, gain = (row.get(key) for key in ("training_seconds", "parameters", "late_gain"))
    short = ", undertrained" if gain is not None and gain > UNDERTRAINED else ""
    return (
        Cell("" if training is None else f"{float(training):.0f}{short}"),
        Cell(f"{float(row['seconds_per_case']):.2f}"),
        Cell(f"{int(parameters):,}" if parameters else ""),
    )


def _mark(cell: Cell) -> str:
    return "†" if cell.tied and not cell.best else ""


def _tex(text: str) -> str:
    """Escape what LaTeX would take for a command, and spell what its fonts do not have."""
    for old, new in {
        "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "⌈": r"$\lceil$",
        "⌉": r"$\rceil$", "†": r"$\dagger$", "·": r"$\cdot$", "χ²": r"$\chi^2$", "≤": r"$\leq$",
    }.items():  # fmt: skip
        text = text.replace(old, new)
    return text


def _page(title: str, body: str) -> str:
    """A page that needs nothing from outside."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #22303c; background: #fff; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }}
h1, h2 {{ font-weight: 600; }} h2 {{ margin-top: 2.5rem; }}
.wide {{ overflow: auto; max-height: 92vh; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; text-align: right; white-space: nowrap; }}
thead th {{ border-bottom: 2px solid #22303c; position: sticky; top: 0; background: #fff; }}
tbody th {{ text-align: left; font-weight: 500; }} thead th:first-child {{ text-align: left; }}
tbody tr:nth-child(even) {{ background: #f3f6f8; }}
.best {{ font-weight: 700; }} .baseline th {{ font-style: italic; }}
p, figcaption {{ color: #56636e; font-size: .87rem; max-width: 60rem; }}
figure {{ margin: 2rem 0; }} img {{ max-width: 100%; }}
</style></head><body><h1>{escape(title)}</h1>
{body}
</body></html>
"""
