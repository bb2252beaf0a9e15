from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from aberra.benchmark import Suite, run
from aberra.benchmark.cohorts import materialise, share_of, task_cohorts
from aberra.benchmark.machine import peak_memory
from aberra.benchmark.rows import COLUMNS, METRICS, read_cells
from aberra.benchmark.strips import Picture
from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import ConfigError, OutputError
from aberra.prepare.brain_mask import BrainMask
from aberra.volume import Volume

ROWS = {"vae", "vae, smoothed", "intensity", "intensity-unfiltered", "intensity-depth", "zmap", "random"}
ROWS |= {"intensity, dark", "intensity, two-sided"}


@pytest.fixture(scope="module")
def finished(suite_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "out"
    suite = Suite.load(suite_file)
    return suite, out, run(suite, out, progress=False)


def test_every_cell_is_measured_and_tasks_without_data_are_skipped_with_a_reason(finished):
    _, out, summary = finished
    assert (summary.done, summary.kept, summary.failed) == (18, 0, {})
    assert "--data" in summary.skipped["real"]
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert list(rows[0]) == list(COLUMNS)
    for row in rows:
        for column in ("commit", "data_hash", "split_hash", "machine", "date", "peak_mb", "seconds_per_case"):
            assert row[column], column
    ap = {
        row["label"]: float(row["value"])
        for row in rows
        if row["metric"] == "AP" and row["cohort"] == "lesions"
    }
    assert set(ap) == ROWS
    assert ap["random"] < 0.3 < ap["intensity"] + 0.3
    assert not (out / "maps").exists() or not any((out / "maps").iterdir())


def test_every_cell_keeps_a_picture_of_the_same_slice(finished):
    _, out, _ = finished
    for cohort in ("lesions", "healthy"):
        shown = {
            key[2]: Picture.load(path) for key, path in read_cells(out).pictures.items() if key[1] == cohort
        }
        assert set(shown) == ROWS
        first = shown["vae"]
        for each in shown.values():
            assert each.case == first.case
            np.testing.assert_array_equal(each.scan, first.scan)
        assert first.truth.any() == (cohort == "lesions")
        assert first.restored.shape == first.map.shape == first.scan.shape
        assert not shown["random"].restored.size
        assert imread(out / "figures" / f"strip-phantom-{cohort}.png").std() > 0.01


def test_lesion_metrics_are_not_claimed_on_healthy_cohorts(finished):
    _, out, _ = finished
    healthy = {row["metric"] for row in read_cells(out).rows if row["cohort"] == "healthy"}
    assert "l1-RE_N" in healthy
    assert "healthy FPR" not in healthy, "three calibration cases resolve no rate"
    assert not healthy & {"AP", "Dice", "AUROC", "⌈Dice⌉"}


def test_every_metric_can_be_chosen_for_the_tables(finished):
    _, out, _ = finished
    assert {row["metric"] for row in read_cells(out).rows} <= set(METRICS)


def test_a_finished_run_shows_other_columns_when_it_is_resumed(finished):
    suite, out, _ = finished
    table = out / "tables" / "phantom-lesions.csv"
    before = table.read_text()
    again = run(replace(suite, metrics=("chi2",)), out, resume=True, progress=False)
    assert again.done == 0
    assert table.read_text().startswith("method,chi2,training s,")
    run(suite, out, resume=True, progress=False)
    assert table.read_text() == before


def test_rows_that_learn_the_same_share_one_trained_model(finished):
    _, out, _ = finished
    assert len(list((out / "models").glob("vae-*"))) == 1
    plain, smooth = (Detector.load(out / "detectors" / "phantom" / name) for name in _folders(out))
    for a, b in zip(plain.model.parameters(), smooth.model.parameters(), strict=True):
        assert bool((a == b).all())
    assert plain.calibration != smooth.calibration


def test_densities_of_one_training_share_its_encoder(suite_file, tmp_path):
    rows = "".join(
        f'[[methods]]\nname = "vae-gmm"\nlabel = "{number}"\nsettings = {{ "model.density.components" = [{number}], "model.encoder.latent" = 4, "model.encoder.network.width" = 4 }}\n'
        for number in (1, 2)
    )
    text = suite_file.read_text()
    own = tmp_path / "densities.toml"
    own.write_text(text[: text.index("[tasks.real]")].replace('"model.latent" = 8\n', "") + rows)
    summary = run(Suite.load(own), tmp_path / "out", progress=False)
    assert not summary.failed
    models = sorted((tmp_path / "out" / "models").glob("feature-density-*"))
    assert len(models) == 2
    assert sum((folder / "run" / "metrics.jsonl").exists() for folder in models) == 1
    first, second = (Detector.load(folder).model for folder in models)
    for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True):
        assert bool((a == b).all())


