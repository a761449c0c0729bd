"""The audit log as it is written: append-only, hash-chained, signed, by several processes at a time.

Under the lock a process reads the signed head, appends one line to the last segment and writes the head
again. What ``append`` returned is in the file, whatever kills the process; it is on the disk after every
``BATCH`` entries and after ``close``. A line that a crash cut off is dropped by the next writer.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from anomalist.audit.canonical import canonical_json
from anomalist.audit.entries import (
    FIRST_PREVIOUS,
    FORMAT,
    HEAD_FILE,
    MAX_LINE,
    NewerFormat,
    RawEntry,
    join_line,
    read_lines,
    segment_files,
    signed_message,
    split_line,
)
from anomalist.errors import DataError
from anomalist.settings import Settings
from anomalist.storage.files import sync_folder, write_error

if TYPE_CHECKING:
    from anomalist.audit.keys import SigningKey

BATCH = 16
"""Entries after which a process puts what it wrote on the disk."""
SEGMENT_BYTES = 16 * 1024 * 1024
"""Size from which a new segment begins."""
CHECKPOINT_EVERY = 1000
"""Entries between two signed checkpoints within the log."""
LOCK_SECONDS = 60.0
_BINARY = getattr(os, "O_BINARY", 0)  # of Windows

EntryKind = Literal[
    "session",
    "inspection",
    "clip",
    "alert",
    "answer",
    "rule",
    "feedback",
    "learning",
    "setting",
    "model call",
    "probe",
    "review",
    "checkpoint",
    "tombstone",
]
ENTRY_KINDS: tuple[str, ...] = get_args(EntryKind)


@dataclass(frozen=True)
class Written:
    """Where an entry is: its position in the log, and its hash."""

    position: int
    hash: str


@dataclass(frozen=True)
class LogHead:
    """The end of a log: its last entry, and the size of the segment that holds it."""

    log: str
    position: int
    hash: str
    segment: str
    size: int
    time: str

    @classmethod
    def empty(cls) -> LogHead:
        """Of a new log, with an id of its own."""
        return cls(secrets.token_hex(8), -1, FIRST_PREVIOUS, segment_name(0), 0, "")


def segment_name(position: int) -> str:
    """File name of the segment that begins with an entry."""
    return f"segment-{position:012d}.jsonl"


def audit_folder() -> Path:
    """Where this user's audit log, its key and what belongs to it are kept."""
    return Settings().home / "audit"


def has_log(folder: Path | None = None) -> bool:
    """Whether there is a log in a folder, by default that of this user."""
    return ((audit_folder() if folder is None else folder) / "log").is_dir()


