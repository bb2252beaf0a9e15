from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from aberra.cli import app
from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.diffusion.noise import shared
from aberra.diffusion.schedule import Estimate, Schedule
from aberra.errors import ConfigError, InputError, MismatchError, OutputError
from aberra.method import Method
from aberra.prepare import Recipe
from aberra.volume import Volume
from aberra.workflows.edit import Aim, edit
from aberra.workflows.edit_cohort import edit_cohort
from reorient import reorient

SIZE = 16


class Known(torch.nn.Module):
    """A guided model that is none of ours.

    Pixels are N(0, 1): the best denoiser is linear. A lesion is what is above 1, and an image is as
    old as it is bright.
    """

    def __init__(self):
        super().__init__()
        self.schedule = Schedule(kind="linear", steps=1000)
        self.names = ["class", "area", "mask", "age"]

    def process(self):
        return self.schedule

    def noise(self, seed, like):
        return shared("gaussian", seed, like)

    def denoise(self, noisy, t, label=None):
        del label
        level = self.schedule.at(t, noisy)
        image = level.sqrt() * noisy
        return Estimate(image, (noisy - level.sqrt() * image) / (1 - level).sqrt())

    def guide_names(self):
        return self.names

    def told(self, name, noisy, t, *, checker=False):
        del t, checker
        logits = 4 * (noisy - 1)
        if name == "mask":
            return logits
        if name == "age":
            return noisy.flatten(1).mean(dim=1)[:, None]
        share = torch.sigmoid(logits).flatten(1).mean(dim=1)
        if name == "area":
            return share[:, None]
        return torch.stack([0 * share, 60 * (share - 0.1)], dim=1)


class Unguided(Known):
    guide_names = None


@pytest.fixture
def scan():
    rng = np.random.default_rng(0)
    data = 100 + 10 * rng.standard_normal((1, 5, SIZE, SIZE)).astype(np.float32)
    return Volume(data=data, affine=np.diag([2.0, 2, 2, 1]), mask=np.ones((5, SIZE, SIZE), dtype=bool))


@pytest.fixture
def detector(tmp_path):
    made = Detector(
        method=Method(
            name="known",
            model={"name": "guided-ddpm"},
            score={"name": "residual", "restore": {"name": "partial-diffusion"}},
        ),
        recipe=Recipe.from_config([{"name": "normalise", "method": "zscore"}]),
        model=Known(),
        channels=["image"],
        dims=2,
        size=(SIZE, SIZE),
        device="cpu",
    )
    made.save(tmp_path / "known")
    return made


@pytest.mark.parametrize("sampler", ["ddim", "coupled"])
def test_a_mask_becomes_a_lesion_there_and_little_else_changes(sampler, scan, detector):
    mask = np.zeros(scan.shape, dtype=bool)
    mask[2, 4:8, 4:8] = True

    found = edit(detector, scan, [Aim(guide="mask", target=mask, weight=5.0)], steps=20, sampler=sampler)

    assert found.attained["mask_after"] > max(0.8, found.attained["mask_before"])
    assert found.scan.data[0][mask].mean() > scan.data[0][mask].mean() + 10
    untouched = [0, 1, 3, 4]
    np.testing.assert_array_equal(found.scan.data[:, untouched], scan.data[:, untouched])
    assert found.attained["change_inside"] > found.attained["change_outside"]
    # the difference is in prepared units, here standard deviations of the scan
    slope = (found.scan.data - scan.data)[0, 2] / found.difference[0, 2]
    np.testing.assert_allclose(slope, scan.data.std(), rtol=0.02)


def test_an_area_is_met_from_above_and_from_below(scan, detector):
    for target in (0.05, 0.6):
        found = edit(detector, scan, [Aim(guide="area", target=target, weight=30_000.0)], steps=40)
        before, after = found.attained["area_before"], found.attained["area_after"]
        assert abs(after - target) < 0.3 * abs(before - target)
        assert found.attained["area_error"] == pytest.approx(abs(after - target), abs=0.02)


def test_an_age_is_met_in_years(scan, detector):
    for target in (20, 80):
        found = edit(detector, scan, [Aim(guide="age", target=target, weight=1000.0)], steps=40).attained
        assert found["age_before"] == pytest.approx(50, abs=2)
        assert abs(found["age_after"] - target) < 2
        assert found["age_error"] == pytest.approx(abs(found["age_after"] - target), abs=1)


@pytest.mark.parametrize("guide", ["age", "area"])
def test_a_direction_has_no_end(guide, scan, detector):
    weight = {"age": 100.0, "area": 300.0}[guide]
    up, further, down = (
        edit(detector, scan, [Aim(guide=guide, target=target, weight=times * weight)], steps=20).attained
        for target, times in (("up", 1), ("up", 3), ("down", 1))
    )
    before, after = f"{guide}_before", f"{guide}_after"
    assert further[after] > up[after] > up[before] > down[after]
    assert f"{guide}_error" not in up


