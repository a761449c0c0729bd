"""What can be asked about: a picture, a folder of pictures, a clip, a run folder, or its file of records.

Questions and conversations open their subject here, whether they come from the command line, Python or a
server.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalist.agent.reasoning.wording import failure_sentence
from anomalist.agent.tools.subject import Subject
from anomalist.composition import InspectionSettings
from anomalist.errors import AnomalistError, DataError
from anomalist.pipeline import Inspector
from anomalist.storage.run_folder import CLIPS, RECORDS, ClipRunFolder, ImageRunFolder
from anomalist.triage import Triage
from anomalist.vision.media.images import IMAGE_SUFFIXES, list_images
from anomalist.vision.media.pages import split_page

if TYPE_CHECKING:
    from anomalist.agent.chat.conversations import ConversationEntry, Conversations

_log = logging.getLogger(__name__)

NO_PROFILE = "No profile: each picture is compared with itself alone. Scores rank, they decide nothing."


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
    if profile is None and reference is None:
        _log.warning(NO_PROFILE)
    return Inspector(InspectionSettings(profile, reference=reference, false_alarm_rate=rate))


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


def _clip_subject(clips: Sequence[Path], profile: str | None) -> Subject:
    """Clips triaged by a scene. Raises DataError when one can't be judged."""
    if profile is None:
        raise DataError(
            "A clip is judged by a scene.", "Name it with --profile, or ask about a run of triage."
        )
    records = tuple(Triage(profile).clips(clips))
    for record in records:
        if not record.judged:
            raise DataError(failure_sentence(record))
    return Subject(clips=records)


def _run_subject(
    what: Path, profile: str | None, reference: Path | None, picture: str | None, rate: float | None
) -> Subject:
    """The records of a run; with the profile at hand, pictures can be looked at again."""
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
