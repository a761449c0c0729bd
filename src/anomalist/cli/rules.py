"""``anomalist rules``: list, show, compare, add, edit, disable and enable the rules of a profile."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist.cli import rule_changes, rule_trials
from anomalist.cli.rule_changes import (
    RuleArgument,
    RulesProfileOption,
    RunsOption,
    YesOption,
)
from anomalist.cli.terminal import JsonOption
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.memory.rules.editing import RuleChanges
    from anomalist.memory.rules.rule import Rule


app = typer.Typer(help="Rules: what is normal for a profile, and what is not.", no_args_is_help=True)
app.command()(rule_trials.induce)
app.command()(rule_trials.captions)
app.command()(rule_trials.test)
app.command()(rule_trials.stats)


class PolarityChoice(StrEnum):
    """Which way a rule points."""

    normal = "normal"
    anomalous = "anomalous"


class KindChoice(StrEnum):
    """What a rule is about."""

    activity = "activity"
    object = "object"
    place = "place"


KeywordsOption = Annotated[
    list[str] | None,
    typer.Option(help='Words that alone say that it is so. Repeat it, or "a,b"; "" for none.'),
]


def _severity_number(text: str) -> int:
    """The number of a severity that is given by its name or its number."""
    from anomalist.types.common import SEVERITIES

    if text in SEVERITIES:
        return SEVERITIES.index(text)
    if text in map(str, range(len(SEVERITIES))):
        return int(text)
    raise typer.BadParameter(f"{text!r} is none of {', '.join(SEVERITIES)}, nor 0 to 4.")


SeverityOption = Annotated[
    int | None,
    typer.Option(
        parser=_severity_number,
        metavar="<none|minor|moderate|major|critical>",
        help="What it matches is at least that severe; also as a number, 0 to 4.",
    ),
]
NoteOption = Annotated[str, typer.Option(help="Why, in words.")]


@app.command("list")
def list_rules(
    profile: RulesProfileOption,
    polarity: Annotated[PolarityChoice | None, typer.Option(help="Only these.")] = None,
    all: Annotated[
        bool, typer.Option("--all", help="Also the shipped rules that nobody changed, and disabled ones.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List the rules of a profile."""
    from anomalist.cli.rule_changes import rules_table
    from anomalist.cli.terminal import err, out
    from anomalist.memory.rules.store import current_rules
    from anomalist.storage.artifacts import profile_name

    rules = [
        r for r in current_rules(profile_name(profile)) if polarity is None or r.polarity == polarity.value
    ]
    shown = [r for r in rules if all or (r.enabled and not (r.origin == "shipped" and r.version == 1))]
    if json:
        for rule in shown:
            print(rule.model_dump_json())
        return
    if shown:
        out.print(rules_table(shown))
    if len(rules) > len(shown):
        err.print(f"{len(rules) - len(shown)} shipped or disabled rules are left out; --all shows them.")


@app.command()
def show(rule: RuleArgument, json: JsonOption = False) -> None:
    """Show a rule with its history, and the captions that it comes from."""
    from anomalist.cli.rule_changes import history_text
    from anomalist.cli.terminal import out
    from anomalist.memory.rules.store import RuleStore

    with RuleStore() as store:
        versions = store.history(rule)
        profile = store.profile_of(rule)
    if json:
        for version in versions:
            print(version.model_dump_json())
    else:
        out.print(history_text(profile, versions), markup=False, highlight=False, soft_wrap=True)


