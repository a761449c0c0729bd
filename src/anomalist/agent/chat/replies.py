"""What a language model says in a conversation: one step at a time, a tool to call or the answer."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from anomalist.types import Frozen

ANSWER = "answer"
"""Key under which a message carries the checked `Answer` as JSON."""

MOST_SENTENCES = 12


class Sentence(Frozen):
    """One sentence and the ids that it rests on."""

    text: str = Field(min_length=1, max_length=1000)
    evidence: tuple[str, ...] = Field(max_length=12)


class Said(Frozen):
    """Give the answer, sentence by sentence, each with the ids that it rests on."""

    sentences: tuple[Sentence, ...] = Field((), max_length=MOST_SENTENCES)
    verdict: Literal["normal", "anomalous", "undecided", "not asked"] = Field(
        "not asked", description="what you think of the picture, where that was asked"
    )
    cannot: str = Field("", max_length=1000, description="why it can't be answered, and what would help")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.sentences and not self.cannot.strip():
            raise ValueError('there are neither "sentences" nor a reason in "cannot"')
        return self


class Step(Frozen):
    """The next step: a tool and its arguments, or, with an empty tool, the answer."""

    tool: str = Field(max_length=60)
    arguments: dict[str, Any] = Field(default_factory=dict)
    sentences: tuple[Sentence, ...] = Field((), max_length=MOST_SENTENCES)
    verdict: Literal["normal", "anomalous", "undecided", "not asked"] = "not asked"
    cannot: str = Field("", max_length=1000)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if not self.tool:
            self.said()
        return self

    def said(self) -> Said:
        """The answer of a step that calls no tool."""
        return Said(sentences=self.sentences, verdict=self.verdict, cannot=self.cannot)
