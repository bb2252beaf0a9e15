from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from aberra.errors import InputError
from aberra.reader.stacks import UNITS, stacks_key, write_stacks
from aberra.result import Result
from reorient import reorient
from small_results import BOXES, SPACING, small_results

PLACES = {"aa": [10.0, 19.5, 18.0], "bb": [28.0, 45.0, 42.0]}


@pytest.fixture
def made(tmp_path):
    return _made(small_results(tmp_path / "results", {"s1": (1.0, 0.1)}) / "s1", tmp_path / "pictures")


def _made(source, folder):
    write_stacks(folder, Result.load(source), key="key", name="s1", places=PLACES, threshold=0.5)
    text = (folder / "case.js").read_text()
    assert text.startswith('/*key*/aberraCase("s1",')
    return folder, json.loads(text[text.index(",") + 1 : text.rindex(")")])


def _centre(box):
    return np.array([(part.start + part.stop - 1) / 2 for part in box]) * SPACING


def test_an_index_of_the_page_is_a_place_in_the_scan(made):
    _, said = made
    to_mm, to_index = np.array(said["toMm"]), np.array(said["toIndex"])
    place = np.array([10.0, 20.0, 30.0])
    index = to_index[:, :3] @ place + to_index[:, 3]
    assert to_mm[:, :3] @ index + to_mm[:, 3] == pytest.approx(place, abs=1e-4)
    assert sorted(said["spacing"]) == pytest.approx(sorted(SPACING))


def test_every_slice_is_a_tile_and_slices_are_no_further_apart_than_the_scans_or_three_mm(made):
    folder, said = made
    with Image.open(folder / "scan.webp") as picture:
        size = picture.size
    for plane in said["planes"]:
        apart = plane["step"] * said["spacing"][plane["axis"]]
        assert apart <= max(3.0, said["spacing"][plane["axis"]])
        assert plane["first"] + plane["step"] * (plane["count"] - 1) < said["shape"][plane["axis"]]
        rows = -(-plane["count"] // plane["columns"])
        assert plane["columns"] * plane["size"][0] <= size[0]
        assert plane["top"] + rows * plane["size"][1] <= size[1]


@pytest.mark.parametrize("turned", [False, True])
def test_the_map_is_bright_and_the_outline_is_where_the_object_is(tmp_path, turned):
    source = small_results(tmp_path / "results", {"s1": (1.0, 0.1)}) / "s1"
    if turned:  # the same scan with its axes in another order
        reorient(tmp_path / "scan-0.nii.gz", "LSA")
    folder, said = _made(source, tmp_path / "pictures")
    picture = np.asarray(Image.open(folder / "map.webp"))
    to_index = np.array(said["toIndex"])
    for (name, place), box in zip(PLACES.items(), BOXES, strict=True):
        assert place == pytest.approx(_centre(box))
        index = to_index[:, :3] @ place + to_index[:, 3]
        for plane, lines in zip(said["planes"], said["outlines"][name], strict=True):
            down, across = (axis for axis in range(3) if axis != plane["axis"])
            x = (index[across] + 0.5) / said["shape"][across]
            y = (index[down] + 0.5) / said["shape"][down]
            y = 1 - y if plane["flip"] else y
            number = round((index[plane["axis"]] - plane["first"]) / plane["step"])
            width, height = plane["size"]
            row, column = divmod(number, plane["columns"])
            pixel = picture[int(plane["top"] + row * height + y * height), int(column * width + x * width)]
            assert pixel[3] > 250, "the object's centre is painted"
            line = np.array(lines[str(number)][0]).reshape(-1, 2) / UNITS
            assert (line.min(0) < (x, y)).all()
            assert (line.max(0) > (x, y)).all()
            assert line[0] == pytest.approx(line[-1])
    assert np.asarray(Image.open(folder / "map.webp"))[0, 0, 3] == 0, "the ground is not"


def test_outlines_and_layers_do_not_tell_a_score(made):
    _, said = made
    assert set(said) == {"shape", "spacing", "toMm", "toIndex", "planes", "layers", "outlines"}
    assert said["layers"] == ["healthy", "map", "scan"]


def test_no_healthy_version_is_no_layer(tmp_path):
    source = small_results(tmp_path / "results", {"s1": (1.0, 0.1)}, healthy=False) / "s1"
    folder, said = _made(source, tmp_path / "pictures")
    assert said["layers"] == ["map", "scan"]
    assert not (folder / "healthy.webp").exists()


def test_prepared_intensities_are_drawn_like_the_scans_and_black_where_there_are_none(tmp_path):
    source = small_results(tmp_path / "results", {"s1": (1.0, 0.1)}) / "s1"
    result = Result.load(source)
    inside = result.map.data > 0
    assert result.reconstruction is not None
    prepared = np.where(inside, 10 * (result.reconstruction.data - 1.5), 0)
    changed = replace(result, reconstruction=result.reconstruction.with_(data=prepared))
    write_stacks(tmp_path / "p", changed, key="key", name="s1", places=PLACES, threshold=0.5)
    scan, healthy, map_ = (
        np.asarray(Image.open(tmp_path / "p" / f"{name}.webp").convert("RGBA")).astype(int)
        for name in ("scan", "healthy", "map")
    )
    deep = minimum_filter(map_[..., 3], 5) > 250  # WebP blurs edges
    far = maximum_filter(map_[..., 3], 33) == 0
    assert deep.any()
    assert far.any()
    assert np.abs(scan - healthy)[deep].mean() < 15
    assert scan[far].max() > 100
    assert healthy[far][:, 0].max() < 15


def test_what_was_made_is_known_by_its_key(made, tmp_path):
    folder, _ = made
    assert stacks_key(folder) == "key"
    assert stacks_key(tmp_path) is None
    (folder / "case.js").write_text("half")
    assert stacks_key(folder) is None


def test_a_scan_that_is_gone_is_said(tmp_path):
    source = small_results(tmp_path / "results", {"s1": (1.0, 0.1)}) / "s1"
    (tmp_path / "scan-0.nii.gz").unlink()
    with pytest.raises(InputError, match="scan-0"):
        _made(source, tmp_path / "pictures")
    assert not (tmp_path / "pictures").exists()
