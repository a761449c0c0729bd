"""Induced rules into the store, again and again, without touching what a person decided."""

from __future__ import annotations

from dataclasses import dataclass

from anomalist.memory.feedback import current_user
from anomalist.memory.rules.induction import Induction
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.statements import plainly
from anomalist.memory.rules.store import RuleStore

_BY_INDUCTION = "induction, run by "
_NO_LONGER = "The captions of the last induction don't say it often enough."


@dataclass(frozen=True)
class Kept:
    """What came of storing an induction.

    Parameters
    ----------
    added, changed : rules as they were stored: new ones, and new versions.
    unchanged : that said the same already.
    untouched : rules that a person wrote or changed, which an induction never does.
    """

    added: tuple[Rule, ...]
    changed: tuple[Rule, ...]
    unchanged: int
    untouched: tuple[Rule, ...]


def keep_induced(store: RuleStore, profile: str, induction: Induction) -> Kept:
    """Store the rules of an induction as those of a profile, in one step.

    A rule that is there already, by polarity and text, gets a new version where anything about it differs.
    What an earlier induction found and this one doesn't is disabled. Rules that a person wrote, edited,
    enabled or disabled stay as they are.
    """
    known = {_name(rule): rule for rule in store.list(profile)}
    persons = {name for name, rule in known.items() if not _by_induction(store, rule)}
    found = {_name(rule): rule for rule in (*induction.dropped, *induction.rules)}
    changes: dict[str, Rule] = {}
    for name, rule in known.items():
        if name in persons:
            continue
        new = found.get(name) or rule.model_copy(update={"enabled": False, "note": _NO_LONGER})
        new = new.model_copy(update={"id": rule.id, "version": rule.version})
        if new != rule:
            changes[rule.id] = new
    fresh = [rule for name, rule in found.items() if name not in known]
    stored = store.replace(profile, fresh, changes, who=f"{_BY_INDUCTION}{current_user()}")
    return Kept(
        added=stored[: len(fresh)],
        changed=stored[len(fresh) :],
        unchanged=len(known) - len(changes) - len(persons),
        untouched=tuple(rule for name, rule in known.items() if name in persons),
    )


def _name(rule: Rule) -> tuple[str, str]:
    return rule.polarity, plainly(rule.text)


def _by_induction(store: RuleStore, rule: Rule) -> bool:
    """Whether nobody but inductions had a hand in a rule; what was shipped and never changed counts so."""
    return all(
        version.who.startswith(_BY_INDUCTION) or version.who == "anomalist"
        for version in store.history(rule.id)
    )
