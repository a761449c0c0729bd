"""``anomalist rules captions`` and ``anomalist rules induce``: from normal footage to rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.commands.options import NOT_JUDGED, JsonOption
from anomalist.commands.rule_options import RulesProfile, profile_name

if TYPE_CHECKING:
    from anomalist.memory.rules.captions import CaptionFile
    from anomalist.memory.rules.induction import Induction

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

    from anomalist.errors import AnomalistError, DataError
    from anomalist.terminal import err, progress_bars
    from anomalist.vision.motion.describing import described
    from anomalist.vision.motion.learning import RATE
    from anomalist.vision.motion.scene import load_scene
    from anomalist.vision.video.listing import list_videos
    from anomalist.vision.video.opening import open_video

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
                for each in described(video.frames(rate=RATE), scene, video.size, every=every):
                    rows.writerow([video.source, f"{each.start:g}", f"{each.end:g}", each.text])
            except AnomalistError as error:
                failed = True
                err.print(f"Skipped: {error}", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(NOT_JUDGED)


def induce(
    captions: Annotated[
        Path,
        typer.Argument(
            metavar="CAPTIONS",
            help="Normal captions: lines of text, a CSV with a column caption, a run folder.",
        ),
    ],
    profile: RulesProfile,
    model: Annotated[
        str, typer.Option(help="A language model that reads them, as in inspect; none takes the words alone.")
    ] = NO_MODEL,
    batches: Annotated[int, typer.Option(min=1, max=100, help="That vote on what is normal.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the drawing of the batches.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the rules, store nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Induce rules from captions of normal footage; a person's rules and changes stay as they are."""
    from anomalist.memory.rules.keeping import keep_induced
    from anomalist.memory.rules.store import RuleStore
    from anomalist.report.rules_text import rules_table
    from anomalist.terminal import err, out

    name = profile_name(profile)
    file = _read(captions)
    induction = _induced(file, model, batches, seed)
    rules = [rule for rule in induction.rules if rule.origin == "induced"]
    if not dry_run:
        with RuleStore() as store:
            kept = keep_induced(store, name, induction)
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


def _read(path: Path) -> CaptionFile:
    from anomalist.memory.rules.captions import read_captions
    from anomalist.said import captions_of_run

    return captions_of_run(path) if path.is_dir() else read_captions(path)


def _induced(file: CaptionFile, model: str, batches: int, seed: int) -> Induction:
    from anomalist.memory.rules.induction import induce as by_words
    from anomalist.terminal import err, progress_bars

    if model == NO_MODEL:
        return by_words(file, batches=batches, seed=seed)
    from anomalist.agent.models import EVIDENCE, choose, open_model
    from anomalist.agent.rule_induction import induce_by_model

    choice = choose(model)
    if choice.spec == EVIDENCE:
        return by_words(file, batches=batches, seed=seed)
    with progress_bars() as progress:
        found = induce_by_model(
            file, open_model(choice.spec), choice.spec, batches=batches, seed=seed, progress=progress
        )
    for line in (*found.failures, *(f"Dropped: {reason}" for reason in found.dropped)):
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    return found.induction
