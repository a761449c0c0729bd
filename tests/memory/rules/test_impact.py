from __future__ import annotations

import pytest

from anomalist.memory.cases import Action, Case
from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.rules.impact import RunCaption, find_contradictions, rule_impact, rule_tallies
from tests.memory.rules.rule_cases import rule


def case(number: int, action: Action, text: str, severity: int | None = None) -> Case:
    return Case(
        id=f"case:{number}",
        created="2026-01-01T00:00:00+00:00",
        action=action,
        media="event",
        source="a.mp4",
        text=text,
        severity=severity,
    )


def test_hits_and_false_alarms_of_each_rule(encoder: SentenceEncoder) -> None:
    rules = (rule("a person is juggling", keywords=("juggling",)), rule("a person is fencing", number=2))
    cases = (
        case(7, "escalate", "A man is juggling."),
        case(6, "dismissed", "A woman is juggling."),
        case(5, "dismissed", "A boy is juggling."),
        case(4, "seen", "A girl is juggling."),
        case(3, "corrected", "A girl is juggling.", severity=2),
        case(2, "confirmed", "A girl is juggling.", severity=0),
        case(1, "dismissed", ""),
    )
    (found,) = rule_tallies(rules, cases, encoder)
    assert (found.rule, found.hits, found.false_alarms, found.unsettled) == ("rule:1", 2, 3, 1)
    assert found.cases == tuple(f"case:{number}" for number in (7, 6, 5, 4, 3, 2))


def test_without_feedback_there_is_nothing_to_tell(encoder: SentenceEncoder) -> None:
    assert rule_tallies((rule("a person is juggling"),), (), encoder) == ()


SAID = (
    RunCaption("a.mp4", "E1", "A man is juggling with torches."),
    RunCaption("a.mp4", "E2", "A man is walking."),
    RunCaption("b.mp4", "E1", ""),
)


def test_what_a_new_rule_would_have_changed(encoder: SentenceEncoder) -> None:
    new = rule("a person is juggling", keywords=("juggling",), severity=3)
    effect = rule_impact((), (new,), SAID, encoder)
    assert (effect.looked_at, effect.matched_before, effect.matched_after) == (3, 0, 1)
    (changed,) = effect.changed
    assert (changed.part, changed.gained, changed.lost) == ("E1", ("rule:1",), ())
    assert (changed.floor_before, changed.floor_after) == (0, 3)


def test_a_rule_that_is_dropped_and_one_that_only_gets_milder(encoder: SentenceEncoder) -> None:
    old = rule("a person is juggling", severity=3)
    off, milder = (old.model_copy(update=change) for change in ({"enabled": False}, {"severity": 1}))
    assert rule_impact((old,), (off,), SAID, encoder).changed[0].lost == ("rule:1",)
    (changed,) = rule_impact((old,), (milder,), SAID, encoder).changed
    assert (changed.gained, changed.lost, changed.floor_after) == ((), (), 1)
    assert rule_impact((old,), (old,), SAID, encoder).changed == ()


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (("a person is jogging", "normal"), ("a person is running", "anomalous"), "polarity"),
        (("nobody is running", "anomalous"), ("a person is running", "anomalous"), "denial"),
        (("people are riding bicycles", "normal"), ("a cyclist passes", "anomalous"), "keyword"),
        (("nobody is running", "normal"), ("a person is running", "anomalous"), None),
        (("a person is running", "anomalous"), ("a person is jogging", "anomalous"), None),
        (("a person is reading", "normal"), ("a person is running", "anomalous"), None),
    ],
)
def test_contradictions(
    one: tuple[str, str], other: tuple[str, str], why: str | None, encoder: SentenceEncoder
) -> None:
    new, old = rule(*one, number=1), rule(*other, number=2, keywords=("bicycle",) if why == "keyword" else ())
    for first, second in ((new, old), (old, new)):
        found = find_contradictions(first, [second], encoder)
        assert [each.why for each in found] == ([why] if why else [])
        assert all(second.text in each.sentence for each in found)


def test_neither_itself_nor_a_disabled_rule_contradicts(encoder: SentenceEncoder) -> None:
    new = rule("a person is running", "normal")
    off = rule("a person is running", number=2, enabled=False)
    assert find_contradictions(new, [new.model_copy(update={"polarity": "anomalous"}), off], encoder) == ()
