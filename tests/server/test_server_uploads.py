"""Odd uploads: refused with a reason, nothing written outside, the server goes on."""

from __future__ import annotations

import gzip
import stat
import zipfile
from io import BytesIO

import numpy as np
import pytest

import small_scans
from aberra.server.settings import Limits
from fuzz.engine import change_bytes
from triage import Parts, nifti, send, zipped

ODD = {
    "empty": b"",
    "text": b"hello",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "pickle": b"\x80\x04cos\nsystem\n.",
    "gzip-of-text": gzip.compress(b"hello"),
    "half-gzip": gzip.compress(bytes(5000))[:-9],
    "empty-zip": zipped({}),
    "zip-of-text": zipped({"a.txt": b"hello"}),
    "zip-of-zip": zipped({"inner.zip": zipped({"a.dcm": small_scans.dicom_bytes()})}),
    "climbing": zipped({"../../escaped.dcm": small_scans.dicom_bytes()}),
    "absolute": zipped({"/tmp/escaped.dcm": small_scans.dicom_bytes()}),
    "backslash": zipped({"..\\escaped.dcm": small_scans.dicom_bytes()}),
    "drive": zipped({"C:escaped.dcm": small_scans.dicom_bytes()}),
    "deep": zipped({"a/" * 40 + "a.dcm": small_scans.dicom_bytes()}),
    "file-and-folder": zipped({"a": b"x", "a/b.dcm": small_scans.dicom_bytes()}),
    "long-name": zipped({"x" * 300 + ".dcm": small_scans.dicom_bytes()}),
}


def _link():
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo("link.dcm")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    return buffer.getvalue()


ODD["link"] = _link()


def _nothing_left(server):
    """Neither files nor cases."""
    assert list(server.settings.uploads.iterdir()) == []
    with server.client("ben") as client:
        assert client.get("/api/cases").json()["total"] == 0


def test_odd_files_are_refused_with_a_reason(server, tmp_path):
    client = server.client("ben")
    for name, content in ODD.items():
        answer = send(client, f"{name}.nii.gz", content)
        assert answer.status_code in {413, 422}, (name, answer.text)
        assert answer.json()["error"], name
        assert str(tmp_path) not in answer.json()["error"], name
    _nothing_left(server)
    assert not list(tmp_path.rglob("*escaped*"))


def test_two_hundred_changed_files_leave_the_server_alive(server, tmp_path):
    client = server.client("ben")
    rng = np.random.default_rng(0)
    packed = nifti(tmp_path)
    sources = {
        "a.nii": (gzip.decompress(packed), 352),
        "a.nii.gz": (packed, 40),
        "a.zip": (zipped({f"{index}.dcm": small_scans.dicom_bytes(index) for index in range(4)}), 0),
    }
    refused = taken = 0
    for index in range(200):
        name = list(sources)[index % 3]
        content, head = sources[name]
        answer = send(client, name, change_bytes(rng, content, head))
        assert answer.status_code in {200, 201, 413, 422}, answer.text
        if answer.status_code in {413, 422}:
            refused += 1
            assert answer.json()["error"]
            assert "unexpected" not in answer.json()["error"]
        else:
            taken += 1
    assert refused > 60
    assert taken + refused == 200
    assert client.get("/api/cases").json()["total"] <= taken
    assert send(client, "good.nii.gz", nifti(tmp_path, 5)).status_code == 201


@pytest.fixture
def small(tmp_path, detector):
    made = Parts(tmp_path / "data", detector, limits=Limits(upload=20_000, unpacked=50_000, files=5, scans=1))
    yield made
    made.database.close()


def test_limits_hold_whatever_the_file_says(small):
    client = small.client("ben")
    slices = {f"{index}.dcm": small_scans.dicom_bytes(index) for index in range(6)}
    bomb = BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(1_000_000))
    lying = bytearray(bomb.getvalue())
    at = lying.rindex(b"PK\x01\x02") + 24
    lying[at : at + 4] = (10).to_bytes(4, "little")
    for content in (
        bytes(30_000),
        gzip.compress(bytes(1_000_000)),
        zipped(slices),
        bomb.getvalue(),
        bytes(lying),
    ):
        answer = send(client, "a.nii.gz", content)
        assert answer.status_code in {413, 422}, answer.text
    assert send(client, "a.nii.gz", bytes(30_000)).status_code == 413
    chunked = send(client, "a.nii.gz", iter([bytes(15_000)] * 5))  # its length is not said before
    assert chunked.status_code == 413
    _nothing_left(small)


def test_what_is_asked_must_be_known(server):
    client = server.client("ben")
    assert send(client, "a.nii", b"x", detector="../../etc").status_code == 400
    assert client.post("/api/uploads", content=b"x").status_code == 422
    assert server.stranger().post("/api/uploads", params={"name": "a.nii"}, content=b"x").status_code == 401
