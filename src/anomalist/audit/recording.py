"""What anomalist does, written into the audit log: sessions, decisions, answers, feedback, rules, learning.

A decision is an entry behind its row in the run folder, and is reported only then. Where a process is killed
or interrupted between the two, the next one that opens the run folder writes the entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from anomalist.audit.canonical import REDACTED
from anomalist.audit.log import AuditLog, EntryKind, Written, audit_folder
from anomalist.audit.reading import read_entries
from anomalist.audit.stores import AuditSettings, keep_media, keep_profile, keep_text, load_settings
from anomalist.errors import DataError
from anomalist.memory.cases import Case, CaseStore, current_user
from anomalist.memory.rules.rule import Rule
from anomalist.prompts.templates import PromptError, template_sha256, template_text
from anomalist.settings import Settings
from anomalist.storage.files import write_atomically
from anomalist.storage.run_folder import CLIPS, RECORDS
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Answer, PromptUsed
from anomalist.types.image import Media, Record

if TYPE_CHECKING:
    from anomalist.pipeline import Inspector
    from anomalist.triage import Triage
    from anomalist.vision.motion.scene import Scene
    from anomalist.vision.profile import MixedProfile, Profile

MARKER = "audit.json"
"""In a run folder: since when this run's rows are written into the log, and whether all were."""

RecordT = TypeVar("RecordT", Record, ClipRecord)


def open_trail(keep_media: str | None = None) -> AuditTrail | None:
    """The audit trail of this user; None where ``ANOMALIST_AUDIT`` is off.

    ``keep_media`` is kept in place of what the settings of the log say. Raises DataError where the log can't
    be written.
    """
    asked = Settings().audit.strip().lower()
    if asked in ("off", "0", "no", "false"):
        return None
    if asked not in ("on", "1", "yes", "true"):
        raise DataError(f"ANOMALIST_AUDIT is {asked!r}.", "It is on, or off.")
    return AuditTrail(keep_media=keep_media)


