"""The page as a reader uses it, in a headless Chromium."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from aberra.grades import read_grades
from aberra.workflows.worklist import worklist
from browser import MISSING, Browser, answers
from small_results import small_results

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

NASTY = """a'b"&<img src=x onerror=document.title='taken'>"""
SCORES = {"plain": (0.7654321, 0.1234567), NASTY.replace("/", ""): (0.1, 0.5)}
SAVED = "document.querySelector('#saved').textContent === 'saved'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("page")
    worklist(small_results(place / "results", SCORES), out=place / "w")
    return place / "w"


@pytest.fixture(autouse=True)
def _nobody_has_read(folder):
    for path in (folder / "grades").glob("*"):
        path.unlink()


@pytest.fixture(scope="module")
def browser():
    with Browser() as window:
        yield window


@contextmanager
def _serving(folder, *options, port=0):
    """``aberra read`` as a process; gives it and its address."""
    command = [sys.executable, "-m", "aberra", "read", str(folder), "--port", str(port), *options]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        line = next(line for line in server.stdout if "http" in line)
        yield server, re.search(r"http\S+", line)[0]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def _open(browser, address):
    browser.open(address)
    browser.wait("document.body.dataset.ready")


def _current(browser):
    return browser.run("return items[current].id")


def _grades(folder, reader="anna"):
    return {
        (key[0], key[1]): (grade.grade, grade.note)
        for key, grade in read_grades(folder / "grades").get(reader, {}).items()
    }


def test_walk_grade_note_reload(folder, browser):
    with _serving(folder, "--reader", "anna") as (_, address):
        _open(browser, address)
        assert browser.text("#place") == "1 / 4"
        browser.press("n", "right", "p")
        assert browser.text("#place") == "2 / 4"
        browser.press("2")
        browser.wait(SAVED)
        assert _grades(folder) == {("plain", 2): ("C2", "")}
        browser.press("enter", *"s<i>n", "enter")  # keys of a note are no commands
        browser.wait(SAVED)
        browser.wait("!document.activeElement.matches('textarea')")
        assert _grades(folder) == {("plain", 2): ("C2", "s<i>n")}
        browser.press("n", "8", "n", "1", "0")
        browser.wait(SAVED)
        name = next(name for name in SCORES if name != "plain")
        browser.wait("document.querySelectorAll('[aria-pressed=true]').length === 0")
        assert _grades(folder) == {("plain", 2): ("C2", "s<i>n"), (name, 1): ("false-positive", "")}
        _open(browser, address)
        assert browser.text("#place") == "1 / 4", "the first without a grade"
        assert "2 of 4" in browser.text("#progress")
        browser.press("n")
        assert browser.text("[aria-pressed=true]") == "2C2"
        assert browser.run("return document.querySelector('#note').value") == "s<i>n"


def test_the_pictures_answer_to_keys_mouse_and_wheel(folder, browser):
    with _serving(folder, "--reader", "anna") as (_, address):
        _open(browser, address)
        browser.wait("shown && figures.length === 3")
        pixels = "return figures[0].canvas.toDataURL()"
        seen = [browser.run(pixels)]
        for key, told in (("o", "outline and map"), ("o", "no overlay"), ("h", "HEALTHY VERSION")):
            browser.press(key)
            assert told in browser.text("#layer")
            seen.append(browser.run(pixels))
        assert len(set(seen[:3])) == 3
        browser.press("h", "o")
        assert browser.run(pixels) == seen[0]
        before = browser.run("return slice(shown.planes[0])")
        browser.press("up")
        assert browser.run("return slice(shown.planes[0])") == before + 1
        browser.run(
            "figures[0].canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: -100, cancelable: true}))"
        )
        assert browser.run("return slice(shown.planes[0])") == before
        browser.click("canvas", x=20, y=30)
        moved = browser.run("return at")
        browser.press("c")
        assert browser.run("return at") != moved
        assert "p 0.12" not in browser.text("#facts")
        browser.press("s")
        assert "p 0.12" in browser.text("#facts")


GREYS = """const {canvas} = figures[0], ink = canvas.getContext('2d'), found = [];
    const pixels = ink.getImageData(0, 0, canvas.width, canvas.height).data;
    for (let n = 0; n < pixels.length; n += 4) if (pixels[n] === pixels[n + 1] && pixels[n] === pixels[n + 2]) found.push(pixels[n]);
    found.sort((a, b) => a - b); return [found[Math.floor(found.length / 2)], found.at(-1)]"""


