"""The page, its pictures and one place to send grades to, on this machine alone.

Whoever has the address with its token may read and grade: no other page in the browser has it, and no
other machine reaches it.
"""

from __future__ import annotations

import json
import re
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from aberra.errors import AberraError, ConfigError, OutputError
from aberra.reader.page import render_reader
from aberra.reader.stacks import PICTURES, SAID

if TYPE_CHECKING:
    from aberra.reader.session import Session

HOST = "127.0.0.1"
LARGEST = 1 << 16
"""Bytes of a grade with its note."""

PICTURE = re.compile(rf"pictures/([0-9a-f]{{12}})/({'|'.join(map(re.escape, (*PICTURES, SAID)))})")
TYPES = {".webp": "image/webp", ".js": "text/javascript; charset=utf-8"}
SHUT = (
    "default-src 'none'; img-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'self' 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: nothing from elsewhere, and no script but its own."""


class ReaderServer(ThreadingHTTPServer):
    """Serves one reader's session.

    Args:
        session: what is read.
        port: on 127.0.0.1; 0 takes a free one.

    Attributes:
        address: what the reader opens.

    Raises:
        OutputError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, session: Session, port: int) -> None:
        self.session, self.token = session, token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise OutputError(
                f"port {port}: cannot be used ({error.strerror}); is another reader's page open? Give another --port"
            ) from error
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.address = f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ReaderServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page, or a picture."""
        place = self._place()
        if place is None:
            return
        session = self.server.session
        found = PICTURE.fullmatch(place)
        if not place:
            nonce = token_urlsafe(16)
            page = render_reader(session.content(), nonce=nonce)
            self._send(page.encode(), "text/html; charset=utf-8", shut=SHUT.format(nonce=nonce))
        elif found and not (session.blinded and found[2] == "map.webp"):
            path = session.folder / "pictures" / found[1] / found[2]
            try:
                self._send(path.read_bytes(), TYPES[path.suffix])
            except OSError:
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such picture")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """A grade: answered when it is on the disk."""
        place = self._place()
        if place is None:
            return
        origin = self.headers.get("Origin", "")
        length = self.headers.get("Content-Length", "")
        if place != "grade" or (origin and origin.removeprefix("http://") not in self.server.hosts):
            self._refuse(HTTPStatus.FORBIDDEN, "not from here")
        elif not length.isdecimal() or int(length) > LARGEST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a grade and its note are shorter")
        else:
            self._save(self.rfile.read(int(length)))

    def _save(self, body: bytes) -> None:
        try:
            saved = self.server.session.save(json.loads(body))
        except (ConfigError, ValueError, RecursionError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except AberraError as error:
            self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
        else:
            self._send(json.dumps(saved).encode(), "application/json")

    def _place(self) -> str | None:
        """What is asked for below the token; None where the question was refused."""
        if self.headers.get("Host", "") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "another host was asked for")
            return None
        token, slash, place = self.path.removeprefix("/").partition("/")
        if not slash or not compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that `aberra read` printed last")
            return None
        return place

    def _send(self, body: bytes, kind: str, *, status: int = HTTPStatus.OK, shut: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if shut:
            self.send_header("Content-Security-Policy", shut)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, why: str) -> None:
        self.close_connection = True  # what a refused question has sent is not read
        self._send(json.dumps({"why": why}).encode(), "application/json", status=status)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: the terminal is the reader's."""
