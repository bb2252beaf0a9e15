from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

from aberra.errors import InputError
from aberra.io import read, sniff

FORMATS = Path(os.environ.get("ABERRA_DATA", Path(__file__).parents[3] / "shared" / "data")) / "formats"
ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0, 0.8, 0.6])
NORMAL = np.cross(ROW, COLUMN)


def _base(storage, series):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = storage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SeriesInstanceUID = series
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    return dataset


def _slice(path, number, *, series="1.2.3", value=None):
    dataset = _base(CTImageStorage, series)
    pixels = np.full((5, 6), number if value is None else value, np.int16)
    pixels[0, 0] = 99
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelSpacing = [0.5, 0.75]
    dataset.ImageOrientationPatient = [*ROW, *COLUMN]
    dataset.ImagePositionPatient = (np.array([10.0, 20, 30]) + NORMAL * 2.5 * number).round(6).tolist()
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1000
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def test_a_series_is_sorted_by_geometry_and_rescaled(tmp_path):
    for name, number in zip("dacbe", (3, 0, 4, 1, 2), strict=True):
        _slice(tmp_path / name, number)
    assert sniff(tmp_path) == "dicom"
    volume = read(tmp_path, channel="ct")
    assert volume.shape == (5, 5, 6)
    np.testing.assert_allclose(volume.data[0, :, 1, 1], np.arange(5) * 2 - 1000)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.5, 0.75))
    np.testing.assert_allclose((volume.affine @ [0, 0, 0, 1])[:3], [-10, -20, 30])
    corner = np.array([10.0, 20, 30]) + NORMAL * 5 + COLUMN * 0.5 * 3 + ROW * 0.75 * 4
    np.testing.assert_allclose((volume.affine @ [2, 3, 4, 1])[:3], corner * [-1, -1, 1], atol=1e-5)
    same = read(tmp_path / "d", channel="ct")
    np.testing.assert_array_equal(same.data, volume.data)


@pytest.mark.parametrize(
    ("numbers", "said"), [((0, 1, 2, 4, 5), "slices are missing"), ((0, 1, 1, 2, 3), "occur twice")]
)
def test_missing_and_doubled_slices_are_refused(numbers, said, tmp_path):
    for index, number in enumerate(numbers):
        _slice(tmp_path / str(index), number)
    with pytest.raises(InputError, match=said):
        read(tmp_path)


def test_mixed_series_are_listed_unless_a_file_tells_which(tmp_path):
    for number in range(3):
        _slice(tmp_path / f"a{number}", number, series="1.2.3")
        _slice(tmp_path / f"b{number}", number, series="1.2.4", value=7)
    with pytest.raises(InputError, match=r"1\.2\.3 \(3 files\)"):
        read(tmp_path)
    assert read(tmp_path / "b0").data[0, 1, 1, 1] == 7 * 2 - 1000


def test_enhanced_multi_frame(tmp_path):
    dataset = _base(EnhancedMRImageStorage, "1.2.9")
    frames = np.stack([np.full((4, 3), number, np.int16) for number in (2, 0, 1)])
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = 3, 4, 3
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = [1.0, 1.0]
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = (
        Sequence([measures]),
        Sequence([orientation]),
    )
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number in (2, 0, 1):
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 3.0 * number]
        group.PlanePositionSequence = Sequence([position])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.PixelData = frames.tobytes()
    dataset.save_as(tmp_path / "frames.dcm", enforce_file_format=True)
    volume = read(tmp_path / "frames.dcm")
    np.testing.assert_array_equal(volume.data[0, :, 0, 0], [0, 1, 2])
    np.testing.assert_allclose(volume.spacing, (3, 1, 1))


def test_dicom_without_pixels_is_refused(tmp_path):
    dataset = _base(CTImageStorage, "1.2.3")
    dataset.save_as(tmp_path / "no-pixels", enforce_file_format=True)
    with pytest.raises(InputError, match="without images"):
        read(tmp_path)


@pytest.mark.data
@pytest.mark.skipif(not FORMATS.is_dir(), reason="needs ../shared/data/formats")
def test_a_real_oblique_series_lies_where_simpleitk_puts_it():
    import SimpleITK as sitk

    folder = FORMATS / "dicom_flair"
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    expected = reader.Execute()
    found = read(folder)
    np.testing.assert_array_equal(found.data[0], sitk.GetArrayFromImage(expected).astype(np.float32))
    for index in ((0, 0, 0), (5, 100, 30), (20, 3, 200)):
        there = np.array(expected.TransformIndexToPhysicalPoint(index[::-1])) * [-1, -1, 1]
        np.testing.assert_allclose((found.affine @ [*index, 1])[:3], there, atol=1e-3)
    assert pydicom.dcmread(next(folder.iterdir())).Modality == "MR"
