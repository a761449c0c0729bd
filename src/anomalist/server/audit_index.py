"""A list of the entries of the audit log in memory, so that it is searched and paged fast.

It is extended by what was appended since, whoever wrote it; the log itself stays what counts.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from anomalist.audit.entries import SEGMENTS
from anomalist.audit.log import audit_folder
from anomalist.audit.reading import LogEntry, Search, read_entries
from anomalist.audit.rows import said
from anomalist.errors import DataError


@dataclass(frozen=True)
class AuditRow:
    """One line of the list, with what `Search.fits` looks at, kept so that it is not made at each search.

    Parameters
    ----------
    id, position, kind, time, source, outcome, profiles, text : of the entry, see `LogEntry`.
    said : what it says, in one line.
    actor : who did it.
    """

    id: str
    position: int
    kind: str
    time: str
    source: str
    said: str
    outcome: str
    profiles: frozenset[str]
    actor: str
    text: str


@dataclass(frozen=True)
class AuditPage:
    """Some lines of the list, the newest first, and how many fit on all pages."""

    rows: tuple[AuditRow, ...]
    total: int


Segments = dict[str, tuple[int, int]]
"""Size in bytes and time of change, ns, of each segment of a log, by its name."""


class AuditIndex:
    """The entries of this user's log; several threads may use one."""

    def __init__(self) -> None:
        self._rows: list[AuditRow] = []
        self._of: tuple[Path, Segments] | None = None
        self._lock = threading.Lock()

    def search(self, search: Search, offset: int = 0, most: int = 50) -> AuditPage:
        """Find entries, the newest first; none where there is no log yet.

        Raises DataError when the log can't be read: one of a later version, say, is not one without entries.
        """
        with self._lock:
            self._extend()
            found = [row for row in reversed(self._rows) if search.fits(row)]
        return AuditPage(tuple(found[offset : offset + most]), len(found))

    def _extend(self) -> None:
        folder = audit_folder()
        try:
            stamp = (folder, _segments(folder / "log"))
        except OSError:
            self._rows, self._of = [], None
            return
        if stamp == self._of:
            return
        if not stamp[1]:
            self._rows, self._of = [], stamp
            return
        if self._of is None or self._of[0] != folder or not _appended(self._of[1], stamp[1]):
            self._rows = []
        start = self._rows[-1].position + 1 if self._rows else 0
        try:
            new = list(read_entries(folder, start=start))
            if start and any(entry.kind == "tombstone" for entry in new):  # what it removes was read before
                self._rows, new = [], list(read_entries(folder))
            self._rows += map(_row, new)
        except DataError:
            self._rows, self._of = [], None
            raise
        self._of = None if _half_removed(new) else stamp


def _half_removed(read: list[LogEntry]) -> bool:
    """Whether content is there yet that a tombstone says is removed: it will be gone in a moment."""
    gone = {at for entry in read if entry.kind == "tombstone" for at in entry.content.get("positions", ())}
    return any(entry.position in gone and entry.body is not None for entry in read)


def _segments(lines: Path) -> Segments:
    found = {}
    for file in sorted(lines.glob(SEGMENTS)):
        about = file.stat()
        found[file.name] = about.st_size, about.st_mtime_ns
    return found


def _appended(before: Segments, now: Segments) -> bool:
    """Whether entries were added at the end alone: content that is removed changes what is there already."""
    last, none = max(before, default=""), (0, 0)
    whole = all(now.get(name) == stamp for name, stamp in before.items() if name != last)
    return whole and now.get(last, none)[0] >= before.get(last, none)[0]


def _row(entry: LogEntry) -> AuditRow:
    return AuditRow(
        id=entry.id,
        position=entry.position,
        kind=entry.kind,
        time=entry.time,
        source=entry.source,
        said=said(entry),
        outcome=entry.outcome,
        profiles=entry.profiles,
        actor=str(entry.content.get("actor", "")),
        text=entry.text,
    )
