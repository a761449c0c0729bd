"""Pictures of every kind that people have, and every kind of file that isn't one."""

import contextlib
import hashlib
import io
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anomalist.errors import MediaError
from anomalist.vision.media.images import MAX_BYTES, MAX_PIXELS, list_images, load_image, load_roi

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0]
ROTATE_RIGHT = 6  # EXIF: the camera was turned, show it turned clockwise
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def saved(folder: Path, data: bytes, name: str = "picture.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def on_three_channels(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=2)


@contextlib.contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Drop the rights of root for a moment: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


# --- what is read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_give_the_pixels_that_were_saved(tmp_path: Path, kind: str) -> None:
    media = load_image(saved(tmp_path, encode(Image.fromarray(COLOUR), kind)))
    assert np.array_equal(media.pixels, COLOUR)
    assert media.size == (20, 30)
    assert media.notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_give_nearly_the_pixels_that_were_saved(tmp_path: Path, kind: str) -> None:
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    media = load_image(saved(tmp_path, encode(Image.fromarray(smooth), kind)))
    assert np.abs(media.pixels.astype(int) - smooth).max() < 12


def palette_with_transparency() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    return image


MODES: list[tuple[str, bytes, np.ndarray, str]] = [
    ("greyscale", encode(Image.fromarray(GREY), "PNG"), on_three_channels(GREY), ""),
    (
        "1 bit",
        encode(Image.fromarray(GREY > 127), "PNG"),
        on_three_channels((GREY > 127) * np.uint8(255)),
        "",
    ),
    (
        "palette",
        encode(palette_with_transparency(), "PNG"),
        np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8),
        "",
    ),
    (
        "palette with a transparent entry",
        encode(palette_with_transparency(), "PNG", transparency=1),
        np.array([[[10, 20, 30], [127, 127, 127]]], np.uint8),
        "transparency laid over mid grey",
    ),
    (
        "palette with an alpha for each entry",
        encode(palette_with_transparency(), "PNG", transparency=bytes([255, 0])),
        np.array([[[10, 20, 30], [127, 127, 127]]], np.uint8),
        "transparency laid over mid grey",
    ),
    (
        "opaque RGBA",
        encode(Image.fromarray(COLOUR).convert("RGBA"), "PNG"),
        COLOUR,
        "",
    ),
    (
        "RGBA",
        encode(Image.fromarray(np.array([[[9, 8, 7, 255], [9, 8, 7, 0]]], np.uint8)), "PNG"),
        np.array([[[9, 8, 7], [127, 127, 127]]], np.uint8),
        "transparency laid over mid grey",
    ),
    (
        "LA",
        encode(Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8), "LA"), "PNG"),
        np.array([[[9, 9, 9], [127, 127, 127]]], np.uint8),
        "transparency laid over mid grey",
    ),
    (
        "CMYK",
        encode(Image.new("CMYK", (2, 1), (0, 255, 255, 0)), "TIFF"),
        np.array([[[255, 0, 0]] * 2], np.uint8),
        "CMYK converted to RGB without a colour profile",
    ),
]


