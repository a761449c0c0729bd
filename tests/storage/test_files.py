from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from anomalist.errors import DataError
from anomalist.storage.files import (
    append_row,
    changed_since,
    open_rows,
    replace_rows,
    staged_file,
    temporary_folder,
    write_atomically,
)


def test_a_file_and_its_folder_are_made_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.txt"
    assert write_atomically(target, "für") == target
    assert write_atomically(target, b"other").read_bytes() == b"other"
    assert [each.name for each in target.parent.iterdir()] == ["x.txt"]


def test_a_crash_while_saving_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_atomically(tmp_path / "x.index", b"before")

    def crash(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(DataError, match="No space"):
        write_atomically(file, b"after")
    assert file.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["x.index"]


def test_a_staged_file_replaces_the_old_one_only_when_it_is_whole(
    tmp_path: Path,
) -> None:
    target = write_atomically(tmp_path / "x.mp4", b"before")
    with pytest.raises(KeyboardInterrupt), staged_file(target) as staged:
        staged.write_bytes(b"half of it")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"before"
    with staged_file(target) as staged:
        staged.write_bytes(b"after")
        assert target.read_bytes() == b"before"
    assert target.read_bytes() == b"after"
    assert [each.name for each in tmp_path.iterdir()] == ["x.mp4"]


def test_what_happened_to_a_file_since(tmp_path: Path) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    path = tmp_path / "x"
    assert changed_since(path, empty) == "is gone"
    path.write_bytes(b"")
    assert changed_since(path, empty) is None
    path.write_bytes(b"1")
    assert changed_since(path, empty) == "has changed"


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can't be replaced there")
@pytest.mark.parametrize("there", [True, False])
def test_rows_are_added_to_the_file_that_is_there_though_it_was_replaced_while_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    import fcntl

    rows, lock = tmp_path / "rows.jsonl", fcntl.flock
    rows.write_bytes(b"1\n")

    def locked(file: BinaryIO, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        if there:
            write_atomically(rows, b"1\n2\n")
        else:
            rows.unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", locked)
    with open_rows(tmp_path, "rows.jsonl") as file:
        append_row(file, b"3", tmp_path)
        with pytest.raises(DataError, match="Another anomalist"):
            open_rows(tmp_path, "rows.jsonl")
    assert rows.read_bytes() == (b"1\n2\n3\n" if there else b"3\n")


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_rows_that_are_written_again_are_locked_before_others_see_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, tried = Path.replace, []

    def replaced(self: Path, target: Path) -> Path:
        done = replace(self, target)
        with pytest.raises(DataError, match="Another anomalist"):
            open_rows(tmp_path, "rows.jsonl")
        tried.append(target.name)
        return done

    file = open_rows(tmp_path, "rows.jsonl")
    append_row(file, b"1", tmp_path)
    monkeypatch.setattr(Path, "replace", replaced)
    with replace_rows(file, tmp_path / "rows.jsonl", "2\n") as again:
        append_row(again, b"3", tmp_path)
    assert tried == ["rows.jsonl"]
    assert (tmp_path / "rows.jsonl").read_bytes() == b"2\n3\n"


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can't be replaced there")
def test_rows_that_can_not_be_written_again_stay_and_stay_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    file = open_rows(tmp_path, "rows.jsonl")
    append_row(file, b"1", tmp_path)
    with monkeypatch.context() as patch, pytest.raises(DataError, match="The disk is full"):
        patch.setattr(Path, "write_bytes", failing)
        replace_rows(file, tmp_path / "rows.jsonl", "2\n")
    append_row(file, b"3", tmp_path)
    file.close()
    assert (tmp_path / "rows.jsonl").read_bytes() == b"1\n3\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and locks")
def test_a_temporary_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    child = os.fork()
    if not child:
        with temporary_folder() as mine:
            (mine / "000.png").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    with temporary_folder() as first, temporary_folder() as second:
        assert set(tmp_path.iterdir()) == {first, second}
        assert left not in (first, second)
    assert list(tmp_path.iterdir()) == []
