"""What a notebook shows: a picture, and words that are text whatever they say."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from aberra.result import Result
from aberra.volume import Volume
from small_scans import scan


def picture(html):
    (found,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return np.asarray(Image.open(BytesIO(b64decode(found))), float)


def result(volume, **changes):
    made = Result(
        case="s<1>", paths={}, map=volume.with_(channels=("anomaly",)), mask=volume.data[0] > 1.09, reconstruction=None, score=2.5,
        p=0.04, components=[], threshold={"protocol": "healthy-fpr-1", "value": 1.09}, scale={"low": 0.0, "high": 1.0},
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize("shape", [(1, 6, 20, 20), (1, 1, 20, 30)])
def test_a_volume_is_shown(shape):
    data = np.zeros(shape, np.float32)
    data[..., 5:15, 5:15] = 1
    html = Volume(data=data, affine=np.diag([3.0, 2, 1, 1]), channels=("flair",))._repr_html_()
    assert picture(html).std() > 10
    assert "flair" in html
    assert f"{shape[1]} × 20 × {shape[3]} voxels of 3 × 2 × 1 mm" in html


def test_an_empty_volume_is_shown():
    assert picture(Volume(data=np.zeros((1, 4, 4, 4)), affine=np.eye(4))._repr_html_()).size


def test_a_result_says_its_numbers_and_warnings_as_text(tmp_path):
    scan().write(tmp_path / "scan.nii.gz")
    html = result(scan(), paths={"image": str(tmp_path / "scan.nii.gz")}, warnings=["<script>"])._repr_html_()
    assert picture(html).std() > 10
    assert "s&lt;1&gt;: score 2.5, p = 0.04" in html
    assert "&lt;script&gt;" in html
    assert "cannot be shown" not in html


def test_a_result_whose_scan_is_gone_is_shown_all_the_same():
    html = result(scan(), paths={"image": "/nowhere/scan.nii.gz"}, p=None)._repr_html_()
    assert "the input cannot be shown" in html
    assert "p =" not in html
