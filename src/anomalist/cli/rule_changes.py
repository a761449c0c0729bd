"""Adding and changing a rule on the command line: what it contradicts and would have changed, confirmation.

Also the options and the texts (table, history, difference, impact) that the commands of ``anomalist
rules`` share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.errors import DataError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomalist.memory.rules.editing import RuleChanges, RuleProposal
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


def save_new_rule(profile: str, rule: Rule, runs: Sequence[Path], *, yes: bool, json: bool) -> None:
    """Add a rule to a profile, after showing what that means."""
    from anomalist.memory.rules.editing import propose_new_rule

    _confirm_and_save(propose_new_rule(profile, rule), runs, yes=yes, json=json)


def save_rule_change(
    id: str, profile: str | None, changes: RuleChanges, runs: Sequence[Path], *, yes: bool, json: bool
) -> None:
    """Store a new version of a rule, after showing what that means; see `propose_rule_change`."""
    from anomalist.memory.rules.editing import propose_rule_change

    if profile is None and id.removeprefix("rule:").startswith("shipped-"):
        raise DataError(f"{id} ships with every profile.", "Say whose it is to be: --profile NAME.")
    _confirm_and_save(propose_rule_change(id, profile, changes), runs, yes=yes, json=json)


def _confirm_and_save(proposal: RuleProposal, runs: Sequence[Path], *, yes: bool, json: bool) -> None:
    """Say what a rule contradicts and would have changed; ends the command unless it is to be saved."""
    from anomalist.audit.recording import record_rules
    from anomalist.cli.terminal import err

    for found in proposal.contradictions():
        err.print(f"Contradiction: {found.sentence}", markup=False, highlight=False, soft_wrap=True)
    if runs:
        err.print(effect_text(proposal.impact(runs)), markup=False, highlight=False, soft_wrap=True)
    if not yes and not typer.confirm("Save it?", err=True):
        raise typer.Exit(2)
    stored = proposal.save()
    record_rules(proposal.profile, [stored], proposal.what)
    if json:
        print(stored.model_dump_json())
    else:
        state = "" if stored.enabled else ", disabled"
        typer.echo(f'{stored.id} "{stored.text}": version {stored.version}{state}.', err=True)
