"""Memory tools: similar past cases, feedback, rules, and the search through past records."""

from __future__ import annotations

import datetime
import itertools
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from anomalist.agent.reasoning.recall import (
    MIN_CASE_SIMILARITY,
    REGION_VECTOR_SPACE,
    case_vector,
    finding_sentence,
)
from anomalist.agent.reasoning.wording import failure_sentence, region_kind
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import DataError
from anomalist.memory.cases import Case, CaseStore, Feedback
from anomalist.memory.rules.rule import Rule, shipped_anomalies
from anomalist.storage.row_store import is_stored
from anomalist.types.common import SEVERITIES, Label
from anomalist.types.image import Record
from anomalist.vision.attributes import places_of

MAX_ROWS = 50
"""Most rows that a search returns; its count is that of all."""

Since = Literal["today", "yesterday", "this week", "this month"]
Judgement = Literal["confirmed", "normal", "corrected"]


class PastCase(Result):
    """What a person said about an earlier finding."""

    case: str
    source: str
    said: str = Field(description='"confirmed" or "corrected"; of events "seen", "dismissed", "escalate"')
    kind: str | None
    severity: str | None
    text: str
    note: str
    who: str
    created: str
    similarity: float | None = Field(description="cosine of what was measured, −1 to 1; None: not compared")


class PastCases(Result):
    """Past cases, the most similar first."""

    cases: tuple[PastCase, ...]
    of: int = Field(description="cases that hold and could be compared")
    nearest: PastCase | None = Field(None, description="the most similar one where none is alike")


class FoundRule(Result):
    """One rule, and how well it fits where it was applied."""

    rule: str
    text: str
    polarity: str
    severity: str
    similarity: float | None
    clause: str = Field("", description="what fits it")


class ProfileRules(Result):
    """Rules of a profile."""

    profile: str
    rules: tuple[FoundRule, ...]
    of: int


class RecordRow(Result):
    """One record that a search found."""

    picture: str
    source: str
    label: Label | None
    score: float | None
    p_value: float | None
    severity: str | None
    kind: str | None
    time: str | None


class RecordRows(Result):
    """What a search found, the most severe and odd first."""

    count: int
    searched: int
    rows: tuple[RecordRow, ...]
    labels: dict[str, int] = Field(description="of all that were found, listed or not")


def recall_similar_cases(subject: Subject, picture: str | None = None, most: int = 3) -> PastCases:
    """Recall what people said about findings like those of a picture, the most similar first."""
    if most < 1:
        raise DataError(f"{most} past cases can't be recalled.", "Ask for at least 1.")
    record = subject.picture(picture)
    path = subject.case_file
    vector = case_vector(record)
    stored = is_stored(path)
    if not stored or vector is None:
        why = "there is no finding to compare" if stored else "nothing was said about any finding yet"
        return PastCases(ids=("score",), notes=(why,), cases=(), of=0)
    with CaseStore(path) as store:
        alike = store.similar(REGION_VECTOR_SPACE, vector, sys.maxsize, profile=record.profile or "")
    cases = tuple(
        _past_case(each.case, each.similarity)
        for each in alike[:most]
        if each.similarity >= MIN_CASE_SIMILARITY
    )
    nearest = None if cases or not alike else _past_case(alike[0].case, alike[0].similarity)
    ids = [case.case for case in (*cases, nearest) if case is not None]
    return PastCases(ids=("score", *ids), cases=cases, of=len(alike), nearest=nearest)


def record_feedback(
    subject: Subject,
    judgement: Judgement,
    kind: str | None = None,
    severity: int | None = None,
    region: str | None = None,
    note: str = "",
    picture: str | None = None,
) -> PastCase:
    """Store what a person says about a finding; it changes no verdict, later pictures like it will cite it.

    Only when the person says so: "confirmed" (the finding of an anomalous picture is right), "normal" (this
    is fine), or "corrected" with a kind ("scratch") and, if said, a severity from 0 to 4.
    """
    subject.check_feedback()
    record = subject.picture(picture)
    part = None if region is None else subject.region(region, picture)[1].id
    level = _said_severity(record, judgement, kind, severity)
    name = None if judgement == "normal" else kind or record.kind
    feedback = Feedback(
        action="confirmed" if judgement == "confirmed" else "corrected",
        media="picture",
        source=record.source,
        sha256=record.sha256,
        key=record.key,
        part=part,
        text=finding_sentence(record, part),
        kind=name,
        severity=level,
        profile=record.profile,
        note=note,
    )
    vector = case_vector(record, part)
    with CaseStore(subject.case_file) as store:
        return _past_case(store.add(feedback, {} if vector is None else {REGION_VECTOR_SPACE: vector}), None)