class AuditTrail:
    """Writes what is done into the audit log; a context manager.

    Parameters
    ----------
    folder : of the log; by default that of this user.
    keep_media : in place of what the settings of the log say.

    Raises
    ------
    DataError : from any method, where the log can't be written.
    """

    def __init__(self, folder: Path | None = None, keep_media: str | None = None) -> None:
        self.folder = audit_folder() if folder is None else folder
        self.settings = load_settings(self.folder)
        if keep_media is not None:
            self.settings = AuditSettings.model_validate(dict(self.settings) | {"keep_media": keep_media})
        self.log = AuditLog(self.folder, redact=self.settings.redact)
        self.session: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.close()

    def write(self, kind: EntryKind, body: Mapping[str, Any]) -> Written:
        """Append an entry, with who it was; fields that are None are left out."""
        named = {name: value for name, value in body.items() if value is not None}
        session = {} if self.session is None else {"session": self.session}
        return self.log.append(kind, {**named, **session, "actor": current_user()})

    def begin_inspection(self, inspector: Inspector, command: str) -> None:
        """Say with what pictures are judged from here on; keeps profile, policy and rules."""
        from anomalist.vision.evidence import MixedEvidence, ProfileEvidence

        source, policy = inspector.evidence_source, inspector.policy
        profile = getattr(source, "profile", None)
        kept = profile is not None and keep_profile(self.folder, profile.path, source.digest)
        rates = source.rates if isinstance(source, MixedEvidence) else None
        guidance = getattr(inspector.reasoner, "guidance", None)
        self.session = None
        self.session = self.write(
            "session",
            {
                "command": command,
                "of": "pictures",
                "profile": source.name,
                "profile_digest": source.digest,
                "profile_kept": kept,
                "learned": isinstance(source, ProfileEvidence | MixedEvidence),
                "reference": self._keep_reference(getattr(source, "reference", None)),
                "rate": source.rate,
                "rates": dict(rates) if rates else None,
                "policy": policy.digest,
                "policy_text": keep_text(self.folder, policy.model_dump_json(by_alias=True)),
                "rules": self._keep_rules(source.name),
                "memory": inspector.memory.digest,
                "reasoner": inspector.reasoner.name,
                "reasoner_digest": inspector.reasoner.digest,
                "guidance": asdict(guidance) if is_dataclass(guidance) else None,  # type: ignore[arg-type]
                "settings_digest": inspector.settings_digest,
                "version": _version(),
            },
        ).position

    def begin_triage(self, triage: Triage, command: str) -> None:
        """Say with what clips are judged from here on; keeps scene, policy and rules."""
        scene, policy = triage.scene, triage.policy
        self.session = None
        self.session = self.write(
            "session",
            {
                "command": command,
                "of": "clips",
                "profile": scene.name,
                "profile_digest": scene.digest,
                "profile_kept": scene.path is not None
                and keep_profile(self.folder, scene.path, scene.digest),
                "learned": True,
                "rate": triage.false_events_per_hour,
                "mode": triage.mode,
                "zones": [zone.model_dump(mode="json") for zone in triage.zones],
                "policy": policy.digest,
                "policy_text": keep_text(self.folder, policy.model_dump_json(by_alias=True)),
                "rules": self._keep_rules(scene.name),
                "asked": triage.annotator.digest if triage.annotator.model is not None else None,
                "version": _version(),
            },
        ).position

    def begin_ranking(self, command: str) -> None:
        """Say that clips are ranked by themselves from here on: nothing was learned, nothing is promised."""
        from anomalist.ranking import RANKING_DIGEST

        self.session = None
        body = {"command": command, "of": "clips", "learned": False, "detector": RANKING_DIGEST}
        self.session = self.write("session", {**body, "version": _version()}).position

    def _keep_reference(self, reference: Media | None) -> dict[str, str] | None:
        if reference is None:
            return None
        keep_media(self.folder, Path(reference.source), reference.sha256)
        return {"source": reference.source, "sha256": reference.sha256}

    def _keep_rules(self, profile: str) -> str:
        from anomalist.memory.rules.store import rules_for

        rules = [rule.model_dump(mode="json") for rule in rules_for(profile)]
        return keep_text(self.folder, json.dumps(rules, ensure_ascii=False, sort_keys=True))

    def decision(self, record: Record | ClipRecord, run: Path | None = None, **more: Any) -> Written:  # noqa: ANN401
        """Write a decision, the calls to a model in it, and keep its medium if that is asked for."""
        row = record.model_dump_json()
        for asked in (record,) if isinstance(record, Record) else record.events:
            if asked.replies:
                self.write(
                    "model call",
                    {
                        "model": asked.model,
                        "about": record.source,
                        "event": None if isinstance(asked, Record) else asked.id,
                        "prompts": [each.model_dump() for each in asked.prompts],
                        "texts": self._keep_prompts(asked.prompts),
                        "replies": asked.replies,
                    },
                )
        media = self._kept_media(record, run)
        written = self.write(
            "inspection" if isinstance(record, Record) else "clip",
            {
                "record": json.loads(row),
                "row": row_digest(row.encode()),
                "run": None if run is None else str(run.resolve()),
                "media": media,
                **more,
            },
        )
        if media:  # where a removal took a file away that no entry named yet
            self._kept_media(record, run)
        return written

    def _keep_prompts(self, prompts: Iterable[PromptUsed]) -> dict[str, str]:
        kept = {}
        for prompt in prompts:
            try:
                if template_sha256(prompt.id) == prompt.sha256:
                    kept[prompt.id] = keep_text(self.folder, template_text(prompt.id))
            except PromptError:
                continue  # of a plug-in
        return kept

    def _kept_media(self, record: Record | ClipRecord, run: Path | None) -> list[dict[str, str]] | None:
        wanted = self.settings.keep_media
        if wanted == "none" or record.sha256 is None or (wanted == "anomalous" and record.label == "normal"):
            return None
        found = []
        if keep_media(self.folder, Path(record.source), record.sha256):
            found.append({"sha256": record.sha256, "what": "source"})
        mask = record.mask if isinstance(record, Record) else None
        if mask is not None and run is not None and (run / mask).is_file():
            digest = hashlib.sha256((run / mask).read_bytes()).hexdigest()
            if keep_media(self.folder, run / mask, digest):
                found.append({"sha256": digest, "what": "mask"})
        return found or None

    def answer(self, answer: Answer, profile: str | None = None, conversation: str | None = None) -> Written:
        """Write the answer to a question."""
        body = {"answer": answer.model_dump(mode="json"), "about": ", ".join(answer.subjects) or None}
        return self.write("answer", {**body, "profile": profile, "conversation": conversation})

    def feedback(self, case: Case, *, undone: bool = False) -> Written:
        """Write what a person said of a finding, or that it was taken back."""
        return self.write(
            "feedback",
            {
                "case": case.model_dump(mode="json"),
                "about": case.source,
                "profile": case.profile,
                "undone": undone or None,
            },
        )

    def conversation_feedback(
        self, before: Mapping[str, bool], after: Mapping[str, bool], cases: Path
    ) -> None:
        """Write what a turn of a conversation stored and took back, with the parts of a selection.

        Parameters
        ----------
        before, after : the cases of the conversation, and whether each is undone.
        cases : the file that holds them.
        """
        changed = {case: undone for case, undone in after.items() if before.get(case) is not undone}
        if changed:
            with CaseStore(cases) as store:
                for case, undone in changed.items():
                    for each in store.with_parts(case):
                        self.feedback(each, undone=undone)

    def review(self, record: Record, answer: str, run: Path) -> Written:
        """Write what a person says a picture of a run shows: "normal", "anomalous" or "unsure"."""
        return self.write(
            "review",
            {
                "about": record.source,
                "sha256": record.sha256,
                "profile": record.profile,
                "profile_digest": record.profile_digest,
                "answer": answer,
                "run": str(run.resolve()),
            },
        )

    def rules(self, profile: str, rules: Iterable[Rule], what: str) -> None:
        """Write rules as they are after a change."""
        for rule in rules:
            self.write(
                "rule",
                {"rule": rule.model_dump(mode="json"), "id": rule.id, "profile": profile, "what": what},
            )

    def learning(self, name: str, digest: str, path: Path, about: Mapping[str, Any]) -> Written:
        """Write that something was learned, and keep it."""
        kept = keep_profile(self.folder, path, digest)
        body = {"name": name, "profile": name, "profile_digest": digest, "profile_kept": kept, **about}
        return self.write("learning", body)


