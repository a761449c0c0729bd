"""The same tables on SQLite and on a real PostgreSQL, which the test starts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select

from anomalist.audit.reading import read_entries, verify_log
from anomalist.errors import DataError
from anomalist.eval.run_examples import picture_records
from anomalist.server.accounts import Accounts
from anomalist.server.config import ServerConfig
from anomalist.server.database import Database, JobRow, Table
from anomalist.server.jobs import Job, Jobs, Report, Worker
from anomalist.server.metrics import Metrics
from anomalist.server.services import Services
from anomalist.server.store import InspectionStore, Listing
from tests.pictures import write_tiles
from tests.server.conftest import PASSWORD
from tests.server.processes import running


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
    store.add(
        "umlauts",
        [record.replace(source=f"/in/MÜNZE{n}.png") for n, record in enumerate(picture_records(2))],
        "a",
    )
    assert [store.page(Listing(text=text)).total for text in ("münze", "Münze1", "MUNZE")] == [2, 1, 0]
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


@pytest.mark.usefixtures("emptied")
def test_postgresql(postgres: str) -> None:
    check(postgres)


def test_each_job_is_taken_by_exactly_one_of_several_servers(postgres: str, emptied: Database) -> None:
    done: Counter[str] = Counter()
    by: Counter[str] = Counter()

    def worker(name: str) -> Worker:
        def work(job: Job, _: Report) -> Mapping[str, Any]:
            done[job.id] += 1
            by[name] += 1
            return {"by": name}

        return work

    ids = [Jobs(emptied, "asks", {}, Metrics()).submit("learn", {}, "a").id for _ in range(60)]
    databases = [Database(postgres) for _ in range(4)]
    servers = [
        Jobs(database, name, {"learn": worker(name)}, Metrics())
        for name, database in zip("abcd", databases, strict=True)
    ]
    for server in servers:
        server.start()
    end = time.monotonic() + 60
    while sum(done.values()) < len(ids) and time.monotonic() < end:
        time.sleep(0.05)
    for server, database in zip(servers, databases, strict=True):
        server.close()
        database.close()
    assert done == Counter(ids)
    assert len(by) >= 2, "they share the work"


def test_who_claims_waits_for_nobody(postgres: str, emptied: Database) -> None:
    first, second = (Jobs(emptied, name, {}, Metrics()).submit("learn", {}, "a").id for name in "ab")
    with emptied.session() as session:
        held = select(JobRow.id).where(JobRow.id == first).with_for_update()
        assert session.scalar(held) == first
        other = Database(postgres)
        taken = Jobs(other, "other", {}, Metrics())._claim()
        other.close()
    assert taken is not None
    assert taken.id == second, "what another is about to take is passed over"


def test_two_servers_share_the_jobs_of_one_database(postgres: str, emptied: Database, tmp_path: Path) -> None:
    folders = [tmp_path / "line" / str(number) for number in range(6)]
    for number, folder in enumerate(folders):
        write_tiles(folder, 2, first=500 + 10 * number)
    settings = {"ANOMALIST_SERVER_DATABASE": postgres}
    home, options = tmp_path / "home", ("--root", str(tmp_path / "line"))
    with (
        running(home, *options, **settings, ANOMALIST_SERVER_INSTANCE="one") as one,
        running(home, *options, **settings, ANOMALIST_SERVER_INSTANCE="two") as two,
    ):
        ids = [
            server.client.post("/v1/jobs/inspect", json={"paths": [str(folder)]}).json()["id"]
            for folder, server in zip(folders, [one, two] * 3, strict=True)
        ]
        end = time.monotonic() + 120
        while time.monotonic() < end:
            jobs = {job["id"]: job for job in two.client.get("/v1/jobs").json()}
            if all(jobs[id]["state"] in ("done", "failed") for id in ids):
                break
            time.sleep(0.2)
        assert {jobs[id]["state"] for id in ids} == {"done"}, jobs
        assert {jobs[id]["attempts"] for id in ids} == {1}
        listed = one.client.get("/v1/inspections?limit=200").json()["inspections"]
        assert len(listed) == 12, "both list what either did"
        shown = [one.client.get(f"/v1/inspections/{each['id']}/picture").status_code for each in listed]
        assert set(shown) == {200}, "and show it"
    decided = [
        entry.content["record"]["source"] for entry in read_entries(home / "audit", kinds=["inspection"])
    ]
    assert len(decided) == len(set(decided)) == 12, "none was done by both"
    assert verify_log(home / "audit").sound
    with emptied.session() as session:
        assert len(set(session.scalars(select(JobRow.worker)))) == 2, "and each did some"


def test_jobs_of_another_home_are_left_to_it(emptied: Database) -> None:
    own, other = (Jobs(emptied, f"one-{place}", {}, Metrics(), place) for place in ("aa", "bb"))
    job = own.submit("learn", {}, "a")
    assert other._claim() is None, "its uploads lie elsewhere"
    claimed = Jobs(emptied, "two-aa", {}, Metrics(), "aa")._claim()
    assert claimed is not None
    assert claimed.id == job.id


def test_servers_that_share_need_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path))
    with pytest.raises(DataError, match="PostgreSQL"), Services(ServerConfig(instance="one")):
        pass


def test_a_database_that_can_not_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "damaged.sqlite").write_bytes(b"no database" * 100)
    for url in (f"sqlite:///{tmp_path / 'damaged.sqlite'}", "postgresql+psycopg://x@127.0.0.1:1/x"):
        with pytest.raises(DataError, match="can't be used"):
            Database(url)
    with pytest.raises(DataError, match="can't be used"):
        Database("nonsense")