def test_two_gradients_at_once(scan, detector):
    mask = np.zeros(scan.shape, dtype=bool)
    mask[2, 2:9, 2:9] = True
    aims = [Aim(guide="mask", target=mask, weight=3.0), Aim(guide="class", target="diseased", weight=10.0)]
    found = edit(detector, scan, aims, steps=20)
    assert {"class_after", "mask_after"} <= set(found.attained)
    assert found.attained["class_after"] == 1
    assert found.attained["mask_after"] > found.attained["mask_before"]


def test_healthy_is_reached_and_the_checkers_are_asked(scan, detector):
    found = edit(detector, scan, [Aim(guide="class", target="healthy")], steps=20)
    assert found.attained["class_before"] == 0
    assert found.attained["class_after"] == 1
    assert found.attained["change"] > 0


def test_a_cohort_of_edits_is_a_cohort_and_is_resumed(scan, detector, tmp_path):
    paths = []
    for name in ("a", "b"):
        paths.append(tmp_path / f"{name}.nii.gz")
        scan.write(paths[-1])
    out = tmp_path / "out"
    done = edit_cohort(detector, Cohort.from_paths(paths), out=out, draw=1, radius_mm=(3, 6), steps=4)
    assert set(done) == {"a", "b"}
    edits = Cohort.read(out / "manifest.csv")
    assert [case.healthy for case in edits] == [False, False]
    first, second = (case.read() for case in edits)
    assert first.lesion.any()
    assert not np.array_equal(first.lesion, second.lesion)

    kept = (out / "a" / "edit.json").read_text()
    (out / "a" / "edit.json").write_text(json.dumps({"mask_after": 0.5}))
    assert edit_cohort(detector, Cohort.from_paths(paths), out=out, draw=1, radius_mm=(3, 6), steps=4)[
        "a"
    ] == {"mask_after": 0.5}
    assert kept != (out / "a" / "edit.json").read_text()
    with pytest.raises(OutputError, match="other settings"):
        edit_cohort(detector, Cohort.from_paths(paths), out=out, draw=2, radius_mm=(3, 6), steps=4)


def test_edits_of_diseased_scans_keep_their_own_lesions_and_an_age_that_changed_is_unknown(
    scan, detector, tmp_path
):
    lesion = np.zeros(scan.shape, dtype=bool)
    lesion[4, 2:4, 2:4] = True
    scan.write(tmp_path / "a.nii.gz")
    scan.with_(data=lesion[None].astype(np.float32), channels=("lesion",)).write(tmp_path / "l.nii.gz")
    (tmp_path / "m.csv").write_text("case,image,lesion,age,sex\na,a.nii.gz,l.nii.gz,30,f\n")
    cohort = Cohort.read(tmp_path / "m.csv")
    edit_cohort(detector, cohort, out=tmp_path / "out", draw=1, radius_mm=(3, 6), age="80", steps=2)
    (edited,) = Cohort.read(tmp_path / "out" / "manifest.csv")
    assert edited.groups == {"sex": "f"}
    found = edited.read().lesion
    assert found[lesion].all()
    assert found.sum() > lesion.sum()


