"""Tools that measure: size, distance, contrast, count."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import Field

from anomalist.agent.kinds import THIN, named_kind
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import DataError
from anomalist.types import Box, Region

Side = Literal["left", "right", "top", "bottom"]


class Measures(Result):
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


class Distance(Result):
    """How far two regions, or a region and a border of the picture, are apart; pixels."""

    picture: str
    first: str
    second: str
    centres: int | None = Field(description="between the centres of the boxes; None for a border")
    gap: int = Field(description="between the boxes, or the box and the border; 0: they touch or overlap")


class Count(Result):
    """How many regions there are."""

    picture: str
    count: int
    by_kind: dict[str, int]
    by_position: dict[str, int]
    total_area: int
    total_percent: float = Field(description="of the area that counts, all together")
    largest: str | None
    smallest: str | None


def measure_region(subject: Subject, region: str | None = None, picture: str | None = None) -> Measures:
    """Measure one region (by id, R1 when left out): size, length, contrast, direction, texture, colour."""
    record, found = subject.region(region, picture)
    about = found.attributes
    x0, y0, x1, y1 = found.box
    straight = about.elongation >= THIN
    length = math.sqrt(found.area * about.elongation) if straight else max(x1 - x0, y1 - y0)
    across = math.sqrt(found.area / about.elongation) if straight else min(x1 - x0, y1 - y0)
    return Measures(
        ids=(found.id,),
        picture=Path(record.source).name,
        region=found.id,
        kind=named_kind(found, (record.height or 1, record.width or 1)),
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
) -> Distance:
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
        gap, centres, ids = _gap(one.box, other.box), round(_between(one, other)), (one.id, other.id)
    return Distance(
        ids=ids,
        picture=Path(record.source).name,
        first=one.id,
        second=second,
        centres=centres,
        gap=gap,
    )


def count_regions(
    subject: Subject, picture: str | None = None, position: str | None = None, kind: str | None = None
) -> Count:
    """Count the marked regions of a picture; only those at a position or of a kind, where named.

    ``position`` is one word of the 3×3 grid: "upper left", "top", "centre", …
    """
    record = subject.picture(picture)
    size = (record.height or 1, record.width or 1)
    kinds = {region.id: named_kind(region, size) for region in record.regions}
    counted = [
        region
        for region in record.regions
        if (position is None or region.attributes.position == position)
        and (kind is None or kinds[region.id] == kind)
    ]
    by_size = sorted(counted, key=lambda region: -region.area)
    return Count(
        ids=tuple(region.id for region in counted) or ("score",),
        picture=Path(record.source).name,
        count=len(counted),
        by_kind=_tally([kinds[region.id] for region in counted]),
        by_position=_tally([region.attributes.position for region in counted]),
        total_area=sum(region.area for region in counted),
        total_percent=round(100 * sum(region.attributes.relative_size for region in counted), 2),
        largest=by_size[0].id if by_size else None,
        smallest=by_size[-1].id if by_size else None,
    )


def _tally(words: list[str]) -> dict[str, int]:
    return {word: words.count(word) for word in dict.fromkeys(words)}


def _between(one: Region, other: Region) -> float:
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one.box, other.box
    return math.hypot((a0 + a1 - c0 - c1) / 2, (b0 + b1 - d0 - d1) / 2)


def _gap(one: Box, other: Box) -> int:
    across = max(one[0] - other[2], other[0] - one[2], 0)
    down = max(one[1] - other[3], other[1] - one[3], 0)
    return round(math.hypot(across, down))
