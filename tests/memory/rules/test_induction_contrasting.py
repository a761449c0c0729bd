"""What is never so, by captions of what always is."""

from __future__ import annotations

from collections.abc import Sequence

from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.rules.induction import Induction, induce_rules
from anomalist.memory.rules.matching import RuleMatcher
from anomalist.memory.rules.rule import CaptionFile

CALM = "A carriage moves from left to right at the usual speed in the centre."


def induced(captions: Sequence[str], encoder: SentenceEncoder) -> Induction:
    return induce_rules(CaptionFile("x.csv", "0" * 64, tuple(captions)), encoder=encoder)


def own(found: Induction) -> dict[str, tuple[str, ...]]:
    return {
        rule.text: rule.keywords
        for rule in found.rules
        if rule.origin == "induced" and rule.polarity == "anomalous"
    }


def test_contraries_of_what_is_always_so_are_anomalies(encoder: SentenceEncoder) -> None:
    found = induced([CALM] * 60 + ["A carriage moves fast in the centre."] * 5, encoder)
    rules = own(found)
    assert rules["a carriage moves very fast"] == ("very fast",)
    assert "a carriage moves from right to left" in rules
    assert "a carriage moves fast" not in rules, "that happens"
    made = next(rule for rule in found.rules if rule.text == "a carriage moves very fast")
    assert made.support is not None
    assert len(made.support.captions) == 65
    assert "hardly any" in made.note


def test_they_are_matched_though_an_encoder_takes_them_for_the_same(encoder: SentenceEncoder) -> None:
    matcher = RuleMatcher(induced([CALM] * 60, encoder).rules, encoder=encoder)
    hurried = CALM.replace("at the usual speed", "very fast")
    calm, fast = matcher.read([CALM, hurried]).matches
    assert calm == ()
    assert fast[0].text == "a carriage moves very fast"


def test_few_captions_show_nothing(encoder: SentenceEncoder) -> None:
    assert own(induced([CALM] * 20, encoder)) == {}


def test_what_is_only_fast_is_not_very_fast(encoder: SentenceEncoder) -> None:
    captions = [CALM] * 60 + [CALM.replace("at the usual speed", "fast")] * 5
    matcher = RuleMatcher(induced(captions, encoder).rules, encoder=encoder)
    assert matcher.read(captions[-1:]).matches == ((),)
