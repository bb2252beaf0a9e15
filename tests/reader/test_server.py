from __future__ import annotations

import json
import threading
from http.client import HTTPConnection

import pytest

from aberra.errors import OutputError
from aberra.reader.server import ReaderServer
from aberra.reader.session import Session
from aberra.workflows.worklist import worklist
from small_results import small_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("server")
    worklist(small_results(place / "results", {"one": (1.0, 0.123456)}), out=place / "w")
    return place / "w"


@pytest.fixture
def served(folder, request):
    blinded = getattr(request, "param", False)
    with ReaderServer(Session(folder, "anna", blinded=blinded), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _ask(server, path, *, method="GET", body=None, **headers):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Host": f"127.0.0.1:{server.server_port}"} | named)
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_the_page_and_its_pictures_are_served_and_nothing_may_be_loaded_from_elsewhere(served, folder):
    status, page, headers = _ask(served, f"/{served.token}/")
    assert status == 200
    assert b"one" in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    for path in (folder / "pictures").glob("*/*.*"):
        if path.suffix in {".webp", ".js"}:
            status, body, _ = _ask(served, f"/{served.token}/{path.relative_to(folder)}")
            assert (status, body) == (200, path.read_bytes())


def test_it_is_on_this_machine_only(served):
    assert served.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1", "[::1]:80"])
def test_other_hosts_are_refused(served, host):
    for method in ("GET", "POST"):
        assert _ask(served, f"/{served.token}/", method=method, Host=host)[0] == 403


@pytest.mark.parametrize(
    "path",
    ["worklist.json", "worklist.csv", "index.html", ".aberra.json", "grades/anna.jsonl", "pictures/", "../w/worklist.csv",
     "pictures/../worklist.csv", "pictures/%2e%2e/worklist.csv", "pictures/000000000000/../../worklist.json",
     "pictures/000000000000/case.js", "//etc/passwd", "pictures//etc/passwd", "pictures/000000000000/scan.webp%00", "grade"],
)  # fmt: skip
def test_other_paths_are_not_there(served, path):
    assert _ask(served, f"/{served.token}/{path}")[0] == 404


@pytest.mark.parametrize(
    "path",
    ["/", "", "//", "/wrong/", "/wrong/grade", "/worklist.csv", "/{token}"],
)
def test_nothing_is_told_without_the_token(served, path):
    status, body, _ = _ask(served, path.replace("{token}", served.token))
    assert status == 403
    assert b"one" not in body


def test_a_grade_is_answered_when_it_is_written(served, folder):
    item = served.session.content()["items"][0]["id"]
    body = json.dumps({"id": item, "grade": "C2", "note": "ü"})
    status, answer, _ = _ask(served, f"/{served.token}/grade", method="POST", body=body)
    assert (status, json.loads(answer)) == (200, {"id": item, "grade": "C2", "note": "ü"})
    assert json.loads((folder / "grades" / "anna.jsonl").read_text().splitlines()[-1])["note"] == "ü"


def test_grades_from_other_pages_broken_ones_and_long_ones_are_refused(served, folder):
    item = served.session.content()["items"][0]["id"]
    served.session.save({"id": item, "grade": "C3", "note": ""})
    before = (folder / "grades" / "anna.jsonl").read_bytes()
    body = json.dumps({"id": item, "grade": "C1", "note": ""})
    place = f"/{served.token}/grade"
    own = f"http://127.0.0.1:{served.server_port}"
    assert _ask(served, place, method="POST", body=body, Origin="http://evil.example")[0] == 403
    assert _ask(served, place, method="POST", body=body, Origin="null")[0] == 403
    assert _ask(served, "/wrong/grade", method="POST", body=body, Origin=own)[0] == 403
    assert _ask(served, place, method="POST", body="{" + " " * (1 << 17))[0] == 413
    for broken in ("", "{", "[" * 100_000, "\xff", '{"id": "x", "grade": "C1", "note": ""}'):
        assert _ask(served, place, method="POST", body=broken.encode("latin-1")[: 1 << 16])[0] == 400
    assert (folder / "grades" / "anna.jsonl").read_bytes() == before
    assert _ask(served, place, method="POST", body=body, Origin=own)[0] == 200


@pytest.mark.parametrize("served", [True], indirect=True)
def test_a_blinded_reader_is_sent_no_score_and_no_map(served, folder):
    _, page, _ = _ask(served, f"/{served.token}/")
    for told in (b"0.123456", b'"peak"', b'"mean"', b'"score"', b'"p"', b'"threshold"', b"0.9"):
        assert told not in page
    case = next((folder / "pictures").iterdir()).name
    assert _ask(served, f"/{served.token}/pictures/{case}/scan.webp")[0] == 200
    assert _ask(served, f"/{served.token}/pictures/{case}/map.webp")[0] == 404


def test_a_port_that_is_taken_is_said(served):
    with pytest.raises(OutputError, match="--port"):
        ReaderServer(served.session, served.server_port)