def _folders(out):
    """Of the rows ``vae`` and ``vae, smoothed``."""
    return [
        next((out / "detectors" / "phantom").glob(pattern)).name
        for pattern in ("vae-0-*", "vae--smoothed-*-0-*")
    ]


def test_resuming_keeps_cells_and_measures_only_what_is_missing(finished):
    suite, out, _ = finished
    cell = next((out / "cells" / "phantom" / "lesions").glob("vae-0.json"))
    before = json.loads(cell.read_text())
    stamp = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/*.json")}
    cell.unlink()
    again = run(suite, out, resume=True, progress=False)
    assert (again.done, again.kept) == (1, 17)
    after = json.loads(cell.read_text())
    timing = {"seconds_per_case", "peak_mb"}
    for a, b in zip(before["rows"], after["rows"], strict=True):
        assert {k: v for k, v in a.items() if k not in timing} == {
            k: v for k, v in b.items() if k not in timing
        }
    assert all(path.stat().st_mtime_ns == stamp[path] for path in stamp if path != cell)


def _one_row(path, cohorts, method):
    """Write a suite of one row on cohorts that are there."""
    parts = [f'[cohorts.{name}]\nmanifest = "{folder}/manifest.csv"\n' for name, folder in cohorts.items()]
    task = '[tasks.phantom]\ntrain = "train"\nvalidation = "validation"\ntest = ["lesions"]\n'
    row = f'[[methods]]\nname = "{method}"\nlabel = "mine"\n'
    path.write_text("bootstrap = 5\n" + "".join(parts) + task + row)
    return path


def test_a_cell_is_measured_again_when_its_method_has_changed_and_only_then(finished, tmp_path, capfd):
    cohorts = {name: finished[1] / "cohorts" / name for name in ("train", "validation", "lesions")}
    method, out = tmp_path / "mine.toml", tmp_path / "out"
    path = _one_row(tmp_path / "suite.toml", cohorts, method)

    def measured(text, **options):
        method.write_text(f'base = "intensity"\n{text}')
        summary = run(Suite.load(path), out, only=["mine"], **options)
        (ap,) = (row["value"] for row in read_cells(out).rows if row["metric"] == "AP")
        return (summary.done, summary.again, summary.kept), ap

    first, bright = measured("")
    assert first == (1, 0, 0)
    texts = 'title = "Other words"\nfailure = "Texts decide nothing."'
    assert measured(texts, resume=True) == ((0, 0, 1), bright)
    capfd.readouterr()
    again, dark = measured('[model]\npolarity = "dark"', resume=True)
    assert again == (1, 1, 0)
    assert "measured again, since method or data have changed: lesions" in capfd.readouterr().err
    assert dark != bright
    assert measured("", resume=True) == ((1, 1, 0), bright)


@pytest.mark.parametrize("changed", ["lesions", "validation"])
def test_a_cell_is_measured_again_when_the_data_have_changed(finished, tmp_path, changed):
    cohorts = {name: finished[1] / "cohorts" / name for name in ("train", "validation", "lesions")}
    cohorts[changed] = shutil.copytree(cohorts[changed], tmp_path / changed)
    suite = Suite.load(_one_row(tmp_path / "suite.toml", cohorts, "intensity"))
    assert run(suite, tmp_path / "out", only=["mine"], progress=False).done == 1
    scan = next(iter(Cohort.read(cohorts[changed] / "manifest.csv")[0].channels.values()))
    volume = Volume.read(scan)
    volume.with_(data=volume.data**2).write(scan)
    again = run(suite, tmp_path / "out", only=["mine"], resume=True, progress=False)
    assert (again.done, again.again) == (1, 1)


def test_results_are_never_mixed_or_overwritten(finished, tmp_path):
    suite, out, _ = finished
    with pytest.raises(OutputError, match="--resume"):
        run(suite, out, progress=False)
    with pytest.raises(OutputError, match="other cohorts, settings or budget"):
        run(replace(suite, bootstrap=7), out, resume=True, progress=False)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        run(suite, tmp_path, progress=False)


def test_only_and_tasks_choose_rows(suite_file, tmp_path):
    suite = Suite.load(suite_file)
    summary = run(suite, tmp_path / "out", only=["random"], tasks=["phantom"], seeds=2, progress=False)
    assert (summary.done, summary.skipped) == (4, {})
    assert {row["seed"] for row in read_cells(tmp_path / "out").rows} == {0, 1}
    with pytest.raises(ConfigError, match="Did you mean 'phantom'"):
        run(suite, tmp_path / "other", tasks=["phantoms"], progress=False)


def test_a_saved_detector_can_be_a_row(finished, suite_file, tmp_path):
    _, out, _ = finished
    text = suite_file.read_text().split("[[methods]]")[0]
    mine = tmp_path / "mine.toml"
    mine.write_text(
        text + f'[[methods]]\ndetector = "{out}/detectors/phantom/{_folders(out)[0]}"\nlabel = "mine"\n'
    )
    run(Suite.load(mine), tmp_path / "out", only=["mine"], tasks=["phantom"], progress=False)
    ours = {r["metric"]: r["value"] for r in read_cells(tmp_path / "out").rows if r["cohort"] == "lesions"}
    theirs = {
        r["metric"]: r["value"]
        for r in read_cells(out).rows
        if r["cohort"] == "lesions" and r["label"] == "vae"
    }
    assert ours["AP"] == theirs["AP"]


def test_a_patient_to_learn_from_may_not_be_tested(suite_file, tmp_path):
    text = suite_file.read_text().replace("seed = 4 }", "seed = 1 }")
    path = tmp_path / "leak.toml"
    path.write_text(text)
    suite = Suite.load(path)
    with pytest.raises(ConfigError, match="patient"):
        task_cohorts(suite, suite.tasks[0], tmp_path, None, progress=False)


def test_shares_keep_whole_patients_and_all_of_validation(suite_file, tmp_path):
    suite = Suite.load(suite_file)
    learn, _ = task_cohorts(suite, suite.tasks[0], tmp_path, None, progress=False)
    half = share_of(learn, 0.5)
    assert len(half.select(split="train")) == 2
    assert len(half.select(split="val")) == 2
    assert len(share_of(learn, 0.01).select(split="train")) == 1


def test_a_cohort_may_have_one_brain_mask_for_all_methods(finished, tmp_path):
    """Heads come without a mask: it is found once, and what is judged is inside."""
    lesions = finished[1] / "cohorts" / "lesions"
    bare = [replace(case, mask=None) for case in Cohort.read(lesions / "manifest.csv")]
    table = "case,flair,lesion,label\n" + "".join(
        f"{case.case},{case.channels['flair']},{case.lesion or ''},{int(not case.healthy)}\n" for case in bare
    )
    (tmp_path / "bare.csv").write_text(table)
    path = _one_row(
        tmp_path / "suite.toml", {"train": lesions, "validation": lesions, "lesions": lesions}, "intensity"
    )
    text = path.read_text().replace(
        f'"{lesions}/manifest.csv"\n[tasks', f'"{tmp_path}/bare.csv"\nmask = "otsu"\n[tasks'
    )
    path.write_text(text)
    suite = Suite.load(path)
    masked = materialise(suite, "lesions", tmp_path / "cohorts", None, progress=False)
    for case, scan in zip(masked, bare, strict=True):
        found, expected = case.read(), BrainMask(method="otsu")(scan.read())
        np.testing.assert_array_equal(found.mask, expected.mask)
        assert scan.read().mask is None
        assert not np.array_equal(found.mask, found.data[0] != 0)
    stamp = {file: file.stat().st_mtime_ns for file in (tmp_path / "cohorts").rglob("*.nii.gz")}
    assert len(stamp) == 3
    again = materialise(suite, "lesions", tmp_path / "cohorts", None, progress=False)
    assert again.data_hash() == masked.data_hash()
    assert all(file.stat().st_mtime_ns == time for file, time in stamp.items())
    path.write_text(text.replace('"otsu"', '"deepbed"'))
    with pytest.raises(ConfigError, match=r"mask 'deepbed'\. Did you mean 'deepbet'"):
        Suite.load(path)


def test_a_shifted_cohort_has_the_same_anatomy_and_lesions(suite_file, tmp_path):
    text = suite_file.read_text() + (
        '[cohorts.shifted]\nphantom = { cases = 3, lesions = 0.67, contrast = "flair", spacing = 8.0, seed = 4, shift = "scanner" }\n'
    )
    path = tmp_path / "s.toml"
    path.write_text(text)
    suite = Suite.load(path)
    plain, shifted = (
        materialise(suite, name, tmp_path, None, progress=False) for name in ("lesions", "shifted")
    )
    changed = 0
    for a, b in zip(plain, shifted, strict=True):
        one, two = a.read(), b.read()
        np.testing.assert_array_equal(one.mask, two.mask)
        if one.lesion is not None:
            np.testing.assert_array_equal(one.lesion, two.lesion)
        changed += not np.allclose(one.data, two.data)
    assert changed == 3


def test_peak_memory_sees_a_block_that_is_gone_afterwards():
    with peak_memory() as small:
        pass
    with peak_memory() as large:
        block = np.ones(200 * 2**20, dtype=np.uint8)
        del block
    assert large.mb - small.mb > 150


SITES = """
[cohorts.north]
phantom = { site = "north", cases = 6, lesions = 0.5, spacing = 8.0, seed = 1 }
[cohorts.south]
phantom = { site = "south", cases = 4, lesions = 0.0, spacing = 8.0, seed = 2, shift = "gain" }
[cohorts.train]
union = ["north", "south"]
share = [0.0, 0.5]
[cohorts.validation]
union = ["south"]
share = [0.5, 1.0]
[cohorts.test]
union = ["north", "south"]
share = [0.5, 1.0]
[tasks.t]
train = "train"
validation = "validation"
test = ["test"]
"""


def _names(cohort):
    return {case.case for case in cohort}


def test_cohorts_of_several_sites_are_one_and_seeds_split_them_anew(tmp_path):
    path = tmp_path / "sites.toml"
    path.write_text("resplit = true\n" + SITES)
    suite = Suite.load(path)
    options = {"folder": tmp_path / "out", "data": None, "progress": False}
    whole = materialise(suite, "north", **options), materialise(suite, "south", **options)
    assert {case.groups["site"] for case in whole[0]} == {"north"}
    splits = []
    for order in (None, 0, 1):
        train, test = (materialise(suite, name, **options, order=order) for name in ("train", "test"))
        assert not _names(train) & _names(test)
        assert _names(train) | _names(test) == _names(whole[0]) | _names(whole[1])
        splits.append(frozenset(_names(train)))
        if order is not None:  # of each label, its share
            assert abs(sum(not case.healthy for case in train) - 1.5) <= 0.5
    assert len(set(splits)) == 3
    again = materialise(suite, "train", **options, order=1)
    assert frozenset(_names(again)) == splits[2]


def test_a_case_in_two_cohorts_of_one_is_refused(tmp_path):
    path = tmp_path / "sites.toml"
    path.write_text(SITES.replace('union = ["south"]', 'union = ["south", "south"]'))
    with pytest.raises(ConfigError, match="give each a site"):
        materialise(Suite.load(path), "validation", tmp_path / "out", None, progress=False)


def test_a_patient_of_a_union_may_not_be_tested(tmp_path):
    path = tmp_path / "sites.toml"
    path.write_text(SITES.replace("share = [0.5, 1.0]\n[tasks", "share = [0.4, 1.0]\n[tasks"))
    suite = Suite.load(path)
    with pytest.raises(ConfigError, match="patient"):
        task_cohorts(suite, suite.tasks[0], tmp_path / "out", None, progress=False)
