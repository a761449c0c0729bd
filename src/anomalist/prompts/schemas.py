"""Schemas of structured model replies (pydantic): judgements, events, rules, scenes.

The schemas are small and flat, so that small models can fill them in. The JSON schema sent to the model is
strict (list lengths, text lengths, at least one id); validation is more lenient: a text that is too long is
cut, and a claim without ids is dropped and counted later, instead of the whole reply being refused. Fields
that decide something (label, kind, severity step) are never guessed.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, create_model
from pydantic.config import JsonDict

from anomalist.types.common import Frozen, Label
from anomalist.types.image import Kind

MAX_CLAIMS = 6
MAX_TEXT_CHARACTERS = 300
"""Longest text in the JSON schema; validation keeps up to twice as many characters."""

MAX_LIST_ITEMS = 20
"""Longest list that validation accepts; a longer one is taken for runaway repetition."""

NamedKind = Literal[Kind, "none"]
REPLY_KINDS: tuple[str, ...] = get_args(NamedKind)


def _one_line(text: str) -> str:
    """Put a text on one line and cut it."""
    line = " ".join(text.split())
    return line if len(line) <= 2 * MAX_TEXT_CHARACTERS else line[: 2 * MAX_TEXT_CHARACTERS - 1] + "…"


ReplyText = Annotated[
    str, AfterValidator(_one_line), Field(json_schema_extra={"maxLength": MAX_TEXT_CHARACTERS})
]
ReplyId = Annotated[str, AfterValidator(str.strip), Field(json_schema_extra={"maxLength": 40})]


def list_limits(items: int, at_least: int = 0) -> Any:  # noqa: ANN401
    """Field of a list: the JSON schema asks for ``at_least`` to ``items`` items, validation accepts 20."""
    extra: JsonDict = {"minItems": at_least, "maxItems": items}
    return Field(max_length=MAX_LIST_ITEMS, json_schema_extra=extra)


def reply_json(reply: Frozen) -> str:
    """Serialise a reply as constrained decoding makes a local model write it: like `json.dumps`."""
    return json.dumps(reply.model_dump(mode="json"), ensure_ascii=False)


class Observation(Frozen):
    """Something that is seen, and the regions that it concerns; none for the picture as a whole."""

    text: ReplyText
    evidence: Annotated[tuple[ReplyId, ...], list_limits(4)]


class Description(Frozen):
    """The description of a picture, without a judgement."""

    scene: ReplyText
    observations: Annotated[tuple[Observation, ...], list_limits(MAX_CLAIMS)]
    text_seen: Annotated[tuple[ReplyText, ...], list_limits(4)]


class Statement(Frozen):
    """One sentence of a judgement and the ids that it rests on."""

    text: ReplyText
    evidence: Annotated[tuple[ReplyId, ...], list_limits(4, at_least=1)]


class Judgement(Frozen):
    """The judgement. The reasons come before the label, so that a model reasons before it decides."""

    claims: Annotated[tuple[Statement, ...], list_limits(MAX_CLAIMS, at_least=1)]
    label: Label
    kind: NamedKind
    severity_step: Literal["lower", "same", "higher"]
    severity_reason: ReplyText
    severity_evidence: Annotated[tuple[ReplyId, ...], list_limits(4)]


class EventReply(Frozen):
    """What a model makes of an event in a video. What happens and why comes before the judgement."""

    happening: ReplyText
    evidence: Annotated[tuple[ReplyId, ...], list_limits(4, at_least=1)]
    subject: ReplyText
    action: ReplyText
    object: ReplyText
    scene: ReplyText
    reason: ReplyText
    unusual: Literal["usual", "unusual", "undecided"]
    confidence: Literal["low", "medium", "high"]


MAX_RULES = 15
_RuleKind = Literal["activity", "object", "place"]


CAPTIONS_SHOWN = 12
"""Captions of a batch in the prompt; each may take a few hundred tokens."""


class NormalElement(Frozen):
    """Something that is normal, and the captions that say it, by their numbers from 1."""

    text: ReplyText
    kind: _RuleKind
    captions: Annotated[
        tuple[Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": CAPTIONS_SHOWN})], ...],
        Field(max_length=100, json_schema_extra={"minItems": 1, "maxItems": CAPTIONS_SHOWN}),
    ]


class NormalElements(Frozen):
    """What is normal in some captions."""

    rules: Annotated[tuple[NormalElement, ...], list_limits(MAX_RULES)]


class AnomalousElement(Frozen):
    """Something that would be an anomaly."""

    text: ReplyText
    kind: _RuleKind
    keywords: Annotated[tuple[ReplyId, ...], list_limits(4)]
    severity: Annotated[int, Field(ge=0, le=4)]


class AnomalousElements(Frozen):
    """What would be anomalies where something else is normal."""

    rules: Annotated[tuple[AnomalousElement, ...], list_limits(MAX_RULES)]


class Rechecked(Frozen):
    """A caption held against rules. The reason comes before the label."""

    reason: ReplyText
    rules: Annotated[tuple[ReplyId, ...], list_limits(4)]
    label: Label


MAX_PAIRS = 15


class WrittenPair(Frozen):
    """A normal scene, an anomalous one at the same spot, and the kind of anomaly."""

    normal: ReplyText
    anomalous: ReplyText
    kind: ReplyId


class WrittenPairs(Frozen):
    """Several of them."""

    pairs: Annotated[tuple[WrittenPair, ...], list_limits(MAX_PAIRS, 1)]

    @classmethod
    def at_most(cls, count: int) -> type[WrittenPairs]:
        """The schema of a reply with ``count`` pairs at most.

        A small model that may write more than it is asked for goes on until its reply is cut off.
        """
        return create_model(
            cls.__name__, __base__=cls, pairs=(tuple[WrittenPair, ...], list_limits(count, 1))
        )
