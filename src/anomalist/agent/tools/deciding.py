"""Tools about the decision: what another false-alarm rate would change, and why something is so severe."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from anomalist.agent.policy import decide
from anomalist.agent.severity import picture_severity, region_severity
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import CalibrationError, DataError
from anomalist.types import SEVERITIES, Evidence, Label, Record
from anomalist.vision.calibration import groups_needed


class Changed(Result):
    """One picture at another false-alarm rate."""

    picture: str
    p_value: float | None
    before: Label | None
    after: Label
    why_undecided: str | None


class WhatIf(Result):
    """What another false-alarm rate would change; nothing is stored."""

    rate: float
    asked_before: float | None
    lowest_possible: float = Field(description="rate that the calibration supports")
    pictures: tuple[Changed, ...]
    changed: tuple[str, ...] = Field(description="names of the pictures whose verdict would be another")


class SeverityReason(Result):
    """Severity of a picture or a region, and what it follows from."""

    picture: str
    region: str | None
    severity: str
    level: int = Field(description="0 none, 1 minor, 2 moderate, 3 major, 4 critical")
    reason: str
    moderate_from: float = Field(description="share of the area from which the policy says moderate")
    major_from: float
    critical_from: float
    if_real: bool = Field(description="the verdict is undecided: it would be so severe if it is real")


def change_false_alarm_rate(subject: Subject, rate: float, picture: str | None = None) -> WhatIf:
    """Show what verdicts would be at another false-alarm rate (0 to 1, 0.01 is 1 %); nothing is changed.

    ``picture`` is a file name; leave it out for all of the batch.
    """
    if not 0 < rate < 1:
        raise CalibrationError(f"A false-alarm rate lies between 0 and 1, got {rate:g}.", "0.01 is 1 %.")
    chosen = subject.records if picture is None else (subject.picture(picture),)
    records = [record for record in chosen if record.calibration is not None and record.score is not None]
    if not records:
        raise DataError(
            "Nothing is calibrated here: there is no false-alarm rate.", "Inspect with --profile."
        )
    pictures = tuple(_at(subject, record, rate) for record in records)
    known = records[0].calibration
    assert known is not None  # they were chosen so
    exact = subject.calibration is not None and subject.calibration.n_folds == 1
    return WhatIf(
        ids=("score",),
        notes=() if exact else ("how stable the verdicts would be at that rate is not known",),
        rate=rate,
        asked_before=known.false_alarm_rate,
        lowest_possible=1 / (known.groups + 1),
        pictures=pictures,
        changed=tuple(each.picture for each in pictures if each.before != each.after),
    )


def explain_severity(
    subject: Subject, region: str | None = None, picture: str | None = None
) -> SeverityReason:
    """Explain the severity of a picture, or of one region of it (by id): level, reason, the policy."""
    record = subject.picture(picture)
    if record.status == "error" or record.label is None:
        raise DataError(f"{record.source} could not be judged: {record.error}")
    size = (record.height or 1, record.width or 1)
    area = subject.policy.area
    if region is not None:
        _, found = subject.region(region, picture)
        grade = region_severity(found, size, subject.policy)
    else:
        grade = picture_severity(record.regions, size, subject.policy)
    level, reason = grade.level, grade.reason
    if region is None and record.severity is not None and record.severity != level:
        changed = "" if record.label == "normal" else "; the record has another level"
        level, reason = record.severity, f"the verdict is {record.label}{changed}"
    return SeverityReason(
        ids=grade.evidence if level else ("score",),
        picture=Path(record.source).name,
        region=region,
        severity=SEVERITIES[level],
        level=level,
        reason=reason,
        moderate_from=area.moderate,
        major_from=area.major,
        critical_from=area.critical,
        if_real=record.label == "undecided",
    )


def _at(subject: Subject, record: Record, rate: float) -> Changed:
    """One record at another rate, by the same rules that decided it."""
    import numpy as np

    known = record.calibration
    assert known is not None and record.score is not None and record.detector is not None
    held = subject.calibration
    # Only one model's score can be told from its record: cross-fitted pictures have several.
    fits = held is not None and held.n_folds == 1
    evidence = Evidence(
        detector=record.detector,
        score=record.score,
        score_map=np.zeros((1, 1), np.float32),
        mask=np.zeros((1, 1), np.bool_),
        roi_area=record.roi_area or 1,
        p_value=record.p_value,
        regions=record.regions,
        basis=record.basis or "normals",
        calibration=known.model_copy(
            update={
                "false_alarm_rate": rate,
                "reachable": known.groups >= groups_needed(rate),
                "normals_needed": groups_needed(rate),
                "instability": held.instability([record.score], rate) if held is not None and fits else 0.0,
            }
        ),
    )
    label, why = decide(evidence, subject.policy)
    return Changed(
        ids=("score",),
        picture=Path(record.source).name,
        p_value=record.p_value,
        before=record.label,
        after=label,
        why_undecided=why,
    )
