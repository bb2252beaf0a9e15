from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from aberra.cohort import Cohort
from aberra.detector.calibration import Calibration, ScoreHistogram
from aberra.errors import InputError, MismatchError, OutputError
from aberra.files import RECORD, write_json
from aberra.metrics.tables import headlines, rows_of
from aberra.metrics.voxel import Overlap
from aberra.result import Result
from aberra.volume import Volume
from aberra.workflows.evaluate import evaluate
from reorient import reorient


@pytest.fixture
def study(tmp_path):
    """Four cases, two with a lesion, and results that half see it."""
    rng = np.random.default_rng(0)
    rows, everything = ["case,patient,flair,lesion,label"], []
    for index in range(4):
        scan = Volume(data=rng.random((1, 12, 12, 12)) + 0.1, affine=np.eye(4))
        truth = np.zeros((12, 12, 12), bool)
        if index < 2:
            truth[3:6, 3:6, 3:6] = True
        scan.write(tmp_path / f"c{index}.nii.gz")
        lesion = ""
        if index < 2:
            scan.with_(data=truth[None], channels=("mask",)).write(tmp_path / f"l{index}.nii.gz")
            lesion = f"l{index}.nii.gz"
        rows.append(f"c{index},p{index},c{index}.nii.gz,{lesion},{int(index < 2)}")
        values = (rng.random((12, 12, 12)) * 0.5 + truth * 0.4).astype(np.float32)
        everything.append((truth, values))
        _result(f"c{index}", scan, values, index).save(tmp_path / "results" / f"c{index}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    histogram = ScoreHistogram()
    histogram.add(rng.random(1000).astype(np.float32) * 0.5)
    write_json(
        tmp_path / "results" / "calibration.json", Calibration.from_healthy(histogram, [0.1] * 19).to_json()
    )
    return tmp_path, everything


def _result(case, scan, values, index):
    return Result(
        case=case, paths={}, map=scan.with_(data=values[None], channels=("anomaly",)), mask=values > 0.55,
        reconstruction=None, score=float(4 - index), p=0.05 if index < 3 else 0.5, components=[],
        threshold={"protocol": "healthy-fpr-1", "value": 0.55}, scale={"low": 0.1, "high": 1.0}, model={"name": "toy"},
    )  # fmt: skip


def test_a_healthy_cohort_has_no_dice_in_the_table(study):
    folder, _ = study
    manifest = folder / "manifest.csv"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([lines[0], *lines[3:]]) + "\n")
    rows = rows_of(evaluate(folder / "results", manifest, n_boot=10, progress=False))
    assert [row["metric"] for row in rows if row["level"] == "voxel"] == ["mean score, normal"]
    assert any(row["level"] == "case" for row in rows)


