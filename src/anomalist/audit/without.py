"""The verdict without a rule, a case or a scene that memory recalled, and without the policy.

A decision is taken again with the versions of then, less one thing; what it says about the verdict is what
differs then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anomalist.errors import AnomalistError, DataError
from anomalist.report.wording import severity_word
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Record

if TYPE_CHECKING:
    from anomalist.audit.reading import LogEntry
    from anomalist.audit.replay import Replayer

POLICY, MEMORY = "policy", "memory"
"""Names of what is left out as a whole; everything else goes by the id of what was recalled."""


@dataclass(frozen=True)
class Without:
    """The verdict without one thing.

    Parameters
    ----------
    part : its id, or "policy" (the shipped one in its place) or "memory" (nothing is recalled).
    verdict : what it would have been, in words; "" where that can't be said.
    differences : from the decision, one sentence each; none where it would have been the same.
    note : what that leaves open, or why it can't be said.
    """

    part: str
    verdict: str
    differences: tuple[str, ...] = ()
    note: str = ""

    @property
    def sentence(self) -> str:
        """What came out, in one sentence."""
        named = "With the shipped policy" if self.part == POLICY else f"Without {self.part}"
        if not self.verdict:
            return f"{named}: {self.note}"
        same = "the same" if not self.differences else "; ".join(self.differences)
        return f"{named}: {self.verdict} ({same}).{f' {self.note}' if self.note else ''}"


def recalled_ids(record: Record | ClipRecord) -> tuple[str, ...]:
    """Ids of what memory recalled for a picture, or for any event of a clip, each once."""
    items = (
        record.recall.items
        if isinstance(record, Record)
        else tuple(item for event in record.events for item in event.recalled)
    )
    return tuple(dict.fromkeys(item.id for item in items))


def verdicts_without(entry: LogEntry, replayer: Replayer, parts: Iterable[str] = ()) -> tuple[Without, ...]:
    """What a logged decision would have been without each of some things.

    Parameters
    ----------
    parts : ids of rules, cases or scenes; "memory", "policy"; by default all that bear on the decision.

    Raises
    ------
    DataError : the entry is no decision, or a part is none of these.
    """
    return tuple(_tried(entry, replayer, tuple(parts)))


def _tried(entry: LogEntry, replayer: Replayer, asked: tuple[str, ...]) -> Iterator[Without]:
    from anomalist.audit.replay import decision_record

    record = decision_record(entry)
    recalled = recalled_ids(record)
    for part in asked:
        if part not in (POLICY, MEMORY) and part.partition(":")[0] not in ("rule", "case", "scene", "normal"):
            raise DataError(
                f"{part} is nothing that a verdict could do without.",
                f"There are: policy, memory, and what was recalled: {', '.join(recalled) or 'nothing'}.",
            )
    everything = (*recalled, *((MEMORY,) if len(recalled) > 1 else ()), POLICY)
    for part in asked or everything:
        if part not in (POLICY, MEMORY, *recalled):
            words = verdict_words(record)
            yield Without(part, words, note=f"{part} was not recalled: the verdict does not rest on it.")
            continue
        left_out = frozenset() if part == POLICY else frozenset(recalled if part == MEMORY else (part,))
        try:
            again = replayer.take_without(entry, left_out, shipped_policy=part == POLICY)
        except AnomalistError as error:
            yield Without(part, "", note=f"that can't be said: {error.message}")
            continue
        if again is None:
            if asked:
                yield Without(part, verdict_words(record), note="It was the shipped policy.")
            continue
        found = tuple(replayer.differences(record, again, without=left_out))
        yield Without(part, verdict_words(again), found, open_point(record, part))


def open_point(record: Record | ClipRecord, part: str) -> str:
    """What was not taken again: a model that had read what is left out."""
    asked = record.replies if isinstance(record, Record) else any(event.replies for event in record.events)
    if part == POLICY or not asked:
        return ""
    return "The model's reply is that of then, and it had read it: what it would say without is not known."


def verdict_words(record: Record | ClipRecord) -> str:
    """A verdict in a few words: label and severity, of a clip with the number of its events."""
    if not record.judged:
        return f"not judged: {record.error or 'why was not recorded'}"
    if isinstance(record, Record):
        severity = f", {severity_word(record.severity)}" if record.severity else ""
        return f"{record.label}{severity}"
    if not record.events:
        return str(record.label)
    graded = ", ".join(f"{event.id} {severity_word(event.severity)}" for event in record.events)
    return f"{record.label}, {graded}"
