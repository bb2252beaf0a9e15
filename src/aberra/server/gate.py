"""The one door: nothing behind it is reached without a session, whatever the route.

Changes must bring the session's CSRF token and come from a page of this server; every answer says
that it is to be framed, guessed at or kept by nobody.
"""

from __future__ import annotations

from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response

from aberra.server import accounts
from aberra.server.audit import note

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from aberra.server.accounts import Person
    from aberra.server.database import Database
    from aberra.server.metrics import Requests
    from aberra.server.settings import Settings

COOKIE = "aberra"
CSRF = "x-csrf-token"
SAFE = {"GET", "HEAD"}
OPEN = {("GET", "/login"), ("POST", "/login"), ("GET", "/health"), ("HEAD", "/health")}
"""What strangers may ask for."""

METRICS = "/metrics"
BODY = 64 * 1024
"""Bytes that a request may have that is no upload."""

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # without any, a form's origin would be "null"
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: what is guarded.
        database: of accounts and sessions.
        settings: of the server.
        requests: counts what was answered.
    """

    def __init__(self, app: ASGIApp, database: Database, settings: Settings, requests: Requests) -> None:
        self.app = app
        self.database = database
        self.settings = settings
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here
        began = perf_counter()
        cookies: list[str] = []

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                for cookie in cookies:
                    headers.append("set-cookie", cookie)
                self.requests.count(message["status"], perf_counter() - began)
            await send(message)

        answer = await self._stops(scope, cookies)
        await (answer or self.app)(scope, receive, answered)

    async def _stops(self, scope: Scope, cookies: list[str]) -> Response | None:
        """The answer that ends a request here; None where it may pass."""
        method, path, headers = scope["method"], scope["path"], Headers(scope=scope)
        if method not in SAFE and not _from_here(headers):
            return _refusal(403, "the request comes from another site's page")
        if not path.endswith(("/uploads", "/truth")) and not _is_small(headers):
            return _refusal(413, f"more than {BODY} bytes")
        if (method, path) in OPEN:
            return None
        person = await run_in_threadpool(self._person, scope, headers, cookies)
        scope.setdefault("state", {})["person"] = person
        if person is None:
            return None if path == METRICS and self._has_token(headers) else self._unknown(method, headers)
        if method not in SAFE and not compare_digest(headers.get(CSRF, "").encode(), person.csrf.encode()):
            return _refusal(403, f"the header {CSRF} is missing or of another session; load the page again")
        return None

    def _unknown(self, method: str, headers: Headers) -> Response:
        """What a stranger is told: a person is sent to the login, a program is refused."""
        if method == "GET" and "text/html" in headers.get("accept", "") and not self.settings.trust_header:
            return RedirectResponse("/login", 303)
        return _refusal(401, "sign in first")

    def _person(self, scope: Scope, headers: Headers, cookies: list[str]) -> Person | None:
        """Who asks, by cookie; with a trusted header by that, the cookie only going with it."""
        token = _cookie(headers)
        person = accounts.visitor(self.database, token) if token else None
        if not self.settings.trust_header:
            return person
        peer = scope["client"][0] if scope.get("client") else ""
        name = headers.get(self.settings.trust_header, "")
        if not name or peer not in self.settings.trusted_proxies:
            return None
        if person is not None and person.name == name:
            return person
        user = accounts.named(self.database, name)
        if user is None:
            return None
        with self.database.writing() as session:
            token = accounts.begin_visit(session, user.id)
            note(session, name, "login", after=f"by the proxy {peer}")
        cookies.append(cookie(token, secure=is_secure(scope, self.settings)))
        return accounts.visitor(self.database, token)

    def _has_token(self, headers: Headers) -> bool:
        wanted = self.settings.metrics_token
        given = headers.get("authorization", "").removeprefix("Bearer ")
        return bool(wanted) and compare_digest(given.encode(), wanted.encode())


def cookie(token: str, *, secure: bool, ends: bool = False) -> str:
    """The header that sets the session's cookie, or ends it."""
    return f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}{'; Max-Age=0' if ends else ''}"


def is_secure(scope: Scope, settings: Settings) -> bool:
    """Whether the browser speaks TLS, be it with a trusted proxy."""
    peer = scope["client"][0] if scope.get("client") else ""
    forwarded = Headers(scope=scope).get("x-forwarded-proto", "")
    return scope["scheme"] == "https" or (peer in settings.trusted_proxies and forwarded == "https")


def _from_here(headers: Headers) -> bool:
    """Whether a browser says that the request comes from a page of this server; programs say
    nothing.
    """
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _is_small(headers: Headers) -> bool:
    length = headers.get("content-length", "0")
    return "transfer-encoding" not in headers and length.isdecimal() and int(length) <= BODY


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)
