"""A tool that chooses among the options of a multiple-choice question by what was measured."""

from __future__ import annotations

import re
import string
from pathlib import Path

from pydantic import Field

from anomalist.agent.choosing import choose
from anomalist.agent.tools.subject import Result, Subject
from anomalist.clips import EVENT_ID
from anomalist.types import Claim, OptionScore


class Chosen(Result):
    """Which option fits what was measured."""

    picture: str
    letter: str | None = Field(description="of the option that fits best; None where that can't be told")
    text: str | None = Field(description="of that option")
    options: tuple[OptionScore, ...]
    claims: tuple[Claim, ...] = Field(description="why, with what it rests on")
    why_not: str | None = Field(description="why there is no letter")


def choose_option(subject: Subject, question: str, options: list[str], picture: str | None = None) -> Chosen:
    """Choose among 2 to 26 options of a question by what was measured, with a probability for each.

    ``options`` are texts without letters; they get A, B, C, … in their order. ``picture`` is a file name
    of a picture or clip; leave it out when there is only one.
    """
    if subject.clips and not subject.records:
        clip = subject.clip(picture)
        for id in re.findall(rf"\b{EVENT_ID}\b", " ".join([question, *options]).upper()):
            subject.event(id, picture)  # refused where there is none
        source, choice = clip.source, choose(question, options, clip)
    else:
        record = subject.picture(picture)
        held = subject.inspections.get(record.source)
        score_map = held.evidence.score_map if held is not None and held.evidence is not None else None
        source, choice = record.source, choose(question, options, record, score_map=score_map)
    return Chosen(
        ids=tuple(dict.fromkeys(id for claim in choice.claims for id in claim.evidence)) or ("score",),
        picture=Path(source).name,
        letter=choice.letter,
        text=None if choice.letter is None else choice.options[choice.best[0]],
        options=tuple(
            OptionScore(letter=string.ascii_uppercase[i], text=option, probability=min(1.0, probability))
            for i, (option, probability) in enumerate(zip(choice.options, choice.probabilities, strict=True))
        ),
        claims=choice.claims,
        why_not=choice.why_not,
    )
