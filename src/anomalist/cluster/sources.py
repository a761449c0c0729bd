"""Sources of pictures for a cluster: folders, glob patterns, Parquet lists, and addresses (fsspec)."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from anomalist.errors import AnomalistError, DataError, MediaError
from anomalist.vision.media.images import (
    IMAGE_SUFFIXES,
    MAX_BYTES,
    list_images,
    one_line,
    source_digest,
    source_of,
)
from anomalist.vision.media.sources import is_url, redact_url, split_address

LIST_COLUMNS = ("path", "uri", "source", "image")
"""Columns of a Parquet list that are looked for, in this order."""
_PATTERN = frozenset("*?[")


def list_sources(given: Sequence[str]) -> list[str]:
    """The pictures among what was given, without repeats; each by the path or address to read it at.

    Parameters
    ----------
    given : folders (with all below), pictures, glob patterns, ``.parquet`` files with a column of paths, and
        addresses of fsspec (``s3://bucket/folder``) of any of these.

    Raises
    ------
    DataError : an address can't be reached or read for sure, a list can't be read, or there is no picture at
        all.
    """
    found: dict[str, str] = {}  # by absolute path: the first spelling wins
    for one in given:
        for source in _expand(one):
            if is_url(source):
                split_address(source)
            found.setdefault(source if is_url(source) else str(Path(source).absolute()), source)
    if not found:
        raise DataError(f"No pictures in {', '.join(map(redact_url, given))}.")
    return list(found.values())


def _expand(given: str) -> Iterator[str]:
    if given.lower().endswith(".parquet"):
        yield from _read_list(given)
    elif is_url(given):
        yield from _list_address(given)
    elif _PATTERN & set(given) and not Path(given).exists():
        matching = sorted(glob.glob(given, recursive=True))  # noqa: PTH207
        yield from map(source_of, list_images(matching).images)
    else:
        yield from map(source_of, list_images([given]).images)


def _list_address(address: str) -> Iterator[str]:
    system, path = file_system(address)
    try:
        if _PATTERN & set(path):
            names = system.glob(path)
        elif system.isdir(path):
            names = system.find(path)
        else:
            yield address
            return
    except Exception as error:  # each file system has its own errors
        raise _unreachable(address, error) from error
    for name in sorted(names):
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
            yield system.unstrip_protocol(name)


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address (fsspec), and the path on it.

    Raises DataError when there is none for it, or its package is not installed.
    """
    from fsspec.core import url_to_fs

    split_address(address)
    try:
        return url_to_fs(address)  # type: ignore[no-any-return]
    except Exception as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> DataError:
    shown = redact_url(address)
    # What a library says may repeat the address with its password, in whatever form.
    said = str(error) if shown == address else ""
    return DataError(
        f"{shown} can't be read: {one_line(said or type(error).__name__, 160)}",
        "Check the address, its credentials, and that the package of its file system is installed.",
    )


def _read_list(given: str) -> list[str]:
    """The paths in a Parquet file; relative ones are relative to where the command runs."""
    import pyarrow.parquet as pq

    try:
        if is_url(given):
            system, path = file_system(given)
            with system.open(path, "rb") as file:
                table = pq.read_table(file)
        else:
            table = pq.read_table(given)
    except AnomalistError:
        raise
    except Exception as error:
        raise _unreachable(given, error) from error
    column = next((name for name in LIST_COLUMNS if name in table.column_names), None)
    if column is None:
        raise DataError(
            f"The list {redact_url(given)} has no column {', '.join(LIST_COLUMNS)}.",
            f"It has {', '.join(table.column_names)}.",
        )
    values = [value for value in table[column].to_pylist() if value]
    if not all(isinstance(value, str) for value in values):  # such as the pictures themselves
        raise DataError(
            f"The column {column} of the list {redact_url(given)} holds no paths, but {table[column].type}.",
            f"Give the paths or addresses of the pictures as text, in a column {LIST_COLUMNS[0]}.",
        )
    return [value if is_url(value) else source_of(Path(value)) for value in values]


def named(source: str) -> str:
    """What a source is called in records: an address without its password."""
    return redact_url(source) if is_url(source) else source


@dataclass(frozen=True)
class Fetched:
    """A picture where it can be read: a local file, or why there is none; ``source`` without a password."""

    source: str
    file: str | None
    sha256: str | None
    error: AnomalistError | None = None


def fetch_all(sources: Iterable[str], folder: Path) -> list[Fetched]:
    """Make pictures local, those of addresses as files in ``folder``; what can't be read has its error."""
    return [_fetch(source, folder / f"{number:03d}") for number, source in enumerate(sources)]


def _fetch(source: str, target: Path) -> Fetched:
    if not is_url(source):
        try:
            return Fetched(source, source, source_digest(source))
        except OSError:
            return Fetched(source, source, None)  # reading it says what is wrong
    name = named(source)
    try:
        system, path = file_system(source)
        if (system.size(path) or 0) > MAX_BYTES:
            raise MediaError(f"{name} is larger than {MAX_BYTES >> 20} MiB.", "Split or compress it.")
        file = str(target.with_suffix(PurePosixPath(path).suffix))
        system.get_file(path, file)
        return Fetched(name, file, source_digest(file))
    except AnomalistError as error:
        return Fetched(name, None, None, error)
    except Exception as error:  # each file system has its own errors
        return Fetched(name, None, None, _unreachable(source, error))
