"""A list of the entries of the audit log in memory, so that it is searched and paged fast.

It is extended by what was appended since, whoever wrote it; the log itself stays what counts.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

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


class AuditIndex:
    """The entries of this user's log; several threads may use one."""

    def __init__(self) -> None:
        self._rows: list[AuditRow] = []
        self._of: tuple[Path, float] | None = None
        self._lock = threading.Lock()

    def search(self, search: Search, offset: int = 0, most: int = 50) -> AuditPage:
        """Find entries, the newest first; none where there is no log yet."""
        with self._lock:
            self._extend()
            found = [row for row in reversed(self._rows) if search.fits(row)]
        return AuditPage(tuple(found[offset : offset + most]), len(found))

    def _extend(self) -> None:
        folder = audit_folder()
        try:
            stamp = (folder, _newest(folder / "log"))
        except OSError:
            self._rows, self._of = [], None
            return
        if stamp == self._of:
            return
        if self._of is not None and self._of[0] != folder:
            self._rows = []
        start = self._rows[-1].position + 1 if self._rows else 0
        try:
            self._rows += [_row(entry) for entry in read_entries(folder, start=start)]
        except DataError:
            self._rows = []
        self._of = stamp


def _newest(lines: Path) -> float:
    """What changes with every entry: the sizes of all files."""
    return float(sum(file.stat().st_size for file in lines.glob("segment-*.jsonl")))


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
