"""Put a benchmark's results where the project shows them: a CSV, the docs' tables and figures, and
what `aberra methods` says.

    python benchmarks/publish.py runs/baur --name baur2021 --size "128²" [--as baur2021]

Writes benchmarks/results/AS.csv (headline metrics), docs/explanation/AS/ (tables.txt, which a page
includes, and the figures), and makes src/aberra/catalogue/measured.csv anew from all of
benchmarks/results; AS is the suite's NAME unless it is given.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aberra.benchmark.rows import COLUMNS, M0, UNDERTRAINED, is_plain, read_cells, results_csv
from aberra.files import write_text
from aberra.measured import COLUMNS as MEASURED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parent.parent
METRICS = (
    "AP", "AP per case, mean", "AUROC", "⌈Dice⌉", "Dice", "l1-RE_N", "l1-RE_A", "chi2", "slice AUROC", "slice AUROC, matched by position",
    "slice AUROC, clinical", "slice AUROC a: lesion / rest of scan", "slice AUROC c: rest of scan / healthy", "slice AP", "mask Dice",
    "case AUROC", "healthy FPR", "lesion recall", "false positives per scan",
)  # fmt: skip
PROTOCOLS = ("", "oracle", "healthy-fpr-1", "p ≤ 0.01", "p ≤ 0.05", "p ≤ 0.1")


def measured(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """A row a method and cohort of what results say, for methods as they stand: mean over seeds,
    the interval of a single one.
    """
    plain = [
        row
        for row in rows
        if row["metric"] == "AP" and is_plain({"subjects": float(row["subjects"]), "sweep": row["sweep"]})
    ]
    places = ("label", "method", "suite", "size", "task", "cohort")
    found: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in plain:
        found.setdefault(tuple(row[key] for key in places), []).append(row)
    means = {key: sum(float(row["value"]) for row in own) / len(own) for key, own in found.items()}
    bars: dict[tuple[str, ...], float] = {}  # of the plain threshold's best polarity
    for (_, method, *place), value in means.items():
        if method == M0:
            bars[tuple(place)] = max(value, bars.get(tuple(place), 0.0))
    result = []
    for (label, *key), own in sorted(found.items()):
        if label != key[0]:
            continue
        first, bar = own[0], bars.get(tuple(key[1:]))
        mean = means[label, *key]
        short = any(float(row.get("late_gain") or 0) > UNDERTRAINED for row in own)
        ends = ("low", "high") if len(own) == 1 and first["low"] else ()
        result.append(
            dict(zip(places[1:], key, strict=True))
            | {"ap": f"{mean:.3f}", "m0": "" if bar is None else f"{bar:.3f}"}
            | {"undertrained": int(short)}
            | {end: f"{float(first[end]):.3f}" for end in ends}
            | {"training_seconds": first["training_seconds"] and f"{float(first['training_seconds']):.0f}"}
            | {"seconds_per_case": f"{float(first['seconds_per_case']):.2f}"}
            | {column: first[column] for column in ("machine", "commit", "date")}
        )
    return result


def publish(run: Path, *, suite: str, size: str, called: str, root: Path = ROOT) -> int:
    """Publish a run; returns the number of rows."""
    results = root / "benchmarks" / "results"
    cells = read_cells(run)
    rows = [
        row | {"size": size}
        for row in cells.rows
        if row["metric"] in METRICS and row["protocol"] in PROTOCOLS and row["suite"] == suite
    ]
    write_text(results / f"{called}.csv", results_csv(rows, (*COLUMNS, "size")))
    target = root / "docs" / "explanation" / called
    for stale in target.glob("*.png"):
        stale.unlink()
    parts = [path.read_text(encoding="utf-8") for path in sorted((run / "tables").glob("*.md"))]
    for figure in sorted((run / "figures").glob("*.png")):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(figure, target)
        parts.append(f"![{figure.stem}]({called}/{figure.name})\n")
    write_text(target / "tables.txt", f"Measured at {size}.\n\n" + "\n".join(parts))

    write_text(root / "src" / "aberra" / "catalogue" / "measured.csv", collected(results))
    return len(rows)


def collected(results: Path) -> str:
    """The text of measured.csv, from every CSV of a folder that is a benchmark's."""
    every: list[Mapping[str, str]] = []
    for path in sorted(results.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if "size" in (reader.fieldnames or ()) and "metric" in (reader.fieldnames or ()):
                every += list(reader)
    return results_csv(measured(every), MEASURED)


def main() -> None:
    """Publish."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", type=Path)
    options.add_argument("--name", required=True, help="of the suite")
    options.add_argument("--size", required=True, help="resolution, width and steps, in words")
    options.add_argument("--as", dest="called", help="name of the folder and the CSV; the suite's without")
    given = options.parse_args()
    count = publish(given.folder, suite=given.name, size=given.size, called=given.called or given.name)
    print(f"{count} rows")


if __name__ == "__main__":
    main()
