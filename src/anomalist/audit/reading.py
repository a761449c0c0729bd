"""Read an audit log: verify it, iterate, search, and find an entry by its position or hash."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from anomalist.audit.entries import HEAD_FILE, NewerFormat, read_lines, segment_files, split_line
from anomalist.audit.findings import Verification
from anomalist.audit.keys import signature_fits
from anomalist.audit.log import AuditLog, audit_folder
from anomalist.audit.verification import Verifier
from anomalist.errors import DataError

_TIME = re.compile(
    r"([0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2}(?:[T ][0-9]{2}(?::[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,6})?)?)?)?)?)?)"
    r"(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_FIRST = "0001-01-01T00:00:00"


@dataclass(frozen=True)
class LogEntry:
    """One entry of a log; ``body`` is None where it was removed."""

    position: int
    hash: str
    kind: str
    time: str
    body: dict[str, Any] | None

    @property
    def id(self) -> str:
        """How people name it: position and the beginning of its hash."""
        return f"{self.position}-{self.hash[:8]}"

    @property
    def content(self) -> dict[str, Any]:
        """The body, empty where it was removed."""
        return self.body or {}

    def part(self, name: str) -> dict[str, Any]:
        """One field of the body that has fields itself; empty where it is not there, or is no such thing."""
        part = self.content.get(name)
        return part if isinstance(part, dict) else {}

    @property
    def source(self) -> str:
        """What it is about: a picture, a clip, a rule, …; "" where it names nothing."""
        content = self.content
        record = content.get("record")
        about = record if isinstance(record, dict) else content
        return str(next((about[name] for name in ("source", "about", "id", "name") if about.get(name)), ""))

    @property
    def outcome(self) -> str:
        """Of a decision its label, or "error"; "" of other entries."""
        record = self.part("record")
        return str(record.get("label") or ("error" if record.get("status") == "error" else ""))

    @property
    def profiles(self) -> frozenset[str]:
        """Names of the profiles and scenes that it is about."""
        record = self.part("record")
        named = (record.get("profile"), record.get("scene"), self.content.get("profile"))
        return frozenset(str(name) for name in named if name)

    @property
    def text(self) -> str:
        """Its body as text without regard to case, to be searched."""
        return json.dumps(self.content, ensure_ascii=False).casefold()


class Searchable(Protocol):
    """What `Search.fits` looks at; see `LogEntry`."""

    @property
    def kind(self) -> str: ...  # noqa: D102

    @property
    def time(self) -> str: ...  # noqa: D102

    @property
    def outcome(self) -> str: ...  # noqa: D102

    @property
    def profiles(self) -> frozenset[str]: ...  # noqa: D102

    @property
    def text(self) -> str: ...  # noqa: D102


def verify_log(folder: Path | None = None, anchors: Iterable[str] = ()) -> Verification:
    """Verify a log, its media and what was judged with while others may write into it.

    Parameters
    ----------
    folder : of the log; by default that of this user.
    anchors : heads that were kept elsewhere, ``LOG:POSITION:HASH``.

    Raises
    ------
    DataError : there is no log, it can't be read, or it is of a newer version.
    """
    place = audit_folder() if folder is None else folder
    lines = place / "log"
    if not lines.is_dir():
        raise _no_log(place)
    head: dict[str, Any] | None = None
    sizes = None
    try:
        with _lock_if_possible(place):
            sizes = {file.name: file.stat().st_size for file in segment_files(lines)}
            try:
                head = json.loads((lines / HEAD_FILE).read_bytes())
                if not isinstance(head, dict) or not {"log", "position", "hash"} <= head.keys():
                    head = None
            except (OSError, ValueError):
                head = None  # the verifier says what is wrong with it
        return Verifier(lines, signature_fits, sizes, head).run(stores=place, anchors=list(anchors))
    except FileNotFoundError as error:
        raise _no_log(place) from error
    except NewerFormat as error:
        raise DataError(
            f"The audit log {place} is of a newer version ({error}).", "Upgrade anomalist."
        ) from error
    except OSError as error:
        raise DataError(f"The audit log {place} can't be read: {error.strerror}.") from error


def _lock_if_possible(folder: Path) -> Any:  # noqa: ANN401
    """The lock of a log, or none where the folder can't be written: then nobody here writes."""
    try:
        return AuditLog(folder).locked() if _writable(folder) else nullcontext()
    except DataError:
        return nullcontext()


def _writable(folder: Path) -> bool:
    import os

    return os.access(folder, os.W_OK) and (folder / ".lock").exists()


def _no_log(place: Path) -> DataError:
    return DataError(
        f"There is no audit log in {place}.", "It begins with the first anomalist inspect, triage or ask."
    )


