#!/usr/bin/env python
"""How long a page of the worklist takes with many cases and several readers at once.

    python benchmarks/server.py --cases 10000 --readers 8 --pages 40

Makes a server with cases of random p-values in a temporary folder, starts it as a process of its
own, and lets every reader ask for pages, first without and then with a filter. With
``--analyse SCAN`` two workers analyse copies of that scan all the while.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

PASSWORD = "correct horse battery"
COPIES = 40


def main() -> None:
    """Read the command line, make the server, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000, help="in the database")
    parser.add_argument("--readers", type=int, default=8, help="who ask at once")
    parser.add_argument("--pages", type=int, default=40, help="that each reader asks for, of each kind")
    parser.add_argument(
        "--pause",
        type=float,
        default=1.0,
        help="mean seconds that a reader looks at a page; 0 is without end",
    )
    parser.add_argument("--analyse", type=Path, help="a scan (.nii.gz) that two workers are busy with")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        data = Path(folder, "data")
        fill(data, options.cases)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "aberra",
            "serve",
            "--data",
            str(data),
            "--workers",
            "2" if options.analyse else "0",
            "--port",
            str(port),
        ]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/health")
            cookie = sign_in(address)
            if options.analyse:
                keep_busy(address, cookie, options.analyse)
            measure(address, options)
            if options.analyse:
                print(f"scans analysed meanwhile: {analysed(address, cookie)}")
        finally:
            server.terminate()
            server.wait()


def fill(data: Path, count: int) -> None:
    """A database with a reader and finished cases."""
    from aberra.server.accounts import put_user
    from aberra.server.database import Database
    from aberra.server.settings import Settings
    from aberra.server.tables import Case

    settings = Settings(data=data)
    settings.claim()
    database = Database(settings.url)
    database.migrate()
    put_user(database, "reader", password=PASSWORD)
    rng = np.random.default_rng(0)
    with database.writing() as session:
        session.add_all(
            Case(
                name=f"sub-{number:05}", search=f"sub-{number:05} 900 mm³ at 12, -40, 20; 310 mm³ at -8, 22, 41; 95 mm³ at 30, 1, -3", place=f"{number:032}", number=0, source="x.nii.gz", detector="flair", model="flair",
                sha256="", size=0, uploaded=0.0, uploaded_by="reader", changed=0.0, status="done", score=float(rng.random()),
                p=float(rng.integers(1, 65)) / 65, regions=3, largest_mm3=900.0,
                reason="900 mm³ at 12, -40, 20; 310 mm³ at -8, 22, 41; 95 mm³ at 30, 1, -3",
                warnings="spacing differs from the model's" if number % 7 == 0 else "",
            )
            for number in range(count)
        )  # fmt: skip
    database.close()


def wait_for(address: str) -> None:
    """Until the server answers."""
    for _ in range(3000):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not answer")


def sign_in(address: str) -> str:
    """The cookie of a session."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    body = f"name=reader&password={PASSWORD.replace(' ', '+')}".encode()
    try:
        urllib.request.build_opener(Stay).open(f"{address}/login", body)
    except urllib.error.HTTPError as answer:
        return re.match(r"[^;]+", answer.headers["set-cookie"])[0]
    raise SystemExit("no session")


def keep_busy(address: str, cookie: str, scan: Path) -> None:
    """Send more copies of a scan than will be done, each with another first voxel; wait for one."""
    import nibabel as nib

    csrf = json.load(ask(f"{address}/api/me", cookie))["csrf"]
    image = nib.load(scan)
    values = np.asanyarray(image.dataobj).astype(np.float32)
    with TemporaryDirectory() as folder:
        for number in range(COPIES):
            values.flat[0] = number
            path = Path(folder, f"copy{number}.nii.gz")
            nib.save(nib.Nifti1Image(values, image.affine), path)
            ask(f"{address}/api/uploads?name={path.name}&detector=flair", cookie, path.read_bytes(), csrf)
    while not analysed(address, cookie):
        time.sleep(0.5)


def analysed(address: str, cookie: str) -> int:
    """Uploads that are done."""
    page = json.load(ask(f"{address}/api/cases?status=done&text=copy", cookie))
    return len(page["cases"])


def ask(address: str, cookie: str, body: bytes | None = None, csrf: str = "") -> Any:
    """The answer of a request with a session."""
    return urllib.request.urlopen(
        urllib.request.Request(address, body, {"cookie": cookie, "x-csrf-token": csrf})
    )


def measure(address: str, options: argparse.Namespace) -> None:
    """Ask, and print percentiles."""
    cookies = [sign_in(address) for _ in range(options.readers)]
    kinds = {
        "plain": "page={page}",
        "unread, text": "page={half}&status=unread&text=sub-0{page:02}",
        "done, text of all": "page={page}&status=done&text=900",
    }
    for name, query in kinds.items():

        def reader(index: int, query: str = query) -> list[float]:
            rng, taken = np.random.default_rng(index), []
            for _ in range(options.pages):
                time.sleep(rng.exponential(options.pause))
                page = int(rng.integers(1, 11))
                path = f"{address}/api/cases?" + query.format(page=page, half=1 + page % 2)  # a text has 2
                began = time.perf_counter()
                with ask(path, cookies[index]) as answer:
                    json.load(answer)
                taken.append(time.perf_counter() - began)
            return taken

        with ThreadPoolExecutor(options.readers) as pool:
            every = 1000 * np.concatenate(list(pool.map(reader, range(options.readers))))
        half, most = np.percentile(every, [50, 95])
        print(
            f"{name}: {len(every)} pages, {options.readers} readers, {options.cases} cases: median {half:.0f} ms, p95 {most:.0f} ms"
        )


if __name__ == "__main__":
    main()
