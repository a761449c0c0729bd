"""A question in plain words, answered: what it is after, what tools return for that, sentences that hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anomalist.agent.asking import clips, event_comparing, memories, places, verdicts
from anomalist.agent.asking.draft import Draft, supported
from anomalist.agent.asking.intents import BEYOND, About, read_intent
from anomalist.agent.asking.lettered import Lettered, read_lettered
from anomalist.agent.asking.named import Named, named_in
from anomalist.agent.asking.question import Question, foreign, read_question, unquoted
from anomalist.agent.tools.choosing import choose_option
from anomalist.agent.tools.subject import Subject
from anomalist.errors import AnomalistError, DataError
from anomalist.types import Answer, Label
from anomalist.unchanged import changed_since

REASONER = "evidence (measurement only, no language model)"

Reply = Callable[[Subject, Question, Named], Draft]

PICTURE: Mapping[str, Reply] = {
    "verdict": verdicts.reply_verdict,
    "why": verdicts.reply_why,
    "confidence": verdicts.reply_confidence,
    "severity": verdicts.reply_severity,
    "action": verdicts.reply_action,
    "where": places.reply_where,
    "kind": places.reply_kind,
    "describe": places.reply_describe,
    "count": places.reply_count,
    "measure": places.reply_measure,
    "change": places.reply_change,
    "compare": places.reply_compare,
    "history": memories.reply_history,
    "feedback": memories.reply_feedback,
    "rules": memories.reply_rules,
    "search": memories.reply_search,
    "rate": memories.reply_rate,
    "provenance": memories.reply_provenance,
}
CLIP: Mapping[str, Reply] = {
    "when": clips.reply_when,
    "where": clips.reply_clip_where,
    "severity": clips.reply_clip_severity,
    "action": clips.reply_clip_severity,
    "count": clips.reply_clip_count,
    "compare": event_comparing.reply_compare,
    "confidence": clips.reply_clip_confidence,
    "rules": memories.reply_rules,
    "provenance": memories.reply_provenance,
}
"""What differs for a clip; every other question about one is answered by what happened in it."""

IN_REACH = (
    "What can be asked: whether something is wrong, where, what kind, how bad, why, how sure, how large, how "
    "many, what changed, what a normal one looks like, past cases, rules, another false-alarm rate."
)
IN_REACH_CLIP = (
    "What can be asked about a clip: whether something stands out, when, where, what, how fast, for how "
    "long, how bad, how many events, which one is worse, rules, how sure."
)
NEEDS = "It takes something else than the picture: papers of the product, or somebody who knows it."


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
    lettered = Lettered(question.text, tuple(options)) if options else read_lettered(text)
    if lettered is None:
        named = named_in(question)
        reply = _replied(subject, question, named)
    else:
        named = named_in(_part(question, lettered.question))
        reply = _chosen(subject, question, named, lettered, given=bool(options))
    notes = (*reply.notes, *_changed_since(subject, named))
    return reply.model_copy(
        update={"notes": notes, "milliseconds": round(1000 * (time.perf_counter() - began), 1)}
    )


def _replied(subject: Subject, question: Question, named: Named) -> Answer:
    about = _about(subject, named)
    language = foreign(question)
    if language is not None:
        text = f"The question is in {language}; without a language model only English is understood."
        return _unanswered(subject, question, named, BEYOND, text, "Ask in English.")
    reading = read_intent(question, about)
    if about == "clip" and event_comparing.compares(question, named):
        reading = replace(reading, intent="compare")
    if reading.intent == "feedback" and not memories.is_statement(question):
        reading = replace(reading, intent="verdict")
    if reading.intent == BEYOND:
        text = "That can't be told from what was measured."
        return _unanswered(subject, question, named, BEYOND, text, f"{NEEDS} {_in_reach(about)}")
    try:
        draft = _reply_for(reading.intent, about, named)(subject, question, named)
    except AnomalistError as error:
        helps = error.remedy or _in_reach(about)
        return _unanswered(subject, question, named, reading.intent, error.message, helps)
    except Exception as error:  # a tool that breaks off must not take a conversation with it
        text = f"Looking again failed ({type(error).__name__}: {error}). The recorded verdict stands."
        return _unanswered(subject, question, named, reading.intent, text, "Inspect the picture again.")
    claims, dropped = supported(draft.claims, draft.used)
    return Answer(
        question=question.text,
        answered=draft.helps is None and bool(claims),
        text=" ".join(claim.text for claim in claims) or "Nothing that was measured supports an answer.",
        claims=claims,
        helps=draft.helps,
        intent=reading.intent,
        subjects=_sources(subject, named),
        verdict=_verdict(subject, named),
        dropped=dropped,
        reasoner=REASONER,
    )


def _reply_for(intent: str, about: About, named: Named) -> Reply:
    if about == "clip":
        return CLIP.get(intent, clips.reply_clip)
    if about == "batch" and intent == "verdict" and named.picture is None:
        return memories.reply_search
    return PICTURE[intent]


def _part(whole: Question, text: str) -> Question:
    """A question without its options; nothing is named where that leaves no words."""
    try:
        return read_question(text)
    except DataError:
        return replace(whole, text="", plain="", quoted=())


def _chosen(subject: Subject, question: Question, named: Named, lettered: Lettered, *, given: bool) -> Answer:
    """Let the evidence choose among options, those that were ``given`` or that the text has."""
    asked = unquoted(lettered.question)
    try:
        chosen = choose_option(subject, asked, list(lettered.options), named.picture)
    except DataError as error:
        if given:
            raise
        helps = error.remedy or _in_reach(_about(subject, named))
        return _unanswered(subject, question, named, "choice", error.message, helps)
    lead = [] if chosen.letter is None else [f"{chosen.letter}: {chosen.text}."]
    return Answer(
        question=lettered.question if given else lettered.text,
        answered=chosen.letter is not None,
        text=" ".join([*lead, *(claim.text for claim in chosen.claims)]) or chosen.why_not or "",
        claims=chosen.claims,
        letter=chosen.letter,
        options=chosen.options,
        helps=None if chosen.letter is not None else _in_reach(_about(subject, named)),
        intent="choice",
        subjects=_sources(subject, named),
        verdict=_verdict(subject, named),
        reasoner=REASONER,
    )


def _unanswered(
    subject: Subject, question: Question, named: Named, intent: str, text: str, helps: str
) -> Answer:
    return Answer(
        question=question.text,
        answered=False,
        text=text,
        helps=helps,
        intent=intent,
        subjects=_sources(subject, named),
        verdict=_verdict(subject, named),
        reasoner=REASONER,
    )


def _about(subject: Subject, named: Named) -> About:
    if subject.clips and not subject.records:
        return "clip"
    return "batch" if len(subject.records) > 1 and named.picture is None else "picture"


def _in_reach(about: About) -> str:
    return IN_REACH_CLIP if about == "clip" else IN_REACH


def _sources(subject: Subject, named: Named) -> tuple[str, ...]:
    """What the question is about: the pictures that it names, else everything."""
    every = [record.source for record in subject.records] + [clip.source for clip in subject.clips]
    meant = [source for source in every if source in named.pictures or Path(source).name in named.pictures]
    return tuple(meant or every)


def _verdict(subject: Subject, named: Named) -> Label | None:
    """The recorded label of what the question is about, where that is one thing."""
    sources = _sources(subject, named)
    labels = {record.source: record.label for record in subject.records}
    labels |= {clip.source: clip.label for clip in subject.clips}
    return labels.get(sources[0]) if len(sources) == 1 else None


def _changed_since(subject: Subject, named: Named) -> list[str]:
    """Say which pictures are gone or have changed since they were judged; their records still hold."""
    notes = []
    hashes = {record.source: record.sha256 for record in subject.records}
    hashes |= {clip.source: clip.sha256 for clip in subject.clips}
    for source in _sources(subject, named):
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
