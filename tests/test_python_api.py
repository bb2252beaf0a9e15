"""What a program may hand over by mistake is refused with what was expected; never an
AttributeError of some inner room.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from aberra import Cohort, Detector, Result, Volume, evaluate
from aberra.cohort import Case
from aberra.errors import AberraError, CalibrationError, ConfigError, InputError, ModelError
from aberra.method import Method

SHAPE = (6, 20, 20)
AFFINE = np.diag([4.0, 4, 4, 1])
OTHER = [
    None,
    5,
    2.5,
    True,
    b"x",
    print,
    [],
    {},
    "",
    "nowhere",
    np.zeros(3),
    np.zeros((1, *SHAPE)),
    torch.zeros(2),
]
"""Things that are neither a volume nor a cohort nor a folder of ours."""


def _head(seed):
    rng = np.random.default_rng(seed)
    data = np.zeros(SHAPE, np.float32)
    data[1:5, 3:17, 3:17] = rng.uniform(100, 200, (4, 14, 14))
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    lines = ["case,flair,label,split"]
    for index in range(5):
        nib.Nifti1Image(_head(index), AFFINE).to_filename(folder / f"c{index}.nii.gz")
        lines.append(f"c{index},c{index}.nii.gz,0,{'train' if index < 3 else 'val'}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    Detector.fit("intensity", Cohort.read(folder / "manifest.csv"), out=folder / "model")
    zmap = Method.load("zmap", {"prepare.register": "none"})
    Detector.fit(zmap, Cohort.read(folder / "manifest.csv"), out=folder / "zmap")
    return folder


@pytest.fixture(scope="module")
def detector(folder):
    return Detector.load(folder / "model")


@pytest.mark.parametrize("given", [*OTHER, Path("scan.nii.gz"), nib.Nifti1Image(_head(0), AFFINE)])
def test_detecting_takes_a_volume(detector, given):
    for call in (detector.detect, detector.analyse):
        with pytest.raises(InputError, match=r"expected a Volume, got .*Volume"):
            call(given)


def test_a_volume_of_another_kind_is_refused(detector):
    with pytest.raises(InputError, match=r"expected a Volume, got a Case.*detector\.read"):
        detector.detect(Case(case="a", patient="a", channels={}))
    scan = Volume(data=_head(0)[None], affine=AFFINE)
    for options in ({"protocol": 5}, {"protocol": "healthy"}, {"case": 5}, {"case": None}):
        with pytest.raises(ConfigError):
            detector.detect(scan, **options)
    with pytest.raises(AberraError, match="2 channel"):
        detector.detect(Volume(data=np.stack([_head(0)] * 2), affine=AFFINE, channels=("a", "b")))
    assert detector.detect(
        Volume(data=torch.tensor(_head(0))[None].requires_grad_(), affine=AFFINE)
    ).score == (detector.detect(scan).score)


@pytest.mark.parametrize("given", OTHER)
def test_a_detector_is_loaded_by_folder_or_name(given):
    with pytest.raises(ModelError):
        Detector.load(given)


def test_a_file_is_not_a_detector(folder):
    with pytest.raises(ModelError, match=r"a file; give the folder that holds detector\.toml"):
        Detector.load(folder / "manifest.csv")
    with pytest.raises(ModelError, match="a file"):
        Detector.load(folder / "model" / "detector.toml")
    for options in (
        {"device": 5},
        {"device": None},
        {"batch_size": 0},
        {"batch_size": "many"},
        {"batch_size": 1.5},
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Detector.load(folder / "model", **options)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("weights.safetensors", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
        ("weights.safetensors", lambda raw: raw[:-4]),
        ("weights.safetensors", lambda _: b""),
        ("detector.toml", lambda raw: raw.replace(b"dims = 2", b"dims = 4")),
        ("detector.toml", lambda raw: raw.replace(b"dims = 2", b"")),
        ("detector.toml", lambda raw: raw.replace(b'name = "zmap"', b'name = "nomap"')),
        ("detector.toml", lambda raw: raw[: len(raw) // 2]),
        ("detector.toml", lambda raw: b"\xff" + raw),
        ("calibration.json", lambda raw: raw.replace(b'"low": ', b'"low": 9')),
        ("calibration.json", lambda raw: raw.replace(b'"n_cases": ', b'"n_cases": "x", "y": ')),
        ("calibration.json", lambda _: b"[]"),
        ("calibration.json", lambda _: b"[" * 100_000),
        ("fingerprint.json", lambda _: b"{}"),
        ("fingerprint.json", lambda raw: raw.replace(b'"kind": "volume"', b'"kind": "scan"')),
    ],
)  # fmt: skip
def test_a_damaged_detector_is_told_with_the_file(folder, tmp_path, name, change):
    shutil.copytree(folder / "zmap", tmp_path / "m")
    raw = (tmp_path / "m" / name).read_bytes()
    assert change(raw) != raw
    (tmp_path / "m" / name).write_bytes(change(raw))
    with pytest.raises(ModelError, match=name):
        Detector.load(tmp_path / "m")


@pytest.mark.parametrize("given", [*OTHER, Path("manifest.csv"), "manifest.csv"])
def test_learning_and_calibrating_take_a_cohort(detector, given, tmp_path):
    with pytest.raises(InputError, match=r"expected a Cohort, got .*Cohort\.read"):
        Detector.fit("intensity", given, out=tmp_path / "out")
    with pytest.raises(InputError, match=r"expected a Cohort, got .*Cohort\.read"):
        detector.calibrate(given, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"method": None}, {"method": 5}, {"method": {"name": "dae"}}, {"method": "dea"}, {"out": None}, {"out": 5},
        {"channels": "flair"}, {"channels": 5}, {"channels": [5]}, {"seed": "x"}, {"seed": 1.5}, {"seed": None},
        {"resume": "yes"}, {"device": 3}, {"cache": 5}, {"workers": 0}, {"workers": "two"}, {"calibrated": None},
        {"progress": 3}, {"steps": 5},
    ],

)  # fmt: skip
def test_wrong_options_of_a_fit_are_refused_and_take_no_folder(folder, tmp_path, options):
    cohort = Cohort.read(folder / "manifest.csv")
    with pytest.raises(ConfigError, match="seed" if "seed" in options else None):
        Detector.fit(**({"method": "intensity", "cohort": cohort, "out": tmp_path / "out"} | options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "setting",
    [
        {"model.widht": 8}, {"model.network.width": "abc"}, {"model.network.depth": 9}, {"training.stesp": 3}, {"score.compare.mode": "x"},
        {"postprocess.median": 4}, {"case.reduce": "x"}, {"prepare.size": "abc"}, {"prepare.size": 30},
        {"model.name": "ead"}, {"score.name": "direct"}, {"prepare.dims": 4},
    ],

)  # fmt: skip
def test_a_method_that_cannot_be_built_takes_no_folder(folder, tmp_path, setting):
    with pytest.raises(ConfigError):
        Detector.fit(Method.load("dae", setting), Cohort.read(folder / "manifest.csv"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"channels": "flair"}, {"group_by": 5}, {"lesions": "yes"}, {"method": "dae"}, {"out": 5}, {"progress": None},
        {"nosuch": 1},
    ],

)  # fmt: skip
def test_wrong_options_of_a_calibration_are_refused(folder, detector, options):
    with pytest.raises(ConfigError):
        detector.calibrate(Cohort.read(folder / "manifest.csv"), **options)


def test_a_detector_without_calibration_says_so(folder, tmp_path):
    plain = Detector.fit(
        "intensity", Cohort.read(folder / "manifest.csv"), out=tmp_path / "m", calibrated=False
    )
    with pytest.raises(CalibrationError, match="aberra calibrate"):
        plain.detect(Volume(data=_head(0)[None], affine=AFFINE))


@pytest.mark.parametrize("given", [None, 5, 2.5, print, {}, b"x", np.zeros(3), torch.zeros(2), [5], [None]])
def test_cohorts_are_made_of_paths_or_cases(given):
    for call in (Cohort.read, Cohort.from_paths):
        with pytest.raises(InputError, match="expected a path, got"):
            call(given)
    with pytest.raises(AberraError):
        Cohort(given if isinstance(given, list) else [given])


def test_no_paths_are_no_cohort():
    with pytest.raises(InputError, match="no paths"):
        Cohort.from_paths([])


@pytest.mark.parametrize(
    "options",
    [
        {"results": None}, {"results": 5}, {"manifest": None}, {"manifest": 5}, {"n_boot": 0}, {"n_boot": "x"},
        {"seed": "x"}, {"split": 5}, {"against": "other"}, {"against": 5}, {"curves": None}, {"progress": 1},
    ],

)  # fmt: skip
def test_wrong_options_of_an_evaluation_are_refused(folder, options):
    given = {"results": folder, "manifest": folder / "manifest.csv"} | options
    with pytest.raises(
        AberraError, match=next(iter(options)) if "manifest" not in options else "expected a path"
    ):
        evaluate(given.pop("results"), given.pop("manifest"), **given)


@pytest.mark.parametrize("given", [None, 5, "nowhere", Path("nowhere"), np.zeros(2)])
def test_results_are_loaded_by_folder(given):
    with pytest.raises(InputError, match=r"expected a path|no result\.json"):
        Result.load(given)


@pytest.mark.parametrize(
    "change",
    [
        {"score": "x"}, {"score": None}, {"score": float("nan")}, {"p": 2}, {"p": "x"}, {"case": 5}, {"components": 5},
        {"components": [{}]}, {"components": [{"voxels": "x"}]}, {"threshold": []}, {"scale": {"low": "x"}},
        {"warnings": "x"}, {"nosuch": 1}, {"score": ...},
    ],

)  # fmt: skip
def test_a_damaged_result_is_told(detector, tmp_path, change):
    import json

    detector.detect(Volume(data=_head(0)[None], affine=AFFINE), case="one").save(tmp_path / "one")
    source = tmp_path / "one" / "result.json"
    content = json.loads(source.read_text()) | change
    source.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    with pytest.raises(InputError, match=r"result\.json: damaged .*detect"):
        Result.load(tmp_path / "one")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", "[" * 100_000, '{"score": 1e999}', "\x00", "NaN"]
)
def test_what_is_no_json_is_told(detector, tmp_path, text):
    detector.detect(Volume(data=_head(0)[None], affine=AFFINE), case="one").save(tmp_path / "one")
    (tmp_path / "one" / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result\.json: damaged"):
        Result.load(tmp_path / "one")
