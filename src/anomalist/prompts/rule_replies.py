"""The forms in which a model writes rules and applies them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from anomalist.prompts.replies import Id, Text, at_most
from anomalist.types import Frozen, Label

MOST_RULES = 15
_Kind = Literal["activity", "object", "place"]


class NormalElement(Frozen):
    """Something that is normal, and the captions that say it, by their numbers from 1."""

    text: Text
    kind: _Kind
    captions: Annotated[tuple[int, ...], Field(max_length=100, json_schema_extra={"minItems": 1})]


class NormalElements(Frozen):
    """What is normal in some captions."""

    rules: Annotated[tuple[NormalElement, ...], at_most(MOST_RULES)]


class AnomalousElement(Frozen):
    """Something that would be an anomaly."""

    text: Text
    kind: _Kind
    keywords: Annotated[tuple[Id, ...], at_most(4)]
    severity: Annotated[int, Field(ge=0, le=4)]


class AnomalousElements(Frozen):
    """What would be anomalies where something else is normal."""

    rules: Annotated[tuple[AnomalousElement, ...], at_most(MOST_RULES)]


class Rechecked(Frozen):
    """A caption held against rules. The reason comes before the label."""

    reason: Text
    rules: Annotated[tuple[Id, ...], at_most(4)]
    label: Label
