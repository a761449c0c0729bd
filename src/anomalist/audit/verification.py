"""Verification of an audit log: signatures, hash chain, segments, removed contents and media.

Says what was changed, is missing, was moved, inserted or cut off, and where. The standard library is enough:
`anomalist.audit.export` puts this module, with those that it imports, into one file for every bundle.
"""

from __future__ import annotations

import bisect
import itertools
import json
import sys
from array import array
from pathlib import Path
from typing import Any

from anomalist.audit.ed25519 import SignatureCheck, ed25519_verify
from anomalist.audit.entries import (
    FORMAT,
    HEAD_FILE,
    NewerFormat,
    RawEntry,
    file_digest,
    is_learned,
    is_sha256,
    read_lines,
    segment_files,
    signed_message,
    split_line,
)
from anomalist.audit.findings import Finding, Verification, summary_lines

_OK, _BODY, _UNREADABLE = 0, 1, 2
_SPECIAL = ("checkpoint", "tombstone", "session", "learning", "model call")


class _Lines:
    """What is kept of each line of a log: about 80 bytes."""

    def __init__(self) -> None:
        self.positions = array("q")
        self.states = bytearray()
        self.hashes = bytearray()
        self.previous = bytearray()
        self.starts: list[tuple[int, str]] = []

    def add(self, entry: RawEntry | None) -> None:
        self.positions.append(-1 if entry is None else entry.position)
        self.states.append(_UNREADABLE if entry is None else _OK if entry.body_sound else _BODY)
        self.hashes += bytes(32) if entry is None else bytes.fromhex(entry.hash)
        self.previous += bytes(32) if entry is None else _hex_or_zero(entry.head["previous"])

    def hash_of(self, line: int) -> bytes:
        return bytes(self.hashes[32 * line : 32 * line + 32])

    def previous_of(self, line: int) -> bytes:
        return bytes(self.previous[32 * line : 32 * line + 32])

    def place(self, line: int) -> tuple[str, int]:
        """Segment and line number of a line of the whole log."""
        at = max(0, bisect.bisect_right(self.starts, (line, "\uffff")) - 1)
        if not self.starts:
            return "", 0
        start, name = self.starts[at]
        return name, line - start + 1


def _hex_or_zero(text: Any) -> bytes:  # noqa: ANN401
    try:
        return bytes.fromhex(str(text)).ljust(32, b"\0")[:32]
    except ValueError:
        return bytes(32)


