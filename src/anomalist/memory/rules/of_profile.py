"""The rules of a profile: its own where it has any, else the general ones that ship."""

from __future__ import annotations

from pathlib import Path

from anomalist.errors import DataError
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.shipped import shipped_anomalies
from anomalist.memory.rules.store import RuleStore
from anomalist.settings import Settings


def rules_for(profile: str, path: Path | None = None) -> tuple[Rule, ...]:
    """The rules that hold for a profile: its stored ones that are enabled, or the shipped ones.

    Hold captions against them with ``RuleMatcher(rules).read(captions)``.

    Parameters
    ----------
    profile : name of the profile or scene, without a folder.
    path : file of the rules; by default the one of this user, which is not made where there is none.

    Raises DataError when the file is damaged.
    """
    return tuple(rule for rule in current_rules(profile, path) if rule.enabled)


def current_rules(profile: str, path: Path | None = None) -> tuple[Rule, ...]:
    """The same with the disabled ones."""
    place = path or Settings().home / "cases.sqlite"
    if not place.exists():
        return shipped_anomalies()
    with RuleStore(place) as store:
        return store.list(profile) or shipped_anomalies()


def begin(store: RuleStore, profile: str) -> tuple[Rule, ...]:
    """The stored rules of a profile; one that has none gets the shipped ones first, as its own.

    So a person can change each of them, and rules that are added come on top.
    """
    return store.list(profile) or store.begin(profile, shipped_anomalies(), who="anomalist")


def owned(store: RuleStore, profile: str, id: str) -> Rule:
    """The stored rule of an id as people give it: "rule:7", "7", or "rule:shipped-7" of a profile.

    Raises DataError if there is none, or it belongs to another profile.
    """
    if id.removeprefix("rule:").startswith("shipped-"):
        name = f"rule:{id.removeprefix('rule:')}"
        wanted = next((rule for rule in shipped_anomalies() if rule.id == name), None)
        found = [
            rule
            for rule in begin(store, profile)
            if wanted and rule.origin == "shipped" and store.history(rule.id)[0].rule.text == wanted.text
        ]
        if not found:
            raise DataError(f"There is no {id[:40]}.", f"See: anomalist rules list --profile {profile} --all")
        return found[0]
    rule = store.get(id)
    if (belongs := store.profile_of(id)) != profile:
        raise DataError(f"{rule.id} belongs to the profile {belongs}, not to {profile}.")
    return rule
