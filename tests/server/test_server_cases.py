"""From an upload to a grade."""

from __future__ import annotations

import csv
import gzip
import json
from io import StringIO

import nibabel as nib
import numpy as np
import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DatabaseError

import small_scans
from aberra.grades import GRADES
from aberra.server import queue, removal, worklist
from aberra.server.tables import Case, Entry
from triage import MODEL, nifti, send, zipped


@pytest.fixture
def read(server, tmp_path):
    """A server with three finished cases, the second of them unusual."""
    client = server.client("ben")
    for seed, lesion in ((30, 0.0), (31, 9.0), (32, 0.0)):
        assert send(client, f"scan{seed}.nii.gz", nifti(tmp_path, seed, lesion)).status_code == 201
    server.work()
    return server


def test_a_scan_is_analysed_as_detect_does(server, tmp_path):
    client = server.client("ben")
    content = nifti(tmp_path, 31, 9.0)
    sent = send(client, "folder/odd name;.nii.gz", content)
    assert sent.json() == {"cases": [1], "known": False}
    assert client.get("/api/cases/1").json()["status"] == "queued"
    server.work()
    found = client.get("/api/cases/1").json()
    assert found["status"] == "done"
    assert found["name"] == "odd_name_"
    assert found["regions"] == len(found["result"]["components"]) > 0
    assert found["reason"].startswith(f"{found['result']['components'][0]['volume_mm3']:,.0f} mm³ at ")
    scan = nib.Nifti1Image.from_bytes(gzip.decompress(client.get("/api/cases/1/scan.nii.gz").content))
    there = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    assert np.allclose(scan.get_fdata(), there.get_fdata())
    assert np.allclose(scan.affine, there.affine)
    shown = nib.Nifti1Image.from_bytes(gzip.decompress(client.get("/api/cases/1/map.nii.gz").content))
    assert np.allclose(shown.affine, there.affine)
    assert client.get("/api/cases/1/truth.nii.gz").status_code == 404
    assert client.get("/api/cases/1/result.nii.gz").status_code == 400
    assert client.get("/api/cases/9").status_code == 404


def test_the_same_bytes_are_one_case(server, tmp_path):
    client = server.client("ben")
    content = nifti(tmp_path, 1)
    first = send(client, "a.nii.gz", content).json()["cases"]
    again = send(server.client("eve"), "b.nii.gz", content)
    assert again.status_code == 200
    assert again.json() == {"cases": first, "known": True}


def test_a_zip_of_dicom_series_is_a_case_a_series(server):
    files = {f"study/one/{index}.dcm": small_scans.dicom_bytes(index) for index in range(6)}
    files |= {"study/readme.txt": b"not a scan"}
    client = server.client("ben")
    assert send(client, "study.zip", zipped(files)).json()["cases"] == [1]
    server.work()
    found = client.get("/api/cases/1").json()
    assert found["status"] == "done", found["error"]
    assert "scan" in found["layers"]


def test_the_worklist_has_the_most_unusual_case_first(read):
    found = read.client("ben").get("/api/cases").json()
    assert found["cases"][0]["name"] == "scan31"
    ranks = [(each["p"], -each["score"]) for each in found["cases"]]
    assert ranks == sorted(ranks)
    assert found["counts"] == {"done": 3}


def test_the_worklist_is_filtered(read, tmp_path):
    client = read.client("ben")
    send(client, "late.nii.gz", nifti(tmp_path, 40))

    def names(**wanted):
        return [each["name"] for each in client.get("/api/cases", params=wanted).json()["cases"]]

    assert names(status="queued") == ["late"]
    assert len(names(status="done")) == 3
    assert names(text="CAN31") == ["scan31"]
    assert names(text="%") == []
    assert len(names(detector=MODEL)) == 4
    assert names(detector="other") == []
    client.put("/api/cases/2/readings/case", json={"grade": "reject"})
    assert sorted(names(status="unread")) == ["scan30", "scan32"]
    assert client.get("/api/cases", params={"status": "odd"}).status_code == 400
    assert client.get("/api/cases", params={"page": 0}).status_code == 422


