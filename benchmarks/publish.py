"""Put a benchmark's results where the project shows them: a CSV, the docs' tables and figures, and the methods' `measured` lines.

    python benchmarks/publish.py runs/baur --name baur2021 --size "64², width 16, 600 steps"

Writes benchmarks/results/NAME.csv (headline metrics), docs/explanation/NAME/*.md and *.png, and `measured` of every method in the table.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from aberra.benchmark.rows import is_plain, read_cells, results_csv
from aberra.files import write_text
from aberra.method import catalogue

ROOT = Path(__file__).parent.parent
METRICS = (
    "AP", "AUROC", "⌈Dice⌉", "Dice", "l1-RE_N", "l1-RE_A", "chi2", "slice AUROC", "slice AUROC, matched by position",
    "case AUROC", "healthy FPR", "lesion recall", "false positives per scan",
)  # fmt: skip
BEGIN = "Voxel AP of `aberra benchmark "
"""Of a sentence in `measured`."""

PROTOCOLS = ("", "oracle", "healthy-fpr-1", "p ≤ 0.05")


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


def main() -> None:
    """Publish."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--name", required=True)
    options.add_argument("--size", required=True)
    given = options.parse_args()
    rows = read_cells(given.folder).rows
    kept = [row for row in rows if row["metric"] in METRICS and row["protocol"] in PROTOCOLS]
    write_text(ROOT / "benchmarks" / "results" / f"{given.name}.csv", results_csv(kept))
    target = ROOT / "docs" / "explanation" / given.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for table in sorted((given.folder / "tables").glob("*.md")):
        shutil.copy(table, target / f"{table.stem}.txt")  # included by pages, not pages themselves
    for figure in sorted((given.folder / "figures").glob("*.png")):
        shutil.copy(figure, target / figure.name)
    sentences = measured(rows, given.name, given.size)
    for name, path in catalogue().items():
        if name not in sentences:
            continue
        text = path.read_text(encoding="utf-8")
        known = re.search(r'^measured = "(.*)"\n', text, flags=re.MULTILINE)
        # what other suites have measured stays
        others = (
            [each for each in re.split(f"(?={BEGIN})", known[1]) if f"{BEGIN}{given.name}`" not in each]
            if known
            else []
        )
        told = " ".join(each.strip() for each in (*others, sentences[name]) if each.strip())
        text = re.sub(r"^measured = .*\n", "", text, flags=re.MULTILINE)
        head, section, tail = text.partition("\n[")
        write_text(path, f'{head.rstrip()}\nmeasured = "{told}"\n{section}{tail}')
    print(f"{len(kept)} rows, {len(sentences)} methods")


if __name__ == "__main__":
    main()
