"""``anomalist ask``: one question about a picture, a run or a clip, and how its subject is loaded.

A subject is a picture, a folder of pictures, a clip, a run folder or its file of records; conversations
of ``anomalist chat`` are opened with the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist.cli.terminal import EXIT_NOT_JUDGED, RateOption, use_passive_wait_policy
from anomalist.errors import AnomalistError, DataError

if TYPE_CHECKING:
    from anomalist.agent.chat.conversations import ConversationEntry, Conversations
    from anomalist.agent.tools.subject import Subject
    from anomalist.pipeline import Inspector
    from anomalist.types.common import Answer


@dataclass(frozen=True, eq=False)
class OpenedSubject:
    """A subject, what it was made from (to open it again), and a name for the conversation."""

    subject: Subject
    about: dict[str, Any]
    name: str


def open_subject(
    what: Sequence[Path], profile: str | None, reference: Path | None, rate: float | None
) -> OpenedSubject:
    """Pictures and folders of them, one clip, one run folder, or its file of records.

    Raises AnomalistError when it is none of these, or can't be read or judged.
    """
    from anomalist.storage.run_folder import CLIPS, RECORDS

    if not what:
        raise DataError(
            "There is nothing to talk about.",
            "Name a picture, a clip or a run folder; --list shows earlier conversations.",
        )
    about: dict[str, Any] = {"profile": profile, "reference": reference and str(reference.resolve())}
    first = what[0].parent if what[0].name in (RECORDS, CLIPS) else what[0]
    if (first / RECORDS).is_file() or (first / CLIPS).is_file():
        if len(what) > 1:
            raise DataError("A conversation is about one run.", "Name one run folder.")
        run = {**about, "run": str(first.resolve())}
        return OpenedSubject(load_subject(first, profile, reference, None, rate), run, first.resolve().name)
    clips = [path for path in what if _is_clip(path)]
    if clips:
        if len(clips) < len(what):
            raise DataError(
                "A conversation is about pictures or about clips.", f"Leave out {clips[0]}, or the pictures."
            )
        return OpenedSubject(_clip_subject(clips, profile), about, first.stem)
    from anomalist.vision.media.images import list_images
    from anomalist.vision.media.pages import split_page

    missing = next((path for path in what if not split_page(path)[0].exists()), None)
    if missing is not None:
        raise DataError(f"There is no {missing}.", "Name a picture, a clip or a run folder.")
    images = list_images(what).images
    if not images:
        raise DataError(f"No pictures in {', '.join(map(str, what))}.")
    inspector = _open_inspector(profile, reference, rate)
    subject = inspector.subject(inspector.inspect_many(images))
    return OpenedSubject(subject, about, first.resolve().stem)


def _is_clip(path: Path) -> bool:
    """Whether this is a file that doesn't have the name of a picture."""
    from anomalist.vision.media.images import IMAGE_SUFFIXES

    return path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES


def reopen_subject(
    entry: ConversationEntry, conversations: Conversations
) -> tuple[OpenedSubject, str | None]:
    """What an earlier conversation is about, and why it can't be looked at again, if that is so."""
    about = dict(entry.about)
    profile, reference = about.get("profile"), about.get("reference")
    if "run" in about:
        subject = load_subject(Path(about["run"]), profile, reference and Path(reference))
        return OpenedSubject(subject, about, entry.name), None
    from anomalist.agent.tools.subject import Subject

    records, clips = conversations.records(entry.name)
    base, why = Subject(), None
    if records:
        try:
            base = _open_inspector(profile, reference and Path(reference), None).subject([])
        except AnomalistError as error:  # what is on record can still be asked
            why = str(error)
    return OpenedSubject(replace(base, records=records, clips=clips), about, entry.name), why


def _open_inspector(profile: str | None, reference: Path | None, rate: float | None) -> Inspector:
    """What ``anomalist inspect`` inspects with: a profile with what people said of it, or what is named."""
    from anomalist.composition import InspectionSettings
    from anomalist.pipeline import Inspector

    if profile is None and reference is None:
        from anomalist.cli.terminal import err

        err.print("No profile: each picture is compared with itself alone. Scores rank, they decide nothing.")
    return Inspector(InspectionSettings(profile, reference=reference, false_alarm_rate=rate))


