"""Labelled defects: which files are read, and which masks are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.types.common import UInt8Array
from anomalist.vision.detectors.labelled_defects import KnownDefect, read_defects
from tests.pictures import holed, tile, write

# --- reading ----------------------------------------------------------------------------------------------


def mask(side: int = 64, value: int = 255) -> UInt8Array:
    drawn = np.zeros((side, side, 3), np.uint8)
    drawn[10:20, 12:24] = value
    return drawn


def read(folder: Path) -> list[KnownDefect]:
    labelled = read_defects(folder)
    assert labelled.skipped == ()
    return list(labelled.defects)


@pytest.mark.parametrize("name", ["a.png", "a_mask.png"])
def test_kinds_are_folders_and_masks_lie_beside_them(tmp_path: Path, name: str) -> None:
    write(tmp_path / "hole" / "a.png", holed(1))
    write(tmp_path / "hole" / "b.png", holed(2))
    write(tmp_path / "dent" / "a.png", holed(3))
    write(tmp_path / "ground_truth" / "hole" / name, mask())
    found = read(tmp_path)
    assert [(defect.id, defect.kind) for defect in found] == [
        ("dent/a", "dent"),
        ("hole/a", "hole"),
        ("hole/b", "hole"),
    ]
    assert found[0].mask is None and found[2].mask is None
    assert np.array_equal(found[1].picture, holed(1))
    assert found[1].mask is not None
    assert np.array_equal(found[1].mask, mask()[..., 0] > 0)


@pytest.mark.parametrize("other", ["notes.txt", "hole/notes.txt", ".cache/a.png", "loose.png", "good/a.png"])
def test_other_files_are_no_defects(tmp_path: Path, other: str) -> None:
    write(tmp_path / "hole" / "a.png", holed(1))
    if other.endswith(".png"):
        write(tmp_path / other, holed(2))
    else:
        (tmp_path / other).write_text("hello", encoding="utf-8")
    assert [defect.id for defect in read(tmp_path)] == ["hole/a"]


def test_what_can_not_be_read_or_judged_is_skipped_by_name_and_the_rest_is_used(tmp_path: Path) -> None:
    write(tmp_path / "hole" / "a.png", holed(1))
    (tmp_path / "hole" / "b.png").write_text("not a picture", encoding="utf-8")
    (tmp_path / "hole" / "c.png").symlink_to(tmp_path / "gone.png")
    write(tmp_path / "hole" / "d.png", holed(3, side=10))
    labelled = read_defects(tmp_path)
    assert [defect.id for defect in labelled.defects] == ["hole/a"]
    names = [line.split(":")[0] for line in labelled.skipped]
    assert names == [str(tmp_path / "hole" / f"{n}.png") for n in "bcd"]
    for line, reason in zip(labelled.skipped, ["not a picture", "does not exist", "10×10"], strict=True):
        assert reason in line


def test_a_picture_whose_mask_can_not_be_used_is_used_without_it_and_that_is_said(
    tmp_path: Path,
) -> None:
    for name in "abcde":
        write(tmp_path / "hole" / f"{name}.png", holed(2))
    masks = tmp_path / "ground_truth" / "hole"
    write(masks / "a.png", mask())
    write(masks / "b.png", mask(side=32))
    write(masks / "c.png", mask(value=0))
    write(masks / "d.png", 255 - mask())
    (masks / "e.png").write_text("not a picture", encoding="utf-8")
    labelled = read_defects(tmp_path)
    assert [defect.mask is not None for defect in labelled.defects] == [True, False, False, False, False]
    assert labelled.masks.used == 1
    for name, line, reason in zip(
        "bcde",
        labelled.masks.left_out,
        ["32×32 pixels, its picture 64×64", "is empty", "is it inverted?", "can't be read"],
        strict=True,
    ):
        assert f"{name}.png" in line
        assert reason in line


def test_masks_without_picture_and_pictures_without_mask_are_counted_and_named(tmp_path: Path) -> None:
    write(tmp_path / "hole" / "a.png", holed(1))
    write(tmp_path / "hole" / "b.png", holed(2))
    write(tmp_path / "ground_truth" / "hole" / "a.png", mask())
    write(tmp_path / "ground_truth" / "hole" / "x_label.png", mask())
    masks = read_defects(tmp_path).masks
    assert masks.without == ("hole/b.png",)
    assert masks.unmatched == ("ground_truth/hole/x_label.png",)
    text = "; ".join(masks.sentences())
    assert "1 of 2 labelled pictures have a mask that was used" in text
    assert "hole/b.png" in text and "x_label.png" in text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "is not a folder"),
        ([], "No labelled defects"),
        (["loose.png"], "No labelled defects"),
        (["good/a.png"], "No labelled defects"),
        (["ground_truth/hole/a.png"], "No labelled defects"),
        (["hole/notes.txt"], "No labelled defects"),
        (["hole/broken.png"], "No labelled defects"),
    ],
)
def test_nothing_to_learn_from_is_an_error_that_shows_the_layout(
    tmp_path: Path, files: list[str] | None, message: str
) -> None:
    folder = tmp_path / "defects"
    for name in files or []:
        if "broken" in name or name.endswith(".txt"):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text("hello", encoding="utf-8")
        else:
            write(folder / name, tile(1))
    if files == []:
        folder.mkdir()
    with pytest.raises(DataError, match=message) as caught:
        read_defects(folder)
    assert "<kind>/*.png" in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_defects(write(tmp_path / "a.png", tile(1)))