@pytest.mark.parametrize(
    ("data", "expected", "note"), [case[1:] for case in MODES], ids=[case[0] for case in MODES]
)
def test_every_mode_becomes_rgb(tmp_path: Path, data: bytes, expected: np.ndarray, note: str) -> None:
    media = load_image(saved(tmp_path, data))
    assert np.array_equal(media.pixels, expected)
    assert media.notes == ((note,) if note else ())


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    red = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert np.abs(load_image(saved(tmp_path, red)).pixels[8, 8].astype(int) - (255, 0, 0)).max() < 5


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (np.array([[0, 65535]], np.uint16), [0, 255], "16-bit values 0 to 65535 scaled to 8 bit"),
        (np.array([[0, 32768]], np.uint16), [0, 128], "16-bit values 0 to 65535 scaled to 8 bit"),
        (np.array([[2048, 4095]], np.uint16), [128, 255], "16-bit values 0 to 4095 scaled to 8 bit"),
        (np.array([[0, 4000]], np.uint16), [0, 249], "16-bit values 0 to 4095 scaled to 8 bit"),
        (np.array([[0, 255]], np.uint16), [0, 255], "16-bit values 0 to 255 scaled to 8 bit"),
        (np.array([[0, 0]], np.uint16), [0, 0], "16-bit values 0 to 255 scaled to 8 bit"),
        (np.array([[0, 65535]], np.int32), [0, 255], "32-bit values 0 to 65535 scaled to 8 bit"),
        (np.array([[-10, 90]], np.int32), [0, 255], "32-bit values -10 to 90 scaled to 8 bit"),
        (np.array([[-7, -7]], np.int32), [0, 0], "32-bit values -7 to -6 scaled to 8 bit"),
        (np.array([[0, 100000]], np.int32), [0, 255], "32-bit values 0 to 100000 scaled to 8 bit"),
        (np.array([[0.2, 0.6]], np.float32), [51, 153], "float values 0 to 1 scaled to 8 bit"),
        (np.array([[3, 250]], np.float32), [3, 250], "float values 0 to 255 scaled to 8 bit"),
        (np.array([[-1, 1]], np.float32), [0, 255], "float values -1 to 1 scaled to 8 bit"),
    ],
)
def test_deep_values_are_scaled_by_the_range_they_use(
    tmp_path: Path, values: np.ndarray, expected: list[int], note: str
) -> None:
    media = load_image(saved(tmp_path, encode(Image.fromarray(values), "TIFF")))
    assert media.pixels[0, :, 0].tolist() == expected
    assert np.ptp(media.pixels, axis=2).max() == 0
    assert media.notes == (note,)


def test_a_16_bit_png_is_scaled_like_a_tiff(tmp_path: Path) -> None:
    values = Image.fromarray(GREY.astype(np.uint16) * 16)
    as_png = load_image(saved(tmp_path, encode(values, "PNG"), "a.png"))
    as_tiff = load_image(saved(tmp_path, encode(values, "TIFF"), "a.tif"))
    assert np.array_equal(as_png.pixels, as_tiff.pixels)
    assert as_png.notes == as_tiff.notes != ()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_colour_keeps_its_high_byte(tmp_path: Path, suffix: str) -> None:
    ok, data = cv2.imencode(suffix, COLOUR[:, :, ::-1].astype(np.uint16) * 256 + 7)
    assert ok
    media = load_image(saved(tmp_path, data.tobytes()))
    assert np.array_equal(media.pixels, COLOUR)
    assert media.notes == ("16-bit colour reduced to 8 bit by its high byte",)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = ROTATE_RIGHT
    left_half_white = np.zeros((16, 32, 3), np.uint8)
    left_half_white[:, :16] = 255
    media = load_image(saved(tmp_path, encode(Image.fromarray(left_half_white), kind, exif=exif)))
    assert media.size == (32, 16)
    assert media.pixels[:12].min() > 200, "left turned clockwise is up"
    assert media.pixels[20:].max() < 55
    assert media.notes == ("turned as its EXIF orientation says",)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), (shade,) * 3) for shade in (200, 100, 0)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    media = load_image(saved(tmp_path, data))
    assert np.abs(media.pixels.astype(int) - 200).max() < 5
    expected = "page 1 of 3" if kind == "TIFF" else "first of 3 frames; the others are not looked at"
    assert media.notes == (expected,)


def test_the_smallest_picture_loads(tmp_path: Path) -> None:
    assert load_image(saved(tmp_path, encode(Image.new("RGB", (1, 1)), "PNG"))).size == (1, 1)


def test_source_is_the_path_as_given_and_the_hash_is_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(Image.fromarray(COLOUR), "PNG")
    saved(tmp_path, data)
    monkeypatch.chdir(tmp_path)
    for path in ("./picture.png", "../" + tmp_path.name + "/picture.png", tmp_path / "picture.png"):
        media = load_image(path)
        assert media.source == str(path)
        assert media.sha256 == hashlib.sha256(data).hexdigest()


def test_pixels_can_be_handed_to_torch_without_a_copy(tmp_path: Path) -> None:
    assert load_image(saved(tmp_path, encode(Image.fromarray(COLOUR), "PNG"))).pixels.flags.writeable


@pytest.mark.parametrize(
    "name", ["заготовка № 5.png", "磁砖.png", "é" * 120 + ".png", "no suffix", "sp ace\n.png"]
)
def test_unusual_names_load(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, encode(Image.fromarray(GREY), "PNG"), name)
    assert load_image(path).source == str(path)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes only on Linux")
