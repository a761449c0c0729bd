"""What can be named for a cluster is listed once each, and errors name what can't be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anomalist.cluster.sources import fetch_all, file_system, list_sources, named
from anomalist.errors import DataError
from tests.pictures import write_tiles


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tiles(tmp_path / "new", 2)
    (tmp_path / "new" / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "new"


def test_folders_patterns_and_files_give_each_picture_once(folder: Path) -> None:
    assert list_sources(["new", "new/*.png", "new/00.png", str(folder / "01.png")]) == [
        "new/00.png",
        "new/01.png",
    ]
    assert list_sources(["new/01.png", "gone.png"]) == ["new/01.png", "gone.png"]
    with pytest.raises(DataError, match=r"No pictures in nothing/\*"):
        list_sources(["nothing/*"])


def test_addresses_are_folders_patterns_or_pictures(folder: Path) -> None:
    address = f"file://{folder}"
    both = [f"{address}/00.png", f"{address}/01.png"]
    assert list_sources([address]) == list_sources([f"{address}/*"]) == both
    assert list_sources([both[1]]) == [both[1]]


def test_memory_is_a_file_system_too(folder: Path, tmp_path: Path) -> None:
    system, _ = file_system("memory://line-7")
    system.pipe("/line-7/a.png", (folder / "00.png").read_bytes())
    (source,) = list_sources(["memory://line-7"])
    fetched, gone = fetch_all([source, "memory://line-7/gone.png"], tmp_path)
    assert fetched.file is not None and Path(fetched.file).read_bytes() == (folder / "00.png").read_bytes()
    assert gone.file is None and "memory://line-7/gone.png can't be read" in str(gone.error)


def test_lists_are_parquet_files_with_a_column_of_paths(folder: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(
        pa.table({"n": [1, 2], "uri": ["s3://a/b.png", "new/./00.png"]}), tmp_path / "list.parquet"
    )
    assert list_sources(["list.parquet"]) == ["s3://a/b.png", "new/00.png"]
    pq.write_table(pa.table({"n": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no column path, uri") as raised:
        list_sources(["other.parquet"])
    assert "It has n." in raised.value.remedy
    for held in ([{"bytes": b"", "path": "a.png"}], [7], [b"a.png"]):  # the first as data sets hold pictures
        pq.write_table(pa.table({"image": held}), tmp_path / "held.parquet")
        with pytest.raises(DataError, match=r"column image .* holds no paths"):
            list_sources(["held.parquet"])
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"broken\.parquet can't be read"):
        list_sources([f"file://{os.fspath(tmp_path)}/broken.parquet"])


def test_what_no_package_reads_is_one_error() -> None:
    with pytest.raises(DataError, match=r"strange://x/y can't be read: .*strange") as raised:
        list_sources(["strange://x/y"])
    assert "package of its file system" in raised.value.remedy


@pytest.mark.parametrize(
    "address", ["https://me:hunter2/34@localhost:1/a.png", "https://me:12/hunter2@localhost:1/a.png"]
)
def test_an_address_that_may_be_cut_within_its_password_is_asked_of_nobody(
    address: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="percent-encoded") as raised:
        list_sources([address])
    (fetched,) = fetch_all([address], tmp_path)
    assert "hunter2" not in f"{raised.value} {fetched}" and "percent-encoded" in str(fetched.error)


def test_what_a_library_says_of_an_address_with_a_password_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fsspec does of an address that isn't there."""

    def missing(address: str) -> None:
        raise FileNotFoundError(address)

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    for address in ("https://me:hunter2@host/a.png", "https://host/a.png?token=hunter2"):
        (fetched,) = fetch_all([address], tmp_path)
        assert "FileNotFoundError" in str(fetched.error) and "hunter2" not in str(fetched)


def test_a_password_is_in_no_record() -> None:
    assert named("https://user:secret@host/a.png") == "https://user@host/a.png"
    assert named("new/a@b.png") == "new/a@b.png"
