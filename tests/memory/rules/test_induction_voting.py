from __future__ import annotations

from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.rules.induction import RuleElement, group_elements, majority_vote


def test_what_says_the_same_is_one_group_with_all_its_captions(encoder: SentenceEncoder) -> None:
    found = group_elements(
        [
            RuleElement("a person is walking", "activity", 0, (1, 2)),
            RuleElement("A man is walking", "activity", 1, (5,)),
            RuleElement("there is a fountain", "object", 1, (5,)),
        ],
        encoder,
    )
    assert [(g.text, g.kind, g.batches, g.captions) for g in found] == [
        ("a person is walking", "activity", (0, 1), (1, 2, 5)),
        ("a fountain", "object", (1,), (5,)),
    ]
    assert [group.text for group in majority_vote(found, 3)] == ["a person is walking"]
    assert majority_vote(found, 4) == ()  # half is no majority


def test_nothing_makes_no_groups(encoder: SentenceEncoder) -> None:
    assert group_elements([], encoder) == ()
