"""A tool that says who decided, by what, and on which normals."""

from __future__ import annotations

from pathlib import Path

from anomalist.agent.tools.subject import Result, Subject


class Provenance(Result):
    """What a verdict came from."""

    name: str
    detector: str | None
    detector_version: str | None
    compared_with: str | None
    profile: str | None
    reasoner: str | None
    model: str | None
    normals: int | None
    groups: int | None
    false_alarm_rate: float | None
    threshold: float | None
    score: float | None
    time: str | None
    version: str


def show_provenance(subject: Subject, name: str | None = None) -> Provenance:
    """Show who decided about a picture or clip: detector, profile, threshold, calibration, model, time."""
    if subject.clips and not subject.records:
        clip = subject.clip(name)
        return Provenance(
            ids=("score",),
            name=Path(clip.source).name,
            detector=clip.detector and clip.detector.name,
            detector_version=clip.detector and clip.detector.version,
            compared_with="normal footage of the same camera",
            profile=clip.scene,
            reasoner=None,
            model=next((event.model for event in clip.events if event.model), None),
            normals=None,
            groups=None,
            false_alarm_rate=None,
            threshold=clip.threshold,
            score=max((event.score for event in clip.events), default=None),
            time=clip.time,
            version=clip.version,
        )
    record = subject.picture(name)
    known = record.calibration
    compared = {
        "normals": "normal pictures",
        "itself": "the picture itself",
        "folder": "the other pictures of its folder",
        "reference": "one reference picture",
    }
    return Provenance(
        ids=("score",),
        name=Path(record.source).name,
        detector=record.detector and record.detector.name,
        detector_version=record.detector and record.detector.version,
        compared_with=compared.get(record.basis or ""),
        profile=record.profile,
        reasoner=record.reasoner,
        model=record.model,
        normals=known and known.normals,
        groups=known and known.groups,
        false_alarm_rate=known and known.false_alarm_rate,
        threshold=record.threshold,
        score=record.score,
        time=record.time,
        version=record.version,
    )
