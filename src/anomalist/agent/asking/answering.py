"""Question answering by measurement alone: classify the intent, call tools, keep supported claims."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anomalist.agent.asking import clip_replies, memory_replies, picture_replies
from anomalist.agent.asking.draft import Draft, failure_draft, filter_supported_claims
from anomalist.agent.asking.input_replies import INPUT_INTENT, reply_input
from anomalist.agent.asking.intents import OUT_OF_SCOPE, SubjectKind, classify_intent
from anomalist.agent.asking.question import (
    LEFT_OUT,
    POINTING,
    Entities,
    MultipleChoice,
    Question,
    extract_entities,
    foreign_language,
    read_multiple_choice,
    read_question,
    strip_file_names,
    strip_quoted,
)
from anomalist.agent.asking.run_answering import (
    answers_run,
    picture_draft,
    run_draft,
    unclear_draft,
    unread_draft,
)
from anomalist.agent.asking.run_decisions import Plan
from anomalist.agent.asking.run_replies import QUERY_ID, RunDraft
from anomalist.agent.tools.decision import choose_option
from anomalist.agent.tools.subject import MAX_NAMES, Subject
from anomalist.errors import AnomalistError, DataError
from anomalist.storage.files import changed_since
from anomalist.types.common import Answer, Label
from anomalist.types.names import names_source
from anomalist.vision.media.images import source_digest
from anomalist.vision.media.pages import split_page

REASONER = "evidence (measurement only, no language model)"

_OF_SETTINGS = ("rate", "rules", "provenance", "feedback", OUT_OF_SCOPE)
"""Intents about a run that no query answers."""

_OF_NO_MEASUREMENT = ("action", "feedback", "search", "rate")
"""Intents that are answered about a picture that could not be judged, too."""

_OF_TWO = ("compare", "measure", *_OF_SETTINGS)
"""Intents that are not answered by the verdicts where a question names several pictures or clips."""

ReplyFunction = Callable[[Subject, Question, Entities], Draft]

# Reply functions by intent.
PICTURE_REPLIES: Mapping[str, ReplyFunction] = {
    "verdict": picture_replies.reply_verdict,
    "why": picture_replies.reply_why,
    "confidence": picture_replies.reply_confidence,
    "severity": picture_replies.reply_severity,
    "action": picture_replies.reply_action,
    "where": picture_replies.reply_where,
    "kind": picture_replies.reply_kind,
    "describe": picture_replies.reply_describe,
    "count": picture_replies.reply_count,
    "measure": picture_replies.reply_measure,
    "change": picture_replies.reply_change,
    "compare": picture_replies.reply_compare,
    "history": memory_replies.reply_history,
    "feedback": memory_replies.reply_feedback,
    "rules": memory_replies.reply_rules,
    "search": memory_replies.reply_search,
    "rate": memory_replies.reply_rate,
    "provenance": memory_replies.reply_provenance,
}
CLIP_REPLIES: Mapping[str, ReplyFunction] = {
    "when": clip_replies.reply_when,
    "where": clip_replies.reply_clip_where,
    "severity": clip_replies.reply_clip_severity,
    "action": clip_replies.reply_clip_severity,
    "count": clip_replies.reply_clip_count,
    "compare": clip_replies.reply_clip_compare,
    "confidence": clip_replies.reply_clip_confidence,
    "rules": memory_replies.reply_rules,
    "provenance": memory_replies.reply_provenance,
}
"""Reply functions for clips by intent; any other intent is answered by `clip_replies.reply_clip`."""

PICTURE_SCOPE = (
    "What can be asked: whether something is wrong, where, what kind, how bad, why, how sure, how large, how "
    "many, what changed, what a normal one looks like, past cases, rules, another false-alarm rate."
)
CLIP_SCOPE = (
    "What can be asked about a clip: whether something stands out, when, where, what, how fast, for how "
    "long, how bad, how many events, which one is worse, rules, how sure."
)
OUT_OF_SCOPE_HELP = (
    "It takes something else than the picture: papers of the product, or somebody who knows it."
)


def answer(
    subject: Subject,
    text: str,
    options: Sequence[str] = (),
    *,
    earlier: Sequence[Answer] = (),
    plan: Plan | None = None,
) -> Answer:
    """Answer a question about a subject by measurement alone; the recorded verdict never changes.

    Parameters
    ----------
    subject : a picture, a batch or clips.
    text : the question, up to 2,000 characters, in English; it may contain lettered options. Quoted text is
        data.
    options : 2 to 26 options, without letters.
    earlier : answers of the conversation, in order: follow-ups about a run keep what was talked about.
    plan : by which a batch would be accepted, where a person set one.

    Returns
    -------
    The answer; ``answered`` is False where it is out of scope or something is missing, and ``helps`` says
    what would help.

    Raises
    ------
    DataError : the question is empty or too long, the options are invalid, or the subject is empty.
    """
    began = time.perf_counter()
    question = read_question(text)
    if not subject.records and not subject.clips:
        raise DataError("There is nothing to ask about.", "Name a picture, a clip, or the folder of a run.")
    multiple_choice = MultipleChoice(question.text, tuple(options)) if options else read_multiple_choice(text)
    if multiple_choice is None:
        entities = extract_entities(question)
        reply = _answer_left_out(subject, question, entities)
        reply = reply or _answer_about_input(subject, question, entities)
        reply = reply or _answer_about_run(subject, question, entities, earlier, plan)
        reply = reply or _answer_by_intent(subject, question, entities)
        if entities.picture is None and not reply.answered and reply.text.startswith("Which picture?"):
            reply = _checked_answer(subject, question, entities, unclear_draft(subject, question))
    else:
        entities = extract_entities(_question_part(question, multiple_choice.question))
        reply = _answer_multiple_choice(subject, question, entities, multiple_choice, given=bool(options))
    # An answer of a query rests on records alone, of thousands of files perhaps.
    of_run = reply.query is not None or bool(reply.choices) or len(reply.subjects) > MAX_NAMES
    notes = reply.notes if of_run else (*reply.notes, *_stale_notes(subject, entities))
    return reply.replace(notes=notes, milliseconds=round(1000 * (time.perf_counter() - began), 1))


def prepare(subject: Subject) -> None:
    """Make what questions about a subject need, so that the first answer does not wait for it."""
    classify_intent(read_question("Is anything wrong?"), "picture")
    if len(subject.records) + len(subject.clips) > 1:
        run_draft(subject, read_question("How many are anomalous?"))


def _answer_left_out(subject: Subject, question: Question, entities: Entities) -> Answer | None:
    """That single pictures can't be left out; None where the question leaves none out."""
    found = LEFT_OUT.search(question.text)
    if found is None or not (len(subject.records) > 1 or len(subject.clips) > 1):
        return None
    text = f'"{found[0]}" is not read: single pictures or clips can\'t be left out of a question.'
    helps = "Ask about all of them, or about a folder, a product or a time."
    return _unanswered(subject, question, entities, OUT_OF_SCOPE, text, helps)


