"""Put together the row that is stored: from evidence, recall and verdict, or from an error."""

from __future__ import annotations

import hashlib
import json

from anomalist.errors import AnomalistError
from anomalist.types import Evidence, Media, Recall, Record, Verdict
from anomalist.vision.examiners import Examiner
from anomalist.vision.learning import now


def record_of(
    media: Media,
    evidence: Evidence,
    recall: Recall,
    verdict: Verdict,
    examiner: Examiner,
    milliseconds: float,
    failure: str | None = None,
) -> Record:
    """The record of a judged picture, without the paths of its stored arrays.

    ``failure`` says why a model that was asked could not be heard; what was measured stands all the same.
    """
    height, width = media.size
    return Record(
        source=media.source,
        status="ok",
        label=verdict.label,
        score=evidence.score,
        p_value=evidence.p_value,
        threshold=evidence.threshold,
        severity=verdict.severity,
        kind=verdict.kind,
        regions=evidence.regions,
        claims=verdict.claims,
        error=failure,
        sha256=media.sha256,
        width=width,
        height=height,
        notes=(*media.notes, *evidence.notes),
        reasoner=verdict.reasoner,
        disagreements=verdict.disagreements,
        why_undecided=verdict.why_undecided,
        dropped_claims=verdict.dropped_claims,
        model=verdict.model,
        opinions=verdict.opinions,
        prompts=verdict.prompts,
        replies=verdict.replies,
        dropped=verdict.dropped,
        recall=recall.items,
        detector=evidence.detector,
        calibration=evidence.calibration,
        basis=evidence.basis,
        roi_area=evidence.roi_area,
        profile=examiner.name,
        profile_digest=examiner.digest,
        policy=verdict.policy,
        time=now(),
        milliseconds=round(milliseconds, 1),
    )


def error_record(source: str, media: Media | None, error: AnomalistError, examiner: Examiner) -> Record:
    """The record of a picture that could not be judged."""
    return Record(
        source=source,
        status="error",
        error=str(error),
        sha256=media.sha256 if media else None,
        profile=examiner.name,
        profile_digest=examiner.digest,
        time=now(),
    )


def digest_of(*parts: str | float | None) -> str:
    """Hex SHA-256 over settings, unambiguous in where one ends and the next begins."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
