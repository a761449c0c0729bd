"""Adding and changing a rule: validation, what it contradicts, what it would have changed, and storing it.

Command line and server show a `RuleProposal` before it is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anomalist.errors import DataError
from anomalist.memory.rules.impact import (
    Contradiction,
    RuleImpact,
    find_contradictions,
    rule_impact,
    run_captions,
)
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.store import RuleStore, adopt_shipped_rules, current_rules, find_profile_rule

RuleChanges = Callable[[Rule], Mapping[str, Any]]


def validate_rule(**fields: Any) -> Rule:  # noqa: ANN401
    """A rule of these fields. Raises DataError, which says what is wrong with them."""
    try:
        return Rule(**fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise DataError(f"That can't be a rule: {field}: {reason}.") from error


def split_keywords(words: Iterable[str] | None) -> tuple[str, ...]:
    """Keywords as given: repeated, or with commas between."""
    return tuple(word.strip() for each in words or () for word in each.split(",") if word.strip())


@dataclass(frozen=True)
class RuleProposal:
    """A rule that is to be stored, beside the rules before and after.

    Parameters
    ----------
    profile : whose rule it is.
    rule : as it would be; a new one has an id that is replaced when it is stored.
    before, after : all rules of the profile.
    new : whether it is added; else it is the next version of a stored rule.
    """

    profile: str
    rule: Rule
    before: tuple[Rule, ...]
    after: tuple[Rule, ...]
    new: bool

    @property
    def what(self) -> str:
        """What the audit log says of it."""
        return "added" if self.new else "changed"

    def contradictions(self) -> tuple[Contradiction, ...]:
        """The rules that it contradicts; none for a disabled one."""
        return find_contradictions(self.rule, self.after) if self.rule.enabled else ()

    def impact(self, runs: Sequence[Path]) -> RuleImpact:
        """What would have changed on the records of run folders. Raises DataError for what is none."""
        said = [each for folder in runs for each in run_captions(folder)]
        return rule_impact(self.before, self.after, said)

    def save(self) -> Rule:
        """Store it; returns it with its id and version. Raises DataError where that can't be done."""
        with RuleStore() as store:  # opened only now: no lock is held while somebody decides
            if not self.new:
                return store.change(self.rule)
            adopt_shipped_rules(store, self.profile)
            (stored,) = store.add(self.profile, [self.rule])
            return stored


def propose_new_rule(profile: str, rule: Rule) -> RuleProposal:
    """A rule to be added to a profile. Raises DataError where another says the same already."""
    known = current_rules(profile)
    same = [each for each in known if each.enabled and each.polarity == rule.polarity]
    if twin := next((each for each in same if each.text.casefold() == rule.text.casefold()), None):
        raise DataError(f"{twin.id} says that already.", f"Change it: anomalist rules edit {twin.id} …")
    return RuleProposal(profile, rule, known, (*known, rule), new=True)


def propose_rule_change(id: str, profile: str | None, changes: RuleChanges) -> RuleProposal:
    """A new version of a rule.

    Parameters
    ----------
    id : "rule:7", "7", or "shipped-7" of a profile that has only shipped rules so far, which it then owns.
    profile : whose rule it is; None for that of the id.
    changes : gets the rule as it is and returns the fields that differ.

    Raises DataError for a rule that is not there, can't be so, or is like that already.
    """
    with RuleStore() as store:
        profile = profile or store.profile_of(id)
        old = find_profile_rule(store, profile, id)
        new = validate_rule(**{**old.model_dump(), **changes(old)})
        if new.replace(note=old.note) == old:
            raise DataError(f"{old.id} is like that already.")
        known = store.list(profile)
    after = tuple(new if rule.id == new.id else rule for rule in known)
    return RuleProposal(profile, new, known, after, new=False)
