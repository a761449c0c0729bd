"""Image loading: any picture file to uint8 RGB, folders to lists of pictures, and group tables.

Formats are recognised by content (BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP), never by name. EXIF orientation is
applied, pixels of more than 8 bit are scaled, and each conversion leaves a note. A group table (CSV,
``image,group``) lists which pictures show the same object.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from anomalist.errors import DataError, MediaError
from anomalist.types.common import BoolArray, UInt8Array
from anomalist.types.image import Media

MAX_PIXELS = 64_000_000
"""Pixels of a picture at most, by default."""
MAX_BYTES = 1 << 29
"""Bytes of a file at most."""

# Formats that are tried, whatever the name is. EPS and others would start programs. JPEG 2000 is left out
# because its decoder doesn't detect truncated files.
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm"}
    | {".tif", ".tiff", ".webp"}
)
"""Endings of names that folders are searched for."""

# Just under one half, so that transparent pixels of an ROI mask are outside.
TRANSPARENCY_GREY = (127, 127, 127, 255)
BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Bit depths that grey values of more than 8 bit are scaled by."""


@dataclass(frozen=True)
class ImageListing:
    """The pictures to inspect, and how many other files were skipped because of their name."""

    images: tuple[Path, ...]
    skipped: int


def load_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Media:
    """Read one picture as displayed.

    The EXIF orientation is applied. Transparency is laid over mid grey. Of several frames or pages the first
    is taken. Values of more than 8 bit in one channel are scaled by the smallest of 8, 10, 12, 14 and 16 bit
    that holds the brightest of them (cameras often store 12 bit in 16), floats up to 1 by 1; anything
    negative or above 16 bit is stretched from its minimum to its maximum. 16-bit colour keeps its high
    byte. Each of these leaves a note. Embedded colour profiles are ignored.

    Parameters
    ----------
    path : the file. The format is recognised by content, not by name.
    max_pixels : largest width × height, checked before anything is decoded. Pillow's own limit, about
        179 million, stays in force above it.

    Returns
    -------
    Media with uint8 (H, W, 3) pixels; ``sha256`` is over the bytes of the file.

    Raises
    ------
    MediaError
        If the file can't be read, isn't a picture, is damaged or cut short, or is too large. What a cut
        file still holds is never shown as the picture.
    """
    name = one_line(path)
    data = _read_bytes(path, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters in Pillow's warnings is checked here
        try:
            pixels, notes = _decode(data, name, max_pixels)
        except MediaError:
            raise
        except UnidentifiedImageError as error:
            raise MediaError(
                f'"{name}" is not a picture, or its header is damaged.',
                f"Formats read: {', '.join(IMAGE_FORMATS)}.",
            ) from error
        except Image.DecompressionBombError as error:
            raise _too_large(name, "", max_pixels) from error
        except MemoryError as error:
            raise MediaError(f'There is not enough memory to read "{name}".', "Make it smaller.") from error
        except Exception as error:  # the plugins raise errors of all kinds
            detail = one_line(str(error) or type(error).__name__)
            raise MediaError(
                f'"{name}" is damaged or cut short ({detail}).', "Copy or save it again."
            ) from error
    return Media(source_of(path), hashlib.sha256(data).hexdigest(), pixels, tuple(notes))


def load_roi(path: str | Path, size: tuple[int, int] | None = None) -> BoolArray:
    """Read a mask of the region of interest.

    Parameters
    ----------
    path : a picture file; a pixel counts when its brightest channel is above 127.
    size : (height, width) of the pictures in pixels. A mask of another size is resized by nearest neighbour;
        None keeps its own size.

    Returns
    -------
    bool (H, W), True where it counts.

    Raises
    ------
    MediaError
        If the file can't be read, or nothing in it counts.
    """
    grey = load_image(path).pixels.max(axis=2)
    height, width = size or grey.shape
    if grey.shape != (height, width):
        grey = np.array(Image.fromarray(grey).resize((width, height), Image.Resampling.NEAREST))
    mask: BoolArray = grey > 127
    if not mask.any():
        raise MediaError(
            f'The mask "{one_line(path)}" is empty at {width}×{height} pixels.',
            "Paint what counts white (255) and the rest black (0).",
        )
    return mask


def list_images(paths: Sequence[str | Path]) -> ImageListing:
    """List the pictures among files and folders, in a fixed order and without repeats.

    A path that isn't a folder is always in the list, whatever its name and even when it doesn't exist, so
    that ``load_image`` can say what is wrong with it and it becomes a row of its own. Folders are searched
    with everything below, sorted by their paths, for names that end like a picture's (``IMAGE_SUFFIXES``),
    links that lead nowhere included; hidden files and folders don't count. Linked folders are followed, but
    no folder is entered twice.

    Raises
    ------
    MediaError
        If a folder can't be listed.
    """
    images: dict[str, Path] = {}  # by absolute path: the first spelling wins
    skipped: set[str] = set()
    entered: set[str] = set()
    for path in map(Path, paths):
        if _is_folder(path):
            found, others = _search_folder(path, entered)
        else:
            found, others = [path], []
        skipped.update(map(_absolute, others))
        for image in found:
            images.setdefault(_absolute(image), image)
    return ImageListing(tuple(images.values()), len(skipped - images.keys()))


def source_of(path: str | Path) -> str:
    """Return the path as given, as text that can be stored: bytes of it that aren't UTF-8 are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str | Path, limit: int = 80) -> str:
    """Shorten a path or message in its middle to fit in one line; escape what can't be printed."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
    half = limit // 2
    return line if len(line) <= limit else f"{line[: half - 1]}…{line[-half:]}"


def _read_bytes(path: str | Path, name: str) -> bytes:
    """Return the bytes of a regular file; refuse others without opening them, as a FIFO would block."""
    file = Path(path)
    try:
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            raise MediaError(f'"{name}" is a folder, not a picture.', "Name a file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f'"{name}" is not a regular file.', "Name a picture file.")
        if status.st_size > MAX_BYTES:
            limit = f"The limit is {MAX_BYTES >> 20} MiB."
            raise MediaError(f'"{name}" has {status.st_size >> 20} MiB.', f"{limit} Split or compress it.")
        data = file.read_bytes()
    except FileNotFoundError as error:
        if file.is_symlink():
            target = one_line(file.readlink())
            raise MediaError(
                f'"{name}" is a link to "{target}", which does not exist.', "Mend or remove it."
            ) from error
        raise MediaError(f'There is no file "{name}".', "Check the path.") from error
    except PermissionError as error:
        raise MediaError(f'"{name}" may not be read.', "Change its permissions (chmod +r).") from error
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a null character in the path
        detail = getattr(error, "strerror", None) or str(error) or "not enough memory"
        raise MediaError(f'"{name}" can\'t be read: {one_line(detail)}.', "Check the path.") from error
    if not data:
        raise MediaError(f'"{name}" is empty (0 bytes).', "Copy or save it again.")
    return data


def _decode(data: bytes, name: str, max_pixels: int) -> tuple[UInt8Array, list[str]]:
    """Return the pixels, uint8 (H, W, 3), and notes on conversions."""
    notes: list[str] = []
    with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise _too_large(name, f" ({width}×{height})", max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            notes.append(f"first of {frames} frames")
        # Both before loading: the tiles are dropped then, and the TIFF plugin turns the picture by itself.
        deep_colour = image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(t.args) for t in image.tile)
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
        upright = ImageOps.exif_transpose(image)
    if turned:
        notes.append("turned as its EXIF orientation says")
    if deep_colour:
        notes.append("16-bit colour reduced to 8 bit by its high byte")
    return _to_rgb(upright, name, notes), notes


def _to_rgb(image: Image.Image, name: str, notes: list[str]) -> UInt8Array:
    """Convert any mode of Pillow to uint8 (H, W, 3) and append conversions to ``notes``."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        kind = "float" if image.mode == "F" else "32-bit" if image.mode == "I" else "16-bit"
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise MediaError(
                f'"{name}" has values that are not finite numbers.', "Replace them and save it again."
            )
        start, stop = _value_range(values)
        notes.append(f"{kind} values {start:g} to {stop:g} scaled to 8 bit")
        scaled = (values.astype(np.float32) - start) * (255 / (stop - start))
        grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            image = Image.alpha_composite(Image.new("RGBA", image.size, TRANSPARENCY_GREY), image)
            notes.append("transparency laid over mid grey")
    elif image.mode == "CMYK":
        notes.append("CMYK converted to RGB without a colour profile")
    return np.array(image.convert("RGB"))


def _value_range(values: npt.NDArray[np.generic]) -> tuple[float, float]:
    """Return the values that become 0 and 255 (see ``load_image``); they always differ."""
    low, high = float(values.min()), float(values.max())
    if low < 0 or high >= 1 << BIT_DEPTHS[-1]:
        return low, high if high > low else low + 1
    if values.dtype.kind == "f" and high <= 1:
        return 0.0, 1.0
    return 0.0, next((1 << bits) - 1.0 for bits in BIT_DEPTHS if high < 1 << bits)


def _too_large(name: str, size: str, max_pixels: int) -> MediaError:
    limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
    return MediaError(
        f'"{name}"{size} has more than {limit / 1e6:g} million pixels.',
        "Cut it into parts or make it smaller.",
    )


def _search_folder(top: Path, entered: set[str]) -> tuple[list[Path], list[Path]]:
    """Return the pictures below a folder and the other files; skip and add to the folders ``entered``."""
    images: list[Path] = []
    others: list[Path] = []
    folders = [top]
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in entered:
            continue
        entered.add(real)
        for entry in visible_entries(folder):
            if _is_folder(entry):
                folders.append(entry)
            else:
                (images if entry.suffix.lower() in IMAGE_SUFFIXES else others).append(entry)
    return sorted(images, key=Path.as_posix), others


def visible_entries(folder: Path) -> list[Path]:
    """The entries of a folder but hidden ones, in reverse: a stack of folders pops the first one first.

    Raises MediaError when it can't be listed.
    """
    try:
        return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), reverse=True)
    except OSError as error:
        raise MediaError(
            f'The folder "{one_line(folder)}" can\'t be listed: {error.strerror}.',
            "Change its permissions.",
        ) from error


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100


def read_groups(file: Path) -> dict[str, str]:
    """Read a CSV table with the header ``image,group``.

    Raises DataError for a table that can't be read or names an image twice with different groups.
    """
    remedy = "It must be a CSV file with the header image,group."
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, strict=True)
            columns, rows = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The groups {file} can't be read: {error}.", remedy) from error
    if not {"image", "group"} <= set(columns):
        raise DataError(f"The groups {file} lack the columns image and group.", remedy)
    table: dict[str, str] = {}
    for row in rows:
        image, group = ((row[column] or "").strip() for column in ("image", "group"))
        if table.setdefault(image, group) != group:
            raise DataError(
                f"In the groups {file}, {image} is in {table[image]!r} and in {group!r}.",
                "Each picture belongs to one group.",
            )
    return table


def lookup_groups(table: Mapping[str, str], paths: Sequence[Path]) -> list[str | None]:
    """The group of each path as in `match_groups`; None where it has none."""
    by_parts = {Path(image).parts: group for image, group in table.items()}
    found: list[str | None] = []
    for path in paths:
        absolute = Path(os.path.abspath(path)).parts  # noqa: PTH100
        tails = [absolute[i:] for i in range(len(absolute))]
        found.append(next((by_parts[parts] for parts in (path.parts, *tails) if by_parts.get(parts)), None))
    return found


def match_groups(table: Mapping[str, str], paths: Sequence[Path]) -> dict[str, str]:
    """Give each path its group by a table of images.

    An image fits a path that is the same or ends with it (``good/a.jpg`` fits ``data/good/a.jpg``); the
    longest fit counts. Raises DataError for pictures without a group.
    """
    fitting = lookup_groups(table, paths)
    found = {str(path): group for path, group in zip(paths, fitting, strict=True) if group}
    missing = [path for path, group in zip(paths, fitting, strict=True) if not group]
    if missing:
        what = "picture has" if len(missing) == 1 else "pictures have"
        raise DataError(
            f"{len(missing)} {what} no group, the first is {source_of(missing[0])}.",
            "Name a group for every picture.",
        )
    return found
