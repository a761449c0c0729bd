"""The forms in which a model replies. Small and flat, so that small models can fill them in.

The JSON schema that goes to the model is strict (how many, how long, at least one id); reading is a little
more forgiving: a text that is too long is shortened and a claim without ids is dropped later, and counted,
rather than the whole reply refused. What decides something (label, kind, step) is never guessed.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict

from anomalist.types import Frozen, Kind, Label

MOST_CLAIMS = 6
LONGEST_TEXT = 300
"""Characters that are asked for; up to twice as many are kept."""

MOST_ITEMS = 20
"""Of whatever is listed; a reply that lists more runs on and is refused."""

NamedKind = Literal[Kind, "none"]
KINDS: tuple[str, ...] = get_args(NamedKind)


def _tidy(text: str) -> str:
    """Put a text on one line and cut it."""
    line = " ".join(text.split())
    return line if len(line) <= 2 * LONGEST_TEXT else line[: 2 * LONGEST_TEXT - 1] + "…"


Text = Annotated[str, AfterValidator(_tidy), Field(json_schema_extra={"maxLength": LONGEST_TEXT})]
Id = Annotated[str, AfterValidator(str.strip), Field(json_schema_extra={"maxLength": 40})]


def at_most(items: int, at_least: int = 0) -> Any:  # noqa: ANN401 - pydantic's FieldInfo is typed so
    """A list of so many items is asked for; up to 20 are read."""
    asked: JsonDict = {"minItems": at_least, "maxItems": items}
    return Field(max_length=MOST_ITEMS, json_schema_extra=asked)


def written(reply: Frozen) -> str:
    """Write a reply as a local model is made to write it: as Python's own writer of JSON does."""
    return json.dumps(reply.model_dump(mode="json"), ensure_ascii=False)


class Observation(Frozen):
    """Something that is seen, and the regions that it concerns; none for the picture as a whole."""

    text: Text
    evidence: Annotated[tuple[Id, ...], at_most(4)]


class Description(Frozen):
    """The first look, without a judgement."""

    scene: Text
    observations: Annotated[tuple[Observation, ...], at_most(MOST_CLAIMS)]
    text_seen: Annotated[tuple[Text, ...], at_most(4)]


class Statement(Frozen):
    """One sentence of a judgement and the ids that it rests on."""

    text: Text
    evidence: Annotated[tuple[Id, ...], at_most(4, at_least=1)]


class Judgement(Frozen):
    """The second look. The reasons come before the label, so that a model reasons before it decides."""

    claims: Annotated[tuple[Statement, ...], at_most(MOST_CLAIMS, at_least=1)]
    label: Label
    kind: NamedKind
    severity_step: Literal["lower", "same", "higher"]
    severity_reason: Text
    severity_evidence: Annotated[tuple[Id, ...], at_most(4)]


class EventReply(Frozen):
    """What a model makes of an event in a video. What happens and why comes before the judgement."""

    happening: Text
    evidence: Annotated[tuple[Id, ...], at_most(4, at_least=1)]
    subject: Text
    action: Text
    object: Text
    scene: Text
    reason: Text
    unusual: Literal["usual", "unusual", "undecided"]
    confidence: Literal["low", "medium", "high"]
