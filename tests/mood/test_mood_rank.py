from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from mood_cases import PIXEL, SAMPLE, challenge

from aberra.errors import ConfigError, InputError, ManifestError, OutputError
from aberra.mood.rank import rank
from aberra.mood.scorer import score


def _written(path, table, column="dataset"):
    rows = [f"team,{column},value"]
    rows += [f"{team},{name},{value}" for name, values in table.items() for team, value in values.items()]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("column", ["dataset", "task"])
def test_a_table_is_ranked_and_compared(tmp_path, column):
    sample = _written(tmp_path / "sample.csv", SAMPLE, column)
    found = rank([sample], out=tmp_path / "out", against=[_written(tmp_path / "pixel.csv", PIXEL)])
    assert [place.rank for place in found.places] == [1, 2, 3, 4, 5, 6, 7, 7]
    assert set(found.agreement) == {"brain", "abdomen", "overall"}
    with (tmp_path / "out" / "ranking.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rank"], row["dataset_rank"]) for row in rows if row["team"] == "FPI"] == [
        ("1", "1"),
        ("1", "2"),
    ]
    assert (
        "| 1 | FPI | 0.962 (1) | 0.874 (2) | 1.5 | 1.75 (1) |"
        in (tmp_path / "out" / "ranking.md").read_text()
    )


def test_generated_anomalies_and_real_lesions_of_a_benchmark(tmp_path):
    head = "suite,task,cohort,label,seed,sweep,metric,protocol,value"
    rows = [
        f"s,brain,{cohort},{label},{seed},,{metric},{protocol},{value}"
        for cohort, values in (("test", (0.9, 0.6, 0.3)), ("lesions", (0.1, 0.2, 0.3)))
        for label, value in zip(("fpi", "vae, trimmed", "vae"), values, strict=True)
        for seed in (0, 1)
        for metric, protocol in (("AP", ""), ("Dice", "oracle"), ("Dice", "healthy-fpr-1"))
    ]
    path = tmp_path / "results.csv"
    path.write_text(
        "\n".join([head, *(row.replace("vae, trimmed", '"vae, trimmed"') for row in rows)]) + "\n"
    )
    found = rank(
        [path],
        out=tmp_path / "out",
        against=[path],
        datasets=["brain/test"],
        datasets_against=["brain/lesions"],
    )
    assert [place.team for place in found.places] == ["fpi", "vae, trimmed", "vae"]
    assert found.agreement["overall"] == pytest.approx((-1, 3))
    assert found.interval == pytest.approx((-1, -1))
    with (tmp_path / "out" / "against.csv").open(newline="") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [
            ("fpi", "1", "3", "2"), ("vae, trimmed", "2", "2", "0"), ("vae", "3", "1", "-2"),
        ]  # fmt: skip
    assert (tmp_path / "out" / "against.png").stat().st_size > 5000
    assert "95 % over teams -1.000 to -1.000" in (tmp_path / "out" / "ranking.md").read_text()
    assert len(rank([path], metric="Dice").places[0].values) == 2
    with pytest.raises(ManifestError, match="no metric 'AUROC'; there are AP, Dice"):
        rank([path], metric="AUROC")
    with pytest.raises(ConfigError, match="brain/test"):
        rank([path], datasets=["brain/tset"])


def test_nothing_is_written_without_a_folder(tmp_path):
    sample = _written(tmp_path / "sample.csv", SAMPLE)
    assert rank([sample]).places[0].team == "FPI"
    assert [path.name for path in tmp_path.iterdir()] == ["sample.csv"]


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Folders of scores of three teams, each with more noise than the one before, and of the first
    one's maps.
    """
    folder = tmp_path_factory.mktemp("scores")
    labels, predictions = challenge(folder, cases=12)
    facts = [f"c{n},{'ab'[n // 2 % 2]},0.{n}" for n in range(1, 12, 2)]
    (labels / "labels.csv").write_text("\n".join(["case,subclass,difficulty", *facts]) + "\n")
    rng = np.random.default_rng(0)
    made = {"sample": [], "pixel": []}
    for index, team in enumerate(("good", "noisy", "none")):
        for path in (predictions / "sample").iterdir():
            told = float((labels / "sample" / path.name).read_text())
            path.write_text(repr((2 - index) * told / 2 + index * rng.random()))
        for task in ("sample", "pixel") if team == "good" else ("sample",):
            out = folder / f"{team}-{task}"
            score(predictions, labels, task=task, out=out, team=team, dataset="toy", n_boot=10, batch=4)
            made[task].append(out)
    return made, labels, predictions


def test_scores_have_rank_frequencies_and_subclasses(scores, tmp_path):
    found = rank(scores[0]["sample"], out=tmp_path / "out", replicates=100)
    assert found.places[0].team == "good"
    assert all(sum(counts) == 100 for counts in found.stability.values())
    assert found.stability["good"][0] == 100
    rows = found.subclasses["toy"]
    assert {row["subclass"] for row in rows} == {"a", "b"}
    assert all(row["oracle"] == row["best"] == 1.0 and row["median"] <= row["oracle"] for row in rows)
    assert {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."} == {
        "ranking.csv", "ranking.json", "ranking.md", "stability.csv", "stability.png", "subclasses.csv", "subclasses-toy.png"
    }  # fmt: skip


def test_batches_are_the_units_of_pixels(scores):
    found = rank(scores[0]["pixel"], replicates=20)
    assert found.stability == {"good": [20]}


def test_scores_of_two_tasks_other_seeds_or_the_same_team_are_refused(scores, tmp_path):
    made, labels, predictions = scores
    with pytest.raises(InputError, match="one task at a time"):
        rank([made["sample"][0], made["pixel"][0]])
    with pytest.raises(InputError, match=r"scores of good on toy already; .*--team"):
        rank([made["sample"][0], made["sample"][0]])
    score(predictions, labels, task="sample", out=tmp_path / "x", team="x", dataset="toy", n_boot=10, seed=1)
    with pytest.raises(InputError, match="same labels and options"):
        rank([made["sample"][0], tmp_path / "x"])


def test_damaged_tables_and_folders_are_refused(scores, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("team,dataset,value\na,x,0.5\na,x,0.6\nb,x,high\n,x,1\n")
    with pytest.raises(ManifestError) as told:
        rank([table])
    assert [line.partition(":")[0] for line in told.value.problems] == ["row 3", "row 4", "row 5"]
    table.write_text("team,score\na,0.5\n")
    with pytest.raises(ManifestError, match="team, dataset and value"):
        rank([table])
    (tmp_path / "score.json").write_text(json.dumps({"team": "a"}))
    with pytest.raises(InputError, match="damaged"):
        rank([tmp_path])


def test_a_team_without_a_value_is_said(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("team,dataset,value\na,x,0.5\nb,x,0.4\nb,y,0.1\nc,y,\n")
    assert rank([table]).notes == [
        "c has no value on x, which counts as 0", "a has no value on y, which counts as 0"
    ]  # fmt: skip


def test_another_ranking_is_not_written_over(tmp_path):
    sample = _written(tmp_path / "sample.csv", SAMPLE)
    rank([sample], out=tmp_path / "out")
    rank([sample], out=tmp_path / "out")
    with pytest.raises(OutputError, match="something else"):
        rank([sample], out=tmp_path / "out", seed=2)
