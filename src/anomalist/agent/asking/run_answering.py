"""Answers to questions about runs: follow-ups, intents, queries from English, asking back, what is not known.

What is asked is shown in one line, and the query that gives the numbers again stands in the answer. A
question that is not read to its last word is not answered: the words are said, with the nearest questions
that can be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.question import Entities, Question
from anomalist.agent.asking.run_decisions import Plan, ship_draft
from anomalist.agent.asking.run_feedback import last_query, selection_feedback_draft
from anomalist.agent.asking.run_intents import (
    Form,
    RunIntent,
    is_follow_up,
    is_vague,
    match_picture_intent,
    match_run_intent,
    run_intents,
    split_form,
    unmeasured_topic,
)
from anomalist.agent.asking.run_reading import RunReading, merge_follow_up, names_in, read_run_question
from anomalist.agent.asking.run_reasons import (
    about_draft,
    missed_draft,
    reply_severity_steps,
    reply_sure,
    sure_draft,
    why_draft,
)
from anomalist.agent.asking.run_replies import QUERY_ID, RunDraft, query_draft
from anomalist.agent.asking.run_tables import RunTables, run_tables
from anomalist.agent.asking.run_words import About, asks_time_of_day, run_words
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError, ModelError
from anomalist.querying.execution import run_query
from anomalist.querying.query import Condition, Query
from anomalist.types.common import Answer

_LEAD = re.compile(r"^(?:(?:and|but|so|ok|okay|then|now|please|well)\b,? *)+|^(?:what|how) about ")
_PLACES = ("product", "folder", "profile", "camera")
_ASKS_FOR_ROWS = re.compile(r"(?:which(?: ones?)?|(?:list|show|name)(?: me)? (?:them|these|those))[ ?.!]*$")
MAX_MEMBERS = 10
"""Pictures that a count also names."""

_NO_CLOCK = "At what time of day something happened is not recorded: times count from the start of a clip."
_CLOCK_HELP = "Where the names of the clips hold the hour, name the clip or its folder."

_KEEPS_INTENT = ("ship", "missed", "sure", "compare")
_OF_PICTURES = ("ship", "missed", "sure", "why")
"""Intents whose replies are about the calibration and the severities of pictures."""


def answers_run(subject: Subject, entities: Entities) -> bool:
    """Whether a question is about several records, not about one that it names."""
    return len(subject.records) + len(subject.clips) > 1 and entities.picture is None


def run_draft(
    subject: Subject,
    question: Question,
    earlier: Sequence[Answer] = (),
    plan: Plan | None = None,
) -> RunDraft | None:
    """A draft on a question about several records; None where it is none about a run as a whole.

    Parameters
    ----------
    subject : with several records of pictures, or of clips.
    question : in English.
    earlier : answers of the conversation, in order, that a follow-up refers to.
    plan : that a batch is accepted by, where one was set.

    Raises
    ------
    DataError : a name or value is unknown, with the nearest known ones.
    """
    asked = split_form(question.plain)
    known = run_tables(subject)
    before = last_query(earlier)
    if asked.form != "plain" and not re.search(r"[a-z]{3}", _LEAD.sub("", asked.plain)):
        if before is None:
            return _ask_back(known, RunReading(None))
        return _again(known, before, asked.form, _last_intent(earlier))
    plain = asked.plain
    about: About = "pictures" if subject.records else "clips"
    kinds = frozenset(name.text for name in known.vocabulary.names if name.column in ("kind", "kinds"))
    topic = unmeasured_topic(plain, kinds)
    if topic is not None:
        return _unmeasured(topic.text, topic.helps)
    if about == "clips" and asks_time_of_day(plain):
        return _unmeasured(_NO_CLOCK, _CLOCK_HELP)
    intent = match_run_intent(plain)
    if before is None and is_vague(plain):
        of_one = re.match(r"(?:where|how (?:large|big|bad|severe|sure))\b", plain) is not None
        return _ask_back(known, RunReading(None), question=question.text if of_one else "")
    names = names_in(question.text, [record.source for record in (*subject.records, *subject.clips)])
    follows = before is not None and is_follow_up(plain)
    lead = _LEAD.sub("", plain) if follows else plain
    reading = read_run_question(lead, known.vocabulary, about, names)
    if follows and before is not None and intent in (None, "compare"):
        return _follow_up(known, before, reading, _last_intent(earlier), asked.form, plan, lead)
    if intent == "feedback":
        return selection_feedback_draft(subject, question, earlier)
    if intent is not None:
        return _by_intent(known, intent, reading, asked.form, plan, lead)
    return _read_draft(known, reading, plain, asked.form)


def picture_draft(subject: Subject, question: Question, entities: Entities) -> RunDraft | None:
    """A draft on a question about one picture that its run, or the policy, answers; None for any other."""
    plain = split_form(question.plain).plain
    topic = unmeasured_topic(plain)
    if topic is not None and subject.records:
        return _unmeasured(topic.text, topic.helps)
    if len(subject.records) > 1 and match_run_intent(plain) == "missed":
        where = (Condition(column="source", values=(subject.picture(entities.picture).source,)),)
        return missed_draft(run_tables(subject), where)
    intent = match_picture_intent(plain)
    if intent == "severity" and subject.records:
        record = subject.picture(entities.picture)
        wanted = r"\b(?:not|less|change|policy|line|grade[ds]?|rated|ranked)\b|n't\b"
        if not record.severity or not re.search(wanted, plain):
            return None
        return RunDraft(reply_severity_steps(subject, question, entities), intent="severity")
    if intent == "alike" and len(subject.past) + len(subject.records) > 1:
        return _alike(subject, entities)
    if intent == "sure" and subject.records:
        return RunDraft(reply_sure(subject, question, entities), intent="sure")
    return None


def _last_intent(earlier: Sequence[Answer]) -> str:
    return next((each.intent for each in reversed(earlier) if each.answered), "search")


def unclear_draft(subject: Subject, question: Question) -> RunDraft:
    """Ask back which picture, or what about the run, is meant."""
    return _ask_back(run_tables(subject), RunReading(None), question=question.text)


def unread_draft(subject: Subject, question: Question) -> RunDraft:
    """The reply to a question about a run that nothing here reads."""
    known = run_tables(subject)
    about: About = "pictures" if subject.records else "clips"
    return _unread(known, read_run_question(split_form(question.plain).plain, known.vocabulary, about))


def _alike(subject: Subject, entities: Entities) -> RunDraft | None:
    """Pictures of the run whose findings are like the one that is asked about."""
    record = subject.picture(entities.picture)
    if not record.regions:
        return None
    query = Query(measure="list", alike=record.source)
    result = run_query(run_tables(subject).tables, query)
    shown = query.replace(alike=Path(record.source).name)
    made = query_draft(result.replace(query=shown), intent="alike")
    return replace(made, query=query)


def _read_draft(known: RunTables, reading: RunReading, plain: str, form: Form) -> RunDraft | None:
    """The draft of a question that is a query, or what keeps it from being one."""
    if reading.query is not None and not reading.unread:
        return _queried(known, reading.query, reading, form)
    if reading.unread and (reading.query is not None or reading.where):
        return _unread(known, reading)
    if is_vague(plain) or not reading.unread:
        return _ask_back(known, reading)
    return None


def _queried(
    known: RunTables, query: Query, reading: RunReading, form: Form, intent: str = "search"
) -> RunDraft:
    result = run_query(known.tables, query)
    made = query_draft(result, form, intent, _members(known, query, result.matched))
    if not reading.corrected:
        return made
    said = ", ".join(f'"{typed}" as "{meant}"' for typed, meant in reading.corrected)
    claims = (make_claim(f"Read {said}.", (QUERY_ID,)), *made.draft.claims)
    return replace(made, draft=replace(made.draft, claims=claims))


def _members(known: RunTables, query: Query, matched: int) -> list[str]:
    """Names of the pictures or clips that were counted, where they are few."""
    counted = query.measure == "count" and not (query.by or query.trend or query.compare)
    if not counted or query.table not in ("pictures", "clips") or not 0 < matched <= MAX_MEMBERS:
        return []
    listed = run_query(known.tables, query.replace(measure="list", top=None, show=("name",)))
    return [str(row[0]) for row in listed.rows]


def _by_intent(
    known: RunTables,
    intent: RunIntent,
    reading: RunReading,
    form: Form,
    plan: Plan | None,
    plain: str,
) -> RunDraft | None:
    places = (*_PLACES, "name", "time", "clock", "hour", "kind", "kinds", "place")
    where = tuple(each for each in reading.where if each.column in places)
    if intent in _OF_PICTURES and not known.tables.count("pictures"):
        return _queried(known, _clips_query(intent, where), reading, form, intent)
    if intent == "ship":
        return ship_draft(known.tables, where, plan)
    if intent == "missed":
        return missed_draft(known, where)
    if intent == "sure":
        return sure_draft(known.tables, where)
    if intent == "why":
        return why_draft(known.tables, where)
    if intent == "about":
        return about_draft(known.tables, where) if known.tables.count("pictures") else None
    if intent == "compare":
        return _compared(known, reading, where, form, plain)
    return None


def _clips_query(intent: RunIntent, where: tuple[Condition, ...]) -> Query:
    """What the records of clips tell of such a question: events by kind, open clips by reason, or labels."""
    if intent == "why":
        return Query(table="events", where=where, by=("kind",))
    if intent == "sure":
        undecided = Condition(column="label", values=("undecided",))
        return Query(table="clips", where=(*where, undecided), by=("why",))
    return Query(table="clips", where=where, by=("label",))


def _compared(
    known: RunTables, reading: RunReading, where: Sequence[Condition], form: Form, plain: str
) -> RunDraft:
    """Two groups side by side: two names, two times, or what changed since a time."""
    shared, sides = _sides(known, where, plain)
    if sides is None:
        column = _group_named(plain)
        if column is None:
            return _ask_back(known, reading, "Compare what with what?")
        part = (Condition(column="label", values=("anomalous",)),)
        if known.tables.count("pictures"):
            grouped = Query(where=tuple(where), measure="share", part=part, by=(column,))
        else:
            grouped = Query(table="events", where=tuple(where), by=("camera",))
        return _queried(known, grouped, reading, form, "compare")
    if known.tables.count("pictures"):
        counted = any(each.column in ("kind", "kinds") for side in sides for each in (*side, *shared))
        if counted:
            query = Query(where=shared, compare=sides)
        else:
            part = (Condition(column="label", values=("anomalous",)),)
            query = Query(where=shared, measure="share", part=part, compare=sides)
    else:
        query = Query(table="events", where=shared, compare=sides)
    return _queried(known, query, reading, form, "compare")


def _group_named(plain: str) -> str | None:
    """The column that a word for groups of rows names: "the shifts", "products"."""
    found = re.search(r"\b(products|folders|shifts|lines|cameras|days|kinds|batches|profiles)\b", plain)
    column = run_words().column_of(found[1]) if found else None
    return None if column in (None, "kind") else column


Sides = tuple[tuple[Condition, ...], tuple[Condition, ...]]


def _sides(
    known: RunTables, where: Sequence[Condition], plain: str
) -> tuple[tuple[Condition, ...], Sides | None]:
    """What both groups share, and the two groups; None where there are not two."""
    times = [each for each in where if each.column == "time"]
    others = tuple(each for each in where if each.column != "time")
    if len(times) == 2:
        return others, ((times[0],), (times[1],))
    if len(times) == 1 and re.search(r"\bchang|\bnew\b|\bdifferent\b|\bsince\b", plain):
        earlier = times[0].replace(operator="=")
        now = Condition(column="time", values=("today",))
        return others, ((now,), (earlier,))
    for column in ("product", "folder", "profile", "camera", "kinds", "kind", "place", "name"):
        values = [value for each in others if each.column == column for value in each.values]
        if len(values) == 2:
            shared = tuple(each for each in where if each.column != column)
            first, second = (Condition(column=column, values=(value,)) for value in _as_typed(values, plain))
            both = [each for each in shared if each.column in ("kind", "kinds")]
            rest = tuple(each for each in shared if each not in both)
            return rest, ((*both, first), (*both, second))
        if len(values) == 1 and column in ("product", "folder", "camera"):
            rest = tuple(each for each in where if each.column != column)
            one = Condition(column=column, values=(values[0],))
            if re.search(r"\b(?:others?|rest|everything else|average)\b", plain):
                return rest, ((one,), (one.replace(operator="!="),))
    return others, None


def _as_typed(values: Sequence[object], plain: str) -> list[str]:
    """Names in the order in which the question has them."""
    return sorted(map(str, values), key=lambda value: plain.find(value.casefold()))


def _follow_up(
    known: RunTables,
    before: Query,
    reading: RunReading,
    intent: str,
    form: Form,
    plan: Plan | None,
    plain: str,
) -> RunDraft | None:
    """The last question again, with what this one names in place of its own."""
    unread = [word for word in reading.unread if word != "compare"]
    if unread:
        return _unread(known, replace(reading, unread=tuple(unread)))
    if re.match(r"compare (?:that|this|it|those)\b", plain):
        old = [each for each in before.where if each.column in ("product", "folder", "camera", "time")]
        return _compared(known, reading, (*old, *reading.where), form, plain)
    if _ASKS_FOR_ROWS.match(plain) and before.measure != "list":
        no_groups = {"by": (), "trend": None, "sort": None, "top": None, "compare": None}
        listed = before.replace(measure="list", part=(), of=None, **no_groups)
        where = (*listed.where, *(before.part if before.measure == "share" else ()))
        return _queried(known, listed.replace(where=where), reading, form)
    if not reading.stated:
        return _ask_back(known, reading)
    if re.match(r"how many (?:is|are) (?:that|those|these|they)", plain):
        counted = before.replace(measure="count", sort=None, top=None, show=())
        return _queried(known, counted, reading, form)
    if intent in _KEEPS_INTENT and not reading.stated & {"measure", "by"}:
        merged = merge_follow_up(before.replace(by=(), measure="count", sort=None, show=()), reading)
        kept = replace(reading, where=merged.where)
        return _by_intent(known, intent, kept, form, plan, plain)  # type: ignore[arg-type]
    return _queried(known, merge_follow_up(before, reading), reading, form)


def _again(known: RunTables, query: Query, form: Form, intent: str) -> RunDraft:
    """The last result in another form."""
    return query_draft(run_query(known.tables, query), form, intent)


def _unmeasured(text: str, helps: str) -> RunDraft:
    return RunDraft(Draft((make_claim(text, (QUERY_ID,)),), (), helps), intent="beyond")


def _unread(known: RunTables, reading: RunReading) -> RunDraft:
    """What can't be read, with the nearest names and the two nearest questions that can be answered."""
    words = ", ".join(f'"{word}"' for word in reading.unread)
    near = [name for word in reading.unread for name in known.vocabulary.nearest(word, 2, 0.6)]
    hint = f" The nearest names: {', '.join(dict.fromkeys(near))}." if near else ""
    groups = known.vocabulary.groups()
    hint = hint or (f" Known: {', '.join(groups[:6])}." if groups else "")
    text = f"I can't read {words} as something in these records.{hint}"
    choices = nearest_questions(known, reading.asked, 2)
    return RunDraft(
        Draft((make_claim(text, (QUERY_ID,)),), (), "Ask for instance:"), intent="unread", choices=choices
    )


