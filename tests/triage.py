"""A triage server in this process, and one in processes of its own, as tests use them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

import small_scans
from aberra.server.accounts import put_user
from aberra.server.app import create_app
from aberra.server.database import Database
from aberra.server.settings import Settings
from aberra.server.worker import work

PASSWORD = "correct horse battery"
MODEL = "calm"


def nifti(folder, seed=0, lesion=0.0):
    """Bytes of a scan; with a lesion, a block so much brighter."""
    scan = small_scans.scan(seed)
    data = scan.data.copy()
    data[:, 2:4, 5:9, 5:9] += np.float32(lesion)
    path = folder / f"bytes-{seed}-{lesion}.nii.gz"
    scan.with_(data=data).write(path)
    return path.read_bytes()


def zipped(files):
    """A zip of name to bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Parts:
    """Settings, database and application of one server, and what tests do with it."""

    def __init__(self, data, detector, **changes):
        self.settings = Settings(data=data, detectors={MODEL: str(detector)}, **changes)
        self.settings.claim()
        self.database = Database(self.settings.url)
        self.database.migrate()
        self.app = create_app(self.settings, self.database)
        for name, role in (("ada", "admin"), ("ben", "reader"), ("eve", "reader")):
            put_user(self.database, name, role=role, password=PASSWORD)

    def stranger(self, **options):
        return TestClient(self.app, follow_redirects=False, **options)

    def client(self, name):
        """Somebody who is signed in, whose requests bring the CSRF token."""
        client = self.stranger()
        assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
        client.headers["x-csrf-token"] = client.get("/api/me").json()["csrf"]
        return client

    def work(self):
        """Analyse what waits."""
        work(self.settings, once=True)


def send(client, name, content, **wanted):
    return client.post("/api/uploads", params={"name": name, **wanted}, content=content)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Live:
    """``aberra serve`` in processes of its own."""

    def __init__(self, data, detector, *more):
        self.data, self.port = data, free_port()
        self.command = [
            sys.executable, "-m", "aberra", "serve", "--data", str(data), "--detector", str(detector), "--port", str(self.port),
            *map(str, more),
        ]  # fmt: skip
        self.process = None
        self.cookie = self.csrf = ""

    def start(self):
        self.process = subprocess.Popen(
            self.command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(1200):
            try:
                self.ask("GET", "/health")
            except OSError:
                assert self.process.poll() is None, "the server has ended"
                time.sleep(0.1)
            else:
                return self
        raise AssertionError("the server does not answer")

    def workers(self):
        """Process numbers of the server's workers, whichever thread began them."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(each) for task in tasks for each in (task / "children").read_text().split()]

    def kill(self):
        """Kill the server, and no other: workers see that it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)

    def sign_in(self, name):
        body = f"name={name}&password={PASSWORD.replace(' ', '+')}".encode()
        opener = urllib.request.build_opener(_Stay)
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/login", body, method="POST")
        try:
            opener.open(request, timeout=60)
        except urllib.error.HTTPError as answer:
            self.cookie = re.match(r"aberra=[^;]+", answer.headers["set-cookie"])[0]
        self.csrf = self.ask("GET", "/api/me")["csrf"]
        return self

    def ask(self, method, path, body=None, kind="application/octet-stream"):
        headers = {"cookie": self.cookie, "x-csrf-token": self.csrf, "content-type": kind}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def put(self, path, content):
        return self.ask("PUT", path, json.dumps(content).encode(), "application/json")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
