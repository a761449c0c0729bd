"""Replay: take a logged decision again with what was used then, or with what is there today, and compare.

With the stored versions the same picture has to give the same verdict. What memory recalled and what a model
replied then is put in its place again, as recorded: a replay asks no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anomalist.agent.reasoning.policy import load_policy
from anomalist.audit.changes import (
    AnnotatorOfThen,
    Change,
    MemoryOfThen,
    changes_since,
    differences_between,
    score_difference,
    stored_policy,
    stored_rules,
)
from anomalist.audit.entries import is_learned
from anomalist.audit.log import audit_folder
from anomalist.audit.reading import LogEntry, find_entry
from anomalist.audit.stores import kept_profile_path, media_path
from anomalist.composition import InspectionSettings, TriageSettings
from anomalist.errors import AnomalistError, DataError
from anomalist.memory.recall import Memory
from anomalist.pipeline import Inspector
from anomalist.ranking import ClipRanking
from anomalist.storage.artifacts import profile_path
from anomalist.storage.files import changed_since
from anomalist.triage import ClipEvidence, Triage
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Recall, Recalled
from anomalist.types.image import Evidence, Inspection, Media, Record
from anomalist.vision.evidence import EvidenceSource, MixedEvidence, ProfileEvidence, validated_rate
from anomalist.vision.profile import MixedProfile, load_any_profile


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
    untried : those of the changes of which it is not known whether they make a difference by themselves.
    """

    entry: LogEntry
    again: Record | ClipRecord | None
    differences: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    causes: tuple[str, ...] = ()
    failed: str = ""
    score_difference: float | None = None
    untried: tuple[Change, ...] = ()

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
        differences = tuple(differences_between(record, again))
        causes: tuple[str, ...] = ()
        untried: tuple[Change, ...] = ()
        if differences and today:
            causes, untried = self._causes(record, session, changes, again)
        elif differences:
            versions = [f"version: {change.text}" for change in changes if change.part == _VERSION]
            unknown = "unknown: with what was used then the decision is another one (hardware or packages)"
            causes = (*versions, unknown)[:1]
        score = score_difference(record, again)
        return Replay(entry, again, differences, changes, causes, "", score, untried)

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
        yield from differences_between(_less(then, without), now)

    def _causes(
        self,
        record: Record | ClipRecord,
        session: LogEntry,
        changes: tuple[Change, ...],
        now: Record | ClipRecord,
    ) -> tuple[tuple[str, ...], tuple[Change, ...]]:
        """Name the changes that make the difference to what is decided now, and those that can't be tried.

        Each is tried by itself: the version with all else as it was then, the others with the version of now.
        """
        able = [each for each in changes if each.part in (*_SWAPPED, _VERSION)]
        parts = tuple(dict.fromkeys(_SWAPPED[each.part] for each in able if each.part in _SWAPPED))
        renewed = any(each.part == _VERSION for each in able)
        kept = self._tried(record, session, frozenset()) if renewed else record
        alone = {_VERSION} if kept is not None and any(differences_between(record, kept)) else set()
        untried = {_VERSION} if kept is None else set()
        for part in parts:
            again = now if len(parts) == 1 else self._tried(record, session, frozenset({part}))
            if kept is None or again is None:
                untried.add(part)
            elif any(differences_between(kept, again)):
                alone.add(part)
        left = tuple(each for each in able if _SWAPPED.get(each.part, each.part) in untried)
        named = [each for each in able if _SWAPPED.get(each.part, each.part) in alone]
        if not able:
            return ("unknown: nothing that the log names has changed (hardware or packages)",), ()
        if left and not named:
            return ("unknown: what changed could not be tried by itself",), left
        return tuple(f"{change.part}: {change.text}" for change in named or able), left

    def _tried(
        self, record: Record | ClipRecord, session: LogEntry, today: frozenset[str]
    ) -> Record | ClipRecord | None:
        """The decision with some of today's parts; None where it can't be taken with them."""
        try:
            return self._again(record, session, today)
        except AnomalistError:
            return None

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

                kept = media_path(self.folder, sha256 := about["reference"]["sha256"])
                if (happened := changed_since(kept, sha256)) is None:
                    return load_reference(kept)
                raise DataError(f"What {name} compared pictures with {happened} in the audit log's folder.")
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
        stored = kept_profile_path(self.folder, digest, name)
        if not stored.is_dir():
            raise DataError(f"{name} of then ({digest[:12]}) is no longer in the audit log's folder.")
        if not is_learned(stored, digest):
            raise DataError(f"{name} of then ({digest[:12]}) has been changed in the audit log's folder.")
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


_PROFILE, _POLICY, _MEMORY, _VERSION = "profile", "policy", "memory", "version"
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