def test_a_name_that_is_not_utf8_gives_a_source_that_can_be_stored(tmp_path: Path) -> None:
    path = saved(tmp_path, encode(Image.fromarray(GREY), "PNG"), os.fsdecode(b"caf\xe9.png"))
    assert load_image(path).source.endswith(r"caf\udce9.png")


def test_the_format_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    media = load_image(saved(tmp_path, encode(Image.fromarray(COLOUR), "PNG"), "really_a_png.jpg"))
    assert np.array_equal(media.pixels, COLOUR)


# --- what is refused ------------------------------------------------------------------------------------


def png_claiming(width: int, height: int) -> bytes:
    """Return a small PNG whose header announces this size; its pixel data would be far too short."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def nothing(folder: Path) -> Path:
    return folder / "missing.png"


def dangling_link(folder: Path) -> Path:
    path = folder / "link.png"
    path.symlink_to(folder / "gone.png")
    return path


def link_to_itself(folder: Path) -> Path:
    path = folder / "loop.png"
    path.symlink_to(path)
    return path


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def sparse_giant(folder: Path) -> Path:
    path = folder / "giant.tif"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    return path


def file_with(data: bytes, name: str = "picture.jpg") -> Callable[[Path], Path]:
    return lambda folder: saved(folder, data, name)


JPEG = encode(Image.fromarray(COLOUR), "JPEG")
NAN = np.array([[0.5, np.nan]], np.float32)

REFUSED: list[tuple[str, Callable[[Path], str | Path], str]] = [
    ("missing", nothing, "There is no file"),
    ("folder", lambda folder: folder, "is a folder"),
    ("dangling link", dangling_link, r"is a link to .*gone\.png\", which does not exist"),
    ("link to itself", link_to_itself, "can't be read"),
    ("below a file", lambda folder: saved(folder, b"x", "a.png") / "b.png", "can't be read"),
    ("FIFO", fifo, "not a regular file"),
    ("device", lambda _: "/dev/zero", "not a regular file"),
    ("name too long for the system", lambda folder: folder / ("n" * 5000 + ".png"), "can't be read"),
    ("null character", lambda _: "a\0b.png", "can't be read"),
    ("zero bytes", file_with(b""), r"is empty \(0 bytes\)"),
    ("text", file_with(b"This is not a picture.\n"), "is not a picture"),
    ("HTML", file_with(b"<!doctype html><html></html>"), "is not a picture"),
    ("only zeros", file_with(bytes(4096)), "is not a picture"),
    ("PDF", file_with(b"%PDF-1.7\n"), "is not a picture"),
    ("EPS", file_with(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "is not a picture"),
    ("truncated JPEG", file_with(JPEG[: len(JPEG) // 2]), "damaged or cut short"),
    ("JPEG whose end is zeros", file_with(JPEG[: len(JPEG) // 2].ljust(len(JPEG), b"\0")), "damaged"),
    ("truncated PNG", file_with(encode(Image.fromarray(COLOUR), "PNG")[:900]), "damaged or cut short"),
    ("no width", file_with(b"P5 0 5 255\n"), "damaged or cut short|is not a picture"),
    ("not finite", file_with(encode(Image.fromarray(NAN), "TIFF")), "not finite"),
    ("too large", file_with(png_claiming(17801, 10_000)), r"\(17801×10000\) has more than 178 million"),
    ("decompression bomb", file_with(png_claiming(20_000, 20_000)), "has more than 178 million"),
    ("absurd size", file_with(png_claiming(2**31 - 1, 2**31 - 1)), "has more than 178 million"),
    ("too many bytes", sparse_giant, "has 512 MiB"),
]


@posix_only
@pytest.mark.parametrize(
    ("make", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_cannot_be_read_is_one_clear_error(
    tmp_path: Path, make: Callable[[Path], str | Path], message: str
) -> None:
    path = make(tmp_path)
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        with pytest.raises(MediaError, match=message) as caught:
            load_image(path)
    assert leaked == []
    assert caught.value.remedy.endswith(".") or caught.value.remedy.endswith(")")
    text = str(caught.value)
    assert text.isprintable(), "one line that a terminal can show"
    assert len(text) < 300


@posix_only
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path, encode(Image.fromarray(COLOUR), "PNG"))
    load_image(path)  # so that all modules are imported while they may be read
    path.chmod(0)
    with as_ordinary_user(), pytest.raises(MediaError, match="may not be read"):
        load_image(path)


def test_the_error_names_the_file_even_when_its_name_is_long(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"…d*_the_end\.png") as caught:
        load_image(saved(tmp_path, b"", "d" * 180 + "_the_end.png"))
    assert len(caught.value.message) < 120


def test_the_limit_on_pixels_is_the_callers(tmp_path: Path) -> None:
    path = saved(tmp_path, encode(Image.new("RGB", (30, 20)), "PNG"))
    assert load_image(path, max_pixels=600).size == (20, 30)
    with pytest.raises(MediaError, match="30×20"):
        load_image(path, max_pixels=599)


def test_178_million_pixels_are_allowed_below_the_limit_of_pillow(tmp_path: Path) -> None:
    assert MAX_PIXELS == 178_000_000 < 2 * (Image.MAX_IMAGE_PIXELS or 0)
    with pytest.raises(MediaError, match="cut short"):  # past the check of the size, on to the short data
        load_image(saved(tmp_path, png_claiming(17800, 10_000)))


COMPLETE = {
    "JPEG": JPEG,
    "progressive JPEG": encode(Image.fromarray(COLOUR), "JPEG", progressive=True),
    "PNG": encode(Image.fromarray(COLOUR), "PNG"),
    "GIF": encode(Image.fromarray(COLOUR), "GIF"),
    "BMP": encode(Image.fromarray(COLOUR), "BMP"),
    "PPM": encode(Image.fromarray(COLOUR), "PPM"),
    "TIFF": encode(Image.fromarray(COLOUR), "TIFF"),
    "LZW TIFF": encode(Image.fromarray(COLOUR), "TIFF", compression="tiff_lzw"),
    "WebP": encode(Image.fromarray(COLOUR), "WEBP"),
}


@pytest.mark.parametrize("kind", COMPLETE)
@settings(max_examples=25)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused_or_still_whole(
    tmp_path_factory: pytest.TempPathFactory, kind: str, share: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole = load_image(saved(folder, COMPLETE[kind], "whole")).pixels
    cut = saved(folder, COMPLETE[kind][: int(share * len(COMPLETE[kind]))], "cut")
    try:
        pixels = load_image(cut).pixels
    except MediaError:
        return
    assert np.array_equal(pixels, whole)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(sorted(COMPLETE)),
    flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_a_damaged_file_gives_a_picture_or_a_media_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(COMPLETE[kind])
    for position, value in flips:
        data[position % len(data)] = value
    path = saved(tmp_path_factory.mktemp("flip"), bytes(data))
    with contextlib.suppress(MediaError):
        assert load_image(path).pixels.dtype == np.uint8


# --- lists ----------------------------------------------------------------------------------------------


def tree(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(folder: Path, images: tuple[Path, ...]) -> list[str]:
    return [image.relative_to(folder).as_posix() for image in images]


def test_a_folder_is_searched_in_order_with_everything_below(tmp_path: Path) -> None:
    tree(tmp_path, "b.PNG", "a.jpeg", "sub/é.tif", "sub/deep/c.bmp", "Z.webp", "notes.txt", "sub/table.csv")
    listing = list_images([tmp_path])
    assert names(tmp_path, listing.images) == ["Z.webp", "a.jpeg", "b.PNG", "sub/deep/c.bmp", "sub/é.tif"]
    assert listing.skipped == 2


def test_hidden_files_and_folders_do_not_count(tmp_path: Path) -> None:
    tree(tmp_path, ".hidden.png", ".git/a.png", "._a.jpg", "sub/.DS_Store", "a.png")
    listing = list_images([tmp_path])
    assert names(tmp_path, listing.images) == ["a.png"]
    assert listing.skipped == 0


@pytest.mark.parametrize(
    "name", ["no_suffix", "scan.dat", ".hidden.png", "does_not_exist.png", "n" * 5000, "a\0b"]
)
def test_a_file_named_by_the_user_is_always_in_the_list(tmp_path: Path, name: str) -> None:
    if name in ("no_suffix", "scan.dat", ".hidden.png"):
        tree(tmp_path, name)
    assert list_images([str(tmp_path / name)]).images == (tmp_path / name,)


def test_files_and_folders_keep_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    tree(tmp_path, "two/a.png", "one/b.png", "z.png")
    listing = list_images([tmp_path / "z.png", tmp_path / "two", tmp_path / "one"])
    assert names(tmp_path, listing.images) == ["z.png", "two/a.png", "one/b.png"]


def test_a_picture_given_twice_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "sub/a.png", "sub/b.png", "sub/notes.txt")
    monkeypatch.chdir(tmp_path)
    listing = list_images(["sub/b.png", "./sub/b.png", "sub", "sub/../sub", tmp_path, "sub/notes.txt"])
    assert [image.as_posix() for image in listing.images] == ["sub/b.png", "sub/a.png", "sub/notes.txt"]
    assert listing.skipped == 0, "the text file was asked for after all"


def test_an_empty_folder_gives_an_empty_list(tmp_path: Path) -> None:
    assert list_images([tmp_path]).images == ()
    assert list_images([]).images == ()


@posix_only
def test_a_link_that_leads_nowhere_is_listed_so_that_it_becomes_an_error(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")
    listing = list_images([tmp_path])
    assert names(tmp_path, listing.images) == ["gone.png"]
    assert listing.skipped == 1


@posix_only
def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path, "line/a/1.png", "elsewhere/2.png")
    (tmp_path / "line/a/up").symlink_to(tmp_path / "line")
    (tmp_path / "line/self").symlink_to(tmp_path / "line/self")
    (tmp_path / "line/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "line/c").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path, list_images([tmp_path / "line"]).images) == ["line/a/1.png", "line/b/2.png"]


@posix_only
def test_a_folder_that_cannot_be_listed_is_an_error_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "a.png", "locked/b.png")
    tmp_path.chmod(0o755)
    (tmp_path / "locked").chmod(0)
    monkeypatch.chdir(tmp_path)  # the ordinary user can't come here from above
    try:
        with as_ordinary_user(), pytest.raises(MediaError, match=r"locked.*can't be listed"):
            list_images(["."])
    finally:
        (tmp_path / "locked").chmod(0o755)


# --- region of interest ---------------------------------------------------------------------------------


def test_a_mask_counts_where_it_is_bright(tmp_path: Path) -> None:
    path = saved(tmp_path, encode(Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)), "PNG"))
    mask = load_roi(path, (1, 4))
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[False, False, True, True]]


def test_a_mask_may_be_painted_in_colour_on_a_transparent_ground(tmp_path: Path) -> None:
    painted = np.array([[[255, 0, 0, 255], [255, 255, 255, 0]]], np.uint8)
    path = saved(tmp_path, encode(Image.fromarray(painted), "PNG"))
    assert load_roi(path, (1, 2)).tolist() == [[True, False]]


@settings(max_examples=20)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), seed=st.integers(0, 999))
def test_a_mask_enlarged_by_whole_numbers_repeats_its_pixels(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, seed: int
) -> None:
    small = np.random.default_rng(seed).random((5, 7)) > 0.5
    small[0, 0] = True
    path = saved(tmp_path_factory.mktemp("roi"), encode(Image.fromarray(small), "PNG"))
    large = load_roi(path, (5 * rows, 7 * columns))
    assert np.array_equal(large, small.repeat(rows, axis=0).repeat(columns, axis=1))


@pytest.mark.parametrize("level", [0, 1, 127])
def test_a_mask_in_which_nothing_counts_is_refused(tmp_path: Path, level: int) -> None:
    path = saved(tmp_path, encode(Image.new("L", (8, 8), level), "PNG"))
    with pytest.raises(MediaError, match=r"is empty at 4×6 pixels.*white \(255\)"):
        load_roi(path, (6, 4))


def test_a_mask_lost_in_reduction_is_refused(tmp_path: Path) -> None:
    thin = np.zeros((64, 64), np.uint8)
    thin[0, 0] = 255
    path = saved(tmp_path, encode(Image.fromarray(thin), "PNG"))
    assert load_roi(path, (64, 64)).sum() == 1
    with pytest.raises(MediaError, match="is empty at 8×8 pixels"):
        load_roi(path, (8, 8))