def _ask_back(known: RunTables, reading: RunReading, text: str = "", question: str = "") -> RunDraft:
    """Ask once what is meant, with questions to choose from."""
    where = " of this run"
    names = [str(v) for each in reading.where if each.column in _PLACES for v in each.values]
    if names:
        where = f" of {names[0]}"
    count = known.tables.count("pictures") or known.tables.count("clips")
    noun = "pictures" if known.tables.count("pictures") else "clips"
    text = text or f"What about the {count:,} {noun}{where} do you mean?"
    choices = nearest_questions(known, question or reading.asked, 3)
    if question and (worst := _most_urgent(known)) is not None:
        choices = (f"{question.rstrip(' .?!')} in {worst}?", *choices[:2])
    return RunDraft(
        Draft((make_claim(text, (QUERY_ID,)),), (), "Choose one:"), intent="unclear", choices=choices
    )


def _most_urgent(known: RunTables) -> str | None:
    """The name of the picture or clip that comes first in a list."""
    table = "pictures" if known.tables.count("pictures") else "clips"
    listed = run_query(known.tables, Query.model_validate({"table": table, "measure": "list", "top": 1}))
    return str(listed.rows[0][listed.columns.index("name")]) if listed.rows else None


def nearest_questions(known: RunTables, text: str, most: int) -> tuple[str, ...]:
    """Questions that can be answered, with names of these records, the nearest in meaning to a text first.

    By cosine similarity of sentence embeddings; without an encoder, or a text, in the order of the list.
    """
    groups = known.vocabulary.groups()
    named = [name for name in groups if name.casefold() in text.casefold()]
    near = named or get_close_matches(text, groups, 1, 0.5) or groups[:1]
    others = [name for name in groups if name not in near[:1]]
    about = "pictures" if known.tables.count("pictures") else "clips"
    questions = []
    for pattern in run_intents().suggested[about]:
        if "{other}" in pattern and not (near and others):
            continue
        questions.append(
            pattern.format(one=near[0], other=others[0] if others else "")
            if near
            else re.sub(r" (?:of|on|at) \{one\}", "", pattern).replace("{one}", "this run")
        )
    return tuple(_by_meaning(text, questions)[:most])


def _by_meaning(text: str, questions: Sequence[str]) -> list[str]:
    if not text.strip():
        return list(questions)
    from anomalist.memory.embedding import load_encoder

    try:
        asked, *known = load_encoder().encode([text, *questions])
    except (DataError, ModelError):
        return list(questions)
    order = sorted(range(len(questions)), key=lambda place: -float(asked @ known[place]))
    return [questions[place] for place in order]
