"""How rules did: what people said about the findings that each of them matches."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from anomalist.memory.embedding import Encoder
from anomalist.memory.feedback import Case
from anomalist.memory.rules.matching import RuleMatcher
from anomalist.memory.rules.rule import Rule
from anomalist.types import Frozen


class Tally(Frozen):
    """One anomalous rule over the feedback of its profile."""

    rule: str
    text: str
    version: int
    hits: int = Field(description="findings that people escalated or confirmed, or corrected to a severity")
    false_alarms: int = Field(description="findings that were dismissed, or corrected to normal")
    unsettled: int = Field(description="findings that were only seen")
    cases: tuple[str, ...] = Field(description="ids, the newest first")


def tallies(
    rules: Sequence[Rule], cases: Sequence[Case], encoder: Encoder | None = None
) -> tuple[Tally, ...]:
    """Tallies of the anomalous rules that match any of the cases, the most false alarms first.

    Rules are held against what the cases say as the rules are now, so that a change shows at once.

    Parameters
    ----------
    rules : of one profile.
    cases : feedback on findings of that profile that holds, the newest first.
    """
    told = [case for case in cases if case.text.strip()]
    matches = RuleMatcher(rules, encoder=encoder).read([case.text for case in told]).matches
    found = []
    for rule in rules:
        mine = [
            case
            for case, fitted in zip(told, matches, strict=True)
            if any(match.rule == rule.id for match in fitted)
        ]
        if mine:
            outcomes = [_outcome(case) for case in mine]
            found.append(
                Tally(
                    rule=rule.id,
                    text=rule.text,
                    version=rule.version,
                    hits=outcomes.count(True),
                    false_alarms=outcomes.count(False),
                    unsettled=outcomes.count(None),
                    cases=tuple(case.id for case in mine),
                )
            )
    return tuple(sorted(found, key=lambda each: (-each.false_alarms, -each.hits, each.rule)))


def _outcome(case: Case) -> bool | None:
    """Whether a person agreed that the finding matters; None where that was not said."""
    if case.action in ("escalate", "dismissed"):
        return case.action == "escalate"
    if case.action == "seen" or case.severity is None:
        return None
    return case.severity > 0  # confirmed or corrected: a picture with this severity