def test_numbers_agree_with_direct_computation(study):
    folder, everything = study
    found = evaluate(folder / "results", folder / "manifest.csv", n_boot=50, progress=False)
    truth = np.concatenate([each.ravel() for each, _ in everything])
    scores = np.concatenate([each.ravel() for _, each in everything])
    assert found["voxel"]["pooled"]["ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-6)
    assert found["voxel"]["pooled"]["prevalence"] == pytest.approx(truth.mean())
    each = [average_precision_score(a.ravel(), b.ravel()) for a, b in everything[:2]]
    assert found["voxel"]["per_case"] == {"cases": 2, "mean": pytest.approx(np.mean(each), abs=1e-3)}
    assert found["case"]["auroc"] == 1.0
    five_percent = found["case"]["false_positive_rate"][0]
    assert (five_percent["nominal"], five_percent["realised"], five_percent["n"]) == (0.05, 0.5, 2)
    assert found["case"]["unresolved"] == [0.01]  # 19 calibration cases: the smallest p is 0.05
    assert found["lesion"]["lesions"] == 2
    saved = json.loads((folder / "results" / "evaluation" / "metrics.json").read_text())
    assert saved["voxel"]["at_threshold"].keys() == found["protocols"].keys()
    table = (folder / "results" / "evaluation" / "table.md").read_text()
    for line in table.splitlines():
        if "| Dice" in line or "⌈Dice⌉" in line:
            assert line.split("|")[3].strip(), "a Dice without its threshold protocol"
    for figure in found["figures"]:
        assert (folder / "results" / "evaluation" / figure).stat().st_size > 5000


def test_masks_are_measured_per_case_and_empty_ones_are_counted(study):
    folder, everything = study
    found = evaluate(folder / "results", folder / "manifest.csv", n_boot=10, curves=False, progress=False)
    own = [Overlap.of(values > 0.55, truth) for truth, values in everything[:2]]
    assert found["mask"]["protocol"] == "healthy-fpr-1"
    assert found["mask"]["dice"] == pytest.approx(np.mean([each.dice for each in own]))
    assert found["mask"]["jaccard"] == pytest.approx(np.mean([each.jaccard for each in own]))
    assert (found["mask"]["cases"], found["mask"]["empty"], found["mask"]["empty_healthy"]) == (2, 0, 2)
    assert found["reliability"] == {}
    assert found["uncertainty"] == {}
    assert not any("ECE" in row["metric"] for row in rows_of(found))
    first = Result.load(folder / "results" / "c0")
    replace(first, mask=np.zeros_like(first.mask)).save(folder / "results" / "c0")
    found = evaluate(folder / "results", folder / "manifest.csv", n_boot=10, curves=False, progress=False)
    assert found["mask"]["empty"] == 1
    assert found["mask"]["dice"] == pytest.approx(own[1].dice / 2)


def test_probabilities_and_uncertainties_are_judged_where_results_have_them(study):
    folder, everything = study
    probabilities, truths, wrong = [], [], []
    for index, (truth, values) in enumerate(everything):
        result = Result.load(folder / "results" / f"c{index}")
        error = (result.mask != truth).astype(np.float32)
        unsure = result.map.with_(data=error[None], channels=("uncertainty",))
        replace(result, uncertainty=unsure).save(folder / "results" / f"c{index}")
        probabilities.append(values.ravel())
        truths.append(truth.ravel())
        wrong.append(error.mean())
    calibration = json.loads((folder / "results" / "calibration.json").read_text())
    calibration["thresholds"]["fixed-0.5"] = 0.5
    write_json(folder / "results" / "calibration.json", calibration)

    found = evaluate(folder / "results", folder / "manifest.csv", n_boot=10, progress=False)

    p, y = np.concatenate(probabilities), np.concatenate(truths)
    assert found["reliability"]["brier"] == pytest.approx(((p - y) ** 2).mean(), rel=1e-5)
    assert found["uncertainty"]["error"] == pytest.approx(np.mean(wrong))
    assert found["uncertainty"]["ause"] == pytest.approx(0, abs=1e-9)
    assert found["uncertainty"]["correlation"] == pytest.approx(1)
    assert {"reliability.png", "sparsification.png"} <= set(found["figures"])
    metrics = {row["metric"] for row in rows_of(found)}
    assert {"ECE", "Brier score", "AUSE", "correlation of uncertainty and error"} <= metrics
    for figure in found["figures"]:
        assert (folder / "results" / "evaluation" / figure).stat().st_size > 5000


def test_ignored_voxels_are_neither_found_nor_missed_and_raters_are_compared(study):
    folder, everything = study
    truth, values = everything[0]
    scan = Volume.read(folder / "c0.nii.gz")
    ignored, second = np.zeros_like(truth), np.zeros_like(truth)
    ignored[:, :, :4], second[4:7, 3:6, 3:6] = True, True
    for name, array in (("ignore", ignored), ("second", second)):
        scan.with_(data=array[None].astype(np.float32), channels=("mask",)).write(folder / f"{name}.nii.gz")
    rows = (folder / "manifest.csv").read_text().splitlines()
    rows[0] += ",lesion2,ignore"
    rows[1] += ",second.nii.gz,ignore.nii.gz"
    rows[2:] = [row + ",," for row in rows[2:]]
    (folder / "both.csv").write_text("\n".join(rows) + "\n")
    found = evaluate(folder / "results", folder / "both.csv", n_boot=10, progress=False)
    case = found["per_case"][0]
    kept = ~ignored
    assert case["ap"] == pytest.approx(average_precision_score(truth[kept], values[kept]), abs=1e-3)
    assert case["mask_dice"] == pytest.approx(Overlap.of((values > 0.55) & kept, truth & kept).dice)
    assert case["raters_dice"] == pytest.approx(Overlap.of(second & kept, truth & kept).dice)
    assert found["raters"] == {"cases": 1, "mean": case["raters_dice"]}
    assert any(row["metric"] == "Dice of two raters (n = 1)" for row in rows_of(found))
    assert found["per_case"][1]["raters_dice"] is None
    ignored[:] = True  # nothing is left to judge of it
    scan.with_(data=ignored[None].astype(np.float32), channels=("mask",)).write(folder / "ignore.nii.gz")
    found = evaluate(folder / "results", folder / "both.csv", n_boot=10, progress=False)
    assert found["lesion"]["lesions"] == 1
    assert found["per_case"][0]["mask_dice"] is None


def test_missing_results_are_listed(study):
    folder, _ = study
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text() + "c9,p9,c0.nii.gz,,0\n")
    with pytest.raises(InputError, match="c9"):
        evaluate(folder / "results", manifest, progress=False)
    found = evaluate(folder / "results", manifest, allow_missing=True, n_boot=10, progress=False)
    assert found["missing"] == ["c9"]


