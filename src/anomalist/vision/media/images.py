"""Image loading: any picture file to uint8 RGB, folders to lists of pictures, and group tables.

Formats are recognised by content (BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP), never by name. EXIF orientation is
applied, pixels of more than 8 bit are scaled, and each conversion leaves a note. A group table (CSV,
``image,group``) lists which pictures show the same object.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from anomalist.errors import DataError, MediaError
from anomalist.storage.files import file_sha256
from anomalist.storage.places import here
from anomalist.types.common import BoolArray, UInt8Array
from anomalist.types.image import Media
from anomalist.vision.media.pages import expand_pages, page_frames, split_page
from anomalist.vision.media.values import (
    CLIPPED_SHARE,
    Values,
    ValueScale,
    deep_colour_values,
    fit_scale,
    replace_impulses,
    robust_range,
    scale_of_picture,
)

MAX_PIXELS = 178_000_000
"""Pixels of a picture at most, by default: just below Pillow's own limit."""
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


@dataclass(frozen=True)
class ImageListing:
    """The pictures to inspect, and how many other files were skipped because of their name."""

    images: tuple[Path, ...]
    skipped: int


def load_image(path: str | Path, *, max_pixels: int = MAX_PIXELS, scale: ValueScale | None = None) -> Media:
    """Read one picture as displayed.

    The EXIF orientation is applied. Transparency is laid over mid grey. Of several frames the first is
    taken; pages of a TIFF are named ``file.tif#page=2``. Values of more than 8 bit are scaled by ``scale``.
    Without one, those in one channel are scaled by the smallest of 8, 10, 12, 14 and 16 bit that holds the
    brightest of them (cameras often store 12 bit in 16), floats up to 1 by 1; anything negative or above 16
    bit is stretched from its minimum to its maximum; and 16-bit colour keeps its high byte. Each of these
    leaves a note. Embedded colour profiles are ignored.

    Parameters
    ----------
    path : the file, or a page of it. The format is recognised by content, not by name.
    max_pixels : largest width × height, checked before anything is decoded.
    scale : of values of more than 8 bit, as learned from other pictures (`learn_scale`).

    Returns
    -------
    Media with uint8 (H, W, 3) pixels; ``sha256`` is over the bytes of the file, and the number of a page
    after the first.

    Raises
    ------
    MediaError
        If the file can't be read, isn't a picture, is damaged or cut short, or is too large. What a cut
        file still holds is never shown as the picture.
    """
    name = one_line(path)
    file, page = split_page(path)
    data = read_file_bytes(here(file), name)
    with _decoding(name, max_pixels):
        values, notes = _decode(data, page, name, max_pixels, deep=scale is not None)
        pixels = _to_rgb(values, name, notes, scale)
    return Media(source_of(path), digest_of_page(data, page), pixels, tuple(notes))


def digest_of_page(data: bytes, page: int) -> str:
    """Hex SHA-256 of the bytes of a file; of a page after the first with its number."""
    digest = hashlib.sha256(data)
    if page > 1:
        digest.update(f"#page={page}".encode())
    return digest.hexdigest()


def source_digest(path: str | Path) -> str:
    """The digest that `load_image` gives a file or page; raises OSError when it can't be read."""
    file, page = split_page(path)
    file = here(file)
    return file_sha256(file) if page == 1 else digest_of_page(file.read_bytes(), page)


