"""Ways to tamper with a log, each with what verification has to say about it.

A change is given to a copy of the lines of a log in memory, so that thousands of tries take seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anomalist.audit.entries import HEAD_FILE, segment_files
from anomalist.audit.findings import Finding

Segments = dict[str, bytes]
"""File name to content."""


@dataclass(frozen=True)
class Tampering:
    """A log that was tampered with: its files, the kinds that may be reported, and where.

    ``positions`` are those of the entries concerned; a report has to name one of them.
    """

    files: Segments
    kinds: tuple[str, ...]
    positions: range

    def found_by(self, findings: list[Finding]) -> bool:
        """Whether it was found, called what it is, and placed."""
        return any(
            finding.kind in self.kinds
            and (
                finding.position is None
                or not set(range(finding.position, (finding.last or finding.position) + 1)).isdisjoint(
                    self.positions
                )
            )
            for finding in findings
        )


def read_segments(folder: Path) -> Segments:
    """The segments of a log folder."""
    return {file.name: file.read_bytes() for file in segment_files(folder)}


def write_segments(folder: Path, files: Segments, head: bytes) -> None:
    """Put a tampered log into a folder, in place of what is there."""
    for file in segment_files(folder):
        file.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / HEAD_FILE).write_bytes(head)


def _pick(files: Segments, chance: random.Random) -> tuple[str, list[bytes], int, int]:
    """A segment, its lines, a line in it, and the position of that line's entry."""
    name = chance.choice(sorted(files))
    lines = files[name].splitlines(keepends=True)
    number = chance.randrange(len(lines))
    return name, lines, number, _first(name) + number


def _first(name: str) -> int:
    return int(name.removeprefix("segment-").removesuffix(".jsonl"))


def change_byte(files: Segments, chance: random.Random) -> Tampering:
    """One byte of the log becomes another."""
    name = chance.choice(sorted(files))
    content = bytearray(files[name])
    at = chance.randrange(len(content))
    position = _first(name) + files[name].count(b"\n", 0, at)
    content[at] = (content[at] + chance.randrange(1, 256)) % 256
    kinds = ("changed", "cut off")  # the last newline gone is an entry cut off
    return Tampering({**files, name: bytes(content)}, kinds, range(position, position + 2))


def delete_entry(files: Segments, chance: random.Random) -> Tampering:
    """One entry is taken out."""
    name, lines, number, position = _pick(files, chance)
    del lines[number]
    return Tampering({**files, name: b"".join(lines)}, ("missing", "cut off"), range(position, position + 1))


def swap_entries(files: Segments, chance: random.Random) -> Tampering:
    """Two entries of one segment change places."""
    name, lines, number, position = _pick(files, chance)
    while len(lines) < 2:
        name, lines, number, position = _pick(files, chance)
    other = chance.choice([each for each in range(len(lines)) if each != number])
    lines[number], lines[other] = lines[other], lines[number]
    low, high = sorted((position, _first(name) + other))
    return Tampering({**files, name: b"".join(lines)}, ("reordered",), range(low, high + 1))


def insert_entry(files: Segments, chance: random.Random) -> Tampering:
    """A copy of an entry of the log is put somewhere."""
    _, others, which, copied = _pick(files, chance)
    name, lines, number, position = _pick(files, chance)
    lines.insert(number, others[which])
    return Tampering(
        {**files, name: b"".join(lines)},
        ("inserted",),
        range(min(copied, position), max(copied, position) + 1),
    )


def cut_log(files: Segments, chance: random.Random) -> Tampering:
    """The end of the log is cut off, somewhere within its last two segments."""
    *_, before, last = sorted(files)
    name = chance.choice((before, last))
    at = chance.randrange(len(files[name]))
    position = _first(name) + files[name].count(b"\n", 0, at)
    kept = {each: content for each, content in files.items() if each <= name}
    return Tampering({**kept, name: files[name][:at]}, ("cut off",), range(position, position + 2**40))


TAMPERINGS: dict[str, Callable[[Segments, random.Random], Tampering]] = {
    "single-byte changes": change_byte,
    "deletions": delete_entry,
    "swaps": swap_entries,
    "insertions": insert_entry,
    "truncations": cut_log,
}
"""What can be done to a log, by name."""
