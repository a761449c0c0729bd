"""Uploads are kept under names that are safe, and still those that people gave."""

from __future__ import annotations

import errno
import io
import unicodedata
from pathlib import Path

import pytest

from anomalist.server.problems import UnavailableError
from anomalist.server.uploads import Uploads, safe_name


@pytest.mark.parametrize("name", ["हिन्दी.png", "ไม่.png", "größe.png", "部品.png"])
def test_names_of_any_script_stay_as_they_are(name: str) -> None:
    assert safe_name(name) == name
    assert safe_name(unicodedata.normalize("NFD", name)) == unicodedata.normalize("NFC", name)


def test_a_long_name_of_any_script_is_kept(tmp_path: Path) -> None:
    kept = Uploads(tmp_path).keep_picture("検" * 200 + ".png", io.BytesIO(b"x"))
    assert kept.read_bytes() == b"x"
    assert kept.suffix == ".png"


def test_products_whose_names_differ_in_a_mark_alone_are_two(tmp_path: Path) -> None:
    files = [(f"parts/{name}/1.png", io.BytesIO(name.encode())) for name in ("की", "का")]
    folder = Uploads(tmp_path).keep_products(files)
    assert {path.name for path in folder.iterdir()} == {"की", "का"}


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(UnavailableError, match=r"1\.png can't be kept: No space left"):
        Uploads(tmp_path).keep_picture("1.png", io.BytesIO(b"x"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