def _answer_about_input(subject: Subject, question: Question, entities: Entities) -> Answer | None:
    """The answer about pictures as a whole; None where the question is about something else."""
    try:
        draft = reply_input(subject, question, entities)
    except AnomalistError:
        return None  # a name that is not among the pictures: the others say so
    if draft is None:
        return None
    made = RunDraft(draft, intent=INPUT_INTENT)
    return _checked_answer(subject, question, entities, made)


def _answer_about_run(
    subject: Subject,
    question: Question,
    entities: Entities,
    earlier: Sequence[Answer],
    plan: Plan | None,
) -> Answer | None:
    """The answer that a whole run gives; None where one picture or clip, or a setting, gives it."""
    if foreign_language(question) is not None or not (subject.records or len(subject.clips) > 1):
        return None
    several = answers_run(subject, entities)
    if several and len(entities.pictures) == 2:
        return None
    try:
        if several:
            draft = run_draft(subject, question, earlier, plan)
            if draft is None or draft.intent in ("unread", "unclear"):
                intent = classify_intent(question, "batch").intent
                settings = (
                    intent in _OF_SETTINGS if draft is None else intent == "rate" and bool(entities.rate)
                )
                draft = None if settings else draft or unread_draft(subject, question)
        elif len(entities.pictures) > 1:
            draft = None
        else:
            draft = picture_draft(subject, question, entities)
    except AnomalistError as error:
        helps = error.remedy or PICTURE_SCOPE
        return _unanswered(subject, question, entities, "search", error.message, helps)
    return None if draft is None else _checked_answer(subject, question, entities, draft)


