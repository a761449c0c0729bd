"""ClipFolder: what is done stays done, torn rows are dropped, damage is one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.storage.run_folder import CLIPS, ClipRunFolder
from anomalist.types.clip import CLIP_FORMAT, ClipRecord


def record(source: str = "a.mp4", **fields: object) -> ClipRecord:
    return ClipRecord.model_validate(
        {"source": source, "status": "ok", "label": "normal", "key": "k", **fields}
    )


def test_a_stored_clip_is_done_under_its_key_only(tmp_path: Path) -> None:
    with ClipRunFolder.open(tmp_path / "run") as folder:
        folder.append(record())
    with ClipRunFolder.open(tmp_path / "run") as folder:
        assert folder.done("a.mp4", "k") == record()
        assert folder.done("a.mp4", "other") is None
        assert folder.done("b.mp4", "k") is None


def test_a_clip_that_failed_is_never_done(tmp_path: Path) -> None:
    with ClipRunFolder.open(tmp_path) as folder:
        folder.append(record(status="error", error="damaged"))
        assert folder.done("a.mp4", "k") is None


def test_the_last_row_of_a_clip_counts_and_the_first_gives_the_order(tmp_path: Path) -> None:
    with ClipRunFolder.open(tmp_path) as folder:
        folder.append(record("a.mp4"))
        folder.append(record("b.mp4"))
        folder.append(record("a.mp4", key="new"))
    assert [(r.source, r.key) for r in ClipRunFolder(tmp_path).records()] == [
        ("a.mp4", "new"),
        ("b.mp4", "k"),
    ]


def test_replaced_rows_leave_those_of_other_clips_and_the_folder_goes_on(tmp_path: Path) -> None:
    with ClipRunFolder.open(tmp_path) as folder:
        for source in ("a.mp4", "b.mp4"):
            folder.append(record(source))
        folder.replace([record("b.mp4", key="new"), record("c.mp4")])
        with pytest.raises(DataError, match="Another anomalist"):
            ClipRunFolder.open(tmp_path)
        folder.append(record("d.mp4"))
    stored = [(r.source, r.key) for r in ClipRunFolder(tmp_path).records()]
    assert stored == [("a.mp4", "k"), ("b.mp4", "new"), ("c.mp4", "k"), ("d.mp4", "k")]
    assert (tmp_path / CLIPS).read_bytes().count(b"\n") == 4


def test_a_torn_row_is_dropped_and_the_next_goes_behind_the_last_whole_one(tmp_path: Path) -> None:
    with ClipRunFolder.open(tmp_path) as folder:
        folder.append(record("a.mp4"))
    with (tmp_path / CLIPS).open("ab") as file:
        file.write(b'{"source": "b.m')
    with ClipRunFolder.open(tmp_path) as folder:
        folder.append(record("c.mp4"))
    assert [r.source for r in ClipRunFolder(tmp_path).records()] == ["a.mp4", "c.mp4"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"not json", "damaged"),
        (b"[1]", "damaged"),
        (b'{"source": 3, "status": "ok"}', "damaged"),
        (f'{{"source": "a", "status": "ok", "format": {CLIP_FORMAT + 1}}}'.encode(), "Upgrade"),
    ],
)
def test_a_damaged_or_newer_row_is_named(tmp_path: Path, row: bytes, said: str) -> None:
    (tmp_path / CLIPS).write_bytes(record().model_dump_json().encode() + b"\n" + row + b"\n")
    with pytest.raises(DataError, match=f"Line 2.*{said}"):
        ClipRunFolder(tmp_path).records()


def test_two_writers_are_kept_apart(tmp_path: Path) -> None:
    with ClipRunFolder.open(tmp_path), pytest.raises(DataError, match="Another anomalist"):
        ClipRunFolder.open(tmp_path)


def test_a_folder_without_clips_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="triage"):
        ClipRunFolder(tmp_path).records()
