"""Feedback on a selection of pictures: one entry with its query, for each of them, undone as one."""

from __future__ import annotations

from collections.abc import Sequence

from anomalist.agent.reasoning.recall import REGION_VECTOR_SPACE, case_vector, finding_sentence
from anomalist.agent.tools.records import subject_tables
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import DataError
from anomalist.memory.cases import Case, CaseStore, Feedback
from anomalist.querying.execution import run_query
from anomalist.querying.parsing import parse_query
from anomalist.settings import Settings
from anomalist.types.image import Record


class SelectionFeedback(Result):
    """What was said about a selection, as one entry."""

    case: str
    who: str
    query: str
    pictures: int
    by_label: dict[str, int]


def call_selection_fine(subject: Subject, query: str, note: str = "") -> SelectionFeedback:
    """Store that all pictures of a query are fine, only when the person says so; no verdict is changed.

    ``query`` is the text form of a list, "label=anomalous product=brick". It is one entry, undone as one.
    """
    given = parse_query(query)
    if given.table != "pictures" or given.by or given.trend or given.compare:
        raise DataError("That query is no list of pictures.", "For instance: label=anomalous product=brick")
    asked = given.replace(measure="list", part=(), of=None, show=("source",))
    sources = {str(row[0]) for row in run_query(subject_tables(subject), asked).rows}
    records = [each for each in (*subject.records, *subject.past) if each.source in sources]
    if not records:
        raise DataError("The query selects no picture.", "Nothing was stored.")
    with CaseStore(subject.cases or Settings().home / "cases.sqlite") as store:
        head = store.add_selection(
            Feedback(
                action="corrected",
                media="picture",
                source=f"selection of {len(records)} pictures",
                part="selection",
                text=str(asked.replace(show=())),
                severity=0,
                profile=records[0].profile,
                note=note,
            ),
            [_of_picture(record) for record in records],
        )
    return _stored(head, str(asked.replace(show=())), records)


def undo_selection(subject: Subject, case: str) -> Case:
    """Take back what was said about a selection, of all its pictures."""
    with CaseStore(subject.cases or Settings().home / "cases.sqlite") as store:
        return store.undo(case)


def _of_picture(record: Record) -> tuple[Feedback, dict[str, Sequence[float]]]:
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
    return feedback, {} if vector is None else {REGION_VECTOR_SPACE: vector.tolist()}


def _stored(head: Case, query: str, records: Sequence[Record]) -> SelectionFeedback:
    counts: dict[str, int] = {}
    for record in records:
        label = str(record.label or "not judged")
        counts[label] = counts.get(label, 0) + 1
    return SelectionFeedback(
        ids=(head.id,), case=head.id, who=head.who, query=query, pictures=len(records), by_label=counts
    )