def _checked_answer(subject: Subject, question: Question, entities: Entities, made: RunDraft) -> Answer:
    """The answer of a draft about a run, without claims whose ids or numbers its results don't have."""
    draft = made.draft
    unanswered = draft.helps is not None
    dropped: tuple[str, ...]
    if unanswered and made.query is None:
        kept, dropped = draft.claims, ()
    else:
        kept, dropped = filter_supported_claims(draft.claims, draft.used, extra=(QUERY_ID,))
    return Answer(
        question=question.text,
        answered=not unanswered and bool(kept),
        text=" ".join(claim.text for claim in kept) or "Nothing that was measured supports an answer.",
        claims=() if unanswered else kept,
        helps=draft.helps,
        intent=made.intent,
        subjects=_sources_asked(subject, entities),
        verdict=_recorded_label(subject, entities),
        query=None if made.query is None else str(made.query),
        reading=made.reading,
        choices=made.choices,
        table=made.table,
        dropped=dropped,
        reasoner=REASONER,
    )


def _answer_by_intent(subject: Subject, question: Question, entities: Entities) -> Answer:
    kind = _subject_kind(subject, entities)
    language = foreign_language(question)
    if language is not None:
        text = f"The question is in {language}; without a language model only English is understood."
        return _unanswered(subject, question, entities, OUT_OF_SCOPE, text, "Ask in English.")
    prediction = classify_intent(replace(question, plain=strip_file_names(question.plain)), kind)
    if kind == "clip" and clip_replies.is_event_comparison(question, entities):
        prediction = replace(prediction, intent="compare")
    if kind == "picture" and len(subject.records) == 1 and POINTING.fullmatch(question.plain):
        prediction = replace(prediction, intent="verdict")
    if prediction.intent == "feedback" and not memory_replies.is_statement(question):
        prediction = replace(prediction, intent="verdict")
    if prediction.intent == OUT_OF_SCOPE:
        text = "That can't be told from what was measured."
        return _unanswered(
            subject, question, entities, OUT_OF_SCOPE, text, f"{OUT_OF_SCOPE_HELP} {_scope_help(kind)}"
        )
    try:
        reply = _reply_function(prediction.intent, kind, entities)
        failure = _failure(subject, question, entities, prediction.intent, kind)
        if failure is None:
            _check_parts(subject, entities, kind)
        draft = failure or reply(subject, question, entities)
    except AnomalistError as error:
        helps = error.remedy or _scope_help(kind)
        return _unanswered(subject, question, entities, prediction.intent, error.message, helps)
    except Exception as error:  # a failing tool must not end a conversation
        text = f"Looking again failed ({type(error).__name__}: {error}). The recorded verdict stands."
        return _unanswered(subject, question, entities, prediction.intent, text, "Inspect the picture again.")
    claims, dropped = filter_supported_claims(draft.claims, draft.used)
    return Answer(
        question=question.text,
        answered=draft.helps is None and bool(claims),
        text=" ".join(claim.text for claim in claims) or "Nothing that was measured supports an answer.",
        claims=claims,
        helps=draft.helps,
        intent=prediction.intent,
        subjects=_sources_asked(subject, entities),
        verdict=_recorded_label(subject, entities),
        dropped=dropped,
        reasoner=REASONER,
    )


def _reply_function(intent: str, kind: SubjectKind, entities: Entities) -> ReplyFunction:
    if len(entities.pictures) > 1 and intent not in _OF_TWO:
        return clip_replies.reply_each_clip if kind == "clip" else picture_replies.reply_each
    if kind == "clip":
        return CLIP_REPLIES.get(intent, clip_replies.reply_clip)
    if kind == "batch" and intent == "verdict" and entities.picture is None:
        return memory_replies.reply_search
    return PICTURE_REPLIES[intent]


def _failure(
    subject: Subject, question: Question, entities: Entities, intent: str, kind: SubjectKind
) -> Draft | None:
    """Why the one picture or clip that is asked about could not be judged; None where that is no answer."""
    several = len(subject.clips if kind == "clip" else subject.records) > 1 and len(entities.pictures) != 1
    if several or (intent == "rules" and memory_replies.RULE_LIST.search(question.plain)):
        return None
    if kind == "clip":
        return failure_draft(subject.clip(entities.picture))
    return None if intent in _OF_NO_MEASUREMENT else failure_draft(subject.picture(entities.picture))