def _said_severity(
    record: Record, judgement: Judgement, kind: str | None, severity: int | None
) -> int | None:
    """The severity that feedback says; None where nobody has graded it, as 0 would say that it is fine.

    Raises DataError where the judgement does not go with what was recorded, or with the severity.
    """
    helps = 'Say "normal" if it is fine, else "corrected" with its kind or its severity.'
    if not record.judged:
        raise DataError(failure_sentence(record), "There is no finding to judge: inspect it again.")
    if severity is not None and not 0 <= severity <= 4:
        raise DataError(f"There is no severity {severity}.", f"0 to 4 are {', '.join(SEVERITIES)}.")
    if judgement == "normal":
        if severity:
            raise DataError(f"What is normal is not {SEVERITIES[severity]}.", helps)
        return 0
    if judgement == "confirmed" and record.label != "anomalous":
        name = Path(record.source).name
        raise DataError(f"{name} is recorded as {record.label}: there is no finding to confirm.", helps)
    if severity == 0:
        raise DataError("What is of severity none is fine.", helps)
    if judgement == "corrected" and record.label == "anomalous" and kind is None and severity is None:
        raise DataError("It does not say what is right instead.", helps)
    return (record.severity or None) if severity is None else severity


def undo_feedback(subject: Subject, case: str | None = None, picture: str | None = None) -> PastCase:
    """Take back what was said, by the id of the case (case:12), or the newest about a picture.

    It stays in the file as undone.
    """
    subject.check_feedback()
    with CaseStore(subject.case_file) as store:
        if case is None:
            record = subject.picture(picture)
            about = (each for each in store.list() if each.source == record.source)
            case = next((each.id for each in about if _is_same_file(each, record)), None)
            if case is None:
                raise DataError(f"Nothing was said about {Path(record.source).name} that holds.")
        return _past_case(store.undo(case), None)


def _is_same_file(case: Case, record: Record) -> bool:
    """Whether a case can be about the picture of a record: another folder may have one of that name."""
    return None in (case.sha256, record.sha256) or case.sha256 == record.sha256


def list_rules(subject: Subject, profile: str | None = None) -> ProfileRules:
    """List the rules of the profile of a picture or scene: its own, or those that ship."""
    from anomalist.memory.rules.store import current_rules

    name = profile or _profile_name(subject)
    rules = current_rules(name, subject.case_file)
    found = tuple(
        FoundRule(
            ids=(rule.id,),
            rule=rule.id,
            text=rule.text,
            polarity=rule.polarity,
            severity=SEVERITIES[rule.severity],
            similarity=None,
        )
        for rule in rules
        if rule.enabled
    )
    return ProfileRules(
        ids=("score", *(rule.rule for rule in found)), profile=name, rules=found, of=len(rules)
    )


def find_rule(subject: Subject, id: str) -> Rule:
    """The rule with an id of any profile of the pictures or clips, whether it is applied or disabled.

    Those that ship are found where a profile has its own by now, too: older records cite them. Raises
    DataError where there is none.
    """
    from anomalist.memory.rules.store import current_rules

    profiles = [*(each.profile for each in subject.records), *(each.scene for each in subject.clips)]
    own = (current_rules(name, subject.case_file) for name in dict.fromkeys(filter(None, profiles)))
    for rule in (*itertools.chain.from_iterable(own), *shipped_anomalies()):
        if rule.id == id:
            return rule
    raise DataError(f"There is no {id}.", "Ask for those that hold: list the rules.")


def apply_rules(subject: Subject, text: str | None = None, picture: str | None = None) -> ProfileRules:
    """Match the rules with a sentence, or with what was measured on a picture or in a clip.

    For pictures of parts only rules that people wrote apply: those that ship are about people and vehicles.
    """
    from anomalist.memory.rules.matching import RuleMatcher
    from anomalist.memory.rules.store import rules_for

    name = _profile_name(subject, picture)
    rules = rules_for(name, subject.case_file)
    if text is None and not subject.clips:
        rules = tuple(rule for rule in rules if rule.origin != "shipped")
    sentences = [text] if text is not None else _sentences(subject, picture)
    if not rules or not sentences:
        return ProfileRules(
            ids=("score",), notes=("there is nothing to apply",), profile=name, rules=(), of=len(rules)
        )
    matched = RuleMatcher(rules).read(sentences)
    levels = {rule.id: rule.severity for rule in rules}
    found = [
        FoundRule(
            ids=(match.rule,),
            rule=match.rule,
            text=match.text,
            polarity="anomalous" if matches is matched.matches else "normal",
            severity=SEVERITIES[levels.get(match.rule, 0)],
            similarity=match.similarity,
            clause=match.clause,
        )
        for matches in (matched.matches, matched.normal)
        for each in matches
        for match in each
    ]
    best: dict[str, FoundRule] = {}
    for rule in sorted(found, key=lambda rule: -(rule.similarity or 0)):
        best.setdefault(rule.rule, rule)
    fitting = tuple(best.values())
    return ProfileRules(
        ids=("score", *(rule.rule for rule in fitting)), profile=name, rules=fitting, of=len(rules)
    )


