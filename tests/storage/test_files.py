from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.storage.files import changed_since, staged_file, write_atomically


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
