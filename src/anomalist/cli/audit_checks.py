"""``anomalist audit page``, ``reasons``, ``promises``, ``plan``, ``probe``, ``card``, and ``review``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist.cli.terminal import (
    DeviceOption,
    JsonOption,
    RateOption,
    progress_bars,
    use_device,
)
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.audit.clip_necessity import ClipReasons
    from anomalist.audit.necessity import ReasonsAudit
    from anomalist.audit.promises import DriftFound, Promise
    from anomalist.audit.reading import LogEntry
    from anomalist.audit.replay import Replayer

LogOption = Annotated[
    Path | None, typer.Option("--log", help="Folder of the log, in place of ANOMALIST_HOME/audit.")
]
ProfileNameOption = Annotated[str, typer.Option("--profile", help="Name of the profile; all when not asked.")]
PeriodSince = Annotated[str, typer.Option(help="From this time on, UTC, as in 2026-05-01.")]
PeriodUntil = Annotated[str, typer.Option(help="Up to and with this time, as in 2026-05.")]


def page(
    out: Annotated[Path, typer.Option(help="The HTML file.")],
    profile: ProfileNameOption = "",
    since: PeriodSince = "",
    until: PeriodUntil = "",
    log: LogOption = None,
) -> None:
    """Write one page on a period: what was decided, promised, changed and said."""
    from anomalist.audit.page import write_period_page

    typer.echo(write_period_page(out, log, profile=profile, since=since, until=until))


def reasons(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Decisions on pictures or clips.")],
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out this alone, and test nothing else: rule:ID, case:ID or scene:ID as recalled, "
            'all of these with "memory", or "policy" (the shipped one in its place); repeat it.'
        ),
    ] = None,
    log: LogOption = None,
    json: JsonOption = False,
) -> None:
    """Test what a verdict needs, and take it again without it.

    Each cited region is replaced by what is normal there, each cited track taken out of its clip; rules,
    cases and scenes that were recalled are left out.
    """
    from anomalist.audit.reading import find_entry
    from anomalist.audit.replay import Replayer
    from anomalist.audit.without import verdicts_without

    replayer = Replayer(log)
    for id_ in ids:
        entry = find_entry(id_, log)
        tested = None if without else _tested(entry, replayer)
        less = verdicts_without(entry, replayer, without or ())
        if json:
            row = _reasons_row(tested)
            print(dumps({"id": entry.id, **row, "without": [asdict(each) for each in less]}))
            continue
        label = entry.content["record"].get("label")
        score = entry.content["record"].get("score")
        typer.echo(f"{entry.id} {entry.source}: {label}{'' if score is None else f', score {score:.2f}'}")
        for sentence in (*(() if tested is None else tested.sentences()), *(each.sentence for each in less)):
            typer.echo(f"  {sentence}")


def _tested(entry: LogEntry, replayer: Replayer) -> ReasonsAudit | ClipReasons:
    if entry.kind == "clip":
        from anomalist.audit.clip_necessity import audit_clip_reasons

        return audit_clip_reasons(entry, replayer)
    from anomalist.audit.necessity import audit_reasons

    return audit_reasons(entry, replayer)


def _reasons_row(tested: ReasonsAudit | ClipReasons | None) -> dict[str, Any]:
    if tested is None:
        return {}
    row = {**asdict(tested), "needed": tested.needed, "control_keeps": tested.control_keeps}
    together = getattr(tested, "needed_together", None)  # of a picture alone
    return row if together is None else row | {"needed_together": together}


def promises(
    profile: ProfileNameOption = "",
    since: PeriodSince = "",
    until: PeriodUntil = "",
    log: LogOption = None,
    json: JsonOption = False,
) -> None:
    """Say what was promised, what came out where people gave truth, and since when scores drift."""
    from anomalist.audit.promises import weigh_promises

    found = weigh_promises(log, profile=profile, since=since, until=until)
    for each in found:
        if json:
            print(dumps(asdict(each)))
        else:
            for line in promise_lines(each):
                typer.echo(line)
    if not found and not json:
        typer.echo("No pictures were judged in that time.")


def promise_lines(promise: Promise) -> Iterator[str]:
    """What came of a promise, as text."""
    yield f"{promise.profile} {promise.digest[:12]}: {promise.pictures} pictures, {promise.alarms} alarms"
    asked = "nothing" if promise.promised is None else f"{100 * promise.promised:g} % false alarms"
    kept = {None: "not known yet", True: "kept", False: "broken"}[promise.kept]
    yield f"  promised   {asked}; came out {promise.false_alarms}: {kept}"
    yield f"  missed     {promise.missed_among_quiet} of the pictures without an alarm"
    yield f"  undecided  {promise.undecided}; not judged: {promise.errors}"
    yield f"  drift      {_drift_words(promise.drift)}; without alarms: {_drift_words(promise.quiet_drift)}"
    yield f"  pictures   {_input_drift_words(promise.input_drift)}"
    for rule in promise.rules:
        yield f"  {rule.rule}  recalled {rule.hits} times, false {rule.false} of {rule.known} that are known"
    for pair, interval in promise.agreement.items():
        yield f"  {pair} agree on {interval}"


def _drift_words(test: DriftFound | None) -> str:
    if test is None:
        return "not tested: the scores of the normals are not there"
    if test.since is None or test.noticed is None:
        return f"none in {test.tested} pictures"
    return f"since entry {test.since[0]} ({test.since[1][:16]}), noticed at entry {test.noticed[0]}"


def _input_drift_words(test: DriftFound | None) -> str:
    if test is None:
        return "not tested as wholes: nothing was measured of them, or the normals are not there"
    if test.since is None or test.noticed is None:
        return f"as learned, by light, sharpness and position of {test.tested}"
    began, noticed = test.since, test.noticed
    return f"{test.words} (entry {began[0]}, {began[1][:16]}), noticed at entry {noticed[0]}"


def plan(
    normals: Annotated[
        int | None, typer.Option(min=1, help="Normal pictures, or independent groups of them.")
    ] = None,
    rate: Annotated[float, typer.Option(help="False-alarm rate that is wanted.")] = 0.05,
    false_events_per_hour: Annotated[
        float | None, typer.Option(help="For video: what is wanted, in place of a rate.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Take the normals of this profile.")] = None,
) -> None:
    """Say what a number of normals supports, and what more of them would buy."""
    from rich.table import Table

    from anomalist.audit.promises import footage_hours, next_steps
    from anomalist.cli.terminal import out

    if false_events_per_hour is not None:
        if not false_events_per_hour > 0:
            raise DataError("False events per hour are a number above 0.")
        hours = footage_hours(false_events_per_hour)
        typer.echo(f"{false_events_per_hour:g} false events per hour need {hours:g} hours of normal footage.")
        return
    if not 0 < rate < 1:
        raise DataError(f"The false-alarm rate must be between 0 and 1, got {rate}.")
    if profile is not None:
        from anomalist.storage.artifacts import profile_path
        from anomalist.vision.profile import PROFILE_KIND

        normals = round(1 / PROFILE_KIND.read_manifest(profile_path(profile)).lowest_rate) - 1
    if normals is None:
        raise DataError("How many normals?", "Say --normals N, or --profile NAME.")
    table = Table("normals", "lowest rate", f"at {rate:g}", "the true rate is then, with 95 %")
    for step in next_steps(normals, rate):
        realised = "–" if step.realised is None else f"{step.realised[0]:.3f} to {step.realised[1]:.3f}"
        table.add_row(
            str(step.normals), f"{step.lowest:.3g}", "yes" if step.reachable else "out of reach", realised
        )
    out.print(table)


def probe(
    profile: Annotated[str, typer.Option("--profile", help="What is probed.")],
    normals: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR…]", help="Fresh normals; else pictures of the log that were called normal."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for probes.html and probes.json.")] = None,
    each: Annotated[int, typer.Option(min=1, max=1000, help="Probes for each size and contrast.")] = 10,
    false_alarm_rate: RateOption = None,
    seed: Annotated[int, typer.Option(help="Of shapes, places and the order of pictures.")] = 0,
    device: DeviceOption = None,
) -> None:
    """Paint defects of graded size and contrast on fresh normals, and map what the profile misses."""
    from anomalist.audit.page import probe_json, write_probe_page
    from anomalist.audit.probes import fresh_normals, run_probes
    from anomalist.audit.recording import open_trail
    from anomalist.storage.files import write_atomically
    from anomalist.vision.profile import load_profile

    use_device(device)
    loaded = load_profile(profile)
    pictures = fresh_normals(loaded, normals or ())
    with progress_bars() as progress:
        found = run_probes(loaded, pictures, each=each, rate=false_alarm_rate, seed=seed, progress=progress)
    content = probe_json(found)
    if (trail := open_trail()) is not None:
        with trail:
            kept = {name: value for name, value in content.items() if name != "probes"}
            trail.write("probe", {**kept, "probes": len(found.probes), "what": "blind probes"})
    everything = found.found()
    typer.echo(
        f"{profile} finds {everything} of the painted defects; the place is right for {found.located}."
    )
    typer.echo(f"Of the same pictures without a defect {found.untouched} are alarms.")
    for contrast, size in found.smallest_found().items():
        from_size = (
            "not at any size tried" if size is None else f"from {100 * size:g} % of the picture's side on"
        )
        typer.echo(f"  contrast {100 * contrast:g} %: nine in ten {from_size}")
    if out is not None:
        write_atomically(out / "probes.json", dumps(content, indent=1) + "\n")
        typer.echo(write_probe_page(found, out / "probes.html"))


def card(
    name: Annotated[str, typer.Argument(help="Of a profile or scene; with --model of a model in the log.")],
    model: Annotated[bool, typer.Option("--model", help="The card of a language model.")] = False,
    out: Annotated[Path | None, typer.Option(help="Markdown file; else on stdout.")] = None,
    log: LogOption = None,
) -> None:
    """Write a card from records: what it was learned from, its calibration, its measured limits."""
    from anomalist.audit.cards import model_card, profile_card
    from anomalist.storage.files import write_atomically

    text = (model_card if model else profile_card)(name, log)
    if out is None:
        typer.echo(text, nl=False)
    else:
        typer.echo(write_atomically(out, text))


_ANSWERS = {"n": "normal", "a": "anomalous", "u": None, "q": None}


def review(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="What inspect wrote with --out.")],
    precision: Annotated[
        float, typer.Option(help="Stop when the false-alarm rate is known to within this width.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Of the order of pictures.")] = 0,
) -> None:
    """Ask about the picture whose answer narrows the promise most, until it is as precise as asked.

    The verdict is not shown. n: normal, a: anomalous, u: can't tell, q: stop. Answers are entries of the log.
    """
    from anomalist.audit.recording import open_trail
    from anomalist.audit.review import Review, known_truth, review_line
    from anomalist.storage.run_folder import ImageRunFolder

    if not 0 < precision < 1:
        raise DataError(f"The precision must be between 0 and 1, got {precision}.")
    trail = open_trail()
    if trail is None:
        raise DataError("Answers are entries of the audit log, and ANOMALIST_AUDIT is off.")
    asking = Review(ImageRunFolder(run).records(), known_truth(), seed)
    with trail:
        state = asking.state()
        while state.next is not None and state.width > precision:
            record = state.next
            typer.echo(review_line(state), err=True)
            answer = _ask(record.source)
            if answer == "q":
                break
            truth = _ANSWERS[answer]
            trail.review(record, truth or "unsure", run)
            asking.answer(record, truth)  # type: ignore[arg-type]
            state = asking.state()
    typer.echo(review_line(state))
    if state.width <= precision:
        typer.echo(f"Known to within {precision:g}: done.")
    elif state.next is None:
        typer.echo("Every picture has its answer: more can't be known from this run.")


def _ask(source: str) -> str:
    while True:
        typer.echo(source)
        try:
            said = typer.prompt("normal, anomalous, unsure or quit? [n/a/u/q]", err=True).strip().lower()
        except typer.Abort:
            return "q"
        if said[:1] in _ANSWERS:
            return str(said[0])
        typer.echo("n, a, u or q.", err=True)
