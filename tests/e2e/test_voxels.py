"""From files to numbers: what is done with the voxels of a scan does not depend on how they are
stored.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.cohort.doctor import examine
from aberra.detector import Detector
from aberra.errors import InputError
from aberra.files import read_json
from aberra.method import Method
from aberra.report import write_report
from aberra.volume import Volume
from aberra.workflows.detect import detect_cohort
from aberra.workflows.evaluate import evaluate

pytestmark = pytest.mark.e2e

AFFINE = np.array([[4.0, 0, 0, -80], [0, 4, 0, -100], [0, 0, 4, -72], [0, 0, 0, 1]])
LESION_MM = (-28.0, 8.0, 24.0)


def _head(seed=0, sick=True):
    """A stripped brain of whole numbers with one bright lesion, and the lesion."""
    rng = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*map(np.arange, (40, 48, 36)), indexing="ij"), -1)
    mm = index @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    reach = ((mm / (66, 84, 62)) ** 2).sum(-1)
    values = np.where(reach < 0.55, 1500, 1900) * (1 + 0.03 * np.sin(mm[..., 0] / 17 + seed))
    values = values + rng.normal(0, 40, reach.shape)
    lesion = (((mm - LESION_MM) ** 2).sum(-1) < 144) & (reach < 1) & sick
    values[lesion] = 3600
    return np.where(reach < 1, np.clip(np.round(values), 1, 4000), 0).astype(np.int32) // 2, lesion


def _save(path, data, affine=AFFINE, dtype=np.float32):
    nib.Nifti1Image(np.asarray(data).astype(dtype), affine).to_filename(path)
    return path


def _manifest(path, rows, header="case,t1,lesion,label"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Fitted on healthy heads of the same kind."""
    folder = tmp_path_factory.mktemp("heads")
    for seed in range(6):
        _save(folder / f"{seed}.nii.gz", _head(seed + 10, sick=False)[0])
    cohort = Cohort.read(
        _manifest(
            folder / "m.csv",
            [f"{seed},{seed}.nii.gz,,0" for seed in range(6)],
        )
    )
    method = Method.load("pca", {"prepare.size": 64})
    return Detector.fit(method, cohort, out=folder / "model", workers=1)


def _numbers(detector, scan, lesion, folder):
    """Everything that is printed of a case."""
    manifest = _manifest(folder / f"{scan.name}.csv", [f"a,{scan.name},{lesion.name},1"])
    out = folder / f"results-{scan.name}-{lesion.name}"
    detect_cohort(detector, Cohort.read(manifest), out=out, report=False)
    measured = evaluate(out, manifest, n_boot=10, curves=False, progress=False)
    saved = read_json(out / "a" / "result.json")
    pooled = measured["voxel"]["pooled"]
    return {
        "score": saved["score"],
        "p": saved["p"],
        "regions": [each["voxels"] for each in saved["components"]],
        "ap": pooled["ap"],
        "auroc": pooled["auroc"],
        "prevalence": pooled["prevalence"],
        "positives": pooled["positives"],
        "warnings": saved["warnings"],
        "said": measured["warnings"],
    }


def test_a_background_that_is_zero_but_for_rounding(model, tmp_path):
    data, lesion = _head()
    truth = _save(tmp_path / "lesion.nii.gz", lesion, dtype=np.uint8)
    plain = _save(tmp_path / "plain.nii.gz", data * 0.37)
    image = nib.Nifti1Image((data - 1000).astype(np.int16), AFFINE)
    image.header.set_slope_inter(0.37, 370.0)
    image.to_filename(tmp_path / "scaled.nii.gz")
    stored = (data - 1000).astype(float) * np.float32(0.37) + 370
    assert stored[0, 0, 0] != 0
    rounded = _save(tmp_path / "rounded.nii.gz", stored)  # as a program leaves it that has read the other one
    raised = _save(tmp_path / "raised.nii.gz", np.where(data == 0, -50, data * 0.37))
    expected = _numbers(model, plain, truth, tmp_path)
    assert 0 < expected["prevalence"] < 0.05
    for scan in (tmp_path / "scaled.nii.gz", rounded, raised):
        found = _numbers(model, scan, truth, tmp_path)
        for name, value in expected.items():
            if name in {"regions", "warnings", "said"}:
                assert found[name] == value, (scan.name, name)
            else:
                assert found[name] == pytest.approx(value, abs=1e-5), (scan.name, name)


