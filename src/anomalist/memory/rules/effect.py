"""What other rules would have made of what was already said: looked at before a change is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.matching import RuleMatch, RuleMatcher
from anomalist.memory.rules.rule import Rule
from anomalist.types import Frozen


@dataclass(frozen=True)
class Said:
    """What stored records say about one thing.

    Parameters
    ----------
    source, part : the picture or clip, and the event in it ("E1"); "" for the whole.
    text : all that was said of it, in sentences.
    severity : as it was decided.
    """

    source: str
    part: str
    text: str
    severity: int = 0


class Changed(Frozen):
    """One thing that other rules make something else of."""

    source: str
    part: str
    text: str
    gained: tuple[str, ...] = Field(description="ids of rules that would match it")
    lost: tuple[str, ...] = Field(description="ids of rules that match it now and wouldn't")
    floor_before: int = Field(description="severity that the rules which match ask for at least")
    floor_after: int


class Effect(Frozen):
    """What a change of rules would have changed."""

    looked_at: int = Field(description="events and pictures")
    matched_before: int
    matched_after: int
    changed: tuple[Changed, ...]


def effect_of(
    before: Sequence[Rule], after: Sequence[Rule], said: Sequence[Said], encoder: Encoder | None = None
) -> Effect:
    """Hold the same texts against both sets of rules.

    Parameters
    ----------
    before, after : all rules of the profile; disabled ones don't count.
    said : what stored records say.
    """
    encoder = encoder or load_encoder()
    texts = [each.text for each in said]
    old, new = (RuleMatcher(rules, encoder=encoder).read(texts).matches for rules in (before, after))
    floors = [{rule.id: rule.severity for rule in rules} for rules in (before, after)]
    changed = []
    for each, was, now in zip(said, old, new, strict=True):
        one = Changed(
            source=each.source,
            part=each.part,
            text=each.text,
            gained=_without(now, was),
            lost=_without(was, now),
            floor_before=max((floors[0][match.rule] for match in was), default=0),
            floor_after=max((floors[1][match.rule] for match in now), default=0),
        )
        if one.gained or one.lost or one.floor_before != one.floor_after:
            changed.append(one)
    return Effect(
        looked_at=len(said),
        matched_before=sum(map(bool, old)),
        matched_after=sum(map(bool, new)),
        changed=tuple(changed),
    )


def _without(matches: Sequence[RuleMatch], others: Sequence[RuleMatch]) -> tuple[str, ...]:
    known = {match.rule for match in others}
    return tuple(match.rule for match in matches if match.rule not in known)
