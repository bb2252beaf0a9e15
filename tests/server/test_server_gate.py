"""The door: strangers, other sites' pages, proxies."""

from __future__ import annotations

import re

import pytest
from starlette.routing import Route

from triage import PASSWORD, Parts

OPEN = {("GET", "/login"), ("POST", "/login"), ("GET", "/health"), ("HEAD", "/health")}


def _routes(app):
    """Method and path of every route, parameters filled in."""
    for route in app.routes:
        assert isinstance(route, Route), f"{route} would not be looked at"
        path = re.sub(r"\{(\w+)(:path)?\}", lambda found: "scan" if found[1] == "layer" else "1", route.path)
        for method in route.methods:
            yield method, path


def test_every_route_refuses_a_stranger(server):
    routes = set(_routes(server.app))
    assert len(routes) > 20
    with server.stranger() as client:
        for method, path in routes - OPEN:
            assert client.request(method, path).status_code == 401, (method, path)
            page = client.request(method, path, headers={"accept": "text/html"})
            assert page.status_code in {303, 401}
            assert page.status_code == 401 or page.headers["location"] == "/login"
        for path in ("/nowhere", "/static/../app.py", "/docs", "/openapi.json", "/static/style.css"):
            assert client.get(path).status_code == 401


def test_what_is_open_tells_nothing(server):
    client = server.stranger()
    assert client.get("/health").status_code == 204
    assert client.get("/health").content == b""
    assert "case" not in client.get("/login").text.lower()


def test_every_change_needs_the_token_of_the_session(server):
    ada, ben = server.client("ada"), server.client("ben")
    changes = [
        (method, path) for method, path in set(_routes(server.app)) - OPEN if method not in {"GET", "HEAD"}
    ]
    assert len(changes) >= 5
    for method, path in changes:
        for token in ("", "wrong", ben.headers["x-csrf-token"]):
            answer = ada.request(method, path, headers={"x-csrf-token": token})
            assert answer.status_code == 403, (method, path)
            assert "x-csrf-token" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}],
    ids=str,
)
def test_pages_of_other_sites_change_nothing(server, headers):
    assert server.client("ben").post("/api/logout", headers=headers).status_code == 403
    form = {"name": "ben", "password": PASSWORD}
    assert server.stranger().post("/login", data=form, headers=headers).status_code == 403


def test_a_page_of_the_server_may(server):
    client = server.client("ben")
    assert client.post("/api/logout", headers={"origin": "http://testserver"}).status_code == 204
    assert client.get("/api/me").status_code == 401


def test_cookies_are_for_this_server_alone(server):
    form = {"name": "ben", "password": PASSWORD}
    cookie = server.stranger().post("/login", data=form).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie
    secure = server.stranger(base_url="https://testserver").post("/login", data=form).headers["set-cookie"]
    assert "Secure" in secure


def test_wrong_passwords_are_told_and_limited(server):
    client = server.stranger()
    for _ in range(10):
        assert client.post("/login", data={"name": "ben", "password": "x"}).status_code == 401
    answer = client.post("/login", data={"name": "ben", "password": PASSWORD})
    assert answer.status_code == 429
    assert "wait 15 minutes" in answer.text


def test_answers_may_not_be_framed_kept_or_run_from_elsewhere(server):
    headers = server.client("ben").get("/").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_large_bodies_are_refused_before_they_are_read(server):
    big = b"x" * (1 << 17)
    assert server.stranger().post("/login", content=big).status_code == 413
    assert server.client("ben").put("/api/cases/1/readings/1", content=big).status_code == 413
    assert server.stranger().post("/login", content=iter([b"x"])).status_code == 413


def test_admins_pages_are_theirs(server):
    ben, ada = server.client("ben"), server.client("ada")
    for path in ("/audit", "/api/audit", "/api/readings.csv", "/metrics"):
        assert ben.get(path).status_code == 403
        assert ada.get(path).status_code == 200


@pytest.fixture
def behind(tmp_path, detector):
    made = Parts(tmp_path / "data", detector, trust_header="X-Remote-User", trusted_proxies=("10.0.0.7",))
    yield made
    made.database.close()


def test_a_trusted_proxy_signs_in(behind):
    proxy = behind.stranger(client=("10.0.0.7", 1))
    name = {"x-remote-user": "ben"}
    assert proxy.get("/api/me", headers=name).json()["name"] == "ben"
    assert proxy.get("/api/me", headers={"x-remote-user": "ada"}).json()["role"] == "admin"
    assert proxy.get("/api/me", headers={"x-remote-user": "nobody"}).status_code == 401
    assert proxy.get("/api/me").status_code == 401, "the cookie alone is not enough"
    token = proxy.get("/api/me", headers=name).json()["csrf"]
    assert proxy.post("/api/logout", headers={**name, "x-csrf-token": token}).status_code == 204
    assert proxy.post("/login", data={"name": "ben", "password": PASSWORD}).status_code == 403


def test_the_header_of_anybody_else_counts_for_nothing(behind, server):
    assert (
        behind.stranger(client=("10.0.0.8", 1)).get("/api/me", headers={"x-remote-user": "ada"}).status_code
        == 401
    )
    assert server.stranger().get("/api/me", headers={"x-remote-user": "ada"}).status_code == 401


def test_metrics_can_be_read_with_a_token(tmp_path, detector):
    made = Parts(tmp_path / "data", detector, metrics_token="secret")
    client = made.stranger()
    assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/api/cases", headers={"authorization": "Bearer secret"}).status_code == 401
    text = client.get("/metrics", headers={"authorization": "Bearer secret"}).text
    assert 'aberra_cases{status="queued"} 0' in text
    assert 'aberra_requests_total{status="401"} 2' in text
    made.database.close()