def test_maps_of_other_scans_are_refused(study):
    folder, _ = study
    Volume(data=np.ones((1, 5, 5, 5)), affine=np.eye(4)).write(folder / "c3.nii.gz")
    with pytest.raises(MismatchError, match="c3"):
        evaluate(folder / "results", folder / "manifest.csv", progress=False)


def test_scans_and_truth_may_have_another_order_of_axes_than_the_maps(study):
    folder, _ = study
    before = evaluate(folder / "results", folder / "manifest.csv", n_boot=10, progress=False)
    for name in ("c0", "l0", "l1"):
        reorient(folder / f"{name}.nii.gz")
    after = evaluate(folder / "results", folder / "manifest.csv", n_boot=10, progress=False)
    assert after["voxel"] == before["voxel"]
    assert after["lesion"] == before["lesion"]


def test_paired_comparison(study):
    folder, everything = study
    cohort = Cohort.read(folder / "manifest.csv")
    for case, (_, values) in zip(cohort, everything, strict=True):
        result = Result.load(folder / "results" / case.case)
        noise = np.random.default_rng(1).random(values.shape).astype(np.float32)
        replace(result, map=result.map.with_(data=noise[None])).save(folder / "other" / case.case)
    evaluate(folder / "other", cohort, n_boot=10, progress=False)
    found = evaluate(folder / "results", cohort, against=[folder / "other"], n_boot=10, progress=False)
    assert found["against"][0]["difference"] < 0
    assert found["against"][0]["n"] == 2
    with pytest.raises(InputError, match="aberra evaluate"):
        evaluate(folder / "results", cohort, against=[folder], n_boot=10, progress=False)


def test_every_case_that_cannot_be_read_is_told_and_never_left_out_silently(study, monkeypatch):
    folder, _ = study
    results, manifest = folder / "results", folder / "manifest.csv"
    (results / "c0" / "map.nii.gz").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"c0/map\.nii\.gz"):
        evaluate(results, manifest, n_boot=10, progress=False)
    (results / "c2" / "result.json").write_text("{}")
    with pytest.raises(InputError, match=r"2 case\(s\) cannot be evaluated .*\n.*c0.*\n.*c2.*damaged"):
        evaluate(results, manifest, n_boot=10, progress=False)
    assert not (results / "evaluation" / "metrics.json").exists()
    found = evaluate(results, manifest, allow_missing=True, n_boot=10, curves=False, progress=False)
    assert (found["cases"], sorted(found["failed"])) == (2, ["c0", "c2"])
    assert [row["case"] for row in found["per_case"]] == ["c1", "c3"]


def test_what_nobody_foresaw_in_the_pools_stops_with_the_cases_name(study, monkeypatch):
    folder, _ = study

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("aberra.workflows.tally.Overlap.of", broken)
    with pytest.raises(
        InputError, match=r"c0: unexpected ZeroDivisionError; please report it, log at .*c0\.log"
    ):
        evaluate(folder / "results", folder / "manifest.csv", allow_missing=True, n_boot=10, progress=False)
    assert (folder / "results" / "logs" / "c0.log").is_file()


