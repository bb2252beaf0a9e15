"""What is read back of the objects is the result; they belong where the series belongs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

import dicom_series
from aberra.detector.postprocess import PostProcess
from aberra.dicom_out import LIST, listed, write_objects
from aberra.errors import ConfigError, InputError
from aberra.io import read
from aberra.result import Result

hd = pytest.importorskip("highdicom", reason="pip install 'aberra[dicom]'")

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

PERSON = {
    "StudyInstanceUID": "1.2.3.4",
    "FrameOfReferenceUID": "1.2.3.5",
    "PatientName": "Müller^Änne",
    "PatientID": "p-17",
    "PatientBirthDate": "19600102",
    "PatientSex": "F",
    "AccessionNumber": "A1",
    "StudyDate": "20260102",
    "SeriesNumber": 4,
    "SpecificCharacterSet": "ISO_IR 100",
}

FLAIR = next(
    (each for each in Path(__file__).parents[2].parents[1].glob("shared/data/formats/dicom_flair")), None
)


def series(folder, kind="classic", grid=None, **changes):
    """Write a series of a known person; returns its folder."""
    values = dicom_series.brain()
    changes = PERSON | changes
    if kind == "enhanced":
        order = [3, 0, 5, 1, 4, 2]
        made = dicom_series.enhanced(values, grid, order=order, **changes)
        return dicom_series.write([made], folder)
    made = dicom_series.slices(values, grid, **changes)
    return dicom_series.write(made[::-1] if kind == "backwards" else made, folder)


def result_of(path, *, top=1.0, threshold=0.9, seed=0, **changes):
    """A result of a series: noise above a threshold."""
    scan = read(path)
    values = np.random.default_rng(seed).random(scan.shape, np.float32) * np.float32(top)
    found = scan.with_(data=values[None])
    mask, components = PostProcess(min_mm3=0).segment(values, found, threshold * top)
    return Result(**{
        "case": "c",
        "paths": {"image": str(path)},
        "map": found,
        "mask": mask,
        "components": components,
        "reconstruction": None,
        "score": 0.75,
        "p": 0.125,
        "threshold": {"protocol": "fpr-0.01", "value": threshold * top},
        "scale": {"low": 0.1 * top, "high": 0.8 * top},
        "model": {"name": "ours", "fingerprint": "0123", "method": "intensity"},
        "warnings": ["thick slices"],
        **changes,
    })  # fmt: skip


def frames(dataset, like):
    """Frames of an object by segment, each laid on a scan's voxels by its position alone."""
    inverse = np.linalg.inv(like.affine)
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    found = {}
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for plane, group in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        place = LPS @ [*map(float, group.PlanePositionSequence[0].ImagePositionPatient), 1.0]
        index = inverse @ place
        assert np.allclose(index[1:3], 0, atol=1e-2)
        segment = 1
        for each in (shared, group):
            if "SegmentIdentificationSequence" in each:
                segment = each.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        volume = found.setdefault(segment, np.zeros(like.shape, plane.dtype))
        volume[round(index[0])] = plane
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    assert np.allclose((LPS @ like.affine)[:3, 2], cosines[0] * spacing[1], atol=1e-3)
    assert np.allclose((LPS @ like.affine)[:3, 1], cosines[1] * spacing[0], atol=1e-3)
    return found


def opened(folder):
    return {path.stem: pydicom.dcmread(path) for path in folder.glob("*.dcm")}


