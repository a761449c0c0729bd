"""``anomalist rules test`` and ``anomalist rules stats``: how rules do."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist.commands.options import JsonOption
from anomalist.commands.rule_options import RulesProfile, profile_name
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.agent.rule_recheck import Recheck
    from anomalist.memory.feedback import Case
    from anomalist.memory.rules.matching import RuleMatch
    from anomalist.memory.rules.rule import Rule

_SHOWN = 20


def test(
    arguments: Annotated[
        list[str], typer.Argument(metavar="[ID] CAPTIONS", help="A rule, all by default; a file of captions.")
    ],
    profile: RulesProfile,
    text: Annotated[str | None, typer.Option(help="A rule that isn't stored, in place of an ID.")] = None,
    normal: Annotated[bool, typer.Option("--normal", help="With --text: it says what is normal.")] = False,
    keywords: Annotated[list[str] | None, typer.Option(help="With --text: its keywords.")] = None,
    model: Annotated[
        str, typer.Option(help="A language model that checks every caption once more, as in inspect.")
    ] = "none",
    json: JsonOption = False,
) -> None:
    """Hold captions against the rules of a profile, or one rule of them; nothing is stored."""
    from anomalist.memory.rules.captions import read_captions
    from anomalist.memory.rules.matching import RuleMatcher

    if len(arguments) > 2 or (len(arguments) == 2 and text is not None):
        raise DataError("One rule is tested, or all.", "As in: anomalist rules test rule:7 captions.txt")
    captions = read_captions(Path(arguments[-1])).captions
    typed = None if text is None else _typed(text, normal=normal, keywords=keywords)
    rules, one = _tested(profile_name(profile), arguments[0] if len(arguments) == 2 else None, typed)
    readings = RuleMatcher(rules).read(captions)
    found = [
        [match for match in (*broken, *kept) if one is None or match.rule == one.id]
        for broken, kept in zip(readings.matches, readings.normal, strict=True)
    ]
    checks = _rechecked(captions, readings.matches, rules, model)
    rows = [
        _row(number, caption, matches, bool(broken), check)
        for number, (caption, matches, broken, check) in enumerate(
            zip(captions, found, readings.matches, checks, strict=True), start=1
        )
    ]
    _report(rows, one, json=json)


def stats(
    profile: RulesProfile,
    json: JsonOption = False,
) -> None:
    """Hits and false alarms of each rule, from the feedback of people on findings of the profile."""
    from rich.table import Table
    from rich.text import Text

    from anomalist.memory.cases import CaseStore
    from anomalist.memory.rules.of_profile import rules_for
    from anomalist.memory.rules.tally import tallies
    from anomalist.settings import Settings
    from anomalist.terminal import err, out

    name = profile_name(profile)
    cases: tuple[Case, ...] = ()
    if (Settings().home / "cases.sqlite").exists():
        with CaseStore() as store:
            cases = store.list(profile=name)
    found = tallies(rules_for(name), cases) if cases else ()
    table = Table("id", "rule", "hits", "false alarms", "seen", "feedback")
    for each in found:
        if json:
            print(each.model_dump_json())
        numbers = (str(each.hits), str(each.false_alarms), str(each.unsettled))
        table.add_row(each.rule, Text(each.text), *numbers, ", ".join(each.cases[:5]))
    if not json and found:
        out.print(table)
    err.print(f"{len(cases)} findings of {name} have feedback, {len(found)} rules match any.", soft_wrap=True)


def _tested(name: str, id: str | None, typed: Rule | None) -> tuple[tuple[Rule, ...], Rule | None]:
    """The rules that hold, and the one that is tested; a disabled one is tested as if it held."""
    from anomalist.memory.rules.of_profile import current_rules

    every = current_rules(name)
    rules = tuple(rule for rule in every if rule.enabled)
    if typed is not None:
        return (*rules, typed), typed
    if id is None:
        return rules, None
    wanted = id if id.startswith("rule:") else f"rule:{id}"
    one = next((rule for rule in every if rule.id == wanted), None)
    if one is None:
        raise DataError(f"{name} has no {wanted[:40]}.", f"See: anomalist rules list --profile {name} --all")
    if not one.enabled:
        one = one.model_copy(update={"enabled": True})
        rules = (*rules, one)
    return rules, one


def _typed(text: str, *, normal: bool, keywords: list[str] | None) -> Rule:
    from anomalist.commands.rule_saving import checked_rule, split_keywords

    return checked_rule(
        id="rule:new-1",
        text=text,
        polarity="normal" if normal else "anomalous",
        kind="activity",
        keywords=split_keywords(keywords),
        origin="person",
    )


def _rechecked(
    captions: Sequence[str],
    matches: Sequence[Sequence[RuleMatch]],
    rules: Sequence[Rule],
    model: str,
) -> list[Recheck | None]:
    if model == "none":
        return [None] * len(captions)
    from anomalist.agent.models import EVIDENCE, choose, open_model
    from anomalist.agent.rule_recheck import recheck
    from anomalist.terminal import progress_bars

    choice = choose(model)
    if choice.spec == EVIDENCE:
        raise DataError("Only a language model checks captions once more.", "Name one: --model hf:…")
    opened = open_model(choice.spec)
    # What was induced or written for this camera says more than what ships.
    ordered = sorted(rules, key=lambda rule: rule.origin == "shipped")
    found: list[Recheck | None] = []
    with progress_bars() as progress:
        for number, (caption, broken) in enumerate(zip(captions, matches, strict=True)):
            progress("captions", number, len(captions))
            found.append(recheck(caption, broken, ordered, opened))
    return found


def _row(
    number: int, caption: str, matches: Sequence[RuleMatch], broken: bool, check: Recheck | None
) -> dict[str, Any]:
    label = ("anomalous" if broken else "normal") if check is None else check.label
    row: dict[str, Any] = {"number": number, "caption": caption, "label": label}
    row["matches"] = [match.model_dump() for match in matches]
    if check is not None:
        row["recheck"] = check.model_dump(mode="json")
    return row


def _report(rows: Sequence[dict[str, Any]], one: Rule | None, *, json: bool) -> None:
    from anomalist.terminal import err, out

    told = [row for row in rows if row["matches"]] if one else [r for r in rows if r["label"] != "normal"]
    if json:
        for row in rows:
            print(jsonlib.dumps(row, ensure_ascii=False))
    for row in () if json else told[:_SHOWN]:
        for match in row["matches"][:3]:
            words = f", by {', '.join(match['keywords'])}" if match["keywords"] else ""
            line = f'{row["number"]}: {match["rule"]} "{match["text"]}": {match["clause"][:200]}'
            line += f" (similarity {match['similarity']:.2f}, ahead by {match['margin']:.2f}{words})"
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        if check := row.get("recheck"):
            said = f"{check['label']}: {check['reason'] or check['note']}"
            out.print(f"   checked, {said}", markup=False, highlight=False, soft_wrap=True)
    more = f" The first {_SHOWN} are shown." if len(told) > _SHOWN and not json else ""
    if one is not None:
        text = f'"{one.text}" fits {len(told)} of {len(rows)} captions.{more}'
    else:
        text = f"{len(told)} of {len(rows)} captions are not normal by the rules.{more}"
    err.print(text, markup=False, highlight=False, soft_wrap=True)
    if checks := [row["recheck"] for row in rows if "recheck" in row]:
        cleared = sum(c["first"] == "anomalous" and c["label"] == "normal" for c in checks)
        raised = sum(c["first"] != "anomalous" and c["label"] == "anomalous" for c in checks)
        kept = sum(bool(c["note"]) for c in checks)
        err.print(
            f"The model cleared {cleared} and raised {raised}; for {kept} it gave nothing to go by, and the "
            "first result stands.",
            soft_wrap=True,
        )
