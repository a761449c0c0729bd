"""User feedback applied: events ranked by it, and profiles learned again from corrected pictures.

Feedback on an event is stored with its motion signature and changes the rank of similar events. A profile is
learned again from its normal pictures and those that people called fine as a whole.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from anomalist.agent.reasoning.recall import event_feedback, event_vector
from anomalist.errors import DataError, ProfileError
from anomalist.memory.cases import Action, Case, CaseStore, list_cases
from anomalist.memory.ranking import RankAdjustment, rank_adjustments
from anomalist.pipeline import learn
from anomalist.settings import Settings
from anomalist.storage.artifacts import profile_path
from anomalist.storage.files import changed_since
from anomalist.storage.row_store import is_stored
from anomalist.types.clip import ClipRecord, Event, event_key
from anomalist.types.names import common_folder, names_source
from anomalist.vision.detectors.base import Progress, no_progress
from anomalist.vision.motion.events import SIGNATURE_MIN_SIMILARITY, SIGNATURE_SPACE
from anomalist.vision.profile import MIXED_KIND, Manifest, Profile, load_profile


def find_event(records: Sequence[ClipRecord], name: str) -> tuple[ClipRecord, Event]:
    """The event that a person means: ``E1`` where there is one clip, ``02.mp4:E1`` or ``night/02.mp4:E1``.

    Raises DataError if there is none, or more than one.
    """
    clip, _, event_id = name.rpartition(":")
    meant = [record for record in records if record.source == clip] or [
        record for record in records if not clip or names_source(clip, record.source)
    ]
    found = [(record, event) for record in meant for event in record.events if event.id == event_id]
    if len(found) == 1:
        return found[0]
    folder = common_folder(record.source for record in records)
    known = [
        f"{os.path.relpath(record.source, folder) if folder else record.source}:{event.id}"
        for record in records
        for event in record.events
    ]
    what = "There is no event" if not found else "There is more than one event"
    raise DataError(f"{what} {name}.", f"Known: {', '.join(known[:12]) or 'none'}.")


def record_event_feedback(
    store: CaseStore, record: ClipRecord, event: Event, action: Action, note: str = ""
) -> Case:
    """Store what a person says about an event. Raises DataError if it can't be stored."""
    return store.add(*event_feedback(record, event, action, note))


def undo_event_feedback(store: CaseStore, record: ClipRecord, event: Event) -> Case:
    """Undo the newest feedback on an event. Raises DataError if there is none."""
    for case in store.list(profile=record.scene):
        if case.source == record.source and case.part == event.id and case.key == record.key:
            return store.undo(case.id)
    raise DataError(f"There is no feedback on {event.id} of {record.source}.")


def event_rank_adjustments(store: CaseStore, records: Sequence[ClipRecord]) -> dict[str, RankAdjustment]:
    """How feedback moves the events of these records in rank, by ``event_key``."""
    found: dict[str, RankAdjustment] = {}
    for scene in sorted({record.scene for record in records if record.scene}):
        events = [(record, event) for record in records if record.scene == scene for event in record.events]
        cases, vectors = store.vectors(SIGNATURE_SPACE, profile=scene)
        if not events or not cases:
            continue
        wanted = np.stack([event_vector(record, event) for record, event in events])
        for (record, event), moved in zip(
            events, rank_adjustments(wanted, cases, vectors, floor=SIGNATURE_MIN_SIMILARITY), strict=True
        ):
            found[event_key(record.source, event.id)] = moved
    return found


def stored_rank_adjustments(records: Sequence[ClipRecord]) -> Mapping[str, RankAdjustment]:
    """The same from the case store of this user; nothing where there is none yet."""
    if not is_stored(Settings().cases):
        return {}
    with CaseStore() as store:
        return event_rank_adjustments(store, records)


_MAX_NAMED = 3


def corrected_to_normal(profile: str, path: Path | None = None) -> tuple[Case, ...]:
    """The pictures of a profile that people called fine as a whole, by what was said last of each.

    Parameters
    ----------
    profile : its name.
    path : file of the cases; by default the one of this user.
    """
    latest: dict[str, Case] = {}
    for case in list_cases(path, profile=profile):  # the newest first
        if case.media == "picture" and case.part is None and case.sha256:
            latest.setdefault(case.sha256, case)
    return tuple(case for case in latest.values() if case.action == "corrected" and case.severity == 0)


def relearn(
    profile: str | Path,
    *,
    cases: Path | None = None,
    defects: Path | None = None,
    progress: Progress = no_progress,
) -> tuple[Profile, tuple[Case, ...]]:
    """Learn a profile again with the settings it has, and put it in the place of the old one.

    Its threshold then rests on the pictures that were called fine, too. Each counts as an object of its own.

    Parameters
    ----------
    profile : its name or folder.
    cases : file of the cases; by default the one of this user.
    defects : folder of labelled defects; needed again where the profile was learned with some.

    Returns
    -------
    The new profile, and the cases that it now learns from.

    Raises
    ------
    DataError : nothing was called fine, or a picture is gone or has changed since.
    ProfileError : there is no such profile.
    """
    if MIXED_KIND.is_at(profile_path(profile)):
        raise ProfileError(
            f"{profile} is a profile of several products, which is not learned again from feedback.",
            "Put the pictures to their products and learn anew: anomalist learn DIR --products --force",
        )
    old = load_profile(profile)
    known = {normal.sha256 for normal in old.manifest.normals}
    fine = tuple(case for case in corrected_to_normal(old.name, cases) if case.sha256 not in known)
    if not fine:
        raise DataError(
            f"There is no new feedback to learn from: no picture of {old.name} was called fine.",
            'Say so first: anomalist ask PICTURE "this is fine" --profile NAME',
        )
    if old.manifest.defects and defects is None:
        raise ProfileError(
            f"{old.name} was learned with {len(old.manifest.defects)} labelled defects.",
            "Name their folder again: --defects DIR",
        )
    given = {normal.source: normal.sha256 for normal in old.manifest.normals}
    said = {case.source: case.sha256 or "" for case in fine}
    _refuse_changed({**given, **said}.items())
    place = profile_path(profile)
    return (
        learn(
            [*given, *said],
            profile=profile,
            groups=_groups_with_feedback(old.manifest, fine),
            effort=old.manifest.effort,
            seed=old.manifest.seed,
            roi=place / "roi.png" if old.roi is not None else None,
            detector=old.manifest.detector,
            backbone=old.manifest.backbone,
            defects=defects,
            outliers="keep",
            force=True,
            progress=progress,
        ),
        fine,
    )


def _groups_with_feedback(manifest: Manifest, fine: Iterable[Case]) -> dict[str, str] | None:
    if not manifest.grouped:
        return None
    known = {normal.source: normal.group or normal.sha256 for normal in manifest.normals}
    return known | {case.source: f"called fine: {case.sha256}" for case in fine}


def _refuse_changed(files: Iterable[tuple[str, str]]) -> None:
    """Raise DataError that names pictures which are gone, or no longer what they were."""
    wrong = []
    for source, sha256 in files:
        happened = changed_since(Path(source), sha256)
        if happened is not None:
            wrong.append(f"{source} {happened}")
    if wrong:
        more = f" and {len(wrong) - _MAX_NAMED} more" if len(wrong) > _MAX_NAMED else ""
        raise DataError(
            f"Not all pictures are as they were: {', '.join(wrong[:_MAX_NAMED])}{more}.",
            "Put them back, or learn anew: anomalist learn NORMAL_DIR --profile NAME --force",
        )