def _drag(browser, buttons, dx, dy):
    browser.run(f"""const {{canvas}} = figures[0], at = (type, x, y, buttons) => canvas.dispatchEvent(new PointerEvent(type, {{clientX: canvas.getBoundingClientRect().left + x,
        clientY: canvas.getBoundingClientRect().top + y, pointerId: 1, button: {0 if buttons == 1 else 2}, buttons, bubbles: true}}));
        canvas.setPointerCapture = () => {{}};
        at('pointerdown', 100, 100, {buttons}); at('pointermove', {100 + dx}, {100 + dy}, {buttons}); at('pointerup', {100 + dx}, {100 + dy}, 0)""")


def test_the_grey_window_is_chosen_by_keys_and_by_dragging(folder, browser):
    with _serving(folder, "--reader", "anna") as (_, address):
        _open(browser, address)
        browser.wait("shown && figures.length === 3")
        browser.press("o", "o")
        whole = browser.run(GREYS)
        browser.press("w")
        assert "dark half" in browser.text("#layer")
        dark = browser.run(GREYS)
        assert dark[0] == pytest.approx(min(255, 2 * whole[0]), abs=4), "0 to .5 is 0 to 1 now"
        browser.press("w", "w")
        assert "bright half" in browser.text("#layer")
        assert browser.run(GREYS)[0] == pytest.approx(max(0, 2 * whole[0] - 255), abs=4)
        browser.press("w")
        assert browser.run(GREYS) == whole
        browser.press("[")
        assert "grey 5 to 105 %" in browser.text("#layer")
        assert browser.run(GREYS)[0] < whole[0]
        browser.press("]", ",")
        assert "grey 5 to 95 %" in browser.text("#layer")
        browser.press("z")
        at = browser.run("return at")
        _drag(browser, 2, 60, 0)
        assert browser.run("return high - low") == pytest.approx(1.2)
        _drag(browser, 2, 0, -60)
        assert browser.run("return (high + low) / 2") == pytest.approx(0.4)
        assert browser.run("return at") == at, "a right drag moves no cross"
        browser.press("z")
        assert browser.run(GREYS) == whole


def test_nearer_and_further_about_the_mouse_and_the_cross(folder, browser):
    with _serving(folder, "--reader", "anna") as (_, address):
        _open(browser, address)
        browser.wait("shown && figures.length === 3")
        spot = "return spot(shown.planes[{0}], frame({0}), at)"
        before = browser.run("return [frame(0), frame(1)]")
        browser.press("+")
        assert browser.run("return frame(0).width") == pytest.approx(1.25 * before[0]["width"])
        assert browser.run("return frame(1).width") == pytest.approx(1.25 * before[1]["width"]), "all planes"
        assert "1.3×" in browser.text("#layer")
        browser.press("-")
        assert browser.run("return [frame(0), frame(1)]") == before
        under = "const place = frame(0); return [(150 - place.left) / place.width, (200 - place.top) / place.height]"
        there = browser.run(under)
        for _ in range(2):
            browser.run("const {canvas} = figures[0], box = canvas.getBoundingClientRect(); canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: -100, ctrlKey: true, clientX: box.left + 150, clientY: box.top + 200, cancelable: true}))")  # fmt: skip
        assert browser.run("return zoom") == pytest.approx(1.25**2)
        assert browser.run(under) == pytest.approx(there, abs=0.01), "what is under the mouse stays there"
        at, place = browser.run("return at"), browser.run("return frame(0)")
        _drag(browser, 1, 20, -10)
        moved = browser.run("return frame(0)")
        assert [moved["left"] - place["left"], moved["top"] - place["top"]] == pytest.approx(
            [20, -10], abs=0.5
        )
        assert browser.run("return at") == at, "a drag is no click"
        browser.press(*"++++++++++++")
        assert browser.run("return zoom") == 8
        browser.press("n")
        browser.wait("document.body.dataset.ready === items[current].id")
        for view in range(3):
            x, y = browser.run(spot.format(view))
            wide, high = browser.run(f"return [figures[{view}].canvas.clientWidth, figures[{view}].canvas.clientHeight]")  # fmt: skip
            assert 0 <= x <= wide, "the next finding is in sight"
            assert 0 <= y <= high
        browser.click("canvas", x=20, y=30)
        assert browser.run(spot.format(0)) == pytest.approx(browser.run("const c = figures[0].canvas; return [c.clientWidth / 2 + 20, c.clientHeight / 2 + 30]"), abs=2)  # fmt: skip
        browser.press("z")
        assert browser.run("return [frame(0), frame(1)]") == before


