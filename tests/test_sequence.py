from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.cohort import Case, Cohort
from aberra.errors import InputError, MismatchError
from aberra.io import read
from aberra.sequence import Guess, by_contrast, by_header, by_words, choose, sequence_of
from aberra.synthesis.phantom import draw_phantom, render
from aberra.volume import Volume
from heads import whole_head

DICOM = Path(os.environ.get("ABERRA_DATA", "../shared/data")) / "formats" / "dicom_flair"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sub-01_ses-02_FLAIR", "flair"),
        ("t2_flair_tra", "flair"),
        ("AX T2 FLAIR", "flair"),
        ("t2_tirm_tra_dark-fluid", "flair"),
        ("MR3DFLAIR", "flair"),
        ("T1 FLAIR", None),
        ("sub-01_acq-mprage_T1w", "t1"),
        ("t1_mprage_sag_p2_iso", "t1"),
        ("brain_t1ce", "t1ce"),
        ("patient_T1_Gd", "t1ce"),
        ("sub-01_T2w", "t2"),
        ("axial_t2_tse", "t2"),
        ("T2*", "t2star"),
        ("sub-1_T2starw", "t2star"),
        ("ep2d_diff_adc", "adc"),
        ("ct_head", "ct"),
        ("T1_T2", None),
        ("patient_0042", None),
        ("", None),
    ],
)
def test_words_of_names_and_descriptions(text, expected):
    assert by_words(text) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"modality": "CT", "description": "HEAD FLAIR"}, "ct"),
        ({"modality": "MR", "description": "FLAIR_reg", "protocol": "EP: DualEcho"}, "flair"),
        ({"modality": "MR", "description": "series 5", "protocol": "t2_tse_tra"}, "t2"),
        ({"modality": "MR", "description": "T1 mprage", "contrast_agent": "Gadovist"}, "t1ce"),
        (
            {"modality": "MR", "description": "FLAIR", "inversion_ms": 800.0, "echo_ms": 9.0, "repetition_ms": 2000.0},
            "t1",
        ),
        ({"modality": "MR", "repetition_ms": 9000.0, "echo_ms": 121.5, "inversion_ms": 2250.0}, "flair"),
        ({"modality": "MR", "repetition_ms": 2300.0, "echo_ms": 3.0, "inversion_ms": 900.0}, "t1"),
        ({"modality": "MR", "repetition_ms": 550.0, "echo_ms": 12.0}, "t1"),
        ({"modality": "MR", "repetition_ms": 5000.0, "echo_ms": 100.0}, "t2"),
        ({"modality": "MR", "repetition_ms": 3000.0, "echo_ms": 30.0}, None),
        ({"modality": "MR"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_headers(header, expected):
    found = by_header(header)
    assert (found and found.name) == expected


@pytest.mark.parametrize("contrast", ["t1", "t2", "flair"])
def test_contrast_tells_where_nothing_else_does(contrast):
    head, _ = whole_head(contrast)
    found = by_contrast(head.with_(channels=("image",)))
    assert found.name == contrast
    assert "of white matter's intensity" in found.why


def test_tissues_that_are_alike_an_image_and_a_crop_are_not_guessed():
    scan = render(draw_phantom(5, 0, "t1"), 3.0)
    flat = np.where(scan.mask, 100 + np.random.default_rng(0).normal(0, 5, scan.shape), 0)
    assert by_contrast(scan.with_(data=flat[None])) is None
    assert by_contrast(scan.with_(data=scan.data[:, :, :, 20:21], mask=None)) is None
    assert (
        by_contrast(Volume(data=np.random.default_rng(0).random((1, 20, 20, 20)), affine=np.eye(4))) is None
    )


def test_the_header_comes_before_the_name_and_both_before_the_contrast():
    head, _ = whole_head("t1")
    named = head.with_(channels=("image",), provenance={"path": "/data/p1_T2w.nii.gz"})
    assert sequence_of(named).name == "t2"
    assert "p1_T2w" in sequence_of(named).why
    told = named.with_(provenance={**named.provenance, "dicom": {"modality": "MR", "description": "FLAIR"}})
    assert sequence_of(told) == Guess("flair", "DICOM series description 'FLAIR'")
    assert sequence_of(head.with_(provenance={"path": "/data/flair/p1.nii.gz"})).name == "flair"


def _written(tmp_path, *names):
    scan = render(draw_phantom(5, 0, "flair"), 8.0)
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        scan.write(tmp_path / name)
    return [tmp_path / name for name in names]


def test_a_cohort_gets_the_shipped_detector_of_its_sequence(tmp_path):
    flair, t1, adc, unknown = _written(
        tmp_path, "p1_FLAIR.nii.gz", "p1_T1w.nii.gz", "p1_adc.nii.gz", "p1.nii.gz"
    )
    found = choose(Cohort.from_paths(flair))
    assert (found.detector, found.channels) == ("flair", None)
    assert found.why == "flair: p1_FLAIR is FLAIR (it is called 'p1_FLAIR')"
    with pytest.raises(MismatchError, match=r"2 sequences \(flair: p1_FLAIR; t1: p1_T1w\)"):
        choose(Cohort.from_paths([flair, t1]))
    with pytest.raises(MismatchError, match=r"p1_adc is ADC .* which no shipped detector reads"):
        choose(Cohort.from_paths(adc))
    flat = read(unknown)
    noise = np.random.default_rng(0).normal(5, 0.01, flat.data.shape)
    flat.with_(data=((flat.data > 0) * noise).astype(np.float32)).write(unknown)
    with pytest.raises(MismatchError, match=r"neither header nor name nor contrast .* name a detector"):
        choose(Cohort.from_paths(unknown))


def test_a_scan_that_cannot_be_read_does_not_decide(tmp_path):
    flair, broken = _written(tmp_path, "p1_FLAIR.nii.gz", "p2.nii.gz")
    broken.write_bytes(broken.read_bytes()[:400])
    assert choose(Cohort.from_paths([flair, broken])).detector == "flair"
    with pytest.raises(InputError, match=r"p2\.nii\.gz"):
        choose(Cohort.from_paths(broken))


def test_a_sequence_without_a_detector_of_its_own_gets_the_general_one(tmp_path, monkeypatch):
    from aberra import pretrained

    (t1,) = _written(tmp_path, "p1_T1w.nii.gz")
    monkeypatch.setattr(
        pretrained, "shipped_detectors", lambda: {"flair": tmp_path, "any-contrast": tmp_path}
    )
    found = choose(Cohort.from_paths(t1))
    assert found.detector == "any-contrast"
    assert found.why.endswith("there is no detector for T1 alone")
    monkeypatch.setattr(pretrained, "shipped_detectors", lambda: {"flair": tmp_path})
    with pytest.raises(MismatchError, match="no shipped detector reads"):
        choose(Cohort.from_paths(t1))


def test_columns_of_a_manifest_tell(tmp_path):
    a, b = _written(tmp_path, "a.nii.gz", "b.nii.gz")
    found = choose(Cohort([Case(case="x", patient="x", channels={"t1": a, "flair": b})]))
    assert (found.detector, found.channels) == ("flair", ["flair"])
    assert "its column is 'flair'" in found.why
    asked = choose(Cohort([Case(case="x", patient="x", channels={"t1": a, "flair": b})]), ["t1"])
    assert asked.channels == ["t1"]
    assert "T1" in asked.why


def test_detect_chooses_says_what_and_runs(tmp_path):
    (scan,) = _written(tmp_path, "p1_FLAIR.nii.gz")
    for number, arguments in enumerate((["auto", scan], [scan])):
        out = tmp_path / str(number)
        done = CliRunner().invoke(app, ["detect", *map(str, arguments), "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert "detector flair: p1_FLAIR is FLAIR (it is called 'p1_FLAIR')" in done.output
        assert (out / "p1_FLAIR" / "map.nii.gz").is_file()
    with pytest.raises(InputError, match="no scan given"):
        CliRunner().invoke(app, ["detect", "auto", "--out", str(tmp_path / "none")], catch_exceptions=False)


@pytest.mark.data
@pytest.mark.skipif(not DICOM.is_dir(), reason=f"no DICOM series in {DICOM}")
def test_a_real_series_is_told_by_its_header():
    found = choose(Cohort.from_paths(DICOM))
    assert found.detector == "flair"
    assert "FLAIR_reg" in found.why
    assert read(DICOM).provenance["dicom"]["inversion_ms"] == 2250