def test_pages_and_neighbours_walk_every_case_once(server):
    with server.database.writing() as session:
        for number in range(130):
            ready = number % 13 > 0
            session.add(
                Case(
                    name=f"c{number}", place=f"{number:032}", number=0, source="x", detector=MODEL, sha256="", size=0, uploaded=0.0,
                    uploaded_by="x", changed=0.0, status="done" if ready else "queued", p=(number % 7) / 7 if ready else None,
                    score=float(number % 3) if ready else None,
                )
            )  # fmt: skip
    with server.database.reading() as session:
        pages = [worklist.page(session, 1, number=number) for number in (1, 2, 3, 4)]
        listed = [each["id"] for page in pages for each in page["cases"]]
        assert [len(page["cases"]) for page in pages] == [50, 50, 30, 0]
        assert len(set(listed)) == 130
        walked, now = [], listed[0]
        while now is not None:
            walked.append(now)
            around = worklist.neighbours(session, session.get(Case, now))
            assert around["previous"] == (walked[-2] if len(walked) > 1 else None)
            now = around["next"]
    assert walked == listed[:120]


def test_each_reader_has_a_reading_of_his_own(read):
    ben, eve, ada = read.client("ben"), read.client("eve"), read.client("ada")
    ben.put("/api/cases/2/readings/1", json={"grade": "C1", "note": "left"})
    ben.put("/api/cases/2/readings/case", json={"grade": "accept"})
    eve.put("/api/cases/2/readings/1", json={"grade": "artefact"})
    mine = ben.get("/api/cases/2").json()["readings"]
    assert {target: each["grade"] for target, each in mine["mine"].items()} == {"case": "accept", "1": "C1"}
    assert "all" not in mine
    assert "artefact" not in ben.get("/api/cases").text + ben.get("/api/cases/2").text
    assert eve.get("/api/cases").json()["cases"][0]["grade"] == ""
    every = ada.get("/api/cases/2").json()["readings"]
    assert every["mine"] == {}
    assert [(each["reader"], each["target"], each["grade"]) for each in every["all"]] == [
        ("ben", "case", "accept"), ("ben", "1", "C1"), ("eve", "1", "artefact"),
    ]  # fmt: skip


def test_every_change_of_a_reading_is_in_the_trail(read):
    ben = read.client("ben")
    for said in (
        {"grade": "C1"},
        {"grade": "C1"},
        {"grade": "C2", "note": "a <b>"},
        {"grade": "", "note": ""},
    ):
        assert ben.put("/api/cases/2/readings/1", json=said).status_code == 200
    trail = [
        each
        for each in read.client("ada").get("/api/audit", params={"case": 2}).json()
        if each["what"] == "reading"
    ]
    assert [(each["who"], each["region"]) for each in trail] == [("ben", 1)] * 3, (
        "what changes nothing is no change"
    )
    told = [
        tuple(json.loads(each[key])["grade"] if each[key] else "" for key in ("before", "after"))
        for each in trail
    ]
    assert told == [("C2", ""), ("C1", "C2"), ("", "C1")]
    assert ben.get("/api/cases/2").json()["readings"]["mine"] == {}


def test_the_database_keeps_the_trail(read):
    for change in (update(Entry).values(who="nobody"), delete(Entry), text("DELETE FROM audit")):
        with pytest.raises(DatabaseError, match="append-only"), read.database.writing() as session:
            session.execute(change)


@pytest.mark.parametrize(
    ("path", "said", "status"),
    [
        ("2/readings/99", {"grade": "C1"}, 400),
        ("2/readings/-1", {"grade": "C1"}, 400),
        ("2/readings/1", {"grade": "accept"}, 400),
        ("2/readings/case", {"grade": "C1"}, 400),
        ("2/readings/1", {"grade": "C1", "note": "x" * 5000}, 422),
        ("2/readings/1", ["C1"], 422),
        ("99/readings/1", {"grade": "C1"}, 404),
        ("2/readings/0", {"grade": "C1"}, 400),
        ("2/readings/1,2", {"grade": "C1"}, 400),
        ("2/readings/1,2,nan", {"grade": "C1"}, 400),
        ("2/readings/1,2,30000", {"grade": "C1"}, 400),
        ("2/readings/1,2,3", {"grade": "artefact"}, 400),
    ],
)
def test_what_cannot_be_said(read, path, said, status):
    assert read.client("ben").put(f"/api/cases/{path}", json=said).status_code == status