def test_units_give_equal_numbers(model, tmp_path):
    data, lesion = _head()
    truth = _save(tmp_path / "lesion.nii.gz", lesion, dtype=np.uint8)
    found = []
    for unit, factor in (("mm", 1.0), ("meter", 1e-3), ("micron", 1e3)):
        affine = AFFINE.copy()
        affine[:3] *= factor
        image = nib.Nifti1Image(data.astype(np.float32), affine)
        image.header.set_xyzt_units(unit)
        image.to_filename(tmp_path / f"{unit}.nii.gz")
        found.append(_numbers(model, tmp_path / f"{unit}.nii.gz", truth, tmp_path))  # its truth is in mm
        written = nib.load(next(tmp_path.glob(f"results-{unit}*")) / "a" / "map.nii.gz")
        np.testing.assert_allclose(written.affine, AFFINE, atol=1e-4)
        assert written.header.get_xyzt_units()[0] == "mm"
    assert found[0] == found[1] == found[2]


def test_truth_that_was_interpolated_counts_where_it_is_above_half(model, tmp_path):
    from scipy.ndimage import gaussian_filter

    data, lesion = _head()
    scan = _save(tmp_path / "scan.nii.gz", data)
    rng = np.random.default_rng(0)
    hard = _numbers(model, scan, _save(tmp_path / "hard.nii.gz", lesion, dtype=np.uint8), tmp_path)
    noisy = _numbers(
        model, scan, _save(tmp_path / "noise.nii.gz", lesion + 1e-6 * rng.random(lesion.shape)), tmp_path
    )
    assert noisy == hard
    assert hard["positives"] == lesion.sum()
    soft = gaussian_filter(lesion.astype(np.float32), 0.5)
    found = _numbers(model, scan, _save(tmp_path / "soft.nii.gz", soft), tmp_path)
    assert found["positives"] == (soft > 0.5).sum()
    assert "cut at 0.5" in found["said"]["a"][0]
    assert any("cut at 0.5" in note for note in found["warnings"])
    assert not hard["said"]


def test_evaluate_prints_what_the_truth_was_cut_at(model, tmp_path, capsys):
    from scipy.ndimage import gaussian_filter

    data, lesion = _head()
    _save(tmp_path / "scan.nii.gz", data)
    _save(tmp_path / "soft.nii.gz", gaussian_filter(lesion.astype(np.float32), 0.5))
    manifest = _manifest(tmp_path / "m.csv", ["a,scan.nii.gz,soft.nii.gz,1"])
    detect_cohort(model, Cohort.read(manifest), out=tmp_path / "r", report=False)
    evaluate(tmp_path / "r", manifest, n_boot=10, curves=False)
    assert "cut at 0.5" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("5", r"t1 is constant \(5 everywhere\)"),
        ("mask", r"t1 is constant \(1 in all of its foreground\)"),
        ("0", "empty"),
    ],
)
def test_a_scan_without_contrast_is_refused_everywhere(kind, said, model, tmp_path):
    data = {"5": np.full((40, 48, 36), 5.0), "mask": _head()[0] > 0, "0": np.zeros((40, 48, 36))}[kind]
    path = _save(tmp_path / "flat.nii.gz", data)
    with pytest.raises(InputError, match=said):
        model.detect(Volume.read(path, channel="t1"))
    manifest = _manifest(tmp_path / "m.csv", ["flat,flat.nii.gz,,0"])
    summary = detect_cohort(model, Cohort.read(manifest), out=tmp_path / "r", report=False)
    assert list(summary.failed) == ["flat"]
    assert not (tmp_path / "r" / "flat").exists()
    with pytest.raises(InputError, match=said):
        Detector.fit(Method.load("pca", {"prepare.size": 64}), Cohort.read(manifest), out=tmp_path / "model")
    report = examine(manifest)
    assert report.failed
    assert any("is constant" in each.what for each in report.findings if each.level == "error")


