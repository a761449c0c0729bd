"""``anomalist audit``: verify, search and show the audit log, replay and export decisions, remove."""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist.cli import audit_checks
from anomalist.cli.terminal import EXIT_NOT_JUDGED, JsonOption, KeepMedia
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.audit.reading import LogEntry
    from anomalist.audit.replay import Replay

EXIT_DAMAGED = 1

app = typer.Typer(
    help="The audit log: what was decided, on what and by whom; verified, replayed, exported.",
    no_args_is_help=True,
    epilog="Exit codes: 0 sound or equal, 1 damaged or different, 2 nothing done, 3 some not replayed.",
)
app.command()(audit_checks.page)
app.command()(audit_checks.reasons)
app.command()(audit_checks.promises)
app.command()(audit_checks.plan)
app.command()(audit_checks.probe)
app.command()(audit_checks.card)

FolderOption = Annotated[
    Path | None, typer.Option("--log", help="Folder of the log, in place of ANOMALIST_HOME/audit.")
]
IdsArgument = Annotated[
    list[str], typer.Argument(metavar="ID…", help="Positions, ids (12-1f00ba55), or beginnings of hashes.")
]
KindOption = Annotated[list[str] | None, typer.Option("--kind", help="Of entries: inspection, clip, …")]
SinceOption = Annotated[str, typer.Option(help="From this time on, UTC, as in 2026-05-01.")]
UntilOption = Annotated[str, typer.Option(help="Up to and with this time, as in 2026-05.")]


@app.command()
def verify(
    anchor: Annotated[
        list[str] | None, typer.Option(help="What `audit anchor` gave, kept elsewhere: LOG:POSITION:HASH.")
    ] = None,
    log: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Say what was changed, is missing, was moved, inserted or cut off, and where."""
    from dataclasses import asdict

    from anomalist.audit.findings import summary_lines
    from anomalist.audit.reading import verify_log
    from anomalist.cli.terminal import out

    result = verify_log(log, anchor or ())
    if json:
        print(dumps({**asdict(result), "sound": result.sound}, ensure_ascii=False))
    else:
        out.print("\n".join(summary_lines(result)), markup=False, highlight=False, soft_wrap=True)
    if not result.sound:
        raise typer.Exit(EXIT_DAMAGED)


@app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="Anywhere in the entry.")] = "",
    kind: KindOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    label: Annotated[str, typer.Option(help="normal, anomalous, undecided, or error.")] = "",
    profile: Annotated[str, typer.Option(help="Name of the profile or scene.")] = "",
    log: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Find entries; everything that is named must fit."""
    from rich.table import Table
    from rich.text import Text

    from anomalist.audit.log import ENTRY_KINDS
    from anomalist.audit.reading import Search, search_log
    from anomalist.audit.rows import entry_row, said
    from anomalist.cli.terminal import out

    if wrong := [each for each in kind or () if each not in ENTRY_KINDS]:
        raise DataError(
            f"There are no entries of the kind {wrong[0]!r}.", f"There are: {', '.join(ENTRY_KINDS)}."
        )
    found = search_log(Search(text, tuple(kind or ()), since, until, label, profile), log)
    table = Table("id", "time", "kind", "about", "said")
    for entry in found:
        if json:
            print(dumps(entry_row(entry), ensure_ascii=False))
        else:
            cells = (entry.kind, Text(entry.source), Text(said(entry)))
            table.add_row(entry.id, entry.time[:19].replace("T", " "), *cells)
    if not json:
        out.print(table if table.row_count else "Nothing fits.")


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="Position, id, or beginning of the hash.")],
    out: Annotated[Path | None, typer.Option(help="Write the decision page, one HTML file, here.")] = None,
    log: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Show an entry; of a decision, how it came about, step by step."""
    from anomalist.audit.decision import decision_steps
    from anomalist.audit.reading import find_entry
    from anomalist.audit.rows import entry_row
    from anomalist.cli.terminal import out as console

    entry = find_entry(id, log)
    if json:
        print(dumps(entry_row(entry), ensure_ascii=False, indent=1))
    elif entry.kind in ("inspection", "clip") and entry.body is not None:
        for step in decision_steps(entry, log):
            console.print(f"{step.number}. {step.title}", style="bold", highlight=False)
            for line in step.lines:
                console.print(f"   {line}", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(f"{entry.id}  {entry.kind}  {entry.time}", highlight=False)
        console.print_json(dumps(entry.body, ensure_ascii=False))
    if out is not None:
        from anomalist.audit.page import write_decision_page

        typer.echo(write_decision_page(entry, out, log))


@app.command()
def replay(
    ids: IdsArgument,
    today: Annotated[
        bool, typer.Option("--today", help="With what is there today, in place of what was used then.")
    ] = False,
    policy: Annotated[
        Path | None, typer.Option(help="Today's policy file, where it is not the shipped one.")
    ] = None,
    log: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Take decisions again, and say what is equal, what differs and why.

    What memory recalled and a model replied then is used again; no model is asked. The ids may be "all".
    """
    from anomalist.audit.reading import find_entry, read_entries
    from anomalist.audit.replay import Replayer
    from anomalist.audit.rows import replay_row
    from anomalist.cli.terminal import err

    again = Replayer(log, policy)
    entries = (
        read_entries(log, kinds=("inspection", "clip"))
        if ids == ["all"]
        else (find_entry(id_, log) for id_ in ids)
    )
    done = []
    for entry in entries:
        result = again.replay(entry, today=today)
        done.append(result)
        if json:
            print(dumps(replay_row(result), ensure_ascii=False))
        else:
            for line in replay_lines(result):
                typer.echo(line)
    if not done:
        raise DataError("The audit log holds no decision that could be taken again.")
    equal, failed = sum(each.equal for each in done), sum(bool(each.failed) for each in done)
    err.print(
        f"{equal} of {len(done)} decisions are the same again, {len(done) - equal - failed} differ, "
        f"{failed} could not be taken again.",
        highlight=False,
    )
    if equal + failed < len(done):
        raise typer.Exit(EXIT_DAMAGED)
    if failed:
        raise typer.Exit(EXIT_NOT_JUDGED)


