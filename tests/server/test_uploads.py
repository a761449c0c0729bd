"""Uploads are kept under names that are safe, and still those that people gave."""

from __future__ import annotations

import errno
import io
import os
import unicodedata
from pathlib import Path

import pytest

from anomalist.server.problems import RequestError, UnavailableError
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


@pytest.mark.parametrize(
    ("folders", "products"),
    [
        (("a/housing", "a/cover"), {"housing", "cover"}),
        (("line1/housing", "line2/housing"), {"line1-housing", "line2-housing"}),
        (
            ("line1/housing", "line2/housing", "line1/cover"),
            {"line1-housing", "line2-housing", "line1-cover"},
        ),
        (("line1\\Housing", "line2\\housing"), {"line1-Housing", "line2-housing"}),
        (("housing/good", "cover/good"), {"housing-good", "cover-good"}),
        (("./housing", "a/housing"), {"housing", "a-housing"}),
    ],
)
def test_products_are_as_many_as_their_folders(
    tmp_path: Path, folders: tuple[str, ...], products: set[str]
) -> None:
    files = [(f"{folder}/1.png", io.BytesIO(folder.encode())) for folder in folders]
    folder = Uploads(tmp_path).keep_products(files)
    assert {path.name for path in folder.iterdir()} == products
    assert {len(list(path.iterdir())) for path in folder.iterdir()} == {1}


@pytest.mark.parametrize("folders", [("a/b:c", "a/b?c"), ("a/Part", "A/part")])
def test_products_that_no_name_tells_apart_are_refused(tmp_path: Path, folders: tuple[str, ...]) -> None:
    files = [(f"{folder}/1.png", io.BytesIO(folder.encode())) for folder in folders]
    with pytest.raises(RequestError, match=r"the name .*Rename"):
        Uploads(tmp_path).keep_products(files)


def test_a_picture_without_a_folder_belongs_to_no_product(tmp_path: Path) -> None:
    for name in ("1.png", "./1.png", "/1.png", "../1.png", ""):
        with pytest.raises(RequestError, match="belongs to no product"):
            Uploads(tmp_path).keep_products([("a/1.png", io.BytesIO(b"a")), (name, io.BytesIO(b"b"))])


@pytest.mark.parametrize(
    ("number", "full"),
    [
        (errno.ENOSPC, True),
        (errno.EDQUOT, True),
        (errno.EACCES, False),
        (errno.EROFS, False),
        (errno.EIO, False),
    ],
)
def test_an_upload_that_can_not_be_written_says_why_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, full: bool
) -> None:
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("shutil.copyfileobj", failing)
    with pytest.raises(UnavailableError, match=r"1\.png can't be kept") as told:
        Uploads(tmp_path).keep_picture("1.png", io.BytesIO(b"x"))
    assert os.strerror(number) in told.value.message
    assert ("room" in told.value.remedy) is full
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
