"""Exports of Frigate: the JSON of its events and reviews, and the clips that belong to them.

The fields are those of ``/api/events`` and ``/api/review`` of Frigate's HTTP API. An event describes one
tracked object (label, sub-label, zones, a box in shares of the picture, and with generative AI a
description); a review describes a stretch of time, with generative AI by title, scene and short summary.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from anomalist.errors import DataError
from anomalist.types.common import Frozen
from anomalist.vision.media.sources import list_videos

SaidIn = Literal["label", "sub-label", "zone", "description", "title", "scene", "summary"]
Shares = tuple[float, float, float, float]


class Said(Frozen):
    """One thing that the recorder says."""

    where: SaidIn
    text: str


class NvrItem(Frozen):
    """One event or review of a recorder."""

    id: str
    kind: Literal["event", "review"]
    camera: str
    start: float | None = Field(None, description="seconds since 1970")
    end: float | None = None
    labels: tuple[str, ...] = ()
    box: Shares | None = Field(None, description="x, y, width and height as shares of the picture")
    parts: tuple[str, ...] = Field((), description="ids of the events that a review is made of")
    said: tuple[Said, ...] = ()


@dataclass(frozen=True, eq=False)
class NvrExport:
    """What an export holds.

    Parameters
    ----------
    items : events and reviews in the order of their times.
    clips : video files beside them.
    problems : a sentence for each thing that could not be read.
    """

    items: tuple[NvrItem, ...]
    clips: tuple[Path, ...]
    problems: tuple[str, ...] = field(default=())


def read_export(place: Path) -> NvrExport:
    """Read an export: a folder with JSON files and clips, or one JSON file with its clips beside it.

    A file that is cut off gives the items before the cut. Raises DataError where nothing can be read at all.
    """
    folder = place if place.is_dir() else place.parent
    files = sorted(place.rglob("*.json")) if place.is_dir() else [place]
    if not files:
        raise DataError(
            f'"{place}" holds no JSON file.',
            "Save what Frigate gives at /api/events or /api/review there, with the clips beside it.",
        )
    problems: list[str] = []
    items: dict[tuple[str, str], NvrItem] = {}
    for file in files:
        for number, content in enumerate(_contents(file, problems), 1):
            item = _item(content)
            if item is None:
                problems.append(f"{file.name}: entry {number} is neither an event nor a review of Frigate.")
            else:
                items.setdefault((item.kind, item.id), item)
    if not items:
        raise DataError(
            " ".join(problems) or f'"{place}" holds no event and no review.',
            "Save what Frigate gives at /api/events or /api/review.",
        )
    ordered = sorted(items.values(), key=lambda item: (item.start or 0.0, item.kind, item.id))
    clips = [path for path in list_videos([folder]).videos if isinstance(path, Path)]
    return NvrExport(tuple(ordered), tuple(clips), tuple(problems))


def _contents(file: Path, problems: list[str]) -> Iterator[Any]:
    """The entries of a JSON file; of one that is cut off, those before the cut."""
    try:
        text = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{file.name} can't be read: {getattr(error, 'strerror', None) or 'it is no text'}.")
        return
    decoder, at, found = json.JSONDecoder(), 0, 0
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        if not text.startswith("["):
            problems.append(f"{file.name} is no valid JSON.")
            return
        at = 1
        while True:
            at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
            try:
                content, at = decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                break
            found += 1
            yield content
        problems.append(f"{file.name} is damaged or cut off: only its first {found} entries could be read.")
        return
    yield from whole if isinstance(whole, list) else [whole]


def _item(content: Any) -> NvrItem | None:  # noqa: ANN401
    """An event or a review; None for anything else."""
    if not isinstance(content, dict):
        return None
    id, camera, data = content.get("id"), content.get("camera"), content.get("data")
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except ValueError:
            data = None
    data = data if isinstance(data, dict) else {}
    if not (isinstance(id, str) and id and isinstance(camera, str) and camera):
        return None
    times = {"start": _seconds(content.get("start_time")), "end": _seconds(content.get("end_time"))}
    if isinstance(content.get("label"), str):
        return NvrItem(
            id=id,
            kind="event",
            camera=camera,
            labels=(content["label"],),
            box=_box(data.get("box")) or _box(content.get("box")),
            said=tuple(_said_of_event(content, data)),
            **times,
        )
    if "severity" in content or "detections" in data or "metadata" in data:
        return NvrItem(
            id=id,
            kind="review",
            camera=camera,
            labels=_labels(data),
            parts=tuple(_texts(data.get("detections"))),
            said=tuple(_said_of_review(data)),
            **times,
        )
    return None


def _said_of_event(content: dict[str, Any], data: dict[str, Any]) -> Iterator[Said]:
    yield Said(where="label", text=content["label"])
    named = content.get("sub_label")
    named = named[0] if isinstance(named, list) and named else named
    if isinstance(named, str) and named:
        yield Said(where="sub-label", text=named)
    for zone in _texts(content.get("zones")):
        yield Said(where="zone", text=zone)
    yield from _sentences("description", data.get("description") or content.get("description"))


def _said_of_review(data: dict[str, Any]) -> Iterator[Said]:
    for label in _labels(data):
        yield Said(where="label", text=label)
    for name in dict.fromkeys(_texts(data.get("sub_labels"))):
        yield Said(where="sub-label", text=name)
    for zone in dict.fromkeys(_texts(data.get("zones"))):
        yield Said(where="zone", text=zone)
    told = data.get("metadata")
    if isinstance(told, dict):
        yield from _sentences("title", told.get("title"))
        yield from _sentences("scene", told.get("scene"))
        yield from _sentences("summary", told.get("shortSummary"))


def _labels(data: dict[str, Any]) -> tuple[str, ...]:
    """What a review shows, each once; "-verified" marks what was recognised as well."""
    return tuple(dict.fromkeys(label.removesuffix("-verified") for label in _texts(data.get("objects"))))


_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def _sentences(where: SaidIn, text: Any) -> Iterator[Said]:  # noqa: ANN401
    if isinstance(text, str):
        for sentence in _SENTENCE_END.split(text.strip()):
            if sentence.strip():
                yield Said(where=where, text=sentence.strip())


def _texts(values: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, str) and value)


def _seconds(value: Any) -> float | None:  # noqa: ANN401
    """A time as Frigate writes it: seconds since 1970, or ISO 8601."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value) if math.isfinite(value) else None
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _box(value: Any) -> Shares | None:  # noqa: ANN401
    """A box in shares of the picture; older versions give pixels, which can't be placed."""
    if not (isinstance(value, list) and len(value) == 4):
        return None
    if not all(isinstance(each, int | float) and 0 <= each <= 1 for each in value):
        return None
    x, y, width, height = map(float, value)
    return x, y, width, height


