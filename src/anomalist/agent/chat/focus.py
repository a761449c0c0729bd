"""Which of several pictures a follow-up question means: the one it names, "the second one", or "it"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anomalist.agent.asking.lettered import asked_in
from anomalist.agent.asking.question import QUOTED
from anomalist.agent.tools.subject import Subject
from anomalist.clips import EVENT_ID
from anomalist.types import REGION_ID, Answer

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ONE = r"(?: (?:one|of them|picture|image|tile|part|clip|board))"
_ORDINAL = re.compile(rf"\bthe ({'|'.join(_ORDINALS)}|last)\b(?:{_ONE}|[?.!,]|$)")
_BACK = re.compile(
    rf"\b(?:it|its|it's|that|this|there|here|{REGION_ID}|{EVENT_ID}|"
    r"the (?:picture|tile|part|board|clip|mark|spot|line|finding|defect|region|crack|scratch|damage))\b",
    re.I,
)
_ALL = re.compile(
    r"\b(?:all|any of|each|every|which (?:of|ones?|pictures?|tiles?|parts?|clips?|are|were)|these|those|"
    r"others?|pictures|tiles|parts|images|clips|boards|batch|run|ones)\b",
    re.I,
)


def narrowed(subject: Subject, text: str, earlier: Sequence[Answer]) -> Subject:
    """The subject with only the picture or clip that a question means, or as it is where that is open.

    Parameters
    ----------
    subject : several pictures or clips; of one there is nothing to narrow.
    text : the question; its options say nothing about what is meant.
    earlier : answers of the conversation, in order: what "it" and "the second one" go back to.
    """
    sources = sources_of(subject)
    if len(sources) < 2:
        return subject
    text = asked_in(text)
    named = [source for source in sources if _names(text, source)]
    if named:
        return only(subject, named[0]) if len(named) == 1 else subject
    text = QUOTED.sub(" … ", text)  # what is quoted says nothing about what is meant, but for names
    ordinal = _ORDINAL.search(text.lower())
    listing = next(filter(None, (listed(answer, sources) for answer in reversed(earlier))), ())
    if ordinal and listing:
        place = -1 if ordinal[1] == "last" else _ORDINALS.index(ordinal[1])
        return only(subject, listing[place]) if place < len(listing) else subject
    if _ALL.search(text) or not _BACK.search(text):
        return subject
    talked_about = focus_of(earlier, sources)
    return subject if talked_about is None else only(subject, talked_about)


def focus_of(earlier: Sequence[Answer], sources: Sequence[str]) -> str | None:
    """The picture or clip that was talked about last; None where it was several."""
    for answer in reversed(earlier):
        about = [source for source in answer.subjects if source in sources]
        about = about if len(about) == 1 else list(listed(answer, sources))
        if len(about) == 1:
            return about[0]
        if about:
            return None
    return None


def listed(answer: Answer, sources: Sequence[str]) -> tuple[str, ...]:
    """The pictures that the sentences of an answer are about one by one, in their order."""
    by_name = {Path(source).name: source for source in sources}
    # A sentence on several pictures at once lists them in no order that a person has seen.
    cited = [claim.evidence[0] for claim in answer.claims if len(claim.evidence) == 1]
    return tuple(dict.fromkeys(by_name[id] for id in cited if id in by_name))


def sources_of(subject: Subject) -> tuple[str, ...]:
    """Sources of the pictures and clips."""
    return (*(record.source for record in subject.records), *(clip.source for clip in subject.clips))


def only(subject: Subject, source: str) -> Subject:
    """The subject with one picture or clip; the others can still be searched."""
    return replace(
        subject,
        records=tuple(record for record in subject.records if record.source == source),
        clips=tuple(clip for clip in subject.clips if clip.source == source),
        past=(*subject.past, *subject.records),
    )


def without_name(text: str, source: str) -> str:
    """The text with "it" for the name of a file."""
    return _pattern(source).sub("it", text)


def _names(text: str, source: str) -> bool:
    return _pattern(source).search(text) is not None


def _pattern(source: str) -> re.Pattern[str]:
    """Matches the name of a file, with or without its ending."""
    path = Path(source)
    return re.compile(rf"(?<![\w.-])(?:{re.escape(path.name)}|{re.escape(path.stem)})(?![\w-])", re.I)
