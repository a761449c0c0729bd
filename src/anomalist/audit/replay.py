"""Replay: take a logged decision again with what was used then, or with what is there today, and compare.

With the stored versions the same picture has to give the same verdict. What memory recalled and what a model
replied then is put in its place again, as recorded: a replay asks no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anomalist.agent.reasoning.policy import load_policy
from anomalist.audit.changes import (
    SECONDS,
    AnnotatorOfThen,
    Change,
    MemoryOfThen,
    changes_since,
    stored_policy,
    stored_rules,
)
from anomalist.audit.log import audit_folder
from anomalist.audit.reading import LogEntry, find_entry
from anomalist.audit.stores import media_path, profile_store
from anomalist.composition import InspectionSettings, TriageSettings
from anomalist.errors import AnomalistError, DataError
from anomalist.memory.recall import Memory
from anomalist.pipeline import Inspector
from anomalist.ranking import ClipRanking
from anomalist.report.wording import number
from anomalist.storage.artifacts import profile_path
from anomalist.storage.files import changed_since
from anomalist.triage import ClipEvidence, Triage
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.common import Recall, Recalled
from anomalist.types.image import Evidence, Inspection, Media, Record
from anomalist.vision.evidence import EvidenceSource, MixedEvidence, ProfileEvidence, validated_rate
from anomalist.vision.profile import MixedProfile, load_any_profile

SCORE_TOLERANCE = 1e-3
"""Difference of scores, relative to the larger one or to 1, up to which they count as equal: other hardware
adds up in another order."""


@dataclass(frozen=True)
class Replay:
    """A decision taken again.

    Parameters
    ----------
    entry : the decision.
    again : the record of today; None where it could not be taken again.
    differences : between the two, one sentence each.
    changes : what is another one today than then, whether it was used or not.
    causes : those of the changes that make the difference, or why there is none to name.
    failed : why it could not be taken again; "" where it was.
    score_difference : of today's score to that of then; None where there is none.
    """

    entry: LogEntry
    again: Record | ClipRecord | None
    differences: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    causes: tuple[str, ...] = ()
    failed: str = ""
    score_difference: float | None = None

    @property
    def equal(self) -> bool:
        """Whether the same decision was taken."""
        return not self.failed and not self.differences


def decision_record(entry: LogEntry) -> Record | ClipRecord:
    """The record of a decision. Raises DataError where the entry is none, or its content was removed."""
    if entry.kind not in ("inspection", "clip"):
        raise DataError(f"Entry {entry.id} is no decision: it is of the kind {entry.kind}.")
    if entry.body is None:
        raise DataError(f"The content of entry {entry.id} was removed.", "See: anomalist audit search")
    try:
        kind = Record if entry.kind == "inspection" else ClipRecord
        return kind.model_validate(entry.body["record"])
    except (KeyError, ValueError) as error:
        raise DataError(f"Entry {entry.id} holds no whole record: fields of it were redacted.") from error


def find_medium(folder: Path, record: Record | ClipRecord) -> Path:
    """The inspected file: as it was kept, or where it was if it is still the same. Raises DataError."""
    if record.sha256 is None:
        raise DataError(f"{record.source} could not be read then, either.")
    stored = media_path(folder, record.sha256)
    if stored.is_file() and changed_since(stored, record.sha256) is None:
        return stored
    source = Path(record.source)
    try:
        happened = changed_since(source, record.sha256)
    except OSError as error:
        happened = f"can't be read: {error.strerror}"
    if happened is not None:
        raise DataError(
            f"{record.source} {happened}, and the audit log did not keep it.",
            "Keep media from now on: anomalist audit settings --keep-media anomalous",
        )
    return source


@dataclass(frozen=True, eq=False)
class _RecordedMemory:
    """Recalls what was recalled then, by the hash of the picture."""

    items: Mapping[str, Recall]
    digest: str = "as recorded"

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        """What the record says."""
        return self.items.get(media.sha256, Recall())


class Replayer:
    """Takes decisions again; opens each profile, scene and policy once.

    Parameters
    ----------
    folder : of the log; by default that of this user.
    policy : today's policy file, where it is not the one that ships.
    """

    def __init__(self, folder: Path | None = None, policy: Path | None = None) -> None:
        self.folder = audit_folder() if folder is None else folder
        self.policy = policy
        self._sources: dict[tuple[int, bool], EvidenceSource] = {}
        self._sessions: dict[int, LogEntry] = {}
        self._scenes: dict[tuple[int, frozenset[str]], Triage] = {}
        self._measured: tuple[int, ClipEvidence | AnomalistError] | None = None

    def session_of(self, entry: LogEntry) -> LogEntry:
        """The entry that says with what a decision was made. Raises DataError where there is none."""
        position = entry.content.get("session")
        if not isinstance(position, int):
            raise DataError(f"Entry {entry.id} does not say with what was judged.")
        if position not in self._sessions:
            self._sessions[position] = find_entry(str(position), self.folder)
        return self._sessions[position]

    def replay(self, entry: LogEntry, *, today: bool = False) -> Replay:
        """Take one decision again, with the versions of then or with today's.

        Raises DataError for an entry that is no decision; what can't be taken again is said in the result.
        """
        record = decision_record(entry)
        changes: tuple[Change, ...] = ()
        try:
            session = self.session_of(entry)
            changes = changes_since(self.folder, session, record, self.policy)
            again = self._again(record, session, _ALL if today else frozenset())
        except AnomalistError as error:
            return Replay(entry, None, changes=changes, failed=str(error))
        differences = tuple(_differences(record, again))
        causes: tuple[str, ...] = ()
        if differences:
            causes = tuple(self._causes(record, session, changes, today=today))
        return Replay(entry, again, differences, changes, causes, "", _score_difference(record, again))

    def inspect(self, entry: LogEntry) -> tuple[Inspector, Inspection]:
        """Inspect the picture of a decision with the versions of then, with arrays.

        Raises DataError where it can't be.
        """
        record = decision_record(entry)
        if not isinstance(record, Record):
            raise DataError(f"Entry {entry.id} is about a clip.")
        inspector = self._inspector(record, self.session_of(entry), frozenset())
        return inspector, inspector.inspect(find_medium(self.folder, record))

    def triage_of(self, entry: LogEntry) -> tuple[Triage, Path, ClipRecord]:
        """The triage with the versions of then, the clip, and what was recorded.

        Raises DataError where it can't be taken again.
        """
        record = decision_record(entry)
        if not isinstance(record, ClipRecord):
            raise DataError(f"Entry {entry.id} is about a picture.")
        triage = copy(self._triage(self.session_of(entry), frozenset()))
        self._recall_then(triage, self.session_of(entry), record)
        return triage, find_medium(self.folder, record), record

    def take_without(
        self, entry: LogEntry, left_out: frozenset[str], *, shipped_policy: bool = False
    ) -> Record | ClipRecord | None:
        """Take a decision again with the versions of then, less what memory recalled under some ids.

        None where the shipped policy is asked for and was the one of then. Raises DataError where it can't be
        taken again.
        """
        record, session = decision_record(entry), self.session_of(entry)
        policy = load_policy() if shipped_policy else stored_policy(self.folder, session.content)
        if shipped_policy and policy.digest == stored_policy(self.folder, session.content).digest:
            return None
        if isinstance(record, Record):
            items = tuple(item for item in record.recall.items if item.id not in left_out)
            inspector = self._inspector(record.replace(recall=Recall(items=items)), session, frozenset())
            inspector.policy = policy
            return _renamed(inspector.inspect(find_medium(self.folder, record)).record, record)
        medium, triage = find_medium(self.folder, record), self._triage_then(record, session)
        if self._measured is None or self._measured[0] != entry.position:
            self._measured = entry.position, triage.measure(medium)  # once for all that is left out of it
        triage.policy = policy
        self._recall_then(triage, session, record, left_out)
        return triage.judge(medium, self._measured[1]).replace(source=record.source)

    def differences(
        self, then: Record | ClipRecord, now: Record | ClipRecord, *, without: frozenset[str] = frozenset()
    ) -> Iterator[str]:
        """What differs between two records of one picture or clip, but for what was left out of recall."""
        yield from _differences(_less(then, without), now)

    def _causes(
        self,
        record: Record | ClipRecord,
        session: LogEntry,
        changes: tuple[Change, ...],
        *,
        today: bool,
    ) -> Iterator[str]:
        """Name the changes that make the difference, each tried by itself."""
        if not today:
            if versions := [change.text for change in changes if change.part == "version"]:
                yield f"version: {versions[0]}"
            else:
                yield "unknown: with what was used then the decision is another one (hardware or packages)"
            return
        tried = [change for change in changes if change.part in _SWAPPED]
        alone = []
        for part in dict.fromkeys(_SWAPPED[change.part] for change in tried):
            if len({_SWAPPED[change.part] for change in tried}) == 1:
                alone.append(part)
                continue
            try:
                again = self._again(record, session, frozenset({part}))
            except AnomalistError:
                continue
            if any(_differences(record, again)):
                alone.append(part)
        named = [change for change in changes if _SWAPPED.get(change.part) in alone]
        for change in named or changes:
            yield f"{change.part}: {change.text}"
        if not changes:
            yield "unknown: nothing that the log names has changed (hardware or packages)"

    def _again(
        self, record: Record | ClipRecord, session: LogEntry, today: frozenset[str]
    ) -> Record | ClipRecord:
        medium = find_medium(self.folder, record)
        if isinstance(record, Record):
            inspection = self._inspector(record, session, today).inspect(medium)
            return _renamed(inspection.record, record)
        learned = session.content.get("learned")
        triage = self._triage_then(record, session, today) if learned else ClipRanking()
        return triage.clip(medium).replace(source=record.source)

    def _inspector(
        self,
        record: Record,
        session: LogEntry,
        today: frozenset[str],
    ) -> Inspector:
        about = session.content
        source = self._source(session, today=_PROFILE in today)
        policy = load_policy(self.policy) if _POLICY in today else stored_policy(self.folder, about)
        memory: Memory | bool = _RecordedMemory({record.sha256 or "": record.recall})
        if _MEMORY in today:
            memory = True
        settings = InspectionSettings(by=source, policy=policy, memory=memory, model="evidence")
        if record.model is not None and record.replies:
            from anomalist.agent.reasoning.vlm_reasoner import VLMReasoner

            reasoner = VLMReasoner(
                _replies_as_model(record),
                record.model,
                guidance=_guidance(about),
                normal_crop=source.normal_crop or (lambda _media, _region: None),
            )
            settings = replace(settings, reasoner=reasoner)
        return Inspector(settings)

    def _source(self, session: LogEntry, *, today: bool) -> EvidenceSource:
        key = (session.position, today)
        if key not in self._sources:
            self._sources[key] = self._open_source(session.content, today=today)
        return self._sources[key]

    def _open_source(self, about: Mapping[str, Any], *, today: bool) -> EvidenceSource:
        name = str(about.get("profile"))
        if not about.get("learned"):
            if name == "zero-shot":
                from anomalist.vision.detectors.unsupervised import ZeroShotEvidence

                return ZeroShotEvidence()
            if about.get("reference"):
                from anomalist.vision.detectors.reference import load_reference

                return load_reference(media_path(self.folder, about["reference"]["sha256"]))
            raise DataError(f"What {name} compared pictures with is not kept: it can't be done again.")
        loaded = load_any_profile(self._learned_path(about, today=today))
        if isinstance(loaded, MixedProfile):
            rates = {str(product): float(rate) for product, rate in (about.get("rates") or {}).items()}
            known = {product.name for product in loaded.products} == rates.keys()
            return MixedEvidence(loaded, rates) if known else MixedEvidence.at(loaded, None)
        rate = float(about["rate"])
        return ProfileEvidence(loaded, validated_rate(loaded, rate) if today else rate)

    def _learned_path(self, about: Mapping[str, Any], *, today: bool) -> Path:
        name = str(about.get("profile"))
        if today:
            return profile_path(name)
        digest = str(about.get("profile_digest"))
        stored = profile_store(self.folder, digest, name)
        if not stored.is_dir():
            raise DataError(f"{name} of then ({digest[:12]}) is no longer in the audit log's folder.")
        return stored

    def _triage(self, session: LogEntry, today: frozenset[str]) -> Triage:
        about = session.content
        key = (session.position, today)
        if key in self._scenes:
            return self._scenes[key]
        from anomalist.vision.motion.scene import Zone

        policy = load_policy(self.policy) if _POLICY in today else stored_policy(self.folder, about)
        settings = TriageSettings(
            self._learned_path(about, today=_PROFILE in today),
            false_events_per_hour=about.get("rate"),
            mode=about.get("mode", "offline"),
            zones=tuple(Zone.model_validate(zone) for zone in about.get("zones") or ()),
            policy=policy,
            model="evidence",
            memory=_MEMORY in today,
        )
        self._scenes[key] = triage = Triage(settings)
        return triage

    def _triage_then(
        self, record: ClipRecord, session: LogEntry, today: frozenset[str] = frozenset()
    ) -> Triage:
        """The triage of one clip, which says of its events what was said then: nothing is asked."""
        triage = copy(self._triage(session, today))
        triage.annotator = AnnotatorOfThen(**vars(triage.annotator), then=record.events)
        if _MEMORY not in today:
            self._recall_then(triage, session, record)
        return triage

    def _recall_then(
        self, triage: Triage, session: LogEntry, record: ClipRecord, left_out: frozenset[str] = frozenset()
    ) -> None:
        rules = stored_rules(self.folder, session.content)
        triage.memory = MemoryOfThen(rules, record.events, left_out)


_PROFILE, _POLICY, _MEMORY = "profile", "policy", "memory"
_ALL = frozenset({_PROFILE, _POLICY, _MEMORY})
_SWAPPED = {"profile": _PROFILE, "policy": _POLICY, "rules": _MEMORY, "feedback": _MEMORY}


def _less(record: Record | ClipRecord, without: frozenset[str]) -> Record | ClipRecord:
    """A record as if some things had not been recalled, with the same verdict."""
    if not without:
        return record

    def kept(items: Sequence[Recalled]) -> tuple[Recalled, ...]:
        return tuple(item for item in items if item.id not in without)

    if isinstance(record, Record):
        return record.replace(recall=Recall(items=kept(record.recall.items)))
    events = tuple(event.replace(recalled=kept(event.recalled)) for event in record.events)
    return record.replace(events=events)


def _renamed(again: Record, record: Record) -> Record:
    return again.replace(source=record.source)


def _replies_as_model(record: Record) -> Any:  # noqa: ANN401
    from anomalist.agent.models.scripted import ScriptedModel, ScriptedReply

    return ScriptedModel(lines=tuple(ScriptedReply(reply=reply) for reply in record.replies))


def _guidance(about: Mapping[str, Any]) -> Any:  # noqa: ANN401
    from anomalist.agent.reasoning.vlm_prompts import NO_GUIDANCE, Guidance

    given = about.get("guidance")
    if not given:
        return NO_GUIDANCE
    return Guidance(
        watch=tuple(given.get("watch", ())),
        ignore=tuple(given.get("ignore", ())),
        product=given.get("product"),
        knowledge=tuple((kind, text) for kind, text in given.get("knowledge", ())),
    )


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)


def _score_difference(then: Record | ClipRecord, now: Record | ClipRecord) -> float | None:
    if isinstance(then, Record) and isinstance(now, Record):
        return None if then.score is None or now.score is None else now.score - then.score
    if isinstance(then, ClipRecord) and isinstance(now, ClipRecord):
        pairs = [
            b - a
            for (_, a), (_, b) in zip(then.curve, now.curve, strict=False)
            if a is not None and b is not None
        ]
        return max(pairs, key=abs, default=None)
    return None


def _differences(then: Record | ClipRecord, now: Record | ClipRecord) -> Iterator[str]:
    """What differs between two records of one picture or clip, one sentence each."""
    if now.status == "error" and then.status != "error":
        yield f"it could not be judged: {now.error}"
        return
    if then.label != now.label:
        yield f"verdict: {then.label} then, {now.label} now"
    if isinstance(then, Record) and isinstance(now, Record):
        yield from _picture_differences(then, now)
    elif isinstance(then, ClipRecord) and isinstance(now, ClipRecord):
        yield from _clip_differences(then, now)


def _picture_differences(then: Record, now: Record) -> Iterator[str]:
    fields: dict[str, Callable[[Record], Any]] = {
        "severity": lambda record: record.severity,
        "kind": lambda record: record.kind,
        "regions": lambda record: tuple(region.box for region in record.regions),
        "recalled": lambda record: tuple((item.id, item.version) for item in record.recall.items),
        "why undecided": lambda record: record.why_undecided,
    }
    if not _close(then.score, now.score):
        yield f"score: {number(then.score, 6)} then, {number(now.score, 6)} now"
    if not _close(then.p_value, now.p_value):
        yield f"p-value: {number(then.p_value, 6)} then, {number(now.p_value, 6)} now"
    for name, value in fields.items():
        if value(then) != value(now):
            yield f"{name}: {_shown(value(then))} then, {_shown(value(now))} now"


def _clip_differences(then: ClipRecord, now: ClipRecord) -> Iterator[str]:
    if not _close(then.threshold, now.threshold):
        yield f"threshold: {then.threshold} then, {now.threshold} now"
    if len(then.events) != len(now.events):
        yield f"events: {len(then.events)} then, {len(now.events)} now"
        return
    for old, new in zip(then.events, now.events, strict=True):
        if not _same_event(old, new):
            yield f"{old.id}: {_event_words(old)} then, {_event_words(new)} now"


def _same_event(old: Event, new: Event) -> bool:
    return (
        abs(old.start - new.start) <= SECONDS
        and abs(old.end - new.end) <= SECONDS
        and (old.kind, old.severity) == (new.kind, new.severity)
        and _close(old.score, new.score)
        and [item.id for item in old.recalled] == [item.id for item in new.recalled]
    )


def _event_words(event: Event) -> str:
    recalled = ", ".join(item.id for item in event.recalled)
    return (
        f"{event.kind} from {event.start:.1f} to {event.end:.1f} s, score {event.score:.3g}, "
        f"severity {event.severity}{f', {recalled}' if recalled else ''}"
    )


def _shown(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, tuple):
        return f"{len(value)} ({', '.join(map(str, value[:3]))})" if value else "none"
    return "none" if value is None else str(value)
