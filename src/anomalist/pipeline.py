"""The pipeline for pictures: path → Media → Evidence → Recall → Verdict → Record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner, Reasoner
from anomalist.agent.reasoning.policy import Policy, load_policy
from anomalist.agent.reasoning.verdict import verdict_without_model
from anomalist.agent.tools.subject import Subject, comparison_fields
from anomalist.errors import AnomalistError, DataError, ModelError
from anomalist.memory.recall import Memory, NoMemory
from anomalist.records import build_record, error_record
from anomalist.storage.artifacts import profile_path
from anomalist.storage.files import digest_of
from anomalist.types.common import Answer
from anomalist.types.image import Evidence, Inspection, Media
from anomalist.vision.calibration import partition
from anomalist.vision.detectors.base import (
    LearningData,
    LearningSettings,
    Progress,
    detector_class,
    no_progress,
)
from anomalist.vision.detectors.known_kinds import read_defects
from anomalist.vision.evidence import EvidenceSource, ProfileEvidence, validated_rate
from anomalist.vision.learning import calibrate, normal_entries, read_normals, sample_paths, utc_now
from anomalist.vision.media.images import list_images, load_roi, read_groups, source_of
from anomalist.vision.profile import PROFILE_KIND, Profile, load_profile, save_profile


def learn(
    normals: str | Path | Sequence[str | Path],
    *,
    profile: str | Path,
    groups: Mapping[str, str] | str | Path | None = None,
    limit: int | None = None,
    effort: str = "normal",
    seed: int = 0,
    roi: str | Path | None = None,
    detector: str = "surface",
    backbone: str | None = None,
    defects: str | Path | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Profile:
    """Learn what is normal from pictures without defects and write a profile.

    Parameters
    ----------
    normals : a folder, or pictures and folders.
    profile : a name (kept under ``ANOMALIST_HOME``) or a folder.
    groups : which pictures show the same object, tile or take: path to group, or a CSV ``image,group``.
    limit : learn from a random sample of at most this many.
    effort : "fast" (no training), "normal" or "thorough".
    seed : of every random choice; kept in the profile.
    roi : picture whose white part is what counts.
    detector : "surface", or a plug-in by name or ``module:Class``.
    backbone : for the memory bank: a transformers vision backbone by name or folder, or a plug-in.
    defects : folder of labelled defects, ``<kind>/*`` with masks in ``ground_truth/<kind>/`` if any.
    force : replace a profile that is already there.

    Raises
    ------
    AnomalistError : nothing usable to learn from, a profile in the way, a full disk, …
    """
    path = profile_path(profile)
    PROFILE_KIND.refuse_overwriting(path, force=force)
    kind = detector_class(detector)
    listing = list_images([normals] if isinstance(normals, str | Path) else normals)
    if not listing.images:
        raise DataError(
            f"No pictures to learn from in {normals}.", "Give a folder of pictures without defects."
        )
    paths = sample_paths(listing.images, limit, seed)
    table = read_groups(Path(groups)) if isinstance(groups, str | Path) else groups
    mask = load_roi(roi) if roi else None
    known, unreadable = read_defects(Path(defects), table or {}) if defects else ((), ())
    read = read_normals(paths, table, kind, progress)
    parts = partition(read.groups, seed)
    data = LearningData(read.pictures, read.groups, parts, mask, known)
    learned = kind.learn(data, LearningSettings(effort, seed, backbone), progress)
    calibration, low = calibrate(learned, read, parts, mask, seed, progress)
    return save_profile(
        path,
        learned,
        calibration,
        mask,
        force=force,
        name=path.name,
        created=utc_now(),
        detector=detector,
        effort=effort,
        seed=seed,
        backbone=backbone,
        grouped=table is not None,
        low=low,
        normals=normal_entries(read, parts),
        defects=tuple(defect.id for defect in known),
        skipped=(*read.skipped, *unreadable),
    )


class Inspector:
    """Inspects pictures by one profile, or by anything else that measures them."""

    def __init__(
        self,
        by: EvidenceSource | Profile | str | Path,
        *,
        false_alarm_rate: float | None = None,
        policy: Policy | None = None,
        reasoner: Reasoner | None = None,
        memory: Memory | None = None,
    ) -> None:
        if isinstance(by, str | Path):
            by = load_profile(by)
        if isinstance(by, Profile):
            by = ProfileEvidence(by, validated_rate(by, false_alarm_rate))
        self.evidence_source = by
        self.policy = policy or load_policy()
        self.reasoner = reasoner or EvidenceReasoner()
        self.memory = memory or NoMemory()
        rate = by.rate if isinstance(by, ProfileEvidence) else None
        parts = (self.policy.digest, self.reasoner.name, self.reasoner.digest, self.memory.digest)
        self.settings_digest = digest_of(rate, *parts)

    def inspect(self, path: str | Path) -> Inspection:
        """Inspect one picture; raises MediaError when it can't be read or judged."""
        began = time.perf_counter()
        ((_, media, evidence),) = self.evidence_source.measure([path])
        return self._judge(media, evidence, began)

    def inspect_many(self, paths: Iterable[str | Path]) -> Iterator[Inspection]:
        """Inspect pictures in order; one that can't be judged becomes a record with its error."""
        began = time.perf_counter()
        for path, media, evidence in self.evidence_source.measure(paths):
            try:
                yield self._judge(media, evidence, began)
            except AnomalistError as error:
                yield Inspection(error_record(source_of(path), media, error, self.evidence_source))
            began = time.perf_counter()

    def _judge(self, media: Media | None, evidence: Evidence | AnomalistError, began: float) -> Inspection:
        if isinstance(evidence, AnomalistError):
            raise evidence
        assert media is not None  # what was measured was read
        recall = self.memory.recall(media, evidence)
        failure = None
        try:
            verdict = self.reasoner.judge(media, evidence, recall, self.policy)
        except ModelError as error:  # what was measured is kept, and the next picture has its turn
            verdict = verdict_without_model(error, self.reasoner.name, media, evidence, recall, self.policy)
            failure = str(error)
        milliseconds = 1000 * (time.perf_counter() - began)
        record = build_record(media, evidence, recall, verdict, self.evidence_source, milliseconds, failure)
        return Inspection(record, media, evidence, self._answer)

    def _answer(self, inspection: Inspection, question: str, options: Sequence[str]) -> Answer:
        from anomalist.agent.asking.answering import answer

        return answer(self.subject([inspection]), question, options)

    def subject(self, inspections: Iterable[Inspection], **fields: Any) -> Subject:  # noqa: ANN401
        """What can be asked about inspected pictures; ``fields`` are those of `Subject`."""
        seen = {inspection.record.source: inspection for inspection in inspections}
        return Subject(
            records=tuple(inspection.record for inspection in seen.values()),
            inspections=seen,
            inspect=self.inspect,
            policy=self.policy,
            **(comparison_fields(self.evidence_source) | fields),
        )
