"""Start everything: tables, workers as processes of their own, and the web server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from aberra.console import screen
from aberra.errors import ConfigError
from aberra.files import locked
from aberra.server.app import create_app
from aberra.server.database import Database
from aberra.server.removal import remove_files
from aberra.server.uploads import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aberra.server.settings import Settings

CHECK = 1.0
"""Seconds between looks at whether workers live."""

WAIT = 3
"""Seconds that open connections get when the server ends."""


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> None:
    """Serve until Ctrl-C.

    Args:
        settings: of the server.
        host: address to listen at.
        port: to listen at.
        workers: processes that analyse.
        tls_cert: PEM file; speaks TLS with ``tls_key``.
        tls_key: PEM file.

    Raises:
        ConfigError: another server has the folder, or the database cannot be used.
        OutputError: the folder holds something else.
    """
    import uvicorn

    settings.claim()
    database = Database(settings.url)
    database.migrate()
    with locked(settings.uploads, wait=False) as alone:
        if not alone:
            raise ConfigError(f"{settings.data}: another server is running on this folder")
        sweep(settings)
        remove_files(settings, database)
        config = uvicorn.Config(
            create_app(settings, database), host=host, port=port, proxy_headers=False, server_header=False, log_level="warning",
            timeout_graceful_shutdown=WAIT, ssl_certfile=tls_cert, ssl_keyfile=tls_key, lifespan="off",
        )  # fmt: skip
        scheme = "https" if tls_cert else "http"
        screen().print(
            f"serving {settings.data} at {scheme}://{host}:{port} with {workers} worker(s); Ctrl-C ends it"
        )
        with _working(settings, workers):
            uvicorn.Server(config).run()
    database.close()


@contextmanager
def _working(settings: Settings, count: int) -> Iterator[None]:
    """Keep workers alive while the body runs; one that ends is replaced."""
    over = Event()
    running = [_worker(settings, count) for _ in range(count)]

    def keep() -> None:
        while not over.wait(CHECK):
            for index, process in enumerate(running):
                if process.poll() is not None:
                    screen(stderr=True).print(
                        f"a worker ended with code {process.returncode}; another one begins"
                    )
                    running[index] = _worker(settings, count)

    keeper = Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        for process in running:  # what they are at is taken up by the next server
            process.terminate()
        for process in running:
            process.wait()


def _worker(settings: Settings, count: int) -> subprocess.Popen[bytes]:
    """A process that analyses; it shares the cores with its like."""
    cores = max(1, (os.cpu_count() or 1) // count)
    process = subprocess.Popen(
        [sys.executable, "-m", "aberra.server.worker"],
        stdin=subprocess.PIPE,
        env={"OMP_NUM_THREADS": str(cores), **os.environ},
    )
    told = {
        "data": str(settings.data),
        "database": settings.database,
        "device": settings.device,
        "parent": os.getpid(),
    }
    assert process.stdin is not None  # noqa: S101 - asked for above
    process.stdin.write(json.dumps(told | {"detectors": dict(settings.detectors)}).encode())
    process.stdin.close()
    return process
