"""A rule before it is saved: what it contradicts, what it would have changed, and the question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.memory.rules.rule import Rule

Changes = Callable[["Rule"], Mapping[str, Any]]


def checked_rule(**fields: Any) -> Rule:  # noqa: ANN401 - whatever was typed in
    """A rule of these fields. Raises DataError, which says what is wrong with them."""
    from pydantic import ValidationError

    from anomalist.memory.rules.rule import Rule

    try:
        return Rule(**fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise DataError(f"That can't be a rule: {field}: {reason}.") from error


def split_keywords(words: list[str] | None) -> tuple[str, ...]:
    """Keywords as given: repeated, or with commas between."""
    return tuple(word.strip() for each in words or () for word in each.split(",") if word.strip())


def save_new(profile: str, rule: Rule, runs: Sequence[Path], *, yes: bool, json: bool) -> None:
    """Add a rule to a profile, after showing what that means."""
    from anomalist.memory.rules.of_profile import begin, current_rules
    from anomalist.memory.rules.store import RuleStore

    known = current_rules(profile)
    same = [each for each in known if each.enabled and each.polarity == rule.polarity]
    if twin := next((each for each in same if each.text.casefold() == rule.text.casefold()), None):
        raise DataError(f"{twin.id} says that already.", f"Change it: anomalist rules edit {twin.id} …")
    _consider(rule, known, (*known, rule), runs, yes=yes)
    with RuleStore() as store:
        begin(store, profile)
        (stored,) = store.add(profile, [rule])
    _say(stored, json=json)


def save_changed(
    id: str, profile: str | None, changes: Changes, runs: Sequence[Path], *, yes: bool, json: bool
) -> None:
    """Store a new version of a rule, after showing what that means.

    ``changes`` gets the rule as it is and returns the fields that differ. The rule may be that of a profile
    that has only shipped rules so far, which it then owns.
    """
    from anomalist.memory.rules.of_profile import owned
    from anomalist.memory.rules.store import RuleStore

    if profile is None and id.removeprefix("rule:").startswith("shipped-"):
        raise DataError(f"{id} ships with every profile.", "Say whose it is to be: --profile NAME.")
    with RuleStore() as store:
        profile = profile or store.profile_of(id)
        old = owned(store, profile, id)
        new = checked_rule(**{**old.model_dump(), **changes(old)})
        if new.model_copy(update={"note": old.note}) == old:
            raise DataError(f"{old.id} is like that already.")
        known = store.list(profile)
    after = tuple(new if rule.id == new.id else rule for rule in known)
    _consider(new, known, after, runs, yes=yes)
    with RuleStore() as store:  # opened again: nobody waits while a person thinks
        _say(store.change(new), json=json)


def _consider(
    rule: Rule, before: Sequence[Rule], after: Sequence[Rule], runs: Sequence[Path], *, yes: bool
) -> None:
    """Say what a rule contradicts and would have changed; ends the command unless it is to be saved."""
    from anomalist.memory.rules.contradicting import contradictions
    from anomalist.memory.rules.effect import effect_of
    from anomalist.report.rules_text import effect_text
    from anomalist.said import said_in
    from anomalist.terminal import err

    if rule.enabled:
        for found in contradictions(rule, after):
            err.print(f"Contradiction: {found.sentence}", markup=False, highlight=False, soft_wrap=True)
    said = [each for folder in runs for each in said_in(folder)]
    if runs:
        text = effect_text(effect_of(before, after, said))
        err.print(text, markup=False, highlight=False, soft_wrap=True)
    if not yes and not typer.confirm("Save it?", err=True):
        raise typer.Exit(2)


def _say(rule: Rule, *, json: bool) -> None:
    if json:
        print(rule.model_dump_json())
    else:
        state = "" if rule.enabled else ", disabled"
        typer.echo(f'{rule.id} "{rule.text}": version {rule.version}{state}.', err=True)
