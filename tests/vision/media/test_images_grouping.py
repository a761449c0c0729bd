"""Which pictures belong together is found by the ends of their paths, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.vision.media.images import lookup_groups, match_groups, read_groups


def table(folder: Path, text: str) -> Path:
    path = folder / "groups.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("image,group\ndata/good/a.jpg,g\n", "g"),
        ("image,group\ngood/a.jpg,g\n", "g"),
        ("image,group\na.jpg,g\n", "g"),
        ("image,group\n./good/a.jpg,g\n", "g"),
        ("image,group\n{cwd}/data/good/a.jpg,g\n", "g"),
        ("group,camera,image\ng,3,good/a.jpg\n", "g"),
        ("\ufeffimage,group\r\ngood/a.jpg, g \r\n\r\n", "g"),
        ('image,group\n"good/a.jpg","g, 1"\n', "g, 1"),
        ("image,group\na.jpg,short\ngood/a.jpg,long\nbad/a.jpg,other\n", "long"),
        ("image,group\ngood/a.jpg,g\ngood/a.jpg,g\n", "g"),
    ],
)
def test_a_picture_finds_its_row_by_the_longest_end_of_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, group: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("data/good/a.jpg")
    file = table(tmp_path, text.replace("{cwd}", str(tmp_path)))
    assert match_groups(read_groups(file), [path]) == {str(path): group}
    assert set(match_groups(read_groups(file), [tmp_path / path]).values()) == {group}


def test_a_path_through_a_parent_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = Path("../data/good/a.jpg")
    for image in ("../data/good/a.jpg", "good/a.jpg", str(tmp_path / "data/good/a.jpg")):
        assert match_groups({image: "g"}, [path]) == {str(path): "g"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lack the columns"),
        ("picture,group\na.jpg,g\n", "lack the columns"),
        ("a.jpg,g\n", "lack the columns"),
        ("image;group\na.jpg;g\n", "lack the columns"),
        ("image,group\n", r"1 picture has no group, the first is good/a\.jpg"),
        ("image,group\nb.jpg,g\n", "1 picture has no group"),
        ("image,group\nd/a.jpg,g\n", "1 picture has no group"),
        ("image,group\na.jpg,\n", "1 picture has no group"),
        ("image,group\na.jpg\n", "1 picture has no group"),
        ("image,group\na.jpg,g\na.jpg,h\n", r"a\.jpg is in 'g' and in 'h'"),
        ('image,group\n"a.jpg,g\n', "can't be read"),
        ("image,group\na\0.jpg,g\n", r"can't be read|no group"),
    ],
)
def test_a_table_that_does_not_say_where_a_picture_belongs_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        match_groups(read_groups(table(tmp_path, text)), [Path("good/a.jpg")])


def test_a_table_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"image,group\n\xff\xfe,g\n")
    for file in (tmp_path / "binary.csv", tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="can't be read"):
            read_groups(file)


def test_some_pictures_may_have_no_group() -> None:
    groups = {"crack/a.png": "tile 3", "b.png": ""}

    assert lookup_groups(groups, [Path("d/crack/a.png"), Path("d/crack/b.png")]) == ["tile 3", None]


def test_every_good_tile_of_the_real_data_has_its_group(data_dir: Path) -> None:
    paths = sorted((data_dir / "mtd" / "good").glob("*.jpg"))
    found = match_groups(read_groups(data_dir / "mtd" / "groups.csv"), paths)
    assert len(found) == len(paths) == 952
