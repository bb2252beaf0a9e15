"""A node behind Debian's Orthanc, as in a hospital: what is stored comes back analysed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import dicom_series
from aberra.node.state import State
from archives import ORTHANC, Orthanc, free_port, send, study
from conftest import ENVIRONMENT, aberra_here
from small_scans import cohort, detector

pytest.importorskip("highdicom", reason="pip install 'aberra[dicom]'")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(ORTHANC is None, reason="apt-get install orthanc orthanc-dicomweb"),
]

ALL = ["MR", "OT", "SEG", "SEG", "SR"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    detector("intensity", cohort(folder, split=True), folder / "A")
    return folder / "A"


@pytest.fixture
def archive(tmp_path):
    return Orthanc(tmp_path / "orthanc")


@pytest.fixture
def arguments(tmp_path, archive, model):
    return [
        "node",
        tmp_path / "state",
        "--archive",
        archive.url,
        "--detector",
        model,
        "--days",
        "0",
        "--quiet",
        "0",
    ]


def test_a_study_comes_back_with_segmentations_map_and_report(archive, arguments, tmp_path):
    datasets = study()
    with archive.running():
        archive.put(datasets)
        done = aberra_here(*arguments, "--once", "--dicom-overlay")
        assert "sent: " in done.stdout
        assert not list((tmp_path / "state").rglob("*.dcm"))
        assert archive.modalities() == ["MR", "OT", "OT", "SEG", "SEG", "SR"]
        of = {str(each.SOPInstanceUID) for each in datasets}
        regions = next(each for each in archive.file("SEG") if each.SegmentationType == "BINARY")
        for each in (*archive.file("SEG"), *archive.file("SR"), *archive.file("OT")):
            assert (each.StudyInstanceUID, each.PatientID) == (datasets[0].StudyInstanceUID, "p1")
            said = {
                str(found.value) for found in each.iterall() if found.keyword == "ReferencedSOPInstanceUID"
            }
            assert said <= of | {str(regions.SOPInstanceUID)}
        floats = [each for each in archive.file("OT") if "FloatPixelData" in each]
        assert len(floats) == 1
        assert np.isfinite(floats[0].pixel_array).all()

        before = archive.series()
        archive.put(datasets)  # duplicates
        for _ in range(2):
            aberra_here(*arguments, "--once", "--dicom-overlay")
        assert archive.series() == before


def test_half_a_series_another_modality_and_an_archive_that_is_away(archive, arguments, tmp_path):
    half = [dicom_series.change(each, ImagesInAcquisition=6) for each in study(1)]
    tomography = study(2, modality="CT")
    with archive.running():
        archive.put([*half[:4], *tomography])
        aberra_here(*arguments, "--once")
        assert archive.modalities() == ["CT", "MR"]
        archive.put(half[4:])
        aberra_here(*arguments, "--once")
        assert archive.modalities() == ["CT", *ALL]
    state = State(tmp_path / "state" / "state.db")
    notes = {each.listed.modality: (each.status, each.note) for each in state.all() if each.status != "own"}
    state.close()
    assert notes["MR"][0] == "done"
    assert notes["CT"] == ("refused", "modality CT; this node takes MR")

    away = aberra_here(*arguments, "--once", check=False)
    assert away.returncode == 1
    assert archive.url in away.stderr
    with archive.running():
        archive.put(study(3))
        aberra_here(*arguments, "--once")
        assert len(archive.series()) == 2 + 4 + 1 + 4


def wait(condition, seconds=300):
    """Until something is true."""
    for _ in range(seconds * 5):
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError("did not happen in time")


def test_killed_and_begun_again_by_push_through_an_outage(archive, arguments, tmp_path):
    """Series come by C-STORE; the node is killed with SIGKILL as it works, the archive is away."""
    port, datasets = free_port(), study()
    command = [sys.executable, "-m", "aberra", *map(str, arguments), "--port", str(port), "--every", "0.5"]
    log = tmp_path / "log"

    def begun():
        with log.open("ab") as file:
            found = subprocess.Popen(
                command, stdout=file, stderr=file, env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"}
            )
        wait((tmp_path / "state" / "incoming").is_dir)
        return found

    def told(text):
        return text in log.read_text()

    node = begun()
    try:
        wait(lambda: _answers(port))
        assert send(port, datasets) == [0] * 6
        wait(lambda: told("next try in"))  # the archive is not there yet
        os.kill(node.pid, signal.SIGKILL)
        node.wait()
        with archive.running():
            archive.put(datasets)
            node = begun()
            wait(lambda: told("begins"))
            os.kill(node.pid, signal.SIGKILL)
            node.wait()
            node = begun()
            wait(lambda: told("sent: "))
            assert archive.modalities() == ALL
            assert not list((tmp_path / "state" / "incoming").rglob("*.dcm"))
    finally:
        node.kill()
        node.wait()


def _answers(port):
    import socket

    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0
