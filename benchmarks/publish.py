"""Put a benchmark's results where the project shows them: a CSV, the docs' tables and figures, and the methods' `measured` lines.

    python benchmarks/publish.py runs/baur --name baur2021 --size "64², width 16, 600 steps" [--keep] [--as baur2021]

Writes benchmarks/results/AS.csv (headline metrics), docs/explanation/AS/*.txt and *.png (those that a page shows), and in `measured` of every
method in the table what it reached at this size; AS is the suite's NAME unless it is given. With --keep the published rows that this run does
not have stay, marked ° in the tables: of an earlier run, and tested against the best of that run.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
from pathlib import Path
from typing import Any

from aberra.benchmark.figures import write_figures
from aberra.benchmark.rows import LOWER, is_plain, read_cells, results_csv
from aberra.benchmark.suite import Suite
from aberra.files import write_text
from aberra.method import catalogue

ROOT = Path(__file__).parent.parent
METRICS = (
    "AP", "AP per case, mean", "AUROC", "⌈Dice⌉", "Dice", "l1-RE_N", "l1-RE_A", "chi2", "slice AUROC", "slice AUROC, matched by position",
    "case AUROC", "healthy FPR", "lesion recall", "false positives per scan",
)  # fmt: skip
BEGIN = "Voxel AP of `aberra benchmark "
"""Of a sentence in `measured`."""

NUMBERS = (
    "value", "low", "high", "prevalence", "late_gain", "training_seconds", "seconds_per_case", "peak_mb", "subjects",
)  # fmt: skip
WHOLE = ("seed", "cases", "parameters", "steps")
"""Columns of results.csv that are numbers."""
EARLIER = (
    "° of an earlier run, tested against the best of that run; results.csv has date and commit of every row."
)
UNTESTED = "Rows without ° are not tested: the best row is of the earlier run."
"""Said below tables of two runs."""
FACTS = ("training s", "s/case", "parameters")
"""Columns of a table that tell nothing of how good a method is."""

PROTOCOLS = ("", "oracle", "healthy-fpr-1", "p ≤ 0.01", "p ≤ 0.05", "p ≤ 0.1")


def measured(rows: list[dict[str, object]], name: str, size: str) -> dict[str, str]:
    """Method to a sentence: AP on every cohort with its interval, M0's beside it, and the times."""
    ap = [row for row in rows if row["metric"] == "AP" and is_plain(row) and row["label"] == row["method"]]
    base = {(row["task"], row["cohort"]): row["value"] for row in ap if row["method"] == "intensity"}
    found = {}
    for method in dict.fromkeys(str(row["method"]) for row in ap):
        own = [row for row in ap if row["method"] == method]
        parts = []
        for row in own:
            spread = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
            bar = base.get((row["task"], row["cohort"]))
            against = "" if bar is None or method == "intensity" else f" (M0 {bar:.3f})"
            parts.append(f"{row['cohort']} {row['value']:.3f}{spread}{against}")
        training = own[0].get("training_seconds")
        times = "" if training is None else f"training {float(training):.0f} s, "
        found[method] = (
            f"{BEGIN}{name}` at {size}: {'; '.join(parts)}. {times}"
            f"{float(own[0]['seconds_per_case']):.2f} s a case on {own[0]['machine']}, {own[0]['date']}."
        )
    return found


