"""DICOM series from arrays, as scanners write them or as they should not."""

from __future__ import annotations

from itertools import count

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

OBLIQUE = np.array([[0.3, -0.48, 1.2, -40], [0.1, 1.9, 0.36, 25], [2.9, -0.3, 0.2, 7], [0, 0, 0, 1.0]])

NUMBERS = count(1)

LONG = {"OB", "OW", "OF", "OD", "SQ", "UN", "UT"}
"""Kinds of value whose length takes four bytes."""


def affine(spacing=(4.0, 2.0, 1.5), origin=(-40.0, 25.0, 7.0)):
    """An oblique affine from (slice, row, column) to RAS mm."""
    turn, _ = np.linalg.qr(OBLIQUE[:3, :3])
    found = np.eye(4)
    found[:3, :3] = turn * np.sign(np.linalg.det(turn)) * spacing
    found[:3, 0] = np.cross(found[:3, 2], found[:3, 1])  # slices follow rows × columns (LPS)
    found[:3, 0] *= spacing[0] / np.linalg.norm(found[:3, 0])
    found[:3, 3] = origin
    return found


def brain(shape=(6, 8, 5), low=0, high=4000, seed=0):
    """Whole numbers, shape (D, H, W); the lowest of them outside an ellipsoid."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(axis**2 for axis in axes) < 1.6
    return np.where(inside, rng.integers(low + 1, high, shape), low)


def slices(data, grid=None, *, dtype="u2", modality="MR", syntax=ExplicitVRLittleEndian, **changes):
    """One dataset a slice of data (D, H, W); changes are set in all of them, None makes an element
    empty.
    """
    grid = affine() if grid is None else grid
    series = f"1.2.3.{next(NUMBERS)}"
    return (
        [_slice(data, index, grid, np.dtype(dtype), modality, syntax, series) for index in range(len(data))]
        if not changes
        else [
            change(each, **changes)
            for each in slices(data, grid, dtype=dtype, modality=modality, syntax=syntax)
        ]
    )


def _slice(data, index, grid, dtype, modality, syntax, series):
    dataset = _base(CTImageStorage if modality == "CT" else MRImageStorage, series, dtype, syntax)
    dataset.Modality, dataset.ImageType, dataset.InstanceNumber = modality, ["ORIGINAL", "PRIMARY"], index + 1
    place(dataset, grid, index)
    plane = np.round(data[index]).astype(dtype)
    dataset.Rows, dataset.Columns = plane.shape
    dataset.add_new("PixelData", "OW", plane.tobytes())
    return dataset


def enhanced(data, grid=None, *, dtype="u2", order=None, syntax=ExplicitVRLittleEndian, **changes):
    """One dataset with a frame a slice of data (D, H, W), in the order given."""
    grid = affine() if grid is None else grid
    dtype, order = np.dtype(dtype), range(len(data)) if order is None else order
    dataset = _base(EnhancedMRImageStorage, f"1.2.3.{next(NUMBERS)}", dtype, syntax)
    dataset.Modality, dataset.NumberOfFrames = "MR", len(data)
    dataset.Rows, dataset.Columns = data.shape[1:]
    groups = []
    for index in order:
        values, group = place(Dataset(), grid, index), Dataset()
        for sequence, names in (
            ("PlanePositionSequence", ["ImagePositionPatient"]),
            ("PlaneOrientationSequence", ["ImageOrientationPatient"]),
            ("PixelMeasuresSequence", ["PixelSpacing", "SliceThickness"]),
        ):
            inner = Dataset()
            for name in names:
                setattr(inner, name, getattr(values, name))
            setattr(group, sequence, Sequence([inner]))
        transform = Dataset()
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 1, 0, "US"
        group.PixelValueTransformationSequence = Sequence([transform])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    dataset.add_new(
        "PixelData", "OW", np.stack([np.round(data[index]).astype(dtype) for index in order]).tobytes()
    )
    return change(dataset, **changes)


def _base(storage, series, dtype, syntax):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = storage, f"{series}.{next(NUMBERS)}"
    dataset.SeriesInstanceUID = series
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = dtype.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dtype.itemsize * 8 - 1, int(dtype.kind == "i")
    return dataset


def place(dataset, grid, index):
    """Give a slice its place on a grid."""
    lps = LPS @ grid
    step = np.linalg.norm(lps[:3, :3], axis=0)
    dataset.ImageOrientationPatient = _texts([*(lps[:3, 2] / step[2]), *(lps[:3, 1] / step[1])])
    dataset.ImagePositionPatient = _texts((lps @ [index, 0, 0, 1])[:3])
    dataset.PixelSpacing = _texts([step[1], step[2]])
    dataset.SliceThickness = f"{step[0]:.8g}"
    return dataset


def _texts(values):
    return [f"{value:.10g}" for value in values]


def change(dataset, **changes):
    """Set elements; None makes one empty, ``...`` takes it away, (VR, bytes) is written into the
    file as it is.
    """
    for name, value in changes.items():
        if value is ...:
            delattr(dataset, name)
        elif isinstance(value, tuple):
            dataset.odd = {**getattr(dataset, "odd", {}), Tag(name): value}
        else:
            setattr(dataset, name, value)
    return dataset


def write(datasets, folder, name="IM{:04d}.dcm"):
    """Write datasets as files and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets):
        save(dataset, folder / name.format(number))
    return folder


def save(dataset, path):
    """Write a dataset as a file."""
    odd = getattr(dataset, "odd", {})
    for tag in odd:
        dataset.pop(tag, None)
    dcmwrite(path, dataset, enforce_file_format=True)
    for tag, (kind, value) in odd.items():
        content = path.read_bytes()
        where = _place_of(tag, content)
        path.write_bytes(content[:where] + _element(tag, kind, value) + content[where:])
    return path


def _element(tag, kind, value):
    """An element in explicit little endian."""
    size = len(value).to_bytes(4 if kind in LONG else 2, "little")
    begin = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + kind.encode()
    return begin + (b"\0\0" if kind in LONG else b"") + size + value


def _place_of(tag, content):
    """Where an element belongs in a file of explicit little endian."""
    at = 132
    while at < len(content):
        group, element = (int.from_bytes(content[at + k : at + k + 2], "little") for k in (0, 2))
        if group != 2 and (group, element) > (tag.group, tag.element):
            break
        long = content[at + 4 : at + 6].decode() in LONG
        size = content[at + 8 : at + 12] if long else content[at + 6 : at + 8]
        at += (12 if long else 8) + int.from_bytes(size, "little")
    return at


def bare(path):
    """Take preamble and file meta away from a file."""
    content = path.read_bytes()
    length = int.from_bytes(
        content[140:144], "little"
    )  # of the meta group, the first element after the magic
    path.write_bytes(content[144 + length :])
