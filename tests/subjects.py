"""Subjects to ask about: records built by hand, with a picture on disk where a tool looks again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
from anomalist.agent.reasoning.policy import load_policy
from anomalist.agent.tools.subject import Subject
from anomalist.records import build_record
from anomalist.types.common import Recall
from anomalist.types.image import Evidence, KnownKind, Media, Record
from anomalist.vision.media.images import load_image
from tests.agent.conftest import make_evidence, make_region
from tests.pictures import holed, write


class StandInProfile:
    """Stands in for the profile that a record names."""

    name = "tiles"
    digest = "ab" * 32


def record_of_picture(media: Media, evidence: Evidence) -> Record:
    """The record that the evidence reasoner makes of this evidence."""
    verdict = EvidenceReasoner().judge(media, evidence, Recall(), load_policy())
    return build_record(media, evidence, Recall(), verdict, StandInProfile(), 12.0)  # type: ignore[arg-type]


def scratched(path: Path, **fields: Any) -> Subject:
    """A picture of 256 × 256 with a scratch (R1) and a spot (R2), inspected and anomalous."""
    media = load_image(write(path, holed(1, 256)))
    known = KnownKind(name="scratch", similarity=0.91, cases=("case:scratch/7",))
    regions = (
        make_region(
            1, (20, 30, 80, 40), 400, elongation=9.0, orientation=4.0, tone="darker", contrast=-40.0,
            contrast_sigma=-3.2, edges=(),
        ).model_copy(update={"known": known}),
        make_region(2, (200, 210, 212, 222), 110, position="lower right", tone="lighter", contrast=30.0),
    )  # fmt: skip
    record = record_of_picture(media, make_evidence(0.01, 3.2, regions))
    return Subject(records=(record,), cases=path.parent / "cases.sqlite", **fields)


def judged(path: Path, p: float = 0.4, score: float = 1.1, **calibration: Any) -> Record:
    """The record of a picture without regions."""
    media = load_image(write(path, holed(2, 64)))
    return record_of_picture(media, make_evidence(p, score, (), **calibration))
