from __future__ import annotations

from anomalist.memory.cases import Action, Case
from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.rules.impact import rule_tallies
from tests.memory.rules.made import rule


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