@app.command()
def diff(
    rule: RuleArgument,
    versions: Annotated[
        list[int] | None, typer.Argument(metavar="[V1 V2]", help="The last two when not asked.")
    ] = None,
) -> None:
    """Show what changed from one version of a rule to another."""
    from anomalist.cli.rule_changes import difference_text
    from anomalist.cli.terminal import out
    from anomalist.memory.rules.store import RuleStore

    with RuleStore() as store:
        known = {version.rule.version: version for version in store.history(rule)}
    latest = max(known)
    asked = versions or [max(latest - 1, 1), latest]
    if len(asked) != 2:
        raise DataError("Two versions are compared.", f"As in: anomalist rules diff {rule} 1 {latest}")
    if missing := [number for number in asked if number not in known]:
        raise DataError(f"{rule} has no version {missing[0]}.", f"It has 1 to {latest}.")
    text = difference_text(known[asked[0]], known[asked[1]])
    out.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def add(
    text: Annotated[str, typer.Argument(metavar="TEXT", help='As in "a person is riding a bicycle".')],
    profile: RulesProfileOption,
    polarity: Annotated[PolarityChoice, typer.Option(help="What it calls that.")] = PolarityChoice.anomalous,
    kind: Annotated[KindChoice, typer.Option(help="What it is about.")] = KindChoice.activity,
    keywords: KeywordsOption = None,
    severity: SeverityOption = None,
    note: NoteOption = "",
    runs: RunsOption = None,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Add a rule of your own; what it would have changed is shown first."""
    from anomalist.memory.rules.editing import split_keywords, validate_rule
    from anomalist.storage.artifacts import profile_name

    new = validate_rule(
        id="rule:new-1",
        text=text,
        polarity=polarity.value,
        kind=kind.value,
        keywords=split_keywords(keywords),
        severity=severity or 0,
        origin="person",
        note=note,
    )
    rule_changes.save_new_rule(profile_name(profile), new, runs or [], yes=yes, json=json)


@app.command()
def edit(
    rule: RuleArgument,
    profile: Annotated[
        str | None, typer.Option(help="Whose rule it is: needed for the id of a shipped rule.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="What it says from now on.")] = None,
    polarity: Annotated[PolarityChoice | None, typer.Option(help="What it calls that.")] = None,
    kind: Annotated[KindChoice | None, typer.Option(help="What it is about.")] = None,
    keywords: KeywordsOption = None,
    severity: SeverityOption = None,
    note: NoteOption = "",
    runs: RunsOption = None,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Change a rule: a new version of it, once you have seen what it would have changed."""
    from anomalist.memory.rules.editing import split_keywords

    changes: dict[str, Any] = {
        "text": text,
        "polarity": polarity.value if polarity else None,
        "kind": kind.value if kind else None,
        "keywords": None if keywords is None else split_keywords(keywords),
        "severity": severity,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes and not note:
        raise DataError(
            "Nothing is to be changed.", "Say --text, --polarity, --kind, --keywords, --severity."
        )

    def edited(old: Rule) -> dict[str, Any]:
        # A rewritten text is no longer supported by captions; the version before keeps its support.
        rewritten = "text" in changes and changes["text"] != old.text
        return {**changes, "note": note, **({"origin": "person", "support": None} if rewritten else {})}

    _apply_change(rule, profile, edited, runs, yes=yes, json=json)


@app.command()
def disable(
    rule: RuleArgument,
    profile: Annotated[str | None, typer.Option(help="Needed for the id of a shipped rule.")] = None,
    note: NoteOption = "",
    runs: RunsOption = None,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Let a rule no longer count; nothing of it is deleted."""
    _apply_change(rule, profile, lambda _: {"enabled": False, "note": note}, runs, yes=yes, json=json)


@app.command()
def enable(
    rule: RuleArgument,
    profile: Annotated[str | None, typer.Option(help="Needed for the id of a shipped rule.")] = None,
    note: NoteOption = "",
    runs: RunsOption = None,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Let a rule count again."""
    _apply_change(rule, profile, lambda _: {"enabled": True, "note": note}, runs, yes=yes, json=json)


def _apply_change(
    rule: str,
    profile: str | None,
    changes: RuleChanges,
    runs: list[Path] | None,
    *,
    yes: bool,
    json: bool,
) -> None:
    from anomalist.storage.artifacts import profile_name

    named = profile_name(profile) if profile else None
    rule_changes.save_rule_change(rule, named, changes, runs or [], yes=yes, json=json)
