"""`anomalist serve` and `anomalist accounts` as a user runs them."""

from __future__ import annotations

import json
import socket

from typer.testing import CliRunner, Result

from anomalist.cli.app import app
from anomalist.errors import DataError

PASSWORD = "correct horse battery"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_accounts_and_keys_are_made_listed_and_removed() -> None:
    assert "No accounts yet" in run("accounts", "list").output
    assert run("accounts", "add", "vera", "--role", "auditor", "--password", PASSWORD).exit_code == 0
    key = run("accounts", "key", "line", "--role", "operator").stdout.strip()
    assert key.startswith("ano_")
    rows = [json.loads(line) for line in run("accounts", "list", "--json").stdout.splitlines()]
    assert [(row["name"], row["role"]) for row in rows] == [("vera", "auditor"), ("line", "operator")]
    assert key not in run("accounts", "list").output
    assert (
        run("accounts", "remove", "vera").exit_code == run("accounts", "remove-keys", "line").exit_code == 0
    )
    assert "No accounts yet" in run("accounts", "list").output


def test_what_can_not_be_an_account_is_said() -> None:
    for arguments in (
        ("accounts", "add", "a b", "--role", "viewer", "--password", PASSWORD),
        ("accounts", "add", "a", "--role", "viewer", "--password", "short"),
        ("accounts", "remove", "nobody"),
    ):
        done = run(*arguments)
        assert done.exit_code != 0
        assert done.exception is not None
        assert str(done.exception)


def test_another_address_without_an_account_is_refused() -> None:
    done = run("serve", "--host", "0.0.0.0")
    assert isinstance(done.exception, DataError)
    assert "anomalist accounts add" in done.exception.remedy


def test_a_port_that_is_taken_or_none_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("serve", "--port", str(taken.getsockname()[1]))
        assert isinstance(done.exception, DataError)
        assert "can't be listened on" in done.exception.message
    assert isinstance(run("serve", "--port", "99999").exception, DataError)


def test_an_account_is_changed() -> None:
    for name in ("vera", "otto"):
        run("accounts", "add", name, "--role", "admin", "--password", PASSWORD)
    assert run("accounts", "change", "vera", "--role", "viewer", "--disable").exit_code == 0
    rows = [json.loads(line) for line in run("accounts", "list", "--json").stdout.splitlines()]
    assert rows[1] == {"name": "vera", "role": "viewer", "by": "nothing: disabled"}
    assert "last admin" in str(run("accounts", "change", "otto", "--disable").exception)
    new = f"{PASSWORD} x\n"
    asked = CliRunner().invoke(app, ["accounts", "change", "vera", "--password", "--enable"], input=2 * new)
    assert asked.exit_code == 0, asked.output
    assert "There is no account" in str(run("accounts", "change", "nobody", "--enable").exception)
