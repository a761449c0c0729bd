"""Who may do what: every role before every kind of request; logins, keys, and their ends."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from fastapi.testclient import TestClient

from anomalist.audit.reading import read_entries
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


def admin_key(client: TestClient) -> dict[str, str]:
    """The header with a new key of an admin; who is logged in makes it."""
    key = client.post("/v1/keys", json={"name": "k", "role": "admin"}).json()["key"]
    return {"authorization": f"Bearer {key}"}


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
    ("PATCH", "/v1/accounts/viewer", {"admin"}),
    ("GET", "/v1/keys", {"admin"}),
    ("DELETE", "/v1/keys/nobody", {"admin"}),
    ("GET", "/accounts", {"admin"}),
    ("POST", "/v1/jobs/learn-products", {"operator", "admin"}),
    ("GET", "/v1/cameras", {"viewer", "operator", "auditor", "admin"}),
    ("POST", "/v1/cameras", {"operator", "admin"}),
    ("PATCH", "/v1/cameras/gate", {"operator", "admin"}),
    ("DELETE", "/v1/cameras/gate", {"operator", "admin"}),
    ("GET", "/v1/models", {"viewer", "operator", "auditor", "admin"}),
    ("GET", "/v1/audit/review/x", {"auditor", "admin"}),
    ("POST", "/v1/audit/review/x", {"auditor", "admin"}),
    ("GET", "/review?run=x", {"auditor", "admin"}),
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


@pytest.mark.parametrize("name", ["हिन्दी", "ไม่", "Jörg"])
def test_people_have_names_of_any_script_however_they_are_typed(server: TestClient, name: str) -> None:
    typed = unicodedata.normalize("NFD", name)
    login(server, "admin")
    body = {"name": typed, "role": "viewer", "password": PASSWORD}
    assert server.post("/v1/accounts", json=body).status_code == 201
    assert server.post("/v1/accounts", json={**body, "name": name}).status_code == 409
    assert server.post("/v1/keys", json={"name": typed, "role": "viewer"}).status_code == 201
    for given in (name, typed):
        assert server.patch(f"/v1/accounts/{given}", json={"role": "auditor"}).json()["name"] == name
    assert server.delete(f"/v1/keys/{name}").status_code == 204
    assert login(server, typed)["name"] == login(server, name)["name"] == name
    login(server, "admin")
    assert server.delete(f"/v1/accounts/{typed}").status_code == 204
    assert name not in {each["name"] for each in server.get("/v1/accounts").json()}


def test_logging_in_by_the_form(server: TestClient) -> None:
    wrong = server.post("/login", data={"name": "viewer", "password": "not it, surely"})
    assert wrong.status_code == 401
    assert "Name or password is wrong" in wrong.text
    right = server.post("/login", data={"name": "viewer", "password": PASSWORD}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/")
    page = server.get("/").text
    assert 'name="csrf-token"' in page
    assert 'id="bench"' not in page, "a viewer drops nothing"


def test_a_new_role_counts_at_once(server: TestClient) -> None:
    login(server, "admin")
    key = admin_key(server)
    login(server, "viewer")
    assert server.post("/v1/rules/preview").status_code == 403
    changed = server.patch("/v1/accounts/viewer", json={"role": "operator"}, headers=key)
    assert changed.json()["role"] == "operator"
    assert server.post("/v1/rules/preview").status_code == 422
    said = [entry.content["what"] for entry in read_entries(kinds=["setting"])]
    assert "account viewer: role operator" in said


def test_a_disabled_account_is_logged_out_and_stays_out(server: TestClient) -> None:
    login(server, "admin")
    key = admin_key(server)
    login(server, "viewer")
    assert server.patch("/v1/accounts/viewer", json={"disabled": True}, headers=key).json()["disabled"]
    assert server.get("/v1/me").status_code == 401
    again = server.post("/v1/login", json={"name": "viewer", "password": PASSWORD})
    assert (again.status_code, again.json()["error"]) == (401, "This account is disabled.")
    guessed = server.post("/v1/login", json={"name": "viewer", "password": "guess, as others do"})
    assert guessed.json()["error"] == "Name or password is wrong."
    server.patch("/v1/accounts/viewer", json={"disabled": False}, headers=key)
    login(server, "viewer")


def test_a_new_password_ends_logins_and_is_in_no_log(server: TestClient) -> None:
    login(server, "admin")
    assert server.patch("/v1/accounts/admin", json={"password": "short"}).status_code == 422
    assert server.patch("/v1/accounts/admin", json={"password": "another horse battery"}).status_code == 200
    assert server.get("/v1/me").status_code == 401
    assert server.post("/v1/login", json={"name": "admin", "password": PASSWORD}).status_code == 401
    assert (
        server.post("/v1/login", json={"name": "admin", "password": "another horse battery"}).status_code
        == 200
    )
    said = [entry.content["what"] for entry in read_entries(kinds=["setting"])]
    assert said[-1] == "account admin: new password"


def test_the_last_admin_stays_enabled_and_admin(server: TestClient) -> None:
    login(server, "admin")
    for change in ({"role": "viewer"}, {"disabled": True}):
        assert server.patch("/v1/accounts/admin", json=change).status_code == 409
    server.post("/v1/accounts", json={"name": "second", "role": "admin", "password": PASSWORD})
    assert server.patch("/v1/accounts/second", json={"disabled": True}).status_code == 200
    assert server.delete("/v1/accounts/admin").status_code == 409, "a disabled admin helps nobody"
    assert server.patch("/v1/accounts/nobody", json={"role": "viewer"}).status_code == 404
    assert server.patch("/v1/accounts/second", json={}).status_code == 400
