from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from anomalist.eval.datasets.leaks import find_leaks
from anomalist.eval.image_datasets import LabelledImage, Split
from tests.pictures import tile, write


def item(path: Path, group: str | None = None) -> LabelledImage:
    return LabelledImage(path, path.name, "good", None, group or path.name)


def split(train: list[LabelledImage], test: list[LabelledImage]) -> Split:
    return Split(tuple(train), tuple(test), grouped=True)


@pytest.fixture
def tiles(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / f"{number}.png", tile(number)) for number in range(4)]


def test_other_pictures_of_one_product_are_no_leak(tiles: list[Path]) -> None:
    assert find_leaks(split([item(tiles[0]), item(tiles[1])], [item(tiles[2]), item(tiles[3])])) == ()


def test_the_same_file_on_both_sides_is_named_once(tiles: list[Path]) -> None:
    (said,) = find_leaks(split([item(tiles[0])], [item(tiles[0]), item(tiles[1])]))
    assert said == "1 test pictures are learned from: 0.png"


def test_a_copy_in_another_compression_is_nearly_the_same(tiles: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.jpg"
    Image.open(tiles[0]).save(copy, quality=90)
    (said,) = find_leaks(split([item(tiles[0])], [item(copy), item(tiles[1])]))
    assert said == "1 test pictures are nearly the same as one that is learned from: copy.jpg"


def test_an_object_on_both_sides_is_named(tiles: list[Path]) -> None:
    (said,) = find_leaks(split([item(tiles[0], "S1")], [item(tiles[1], "S1"), item(tiles[2], "S2")]))
    assert said == "1 test pictures show an object that is learned from: 1.png"


def test_pictures_that_cannot_be_read_are_in_no_comparison(tiles: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert find_leaks(split([item(broken)], [item(broken.with_name("1.png"))])) == ()
    assert find_leaks(split([item(tiles[0])], [item(broken)])) == ()
    assert find_leaks(split([], [item(tiles[0])])) == ()