def record_learning(learned: Profile | MixedProfile | Scene, **more: Any) -> None:  # noqa: ANN401
    """Write what was learned into the audit log, where there is one; ``more`` are fields of the entry."""
    from anomalist.vision.motion.scene import Scene
    from anomalist.vision.profile import Profile

    if learned.path is None or (trail := open_trail()) is None:
        return
    with trail:
        about: dict[str, Any] = {"of": "clips" if isinstance(learned, Scene) else "pictures"}
        if isinstance(learned, Scene):
            about["footage"] = [each.model_dump(mode="json") for each in learned.manifest.footage]
            about["skipped"] = learned.manifest.skipped
        elif isinstance(learned, Profile):
            manifest = learned.manifest
            about |= {"normals": len(manifest.normals), "defects": len(manifest.defects)}
            about |= {"skipped": manifest.skipped, "lowest_rate": learned.calibration.lowest_rate}
        else:
            about["products"] = [product.name for product in learned.products]
        trail.learning(learned.name, learned.digest, learned.path, {**about, **more})


def record_rules(profile: str, rules: Iterable[Rule], what: str) -> None:
    """Write rules that were added or changed into the audit log, where there is one."""
    if (trail := open_trail()) is not None:
        with trail:
            trail.rules(profile, rules, what)


def record_answer(answer: Answer, profile: str | None = None) -> None:
    """Write the answer to a question into the audit log, where there is one."""
    if (trail := open_trail()) is not None:
        with trail:
            trail.answer(answer, profile)


def record_feedback_case(*cases: Case, undone: bool = False) -> None:
    """Write what a person said of a finding, or of a selection and its parts, into the audit log if on."""
    if (trail := open_trail()) is not None:
        with trail:
            for case in cases:
                trail.feedback(case, undone=undone)


