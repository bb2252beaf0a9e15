"""What is fuzzed."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import tomllib
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import tomli_w
from PIL import Image

from aberra import Cohort, Detector, Result, Volume
from aberra.benchmark import Suite
from aberra.grades import by_object, read_grades
from aberra.method import Method, catalogue, parse_settings
from fuzz.engine import WORDS, Target, Wrong, change_bytes, change_text, change_tree, pick

SHAPE = (6, 9, 8)
AFFINE = np.array([[0, 0, -4.0, 5], [0, -4, 0, 1], [4, 0, 0, 0], [0, 0, 0, 1]])


def _data():
    data = np.zeros(SHAPE, np.float32)
    data[1:5, 2:8, 1:7] = np.random.default_rng(0).uniform(100, 900, (4, 6, 6)).round()
    return data


def sane(volume, changed=None):
    """A volume that was taken is finite, in mm, and has the unchanged file's voxels where a
    checksum vouches for them.
    """
    if not np.isfinite(volume.data).all() or not np.isfinite(volume.affine).all():
        raise Wrong("not finite")
    if not all(1e-4 < step < 1e4 for step in volume.spacing):
        raise Wrong(f"spacing {volume.spacing}")


def same(volume, changed=None):
    sane(volume)
    if not np.array_equal(volume.data[0], _data()):
        raise Wrong("other voxels than were written, though the file has a checksum")


def _built(method):
    from aberra.workflows.fit import _check_options

    _check_options(method)


@cache
def _nifti(dtype=np.float32, kind=nib.Nifti1Image):
    image = kind(_data().astype(dtype), AFFINE)
    image.header.set_xyzt_units("mm")
    if dtype == np.int16:
        image.header.set_slope_inter(2.0, 3.0)
    return image.to_bytes()


@cache
def _pair():
    image = nib.Nifti1Pair(_data(), AFFINE)
    with tempfile.TemporaryDirectory() as folder:
        image.to_filename(f"{folder}/s.img")
        return {f"s.{each}": Path(f"{folder}/s.{each}").read_bytes() for each in ("hdr", "img")}


@cache
def _dicom():
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    files = {}
    for index in range(4):
        slice_ = Dataset()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.file_meta.MediaStorageSOPClassUID = slice_.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID = f"1.2.3.{index + 1}"
        slice_.SeriesInstanceUID, slice_.StudyInstanceUID, slice_.FrameOfReferenceUID = (
            "1.2.4",
            "1.2.5",
            "1.2.6",
        )
        slice_.Modality, slice_.PatientID, slice_.InstanceNumber = "MR", "X", index + 1
        slice_.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        slice_.ImageOrientationPatient, slice_.PixelSpacing = [1, 0, 0, 0, 1, 0], [2, 2]
        slice_.ImagePositionPatient, slice_.SliceThickness = [0, 0, 3 * index], 3
        slice_.Rows, slice_.Columns, slice_.SamplesPerPixel = 8, 9, 1
        slice_.PhotometricInterpretation, slice_.PixelRepresentation = "MONOCHROME2", 0
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.RescaleSlope, slice_.RescaleIntercept = 15, 1, 0
        slice_.PixelData = (np.arange(72, dtype=np.uint16) + 100 * index).tobytes()
        buffer = io.BytesIO()
        slice_.save_as(buffer, enforce_file_format=True)
        files[f"s/{index}.dcm"] = buffer.getvalue()
    return files


TAGS = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "RescaleSlope",
    "RescaleIntercept", "NumberOfFrames", "SeriesInstanceUID", "SOPClassUID", "InstanceNumber", "ImageType", "PixelData",
    "SpacingBetweenSlices", "PixelPaddingValue", "SpecificCharacterSet", "FrameOfReferenceUID", "AcquisitionTime", "Modality",
)  # fmt: skip
RAW = (
    b"",
    b" ",
    b"0 ",
    b"-1",
    b"abc ",
    b"nan ",
    b"inf ",
    b"1e999 ",
    b"1\\2\\3\\4 ",
    b"\\\\ ",
    b"0\\0 ",
    b"\x00\x00",
    b"\xff\xff",
    b"\x00" * 6,
)


def _change_tags(rng, folder):
    """Raw values of some elements of some slices."""
    import pydicom
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    every = rng.random() < 0.3
    for _ in range(int(rng.integers(1, 3))):
        tag, raw, gone = Tag(tag_for_keyword(pick(rng, TAGS))), pick(rng, RAW), rng.random() < 0.2
        for path in (
            sorted((folder / "s").iterdir()) if every else [pick(rng, sorted((folder / "s").iterdir()))]
        ):
            try:
                found = pydicom.dcmread(path)
                found.pop(tag, None)
                if not gone:
                    found[tag] = RawDataElement(
                        tag,
                        dictionary_VR(tag)[:2],
                        len(raw),
                        raw,
                        0,
                        is_implicit_VR=False,
                        is_little_endian=True,
                    )
                found.save_as(path, enforce_file_format=False)
            except Exception:  # noqa: BLE001  (pydicom itself stumbles over what the first change made of the file)
                path.write_bytes(change_bytes(rng, path.read_bytes(), 900))


@cache
def _image(kind):
    buffer = io.BytesIO()
    Image.fromarray((np.arange(20 * 24) % 251).astype(np.uint8).reshape(20, 24)).save(buffer, kind)
    return buffer.getvalue()


def _same_image(volume, changed):
    sane(volume)
    if not np.array_equal(volume.data[0, 0], (np.arange(20 * 24) % 251).reshape(20, 24)):
        raise Wrong("other pixels than were written, though the file has a checksum")


MANIFEST = (
    "case,patient,flair,mask,label,site,age,sex,split\n"
    "a,p,a.nii.gz,,0,north,34,f,train\nb,q,b.nii.gz,m.nii.gz,1,south,61.5,m,val\nc,r,a.nii.gz,,,,,,test\n"
)


def _safe(cohort, changed):
    from aberra.cohort.rows import unsafe

    for case in cohort:
        if (
            unsafe(case.case)
            or not case.channels
            or not all(path.exists() for path in case.channels.values())
        ):
            raise Wrong(f"case {case}")


def _change_toml(rng, folder):
    """A method or suite file as a tree or as text."""
    path = folder / "m.toml"
    text = path.read_text()
    if rng.random() < 0.7:
        try:
            path.write_text(tomli_w.dumps(change_tree(rng, tomllib.loads(text))))
        except (TypeError, ValueError):
            path.write_text(change_text(rng, text))
    else:
        path.write_text(change_text(rng, text), encoding="utf-8", errors="replace")


def _any_method(rng, folder):
    names = sorted(catalogue())
    base = Method.load(pick(rng, names)).to_dict()
    (folder / "m.toml").write_text(tomli_w.dumps({key: value for key, value in base.items() if value}))
    _change_toml(rng, folder)


SUITE = """
seeds = [0]
bootstrap = 20
metrics = ["AP"]
budget = { steps = 20 }
[settings]
"prepare.size" = 32
[cohorts.a]
phantom = { cases = 9, seed = 1 }
[cohorts.b]
manifest = "x/manifest.csv"
split = "val"
most = 3
[tasks.t]
train = "a"
validation = "b"
test = ["b"]
settings = { "training.steps" = 5 }
[[methods]]
name = "vae"
sweep = { "model.latent" = [4, 8] }
[[methods]]
name = "pca"
subjects = [0.5, 1.0]
[grid]
methods = ["ae"]
[[grid.scores]]
name = "residual"
"""


@cache
def _detector():
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        lines = ["case,flair,label,split"]
        for index in range(4):
            data = _data() * (1 + index / 10)
            nib.Nifti1Image(data, AFFINE).to_filename(place / f"c{index}.nii.gz")
            lines.append(f"c{index},c{index}.nii.gz,0,{'train' if index < 2 else 'val'}")
        (place / "m.csv").write_text("\n".join(lines) + "\n")
        method = Method.load("pca", {"model.components": 2, "prepare.size": 16, "prepare.match": True})
        Detector.fit(method, Cohort.read(place / "m.csv"), out=place / "model")
        detector = Detector.load(place / "model")
        result = detector.detect(Volume(data=_data()[None], affine=AFFINE, channels=("flair",)), case="one")
        result.save(place / "one")
        model = {
            f"model/{each.name}": each.read_bytes() for each in (place / "model").iterdir() if each.is_file()
        }
        return model, (place / "one" / "result.json").read_bytes(), {
            f"one/{each.name}": each.read_bytes() for each in (place / "one").iterdir() if each.is_file()
        }  # fmt: skip


PARTS = ("detector.toml", "calibration.json", "fingerprint.json", "weights.safetensors")


def _change_detector(rng, folder):
    part = pick(rng, PARTS)
    path = folder / "model" / part
    if part == "weights.safetensors":
        path.write_bytes(change_bytes(rng, path.read_bytes(), head=300))
    elif rng.random() < 0.3:
        path.write_text(change_text(rng, path.read_text()), encoding="utf-8", errors="replace")
    elif part.endswith("toml"):
        try:
            path.write_text(tomli_w.dumps(change_tree(rng, tomllib.loads(path.read_text()))))
        except (TypeError, ValueError):
            path.write_text(change_text(rng, path.read_text()))
    else:
        path.write_text(json.dumps(change_tree(rng, json.loads(path.read_text()))))


def _detect(folder):
    detector = Detector.load(folder / "model")
    scan = Volume(data=_data()[None], affine=AFFINE, channels=detector.channels)
    return detector.detect(scan) if detector.calibration else detector.analyse(scan)


def _sane_map(result, changed):
    found = result.map if isinstance(result.map, np.ndarray) else result.map.data
    if not np.isfinite(found).all() or (found < 0).any() or not np.isfinite(result.score):
        raise Wrong("a map that is not finite or negative")
    p = getattr(result, "p", None)
    if p is not None and not 0 <= p <= 1:
        raise Wrong(f"p = {p}")


def _change_result(rng, folder):
    path = folder / "one" / "result.json"
    if rng.random() < 0.3:
        path.write_text(change_text(rng, path.read_text()), encoding="utf-8", errors="replace")
    else:
        path.write_text(json.dumps(change_tree(rng, json.loads(path.read_text()))))


def _change_settings(rng, folder):
    keys = [
        "model.network.width",
        "model.latent",
        "prepare.size",
        "training.steps",
        "score.smooth",
        "postprocess.median",
        "case.reduce",
        "model.name",
        "",
    ]
    values = [
        *WORDS,
        *["8", "16", "32"] * 20,
        "64",
        "1.5",
        "[1, 2]",
        '"auto"',
        "1e400",
        "9" * 5000,
        "{a = 1}",
        "1\nb = 2",
    ]
    signs = [*["="] * 6, "", "==", " = "]
    settings = [
        f"{pick(rng, keys)}{pick(rng, signs)}{pick(rng, values)}" for _ in range(int(rng.integers(1, 4)))
    ]
    (folder / "settings.json").write_text(json.dumps(settings))


def _bytes_of(name, head=0):
    def change(rng, folder):
        path = folder / name
        path.write_bytes(change_bytes(rng, path.read_bytes(), head))

    return change


def _either(rng, folder):
    _bytes_of(pick(rng, ["s.hdr", "s.hdr", "s.img"]), 348)(rng, folder)


def _text_of(name):
    def change(rng, folder):
        path = folder / name
        path.write_bytes(
            change_text(rng, path.read_text()).encode(
                pick(rng, ["utf-8"] * 8 + ["utf-16", "latin-1"]), "replace"
            )
        )

    return change


def _scans():
    good = gzip.compress(_nifti(), mtime=0)
    return {
        "a.nii.gz": good,
        "b.nii.gz": good,
        "m.nii.gz": gzip.compress(_nifti(np.uint8), mtime=0),
        "m.csv": MANIFEST.encode(),
    }


GRADES = """{"reader": "anna", "case": "s01", "object": 1, "grade": "C1", "note": "cavernoma?", "time": "2026-11-27"}
{"reader": "anna", "case": "s01", "object": 0, "grade": "C2", "note": "", "time": "", "x": 12.0, "y": -40.5, "z": 30.0}
"""


TARGETS = [
    Target("nifti", lambda: {"s.nii": _nifti()}, _bytes_of("s.nii", 352), lambda f: Volume.read(f / "s.nii"), sane),
    Target("nifti-int16", lambda: {"s.nii": _nifti(np.int16)}, _bytes_of("s.nii", 352), lambda f: Volume.read(f / "s.nii"), sane),
    Target("nifti2", lambda: {"s.nii": _nifti(np.float32, nib.Nifti2Image)}, _bytes_of("s.nii", 544), lambda f: Volume.read(f / "s.nii"), sane),
    Target("nifti-gz", lambda: {"s.nii.gz": gzip.compress(_nifti(), mtime=0)}, _bytes_of("s.nii.gz"), lambda f: Volume.read(f / "s.nii.gz"), same),
    Target("nifti-pair", _pair, _either, lambda f: Volume.read(f / "s.hdr"), sane),
    Target("dicom-tags", _dicom, _change_tags, lambda f: Volume.read(f / "s"), sane),
    Target("dicom-bytes", _dicom, lambda rng, f: _bytes_of(f"s/{int(rng.integers(4))}.dcm", 900)(rng, f), lambda f: Volume.read(f / "s"), sane),
    Target("png", lambda: {"s.png": _image("PNG")}, _bytes_of("s.png"), lambda f: Volume.read(f / "s.png"), _same_image),
    Target("jpeg", lambda: {"s.jpg": _image("JPEG")}, _bytes_of("s.jpg"), lambda f: Volume.read(f / "s.jpg"), sane),
    Target("tiff", lambda: {"s.tif": _image("TIFF")}, _bytes_of("s.tif"), lambda f: Volume.read(f / "s.tif"), sane),
    Target("manifest", _scans, _text_of("m.csv"), lambda f: Cohort.read(f / "m.csv"), _safe),
    Target("method", dict, _any_method, lambda f: _built(Method.load(f / "m.toml"))),
    Target("suite", lambda: {"m.toml": SUITE.encode()}, _change_toml, lambda f: Suite.load(f / "m.toml")),
    Target("settings", dict, _change_settings,
           lambda f: _built(Method.load("vae", parse_settings(json.loads((f / "settings.json").read_text()))))),
    Target("detector", lambda: _detector()[0], _change_detector, _detect, _sane_map),
    Target("grades", lambda: {"anna.jsonl": GRADES.encode()}, _text_of("anna.jsonl"), lambda f: by_object(read_grades(f))),
    Target("result", lambda: _detector()[2], _change_result, lambda f: Result.load(f / "one")),
]  # fmt: skip
BY_NAME = {target.name: target for target in TARGETS}
