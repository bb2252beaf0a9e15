from __future__ import annotations

import numpy as np
import pytest

from aberra.errors import InputError, MismatchError, OutputError
from aberra.output import kind_of
from aberra.report import write_report
from aberra.result import Result
from aberra.volume import Volume
from aberra.workflows.evaluate import evaluate
from aberra.workflows.predictions import import_predictions
from reorient import reorient


@pytest.fixture
def study(tmp_path):
    """Three scans, two with a lesion; masks that find one of them, with a second label beside it."""
    rng = np.random.default_rng(0)
    rows = ["case,patient,flair,lesion,label"]
    for index in range(3):
        scan = Volume(data=rng.random((1, 10, 10, 10)) + 0.1, affine=np.eye(4))
        scan.write(tmp_path / f"scan{index}.nii.gz")
        truth = np.zeros((1, 10, 10, 10))
        truth[0, 3:6, 3:6, 3:6] = index < 2
        lesion = ""
        if index < 2:
            lesion = f"truth{index}.nii.gz"
            scan.with_(data=truth, channels=("mask",)).write(tmp_path / lesion)
        predicted = truth * (index == 0)
        predicted[0, 8:, 8:, 8:] = 2 * (index == 0)
        scan.with_(data=predicted, channels=("mask",)).write(tmp_path / "masks" / f"c{index}.nii.gz")
        scan.with_(data=truth * 0.8 + 0.1, channels=("lesion",)).write(tmp_path / "soft" / f"c{index}.nii.gz")
        rows.append(f"c{index},p{index},scan{index}.nii.gz,{lesion},{int(index < 2)}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_masks_are_evaluated_as_they_are(study):
    out = study / "out"
    assert import_predictions(
        study / "masks", study / "manifest.csv", out=out, labels=[1], progress=False
    ) == [
        "c0",
        "c1",
        "c2",
    ]
    found = evaluate(out, study / "manifest.csv", n_boot=10, progress=False)
    assert found["method"] == "masks"
    assert found["mask"] == {
        "protocol": "as-given", "cases": 2, "empty": 1, "empty_healthy": 1, "dice": 0.5, "jaccard": 0.5, "hd95_mm": 0.0,
        "volume_difference": 0.5,
    }  # fmt: skip
    assert set(found["protocols"]) == {"as-given"}  # a mask has no other threshold
    assert found["voxel"]["at_threshold"]["as-given"]["dice"] == pytest.approx(2 / 3)
    assert found["reliability"] == {}  # a mask is no probability
    assert found["uncertainty"] == {}
    assert "c0" in write_report(out, manifest=study / "manifest.csv").read_text()


def test_predictions_may_have_another_order_of_axes(study):
    import_predictions(
        study / "soft", study / "manifest.csv", out=study / "a", probabilities=True, progress=False
    )
    reorient(study / "soft" / "c0.nii.gz")
    import_predictions(
        study / "soft", study / "manifest.csv", out=study / "b", probabilities=True, progress=False
    )
    first, second = (Result.load(study / name / "c0") for name in "ab")
    np.testing.assert_array_equal(first.map.data, second.map.data)
    np.testing.assert_array_equal(first.map.affine, second.map.affine)


def test_all_labels_count_without_a_choice(study):
    import_predictions(study / "masks", study / "manifest.csv", out=study / "out", progress=False)
    result = Result.load(study / "out" / "c0")
    assert [each.voxels for each in result.components] == [27, 8]
    assert result.score == pytest.approx(35 / 1000)
    assert result.p is None


def test_probabilities_are_cut_at_a_half_and_their_calibration_is_measured(study):
    out = study / "out"
    import_predictions(study / "soft", study / "manifest.csv", out=out, probabilities=True, progress=False)
    found = evaluate(out, study / "manifest.csv", n_boot=10, progress=False)
    assert found["protocols"] == {
        "fixed-0.5": "fixed: 0.5 of a probability",
        "average-otsu": "the maps that are judged, without their truth",
    }
    assert found["mask"]["dice"] == 1.0
    assert found["reliability"]["ece"] == pytest.approx(0.1)
    assert found["reliability"]["brier"] == pytest.approx(0.01)
    assert "reliability.png" in found["figures"]
    assert (out / "evaluation" / "reliability.png").stat().st_size > 5000


def test_what_cannot_be_imported_is_refused(study):
    manifest, options = study / "manifest.csv", {"out": study / "out", "progress": False}
    with pytest.raises(InputError, match="--probabilities"):
        import_predictions(study / "soft", manifest, **options)
    with pytest.raises(InputError, match="from 0 to 2"):
        import_predictions(study / "masks", manifest, probabilities=True, **options)
    Volume(data=np.zeros((1, 5, 5, 5)), affine=np.eye(4)).write(study / "masks" / "c2.nii.gz")
    with pytest.raises(MismatchError, match="own grid"):
        import_predictions(study / "masks", manifest, **options)
    assert not (study / "out").exists()  # whole or not at all
    (study / "masks" / "c2.nii.gz").unlink()
    with pytest.raises(InputError, match="c2"):
        import_predictions(study / "masks", manifest, out=study / "other", progress=False)
    found = import_predictions(
        study / "masks", manifest, out=study / "other", allow_missing=True, progress=False
    )
    assert found == ["c0", "c1"]
    with pytest.raises(OutputError, match="not empty"):
        import_predictions(study / "soft", manifest, out=study / "other", probabilities=True, progress=False)


def test_an_import_is_whole_tells_of_every_case_and_leaves_foreign_files(study):
    manifest = study / "manifest.csv"
    Volume(data=np.zeros((1, 5, 5, 5)), affine=np.eye(4)).write(study / "masks" / "c1.nii.gz")
    (study / "masks" / "c2.nii.gz").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"2 case\(s\) cannot be imported:\n  c1: .*own grid.*\n  c2: "):
        import_predictions(study / "masks", manifest, out=study / "out", progress=False)
    assert not (study / "out").exists()
    for out in (study / "masks", study, study / "masks" / "c0.nii.gz"):
        with pytest.raises(OutputError):
            import_predictions(study / "soft", manifest, out=out, probabilities=True, progress=False)
    (study / "empty").mkdir()
    import_predictions(study / "soft", manifest, out=study / "empty", probabilities=True, progress=False)
    assert kind_of(study / "empty") == "results"
    assert not list(study.glob(".aberra-*"))
