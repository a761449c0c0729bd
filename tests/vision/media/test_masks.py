"""Masks of labelled pictures: whatever people mark defects with is read as the same mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from anomalist.errors import DataError
from anomalist.types.common import BoolArray, UInt8Array
from anomalist.vision.media.masks import MaskFolder, load_mask

TRUTH = np.zeros((40, 56), np.bool_)
TRUTH[10:18, 20:44] = True
DRAWN: UInt8Array = TRUTH.astype(np.uint8) * 255


def palette(colours: list[int]) -> Image.Image:
    image = Image.fromarray(TRUTH.astype(np.uint8), "P")
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


def on_transparent(colour: int, ground: int) -> Image.Image:
    grey = np.where(TRUTH, colour, ground).astype(np.uint8)
    return Image.fromarray(np.dstack([grey, grey, grey, DRAWN]), "RGBA")


WAYS: dict[str, Callable[[], Image.Image]] = {
    "0 and 1": lambda: Image.fromarray(TRUTH.astype(np.uint8)),
    "0 and 236": lambda: Image.fromarray(np.where(TRUTH, 236, 0).astype(np.uint8)),
    "one bit": lambda: Image.fromarray(TRUTH),
    "16 bit": lambda: Image.fromarray(TRUTH.astype(np.uint16)),
    "colour": lambda: Image.fromarray(np.dstack([DRAWN, 0 * DRAWN, 0 * DRAWN])),
    "colour and opaque": lambda: Image.fromarray(np.dstack([DRAWN] * 3 + [np.full_like(DRAWN, 255)])),
    "black on transparent": lambda: on_transparent(0, 0),
    "white on transparent white": lambda: on_transparent(255, 255),
    "grey and opacity": lambda: on_transparent(255, 0).convert("LA"),
    "palette with a black ground": lambda: palette([0, 0, 0, 128, 0, 0]),
    "palette with a coloured ground": lambda: palette([120, 120, 120, 180, 0, 0]),
    "palette without colours": lambda: palette([0, 0, 0, 0, 0, 0]),
}


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_anything_above_zero_marks_the_defect_however_it_is_stored(tmp_path: Path, way: str) -> None:
    mask = load_mask(saved(tmp_path / "mask.png", WAYS[way]()), TRUTH.shape)
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, TRUTH)


def test_16_bit_colour_is_not_cut_to_its_high_byte(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), np.dstack([TRUTH.astype(np.uint16)] * 3))
    assert np.array_equal(load_mask(tmp_path / "mask.png", TRUTH.shape), TRUTH)


@pytest.mark.parametrize(("suffix", "quality"), [(".jpg", 95), (".jpg", 60), (".webp", 60)])
def test_the_noise_of_lossy_formats_is_not_marked(tmp_path: Path, suffix: str, quality: int) -> None:
    path = saved(tmp_path / f"mask{suffix}", Image.fromarray(DRAWN), quality=quality)
    difference: BoolArray = load_mask(path, TRUTH.shape) ^ TRUTH
    assert not cv2.erode(difference.astype(np.uint8), np.ones((3, 3), np.uint8)).any()
    assert difference.mean() < 0.03


@pytest.mark.parametrize(
    "name",
    ["p.png", "p.PNG", "p.bmp", "P.TIF", "p.webp", "p_mask.jpg", "p_mask.bmp", "p_MASK.Png"],
)
def test_a_mask_is_found_by_any_picture_suffix_in_any_case(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "ground_truth" / "dent" / name, Image.fromarray(DRAWN))
    assert MaskFolder(tmp_path).find("dent", tmp_path / "dent" / "p.JPG") == path
    assert MaskFolder(tmp_path).find("dent", "q.JPG") is None
    assert MaskFolder(tmp_path).find("scratch", "p.JPG") is None


def test_names_that_differ_in_case_alone_have_masks_of_their_own(tmp_path: Path) -> None:
    for name in ("a.png", "A.png"):
        saved(tmp_path / "ground_truth" / "dent" / name, Image.fromarray(DRAWN))
    masks = MaskFolder(tmp_path)
    assert [masks.find("dent", name).name for name in ("a.png", "A.png")] == ["a.png", "A.png"]  # type: ignore[union-attr]


def test_several_masks_in_a_folder_of_the_pictures_name_count_together(tmp_path: Path) -> None:
    place = tmp_path / "ground_truth" / "dent" / "000"
    left = TRUTH & (np.arange(56) < 30)
    for number, part in enumerate((left, TRUTH & ~left)):
        saved(place / f"{number:03d}.png", Image.fromarray(part.astype(np.uint8) * 255))
    found = MaskFolder(tmp_path).find("dent", "000.png")
    assert found is not None
    assert np.array_equal(load_mask(found, TRUTH.shape), TRUTH)


def test_each_page_of_a_tiff_has_the_page_of_its_mask(tmp_path: Path) -> None:
    other = np.roll(TRUTH, 15, axis=0)
    pages = [Image.fromarray(mask.astype(np.uint8) * 255) for mask in (TRUTH, other)]
    saved(tmp_path / "ground_truth" / "dent" / "p.tif", pages[0], save_all=True, append_images=pages[1:])
    masks = MaskFolder(tmp_path)
    first, second = masks.find("dent", "p.tif"), masks.find("dent", "p.tif#page=2")
    assert first is not None and second is not None
    assert np.array_equal(load_mask(first, TRUTH.shape), TRUTH)
    assert np.array_equal(load_mask(second, TRUTH.shape), other)
    assert masks.find("dent", "p.tif#page=3") is None


def as_text(path: Path) -> None:
    path.write_text("no picture")


def cut_short(path: Path) -> None:
    Image.effect_noise((6, 4), 50).save(path)
    path.write_bytes(path.read_bytes()[:60])


def turned(path: Path) -> None:
    Image.new("L", (4, 6)).save(path)


def inverted(path: Path) -> None:
    pixels = np.full((4, 6), 255, np.uint8)
    pixels[1, 2] = 0
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (as_text, "can't be read"),
        (cut_short, "can't be read"),
        (turned, "4×6 pixels, its picture 6×4.*turned like it"),
        (inverted, r"95.8 % of its picture: is it inverted\?.*What is above 0 is the defect"),
    ],
)
def test_masks_that_do_not_fit_are_refused_by_name_with_what_to_do(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(tmp_path / "mask.png")
    with pytest.raises(DataError, match=rf"mask\.png.*{message}"):
        load_mask(tmp_path / "mask.png", (4, 6))