def flipped():
    """Rows run up, columns to the right of the patient, slices downwards."""
    return np.array([[0, 0, 2.0, 5], [0, 3.0, 0, -8], [-4.0, 0, 0, 60], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("kind", "grid"),
    [
        ("classic", None),
        ("backwards", None),
        ("classic", flipped()),
        ("enhanced", None),
        ("enhanced", flipped()),
    ],
    ids=["oblique", "backwards", "flipped", "multi-frame", "multi-frame-flipped"],
)
def test_what_is_read_back_is_the_result(tmp_path, kind, grid):
    path = series(tmp_path / "series", kind, grid)
    result = result_of(path, top=3.0)
    result.save(tmp_path / "case")
    saved = Result.load(tmp_path / "case")
    write_objects(saved, tmp_path / "dicom")
    objects = opened(tmp_path / "dicom")

    segments = frames(objects["regions"], saved.map)
    assert set(segments) == set(range(1, len(saved.components) + 1))
    assert np.array_equal(sum(segments.values()), saved.mask)  # no voxel in two
    for number, component in enumerate(saved.components, start=1):
        assert segments[number].sum() == component.voxels
        assert segments[number][component.centre_index]
    assert np.array_equal(frames(objects["map"], saved.map)[1], saved.map.data[0])
    expected = np.rint(255 * np.clip(saved.map.data[0] / np.float32(2.4), 0, 1))
    assert np.array_equal(frames(objects["likelihood"], saved.map)[1], expected)


@pytest.mark.data
@pytest.mark.skipif(FLAIR is None, reason="no shared/data/formats/dicom_flair")
def test_a_clinical_series_keeps_its_voxels_and_who_it_is_of(tmp_path):
    result = result_of(FLAIR, threshold=0.999999)
    write_objects(result, tmp_path / "dicom")
    objects = opened(tmp_path / "dicom")
    assert np.array_equal(sum(frames(objects["regions"], result.map).values()), result.mask)
    assert np.array_equal(frames(objects["map"], result.map)[1], result.map.data[0])
    slice_ = pydicom.dcmread(next(FLAIR.glob("*.dcm")))
    for made in objects.values():
        for name in (
            "PatientName",
            "PatientID",
            "PatientSex",
            "PatientBirthDate",
            "StudyInstanceUID",
            "StudyDate",
        ):
            assert made[name].value == slice_[name].value
        assert made.PatientIdentityRemoved == "YES"
        assert made.DeidentificationMethod == slice_.DeidentificationMethod
        assert made.DeidentificationMethodCodeSequence == slice_.DeidentificationMethodCodeSequence
        assert not [element for element in made.iterall() if element.tag.is_private]


def test_patient_study_and_space_are_the_series_own(tmp_path):
    path = series(tmp_path / "series")
    write_objects(result_of(path), tmp_path / "dicom", overlay=True)
    source = pydicom.dcmread(next(path.iterdir()))
    objects = opened(tmp_path / "dicom")
    assert len(objects) == 4 + 6
    for name, made in objects.items():
        for keyword in PERSON.keys() - {"SeriesNumber", "FrameOfReferenceUID"}:
            assert made[keyword].value == source[keyword].value, keyword
        if name != "report":
            assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert made.Manufacturer == "aberra"
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        assert "ours" in made.SeriesDescription
        assert "PatientIdentityRemoved" not in made
    series_of = {made.SeriesInstanceUID for made in objects.values()}
    assert len(series_of) == 5  # the pictures are one
    assert sorted({made.SeriesNumber for made in objects.values()}) == [401, 402, 403, 404, 405]


def test_nothing_is_filled_in_where_the_header_is_silent(tmp_path):
    silent = dict.fromkeys(PERSON.keys() - {"StudyInstanceUID", "FrameOfReferenceUID"}, ...)
    path = tmp_path / "series"
    datasets = dicom_series.slices(dicom_series.brain(), **PERSON)
    dicom_series.write([dicom_series.change(each, **silent) for each in datasets], path)
    write_objects(result_of(path), tmp_path / "dicom")
    for made in opened(tmp_path / "dicom").values():
        assert not any(
            made[name].value for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
        )
        assert not made.StudyDate
        assert not made.AccessionNumber


def test_odd_values_are_kept_as_they_are(tmp_path):
    path = series(tmp_path / "series", PatientSex="U", PatientBirthDate=("DA", b"1960"))
    write_objects(result_of(path), tmp_path / "dicom")
    for made in opened(tmp_path / "dicom").values():
        assert (made.PatientSex, str(made.PatientBirthDate)) == ("U", "1960")


def test_every_reference_leads_to_a_slice_of_the_series(tmp_path):
    path = series(tmp_path / "series")
    write_objects(result_of(path), tmp_path / "dicom", overlay=True)
    there = {pydicom.dcmread(each).SOPInstanceUID for each in path.iterdir()}
    objects = opened(tmp_path / "dicom")
    there.add(objects["regions"].SOPInstanceUID)
    for name, made in objects.items():
        referred = {str(each.value) for each in made.iterall() if each.keyword == "ReferencedSOPInstanceUID"}
        assert referred
        assert referred <= there, name


def test_pictures_lie_on_their_slices(tmp_path):
    path = series(tmp_path / "series")
    result = result_of(path)
    write_objects(result, tmp_path / "dicom", overlay=True)
    sources = {each.SOPInstanceUID: each for each in map(pydicom.dcmread, path.iterdir())}
    for name, made in opened(tmp_path / "dicom").items():
        if name.startswith("overlay"):
            of = sources[made.SourceImageSequence[0].ReferencedSOPInstanceUID]
            assert np.allclose(made.ImagePositionPatient, of.ImagePositionPatient)
            assert np.allclose(made.ImageOrientationPatient, of.ImageOrientationPatient)
            mask = result.mask[made.InstanceNumber - 1]
            assert made.pixel_array.shape == (*mask.shape, 3)
            assert made.pixel_array[~mask].std() > 0


def test_the_report_has_the_findings_numbers(tmp_path):
    path = series(tmp_path / "series")
    result = result_of(path)
    write_objects(result, tmp_path / "dicom")
    report = hd.sr.srread(tmp_path / "dicom" / "report.dcm").content
    groups = report.get_volumetric_roi_measurement_groups()
    regions = opened(tmp_path / "dicom")["regions"]
    assert len(groups) == len(result.components)
    for number, (group, component) in enumerate(zip(groups, result.components, strict=True), start=1):
        values = {}
        for each in group.get_measurements():
            derived = each.derivation.meaning if each.derivation else ""
            values[each.name.value, derived] = each.value
        right, front, up = component.centre_mm
        names = ["centre-left", "centre-posterior", "centre-superior"]
        assert [values[name, ""] for name in names] == pytest.approx([-right, -front, up])
        assert values["118565006", ""] == pytest.approx(component.volume_mm3)
        assert values[codes.SCT.Score.value, "Maximum"] == pytest.approx(component.peak)
        assert values["p-value", ""] == 0.125
        told = {
            each.keyword: each.value for each in group[0].iterall() if each.keyword.startswith("Referenced")
        }
        assert told["ReferencedSegmentNumber"] == number
        assert regions.SegmentSequence[number - 1].TrackingUID == group.tracking_uid
    report = opened(tmp_path / "dicom")["report"]
    notes = [each.value for each in report.iterall() if each.keyword == "TextValue"]
    assert "thick slices" in notes
    assert any("not a medical device" in note for note in notes)


def test_one_finding_in_one_slice_is_reported(tmp_path):
    path = series(tmp_path / "series")
    whole = result_of(path)
    spot = np.zeros(whole.map.shape, np.float32)
    spot[2, 3:5, 3:5] = 1
    mask, components = PostProcess(min_mm3=0).segment(spot, whole.map, 0.5)
    write_objects(result_of(path, mask=mask, components=components), tmp_path / "dicom")
    (group,) = hd.sr.srread(tmp_path / "dicom" / "report.dcm").content.get_volumetric_roi_measurement_groups()
    regions = opened(tmp_path / "dicom")["regions"]
    assert regions.NumberOfFrames == 1
    assert regions.SegmentSequence[0].TrackingUID == group.tracking_uid


def test_without_a_finding_there_are_the_same_objects(tmp_path):
    path = series(tmp_path / "series")
    result = result_of(path, threshold=2.0, p=None)
    write_objects(result, tmp_path / "dicom")
    objects = opened(tmp_path / "dicom")
    assert set(objects) == {"regions", "likelihood", "map", "report"}
    assert not objects["regions"].pixel_array.any()
    assert objects["regions"].SegmentSequence[0].SegmentLabel == "no finding"
    content = hd.sr.srread(tmp_path / "dicom" / "report.dcm").content
    assert content.get_volumetric_roi_measurement_groups() == []


def test_a_probability_is_itself(tmp_path):
    path = series(tmp_path / "series")
    result = result_of(path, scale={"low": 0.0, "high": 1.0})
    write_objects(result, tmp_path / "dicom")
    made = opened(tmp_path / "dicom")["likelihood"]
    assert np.array_equal(frames(made, result.map)[1], np.rint(255 * result.map.data[0]))
    assert "probability" in made.SegmentSequence[0].SegmentDescription


def test_the_rule_is_said_in_the_segment(tmp_path):
    path = series(tmp_path / "series")
    write_objects(result_of(path, top=3.0), tmp_path / "dicom")
    said = opened(tmp_path / "dicom")["likelihood"].SegmentSequence[0].SegmentDescription
    assert said == "anomaly map / 2.4, cut at 1; not a calibrated probability; stored as round(255 x)"


def uids(folder):
    names = ("SOPInstanceUID", "SeriesInstanceUID")
    return {str(made[name].value) for made in map(pydicom.dcmread, folder.glob("*.dcm")) for name in names}


def test_the_same_result_has_the_same_identifiers_another_detectors_others(tmp_path):
    path = series(tmp_path / "series")
    result = result_of(path)
    other = {"name": "theirs", "fingerprint": "4567", "method": "intensity"}
    for name, each in {
        "a": result,
        "b": result,
        "c": result_of(path, model=other),
        "d": result_of(path, seed=1),
    }.items():
        write_objects(each, tmp_path / name)
    a, b, c, d = (uids(tmp_path / name) for name in "abcd")
    assert a == b
    assert not a & c
    assert not a & d
    assert all(len(each) <= 64 and pydicom.uid.UID(each).is_valid for each in a)


def test_what_is_there_is_kept_and_what_is_missing_added(tmp_path):
    path = series(tmp_path / "series")
    result, folder = result_of(path), tmp_path / "dicom"
    write_objects(result, folder)
    before = {each: each.stat().st_mtime_ns for each in folder.glob("*.dcm")}
    assert write_objects(result, folder) == listed(folder)
    assert before == {each: each.stat().st_mtime_ns for each in folder.glob("*.dcm")}
    assert len(write_objects(result, folder, overlay=True)) == 4 + 6
    assert len(write_objects(result, folder)) == 4 + 6  # more than asked for is fine
    (folder / LIST).unlink()
    assert listed(folder) is None
    write_objects(result, folder)
    content = json.loads((folder / LIST).read_text())
    assert [each["file"] for each in content["objects"]] == [
        "regions.dcm",
        "likelihood.dcm",
        "map.dcm",
        "report.dcm",
    ]
    assert sorted(each.name for each in folder.glob("*.dcm")) == sorted(
        each["file"] for each in content["objects"]
    )


@pytest.mark.parametrize("name", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_series_that_nothing_can_refer_to_is_refused(tmp_path, name):
    path = series(tmp_path / "series", **{name: ""})
    with pytest.raises(InputError, match=f"no {name}, so no DICOM object can refer to it"):
        write_objects(result_of(path), tmp_path / "dicom")
    assert not (tmp_path / "dicom").exists()


def test_a_series_that_is_gone_or_another_is_refused(tmp_path):
    path = series(tmp_path / "series")
    result = result_of(path)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no DICOM series is at"):
        write_objects(result, tmp_path / "dicom")
    series(tmp_path / "series", grid=flipped())
    with pytest.raises(InputError, match="other voxels"):
        write_objects(result, tmp_path / "dicom")


def test_without_the_library_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r"pip install 'aberra\[dicom\]'"):
        write_objects(result_of(series(tmp_path / "series")), tmp_path / "dicom")
