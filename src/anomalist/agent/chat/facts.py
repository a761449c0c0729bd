"""Holding on to facts: of what a model says, only what the evidence bears out becomes the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomalist.agent.asking.draft import supported
from anomalist.agent.asking.lettered import read_lettered
from anomalist.agent.asking.question import unquoted
from anomalist.agent.chat.focus import sources_of
from anomalist.agent.chat.replies import Said
from anomalist.agent.chat.tooling import kept_results
from anomalist.agent.options import parse_letter
from anomalist.agent.tools.choosing import Chosen, choose_option
from anomalist.agent.tools.looking import show_findings
from anomalist.agent.tools.subject import Result, Subject
from anomalist.agent.tools.watching import list_events
from anomalist.errors import AnomalistError
from anomalist.types import Answer, Claim, Label

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_GOOD = re.compile(
    r"\b(?:is|it's|looks|seems|are) (?:perfectly |completely |just |all )?"
    r"(?:normal|fine|ok|okay|good|flawless)\b"
    r"|\bnothing (?:is )?wrong\b|\bno (?:defect|anomaly|fault)s?\b",
    re.I,
)
_BAD = re.compile(
    r"\b(?:is|it's|looks|seems) (?:clearly |definitely )?(?:anomalous|defective|faulty)\b", re.I
)


def checked_answer(
    said: Said, question: str, subject: Subject, messages: Sequence[BaseMessage], model: str
) -> Answer:
    """The answer that the evidence allows.

    Sentences with an id or a number that no tool returned are left out and kept in ``dropped``. A verdict
    that is not the recorded one is a note that people see; the recorded one stays. Among options of a
    question what was measured chooses, where it can tell, and the model's words come after it.

    Parameters
    ----------
    said : by the model.
    subject : narrowed to what the question means.
    messages : of the whole conversation; the results of tools in them are the evidence.
    """
    used: list[Result] = [*kept_results(messages), *_known(subject)]
    claims = [
        Claim(text=sentence.text, evidence=sentence.evidence, source="model")
        for sentence in said.sentences
        if sentence.evidence
    ]
    kept, dropped = supported(claims, used)
    bare = [f"{each.text} (cites nothing)" for each in said.sentences if not each.evidence]
    verdict = _recorded(subject)
    cannot = said.cannot.strip()
    notes = _disagreements(said, kept, verdict, model)
    letter = None
    chosen = _chosen(question, subject)
    if chosen is not None:
        letter, noted = _letter(chosen, said, model)
        notes = (*notes, *noted)
        kept = (*chosen.claims, *kept)
    lead = f"{letter}: " if letter is not None else ""
    told = " ".join(claim.text for claim in kept)
    return Answer(
        question=question,
        answered=bool(kept),
        text=lead + told if kept else cannot or "Nothing of what the model said has evidence.",
        claims=kept,
        letter=letter if kept else None,
        options=() if chosen is None else chosen.options,
        helps=cannot or None if kept else None,
        intent="model",
        subjects=sources_of(subject),
        verdict=verdict,
        notes=notes,
        dropped=(*dropped, *bare),
        reasoner=model,
    )


def _chosen(question: str, subject: Subject) -> Chosen | None:
    """What was measured makes of the options in a question; None without any, or where it can't be asked."""
    lettered = read_lettered(question)
    if lettered is None:
        return None
    try:
        return choose_option(subject, unquoted(lettered.question), list(lettered.options))
    except AnomalistError:
        return None


def _letter(chosen: Chosen, said: Said, model: str) -> tuple[str | None, tuple[str, ...]]:
    """The letter that counts, and a note where it is the model's or the model has another."""
    words = " ".join(sentence.text for sentence in said.sentences)
    named = parse_letter(words, [option.text for option in chosen.options])
    if chosen.letter is None:
        why = f"{chosen.why_not or ''} The letter is that of {model}.".strip()
        return named, () if named is None else (why,)
    if named is None or named == chosen.letter:
        return chosen.letter, ()
    text = f"Disagreement: {model} says {named}, what was measured says {chosen.letter}, which stands."
    return chosen.letter, (text,)


def _known(subject: Subject) -> list[Result]:
    """What is on record about the picture or clip that is meant: a model was told it at the start."""
    found: list[Result] = []
    if len(subject.records) == 1:
        found.append(show_findings(subject, subject.records[0].source))
    if len(subject.clips) == 1:
        found.append(list_events(subject, subject.clips[0].source))
    return found


def _recorded(subject: Subject) -> Label | None:
    labels = [*(record.label for record in subject.records), *(clip.label for clip in subject.clips)]
    return labels[0] if len(labels) == 1 else None


def _disagreements(said: Said, kept: Sequence[Claim], verdict: Label | None, model: str) -> tuple[str, ...]:
    """Say where the model's verdict, or its words, contradict the record."""
    if verdict is None:
        return ()
    text = " ".join(claim.text for claim in kept)
    thinks: str | None = None if said.verdict == "not asked" else said.verdict
    if thinks is None and verdict == "anomalous" and _GOOD.search(text):
        thinks = "normal"
    if thinks is None and verdict == "normal" and _BAD.search(text):
        thinks = "anomalous"
    if thinks is None or thinks == verdict:
        return ()
    return (f"Disagreement: {model} says {thinks}, the record says {verdict}. The recorded verdict stands.",)