def test_a_missed_finding_is_kept_by_its_place(read):
    ben, eve, ada = read.client("ben"), read.client("eve"), read.client("ada")
    assert ben.put("/api/cases/2/readings/1,-2.04,3", json={"grade": "C2", "note": "pons"}).status_code == 200
    ben.put("/api/cases/2/readings/40,0,0", json={"grade": "C1"})
    eve.put("/api/cases/2/readings/1,0,3", json={"grade": "C3"})
    ben.put("/api/cases/2/readings/1", json={"grade": "C1"})
    eve.put("/api/cases/2/readings/1", json={"grade": "artefact"})
    mine = ben.get("/api/cases/2").json()["readings"]["mine"]
    assert {target: each["grade"] for target, each in mine.items()} == {
        "1.0,-2.0,3.0": "C2", "40.0,0.0,0.0": "C1", "1": "C1",
    }  # fmt: skip
    rows = list(csv.DictReader(StringIO(ada.get("/api/readings.csv").text)))
    assert [(row["reader"], row["region"], row["x"], row["y"], row["grade"]) for row in rows] == [
        ("ben", "0", "1.0", "-2.0", "C2"), ("ben", "0", "40.0", "0.0", "C1"), ("ben", "1", "", "", "C1"),
        ("eve", "0", "1.0", "0.0", "C3"), ("eve", "1", "", "", "artefact"),
    ]  # fmt: skip
    trail = ada.get("/api/audit", params={"case": 2}).json()
    assert {"at": "1.0,-2.0,3.0", "grade": "C2", "note": "pons"} in [
        json.loads(each["after"]) for each in trail if each["what"] == "reading" and each["region"] == 0
    ]
    assert ben.get("/api/report").status_code == 403
    report = ada.get("/api/report").json()
    assert [(each["place"], each["grade"]) for each in report["missed"]] == [([1.0, -2.0, 3.0], None), ([40.0, 0.0, 0.0], "C1")]  # fmt: skip
    assert report["undecided"] == 2, "region 1 and the place that both have marked"
    assert report["sensitivity"] == 0
    eve.put("/api/cases/2/readings/1", json={"grade": "C1"})
    report = ada.get("/api/report").json()
    assert (report["cases"], report["read"], report["sensitivity"]) == (3, 0, 0.5)
    assert [(each["grade"], each["objects"], each["missed"]) for each in report["grades"]][:2] == [("C1", 1, 1), ("C2", 0, 0)]  # fmt: skip
    ben.put("/api/cases/2/readings/40,0,0", json={"grade": ""})
    assert len(ada.get("/api/report").json()["missed"]) == 1


def test_an_admin_deletes_a_case_and_the_trail_keeps_it(read, tmp_path):
    ben, ada = read.client("ben"), read.client("ada")
    with read.database.reading() as session:
        places = {case.id: case.place for case in session.scalars(select(Case))}
    ben.put("/api/cases/3/readings/case", json={"grade": "reject"})
    assert ben.delete("/api/cases/3").status_code == 403
    assert ada.delete("/api/cases/9").status_code == 404
    assert (
        read.client("ada").request("DELETE", "/api/cases/3", headers={"x-csrf-token": ""}).status_code == 403
    )
    assert ada.delete("/api/cases/3").status_code == 204
    assert ada.get("/api/cases/3").status_code == 404
    assert not list(read.settings.data.rglob(f"{places[3]}*"))
    assert (read.settings.uploads / places[2]).is_dir()
    assert ben.get("/api/cases").json()["total"] == 2
    assert ada.get("/api/readings.csv").text.count("\n") == 1
    trail = ada.get("/api/audit", params={"case": 3}).json()
    assert (trail[0]["who"], trail[0]["what"]) == ("ada", "delete")
    assert trail[0]["before"].startswith("scan32 (")
    assert "1 reading(s)" in trail[0]["before"]
    again = send(ben, "scan32.nii.gz", nifti(tmp_path, 32))
    assert again.json() == {"cases": [4], "known": False}, "its number is never another case's"


def test_a_case_is_not_deleted_while_it_is_analysed(read, tmp_path):
    ada = read.client("ada")
    send(ada, "late.nii.gz", nifti(tmp_path, 40))
    send(ada, "later.nii.gz", nifti(tmp_path, 41))
    taken = queue.take(read.database, "somebody")
    assert ada.delete(f"/api/cases/{taken.id}").status_code == 409
    assert ada.delete("/api/cases/5").status_code == 204
    assert queue.finish(read.database, taken.id, "somebody", status="failed", error="x")
    assert queue.take(read.database, "somebody") is None
    assert ada.delete(f"/api/cases/{taken.id}").status_code == 204


