"""``anomalist rules captions``, ``induce``, ``test`` and ``stats``: rule induction and rule evaluation."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist.cli.rule_changes import RulesProfileOption
from anomalist.cli.terminal import EXIT_NOT_JUDGED, JsonOption
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.agent.reasoning.memory_generation import Recheck
    from anomalist.memory.rules.induction import Induction
    from anomalist.memory.rules.matching import RuleMatch
    from anomalist.memory.rules.rule import CaptionFile, Rule


NO_MODEL = "none"


def captions(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO…", help="Footage of the camera: files, folders.")
    ],
    profile: Annotated[str, typer.Option(help="The scene that was learned: a name, or a folder.")],
    every: Annotated[float, typer.Option(min=0.2, help="Seconds that one caption is about.")] = 1.0,
) -> None:
    """Put footage into words from what is measured, as CSV on stdout: source, start, end, caption."""
    import csv
    import sys

    from anomalist.cli.terminal import err, progress_bars
    from anomalist.errors import AnomalistError, DataError
    from anomalist.vision.media.sources import list_videos
    from anomalist.vision.media.video import open_video
    from anomalist.vision.motion.captions import caption_footage
    from anomalist.vision.motion.scene import load_scene

    scene = load_scene(profile)
    paths = list_videos(videos).videos
    if not paths:
        raise DataError(f"No videos in {', '.join(videos)}.")
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["source", "start", "end", "caption"])
    failed = False
    with progress_bars() as progress:
        for number, path in enumerate(paths):
            progress("clips", number, len(paths))
            try:
                video = open_video(path)
                for each in caption_footage(video, scene, every=every):
                    rows.writerow([video.source, f"{each.start:g}", f"{each.end:g}", each.text])
            except AnomalistError as error:
                failed = True
                err.print(f"Skipped: {error}", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(EXIT_NOT_JUDGED)


def induce(
    captions: Annotated[
        Path,
        typer.Argument(
            metavar="CAPTIONS",
            help="Normal captions: lines of text, a CSV with a column caption, a run folder.",
        ),
    ],
    profile: RulesProfileOption,
    model: Annotated[
        str, typer.Option(help="A language model that reads them, as in inspect; none takes the words alone.")
    ] = NO_MODEL,
    batches: Annotated[int, typer.Option(min=1, max=100, help="That vote on what is normal.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the drawing of the batches.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the rules, store nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Induce rules from captions of normal footage; a person's rules and changes stay as they are."""
    from anomalist.audit.recording import record_rules
    from anomalist.cli.rule_changes import rules_table
    from anomalist.cli.terminal import err, out
    from anomalist.memory.rules.store import RuleStore, store_induction
    from anomalist.storage.artifacts import profile_name

    name = profile_name(profile)
    file = _read_caption_source(captions)
    induction = _induce_rules(file, model, batches, seed)
    rules = [rule for rule in induction.rules if rule.origin == "induced"]
    if not dry_run:
        with RuleStore() as store:
            kept = store_induction(store, name, induction)
        record_rules(name, (*kept.added, *kept.changed), "induced")
        named = {(rule.polarity, rule.text): rule for rule in (*kept.added, *kept.changed)}
        rules = [named.get((rule.polarity, rule.text), rule) for rule in rules]
    if json:
        for rule in (*rules, *induction.dropped):
            print(rule.model_dump_json())
    else:
        out.print(rules_table(rules))
    normal = sum(rule.polarity == "normal" for rule in induction.rules)
    err.print(
        f"From {len(file.captions)} captions in {induction.batches} batches: {normal} normal rules, "
        f"{len(induction.rules) - normal} anomaly rules hold, {len(induction.dropped)} are usual here.",
        soft_wrap=True,
    )
    for rule in induction.dropped:
        err.print(f'  no anomaly here: "{rule.text}". {rule.note}', markup=False, soft_wrap=True)
    if not dry_run:
        text = f"Stored for {name}: {len(kept.added)} new, {len(kept.changed)} changed"
        err.print(
            f"{text}, {kept.unchanged} as before; {len(kept.untouched)} of a person left alone.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _read_caption_source(path: Path) -> CaptionFile:
    from anomalist.memory.rules.impact import run_caption_file
    from anomalist.memory.rules.rule import read_captions

    return run_caption_file(path) if path.is_dir() else read_captions(path)


def _induce_rules(file: CaptionFile, model: str, batches: int, seed: int) -> Induction:
    from anomalist.cli.terminal import err, progress_bars
    from anomalist.memory.rules.induction import induce_rules as by_words

    if model == NO_MODEL:
        return by_words(file, batches=batches, seed=seed)
    from anomalist.agent.models.selection import EVIDENCE, open_model, select_model
    from anomalist.agent.reasoning.memory_generation import induce_by_model

    choice = select_model(model)
    if choice.spec == EVIDENCE:
        return by_words(file, batches=batches, seed=seed)
    with progress_bars() as progress:
        found = induce_by_model(
            file, open_model(choice.spec), choice.spec, batches=batches, seed=seed, progress=progress
        )
    for line in (*found.failures, *(f"Dropped: {reason}" for reason in found.dropped)):
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    return found.induction


_MAX_ROWS_SHOWN = 20


def test(
    arguments: Annotated[
        list[str], typer.Argument(metavar="[ID] CAPTIONS", help="A rule, all by default; a file of captions.")
    ],
    profile: RulesProfileOption,
    text: Annotated[str | None, typer.Option(help="A rule that isn't stored, in place of an ID.")] = None,
    normal: Annotated[bool, typer.Option("--normal", help="With --text: it says what is normal.")] = False,
    keywords: Annotated[list[str] | None, typer.Option(help="With --text: its keywords.")] = None,
    model: Annotated[
        str, typer.Option(help="A language model that checks every caption once more, as in inspect.")
    ] = "none",
    json: JsonOption = False,
) -> None:
    """Match captions against the rules of a profile, or one rule of them; nothing is stored."""
    from anomalist.memory.rules.matching import RuleMatcher
    from anomalist.memory.rules.rule import read_captions
    from anomalist.storage.artifacts import profile_name

    if len(arguments) > 2 or (len(arguments) == 2 and text is not None):
        raise DataError("One rule is tested, or all.", "As in: anomalist rules test rule:7 captions.txt")
    captions = read_captions(Path(arguments[-1])).captions
    typed = None if text is None else _rule_from_text(text, normal=normal, keywords=keywords)
    rules, one = _select_rules(profile_name(profile), arguments[0] if len(arguments) == 2 else None, typed)
    readings = RuleMatcher(rules).read(captions)
    found = [
        [match for match in (*broken, *kept) if one is None or match.rule == one.id]
        for broken, kept in zip(readings.matches, readings.normal, strict=True)
    ]
    checks = _recheck_captions(captions, readings.matches, rules, model)
    rows = [
        _caption_row(number, caption, matches, bool(broken), check)
        for number, (caption, matches, broken, check) in enumerate(
            zip(captions, found, readings.matches, checks, strict=True), start=1
        )
    ]
    _print_rows(rows, one, json=json)


def stats(
    profile: RulesProfileOption,
    json: JsonOption = False,
) -> None:
    """Hits and false alarms of each rule, from the feedback of people on findings of the profile."""
    from rich.table import Table
    from rich.text import Text

    from anomalist.cli.terminal import err, out
    from anomalist.memory.cases import list_cases
    from anomalist.memory.rules.impact import rule_tallies
    from anomalist.memory.rules.store import rules_for
    from anomalist.storage.artifacts import profile_name

    name = profile_name(profile)
    cases = list_cases(profile=name)
    found = rule_tallies(rules_for(name), cases) if cases else ()
    table = Table("id", "rule", "hits", "false alarms", "seen", "feedback")
    for each in found:
        if json:
            print(each.model_dump_json())
        numbers = (str(each.hits), str(each.false_alarms), str(each.unsettled))
        table.add_row(each.rule, Text(each.text), *numbers, ", ".join(each.cases[:5]))
    if not json and found:
        out.print(table)
    err.print(f"{len(cases)} findings of {name} have feedback, {len(found)} rules match any.", soft_wrap=True)


def _select_rules(name: str, id: str | None, typed: Rule | None) -> tuple[tuple[Rule, ...], Rule | None]:
    """The rules that hold, and the one that is tested; a disabled one is tested as if it held."""
    from anomalist.memory.rules.store import current_rules

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
        one = one.replace(enabled=True)
        rules = (*rules, one)
    return rules, one


def _rule_from_text(text: str, *, normal: bool, keywords: list[str] | None) -> Rule:
    from anomalist.memory.rules.editing import split_keywords, validate_rule

    return validate_rule(
        id="rule:new-1",
        text=text,
        polarity="normal" if normal else "anomalous",
        kind="activity",
        keywords=split_keywords(keywords),
        origin="person",
    )


def _recheck_captions(
    captions: Sequence[str],
    matches: Sequence[Sequence[RuleMatch]],
    rules: Sequence[Rule],
    model: str,
) -> list[Recheck | None]:
    if model == "none":
        return [None] * len(captions)
    from anomalist.agent.models.selection import EVIDENCE, open_model, select_model
    from anomalist.agent.reasoning.memory_generation import recheck
    from anomalist.cli.terminal import progress_bars

    choice = select_model(model)
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


def _caption_row(
    number: int, caption: str, matches: Sequence[RuleMatch], broken: bool, check: Recheck | None
) -> dict[str, Any]:
    label = ("anomalous" if broken else "normal") if check is None else check.label
    row: dict[str, Any] = {"number": number, "caption": caption, "label": label}
    row["matches"] = [match.model_dump() for match in matches]
    if check is not None:
        row["recheck"] = check.model_dump(mode="json")
    return row


def _print_rows(rows: Sequence[dict[str, Any]], one: Rule | None, *, json: bool) -> None:
    from anomalist.cli.terminal import err, out

    told = [row for row in rows if row["matches"]] if one else [r for r in rows if r["label"] != "normal"]
    if json:
        for row in rows:
            print(jsonlib.dumps(row, ensure_ascii=False))
    for row in () if json else told[:_MAX_ROWS_SHOWN]:
        for match in row["matches"][:3]:
            words = f", by {', '.join(match['keywords'])}" if match["keywords"] else ""
            line = f'{row["number"]}: {match["rule"]} "{match["text"]}": {match["clause"][:200]}'
            line += f" (similarity {match['similarity']:.2f}, ahead by {match['margin']:.2f}{words})"
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        if check := row.get("recheck"):
            said = f"{check['label']}: {check['reason'] or check['note']}"
            out.print(f"   checked, {said}", markup=False, highlight=False, soft_wrap=True)
    more = f" The first {_MAX_ROWS_SHOWN} are shown." if len(told) > _MAX_ROWS_SHOWN and not json else ""
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
