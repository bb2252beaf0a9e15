"""Odd values in DICOM headers: the default, or an error that names the file."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_series import affine, brain, change, enhanced, save, slices, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from aberra.errors import InputError
from aberra.io import grid_of, read

DATA = brain()


def test_what_is_written_is_read(tmp_path):
    volume = read(write(slices(DATA), tmp_path / "s"), channel="t1")
    np.testing.assert_array_equal(volume.data[0], DATA)
    np.testing.assert_allclose(volume.affine, affine(), atol=1e-5)
    shape, grid = grid_of(tmp_path / "s")
    assert shape == DATA.shape
    np.testing.assert_array_equal(grid, volume.affine)
    assert volume.provenance["warnings"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"RescaleSlope": None},
        {"RescaleIntercept": None},
        {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None},
        {"RescaleSlope": ("DS", b"  ")},
        {"SliceThickness": None},
        {"NumberOfFrames": None},
        {"SamplesPerPixel": None, "PhotometricInterpretation": None},
        {"BitsStored": None, "HighBit": None},
        {"InstanceNumber": None},
        {"InstanceNumber": ("IS", b"one ")},
        {"ImagesInAcquisition": ("IS", b"many")},
        {"PixelPaddingValue": None},
        {"Modality": None, "ImageType": None},
        {"SpecificCharacterSet": ("CS", b"NO_SUCH_SET "), "PatientName": ("PN", b"J\xf6rg")},
        {"PixelRepresentation": None},  # no pixel has the bit that could be a sign
    ],
)
def test_an_empty_value_is_its_default(changes, tmp_path):
    volume = read(write(slices(DATA, **changes), tmp_path / "s"))
    np.testing.assert_array_equal(volume.data[0], DATA)
    np.testing.assert_allclose(volume.affine, affine(), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ImagePositionPatient": None}, "no position"),
        ({"ImageOrientationPatient": None}, "no orientation"),
        ({"PixelSpacing": None}, "no pixel spacing"),
        ({"PixelSpacing": ...}, "no pixel spacing"),
        ({"ImagePositionPatient": ("DS", b"1\\2 ")}, "ImagePositionPatient.*3 numbers"),
        ({"ImagePositionPatient": ("DS", b"1\\2\\x ")}, "ImagePositionPatient"),
        ({"ImagePositionPatient": ("DS", b"1\\2\\nan")}, "ImagePositionPatient"),
        ({"ImagePositionPatient": ("DS", b"1\\\\3 ")}, "ImagePositionPatient"),
        ({"ImageOrientationPatient": ("DS", b"0\\0\\0\\0\\0\\0 ")}, "orthogonal"),
        ({"ImageOrientationPatient": ("DS", b"1\\0\\0\\1\\0\\0 ")}, "orthogonal"),
        ({"ImageOrientationPatient": ("DS", b"2\\0\\0\\0\\2\\0 ")}, "orthogonal"),
        ({"PixelSpacing": ("DS", b"0\\1 ")}, "above zero"),
        ({"PixelSpacing": ("DS", b"1 ")}, "PixelSpacing.*2 numbers"),
        ({"PixelSpacing": ("DS", b"inf\\1 ")}, "PixelSpacing"),
        ({"RescaleSlope": ("DS", b"abc ")}, "RescaleSlope"),
        ({"RescaleSlope": ("DS", b"1\\2 ")}, "RescaleSlope"),
        ({"RescaleSlope": ("DS", b"NaN ")}, "RescaleSlope"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"RescaleIntercept": ("DS", b"1,5 ")}, "RescaleIntercept"),
        ({"RescaleSlope": ("FD", b"\x00\x00")}, "RescaleSlope"),
        ({"Rows": None}, "rows"),
        ({"Columns": 0}, "columns"),
        ({"BitsAllocated": None}, "bits allocated"),
        ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}, "12 bits allocated"),
        ({"BitsStored": 17}, "17 stored"),
        ({"HighBit": 3}, "highest bit 3"),
        ({"PixelRepresentation": 2}, "representation 2"),
        ({"NumberOfFrames": ("IS", b"many")}, "NumberOfFrames"),
        ({"NumberOfFrames": 2}, "2 frames without positions"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PerFrameFunctionalGroupsSequence": ("LO", b"what")}, "PerFrameFunctionalGroupsSequence"),
        ({"Rows": 4}, "different size"),
    ],
)
def test_an_odd_value_names_its_file(changes, said, tmp_path):
    datasets = slices(DATA)
    change(datasets[3], **changes)
    write(datasets, tmp_path / "s")
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path / "s")
    assert "IM0003.dcm" in str(caught.value)


def test_more_pixels_than_the_header_says_are_refused(tmp_path):
    write(slices(DATA, Rows=4), tmp_path / "s")
    with pytest.raises(InputError, match=r"IM0000\.dcm: 80 bytes of pixels, but 1 × 4 × 5"):
        read(tmp_path / "s")


def test_a_sign_that_nobody_states_is_not_guessed(tmp_path):
    write(slices(DATA - 1000, dtype="i2", PixelRepresentation=None), tmp_path / "s")
    with pytest.raises(InputError, match="PixelRepresentation is missing"):
        read(tmp_path / "s")


def test_frames_of_an_enhanced_object_are_sorted_with_their_own_values(tmp_path):
    dataset = enhanced(DATA, order=[3, 0, 5, 1, 4, 2])
    for index, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        transform = group.PixelValueTransformationSequence[0]
        transform.RescaleSlope, transform.RescaleIntercept = (2, -7) if index == 1 else (None, None)
    save(dataset, tmp_path / "frames.dcm")
    volume = read(tmp_path / "frames.dcm")
    np.testing.assert_array_equal(volume.data[0, 1:], DATA[1:])
    np.testing.assert_array_equal(volume.data[0, 0], DATA[0] * 2 - 7)
    np.testing.assert_allclose(volume.affine, affine(), atol=1e-5)


def test_what_frames_share_may_stand_in_the_shared_group(tmp_path):
    dataset = enhanced(DATA)
    groups = dataset.PerFrameFunctionalGroupsSequence
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        setattr(shared, name, groups[0][name].value)
        for group in groups:
            setattr(group, name, Sequence([]))
    for group in groups:
        del group.PixelValueTransformationSequence
    volume = read(save(dataset, tmp_path / "frames.dcm"))
    np.testing.assert_array_equal(volume.data[0], DATA)
    np.testing.assert_allclose(volume.affine, affine(), atol=1e-5)


def _without_position(dataset):
    dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence = Sequence([])


def _empty_position(dataset):
    dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0].ImagePositionPatient = None


def _too_few_groups(dataset):
    dataset.PerFrameFunctionalGroupsSequence.pop()


def _no_groups(dataset):
    dataset.PerFrameFunctionalGroupsSequence = Sequence([])


def _two_stacks(dataset):
    for group in dataset.PerFrameFunctionalGroupsSequence[3:]:
        group.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, 1]


def _two_echoes(dataset):
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, number // 2 * 4]
        group.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def _frame_of_a_mosaic(dataset):
    kind = Dataset()
    kind.FrameType = ["ORIGINAL", "PRIMARY", "MOSAIC"]
    dataset.PerFrameFunctionalGroupsSequence[0].MRImageFrameTypeSequence = Sequence([kind])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_position, "no position"),
        (_empty_position, "no position"),
        (_too_few_groups, "6 frames, but values for 5"),
        (_no_groups, "frames without positions"),
        (_two_stacks, "different orientation"),
        (_two_echoes, "occur twice"),
        (_frame_of_a_mosaic, "mosaic"),
    ],
)
def test_enhanced_objects_that_are_no_stack(spoil, said, tmp_path):
    dataset = enhanced(DATA)
    spoil(dataset)
    save(dataset, tmp_path / "frames.dcm")
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path / "frames.dcm")
    assert "frames.dcm" in str(caught.value)


def _siemens(dataset):
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 36)


def _united_imaging(dataset):
    dataset.private_block(0x0065, "Image Private Header", create=True).add_new(0x50, "DS", "24")


@pytest.mark.parametrize(
    "mark",
    [
        lambda dataset: change(dataset, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]),
        lambda dataset: change(dataset, ImageType=("CS", b"ORIGINAL\\PRIMARY\\M\\Mosaic ")),
        lambda dataset: change(dataset, ImageType=["ORIGINAL", "PRIMARY", "VFRAME"]),
        _siemens,
        _united_imaging,
    ],
)
def test_a_mosaic_is_refused(mark, tmp_path):
    (dataset,) = slices(brain((1, 24, 24)))
    mark(dataset)
    write([dataset], tmp_path / "s")
    with pytest.raises(InputError, match="mosaic.*dcm2niix"):
        read(tmp_path / "s")


def test_one_image_in_a_mosaic_is_an_image(tmp_path):
    datasets = slices(DATA)
    for dataset in datasets:
        dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 1)
    np.testing.assert_array_equal(read(write(datasets, tmp_path / "s")).data[0], DATA)


def test_a_tilted_gantry_shears_the_grid(tmp_path):
    datasets = slices(DATA, affine((4, 2, 2)))
    base = np.array([float(x) for x in datasets[0].ImagePositionPatient])
    normal = np.cross(datasets[0].ImageOrientationPatient[:3], datasets[0].ImageOrientationPatient[3:])
    step = 4 * normal + 1.5 * np.array([float(x) for x in datasets[0].ImageOrientationPatient[3:]])
    for index, dataset in enumerate(datasets):
        dataset.ImagePositionPatient = [f"{x:.10g}" for x in base + index * step]
    volume = read(write(datasets, tmp_path / "s"))
    np.testing.assert_allclose(volume.affine[:3, 0] * [-1, -1, 1], step, atol=1e-5)


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (lambda normal, column: 2 * column, "beside|from its place"),
        (lambda normal, column: 0.9 * normal, "slices are missing"),
        (lambda normal, column: 4 * normal, "occur twice"),
    ],
)
def test_a_slice_out_of_line_is_refused(shift, said, tmp_path):
    datasets = slices(DATA, affine((4, 2, 2)))
    row, column = np.array([float(x) for x in datasets[0].ImageOrientationPatient]).reshape(2, 3)
    moved = np.array([float(x) for x in datasets[2].ImagePositionPatient])
    datasets[2].ImagePositionPatient = [f"{x:.10g}" for x in moved + shift(np.cross(row, column), column)]
    write(datasets, tmp_path / "s")
    with pytest.raises(InputError, match=said):
        read(tmp_path / "s")


def test_distances_that_differ_a_little_are_one_stack(tmp_path):
    datasets = slices(DATA, np.diag([-4.0, 2, 2, 1])[[1, 2, 0, 3]])
    for index, dataset in enumerate(datasets):
        place = [float(x) for x in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [*place[:2], place[2] + 0.05 * (-1) ** index]
    volume = read(write(datasets, tmp_path / "s"))
    assert volume.spacing[0] == pytest.approx(4, abs=0.03)
