"""Names of pictures and clips as tables, reports and JSON print them: the path in the folder they share."""

from __future__ import annotations

import os.path
from collections.abc import Iterable
from pathlib import Path


def common_folder(sources: Iterable[str]) -> str:
    """The folder that all sources share; "" where there is none, or where one is an address."""
    known = list(sources)
    if any("://" in source for source in known):
        return ""
    try:
        folder = os.path.commonpath({str(Path(source).parent) for source in known})
    except ValueError:  # absolute and relative paths, or no sources
        return ""
    return "" if folder == "." else folder


def names_source(name: str, source: str) -> bool:
    """Whether a name means a source: its path, the last parts of it, or its file name without extension."""
    given, path = Path(name).as_posix(), Path(source).as_posix()
    return given == path or path.endswith(f"/{given}") or given == Path(source).stem
