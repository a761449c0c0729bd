"""Inspection by Ray gives the records of one machine: none lost, none doubled, in order, drift and all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray")

from anomalist.audit.reading import read_entries, verify_log
from anomalist.audit.recording import AuditTrail
from anomalist.cluster.actors import PictureActor
from anomalist.cluster.batch import ClusterRun, actor_task, stored_rows
from anomalist.cluster.connection import RayOptions
from anomalist.cluster.sources import list_sources
from anomalist.composition import InspectionSettings
from anomalist.errors import DataError, ProfileError
from anomalist.pipeline import Inspector
from anomalist.runs import ImageRun
from anomalist.types.image import Record
from anomalist.vision.profile import Profile
from tests.boards import board, noisy, spot
from tests.cluster.clusters import WHAT_RAY_LEAVES, one_node
from tests.pictures import holed, tile, write

pytestmark = WHAT_RAY_LEAVES


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayOptions]:
    with one_node(2):
        yield RayOptions(actors=1)  # starting one costs more than what it does here


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "good.png", board())


def inspected(settings: InspectionSettings, given: list[str], out: Path, options: RayOptions) -> list[Record]:
    """What a run on the cluster gives anew."""
    settings = replace(settings, model="evidence")
    cluster_run = ClusterRun(settings, Inspector(settings), list_sources(given), options)
    trail = AuditTrail(out.parent / "audit")
    trail.begin_inspection(cluster_run.inspector, "inspect")
    with ImageRun(out, trail) as run:
        return list(cluster_run.records(run))


def decided(record: Record) -> Record:
    if record.status == "error":  # a run folder hashes what can't be read
        record = record.replace(sha256=None)
    return record.replace(time=None, milliseconds=None, key=None, map=None, mask=None)


def test_a_cluster_gives_the_records_of_one_process(
    tiles_profile: Profile, cluster: RayOptions, tmp_path: Path
) -> None:
    folder, out = tmp_path / "new", tmp_path / "run"
    for i in range(20):
        write(folder / f"a{i:02d}.png", tile(500 + i) - 30)  # darker than what was learned
    write(folder / "b.png", holed(900))
    (folder / "bad.png").write_bytes(b"not a picture")
    settings = InspectionSettings(by=tiles_profile.path)
    plain = [decided(each.record) for each in Inspector(settings).inspect_many(sorted(folder.iterdir()))]
    records = inspected(settings, [str(folder)], out, replace(cluster, actors=2))
    assert [decided(record) for record in records] == plain
    assert any(record.input_shift and record.input_shift.drift for record in records)
    for record in records:
        assert record.status == "error" or ((out / record.map).is_file() and (out / record.mask).is_file())  # type: ignore[operator]
    assert verify_log(tmp_path / "audit").sound
    logged = read_entries(tmp_path / "audit", kinds=["inspection"])
    assert [entry.content["record"]["source"] for entry in logged] == [r.source for r in records]


def test_only_what_is_new_or_has_changed_is_inspected_again(
    good: Path, cluster: RayOptions, tmp_path: Path
) -> None:
    settings, out = InspectionSettings(reference=good), tmp_path / "run"
    paths = [write(tmp_path / "new" / f"{i}.png", noisy(board(), i)) for i in range(4)]
    first = inspected(settings, [str(path) for path in paths[:3]], out, cluster)
    assert [record.label for record in first] == ["normal"] * 3
    write(paths[1], noisy(spot(board(), (250, 165), 8, 220), 3))
    for part in out.rglob("*.parquet"):  # of a node whose clock is a day ahead
        os.utime(part, (time.time() + 86_400,) * 2)
    again = inspected(settings, [str(tmp_path / "new")], out, cluster)
    assert [(Path(record.source).name, record.label) for record in again] == [
        ("1.png", "anomalous"),
        ("3.png", "normal"),
    ]
    (parts,) = {file.parent for file in out.rglob("*.parquet")}
    rows = stored_rows(parts)
    assert len(rows) == 4 and Record.model_validate_json(rows[str(paths[1])]).label == "anomalous"
    assert verify_log(tmp_path / "audit").sound


def test_addresses_and_lists_are_read_and_what_is_gone_is_a_row(
    good: Path, cluster: RayOptions, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = [write(tmp_path / "new" / f"{i}.png", noisy(board(), i)) for i in range(2)]
    gone = f"file://{tmp_path}/new/gone.png"
    pq.write_table(pa.table({"path": [f"file://{paths[0]}", gone, str(paths[1])]}), tmp_path / "l.parquet")
    records = inspected(
        InspectionSettings(reference=good), [str(tmp_path / "l.parquet")], tmp_path / "run", cluster
    )
    assert [record.source for record in records] == [f"file://{paths[0]}", gone, str(paths[1])]
    assert [record.label for record in records] == ["normal", None, "normal"]
    assert "gone.png" in str(records[1].error)


def test_a_poisoned_picture_is_set_aside_after_two_tries(
    good: Path, cluster: RayOptions, tmp_path: Path
) -> None:
    """In the processes below the actors, reading is replaced by what dies of a file that begins so."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import os, pathlib\n"
        "read = pathlib.Path.read_bytes\n"
        "def read_bytes(path):\n"
        "    data = read(path)\n"
        "    if data.startswith(b'poison'):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return data\n"
        "pathlib.Path.read_bytes = read_bytes\n"
    )
    paths = [write(tmp_path / "new" / f"{i}.png", noisy(board(), i)) for i in range(3)]
    paths[1].write_bytes(b"poison")
    settings = InspectionSettings(reference=good, model="evidence")
    inspector = Inspector(settings)
    search = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    task = replace(actor_task(settings, inspector, tmp_path / "run"), environment={"PYTHONPATH": search})
    before = os.environ.get("PYTHONPATH")
    try:
        told = PictureActor(task)({"source": [str(path) for path in paths], "key": [""] * 3})
    finally:
        os.environ["PYTHONPATH"] = before or ""
    assert told["new"] == [3] and told["error"] == [""]
    rows = {source: Record.model_validate_json(row) for source, row in stored_rows(task.parts).items()}
    assert [rows[str(path)].status for path in paths] == ["ok", "error", "ok"]
    assert "killed by SIGKILL" in str(rows[str(paths[1])].error)


