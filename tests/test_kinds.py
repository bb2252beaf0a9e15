"""Kinds of lesion from a cohort's masks to the evaluation: bright balls have the value 2, dark
ones 4.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.detector.windows import Runner
from aberra.errors import TrainingError
from aberra.method import Method
from aberra.metrics.tables import rows_of
from aberra.prepare.orient import Orient
from aberra.result import Result
from aberra.scores.segmentation import Segmentation, entropy
from aberra.training import Sampler, TrainingConfig
from aberra.volume import Volume
from aberra.workflows.detect import detect_cohort
from aberra.workflows.evaluate import evaluate
from aberra.workflows.predictions import import_predictions

SMALL = {
    "prepare.size": 32,
    "prepare.normalise": "robust",  # a percentile would cut the bright ones off
    "model.kinds": [2, 4],
    "model.width": 8,
    "model.levels": 2,
    "training.steps": 200,
    "training.batch_size": 6,
    "training.learning_rate": 3e-3,
}


def _case(seed, *, ill):
    """A head of one tissue with noise, with a bright and a dark ball; RAI, 2 mm × 2 mm × 3 mm."""
    rng = np.random.default_rng(seed)
    shape = (34, 30, 8)
    place = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    inside = ((place / (15, 13, 6)) ** 2).sum(axis=-1) < 1
    data = np.where(inside, 0.5 + 0.03 * rng.standard_normal(shape), 0)
    kinds = np.zeros(shape, np.uint8)
    if ill:
        side = rng.choice([-1, 1])
        for value, level, x in ((2, 0.4, 6 * side), (4, -0.3, -6 * side)):
            centre = (x, rng.uniform(-5, 5), rng.uniform(-1, 1))
            ball = (((place - centre) / (3.5, 3.5, 2.5)) ** 2).sum(axis=-1) < 1
            data[ball], kinds[ball] = data[ball] + level, value
    affine = np.diag([2.0, 2.0, -3.0, 1.0])
    return Volume(data=data[None], affine=affine, lesion=kinds > 0, kinds=kinds)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Ten cases to learn from, two to watch and calibrate on, three to test."""
    folder = tmp_path_factory.mktemp("kinds")
    rows = ["case,patient,t1,lesion,label,split"]
    for index, (split, ill) in enumerate([("train", 1)] * 8 + [("train", 0)] * 2 + [("val", 0), ("val", 1)] + [("test", 1)] * 2 + [("test", 0)]):  # fmt: skip
        volume, name = _case(index, ill=ill), f"c{index:02}"
        volume.write(folder / f"{name}.nii.gz")
        volume.with_(data=volume.labels[None], channels=("mask",)).write(folder / f"{name}_lesion.nii.gz")
        rows.append(f"{name},{name},{name}.nii.gz,{f'{name}_lesion.nii.gz' if ill else ''},{ill},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder, Cohort.read(folder / "manifest.csv")


def test_from_masks_of_two_kinds_to_their_dice(study):
    folder, cohort = study
    detector = Detector.fit(Method.load("segnet", SMALL), cohort, out=folder / "model", workers=1)
    detector = Detector.load(folder / "model")
    assert detector.model.kinds == (2, 4)
    test = cohort.select(split="test")
    detect_cohort(detector, test, out=folder / "results", report=False)

    for case in test:
        scan, written = case.read(), Volume.read(folder / "results" / case.case / "kinds.nii.gz")
        assert written.same_grid(scan)
        result = Result.load(folder / "results" / case.case)
        np.testing.assert_array_equal(result.kinds, written.data[0])
        np.testing.assert_array_equal(result.kinds > 0, result.map.data[0] > 0.5)
        assert set(np.unique(result.kinds)) <= {0, 2, 4}
        assert result.threshold["protocol"] == "fixed-0.5"

    found = evaluate(folder / "results", test, n_boot=10, curves=False, progress=False)
    assert set(found["kinds"]) == {"2", "4"}
    assert all(each["protocol"] == "fixed-0.5" and each["cases"] == 2 for each in found["kinds"].values())
    assert all(each["dice"] > 0.5 for each in found["kinds"].values())
    rows = {(row["metric"], row["protocol"]): row["value"] for row in rows_of(found)}
    truths = [case.read().labels for case in test if case.lesion]
    drawn = [Result.load(folder / "results" / case.case).kinds for case in test if case.lesion]
    for value in (2, 4):
        own = [
            2 * ((a == value) & (b == value)).sum() / ((a == value).sum() + (b == value).sum())
            for a, b in zip(drawn, truths, strict=True)
        ]
        assert rows[f"Dice per case, mean, kind {value}", "fixed-0.5"] == pytest.approx(np.mean(own))
        assert found["per_case"][0]["kinds"][str(value)] == pytest.approx(own[0])
        assert rows[f"Dice, kind {value}", "fixed-0.5"] == found["kinds"][str(value)]["dice"]


def test_a_value_that_no_mask_has_is_named(study):
    folder, cohort = study
    method = Method.load("segnet", SMALL | {"model.kinds": [3], "training.steps": 1})
    with pytest.raises(TrainingError, match=r"kinds=\[3\].*the masks have 2, 4"):
        Detector.fit(method, cohort, out=folder / "none", workers=1)


def test_samples_have_label_values_only_where_they_are_asked_for(study):
    volumes = [Orient(to="SPL")(case.read()) for case in study[1].select(split="train")]
    options = {"dims": 2, "size": (30, 34), "lesions": True}
    config = TrainingConfig(balance=1.0, min_foreground=0.0)
    plain = Sampler(volumes, config, **options).draw([0], 20)[-1]
    assert set(plain.unique().tolist()) == {0, 1}
    sampler = Sampler(volumes, config, kinds=(4,), **options)
    truth = sampler.draw([0], 20)[-1]
    assert set(truth.unique().tolist()) == {0, 2, 4}
    assert ((truth == 4).flatten(1).any(dim=1)).all()  # balance counts what is asked for


class Draws:
    """Two kinds, given probabilities one draw."""

    kinds = (2, 4)

    def segmentations(self, x, count):
        for one, two in [(0.2, 0.4), (0.6, 0.4)][:count]:
            yield torch.stack([torch.full_like(x[:, 0], one), torch.full_like(x[:, 0], two)], dim=1)


def test_the_map_is_any_lesion_and_the_uncertainty_that_of_the_sum_or_of_all_classes():
    x, mask = torch.rand(1, 2, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool)
    mask[:, :2] = False
    runner = Runner(dims=2, size=(8, 8))
    found = Segmentation(draws=2)(Draws(), x, mask, runner).inside(mask)
    assert list(found.kinds) == [2, 4]
    for got, expected in (
        (found.map, 0.8),
        (found.kinds[2], 0.4),
        (found.kinds[4], 0.4),
        (found.uncertainty, 0.04),
    ):
        torch.testing.assert_close(got[mask], torch.full_like(got[mask], expected))
        assert not got[~mask].any()
    bits = Segmentation(draws=1, uncertainty="entropy")(Draws(), x, mask, runner).inside(mask).uncertainty
    expected = -sum(p * np.log2(p) for p in (0.2, 0.4, 0.4))
    torch.testing.assert_close(bits[mask], torch.full_like(bits[mask], expected))
    assert float(entropy(torch.tensor(0.5), torch.tensor(0.5))) == 1
    empty = Segmentation(draws=2)(Draws(), x, torch.zeros_like(mask), runner)
    assert list(empty.kinds) == [2, 4]
    assert not empty.map.any()


def test_imported_label_maps_keep_their_values(study, tmp_path):
    test = study[1].select(split="test")
    for case in test:
        scan = case.read()
        right = np.zeros(scan.shape) if scan.labels is None else scan.labels
        scan.with_(data=right[None], channels=("mask",)).write(tmp_path / "masks" / f"{case.case}.nii.gz")
    import_predictions(tmp_path / "masks", test, out=tmp_path / "all", progress=False)
    found = evaluate(tmp_path / "all", test, n_boot=10, curves=False, progress=False)
    assert {value: each["dice"] for value, each in found["kinds"].items()} == {"2": 1, "4": 1}
    assert found["kinds"]["2"]["protocol"] == "as-given"
    # a prediction with nothing in it has no file, but it counts
    first = next(case.case for case in test)
    (tmp_path / "masks" / f"{first}.nii.gz").unlink()
    scan = test[0].read()
    scan.with_(data=np.zeros((1, *scan.shape)), channels=("mask",)).write(
        tmp_path / "masks" / f"{first}.nii.gz"
    )
    import_predictions(tmp_path / "masks", test, out=tmp_path / "less", progress=False)
    assert not (tmp_path / "less" / first / "kinds.nii.gz").exists()
    found = evaluate(tmp_path / "less", test, n_boot=10, curves=False, progress=False)
    assert found["kinds"]["2"]["dice_mean"] == 0.5
    import_predictions(tmp_path / "masks", test, out=tmp_path / "one", labels=[4], progress=False)
    assert set(np.unique(Result.load(tmp_path / "one" / "c13").kinds)) == {0, 4}
    saved = json.loads((tmp_path / "one" / "c13" / "result.json").read_text())
    assert "kinds" not in saved