def test_only_results_get_an_evaluation_and_foreign_files_stay(study):
    folder, _ = study
    results, manifest = folder / "results", folder / "manifest.csv"
    (results / "evaluation").mkdir()
    (results / "evaluation" / "metrics.json").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        evaluate(results, manifest, n_boot=10, progress=False)
    assert (results / "evaluation" / "metrics.json").read_text() == "mine"
    for index in range(4):
        (results / f"c{index}" / RECORD).unlink()
    (results / "evaluation" / "metrics.json").unlink()
    with pytest.raises(OutputError, match="not a folder of results"):
        evaluate(results, manifest, n_boot=10, progress=False)
    assert not list((results / "evaluation").iterdir())


def test_the_screen_gets_the_headlines_and_the_files_every_row():
    """One threshold on the screen: that of the masks."""
    rows = [
        {"metric": "Dice per case, mean", "protocol": "fixed-0.5"},
        {"metric": "Dice per case, mean", "protocol": "healthy-fpr-5"},
        {"metric": "⌈Dice⌉", "protocol": "oracle, t = 0.3"},
        {"metric": "AP", "protocol": ""},
        {"metric": "χ²", "protocol": ""},
    ]
    assert headlines(rows, "fixed-0.5") == [rows[0], rows[2], rows[3]]


def test_what_was_changed_is_held_against_what_disease_changed(study):
    """c0 and c1 are diseased, and the method takes away half of what disease added."""
    folder, everything = study
    manifest = folder / "manifest.csv"
    head, *rows = manifest.read_text().splitlines()
    lines = [head + ",truth"]
    for index, row in enumerate(rows):
        scan = Volume.read(folder / f"c{index}.nii.gz")
        truth = -0.4 * everything[index][0].astype(np.float32)
        named = ""
        if index < 2:
            scan.with_(data=truth[None], channels=("truth",)).write(folder / f"t{index}.nii.gz")
            named = f"t{index}.nii.gz"
        lines.append(f"{row},{named}")
        change = truth / 2 if index < 2 else np.full_like(truth, 0.1)
        result = Result.load(folder / "results" / f"c{index}")
        healthy = scan.with_(data=scan.data + change)
        replace(result, reconstruction=healthy, input={"intensities_kept": index != 3}).save(
            folder / "results" / f"c{index}"
        )
    manifest.write_text("\n".join(lines) + "\n")
    found = evaluate(folder / "results", manifest, n_boot=10, curves=False, progress=False)
    truth = -0.4 * everything[0][0]
    assert found["change"]["change_mse"]["mean"] == pytest.approx((truth**2).mean() / 4, rel=1e-3)
    assert found["change"]["change_ssim"]["mean"] == pytest.approx(1, abs=1e-3)
    # c3 is not in its scan's intensities
    assert found["change"]["identity_mse"] == {"cases": 1, "mean": pytest.approx(0.01, rel=1e-3)}
    named = {row["metric"]: row["value"] for row in rows_of(found) if row["level"] == "change"}
    assert set(named) == {"MSE", "SSIM", "MSE, healthy"}


def test_probabilities_of_cases_are_read_from_their_results(study):
    folder, _ = study
    for index, p in enumerate((0.9, 0.2, 0.1, 0.4)):  # c0 and c1 are diseased
        result = Result.load(folder / "results" / f"c{index}")
        replace(result, probability=p).save(folder / "results" / f"c{index}")
    found = evaluate(folder / "results", folder / "manifest.csv", n_boot=10, curves=False, progress=False)
    assert (found["case"]["accuracy"], found["case"]["kappa"]) == (0.75, 0.5)
    named = {row["metric"] for row in rows_of(found) if row["level"] == "case"}
    assert {"accuracy", "kappa", "ECE", "Brier score"} <= named
    broken = folder / "results" / "c0" / "result.json"
    broken.write_text(broken.read_text().replace('"probability": 0.9', '"probability": 9'))
    with pytest.raises(InputError, match="probability"):
        evaluate(folder / "results", folder / "manifest.csv", n_boot=10, curves=False, progress=False)