def ask(
    what: Annotated[
        Path,
        typer.Argument(metavar="IMAGE|CLIP|RUN", help="A picture, a clip, or a folder written by --out."),
    ],
    question: Annotated[
        str,
        typer.Argument(
            help='In plain words, in English; options may follow: "Where is it? A) left B) right".'
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Option(help="An option to choose from; repeat it. Letters are given in order."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="What was learned: a profile for a picture, a scene for a clip.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Instead of a profile: one good picture of the same thing.")
    ] = None,
    picture: Annotated[
        str | None, typer.Option(help="Which picture or clip of a run; all when left out.")
    ] = None,
    false_alarm_rate: RateOption = None,
    aql: Annotated[
        float | None,
        typer.Option(help="Of a batch: accept it by ISO 2859-1, normal inspection, at this AQL in per cent."),
    ] = None,
    level: Annotated[str, typer.Option(help="Inspection level for --aql: I, II, III, S-1 to S-4.")] = "II",
    crops: Annotated[Path | None, typer.Option(help="Folder for the closer looks that were taken.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")] = False,
) -> None:
    """Ask about a picture, a run or a clip: whether something is wrong, where, why, how sure, how large, …

    Answers come from what was measured; each sentence names what it rests on. Exits with 3 when a question
    can't be answered.
    """
    from dataclasses import replace

    use_passive_wait_policy()
    from anomalist.agent.asking.answering import answer
    from anomalist.agent.asking.question import read_question
    from anomalist.audit.recording import open_trail

    read_question(question)  # refused before the long work
    from anomalist.agent.asking.run_decisions import AcceptancePlan

    plan = None if aql is None else AcceptancePlan(aql, level)
    subject = replace(load_subject(what, profile, reference, picture, false_alarm_rate), crops=crops)
    reply = answer(subject, question, options or (), plan=plan)
    if (trail := open_trail()) is not None:
        with trail:
            trail.answer(reply, profile)
    print(reply.model_dump_json() if json else format_answer(reply))
    if not reply.answered:
        raise typer.Exit(EXIT_NOT_JUDGED)


def load_subject(
    what: Path,
    profile: str | None = None,
    reference: Path | None = None,
    picture: str | None = None,
    rate: float | None = None,
) -> Subject:
    """What can be asked about a picture, a clip or a run folder.

    Raises AnomalistError when it is none of these, or can't be read or judged.
    """
    from anomalist.storage.run_folder import CLIPS, RECORDS

    if (what / RECORDS).is_file() or (what / CLIPS).is_file():
        return _run_subject(what, profile, reference, picture, rate)
    if what.is_dir():
        raise DataError(f"{what} is not a run folder.", "Make one with inspect --out, and ask about that.")
    if picture is not None:
        raise DataError("--picture names one of a run.", "Leave it out here.")
    if _is_clip(what):
        return _clip_subject([what], profile)
    inspector = _open_inspector(profile, reference, rate)
    return inspector.subject([inspector.inspect(what)])


def format_answer(reply: Answer) -> str:
    """An answer as text, with what each sentence rests on in brackets."""
    lines = [f"({reply.reading})"] if reply.reading else []
    if reply.letter is not None or not reply.claims:
        lines.append(reply.text)
    lines += [f"{claim.text} [{', '.join(claim.evidence)}]" for claim in reply.claims if reply.letter is None]
    lines += [f"  {option.letter}. {option.text} ({option.probability:.0%})" for option in reply.options]
    lines += _table_lines(reply.table)
    lines += [reply.helps] if reply.helps else []
    lines += [f"  {number}. {choice}" for number, choice in enumerate(reply.choices, start=1)]
    lines += [f"  anomalist query RUN '{reply.query}'"] if reply.query and reply.answered else []
    lines += [f"Note: {note}" for note in reply.notes]
    lines += [f"Left out, for lack of evidence: {len(reply.dropped)}"] if reply.dropped else []
    return "\n".join(lines)


def _table_lines(table: Sequence[Sequence[str]]) -> list[str]:
    """Headings and rows in columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _clip_subject(clips: Sequence[Path], profile: str | None) -> Subject:
    """Clips triaged by a scene. Raises DataError when one can't be judged."""
    from anomalist.agent.tools.subject import Subject
    from anomalist.triage import Triage

    if profile is None:
        raise DataError(
            "A clip is judged by a scene.", "Name it with --profile, or ask about a run of triage."
        )
    records = tuple(Triage(profile).clips(clips))
    for record in records:
        if record.status == "error":
            raise DataError(f"{record.source} could not be judged: {record.error}")
    return Subject(clips=records)


def _run_subject(
    what: Path, profile: str | None, reference: Path | None, picture: str | None, rate: float | None
) -> Subject:
    """The records of a run; with the profile at hand, pictures can be looked at again."""
    from dataclasses import replace

    from anomalist.agent.tools.subject import Subject
    from anomalist.storage.run_folder import CLIPS, RECORDS, ClipRunFolder, ImageRunFolder

    if (what / RECORDS).is_file():
        records = tuple(ImageRunFolder(what).records())
        base = Subject()
        if profile is not None or reference is not None:
            base = _open_inspector(profile, reference, rate).subject([])
        whole = replace(base, records=records, folder=what)
        if picture is None:
            return whole
        return replace(whole, records=(whole.picture(picture),), past=records)
    assert (what / CLIPS).is_file()  # one of the two is there
    clips = Subject(clips=tuple(ClipRunFolder(what).records()), folder=what)
    return clips if picture is None else replace(clips, clips=(clips.clip(picture),))