def published(path: Path) -> list[dict[str, Any]]:
    """Rows of a results.csv, with numbers where they were numbers."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: None if not text and key in (*NUMBERS, *WHOLE) else text for key, text in row.items()}
            | {key: float(row[key]) for key in NUMBERS if row[key]}
            | {key: int(row[key]) for key in WHOLE if row[key]}
            for row in csv.DictReader(file)
        ]


def joined(old: str, new: str) -> str:
    """A table of two runs: rows of the old one that the new one lacks stay, marked °; the best of a column is bold."""
    header, body, caption = _parsed(new)
    before, earlier, _ = _parsed(old)
    columns = [each for each in dict.fromkeys([*header[1:], *before[1:]]) if each not in FACTS]
    plain = {name.removesuffix(" °"): cells for name, cells in earlier.items()}
    kept = {f"{name} °": cells for name, cells in plain.items() if name not in body}
    if kept:
        caption += f" {EARLIER}"
    if max(map(_ap, kept.values()), default=-1.0) > max(map(_ap, body.values())):
        caption += f" {UNTESTED}"
        for cells in body.values():
            cells["AP"] = cells["AP"].removesuffix("†")
    body |= kept
    for column in columns:
        numbers = {name: _number(cells[column]) for name, cells in body.items() if cells.get(column)}
        best = (min if column in LOWER else max)(numbers.values())
        for name, value in numbers.items():
            if value == best and not column.startswith("healthy FPR"):
                body[name][column] = f"**{body[name][column].removesuffix('†')}**"
    order = sorted(body, key=lambda name: -_ap(body[name]))
    lines = [[header[0], *columns, *FACTS]]
    lines += [[name, *(body[name].get(each, "") for each in lines[0][1:])] for name in order]
    shown = ["| " + " | ".join(line) + " |" for line in lines]
    shown.insert(1, "|---" * len(lines[0]) + "|")
    return "\n".join([new.split("\n", 1)[0], "", *shown, "", caption, ""])


def _number(text: str) -> float:
    """The number that a cell begins with."""
    return float(re.split(r"[ †\[*]", text.strip("*"))[0])


def _ap(cells: dict[str, str]) -> float:
    return _number(cells["AP"])


def _parsed(table: str) -> tuple[list[str], dict[str, dict[str, str]], str]:
    """Header, label to column to text without bold, and caption."""
    lines = table.strip().split("\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    header = rows[0]
    body = {
        row[0]: {column: cell.replace("**", "") for column, cell in zip(header, row, strict=True)}
        for row in rows[2:]
    }
    return header, body, lines[-1].removesuffix(f" {UNTESTED}").removesuffix(f" {EARLIER}")


def _key(row: dict[str, Any]) -> tuple[str, str, str, int]:
    return row["task"], row["cohort"], row["label"], row["seed"]


def main() -> None:
    """Publish."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--name", required=True)
    options.add_argument("--size", required=True)
    options.add_argument("--as", dest="called", help="name of the folder and the CSV; the suite's without")
    options.add_argument(
        "--keep", action="store_true", help="keep published rows that this run does not have"
    )
    given = options.parse_args()
    cells = read_cells(given.folder)
    called = given.called or given.name
    target = ROOT / "docs" / "explanation" / called
    listed = ROOT / "benchmarks" / "results" / f"{called}.csv"
    figures = given.folder / "figures"
    rows = [row for row in cells.rows if row["metric"] in METRICS and row["protocol"] in PROTOCOLS]
    if given.keep:
        again = {_key(row) for row in rows}
        rows = sorted([*(row for row in published(listed) if _key(row) not in again), *rows], key=_key)
        figures = given.folder / "published" / "figures"
        compare = {task.name: task.compare for task in Suite.load(given.name).tasks}
        write_figures(figures.parent, rows, cells.histograms, pictures=cells.pictures, compare=compare)
    write_text(listed, results_csv(rows))
    pages = "".join(page.read_text(encoding="utf-8") for page in target.parent.glob("*.md"))
    shown = set(re.findall(rf"(?<![\w-]){called}/([\w.-]+)", pages))
    target.mkdir(parents=True, exist_ok=True)
    for table in sorted((given.folder / "tables").glob("*.md")):  # .txt: pages include them
        path, text = target / f"{table.stem}.txt", table.read_text(encoding="utf-8")
        if path.name in shown:
            known = given.keep and path.is_file()
            write_text(path, joined(path.read_text(encoding="utf-8"), text) if known else text)
    for figure in sorted(figures.glob("*.png")):
        path = target / figure.name
        # histograms and strips need cells, which an earlier run's rows do not have
        partial = given.keep and figure.name.startswith(("histograms-", "strip-"))
        if figure.name in shown and not (partial and path.is_file()):
            shutil.copy(figure, path)
    for stray in target.iterdir():
        if stray.name not in shown:
            stray.unlink()
    sentences = measured(rows, given.name, given.size)
    for name, path in catalogue().items():
        if name not in sentences:
            continue
        text = path.read_text(encoding="utf-8")
        known = re.search(r'^measured = "(.*)"\n', text, flags=re.MULTILINE)
        # what other suites, or this one at another size, have measured stays
        same = f"{BEGIN}{given.name}` at {given.size}:"
        others = [each for each in re.split(f"(?={BEGIN})", known[1]) if same not in each] if known else []
        told = " ".join(each.strip() for each in (*others, sentences[name]) if each.strip())
        text = re.sub(r"^measured = .*\n", "", text, flags=re.MULTILINE)
        head, section, tail = text.partition("\n[")
        write_text(path, f'{head.rstrip()}\nmeasured = "{told}"\n{section}{tail}')
    print(f"{len(rows)} rows, {len(sentences)} methods")


if __name__ == "__main__":
    main()
