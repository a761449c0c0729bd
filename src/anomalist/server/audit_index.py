"""A list of the entries of the audit log in memory, so that it is searched and paged fast.

It is extended by what was appended since, whoever wrote it; the log itself stays what counts.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path

from anomalist.audit.log import audit_folder
from anomalist.audit.reading import LogEntry, Search, read_entries
from anomalist.audit.rows import said
from anomalist.errors import DataError


@dataclass(frozen=True)
class AuditRow:
    """One line of the list.

    Parameters
    ----------
    id, position, kind, time, source : of the entry.
    said : what it says, in one line.
    outcome : of a decision: its label, or "error"; "" for other entries.
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

    def fits(self, search: Search) -> bool:
        """Whether it is looked for, as `Search.fits` says of the entry itself."""
        return (
            (not search.kinds or self.kind in search.kinds)
            and self.time >= search.since
            and (not search.until or self.time[: len(search.until)] <= search.until)
            and (not search.label or self.outcome == search.label)
            and (not search.profile or search.profile in self.profiles)
            and (not search.text or search.text.casefold() in self.text)
        )


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
            found = [row for row in reversed(self._rows) if row.fits(search)]
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
    content = entry.content
    record = content.get("record") or {}
    outcome = record.get("label") or ("error" if record.get("status") == "error" else "")
    named = {record.get("profile"), record.get("scene"), content.get("profile")}
    return AuditRow(
        id=entry.id,
        position=entry.position,
        kind=entry.kind,
        time=entry.time,
        source=entry.source,
        said=said(entry),
        outcome=outcome,
        profiles=frozenset(str(name) for name in named if name),
        actor=str(content.get("actor", "")),
        text=json.dumps(content, ensure_ascii=False).casefold(),
    )