def test_a_case_without_objects_is_looked_at_and_not_graded(tmp_path, browser):
    worklist(
        small_results(tmp_path / "results", SCORES | {"calm": (0.2, 0.9)}, without=["calm"]),
        out=tmp_path / "w",
    )
    with _serving(tmp_path / "w", "--reader", "anna") as (_, address):
        _open(browser, address)
        assert browser.text("#progress") == "0 of 4 graded by anna, cases without: 1"
        browser.press("p", *"nnnn")
        browser.wait("document.querySelector('#name').textContent === 'calm' && shown")
        assert "no object above the threshold" in browser.text("#facts")
        browser.press("1")
        assert browser.run("return waiting.size") == 0
        browser.press("u")
        assert browser.text("#place") == "1 / 5"
        browser.press(*"nnnn", "m", "2")
        browser.wait(SAVED)
        assert _grades(tmp_path / "w") == {("calm", 0): ("C2", "")}
    _open(browser, (tmp_path / "w" / "index.html").as_uri())
    browser.wait("document.querySelector('#progress').textContent === '4 findings, cases without: 1'")


def test_a_missed_finding_is_where_the_cross_is(folder, browser):
    with _serving(folder, "--reader", "anna") as (_, address):
        _open(browser, address)
        browser.click("canvas", x=20, y=30)
        place = browser.run("return mm(at)")
        browser.press("m")
        browser.wait("items[current].missed")
        browser.press("6")
        browser.press("3")
        browser.wait(SAVED)
        line = json.loads((folder / "grades" / "anna.jsonl").read_text().splitlines()[-1])
        assert (line["case"], line["object"], line["grade"]) == ("plain", 0, "C3")
        assert [line[axis] for axis in "xyz"] == pytest.approx(place, abs=0.051)
        _open(browser, address)
        assert "5 findings" in browser.text("#progress") or "1 of 5" in browser.text("#progress")


def test_nothing_is_lost_when_the_server_is_killed(folder, browser):
    with _serving(folder, "--reader", "anna") as (server, address):
        port = re.search(r":(\d+)/", address)[1]
        _open(browser, address)
        browser.press("1")
        browser.wait(SAVED)
        server.send_signal(signal.SIGKILL)
        server.wait()
        browser.press("n", "4")
        browser.wait("document.querySelector('#saved').textContent === 'not saved: 1'")
        browser.wait("document.querySelector('#problem').textContent.includes('does not answer')")
        assert answers(address) is None
    assert _grades(folder) == {("plain", 1): ("C1", "")}
    with _serving(folder, "--reader", "anna", port=port) as (_, again):
        assert again != address
        browser.wait("document.querySelector('#problem').textContent.includes('aberra read')")
        assert answers(address) == 403, "the token of the server that was killed"
        _open(browser, again)
        browser.wait(SAVED)
        assert _grades(folder) == {("plain", 1): ("C1", ""), ("plain", 2): ("condition", "")}
        assert browser.run("return localStorage.length") == 0


def test_a_blinded_page_has_no_score_anywhere(folder, browser):
    with _serving(folder, "--reader", "anna", "--blinded") as (_, address):
        _open(browser, address)
        browser.press("s", "o", "n", "o", "s")
        browser.wait("document.body.dataset.ready === items[current].id")
        held = browser.run(
            "return document.documentElement.outerHTML + JSON.stringify([data, shown]) + performance.getEntries().map(each => each.name)"
        )
        for told in ("0.7654321", "0.765", "0.1234567", "0.123", '"peak"', '"score"', '"p"', '"object"', "map.webp", "0.9,"):  # fmt: skip
            assert told not in held
        assert "and map" not in browser.text("#layer")