class Verifier:
    """Verifies one log; ``run`` does it.

    Parameters
    ----------
    folder : of the log.
    check : verifies signatures; the one of this file by default.
    sizes : bytes of each segment that are looked at, where others are still writing.
    head : content of the head file, where it was read before.
    chosen : of a bundle: positions of the entries whose content it holds; that of others is withheld.
    """

    def __init__(
        self,
        folder: Path,
        check: SignatureCheck = ed25519_verify,
        sizes: dict[str, int] | None = None,
        head: dict[str, Any] | None = None,
        chosen: frozenset[int] | None = None,
    ) -> None:
        self.folder = folder
        self._chosen = chosen
        self.result = Verification()
        self._check = check
        self._sizes = sizes
        self._lines = _Lines()
        self._head = head
        self._checkpoints: list[tuple[int, dict[str, Any]]] = []
        self._tombstones: set[int] = set()
        self._removed: list[tuple[int, int]] = []  # (position, line)
        self._media: dict[str, int] = {}  # by hash, the last entry that names it
        self._removed_media: dict[str, int] = {}  # and the last tombstone
        self._texts: dict[str, int] = {}  # the same of policies, rules and prompts
        self._learned: dict[str, int] = {}  # and of what was learned
        self._half = False
        self._last_time = ""
        self._halves: set[int] = set()
        self._moved: set[int] = set()

    def run(self, *, stores: Path | None = None, anchors: list[str] | None = None) -> Verification:
        """Verify everything; ``stores`` is the folder with stored media, texts and profiles.

        Raises FileNotFoundError without a log, NewerFormat for one of a newer version.
        """
        files = segment_files(self.folder)
        if not files and not (self.folder / HEAD_FILE).exists():
            raise FileNotFoundError(f"There is no audit log in {self.folder}.")
        self._read_head()
        for file in files:
            self._read_segment(file)
        self.result.segments = len(files)
        self.result.entries = len(self._lines.positions)
        self._find_damage()
        self._check_signatures()
        self._check_removed()
        for anchor in anchors or ():
            self._check_anchor(anchor)
        if stores is not None:
            self._check_media(stores / "media")
            self._check_kept(stores)
        self.result.findings.sort(key=lambda each: (each.position is None, each.position or 0))
        return self.result

    def _report(
        self, kind: str, position: int | None, line: int | None, text: str, last: int | None = None
    ) -> None:
        segment, number = ("", 0) if line is None else self._lines.place(line)
        self.result.findings.append(
            Finding(kind, position, position if last is None else last, segment, number, text)
        )

    def _read_head(self) -> None:
        try:
            head = self._head or json.loads((self.folder / HEAD_FILE).read_bytes())
            newer = int(head.get("format", 1)) > FORMAT
            known = {"log": str(head["log"]), "position": int(head["position"]), "hash": str(head["hash"])}
            self._head = {**head, **known}
        except FileNotFoundError:
            self._report("missing", None, None, f"{HEAD_FILE} is gone: nothing vouches for the end")
            return
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            self._head = None
            self._report("changed", None, None, f"{HEAD_FILE} can't be read: nothing vouches for the end")
            return
        if newer:
            raise NewerFormat(f"format {self._head['format']}")
        self.result.log = str(self._head["log"])
        self.result.head = f"{self.result.log}:{self._head['position']}:{self._head['hash']}"

    def _read_segment(self, file: Path) -> None:
        lines = self._lines
        lines.starts.append((len(lines.positions), file.name))
        size = None if self._sizes is None else self._sizes.get(file.name, 0)
        for _, line, whole in read_lines(file, size):
            entry = split_line(line)
            if entry is not None and not self.result.log:
                self.result.log = str(entry.head["log"])
            if entry is not None and entry.head["log"] != self.result.log:
                number = len(lines.positions)
                lines.add(None)
                self._report("inserted", None, number, f"an entry of another log ({entry.head['log']})")
                lines.states[number] = _OK  # reported already
                continue
            lines.add(entry)
            self._half = not whole
            if self._half:
                self._halves.add(len(lines.positions) - 1)
            if entry is None:
                continue
            time = str(entry.head["time"])
            if time < self._last_time:
                self.result.notes.append(
                    f"The clock went back at entry {entry.position}: {self._last_time} to {time}."
                )
            self._last_time = time
            self._take_special(entry, len(lines.positions) - 1)

    def _take_special(self, entry: RawEntry, line: int) -> None:
        if entry.body == b"null":
            self._removed.append((entry.position, line))
            return
        if not entry.body_sound:
            return
        kind = entry.head["kind"]
        if kind not in _SPECIAL and b'"media":[{' not in entry.body and entry.body[:1] == b"{":
            return
        content = entry.content
        try:
            if content is None:
                raise TypeError(kind)
            if kind == "checkpoint":
                self._checkpoints.append((entry.position, content))
            elif kind == "tombstone":
                self._tombstones.update(content.get("positions", ()))
                self._removed_media.update(dict.fromkeys(content.get("files", ()), entry.position))
            elif kind in _SPECIAL:
                texts = (content.get("policy_text"), content.get("rules"), *_values(content.get("texts")))
                self._texts.update(dict.fromkeys(filter(is_sha256, texts), entry.position))
                learned = content.get("profile_digest")
                if content.get("profile_kept") is True and is_sha256(learned):
                    self._learned[str(learned)] = entry.position
            else:
                self._media.update({str(item["sha256"]): entry.position for item in content["media"]})
        except (TypeError, KeyError):
            self._report("forged", entry.position, line, f"its content is not that of an entry ({kind})")

    # What is changed, missing, reordered, inserted or cut off

    def _find_damage(self) -> None:
        lines = self._lines
        for line, state in enumerate(lines.states):
            if state == _BODY:
                self._report("changed", lines.positions[line], line, "its content is not what its hash says")
        kept = self._in_order()
        if not kept:
            self._report_unordered(-1, len(lines.positions), -1, self._end() + 1)
            return
        self._report_strangers(kept)
        edge, position = -1, -1
        for line in kept:
            self._report_unordered(edge, line, position, lines.positions[line])
            edge, position = line, lines.positions[line]
        self._report_end(edge, position)
        self._report_broken_links(kept)

    def _end(self) -> int:
        return -1 if self._head is None else int(self._head["position"])

    def _in_order(self) -> list[int]:
        """Lines that are in their place: the longest rising sequence of positions."""
        positions = self._lines.positions
        if all(here == at for at, here in enumerate(positions)):
            return list(range(len(positions)))
        tails: list[int] = []  # position at the end of the best sequence of each length
        at: list[int] = []  # and its line
        before: dict[int, int] = {}
        for line, position in enumerate(positions):
            if position < 0:
                continue
            place = bisect.bisect_left(tails, position)
            if place < len(tails) and tails[place] == position and not self._follows(line, at, place):
                continue  # of two with one position the one that follows what is before it stays
            before[line] = at[place - 1] if place else -1
            tails[place : place + 1] = [position]
            at[place : place + 1] = [line]
        kept, line = [], at[-1] if at else -1
        while line >= 0:
            kept.append(line)
            line = before[line]
        return kept[::-1]

    def _follows(self, line: int, at: list[int], place: int) -> bool:
        known = at[place]
        before = self._lines.hash_of(at[place - 1]) if place else bytes(32)
        return self._lines.previous_of(known) != before and self._lines.previous_of(line) == before

    def _report_strangers(self, kept: list[int]) -> None:
        """Report what stands where it does not belong."""
        lines = self._lines
        members = set(kept) if len(kept) < len(lines.positions) else None
        if members is None:
            return
        seen = {lines.positions[line] for line in kept}
        for line, position in enumerate(lines.positions):
            if position < 0 or line in members:
                continue
            if position in seen:
                self._report("inserted", position, line, "there is another entry of that position")
            else:
                seen.add(position)
                self._moved.add(position)
                self._report("reordered", position, line, "it stands where another entry belongs")

    def _report_unordered(self, edge: int, line: int, position: int, next_position: int) -> None:
        """Report what lies between two lines that are in their place, or before the first."""
        if line - edge == 1 and next_position - position == 1:
            return
        positions, states = self._lines.positions, self._lines.states
        unreadable = [each for each in range(edge + 1, line) if states[each] == _UNREADABLE]
        gap = range(position + 1, next_position)
        if unreadable and not gap:
            self._report("inserted", None, unreadable[0], "it is no entry of this log")
        elif unreadable:
            kind = "cut off" if self._halves.issuperset(unreadable) else "changed"
            self._report(kind, gap[0], unreadable[0], "it can't be read any more", last=gap[-1])
        elif gap:
            where = min(line, len(positions) - 1)
            for start, stop in _ranges(gap, self._moved):
                self._report("missing", start, where, "it is gone; the next entry is here", last=stop)

    def _report_end(self, edge: int, position: int) -> None:
        """Report what is behind the last entry that is in its place, and what should be."""
        lines, end = self._lines, self._end()
        rest = [each for each in range(edge + 1, len(lines.states)) if lines.states[each] == _UNREADABLE]
        if self._half and len(rest) == 1 and end <= position:
            self.result.notes.append("An unfinished entry at the end: a writer was interrupted.")
            self._compare_head(position)
            return
        missing = _ranges(range(position + 1, end + 1), self._moved)
        if rest and not missing:
            self._report("inserted", None, rest[0], "it is no entry of this log")
        elif rest and not (self._half and len(rest) == 1):
            numbers = itertools.chain.from_iterable(range(start, stop + 1) for start, stop in missing)
            changed = list(itertools.islice(numbers, len(rest)))
            self._report("changed", changed[0], rest[0], "it can't be read any more", last=changed[-1])
            missing = _ranges(range(changed[-1] + 1, end + 1), self._moved)
        if missing:
            at = max(len(lines.states) - 1, 0)
            text = f"the log ends before it; the signed head names entry {end} as the last"
            self._report("cut off", missing[0][0], at if lines.states else None, text, last=missing[-1][1])
        if position >= end and not rest:
            self._compare_head(position)

    def _compare_head(self, last: int) -> None:
        """Compare the entry that the signed head names; ``last`` is the last one in its place."""
        if self._head is None:
            return
        end = self._end()
        found = self._hash_at(end)
        if found is not None and found != self._head["hash"]:
            line = self._lines.positions.index(end)
            self._report("forged", end, line, "it is not the entry that the signed head names")
        elif found is not None and last > end:
            self.result.notes.append(f"{last - end} entries are newer than the signed head.")

    def _report_broken_links(self, kept: list[int]) -> None:
        """Report entries that were exchanged for others with a hash of their own."""
        lines, broken = self._lines, []
        if kept and lines.positions[kept[0]] == 0 and lines.previous_of(kept[0]) != bytes(32):
            self._report("forged", 0, kept[0], "the first entry names one before it")
        for one, other in itertools.pairwise(kept):
            neighbours = lines.positions[other] - lines.positions[one] == 1
            if neighbours and lines.previous_of(other) != lines.hash_of(one):
                broken.append((one, other))
        for number, (one, other) in enumerate(broken):
            if number and broken[number - 1][1] == one:
                continue  # both links of one exchanged entry
            exchanged = other if number + 1 < len(broken) and broken[number + 1][0] == other else one
            self._report(
                "changed",
                lines.positions[exchanged],
                exchanged,
                "it was exchanged: its neighbours name another entry in its place",
            )

    # Signatures, removed bodies, anchors, media

    def _hash_at(self, position: int) -> str | None:
        """Hash of the entry of a position, where there is one in its place."""
        positions = self._lines.positions
        at = position if position < len(positions) and positions[position] == position else -1
        if at < 0:
            at = next((line for line, here in enumerate(positions) if here == position), -1)
        return None if at < 0 else self._lines.hash_of(at).hex()

    def _check_signatures(self) -> None:
        signed = [(None, self._head)] if self._head is not None else []
        for position, body in [*self._checkpoints, *signed]:
            try:
                key, signature = bytes.fromhex(body["key"]), bytes.fromhex(body["signature"])
                at, hash_ = int(body["position"]), str(body["hash"])
            except (KeyError, ValueError, TypeError, OverflowError):
                self._report("forged", position, None, "a signature can't be read")
                continue
            if not self._check(key, signature, signed_message(self.result.log, at, hash_)):
                what = "the signature of the head" if position is None else "the signature of a checkpoint"
                self._report("forged", position, None, f"{what} does not fit")
                continue
            self.result.signatures += 1
            if body["key"] not in self.result.keys:
                self.result.keys.append(body["key"])
            known = self._hash_at(at)
            if position is not None and known is not None and known != hash_:
                self._report("forged", at, None, f"it is not the entry that was signed in entry {position}")
        if len(self.result.keys) > 1:
            self.result.notes.append(f"Signed with {len(self.result.keys)} keys, one after the other.")

    def _check_removed(self) -> None:
        for position, line in self._removed:
            if position in self._tombstones:
                self.result.removed += 1
            elif self._chosen is not None and position not in self._chosen:
                self.result.withheld += 1
            else:
                self._report("removed", position, line, "its content is gone, and no entry says why")

    def _check_anchor(self, anchor: str) -> None:
        log, position, hash_ = (*anchor.strip().split(":"), "", "")[:3]
        if log != self.result.log or not position.isdecimal():
            self._report("forged", None, None, f"the anchor {anchor} is not of this log ({self.result.log})")
            return
        known = self._hash_at(int(position))
        if known != hash_:
            what = "is not there" if known is None else "has another hash"
            self._report("forged", int(position), None, f"the entry that was anchored {what}")

    def _check_media(self, folder: Path) -> None:
        for sha256, position in self._media.items():
            file = folder / sha256[:2] / sha256
            if self._removed_media.get(sha256, -1) > position:
                continue
            if not file.is_file():
                self._report("media", position, None, f"the stored file {sha256[:12]} is gone")
            elif file_digest(file) != sha256:
                self._report("media", position, None, f"the stored file {sha256[:12]} has changed")

    def _check_kept(self, folder: Path) -> None:
        """Look at what was judged with; a bundle holds that of the chosen entries alone."""
        for sha256, position in self._texts.items():
            file = folder / "texts" / sha256
            if not file.is_file():
                happened = "is gone" if self._chosen is None else ""
            else:
                happened = "" if file_digest(file) == sha256 else "has changed"
            if happened:
                self._report("kept", position, None, f"the stored text {sha256[:12]} {happened}")
        for digest, position in self._learned.items():
            place = folder / "profiles" / digest[:16]
            found = [each for each in sorted(place.glob("[!.]*")) if each.is_dir()]
            if not found and self._chosen is None:
                self._report("kept", position, None, f"the stored profile {digest[:12]} is gone")
            for each in found:
                if not is_learned(each, digest):
                    text = f"the stored profile {digest[:12]} ({each.name}) has changed"
                    self._report("kept", position, None, text)