def record_said_feedback(reply: Answer, cases: Path) -> None:
    """Write what a person said instead of a question into the audit log, where there is one.

    ``cases`` is the file in which the answer stored it, or took it back.
    """
    if reply.intent != "feedback" or not reply.claims:
        return
    stored = [id for id in reply.claims[0].evidence if id.startswith("case:")]
    if stored:
        with CaseStore(cases) as store:
            said = store.with_parts(stored[0])
        record_feedback_case(*said, undone=said[0].undone is not None)


def row_digest(row: bytes) -> str:
    """What says that an entry is that of a row in a run folder: 32 hex digits."""
    return hashlib.sha256(row).hexdigest()[:32]


def _version() -> str:
    from anomalist import __version__

    return __version__


class RunTrail:
    """The audit trail of one run folder: writes what an earlier process could not, then every new record.

    Parameters
    ----------
    trail : None writes nothing.
    run : the run folder; None for records that go nowhere else.
    """

    def __init__(self, trail: AuditTrail | None, run: Path | None) -> None:
        self.trail = trail
        self.run = run

    def __enter__(self) -> Self:
        if self.trail is not None and self.run is not None and self.run.is_dir():
            self._write_forgotten(self.trail, self.run)
        if self.trail is not None and self.run is not None:
            head = self.trail.log.head()
            begun = {"log": head.log, "since": head.position, "size": self._size(), "closed": False}
            self._mark({**begun, "run": str(self.run.resolve())})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.trail is not None:
            self.trail.log.close()
            if self.run is not None and error is None:
                self._mark({"closed": True})  # else the next run looks for a row without its entry

    def keep(self, records: Iterable[RecordT]) -> Iterator[RecordT]:
        """Write each record as an entry, then pass it on."""
        for record in records:
            if self.trail is not None:
                self.trail.decision(record, self.run)
            yield record

    def _mark(self, content: Mapping[str, Any]) -> None:
        if self.run is not None and (self.run.is_dir() or not content.get("closed")):
            write_atomically(self.run / MARKER, json.dumps(content) + "\n")

    def _rows_file(self) -> Path | None:
        places = () if self.run is None else (self.run / RECORDS, self.run / CLIPS)
        return next((place for place in places if place.is_file()), None)

    def _size(self) -> int:
        file = self._rows_file()
        return 0 if file is None else file.stat().st_size

    def _write_forgotten(self, trail: AuditTrail, run: Path) -> None:
        """Write entries for rows that a process stored before it was killed or interrupted, but not yet here.

        Those of another log are not looked for: this one holds none of them.
        """
        try:
            marker = json.loads((run / MARKER).read_bytes())
            since, size = int(marker["since"]), int(marker["size"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # closed, or of no log
        file = self._rows_file()
        if file is None or marker.get("closed"):
            return
        if since >= 0 and marker.get("log") not in (None, trail.log.head().log):
            return  # a log without entries had no name yet
        content = file.read_bytes()
        if size and content[size - 1 : size] != b"\n":  # written again since, or mended by hand
            since, size = 0, 0
        rows = [row for row in content[size:].split(b"\n")[:-1] if row.strip()]
        if not rows:
            return
        kind: EntryKind = "inspection" if file.name == RECORDS else "clip"
        named = marker.get("run")  # where it was then; none in markers of older versions
        written: set[Any] = set()
        for entry in read_entries(trail.folder, start=max(since, 0), kinds=[kind]):
            # The same picture in two runs at once can give the same row to the last byte.
            if named is None or entry.content.get("run") in (named, REDACTED):
                written |= {entry.content.get("row"), _identity(entry.part("record"))}
        for row in rows:
            about = json.loads(row)
            if row_digest(row) not in written and (_identity(about) or row) not in written:
                record = (Record if kind == "inspection" else ClipRecord).model_validate(about)
                trail.decision(record, run, recovered=True)


def _identity(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """What of a row stays when pictures of its events are added: the key and the time; None without them."""
    key, time = row.get("key"), row.get("time")
    return (str(key), str(time)) if key and time and REDACTED not in (key, time) else None