def test_what_is_wrong_on_a_node_ends_the_run_with_one_error(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = InspectionSettings(reference=good, model="evidence")
    task = actor_task(settings, Inspector(settings), tmp_path / "run")
    batch = {"source": [str(good)], "key": [""]}
    other = PictureActor(replace(task, digest="0" * 64))(batch)
    assert "another version of reference:good.png" in other["error"][0] and other["new"] == [0]
    rules = PictureActor(replace(task, settings_digest="0" * 64))(batch)
    assert "another version of rules, cases or policy" in rules["error"][0]
    gone = PictureActor(replace(task, settings=InspectionSettings(by=tmp_path / "gone")))(batch)
    assert "gone" in gone["error"][0]
    unshared = PictureActor(replace(task, parts=tmp_path / "elsewhere"))(batch)
    assert "is not there on the node" in unshared["error"][0] and "share" in unshared["remedy"][0]

    def full(*_: object) -> None:
        raise DataError('The disk is full: "run" can\'t be written.', "Make room.")

    monkeypatch.setattr("anomalist.cluster.actors.write_part", full)
    actor = PictureActor(task)
    assert "disk is full" in actor(batch)["error"][0]
    assert stored_rows(task.parts) == {}


def test_an_error_of_a_node_is_raised_by_the_driver(
    good: Path, cluster: RayOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomalist.cluster import batch

    real = batch.actor_task
    monkeypatch.setattr(batch, "actor_task", lambda *given: replace(real(*given), digest="0" * 64))
    with pytest.raises((DataError, ProfileError), match="another version of reference:good"):
        inspected(InspectionSettings(reference=good), [str(good)], tmp_path / "run", cluster)


def test_a_cluster_that_does_not_answer_is_one_error(good: Path, tmp_path: Path) -> None:
    import ray

    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(DataError, match=r"No Ray cluster answers at 127\.0\.0\.1:1 "):
        inspected(
            InspectionSettings(reference=good), [str(good)], tmp_path / "run", RayOptions("127.0.0.1:1")
        )
