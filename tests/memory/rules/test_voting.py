from __future__ import annotations

from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.rules.voting import Element, by_vote, grouped


def test_what_says_the_same_is_one_group_with_all_its_captions(encoder: SentenceEncoder) -> None:
    found = grouped(
        [
            Element("a person is walking", "activity", 0, (1, 2)),
            Element("A man is walking", "activity", 1, (5,)),
            Element("there is a fountain", "object", 1, (5,)),
        ],
        encoder,
    )
    assert [(g.text, g.kind, g.batches, g.captions) for g in found] == [
        ("a person is walking", "activity", (0, 1), (1, 2, 5)),
        ("a fountain", "object", (1,), (5,)),
    ]
    assert [group.text for group in by_vote(found, 3)] == ["a person is walking"]
    assert by_vote(found, 4) == ()  # half is no majority


def test_nothing_makes_no_groups(encoder: SentenceEncoder) -> None:
    assert grouped([], encoder) == ()
