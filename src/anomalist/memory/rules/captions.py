"""A file of captions that the user gives: lines of text, or a CSV with a column ``caption``."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from anomalist.errors import DataError

MOST_CAPTIONS = 200_000


@dataclass(frozen=True)
class CaptionFile:
    """Captions and where they come from.

    Parameters
    ----------
    source : the path, as it was given.
    sha256 : hex digest of the file's bytes.
    captions : one a row, in order; may be empty texts. No other column is ever read.
    """

    source: str
    sha256: str
    captions: tuple[str, ...]


def read_captions(path: Path) -> CaptionFile:
    """Read captions: of a ``.csv`` the column ``caption``, of anything else each line that isn't empty.

    Raises
    ------
    DataError : it can't be read, isn't UTF-8, has no such column, or holds no or too many captions.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f'The captions "{path}" can\'t be read: {error.strerror}.') from error
    except UnicodeDecodeError as error:
        raise DataError(f'The captions "{path}" are not UTF-8 text.', "Save the file as UTF-8.") from error
    if path.suffix.lower() == ".csv":
        captions = _column(path, text)
    else:
        captions = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not any(map(str.strip, captions)):
        raise DataError(f'"{path}" holds no captions.', "Write one a line, or a CSV with a column caption.")
    if len(captions) > MOST_CAPTIONS:
        raise DataError(f'"{path}" holds {len(captions):,} captions, more than {MOST_CAPTIONS:,}.')
    return CaptionFile(str(path), hashlib.sha256(data).hexdigest(), captions)


def _column(path: Path, text: str) -> tuple[str, ...]:
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        heading = next(rows, [])
        if "caption" not in heading:
            raise DataError(f'"{path}" has no column caption.', "Name the column in the first line.")
        place = heading.index("caption")
        return tuple(row[place] if place < len(row) else "" for row in rows if row)
    except csv.Error as error:
        raise DataError(f'"{path}" is not a CSV file: {error}.') from error
