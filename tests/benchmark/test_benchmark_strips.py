from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from study_rows import study

from aberra.benchmark import drawing
from aberra.benchmark.figures import write_figures
from aberra.benchmark.strips import Picture, strip, taken, typical
from aberra.cohort import Case, Cohort
from aberra.result import Result
from aberra.volume import Volume


def _picture(seed: int, *, restored: bool = True) -> Picture:
    rng = np.random.default_rng(seed)
    scan = rng.random((20, 16)).astype(np.float32)
    truth = np.zeros((20, 16), np.bool)
    truth[4:9, 5:8] = True
    return Picture("p1", scan, truth, scan * truth, scan if restored else scan[:0, :0], (0.1, 0.9), 1.0)


def test_a_picture_is_read_as_it_was_written(tmp_path):
    for restored in (True, False):
        kept = _picture(0, restored=restored)
        kept.save(tmp_path / "cells" / "vae-0.npz")
        found = Picture.load(tmp_path / "cells" / "vae-0.npz")
        assert (found.case, found.scale, found.aspect) == ("p1", (0.1, 0.9), 1.0)
        for name in ("scan", "truth", "map", "restored"):
            np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))
    assert [path.name for path in (tmp_path / "cells").iterdir()] == ["vae-0.npz"]


def test_the_case_with_the_median_lesion_load_is_typical():
    rows = [
        {"case": name, "prevalence": load}
        for name, load in zip("abcde", (0.0, 0.9, 0.1, 0.0, 0.4), strict=True)
    ]
    assert typical(rows) == "e"
    assert typical(rows[:3]) == "c"
    assert typical([{"case": "x", "prevalence": 0.0}, {"case": "y"}]) == "x"
    assert typical([{"case": "x", "label": 0}, {"case": "y", "label": 1}, {"case": "z", "label": 1}]) == "y"


@pytest.mark.parametrize("sick", [True, False])
def test_the_slice_with_the_largest_lesion_is_taken_and_turned_for_the_reader(tmp_path, sick):
    data = np.zeros((1, 6, 8, 10), np.float32)  # (C, D, H, W) of RAS: d is x, w is z
    data[0, 1:5, 1:7, 4] = 2
    data[0, 2:4, 2:6, 7] = 1
    lesion = np.zeros((1, 6, 8, 10), np.float32)
    lesion[0, 2, 2:5, 7] = sick
    lesion[0, 2, 2, 4] = sick
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    scan = Volume(data=data, affine=affine, channels=("t1",))
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("t1", "lesion")}
    scan.write(files["t1"])
    scan.with_(data=lesion).write(files["lesion"])
    case = Case(case="p1", patient="p1", channels={"t1": files["t1"]}, lesion=files["lesion"])
    Result(
        case="p1", paths={}, map=scan.with_(data=3 * data), mask=data[0] > 5, reconstruction=None, score=1.0, p=None,
        components=[], threshold={"protocol": "x", "value": 1.0}, scale={"low": 0.5, "high": 2.0},
    ).save(tmp_path / "maps" / "p1")  # fmt: skip

    found = taken(tmp_path / "maps", Cohort([case]), "p1")

    z = 7 if sick else 4
    # superior, posterior, left: rows from front to back, columns from the patient's right to
    # the left
    np.testing.assert_array_equal(found.scan, data[0, ::-1, ::-1, z].T)
    np.testing.assert_array_equal(found.map, 3 * found.scan)
    assert found.truth.sum() == 3 * sick
    assert (found.aspect, found.scale, found.restored.size) == (2.0, (0.5, 2.0), 0)