@contextmanager
def _decoding(name: str, max_pixels: int) -> Iterator[None]:
    """Turn what Pillow raises into a MediaError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters in Pillow's warnings is checked here
        try:
            yield
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


def learn_scale(
    paths: Sequence[str | Path], on_read: Callable[[int], None] = lambda _: None
) -> ValueScale | None:
    """Fit the scale of values of more than 8 bit to pictures; None where none of them has such values.

    ``on_read`` is called with how many were looked at. What can't be read is left out.
    """
    ranges = []
    for done, path in enumerate(paths, 1):
        with contextlib.suppress(MediaError):
            values = _deep_values(path)
            if values is not None:
                ranges.append(robust_range(values))
        on_read(done)
    return fit_scale(ranges)


def _deep_values(path: str | Path) -> Values | None:
    """Values of more than 8 bit, (H, W) or (H, W, 3); None for one of 8 bit, told by its header, or no file.

    Raises MediaError when it can't be read.
    """
    name = one_line(path)
    file, page = split_page(path)
    file = here(file)
    with _decoding(name, MAX_PIXELS):
        try:
            if not file.is_file():  # opening a pipe would wait for ever
                return None
            with Image.open(file, formats=IMAGE_FORMATS) as image:
                image.seek(_frame_of(image, page, name))
                if not (_is_deep(image) or _is_deep_colour(image)):
                    return None
        except OSError as error:
            raise MediaError(f'"{name}" can\'t be read.') from error
        values, _ = _decode(read_file_bytes(file, name), page, name, MAX_PIXELS, deep=True)
        deep = values if isinstance(values, np.ndarray) else np.asarray(values)
        _check_finite(deep, name)
        return deep


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
    no folder is entered twice. Behind a TIFF of several pages come its further ones, ``file.tif#page=2``.

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
        for image in expand_pages(found):
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


def read_file_bytes(path: Path, name: str) -> bytes:
    """Return the bytes of a regular file; refuse others without opening them, as a FIFO would block."""
    file = path
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


def _decode(
    data: bytes, page: int, name: str, max_pixels: int, *, deep: bool
) -> tuple[Image.Image | Values, list[str]]:
    """Decode a page upright, and note what was converted; with ``deep``, 16-bit colour as its values."""
    notes: list[str] = []
    with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
        frame = _frame_of(image, page, name)
        frames = getattr(image, "n_frames", 1)
        pages = len(page_frames(image))
        image.seek(frame)
        width, height = image.size
        if width * height > max_pixels:
            raise _too_large(name, f" ({width}×{height})", max_pixels)
        if pages > 1:
            notes.append(f"page {page} of {pages}")
        elif frames > 1 and image.format != "TIFF":
            notes.append(f"first of {frames} frames; the others are not looked at")
        # All before loading: the tiles are dropped then, and the TIFF plugin turns the picture by itself.
        deep_colour = _is_deep_colour(image)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        turned_by_opencv = ExifTags.Base.Orientation in getattr(image, "tag_v2", ())
        upright = ImageOps.exif_transpose(image)
    if orientation in range(2, 9):
        notes.append("turned as its EXIF orientation says")
    if deep_colour and deep:
        values = deep_colour_values(data, frame, 1 if turned_by_opencv else orientation)
        if values is None or values.shape[:2] != upright.size[::-1]:
            # High bytes alone would be nearly black by a scale of all values: a false alarm.
            raise MediaError(
                f'"{name}" has 16-bit colour that can\'t be read in full.', "Save it as PNG or as plain TIFF."
            )
        return values, notes
    if deep_colour:
        notes.append("16-bit colour reduced to 8 bit by its high byte")
    return upright, notes


def _frame_of(image: Image.Image, page: int, name: str) -> int:
    frames = page_frames(image)
    if page > len(frames):
        raise MediaError(f'"{name}" is not there: the file has {len(frames)} pages.', "Name another page.")
    return frames[page - 1]


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _is_deep_colour(image: Image.Image) -> bool:
    return image.mode in ("RGB", "RGBA") and any(";16" in str(t.args) for t in getattr(image, "tile", ()))


def _to_rgb(image: Image.Image | Values, name: str, notes: list[str], scale: ValueScale | None) -> UInt8Array:
    """Convert any mode of Pillow to uint8 (H, W, 3) and append conversions to ``notes``."""
    if not isinstance(image, Image.Image):
        return _scaled(image, "16-bit colour", scale, notes)
    if _is_deep(image):
        kind = "float" if image.mode == "F" else "32-bit" if image.mode == "I" else "16-bit"
        values = np.asarray(image)
        _check_finite(values, name)
        grey = _scaled(values, f"{kind} values", scale, notes)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            image = Image.alpha_composite(Image.new("RGBA", image.size, TRANSPARENCY_GREY), image)
            notes.append("transparency laid over mid grey")
    elif image.mode == "L":
        return np.repeat(np.asarray(image)[:, :, None], 3, axis=2)
    elif image.mode == "CMYK":
        notes.append("CMYK converted to RGB without a colour profile")
    return np.array(image.convert("RGB"))


def _check_finite(values: Values, name: str) -> None:
    if not np.isfinite(values).all():
        raise MediaError(
            f'"{name}" has values that are not finite numbers.', "Replace them and save it again."
        )


def _scaled(values: Values, kind: str, scale: ValueScale | None, notes: list[str]) -> UInt8Array:
    own = scale or scale_of_picture(values)
    notes.append(f"{kind} {own.start:g} to {own.stop:g} scaled to 8 bit")
    if scale is not None:
        values, replaced = replace_impulses(values, scale)
        if replaced:
            notes.append(f"{replaced} hot or dead pixels replaced by their neighbours")
    outside = own.share_outside(values)
    if scale is not None and outside > CLIPPED_SHARE:
        notes.append(
            f"{100 * outside:.2g} % of the values are outside the learned scale ({own.start:g} to "
            f"{own.stop:g}) and were clipped"
        )
    return own.to_bytes(values)


def _too_large(name: str, size: str, max_pixels: int) -> MediaError:
    return MediaError(
        f'"{name}"{size} has more than {max_pixels / 1e6:g} million pixels.',
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
