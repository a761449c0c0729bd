"""Feedback on a selection of pictures or events: one entry with its query, undone as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy.typing as npt

from anomalist.agent.reasoning.recall import (
    REGION_VECTOR_SPACE,
    case_vector,
    event_feedback,
    finding_sentence,
)
from anomalist.agent.tools.records import subject_tables
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import DataError
from anomalist.memory.cases import Case, CaseStore, Feedback
from anomalist.querying.execution import run_query
from anomalist.querying.parsing import parse_query
from anomalist.querying.query import Query
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.common import SEVERITIES
from anomalist.types.image import Record


class SelectionFeedback(Result):
    """What was said about a selection, as one entry.

    ``selected`` is how many pictures or events, which ``noun`` says; ``by_label`` counts pictures by label
    and events by severity; ``left_out`` pictures were not judged, and ``unhashed`` ones can't be learned.
    """

    case: str
    who: str
    query: str
    selected: int
    noun: str
    by_label: dict[str, int]
    left_out: int
    unhashed: int


_NOUNS: dict[str, tuple[str, str]] = {
    "pictures": ("picture", "pictures"),
    "clips": ("event", "events"),
    "events": ("event", "events"),
}
"""What is selected by a list of each table: of clips, all of their events."""

_Part = tuple[Feedback, Mapping[str, npt.ArrayLike]]


def call_selection_fine(subject: Subject, query: str, note: str = "") -> SelectionFeedback:
    """Store that all pictures or events of a query are fine, only when the person says so.

    No verdict is changed: pictures count as normal from here on, events as not worth watching. ``query`` is
    the text form of a list, "label=anomalous product=brick" or "events kind=speed". It is one entry, undone
    as one. Pictures that could not be judged are left out: nothing is known of them.
    """
    subject.check_feedback()
    given = parse_query(query)
    if given.table not in _NOUNS or given.by or given.trend or given.compare:
        raise DataError(
            "That query is no list of pictures, clips or events.",
            "For instance: label=anomalous product=brick",
        )
    found: list[tuple[str, _Part]]
    one, many = _NOUNS[given.table]
    left_out = unhashed = 0
    if given.table == "pictures":
        selected = _selected_pictures(subject, given)
        judged = [record for record in selected if record.judged]
        left_out = len(selected) - len(judged)
        unhashed = sum(record.sha256 is None for record in judged)
        found = [_of_picture(record) for record in judged]
    else:
        found = [_of_event(*each) for each in _selected_events(subject, given)]
    if not found:
        judgeable = f"{one} that was judged" if left_out else one
        raise DataError(f"The query selects no {judgeable}.", "Nothing was stored.")
    listed = str(given.replace(measure="list", part=(), of=None))
    first = found[0][1][0]
    with CaseStore(subject.case_file) as store:
        head = store.add_selection(
            Feedback(
                action=first.action,
                media=first.media,
                source=f"selection of {len(found)} {one if len(found) == 1 else many}",
                part="selection",
                text=listed,
                severity=0,
                profile=first.profile,
                note=note,
            ),
            [part for _, part in found],
        )
    return SelectionFeedback(
        ids=(head.id,),
        case=head.id,
        who=head.who,
        query=listed,
        selected=len(found),
        noun=one if len(found) == 1 else many,
        by_label=dict(Counter(label for label, _ in found)),
        left_out=left_out,
        unhashed=unhashed,
    )


def _selected_pictures(subject: Subject, query: Query) -> list[Record]:
    asked = query.replace(measure="list", part=(), of=None, show=("source",))
    sources = {str(row[0]) for row in run_query(subject_tables(subject), asked).rows}
    held: dict[str, Record] = {}
    for each in (*subject.records, *subject.past):  # a picture may be in both
        held.setdefault(each.source, each)
    return [each for source, each in held.items() if source in sources]


def _selected_events(subject: Subject, query: Query) -> list[tuple[ClipRecord, Event]]:
    """The events of a list of events, or all those of a list of clips."""
    shown = ("source", "event") if query.table == "events" else ("source",)
    asked = query.replace(measure="list", part=(), of=None, show=shown)
    chosen = {tuple(map(str, row)) for row in run_query(subject_tables(subject), asked).rows}
    return [
        (clip, event)
        for clip in subject.clips
        for event in clip.events
        if (clip.source, event.id)[: len(shown)] in chosen
    ]


def undo_selection(subject: Subject, case: str) -> Case:
    """Take back what was said about a selection, of all its parts."""
    subject.check_feedback()
    with CaseStore(subject.case_file) as store:
        return store.undo(case)


def _of_picture(record: Record) -> tuple[str, _Part]:
    """Label and feedback on a picture as a whole."""
    feedback = Feedback(
        action="corrected",
        media="picture",
        source=record.source,
        sha256=record.sha256,
        key=record.key,
        text=finding_sentence(record),
        severity=0,
        profile=record.profile,
    )
    vector = case_vector(record)
    vectors = {} if vector is None else {REGION_VECTOR_SPACE: vector}
    return str(record.label), (feedback, vectors)


def _of_event(record: ClipRecord, event: Event) -> tuple[str, _Part]:
    """Severity and feedback on an event."""
    return SEVERITIES[event.severity], event_feedback(record, event, "dismissed")
