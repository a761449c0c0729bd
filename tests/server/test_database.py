"""The same tables on SQLite and on a real PostgreSQL, which the test starts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect

from anomalist.errors import DataError
from anomalist.eval.run_examples import picture_records
from anomalist.server.accounts import Accounts
from anomalist.server.database import Database, Table
from anomalist.server.jobs import Jobs
from anomalist.server.metrics import Metrics
from anomalist.server.store import InspectionStore, Listing
from tests.server.conftest import PASSWORD


def postgres_programs() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL of its own."""
    programs = postgres_programs()
    if programs is None or sys.platform == "win32":
        pytest.skip("there is no PostgreSQL on this machine")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    sudo: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        if shutil.which("setpriv") is None or subprocess.run(["id", "nobody"], check=False).returncode:
            pytest.skip("PostgreSQL can't be run as root, and as nobody else here")
        for place in (folder, *folder.parents):
            if place.owner() == "root" and place != Path("/"):
                place.chmod(place.stat().st_mode | 0o011)
        shutil.chown(folder, "nobody")
        sudo = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    home = {**os.environ, "HOME": str(folder), "LC_ALL": "C"}
    subprocess.run(
        [*sudo, programs / "initdb", "-D", data, "-U", "anomalist", "-A", "trust", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd=folder,
        env=home,
    )
    control = [*sudo, programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd=folder, env=home)
    try:
        yield f"postgresql+psycopg://anomalist@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*control, "-m", "fast", "stop"], check=False, capture_output=True, cwd=folder, env=home
        )


def check(url: str) -> None:
    """Everything that the server keeps in its database."""
    Database(url).close()
    database = Database(url)  # up to date: nothing to change
    columns = {table: inspect(database.engine).get_columns(table) for table in Table.metadata.tables}
    for name, table in Table.metadata.tables.items():
        assert {each["name"] for each in columns[name]} == set(table.columns.keys())
        assert {each["name"]: each["nullable"] for each in columns[name]} == {
            column.name: column.nullable for column in table.columns
        }
    accounts = Accounts(database)
    assert not accounts.any()
    accounts.add("a", "admin", PASSWORD)
    assert accounts.of_session(accounts.login("a", PASSWORD).token) is not None
    assert accounts.of_key(accounts.add_key("k", "viewer")) is not None
    store = InspectionStore(database)
    store.add("run", picture_records(60), "a")
    store.add("run", picture_records(60), "a")
    assert store.page(Listing(text="SCRATCH")).total == store.page(Listing(text="scratch")).total
    assert store.page(Listing()).total == 60
    jobs = Jobs(database, "here", {"learn": lambda *_: {"done": True}}, Metrics())
    job = jobs.submit("learn", {}, "a")
    jobs.start()
    for _ in range(200):
        if jobs.get(job.id).state == "done":
            break
        jobs._closed.wait(0.05)
    jobs.close()
    assert jobs.get(job.id).result == {"done": True}
    database.close()


def test_sqlite(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path / 'new' / 'server.sqlite'}")


def test_postgresql(postgres: str) -> None:
    check(postgres)


def test_a_database_that_can_not_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "damaged.sqlite").write_bytes(b"no database" * 100)
    for url in (f"sqlite:///{tmp_path / 'damaged.sqlite'}", "postgresql+psycopg://x@127.0.0.1:1/x"):
        with pytest.raises(DataError, match="can't be used"):
            Database(url)
    with pytest.raises(DataError, match="can't be used"):
        Database("nonsense")
