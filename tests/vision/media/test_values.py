"""The scale of deep pictures: learned once from all normals, whatever single pixels or pictures are like."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from anomalist.errors import MediaError
from anomalist.storage.places import HomePlace, using_place
from anomalist.vision.media.images import learn_scale, list_images, load_image
from anomalist.vision.media.values import ValueScale, fit_scale, replace_impulses


def frame(seed: int, low: float = 600, high: float = 3300) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((64, 80)), (0, 0), 2)
    spread = (noise - noise.min()) / (noise.max() - noise.min())
    return np.asarray(low + (high - low) * spread)


def saved(path: Path, values: np.ndarray, dtype: type = np.uint16) -> Path:
    Image.fromarray(values.astype(dtype)).save(path)
    return path


def folder(tmp_path: Path, dtype: type = np.uint16, count: int = 24) -> list[Path]:
    return [saved(tmp_path / f"{seed}.tif", frame(seed), dtype) for seed in range(count)]


def test_a_hot_pixel_or_an_odd_picture_does_not_move_the_scale(tmp_path: Path) -> None:
    paths = folder(tmp_path)
    usual = learn_scale(paths)
    assert usual is not None
    hot = frame(3)
    hot[5, 5] = 65535
    saved(paths[3], hot)
    saved(paths[7], np.full((64, 80), 60000.0))
    moved = learn_scale(paths)
    assert moved is not None
    assert moved.start == usual.start == 0
    assert moved.stop == pytest.approx(usual.stop, rel=0.01)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
def test_a_value_means_the_same_in_every_picture_that_is_read_with_the_scale(
    tmp_path: Path, dtype: type
) -> None:
    scale = learn_scale(folder(tmp_path, dtype))
    dim, bright = frame(100), frame(100)
    bright[:10] = 4200
    one = load_image(saved(tmp_path / "a.tif", dim, dtype), scale=scale).pixels
    other = load_image(saved(tmp_path / "b.tif", bright, dtype), scale=scale).pixels
    assert np.array_equal(one[12:], other[12:])
    alone = load_image(tmp_path / "b.tif").pixels
    assert not np.array_equal(load_image(tmp_path / "a.tif").pixels[12:], alone[12:]) or dtype != np.uint16


def test_pictures_of_8_bit_have_no_scale_and_ignore_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", frame(0, 0, 255), np.uint8)
    assert learn_scale([path, tmp_path / "gone.png"]) is None
    scaled = load_image(path, scale=ValueScale(start=0, stop=10))
    assert np.array_equal(scaled.pixels, load_image(path).pixels)
    assert scaled.notes == ()


def test_16_bit_colour_keeps_its_low_bits_with_a_scale(tmp_path: Path) -> None:
    values = np.dstack([frame(0), frame(1), frame(2)]).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1])
    scale = learn_scale([tmp_path / "a.png"])
    assert scale is not None and scale.stop < 5000
    pixels = load_image(tmp_path / "a.png", scale=scale).pixels
    assert np.array_equal(pixels, scale.to_bytes(values))
    assert len(np.unique(load_image(tmp_path / "a.png").pixels)) < 16


def colour(seed: int) -> np.ndarray:
    return np.dstack([frame(seed), frame(seed + 1), frame(seed + 2)]).astype(np.uint16)


def test_every_page_of_16_bit_colour_is_read_and_learned_as_if_it_were_alone(tmp_path: Path) -> None:
    pages = [colour(seed) for seed in range(3)]
    cv2.imwritemulti(str(tmp_path / "all.tif"), [page[..., ::-1] for page in pages])
    named = list_images([tmp_path / "all.tif"]).images
    assert len(named) == 3
    for number, (name, values) in enumerate(zip(named, pages, strict=True)):
        alone = tmp_path / f"{number}.tif"
        cv2.imwrite(str(alone), values[..., ::-1])
        scale = learn_scale([alone])
        assert scale is not None
        assert learn_scale([name]) == scale
        assert np.array_equal(load_image(name, scale=scale).pixels, load_image(alone, scale=scale).pixels)


TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda shown: shown,
    2: np.fliplr,
    3: lambda shown: np.rot90(shown, 2),
    4: np.flipud,
    5: lambda shown: np.rot90(np.fliplr(shown)),
    6: lambda shown: np.rot90(shown, -1),
    7: lambda shown: np.rot90(np.fliplr(shown), -1),
    8: np.rot90,
}
"""By EXIF orientation: how the stored picture is shown."""


def encoded(values: np.ndarray, kind: str, orientation: int) -> bytes:
    """A picture of 8 or 16 bit with an EXIF orientation; Pillow writes no colour of 16 bit."""
    if kind == ".tiff":
        file = io.BytesIO()
        tag = (ExifTags.Base.Orientation, "H", 1, orientation, True)
        tifffile.imwrite(file, values, photometric="rgb", extratags=[tag])
        return file.getvalue()
    data = bytes(cv2.imencode(kind, values[..., ::-1])[1])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]  # behind the header


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("orientation", TURNED)
def test_colour_is_turned_by_its_exif_orientation_at_any_depth(
    tmp_path: Path, orientation: int, kind: str, bits: int
) -> None:
    values = colour(0) if bits == 16 else (colour(0) >> 4).astype(np.uint8)
    path = tmp_path / f"a{kind}"
    path.write_bytes(encoded(values, kind, orientation))
    scale = ValueScale(start=500, stop=3500)
    shown = TURNED[orientation](values)
    media = load_image(path, scale=scale)
    assert np.array_equal(media.pixels, scale.to_bytes(shown) if bits == 16 else shown)
    assert ("turned as its EXIF orientation says" in media.notes) == (orientation != 1)


def test_16_bit_colour_that_cannot_be_read_in_full_is_an_error_with_a_scale_and_not_a_dark_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), colour(0))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    assert learn_scale([tmp_path / "a.png"]) is None
    with pytest.raises(MediaError, match="16-bit colour"):
        load_image(tmp_path / "a.png", scale=ValueScale(start=0, stop=4000))
    assert load_image(tmp_path / "a.png").notes == ("16-bit colour reduced to 8 bit by its high byte",)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")
def test_learning_a_scale_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    learned: list[ValueScale | None] = []
    learning = Thread(target=lambda: learned.append(learn_scale([tmp_path / "pipe.png"])), daemon=True)
    learning.start()
    learning.join(20)
    assert learned == [None]


def test_a_scale_is_learned_from_files_where_they_lie_on_this_machine(tmp_path: Path) -> None:
    class Elsewhere(HomePlace):
        def here(self, path: Path) -> Path:
            return tmp_path / path.name

    saved(tmp_path / "a.tif", frame(0))
    with using_place(Elsewhere()):
        assert learn_scale(["/of/another/machine/a.tif"]) == learn_scale([tmp_path / "a.tif"]) is not None


def test_a_narrow_range_is_spread_over_the_grey_levels() -> None:
    scale = fit_scale([(29000.0, 31000.0)] * 5)
    assert scale is not None
    assert (scale.start, scale.stop) == (28500, 31500)


def test_what_leaves_the_scale_widely_is_clipped_and_said(tmp_path: Path) -> None:
    scale = learn_scale(folder(tmp_path))
    odd = frame(50)
    odd[:32] = 20000
    media = load_image(saved(tmp_path / "odd.tif", odd), scale=scale)
    assert (media.pixels[:32] == 255).all()
    assert any("50 % of the values are outside the learned scale" in note for note in media.notes)


def test_single_hot_and_dead_pixels_are_replaced_and_counted_and_larger_spots_stay(tmp_path: Path) -> None:
    scale = learn_scale(folder(tmp_path))
    clean, spoiled = frame(60), frame(60)
    spoiled[3, 3], spoiled[0, 79] = 65535, 60000
    spoiled[np.unravel_index(clean[:45].argmax(), clean.shape)] = 0  # a dead pixel, where it is bright
    spoiled[50:52, 20:22] = clean[50:52, 20:22] = 4000
    one = load_image(saved(tmp_path / "a.tif", clean), scale=scale)
    other = load_image(saved(tmp_path / "b.tif", spoiled), scale=scale)
    assert "3 hot or dead pixels replaced by their neighbours" in other.notes
    assert not any("hot" in note for note in one.notes)
    assert np.abs(one.pixels.astype(int) - other.pixels).max() < 60
    assert (other.pixels[50:52, 20:22] > 200).all()


def test_a_hot_pixel_of_a_colour_picture_is_one_pixel() -> None:
    colour = np.repeat(frame(1)[..., None], 3, axis=2)
    colour[10, 10] = 65535
    colour[20, 20, 1] = 65535
    assert replace_impulses(colour, ValueScale(start=0, stop=4000))[1] == 2


def test_smooth_pictures_have_no_impulses() -> None:
    values = frame(1).astype(np.float32)
    replaced, count = replace_impulses(values, ValueScale(start=0, stop=4000))
    assert count == 0
    assert replaced is values
