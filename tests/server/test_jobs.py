"""Jobs survive the end of the server: none is lost, none is done twice."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from anomalist.audit.reading import read_entries, verify_log
from anomalist.composition import TriageSettings
from anomalist.errors import DataError
from anomalist.memory.cases import current_user
from anomalist.server.database import Database, JobRow
from anomalist.server.jobs import Job, Jobs, Report
from anomalist.server.metrics import Metrics
from anomalist.server.problems import ConflictError
from anomalist.server.work import InspectSpec
from anomalist.storage.places import PlaceUnreachableError
from anomalist.triage import Triage
from anomalist.vision.motion.scene import Scene
from tests.pictures import write_tiles
from tests.server.conftest import HOLED, Open, upload
from tests.server.processes import running
from tests.street import make_film
from tests.waiting import until


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    yield opened
    opened.close()


def ended(jobs: Jobs, id: str) -> Job:
    for _ in range(200):
        job = jobs.get(id)
        if job.state in ("done", "failed", "cancelled"):
            return job
        time.sleep(0.05)
    raise AssertionError(jobs.get(id))


def test_a_job_is_done_in_the_name_of_its_owner(database: Database) -> None:
    def work(job: Job, report: Report) -> Mapping[str, Any]:
        report("counting", 1, 2)
        return {"by": current_user(), **job.spec}

    jobs = Jobs(database, "here", {"learn": work}, Metrics())
    jobs.start()
    job = jobs.submit("learn", {"name": "x"}, "anna")
    done = ended(jobs, job.id)
    jobs.close()
    assert (done.state, done.result) == ("done", {"by": "anna", "name": "x"})
    assert done.progress == {"what": "counting", "done": 1, "of": 2}
    with pytest.raises(ConflictError):
        jobs.cancel(job.id)


@pytest.mark.parametrize(("how", "state"), [("is called off", "cancelled"), ("loses its server", "running")])
def test_a_triage_that_is_interrupted_is_no_clip_that_could_not_be_judged(
    how: str, state: str, database: Database, street: Scene
) -> None:
    """A server that starts after the end of another one does the job again, from its first clip."""
    reached, interrupted, judged = threading.Event(), threading.Event(), []
    triage = Triage(TriageSettings(street, memory=False))

    def work(_: Job, report: Report) -> Mapping[str, Any]:
        def seen(time: float) -> None:
            reached.set()
            interrupted.wait()
            report("clip 1 of 1", time, time)

        judged.append(triage.clip(make_film(2), seen))
        return {}

    jobs = Jobs(database, "here", {"triage": work}, Metrics())
    jobs.start()
    job = jobs.submit("triage", {}, "a")
    reached.wait()
    if how == "is called off":
        jobs.cancel(job.id)
        interrupted.set()
    else:
        threading.Timer(0.3, interrupted.set).start()
    jobs.close()
    assert judged == []
    assert jobs.get(job.id).state == state


@pytest.mark.parametrize("how", ["reports", "stores", "ends", "fails", "waits"])
def test_a_database_that_is_gone_for_a_while_loses_no_job_and_the_next_one_is_done(
    how: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.server.jobs.BEAT", 0.1)
    working, gone = threading.Event(), threading.Event()
    real = database.session

    def session() -> Any:
        if gone.is_set() and threading.current_thread().name == "jobs":
            raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))
        return real()

    def work(job: Job, report: Report) -> Mapping[str, Any]:
        if job.spec and not working.is_set():  # the first time
            gone.set()
            working.set()
            threading.Timer(0.5, gone.clear).start()
            if how == "reports":
                report("counting", 2, 2)
            if how == "stores":
                database.session()
            if how == "fails":
                raise DataError("The folder is empty.")
            if how == "waits":
                raise PlaceUnreachableError("The store is gone.")
        return {}

    monkeypatch.setattr(database, "session", session)
    jobs = Jobs(database, "here", {"learn": work}, Metrics())
    jobs.start()
    first = jobs.submit("learn", {"goes": "away"}, "a")
    assert working.wait(30)
    second = jobs.submit("learn", {}, "a")
    assert ended(jobs, first.id).state == ("failed" if how == "fails" else "done")
    assert ended(jobs, second.id).state == "done"
    jobs.close()


def test_a_job_whose_end_can_not_be_told_keeps_no_other_from_being_done(database: Database) -> None:
    jobs = Jobs(database, "here", {"learn": lambda job, _: {"is": job if job.spec else "fine"}}, Metrics())
    jobs.start()
    jobs.submit("learn", {"no": "JSON"}, "a")
    other = jobs.submit("learn", {}, "a")
    assert ended(jobs, other.id).result == {"is": "fine"}
    jobs.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_whose_jobs_are_not_done_any_more_is_not_ready(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: Jobs) -> None:
        raise SystemExit

    monkeypatch.setattr(Jobs, "_claim", end)
    client = opened()
    until(lambda: client.get("/readyz").status_code == 503)
    assert client.get("/readyz").json()["why"].startswith("Jobs are not done any more")


def test_what_was_learned_lately_stands_on_its_page_behind_any_number_of_inspections(
    client: TestClient,
) -> None:
    jobs: Jobs = client.app.state.services.jobs  # type: ignore[attr-defined]
    jobs.close()
    jobs.submit("learn", {"name": "lid-7"}, "a")
    for _ in range(30):
        jobs.submit("inspect", {}, "a")
    assert "lid-7" in client.get("/learn").text
    assert {job["kind"] for job in client.get("/v1/jobs?limit=10").json()} == {"inspect"}
    assert len(client.get("/v1/jobs?kind=learn").json()) == 1


def test_runs_of_pictures_can_be_chosen_behind_any_number_of_triages(client: TestClient) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    services.jobs.close()
    (found,) = upload(client, ("hole.png", HOLED))
    triaged = [services.jobs.submit("triage", {}, "a").id for _ in range(25)]
    with services.database.session() as session:
        for number, id in enumerate(triaged):
            row = session.get(JobRow, id)
            row.state, row.result, row.finished = "done", json.dumps({"run": f"job-{id}"}), float(number)
        session.commit()
    assert f'value="{found["run"]}"' in client.get("/rules?profile=tiles").text


def test_what_fails_says_why_and_the_next_job_is_done(database: Database) -> None:
    def work(job: Job, _: Report) -> Mapping[str, Any]:
        if job.spec["how"] == "known":
            raise DataError("The folder is empty.", "Fill it.")
        if job.spec["how"] == "fault":
            raise ZeroDivisionError
        return {}

    jobs = Jobs(database, "here", {"learn": work}, Metrics())
    jobs.start()
    known, fault, fine = (jobs.submit("learn", {"how": how}, "a") for how in ("known", "fault", "fine"))
    assert ended(jobs, known.id).error == "The folder is empty. Fill it."
    assert "a fault of anomalist" in ended(jobs, fault.id).error
    assert ended(jobs, fine.id).state == "done"
    jobs.close()


def test_a_silent_worker_loses_its_job_to_another_server(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.server.jobs.LEASE", 0.2)
    monkeypatch.setattr("anomalist.server.jobs.BEAT", 3600)
    stuck = threading.Event()
    dead = Jobs(database, "dead", {"learn": lambda *_: stuck.wait() and {}}, Metrics())
    dead.start()
    job = dead.submit("learn", {}, "a")
    while dead.get(job.id).state != "running":
        time.sleep(0.02)
    time.sleep(0.3)
    other = Jobs(database, "other", {"learn": lambda *_: {"by": "other"}}, Metrics())
    other.start()
    assert ended(other, job.id).result == {"by": "other"}
    assert other.get(job.id).attempts == 2
    stuck.set()
    dead.close()
    other.close()
    assert other.get(job.id).result == {"by": "other"}, "what comes late changes nothing"


def test_kill_9_under_load_loses_no_job_and_does_none_twice(home: Path, tmp_path: Path) -> None:
    """Jobs are sent while the server is killed again and again, then it may finish."""
    folders = [tmp_path / "line" / str(number) for number in range(3)]
    for number, folder in enumerate(folders):
        write_tiles(folder, 4, first=300 + 10 * number)
    chance = random.Random(7)
    accepted: list[str] = []
    for folder in folders:
        with running(home, "--root", str(tmp_path / "line")) as server:
            body = {"paths": [str(folder)], "profile": "tiles", "false_alarm_rate": 0.1}
            reply = server.client.post("/v1/jobs/inspect", json=body)
            assert reply.status_code == 202
            accepted.append(reply.json()["id"])
            time.sleep(chance.uniform(0, 1.0))
            server.kill()
    with running(home, "--root", str(tmp_path / "line")) as server:
        end = time.monotonic() + 240
        while time.monotonic() < end:
            jobs = {job["id"]: job for job in server.client.get("/v1/jobs").json()}
            if all(jobs[id]["state"] == "done" for id in accepted):
                break
            time.sleep(0.3)
        states = {id: (jobs[id]["state"], jobs[id]["error"]) for id in accepted}
        assert {state for state, _ in states.values()} == {"done"}, states
        listed = server.client.get("/v1/inspections", params={"limit": 200}).json()
    assert listed["total"] == 12
    contents = [entry.content for entry in read_entries(kinds=["inspection"])]
    decided = Counter((content["record"]["source"], content["run"]) for content in contents)
    assert len(decided) == 12
    assert set(decided.values()) == {1}, "each decision is in the log once"
    assert verify_log().sound
    for id in accepted:
        rows = (home / "server" / "runs" / f"job-{id}" / "records.jsonl").read_text().splitlines()
        assert len({json.loads(row)["source"] for row in rows}) == len(rows) == 4


def test_a_spec_is_kept_as_json() -> None:
    spec = InspectSpec(paths=(Path("/a"),), profile="p")
    assert InspectSpec.model_validate(json.loads(spec.model_dump_json())) == spec
