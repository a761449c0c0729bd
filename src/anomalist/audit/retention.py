"""Deletion from an audit log: the content goes, the chain stays, and an entry says what went and why.

The tombstone is written first. A process that is killed before the content is gone leaves a log that is sound
and still holds it; the same command again finishes the work.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalist.audit.entries import read_lines, segment_files, split_line, without_body
from anomalist.audit.log import AuditLog
from anomalist.audit.reading import LogEntry, read_entries
from anomalist.audit.stores import media_path
from anomalist.errors import DataError
from anomalist.memory.cases import current_user
from anomalist.storage.files import staged_file, write_error

NEVER_REMOVED = ("checkpoint", "tombstone", "setting", "session", "learning")
"""Kinds of entries that say how things were done, not what was seen or who said it."""


@dataclass(frozen=True)
class Removal:
    """What was removed: positions of entries, and hashes of stored files."""

    positions: tuple[int, ...]
    files: tuple[str, ...]


def older_than(days: float, folder: Path | None = None) -> list[LogEntry]:
    """Entries of more than that many days ago whose content may be removed and is still there.

    Raises DataError where ``days`` is no number.
    """
    if not days >= 0:
        raise DataError(f"{days} is no number of days.", "Give one of 0 or more.")
    now = datetime.datetime.now(datetime.UTC)
    if days >= now.toordinal():  # no entry is that old, and no date either
        return []
    limit = now - datetime.timedelta(days=days)
    until = limit.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return [
        entry
        for entry in read_entries(folder)
        if entry.body is not None and entry.kind not in NEVER_REMOVED and entry.time < until
    ]


def remove_entries(entries: Sequence[LogEntry], why: str, folder: Path | None = None) -> Removal:
    """Remove the content of entries, and the stored files that no other entry names.

    Parameters
    ----------
    why : the reason, in words; it stands in the log.

    Raises
    ------
    DataError : no reason is given, an entry may not be removed, or the log can't be written.
    """
    if not why.strip():
        raise DataError("Why is it removed?", "Say so with --why: the reason stays in the log.")
    if kept := [entry for entry in entries if entry.kind in NEVER_REMOVED]:
        raise DataError(f"Entry {kept[0].id} is of the kind {kept[0].kind}, which always stays.")
    positions = {entry.position for entry in entries}
    if not positions:
        return Removal((), ())
    # Nobody may name a file between the look at who does and its removal.
    with AuditLog(folder) as log, log.locked():
        files = _only_named_by(positions, log.folder)
        log.append(
            "tombstone",
            {
                "positions": sorted(positions),
                "files": sorted(files),
                "what": _counts(entries),
                "why": why.strip(),
                "actor": current_user(),
            },
        )
        try:
            _empty(log.lines, positions)
            for sha256 in files:
                media_path(log.folder, sha256).unlink(missing_ok=True)
        except OSError as error:
            raise write_error(log.lines, error) from error
        log.adopt_sizes()
    return Removal(tuple(sorted(positions)), tuple(sorted(files)))


def _counts(entries: Iterable[LogEntry]) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in entries:
        found[entry.kind] = found.get(entry.kind, 0) + 1
    return found


def _only_named_by(positions: Collection[int], folder: Path) -> set[str]:
    """Hashes of stored files that these entries name and no other does."""
    mine: set[str] = set()
    others: set[str] = set()
    for entry in read_entries(folder):
        named = {str(item["sha256"]) for item in entry.content.get("media") or ()}
        if reference := entry.part("reference").get("sha256"):  # what pictures of a session are compared with
            named.add(str(reference))
        (mine if entry.position in positions else others).update(named)
    return mine - others


def _empty(lines: Path, positions: Collection[int]) -> None:
    """Write the segments that hold these entries again, with null in place of their bodies."""
    for file in segment_files(lines):
        rows = []
        changed = False
        for _, line, whole in read_lines(file):
            entry = split_line(line)
            if entry is not None and entry.position in positions and entry.body != b"null":
                line, changed = without_body(line, entry), True
            rows.append(line + (b"\n" if whole else b""))
        if changed:
            with staged_file(file) as staged:
                staged.write_bytes(b"".join(rows))
