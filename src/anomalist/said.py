"""What stored records say about each event and picture, in sentences: for rules to be held against."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from anomalist.audit.clip_log import CLIPS, read_clips
from anomalist.audit.log import RECORDS, RunFolder
from anomalist.clips import ClipRecord, Event
from anomalist.errors import DataError
from anomalist.memory.rules.captions import CaptionFile
from anomalist.memory.rules.effect import Said
from anomalist.types import Record


def said_in(folder: Path) -> tuple[Said, ...]:
    """What the records of a run say: of every event of ``triage``, of every picture of ``inspect``.

    Raises DataError when the folder holds neither, or a row is damaged.
    """
    if (folder / CLIPS).is_file():
        return tuple(said for record in read_clips(folder) for said in _of_clip(record))
    if (folder / RECORDS).is_file():
        return tuple(_of_picture(record) for record in RunFolder(folder).records() if record.status == "ok")
    raise DataError(
        f'"{folder}" is no run folder: it holds neither {CLIPS} nor {RECORDS}.',
        "Make one with: anomalist triage … --out DIR, or inspect … --out DIR",
    )


def text_of_event(event: Event) -> str:
    """What was measured of an event, and what a model saw in it."""
    sentences = [event.caption.text]
    if event.seen is not None:
        parts = (event.seen.subject, event.seen.action, event.seen.object)
        sentences.append(" ".join(part.strip(" .") for part in parts if part.strip()))
        sentences += [claim.text for claim in event.claims if claim.source == "model"][:1]
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences if sentence.strip())


def _of_clip(record: ClipRecord) -> Iterator[Said]:
    for event in record.events:
        yield Said(record.source, event.id, text_of_event(event), event.severity)


def _of_picture(record: Record) -> Said:
    text = " ".join(claim.text for claim in record.claims)
    return Said(record.source, "", text, record.severity or 0)


def captions_of_run(folder: Path) -> CaptionFile:
    """What the records of a run say, as captions; for footage or pictures that were all normal.

    Raises DataError when the folder holds no records, or nothing is said in them.
    """
    said = [each.text for each in said_in(folder)]
    if not any(text.strip() for text in said):
        raise DataError(
            f'The records in "{folder}" say nothing: no event was found.',
            "Put normal footage into words: anomalist rules captions VIDEO… --profile NAME > normal.csv",
        )
    rows = folder / (CLIPS if (folder / CLIPS).is_file() else RECORDS)
    return CaptionFile(str(folder), hashlib.sha256(rows.read_bytes()).hexdigest(), tuple(said))
