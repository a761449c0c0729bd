"""Pages of multi-page TIFF files: counted, and named ``file.tif#page=2``.

Thumbnails and transparency masks that a TIFF keeps beside its pictures are no pages.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from anomalist.storage.places import here

if TYPE_CHECKING:
    from PIL.Image import Image

_PAGE = re.compile(r"(?P<file>.+)#page=(?P<page>[1-9]\d{0,5})", re.DOTALL)
_SUFFIXES = (".tif", ".tiff")
_SUBFILE_TYPE, _NO_PAGE = 254, 0b101  # a reduced version of another page, or its transparency mask


def split_page(path: str | Path) -> tuple[Path, int]:
    """Split ``file.tif#page=2`` into the file and the number of the page, from 1.

    A file that is really called so is itself.
    """
    named = _PAGE.fullmatch(str(path))
    if named is None or _exists(Path(path)):
        return Path(path), 1
    return Path(named["file"]), int(named["page"])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False


def page_path(file: Path, page: int) -> Path:
    """Name a page; the first has the name of its file."""
    return file if page == 1 else file.with_name(f"{file.name}#page={page}")


def page_frames(image: Image) -> list[int]:
    """Frames of an opened picture that are pages of their own; only a TIFF has more than one."""
    count = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or count < 2:
        return [0]
    found = []
    for frame in range(count):
        image.seek(frame)
        if not int(getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)) & _NO_PAGE:
            found.append(frame)
    image.seek(0)
    return found or [0]


def expand_pages(paths: Iterable[Path]) -> Iterator[Path]:
    """Put the further pages of each multi-page TIFF behind it; what can't be read stays as it is."""
    for path in paths:
        yield path
        if path.suffix.lower() in _SUFFIXES:
            yield from (page_path(path, page) for page in range(2, count_pages(path) + 1))


def count_pages(path: Path) -> int:
    """Count the pages of a picture file from its headers; 1 where they can't be read."""
    from PIL import Image

    path = here(path)
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return 1
    except (OSError, ValueError):
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=("TIFF",)) as image:
                return len(page_frames(image))
        except Exception:  # reading the picture says what is wrong with it
            return 1