def test_the_doctor_knows_a_segmentation_from_a_scan(tmp_path):
    labels = np.digitize(_head()[0], (1, 800, 900, 1500))
    _save(tmp_path / "labels.nii.gz", labels)
    _save(tmp_path / "scan.nii.gz", _head()[0])
    assert any("looks like a label map" in each.what for each in examine(tmp_path / "labels.nii.gz").findings)
    assert not any("label map" in each.what for each in examine(tmp_path / "scan.nii.gz").findings)


def _pictures(folder, store):
    """Sixteen pictures with a bright disc in the last four, each stored by ``store``."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    disc = (x - 30) ** 2 + (y - 22) ** 2 < 36
    rows = []
    folder.mkdir()
    for k in range(16):
        picture = 1 + 0.3 * np.sin(x / 9 + k) + 0.05 * rng.random(x.shape)
        picture[disc] += 1.5 * (k >= 12)
        _save(folder / f"i{k}.nii.gz", store(picture), np.eye(4))
        _save(folder / f"t{k}.nii.gz", store(disc & (k >= 12)), np.eye(4), np.uint8)
        split = "train" if k < 8 else "val" if k < 12 else "test"
        rows.append(f"i{k},i{k}.nii.gz,t{k}.nii.gz,{int(k >= 12)},{split}")
    return _manifest(folder / "m.csv", rows, "case,image,lesion,label,split")


STORES = {
    "axial": lambda picture: picture[:, :, None],
    "coronal": lambda picture: picture[:, None],
    "sagittal": lambda picture: picture[None],
    "two axes": lambda picture: picture,
    "five axes": lambda picture: picture[:, :, None, None, None],
}


@pytest.fixture(scope="module")
def axial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    manifest = _pictures(folder / "axial", STORES["axial"])
    method = Method.load("pca", {"prepare.size": 32})
    return Detector.fit(method, Cohort.read(manifest), out=folder / "model", workers=1), manifest


@pytest.mark.parametrize("store", STORES)
def test_a_picture_is_one_whichever_axis_is_single(store, axial, tmp_path):
    detector, plain = axial
    manifest = _pictures(tmp_path / "pictures", STORES[store])
    report = examine(manifest)
    assert not report.failed
    assert any("64 × 48 pixels" in each.what for each in report.findings), report.findings
    cohort, expected = Cohort.read(manifest), Cohort.read(plain)
    again = Detector.fit(Method.load("pca", {"prepare.size": 32}), cohort, out=tmp_path / "model", workers=1)
    assert again.calibration.scores == detector.calibration.scores
    assert again.calibration.thresholds == detector.calibration.thresholds
    detect_cohort(detector, cohort.select(split="test"), out=tmp_path / "r", report=False)
    for case in cohort.select(split="test"):
        reference = detector.detect(next(each for each in expected if each.case == case.case).read())
        saved = read_json(tmp_path / "r" / case.case / "result.json")
        assert saved["score"] == reference.score
        assert saved["p"] == reference.p
        stored = nib.load(tmp_path / "r" / case.case / "map.nii.gz")
        assert stored.shape == nib.load(case.channels["image"]).shape
        np.testing.assert_array_equal(stored.get_fdata().squeeze(), reference.map.data[0].squeeze())
    measured = evaluate(tmp_path / "r", manifest, split="test", n_boot=10, progress=False)
    assert measured["voxel"]["pooled"]["positives"] == 4 * 109
    assert measured["slice"]["slices"] == 4
    page = write_report(tmp_path / "r", manifest=manifest).read_text()
    assert "cannot be shown" not in page
