"""Feedback on a selection in a conversation: what was listed last is fine, and taking that back."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.question import Question
from anomalist.agent.asking.run_replies import QUERY_ID, RunDraft
from anomalist.agent.reasoning.wording import join_words
from anomalist.agent.tools.selection import call_selection_fine, undo_selection
from anomalist.agent.tools.subject import Result, Subject
from anomalist.querying.parsing import parse_query
from anomalist.querying.query import Query
from anomalist.types.common import Answer

INTENT = "feedback"


def last_query(earlier: Sequence[Answer]) -> Query | None:
    """The query of the last question that was answered; None where that has none."""
    text = next((each.query for each in reversed(earlier) if each.answered), None)
    return None if text is None else parse_query(text)


def selection_feedback_draft(subject: Subject, question: Question, earlier: Sequence[Answer]) -> RunDraft:
    """Store that what was listed or counted last is fine, as one entry; or take the last such entry back.

    Raises DataError where the case to undo is unknown, or was undone already.
    """
    if re.search(r"\b(?:undo|revoke|withdraw|take back)\b", question.plain):
        return _undo(subject, question, earlier)
    before = last_query(earlier)
    if before is None or before.measure not in ("list", "count") or not _selects(before):
        helps = 'List them first ("which bricks are anomalous?"), then say that all of these are fine.'
        return _not_stored("What is meant? Nothing was stored.", helps)
    stored = call_selection_fine(subject, str(before), f"in words: {question.text}")
    counts = join_words([f"{number} {label}" for label, number in stored.by_label.items()])
    are = "is" if stored.selected == 1 else "are"
    if stored.noun.startswith("picture"):
        said = f"{stored.selected} {stored.noun} {are} fine."
        cited = f"The recorded verdicts stay ({counts}); findings like theirs will cite it"
        stays = f"{cited}, and learn --from-feedback learns them."
        if stored.unhashed:
            stays = f"{cited}. {stored.unhashed} can't be learned from: no hash of the file was recorded."
    else:
        said = f"{stored.selected} {stored.noun} {are} not worth watching."
        stays = f"The recorded severities stay ({counts}); events like them move down in rank."
    claims = [
        make_claim(f"Stored as {stored.case}, said by {stored.who}: {said}", stored.ids),
        make_claim(stays, stored.ids),
    ]
    if stored.left_out:
        were = "1 more was" if stored.left_out == 1 else f"{stored.left_out} more were"
        claims.append(make_claim(f"{were} not judged: nothing was stored of that.", stored.ids))
    return RunDraft(Draft(tuple(claims), (stored,)), before, None, INTENT)


class _Cited(Result):
    """Ids that a sentence may cite."""


def _selects(query: Query) -> bool:
    """Whether a query selects some pictures, clips or events, not groups or all of them."""
    grouped = query.by or query.trend or query.compare or query.measure not in ("list", "count")
    return (
        query.table in ("pictures", "clips", "events")
        and not grouped
        and bool(query.where or query.top or query.alike)
    )


def _undo(subject: Subject, question: Question, earlier: Sequence[Answer]) -> RunDraft:
    named = re.search(r"\bcase:[1-9]\d*\b", question.plain)
    given = [each.claims[0].evidence[0] for each in earlier if each.intent == INTENT and each.claims]
    case = named[0] if named else given[-1] if given else None
    if case is None:
        text = "Nothing was said in this conversation that could be undone."
        return _not_stored(text, "Name the case: undo case:12")
    undone = undo_selection(subject, case)
    parts = "pictures" if undone.media == "picture" else "events"
    text = f"{undone.id} is undone, with all its {parts}; it stays in the file as such."
    return RunDraft(Draft((make_claim(text, (undone.id,)),), (_Cited(ids=(undone.id,)),)), intent=INTENT)


def _not_stored(text: str, helps: str) -> RunDraft:
    return RunDraft(Draft((make_claim(text, (QUERY_ID,)),), (), helps), intent=INTENT)
