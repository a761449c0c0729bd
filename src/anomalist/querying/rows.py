"""Rows of the tables, taken from records of pictures and clips and from cases of feedback."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from anomalist.agent.reasoning.recall import region_vector
from anomalist.agent.reasoning.wording import region_kind
from anomalist.memory.cases import Case
from anomalist.querying.columns import TableName
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Claim, Recalled
from anomalist.types.image import Record
from anomalist.vision.motion.events import event_signature

Row = dict[str, Any]
Columns = dict[str, list[Any]]
"""Values by column; all columns are equally long."""

Rows = Mapping[TableName, Columns]
"""Columns by table; a column that is not there is null."""

VECTOR_SIZES: Mapping[TableName, int] = {"regions": 8, "events": 25}
"""Numbers of the vector that a table is compared by, in its columns v0, v1, …"""


def rows_of(records: Iterable[Record | ClipRecord], first: int = 0, *, sentences: bool = False) -> Rows:
    """The rows of records, in their order.

    Parameters
    ----------
    records : of pictures and clips.
    first : ``number`` of the first of them; each row holds that of its record.
    sentences : give the rows of claims and rules, and only those; else all others.
    """
    rows: dict[TableName, Columns] = defaultdict(dict)
    for number, record in enumerate(records, start=first):
        about = {
            "number": number,
            "source": record.source,
            "parent": _parent(record.source),
            "time": record.time,
        }
        if sentences:
            _add_sentences(record, about, rows)
        elif isinstance(record, Record):
            _add_picture(record, about, rows)
        else:
            _add_clip(record, about, rows)
    return rows


def feedback_columns(cases: Iterable[Case]) -> Columns:
    """The rows of feedback, by column."""
    columns: Columns = {}
    for number, case in enumerate(cases):
        row = {
            "number": number,
            "source": case.source,
            "parent": _parent(case.source),
            "time": case.created,
            "case": case.id,
            "person": case.who,
            "action": case.action,
            "kind": case.kind,
            "severity": case.severity,
            "part": case.part,
            "text": case.text,
            "note": case.note,
            "profile": case.profile,
            "undone": case.undone is not None,
        }
        _append(columns, row)
    return columns


def _append(columns: Columns, row: Row) -> None:
    """Add a row; lists of plain values are much less work for the garbage collector than rows are."""
    if not columns:
        columns |= {name: [] for name in row}
    for name, value in row.items():
        columns[name].append(value)


def _add_picture(record: Record, about: Row, rows: dict[TableName, Columns]) -> None:
    evidence, verdict = record.evidence, record.verdict
    label = record.label if record.judged else None
    severity = None if verdict is None else verdict.severity
    known = evidence.calibration
    about["label"] = label
    picture = about | {
        "product": record.product_name if evidence.product is not None else record.profile,
        "profile": record.profile,
        "severity": severity,
    }
    regions, size = evidence.regions, (record.height or 1, record.width or 1)
    kinds = [region_kind(region, size) for region in regions]
    _append(
        rows["pictures"],
        picture
        | {
            "status": record.status,
            "kind": record.kind,
            "kinds": ", ".join(dict.fromkeys(kinds)) if label != "normal" else "",
            "score": evidence.score,
            "p_value": evidence.p_value,
            "threshold": evidence.threshold,
            "regions": len(regions) if record.status == "ok" else None,
            "size": max((each.attributes.relative_size for each in regions), default=None),
            "place": regions[0].attributes.position if regions else None,
            "change": regions[0].change if regions else None,
            "rate": known.false_alarm_rate if known else None,
            "normals": known.normals if known else None,
            "instability": known.instability if known else None,
            "why": record.why_undecided or record.error,
            "reasoner": record.reasoner,
            "model": record.model,
            "width": record.width,
            "height": record.height,
            "milliseconds": record.milliseconds,
        },
    )
    for region, kind in zip(regions, kinds, strict=True):
        x0, y0, x1, y1 = region.box
        row = picture | {
            "region": region.id,
            "kind": kind,
            "place": region.attributes.position,
            "size": region.attributes.relative_size,
            "area": region.area,
            "peak": region.peak,
            "mean": region.mean,
            "tone": region.attributes.tone,
            "change": region.change,
            "known": region.known.name if region.known else None,
            "x0": x0, "y0": y0, "x1": x1, "y1": y1,
        }  # fmt: skip
        _append(rows["regions"], row | _vector_columns(region_vector(region).tolist()))


def _add_sentences(record: Record | ClipRecord, about: Row, rows: dict[TableName, Columns]) -> None:
    about["label"] = record.label if record.judged else None
    if isinstance(record, Record):
        _add_claims(record.claims, about, "", rows)
        _add_rules(record.recall.items, about, "", rows)
        return
    for event in record.events:
        _add_claims(event.claims, about, event.id, rows)
        _add_rules(event.recalled, about, event.id, rows)


def _add_clip(record: ClipRecord, about: Row, rows: dict[TableName, Columns]) -> None:
    judged = record.judged
    about["label"] = record.label if judged else None
    nothing = 0 if record.label == "normal" else None  # an undecided clip may hold anything
    clip = about | {"camera": record.scene}
    _append(
        rows["clips"],
        clip
        | {
            "status": record.status,
            "severity": max((event.severity for event in record.events), default=nothing),
            "events": len(record.events) if judged else None,
            "duration": record.duration,
            "unjudged": sum(each.end - each.start for each in record.troubles) if judged else None,
            "why": record.why_undecided or record.error,
            "mode": record.mode,
            "frames": record.frames,
        },
    )
    size = (record.height or 1, record.width or 1)
    for event in record.events:
        row = clip | {
            "event": event.id,
            "severity": event.severity,
            "kind": event.kind,
            "start": event.start,
            "end": event.end,
            "duration": event.end - event.start,
            "peak": event.peak,
            "score": event.score,
            "place": event.caption.where,
            "zone": event.zone,
            "text": event.caption.text,
            "speed": event.tracks[0].speed_ratio if event.tracks else None,
            "opinion": event.opinion,
        }
        _append(rows["events"], row | _vector_columns(event_signature(event, size).tolist()))


def _add_claims(claims: Iterable[Claim], about: Row, part: str, rows: dict[TableName, Columns]) -> None:
    for claim in claims:
        said = {"part": part, "text": claim.text, "evidence": ", ".join(claim.evidence), "by": claim.source}
        _append(rows["claims"], about | said)


def _add_rules(items: Iterable[Recalled], about: Row, part: str, rows: dict[TableName, Columns]) -> None:
    for item in items:
        row = {
            "part": part,
            "rule": item.id,
            "text": item.text,
            "side": item.side,
            "version": item.version,
            "similarity": item.similarity,
            "severity": item.severity,
        }
        _append(rows["rules"], about | row)


def _parent(source: str) -> str:
    """The folder of a source: few different ones, so that grouping by it is fast."""
    return source.replace("\\", "/").rpartition("/")[0]


def _vector_columns(vector: list[float]) -> Row:
    return {f"v{place}": value for place, value in enumerate(vector)}