def test_methods_are_drawn_best_first_each_with_its_own_colour_scale(monkeypatch, tmp_path):
    kept = {}
    monkeypatch.setattr(drawing, "save", lambda figure, path: kept.setdefault(path, figure) and path)
    pictures = {
        label: _picture(seed, restored=label != "m0") for seed, label in enumerate(("m0", "vae", "dae"))
    }
    rows = [
        {"metric": "AP", "label": label, "value": value, "cohort": cohort}
        for label, value in (("m0", 0.2), ("vae", 0.1), ("dae", 0.5))
        for cohort, value in (("ms", value), ("shifted", value / 2))
    ]
    path = strip(tmp_path, pictures, rows, "flair", "ms")
    assert path == tmp_path / "strip-flair-ms.png"
    upper, lower = np.reshape(kept[path].axes, (2, 4))
    assert [axis.get_title() for axis in upper] == ["scan, truth", "dae 0.500", "m0 0.200", "vae 0.100"]
    assert [len(axis.images) for axis in upper] == [1, 1, 0, 1]  # m0 draws no healthy version
    top = np.percentile(pictures["dae"].map, 99.5)
    np.testing.assert_allclose(lower[1].images[0].get_clim(), (0, top))
    np.testing.assert_array_equal(lower[1].images[0].get_array(), pictures["dae"].map)
    assert strip(tmp_path, {}, rows, "none", "none") is None


def test_the_points_of_a_sweep_stay_in_their_order(monkeypatch, tmp_path):
    kept = {}
    monkeypatch.setattr(drawing, "save", lambda figure, path: kept.setdefault(path.name, figure) and path)
    for place, label in enumerate(("scale 100", "scale 20", "scale x")):
        _picture(place).save(tmp_path / f"{label}.npz")
    plain = next(row for row in study()[0] if (row["label"], row["metric"]) == ("vae", "AP"))
    plain |= {"label": "ddim", "cohort": "ms", "value": 0.5, "sweep": ""}
    swept = [
        plain | {"label": f"ddim · scale {value}", "sweep": f"score.scale={value}"}
        for value in ("x", "100", "20")
    ]
    pictures = {
        ("flair", "ms", f"ddim · {label}", 0): tmp_path / f"{label}.npz"
        for label in ("scale 100", "scale 20", "scale x")
    }
    write_figures(tmp_path, [plain, *swept], {}, pictures=pictures)
    axes = kept["strip-flair-ms-ddim.png"].axes
    assert [axis.get_title() for axis in axes if axis.get_title()] == [
        "scan, truth", "scale 20 0.500", "scale 100 0.500", "scale x 0.500"
    ]  # fmt: skip
    assert "strip-flair-ms.png" not in kept  # no picture of a method as it stands


def test_uncertainty_has_a_row_of_its_own_where_a_method_has_one(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(drawing, "save", lambda figure, _: kept.append(figure))
    sure, unsure = _picture(0), replace(_picture(1), uncertainty=np.full((20, 16), 0.25, np.float32))
    unsure.save(tmp_path / "unsure.npz")
    np.testing.assert_array_equal(Picture.load(tmp_path / "unsure.npz").uncertainty, unsure.uncertainty)
    strip(tmp_path, {"vae": sure, "ddpm": unsure}, [], "flair", "ms")
    axes = np.reshape(kept[0].axes, (3, 3))
    assert [len(axis.images) for axis in axes[2]] == [0, 0, 1]
    np.testing.assert_array_equal(axes[2, 2].images[0].get_array(), unsure.uncertainty)


def test_a_map_that_is_healthy_everywhere_stays_dark_and_background_is_cut_off(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(drawing, "save", lambda figure, _: kept.append(figure))
    scan = np.zeros((40, 40), np.float32)
    scan[10:20, 5:30] = 1
    healthy = Picture("p1", scan, scan > 2, 0.01 * scan, scan, (0.1, 0.9), 1.0)
    strip(tmp_path, {"vae": healthy}, [], "x", "y")
    shown = kept[0].axes[3].images[0]
    assert shown.get_clim() == (0, 0.1)
    assert shown.get_array().shape == (14, 29)  # a rim of two around it


def test_many_methods_wrap_into_rows(tmp_path):
    pictures = {f"method number {place}, with a long label": _picture(place) for place in range(30)}
    assert imread(strip(tmp_path, pictures, [], "many", "methods")).std() > 0.01


def test_a_title_stays_inside_its_figure(monkeypatch, tmp_path):
    kept = {}
    monkeypatch.setattr(drawing, "save", lambda figure, path: kept.setdefault(path, figure) and path)
    figure = kept[strip(tmp_path, {"vae": _picture(0), "dae": _picture(1)}, [], "flair-ms", "ms-like-shift")]
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
