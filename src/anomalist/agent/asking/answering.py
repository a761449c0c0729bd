"""Question answering by measurement alone: classify the intent, call tools, keep supported claims."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anomalist.agent.asking import clip_replies, memory_replies, picture_replies
from anomalist.agent.asking.draft import Draft, filter_supported_claims
from anomalist.agent.asking.intents import OUT_OF_SCOPE, SubjectKind, classify_intent
from anomalist.agent.asking.question import (
    Entities,
    MultipleChoice,
    Question,
    extract_entities,
    foreign_language,
    read_multiple_choice,
    read_question,
    strip_quoted,
)
from anomalist.agent.tools.decision import choose_option
from anomalist.agent.tools.subject import Subject
from anomalist.errors import AnomalistError, DataError
from anomalist.storage.files import changed_since
from anomalist.types.common import Answer, Label

REASONER = "evidence (measurement only, no language model)"

ReplyFunction = Callable[[Subject, Question, Entities], Draft]

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
"""What differs for a clip; every other question about one is answered by what happened in it."""

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


def answer(subject: Subject, text: str, options: Sequence[str] = ()) -> Answer:
    """Answer a question about a subject by measurement alone; the verdict is never changed by it.

    Parameters
    ----------
    subject : a picture, a batch or clips.
    text : the question, up to 2,000 characters, in English; options may be in it, with letters. What is
        quoted in it is data.
    options : 2 to 26 to choose from, without letters.

    Returns
    -------
    With ``answered`` False where it is out of reach or something is missing, and what would help.

    Raises
    ------
    DataError : the question is empty or too long, the options can't be used, or nothing to ask about.
    """
    began = time.perf_counter()
    question = read_question(text)
    if not subject.records and not subject.clips:
        raise DataError("There is nothing to ask about.", "Name a picture, a clip, or the folder of a run.")
    lettered = MultipleChoice(question.text, tuple(options)) if options else read_multiple_choice(text)
    if lettered is None:
        named = extract_entities(question)
        reply = _answer_by_intent(subject, question, named)
    else:
        named = extract_entities(_question_part(question, lettered.question))
        reply = _answer_multiple_choice(subject, question, named, lettered, given=bool(options))
    notes = (*reply.notes, *_stale_notes(subject, named))
    return reply.replace(notes=notes, milliseconds=round(1000 * (time.perf_counter() - began), 1))


def _answer_by_intent(subject: Subject, question: Question, named: Entities) -> Answer:
    about = _subject_kind(subject, named)
    language = foreign_language(question)
    if language is not None:
        text = f"The question is in {language}; without a language model only English is understood."
        return _unanswered(subject, question, named, OUT_OF_SCOPE, text, "Ask in English.")
    reading = classify_intent(question, about)
    if about == "clip" and clip_replies.is_event_comparison(question, named):
        reading = replace(reading, intent="compare")
    if reading.intent == "feedback" and not memory_replies.is_statement(question):
        reading = replace(reading, intent="verdict")
    if reading.intent == OUT_OF_SCOPE:
        text = "That can't be told from what was measured."
        return _unanswered(
            subject, question, named, OUT_OF_SCOPE, text, f"{OUT_OF_SCOPE_HELP} {_scope_help(about)}"
        )
    try:
        draft = _reply_function(reading.intent, about, named)(subject, question, named)
    except AnomalistError as error:
        helps = error.remedy or _scope_help(about)
        return _unanswered(subject, question, named, reading.intent, error.message, helps)
    except Exception as error:  # a tool that breaks off must not take a conversation with it
        text = f"Looking again failed ({type(error).__name__}: {error}). The recorded verdict stands."
        return _unanswered(subject, question, named, reading.intent, text, "Inspect the picture again.")
    claims, dropped = filter_supported_claims(draft.claims, draft.used)
    return Answer(
        question=question.text,
        answered=draft.helps is None and bool(claims),
        text=" ".join(claim.text for claim in claims) or "Nothing that was measured supports an answer.",
        claims=claims,
        helps=draft.helps,
        intent=reading.intent,
        subjects=_sources_asked(subject, named),
        verdict=_recorded_label(subject, named),
        dropped=dropped,
        reasoner=REASONER,
    )


def _reply_function(intent: str, about: SubjectKind, named: Entities) -> ReplyFunction:
    if about == "clip":
        return CLIP_REPLIES.get(intent, clip_replies.reply_clip)
    if about == "batch" and intent == "verdict" and named.picture is None:
        return memory_replies.reply_search
    return PICTURE_REPLIES[intent]


def _question_part(whole: Question, text: str) -> Question:
    """A question without its options; nothing is named where that leaves no words."""
    try:
        return read_question(text)
    except DataError:
        return replace(whole, text="", plain="", quoted=())


def _answer_multiple_choice(
    subject: Subject, question: Question, named: Entities, lettered: MultipleChoice, *, given: bool
) -> Answer:
    """Let the evidence choose among options, those that were ``given`` or that the text has."""
    asked = strip_quoted(lettered.question)
    try:
        chosen = choose_option(subject, asked, list(lettered.options), named.picture)
    except DataError as error:
        if given:
            raise
        helps = error.remedy or _scope_help(_subject_kind(subject, named))
        return _unanswered(subject, question, named, "choice", error.message, helps)
    lead = [] if chosen.letter is None else [f"{chosen.letter}: {chosen.text}."]
    return Answer(
        question=lettered.question if given else lettered.text,
        answered=chosen.letter is not None,
        text=" ".join([*lead, *(claim.text for claim in chosen.claims)]) or chosen.why_not or "",
        claims=chosen.claims,
        letter=chosen.letter,
        options=chosen.options,
        helps=None if chosen.letter is not None else _scope_help(_subject_kind(subject, named)),
        intent="choice",
        subjects=_sources_asked(subject, named),
        verdict=_recorded_label(subject, named),
        reasoner=REASONER,
    )


def _unanswered(
    subject: Subject, question: Question, named: Entities, intent: str, text: str, helps: str
) -> Answer:
    return Answer(
        question=question.text,
        answered=False,
        text=text,
        helps=helps,
        intent=intent,
        subjects=_sources_asked(subject, named),
        verdict=_recorded_label(subject, named),
        reasoner=REASONER,
    )


def _subject_kind(subject: Subject, named: Entities) -> SubjectKind:
    if subject.clips and not subject.records:
        return "clip"
    return "batch" if len(subject.records) > 1 and named.picture is None else "picture"


def _scope_help(about: SubjectKind) -> str:
    return CLIP_SCOPE if about == "clip" else PICTURE_SCOPE


def _sources_asked(subject: Subject, named: Entities) -> tuple[str, ...]:
    """What the question is about: the pictures that it names, else everything."""
    every = [record.source for record in subject.records] + [clip.source for clip in subject.clips]
    meant = [source for source in every if source in named.pictures or Path(source).name in named.pictures]
    return tuple(meant or every)


def _recorded_label(subject: Subject, named: Entities) -> Label | None:
    """The recorded label of what the question is about, where that is one thing."""
    sources = _sources_asked(subject, named)
    labels = {record.source: record.label for record in subject.records}
    labels |= {clip.source: clip.label for clip in subject.clips}
    return labels.get(sources[0]) if len(sources) == 1 else None


def _stale_notes(subject: Subject, named: Entities) -> list[str]:
    """Say which pictures are gone or have changed since they were judged; their records still hold."""
    notes = []
    hashes = {record.source: record.sha256 for record in subject.records}
    hashes |= {clip.source: clip.sha256 for clip in subject.clips}
    for source in _sources_asked(subject, named):
        known = hashes[source]
        if known is None or source in subject.inspections:
            continue
        try:
            happened = changed_since(subject.path_of(source), known)
            if happened is not None:
                differs = " (its hash differs)" if happened == "has changed" else ""
                notes.append(f"{source} {happened} since it was judged{differs}; this rests on its record.")
        except OSError as error:
            notes.append(f"{source} can't be read now ({error.strerror}); this rests on its record.")
    return notes
