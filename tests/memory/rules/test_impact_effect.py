from __future__ import annotations

from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.rules.impact import RunCaption, rule_impact
from tests.memory.rules.made import rule

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
