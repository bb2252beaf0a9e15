from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

from aberra import measured as module
from aberra.benchmark.rows import COLUMNS, results_csv
from aberra.files import write_json, write_text
from aberra.measured import in_words, measured
from aberra.method import catalogue

ROW = {
    "suite": "own", "task": "flair", "cohort": "ms", "seed": 0, "subjects": 1.0, "metric": "AP", "protocol": "",
    "low": 0.2, "high": 0.4, "training_seconds": 12.3, "seconds_per_case": 0.5, "machine": "m", "commit": "c", "date": "2026-01-01",
}  # fmt: skip


@pytest.fixture
def publish():
    path = Path(__file__).parent.parent / "benchmarks" / "publish.py"
    spec = importlib.util.spec_from_file_location("publish", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def _run(folder, methods):
    rows = [ROW | {"method": name, "label": name, "value": value} for name, value in methods.items()]
    rows.append(rows[0] | {"label": "swept", "sweep": "a=1", "value": 0.9})
    cell = {"rows": rows, "replicates": [], "histogram": {}, "per_case": []}
    write_json(folder / "cells" / "flair" / "ms" / "all.json", cell)
    write_text(folder / "tables" / "flair-ms.md", "**flair: ms**\n\n| method | AP |\n|---|---|\n")
    write_text(folder / "figures" / "ap-flair.png", "png")


def test_what_is_shipped_is_of_methods_of_the_catalogue():
    rows = list(csv.DictReader((catalogue()["vae"].parent / "measured.csv").read_text().splitlines()))
    header = (catalogue()["vae"].parent / "measured.csv").read_text().split("\n", 1)[0]
    assert tuple(header.split(",")) == module.COLUMNS
    assert {row["method"] for row in rows} <= set(catalogue())


def test_a_run_is_published_for_the_catalogue_and_the_docs(publish, tmp_path, monkeypatch):
    _run(tmp_path / "run", {"vae": 0.3, "intensity": 0.25})
    write_text(tmp_path / "benchmarks" / "results" / "speed.csv", "model,ratio\nvae,1.0\n")
    count = publish.publish(tmp_path / "run", suite="own", size="64²", called="own", root=tmp_path)
    assert count == 3
    shown = (tmp_path / "docs" / "explanation" / "own" / "tables.txt").read_text()
    assert "Measured at 64²." in shown
    assert "**flair: ms**" in shown
    assert "![ap-flair](own/ap-flair.png)" in shown
    assert (tmp_path / "docs" / "explanation" / "own" / "ap-flair.png").is_file()
    made = tmp_path / "src" / "aberra" / "catalogue" / "measured.csv"
    rows = list(csv.DictReader(made.read_text().splitlines()))
    assert [(row["method"], row["ap"], row["m0"]) for row in rows] == [
        ("intensity", "0.250", "0.250"),
        ("vae", "0.300", "0.250"),
    ]
    monkeypatch.setattr(module, "_rows", lambda: tuple(rows))
    (row,) = measured("vae")
    assert in_words(row) == (
        "voxel AP 0.300 [0.200, 0.400] (M0 0.250) on flair: ms, `aberra benchmark own` at 64²; "
        "training 12 s, 0.50 s a case on m, 2026-01-01"
    )
    assert not measured("ae")


def test_several_seeds_are_a_mean_without_an_interval(publish):
    rows = [
        {key: str(value) for key, value in (ROW | {"method": "vae", "label": "vae", "size": "s", "sweep": "", "seed": seed, "value": value}).items()}
        for seed, value in ((0, 0.3), (1, 0.5))
    ]  # fmt: skip
    (row,) = publish.measured(rows)
    assert row["ap"] == "0.400"
    assert "low" not in row


def test_the_bar_is_the_plain_thresholds_better_polarity_and_short_trainings_are_marked(publish, monkeypatch):
    rows = [
        {key: str(value) for key, value in (ROW | {"method": method, "label": label, "size": "s", "sweep": "", "value": value, "late_gain": gain}).items()}
        for method, label, value, gain in (
            ("intensity", "intensity", 0.1, ""), ("intensity", "intensity, dark", 0.25, ""), ("vae", "vae", 0.2, "0.02"), ("dae", "dae", 0.2, "0.01"),
        )
    ]  # fmt: skip
    made = {row["method"]: row for row in publish.measured(rows)}
    assert {name: (row["m0"], row["undertrained"]) for name, row in made.items()} == {
        "intensity": ("0.250", 0),
        "vae": ("0.250", 1),
        "dae": ("0.250", 0),
    }
    text = in_words({key: str(value) for key, value in made["vae"].items()} | {"training_seconds": "12"})
    assert "training 12 s, undertrained (a lower bound), 0.50 s a case" in text


def test_results_keep_what_figures_need():
    text = results_csv(
        [ROW | {"method": "vae", "label": "vae", "value": 0.3, "family": "variational", "unit": "intensity"}]
    )
    (row,) = csv.DictReader(text.splitlines())
    assert tuple(row) == COLUMNS
    assert (row["family"], row["unit"]) == ("variational", "intensity")
