from __future__ import annotations

from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.rules.effect import Said, effect_of
from tests.memory.rules.made import rule

SAID = (
    Said("a.mp4", "E1", "A man is juggling with torches."),
    Said("a.mp4", "E2", "A man is walking."),
    Said("b.mp4", "E1", ""),
)


def test_what_a_new_rule_would_have_changed(encoder: SentenceEncoder) -> None:
    new = rule("a person is juggling", keywords=("juggling",), severity=3)
    effect = effect_of((), (new,), SAID, encoder)
    assert (effect.looked_at, effect.matched_before, effect.matched_after) == (3, 0, 1)
    (changed,) = effect.changed
    assert (changed.part, changed.gained, changed.lost) == ("E1", ("rule:1",), ())
    assert (changed.floor_before, changed.floor_after) == (0, 3)


def test_a_rule_that_is_dropped_and_one_that_only_gets_milder(encoder: SentenceEncoder) -> None:
    old = rule("a person is juggling", severity=3)
    off, milder = (old.model_copy(update=change) for change in ({"enabled": False}, {"severity": 1}))
    assert effect_of((old,), (off,), SAID, encoder).changed[0].lost == ("rule:1",)
    (changed,) = effect_of((old,), (milder,), SAID, encoder).changed
    assert (changed.gained, changed.lost, changed.floor_after) == ((), (), 1)
    assert effect_of((old,), (old,), SAID, encoder).changed == ()
