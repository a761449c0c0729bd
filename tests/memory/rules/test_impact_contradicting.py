from __future__ import annotations

import pytest

from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.rules.impact import find_contradictions
from tests.memory.rules.made import rule


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