class AuditLog:
    """Appends to the audit log; a context manager. Several processes may; not several threads with one.

    Parameters
    ----------
    folder : of the log; by default that of this user, ``ANOMALIST_HOME/audit``.
    redact : names of fields whose content never reaches the disk.
    batch : entries after which this process puts what it wrote on the disk.
    segment_bytes : size from which a new segment begins.

    Raises
    ------
    DataError : from any method: the folder can't be written, the disk is full, the log is of a newer version,
        the key can't be used, or another process holds the lock for a minute.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        redact: tuple[str, ...] = (),
        batch: int = BATCH,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        from filelock import FileLock

        self.folder = audit_folder() if folder is None else folder
        self.lines = self.folder / "log"
        self.redact = redact
        self._batch = batch
        self._segment_bytes = segment_bytes
        self._unsynced = 0
        self._key: SigningKey | None = None
        self._last_segment = ""
        try:
            self.lines.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _log_error(self.lines, error) from error
        self._lock = FileLock(self.folder / ".lock", timeout=LOCK_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put everything on the disk."""
        if self._unsynced:
            self._sync()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the log against all other writers; for what rewrites or reads it as a whole."""
        from filelock import Timeout

        try:
            with self._lock:
                yield
        except Timeout as error:
            raise DataError(
                f"Another process has held the audit log {self.folder} for {LOCK_SECONDS:.0f} s.",
                "Wait for it, or end it.",
            ) from error
        except OSError as error:
            raise _log_error(self.folder, error) from error

    def append(self, kind: EntryKind, body: Mapping[str, Any]) -> Written:
        """Append one entry; when this returns, no crash of this process can lose it.

        Parameters
        ----------
        kind : what it is about.
        body : what JSON can hold; a salt is added, and fields of the redaction list are emptied.
        """
        content = canonical_json({**body, "salt": secrets.token_hex(16)}, self.redact)
        if len(content) > MAX_LINE // 2:
            raise DataError(
                f"One entry of {len(content):,} bytes is too large for the audit log "
                f"({MAX_LINE // 2:,} at most).",
                "Keep large things as files; an entry names them by hash.",
            )
        with self.locked():
            head = self._current_head()
            if head.position >= 0 and (head.position + 1) % CHECKPOINT_EVERY == 0:
                head = self._append_line(head, "checkpoint", canonical_json(self._signed(head)))
            head = self._append_line(head, kind, content)
            self._unsynced += 1
            if self._unsynced >= self._batch:
                self._sync()
        return Written(head.position, head.hash)

    def checkpoint(self) -> str:
        """Sign the end of the log in an entry of its own; returns the anchor, ``LOG:POSITION:HASH``."""
        with self.locked():
            head = self._current_head()
            head = self._append_line(head, "checkpoint", canonical_json(self._signed(head)))
            self._sync()
        return f"{head.log}:{head.position}:{head.hash}"

    def head(self) -> LogHead:
        """The end of the log, as it is now."""
        with self.locked():
            return self._current_head()

    def adopt_sizes(self) -> None:
        """Write the head again after the last segment was written again; under the lock, see `locked`."""
        head = self._stored_head()
        file = self.lines / head.segment
        if file.is_file():
            size = file.stat().st_size
            self._write_head(LogHead(head.log, head.position, head.hash, head.segment, size, head.time))

    # Everything below is called under the lock.

    def _append_line(self, head: LogHead, kind: EntryKind, body: bytes) -> LogHead:
        position = head.position + 1
        content = {
            "body": hashlib.sha256(body).hexdigest(),
            "format": FORMAT,
            "kind": kind,
            "log": head.log,
            "position": position,
            "previous": head.hash,
            "time": (time := _now()),
        }
        # Names, digests and whole numbers: these bytes are canonical as they are.
        encoded = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        own = hashlib.sha256(encoded).hexdigest()
        line = join_line(body, own, encoded) + b"\n"
        segment, size = head.segment, head.size
        if size >= self._segment_bytes:
            self._sync()
            segment, size = segment_name(position), 0
        size = _append_bytes(self.lines / segment, line, size)
        new = LogHead(head.log, position, own, segment, size, time)
        self._write_head(new)
        self._last_segment = segment
        return new

    def _current_head(self) -> LogHead:
        """The head, with what a writer that was killed appended after writing it."""
        head = self._stored_head()
        file = self.lines / head.segment
        try:
            size = file.stat().st_size
        except FileNotFoundError:
            size = 0
        if size != head.size:
            head = self._recovered(head, file, size)
        following = self.lines / segment_name(head.position + 1)
        if following.name == head.segment or not following.exists():
            return head
        # A writer was killed with the first entry of a new segment.
        begun = LogHead(head.log, head.position, head.hash, following.name, 0, head.time)
        return self._recovered(begun, following, following.stat().st_size)

    def _stored_head(self) -> LogHead:
        try:
            content = json.loads((self.lines / HEAD_FILE).read_bytes())
            if content.get("format", 1) > FORMAT:
                raise _newer(content["format"])
            fields = LogHead.__dataclass_fields__
            if wrong := [name for name in fields if type(content[name]).__name__ != fields[name].type]:
                raise TypeError(wrong[0])
            return LogHead(**{name: content[name] for name in fields})
        except FileNotFoundError:
            files = segment_files(self.lines)
        except (ValueError, TypeError, KeyError, AttributeError):
            files = segment_files(self.lines)
        except OSError as error:
            raise _log_error(self.lines, error) from error
        if not files:
            return LogHead.empty()
        return self._head_by_segments(files)

    def _head_by_segments(self, files: list[Path]) -> LogHead:
        """The end of a log whose head is lost or damaged, from its last sound entry."""
        for file in reversed(files):
            last: RawEntry | None = None
            for _, line, whole in read_lines(file):
                entry = _split(line) if whole else None
                last = entry or last
            if last is not None:
                newest = files[-1]
                return LogHead(
                    last.head["log"],
                    last.position,
                    last.hash,
                    newest.name,
                    newest.stat().st_size,
                    last.head["time"],
                )
        return LogHead.empty()

    def _recovered(self, head: LogHead, file: Path, size: int) -> LogHead:
        """Take over whole entries behind the head and drop a cut off one; what is missing stays missing."""
        if size < head.size:  # the file was cut or removed: the gap stays to be seen
            if size and not _ends_with_newline(file):
                size = _append_bytes(file, b"\n", size)
            return LogHead(head.log, head.position, head.hash, head.segment, size, head.time)
        with file.open("rb") as opened:
            opened.seek(head.size)
            rest = opened.read()
        for line in rest.splitlines(keepends=True):
            entry = _split(line[:-1]) if line.endswith(b"\n") else None
            if entry is None or entry.position != head.position + 1 or entry.head["previous"] != head.hash:
                break
            head = LogHead(
                head.log,
                entry.position,
                entry.hash,
                head.segment,
                head.size + len(line),
                entry.head["time"],
            )
        if head.size < size:
            if b"\n" in rest[-(size - head.size) :]:  # whole lines that nobody here wrote: verify names them
                head = LogHead(head.log, head.position, head.hash, head.segment, size, head.time)
                if not rest.endswith(b"\n"):
                    size = _append_bytes(file, b"\n", size)
                    head = LogHead(head.log, head.position, head.hash, head.segment, size, head.time)
            else:
                os.truncate(file, head.size)
        return head

    def _signed(self, head: LogHead) -> dict[str, Any]:
        if self._key is None:
            from anomalist.audit.keys import open_key

            self._key = open_key(self.folder)
        signature = self._key.sign(signed_message(head.log, head.position, head.hash))
        return {
            "position": head.position,
            "hash": head.hash,
            "key": self._key.public,
            "signature": signature,
        }

    def _write_head(self, head: LogHead) -> None:
        content = json.dumps({"format": FORMAT, **vars(head), **self._signed(head)}).encode() + b"\n"
        path = self.lines / HEAD_FILE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | _BINARY, 0o644)
        try:
            os.write(descriptor, content)
            if os.fstat(descriptor).st_size > len(content):
                os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)

    def _sync(self) -> None:
        for name in (self._last_segment, HEAD_FILE):
            if name and (self.lines / name).exists():
                descriptor = os.open(self.lines / name, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        self._unsynced = 0


def _append_bytes(file: Path, content: bytes, size: int) -> int:
    """Append all of it or nothing; returns the new size of the file. Raises OSError."""
    new = not file.exists()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY, 0o644)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        os.ftruncate(descriptor, size)
        raise
    finally:
        os.close(descriptor)
    if new:
        sync_folder(file.parent)
    return size + len(content)


def _ends_with_newline(file: Path) -> bool:
    with file.open("rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read() == b"\n"


def _split(line: bytes) -> RawEntry | None:
    try:
        return split_line(line)
    except NewerFormat as error:
        raise _newer(str(error)) from error


def _newer(what: object) -> DataError:
    return DataError(
        f"The audit log is of a newer version ({what}; this one knows format {FORMAT}).",
        "Upgrade anomalist. Nothing was written.",
    )


def _log_error(path: Path, error: OSError) -> DataError:
    found = write_error(path, error)
    return DataError(
        f"The audit log: {found.message}",
        f"{found.remedy} ANOMALIST_HOME says where it is; ANOMALIST_AUDIT=off goes without one.",
    )


def _now() -> str:
    """UTC to the microsecond, always of the same length, so that times sort as text."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
