"""Tools that look: what was found, another picture, a closer look, a comparison with what is normal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from anomalist.agent.kinds import named_kind
from anomalist.agent.tools.subject import Result, Subject
from anomalist.agent.wording import region_sentence
from anomalist.errors import DataError
from anomalist.types import SEVERITIES, Box, Calibration, Claim, KnownKind, Label, Record, Region, UInt8Array

_LOOK = "The closer look"


class FoundRegion(Result):
    """One marked region, in short."""

    region: str
    kind: str = Field(description="what it looks like")
    position: str
    box: Box
    area: int
    share: float = Field(description="of the area that counts, 0 to 1")
    peak: float
    change: str | None = Field(description="against the reference, where there is one")
    known: KnownKind | None = Field(description="against labelled cases, where there are any")
    sentence: str


class Findings(Result):
    """What was recorded about one picture."""

    picture: str
    label: Label | None
    score: float | None
    threshold: float | None
    p_value: float | None
    severity: str | None
    kind: str | None
    regions: tuple[FoundRegion, ...]
    claims: tuple[Claim, ...] = Field(description="sentences of the verdict, with what they rest on")
    calibration: Calibration | None
    disagreements: tuple[str, ...]
    why_undecided: str | None
    error: str | None


class Closer(Result):
    """A closer look at a part of a picture; grey levels are 0 to 255."""

    picture: str
    box: Box = Field(description="what was asked for")
    window: Box = Field(description="what is shown, with surroundings")
    mean_grey: float
    deviation: float
    darkest: int
    lightest: int
    highest_score: float | None = Field(description="of the anomaly map inside; None without the map")
    file: str | None = Field(description="the picture of it, where one was written")


class Compared(Result):
    """A region beside what is normal there; grey levels are 0 to 255."""

    picture: str
    region: str
    against: str
    mean_grey: float
    normal_mean_grey: float
    deviation: float
    normal_deviation: float
    difference: float = Field(description="mean grey level of the region less that of the normal one")
    file: str | None = Field(description="both side by side, where that was written")


class TwoPictures(Result):
    """Two pictures of a batch beside each other."""

    first: Findings
    second: Findings
    higher: str = Field(description="name of the one with the higher score")
    score_difference: float


def show_findings(subject: Subject, picture: str | None = None) -> Findings:
    """Show what was found in a picture: verdict, score, p-value, severity, and every marked region.

    ``picture`` is a file name; leave it out when there is only one.
    """
    return findings_of(subject.picture(picture))


def inspect_picture(subject: Subject, path: str) -> Findings:
    """Inspect another picture file in the same way, with the same profile or reference."""
    if subject.inspect is None:
        raise DataError("Nothing is at hand to inspect with.", "Ask with --profile or --reference.")
    return findings_of(subject.inspect(path).record)


def zoom(
    subject: Subject, region: str | None = None, box: Box | None = None, picture: str | None = None
) -> Closer:
    """Look closer at a region (by id) or at a box (x0, y0, x1, y1 in pixels) of a picture."""
    from anomalist.vision.normals import window_around

    if box is None:
        record, found = subject.region(region, picture)
        box, ids = found.box, (found.id,)
    else:
        record = subject.picture(picture)
        ids = (Path(record.source).name,)
    media = subject.media(record)
    x0, y0, x1, y1 = _inside(box, media.size)
    grey = _grey(media.pixels[y0:y1, x0:x1])
    left, top, right, bottom = window = window_around((x0, y0, x1, y1), media.size)
    held = subject.inspections.get(record.source)
    peak = (
        float(held.evidence.score_map[y0:y1, x0:x1].max())
        if held is not None and held.evidence is not None
        else None
    )
    return Closer(
        ids=ids,
        picture=Path(record.source).name,
        box=(x0, y0, x1, y1),
        window=window,
        mean_grey=round(float(grey.mean()), 1),
        deviation=round(float(grey.std()), 1),
        darkest=int(grey.min()),
        lightest=int(grey.max()),
        highest_score=peak,
        file=subject.written(
            record.source, "-".join(map(str, window)), media.pixels[top:bottom, left:right], _LOOK
        ),
    )


def compare_with_normal(subject: Subject, region: str | None = None, picture: str | None = None) -> Compared:
    """Compare a region with what the nearest normal picture, or the reference, shows there."""
    from anomalist.vision.normals import window_around

    record, found = subject.region(region, picture)
    if subject.counterpart is None:
        raise DataError(
            "There is nothing normal at hand to compare with.", "Ask with --profile or --reference."
        )
    media = subject.media(record)
    other = subject.counterpart(media, found)
    if other is None:
        raise DataError(f"There is no normal counterpart of {found.id}: the normal pictures may be gone.")
    left, top, right, bottom = window_around(found.box, media.size)
    shown = media.pixels[top:bottom, left:right]
    own, normal = _middle(_grey(shown), found, (bottom - top, right - left)), _grey(other)
    normal = _middle(normal, found, (bottom - top, right - left))
    beside = _beside(shown, other)
    return Compared(
        ids=(found.id,),
        picture=Path(record.source).name,
        region=found.id,
        against=subject.normal,
        mean_grey=round(float(own.mean()), 1),
        normal_mean_grey=round(float(normal.mean()), 1),
        deviation=round(float(own.std()), 1),
        normal_deviation=round(float(normal.std()), 1),
        difference=round(float(own.mean() - normal.mean()), 1),
        file=subject.written(record.source, f"{found.id}-beside-normal", beside, _LOOK),
    )


def compare_pictures(subject: Subject, first: str, second: str) -> TwoPictures:
    """Compare what was found in two pictures of a batch, by their file names."""
    one, other = show_findings(subject, first), show_findings(subject, second)
    if one.score is None or other.score is None:
        raise DataError("One of the two could not be judged: it has no score.")
    return TwoPictures(
        ids=(one.picture, other.picture),
        first=one,
        second=other,
        higher=one.picture if one.score >= other.score else other.picture,
        score_difference=abs(one.score - other.score),
    )


def findings_of(record: Record) -> Findings:
    """What a record says, in short."""
    size = (record.height or 1, record.width or 1)
    whole = "the inspected area"
    regions = tuple(
        FoundRegion(
            ids=(region.id,),
            region=region.id,
            kind=named_kind(region, size),
            position=region.attributes.position,
            box=region.box,
            area=region.area,
            share=region.attributes.relative_size,
            peak=region.peak,
            change=region.change,
            known=region.known,
            sentence=region_sentence(region, size, whole),
        )
        for region in record.regions
    )
    return Findings(
        ids=("score", *(region.region for region in regions), *_cited(record)),
        notes=record.notes,
        picture=Path(record.source).name,
        label=record.label,
        score=record.score,
        threshold=record.threshold,
        p_value=record.p_value,
        severity=None if record.severity is None else SEVERITIES[record.severity],
        kind=record.kind,
        regions=regions,
        claims=record.claims,
        calibration=record.calibration,
        disagreements=record.disagreements,
        why_undecided=record.why_undecided,
        error=record.error,
    )


def _cited(record: Record) -> tuple[str, ...]:
    """What sentences about a picture may cite besides its regions: labelled cases, and what was recalled."""
    cases = [case for region in record.regions if region.known for case in region.known.cases]
    return tuple(dict.fromkeys([*cases, *(item.id for item in record.recall)]))


def _inside(box: Box, size: tuple[int, int]) -> Box:
    height, width = size
    x0, y0, x1, y1 = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    if x0 >= x1 or y0 >= y1:
        raise DataError(f"The box {box} lies outside the picture of {width} × {height} pixels.")
    return x0, y0, x1, y1


def _grey(pixels: UInt8Array) -> np.ndarray:
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))


def _middle(grey: np.ndarray, region: Region, window: tuple[int, int]) -> np.ndarray:
    """The middle of a crop as large, relative to it, as the region in its window."""
    x0, y0, x1, y1 = region.box
    down, across = (y1 - y0) / window[0], (x1 - x0) / window[1]
    height, width = grey.shape
    top, left = round(height * (1 - down) / 2), round(width * (1 - across) / 2)
    return grey[top : max(top + 1, height - top), left : max(left + 1, width - left)]


def _beside(one: UInt8Array, other: UInt8Array) -> UInt8Array:
    height = max(one.shape[0], other.shape[0])
    parts = [np.pad(part, ((0, height - part.shape[0]), (0, 4), (0, 0))) for part in (one, other)]
    return np.concatenate(parts, axis=1)