def replay_lines(result: Replay) -> Iterator[str]:
    """What a replay found, as text."""
    name = f"{result.entry.id} {result.entry.source}"
    if result.failed:
        yield f"not taken again  {name}: {result.failed}"
    elif result.equal:
        by = "" if result.score_difference is None else f" (score off by {result.score_difference:.2g})"
        yield f"equal            {name}{by}"
    else:
        yield f"differs          {name}"
        yield from (f"    {text}" for text in result.differences)
        yield from (f"    because of {text}" for text in result.causes)
    named = set(result.causes)
    for change in result.changes:
        if change in result.untried:
            yield f"    changed since, and not to be tried by itself: {change.part}: {change.text}"
        elif f"{change.part}: {change.text}" not in named:
            yield f"    changed since, without being the reason: {change.part}: {change.text}"


@app.command()
def export(
    ids: IdsArgument,
    out: Annotated[Path, typer.Option(help="Folder for the bundle; it must not be there yet.")],
    profiles: Annotated[
        bool, typer.Option("--profiles/--no-profiles", help="Whether what was learned goes along.")
    ] = True,
    log: FolderOption = None,
) -> None:
    """Write a bundle for an outsider, with a verifier of one file that needs no packages.

    The ids may be "all".
    """
    from anomalist.audit.export import VERIFIER, export_bundle
    from anomalist.audit.reading import find_entry, read_entries

    entries = list(read_entries(log)) if ids == ["all"] else [find_entry(id_, log) for id_ in ids]
    made = export_bundle(out, entries, log, profiles=profiles)
    typer.echo(f"{made}\nVerify it anywhere: python {made / VERIFIER}")


@app.command()
def anchor(
    post: Annotated[str | None, typer.Option(help="Web address that it is posted to as JSON.")] = None,
    log: FolderOption = None,
) -> None:
    """Sign the end of the log and print it; kept elsewhere, it proves what was there by now."""
    from anomalist.audit.log import AuditLog

    with AuditLog(log) as opened:
        made = opened.checkpoint()
    if post is not None:
        _post(post, made)
    typer.echo(made)


def _post(address: str, made: str) -> None:
    import urllib.request

    if not address.startswith(("http://", "https://")):
        raise DataError(f"{address} is no web address.", "It begins with https://.")
    request = urllib.request.Request(
        address, dumps({"anchor": made}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20):
            pass
    except (OSError, ValueError) as error:
        raise DataError(
            f"The anchor could not be posted: {error}.", f"It was made all the same: {made}"
        ) from error


@app.command()
def settings(
    keep_media: Annotated[
        KeepMedia | None, typer.Option(help="Pictures and clips that are kept from now on.")
    ] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option(help='Field whose content is never written, as in note; repeat it; "" for none.'),
    ] = None,
    log: FolderOption = None,
) -> None:
    """Show, or change, what the log keeps and what it never writes; a change is an entry of the log."""
    from anomalist.audit.log import audit_folder
    from anomalist.audit.recording import AuditTrail
    from anomalist.audit.stores import load_settings, save_settings

    folder = log or audit_folder()
    before = load_settings(folder)
    changes: dict[str, Any] = {}
    if keep_media is not None:
        changes["keep_media"] = keep_media.value
    if redact is not None:
        changes["redact"] = tuple(name for name in redact if name)
    after = before.replace(**changes)
    if after != before:
        with AuditTrail(folder) as trail:
            body = {"before": before.model_dump(mode="json"), "after": after.model_dump(mode="json")}
            trail.write("setting", {"what": "settings of the audit log", **body})
        save_settings(folder, after)
    typer.echo(
        f"Media kept: {after.keep_media}. Never written: {', '.join(after.redact) or 'nothing named'}."
    )


@app.command()
def remove(
    ids: IdsArgument,
    why: Annotated[str, typer.Option(help="The reason; it stays in the log.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    log: FolderOption = None,
) -> None:
    """Remove the content of entries and their media for good; an entry says what went and why."""
    from anomalist.audit.reading import find_entry

    _remove([find_entry(id_, log) for id_ in ids], why, log, yes=yes)


@app.command()
def retain(
    days: Annotated[float, typer.Option(min=0, help="What is older is removed.")],
    why: Annotated[str, typer.Option(help="The reason; it stays in the log.")] = "retention period",
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    log: FolderOption = None,
) -> None:
    """Remove the content and the media of everything older than a number of days."""
    from anomalist.audit.retention import older_than

    _remove(older_than(days, log), f"{why}: {days:g} days", log, yes=yes)


def _remove(entries: list[LogEntry], why: str, log: Path | None, *, yes: bool) -> None:
    from anomalist.audit.retention import remove_entries

    if not entries:
        typer.echo("There is nothing to remove.")
        return
    if not yes and not typer.confirm(f"Remove the content of {len(entries)} entries for good?", err=True):
        raise typer.Exit(2)
    removed = remove_entries(entries, why, log)
    typer.echo(f"Removed: {len(removed.positions)} contents, {len(removed.files)} stored files.")
