"""Adding and changing a rule: validation, contradictions, impact on stored records, confirmation.

Also the options and the texts (table, history, difference, impact) that the commands of ``anomalist
rules`` share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist.errors import DataError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomalist.memory.rules.impact import RuleImpact
    from anomalist.memory.rules.rule import Rule, RuleSupport, RuleVersion


RulesProfileOption = Annotated[
    str, typer.Option("--profile", help="Whose rules: the name or folder of a profile or scene.")
]
RuleArgument = Annotated[str, typer.Argument(metavar="ID", help="As in rule:7, or shipped-7 of a profile.")]
RunsOption = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of triage or inspect: what would have changed there. Repeat it for more."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Save without asking.")]


def profile_name(profile: str) -> str:
    """The name under which rules of a profile are kept: that of its folder, as records name it.

    Raises ProfileError for what can't be a name.
    """
    from anomalist.storage.artifacts import profile_path

    path = profile_path(profile)
    return path.name or path.resolve().name  # "." has none of its own


_MAX_CHANGES_SHOWN = 20
_RULE_FIELDS = ("text", "polarity", "kind", "keywords", "severity", "origin", "enabled", "note")


def rules_table(rules: Sequence[Rule]) -> RenderableType:
    """A row for each rule."""
    from rich.table import Table
    from rich.text import Text

    from anomalist.types.common import SEVERITIES

    table = Table()
    for heading in ("id", "rule", "what", "keywords", "severity", "rests on"):
        table.add_column(heading, overflow="fold")
    for rule in rules:
        support = rule.support
        rests: str = "a person" if rule.origin == "person" else rule.origin
        if support:
            rests = f"{len(support.captions)} captions, {support.batches}/{support.of_batches} batches"
        severity = SEVERITIES[rule.severity] if rule.severity else ""
        cells = (rule.text, f"{rule.polarity} {rule.kind}", ", ".join(rule.keywords), severity, rests)
        table.add_row(rule.id, *map(Text, cells), style="" if rule.enabled else "dim strike")
    return table


def history_text(profile: str, versions: Sequence[RuleVersion]) -> str:
    """A rule as it is, the captions that it comes from, and every version that it had."""
    rule = versions[-1].rule
    lines = [f"{rule.id} of {profile}: {rule.text}"]
    lines += [f"  {name}: {_field_text(rule, name)}" for name in _RULE_FIELDS[1:] if _field_text(rule, name)]
    # A rewritten rule has no support of its own: show that of the last version that had any.
    supported = next((version for version in reversed(versions) if version.rule.support), None)
    if supported and supported.rule.support:
        lines += _support_lines(supported.rule.support, supported.rule.version, rule.version)
    lines.append("History:")
    for version in versions:
        note = f": {version.rule.note}" if version.rule.note else ""
        state = "" if version.rule.enabled else " (disabled)"
        lines.append(f"  {version.rule.version}  {version.time}  {version.who}{state}{note}")
        lines.append(f"     {version.rule.text}")
    return "\n".join(lines)


def difference_text(old: RuleVersion, new: RuleVersion) -> str:
    """What differs between two versions, field by field."""
    lines = [f"--- {old.rule.id} version {old.rule.version}, {old.time}, {old.who}"]
    lines.append(f"+++ {new.rule.id} version {new.rule.version}, {new.time}, {new.who}")
    for name in _RULE_FIELDS:
        before, after = _field_text(old.rule, name), _field_text(new.rule, name)
        if before != after:
            lines += [f"{sign} {name}: {value}" for sign, value in (("-", before), ("+", after)) if value]
    if old.rule.support != new.rule.support:
        for sign, support in (("-", old.rule.support), ("+", new.rule.support)):
            lines += [f"{sign} support: {_support_text(support)}"] if support else []
    return "\n".join(lines) if len(lines) > 2 else f"{lines[0]}\n{lines[1]}\nNothing differs."


def effect_text(effect: RuleImpact) -> str:
    """What a change of rules would have changed on stored records."""
    from anomalist.types.common import SEVERITIES

    lines = [
        f"On {effect.looked_at} stored events and pictures: rules matched {effect.matched_before}, "
        f"would have matched {effect.matched_after}; {len(effect.changed)} would have changed."
    ]
    for each in effect.changed[:_MAX_CHANGES_SHOWN]:
        what = [f"gains {', '.join(each.gained)}"] if each.gained else []
        what += [f"loses {', '.join(each.lost)}"] if each.lost else []
        if each.floor_before != each.floor_after:
            floors = SEVERITIES[each.floor_before], SEVERITIES[each.floor_after]
            what.append("severity at least {1} instead of {0}".format(*floors))
        place = f"{each.source}:{each.part}" if each.part else each.source
        lines.append(f'  {place} {"; ".join(what)}: "{each.text[:160]}"')
    if (more := len(effect.changed) - _MAX_CHANGES_SHOWN) > 0:
        lines.append(f"  … and {more} more")
    return "\n".join(lines)


def _field_text(rule: Rule, name: str) -> str:
    from anomalist.types.common import SEVERITIES

    if name == "keywords":
        return ", ".join(rule.keywords)
    if name == "severity":
        return f"at least {SEVERITIES[rule.severity]}" if rule.severity else ""
    if name == "enabled":
        return "yes" if rule.enabled else "no"
    return str(getattr(rule, name))


def _support_text(support: RuleSupport) -> str:
    return (
        f"{len(support.captions)} of {support.of} captions, "
        f"{support.batches} of {support.of_batches} batches of "
        f"{support.source} (sha256 {support.sha256[:12]})"
        f"{f', read by {support.by}' if support.by else ''}"
    )


def _support_lines(support: RuleSupport, version: int, latest: int) -> list[str]:
    whose = "" if version == latest else f" (of version {version})"
    lines = [f"Support{whose}: {_support_text(support)}"]
    if support.captions:
        rows = ", ".join(map(str, support.captions[:20]))
        more = len(support.captions) - 20
        lines.append(f"  rows {rows}{f' and {more} more' if more > 0 else ''}")
    lines += [f"  {example.number}: {example.text[:300]}" for example in support.examples]
    return lines


RuleChanges = Callable[["Rule"], Mapping[str, Any]]


def validate_rule(**fields: Any) -> Rule:  # noqa: ANN401
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


def save_new_rule(profile: str, rule: Rule, runs: Sequence[Path], *, yes: bool, json: bool) -> None:
    """Add a rule to a profile, after showing what that means."""
    from anomalist.memory.rules.store import RuleStore, adopt_shipped_rules, current_rules

    known = current_rules(profile)
    same = [each for each in known if each.enabled and each.polarity == rule.polarity]
    if twin := next((each for each in same if each.text.casefold() == rule.text.casefold()), None):
        raise DataError(f"{twin.id} says that already.", f"Change it: anomalist rules edit {twin.id} …")
    _confirm_change(rule, known, (*known, rule), runs, yes=yes)
    with RuleStore() as store:
        adopt_shipped_rules(store, profile)
        (stored,) = store.add(profile, [rule])
    write_rules(profile, [stored], "added")
    _print_saved(stored, json=json)


def save_rule_change(
    id: str, profile: str | None, changes: RuleChanges, runs: Sequence[Path], *, yes: bool, json: bool
) -> None:
    """Store a new version of a rule, after showing what that means.

    ``changes`` gets the rule as it is and returns the fields that differ. The rule may be that of a profile
    that has only shipped rules so far, which it then owns.
    """
    from anomalist.memory.rules.store import RuleStore, find_profile_rule

    if profile is None and id.removeprefix("rule:").startswith("shipped-"):
        raise DataError(f"{id} ships with every profile.", "Say whose it is to be: --profile NAME.")
    with RuleStore() as store:
        profile = profile or store.profile_of(id)
        old = find_profile_rule(store, profile, id)
        new = validate_rule(**{**old.model_dump(), **changes(old)})
        if new.replace(note=old.note) == old:
            raise DataError(f"{old.id} is like that already.")
        known = store.list(profile)
    after = tuple(new if rule.id == new.id else rule for rule in known)
    _confirm_change(new, known, after, runs, yes=yes)
    with RuleStore() as store:  # reopened: no lock is held while the user decides
        stored = store.change(new)
    write_rules(profile, [stored], "changed")
    _print_saved(stored, json=json)


def _confirm_change(
    rule: Rule, before: Sequence[Rule], after: Sequence[Rule], runs: Sequence[Path], *, yes: bool
) -> None:
    """Say what a rule contradicts and would have changed; ends the command unless it is to be saved."""
    from anomalist.cli.terminal import err
    from anomalist.memory.rules.impact import find_contradictions, rule_impact, run_captions

    if rule.enabled:
        for found in find_contradictions(rule, after):
            err.print(f"Contradiction: {found.sentence}", markup=False, highlight=False, soft_wrap=True)
    said = [each for folder in runs for each in run_captions(folder)]
    if runs:
        text = effect_text(rule_impact(before, after, said))
        err.print(text, markup=False, highlight=False, soft_wrap=True)
    if not yes and not typer.confirm("Save it?", err=True):
        raise typer.Exit(2)


def write_rules(profile: str, rules: Sequence[Rule], what: str) -> None:
    """Write rules that were added or changed into the audit log, where there is one."""
    from anomalist.audit.recording import open_trail

    if (trail := open_trail()) is not None:
        with trail:
            trail.rules(profile, rules, what)


def _print_saved(rule: Rule, *, json: bool) -> None:
    if json:
        print(rule.model_dump_json())
    else:
        state = "" if rule.enabled else ", disabled"
        typer.echo(f'{rule.id} "{rule.text}": version {rule.version}{state}.', err=True)
