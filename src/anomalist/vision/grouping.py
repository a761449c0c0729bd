"""Which pictures show the same object, tile or take: a table of images and groups."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from anomalist.errors import DataError
from anomalist.vision.media import source_of


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


def known_groups(table: Mapping[str, str], paths: Sequence[Path]) -> list[str | None]:
    """The group of each path as in `match_groups`; None where it has none."""
    by_parts = {Path(image).parts: group for image, group in table.items()}
    found: list[str | None] = []
    for path in paths:
        absolute = Path(os.path.abspath(path)).parts  # noqa: PTH100 - Path.resolve would follow links
        tails = [absolute[i:] for i in range(len(absolute))]
        found.append(next((by_parts[parts] for parts in (path.parts, *tails) if by_parts.get(parts)), None))
    return found


def match_groups(table: Mapping[str, str], paths: Sequence[Path]) -> dict[str, str]:
    """Give each path its group by a table of images.

    An image fits a path that is the same or ends with it (``good/a.jpg`` fits ``data/good/a.jpg``); the
    longest fit counts. Raises DataError for pictures without a group.
    """
    fitting = known_groups(table, paths)
    found = {str(path): group for path, group in zip(paths, fitting, strict=True) if group}
    missing = [path for path, group in zip(paths, fitting, strict=True) if not group]
    if missing:
        what = "picture has" if len(missing) == 1 else "pictures have"
        raise DataError(
            f"{len(missing)} {what} no group, the first is {source_of(missing[0])}.",
            "Name a group for every picture.",
        )
    return found
