"""The tables that records are asked as, and their columns.

A row of ``pictures`` or ``clips`` is one source with its last record; ``regions``, ``events``, ``claims`` and
``rules`` are parts of those; ``feedback`` is what people said about them, from the case file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from anomalist.errors import DataError

TableName = Literal["pictures", "regions", "clips", "events", "claims", "rules", "feedback"]
TABLE_NAMES: tuple[TableName, ...] = get_args(TableName)
ColumnType = Literal["text", "number", "share", "severity", "time", "flag"]


class RecordColumn(NamedTuple):
    """A column: its name, type, and what it holds. A share is a number from 0 to 1."""

    name: str
    type: ColumnType
    says: str


_SOURCE = (
    RecordColumn("run", "text", "folder of the run"),
    RecordColumn("source", "text", "path or address as the user gave it"),
)
_PLACED = (
    RecordColumn("name", "text", "path within the folder that the sources of the run share"),
    RecordColumn("folder", "text", "folders in that path; = compares all of it, or one folder in it"),
)
_WHEN = (
    RecordColumn("time", "time", "when it was judged, UTC"),
    RecordColumn("day", "text", "date of that time"),
    RecordColumn("clock", "text", "time of day of that time, HH:MM"),
    RecordColumn("hour", "number", "hour of that time of day, 0 to 23"),
)
_PICTURE = (
    RecordColumn("label", "text", "normal, anomalous or undecided; empty where it could not be judged"),
    RecordColumn("product", "text", "that it was recognised as; the profile where that has one product"),
    RecordColumn("profile", "text", "name of the profile"),
)
_CLIP = (
    RecordColumn("camera", "text", "name of the scene that it was judged by"),
    RecordColumn("label", "text", "of the clip: normal, anomalous or undecided; empty where it failed"),
)

_OWN: Mapping[TableName, tuple[RecordColumn, ...]] = {
    "pictures": (
        *_PICTURE,
        RecordColumn("status", "text", "ok, or error where it could not be judged"),
        RecordColumn("severity", "severity", "none, minor, moderate, major or critical"),
        RecordColumn("kind", "text", "kind of anomaly"),
        RecordColumn("kinds", "text", "kinds of its regions where it isn't normal; = compares one of them"),
        RecordColumn("score", "number", "raw anomaly score"),
        RecordColumn("p_value", "share", "conformal p-value"),
        RecordColumn("threshold", "number", "score from which it is anomalous"),
        RecordColumn("regions", "number", "regions that are marked; empty where it could not be judged"),
        RecordColumn("size", "share", "share of the inspected area of the largest region"),
        RecordColumn("place", "text", "where the region with the highest peak is"),
        RecordColumn("change", "text", "of that region against the reference: missing, extra or changed"),
        RecordColumn("rate", "share", "false-alarm rate that was decided at"),
        RecordColumn("normals", "number", "calibration pictures"),
        RecordColumn("instability", "share", "share of resampled calibrations that flip the decision"),
        RecordColumn("why", "text", "why it is undecided, or could not be judged"),
        RecordColumn("reasoner", "text", "who reasoned"),
        RecordColumn("model", "text", "language model that was asked"),
        RecordColumn("width", "number", "pixels"),
        RecordColumn("height", "number", "pixels"),
        RecordColumn("milliseconds", "number", "that it took"),
    ),
    "regions": (
        *_PICTURE,
        RecordColumn("region", "text", "id: R1, R2, …"),
        RecordColumn("severity", "severity", "of its picture"),
        RecordColumn("kind", "text", "of a similar labelled case, or else by shape and contrast"),
        RecordColumn("place", "text", "on a 3 × 3 grid: upper left, centre, …"),
        RecordColumn("size", "share", "share of the inspected area"),
        RecordColumn("area", "number", "pixels"),
        RecordColumn("peak", "number", "highest value of the anomaly map in it"),
        RecordColumn("mean", "number", "mean value of the anomaly map in it"),
        RecordColumn("tone", "text", "darker, lighter or same"),
        RecordColumn("change", "text", "against the reference: missing, extra or changed"),
        RecordColumn("known", "text", "kind of the labelled cases that it is like"),
        RecordColumn("x0", "number", "pixels"),
        RecordColumn("y0", "number", "pixels"),
        RecordColumn("x1", "number", "pixels"),
        RecordColumn("y1", "number", "pixels"),
    ),
    "clips": (
        *_CLIP,
        RecordColumn("status", "text", "ok, or error where it could not be judged"),
        RecordColumn("severity", "severity", "highest of its events; empty where that is not known"),
        RecordColumn("events", "number", "events in it; empty where it could not be judged"),
        RecordColumn("duration", "number", "seconds"),
        RecordColumn("unjudged", "number", "seconds that could not be judged because of the camera"),
        RecordColumn("why", "text", "why it is undecided, or could not be judged"),
        RecordColumn("mode", "text", "causal or offline"),
        RecordColumn("frames", "number", "that were seen"),
    ),
    "events": (
        *_CLIP,
        RecordColumn("event", "text", "id: E1, E2, …"),
        RecordColumn("severity", "severity", "of the event"),
        RecordColumn("kind", "text", "what stood out: speed, size, direction, place, …"),
        RecordColumn("start", "number", "seconds from the start of the clip"),
        RecordColumn("end", "number", "seconds"),
        RecordColumn("duration", "number", "seconds"),
        RecordColumn("peak", "number", "seconds"),
        RecordColumn("score", "number", "1 is the most of normal footage"),
        RecordColumn("place", "text", "where in the picture"),
        RecordColumn("zone", "text", "zone of the scene"),
        RecordColumn("text", "text", "what was measured, in words"),
        RecordColumn("speed", "number", "times the usual speed there"),
        RecordColumn("opinion", "text", "of a vision-language model"),
    ),
    "claims": (
        RecordColumn("label", "text", "of the picture or clip"),
        RecordColumn("part", "text", "id of the event that it is about; empty for a picture"),
        RecordColumn("text", "text", "the sentence"),
        RecordColumn("evidence", "text", "ids that it rests on"),
        RecordColumn("by", "text", "measured or model"),
    ),
    "rules": (
        RecordColumn("label", "text", "of the picture or clip"),
        RecordColumn("part", "text", "id of the event that it was recalled for; empty for a picture"),
        RecordColumn("rule", "text", "id of the rule, case or scene that memory recalled"),
        RecordColumn("text", "text", "what it says"),
        RecordColumn("side", "text", "normal or anomalous"),
        RecordColumn("version", "number", "of the rule"),
        RecordColumn("similarity", "number", "−1 to 1"),
        RecordColumn("severity", "severity", "floor that it asks for"),
    ),
    "feedback": (
        RecordColumn("case", "text", "id of the case"),
        RecordColumn("person", "text", "who said it"),
        RecordColumn("action", "text", "confirmed, corrected, seen, dismissed or escalate"),
        RecordColumn("kind", "text", "kind that the person named"),
        RecordColumn("severity", "severity", "that the person gave; none: it is fine"),
        RecordColumn("part", "text", "region or event that it is about"),
        RecordColumn("text", "text", "the finding"),
        RecordColumn("note", "text", "of the person"),
        RecordColumn("profile", "text", "name of the profile or scene"),
        RecordColumn("undone", "flag", "whether it was undone"),
    ),
}  # fmt: skip

COLUMNS: Mapping[TableName, tuple[RecordColumn, ...]] = {
    table: (*_SOURCE, *_PLACED, *own, *_WHEN) for table, own in _OWN.items()
}
"""Columns of each table, in order."""

_ALIASES = {
    "p": "p_value", "position": "place", "where": "place", "file": "name", "picture": "name",
    "image": "name", "clip": "name", "scene": "camera", "who": "person", "id": "case", "area_share": "size",
    "date": "day", "path": "source", "verdict": "label", "defect": "kind", "why_undecided": "why",
    "false_alarm_rate": "rate", "caption": "text",
}  # fmt: skip
"""Other names of columns, where a table has no column of that name itself."""


def find_column(table: TableName, name: str) -> RecordColumn:
    """The column of a name or of an alias of it; raises DataError, which names the nearest known one."""
    known = {column.name: column for column in COLUMNS[table]}
    wanted = name.casefold()
    found = known.get(wanted) or known.get(_ALIASES.get(wanted, ""))
    if found is not None:
        return found
    near = nearest_words(wanted, list(known))
    elsewhere = [other for other in TABLE_NAMES if any(column.name == wanted for column in COLUMNS[other])]
    hint = f' The nearest is "{near[0]}".' if near else ""
    hint += f" {' and '.join(elsewhere)} {'have' if len(elsewhere) > 1 else 'has'} it." if elsewhere else ""
    raise DataError(f'The table {table} has no column "{name}".{hint}', f"Columns: {', '.join(known)}.")


def nearest_words(word: str, known: Sequence[str], most: int = 2, cutoff: float = 0.5) -> list[str]:
    """The known words most similar to a word by their letters, the most similar first."""
    by_case = {each.casefold(): each for each in known}
    return [by_case[near] for near in difflib.get_close_matches(word.casefold(), by_case, most, cutoff)]