# ------------------------------------------------------------------------------------------------- clips

_UNIX_RANGE = re.compile(r"(?<!\d)(\d{9,10}(?:\.\d+)?)-(\d{9,10}(?:\.\d+)?)(?!\d)")
_LOCAL_RANGE = re.compile(r"(?<!\d)(\d{8}_\d{6})-(\d{8}_\d{6})(?!\d)")
_TOLERANCE = 2.0  # seconds: times in names are whole


@dataclass(frozen=True)
class ClipChoice:
    """The clip of an item, or why there is none.

    Parameters
    ----------
    part : whether it may show only a part of what is told.
    """

    clip: Path | None = None
    why: str = ""
    part: bool = False


def clip_of(item: NvrItem, clips: Sequence[Path]) -> ClipChoice:
    """Find the clip of an item by the names that Frigate gives them.

    These hold the id of the event (``CAMERA-ID.mp4``), or the camera with start and end: seconds since 1970
    (``clip_CAMERA_START-END.mp4``), or local time (``CAMERA_20260101_120000-20260101_120100_….mp4``).
    """
    for clip in clips:
        if _is_named(item.id, clip):
            return ClipChoice(clip)
    ranged = [
        (clip, span[1:])
        for clip in clips
        if (span := _span(clip.stem)) and span[0] in (item.camera, f"clip_{item.camera}")
    ]
    if item.start is not None:
        for clip, (first, last) in ranged:
            if first - _TOLERANCE <= item.start and (item.end or item.start) <= last + _TOLERANCE:
                return ClipChoice(clip)
        for clip, (first, last) in ranged:
            if item.start < last and (item.end or item.start) > first:
                return ClipChoice(clip, part=True)
    for clip in clips:
        if any(_is_named(part, clip) for part in item.parts):
            return ClipChoice(clip, part=True)
    if ranged and item.start is None:
        return ClipChoice(why="When it was is not said, and no clip has its id.")
    if ranged:
        names = ", ".join(clip.name for clip, _ in ranged[:3])
        return ClipChoice(why=f"The clips of {item.camera} are of another time: {names}.")
    return ClipChoice(why="No clip of it is there.")


def _is_named(id: str, clip: Path) -> bool:
    """Whether the name of a clip holds an id, whole: "12" is not in "cam-2012", nor 1.3 in 1.308396."""
    return re.search(rf"(?<![^\W_]){re.escape(id)}(?![^\W_])", clip.stem) is not None


def _span(stem: str) -> tuple[str, float, float] | None:
    """What stands before the times in the name of a clip; start and end, seconds since 1970."""
    if found := _UNIX_RANGE.search(stem):
        first, last = float(found[1]), float(found[2])
    elif found := _LOCAL_RANGE.search(stem):
        try:
            first, last = (
                datetime.strptime(text, "%Y%m%d_%H%M%S").astimezone().timestamp() for text in found.groups()
            )
        except ValueError:
            return None
    else:
        return None
    return stem[: found.start()].rstrip("_-"), first, last
