from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from anomalist.prompts.schemas import (
    MAX_CLAIMS,
    MAX_LIST_ITEMS,
    MAX_TEXT_CHARACTERS,
    Description,
    EventReply,
    Judgement,
)

GOOD: dict[str, Any] = {
    "claims": [{"text": "R1 is dark.", "evidence": ["R1"]}],
    "label": "anomalous",
    "kind": "line",
    "severity_step": "same",
    "severity_reason": "",
    "severity_evidence": [],
}


def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A schema and those that it refers to."""
    return [schema, *schema.get("$defs", {}).values()]


@pytest.mark.parametrize("form", [Description, Judgement, EventReply])
def test_the_schema_is_one_that_strict_servers_take(form: type[BaseModel]) -> None:
    for schema in objects(form.model_json_schema()):
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
        for field in schema["properties"].values():
            assert "default" not in field
            assert (
                ("enum" in field or "maxLength" in field)
                if field["type"] == "string"
                else "maxItems" in field
            )


def test_the_schema_asks_for_reasons_with_ids_before_the_label() -> None:
    schema = Judgement.model_json_schema()
    assert list(schema["properties"])[:2] == ["claims", "label"]
    assert schema["properties"]["claims"]["maxItems"] == MAX_CLAIMS
    assert schema["$defs"]["Statement"]["properties"]["evidence"]["minItems"] == 1


def test_a_reply_in_this_form_is_read() -> None:
    judgement = Judgement.model_validate(GOOD)
    assert (judgement.label, judgement.claims[0].evidence) == ("anomalous", ("R1",))


@pytest.mark.parametrize(
    "change",
    [
        {"label": "Anomalous"},
        {"label": "defective"},
        {"label": None},
        {"kind": "crack"},
        {"severity_step": 1},
        {"severity_step": "much higher"},
        {"claims": "R1 is dark."},
        {"claims": [{"text": 7, "evidence": ["R1"]}]},
        {"claims": [{"text": "R1 is dark.", "evidence": "R1"}]},
        {"claims": [{"text": "a", "evidence": []}] * (MAX_LIST_ITEMS + 1)},
        {"confidence": 0.9},
    ],
)
def test_what_decides_is_never_guessed(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Judgement.model_validate(GOOD | change)


@pytest.mark.parametrize("key", list(GOOD))
def test_every_key_is_needed(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        Judgement.model_validate({name: value for name, value in GOOD.items() if name != key})


def test_long_texts_are_shortened_also_without_spaces() -> None:
    claims = [{"text": text, "evidence": [" R1 "]} for text in ("検" * 5000, "two \n\t lines", "a " * 5000)]
    read = Judgement.model_validate(GOOD | {"claims": claims}).claims
    assert [len(claim.text) <= 2 * MAX_TEXT_CHARACTERS for claim in read] == [True] * 3
    assert read[0].text == "検" * (2 * MAX_TEXT_CHARACTERS - 1) + "…"
    assert (read[1].text, read[1].evidence) == ("two lines", ("R1",))


EVENT: dict[str, Any] = {
    "happening": "A man rides a bicycle.",
    "evidence": ["T1"],
    "subject": "a man",
    "action": "rides",
    "object": "a bicycle",
    "scene": "a walkway",
    "reason": "Everybody else walks.",
    "unusual": "unusual",
    "confidence": "high",
}


def test_what_happens_and_why_come_before_whether_it_is_unusual() -> None:
    keys = list(EventReply.model_json_schema()["properties"])
    assert keys.index("happening") < keys.index("reason") < keys.index("unusual") < keys.index("confidence")
    assert EventReply.model_validate(EVENT).unusual == "unusual"


@pytest.mark.parametrize(
    "change",
    [{"unusual": "yes"}, {"unusual": None}, {"confidence": 0.9}, {"confidence": "sure"}, {"evidence": "T1"}],
)
def test_what_a_model_makes_of_an_event_is_never_guessed(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EventReply.model_validate(EVENT | change)