def _check_parts(subject: Subject, entities: Entities, kind: SubjectKind) -> None:
    """Raise DataError where the question names a region or an event that is none of those that there are."""
    if kind == "clip" and entities.events and subject.clip(entities.picture).events:
        for event in entities.events:
            subject.event(event, entities.picture)
    if kind == "picture" and len(entities.pictures) < 2 and entities.regions:
        for region in entities.regions if subject.picture(entities.picture).regions else ():
            subject.region(region, entities.picture)


def _question_part(whole: Question, text: str) -> Question:
    """The question without its options; empty, so without entities, where only options were given."""
    try:
        return read_question(text)
    except DataError:
        return replace(whole, text="", plain="", quoted=())


def _answer_multiple_choice(
    subject: Subject, question: Question, entities: Entities, multiple_choice: MultipleChoice, *, given: bool
) -> Answer:
    """Choose among options by the evidence; ``given``: they were passed as arguments, not in the text."""
    stem = strip_quoted(multiple_choice.question)
    try:
        chosen = choose_option(subject, stem, list(multiple_choice.options), entities.picture)
    except DataError as error:
        if given:
            raise
        helps = error.remedy or _scope_help(_subject_kind(subject, entities))
        return _unanswered(subject, question, entities, "choice", error.message, helps)
    lead = [] if chosen.letter is None else [f"{chosen.letter}: {chosen.text}."]
    return Answer(
        question=multiple_choice.question if given else multiple_choice.text,
        answered=chosen.letter is not None,
        text=" ".join([*lead, *(claim.text for claim in chosen.claims)]) or chosen.why_not or "",
        claims=chosen.claims,
        letter=chosen.letter,
        options=chosen.options,
        helps=None if chosen.letter is not None else _scope_help(_subject_kind(subject, entities)),
        intent="choice",
        subjects=_sources_asked(subject, entities),
        verdict=_recorded_label(subject, entities),
        reasoner=REASONER,
    )


def _unanswered(
    subject: Subject, question: Question, entities: Entities, intent: str, text: str, helps: str
) -> Answer:
    return Answer(
        question=question.text,
        answered=False,
        text=text,
        helps=helps,
        intent=intent,
        subjects=_sources_asked(subject, entities),
        verdict=_recorded_label(subject, entities),
        reasoner=REASONER,
    )


def _subject_kind(subject: Subject, entities: Entities) -> SubjectKind:
    if subject.clips and not subject.records:
        return "clip"
    return "batch" if len(subject.records) > 1 and entities.picture is None else "picture"


def _scope_help(kind: SubjectKind) -> str:
    return CLIP_SCOPE if kind == "clip" else PICTURE_SCOPE


def _sources_asked(subject: Subject, entities: Entities) -> tuple[str, ...]:
    """Sources of the pictures and clips that the question names, or else of all."""
    every = [record.source for record in subject.records] + [clip.source for clip in subject.clips]
    if not entities.pictures:
        return tuple(every)
    meant = [source for source in every if any(names_source(name, source) for name in entities.pictures)]
    return tuple(meant or every)


def _recorded_label(subject: Subject, entities: Entities) -> Label | None:
    """The recorded label of the one picture or clip that the question is about; None where it is several."""
    sources = _sources_asked(subject, entities)
    if len(sources) != 1:
        return None
    pictures = [record.label for record in subject.records if record.source == sources[0]]
    clips = [clip.label for clip in subject.clips if clip.source == sources[0]]
    return next(iter((*clips, *pictures)), None)


def _changed_since(path: Path, sha256: str) -> str | None:
    """As `changed_since`, also for a page of a TIFF."""
    file, page = split_page(path)
    if page == 1 or not file.is_file():
        return changed_since(file, sha256)
    return None if source_digest(path) == sha256 else "has changed"


def _stale_notes(subject: Subject, entities: Entities) -> list[str]:
    """Notes on files that are missing or have changed since they were judged; their records still hold."""
    notes = []
    hashes = {record.source: record.sha256 for record in subject.records}
    hashes |= {clip.source: clip.sha256 for clip in subject.clips}
    for source in _sources_asked(subject, entities):
        known = hashes[source]
        if known is None or source in subject.inspections:
            continue
        try:
            happened = _changed_since(subject.path_of(source), known)
            if happened is not None:
                differs = " (its hash differs)" if happened == "has changed" else ""
                notes.append(f"{source} {happened} since it was judged{differs}; this rests on its record.")
        except OSError as error:
            notes.append(f"{source} can't be read now ({error.strerror}); this rests on its record.")
    return notes
