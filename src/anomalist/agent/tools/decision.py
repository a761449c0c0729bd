"""Decision tools: another false-alarm rate, severity, provenance, and choosing among options."""

from __future__ import annotations

import re
import string
from pathlib import Path

from pydantic import Field

from anomalist.agent.choice.evidence_choice import choose_by_evidence
from anomalist.agent.choice.evidence_match import named_regions
from anomalist.agent.reasoning.policy import decide_label
from anomalist.agent.reasoning.severity import picture_severity, region_severity
from anomalist.agent.reasoning.wording import failure_sentence
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import CalibrationError, DataError
from anomalist.types.clip import EVENT_ID
from anomalist.types.common import SEVERITIES, Claim, Label, OptionScore
from anomalist.types.image import Record
from anomalist.vision.calibration import groups_needed


class VerdictChange(Result):
    """One picture at another false-alarm rate."""

    picture: str
    p_value: float | None
    before: Label | None
    after: Label
    why_undecided: str | None


class RateWhatIf(Result):
    """What another false-alarm rate would change; nothing is stored."""

    rate: float
    asked_before: float | None
    lowest_possible: float = Field(description="rate that the calibration of every picture supports")
    pictures: tuple[VerdictChange, ...]
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


def change_false_alarm_rate(subject: Subject, rate: float, picture: str | None = None) -> RateWhatIf:
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
    pictures = tuple(_verdict_at_rate(subject, record, rate) for record in records)
    known = [record.calibration for record in records if record.calibration is not None]
    sets = [subject.calibrations.get(record.calibration_digest or "") for record in records]
    exact = all(each is not None and each.n_folds == 1 for each in sets)
    return RateWhatIf(
        ids=("score",),
        notes=() if exact else ("how stable the verdicts would be at that rate is not known",),
        rate=rate,
        asked_before=known[0].false_alarm_rate,
        lowest_possible=max(1 / (each.groups + 1) for each in known),
        pictures=pictures,
        changed=tuple(each.picture for each in pictures if each.before != each.after),
    )


def explain_severity(
    subject: Subject, region: str | None = None, picture: str | None = None
) -> SeverityReason:
    """Explain the severity of a picture, or of one region of it (by id): level, reason, the policy."""
    record = subject.picture(picture)
    if not record.judged:
        raise DataError(failure_sentence(record))
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


def _verdict_at_rate(subject: Subject, record: Record, rate: float) -> VerdictChange:
    """The verdict of one record at another rate, by the same policy."""
    known = record.calibration
    assert known is not None and record.score is not None
    calibration_set = subject.calibrations.get(record.calibration_digest or "")
    # The record holds one score; a cross-fitted calibration would need the score of each fold's model.
    single_fold = calibration_set is not None and calibration_set.n_folds == 1
    evidence = record.evidence.replace(
        calibration=known.replace(
            false_alarm_rate=rate,
            reachable=known.groups >= groups_needed(rate),
            normals_needed=groups_needed(rate),
            instability=calibration_set.instability([record.score], rate)
            if calibration_set is not None and single_fold
            else 0.0,
        )
    )
    label, why = decide_label(evidence, subject.policy)
    return VerdictChange(
        ids=("score",),
        picture=Path(record.source).name,
        p_value=record.p_value,
        before=record.label,
        after=label,
        why_undecided=why,
    )


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


class OptionChoice(Result):
    """Which option fits what was measured."""

    picture: str
    letter: str | None = Field(description="of the option that fits best; None where that can't be told")
    text: str | None = Field(description="of that option")
    options: tuple[OptionScore, ...]
    claims: tuple[Claim, ...] = Field(description="why, with what it rests on")
    why_not: str | None = Field(description="why there is no letter")


def choose_option(
    subject: Subject, question: str, options: list[str], picture: str | None = None
) -> OptionChoice:
    """Choose among 2 to 26 options of a question by what was measured, with a probability for each.

    ``options`` are texts without letters; they get A, B, C, … in their order. ``picture`` is a file name
    of a picture or clip; leave it out when there is only one.
    """
    if subject.clips and not subject.records:
        clip = subject.clip(picture)
        for id in re.findall(rf"\b{EVENT_ID}\b", " ".join([question, *options]).upper()):
            subject.event(id, picture)  # raises DataError for an unknown id
        source, choice = clip.source, choose_by_evidence(question, options, clip)
    else:
        record = subject.picture(picture)
        for id in named_regions(question) if record.regions else ():
            subject.region(id, picture)  # raises DataError for an unknown id
        inspection = subject.inspections.get(record.source)
        evidence = None if inspection is None else inspection.evidence
        score_map = None if evidence is None else evidence.score_map
        source, choice = record.source, choose_by_evidence(question, options, record, score_map=score_map)
    return OptionChoice(
        ids=tuple(dict.fromkeys(id for claim in choice.claims for id in claim.evidence)) or ("score",),
        picture=Path(source).name,
        letter=choice.letter,
        text=None if choice.letter is None else choice.options[choice.best[0]],
        options=tuple(
            OptionScore(letter=string.ascii_uppercase[i], text=option, probability=min(1.0, probability))
            for i, (option, probability) in enumerate(zip(choice.options, choice.probabilities, strict=True))
        ),
        claims=choice.claims,
        why_not=choice.why_not,
    )
