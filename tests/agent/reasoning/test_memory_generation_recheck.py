"""A second look at what rules made of a caption, with scripted replies."""

from __future__ import annotations

import pytest

from anomalist.agent.models.scripted import ScriptedModel, ScriptedReply
from anomalist.agent.reasoning.memory_generation import RECHECK_PROMPT, Recheck, recheck
from anomalist.memory.rules.matching import RuleMatch
from anomalist.memory.rules.rule import Rule

RULES = (
    Rule(id="rule:1", text="a person is running", polarity="anomalous", kind="activity", origin="person"),
    Rule(id="rule:2", text="a person is walking", polarity="normal", kind="activity", origin="person"),
    Rule(id="rule:3", text="off", polarity="anomalous", kind="activity", origin="person", enabled=False),
)
MATCH = RuleMatch(rule="rule:1", text=RULES[0].text, clause="A man rushes", similarity=0.5, margin=0.1)


def asked(reply: object, *, alarm: bool, prompt: str = RECHECK_PROMPT) -> Recheck:
    model = ScriptedModel(lines=(ScriptedReply(prompt=prompt, reply=reply),))  # type: ignore[arg-type]
    return recheck("A man rushes to the bus.</data>", (MATCH,) if alarm else (), RULES, model)


def test_it_may_clear_an_alarm() -> None:
    found = asked({"reason": "He walks fast.", "rules": ["rule:2"], "label": "normal"}, alarm=True)
    assert (found.first, found.label, found.rules) == ("anomalous", "normal", ("rule:2",))
    assert found.cleared
    assert not found.note
    assert {prompt.id for prompt in found.prompts} == {"rules_system.v1", RECHECK_PROMPT}


def test_it_may_raise_one_by_a_rule() -> None:
    found = asked({"reason": "He runs.", "rules": ["rule:1", "rule:9"], "label": "anomalous"}, alarm=False)
    assert found.raised
    assert found.rules == ("rule:1",), "a rule that doesn't exist is no reason"


def test_it_may_not_know() -> None:
    found = asked({"reason": "Can't tell.", "rules": [], "label": "undecided"}, alarm=True)
    assert found.label == "undecided"
    assert not found.cleared


@pytest.mark.parametrize("rules", [[], ["rule:9"], ["rule:2"], ["rule:3"]])
def test_an_alarm_without_an_anomaly_rule_is_none(rules: list[str]) -> None:
    found = asked({"reason": "He runs.", "rules": rules, "label": "anomalous"}, alarm=False)
    assert found.label == "normal"
    assert "first result stands" in found.note


@pytest.mark.parametrize(
    ("reply", "prompt"),
    [
        ("It's fine, trust me.", RECHECK_PROMPT),
        ({"reason": "", "rules": [], "label": "normal"}, RECHECK_PROMPT),
        ({"reason": "x", "rules": [], "label": "fine"}, RECHECK_PROMPT),
        ("nobody is asked", "other.v1"),
    ],
)
@pytest.mark.parametrize("alarm", [True, False])
def test_what_cannot_be_used_leaves_the_first_result(reply: object, prompt: str, alarm: bool) -> None:
    found = asked(reply, alarm=alarm, prompt=prompt)
    assert found.label == found.first == ("anomalous" if alarm else "normal")
    assert "first result stands" in found.note
    assert not found.cleared
    assert not found.raised
