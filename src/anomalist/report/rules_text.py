"""Rules as people read them: a table, a history, a difference, what a change would have done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomalist.memory.rules.effect import Effect
from anomalist.memory.rules.rule import Rule, RuleVersion, Support
from anomalist.types import SEVERITIES

if TYPE_CHECKING:
    from rich.console import RenderableType

_CHANGED_SHOWN = 20
_FIELDS = ("text", "polarity", "kind", "keywords", "severity", "origin", "enabled", "note")


def rules_table(rules: Sequence[Rule]) -> RenderableType:
    """A row for each rule."""
    from rich.table import Table
    from rich.text import Text

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
    lines += [f"  {name}: {_value(rule, name)}" for name in _FIELDS[1:] if _value(rule, name)]
    # A rule that was rewritten rests on nothing; what the version before rested on is still of use.
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
    for name in _FIELDS:
        before, after = _value(old.rule, name), _value(new.rule, name)
        if before != after:
            lines += [f"{sign} {name}: {value}" for sign, value in (("-", before), ("+", after)) if value]
    if old.rule.support != new.rule.support:
        for sign, support in (("-", old.rule.support), ("+", new.rule.support)):
            lines += [f"{sign} support: {_support(support)}"] if support else []
    return "\n".join(lines) if len(lines) > 2 else f"{lines[0]}\n{lines[1]}\nNothing differs."


def effect_text(effect: Effect) -> str:
    """What a change of rules would have changed on stored records."""
    lines = [
        f"On {effect.looked_at} stored events and pictures: rules matched {effect.matched_before}, "
        f"would have matched {effect.matched_after}; {len(effect.changed)} would have changed."
    ]
    for each in effect.changed[:_CHANGED_SHOWN]:
        what = [f"gains {', '.join(each.gained)}"] if each.gained else []
        what += [f"loses {', '.join(each.lost)}"] if each.lost else []
        if each.floor_before != each.floor_after:
            floors = SEVERITIES[each.floor_before], SEVERITIES[each.floor_after]
            what.append("severity at least {1} instead of {0}".format(*floors))
        place = f"{each.source}:{each.part}" if each.part else each.source
        lines.append(f'  {place} {"; ".join(what)}: "{each.text[:160]}"')
    if (more := len(effect.changed) - _CHANGED_SHOWN) > 0:
        lines.append(f"  … and {more} more")
    return "\n".join(lines)


def _value(rule: Rule, name: str) -> str:
    if name == "keywords":
        return ", ".join(rule.keywords)
    if name == "severity":
        return f"at least {SEVERITIES[rule.severity]}" if rule.severity else ""
    if name == "enabled":
        return "yes" if rule.enabled else "no"
    return str(getattr(rule, name))


def _support(support: Support) -> str:
    return (
        f"{len(support.captions)} of {support.of} captions, "
        f"{support.batches} of {support.of_batches} batches of "
        f"{support.source} (sha256 {support.sha256[:12]})"
        f"{f', read by {support.by}' if support.by else ''}"
    )


def _support_lines(support: Support, version: int, latest: int) -> list[str]:
    whose = "" if version == latest else f" (of version {version})"
    lines = [f"Support{whose}: {_support(support)}"]
    if support.captions:
        rows = ", ".join(map(str, support.captions[:20]))
        more = len(support.captions) - 20
        lines.append(f"  rows {rows}{f' and {more} more' if more > 0 else ''}")
    lines += [f"  {example.number}: {example.text[:300]}" for example in support.examples]
    return lines
