from __future__ import annotations

import csv
import json
from collections import Counter

import nibabel as nib
import numpy as np
import pytest
from challenge_scans import files, head, manifest, masks_folder, pictures_folder

from aberra.cohort import Cohort
from aberra.errors import ConfigError, InputError, OutputError
from aberra.mood import contaminated_set, difficulty, make_set, replayed, sweep_set, taxonomy
from aberra.mood.make import INTENSITIES, RADII_MM, SWEEP_RADIUS_MM
from aberra.volume import Volume

QUIET = {"workers": 1, "progress": False}


def _rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _bytes(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name[0] != "."
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A test set of two categories in both layouts, and its manifest of healthy scans."""
    folder = tmp_path_factory.mktemp("set")
    healthy = manifest(folder, {"train": 2, "val": 2, "test": 10})
    made = make_set(
        Cohort.read(healthy), folder / "out", only=["deformation", "slices"], seed=3, challenge=True, **QUIET
    )
    return healthy, made


def test_half_are_healthy_and_every_subclass_has_as_many(written):
    _, made = written
    rows = _rows(made.manifest)
    assert len(rows) == made.cases == 8
    assert made.notes == ["2 of 10 scans not used: 4 anomalies are as many of each of 4 subclasses"]
    assert Counter(row["subclass"] for row in rows) == {"": 4, "bend": 1, "twist": 1, "swapped": 1, "slab": 1}
    assert [row["label"] for row in rows] == [str(int(bool(row["subclass"]))) for row in rows]


def test_it_is_a_cohort_and_says_what_was_made(written):
    _, made = written
    cohort = Cohort.read(made.manifest)
    assert cohort.channel_names == ("t1",)
    assert {case.split for case in cohort} == {"test"}
    for case, row in zip(cohort, _rows(made.manifest), strict=True):
        volume = case.read()
        assert 0 <= volume.data.min() <= volume.data.max() <= 1
        assert case.healthy == (row["subclass"] == "") == (volume.lesion is None)
        if case.healthy:
            assert not any(row[name] for name in ("category", "scope", "size_mm", "contrast", "difficulty"))
            continue
        kind = taxonomy()[row["subclass"]]
        assert (row["category"], row["scope"]) == (kind.category, kind.scope)
        size = (3 * volume.lesion.sum() * volume.voxel_mm3 / (4 * np.pi)) ** (1 / 3)
        assert float(row["size_mm"]) == pytest.approx(size, abs=0.01)
        expected = difficulty(float(row["size_mm"]), float(row["contrast"]))
        assert float(row["difficulty"]) == pytest.approx(expected, abs=1e-3)


def test_a_case_is_made_again_from_its_record(written):
    _, made = written
    for case in Cohort.read(made.manifest):
        again = replayed(made.manifest.parent / f"{case.case}.json")
        stored = case.read()
        assert again.data.tobytes() == stored.data.tobytes()
        assert (again.lesion is None) == (stored.lesion is None)
        assert stored.lesion is None or np.array_equal(again.lesion, stored.lesion)


def test_the_challenges_layout_has_a_label_for_every_scan_and_task(written):
    _, made = written
    folder = made.manifest.parent
    names = sorted(path.name for path in (folder / "toy").iterdir())
    assert names == sorted(f"{row['case']}.nii.gz" for row in _rows(made.manifest))
    for row in _rows(made.manifest):
        name = f"{row['case']}.nii.gz"
        scan, pixel = (nib.load(folder / place / name).get_fdata() for place in ("toy", "toy_label/pixel"))
        assert np.array_equal(scan, nib.load(folder / row["t1"]).get_fdata())
        assert pixel.shape == scan.shape
        assert set(np.unique(pixel)) <= {0, 1}
        text = (folder / "toy_label" / "sample" / f"{name}.txt").read_text()
        assert text.strip() == row["label"] == str(int(pixel.any()))


def test_other_files_are_not_mixed_with_the_challenges(tmp_path):
    healthy = Cohort.read(manifest(tmp_path, {"test": 2}))
    make_set(healthy, tmp_path / "out", only=["shuffle"], **QUIET)
    (tmp_path / "out" / "toy").mkdir()
    (tmp_path / "out" / "toy" / "mine.nii.gz").touch()
    with pytest.raises(OutputError, match=r"toy: holds mine.nii.gz"):
        make_set(healthy, tmp_path / "out", only=["shuffle"], challenge=True, **QUIET)


def test_the_same_call_goes_on_and_the_same_seed_gives_the_same_bytes(written, tmp_path):
    healthy, made = written
    folder = made.manifest.parent
    before = _bytes(folder)
    lost = min(folder.glob("c*.json"))
    lost.unlink()
    options = {"only": ["deformation", "slices"], "challenge": True, **QUIET}
    make_set(Cohort.read(healthy), folder, seed=3, **options)
    assert _bytes(folder) == before
    make_set(Cohort.read(healthy), tmp_path / "again", seed=3, **options)
    assert _bytes(tmp_path / "again") == before
    with pytest.raises(OutputError, match="other settings"):
        make_set(Cohort.read(healthy), folder, seed=4, **options)


def test_families_share_no_scan(tmp_path):
    healthy = Cohort.read(manifest(tmp_path, {"train": 2, "val": 2, "test": 2}))
    patients = {}
    for family, only in (
        ("train", "noise"),
        ("validation", "flatten"),
        ("test", "shuffle"),
        ("toy", "sphere"),
    ):
        made = make_set(healthy, tmp_path / family, family=family, only=[only], **QUIET)
        patients[family] = {row["patient"] for row in _rows(made.manifest)}
        assert len(patients[family]) == 2
    assert not patients["train"] & patients["validation"]
    assert not patients["test"] & (patients["train"] | patients["validation"])
    assert patients["toy"] == patients["validation"]


def test_a_cohort_without_splits_is_split_by_patient(tmp_path):
    healthy = Cohort.read(manifest(tmp_path, {"any": 10}, splits=False))
    sets = [
        make_set(healthy, tmp_path / family, family=family, anomalous=0, **QUIET)
        for family in ("train", "validation", "test")
    ]
    patients = [{row["patient"] for row in _rows(made.manifest)} for made in sets]
    assert [len(each) for each in patients] == [6, 2, 2]
    assert len(set.union(*patients)) == 10


def test_what_is_needed_is_taken_where_it_is_given(tmp_path):
    healthy = Cohort.read(manifest(tmp_path, {"test": 10}, labels=True))
    files(tmp_path)
    made = make_set(
        healthy, tmp_path / "out", only=["seamless", "masked-mottled", "haemorrhage", "tumour", "atrophy"],
        images=pictures_folder(tmp_path), masks=masks_folder(tmp_path), **QUIET,
    )  # fmt: skip
    assert not made.notes
    assert {row["subclass"] for row in _rows(made.manifest)} == {
        "", "seamless", "masked-mottled", "haemorrhage", "tumour", "atrophy"
    }  # fmt: skip
    for row in _rows(made.manifest):
        assert "labels" not in row
        replayed(tmp_path / "out" / f"{row['case']}.json")


@pytest.mark.parametrize("sweep", ["radius", "contrast"])
def test_a_sweep_has_every_value_at_one_place(tmp_path, sweep):
    healthy = Cohort.read(manifest(tmp_path, {"test": 3}))
    made = sweep_set(healthy, tmp_path / "out", sweep=sweep, cases=1, **QUIET)
    rows = _rows(made.manifest)
    values = RADII_MM if sweep == "radius" else INTENSITIES
    column = "radius_mm" if sweep == "radius" else "intensity"
    assert [float(row[column]) for row in rows] == list(values)
    records = [json.loads((tmp_path / "out" / f"{row['case']}.json").read_text()) for row in rows]
    drawn = [record["anomaly"] for record in records if record["anomaly"]]
    assert len({tuple(each["centre"]) for each in drawn}) == 1
    assert [row["label"] for row in rows] == [str(int(float(row["radius_mm"]) > 0)) for row in rows]
    sizes = [float(row["size_mm"]) for row in rows if row["size_mm"]]
    if sweep == "radius":
        assert sizes == sorted(sizes)
        assert sizes[0] == pytest.approx(RADII_MM[1] + 1, abs=1)
    else:
        assert set(sizes) == {sizes[0]}
        assert sizes[0] == pytest.approx(SWEEP_RADIUS_MM + 1, abs=0.5)


def test_contaminated_scans_are_called_healthy_and_the_column_says_the_truth(tmp_path):
    healthy = Cohort.read(manifest(tmp_path, {"train": 10, "val": 2, "test": 1}))
    made = contaminated_set(healthy, tmp_path / "out", shares=[0.1, 0.3], only=["contrast"], **QUIET)
    clean = _rows(made.manifest)
    assert len(clean) == 12
    assert {row["contaminated"] for row in clean} == {"0"}
    sick = {}
    for share, path in made.manifests.items():
        rows = _rows(path)
        assert path.name == f"contaminated-{share:g}.csv"
        assert {row["patient"] for row in rows} == {row["patient"] for row in clean}
        assert len(rows) == 12
        assert {row["label"] for row in rows} == {"0"}
        assert {row["split"] for row in rows if row["contaminated"] == "1"} == {"train"}
        assert all(case.healthy and case.lesion is None for case in Cohort.read(path))
        sick[share] = {row["case"] for row in rows if row["contaminated"] == "1"}
        assert sick[share] == {row["case"] for row in rows if row["subclass"]}
    assert [len(each) for each in sick.values()] == [1, 3]
    assert sick[0.1] < sick[0.3]
    for name in sick[0.3]:
        before = Volume.read(tmp_path / "out" / f"{name.removesuffix('-anomalous')}_t1.nii.gz").data
        after = Volume.read(tmp_path / "out" / f"{name}_t1.nii.gz").data
        assert np.array_equal(
            before != after,
            (before != after) & (Volume.read(tmp_path / "out" / f"{name}_lesion.nii.gz").data > 0),
        )
        assert (before != after).any()


def test_what_cannot_be_made_is_an_error_that_says_why(tmp_path):
    healthy = Cohort.read(manifest(tmp_path, {"train": 3, "test": 3}))
    out = tmp_path / "out"
    with pytest.raises(
        ConfigError, match=r"no healthy scan of t1 in split 'val'; healthy cases are in: test, train"
    ):
        make_set(healthy, out, family="validation", **QUIET)
    with pytest.raises(ConfigError, match="too few for 12 subclasses"):
        make_set(healthy, out, **QUIET)
    with pytest.raises(ConfigError, match="anomalous=2"):
        make_set(healthy, out, anomalous=2, **QUIET)
    with pytest.raises(ConfigError, match="at least one scan"):
        contaminated_set(healthy, out, shares=[0.1], **QUIET)
    with pytest.raises(ConfigError, match="unknown channel"):
        make_set(healthy, out, channel="t2", **QUIET)
    with pytest.raises(ConfigError, match="unknown sweep"):
        sweep_set(healthy, out, sweep="colour", **QUIET)
    (tmp_path / "sick").mkdir()
    sick = Cohort.read(manifest(tmp_path / "sick", {"test": 3}, label=1))
    with pytest.raises(ConfigError, match="no healthy scan"):
        make_set(sick, out, **QUIET)
    with pytest.raises(InputError, match="no lesion mask here"):
        make_set(healthy, out, masks=tmp_path / "nowhere", **QUIET)
    with pytest.raises(InputError, match="nowhere"):
        make_set(healthy, out, images=tmp_path / "nowhere", **QUIET)
    with pytest.raises(InputError, match="no picture here"):
        make_set(healthy, out, images=masks_folder(tmp_path), **QUIET)
    assert not out.exists()
    with pytest.raises(OutputError, match="holds what is read"):
        make_set(healthy, tmp_path, only=["shuffle"], **QUIET)


def test_a_record_of_another_scan_is_refused(tmp_path):
    healthy = Cohort.read(manifest(tmp_path, {"test": 2}))
    made = make_set(healthy, tmp_path / "out", only=["shuffle"], **QUIET)
    record = tmp_path / "out" / f"{_rows(made.manifest)[1]['case']}.json"
    source = healthy[0].channels["t1"].parent / f"scan{int(record.stem[1:])}.nii.gz"
    volume = head(7)
    volume.with_(data=2 * volume.data).write(source)
    with pytest.raises(InputError, match="no longer the scan"):
        replayed(record)
    for text in ("[]", "{}", "no json"):
        record.write_text(text)
        with pytest.raises(InputError, match="no record"):
            replayed(record)
