"""Run folders as tables, with and without an index, while they grow and change."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

import anomalist
from anomalist.errors import DataError
from anomalist.eval.run_examples import picture_records, write_clip_run, write_picture_run
from anomalist.querying import run_tables
from anomalist.querying.run_tables import index_path, tables_of_runs
from anomalist.querying.tables import base_table
from anomalist.report.wording import short_names
from anomalist.storage.run_folder import ClipRunFolder, ImageRunFolder
from tests.report.clip_records import clip, dark, event, failed


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path / "home"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_picture_run(tmp_path / "run", 30)


def test_names_are_those_that_the_report_prints(run: Path) -> None:
    _, names = short_names(ImageRunFolder(run).records())
    with tables_of_runs([run]) as tables:
        assert [row[0] for row in tables.rows("SELECT name FROM pictures ORDER BY number")] == names


def test_an_index_is_kept_and_only_what_was_appended_is_read(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tables, "INDEX_FROM_BYTES", 1)
    assert anomalist.query(run, "count").value == 30
    index = index_path(run)
    assert index.exists()
    first, last = next(picture_records(31)), list(picture_records(32, seed=1))[-1]
    with ImageRunFolder.open(run) as opened:
        opened.append(last)
    assert anomalist.query(run, "count").value == 31
    with ImageRunFolder.open(run) as opened:
        opened.append(first.replace(label="undecided", why_undecided="again"))
    assert anomalist.query(run, "count").value == 31
    assert anomalist.query(run, "count why=again").value == 1
    with ImageRunFolder.open(run) as opened:
        opened.replace([last.replace(label="undecided", why_undecided="later")])
    assert anomalist.query(run, "count why=later").value == 1


def test_an_index_gives_the_same_as_memory(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = ("count by label, folder", "label=anomalous", "regions by place", "count claims by by")
    in_memory = [anomalist.query(run, text).rows for text in queries]
    monkeypatch.setattr(run_tables, "INDEX_FROM_BYTES", 1)
    assert [anomalist.query(run, text).rows for text in queries] == in_memory
    index_path(run).write_bytes(b"damaged")
    assert [anomalist.query(run, text).rows for text in queries] == in_memory


def test_several_runs_are_asked_together(run: Path, tmp_path: Path) -> None:
    other = write_picture_run(tmp_path / "other", 12, seed=3)
    clips = write_clip_run(tmp_path / "night", 9)
    result = anomalist.query([run, other, clips], "count by run")
    assert dict(result.rows) == {str(run): 30, str(other): 12}
    assert anomalist.query([run, clips], "count clips by camera").matched == 9
    assert "run" in anomalist.query([run, other], "label=anomalous").columns


def test_clips_are_asked_by_their_events(tmp_path: Path) -> None:
    result = anomalist.query(write_clip_run(tmp_path / "night", 30), "by camera")
    assert result.query.table == "events"
    assert result.of == sum(int(row[-1] or 0) for row in result.rows) > 0


@pytest.mark.parametrize("indexed", [False, True])
def test_of_a_clip_that_was_not_judged_neither_severity_nor_events_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indexed: bool
) -> None:
    monkeypatch.setattr(run_tables, "INDEX_FROM_BYTES", 1 if indexed else 10**9)
    with ClipRunFolder.open(tmp_path / "night") as run:
        for record in (clip("calm.mp4"), clip("yard.mp4", event()), dark("dark.mp4"), failed("broken.mp4")):
            run.append(record)
    names = anomalist.query(tmp_path / "night", "list clips where severity=none show name").rows
    assert names == (("calm.mp4",),)
    listed = anomalist.query(tmp_path / "night", "list clips show name, severity, events, unjudged")
    assert ("broken.mp4", None, None, None) in listed.rows
    assert ("dark.mp4", None, 0, 8.9) in listed.rows
    assert listed.rows[0][0] == "yard.mp4"


def test_an_index_of_another_layout_is_made_anew(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tables, "INDEX_FROM_BYTES", 1)
    anomalist.query(run, "count")
    with duckdb.connect(str(index_path(run))) as index:
        index.execute(f"UPDATE {base_table('pictures')} SET score = -1")
        index.execute("UPDATE marks SET layout = layout - 1")
    assert anomalist.query(run, "count score=-1").value == 0


def test_what_is_no_run_or_is_damaged_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a run folder"):
        anomalist.query(tmp_path, "count")
    with pytest.raises(DataError, match="no run to ask"):
        anomalist.query([], "count")
    rows = run / "records.jsonl"
    rows.write_bytes(rows.read_bytes() + b"{}\n")
    with pytest.raises(DataError, match=r"Line 31 of .* is damaged"):
        anomalist.query(run, "count")
