"""The whole flow: path → Media → Evidence → Recall → Verdict → Record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalist.agent.evidence import EvidenceReasoner
from anomalist.agent.fallback import without_model
from anomalist.agent.policy import Policy, load_policy
from anomalist.agent.reasoner import Reasoner
from anomalist.agent.tools.subject import Subject, compared_with
from anomalist.errors import AnomalistError, DataError, ModelError
from anomalist.memory.recall import Blank, Memory
from anomalist.records import digest_of, error_record, record_of
from anomalist.types import Answer, Evidence, Inspection, Media
from anomalist.vision.calibration import partition
from anomalist.vision.detectors import Progress, detector_class, silent
from anomalist.vision.examine import checked_rate
from anomalist.vision.examiners import ByProfile, Examiner
from anomalist.vision.grouping import read_groups
from anomalist.vision.known import read_defects
from anomalist.vision.learning import calibrate, listed, now, read_normals, sample
from anomalist.vision.media import list_images, load_roi, source_of
from anomalist.vision.profile import Profile, load_profile, profile_path, refuse_overwriting, save_profile


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
    progress: Progress = silent,
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
    backbone : a transformers vision backbone for the memory bank, by name or folder.
    defects : folder of labelled defects, ``<kind>/*`` with masks in ``ground_truth/<kind>/`` if any.
    force : replace a profile that is already there.

    Raises
    ------
    AnomalistError : nothing usable to learn from, a profile in the way, a full disk, …
    """
    path = profile_path(profile)
    refuse_overwriting(path, force=force)
    kind = detector_class(detector)
    listing = list_images([normals] if isinstance(normals, str | Path) else normals)
    if not listing.images:
        raise DataError(
            f"No pictures to learn from in {normals}.", "Give a folder of pictures without defects."
        )
    paths = sample(listing.images, limit, seed)
    table = read_groups(Path(groups)) if isinstance(groups, str | Path) else groups
    mask = load_roi(roi) if roi else None
    known, unreadable = read_defects(Path(defects), table or {}) if defects else ((), ())
    read = read_normals(paths, table, kind, progress)
    parts = partition(read.groups, seed)
    learned = kind.learn(
        read.pictures,
        read.groups,
        parts,
        roi=mask,
        effort=effort,
        seed=seed,
        backbone=backbone,
        defects=known,
        progress=progress,
    )
    calibration, low = calibrate(learned, read, parts, mask, seed, progress)
    return save_profile(
        path,
        learned,
        calibration,
        mask,
        force=force,
        name=path.name,
        created=now(),
        detector=detector,
        effort=effort,
        seed=seed,
        backbone=backbone,
        grouped=table is not None,
        low=low,
        normals=listed(read, parts),
        defects=tuple(defect.id for defect in known),
        skipped=(*read.skipped, *unreadable),
    )


class Inspector:
    """Inspects pictures by one profile, or by anything else that measures them."""

    def __init__(
        self,
        by: Examiner | Profile | str | Path,
        *,
        false_alarm_rate: float | None = None,
        policy: Policy | None = None,
        reasoner: Reasoner | None = None,
        memory: Memory | None = None,
    ) -> None:
        if isinstance(by, str | Path):
            by = load_profile(by)
        if isinstance(by, Profile):
            by = ByProfile(by, checked_rate(by, false_alarm_rate))
        self.examiner = by
        self.policy = policy or load_policy()
        self.reasoner = reasoner or EvidenceReasoner()
        self.memory = memory or Blank()
        rate = by.rate if isinstance(by, ByProfile) else None
        parts = (self.policy.digest, self.reasoner.name, self.reasoner.digest, self.memory.digest)
        self.settings_digest = digest_of(rate, *parts)

    def inspect(self, path: str | Path) -> Inspection:
        """Inspect one picture; raises MediaError when it can't be read or judged."""
        began = time.perf_counter()
        ((_, media, evidence),) = self.examiner.examine([path])
        return self._judge(media, evidence, began)

    def inspect_many(self, paths: Iterable[str | Path]) -> Iterator[Inspection]:
        """Inspect pictures in order; one that can't be judged becomes a record with its error."""
        began = time.perf_counter()
        for path, media, evidence in self.examiner.examine(paths):
            try:
                yield self._judge(media, evidence, began)
            except AnomalistError as error:
                yield Inspection(error_record(source_of(path), media, error, self.examiner))
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
            verdict = without_model(error, self.reasoner.name, media, evidence, recall, self.policy)
            failure = str(error)
        milliseconds = 1000 * (time.perf_counter() - began)
        record = record_of(media, evidence, recall, verdict, self.examiner, milliseconds, failure)
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
            **(compared_with(self.examiner) | fields),
        )