def read_entries(
    folder: Path | None = None, *, start: int = 0, kinds: Iterable[str] = ()
) -> Iterator[LogEntry]:
    """Yield the sound entries of a log in the order of the files, from a position on.

    What is damaged is left out: `verify_log` says so. Raises DataError as `verify_log` does.
    """
    place = audit_folder() if folder is None else folder
    files = segment_files(place / "log")
    if not files:
        raise _no_log(place)
    wanted = frozenset(kinds)
    first = max((n for n, file in enumerate(files) if _first_position(file) <= start), default=0)
    for file in files[first:]:
        for _, line, _ in read_lines(file):
            try:
                entry = split_line(line)
            except NewerFormat as error:
                raise DataError(
                    f"The audit log is of a newer version ({error}).", "Upgrade anomalist."
                ) from error
            if entry is None or entry.position < start or (wanted and entry.head["kind"] not in wanted):
                continue
            body = entry.content if entry.body_sound else None
            yield LogEntry(
                entry.position, entry.hash, str(entry.head["kind"]), str(entry.head.get("time", "")), body
            )


def _first_position(file: Path) -> int:
    digits = re.sub(r"\D", "", file.stem)
    return int(digits) if digits else 0


def find_entry(id_: str, folder: Path | None = None) -> LogEntry:
    """The entry that a person names: its position (12), id (12-1f00ba55), or the beginning of its hash.

    Raises DataError if there is none, or more than one.
    """
    text = id_.strip().lower()
    place = re.fullmatch(r"([0-9]{1,18})(?:-([0-9a-f]{4,64}))?", text)
    if place:
        position = int(place[1])
        for entry in read_entries(folder, start=position):
            if entry.position == position and entry.hash.startswith(place[2] or ""):
                return entry
            if entry.position > position:
                break
        if place[2]:
            raise DataError(f"There is no entry {id_[:80]} in the audit log.", "See: anomalist audit search")
    if re.fullmatch(r"[0-9a-f]{6,64}", text):
        found = [entry for entry in read_entries(folder) if entry.hash.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{len(found)} entries begin with {id_}.", "Give more of the hash.")
    raise DataError(f"There is no entry {id_[:80]} in the audit log.", "See: anomalist audit search")


@dataclass(frozen=True)
class Period:
    """A time of the log.

    Parameters
    ----------
    since, until : ISO 8601 times or their beginnings, as in 2026-05; both are included, as well as all of a
        day, a month or a year that is named. UTC, where no other offset is given.

    Raises
    ------
    DataError : for anything else.
    """

    since: str = ""
    until: str = ""

    def holds(self, time: str) -> bool:
        """Whether the time of an entry is in it."""
        since, until = _log_time(self.since), _log_time(self.until)
        return time >= since and (not until or time[: len(until)] <= until)

    def __post_init__(self) -> None:
        self.holds("")


@lru_cache(maxsize=64)
def _log_time(text: str) -> str:
    """A time, or the beginning of one, as the log has it, up to what is given of it."""
    found = _TIME.fullmatch(given := text.strip().upper())
    if not given:
        return ""
    try:
        if found is None or (found[2] and len(found[1]) < 16):  # an offset of a day says nothing
            raise ValueError(given)
        plain = found[1].replace(" ", "T")
        moment = datetime.datetime.fromisoformat((plain + _FIRST[len(plain) :])[:19] + (found[2] or ""))
        if found[2]:
            moment = moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{text!r} is no time of the log.", "Give one as in 2026-05-01T14:30, or its beginning: 2026-05."
        ) from error
    return moment.isoformat()[: min(len(plain), 19)] + plain[19:]


@dataclass(frozen=True)
class Search:
    """What is looked for; everything given must fit.

    Parameters
    ----------
    text : in the body of the entry, without regard to case.
    kinds : of entries.
    since, until : see `Period`.
    label : of a decision: normal, anomalous, undecided, or error.
    profile : of a decision, by name.
    """

    text: str = ""
    kinds: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    label: str = ""
    profile: str = ""

    def __post_init__(self) -> None:
        Period(self.since, self.until)

    def fits(self, entry: Searchable) -> bool:
        """Whether an entry is looked for."""
        return (
            (not self.kinds or entry.kind in self.kinds)
            and Period(self.since, self.until).holds(entry.time)
            and (not self.label or entry.outcome == self.label)
            and (not self.profile or self.profile in entry.profiles)
            and (not self.text or self.text.casefold() in entry.text)
        )


def search_log(search: Search, folder: Path | None = None) -> Iterator[LogEntry]:
    """Yield the entries that fit, the oldest first."""
    return (entry for entry in read_entries(folder, kinds=search.kinds) if search.fits(entry))