def test_a_mask_may_have_another_order_of_axes(scan, detector, tmp_path):
    scan.write(tmp_path / "a.nii.gz")
    lesion = np.zeros((1, *scan.shape), np.float32)
    middle = tuple(slice(length // 2 - 1, length // 2 + 1) for length in scan.shape)
    lesion[0][middle] = 1
    scan.with_(data=lesion, channels=("mask",)).write(tmp_path / "mask.nii.gz")
    cohort = Cohort.from_paths(tmp_path / "a.nii.gz")
    pictures = []
    for name in ("one", "two"):
        edit_cohort(detector, cohort, out=tmp_path / name, mask=tmp_path / "mask.nii.gz", steps=2)
        pictures.append((tmp_path / name / "a" / "edited.nii.gz").read_bytes())
        reorient(tmp_path / "mask.nii.gz")
    assert pictures[0] == pictures[1]
    lesion[0][0, 0, 0] = 1
    scan.with_(data=lesion, channels=("mask",)).write(tmp_path / "mask.nii.gz")
    with pytest.raises(OutputError, match="other settings"):  # the same name, but not the same mask
        edit_cohort(detector, cohort, out=tmp_path / "two", mask=tmp_path / "mask.nii.gz", steps=2)
    scan.with_(data=lesion, affine=np.diag([9.0, 9, 9, 1])).write(tmp_path / "mask.nii.gz")
    with pytest.raises(InputError, match="resample the mask"):
        edit_cohort(detector, cohort, out=tmp_path / "three", mask=tmp_path / "mask.nii.gz", steps=2)


def test_what_cannot_be_edited_says_why(scan, detector):
    with pytest.raises(ConfigError, match="known: has no guides to edit with"):
        edit(detector.with_(model=Unguided()), scan, [Aim(guide="area", target=0.1)])
    with pytest.raises(ConfigError, match="healthy"):
        Aim(guide="class", target="well")
    with pytest.raises(ConfigError, match="mask"):
        Aim(guide="maks", target=0.1)
    with pytest.raises(ConfigError, match=r"age young: expected years .* up or down"):
        Aim(guide="age", target="young")
    with pytest.raises(ConfigError, match="area 2: expected a share"):
        Aim(guide="area", target=2)
    with pytest.raises(MismatchError, match="scan's grid"):
        edit(detector, scan, [Aim(guide="mask", target=np.ones((2, 2, 2), dtype=bool))])
    with pytest.raises(MismatchError, match="empty"):
        edit(detector, scan, [Aim(guide="mask", target=np.zeros(scan.shape, dtype=bool))])
    with pytest.raises(ConfigError, match="one aim"):
        edit(detector, scan, [])
    detector.model.names.remove("area")
    with pytest.raises(ConfigError, match=r"model\.guides"):
        edit(detector, scan, [Aim(guide="area", target=0.1)])


def test_one_case_never_ends_a_cohort_of_edits(scan, detector, tmp_path, monkeypatch):
    paths = []
    for name in ("a", "b", "c"):
        paths.append(tmp_path / f"{name}.nii.gz")
        scan.write(paths[-1])
    cohort, out, options = (
        Cohort.from_paths(paths),
        tmp_path / "out",
        {"draw": 1, "radius_mm": (3, 6), "steps": 2},
    )
    read = Detector.read

    def broken(self, case, channels=None):
        if case.case == "b":
            raise TypeError("no length")
        return read(self, case, channels)

    monkeypatch.setattr(Detector, "read", broken)
    failed = {}
    done = edit_cohort(detector, cohort, out=out, failed=failed, **options)
    assert set(done) == {"a", "c"}
    assert failed["b"].startswith("unexpected TypeError: no length")
    assert (out / "logs" / "b.log").is_file()
    assert [case.case for case in Cohort.read(out / "manifest.csv")] == ["a", "c"]
    with pytest.raises(InputError, match="b: unexpected TypeError"):  # from Python it cannot be overlooked
        edit_cohort(detector, cohort, out=out, **options)
    monkeypatch.undo()
    assert set(edit_cohort(detector, cohort, out=out, **options)) == {"a", "b", "c"}
    scan.with_(data=scan.data + 1).write(paths[0])
    with pytest.raises(OutputError, match="another scan"):
        edit_cohort(detector, cohort, out=out, **options)


def test_edits_go_into_no_foreign_folder_and_corrected_settings_into_the_same(scan, detector, tmp_path):
    scan.write(tmp_path / "data" / "a.nii.gz")
    cohort = Cohort.from_paths(tmp_path / "data")
    with pytest.raises(OutputError, match="what is read"):
        edit_cohort(detector, cohort, out=tmp_path / "data", draw=1)
    with pytest.raises(ConfigError, match="one aim"):
        edit_cohort(detector, cohort, out=tmp_path / "out")
    (tmp_path / "out" / "a").mkdir()
    (tmp_path / "out" / "a" / "edit.json").write_text("mine")
    (tmp_path / "out" / "a" / "input.json").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        edit_cohort(detector, cohort, out=tmp_path / "out", draw=1, radius_mm=(3, 6), steps=2)
    assert (tmp_path / "out" / "a" / "edit.json").read_text() == "mine"


def test_the_command_takes_numbers_and_directions(scan, detector, tmp_path, monkeypatch):
    scan.write(tmp_path / "a.nii.gz")
    monkeypatch.setattr(Detector, "load", lambda *_, **__: detector)

    def ask(out, *arguments):
        words = ["edit", "model", str(tmp_path / "a.nii.gz"), "--out", str(tmp_path / out), "--steps", "2"]
        return CliRunner().invoke(app, [*words, *arguments], catch_exceptions=True)

    done = ask("one", "--age", "80", "--area", "up")
    assert done.exit_code == 0
    assert {"age_error", "area_after"} <= set(json.loads((tmp_path / "one" / "a" / "edit.json").read_text()))
    assert ask("one", "--age", "80.0", "--area", "up").exit_code == 0  # the same edit
    assert isinstance(ask("one", "--age", "70", "--area", "up").exception, OutputError)
    refused = ask("two", "--area", "larger").exception
    assert isinstance(refused, ConfigError)
    assert "up or down" in str(refused)
