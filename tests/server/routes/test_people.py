"""Who may do what: every role before every kind of request; logins, keys, and their ends."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from anomalist.server.accounts import ROLES
from tests.server.conftest import PASSWORD, Open


@pytest.fixture
def server(opened: Open) -> TestClient:
    """A server with an account for each role, and nobody logged in."""
    client = opened(logins_per_minute=60)
    for role in reversed(ROLES):  # the admin first: from then on nobody comes in unknown
        headers = {}
        if role != "admin":
            login = client.post("/v1/login", json={"name": "admin", "password": PASSWORD}).json()
            headers = {"x-csrf-token": login["csrf"]}
        body = {"name": role, "role": role, "password": PASSWORD}
        assert client.post("/v1/accounts", json=body, headers=headers).status_code == 201
    client.cookies.clear()
    return client


def login(client: TestClient, name: str) -> dict[str, Any]:
    reply = client.post("/v1/login", json={"name": name, "password": PASSWORD})
    assert reply.status_code == 200, reply.text
    client.headers["x-csrf-token"] = reply.json()["csrf"]
    person: dict[str, Any] = reply.json()
    return person


REQUESTS = [
    ("GET", "/v1/inspections", {"viewer", "operator", "auditor", "admin"}),
    ("GET", "/v1/rules?profile=tiles", {"viewer", "operator", "auditor", "admin"}),
    ("POST", "/v1/query", {"viewer", "operator", "auditor", "admin"}),
    ("POST", "/v1/inspections", {"operator", "admin"}),
    ("POST", "/v1/inspections/paths", {"operator", "admin"}),
    ("POST", "/v1/inspections/00/feedback", {"operator", "admin"}),
    ("DELETE", "/v1/feedback/case:1", {"operator", "admin"}),
    ("POST", "/v1/jobs/learn", {"operator", "admin"}),
    ("POST", "/v1/jobs/triage", {"operator", "admin"}),
    ("POST", "/v1/jobs/00/cancel", {"operator", "admin"}),
    ("POST", "/v1/rules/preview", {"operator", "admin"}),
    ("POST", "/v1/rules", {"operator", "admin"}),
    ("PUT", "/v1/scenes/x/zones", {"operator", "admin"}),
    ("POST", "/v1/memory/x/scenes", {"operator", "admin"}),
    ("GET", "/v1/audit/entries", {"auditor", "admin"}),
    ("POST", "/v1/audit/verify", {"auditor", "admin"}),
    ("POST", "/v1/audit/replay", {"auditor", "admin"}),
    ("POST", "/v1/audit/export", {"auditor", "admin"}),
    ("GET", "/v1/accounts", {"admin"}),
    ("POST", "/v1/accounts", {"admin"}),
    ("DELETE", "/v1/accounts/viewer", {"admin"}),
    ("POST", "/v1/keys", {"admin"}),
    ("GET", "/metrics", {"viewer", "operator", "auditor", "admin"}),
]


def test_each_role_may_do_what_it_may_and_no_more(server: TestClient) -> None:
    for role in ROLES:
        login(server, role)
        for method, path, allowed in REQUESTS:
            if (method, path) == ("DELETE", "/v1/accounts/viewer") and role in allowed:
                continue
            status = server.request(method, path).status_code
            assert (status != 403) == (role in allowed), (role, method, path, status)
            assert status != 401
        server.cookies.clear()


def test_nobody_may_do_anything(server: TestClient) -> None:
    server.headers.pop("x-csrf-token", None)
    for method, path, _ in REQUESTS:
        assert server.request(method, path).status_code == 401, (method, path)
    for path in ("/", "/learn", "/watch", "/rules", "/audit"):
        reply = server.get(path, headers={"accept": "text/html"}, follow_redirects=False)
        assert (reply.status_code, reply.headers["location"]) == (303, "/login")
    assert server.get("/healthz").status_code == server.get("/login").status_code == 200


def test_a_login_ends(server: TestClient) -> None:
    login(server, "viewer")
    cookie = server.cookies["anomalist_session"]
    assert server.post("/v1/logout").status_code == 204
    server.cookies.set("anomalist_session", cookie)
    assert server.get("/v1/me").status_code == 401


def test_the_cookie_is_closed_to_scripts(server: TestClient) -> None:
    reply = server.post("/v1/login", json={"name": "viewer", "password": PASSWORD})
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_a_key_works_without_a_token_and_ends_when_it_is_removed(server: TestClient) -> None:
    login(server, "admin")
    key = server.post("/v1/keys", json={"name": "line", "role": "operator"}).json()["key"]
    bearer = {"authorization": f"Bearer {key}"}
    assert server.post("/v1/rules/preview", headers=bearer).status_code == 422
    assert [each["name"] for each in server.get("/v1/keys").json()] == ["line"]
    assert key not in server.get("/v1/keys").text
    assert server.delete("/v1/keys/line").status_code == 204
    assert server.get("/v1/me", headers=bearer).status_code == 401


def test_the_last_admin_stays(server: TestClient) -> None:
    login(server, "admin")
    assert server.delete("/v1/accounts/admin").status_code == 409
    assert server.delete("/v1/accounts/viewer").status_code == 204
    assert server.post("/v1/login", json={"name": "viewer", "password": PASSWORD}).status_code == 401


def test_logging_in_by_the_form(server: TestClient) -> None:
    wrong = server.post("/login", data={"name": "viewer", "password": "not it, surely"})
    assert wrong.status_code == 401
    assert "Name or password is wrong" in wrong.text
    right = server.post("/login", data={"name": "viewer", "password": PASSWORD}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/")
    page = server.get("/").text
    assert 'name="csrf-token"' in page
    assert 'id="bench"' not in page, "a viewer drops nothing"
