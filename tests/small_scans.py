"""Scans of a few thousand voxels and detectors that learn nothing: fast enough for hundreds of
runs.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.method import Method
from aberra.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

AFFINE = np.diag([2.0, 2, 2, 1])


def scan(seed=0):
    """A noisy block in zeros, shape (1, 6, 20, 20)."""
    data = np.zeros((1, 6, 20, 20), np.float32)
    data[:, 1:5, 3:17, 3:17] = 1 + 0.1 * np.random.default_rng(seed).random((1, 4, 14, 14))
    return Volume(data=data, affine=AFFINE)


@cache
def scan_bytes(folder: Path, seed=0):
    """The same as the bytes of a NIfTI file."""
    scan(seed).write(folder / f"bytes{seed}.nii.gz")
    return (folder / f"bytes{seed}.nii.gz").read_bytes()


def cohort(folder, cases=4, *, split=False):
    """Write healthy scans and a manifest; returns its path."""
    rows = ["case,patient,image,label" + (",split" if split else "")]
    for index in range(cases):
        scan(index).write(folder / f"scan{index}.nii.gz")
        part = f",{'train' if index % 2 else 'val'}" if split else ""
        rows.append(f"c{index},p{index},scan{index}.nii.gz,0{part}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def detector(name, manifest, out):
    """Fit a method that learns nothing."""
    return Detector.fit(Method.load(name, {"prepare.size": 16}), Cohort.read(manifest), out=out, workers=1)


def dicom_bytes(index=0):
    """One slice of an axial series."""
    from io import BytesIO

    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index + 1}"
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
    ds.Modality, ds.PatientID, ds.PatientName = "MR", "nobody", "Nobody"
    ds.ImageOrientationPatient, ds.PixelSpacing, ds.SliceThickness = [1, 0, 0, 0, 1, 0], [2, 2], 2
    ds.ImagePositionPatient = [0, 0, 2 * index]
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 20, 20, 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.InstanceNumber = 15, 0, index + 1
    pixels = np.zeros((20, 20), np.uint16)
    if 0 < index < 5:
        pixels[3:17, 3:17] = 100 + np.random.default_rng(index).integers(0, 10, (14, 14))
    ds.PixelData = pixels.tobytes()
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def series(folder, slices=6):
    """Write a DICOM series; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(slices):
        (folder / f"IM{index:04d}.dcm").write_bytes(dicom_bytes(index))
    return folder


def bids_dataset(folder, scans, participants=""):
    """Write a raw BIDS dataset of such scans, named without ending; returns its folder."""
    for seed, name in enumerate(scans):
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        scan(seed).write(path)
    (folder / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    (folder / "README").write_text("Scans that are drawn.\n")
    if participants:
        (folder / "participants.tsv").write_text(participants, encoding="utf-8")
    return folder
