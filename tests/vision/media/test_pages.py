"""Pages of TIFF files: each is a picture of its own, with a name of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from anomalist.errors import MediaError
from anomalist.vision.media.images import list_images, load_image, source_digest
from anomalist.vision.media.pages import count_pages, split_page


def tiff(path: Path, *shades: int) -> Path:
    pages = [Image.new("RGB", (12, 9), (shade,) * 3) for shade in shades]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def test_every_page_is_listed_behind_its_file(tmp_path: Path) -> None:
    tiff(tmp_path / "b.TIF", 10, 20, 30)
    tiff(tmp_path / "a.tif", 40)
    names = [path.name for path in list_images([tmp_path]).images]
    assert names == ["a.tif", "b.TIF", "b.TIF#page=2", "b.TIF#page=3"]
    assert [path.name for path in list_images([tmp_path / "b.TIF#page=3"]).images] == ["b.TIF#page=3"]


def test_each_page_is_read_with_a_digest_and_a_note_of_its_own(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", 10, 20, 30)
    media = [load_image(page) for page in list_images([path]).images]
    assert [int(each.pixels[0, 0, 0]) for each in media] == [10, 20, 30]
    assert [each.notes for each in media] == [(f"page {number} of 3",) for number in (1, 2, 3)]
    assert len({each.sha256 for each in media}) == 3
    assert [source_digest(each.source) for each in media] == [each.sha256 for each in media]


def test_a_page_that_is_not_there_is_an_error_by_name(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", 10, 20)
    with pytest.raises(MediaError, match=r"a\.tif#page=3.*2 pages"):
        load_image(f"{path}#page=3")
    with pytest.raises(MediaError, match="There is no file"):
        load_image(tmp_path / "gone.tif#page=2")


def test_thumbnails_in_a_tiff_are_no_pages(tmp_path: Path) -> None:
    thumbnail = TiffImagePlugin.ImageFileDirectory_v2()
    thumbnail[254] = 1
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), True) as file:
        Image.new("L", (64, 48), 200).save(file, "TIFF")
        file.newFrame()
        Image.new("L", (8, 6), 100).save(file, "TIFF", tiffinfo=thumbnail)
        file.newFrame()
    assert count_pages(tmp_path / "a.tif") == 1
    media = load_image(tmp_path / "a.tif")
    assert media.size == (48, 64) and (media.pixels == 200).all()
    assert media.notes == ()


def test_a_file_that_is_really_called_so_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "odd.png#page=2"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path, "PNG")
    assert split_page(path) == (path, 1)
    assert load_image(path).size == (4, 4)


@pytest.mark.parametrize("content", [b"", b"II*\0not a tiff", b"hello"])
def test_a_damaged_file_counts_as_one_page(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    assert count_pages(tmp_path / "a.tif") == 1
    assert [path.name for path in list_images([tmp_path]).images] == ["a.tif"]
