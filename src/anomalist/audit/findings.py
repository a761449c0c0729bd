"""What verifying an audit log finds: damage with its kind and place, notes, and both in words."""

from __future__ import annotations

from dataclasses import dataclass, field

DAMAGE = ("changed", "missing", "reordered", "inserted", "cut off", "forged", "media", "kept", "removed")
"""Kinds of findings; each means that the log is not what was written."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a log, and where.

    Parameters
    ----------
    kind : one of ``DAMAGE``.
    position : of the entry concerned, or of the first one; None where it has none.
    last : of the last entry concerned, the same as ``position`` for one.
    segment, line : where in the files it shows; line 0 for no line.
    """

    kind: str
    position: int | None
    last: int | None
    segment: str
    line: int
    text: str

    def __str__(self) -> str:
        which = "" if self.position is None else f" entry {self.position}"
        if self.last is not None and self.last != self.position:
            which = f" entries {self.position} to {self.last}"
        where = f" ({self.segment}{f', line {self.line}' if self.line else ''})" if self.segment else ""
        return f"{self.kind}:{which}{where}: {self.text}"


@dataclass
class Verification:
    """What verifying a log found: ``findings`` are damage, ``notes`` are not."""

    log: str = ""
    entries: int = 0
    segments: int = 0
    head: str = ""
    keys: list[str] = field(default_factory=list)
    signatures: int = 0
    removed: int = 0
    withheld: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def summary_lines(result: Verification) -> list[str]:
    """What a verification found, as lines of text."""
    return [
        f"{_count(result.entries, 'entries', 'entry')} in {_count(result.segments, 'segments', 'segment')} "
        f"of log {result.log}, {_count(result.signatures, 'signatures fit', 'signature fits')}, "
        f"{_count(result.removed, 'contents', 'content')} removed with a reason.",
        *([f"The contents of {result.withheld:,} other entries are withheld."] if result.withheld else []),
        *(f"Signed by key {key}" for key in result.keys),
        *(f"Note: {note}" for note in result.notes),
        *map(str, result.findings),
        "SOUND: nothing was changed, removed, moved, inserted or cut off."
        if result.sound
        else f"DAMAGED: {_count(len(result.findings), 'findings', 'finding')}.",
    ]


def _count(number: int, many: str, one: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
