"""Where detectors are found by name."""

from __future__ import annotations

import os
import shutil

import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.detector import Detector
from aberra.detector.folder import PLACES, is_detector, named_detectors, resolve_model
from aberra.errors import ConfigError, ModelError
from aberra.pretrained import shipped_detectors
from small_scans import cohort, detector


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with scans and a detector."""
    folder = tmp_path_factory.mktemp("fitted")
    detector("intensity", cohort(folder, split=True), folder / "detector")
    return folder


@pytest.fixture
def places(fitted, tmp_path, monkeypatch):
    """Two folders of detectors, ``ours`` in the first and ``theirs`` in the second."""
    shutil.copytree(fitted / "detector", tmp_path / "one" / "ours")
    shutil.copytree(fitted / "detector", tmp_path / "two" / "theirs")
    monkeypatch.setenv(PLACES, os.pathsep.join([str(tmp_path / "one"), "", str(tmp_path / "two")]))
    return tmp_path


def test_a_name_finds_a_detector_in_any_of_the_places(places):
    found = named_detectors()
    assert list(found) == [*shipped_detectors(), "ours", "theirs"]
    assert is_detector("theirs")
    assert Detector.load("theirs").folder == resolve_model("theirs") == places / "two" / "theirs"
    assert Detector.load("theirs").identity == Detector.load(places / "two" / "theirs").identity


def test_a_command_takes_the_name_and_the_list_has_it(places, fitted):
    (places / "two" / "theirs" / "detector.toml").write_text("x =")
    scan, out = str(fitted / "scan0.nii.gz"), str(places / "results")
    done = CliRunner().invoke(app, ["detect", "ours", scan, "--out", out])
    assert done.exit_code == 0, done.output
    listed = CliRunner().invoke(app, ["detectors"], env={"COLUMNS": "300"}).output
    (ours,) = [line for line in listed.splitlines() if " ours " in line]
    assert "intensity" in ours
    assert str(places / "one" / "ours") in ours
    (theirs,) = [line for line in listed.splitlines() if " theirs " in line]
    assert "damaged" in theirs
    assert f"{places / 'two' / 'theirs' / 'detector.toml'}: missing or damaged" in listed


def test_without_the_variable_only_shipped_ones_have_names(monkeypatch):
    monkeypatch.delenv(PLACES, raising=False)
    assert named_detectors() == shipped_detectors()
    with pytest.raises(ModelError, match=PLACES):
        resolve_model("ours")


@pytest.mark.parametrize("name", ["flair", "auto", "theirs"])
def test_a_name_that_is_taken_is_refused(places, name):
    (places / "one" / "ours").rename(places / "one" / name)
    with pytest.raises(ConfigError, match=rf"the name '{name}' is taken"):
        Detector.load("t1")


def test_a_place_that_is_not_there_is_refused(places, monkeypatch):
    monkeypatch.setenv(PLACES, str(places / "nowhere"))
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        resolve_model("ours")
    assert resolve_model(places / "one" / "ours") == places / "one" / "ours"  # a path needs no place
