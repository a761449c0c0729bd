"""What a conversation is about: from what a person names, or from what was kept with its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalist.commands.asking import subject_of
from anomalist.errors import AnomalistError, DataError

if TYPE_CHECKING:
    from anomalist.agent.chat.conversations import Conversations, Entry
    from anomalist.agent.tools.subject import Subject
    from anomalist.pipeline import Inspector


@dataclass(frozen=True, eq=False)
class Opened:
    """A subject, what it was made from (to open it again), and a name for the conversation."""

    subject: Subject
    about: dict[str, Any]
    name: str


def open_subject(
    what: Sequence[Path], profile: str | None, reference: Path | None, rate: float | None
) -> Opened:
    """Pictures and folders of them, one clip, one run folder, or its file of records.

    Raises AnomalistError when it is none of these, or can't be read or judged.
    """
    from anomalist.audit.clip_log import CLIPS
    from anomalist.audit.log import RECORDS

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
        return Opened(subject_of(first, profile, reference, None, rate), run, first.resolve().name)
    from anomalist.vision.media import list_images

    images = list_images([path for path in what if path.exists()] or list(what)).images
    if not images and len(what) == 1 and what[0].is_file():
        return Opened(subject_of(what[0], profile, reference, None, rate), about, what[0].stem)
    missing = next((path for path in what if not path.exists()), None)
    if missing is not None:
        raise DataError(f"There is no {missing}.", "Name a picture, a clip or a run folder.")
    if not images:
        raise DataError(f"No pictures in {', '.join(map(str, what))}.")
    inspector = _inspector(profile, reference, rate)
    subject = inspector.subject(inspector.inspect_many(images))
    return Opened(subject, about, what[0].resolve().stem)


def open_again(entry: Entry, conversations: Conversations) -> tuple[Opened, str | None]:
    """What an earlier conversation is about, and why it can't be looked at again, if that is so."""
    about = dict(entry.about)
    profile, reference = about.get("profile"), about.get("reference")
    if "run" in about:
        subject = subject_of(Path(about["run"]), profile, reference and Path(reference))
        return Opened(subject, about, entry.name), None
    from anomalist.agent.tools.subject import Subject

    records, clips = conversations.records(entry.name)
    base, why = Subject(), None
    if records:
        try:
            base = _inspector(profile, reference and Path(reference), None).subject([])
        except AnomalistError as error:  # what is on record can still be asked
            why = str(error)
    return Opened(replace(base, records=records, clips=clips), about, entry.name), why


def _inspector(profile: str | None, reference: Path | None, rate: float | None) -> Inspector:
    """Who inspects: by a profile with what people said of it, by a reference, or by the picture itself."""
    from anomalist.pipeline import Inspector

    if profile is not None and reference is not None:
        raise DataError("What should the pictures be compared with?", "Give --profile or --reference.")
    if profile is not None:
        from anomalist.picture_memory import PictureMemory
        from anomalist.vision.profile import profile_path

        return Inspector(profile, false_alarm_rate=rate, memory=PictureMemory(profile_path(profile).name))
    if reference is not None:
        from anomalist.vision.reference import load_reference

        return Inspector(load_reference(reference))
    from anomalist.terminal import err
    from anomalist.vision.zero_shot import ZeroShot

    err.print("No profile: each picture is compared with itself alone. Scores rank, they decide nothing.")
    return Inspector(ZeroShot())
