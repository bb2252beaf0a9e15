"""A reader in Chromium: login, worklist, the scan in three planes, a grade by key."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import browser
from aberra.server.app import STATIC, VIEWER
from browser import WEBGL, Browser
from triage import PASSWORD, Live, Parts, nifti, send

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(browser.MISSING), reason=browser.MISSING or "there"),
    pytest.mark.skipif(
        not (STATIC / VIEWER).is_file(), reason="the viewer is not installed (scripts/viewer)"
    ),
]


@pytest.fixture
def live(tmp_path, detector, monkeypatch):
    monkeypatch.setattr(browser, "PATIENCE", 240)
    parts = Parts(tmp_path / "data", detector)
    client = parts.client("ben")
    for name, seed, lesion in (("<b>bold</b>", 31, 9.0), ("plain", 32, 0.0)):
        assert send(client, f"{name}.nii.gz", nifti(tmp_path, seed, lesion)).status_code == 201
    parts.work()
    server = Live(parts.settings.data, detector, "--workers", 0).start()
    yield server, parts
    server.stop()
    parts.database.close()


def _sign_in(window, address, name):
    window.open(address)
    window.wait("document.querySelector('form')")
    window.click("#name")
    window.press(*name)
    window.click("#password")
    window.press(*PASSWORD)
    window.press("enter")
    window.wait("document.querySelector('td.name a')")


def _sign_out_and_in(window, address, name):
    window.open(address)
    window.wait("document.querySelector('td.name a')")
    window.click("#out")
    window.wait("document.querySelector('form')")
    _sign_in(window, address, name)


def test_a_reader_grades_by_key(live, tmp_path):
    server, parts = live
    address = f"http://127.0.0.1:{server.port}/"
    with Browser(1280, 800, drawing=WEBGL) as window:
        _sign_in(window, address, "ben")
        assert window.run("return document.querySelectorAll('b').length") == 0, "names are text"
        window.run("document.querySelector('td.name a').click()")
        window.wait("window.ready")
        window.wait("document.querySelector('#regions [aria-current=true]')")
        window.screenshot(tmp_path / "case.png")
        picture = np.asarray(Image.open(tmp_path / "case.png").convert("L")).astype(float)
        stage = picture[80 : picture.shape[0] - 60, 20:900]
        assert stage.std() > 10, "the canvas is blank"
        assert (stage > 100).mean() > 0.02
        window.press("o")
        window.wait("document.querySelector('#show-map').getAttribute('aria-pressed') === 'false'")
        window.screenshot(tmp_path / "without.png")
        without = np.asarray(Image.open(tmp_path / "without.png").convert("RGB")).astype(float)
        with_map = np.asarray(Image.open(tmp_path / "case.png").convert("RGB")).astype(float)
        assert np.abs(with_map - without)[80:-60, 20:900].max() > 40, "the map is drawn over the scan"
        window.press("1")
        window.wait("document.querySelector('#saved').textContent.startsWith('saved')")
        window.press("a")
        window.wait("document.querySelector('#decisions [aria-pressed=true]')")
        window.wait("document.querySelector('#saved').textContent.startsWith('saved')")
        window.open(address)
        window.wait("[...document.querySelectorAll('td')].some((cell) => cell.textContent === 'accept')")
    trail = parts.client("ada").get("/api/audit", params={"case": 1}).json()
    said = [(each["who"], each["region"], each["after"]) for each in trail if each["what"] == "reading"]
    assert ("ben", 1, '{"grade": "C1", "note": ""}') in said
    assert ("ben", None, '{"grade": "accept", "note": ""}') in said


def test_a_reader_marks_what_was_missed_and_an_admin_deletes(live, tmp_path):
    server, parts = live
    address = f"http://127.0.0.1:{server.port}/"
    with Browser(1280, 800, drawing=WEBGL) as window:
        _sign_in(window, address, "ben")
        window.run("document.querySelector('td.name a').click()")
        window.wait("window.ready")
        window.run("viewer.scene.crosshairPos = viewer.mm2frac(new Float32Array([1, -2, 3]))")
        window.press("m")
        window.wait(
            "document.querySelector('#regions [aria-current=true]').textContent.includes('missed, at')"
        )
        assert window.run("return [...document.querySelectorAll('#grades button')].map((each) => each.disabled)") == [False] * 4 + [True] * 4  # fmt: skip
        window.press("6", "2")
        window.wait("document.querySelector('#saved').textContent.startsWith('saved')")
        window.screenshot(tmp_path / "missed.png")
        assert not window.run("return document.querySelector('#delete').checkVisibility()"), "of admins"
        _sign_out_and_in(window, address, "ada")
        window.open(f"{address}report")
        window.wait("document.querySelector('#missed td.name a')")
        window.screenshot(tmp_path / "report.png")
        assert "1, -2, 3C2ben: C2" in window.text("#missed")
        window.run("document.querySelector('#missed td.name a').click()")
        window.wait("window.ready")
        window.click("#delete")
        window.wait("document.querySelector('#sure').open")
        window.screenshot(tmp_path / "sure.png")
        window.click("#sure-yes")
        window.wait("document.querySelectorAll('td.name a').length === 1")
    assert parts.client("ben").get("/api/cases/1").status_code == 404
