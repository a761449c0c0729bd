"""What a run came to: counts, the order in which people should look, and both as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from anomalist.types import SEVERITIES, Frozen, Record
from anomalist.writing import write_whole

SUMMARY_FORMAT = 1


class Summary(Frozen):
    """Counts of one run. Each picture is counted once among the four outcomes."""

    pictures: int
    anomalous: int
    undecided: int
    normal: int
    errors: int = Field(description="pictures without a verdict")
    by_severity: dict[str, int] = Field(description="of the anomalous, the most severe first")
    by_kind: dict[str, int] = Field(description='of the anomalous, the most frequent first; "unnamed" is one')


def outcome(record: Record) -> str:
    """Give the label, or "error" where there is none: a failure is never normal."""
    return record.label if record.status == "ok" and record.label is not None else "error"


def summarise(records: Sequence[Record]) -> Summary:
    """Count the records by outcome, and the anomalous ones by severity and kind."""
    outcomes = Counter(outcome(record) for record in records)
    anomalous = [record for record in records if outcome(record) == "anomalous"]
    severities = Counter(record.severity or 0 for record in anomalous)
    kinds = Counter(record.kind or "unnamed" for record in anomalous)
    return Summary(
        pictures=len(records),
        anomalous=outcomes["anomalous"],
        undecided=outcomes["undecided"],
        normal=outcomes["normal"],
        errors=outcomes["error"],
        by_severity={SEVERITIES[level]: severities[level] for level in sorted(severities, reverse=True)},
        by_kind=dict(sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def is_ranked_only(record: Record) -> bool:
    """Whether a picture was compared with itself or its folder alone: its score ranks it, no more."""
    return record.status == "ok" and record.basis in ("itself", "folder")


def by_urgency(records: Sequence[Record]) -> list[Record]:
    """Sort by falling severity, then rising p-value, then falling score, then name.

    The severity of pictures that are only ranked says nothing yet: there the score comes first.
    """

    def key(record: Record) -> tuple[float, float, float, str]:
        p = math.inf if record.p_value is None else record.p_value
        score = -math.inf if record.score is None else record.score
        severity = 0 if is_ranked_only(record) else record.severity or 0
        return -severity, p, -score, record.source

    return sorted(records, key=key)


def write_json(records: Sequence[Record], target: Path) -> Path:
    """Write ``{"format", "summary", "records"}``; the records are in the order given, whole."""
    report = _Report(format=SUMMARY_FORMAT, summary=summarise(records), records=tuple(records))
    return write_whole(target, report.model_dump_json(indent=1) + "\n")


class _Report(Frozen):
    format: int
    summary: Summary
    records: tuple[Record, ...]