def test_a_deletion_that_was_killed_goes_on(read, monkeypatch):
    with read.database.reading() as session:
        place = session.get(Case, 2).place
    with monkeypatch.context() as patch:
        patch.setattr(removal.shutil, "rmtree", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            read.client("ada").delete("/api/cases/2")
    assert read.client("ben").get("/api/cases").json()["total"] == 2
    assert list(read.settings.data.rglob(f"{place}*"))
    for _ in range(2):
        removal.remove_files(read.settings, read.database)
        assert not list(read.settings.data.rglob(f"{place}*"))


def test_what_scans_of_one_zip_share_goes_with_the_last(server):
    files = {f"study/{name}/{index}.dcm": small_scans.dicom_bytes(index + 10 * where) for where, name in enumerate("ab") for index in range(4)}  # fmt: skip
    ada = server.client("ada")
    assert send(ada, "study.zip", zipped(files)).json()["cases"] == [1, 2]
    with server.database.reading() as session:
        upload = server.settings.uploads / session.get(Case, 1).place
        sources = [upload / "files" / session.get(Case, case).source for case in (1, 2)]
    assert ada.delete("/api/cases/1").status_code == 204
    assert [source.exists() for source in sources] == [False, True]
    assert ada.delete("/api/cases/2").status_code == 204
    assert not upload.exists()


def test_only_finished_cases_are_read(server, tmp_path):
    client = server.client("ben")
    send(client, "a.nii.gz", nifti(tmp_path, 1))
    assert client.put("/api/cases/1/readings/case", json={"grade": "accept"}).status_code == 409


def test_all_grades_can_be_given_and_are_exported(read):
    ben = read.client("ben")
    for grade in GRADES:
        assert ben.put("/api/cases/2/readings/1", json={"grade": grade, "note": "=1+1"}).status_code == 200
    rows = list(csv.DictReader(StringIO(read.client("ada").get("/api/readings.csv").text)))
    assert [(row["reader"], row["grade"], row["note"]) for row in rows] == [
        ("ben", list(GRADES)[-1], "'=1+1")
    ]


def test_a_case_can_be_analysed_again_until_it_is_read(read):
    ada = read.client("ada")
    assert read.client("ben").post("/api/cases/1/analyse", json={"detector": MODEL}).status_code == 403
    assert ada.post("/api/cases/1/analyse", json={"detector": "none"}).status_code == 400
    assert ada.post("/api/cases/1/analyse", json={"detector": MODEL}).status_code == 202
    assert ada.post("/api/cases/1/analyse", json={"detector": MODEL}).status_code == 409
    read.work()
    assert ada.get("/api/cases/1").json()["status"] == "done"
    read.client("ben").put("/api/cases/1/readings/case", json={"grade": "reject"})
    assert ada.post("/api/cases/1/analyse", json={"detector": MODEL}).status_code == 409


def test_truth_is_shown_and_must_fit(read, tmp_path):
    ada = read.client("ada")
    mask = small_scans.scan(0)
    mask.with_(data=(mask.data > 1.05).astype(np.float32)).write(tmp_path / "mask.nii.gz")
    mask.with_(data=np.ones((1, 3, 3, 3), np.float32)).write(tmp_path / "small.nii.gz")

    def put(client, name):
        content = (tmp_path / name).read_bytes()
        return client.put("/api/cases/1/truth", params={"name": name}, content=content)

    assert put(read.client("ben"), "mask.nii.gz").status_code == 403
    refused = put(ada, "small.nii.gz")
    assert refused.status_code == 422
    assert "grid" in refused.json()["error"]
    assert str(read.settings.data) not in refused.json()["error"]
    assert put(ada, "mask.nii.gz").json() == {"id": 1, "voxels": int((mask.data > 1.05).sum())}
    assert "truth" in read.client("ben").get("/api/cases/1").json()["layers"]


def test_what_fails_is_told_in_the_worklist(server, tmp_path):
    client = server.client("ben")
    data = np.zeros((1, 6, 20, 20), np.float32)  # no brain in it
    small_scans.scan(0).with_(data=data).write(tmp_path / "empty.nii.gz")
    assert send(client, "empty.nii.gz", (tmp_path / "empty.nii.gz").read_bytes()).status_code == 201
    server.work()
    found = client.get("/api/cases", params={"status": "failed"}).json()["cases"][0]
    assert found["error"]
    assert str(tmp_path) not in found["error"]


def test_pages_and_scripts_are_served(server):
    client = server.client("ada")
    for path in ("/", "/cases/1", "/audit", "/report", "/static/case.js", "/static/style.css"):
        assert client.get(path).status_code == 200
    for path in ("/static/nothing.js", "/static/..%2fapp.py", "/static/case.html", "/static/%2e%2e/app.py"):
        assert client.get(path).status_code == 404
