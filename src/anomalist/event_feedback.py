"""Feedback on events: stored with a vector of what was measured, and turned into ranks of what is alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from anomalist.clips import ClipRecord, Event
from anomalist.errors import DataError
from anomalist.memory.cases import CaseStore
from anomalist.memory.feedback import Action, Case, Feedback
from anomalist.memory.ranking import Adjustment, adjustments
from anomalist.report.alerts import event_key
from anomalist.vision.motion.signature import ALIKE, SPACE, signature


def find_event(records: Sequence[ClipRecord], name: str) -> tuple[ClipRecord, Event]:
    """The event that a person means: ``E1`` where there is one clip, else ``02.mp4:E1``.

    Raises DataError if there is none, or more than one.
    """
    clip, _, event_id = name.rpartition(":")
    found = [
        (record, event)
        for record in records
        for event in record.events
        if event.id == event_id and (not clip or record.source == clip or Path(record.source).name == clip)
    ]
    if len(found) == 1:
        return found[0]
    known = [f"{Path(record.source).name}:{event.id}" for record in records for event in record.events]
    what = "There is no event" if not found else "There is more than one event"
    raise DataError(f"{what} {name}.", f"Known: {', '.join(known[:12]) or 'none'}.")


def remember(store: CaseStore, record: ClipRecord, event: Event, action: Action, note: str = "") -> Case:
    """Store what a person says about an event. Raises DataError if it can't be stored."""
    feedback = Feedback(
        action=action,
        media="event",
        source=record.source,
        sha256=record.sha256,
        key=record.key,
        part=event.id,
        start=event.start,
        end=event.end,
        text=event.caption.text,
        kind=event.kind,
        severity=event.severity,
        profile=record.scene,
        note=note,
    )
    return store.add(feedback, {SPACE: signature(event, _size(record))})


def take_back(store: CaseStore, record: ClipRecord, event: Event) -> Case:
    """Undo the newest feedback on an event. Raises DataError if there is none."""
    for case in store.list(profile=record.scene):
        if case.source == record.source and case.part == event.id and case.key == record.key:
            return store.undo(case.id)
    raise DataError(f"There is no feedback on {event.id} of {record.source}.")


def adjusted(store: CaseStore, records: Sequence[ClipRecord]) -> dict[str, Adjustment]:
    """How feedback moves the events of these records in rank, by ``event_key``."""
    found: dict[str, Adjustment] = {}
    for scene in sorted({record.scene for record in records if record.scene}):
        events = [(record, event) for record in records if record.scene == scene for event in record.events]
        cases, vectors = store.vectors(SPACE, profile=scene)
        if not events or not cases:
            continue
        wanted = np.stack([signature(event, _size(record)) for record, event in events])
        for (record, event), moved in zip(
            events, adjustments(wanted, cases, vectors, floor=ALIKE), strict=True
        ):
            found[event_key(record.source, event.id)] = moved
    return found


def stored_adjustments(records: Sequence[ClipRecord]) -> Mapping[str, Adjustment]:
    """The same from the case store of this user; nothing where there is none yet."""
    from anomalist.settings import Settings

    if not (Settings().home / "cases.sqlite").exists():
        return {}
    with CaseStore() as store:
        return adjusted(store, records)


def _size(record: ClipRecord) -> tuple[int, int]:
    return record.height or 1, record.width or 1