def _values(texts: Any) -> tuple[Any, ...]:  # noqa: ANN401
    return tuple(texts.values()) if isinstance(texts, dict) else ()


def _ranges(gap: range, without: set[int]) -> list[tuple[int, int]]:
    """First and last of each run of neighbours in a gap, which may be as long as numbers go, less some."""
    edges = [gap.start - 1, *sorted(each for each in without if each in gap), gap.stop]
    return [(one + 1, other - 1) for one, other in itertools.pairwise(edges) if other - one > 1]


def main(arguments: list[str]) -> int:
    """Verify the log of a bundle; returns 0 when it is sound, 1 when not, 2 when there is none."""
    anchors = [arguments[at + 1] for at, each in enumerate(arguments[:-1]) if each == "--anchor"]
    folder = Path(arguments[0]) if arguments and not arguments[0].startswith("-") else Path(__file__).parent
    log = folder / "log" if (folder / "log").is_dir() else folder
    chosen = None
    if (folder / "chosen.jsonl").is_file():
        rows = (folder / "chosen.jsonl").read_text(encoding="utf-8").splitlines()
        chosen = frozenset(int(json.loads(row)["position"]) for row in rows)
    try:
        result = Verifier(log, chosen=chosen).run(stores=folder, anchors=anchors)
    except FileNotFoundError as error:
        print(error)
        return 2
    except NewerFormat as error:
        print(f"This log is of a newer version ({error}): take the verifier of that version.")
        return 2
    print("\n".join(summary_lines(result)))
    return 0 if result.sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