def test_a_second_reader_sees_nothing_of_the_first(folder, browser):
    with _serving(folder, "--reader", "anna") as (_, address):
        _open(browser, address)
        browser.press("1")
        browser.wait(SAVED)
        port = re.search(r":(\d+)/", address)[1]
    with _serving(folder, "--reader", "ben", port=port) as (_, address):  # the same origin
        _open(browser, address)
        held = browser.run("return document.documentElement.outerHTML + JSON.stringify([data, {...localStorage}])")  # fmt: skip
        assert "anna" not in held
        assert "0 of 4" in browser.text("#progress")
        browser.press("3")
        browser.wait(SAVED)
    assert _grades(folder)["plain", 1] == ("C1", "")
    assert _grades(folder, "ben")["plain", 1] == ("C3", "")
    with _serving(folder, "--consensus", "anna,ben") as (_, address):
        _open(browser, address)
        assert browser.text("#place") == "1 / 1"
        assert re.sub(r"\s+", " ", browser.text("#given")).strip() == "anna: C1 ben: C3"
        browser.press("1")
        browser.wait(SAVED)
    assert _grades(folder, "consensus") == {("plain", 1): ("C1", "")}


def test_names_are_text_and_the_page_without_a_server_only_shows(folder, browser):
    _open(browser, (folder / "index.html").as_uri())
    browser.wait("shown && figures.length === 3")
    browser.press("n", "n")
    assert browser.text("#name") == next(name for name in SCORES if name != "plain")
    assert "left & <b>deep</b>" in browser.text("#facts")
    assert browser.run("return document.title") == "aberra findings"
    assert browser.run("return document.querySelectorAll('img, b[onerror]').length") == 0
    browser.press("1")
    assert browser.run("return waiting.size") == 0
    assert not browser.run("return document.querySelector('#grades').checkVisibility()")


@pytest.mark.parametrize("size", [(1024, 768), (1280, 800), (1920, 1080)])
def test_all_is_in_sight_and_named_at_every_size(folder, size):
    with _serving(folder, "--reader", "anna") as (_, address), Browser(*size) as window:
        _open(window, address)
        window.wait("shown && figures.length === 3")
        assert window.run("return [document.documentElement.scrollWidth <= innerWidth, document.documentElement.scrollHeight <= innerHeight]") == [True, True]  # fmt: skip
        cut = """return [...document.querySelectorAll('button, canvas, textarea, #saved, #layer')].filter(each => {
            const box = each.getBoundingClientRect();
            return each.checkVisibility() && (box.width < 8 || box.right > innerWidth + 1 || box.bottom > innerHeight + 1
              || (each.tagName === 'BUTTON' && each.scrollWidth > each.clientWidth + 1));
          }).map(each => each.outerHTML)"""
        assert window.run(cut) == []
        nameless = "return [...document.querySelectorAll('button, input, textarea, canvas, [role=listbox]')].filter(e => !e.getAttribute('aria-label') && !e.labels?.length && !e.textContent).length"
        assert window.run(nameless) == 0
        share = "const box = document.querySelector('main').getBoundingClientRect(); return box.width * box.height / innerWidth / innerHeight"
        assert window.run(share) > 0.6, "pictures have most of the screen"


def test_a_thousand_cases_open_at_once_and_few_rows_are_there(folder, browser, tmp_path):
    saved = json.loads((folder / "worklist.json").read_text())
    first = saved["cases"][0]
    saved["cases"] = [
        first | {"id": f"{number:012x}", "case": f"case {number}", "objects": [each | {"id": f"{number:06x}{index:06x}"} for index, each in enumerate(first["objects"] * 2)]}
        for number in range(1000)
    ]  # fmt: skip
    (tmp_path / "worklist.json").write_text(json.dumps(saved))
    with _serving(tmp_path, "--reader", "anna") as (_, address):
        browser.open(address)
        browser.wait("document.querySelector('#place').textContent === '1 / 4000'")
        assert browser.run("return document.querySelectorAll('.row').length") < 60
        took = browser.run(
            "const began = performance.now(); for (let step = 0; step < 100; step += 1) walk(current + 37); return performance.now() - began"
        )
        assert browser.text("#place") == "3701 / 4000"
        assert took < 20_000
        assert browser.run("return loaded.size") <= 4
