"""Picture tools: findings, inspecting, zoom, comparison with normal, and measuring regions in pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from anomalist.agent.reasoning.wording import (
    LINE_ELONGATION,
    failure_sentence,
    region_kind,
    region_sentence,
)
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import DataError
from anomalist.types.common import SEVERITIES, Box, Claim, Label, UInt8Array
from anomalist.types.image import Calibration, KnownKind, Record, Region
from anomalist.vision.attributes import places_of

_CLOSE_UP = "The closer look"


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


class PictureFindings(Result):
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


class CloseUp(Result):
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


class NormalComparison(Result):
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


class PictureComparison(Result):
    """Two pictures of a batch beside each other."""

    first: PictureFindings
    second: PictureFindings
    higher: str = Field(description="name of the one with the higher score")
    score_difference: float


def show_findings(subject: Subject, picture: str | None = None) -> PictureFindings:
    """Show what was found in a picture: verdict, score, p-value, severity, and every marked region.

    ``picture`` is a file name; leave it out when there is only one.
    """
    return findings_of(subject.picture(picture))


def inspect_picture(subject: Subject, path: str) -> PictureFindings:
    """Inspect another picture file in the same way, with the same profile or reference."""
    if subject.inspect is None:
        raise DataError("Nothing is at hand to inspect with.", "Ask with --profile or --reference.")
    return findings_of(subject.inspect(path).record)


def zoom(
    subject: Subject, region: str | None = None, box: Box | None = None, picture: str | None = None
) -> CloseUp:
    """Look closer at a region (by id) or at a box (x0, y0, x1, y1 in pixels) of a picture."""
    from anomalist.vision.regions import crop_window

    if box is None:
        record, found = subject.region(region, picture)
        box, ids = found.box, (found.id,)
    else:
        record = subject.picture(picture)
        ids = (Path(record.source).name,)
    media = subject.media(record)
    x0, y0, x1, y1 = _clip_box(box, media.size)
    grey = _to_grey(media.pixels[y0:y1, x0:x1])
    left, top, right, bottom = window = crop_window((x0, y0, x1, y1), media.size)
    inspection = subject.inspections.get(record.source)
    peak = (
        float(inspection.evidence.score_map[y0:y1, x0:x1].max())
        if inspection is not None and inspection.evidence is not None
        else None
    )
    return CloseUp(
        ids=ids,
        picture=Path(record.source).name,
        box=(x0, y0, x1, y1),
        window=window,
        mean_grey=round(float(grey.mean()), 1),
        deviation=round(float(grey.std()), 1),
        darkest=int(grey.min()),
        lightest=int(grey.max()),
        highest_score=peak,
        file=subject.write_crop(
            record.source, "-".join(map(str, window)), media.pixels[top:bottom, left:right], _CLOSE_UP
        ),
    )


def compare_with_normal(
    subject: Subject, region: str | None = None, picture: str | None = None
) -> NormalComparison:
    """Compare a region with what the nearest normal picture, or the reference, shows there."""
    from anomalist.vision.regions import crop_window

    record, found = subject.region(region, picture)
    if subject.counterpart is None:
        raise DataError(
            "There is nothing normal at hand to compare with.", "Ask with --profile or --reference."
        )
    media = subject.media(record)
    other = subject.counterpart(media, found)
    if other is None:
        raise DataError(f"There is no normal counterpart of {found.id}: the normal pictures may be gone.")
    left, top, right, bottom = crop_window(found.box, media.size)
    shown = media.pixels[top:bottom, left:right]
    own, normal = _centre_crop(_to_grey(shown), found, (bottom - top, right - left)), _to_grey(other)
    normal = _centre_crop(normal, found, (bottom - top, right - left))
    beside = _side_by_side(shown, other)
    return NormalComparison(
        ids=(found.id,),
        picture=Path(record.source).name,
        region=found.id,
        against=subject.normal,
        mean_grey=round(float(own.mean()), 1),
        normal_mean_grey=round(float(normal.mean()), 1),
        deviation=round(float(own.std()), 1),
        normal_deviation=round(float(normal.std()), 1),
        difference=round(float(own.mean() - normal.mean()), 1),
        file=subject.write_crop(record.source, f"{found.id}-beside-normal", beside, _CLOSE_UP),
    )


def compare_pictures(subject: Subject, first: str, second: str) -> PictureComparison:
    """Compare what was found in two pictures of a batch, by their file names."""
    for record in (subject.picture(first), subject.picture(second)):
        if not record.judged:
            raise DataError(failure_sentence(record))
    one, other = show_findings(subject, first), show_findings(subject, second)
    if one.score is None or other.score is None:
        raise DataError("One of the two has no score to compare.")
    return PictureComparison(
        ids=(one.picture, other.picture),
        first=one,
        second=other,
        higher=one.picture if one.score >= other.score else other.picture,
        score_difference=abs(one.score - other.score),
    )


def findings_of(record: Record) -> PictureFindings:
    """The findings of a record."""
    size = (record.height or 1, record.width or 1)
    whole = "the inspected area"
    regions = tuple(
        FoundRegion(
            ids=(region.id,),
            region=region.id,
            kind=region_kind(region, size),
            position=region.attributes.position,
            box=region.box,
            area=region.area,
            share=region.attributes.relative_size,
            peak=region.peak,
            change=region.change,
            known=region.known,
            sentence=region_sentence(region, size, whole, record.basis),
        )
        for region in record.regions
    )
    return PictureFindings(
        ids=("score", *(region.region for region in regions), *_citable_ids(record)),
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


def _citable_ids(record: Record) -> tuple[str, ...]:
    """Ids that sentences about a picture may cite besides its regions.

    These are weak places, labelled cases and recalled items.
    """
    cases = [case for region in record.regions if region.known for case in region.known.cases]
    weak = (place.id for place in record.weak_places)
    return tuple(dict.fromkeys([*weak, *cases, *(item.id for item in record.recall.items)]))


def _clip_box(box: Box, size: tuple[int, int]) -> Box:
    height, width = size
    x0, y0, x1, y1 = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    if x0 >= x1 or y0 >= y1:
        raise DataError(f"The box {box} lies outside the picture of {width} × {height} pixels.")
    return x0, y0, x1, y1


def _to_grey(pixels: UInt8Array) -> np.ndarray:
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))


def _centre_crop(grey: np.ndarray, region: Region, window: tuple[int, int]) -> np.ndarray:
    """The central part of a crop, with the share of it that the region has of its window."""
    x0, y0, x1, y1 = region.box
    down, across = (y1 - y0) / window[0], (x1 - x0) / window[1]
    height, width = grey.shape
    top, left = round(height * (1 - down) / 2), round(width * (1 - across) / 2)
    return grey[top : max(top + 1, height - top), left : max(left + 1, width - left)]


def _side_by_side(one: UInt8Array, other: UInt8Array) -> UInt8Array:
    height = max(one.shape[0], other.shape[0])
    parts = [np.pad(part, ((0, height - part.shape[0]), (0, 4), (0, 0))) for part in (one, other)]
    return np.concatenate(parts, axis=1)


Side = Literal["left", "right", "top", "bottom"]


class RegionMeasures(Result):
    """One region in numbers; lengths are pixels."""

    picture: str
    region: str
    kind: str
    box: Box
    centre: tuple[int, int]
    width: int = Field(description="of the box")
    height: int = Field(description="of the box")
    area: int
    percent: float = Field(description="of the area that counts")
    length: int = Field(description="along its longer axis")
    thickness: int = Field(description="across it")
    diameter: int = Field(description="of a disc of the same area")
    elongation: float
    orientation: int | None = Field(description="degrees, counter-clockwise from horizontal; None: round")
    contrast: float = Field(description="grey levels, inside less around")
    contrast_sigma: float = Field(description="the same in deviations of the surroundings")
    tone: str
    texture_ratio: float
    texture: str
    colour: str | None
    colour_shift: float
    edges: tuple[str, ...]
    position: str


class RegionDistance(Result):
    """How far two regions, or a region and a border of the picture, are apart; pixels."""

    picture: str
    first: str
    second: str
    centres: int | None = Field(description="between the centres of the boxes; None for a border")
    gap: int = Field(description="between the boxes, or the box and the border; 0: they touch or overlap")


class RegionCount(Result):
    """How many regions there are."""

    picture: str
    count: int
    by_kind: dict[str, int]
    by_position: dict[str, int]
    total_area: int
    total_percent: float = Field(description="of the area that counts, all together")
    largest: str | None
    smallest: str | None


def measure_region(subject: Subject, region: str | None = None, picture: str | None = None) -> RegionMeasures:
    """Measure one region (by id, R1 when left out): size, length, contrast, direction, texture, colour."""
    record, found = subject.region(region, picture)
    about = found.attributes
    x0, y0, x1, y1 = found.box
    straight = about.elongation >= LINE_ELONGATION
    length = math.sqrt(found.area * about.elongation) if straight else max(x1 - x0, y1 - y0)
    across = math.sqrt(found.area / about.elongation) if straight else min(x1 - x0, y1 - y0)
    return RegionMeasures(
        ids=(found.id,),
        picture=Path(record.source).name,
        region=found.id,
        kind=region_kind(found, (record.height or 1, record.width or 1)),
        box=found.box,
        centre=((x0 + x1) // 2, (y0 + y1) // 2),
        width=x1 - x0,
        height=y1 - y0,
        area=found.area,
        percent=round(100 * about.relative_size, 2),
        length=round(length),
        thickness=max(1, round(across)),
        diameter=round(2 * math.sqrt(found.area / math.pi)),
        elongation=round(about.elongation, 1),
        orientation=None if about.orientation is None else round(about.orientation),
        contrast=round(about.contrast, 1),
        contrast_sigma=round(about.contrast_sigma, 1),
        tone=about.tone,
        texture_ratio=round(about.texture_ratio, 2),
        texture=about.texture,
        colour=about.colour,
        colour_shift=round(about.colour_shift, 1),
        edges=about.edges,
        position=about.position,
    )


def measure_distance(
    subject: Subject, first: str, second: str | Side, picture: str | None = None
) -> RegionDistance:
    """Measure the distance between two regions, or between a region and a side of the picture.

    ``second`` is an id, or one of "left", "right", "top", "bottom".
    """
    record, one = subject.region(first, picture)
    ids: tuple[str, ...]
    if second in ("left", "right", "top", "bottom"):
        if record.width is None or record.height is None:
            raise DataError(f"The size of {record.source} was not recorded.")
        x0, y0, x1, y1 = one.box
        gaps = {"left": x0, "top": y0, "right": record.width - x1, "bottom": record.height - y1}
        gap, centres, ids = gaps[second], None, (one.id,)
    else:
        _, other = subject.region(second, picture)
        gap, centres, ids = (
            _box_gap(one.box, other.box),
            round(_centre_distance(one, other)),
            (one.id, other.id),
        )
    return RegionDistance(
        ids=ids,
        picture=Path(record.source).name,
        first=one.id,
        second=second,
        centres=centres,
        gap=gap,
    )


def count_regions(
    subject: Subject, picture: str | None = None, position: str | None = None, kind: str | None = None
) -> RegionCount:
    """Count the marked regions of a picture; only those at a position or of a kind, where named.

    ``position`` is one word of the 3×3 grid: "upper left", "top", "centre", …; a side holds its corners, too.
    """
    record = subject.picture(picture)
    places = None if position is None else places_of(position)
    size = (record.height or 1, record.width or 1)
    kinds = {region.id: region_kind(region, size) for region in record.regions}
    counted = [
        region
        for region in record.regions
        if (places is None or region.attributes.position in places)
        and (kind is None or kinds[region.id] == kind)
    ]
    by_size = sorted(counted, key=lambda region: -region.area)
    return RegionCount(
        ids=tuple(region.id for region in counted) or ("score",),
        picture=Path(record.source).name,
        count=len(counted),
        by_kind=_count_words([kinds[region.id] for region in counted]),
        by_position=_count_words([region.attributes.position for region in counted]),
        total_area=sum(region.area for region in counted),
        total_percent=round(100 * sum(region.attributes.relative_size for region in counted), 2),
        largest=by_size[0].id if by_size else None,
        smallest=by_size[-1].id if by_size else None,
    )


def _count_words(words: list[str]) -> dict[str, int]:
    return {word: words.count(word) for word in dict.fromkeys(words)}


def _centre_distance(one: Region, other: Region) -> float:
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one.box, other.box
    return math.hypot((a0 + a1 - c0 - c1) / 2, (b0 + b1 - d0 - d1) / 2)


def _box_gap(one: Box, other: Box) -> int:
    across = max(one[0] - other[2], other[0] - one[2], 0)
    down = max(one[1] - other[3], other[1] - one[3], 0)
    return round(math.hypot(across, down))
