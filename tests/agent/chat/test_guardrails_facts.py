from __future__ import annotations

import pytest
from langchain_core.messages import ToolMessage
from pydantic import ValidationError

from anomalist.agent.chat.context import ModelAnswer, ModelStep, Sentence
from anomalist.agent.chat.guardrails import check_model_answer
from anomalist.agent.tools.subject import Subject


def said(*sentences: tuple[str, tuple[str, ...]], verdict: str = "not asked") -> ModelAnswer:
    parts = tuple(Sentence(text=text, evidence=ids) for text, ids in sentences)
    return ModelAnswer.model_validate({"sentences": parts, "verdict": verdict})


@pytest.mark.parametrize(
    ("text", "ids", "holds"),
    [
        ("R1 covers 1800 px.", ("R1",), True),
        ("The p-value is 0.01.", ("score",), True),
        ("The score is 3.2, that is 320 %.", ("score",), True),
        ("R1 covers 1801 px.", ("R1",), False),
        ("R1 is dark.", ("R2",), False),
        ("R1 is dark.", ("R1", "case:7"), False),
        ("R1 is dark.", (), False),
    ],
)
def test_a_sentence_holds_by_its_ids_and_numbers(
    one: Subject, text: str, ids: tuple[str, ...], holds: bool
) -> None:
    reply = check_model_answer(said((text, ids)), "?", one, [], "m")
    assert reply.answered is holds and bool(reply.dropped) is not holds
    assert all(text in dropped for dropped in reply.dropped)


def test_what_tools_returned_before_is_evidence_and_what_they_refused_is_not(one: Subject) -> None:
    content = '{"ids": ["case:3"], "similarity": 0.87}'
    told = ToolMessage(content, tool_call_id="1", name="recall_similar_cases")
    refused = ToolMessage(content, tool_call_id="1", name="recall_similar_cases", status="error")
    claim = said(("case:3 is alike at 0.87.", ("case:3",)))
    assert check_model_answer(claim, "?", one, [told], "m").answered
    assert not check_model_answer(claim, "?", one, [refused], "m").answered


@pytest.mark.parametrize(
    ("text", "verdict", "thinks"),
    [
        ("R1 is dark.", "normal", "normal"),
        ("R1 is dark.", "undecided", "undecided"),
        ("R1 is dark.", "anomalous", None),
        ("R1 is dark.", "not asked", None),
        ("Apart from R1 the part is fine.", "not asked", "normal"),
        ("There is nothing wrong at R1.", "not asked", "normal"),
    ],
)
def test_a_verdict_against_the_record_is_a_disagreement(
    one: Subject, text: str, verdict: str, thinks: str | None
) -> None:
    reply = check_model_answer(said((text, ("R1",)), verdict=verdict), "?", one, [], "m")
    assert reply.verdict == "anomalous"
    assert bool(reply.notes) is (thinks is not None)
    if thinks is not None:
        assert f"m says {thinks}, the record says anomalous" in reply.notes[0]


def test_of_several_pictures_no_verdict_is_contradicted(three: Subject) -> None:
    reply = check_model_answer(said(("All is fine.", ("R1",)), verdict="normal"), "?", three, [], "m")
    assert reply.verdict is None and reply.notes == ()


def test_a_step_calls_a_tool_or_answers() -> None:
    with pytest.raises(ValidationError, match="neither"):
        ModelStep.model_validate({"tool": ""})
    assert ModelStep.model_validate({"tool": "", "cannot": "why"}).answer().cannot == "why"
    assert ModelStep.model_validate({"tool": "zoom"}).arguments == {}


def test_a_step_is_asked_for_with_the_tools_that_there_are() -> None:
    step = ModelStep.with_tools(["zoom"])
    assert step.model_json_schema()["properties"]["tool"]["enum"] == ["", "zoom"]
    assert step.model_validate({"tool": "magnify"}).tool == "magnify"  # and is told that there is none
