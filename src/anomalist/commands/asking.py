"""``anomalist ask``: a question in plain words about a picture, a run, or a clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.commands.options import NOT_JUDGED, RateOption
from anomalist.commands.waiting import wait_asleep
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.agent.tools.subject import Subject
    from anomalist.types import Answer


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
    crops: Annotated[Path | None, typer.Option(help="Folder for the closer looks that were taken.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")] = False,
) -> None:
    """Ask about a picture, a run or a clip: whether something is wrong, where, why, how sure, how large, …

    Answers come from what was measured; each sentence names what it rests on. Exits with 3 when a question
    can't be answered.
    """
    from dataclasses import replace

    wait_asleep()
    from anomalist.agent.asking.answering import answer
    from anomalist.agent.asking.question import read_question

    read_question(question)  # refused before the long work
    subject = replace(subject_of(what, profile, reference, picture, false_alarm_rate), crops=crops)
    reply = answer(subject, question, options or ())
    print(reply.model_dump_json() if json else shown(reply))
    if not reply.answered:
        raise typer.Exit(NOT_JUDGED)


def subject_of(
    what: Path,
    profile: str | None = None,
    reference: Path | None = None,
    picture: str | None = None,
    rate: float | None = None,
) -> Subject:
    """What can be asked about a picture, a clip or a run folder.

    Raises AnomalistError when it is none of these, or can't be read or judged.
    """
    from anomalist.audit.clip_log import CLIPS
    from anomalist.audit.log import RECORDS

    if (what / RECORDS).is_file() or (what / CLIPS).is_file():
        return _of_run(what, profile, reference, picture, rate)
    if what.is_dir():
        raise DataError(f"{what} is not a run folder.", "Make one with inspect --out, and ask about that.")
    if picture is not None:
        raise DataError("--picture names one of a run.", "Leave it out here.")
    from anomalist.vision.media import IMAGE_SUFFIXES

    if what.suffix.lower() in IMAGE_SUFFIXES or not what.exists():
        return _of_picture(what, profile, reference, rate)
    return _of_clip(what, profile)


def shown(reply: Answer) -> str:
    """An answer as text, with what each sentence rests on in brackets."""
    lines = []
    if reply.letter is not None or not reply.claims:
        lines.append(reply.text)
    lines += [f"{claim.text} [{', '.join(claim.evidence)}]" for claim in reply.claims if reply.letter is None]
    lines += [f"  {option.letter}. {option.text} ({option.probability:.0%})" for option in reply.options]
    lines += [reply.helps] if reply.helps else []
    lines += [f"Note: {note}" for note in reply.notes]
    lines += [f"Left out, for lack of evidence: {len(reply.dropped)}"] if reply.dropped else []
    return "\n".join(lines)


def _of_picture(what: Path, profile: str | None, reference: Path | None, rate: float | None) -> Subject:
    from anomalist.picture_memory import PictureMemory
    from anomalist.pipeline import Inspector
    from anomalist.terminal import err
    from anomalist.vision.examiners import Examiner
    from anomalist.vision.profile import profile_path

    if profile is not None and reference is not None:
        raise DataError(
            "What should the picture be compared with?", "Give --profile or --reference, not both."
        )
    by: Examiner | str
    if reference is not None:
        from anomalist.vision.reference import load_reference

        by = load_reference(reference)
    elif profile is not None:
        by = profile
    else:
        from anomalist.vision.zero_shot import ZeroShot

        err.print("No profile: the picture is compared with itself alone. Scores rank, they decide nothing.")
        by = ZeroShot()
    memory = None if profile is None else PictureMemory(profile_path(profile).name)
    inspector = Inspector(by, false_alarm_rate=rate, memory=memory)
    return inspector.subject([inspector.inspect(what)])


def _of_clip(what: Path, profile: str | None) -> Subject:
    from anomalist.agent.tools.subject import Subject
    from anomalist.triage import Triage
    from anomalist.vision.motion.scene import load_scene
    from anomalist.vision.video.opening import open_video

    if profile is None:
        raise DataError(
            "A clip is judged by a scene.", "Name it with --profile, or ask about a run of triage."
        )
    record = Triage(load_scene(profile)).clip(open_video(what))
    if record.status == "error":
        raise DataError(f"{what} could not be judged: {record.error}")
    return Subject(clips=(record,))


def _of_run(
    what: Path, profile: str | None, reference: Path | None, picture: str | None, rate: float | None
) -> Subject:
    """The records of a run; with the profile at hand, pictures can be looked at again."""
    from dataclasses import replace

    from anomalist.agent.tools.subject import Subject
    from anomalist.audit.clip_log import CLIPS, read_clips
    from anomalist.audit.log import RECORDS, RunFolder

    if (what / RECORDS).is_file():
        records = tuple(RunFolder(what).records())
        base = Subject()
        if profile is not None or reference is not None:
            from anomalist.pipeline import Inspector
            from anomalist.vision.reference import load_reference

            by = profile if reference is None else load_reference(reference)
            assert by is not None  # one of the two was given
            base = Inspector(by, false_alarm_rate=rate).subject([])
        whole = replace(base, records=records, folder=what)
        if picture is None:
            return whole
        return replace(whole, records=(whole.picture(picture),), past=records)
    assert (what / CLIPS).is_file()  # one of the two is there
    clips = Subject(clips=tuple(read_clips(what)), folder=what)
    return clips if picture is None else replace(clips, clips=(clips.clip(picture),))
