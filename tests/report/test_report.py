from __future__ import annotations

import csv
import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from aberra.errors import InputError
from aberra.report import write_report
from aberra.report.panels import PLANES, _cut, upright
from aberra.result import Component, Result
from aberra.volume import Volume
from reorient import reorient


def _save(
    folder, name, *, shape=(12, 14, 16), score=1.0, low=0.1, high=1.0, warnings=(), unsure=False, kinds=None
):
    rng = np.random.default_rng(0)
    scan = Volume(
        data=rng.random((1, *shape)) + 0.1, affine=np.diag([2.0, 1, 1, 1]), provenance={"kind": "volume"}
    )
    path = folder.parent / f"{len(list(folder.parent.glob('*.nii.gz')))}.nii.gz"
    scan.write(path)
    values = np.zeros(shape, np.float32)
    centre = tuple(length // 2 for length in shape)
    values[centre] = 2
    Result(
        case=name, paths={"flair": str(path)}, map=scan.with_(data=values[None], channels=("anomaly",)), mask=values > 1,
        reconstruction=scan, score=score, p=0.05,
        components=[Component(volume_mm3=2.0, voxels=1, centre_mm=(1.0, 2.0, 3.0), centre_index=centre, peak=2.0, mean=2.0)],
        threshold={"protocol": "healthy-fpr-1", "value": 1.0}, scale={"low": low, "high": high},
        healthy_scores=[0.1, 0.2], warnings=list(warnings), model={"name": "toy", "method": "dae", "fingerprint": "f00"},
        input={"sha256": "abc", "shape": list(shape), "spacing_mm": [2.0, 1.0, 1.0], "orientation": "RAS"},
        uncertainty=scan.with_(data=rng.random((1, *shape)) * 0.25, channels=("uncertainty",)) if unsure else None,
        kinds=kinds,
    ).save(folder / name)  # fmt: skip
    row = {
        "case": name,
        "path": path,
        "score": score,
        "p": 0.05,
        "n_components": 1,
        "largest_mm3": 2.0,
        "seconds": 1,
        "warnings": "",
    }
    exists = (folder / "scores.csv").exists()
    with (folder / "scores.csv").open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if not exists:
            writer.writeheader()
        writer.writerow(row)


def test_the_page_is_self_contained_complete_and_repeatable(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    _save(results, "one", score=2.0)
    _save(results, "two", score=3.0, warnings=["beware of <b>this</b>"])
    page = write_report(results).read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "http" not in page
    assert "url(" not in page
    assert page.index('id="case-1"') < page.index('id="case-2"')
    assert page.index(">two</h2>") < page.index(">one</h2>")
    assert "beware of &lt;b&gt;this&lt;/b&gt;" in page
    assert "not a medical device" in page
    assert write_report(results).read_text() == page


def test_kinds_of_lesion_are_told_by_label_value(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    kinds = np.zeros((12, 14, 16), np.uint8)
    kinds[:2, 0, 0], kinds[0, 1, :3] = 4, 1
    _save(results, "one", kinds=kinds)
    _save(results, "none", kinds=np.zeros_like(kinds))
    _save(results, "not asked")
    page = write_report(results).read_text()
    assert re.findall(r"\(kinds.nii.gz\): (.*)</p>", page) == ["none", "1: 6 mm³, 4: 4 mm³"]


def test_truth_is_drawn_where_it_is_known(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    _save(results, "one")
    scan = Volume.read(tmp_path / "0.nii.gz")
    truth = np.zeros(scan.shape)
    truth[4:9, 4:9, 4:9] = 1
    scan.with_(data=truth[None], channels=("mask",)).write(tmp_path / "truth.nii.gz")
    (tmp_path / "manifest.csv").write_text("case,flair,lesion\none,0.nii.gz,truth.nii.gz\n")
    with_truth = write_report(results, manifest=tmp_path / "manifest.csv").read_text()
    assert "green: truth" in with_truth
    assert _green(with_truth) > 20
    reorient(tmp_path / "0.nii.gz")
    reorient(tmp_path / "truth.nii.gz", "LSA")
    again = write_report(results, manifest=tmp_path / "manifest.csv").read_text()
    assert _green(again) == _green(with_truth)
    assert "cannot be shown" not in again
    without = write_report(results).read_text()
    assert "green: truth" not in without
    assert _green(without) == 0


def test_the_uncertainty_is_shown_where_there_is_one(tmp_path):
    widths = []
    for unsure in (False, True):
        results = tmp_path / f"results-{unsure}"
        results.mkdir()
        _save(results, "one", unsure=unsure)
        page = write_report(results).read_text()
        assert ("uncertainty, 0 to 0.25" in page) == unsure
        picture = re.search(r'class="picture" src="data:image/jpeg;base64,([^"]+)"', page)
        widths.append(Image.open(BytesIO(b64decode(picture[1]))).width)
        loaded = Result.load(results / "one")
        assert (loaded.uncertainty is not None) == unsure
    assert widths[1] > widths[0]


def _green(page):
    picture = re.search(r'class="picture" src="data:image/jpeg;base64,([^"]+)"', page)
    pixels = np.asarray(Image.open(BytesIO(b64decode(picture[1])))).astype(int)
    return ((pixels[..., 1] > 150) & (pixels[..., 1] - pixels[..., 0] > 60)).sum()


def test_the_colour_scale_is_the_healthy_one_for_every_case(tmp_path):
    pictures = []
    for high in (1.0, 50.0):
        results = tmp_path / f"results-{high}"
        results.mkdir()
        _save(results, "one", high=high)
        page = write_report(results).read_text()
        pictures.append(re.search(r'class="picture" src="([^"]+)"', page)[1])
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize(("low", "words"), [(0.1, "from the 95th percentile"), (0.0, "from 0 to 1")])
def test_the_page_says_what_its_colours_are(tmp_path, low, words):
    results = tmp_path / "results"
    results.mkdir()
    _save(results, "one", low=low)
    assert f"Colours run {words}" in write_report(results).read_text()


def test_an_input_that_is_gone_is_said(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    _save(results, "one")
    (tmp_path / "0.nii.gz").unlink()
    assert "the input cannot be shown" in write_report(results).read_text()


def test_images_show_one_plane(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    _save(results, "flat", shape=(1, 30, 40))
    assert "in sagittal view" in write_report(results).read_text()


@pytest.mark.parametrize("flip", [1, -1])
def test_letters_are_right_for_flipped_affines(flip):
    """The bright voxel lies at the patient's front right top, whatever the file's axes."""
    data = np.zeros((1, 6, 8, 10), np.float32)
    affine = np.diag([2.0 * flip, 2.0 * flip, 2.0 * flip, 1])
    data[(0, *((-1, -1, -1) if flip > 0 else (0, 0, 0)))] = 1
    shown = upright(Volume(data=data, affine=affine), None)
    for plane in PLANES:
        centre = tuple(int(index) for index in np.unravel_index(shown.data[0].argmax(), shown.shape))
        row, column = np.unravel_index(
            _cut(shown.data[0], plane, centre).argmax(), _cut(shown.data[0], plane, centre).shape
        )
        left, right, top, _ = plane.edges
        assert (row == 0) == (top in "RAS")
        assert (column == 0) == (left in "RA")
        assert right in "LP"


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="aberra detect"):
        write_report(tmp_path)