def search_records(
    subject: Subject,
    label: Label | None = None,
    kind: str | None = None,
    since: Since | str | None = None,
    until: str | None = None,
    least_severity: int = 0,
    name: str | None = None,
    position: str | None = None,
) -> RecordRows:
    """Search the pictures of this run and of past ones: by verdict, kind, time, severity, name, position.

    ``since`` and ``until`` are dates (2026-01-31), or "today", "yesterday", "this week", "this month".
    """
    places = None if position is None else places_of(position)
    every = {(record.source, record.time): record for record in (*subject.past, *subject.records)}
    first = None if since is None else _iso_date(since)
    last = None if until is None else _iso_date(until)
    found = [
        record
        for record in every.values()
        if (label is None or record.label == label)
        and (kind is None or kind in _record_kinds(record))
        and (first is None or (record.time or "")[:10] >= first)
        and (last is None or ((record.time or "")[:10] or "9") <= last)
        and (record.severity or 0) >= least_severity
        and (name is None or name.lower() in record.source.lower())
        and (places is None or any(region.attributes.position in places for region in record.regions))
    ]
    found.sort(key=lambda record: (-(record.severity or 0), record.p_value or 1, -(record.score or 0)))
    rows = tuple(
        RecordRow(
            ids=(Path(record.source).name,),
            picture=Path(record.source).name,
            source=record.source,
            label=record.label,
            score=record.score,
            p_value=record.p_value,
            severity=None if record.severity is None else SEVERITIES[record.severity],
            kind=record.kind,
            time=record.time,
        )
        for record in found[:MAX_ROWS]
    )
    return RecordRows(
        ids=("score", *(row.picture for row in rows)),
        notes=(f"only the first {MAX_ROWS} are listed",) if len(found) > MAX_ROWS else (),
        count=len(found),
        searched=len(every),
        rows=rows,
        labels=dict(Counter(record.label or "not judged" for record in found)),
    )


def _record_kinds(record: Record) -> set[str]:
    size = (record.height or 1, record.width or 1)
    return {record.kind or "", *(region_kind(region, size) for region in record.regions)}


def _iso_date(text: str) -> str:
    """A date as ISO text, UTC. Raises DataError for anything else."""
    today = datetime.datetime.now(datetime.UTC).date()
    back = {"today": 0, "yesterday": 1, "this week": today.weekday(), "this month": today.day - 1}
    if text in back:
        return (today - datetime.timedelta(days=back[text])).isoformat()
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise DataError(f'"{text[:40]}" is no date.', "Dates look like 2026-01-31.") from error


def _profile_name(subject: Subject, picture: str | None = None) -> str:
    """The profile of a picture or the scene of a clip; without a name the first that there is."""
    records, clips = subject.records, subject.clips
    if picture is not None:
        records, clips = ((subject.picture(picture),), ()) if records else ((), (subject.clip(picture),))
    name = next(filter(None, [*(each.profile for each in records), *(each.scene for each in clips)]), None)
    if name is None:
        raise DataError("There is no profile here that rules could belong to.")
    return name


def _sentences(subject: Subject, picture: str | None) -> list[str]:
    if subject.clips and (picture is None or not subject.records):
        clips = subject.clips if picture is None else (subject.clip(picture),)
        return [event.caption.text for clip in clips for event in clip.events]
    record = subject.picture(picture)
    return list(_region_sentences(record))


def _region_sentences(record: Record) -> Iterable[str]:
    return (finding_sentence(record, region.id) for region in record.regions)


def _past_case(case: Case, similarity: float | None) -> PastCase:
    return PastCase(
        ids=(case.id,),
        case=case.id,
        source=case.source,
        said=case.action,
        kind=case.kind,
        severity=None if case.severity is None else SEVERITIES[case.severity],
        text=case.text,
        note=case.note,
        who=case.who,
        created=case.created[:16].replace("T", " "),
        similarity=None if similarity is None else round(similarity, 2),
    )
