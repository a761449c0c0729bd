"""What is published of a result, one flat JSON object for each kind; addresses that it is sent to."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from anomalist.types.clip import ClipRecord
from anomalist.types.common import SEVERITIES, Frozen, Label
from anomalist.types.image import Record

if TYPE_CHECKING:
    from anomalist.streaming import LiveAlert

STATION = re.compile(r"[^a-z0-9_]+")

MessageKind = Literal["picture", "clip", "alert"]


class ResultMessage(Frozen):
    """One result: a judged picture or clip, or an alert of a live stream."""

    id: str = Field(description="the same whenever the same result is sent again")
    kind: MessageKind
    station: str = Field(description="profile, scene or camera, in letters, digits and underscores")
    source: str
    time: str | None = Field(description="UTC, ISO 8601")
    label: Label | None = Field(description="None where it could not be judged")
    severity: str | None = Field(description="None where nobody knows")
    severity_level: int | None = Field(description="0 none to 4 critical")
    score: float | None
    p_value: float | None = None
    threshold: float | None = None
    defect: str | None = Field(None, description="kind of the defect, or of the event")
    regions: int | None = Field(None, description="marked places, or events of a clip")
    state: str | None = Field(None, description="of an alert: opened, updated, closed, trouble, …")
    text: str | None = Field(None, description="the first sentence of the verdict")
    error: str | None = None


def station_name(name: str) -> str:
    """A name as a topic and a node can have it.

    Where letters or digits that aren't Latin are lost, or nothing is left, a hash of the name stands for
    them. Names that differ in case, accents or punctuation alone may give the same.
    """
    plain = STATION.sub("_", name.lower()).strip("_")
    if plain and not any(char.isalnum() and not _is_latin(char) for char in name):
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{plain or 'station'}_{digest}"


def _is_latin(char: str) -> bool:
    return char.isascii() or unicodedata.name(char, "").startswith("LATIN")


def scene_of(result: Record | ClipRecord | LiveAlert, station: str | None = None) -> str:
    """The name of what a result comes from: its camera, scene or profile; "pictures" for none.

    ``station`` names the scene or profile of a result that doesn't.
    """
    if isinstance(result, ClipRecord):
        found = station or result.scene
    elif isinstance(result, Record):
        found = station or result.profile
    else:
        found = result.camera or station
    name = Path(found or "").name
    return unicodedata.normalize("NFC", name) or "pictures"  # file systems may take letters apart


def message_of(result: Record | ClipRecord | LiveAlert, station: str | None = None) -> ResultMessage:
    """The message of a result; ``station`` as in `scene_of`."""
    name = station_name(scene_of(result, station))
    if isinstance(result, ClipRecord):
        worst = max(result.events, key=lambda event: event.severity, default=None)
        return ResultMessage(
            id=result.key or result.source,
            kind="clip",
            station=name,
            source=result.source,
            time=result.time,
            label=result.label,
            **_graded(result.label, None if worst is None else worst.severity),
            score=max((event.score for event in result.events), default=None),
            defect=None if worst is None else worst.kind,
            regions=len(result.events) if result.judged else None,
            text=None if worst is None else worst.caption.text,
            error=result.error,
        )
    if isinstance(result, Record):
        return ResultMessage(
            id=result.key or result.source,
            kind="picture",
            station=name,
            source=result.source,
            time=result.time,
            label=result.label,
            **_graded(result.label, result.severity),
            score=result.score,
            p_value=result.p_value,
            threshold=result.threshold,
            defect=result.kind,
            regions=len(result.regions) if result.judged else None,
            text=result.claims[0].text if result.claims else None,
            error=result.error,
        )
    return _of_alert(result, name)


def _graded(label: Label | None, level: int | None) -> dict[str, Any]:
    """The severity of a result: none of a normal one, not known of one that is not decided and not graded."""
    known = level if label == "anomalous" else (level or 0) if label == "normal" else (level or None)
    return {"severity": None if known is None else SEVERITIES[known], "severity_level": known}


def _of_alert(alert: LiveAlert, station: str) -> ResultMessage:
    event = alert.event or alert.worst
    label = alert.label if event is None else "anomalous"
    why = alert.trouble or alert.why
    return ResultMessage(
        # Stream time begins anew where a stream is followed again: by the clock each is another one.
        id=f"{alert.camera or alert.source}#{alert.event.id if alert.event else ''}#{alert.state}"
        f"#{alert.stream_time}#{alert.time}",
        kind="alert",
        station=station,
        source=alert.source,
        time=alert.time,
        label=label,
        **_graded(label, None if event is None else event.severity),
        score=None if event is None else event.score,
        defect=None if event is None else event.kind,
        state=alert.state,
        text=event.caption.text if event is not None else why if alert.label else None,
        error=None if alert.label else why,
    )
