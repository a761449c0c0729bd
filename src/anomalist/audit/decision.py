"""How a decision came about, step by step, from its entry in the log: from pixels to label, and to people.

Each step names its inputs and their versions. Nothing is computed anew: `anomalist.audit.replay` does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalist.audit.log import audit_folder
from anomalist.audit.reading import LogEntry, find_entry, read_entries
from anomalist.audit.replay import decision_record
from anomalist.audit.stores import media_path
from anomalist.errors import DataError
from anomalist.report.wording import explain_calibration, number, percent, severity_word
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.common import Claim, Recalled
from anomalist.types.image import Record, is_alarm

_MAX_LISTED = 12


@dataclass(frozen=True)
class Step:
    """One step of a decision: ``versions`` are (what, digest or version) of what went into it."""

    number: int
    title: str
    lines: tuple[str, ...]
    versions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Parts:
    """What the steps are told from."""

    entry: LogEntry
    record: Record | ClipRecord
    session: Mapping[str, Any]
    folder: Path
    said: tuple[LogEntry, ...]


def decision_steps(entry: LogEntry, folder: Path | None = None) -> tuple[Step, ...]:
    """The steps of a logged decision. Raises DataError for an entry that is none."""
    place = audit_folder() if folder is None else folder
    record = decision_record(entry)
    try:
        session: Mapping[str, Any] = find_entry(str(entry.content.get("session")), place).content
    except DataError:
        session = {}
    parts = _Parts(entry, record, session, place, tuple(what_people_said(entry, place)))
    told = _picture_steps(parts, record) if isinstance(record, Record) else _clip_steps(parts, record)
    return tuple(
        Step(at, title, tuple(lines), tuple(versions)) for at, (title, lines, versions) in enumerate(told, 1)
    )


def what_people_said(entry: LogEntry, folder: Path) -> Iterator[LogEntry]:
    """Feedback, answers and reviews of the same picture or clip, in the order of the log."""
    record = entry.content.get("record") or {}
    source, sha256 = record.get("source"), record.get("sha256")
    for other in read_entries(folder, start=entry.position + 1, kinds=("feedback", "answer", "review")):
        content = other.content
        case = content.get("case") or {}
        answer = content.get("answer")
        about = answer.get("subjects", ()) if isinstance(answer, dict) else ()
        named = {case.get("source"), content.get("about"), *about}
        if source in named or (sha256 and sha256 in (case.get("sha256"), content.get("sha256"))):
            yield other


_Told = tuple[str, list[str], list[tuple[str, str]]]


def _picture_steps(parts: _Parts, record: Record) -> Iterator[_Told]:
    yield _pixels(parts)
    if not record.judged:
        yield "It could not be judged", [record.error or "No reason was recorded."], []
    if record.score is not None:
        yield _measured(parts, record)
        yield _p_value(parts, record)
        yield _threshold(record)
        yield _regions(record)
        yield _recall(parts, record.recall.items)
    if record.model is not None:
        yield _model(record)
    if record.judged:
        yield _claims(record.claims, record.dropped)
        yield _verdict(parts, record)
        yield "What argued against it", _against(record), []
        yield "What would have changed it", list(what_would_change(record)), []
    yield _people(parts)


def _pixels(parts: _Parts) -> _Told:
    record = parts.record
    lines = [record.source]
    if record.width:
        lines.append(f"{record.width} × {record.height} px")
    lines += list(record.notes)
    kept = record.sha256 is not None and media_path(parts.folder, record.sha256).is_file()
    lines.append("The file was kept in the audit log." if kept else "The file itself was not kept.")
    return (
        "What was looked at",
        lines,
        [("SHA-256 of the file", record.sha256 or "none: it could not be read")],
    )


def _measured(parts: _Parts, record: Record) -> _Told:
    lines = [
        f"{each.name}: {each.score:.2f} σ above the median of normals, weight {each.weight:.0%}"
        for each in record.experts
    ]
    lines.append(f"Score of the picture: {number(record.score)} (compared with: {record.basis or 'normals'})")
    if record.product is not None:
        lines.append(
            f"Taken for the product {record.product.name}, "
            f"at {record.product.distance:.2f} of the accepted distance"
        )
    versions = [("profile", f"{record.profile} {record.profile_digest or ''}")]
    if record.detector is not None:
        versions.append(
            ("detector", f"{record.detector.name} {record.detector.version} {record.detector.digest}")
        )
    return "What was measured", lines, versions


def _p_value(parts: _Parts, record: Record) -> _Told:
    if record.calibration is None or record.p_value is None:
        return "From score to p-value", ["Nothing was calibrated: the score ranks, it decides nothing."], []
    about = record.calibration
    lines = [
        f"p-value {number(record.p_value)}: the share of normals that score at least as high, "
        "this picture counted in",
        explain_calibration(about),
    ]
    return "From score to p-value", lines, [("calibration", str(record.calibration_digest))]


def _threshold(record: Record) -> _Told:
    about = record.calibration
    if about is None:
        return "From p-value to label", ["There is no threshold."], []
    lines = [f"False-alarm rate: {percent(about.false_alarm_rate)}"]
    if not about.reachable:
        lines.append(
            f"Out of reach: it needs {about.normals_needed} normals or groups, there were {about.groups}"
        )
    else:
        crossed = record.p_value is not None and is_alarm(record.p_value, about.false_alarm_rate)
        lines.append(
            f"p {'≤' if crossed else '>'} {percent(about.false_alarm_rate)}: "
            f"{'an alarm' if crossed else 'no alarm'}; "
            f"score {number(record.score)}, threshold {number(record.threshold)}"
        )
    lines.append(f"{percent(about.instability)} of resampled calibrations would decide otherwise")
    return "From p-value to label", lines, []


def _regions(record: Record) -> _Told:
    lines = []
    for region in record.regions[:_MAX_LISTED]:
        x0, y0, x1, y1 = region.box
        about = region.attributes
        lines.append(
            f"{region.id}: {about.position}, {x1 - x0} × {y1 - y0} px at ({x0}, {y0}), "
            f"peak {region.peak:.2f}, {about.tone}"
        )
    return "Where it stands out", lines or ["No place stands out by itself."], []


def _recall(parts: _Parts, items: tuple[Recalled, ...]) -> _Told:
    lines = [
        f"{item.id}{f' version {item.version}' if item.version else ''} "
        f"(similarity {item.similarity:.2f}): {item.text}"
        for item in items
    ]
    versions = [("memory", str(parts.session["memory"]))] if parts.session.get("memory") else []
    return "What memory recalled", lines or ["Nothing that is alike."], versions


def _model(record: Record) -> _Told:
    lines = [f"Asked: {record.model}"]
    lines += [f"Thought by {opinion.by}: {opinion.label}" for opinion in record.opinions]
    lines += [f"Reply {at}: {reply}" for at, reply in enumerate(record.replies, 1)]
    return (
        "What the model was asked and replied",
        lines,
        [(prompt.id, prompt.sha256) for prompt in record.prompts],
    )


def _claims(claims: tuple[Claim, ...], dropped: tuple[str, ...]) -> _Told:
    lines = [f"kept: {claim.text} [{', '.join(claim.evidence)}]" for claim in claims]
    lines += [f"dropped: {text}" for text in dropped]
    return "What is said, and what was dropped", lines or ["Nothing."], []


def _verdict(parts: _Parts, record: Record) -> _Told:
    lines = [
        f"{record.label}, severity {severity_word(record.severity or 0)}"
        + (f", {record.kind}" if record.kind else "")
    ]
    if record.why_undecided:
        lines.append(record.why_undecided)
    lines.append(f"Reasoned by {record.reasoner or 'nobody'}")
    versions = [("policy", str(record.policy)), ("anomalist", record.version)]
    return "The verdict", lines, versions


def _against(record: Record) -> list[str]:
    lines = list(record.disagreements)
    lines += [f"{each.by} alone says {each.label}" for each in record.opinions if each.label != record.label]
    about = record.calibration
    if about is not None and about.instability > 0:
        lines.append(f"{percent(about.instability)} of resampled calibrations decide otherwise")
    if about is not None and about.approximate:
        lines.append(f"The p-value is approximate ({about.method}).")
    lines += [
        f"{item.id} calls it normal: {item.text}" for item in record.recall.items if item.side == "normal"
    ]
    quiet = [each.name for each in record.experts if each.score < 1]
    if record.label == "anomalous" and quiet:
        lines.append(f"Hardly moved: {', '.join(quiet)}")
    return lines or ["Nothing that was recorded."]


def what_would_change(record: Record) -> Iterator[str]:
    """What would have made the verdict another one: the rate, a rule, the policy."""
    about, p = record.calibration, record.p_value
    if about is None or p is None:
        yield "A profile with calibration: without one nothing is decided."
        return
    lowest = 1 / (about.groups + 1)
    if record.label == "anomalous":
        yield (
            f"A false-alarm rate below {percent(p)}: it would not be an alarm."
            if p > lowest * 1.001
            else f"No rate that {about.groups} normals support: "
            f"its p-value is the smallest there is ({percent(lowest)})."
        )
    elif record.label == "normal":
        yield f"A false-alarm rate of {percent(p)} or more: it would be an alarm."
    elif not about.reachable:
        yield f"{about.normals_needed} normals or independent groups in place of {about.groups}."
    else:
        yield (
            f"A policy with max_instability of at least {about.instability:.2f}: "
            "it would be decided by the rate alone."
        )
    if record.severity:
        yield "The policy sets the severity, by area, place and kind, not the label of a clear alarm."


def _people(parts: _Parts) -> _Told:
    lines = []
    for entry in parts.said:
        content = entry.content
        when = entry.time[:16].replace("T", " ")
        if entry.kind == "feedback":
            case = content.get("case") or {}
            what = f"{case.get('who')}: {case.get('action')}"
            what += f", {case.get('kind')}" if case.get("kind") else ""
            what += f", severity {case['severity']}" if case.get("severity") is not None else ""
            what += " (taken back)" if content.get("undone") else ""
            lines.append(f"{when} {what} {case.get('note') or ''}".rstrip())
        elif entry.kind == "review":
            lines.append(f"{when} {content.get('actor')}: it is {content.get('answer')}")
        else:
            lines.append(f"{when} {content.get('actor')} asked: {content.get('answer', {}).get('question')}")
    return "What people said since", lines or ["Nobody said anything that is in the log."], []


# Clips


def _clip_steps(parts: _Parts, record: ClipRecord) -> Iterator[_Told]:
    yield _pixels(parts)
    if not record.judged:
        yield "It could not be judged", [record.error or "No reason was recorded."], []
        yield _people(parts)
        return
    about = record.calibration
    promise = [f"Threshold {number(record.threshold)}, mode {record.mode}"]
    if about is not None:
        promise.append(
            f"{about.promised_per_hour:.3g} false events per hour, "
            f"from {about.blocks} blocks of {about.block_seconds:.0f} s"
        )
    yield "What an event is", promise, [("scene", f"{record.scene} {record.scene_digest or ''}")]
    for event in record.events[:_MAX_LISTED]:
        yield _event(event)
    yield _recall(parts, record.recall.items)
    troubles = [f"{each.kind} from {each.start:.1f} to {each.end:.1f} s" for each in record.troubles]
    troubles += [f"across a jump of time ({jump.kind}) at {jump.time:.1f} s" for jump in record.jumps]
    troubles += [
        f"but for fast things from {each.start:.1f} to {each.end:.1f} s: the picture was {each.kind}"
        for each in record.other_pictures
    ]
    yield "What could not be judged", troubles or ["Nothing."], []
    lines = [str(record.label), *([record.why_undecided] if record.why_undecided else [])]
    policy = [("policy", str(parts.session["policy"]))] if parts.session.get("policy") else []
    yield "The verdict", lines, [*policy, ("anomalist", record.version)]
    against = [text for event in record.events for text in event.disagreements]
    yield "What argued against it", against or ["Nothing that was recorded."], []
    yield "What would have changed it", list(_clip_changes(record)), []
    yield _people(parts)


def _event(event: Event) -> _Told:
    lines = [event.caption.text]
    lines += [
        f"{each.name}: {each.value:.3g} {each.unit}".rstrip()
        + (f", usually up to {each.usual:.3g}" if each.usual is not None else "")
        + f" (surprise {each.surprise:.2f})"
        for each in event.measures
    ]
    lines += [f"kept: {claim.text} [{', '.join(claim.evidence)}]" for claim in event.claims]
    lines += [f"dropped: {text}" for text in event.dropped]
    lines += [f"Reply of {event.model}: {reply}" for reply in event.replies]
    title = f"{event.id}: from {event.start:.1f} to {event.end:.1f} s, score {event.score:.2f}"
    return title, lines, [(prompt.id, prompt.sha256) for prompt in event.prompts]


def _clip_changes(record: ClipRecord) -> Iterator[str]:
    scores = [score for _, score in record.curve if score is not None]
    if record.events:
        yield f"A threshold above {max(event.score for event in record.events):.3g}: there would be no event."
    elif scores and record.threshold is not None:
        yield f"A threshold of {max(scores):.3g} or less, not {record.threshold:.3g}: there would be one."
    else:
        yield "Nothing that was recorded says so."
