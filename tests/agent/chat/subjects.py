"""Pictures with findings as an inspector would hand them over, without learning anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalist.agent.models.scripted import ScriptedModel, ScriptedReply
from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
from anomalist.agent.reasoning.policy import load_policy
from anomalist.agent.tools.subject import Subject
from anomalist.records import build_record
from anomalist.types.common import Recall, UInt8Array
from anomalist.types.image import Inspection
from anomalist.vision.media.images import load_image
from tests.agent.conftest import make_evidence, make_region
from tests.pictures import holed, tile, write


class StandInProfile:
    name = "tiles"
    digest = "00"


def inspected(
    path: Path, p: float | None = 0.01, regions: int = 1, picture: UInt8Array | None = None
) -> Inspection:
    """A picture with a dark hole (or, with no regions, a plain one), written to ``path``, and its record."""
    if picture is None:
        picture = holed(1, 256) if regions else tile(1, 256)
    media = load_image(write(path, picture))
    found = [
        make_region(number + 1, (40, 40, 90, 90), 1800, contrast=-60.0, contrast_sigma=-5.0, tone="darker")
        for number in range(regions)
    ]
    evidence = make_evidence(p, regions=found)
    verdict = EvidenceReasoner().judge(media, evidence, Recall(), load_policy())
    record = build_record(media, evidence, Recall(), verdict, StandInProfile(), 1.0)  # type: ignore[arg-type]
    return Inspection(record, media, evidence)


def subject_of(inspections: Sequence[Inspection], **fields: Any) -> Subject:
    return Subject(
        records=tuple(each.record for each in inspections),
        inspections={each.record.source: each for each in inspections},
        **fields,
    )


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    """A step that calls a tool."""
    return {"tool": tool, "arguments": arguments}


def say(*sentences: tuple[str, list[str]], verdict: str = "not asked", cannot: str = "") -> dict[str, Any]:
    """A step that answers."""
    return {
        "tool": "",
        "sentences": [{"text": text, "evidence": ids} for text, ids in sentences],
        "verdict": verdict,
        "cannot": cannot,
    }


def scripted(*replies: dict[str, Any] | str) -> ScriptedModel:
    return ScriptedModel(lines=tuple(ScriptedReply(reply=reply) for reply in replies))
